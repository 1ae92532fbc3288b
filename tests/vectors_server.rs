//! Published vectors of server identity: origin binding, and nonces that must not be signed.
//!
//! The vectors of the proof itself need a challenge with a given nonce, which no user can make: they run as unit tests
//! of `identity::pop`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::sign_response;
use rmcp_guard::identity::server::{OriginBinding, check_origin_binding};
use serde_json::Value;

/// One test per vector, and one that fails when a vector of the file has no test.
macro_rules! vectors {
    ($module:ident, $file:literal, $check:path; $($name:ident: $id:literal,)+) => {
        mod $module {
            fn all() -> Vec<serde_json::Value> {
                serde_json::from_str(include_str!(concat!("vectors/", $file))).unwrap()
            }

            $(#[test]
            fn $name() {
                $check(all().iter().find(|vector| vector["id"] == $id).unwrap());
            })+

            #[test]
            fn every_vector_has_a_test() {
                let ids: Vec<_> = all().iter().map(|vector| vector["id"].as_str().unwrap().to_owned()).collect();
                assert_eq!(ids, [$($id),+]);
            }
        }
    };
}

fn binds_as_expected(vector: &Value) {
    let did = Did::parse(vector["server_did"].as_str().unwrap()).unwrap();
    let origin = vector["transport_origin"].as_str().unwrap();
    let got = match check_origin_binding(&did, origin, vector["endpoint_path"].as_str()) {
        Ok(OriginBinding::Bound) => "BOUND",
        Ok(OriginBinding::HostOnly) => "HOST_ONLY",
        Ok(OriginBinding::NotApplicable) => "NOT_APPLICABLE",
        Err(error) => error.code().rfc_text(),
    };
    assert_eq!(got, vector["expected"], "{}", vector["note"]);
}

fn is_not_signed(vector: &Value) {
    let key = SigningKey::from_seed(&[0x41; 32]);
    let kid = key.did().key_id().unwrap();
    assert!(sign_response(&key, &kid, vector["nonce"].as_str().unwrap()).is_err(), "{}", vector["why"]);
}

vectors! { origin_binding, "origin_binding.json", super::binds_as_expected;
    orig_01: "orig-01",
    orig_04: "orig-04",
    orig_05: "orig-05",
    orig_06: "orig-06",
    orig_08: "orig-08",
    orig_09: "orig-09",
    orig_10: "orig-10",
    orig_11: "orig-11",
    orig_12: "orig-12",
    orig_13: "orig-13",
    orig_14: "orig-14",
    orig_15: "orig-15",
    orig_16: "orig-16",
    orig_18: "orig-18",
    orig_19: "orig-19",
}

vectors! { nonces_that_are_not_signed, "pop_nonces.json", super::is_not_signed;
    nonce_01: "nonce-01",
    nonce_02: "nonce-02",
    nonce_03: "nonce-03",
    nonce_04: "nonce-04",
    nonce_05: "nonce-05",
    nonce_06: "nonce-06",
}
