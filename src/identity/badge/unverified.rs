//! Badges before verification: what a token says, said by nobody in particular.

use serde_json::{Map, Value};

use crate::clock::UnixSeconds;
use crate::encoding::{base64url_decode, parse_unique_json};
use crate::identity::badge::BadgeVerifyError;
use crate::identity::jws::CompactJws;
use crate::identity::trust_level::TrustLevel;

/// Longest badge that is read. Badges are about 1 KiB; HTTP servers stop at 8 to 16 KiB of headers.
pub const MAX_BADGE_BYTES: usize = 16 * 1024;

/// A well-formed badge that nobody has verified, for display and diagnosis. Never decide on what it says.
#[derive(Clone, Debug)]
pub struct UnverifiedBadge<'a> {
    pub(super) jws: CompactJws<'a>,
    pub(super) claims: Map<String, Value>,
}

impl<'a> UnverifiedBadge<'a> {
    /// Parses the form of a badge: a compact `EdDSA` JWS of at most [`MAX_BADGE_BYTES`] over one JSON object with unique
    /// member names (RFC-002 verification steps 1 to 3a).
    ///
    /// # Errors
    /// [`Malformed`](super::BadgeErrorKind::Malformed) for everything else.
    pub fn parse(token: &'a str) -> Result<Self, BadgeVerifyError> {
        let jws =
            CompactJws::parse(token, MAX_BADGE_BYTES).map_err(|error| BadgeVerifyError::malformed(error.detail()))?;
        match parse_unique_json(jws.payload()) {
            Ok(Value::Object(claims)) => Ok(Self { jws, claims }),
            Ok(_) => Err(BadgeVerifyError::malformed("the payload is not a JSON object")),
            Err(_) => Err(BadgeVerifyError::malformed("the payload is not JSON with unique member names")),
        }
    }

    /// The `typ` of the header.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.jws.typ()
    }

    /// The `kid` of the header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.jws.kid()
    }

    /// All claims, unverified and of any type.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The claimed `iss`, `sub` and `jti`.
    #[must_use]
    pub fn identity(&self) -> ClaimedIdentity {
        ClaimedIdentity::of(&self.claims)
    }

    /// The claimed trust level, if it is one.
    #[must_use]
    pub fn claimed_level(&self) -> Option<TrustLevel> {
        self.claims.get("vc")?.get("credentialSubject")?.get("level")?.as_str()?.parse().ok()
    }

    /// The claimed audiences; empty when there is no `aud` array.
    pub fn claimed_audience(&self) -> impl Iterator<Item = &str> {
        self.claims.get("aud").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The claimed time of issue, if it is an integer.
    #[must_use]
    pub fn claimed_issued_at(&self) -> Option<UnixSeconds> {
        self.claims.get("iat").and_then(Value::as_i64).map(UnixSeconds::new)
    }

    /// The claimed expiry, if it is an integer. A keeper plans renewal by it.
    #[must_use]
    pub fn claimed_expires_at(&self) -> Option<UnixSeconds> {
        self.claims.get("exp").and_then(Value::as_i64).map(UnixSeconds::new)
    }
}

/// Unverified identifiers of a token, for the `claimed.*` members of evidence. Attacker-controlled text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimedIdentity {
    /// The `iss` claim, if it is a string.
    pub issuer: Option<String>,
    /// The `sub` claim, if it is a string.
    pub subject: Option<String>,
    /// The `jti` claim, if it is a string.
    pub jti: Option<String>,
}

impl ClaimedIdentity {
    /// Reads what can be read of `token`, whatever its header and signature are. Never fails; a token longer than
    /// [`MAX_BADGE_BYTES`] is not looked at.
    #[must_use]
    pub fn peek(token: &str) -> Self {
        if token.len() > MAX_BADGE_BYTES {
            return Self::default();
        }
        let payload = token.split('.').nth(1).and_then(|payload| base64url_decode(payload).ok());
        match payload.and_then(|payload| parse_unique_json(&payload).ok()) {
            Some(Value::Object(claims)) => Self::of(&claims),
            _ => Self::default(),
        }
    }

    fn of(claims: &Map<String, Value>) -> Self {
        let text = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Self { issuer: text("iss"), subject: text("sub"), jti: text("jti") }
    }
}
