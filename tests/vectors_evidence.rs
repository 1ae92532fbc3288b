//! Published vectors of the evidence part: the peer's hash of arguments, RFC 8785 canonical forms, and the shape of the
//! peer's records. Deliberate differences are listed in `tests/vectors/DIFFERENCES.md`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "vectors are as they are, or the test fails")]

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp_guard::encoding::{canonical_json, has_inexact_numbers};
use rmcp_guard::evidence::{DecisionRecord, EvidenceLog, ParamsHash, Record};
use rmcp_guard::evidence::{compute_params_hash, compute_params_hash_json};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn vectors(text: &str, name: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()[name].as_array().unwrap().clone()
}

fn params_hash_vectors() -> Vec<Value> {
    vectors(include_str!("vectors/params_hash.json"), "params_hash")
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)))
}

/// Vectors whose digits or sign `serde_json::Value` does not keep (DIFFERENCES.md).
const NEEDS_TEXT: [&str; 2] = ["ph15-negzero-int", "ph16-big-int"];

#[test]
fn params_hash_of_the_text_is_the_peers() {
    let vectors = params_hash_vectors();
    assert_eq!(vectors.len(), 25);
    for vector in vectors {
        let hash = compute_params_hash_json(vector["input_json"].as_str().unwrap());
        assert_eq!(hash.as_deref(), Ok(vector["expected"].as_str().unwrap()), "{}", vector["id"]);
    }
}

#[test]
fn params_hash_of_the_value_is_the_peers() {
    for vector in params_hash_vectors() {
        let arguments: Value = serde_json::from_str(vector["input_json"].as_str().unwrap()).unwrap();
        let agrees = compute_params_hash(&arguments) == vector["expected"];
        assert_eq!(agrees, !NEEDS_TEXT.contains(&vector["id"].as_str().unwrap()), "{}", vector["id"]);
    }
}

#[test]
fn params_hash_of_a_log_is_the_peers_where_it_was_asked_for() {
    let log = EvidenceLog::options().params_hash(ParamsHash::InsecurePlain).in_memory().unwrap();
    assert_eq!(log.params_hash(None), params_hash_vectors()[0]["expected"]);
    for vector in params_hash_vectors() {
        let arguments: Value = serde_json::from_str(vector["input_json"].as_str().unwrap()).unwrap();
        assert_eq!(log.params_hash(arguments.as_object()), compute_params_hash(&arguments), "{}", vector["id"]);
    }
}

#[test]
fn canonical_json_is_rfc_8785() {
    for vector in params_hash_vectors() {
        let value: Value = serde_json::from_str(vector["input_json"].as_str().unwrap()).unwrap();
        let canonical = canonical_json(&value).unwrap();
        let id = &vector["id"];
        match vector["jcs_canonical"].as_str() {
            Some(expected) => {
                assert_eq!(String::from_utf8_lossy(&canonical), expected, "{id}");
                assert_eq!(sha256(&canonical), vector["jcs_hash"], "{id}");
            }
            // RFC 8785 has a form for it that other integers share: flagged rather than refused (DIFFERENCES.md)
            None => assert!(has_inexact_numbers(&value), "{id}"),
        }
    }
}

#[test]
fn the_received_arguments_are_hashed_without_defaults() {
    for vector in vectors(include_str!("vectors/integration_params_hash.json"), "integration_params_hash") {
        assert_eq!(compute_params_hash(&vector["hashed_value"]), vector["expected"], "{}", vector["id"]);
    }
}

/// Members of a peer's record that ours writes with the same name, type and value.
#[test]
fn records_carry_the_peers_members() {
    for vector in vectors(include_str!("vectors/evidence_samples.json"), "evidence_samples") {
        let sample = vector["record"].as_object().unwrap();
        let text = |name: &str| sample.get(name).map(|value| value.as_str().unwrap().to_owned());
        let mut record = DecisionRecord::default();
        record.method = "tools/call";
        record.target = text("capiscio.target").unwrap();
        record.allow = sample["capiscio.decision"] == "ALLOW";
        record.deny_reason_rfc = sample.get("capiscio.deny_reason").map(|_| "TOOL_NOT_FOUND");
        record.auth_level = "BADGE";
        record.agent_did = text("capiscio.agent.did");
        record.badge_jti = text("capiscio.badge.jti");
        record.trust_level = Some(2);
        record.params_hash = text("capiscio.tool.params_hash");
        record.server_origin = text("server_origin");
        record.policy_version = text("capiscio.policy_version").unwrap();
        record.at = Some(UNIX_EPOCH + Duration::new(1_795_365_754, 650_303_252));

        let log = EvidenceLog::in_memory();
        log.append(&mut log.reserve(1).unwrap(), &Record::Decision(record))
            .unwrap()
            .wait_written(log.wait_limit())
            .unwrap();
        let ours = log.records().unwrap().remove(0);
        for (name, value) in sample {
            match name.as_str() {
                // they vary; their form is the same
                "id" => assert_eq!(ours["id"].as_str().unwrap().len(), 36),
                "timestamp" => assert_eq!(ours["timestamp"], "2026-11-22T16:42:34.650303252Z"),
                _ => assert_eq!(ours[name], *value, "{name} of {}", vector["id"]),
            }
        }
    }
}

/// The sample objects and numbers of RFC 8785 §3.2.2, §3.2.3 and appendix B.
#[test]
fn rfc_8785_own_vectors() {
    let sample = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
        "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
    let canonical = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(canonical_json(&serde_json::from_str(sample).unwrap()).unwrap(), canonical.as_bytes());

    let sorting = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
        "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let canonical = canonical_json(&serde_json::from_str(sorting).unwrap()).unwrap();
    let order = ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji", "Hebrew"];
    let text = String::from_utf8(canonical).unwrap();
    assert!(order.map(|word| text.find(word).unwrap()).is_sorted(), "{text}");

    let numbers: [(u64, &str); 19] = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
    ];
    for (bits, expected) in numbers {
        let canonical = canonical_json(&Value::from(f64::from_bits(bits))).unwrap();
        assert_eq!(String::from_utf8_lossy(&canonical), expected, "{bits:016x}");
    }
}

#[test]
fn times_are_utc_with_nanoseconds() {
    let times = [
        (UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap(), "1970-01-01T00:00:00.000000000Z"),
        (UNIX_EPOCH + Duration::new(1_760_000_000, 1), "2025-10-09T08:53:20.000000001Z"),
        (UNIX_EPOCH + Duration::from_secs(1 << 40), "9999-12-31T23:59:59.000000000Z"),
    ];
    let log = EvidenceLog::in_memory();
    for (time, expected) in times {
        let mut record = DecisionRecord::default();
        record.at = Some(time);
        let _ = log.append(&mut log.reserve(1).unwrap(), &Record::Decision(record)).unwrap();
        assert_eq!(log.records().unwrap().pop().unwrap()["timestamp"], expected);
    }
}
