//! The peer's tool access decisions, reproduced under `.seed_semantics()`: one test per vector.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "vectors are as they are, or the test fails"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp_guard::clock::{Clock, UnixSeconds};
use rmcp_guard::enforce::{CallerCredential, Enforcer, GuardConfig, evaluate_tool_access_sync};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::resolve::StatusList;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::policy::Decision;
use serde_json::Value;

/// The vectors' API key; the peer accepts any text, we only one that is listed.
const API_KEY: &str = "vector-key";
const API_KEY_SHA256: &str = "3375b93fff75aa8b26dea56877a9c430013d7780b9d9e1e040523f2f2031aa37";

#[derive(Debug)]
struct FixedClock(UnixSeconds);

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.0.as_i64().unsigned_abs())).unwrap()
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/tool_access.json")).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn check(id: &str) {
    let vectors = vectors();
    let case = vectors["cases"].as_array().unwrap().iter().find(|case| case["id"] == id).unwrap();
    let config = &case["config"];
    let now = UnixSeconds::new(1_760_000_000);
    let status = StatusList::new(now);
    for jti in strings(&case["revoked_jtis"]) {
        status.revoke(jti);
    }
    let mut builder = GuardConfig::builder()
        .seed_semantics()
        .insecure_no_max_lifetime()
        .min_trust_level(u8::try_from(config["min_trust_level"].as_u64().unwrap()).unwrap())
        .accept_level_zero(config["accept_level_zero"].as_bool().unwrap())
        .require_badge(config["require_badge"].as_bool().unwrap())
        .allowed_tools(strings(&config["allowed_tools"]))
        .revocations(Revocations::online(Arc::new(status)))
        .api_key(API_KEY_SHA256, "vector")
        .clock(Arc::new(FixedClock(now)))
        .evidence(EvidenceLog::in_memory());
    for origin in strings(&config["trusted_issuers"]) {
        builder = builder.trusted_issuer(Issuer::jwks(&origin, &vectors["jwks"].to_string()).unwrap());
    }
    let enforcer = Enforcer::new(builder.build().unwrap());
    let credential = match case["credential"].as_str().unwrap() {
        "anonymous" => CallerCredential::Anonymous,
        "api_key" => CallerCredential::api_key(API_KEY),
        "badge" => CallerCredential::badge(case["token"].as_str().unwrap()),
        other => panic!("unknown credential {other}"),
    };
    let result = evaluate_tool_access_sync(&enforcer, case["tool"].as_str().unwrap(), None, &credential).unwrap();

    let decision = match result.decision {
        Decision::Allow => "ALLOW",
        Decision::Deny => "DENY",
    };
    assert_eq!(decision, case["expected"]["decision"], "{id}: {}", case["description"]);
    let reason = result.deny_reason.map_or(Value::Null, |reason| reason.code().into());
    assert_eq!(reason, case["expected"]["deny_reason"], "{id}: {}", case["description"]);
    let records = enforcer.config().evidence().records().unwrap();
    let decisions = records.iter().filter(|record| record["event.name"] == "capiscio.tool_invocation").count();
    assert_eq!(decisions, 1, "{id}: one record per decision");
}

macro_rules! vectors {
    ($($name:ident $id:literal),* $(,)?) => {
        $(#[test] fn $name() { check($id) })*

        #[test]
        fn no_vector_is_missing() {
            let named = [$($id),*];
            for case in vectors()["cases"].as_array().unwrap() {
                assert!(named.contains(&case["id"].as_str().unwrap()), "{} has no test", case["id"]);
            }
        }
    };
}

vectors! {
    ta_01_anonymous_min_0 "ta-01",
    ta_02_anonymous_min_1 "ta-02",
    ta_03_anonymous_min_1_level_zero_accepted "ta-03",
    ta_04_anonymous_require_badge "ta-04",
    ta_05_api_key_min_0 "ta-05",
    ta_06_api_key_min_1 "ta-06",
    ta_07_api_key_require_badge "ta-07",
    ta_08_level_2_badge_min_2 "ta-08",
    ta_09_level_1_badge_min_2 "ta-09",
    ta_10_level_4_badge_min_4 "ta-10",
    ta_12_level_0_badge_accepted_min_0 "ta-12",
    ta_13_level_0_badge_accepted_min_1 "ta-13",
    ta_16_revoked_badge "ta-16",
    ta_17_tool_in_the_allowed_list "ta-17",
    ta_19_trust_is_checked_before_the_tool_list "ta-19",
    ta_20_malformed_pattern_never_matches "ta-20",
}
