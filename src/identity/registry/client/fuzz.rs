//! What fuzzing does with the answers of a registry: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use super::*;
use crate::identity::fuzz::{AGENT, NOW, REGISTRY};
use crate::identity::jws::CompactJws;
use crate::identity::registry::error::MAX_SERVER_MESSAGE_CHARS;

/// A badge, a challenge or an error: a challenge is answered for this registry only, and an error keeps no secret.
pub fn fuzz_registry_answer(data: &[u8]) {
    let error = RegistryError::of_answer(500, None, data, ["sk_live_1"].into_iter());
    if let Some(message) = error.server_message() {
        // a character is at most ten when it is escaped
        assert!(message.chars().count() <= MAX_SERVER_MESSAGE_CHARS * 10 && !message.contains("sk_live_1"));
        assert!(!message.contains(char::is_control));
    }
    let Ok(Value::Object(answer)) = crate::encoding::parse_unique_json(data) else { return };
    let (key, did) = (SigningKey::from_seed(&[0x21; 32]), Did::parse(AGENT).unwrap());
    if let Ok(badge) = IssuedBadge::of_answer(&answer) {
        let said = UnverifiedBadge::parse(&badge.token).unwrap();
        assert_eq!(said.claimed_expires_at(), Some(badge.expires_at));
        if badge.check_is_about(&did, &key.public_key()).is_ok() {
            assert!(did.is_named_by(badge.subject.as_deref().unwrap()));
        }
    }
    let Some(offer) = read_challenge(&answer) else { return };
    let Ok(proof) = offer.answer(&did, &key, &format!("{AGENT}#key-1"), REGISTRY, NOW) else { return };
    let proof = CompactJws::parse(&proof, usize::MAX).unwrap();
    let claims: Value = serde_json::from_slice(proof.payload()).unwrap();
    assert_eq!(HttpOrigin::parse(claims["aud"].as_str().unwrap()), HttpOrigin::parse(REGISTRY));
    let target = crate::identity::server::Channel::http(claims["htu"].as_str().unwrap()).unwrap();
    assert_eq!(target.origin(), HttpOrigin::parse(REGISTRY).ok().as_ref());
    assert!(claims["exp"].as_i64().unwrap() <= offer.expires_at.as_i64());
}
