//! Issuing of badges: by an authority for levels 1 to 4, by the holder itself for level 0 (CapiscIO RFC-002 §7.2).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::UnixSeconds;
use crate::identity::did::Did;
use crate::identity::jws;
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::pop::is_key_of;
use crate::identity::server::HttpOrigin;
use crate::identity::trust_level::TrustLevel;

/// Shortest lifetime of a badge (RFC-002 §7.2).
pub const MIN_BADGE_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime of a badge (RFC-002 §7.2).
pub const MAX_BADGE_LIFETIME: Duration = Duration::from_secs(3600);
/// Lifetime of a badge where none is asked for (RFC-002 §7.2).
pub const DEFAULT_BADGE_LIFETIME: Duration = Duration::from_secs(300);

/// A badge cannot be issued as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadgeIssueError {
    /// The issuer's name is not an https origin, nor an http origin on loopback.
    #[error("the issuer is not an https origin")]
    Origin,
    /// The issuer's key has no id.
    #[error("the key id is empty")]
    KeyId,
    /// An authority issues levels 1 to 4 only.
    #[error("level 0 is self-signed, not issued")]
    Level,
    /// Levels 2 to 4 name the validated domain.
    #[error("levels 2 to 4 need a domain")]
    Domain,
    /// The key is not the one in the did:key subject.
    #[error("the key is not the key of the did:key subject")]
    Key,
    /// The key id that the holder proved is not one of the subject's.
    #[error("the proven key id is not one of the subject's")]
    ConfirmationKey,
    /// The lifetime lies outside of 60 to 3600 seconds.
    #[error("the lifetime is not 60 to 3600 seconds")]
    Lifetime,
    /// The operating system gave no random bytes for the badge's id.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Issues badges of levels 1 to 4 in the name of an https origin; on loopback http is possible too, but only the
/// development profile accepts such badges.
///
/// The caller has done the checks that the level stands for; this type only writes down what it is told.
#[derive(Clone, Debug)]
pub struct BadgeIssuer {
    origin: String,
    kid: String,
    key: Arc<SigningKey>,
}

impl BadgeIssuer {
    /// An issuer named `origin`, whose JWK set lists the public half of `key` as `kid`.
    ///
    /// # Errors
    /// [`BadgeIssueError::Origin`] unless `origin` is an https origin or an http origin on loopback,
    /// [`BadgeIssueError::KeyId`] when `kid` is empty.
    pub fn new(origin: &str, kid: &str, key: Arc<SigningKey>) -> Result<Self, BadgeIssueError> {
        if !HttpOrigin::parse(origin).is_ok_and(|origin| origin.is_tls() || origin.is_loopback()) {
            return Err(BadgeIssueError::Origin);
        }
        if kid.is_empty() {
            return Err(BadgeIssueError::KeyId);
        }
        Ok(Self { origin: origin.to_owned(), kid: kid.to_owned(), key })
    }

    /// One badge, valid from `now` on, with a random UUID version 4 as its id.
    ///
    /// # Errors
    /// [`BadgeIssueError`] naming what in `request` cannot be.
    pub fn issue(&self, request: &BadgeRequest, now: UnixSeconds) -> Result<String, BadgeIssueError> {
        if request.level == TrustLevel::SelfSigned {
            return Err(BadgeIssueError::Level);
        }
        let domain = request.domain.as_deref().filter(|domain| !domain.is_empty());
        if domain.is_none() && request.level >= TrustLevel::DomainValidated {
            return Err(BadgeIssueError::Domain);
        }
        if request.subject.public_key().is_some_and(|own| *own != request.key) {
            return Err(BadgeIssueError::Key);
        }
        if request.proven_key_id.as_deref().is_some_and(|kid| !is_key_of(kid, &request.subject)) {
            return Err(BadgeIssueError::ConfirmationKey);
        }
        sign(&self.key, &self.kid, &self.origin, request, now)
    }

    /// The JWK set with this issuer's key, as it is served under `/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks_json(&self) -> String {
        let mut jwk = self.key.public_key().to_jwk();
        if let Value::Object(members) = &mut jwk {
            members.insert("alg".to_owned(), "EdDSA".into());
            members.insert("kid".to_owned(), self.kid.as_str().into());
            members.insert("use".to_owned(), "sig".into());
        }
        json!({ "keys": [jwk] }).to_string()
    }
}

/// What a badge shall say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BadgeRequest {
    /// Who the badge is about.
    pub subject: Did,
    /// The subject's own key; for a did:key subject the key in its name.
    pub key: PublicKey,
    /// How much was checked.
    pub level: TrustLevel,
    /// The validated domain; required from level 2 up.
    pub domain: Option<String>,
    /// Who the badge is made out to; without an entry it has no `aud` and is good anywhere.
    pub audience: Vec<String>,
    /// From issue to expiry, in whole seconds: 60 to 3600.
    pub lifetime: Duration,
    /// The id of `key` in the subject's DID document, if the subject proved to hold it (RFC-003): the badge is of IAL-1
    /// then and names it as `cnf.kid`.
    pub proven_key_id: Option<String>,
}

impl BadgeRequest {
    /// A badge of IAL-0 without domain and audience that lives [`DEFAULT_BADGE_LIFETIME`].
    #[must_use]
    pub const fn new(subject: Did, key: PublicKey, level: TrustLevel) -> Self {
        Self {
            subject,
            key,
            level,
            domain: None,
            audience: Vec::new(),
            lifetime: DEFAULT_BADGE_LIFETIME,
            proven_key_id: None,
        }
    }

    /// With the validated domain.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Made out to one more audience, an origin or another stable name.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Of IAL-1: the subject proved to hold `key`, whose id in its DID document is `kid`.
    #[must_use]
    pub fn proven(mut self, kid: impl Into<String>) -> Self {
        self.proven_key_id = Some(kid.into());
        self
    }

    /// With another lifetime, [`MIN_BADGE_LIFETIME`] to [`MAX_BADGE_LIFETIME`].
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }
}

/// A badge of level 0: the holder of `key` states who it is, and nobody checked.
///
/// # Errors
/// [`BadgeIssueError::Lifetime`] or [`BadgeIssueError::Random`].
pub fn self_sign(
    key: &SigningKey,
    audience: &[String],
    lifetime: Duration,
    now: UnixSeconds,
) -> Result<String, BadgeIssueError> {
    let mut request = BadgeRequest::new(key.did(), key.public_key(), TrustLevel::SelfSigned).lifetime(lifetime);
    request.audience = audience.to_vec();
    let kid = request.subject.key_id().unwrap_or_default();
    let issuer = request.subject.as_str().to_owned();
    sign(key, &kid, &issuer, &request, now)
}

fn sign(
    key: &SigningKey,
    kid: &str,
    issuer: &str,
    request: &BadgeRequest,
    now: UnixSeconds,
) -> Result<String, BadgeIssueError> {
    if !(MIN_BADGE_LIFETIME..=MAX_BADGE_LIFETIME).contains(&request.lifetime) {
        return Err(BadgeIssueError::Lifetime);
    }
    let mut subject = Map::new();
    if let Some(domain) = request.domain.as_deref().filter(|domain| !domain.is_empty()) {
        subject.insert("domain".to_owned(), domain.into());
    }
    subject.insert("level".to_owned(), request.level.as_str().into());
    let mut claims = json!({
        "jti": random_id()?,
        "iss": issuer,
        "sub": request.subject.as_str(),
        "iat": now.as_i64(),
        "exp": now.saturating_add(request.lifetime).as_i64(),
        "ial": "0",
        "key": request.key.to_jwk(),
        "vc": { "type": ["VerifiableCredential", "AgentIdentity"], "credentialSubject": subject },
    });
    if let Value::Object(claims) = &mut claims {
        if !request.audience.is_empty() {
            claims.insert("aud".to_owned(), request.audience.clone().into());
        }
        if let Some(kid) = &request.proven_key_id {
            claims.insert("ial".to_owned(), "1".into());
            claims.insert("cnf".to_owned(), json!({ "kid": kid }));
        }
    }
    Ok(jws::sign(key, Some("JWT"), Some(kid), claims.to_string().as_bytes()))
}

/// A UUID version 4. Not `Uuid::new_v4`, which panics when the operating system has no random bytes.
fn random_id() -> Result<String, BadgeIssueError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| BadgeIssueError::Random)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests;
