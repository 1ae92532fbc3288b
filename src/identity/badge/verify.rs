//! Verification of badges (CapiscIO RFC-002). Each step is one function; [`BadgeVerifier::verify`] is their order.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::UnixSeconds;
use crate::identity::badge::claims::{Claims, Issuing};
use crate::identity::badge::revocation::pass_below_fail_closed;
use crate::identity::badge::signature_budget::{CheckBudgets, Spent};
use crate::identity::badge::signature_cache::{Fact, Partition, SignatureCache};
use crate::identity::badge::{
    BadgeErrorKind, BadgeVerifierBuilder, BadgeVerifyError, MAX_BADGE_BYTES, Revocations, UnverifiedBadge,
    VerifiedBadge,
};
use crate::identity::did::{Did, DidDocument};
use crate::identity::jwks::JwkSet;
use crate::identity::jws::CompactJws;
use crate::identity::key::PublicKey;
use crate::identity::resolve::{DidDocumentSource, document_that};
use crate::identity::server::HttpOrigin;
use crate::identity::trust_store::Issuer;

/// How far the clocks of issuer and verifier may disagree (RFC-002, `BADGE_CLOCK_SKEW_TOLERANCE`).
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Most keys that are tried for a badge whose header names none, so that one token costs a bounded number of
/// signature checks.
pub const MAX_KEYS_TRIED: usize = 5;

/// How closely the letter of RFC-002 is followed. All profiles verify alike; they differ in what they tolerate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Profile {
    /// Tolerates, with warnings, what the reference issuer leaves out: `typ`, `ial` and `key`.
    #[default]
    Interop,
    /// The letter of RFC-002.
    Strict,
    /// Interop, and every self-signed badge, `.invalid` issuers, and issuers on loopback http. Never in production.
    Dev,
}

impl Profile {
    /// The spelling in evidence and in configuration files.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Interop => "interop",
            Self::Strict => "strict",
            Self::Dev => "dev",
        }
    }
}

/// What one call brings: the time, and the issuers that count for it alone.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BadgeContext<'a> {
    /// The time at which the badge has to be valid.
    pub now: UnixSeconds,
    /// Origins of [`additional_issuer`](BadgeVerifierBuilder::additional_issuer)s that count for this call.
    pub additional_issuers: &'a [String],
}

impl BadgeContext<'_> {
    /// The time alone: no additional issuer counts.
    #[must_use]
    pub const fn at(now: UnixSeconds) -> Self {
        Self { now, additional_issuers: &[] }
    }
}

/// Verifies badges against a fixed configuration. Cheap to clone; clones share their signature cache.
#[derive(Clone, Debug)]
pub struct BadgeVerifier(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) profile: Profile,
    pub(super) issuers: Vec<TrustedIssuer>,
    pub(super) audiences: Vec<Arc<str>>,
    pub(super) accept_level_zero: bool,
    pub(super) self_signed: Vec<Did>,
    pub(super) revocation: Revocation,
    pub(super) documents: Option<Arc<dyn DidDocumentSource>>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) signatures: SignatureCache,
    pub(super) checks: CheckBudgets,
}

#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) issuer: Issuer,
    /// Counts only where the context names it.
    pub(super) additional: bool,
}

#[derive(Debug, Default)]
pub(super) enum Revocation {
    /// Nobody to ask: the rule of a missing list.
    #[default]
    Unset,
    Waived,
    Ask(Revocations),
}

impl BadgeVerifier {
    /// Starts from the strictest: nobody is trusted, no audience is ours, levels 2 to 4 need revocations.
    pub fn builder() -> BadgeVerifierBuilder {
        BadgeVerifierBuilder::default()
    }

    /// Verifies `token` in RFC-002's order, so that the first broken rule names the failure.
    ///
    /// No key or DID document is asked for before the issuer is known to be trusted. Answers without waiting when all
    /// sources are at hand. Cancel safe: a dropped verification leaves nothing behind.
    ///
    /// # Errors
    /// [`BadgeVerifyError`]; its kind says which step refused. "Could not find out" is a refusal.
    pub async fn verify(&self, token: &str, context: &BadgeContext<'_>) -> Result<VerifiedBadge, BadgeVerifyError> {
        let inner = &*self.0;
        let badge = inner.read(token)?;
        let claims = &*badge.claims;
        inner.check_lifetime(claims)?;
        match &claims.issuer {
            Issuing::Holder(key) => {
                inner.check_self_signed(&claims.subject)?;
                let mut spent = inner.checks.spend_on(Partition::SelfSigned, context.now);
                let key = badge.check_signature(&mut spent, [key])?;
                check_times(claims, context.now)?;
                inner.remember(Partition::SelfSigned, &badge, key);
            }
            Issuing::Authority(name, origin) => {
                let issuer = inner.trusted_issuer(name, origin, claims, context)?;
                let kid = claims.kid.as_deref();
                let mut keys = issuer.keys(kid).await.map_err(|_| {
                    BadgeVerifyError::new(BadgeErrorKind::KeysUnavailable, "the issuer's keys could not be obtained")
                })?;
                let mut spent = inner.checks.spend_on(Partition::Issued, context.now);
                let mut signer = badge.issued_by(&mut spent, &keys);
                // Only a `kid` makes `keys` look for a key that is new; the reference issuer writes none.
                if signer.as_ref().is_err_and(|error| error.kind() == BadgeErrorKind::SignatureInvalid)
                    && kid.is_none()
                    && let Ok(newer) = issuer.newer_keys(&keys).await
                {
                    keys = newer;
                    signer = badge.issued_by(&mut spent, &keys);
                }
                let key = signer?;
                check_times(claims, context.now)?;
                // Only now, so that the cache holds no badge that has expired when it enters.
                inner.remember(Partition::Issued, &badge, key);
                spent.refund();
            }
        }
        let bound_audience = inner.check_audience(claims)?;
        inner.check_key_binding(claims).await?;
        let mut warnings = claims.warnings.clone();
        if let Issuing::Authority(name, _) = &claims.issuer {
            inner.check_status(name, claims, context.now, &mut warnings).await?;
        }
        let Badge { claims, token_sha256, .. } = badge;
        Ok(VerifiedBadge { claims, bound_audience, token_sha256, warnings })
    }

    /// Whether anybody is trusted: an issuer, an additional one, or a self-signed badge.
    #[must_use]
    pub fn has_issuers(&self) -> bool {
        !self.0.issuers.is_empty() || !self.0.self_signed.is_empty() || self.0.accept_level_zero
    }

    /// Whether self-signed badges of this very subject are trusted, and not only those of everybody.
    pub(crate) fn names_self_signed(&self, subject: &Did) -> bool {
        self.0.self_signed.contains(subject)
    }

    /// Whether revocation is checked, or its check was waived by name.
    #[must_use]
    pub fn has_revocations(&self) -> bool {
        !matches!(self.0.revocation, Revocation::Unset)
    }
}

/// A token whose form is right, and what it says.
struct Badge<'t> {
    token: &'t str,
    token_sha256: [u8; 32],
    claims: Arc<Claims>,
    /// The key under which its signature verified before.
    known: Option<[u8; 32]>,
    /// Its parts, where they were needed to read it.
    jws: Option<CompactJws<'t>>,
}

impl Badge<'_> {
    fn issued_by<'k>(&self, spent: &mut Spent<'_>, keys: &'k JwkSet) -> Result<&'k PublicKey, BadgeVerifyError> {
        self.check_signature(spent, keys.candidates(self.claims.kid.as_deref()).take(MAX_KEYS_TRIED))
    }

    /// The candidate under which the signature verifies, by memory or by work.
    fn check_signature<'k>(
        &self,
        spent: &mut Spent<'_>,
        candidates: impl IntoIterator<Item = &'k PublicKey>,
    ) -> Result<&'k PublicKey, BadgeVerifyError> {
        for key in candidates {
            if self.known.as_ref() == Some(key.as_bytes()) {
                return Ok(key);
            }
            if !spent.one_more() {
                return Err(BadgeVerifyError::new(
                    BadgeErrorKind::RateLimited,
                    "too many signatures had to be checked just before",
                ));
            }
            let verified = match &self.jws {
                Some(jws) => jws.verify(key).is_ok(),
                None => CompactJws::parse(self.token, MAX_BADGE_BYTES).is_ok_and(|jws| jws.verify(key).is_ok()),
            };
            if verified {
                return Ok(key);
            }
        }
        Err(BadgeVerifyError::new(BadgeErrorKind::SignatureInvalid, "no key of the issuer verifies the signature"))
    }
}

impl Inner {
    /// What `token` says, by memory or by work; nobody has said yet that it is true.
    fn read<'t>(&self, token: &'t str) -> Result<Badge<'t>, BadgeVerifyError> {
        // the bound comes before the hash, as before everything else
        if token.len() > MAX_BADGE_BYTES {
            return Err(BadgeVerifyError::malformed("too long"));
        }
        let token_sha256: [u8; 32] = Sha256::digest(token).into();
        let remembered = self.signatures.get(&token_sha256);
        let known = remembered.as_ref().map(|fact| fact.key);
        if let Some(claims) = remembered.and_then(|fact| fact.claims) {
            return Ok(Badge { token, token_sha256, claims, known, jws: None });
        }
        let UnverifiedBadge { jws, claims } = UnverifiedBadge::parse(token)?;
        let claims = Arc::new(Claims::check((jws.typ(), jws.kid()), claims, self.profile)?);
        Ok(Badge { token, token_sha256, claims, known, jws: Some(jws) })
    }

    fn remember(&self, partition: Partition, badge: &Badge<'_>, key: &PublicKey) {
        if badge.known.as_ref() != Some(key.as_bytes()) {
            let claims = badge.claims.is_short(badge.token).then(|| Arc::clone(&badge.claims));
            self.signatures.insert(partition, badge.token_sha256, Fact { key: *key.as_bytes(), claims });
        }
    }

    /// S6: a badge that outlives its issuer's memory cannot be revoked in practice.
    fn check_lifetime(&self, claims: &Claims) -> Result<(), BadgeVerifyError> {
        match self.max_lifetime {
            Some(longest) if claims.expires_at > claims.issued_at.saturating_add(longest) => {
                Err(BadgeVerifyError::claims("the badge lives longer than allowed"))
            }
            _ => Ok(()),
        }
    }

    fn check_self_signed(&self, subject: &Did) -> Result<(), BadgeVerifyError> {
        if self.accept_level_zero || self.self_signed.contains(subject) {
            return Ok(());
        }
        Err(BadgeVerifyError::new(
            BadgeErrorKind::IssuerUntrusted,
            "self-signed badges of this subject are not accepted",
        ))
    }

    /// The issuer that may vouch for these claims in this call. Names are compared word for word.
    fn trusted_issuer(
        &self,
        name: &str,
        origin: &HttpOrigin,
        claims: &Claims,
        context: &BadgeContext<'_>,
    ) -> Result<&Issuer, BadgeVerifyError> {
        let untrusted = |detail| BadgeVerifyError::new(BadgeErrorKind::IssuerUntrusted, detail);
        if self.profile != Profile::Dev && is_reserved_invalid(origin) {
            return Err(untrusted("the issuer's host is reserved for tests"));
        }
        let counts = |trusted: &&TrustedIssuer| {
            trusted.issuer.origin() == name
                && (!trusted.additional || context.additional_issuers.iter().any(|named| named == name))
        };
        let mut known = self.issuers.iter().filter(counts).peekable();
        if known.peek().is_none() {
            return Err(untrusted("the issuer is not trusted"));
        }
        known
            .map(|trusted| &trusted.issuer)
            .find(|issuer| issuer.may_vouch_for(&claims.subject, claims.level))
            .ok_or(untrusted("the issuer is not trusted for this subject or level"))
    }

    /// The one of our audiences that the badge names; `None` when it has no `aud`.
    fn check_audience(&self, claims: &Claims) -> Result<Option<Arc<str>>, BadgeVerifyError> {
        let Some(named) = &claims.audience else { return Ok(None) };
        let ours = self.audiences.iter().find(|ours| named.iter().any(|named| **named == ***ours));
        let mismatch =
            BadgeVerifyError::new(BadgeErrorKind::AudienceMismatch, "the badge is made out to somebody else");
        ours.map(|ours| Some(Arc::clone(ours))).ok_or(mismatch)
    }

    /// IAL-1: the DID document of the subject lists `key` under `cnf.kid` (RFC-002 verification step 7).
    async fn check_key_binding(&self, claims: &Claims) -> Result<(), BadgeVerifyError> {
        let Some(kid) = &claims.confirmation else { return Ok(()) };
        let binds = |document: &DidDocument| {
            let listed = document.method(kid).filter(|_| *document.did() == claims.subject);
            listed.is_some() && listed == claims.key.as_ref()
        };
        let bound = if let Some(derived) = DidDocument::of_did_key(&claims.subject) {
            binds(&derived)
        } else {
            let documents = self.documents.as_deref();
            let documents = documents.ok_or(BadgeVerifyError::claims("no source of DID documents for `cnf`"))?;
            let document = document_that(documents, &claims.subject, binds).await;
            binds(&*document.map_err(|_| BadgeVerifyError::claims("the subject's DID document could not be obtained"))?)
        };
        if !bound {
            return Err(BadgeVerifyError::claims("`cnf.kid` is not the badge's `key` in the subject's DID document"));
        }
        Ok(())
    }

    async fn check_status(
        &self,
        issuer: &str,
        claims: &Claims,
        now: UnixSeconds,
        warnings: &mut Vec<&'static str>,
    ) -> Result<(), BadgeVerifyError> {
        match &self.revocation {
            Revocation::Unset => pass_below_fail_closed(claims.level, warnings),
            Revocation::Waived => Ok(()),
            Revocation::Ask(sources) => {
                sources.check_badge(issuer, &claims.jti, claims.level, now, warnings).await?;
                sources.check_subject(issuer, &claims.subject, now, warnings).await
            }
        }
    }
}

/// `exp > now - skew`, `iat <= now + skew`, `nbf <= now + skew`.
fn check_times(claims: &Claims, now: UnixSeconds) -> Result<(), BadgeVerifyError> {
    if claims.expires_at <= now.saturating_sub(CLOCK_SKEW) {
        return Err(BadgeVerifyError::new(BadgeErrorKind::Expired, "the badge has expired"));
    }
    let latest = now.saturating_add(CLOCK_SKEW);
    if claims.issued_at > latest || claims.not_before.is_some_and(|not_before| not_before > latest) {
        return Err(BadgeVerifyError::new(BadgeErrorKind::NotYetValid, "the badge is not valid yet"));
    }
    Ok(())
}

/// RFC 2606 §2: names under `.invalid` never exist, so nobody answers for such an issuer.
fn is_reserved_invalid(origin: &HttpOrigin) -> bool {
    let authority = origin.as_str().rsplit('/').next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    let last = host.trim_end_matches('.').rsplit('.').next();
    last == Some("invalid")
}

#[cfg(test)]
mod tests;
