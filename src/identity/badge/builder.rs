//! The configuration of a verifier. What is left out is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::badge::signature_budget::{CheckBudgets, DEFAULT_SIGNATURE_CHECKS_PER_SECOND};
use crate::identity::badge::signature_cache::SignatureCache;
use crate::identity::badge::verify::{Inner, Revocation, TrustedIssuer};
use crate::identity::badge::{BadgeVerifier, Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::resolve::DidDocumentSource;
use crate::identity::trust_store::Issuer;

/// Longest `exp - iat` that is accepted by default, the maximum of RFC-002 §7.2.
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// Badges that are remembered by default, at one or two kilobytes each.
const DEFAULT_SIGNATURE_CACHE: usize = 10_000;

/// Collects what makes a [`BadgeVerifier`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct BadgeVerifierBuilder {
    profile: Profile,
    issuers: Vec<TrustedIssuer>,
    audiences: Vec<String>,
    accept_level_zero: bool,
    self_signed: Vec<Did>,
    revocation: Revocation,
    documents: Option<Arc<dyn DidDocumentSource>>,
    max_lifetime: Option<Duration>,
    signature_cache: usize,
    signature_checks: u32,
}

impl Default for BadgeVerifierBuilder {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            accept_level_zero: false,
            self_signed: Vec::new(),
            revocation: Revocation::default(),
            documents: None,
            max_lifetime: Some(DEFAULT_MAX_LIFETIME),
            signature_cache: DEFAULT_SIGNATURE_CACHE,
            signature_checks: DEFAULT_SIGNATURE_CHECKS_PER_SECOND,
        }
    }
}

impl BadgeVerifierBuilder {
    /// Which tolerances apply. [`Profile::Interop`] by default.
    pub const fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Trusts `issuer` for the subjects and levels that it is limited to.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(TrustedIssuer { issuer, additional: false });
        self
    }

    /// Knows `issuer`, but trusts it only in calls whose [`BadgeContext`](super::BadgeContext) names it.
    pub fn additional_issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(TrustedIssuer { issuer, additional: true });
        self
    }

    /// Adds an identity of ours, compared byte for byte with the entries of `aud`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts every self-signed badge, level 0. Off by default: anybody can make one.
    pub const fn accept_level_zero(mut self, accept: bool) -> Self {
        self.accept_level_zero = accept;
        self
    }

    /// Accepts self-signed badges, level 0, of this did:key. A did:web cannot sign for itself and has no effect.
    pub fn trusted_self_signed(mut self, did: Did) -> Self {
        self.self_signed.push(did);
        self
    }

    /// Where revocation and agent status are asked. Without it levels 2 to 4 are refused.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocation = Revocation::Ask(revocations);
        self
    }

    /// Accepts every level without asking whether the badge is revoked or its subject disabled.
    pub fn insecure_no_revocation(mut self) -> Self {
        self.revocation = Revocation::Waived;
        self
    }

    /// Where the DID documents of did:web subjects come from. Without it their IAL-1 badges are refused.
    pub fn did_documents(mut self, documents: Arc<dyn DidDocumentSource>) -> Self {
        self.documents = Some(documents);
        self
    }

    /// Longest `exp - iat`. 3600 s by default.
    pub const fn max_lifetime(mut self, longest: Duration) -> Self {
        self.max_lifetime = Some(longest);
        self
    }

    /// Accepts badges of any lifetime.
    pub const fn insecure_no_max_lifetime(mut self) -> Self {
        self.max_lifetime = None;
        self
    }

    /// Number of badges that are remembered: what their bytes say and the key that these verify under, one or two
    /// kilobytes each. 10,000 by default, 0 for none. Self-signed badges have an eighth of that for themselves.
    pub const fn signature_cache(mut self, entries: usize) -> Self {
        self.signature_cache = entries;
        self
    }

    /// Signature checks each second on badges that turn out not to count, ten times as many at once;
    /// [`DEFAULT_SIGNATURE_CHECKS_PER_SECOND`](super::DEFAULT_SIGNATURE_CHECKS_PER_SECOND) by default. Beyond it badges whose
    /// signature is not remembered are refused as [`RateLimited`](super::BadgeErrorKind::RateLimited).
    pub const fn signature_checks_per_second(mut self, checks: u32) -> Self {
        self.signature_checks = checks;
        self
    }

    /// The verifier.
    #[must_use]
    pub fn build(self) -> BadgeVerifier {
        BadgeVerifier(Arc::new(Inner {
            accept_level_zero: self.accept_level_zero || self.profile == Profile::Dev,
            profile: self.profile,
            issuers: self.issuers,
            audiences: self.audiences.into_iter().map(Into::into).collect(),
            self_signed: self.self_signed,
            revocation: self.revocation,
            documents: self.documents,
            max_lifetime: self.max_lifetime,
            signatures: SignatureCache::new(self.signature_cache),
            checks: CheckBudgets::new(self.signature_checks),
        }))
    }
}
