//! What is known of a badge once it has been verified.

use std::sync::Arc;

#[cfg(feature = "layer")]
use sha2::{Digest as _, Sha256};

use crate::clock::UnixSeconds;
use crate::identity::badge::claims::{Claims, Issuing};
use crate::identity::did::Did;
use crate::identity::key::PublicKey;
use crate::identity::trust_level::TrustLevel;

/// Proof that a badge was verified. Only [`BadgeVerifier::verify`](super::BadgeVerifier::verify) makes one.
///
/// # Examples
/// It can be read:
/// ```
/// use rmcp_guard::identity::badge::VerifiedBadge;
///
/// fn subject(badge: &VerifiedBadge) -> &str {
///     badge.subject().as_str()
/// }
/// ```
/// and not be made:
/// ```compile_fail
/// use rmcp_guard::identity::badge::VerifiedBadge;
/// use rmcp_guard::identity::did::Did;
///
/// fn forge(subject: Did) -> VerifiedBadge {
///     VerifiedBadge { subject, ..unimplemented!() }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBadge {
    pub(super) claims: Arc<Claims>,
    pub(super) bound_audience: Option<Arc<str>>,
    pub(super) token_sha256: [u8; 32],
    pub(super) warnings: Vec<&'static str>,
}

impl VerifiedBadge {
    /// The badge's id, the handle for revocation and audit.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.claims.jti
    }

    /// The issuer: an https origin, or the subject's own did:key at level 0.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match &self.claims.issuer {
            Issuing::Holder(_) => self.claims.subject.as_str(),
            Issuing::Authority(name, _) => name,
        }
    }

    /// Who the badge is about.
    #[must_use]
    pub fn subject(&self) -> &Did {
        &self.claims.subject
    }

    /// How much the issuer checked.
    #[must_use]
    pub fn level(&self) -> TrustLevel {
        self.claims.level
    }

    /// The domain that the issuer validated; present from level 2 up.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.claims.domain.as_deref()
    }

    /// The audience of the verifier that the badge names; `None` for a badge without `aud`, which anybody who sees it
    /// can present here.
    #[must_use]
    pub fn bound_audience(&self) -> Option<&str> {
        self.bound_audience.as_deref()
    }

    /// When the badge expires. It is accepted for up to [`CLOCK_SKEW`](super::CLOCK_SKEW) longer.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.claims.expires_at
    }

    /// When the badge was issued.
    #[must_use]
    pub fn issued_at(&self) -> UnixSeconds {
        self.claims.issued_at
    }

    /// The subject's own key, for proofs of possession; `None` for a did:web subject whose badge carries none.
    #[must_use]
    pub fn key(&self) -> Option<&PublicKey> {
        self.claims.key.as_ref()
    }

    /// Whether the subject proved possession of its key when the badge was issued (IAL-1).
    #[must_use]
    pub fn is_ial1(&self) -> bool {
        self.claims.confirmation.is_some()
    }

    /// Whether the subject issued the badge to itself (level 0).
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        matches!(self.claims.issuer, Issuing::Holder(_))
    }

    /// SHA-256 of the exact token.
    #[must_use]
    pub const fn token_sha256(&self) -> &[u8; 32] {
        &self.token_sha256
    }

    /// Whether `token` is the exact token that was verified.
    #[cfg(feature = "layer")]
    pub(crate) fn is_of_token(&self, token: &str) -> bool {
        self.token_sha256[..] == Sha256::digest(token)[..]
    }

    /// Tolerances that this badge needed, as fixed texts.
    #[must_use]
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }
}
