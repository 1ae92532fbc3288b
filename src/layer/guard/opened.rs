//! What goes on for longer than its decision: it runs for as long as its caller would be let in, and then is ended (S18).

use rmcp::ErrorData;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixSeconds;
use crate::enforce::{Action, Call, Denial, Permit};
use crate::evidence::EvidenceId;
use crate::layer::guard::answer;
use crate::layer::guard::facts::{Facts, session_refusal};
use crate::layer::guard::gate::{Gate, Reason};
use crate::layer::lapse::{lapse, run_until};
use crate::policy::{Decision, DenyReason, GuardedMethod};

/// What a method opened that may have to be ended.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    action: Action<'a>,
    decision_id: EvidenceId,
    badge_expires: Option<UnixSeconds>,
    cancelled: CancellationToken,
    /// The answer then, but for its reason.
    denial: Denial,
}

impl<'a> Opened<'a> {
    pub(crate) fn new(permit: &Permit, action: Action<'a>, cancelled: &CancellationToken) -> Self {
        Self {
            action,
            decision_id: permit.evidence_id(),
            badge_expires: permit.badge_expires(),
            cancelled: cancelled.clone(),
            denial: Denial::withheld(permit, action.target(), DenyReason::InternalError, ""),
        }
    }
}

impl Gate {
    /// Runs what a method opened for as long as its caller would be let in; `Err` says why it was ended.
    pub(crate) async fn run<T>(
        &self,
        facts: &Facts,
        opened: &Opened<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Reason> {
        let call = facts.call(opened.action);
        let is_stream = matches!(opened.action, Action::Method { class: GuardedMethod::Subscriptions, .. });
        let is_watched = is_stream || !self.enforcer.config().calls_outlive_credentials();
        run_until(work, || is_watched.then(|| Box::pin(self.lapse(facts, call, opened.badge_expires)))).await
    }

    /// Ends what a method opened: its answer.
    pub(crate) fn end(&self, opened: Opened<'_>, (reason, detail): Reason) -> ErrorData {
        opened.cancelled.cancel();
        self.note_end(opened.action.method(), reason, opened.decision_id);
        answer::error(&Denial { reason, detail, ..opened.denial })
    }

    /// Records that something which a decision let in was ended.
    pub(super) fn note_end(&self, method: &'static str, reason: DenyReason, decision_id: EvidenceId) {
        let members = vec![
            ("method", method.to_owned()),
            ("reason", reason.code().to_owned()),
            ("decision_id", decision_id.to_string()),
        ];
        self.enforcer.notice("stream_ended", members);
    }

    /// Resolves when `call`, decided anew with the credential and in the session of its request, is not allowed any more.
    pub(super) async fn lapse(&self, facts: &Facts, call: Call<'_>, badge_expires: Option<UnixSeconds>) -> Reason {
        lapse(&self.enforcer, &facts.credential, badge_expires, |caller| {
            let call = Call { refused: session_refusal(facts, caller), ..call };
            let evaluation = self.enforcer.decide(&call, caller).evaluation;
            match evaluation.decision {
                Decision::Allow => Ok(()),
                Decision::Deny => Err((evaluation.reason.unwrap_or(DenyReason::InternalError), evaluation.detail)),
            }
        })
        .await
    }
}
