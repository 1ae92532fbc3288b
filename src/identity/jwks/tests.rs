use serde_json::json;

use super::*;
use crate::identity::key::SigningKey;

fn jwk(seed: u8, more: &Value) -> Value {
    let mut jwk = SigningKey::from_seed(&[seed; 32]).public_key().to_jwk();
    for (name, value) in more.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[test]
fn only_keys_that_may_verify_are_kept() {
    let cases = [
        ("bare", json!({}), true),
        ("full", json!({"kid": "a", "use": "sig", "alg": "EdDSA", "key_ops": ["verify"]}), true),
        ("encryption", json!({"use": "enc"}), false),
        ("other algorithm", json!({"alg": "ES256"}), false),
        ("other operations", json!({"key_ops": ["sign"]}), false),
        ("kid is a number", json!({"kid": 1}), false),
        ("other curve", json!({"crv": "X25519"}), false),
        ("published private half", json!({"d": "AAAA"}), false),
    ];
    for (name, more, want) in cases {
        let set = json!({"keys": [{"kty": "RSA", "n": "AQAB"}, jwk(1, &more), jwk(2, &json!({"kid": "last"}))]});
        let set = JwkSet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(set.keys().count(), if want { 2 } else { 1 }, "{name}");
        assert_eq!(set.candidates(Some("last")).count(), 1, "{name}");
    }
}

#[test]
fn kid_selects_and_no_kid_selects_all() {
    let set = json!({"keys": [jwk(1, &json!({"kid": "a"})), jwk(2, &json!({"kid": "b"})), jwk(3, &json!({}))]});
    let set = JwkSet::parse(set.to_string().as_bytes()).unwrap();
    assert_eq!(set.candidates(None).count(), 3);
    let b = SigningKey::from_seed(&[2; 32]).public_key();
    assert_eq!(set.candidates(Some("b")).collect::<Vec<_>>(), [&b]);
    assert_eq!(set.candidates(Some("c")).count(), 0, "an unknown kid must not fall back to other keys");
}

#[test]
fn what_is_not_a_set_is_refused() {
    let many = json!({"keys": vec![json!({}); MAX_JWKS_KEYS + 1]}).to_string();
    let large = " ".repeat(MAX_JWKS_BYTES + 1);
    let cases = [
        ("empty", "", "not JSON with unique member names"),
        ("bare key", r#"{"kty":"OKP"}"#, "no `keys` array"),
        ("twice", r#"{"keys":[],"keys":[]}"#, "not JSON with unique member names"),
        ("object", r#"{"keys":{}}"#, "no `keys` array"),
        ("many", &many, "more than 100 keys"),
        ("large", &large, "larger than 1 MiB"),
    ];
    for (name, input, want) in cases {
        assert_eq!(JwkSet::parse(input.as_bytes()).unwrap_err(), JwksError(want), "{name}");
    }
    assert!(JwkSet::parse(br#"{"keys":[]}"#).unwrap().is_empty());
}
