//! capiscio-mcp's low-level question: may this caller call this tool? Decided and recorded, not run.

use serde_json::{Map, Value};

use crate::enforce::record::{Recording, evidence_unavailable};
use crate::enforce::share::Place;
use crate::enforce::{Call, CallerCredential, Denial, Enforcer, Permit, Principal, recorder};
use crate::evidence::EvidenceId;
use crate::identity::did::Did;
use crate::identity::resolve::poll_once;
use crate::identity::trust_level::TrustLevel;
use crate::policy::{AuthLevel, Decision, DenyReason};

/// The answer of [`evaluate_tool_access`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardResult {
    /// Allow or deny.
    pub decision: Decision,
    /// Why it was denied; `None` exactly when it was allowed.
    pub deny_reason: Option<DenyReason>,
    /// A fixed sentence about the denial.
    pub deny_detail: Option<&'static str>,
    /// The DID of the verified badge.
    pub agent_did: Option<Did>,
    /// The `jti` of the verified badge.
    pub badge_jti: Option<String>,
    /// The kind of credential that was offered, whether or not it verified.
    pub auth_level: AuthLevel,
    /// The level of the verified badge; `None` without one, which is not level 0.
    pub trust_level: Option<TrustLevel>,
    /// The record of the decision; `None` when evidence was unavailable, which denies, and where a denial was counted
    /// together with others.
    pub evidence_id: Option<EvidenceId>,
}

/// The synchronous form cannot answer without waiting: a source has to fetch, or strict evidence has to reach the
/// disk on a thread of an async runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decision would have to wait; use the asynchronous form")]
#[non_exhaustive]
pub struct WouldWait;

/// Decides whether `credential` may call `tool_name` with `params`, and records the decision.
///
/// Nothing runs under the answer, so no outcome is recorded; code that runs the tool itself wants
/// [`Enforcer::authorize`], whose permit records how the call ended. Cancel safe.
pub async fn evaluate_tool_access(
    enforcer: &Enforcer,
    tool_name: &str,
    params: Option<&Map<String, Value>>,
    credential: &CallerCredential,
) -> GuardResult {
    let call = Call::tool(tool_name, params);
    let credential = Ok(credential.clone());
    match enforcer.authorize_as(&call, &credential, Recording::Evaluation).await {
        Ok(permit) => GuardResult::allowed(&permit),
        Err(denial) => GuardResult::denied(&denial),
    }
}

/// [`evaluate_tool_access`] without a runtime.
///
/// Static sources answer at once. In bounded mode the record is queued, as for any tool that may start; in strict
/// mode this blocks up to the log's wait limit, but never on a thread of an async runtime.
///
/// # Errors
/// [`WouldWait`], before anything is recorded, when the answer cannot be had without waiting.
pub fn evaluate_tool_access_sync(
    enforcer: &Enforcer,
    tool_name: &str,
    params: Option<&Map<String, Value>>,
    credential: &CallerCredential,
) -> Result<GuardResult, WouldWait> {
    let log = enforcer.config().evidence();
    let call = Call::tool(tool_name, params);
    let credential = Ok(credential.clone());
    let caller = poll_once(enforcer.identify_unhurried(&credential)).ok_or(WouldWait)?;
    let verdict = enforcer.decide(&call, &caller);
    let durable = enforcer.wants_durable(verdict.requirement.as_ref());
    if durable && !recorder::may_block() {
        return Err(WouldWait);
    }
    let known = enforcer.knows(&caller);
    let place = enforcer.place_now(&verdict, known);
    let reservation = match place {
        Place::Held(reservation) => Some(reservation),
        Place::Lost => None,
        Place::Counted(instead) => {
            return Ok(GuardResult::denied(&enforcer.count(&call, &credential, &verdict, instead)));
        }
    };
    match enforcer.record(&call, &credential, verdict, reservation, Recording::Evaluation) {
        Ok(mut permit) if durable => Ok(if permit.wait_durable() {
            GuardResult::allowed(&permit)
        } else {
            GuardResult::denied(&evidence_unavailable(&call, permit.principal()))
        }),
        Ok(permit) => Ok(GuardResult::allowed(&permit)),
        Err((mut denial, ticket)) => {
            // in strict mode an id stands for a record that is on disk, as in the asynchronous form
            if durable && ticket.is_none_or(|mut ticket| ticket.wait_durable(log.wait_limit()).is_err()) {
                denial.evidence_id = None;
            }
            Ok(GuardResult::denied(&denial))
        }
    }
}

impl GuardResult {
    fn allowed(permit: &Permit) -> Self {
        Self {
            decision: Decision::Allow,
            deny_reason: None,
            deny_detail: None,
            evidence_id: Some(permit.evidence_id()),
            ..Self::about(permit.principal().auth_level, Some(permit.principal()))
        }
    }

    fn denied(denial: &Denial) -> Self {
        Self {
            deny_reason: Some(denial.reason()),
            deny_detail: Some(denial.detail()),
            evidence_id: denial.evidence_id(),
            ..Self::about(denial.auth_level(), denial.principal())
        }
    }

    fn about(auth_level: AuthLevel, principal: Option<&Principal>) -> Self {
        Self {
            decision: Decision::Deny,
            deny_reason: None,
            deny_detail: None,
            agent_did: principal.and_then(|principal| principal.did.clone()),
            badge_jti: principal.and_then(|principal| principal.badge_jti.clone()),
            auth_level,
            trust_level: principal.and_then(|principal| principal.trust_level),
            evidence_id: None,
        }
    }
}
