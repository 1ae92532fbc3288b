//! Why a call was denied: one table of stable codes.

/// Why a call was denied.
///
/// [`code`](Self::code) is what callers and configuration see (lower snake case, capiscio-mcp's spelling where it has
/// one), [`rfc_code`](Self::rfc_code) is what evidence carries as `capiscio.deny_reason` (RFC-006 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenyReason {
    /// No credential was presented and the tool needs one.
    BadgeMissing,
    /// The badge is malformed or its claims are inconsistent.
    BadgeInvalid,
    /// The badge's signature does not verify.
    BadgeSignatureInvalid,
    /// The badge has expired.
    BadgeExpired,
    /// The badge is not valid yet.
    BadgeNotYetValid,
    /// The badge is revoked.
    BadgeRevoked,
    /// The badge names other audiences only.
    AudienceMismatch,
    /// The badge names no audience, so it is not bound to this server.
    BadgeUnbound,
    /// The badge's agent is disabled.
    AgentDisabled,
    /// Revocation or agent status could not be established.
    RevocationCheckFailed,
    /// The badge's issuer is not trusted.
    IssuerUntrusted,
    /// The issuer is trusted but its keys could not be obtained; trying again later can help.
    KeysUnavailable,
    /// The badge is a server's public identity, or our own, and not a caller's credential.
    ServerBadgePresented,
    /// The credential is of the wrong type, repeated, too long, or not text.
    CredentialMalformed,
    /// Two sources carry different credentials.
    CredentialConflict,
    /// The API key is not one that the configuration lists.
    ApiKeyUnknown,
    /// The caller's trust level is below the required one.
    TrustInsufficient,
    /// No rule allows the tool.
    ToolNotAllowed,
    /// The method has no requirement and was not opened.
    MethodNotAllowed,
    /// A policy decision point denied.
    PolicyDenied,
    /// The capability class is not covered.
    ScopeInsufficient,
    /// The requirement beside the tool could not be read.
    RequirementUnreadable,
    /// The session has no binding: the session layer is missing, or the binding is unknown.
    SessionUnbound,
    /// The task does not exist or belongs to somebody else.
    TaskNotFound,
    /// The caller holds too many tasks.
    TaskLimit,
    /// A retry's `requestState` was not given to this caller for this request, or was altered.
    RequestStateInvalid,
    /// A retry's `requestState` is too old.
    RequestStateExpired,
    /// Callers who are not authenticated have used up their share, of signature checks or of the evidence; trying again
    /// later can help.
    RateLimited,
    /// The evidence of the decision could not be recorded.
    EvidenceUnavailable,
    /// The request is malformed.
    RequestMalformed,
    /// The caller went away before the decision.
    CallCancelled,
    /// An internal failure; the call is denied because nothing could be decided.
    InternalError,
}

impl DenyReason {
    /// Every reason, for tables and tests.
    pub const ALL: &'static [Self] = &[
        Self::BadgeMissing,
        Self::BadgeInvalid,
        Self::BadgeSignatureInvalid,
        Self::BadgeExpired,
        Self::BadgeNotYetValid,
        Self::BadgeRevoked,
        Self::AudienceMismatch,
        Self::BadgeUnbound,
        Self::AgentDisabled,
        Self::RevocationCheckFailed,
        Self::IssuerUntrusted,
        Self::KeysUnavailable,
        Self::ServerBadgePresented,
        Self::CredentialMalformed,
        Self::CredentialConflict,
        Self::ApiKeyUnknown,
        Self::TrustInsufficient,
        Self::ToolNotAllowed,
        Self::MethodNotAllowed,
        Self::PolicyDenied,
        Self::ScopeInsufficient,
        Self::RequirementUnreadable,
        Self::SessionUnbound,
        Self::TaskNotFound,
        Self::TaskLimit,
        Self::RequestStateInvalid,
        Self::RequestStateExpired,
        Self::RateLimited,
        Self::EvidenceUnavailable,
        Self::RequestMalformed,
        Self::CallCancelled,
        Self::InternalError,
    ];

    /// The stable code in lower snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadgeMissing => "badge_missing",
            Self::BadgeInvalid => "badge_invalid",
            Self::BadgeSignatureInvalid => "badge_signature_invalid",
            Self::BadgeExpired => "badge_expired",
            Self::BadgeNotYetValid => "badge_not_yet_valid",
            Self::BadgeRevoked => "badge_revoked",
            Self::AudienceMismatch => "audience_mismatch",
            Self::BadgeUnbound => "badge_unbound",
            Self::AgentDisabled => "agent_disabled",
            Self::RevocationCheckFailed => "revocation_check_failed",
            Self::IssuerUntrusted => "issuer_untrusted",
            Self::KeysUnavailable => "keys_unavailable",
            Self::ServerBadgePresented => "server_badge_presented",
            Self::CredentialMalformed => "credential_malformed",
            Self::CredentialConflict => "credential_conflict",
            Self::ApiKeyUnknown => "api_key_unknown",
            Self::TrustInsufficient => "trust_insufficient",
            Self::ToolNotAllowed => "tool_not_allowed",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PolicyDenied => "policy_denied",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::RequirementUnreadable => "requirement_unreadable",
            Self::SessionUnbound => "session_unbound",
            Self::TaskNotFound => "task_not_found",
            Self::TaskLimit => "task_limit",
            Self::RequestStateInvalid => "request_state_invalid",
            Self::RequestStateExpired => "request_state_expired",
            Self::RateLimited => "rate_limited",
            Self::EvidenceUnavailable => "evidence_unavailable",
            Self::RequestMalformed => "request_malformed",
            Self::CallCancelled => "call_cancelled",
            Self::InternalError => "internal_error",
        }
    }

    /// The RFC-006 spelling that evidence carries; several reasons may share one.
    #[must_use]
    pub const fn rfc_code(self) -> &'static str {
        match self {
            Self::BadgeMissing => "TOOL_AUTH_MISSING",
            Self::BadgeInvalid
            | Self::BadgeSignatureInvalid
            | Self::BadgeExpired
            | Self::BadgeNotYetValid
            | Self::AudienceMismatch
            | Self::BadgeUnbound
            | Self::AgentDisabled
            | Self::RevocationCheckFailed
            | Self::ServerBadgePresented
            | Self::CredentialMalformed
            | Self::CredentialConflict
            | Self::ApiKeyUnknown => "TOOL_BADGE_INVALID",
            Self::BadgeRevoked => "TOOL_BADGE_REVOKED",
            Self::IssuerUntrusted | Self::KeysUnavailable => "TOOL_ISSUER_UNTRUSTED",
            Self::TrustInsufficient => "TOOL_TRUST_INSUFFICIENT",
            Self::ScopeInsufficient => "TOOL_ENVELOPE_SCOPE",
            Self::ToolNotAllowed
            | Self::MethodNotAllowed
            | Self::PolicyDenied
            | Self::RequirementUnreadable
            | Self::SessionUnbound
            | Self::TaskNotFound
            | Self::TaskLimit
            | Self::RequestStateInvalid
            | Self::RequestStateExpired
            | Self::RateLimited
            | Self::EvidenceUnavailable
            | Self::RequestMalformed
            | Self::CallCancelled
            | Self::InternalError => "TOOL_POLICY_DENIED",
        }
    }

    /// The peer's proto number (`MCPDenyReason`), 0 where it has none.
    #[must_use]
    pub const fn proto_number(self) -> u8 {
        match self {
            Self::BadgeMissing => 1,
            Self::BadgeInvalid
            | Self::BadgeSignatureInvalid
            | Self::BadgeNotYetValid
            | Self::AudienceMismatch
            | Self::BadgeUnbound
            | Self::AgentDisabled
            | Self::RevocationCheckFailed
            | Self::ServerBadgePresented
            | Self::CredentialMalformed
            | Self::CredentialConflict
            | Self::ApiKeyUnknown => 2,
            Self::BadgeExpired => 3,
            Self::BadgeRevoked => 4,
            Self::TrustInsufficient => 5,
            Self::ToolNotAllowed => 6,
            Self::IssuerUntrusted | Self::KeysUnavailable => 7,
            Self::PolicyDenied | Self::MethodNotAllowed => 8,
            Self::ScopeInsufficient => 9,
            Self::RequirementUnreadable
            | Self::SessionUnbound
            | Self::TaskNotFound
            | Self::TaskLimit
            | Self::RequestStateInvalid
            | Self::RequestStateExpired
            | Self::RateLimited
            | Self::EvidenceUnavailable
            | Self::RequestMalformed
            | Self::CallCancelled
            | Self::InternalError => 0,
        }
    }
}

impl std::fmt::Display for DenyReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Who reads the number and who reads the record learn the same.
    #[test]
    fn the_rfcs_code_and_the_peers_number_agree() {
        for &reason in DenyReason::ALL {
            let want = match reason.proto_number() {
                1 => "TOOL_AUTH_MISSING",
                2 | 3 => "TOOL_BADGE_INVALID",
                4 => "TOOL_BADGE_REVOKED",
                5 => "TOOL_TRUST_INSUFFICIENT",
                7 => "TOOL_ISSUER_UNTRUSTED",
                9 => "TOOL_ENVELOPE_SCOPE",
                _ => "TOOL_POLICY_DENIED",
            };
            assert_eq!(reason.rfc_code(), want, "{reason:?}");
        }
    }

    #[test]
    fn each_reason_has_a_code_of_its_own_which_is_its_text() {
        let codes: BTreeSet<_> = DenyReason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), DenyReason::ALL.len());
        for &reason in DenyReason::ALL {
            assert_eq!(reason.to_string(), reason.code());
            assert!(reason.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{reason}");
        }
    }
}
