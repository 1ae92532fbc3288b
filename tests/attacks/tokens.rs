//! Badges and everything that could be mistaken for one. All keys are fixed, and so is the time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Map, Value, json};

use crate::common::{AUDIENCE, LEVELS, badge_request, registry};

/// The time of every attack: 2026-10-01.
pub const NOW: UnixSeconds = UnixSeconds::new(1_790_812_800);

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The registry's key, which signs all badges that count.
pub fn registry_key() -> SigningKey {
    key(1)
}

/// The identity of the server under attack.
pub fn our_did() -> Did {
    key(77).did()
}

/// A badge that counts here, for the agent of `seed`.
pub fn badge(seed: u8, level: TrustLevel) -> String {
    registry().issue(&badge_request(seed, level).audience(AUDIENCE), NOW).unwrap()
}

/// The badge that every forgery starts from: it opens `level4`.
pub fn good() -> String {
    badge(10, LEVELS[4])
}

/// A badge that counts and does not open `level4`.
pub fn low() -> String {
    badge(11, LEVELS[1])
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims of [`good`].
pub fn parts() -> (Value, Value) {
    let token = good();
    let part = |n: usize| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (part(0), part(1))
}

/// A compact JWS of any two texts, signed by `key`.
pub fn sign(header: &str, payload: &[u8], key: &SigningKey) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", b64(signature))
}

/// [`good`] with other claims: a JSON merge patch (RFC 7396), in which `"$now+N"` is a time. The registry signs it.
pub fn claims(patch: &str) -> String {
    let (header, mut claims) = parts();
    merge(&mut claims, times(serde_json::from_str(patch).unwrap()));
    sign(&header.to_string(), claims.to_string().as_bytes(), &registry_key())
}

/// [`good`] with another header: a JSON merge patch. The registry signs it.
pub fn header(patch: &str) -> String {
    let (mut header, claims) = parts();
    merge(&mut header, serde_json::from_str(patch).unwrap());
    sign(&header.to_string(), claims.to_string().as_bytes(), &registry_key())
}

/// [`good`] with the text of its claims changed. The registry signs it.
pub fn claims_text(change: impl FnOnce(String) -> String) -> String {
    let (header, claims) = parts();
    sign(&header.to_string(), change(claims.to_string()).as_bytes(), &registry_key())
}

/// [`good`] with the text of its header changed. The registry signs it.
pub fn header_text(change: impl FnOnce(String) -> String) -> String {
    let (header, claims) = parts();
    sign(&change(header.to_string()), claims.to_string().as_bytes(), &registry_key())
}

/// [`good`] with other bytes for a signature.
pub fn signature(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let token = good();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    change(&mut bytes);
    format!("{signed}.{}", b64(bytes))
}

/// The claims of [`good`], signed by somebody else.
pub fn signed_by(seed: u8) -> String {
    let (header, claims) = parts();
    sign(&header.to_string(), claims.to_string().as_bytes(), &key(seed))
}

/// A badge that a subject signs for itself, at the level that it says.
pub fn self_signed(seed: u8, level: &str) -> String {
    let key = Arc::new(key(seed));
    let mut claims = parts().1;
    let did = key.did();
    merge(
        &mut claims,
        json!({ "iss": did.as_str(), "sub": did.as_str(), "key": key.public_key().to_jwk(),
            "vc": { "credentialSubject": { "level": level } } }),
    );
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": did.as_str() });
    sign(&header.to_string(), claims.to_string().as_bytes(), &key)
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else { return *target = patch };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn times(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("$now") => {
            let offset = text.trim_start_matches("$now");
            let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().unwrap() };
            json!(NOW.as_i64() + offset)
        }
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, it)| (name, times(it))).collect()),
        other => other,
    }
}

/// A badge of level 4 for the holder of the key of `seed` under another name.
pub fn badge_for(did: &str, seed: u8) -> String {
    let request =
        rmcp_guard::identity::badge::BadgeRequest::new(Did::parse(did).unwrap(), key(seed).public_key(), LEVELS[4]);
    registry().issue(&request.domain("agents.example.com").audience(AUDIENCE), NOW).unwrap()
}

/// A badge that its subject signed at level 0, as it should be.
pub fn badge_of_nobody() -> String {
    let audience = [AUDIENCE.to_owned()];
    rmcp_guard::identity::badge::self_sign(&key(12), &audience, std::time::Duration::from_secs(300), NOW).unwrap()
}
