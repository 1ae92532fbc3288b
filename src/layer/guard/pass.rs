//! A tool call that was allowed, from its admission to its answer: the outcome is recorded, a task that it created is
//! bound to its owner (S17), a state that it hands out is sealed (S13), and the answer leaves once its decision is on record.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResponse, CreateTaskResult};
use tokio_util::sync::CancellationToken;

use crate::enforce::{Action, Call, Denial, Outcome, Permit, ResultHash};
use crate::evidence::Receipt;
use crate::layer::guard::facts::Facts;
use crate::layer::guard::gate::{Context, Gate, Reason, by_ref, unrecorded};
use crate::layer::guard::receipt::Answer as _;
use crate::layer::guard::round::Round;
use crate::layer::guard::tasks::BindError;
use crate::layer::lapse::run_until;
use crate::layer::session::SessionKey;
use crate::policy::{DenyReason, ToolRequirement};

/// A tool call that may run: what the inner service gets, and the pass that settles its answer.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) params: CallToolRequestParams,
    pub(crate) context: Context,
    pub(crate) pass: Pass,
}

/// Held while the inner call runs; dropped early, its permit records the call as cancelled.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) permit: Permit,
    pub(super) gate: Gate,
    pub(super) tool: Arc<str>,
    pub(super) session: Option<SessionKey>,
    /// What a state that the answer hands out is bound to; `None` before 2026-07-28.
    pub(super) round: Option<Round>,
    /// What the decision is taken again with while the call runs (S18): taken once it has to wait.
    pub(super) watched: Option<(Facts, Option<Result<ToolRequirement, ()>>)>,
    pub(super) cancelled: CancellationToken,
    /// Without that capability rmcp replaces a created task by an error, and nobody learns its id.
    pub(crate) client_has_tasks: bool,
}

/// Resolves when a call has to be ended.
pub(crate) type Lapse = Pin<Box<dyn Future<Output = Reason> + Send>>;

/// An answer that must not leave.
#[derive(Debug)]
pub(crate) struct Withheld {
    pub(crate) denial: Denial,
    /// A task that the call created and that nobody can reach: to be cancelled.
    pub(crate) orphan: Option<String>,
}

impl Pass {
    /// Runs the call for as long as its caller would be let in; `Err` says why it was [ended](Self::end).
    pub(crate) async fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Reason> {
        run_until(work, || self.lapse()).await
    }

    /// Watches over the call from now on; `None` where it may outlive its credential, and the second time.
    pub(crate) fn lapse(&mut self) -> Option<Lapse> {
        let (facts, beside) = self.watched.take()?;
        let (gate, tool, expires) = (self.gate.clone(), Arc::clone(&self.tool), self.permit.badge_expires());
        Some(Box::pin(async move {
            // Arguments decide nothing.
            let action = Action::Tool { name: &tool, arguments: None };
            let call = Call { beside: by_ref(beside.as_ref()), ..facts.call(action) };
            gate.lapse(&facts, call, expires).await
        }))
    }

    /// Settles a call that was cut off: its caller gets a denial, and what the tool left running is told to stop.
    pub(crate) fn end(self, (reason, detail): Reason) -> Settlement {
        let Self { permit, gate, tool, cancelled, .. } = self;
        cancelled.cancel();
        gate.note_end("tools/call", reason, permit.evidence_id());
        let refusal = Some(Refusal { reason, detail, orphan: None });
        Settlement { permit, gate, tool, outcome: Outcome::Cancelled, result: None, bound: None, refusal }
    }

    /// Sees an answer (`None` for an error) before it may leave: takes out what only the guard may say in it, seals a state
    /// that it hands out, and binds a task that it announces.
    pub(crate) fn judge(self, mut answer: Option<&mut CallToolResponse>) -> Settlement {
        let Self { permit, gate, tool, session, round, watched: _, cancelled, client_has_tasks } = self;
        let mut bound = None;
        let mut refusal = None;
        if let Some(answer) = &mut answer {
            answer.strip();
            if let Some(state) = answer.request_state() {
                let sealed = gate.seal_state(round.as_ref(), permit.principal(), session, state);
                refusal = sealed.err().map(|(reason, detail)| Refusal { reason, detail, orphan: None });
            }
        }
        let answer = answer.map(|answer| &*answer);
        let outcome = match answer {
            None => Outcome::ProtocolError,
            Some(CallToolResponse::Complete(result)) if result.is_error == Some(true) => Outcome::ToolError,
            Some(CallToolResponse::Complete(_)) => Outcome::Ok,
            Some(CallToolResponse::InputRequired(_)) if refusal.is_some() => Outcome::ProtocolError,
            Some(CallToolResponse::InputRequired(_)) => Outcome::InputRequired,
            Some(CallToolResponse::Task(_)) if !client_has_tasks => Outcome::ProtocolError,
            Some(CallToolResponse::Task(created)) => match gate.bind_task(&permit, &tool, session, created) {
                Ok(()) => {
                    bound = Some(created.task.task_id.clone());
                    Outcome::Accepted
                }
                Err(why) => {
                    refusal = Some(why);
                    Outcome::ProtocolError
                }
            },
            // A kind of answer that a later rmcp adds is not let through unseen.
            Some(_) => {
                let detail = "the tool's answer is of an unknown kind";
                refusal = Some(Refusal { reason: DenyReason::InternalError, detail, orphan: None });
                Outcome::ProtocolError
            }
        };
        // rmcp tells a handler that its call is cancelled and lets it run on. One that stops for it answers with an error
        // that reaches nobody; one that goes on to succeed has done its work, and the record says that.
        let stopped = cancelled.is_cancelled() && matches!(outcome, Outcome::ToolError | Outcome::ProtocolError);
        let outcome = if stopped { Outcome::Cancelled } else { outcome };
        let result = answer.and_then(|answer| match answer {
            CallToolResponse::Complete(result) => permit.hash_result(result),
            CallToolResponse::InputRequired(result) => permit.hash_result(result),
            CallToolResponse::Task(result) => permit.hash_result(result),
            _ => None,
        });
        Settlement { permit, gate, tool, outcome, result, bound, refusal }
    }
}

/// A judged answer, to be recorded.
#[derive(Debug)]
pub(crate) struct Settlement {
    permit: Permit,
    gate: Gate,
    tool: Arc<str>,
    outcome: Outcome,
    result: Option<ResultHash>,
    bound: Option<String>,
    refusal: Option<Refusal>,
}

impl Settlement {
    /// Records the outcome; `Ok` once the answer may leave, with the receipt that goes into it.
    pub(crate) async fn finish(self) -> Result<Option<Receipt>, Withheld> {
        let Self { permit, gate, tool, outcome, result, bound, refusal } = self;
        let refused = refusal
            .map(|it| Withheld { denial: Denial::withheld(&permit, &tool, it.reason, it.detail), orphan: it.orphan });
        let unstored = Denial::withheld(&permit, &tool, DenyReason::EvidenceUnavailable, "");
        let id = permit.evidence_id();
        let finished = permit.conclude(outcome, result).await;
        match (refused, finished) {
            (Some(mut refused), Ok(receipt)) => {
                refused.denial.receipt = receipt.map(Box::new);
                Err(refused)
            }
            (Some(mut refused), Err(what)) => {
                refused.denial.evidence_id = unrecorded(unstored, id, what).evidence_id;
                Err(refused)
            }
            (None, Ok(receipt)) => Ok(receipt),
            (None, Err(what)) => {
                if let Some(id) = &bound {
                    gate.tasks.forget(id);
                }
                Err(Withheld { denial: unrecorded(unstored, id, what), orphan: bound })
            }
        }
    }
}

/// Why the answer of an allowed call is withheld.
#[derive(Debug)]
struct Refusal {
    reason: DenyReason,
    detail: &'static str,
    orphan: Option<String>,
}

impl Gate {
    fn bind_task(
        &self,
        permit: &Permit,
        tool: &Arc<str>,
        session: Option<SessionKey>,
        created: &CreateTaskResult,
    ) -> Result<(), Refusal> {
        let id = &created.task.task_id;
        let ttl = created.task.ttl_ms.map(Duration::from_millis);
        let bound = match Self::task_owner(permit.principal(), session) {
            None => Err((DenyReason::SessionUnbound, "an anonymous caller owns tasks within a session only", true)),
            Some(owner) => self.tasks.bind(id, owner, Arc::clone(tool), ttl).map_err(|error| match error {
                // Cancelling would hit the task that holds the id.
                BindError::Id => (DenyReason::InternalError, "the tool's task id cannot be used", false),
                BindError::Full => (DenyReason::TaskLimit, "too many tasks; wait for one to end", true),
            }),
        };
        bound.map_err(|(reason, detail, unreachable)| {
            let members = vec![
                ("reason", reason.code().to_owned()),
                ("task", self.enforcer.pseudonym(id)),
                ("decision_id", permit.evidence_id().to_string()),
            ];
            self.enforcer.notice("task_refused", members);
            Refusal { reason, detail, orphan: unreachable.then(|| id.clone()) }
        })
    }
}
