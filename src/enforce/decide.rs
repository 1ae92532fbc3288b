//! Who sends a request, found out once, and the decision on it, which is pure. Nothing here has an effect.
//!
//! "On every call" (S5) means once per request: time, revocation and the status of the subject are looked at when the
//! request is authenticated, and whatever is decided within it (the session, a call, each tool of a list) rests on that.
//! No two requests share an authentication, nor a decision.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::enforce::{Action, Call, CallerCredential, Enforcer, GuardConfig, PresentedCredential, Principal, recorder};
use crate::identity::badge::{BadgeContext, BadgeErrorKind, BadgeVerifyError, ClaimedIdentity, VerifiedBadge};
use crate::policy::{Caller, Decision, DenyReason, Evaluation, ToolRequirement};

/// Longest time to find out who sends a request. A call holds its place in the evidence meanwhile, and a source that
/// hangs must not take the places of all others; each source has a shorter limit of its own.
pub const MAX_AUTHENTICATION: Duration = Duration::from_secs(15);

/// Longest time from the authentication of a request's head to the decision on its body: a client that holds the body
/// back gets no decision on what was true when it began.
#[cfg(feature = "layer")]
const FRESH: Duration = Duration::from_secs(5);

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

/// The verified caller.
#[derive(Clone)]
pub(crate) enum Identity {
    Anonymous,
    ApiKey(String),
    Badge(Arc<VerifiedBadge>),
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

#[derive(Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) reason: DenyReason,
    pub(crate) detail: &'static str,
}

/// Who sends one request, as the widest trust of the configuration says: issuers that only some tools trust count here.
#[derive(Clone)]
pub(crate) struct Authenticated {
    outcome: Result<Identity, Failure>,
    /// The badge's issuer, where it counts only for the tools that name it.
    additional: Option<String>,
    #[cfg(feature = "layer")]
    at: UnixSeconds,
    #[cfg(feature = "layer")]
    by: GuardConfig,
}

impl Authenticated {
    fn new(
        outcome: Result<Identity, Failure>,
        credential: &PresentedCredential,
        config: &GuardConfig,
        #[cfg_attr(not(feature = "layer"), expect(unused_variables, reason = "nobody vouches without a layer"))]
        at: UnixSeconds,
    ) -> Self {
        let issuer = match (&outcome, credential) {
            _ if config.additional_issuers().is_empty() => None,
            (Ok(Identity::Badge(badge)), _) => Some(badge.issuer().to_owned()),
            // Of a badge that fails, the claim chooses between two denials and no more.
            (Err(failure), Ok(CallerCredential::Badge(token))) if failure.reason != DenyReason::BadgeInvalid => {
                ClaimedIdentity::peek(token).issuer
            }
            _ => None,
        };
        Self {
            outcome,
            additional: issuer.filter(|issuer| config.additional_issuers().contains(issuer)),
            #[cfg(feature = "layer")]
            at,
            #[cfg(feature = "layer")]
            by: config.clone(),
        }
    }

    /// The caller as far as these additional issuers are trusted (S4).
    fn under(&self, additional_issuers: &[String]) -> Result<&Identity, Failure> {
        match &self.additional {
            Some(issuer) if !additional_issuers.contains(issuer) => {
                Err(Failure { reason: DenyReason::IssuerUntrusted, detail: "the issuer is not trusted" })
            }
            _ => self.outcome.as_ref().map_err(|failure| *failure),
        }
    }

    /// Who it is, for what no tool decides: sessions, and the ownership of tasks.
    pub(crate) fn principal(&self) -> Result<Principal, DenyReason> {
        match &self.outcome {
            Ok(identity) => Ok(Principal::new(identity.caller())),
            Err(failure) => Err(failure.reason),
        }
    }

    /// When the caller's badge expires; `None` without a badge.
    #[cfg(feature = "layer")]
    pub(crate) fn badge_expires(&self) -> Option<UnixSeconds> {
        match &self.outcome {
            Ok(Identity::Badge(badge)) => Some(badge.expires_at()),
            Ok(Identity::Anonymous | Identity::ApiKey(_)) | Err(_) => None,
        }
    }

    /// Whether this is the answer that `enforcer` would give for `credential` at this moment of the same request: by
    /// the same configuration, about these very bytes, and from just now.
    ///
    /// Only a badge is worth the question; nothing has to be asked about the rest.
    #[cfg(feature = "layer")]
    pub(crate) fn answers_for(&self, enforcer: &Enforcer, credential: &PresentedCredential) -> bool {
        let (Ok(Identity::Badge(badge)), Ok(CallerCredential::Badge(token))) = (&self.outcome, credential) else {
            return false;
        };
        let now = enforcer.now_unix();
        self.by.is_same_as(enforcer.config())
            && (self.at..=self.at.saturating_add(FRESH)).contains(&now)
            && badge.is_of_token(token)
    }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated").field("ok", &self.outcome.is_ok()).finish_non_exhaustive()
    }
}

/// Whatever it was that did not answer, nobody could say in time whether the badge counts.
const TOO_SLOW: Failure =
    Failure { reason: DenyReason::RevocationCheckFailed, detail: "the credential could not be checked in time" };

fn failure(error: &BadgeVerifyError) -> Failure {
    let reason = match error.kind() {
        BadgeErrorKind::Malformed | BadgeErrorKind::ClaimsInvalid => DenyReason::BadgeInvalid,
        BadgeErrorKind::IssuerUntrusted => DenyReason::IssuerUntrusted,
        BadgeErrorKind::KeysUnavailable => DenyReason::KeysUnavailable,
        BadgeErrorKind::RateLimited => DenyReason::RateLimited,
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
    /// Who presents this credential: asked once for a request, and for no longer than [`MAX_AUTHENTICATION`].
    pub(crate) async fn identify(&self, credential: &PresentedCredential) -> Authenticated {
        match recorder::in_time(MAX_AUTHENTICATION, self.identify_unhurried(credential)).await {
            Some(authenticated) => authenticated,
            None => Authenticated::new(Err(TOO_SLOW), credential, self.config(), self.now_unix()),
        }
    }

    /// [`identify`](Self::identify) without a limit, which needs no timer.
    pub(crate) async fn identify_unhurried(&self, credential: &PresentedCredential) -> Authenticated {
        let now = self.now_unix();
        let outcome = self.verify(credential, now).await;
        Authenticated::new(outcome, credential, self.config(), now)
    }

    /// The decision alone: pure, so that it can be taken for each tool of a list.
    pub(crate) fn decide(&self, call: &Call<'_>, caller: &Authenticated) -> Verdict {
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
        let identity = caller.under(issuers);
        let evaluation = match (identity, call.refused) {
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
        Verdict { evaluation, identity: identity.ok().cloned(), requirement }
    }

    /// Whether a caller has shown who it is, so that its records are not those of strangers (S29). A badge that anybody can
    /// make for itself shows nothing.
    pub(crate) fn knows(&self, caller: &Authenticated) -> bool {
        match &caller.outcome {
            Ok(Identity::Badge(badge)) => {
                !badge.is_self_signed() || self.config().verifier().names_self_signed(badge.subject())
            }
            Ok(Identity::ApiKey(_)) => true,
            Ok(Identity::Anonymous) | Err(_) => false,
        }
    }

    /// Whether [`decide`](Self::decide) allows the call.
    pub(crate) fn allows(&self, call: &Call<'_>, caller: &Authenticated) -> bool {
        self.decide(call, caller).evaluation.decision == Decision::Allow
    }

    async fn verify(&self, credential: &PresentedCredential, now: UnixSeconds) -> Result<Identity, Failure> {
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
                let additional_issuers = self.config().additional_issuers();
                let context = BadgeContext { additional_issuers, ..BadgeContext::at(now) };
                let badge = self.config().verifier().verify(token, &context).await.map_err(|error| failure(&error))?;
                if self.is_server_identity(&badge) {
                    return Err(Failure {
                        reason: DenyReason::ServerBadgePresented,
                        detail: "a server's public badge is not a caller's credential",
                    });
                }
                Ok(Identity::Badge(Arc::new(badge)))
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
