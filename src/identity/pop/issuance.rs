//! Proof of possession at issuance: whoever asks for a badge of IAL-1 signs a challenge of the authority (CapiscIO
//! RFC-003).
//!
//! The holder answers an [`OfferedChallenge`] with a compact JWS of type [`PROOF_TYP`]. The authority keeps a
//! [`Challenge`] and checks the proof in two steps: [`Challenge::check`] needs nothing but the proof, so that no DID is
//! resolved for one that cannot count; [`CheckedProof::verify`] takes the DID document.
//!
//! In scope: challenge, proof, every check and its error code. Out of scope: storing challenges, rate limits, and marking
//! a challenge used, which has to be atomic with issuing the badge ([`ProofError::ChallengeUsed`] for the loser).
//! Algorithm `EdDSA` only. Deployment caveat: the clocks of both sides must agree within [`MAX_PROOF_SKEW`].
//!
//! ```
//! use rmcp_guard::clock::UnixSeconds;
//! use rmcp_guard::identity::did::DidDocument;
//! use rmcp_guard::identity::key::SigningKey;
//! use rmcp_guard::identity::pop::issuance::{Challenge, DEFAULT_CHALLENGE_LIFETIME, ProofError};
//!
//! let now = UnixSeconds::new(1_760_000_000);
//! let key = SigningKey::generate()?;
//! let (did, kid) = (key.did(), key.did().key_id().ok_or("not a did:key")?);
//! let url = "https://registry.example.com/v1/agents/did%3Akey%3Az6Mk/badge";
//! let challenge =
//!     Challenge::new(did.clone(), "https://registry.example.com", url, now, DEFAULT_CHALLENGE_LIFETIME)?;
//!
//! let proof = challenge.offer().answer(&did, &key, &kid, "https://registry.example.com", now)?;
//! let document = DidDocument::of_did_key(&did).ok_or("not a did:key")?;
//! let verified = challenge.check(&did, &proof, now)?.verify(&document)?;
//! assert_eq!(verified.key_id(), kid);
//!
//! // The holder of another key cannot answer in this one's name.
//! let forged = challenge.offer().answer(&did, &SigningKey::generate()?, &kid, "https://registry.example.com", now)?;
//! assert_eq!(challenge.check(&did, &forged, now)?.verify(&document).unwrap_err(), ProofError::SignatureInvalid);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use crate::clock::UnixSeconds;
use crate::encoding::{base64url, parse_unique_json};
use crate::identity::did::{Did, DidDocument};
use crate::identity::jws::{self, CompactJws};
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::pop::{ChallengeError, check_nonce_form};
use crate::identity::server::{Channel, HttpOrigin};

pub use error::ProofError;

/// `typ` of a proof.
pub const PROOF_TYP: &str = "pop+jwt";
/// The only method that a proof is made for.
pub const PROOF_METHOD: &str = "POST";
/// The longest proof that is parsed: three DIDs of at most 2 KiB, one of them percent-encoded, and their base64url.
pub const MAX_PROOF_BYTES: usize = 24 * 1024;
/// The longest time from a proof's `iat` to its `exp` (RFC-003).
pub const MAX_PROOF_LIFETIME: Duration = Duration::from_secs(60);
/// How far a proof's `iat` may lie ahead of the authority's clock, or before the challenge was made (RFC-003).
pub const MAX_PROOF_SKEW: Duration = Duration::from_secs(60);
/// The longest life of a challenge (RFC-003).
pub const MAX_CHALLENGE_LIFETIME: Duration = Duration::from_secs(600);
/// The life of a challenge where none is asked for (RFC-003).
pub const DEFAULT_CHALLENGE_LIFETIME: Duration = Duration::from_secs(300);

/// Why a holder does not sign for a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Id, nonce, method or target is not of the form that RFC-003 gives it.
    #[error("the challenge is malformed")]
    Malformed,
    /// The challenge asks for a proof that counts elsewhere: `proof_aud` or `htu` name another origin.
    #[error("the challenge asks for a proof to another authority")]
    OtherAuthority,
    /// The challenge has expired by this clock.
    #[error("the challenge has expired")]
    Expired,
    /// The operating system gave no random bytes for the proof's id.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// The id of a challenge: `ch-` and a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChallengeId(uuid::Uuid);

impl ChallengeId {
    /// Reads an id in the one spelling that [`Display`](fmt::Display) writes: lower case, with hyphens (check 1).
    ///
    /// # Errors
    /// [`ProofError::InvalidChallengeId`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let uuid = text.strip_prefix("ch-").and_then(|uuid| uuid::Uuid::try_parse(uuid).ok());
        uuid.map(Self).filter(|id| id.to_string() == text).ok_or(ProofError::InvalidChallengeId)
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ch-{}", self.0)
    }
}

/// What an authority remembers of a challenge.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "an authority makes it from the rows of its store; all of it is checked")]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// Whom the badge is to name.
    pub did: Did,
    /// The nonce, as it was sent.
    pub nonce: String,
    /// The authority's origin.
    pub proof_aud: String,
    /// The exact URL that the proof is to be posted to.
    pub htu: String,
    /// When it was made.
    pub created_at: UnixSeconds,
    /// When it expires; at this very second it has.
    pub expires_at: UnixSeconds,
    /// Whether it was answered.
    pub used: bool,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("id", &self.id)
            .field("did", &self.did)
            .field("expires_at", &self.expires_at)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Challenge {
    /// A challenge with a random id and nonce for `did`, made at `now`, that lives for `lifetime`, at most
    /// [`MAX_CHALLENGE_LIFETIME`].
    ///
    /// # Errors
    /// [`ChallengeError`] when the operating system has no randomness to give.
    pub fn new(
        did: Did,
        proof_aud: &str,
        htu: &str,
        now: UnixSeconds,
        lifetime: Duration,
    ) -> Result<Self, ChallengeError> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| ChallengeError)?;
        Ok(Self {
            id: ChallengeId(random_uuid().ok_or(ChallengeError)?),
            did,
            nonce: base64url(&nonce),
            proof_aud: proof_aud.to_owned(),
            htu: htu.to_owned(),
            created_at: now,
            expires_at: now.saturating_add(lifetime.min(MAX_CHALLENGE_LIFETIME)),
            used: false,
        })
    }

    /// What the holder is told.
    #[must_use]
    pub fn offer(&self) -> OfferedChallenge {
        OfferedChallenge {
            challenge_id: self.id.to_string(),
            nonce: self.nonce.clone(),
            proof_aud: self.proof_aud.clone(),
            htu: self.htu.clone(),
            htm: PROOF_METHOD.to_owned(),
            expires_at: self.expires_at,
        }
    }

    /// Checks 3 to 19 of RFC-003: all but the key. `path_did` is the DID in the path of the request.
    ///
    /// # Errors
    /// [`ProofError`], by the first check that fails.
    pub fn check<'a>(&self, path_did: &Did, proof: &'a str, now: UnixSeconds) -> Result<CheckedProof<'a>, ProofError> {
        if self.did != *path_did {
            return Err(ProofError::SubjectMismatch);
        }
        if self.used {
            return Err(ProofError::ChallengeUsed);
        }
        if now >= self.expires_at {
            return Err(ProofError::ChallengeExpired);
        }

        let proof = CompactJws::parse(proof, MAX_PROOF_BYTES).map_err(|_| ProofError::InvalidProof)?;
        let (Some(PROOF_TYP), Some(kid)) = (proof.typ(), proof.kid()) else { return Err(ProofError::InvalidProof) };
        let claims = parse_unique_json(proof.payload()).map_err(|_| ProofError::InvalidProof)?;
        let Value::Object(claims) = claims else { return Err(ProofError::InvalidProof) };
        if !claims.contains_key("cid") {
            return Err(ProofError::MissingChallengeId);
        }
        if !claims.contains_key("exp") {
            return Err(ProofError::MissingExpiry);
        }
        if text(&claims, "jti")?.is_empty() {
            return Err(ProofError::InvalidProof);
        }

        if text(&claims, "cid")? != self.id.to_string() {
            return Err(ProofError::ChallengeIdMismatch);
        }
        if !bool::from(text(&claims, "nonce")?.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(ProofError::InvalidProof);
        }
        if text(&claims, "aud")? != self.proof_aud {
            return Err(ProofError::AudienceMismatch);
        }
        if text(&claims, "htu")? != self.htu {
            return Err(ProofError::TargetMismatch);
        }
        if text(&claims, "htm")? != PROOF_METHOD {
            return Err(ProofError::InvalidProof);
        }
        self.check_times(time(&claims, "iat")?, time(&claims, "exp")?, now)?;
        if !path_did.is_named_by(text(&claims, "sub")?) {
            return Err(ProofError::SubjectMismatch);
        }
        Ok(CheckedProof { kid: kid.to_owned(), jws: proof, did: self.did.clone() })
    }

    fn check_times(&self, iat: UnixSeconds, exp: UnixSeconds, now: UnixSeconds) -> Result<(), ProofError> {
        let earliest = self.created_at.saturating_sub(MAX_PROOF_SKEW);
        if iat > now.saturating_add(MAX_PROOF_SKEW) || iat < earliest || iat > self.expires_at {
            return Err(ProofError::IssuedAtInvalid);
        }
        if exp > iat.saturating_add(MAX_PROOF_LIFETIME) {
            return Err(ProofError::LifetimeTooLong);
        }
        if exp <= now {
            return Err(ProofError::ProofExpired);
        }
        if exp > self.expires_at {
            return Err(ProofError::ExpiryOutsideChallenge);
        }
        Ok(())
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<&'a str, ProofError> {
    claims.get(name).and_then(Value::as_str).ok_or(ProofError::InvalidProof)
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<UnixSeconds, ProofError> {
    claims.get(name).and_then(Value::as_i64).map(UnixSeconds::new).ok_or(ProofError::InvalidProof)
}

/// Not `Uuid::new_v4`, which panics when the operating system has no random bytes.
fn random_uuid() -> Option<uuid::Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// A proof that answers a challenge as it should, signed by nobody knows whom yet.
#[derive(Clone, Debug)]
pub struct CheckedProof<'a> {
    jws: CompactJws<'a>,
    did: Did,
    kid: String,
}

impl CheckedProof<'_> {
    /// The DID whose document [`verify`](Self::verify) needs.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// Checks 20 to 23 of RFC-003: the key is one that the DID authenticates with, and it made the signature.
    ///
    /// # Errors
    /// [`ProofError`], by the first check that fails; [`ProofError::DidDocumentInvalid`] for another DID's document.
    pub fn verify(self, document: &DidDocument) -> Result<VerifiedProof, ProofError> {
        if *document.did() != self.did {
            return Err(ProofError::DidDocumentInvalid);
        }
        document.method(&self.kid).ok_or(ProofError::KeyNotFound)?;
        let key = document.authentication_method(&self.kid).ok_or(ProofError::KeyNotInAuthentication)?.clone();
        self.jws.verify(&key).map_err(|_| ProofError::SignatureInvalid)?;
        Ok(VerifiedProof { did: self.did, kid: self.kid, key })
    }
}

/// Somebody proved to hold a key that a DID authenticates with. Only [`CheckedProof::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    did: Did,
    kid: String,
    key: PublicKey,
}

impl VerifiedProof {
    /// Whose key it is.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// The id of the key: a badge's `cnf.kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// The key: a badge's `key`.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// The claims of a proof, in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the claims that RFC-003 requires, all of them")]
pub struct ProofClaims {
    /// The challenge's id.
    pub cid: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// Who asks.
    pub sub: String,
    /// The authority's origin.
    pub aud: String,
    /// The URL that the proof is posted to.
    pub htu: String,
    /// The method, `POST`.
    pub htm: String,
    /// When the proof was made, in Unix seconds.
    pub iat: i64,
    /// When it expires, in Unix seconds.
    pub exp: i64,
    /// A random UUID.
    pub jti: String,
}

impl ProofClaims {
    /// Signs the claims as they are: a compact JWS with the header `alg`, `kid`, `typ`. [`OfferedChallenge::answer`]
    /// checks first what it signs.
    #[must_use]
    pub fn sign(&self, key: &SigningKey, kid: &str) -> String {
        // A struct of strings and integers always has a JSON form; an empty payload would verify nowhere.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        jws::sign(key, Some(PROOF_TYP), Some(kid), &payload)
    }
}

/// A challenge as an authority sent it: nothing about it is checked.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "the members that RFC-003 requires of the answer")]
pub struct OfferedChallenge {
    /// `challenge_id`.
    pub challenge_id: String,
    /// `nonce`.
    pub nonce: String,
    /// `proof_aud`.
    pub proof_aud: String,
    /// `htu`.
    pub htu: String,
    /// `htm`.
    pub htm: String,
    /// `challenge_expires_at`.
    pub expires_at: UnixSeconds,
}

impl fmt::Debug for OfferedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedChallenge")
            .field("challenge_id", &self.challenge_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl OfferedChallenge {
    /// Signs the proof that `did` holds `key`, at `now`. It expires after [`MAX_PROOF_LIFETIME`] or with the challenge.
    ///
    /// `authority` is the origin of whoever was asked. A challenge that names another is not signed: an authority could
    /// else pass on a challenge of the next one, and get a badge there in our name.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn answer(
        &self,
        did: &Did,
        key: &SigningKey,
        kid: &str,
        authority: &str,
        now: UnixSeconds,
    ) -> Result<String, OfferError> {
        ChallengeId::parse(&self.challenge_id).map_err(|_| OfferError::Malformed)?;
        check_nonce_form(&self.nonce).map_err(|_| OfferError::Malformed)?;
        let target = Channel::http(&self.htu).map_err(|_| OfferError::Malformed)?;
        if self.htm != PROOF_METHOD {
            return Err(OfferError::Malformed);
        }
        let authority = HttpOrigin::parse(authority).map_err(|_| OfferError::OtherAuthority)?;
        let named = HttpOrigin::parse(&self.proof_aud).map_err(|_| OfferError::OtherAuthority)?;
        if named != authority || target.origin() != Some(&authority) {
            return Err(OfferError::OtherAuthority);
        }
        if now >= self.expires_at {
            return Err(OfferError::Expired);
        }
        let claims = ProofClaims {
            cid: self.challenge_id.clone(),
            nonce: self.nonce.clone(),
            sub: did.as_str().to_owned(),
            aud: self.proof_aud.clone(),
            htu: self.htu.clone(),
            htm: PROOF_METHOD.to_owned(),
            iat: now.as_i64(),
            exp: now.saturating_add(MAX_PROOF_LIFETIME).min(self.expires_at).as_i64(),
            jti: random_uuid().ok_or(OfferError::Random)?.to_string(),
        };
        Ok(claims.sign(key, kid))
    }
}

#[cfg(test)]
mod tests;
