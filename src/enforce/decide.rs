//! The decision on a call: who it is from, and what the policy says. Nothing here has an effect.

use crate::clock::UnixSeconds;
use crate::enforce::{Action, Call, CallerCredential, Enforcer, PresentedCredential, Principal};
use crate::identity::badge::{BadgeContext, BadgeErrorKind, BadgeVerifyError, VerifiedBadge};
use crate::policy::{Caller, Decision, DenyReason, Evaluation, ToolRequirement};

/// A decision, with who it is about and what was required.
pub(crate) struct Verdict {
    pub(crate) evaluation: Evaluation,
    pub(crate) identity: Option<Identity>,
    pub(crate) requirement: Option<ToolRequirement>,
}

impl Verdict {
    pub(crate) fn badge(&self) -> Option<&VerifiedBadge> {
        match &self.identity {
            Some(Identity::Badge(badge)) => Some(badge),
            Some(Identity::Anonymous | Identity::ApiKey(_)) | None => None,
        }
    }

    pub(crate) fn principal(&self) -> Principal {
        Principal::new(self.identity.as_ref().map_or(Caller::Anonymous, Identity::caller))
    }
}

/// The verified caller, owned.
pub(crate) enum Identity {
    Anonymous,
    ApiKey(String),
    Badge(Box<VerifiedBadge>),
}

impl Identity {
    pub(crate) fn caller(&self) -> Caller<'_> {
        match self {
            Self::Anonymous => Caller::Anonymous,
            Self::ApiKey(name) => Caller::ApiKey(name),
            Self::Badge(badge) => Caller::Badge(badge),
        }
    }
}

pub(crate) struct Failure {
    pub(crate) reason: DenyReason,
    pub(crate) detail: &'static str,
}

fn failure(error: &BadgeVerifyError) -> Failure {
    let reason = match error.kind() {
        BadgeErrorKind::Malformed | BadgeErrorKind::ClaimsInvalid => DenyReason::BadgeInvalid,
        BadgeErrorKind::IssuerUntrusted => DenyReason::IssuerUntrusted,
        BadgeErrorKind::KeysUnavailable => DenyReason::KeysUnavailable,
        BadgeErrorKind::SignatureInvalid => DenyReason::BadgeSignatureInvalid,
        BadgeErrorKind::Expired => DenyReason::BadgeExpired,
        BadgeErrorKind::NotYetValid => DenyReason::BadgeNotYetValid,
        BadgeErrorKind::AudienceMismatch => DenyReason::AudienceMismatch,
        BadgeErrorKind::Revoked => DenyReason::BadgeRevoked,
        BadgeErrorKind::RevocationCheckFailed => DenyReason::RevocationCheckFailed,
        BadgeErrorKind::AgentDisabled => DenyReason::AgentDisabled,
    };
    Failure { reason, detail: error.detail() }
}

impl Enforcer {
    /// The decision alone: no side effect, so that it can be dropped or repeated at will.
    pub(crate) async fn decide(&self, call: &Call<'_>, credential: &PresentedCredential, now: UnixSeconds) -> Verdict {
        let policy = self.config().policy();
        let beside = match call.beside {
            Some(Ok(requirement)) => Some(requirement),
            Some(Err(())) | None => None,
        };
        let requirement = match call.action {
            Action::Tool { .. } | Action::Task { .. } => {
                call.action.tool().and_then(|tool| policy.effective(tool, beside))
            }
            Action::Method { class, .. } => policy.method_requirement(class).cloned(),
            Action::Custom { .. } => None,
        };
        let issuers = requirement.as_ref().map_or(&[][..], ToolRequirement::additional_issuers);
        let identity = self.identify(credential, issuers, now).await;
        let evaluation = match (&identity, call.refused) {
            (_, Some((reason, detail))) => self.denied(reason, detail),
            (Err(failure), None) => self.denied(failure.reason, failure.detail),
            (Ok(_), None) if call.beside == Some(Err(())) => {
                self.denied(DenyReason::RequirementUnreadable, "the requirement beside the tool cannot be read")
            }
            (Ok(identity), None) => match call.action {
                Action::Tool { name, .. } => policy.evaluate(name, identity.caller(), beside),
                Action::Task { tool, .. } => policy.evaluate(tool, identity.caller(), beside),
                Action::Method { class, .. } => policy.evaluate_method(class, identity.caller()),
                Action::Custom { method } => policy.evaluate_custom(method, identity.caller()),
            },
        };
        Verdict { evaluation, identity: identity.ok(), requirement }
    }

    pub(crate) async fn identify(
        &self,
        credential: &PresentedCredential,
        additional_issuers: &[String],
        now: UnixSeconds,
    ) -> Result<Identity, Failure> {
        match credential {
            Err(error) => Err(Failure { reason: error.reason(), detail: error.detail() }),
            Ok(CallerCredential::Anonymous) => Ok(Identity::Anonymous),
            Ok(CallerCredential::ApiKey(key)) => {
                self.config().api_key_name(key).map(|name| Identity::ApiKey(name.to_owned())).ok_or(Failure {
                    reason: DenyReason::ApiKeyUnknown,
                    detail: "the API key is not one that this server lists",
                })
            }
            Ok(CallerCredential::Badge(token)) => {
                let context = BadgeContext { additional_issuers, ..BadgeContext::at(now) };
                let badge = self.config().verifier().verify(token, &context).await.map_err(|error| failure(&error))?;
                if self.is_server_identity(&badge) {
                    return Err(Failure {
                        reason: DenyReason::ServerBadgePresented,
                        detail: "a server's public badge is not a caller's credential",
                    });
                }
                Ok(Identity::Badge(Box::new(badge)))
            }
        }
    }

    /// Servers publish their badges in every handshake, so anybody can copy one; ours above all.
    fn is_server_identity(&self, badge: &VerifiedBadge) -> bool {
        let subject = badge.subject();
        let names_a_server = subject.web().is_some_and(|web| web.segments().iter().any(|segment| segment == "servers"));
        names_a_server
            || self
                .config()
                .own_dids()
                .iter()
                .any(|own| own == subject || own.public_key().is_some_and(|key| badge.key() == Some(key)))
    }

    pub(crate) fn denied(&self, reason: DenyReason, detail: &'static str) -> Evaluation {
        Evaluation {
            decision: Decision::Deny,
            reason: Some(reason),
            detail,
            rule: None,
            policy_version: self.config().policy().version_shared(),
        }
    }
}
