//! Proof of possession: the server shows, for a nonce of the client's, that it holds its private key.
//!
//! Two proofs answer the same challenge:
//!
//! - the *bare* proof of capiscio-mcp, a compact JWS of type [`POP_TYP`] whose payload is the text of the nonce. It names
//!   neither origin nor badge, so whoever can pass the nonce on can pass the proof back;
//! - the *bound* proof, ours, of type [`BOUND_POP_TYP`] over nonce, DID, badge, origin and time. A relay cannot use it,
//!   since the server signs only origins that are its own and the client compares with the URL it dialled.
//!
//! In scope: challenge, signing, checking. Out of scope: which key belongs to a DID, and what a proof is worth on which
//! transport ([`server`](crate::identity::server)). Deployment caveat: a challenge's age is measured on the client's
//! monotonic clock, the bound proof's `iat` on both wall clocks, so hosts need a common time within [`MAX_POP_SKEW`].
//!
//! ```
//! use std::time::Instant;
//! use rmcp_guard::identity::key::SigningKey;
//! use rmcp_guard::identity::pop::{PopChallenge, PopError, sign_response};
//!
//! let key = SigningKey::from_seed(&[7; 32]);
//! let did = key.did();
//! let kid = did.key_id().ok_or("not a did:key")?;
//!
//! let challenge = PopChallenge::new(Instant::now())?;
//! let proof = sign_response(&key, &kid, challenge.nonce())?;
//! challenge.verify_response(&proof, &did, &key.public_key(), Instant::now())?;
//!
//! // A proof that answers another challenge is refused.
//! let other = PopChallenge::new(Instant::now())?;
//! assert_eq!(other.verify_response(&proof, &did, &key.public_key(), Instant::now()), Err(PopError::WrongNonce));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod issuance;

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::UnixSeconds;
use crate::encoding::{base64url, parse_unique_json};
use crate::identity::did::Did;
use crate::identity::jws::{self, CompactJws};
use crate::identity::key::{PublicKey, SigningKey};

/// `_meta` member of `initialize` and `server/discover` requests: the client's nonce.
pub const META_POP_NONCE: &str = "capiscio_pop_nonce";
/// `_meta` member of the request: the client's clock in Unix seconds; diagnostics only.
pub const META_POP_CREATED_AT: &str = "capiscio_pop_created_at";
/// `_meta` member of the request: the origin the client dialled, which a bound proof must name.
pub const META_POP_ORIGIN: &str = "rmcp-guard/pop-origin";
/// `_meta` member of the result: the bare proof.
pub const META_POP_SIGNATURE: &str = "capiscio_pop_signature";
/// `_meta` member of the result: the server's clock in Unix seconds; diagnostics only.
pub const META_POP_SIGNED_AT: &str = "capiscio_pop_signed_at";
/// `_meta` member of the result: the bound proof.
pub const META_BOUND_POP: &str = "rmcp-guard/pop";

/// `typ` of a bare proof.
pub const POP_TYP: &str = "pop+jws";
/// `typ` of a bound proof.
pub const BOUND_POP_TYP: &str = "bound-pop+jws";

/// The longest time between making a challenge and receiving its answer; a later proof may be a replayed one.
pub const MAX_CHALLENGE_AGE: Duration = Duration::from_secs(30);
/// How far the server's `iat` may lie from the client's clock, either way; the tolerance that badges have.
pub const MAX_POP_SKEW: Duration = Duration::from_secs(60);
/// The fewest characters of a nonce that a server signs: 128 bits in base64url.
pub const MIN_NONCE_CHARS: usize = 22;
/// The most characters of a nonce that a server signs: no room for a token's claims.
pub const MAX_NONCE_CHARS: usize = 128;
/// The longest proof a client parses: key id, DID and origin at their own limits of 2 KiB each, and their base64url.
pub const MAX_POP_BYTES: usize = 16 * 1024;

/// The operating system gave no random bytes for a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes for a challenge")]
#[non_exhaustive]
pub struct ChallengeError;

/// The text is not a nonce that a server may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 22 to 128 base64url characters")]
#[non_exhaustive]
pub struct NonceError;

/// Why a proof of possession does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.detail())]
#[non_exhaustive]
pub enum PopError {
    /// Not a compact JWS signed with `EdDSA`, or its claims have the wrong form.
    Malformed,
    /// The header's `typ` is not the proof's.
    WrongType,
    /// The part of `kid` before `#` is not the server's DID.
    WrongKeyId,
    /// The proof answers another challenge.
    WrongNonce,
    /// The signature does not verify under the server's key.
    SignatureInvalid,
    /// The answer came later than [`MAX_CHALLENGE_AGE`] after the challenge.
    Expired,
    /// The bound proof names another DID.
    WrongDid,
    /// The bound proof names another badge than the one disclosed beside it.
    WrongBadge,
    /// The bound proof names another origin than the one dialled.
    WrongOrigin,
    /// The bound proof's `iat` is further than [`MAX_POP_SKEW`] from the client's clock.
    ClockSkew,
}

impl PopError {
    /// One fixed sentence, without anything the server sent.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "the proof is malformed",
            Self::WrongType => "the proof has another type",
            Self::WrongKeyId => "the proof's key id names another DID",
            Self::WrongNonce => "the proof answers another challenge",
            Self::SignatureInvalid => "the proof's signature does not verify",
            Self::Expired => "the challenge has expired",
            Self::WrongDid => "the proof names another DID",
            Self::WrongBadge => "the proof names another badge",
            Self::WrongOrigin => "the proof names another origin",
            Self::ClockSkew => "the proof was made too far from this clock's time",
        }
    }
}

/// What a bound proof says besides the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the claims of a bound proof; a new one must be looked at on both sides")]
pub struct PopBinding<'a> {
    /// The server's DID.
    pub did: &'a Did,
    /// The exact text of the badge disclosed beside the proof.
    pub badge: Option<&'a str>,
    /// The origin the client dialled, as [`HttpOrigin`](crate::identity::server::HttpOrigin) writes it.
    pub origin: &'a str,
}

/// A nonce for one handshake, good for one answer within [`MAX_CHALLENGE_AGE`].
///
/// Checking an answer consumes the challenge, so that no nonce is accepted twice.
pub struct PopChallenge {
    nonce: String,
    made_at: Instant,
}

impl fmt::Debug for PopChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopChallenge").field("made_at", &self.made_at).finish_non_exhaustive()
    }
}

impl PopChallenge {
    /// A challenge of 32 random bytes, made at `now`.
    ///
    /// # Errors
    /// [`ChallengeError`] when the operating system has no randomness to give.
    pub fn new(now: Instant) -> Result<Self, ChallengeError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| ChallengeError)?;
        Ok(Self { nonce: base64url(&bytes), made_at: now })
    }

    /// The challenge of a nonce that is given.
    #[cfg(any(test, fuzzing))]
    pub(in crate::identity) fn of_nonce(nonce: &str, made_at: Instant) -> Self {
        Self { nonce: nonce.to_owned(), made_at }
    }

    /// The nonce: 43 base64url characters.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The `_meta` members that carry this challenge: nonce, the client's time, and the origin dialled, if any.
    #[must_use]
    pub fn request_meta(&self, origin: Option<&str>, now: UnixSeconds) -> Map<String, Value> {
        let mut meta = Map::new();
        meta.insert(META_POP_NONCE.to_owned(), json!(self.nonce));
        meta.insert(META_POP_CREATED_AT.to_owned(), json!(now.as_i64()));
        if let Some(origin) = origin {
            meta.insert(META_POP_ORIGIN.to_owned(), json!(origin));
        }
        meta
    }

    /// Checks the bare proof of capiscio-mcp, received at `received`.
    ///
    /// # Errors
    /// [`PopError`], by the first check that fails: age, form, type, key id, nonce, signature.
    pub fn verify_response(self, proof: &str, did: &Did, key: &PublicKey, received: Instant) -> Result<(), PopError> {
        self.check_age(received)?;
        let proof = parse(proof, POP_TYP, did)?;
        self.check_nonce(proof.payload())?;
        proof.verify(key).map_err(|_| PopError::SignatureInvalid)
    }

    /// Checks a bound proof, received at `received` when the wall clock said `now`.
    ///
    /// # Errors
    /// [`PopError`], by the first check that fails: age, form, type, key id, signature, nonce, DID, badge, origin, time.
    pub fn verify_bound(
        self,
        proof: &str,
        binding: &PopBinding<'_>,
        key: &PublicKey,
        received: Instant,
        now: UnixSeconds,
    ) -> Result<(), PopError> {
        self.check_age(received)?;
        let proof = parse(proof, BOUND_POP_TYP, binding.did)?;
        proof.verify(key).map_err(|_| PopError::SignatureInvalid)?;

        let Ok(Value::Object(claims)) = parse_unique_json(proof.payload()) else { return Err(PopError::Malformed) };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(PopError::Malformed);
        self.check_nonce(text("nonce")?.as_bytes())?;
        if !binding.did.is_named_by(text("did")?) {
            return Err(PopError::WrongDid);
        }
        // `null` says "no badge"; a proof that leaves the claim out says nothing and is malformed.
        if claims.get("badge").ok_or(PopError::Malformed)? != &badge_claim(binding.badge) {
            return Err(PopError::WrongBadge);
        }
        if text("origin")? != binding.origin {
            return Err(PopError::WrongOrigin);
        }
        let iat = claims.get("iat").and_then(Value::as_i64).ok_or(PopError::Malformed)?;
        if iat.abs_diff(now.as_i64()) > MAX_POP_SKEW.as_secs() {
            return Err(PopError::ClockSkew);
        }
        Ok(())
    }

    fn check_age(&self, received: Instant) -> Result<(), PopError> {
        if received.saturating_duration_since(self.made_at) > MAX_CHALLENGE_AGE {
            return Err(PopError::Expired);
        }
        Ok(())
    }

    fn check_nonce(&self, nonce: &[u8]) -> Result<(), PopError> {
        if bool::from(self.nonce.as_bytes().ct_eq(nonce)) { Ok(()) } else { Err(PopError::WrongNonce) }
    }
}

/// The key id of a proof of either type, unverified: it says which key to check the proof with.
///
/// # Errors
/// [`PopError::Malformed`] when `proof` is no compact JWS or names no key, [`PopError::WrongKeyId`] when the key is not
/// one of `did`.
pub fn key_id(proof: &str, did: &Did) -> Result<String, PopError> {
    let proof = CompactJws::parse(proof, MAX_POP_BYTES).map_err(|_| PopError::Malformed)?;
    let kid = proof.kid().ok_or(PopError::Malformed)?;
    if is_key_of(kid, did) { Ok(kid.to_owned()) } else { Err(PopError::WrongKeyId) }
}

/// Whether `key` signed the proof, whatever it says: tells a rotated key from a current one, and verifies nothing.
pub(crate) fn is_signed_by(proof: &str, key: &PublicKey) -> bool {
    CompactJws::parse(proof, MAX_POP_BYTES).is_ok_and(|proof| proof.verify(key).is_ok())
}

/// Signs the bare proof for a client's `nonce`.
///
/// Only text that can be nothing but a nonce is signed. Without that bound the key would be a signing oracle: a "nonce"
/// that is a JSON object of claims would come back as a token of ours.
///
/// # Errors
/// [`NonceError`] unless `nonce` is [`MIN_NONCE_CHARS`] to [`MAX_NONCE_CHARS`] base64url characters.
pub fn sign_response(key: &SigningKey, kid: &str, nonce: &str) -> Result<String, NonceError> {
    check_nonce_form(nonce)?;
    Ok(jws::sign(key, Some(POP_TYP), Some(kid), nonce.as_bytes()))
}

/// Signs the bound proof for a client's `nonce` at `now`. The caller has checked that the origin is its own.
///
/// # Errors
/// [`NonceError`] as in [`sign_response`].
pub fn sign_bound(
    key: &SigningKey,
    kid: &str,
    nonce: &str,
    binding: &PopBinding<'_>,
    now: UnixSeconds,
) -> Result<String, NonceError> {
    check_nonce_form(nonce)?;
    let claims = json!({
        "nonce": nonce,
        "did": binding.did.as_str(),
        "badge": badge_claim(binding.badge),
        "origin": binding.origin,
        "iat": now.as_i64(),
    });
    Ok(jws::sign(key, Some(BOUND_POP_TYP), Some(kid), claims.to_string().as_bytes()))
}

pub(crate) fn check_nonce_form(nonce: &str) -> Result<(), NonceError> {
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (MIN_NONCE_CHARS..=MAX_NONCE_CHARS).contains(&nonce.len()) && nonce.bytes().all(in_alphabet) {
        Ok(())
    } else {
        Err(NonceError)
    }
}

fn badge_claim(badge: Option<&str>) -> Value {
    badge.map_or(Value::Null, |badge| json!(format!("sha256:{}", base64url(&Sha256::digest(badge)))))
}

fn parse<'a>(proof: &'a str, typ: &str, did: &Did) -> Result<CompactJws<'a>, PopError> {
    let proof = CompactJws::parse(proof, MAX_POP_BYTES).map_err(|_| PopError::Malformed)?;
    if proof.typ() != Some(typ) {
        return Err(PopError::WrongType);
    }
    if !proof.kid().is_some_and(|kid| is_key_of(kid, did)) {
        return Err(PopError::WrongKeyId);
    }
    Ok(proof)
}

/// Whether `kid` is a DID URL `<did>#<fragment>` of `did`. The fragment is free: peers name keys differently.
pub(crate) fn is_key_of(kid: &str, did: &Did) -> bool {
    kid.split_once('#').is_some_and(|(owner, fragment)| did.is_named_by(owner) && !fragment.is_empty())
}

#[cfg(test)]
mod tests;
