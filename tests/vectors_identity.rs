//! Published vectors of DIDs and badges, one test each, and the minimum vectors that RFC-002 names (TV-001 to TV-016).
//!
//! `tests/vectors/*.json`: `expected` is the outcome of the interop profile, `expected_strict` of the strict one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "vectors are as they are, or the test fails"
)]

use std::sync::Arc;

use futures_util::FutureExt as _;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::encoding::base64url;
use rmcp_guard::identity::badge::{BadgeContext, BadgeVerifier, BadgeVerifierBuilder, Profile, Revocations};
use rmcp_guard::identity::did::{Did, DidDocument, DidWeb};
use rmcp_guard::identity::jws;
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use rmcp_guard::identity::resolve::{StaticDidDocuments, StatusList};
use rmcp_guard::identity::trust_store::Issuer;
use serde_json::{Value, json};

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const REGISTRY: &str = "https://registry.example.test";

fn read(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn vectors(name: &str) -> Vec<Value> {
    let file = read(name);
    file.get("badges").unwrap_or(&file).as_array().unwrap().clone()
}

fn vector(name: &str, id: &str) -> Value {
    vectors(name).into_iter().find(|vector| vector["id"] == id).unwrap()
}

/// One test per id, and one that fails when the file has an id without a test.
macro_rules! vector_tests {
    ($module:ident, $file:literal, $check:path, { $($name:ident: $id:literal,)+ }) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    $check(&super::vector($file, $id));
                }
            )+

            #[test]
            fn every_vector_of_the_file_has_a_test() {
                let of_file: Vec<_> = super::vectors($file).iter().map(|vector| vector["id"].to_string()).collect();
                let of_tests: Vec<_> = [$($id),+].iter().map(|id| format!("{id:?}")).collect();
                assert_eq!(of_file, of_tests);
            }
        }
    };
}

fn seed(hex: &Value) -> [u8; 32] {
    let hex = hex.as_str().unwrap().as_bytes();
    let bytes: Vec<u8> =
        hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn check_did_key(vector: &Value) {
    let did = Did::parse(vector["did"].as_str().unwrap());
    if vector["expected"] == "REJECT" {
        assert!(did.is_err());
        return;
    }
    let did = did.unwrap();
    let key = SigningKey::from_seed(&seed(&vector["seed_hex"]));
    assert_eq!(key.public_key().as_bytes(), &seed(&vector["public_key_hex"]));
    assert_eq!(did, key.did());
    assert_eq!(did.as_str(), key.did().as_str());
    assert_eq!(did.key_id().unwrap(), vector["kid"].as_str().unwrap());
    assert_eq!(did.public_key(), Some(&key.public_key()));
    assert_eq!(base64url(key.public_key().as_bytes()), vector["jwk_x"].as_str().unwrap());
    assert_eq!(key.public_key().thumbprint(), vector["jwk_thumbprint_rfc7638"].as_str().unwrap());
    assert_eq!(PublicKey::from_jwk(&key.public_key().to_jwk()).unwrap(), key.public_key());
}

fn check_did_web(vector: &Value) {
    let did = Did::parse(vector["did"].as_str().unwrap());
    let url = did.ok().and_then(|did| did.web().map(DidWeb::document_url));
    assert_eq!(url.as_deref().unwrap_or("REJECT"), vector["expected"]);
}

fn check_badge(vector: &Value) {
    let token = vector["token"].as_str().unwrap();
    for (profile, expected) in [(Profile::Interop, "expected"), (Profile::Strict, "expected_strict")] {
        let verifier = verifier(&vector["context"]).profile(profile).build();
        // Twice, so that the remembered signature gives the same answer.
        for _ in 0..2 {
            assert_eq!(outcome(&verifier, token), vector[expected].as_str().unwrap(), "{profile:?}");
        }
    }
}

/// `VALID`, or the code of the refusal. All sources are static, so the answer never waits.
fn outcome(verifier: &BadgeVerifier, token: &str) -> &'static str {
    let answer = verifier.verify(token, &BadgeContext::at(NOW)).now_or_never().unwrap();
    answer.map_or_else(|error| error.kind().code(), |_| "VALID")
}

/// The verifier that the context of a badge vector describes.
fn verifier(context: &Value) -> BadgeVerifierBuilder {
    let fixtures = read("fixtures");
    let mut builder = BadgeVerifier::builder()
        .insecure_no_max_lifetime()
        .accept_level_zero(context["accept_self_signed"] == true)
        .revocations(revocations(context, &fixtures));
    for issuer in context["trusted_issuers"].as_array().into_iter().flatten() {
        let issuer = issuer.as_str().unwrap();
        if issuer.starts_with("did:key:") {
            builder = builder.trusted_self_signed(Did::parse(issuer).unwrap());
            continue;
        }
        let jwks = fixtures["jwks"].get(issuer).unwrap_or(&fixtures["jwks"][REGISTRY]);
        match Issuer::jwks(issuer, &jwks.to_string()) {
            // The vectors' issuers speak for each other's hosts.
            Ok(issuer) => builder = builder.issuer(issuer.subjects(["did:key", "did:web:*"]).unwrap()),
            Err(_) => assert!(!issuer.starts_with("https://"), "{issuer}"),
        }
    }
    if let Some(audience) = context["audience"].as_str() {
        builder = builder.audience(audience);
    }
    if context["did_documents"] == true {
        let mut documents = StaticDidDocuments::new();
        for (did, document) in fixtures["did_documents"].as_object().unwrap() {
            let did = Did::parse(did).unwrap();
            documents = documents.add_document(DidDocument::parse(&did, document.to_string().as_bytes()).unwrap());
        }
        builder = builder.did_documents(Arc::new(documents));
    }
    builder
}

fn revocations(context: &Value, fixtures: &Value) -> Revocations {
    let never = UnixSeconds::new(0);
    let online = StatusList::new(if context["status_error"] == true { never } else { NOW });
    for jti in context["revoked_jtis"].as_array().into_iter().flatten() {
        online.revoke(jti.as_str().unwrap());
    }
    for (statuses, id, did) in [("agent_status", "agent-001", "agent_did"), ("server_status", "files", "server_did")] {
        if let Some(status) = context[statuses].get(id) {
            assert_ne!(status, "active");
            online.disable(Did::parse(fixtures[did].as_str().unwrap()).unwrap());
        }
    }
    let cache = &context["cache"];
    let offline = StatusList::new(if cache["stale"] == false { NOW } else { never });
    for jti in cache["revoked"].as_array().into_iter().flatten() {
        offline.revoke(jti.as_str().unwrap());
    }
    match context["mode"].as_str().unwrap_or("online") {
        "online" => Revocations::online(Arc::new(online)),
        "offline" => Revocations::offline(Arc::new(offline)),
        "hybrid" => Revocations::hybrid(Arc::new(online), Arc::new(offline)),
        mode => panic!("unknown mode {mode}"),
    }
}

/// A level 2 badge of the registry, changed and signed with the CA's key: the RFC's vectors that no file holds.
fn ca_badge(change: impl FnOnce(&mut Value)) -> String {
    let fixtures = read("fixtures");
    let mut claims = json!({
        "jti": "00000000-0000-4000-8000-00000000a001", "iss": REGISTRY, "sub": fixtures["agent_did"],
        "iat": NOW.as_i64(), "exp": NOW.as_i64().saturating_add(300), "ial": "0", "key": fixtures["keys"]["agent"]["jwk"],
        "vc": {"type": ["VerifiableCredential", "AgentIdentity"],
               "credentialSubject": {"domain": "agent.example.test", "level": "2"}},
    });
    change(&mut claims);
    let key = SigningKey::from_seed(&seed(&fixtures["keys"]["ca"]["seed_hex"]));
    jws::sign(&key, Some("JWT"), Some("ca-key-2025-01"), claims.to_string().as_bytes())
}

fn check_ca_badge(token: &str, want: &str) {
    let context = json!({"trusted_issuers": [REGISTRY], "did_documents": true, "audience": "https://mcp.example.test"});
    for profile in [Profile::Interop, Profile::Strict] {
        assert_eq!(outcome(&verifier(&context).profile(profile).build(), token), want, "{profile:?}");
    }
}

/// A vector of the file whose outcome the RFC fixes.
fn check_rfc(id: &str, want: &str) {
    let vector = vector("badges", id);
    assert_eq!(vector["expected"], want);
    assert_eq!(vector["expected_strict"], want);
    check_badge(&vector);
}

#[test]
fn the_badge_of_the_rfc_tests_is_valid_unchanged() {
    check_ca_badge(&ca_badge(|_| ()), "VALID");
}

#[test]
fn tv_001_aud_not_an_array() {
    check_ca_badge(&ca_badge(|claims| claims["aud"] = json!("https://mcp.example.test")), "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_002_level_0_with_ial_1() {
    let key = SigningKey::from_seed(&[0x31; 32]);
    let (did, kid) = (key.did(), key.did().key_id().unwrap());
    let claims = json!({
        "jti": "00000000-0000-4000-8000-00000000a002", "iss": did.as_str(), "sub": did.as_str(),
        "iat": NOW.as_i64(), "exp": NOW.as_i64().saturating_add(300), "ial": "1", "key": key.public_key().to_jwk(),
        "cnf": {"kid": kid},
        "vc": {"type": ["VerifiableCredential", "AgentIdentity"], "credentialSubject": {"level": "0"}},
    });
    let token = jws::sign(&key, Some("JWT"), Some(&kid), claims.to_string().as_bytes());
    let verifier = verifier(&json!({"accept_self_signed": true})).build();
    assert_eq!(outcome(&verifier, &token), "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_003_ial_0_with_cnf() {
    check_rfc("ca-35-ial0-with-cnf", "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_004_ial_1_without_cnf() {
    check_rfc("ca-32-ial1-no-cnf", "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_005_cnf_names_an_unknown_key() {
    check_rfc("ca-33-ial1-cnf-unknown", "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_006_cnf_names_another_key() {
    let agent = read("fixtures")["agent_did"].as_str().unwrap().to_owned();
    let with = |fragment: &str| {
        ca_badge(|claims| {
            claims["ial"] = json!("1");
            claims["cnf"] = json!({"kid": format!("{agent}#{fragment}")});
        })
    };
    check_ca_badge(&with("key-1"), "VALID");
    check_ca_badge(&with("key-2"), "BADGE_CLAIMS_INVALID");
}

#[test]
fn tv_007_revoked() {
    check_rfc("ca-20-revoked", "BADGE_REVOKED");
}

#[test]
fn tv_008_agent_disabled() {
    check_rfc("ca-22-agent-suspended", "BADGE_AGENT_DISABLED");
}

#[test]
fn tv_009_expired_beyond_tolerance() {
    check_rfc("l0-11-expired", "BADGE_EXPIRED");
}

#[test]
fn tv_010_untrusted_issuer() {
    check_rfc("ca-07-untrusted-issuer", "BADGE_ISSUER_UNTRUSTED");
}

#[test]
fn tv_011_bad_signature() {
    check_rfc("ca-09-forged-signature", "BADGE_SIGNATURE_INVALID");
}

#[test]
fn tv_012_valid_level_0() {
    check_rfc("l0-01-valid", "VALID");
}

#[test]
fn tv_013_valid_level_1() {
    check_rfc("ca-01-valid-level-1", "VALID");
}

#[test]
fn tv_014_valid_level_2() {
    check_rfc("ca-02-valid-level-2", "VALID");
}

#[test]
fn tv_015_valid_level_3() {
    check_rfc("ca-03-valid-level-3", "VALID");
}

#[test]
fn tv_016_valid_level_4() {
    check_rfc("ca-04-valid-level-4", "VALID");
}

vector_tests!(did_key, "did_key", super::check_did_key, {
    didkey_zero: "didkey-zero",
    didkey_ones: "didkey-ones",
    didkey_incr: "didkey-incr",
    didkey_ff: "didkey-ff",
    didkey_rfc8032_test2: "didkey-rfc8032-test2",
    didkey_bad_secp256k1: "didkey-bad-secp256k1",
    didkey_bad_base: "didkey-bad-base",
    didkey_bad_short: "didkey-bad-short",
    didkey_bad_alphabet: "didkey-bad-alphabet",
    didkey_bad_empty: "didkey-bad-empty",
    didkey_bad_fragment: "didkey-bad-fragment",
    didkey_bad_leading_one: "didkey-bad-leading-one",
    didkey_bad_case: "didkey-bad-case",
});

vector_tests!(did_web, "did_web_url", super::check_did_web, {
    didweb_01: "didweb-01",
    didweb_05: "didweb-05",
    didweb_06: "didweb-06",
    didweb_07: "didweb-07",
    didweb_08: "didweb-08",
    didweb_20: "didweb-20",
    didweb_21: "didweb-21",
    didweb_22: "didweb-22",
    didweb_24: "didweb-24",
    didweb_25: "didweb-25",
    didweb_26: "didweb-26",
    didweb_27: "didweb-27",
    didweb_28: "didweb-28",
    didweb_31: "didweb-31",
    didweb_32: "didweb-32",
    didweb_33: "didweb-33",
    didweb_34: "didweb-34",
    didweb_35: "didweb-35",
    didweb_36: "didweb-36",
    didweb_37: "didweb-37",
    didweb_39: "didweb-39",
    didweb_40: "didweb-40",
});

vector_tests!(badges, "badges", super::check_badge, {
    l0_01_valid: "l0-01-valid",
    l0_02_go_cli_shape: "l0-02-go-cli-shape",
    l0_03_not_accepted: "l0-03-not-accepted",
    l0_04_listed: "l0-04-listed",
    l0_05_iss_ne_sub: "l0-05-iss-ne-sub",
    l0_09_key_mismatch: "l0-09-key-mismatch",
    l0_10_no_key: "l0-10-no-key",
    l0_11_expired: "l0-11-expired",
    l0_12_expired_in_skew: "l0-12-expired-in-skew",
    l0_13_expired_at_skew_edge: "l0-13-expired-at-skew-edge",
    l0_15_iat_future: "l0-15-iat-future",
    l0_17_nbf_in_skew: "l0-17-nbf-in-skew",
    l0_20_truncated_signature: "l0-20-truncated-signature",
    l0_21_alg_none: "l0-21-alg-none",
    l0_22_alg_hs256_confusion: "l0-22-alg-hs256-confusion",
    l0_23_alg_es256_header: "l0-23-alg-es256-header",
    l0_26_typ_lowercase: "l0-26-typ-lowercase",
    l0_27_crit: "l0-27-crit",
    l0_28_missing_jti: "l0-28-missing-jti",
    l0_30_missing_sub: "l0-30-missing-sub",
    l0_31_missing_iat: "l0-31-missing-iat",
    l0_32_missing_exp: "l0-32-missing-exp",
    l0_33_missing_vc: "l0-33-missing-vc",
    l0_34_missing_level: "l0-34-missing-level",
    l0_35_vc_type_incomplete: "l0-35-vc-type-incomplete",
    l0_36_vc_type_string: "l0-36-vc-type-string",
    l0_37_level_number: "l0-37-level-number",
    l0_39_aud_match: "l0-39-aud-match",
    l0_41_aud_no_identity: "l0-41-aud-no-identity",
    l0_42_aud_empty: "l0-42-aud-empty",
    l0_43_sub_not_did: "l0-43-sub-not-did",
    l0_44_exp_string: "l0-44-exp-string",
    l0_45_exp_fraction: "l0-45-exp-fraction",
    l0_46_duplicate_claim: "l0-46-duplicate-claim",
    l0_47_claim_case: "l0-47-claim-case",
    l0_48_json_serialization: "l0-48-json-serialization",
    l0_49_inner_whitespace: "l0-49-inner-whitespace",
    l0_50_two_segments: "l0-50-two-segments",
    l0_52_padded_base64: "l0-52-padded-base64",
    l0_53_not_a_token: "l0-53-not-a-token",
    ca_01_valid_level_1: "ca-01-valid-level-1",
    ca_02_valid_level_2: "ca-02-valid-level-2",
    ca_03_valid_level_3: "ca-03-valid-level-3",
    ca_04_valid_level_4: "ca-04-valid-level-4",
    ca_05_aud_match: "ca-05-aud-match",
    ca_06_wrong_aud: "ca-06-wrong-aud",
    ca_07_untrusted_issuer: "ca-07-untrusted-issuer",
    ca_08_empty_allowlist: "ca-08-empty-allowlist",
    ca_09_forged_signature: "ca-09-forged-signature",
    ca_10_tampered_level: "ca-10-tampered-level",
    ca_11_level_5: "ca-11-level-5",
    ca_12_level_0_from_ca: "ca-12-level-0-from-ca",
    ca_13_level_padded: "ca-13-level-padded",
    ca_14_level2_no_domain: "ca-14-level2-no-domain",
    ca_15_expired: "ca-15-expired",
    ca_17_http_issuer: "ca-17-http-issuer",
    ca_19_did_web_issuer: "ca-19-did-web-issuer",
    ca_22_agent_suspended: "ca-22-agent-suspended",
    ca_23_status_unreachable_online: "ca-23-status-unreachable-online",
    ca_24_offline_stale_l2: "ca-24-offline-stale-l2",
    ca_25_offline_stale_l1: "ca-25-offline-stale-l1",
    ca_26_offline_nocache_l2: "ca-26-offline-nocache-l2",
    ca_29_hybrid_stale: "ca-29-hybrid-stale",
    ca_30_stale_but_revoked_l1: "ca-30-stale-but-revoked-l1",
    ca_31_ial1_valid: "ca-31-ial1-valid",
    ca_32_ial1_no_cnf: "ca-32-ial1-no-cnf",
    ca_33_ial1_cnf_unknown: "ca-33-ial1-cnf-unknown",
    ca_35_ial0_with_cnf: "ca-35-ial0-with-cnf",
    ca_36_ial_2: "ca-36-ial-2",
    ca_37_ial_absent: "ca-37-ial-absent",
    ca_38_no_key_ial0: "ca-38-no-key-ial0",
    ca_39_no_key_ial1: "ca-39-no-key-ial1",
    ca_40_ial1_did_key_subject: "ca-40-ial1-did-key-subject",
    ca_41_rotated_key: "ca-41-rotated-key",
    ca_43_unknown_kid: "ca-43-unknown-kid",
    ca_44_hs256: "ca-44-hs256",
    ca_45_alg_none: "ca-45-alg-none",
    ca_46_server_subject: "ca-46-server-subject",
    ca_47_server_disabled: "ca-47-server-disabled",
    ca_48_invalid_tld: "ca-48-invalid-tld",
    ca_50_self_key_ca_sub: "ca-50-self-key-ca-sub",
    ca_51_alg_only_header: "ca-51-alg-only-header",
    ca_52_two_issuers_listed: "ca-52-two-issuers-listed",
    ca_53_wrong_typ: "ca-53-wrong-typ",
    ca_56_missing_exp: "ca-56-missing-exp",
    ca_58_missing_vc: "ca-58-missing-vc",
    ca_20_revoked: "ca-20-revoked",
});
