//! JWK sets: the public keys of an issuer (RFC 7517 §5).

use serde_json::Value;

use crate::encoding::parse_unique_json;
use crate::identity::key::PublicKey;

/// Largest JWK set that is read, the limit of the peer's client.
pub const MAX_JWKS_BYTES: usize = 1024 * 1024;

/// Most keys in a set: each costs a point decompression, and an issuer rotates with two or three.
pub const MAX_JWKS_KEYS: usize = 100;

/// The bytes are not a JWK set. The message names the rule that they break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK set: {0}")]
#[non_exhaustive]
pub struct JwksError(&'static str);

/// The Ed25519 verification keys of an issuer, in the order of its set.
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<(Option<String>, PublicKey)>,
}

impl JwkSet {
    /// Reads a JWK set of at most [`MAX_JWKS_BYTES`] and [`MAX_JWKS_KEYS`].
    ///
    /// Keys of other types or uses, and keys that carry their private half, are passed over; the set may thus be empty.
    ///
    /// # Errors
    /// [`JwksError`] when the bytes are not `{"keys":[..]}` with unique member names, or exceed a limit.
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError("larger than 1 MiB"));
        }
        let set = parse_unique_json(json).map_err(|_| JwksError("not JSON with unique member names"))?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(JwksError("no `keys` array"))?;
        if keys.len() > MAX_JWKS_KEYS {
            return Err(JwksError("more than 100 keys"));
        }
        Ok(Self { keys: keys.iter().filter_map(usable).collect() })
    }

    /// The usable keys, each with its `kid`.
    pub fn keys(&self) -> impl Iterator<Item = (Option<&str>, &PublicKey)> {
        self.keys.iter().map(|(kid, key)| (kid.as_deref(), key))
    }

    /// The keys a token with this `kid` may be signed with: those of that name, or all when it names none.
    pub fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &PublicKey> {
        self.keys().filter(move |(own, _)| kid.is_none() || *own == kid).map(|(_, key)| key)
    }

    /// Whether the set has no usable key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The key, if it may verify `EdDSA` signatures (RFC 7517 §4.2 to §4.5).
fn usable(jwk: &Value) -> Option<(Option<String>, PublicKey)> {
    let absent_or = |name: &str, want: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(want));
    let may_verify = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    });
    // A published private half means that anybody can sign.
    if !absent_or("use", "sig") || !absent_or("alg", "EdDSA") || !may_verify || jwk.get("d").is_some() {
        return None;
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return None,
    };
    Some((kid, PublicKey::from_jwk(jwk).ok()?))
}

#[cfg(test)]
mod tests;
