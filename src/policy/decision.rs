//! The inputs and the answer of the decision.

use std::sync::Arc;

use crate::identity::badge::VerifiedBadge;
use crate::policy::DenyReason;

/// The answer to "may this caller call this tool?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller must break when this grows")]
pub enum Decision {
    /// The call may run.
    Allow,
    /// The call must not run. "Could not decide" is a denial.
    Deny,
}

/// The kind of credential a caller presented, whether or not it verified (RFC-006 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller must break when this grows")]
pub enum AuthLevel {
    /// Nothing was presented.
    Anonymous,
    /// An API key was presented.
    ApiKey,
    /// A badge was presented.
    Badge,
}

impl AuthLevel {
    /// The spelling in the API, in `_meta` and in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ApiKey => "api_key",
            Self::Badge => "badge",
        }
    }

    /// The spelling in evidence (`capiscio.auth.level`).
    #[must_use]
    pub const fn evidence_str(self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::ApiKey => "API_KEY",
            Self::Badge => "BADGE",
        }
    }
}

/// An authenticated caller, as the decision sees it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every kind of caller needs its own rule in the decision")]
pub enum Caller<'a> {
    /// No credential was presented.
    Anonymous,
    /// An API key that the configuration lists under this name.
    ApiKey(&'a str),
    /// A verified badge.
    Badge(&'a VerifiedBadge),
}

impl Caller<'_> {
    /// The kind of credential.
    #[must_use]
    pub const fn auth_level(&self) -> AuthLevel {
        match self {
            Self::Anonymous => AuthLevel::Anonymous,
            Self::ApiKey(_) => AuthLevel::ApiKey,
            Self::Badge(_) => AuthLevel::Badge,
        }
    }
}

/// A decision with everything that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Allow or deny.
    pub decision: Decision,
    /// Why it was denied; `None` exactly when it was allowed.
    pub reason: Option<DenyReason>,
    /// A fixed sentence for people, without policy internals.
    pub detail: &'static str,
    /// The rule that decided, as written in the configuration; `None` when no rule matched.
    pub rule: Option<Arc<str>>,
    /// The version of the policy that decided.
    pub policy_version: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_credential_has_a_spelling_for_callers_and_one_for_evidence() {
        for (level, word, evidence) in [
            (AuthLevel::Anonymous, "anonymous", "ANONYMOUS"),
            (AuthLevel::ApiKey, "api_key", "API_KEY"),
            (AuthLevel::Badge, "badge", "BADGE"),
        ] {
            assert_eq!((level.as_str(), level.evidence_str()), (word, evidence));
        }
    }
}
