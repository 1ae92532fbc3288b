//! Why a badge was refused.

/// The class of a badge failure. Each has a code of RFC-002, of which two kinds may share one; only
/// [`RateLimited`](Self::RateLimited) is nothing that the RFC knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadgeErrorKind {
    /// Not a compact `EdDSA` JWS of type `JWT` over a JSON object.
    Malformed,
    /// A claim is missing, has a wrong type, or contradicts another.
    ClaimsInvalid,
    /// Nobody said to trust this issuer for this subject and level.
    IssuerUntrusted,
    /// The issuer is trusted, but its keys could not be obtained. Another attempt may succeed.
    KeysUnavailable,
    /// The signature was not checked, since too many others had failed just before. Another attempt may succeed.
    RateLimited,
    /// The signature does not verify under the issuer's key.
    SignatureInvalid,
    /// The badge has expired.
    Expired,
    /// The badge was issued in the future or is not valid yet.
    NotYetValid,
    /// The badge was made out to somebody else.
    AudienceMismatch,
    /// The badge is revoked.
    Revoked,
    /// Nobody could say whether the badge is revoked, or its holder disabled. Another attempt may succeed.
    RevocationCheckFailed,
    /// The agent or server that the badge names is disabled.
    AgentDisabled,
}

impl BadgeErrorKind {
    /// The stable code of RFC-002, such as `BADGE_EXPIRED`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "BADGE_MALFORMED",
            Self::ClaimsInvalid => "BADGE_CLAIMS_INVALID",
            Self::IssuerUntrusted | Self::KeysUnavailable => "BADGE_ISSUER_UNTRUSTED",
            Self::RateLimited => "RATE_LIMITED",
            Self::SignatureInvalid => "BADGE_SIGNATURE_INVALID",
            Self::Expired => "BADGE_EXPIRED",
            Self::NotYetValid => "BADGE_NOT_YET_VALID",
            Self::AudienceMismatch => "BADGE_AUDIENCE_MISMATCH",
            Self::Revoked => "BADGE_REVOKED",
            Self::RevocationCheckFailed => "REVOCATION_CHECK_FAILED",
            Self::AgentDisabled => "BADGE_AGENT_DISABLED",
        }
    }
}

/// A badge was refused. The detail is one of a fixed set of texts and holds nothing of the badge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
#[non_exhaustive]
pub struct BadgeVerifyError {
    kind: BadgeErrorKind,
    detail: &'static str,
}

impl BadgeVerifyError {
    pub(super) const fn new(kind: BadgeErrorKind, detail: &'static str) -> Self {
        Self { kind, detail }
    }

    pub(super) const fn malformed(detail: &'static str) -> Self {
        Self::new(BadgeErrorKind::Malformed, detail)
    }

    pub(super) const fn claims(detail: &'static str) -> Self {
        Self::new(BadgeErrorKind::ClaimsInvalid, detail)
    }

    /// The class of the failure.
    #[must_use]
    pub const fn kind(&self) -> BadgeErrorKind {
        self.kind
    }

    /// The rule that the badge broke, for logs and evidence.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        self.detail
    }
}
