//! The proof that a call may run, and the record of how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::Clock;
use crate::encoding::canonical_json;
use crate::enforce::Principal;
use crate::evidence::{AppendError, EvidenceId, EvidenceLog, OutcomeRecord, Record, Reservation, Ticket};
use crate::policy::ToolRequirement;

/// How an allowed call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The tool answered.
    Ok,
    /// The tool answered that it failed.
    ToolError,
    /// The handler answered with a protocol error.
    ProtocolError,
    /// The tool asked its caller for more input and will be called again.
    InputRequired,
    /// The call became a task that runs on.
    Accepted,
    /// The call was cancelled, or its connection went away, before the tool had answered with success. What the tool
    /// had done by then is done.
    Cancelled,
    /// The handler panicked.
    Panicked,
    /// The call was allowed but its evidence did not become durable in time, so the tool did not run.
    NotRun,
}

impl Outcome {
    /// The spelling in evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::ProtocolError => "protocol_error",
            Self::InputRequired => "input_required",
            Self::Accepted => "accepted",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::NotRun => "not_run",
        }
    }
}

/// Proof that a call was allowed and that its decision is recorded as the evidence mode demands.
///
/// It has no public constructor: code that must run only behind the guard takes one as an argument. Dropped without
/// [`finish`](Self::finish) it records `cancelled`, or `panicked` while unwinding.
///
/// # Examples
/// A permit can be asked for and used:
/// ```
/// use rmcp_guard::enforce::{Call, CallerCredential, Denial, Enforcer, Outcome, Permit};
///
/// async fn run(permit: Permit) -> bool {
///     permit.finish(Outcome::Ok, None).await.is_ok()
/// }
///
/// async fn ask(enforcer: &Enforcer) -> Result<Permit, Denial> {
///     enforcer.authorize(&Call::tool("read_file", None), &Ok(CallerCredential::Anonymous)).await
/// }
/// ```
/// and not be made:
/// ```compile_fail
/// use rmcp_guard::enforce::{Permit, Principal};
///
/// fn forge(principal: Principal) -> Permit {
///     Permit { principal, ..unimplemented!() }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    evidence_id: EvidenceId,
    requirement: Option<ToolRequirement>,
    decision: Ticket,
    /// Waits for the decision to be written before the answer leaves; off in best-effort mode.
    awaits_written: bool,
    wait_limit: Duration,
    outcome: Option<PendingOutcome>,
}

/// The place that an outcome record holds in the queue from before the tool runs, since `Drop` cannot wait for one.
#[derive(Debug)]
pub(crate) struct PendingOutcome {
    pub(crate) log: EvidenceLog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reservation: Reservation,
    pub(crate) decision_id: EvidenceId,
    pub(crate) target: String,
    pub(crate) started: Instant,
    pub(crate) hash_results: bool,
}

impl PendingOutcome {
    fn record(mut self, outcome: Outcome, result: Option<&Value>) {
        let now = self.clock.now();
        let result_hash = result
            .filter(|_| self.hash_results)
            .and_then(|result| canonical_json(result).ok())
            .map(|bytes| self.log.keyed_hash("result", &bytes));
        let record = OutcomeRecord::new(
            EvidenceId::generate(now),
            self.decision_id,
            now,
            self.target,
            outcome.as_str(),
            self.started.elapsed(),
            result_hash,
        );
        if let Err(error) = self.log.append(&mut self.reservation, &Record::Outcome(record)) {
            tracing::error!(decision_id = %self.decision_id, %error, "an outcome could not be recorded");
        }
    }
}

impl Permit {
    pub(crate) const fn new(
        principal: Principal,
        evidence_id: EvidenceId,
        requirement: Option<ToolRequirement>,
        decision: Ticket,
        awaits_written: bool,
        wait_limit: Duration,
        outcome: Option<PendingOutcome>,
    ) -> Self {
        Self { principal, evidence_id, requirement, decision, awaits_written, wait_limit, outcome }
    }

    /// Who may run the call.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The record of the decision.
    #[must_use]
    pub const fn evidence_id(&self) -> EvidenceId {
        self.evidence_id
    }

    /// The requirement that was met; `None` for a method that the configuration opened without one.
    #[must_use]
    pub const fn requirement(&self) -> Option<&ToolRequirement> {
        self.requirement.as_ref()
    }

    /// Whether [`finish`](Self::finish) wants the result, so that a caller need not serialize it in vain.
    #[must_use]
    pub fn wants_result(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.hash_results)
    }

    /// Records the outcome, and returns once the *decision* has reached the log as its mode demands, so that the
    /// answer may leave.
    ///
    /// `result` is hashed with the log's key when the configuration asks for result hashes; it is never stored.
    /// Cancel safe: the outcome is recorded before anything waits.
    ///
    /// # Errors
    /// [`AppendError`] when the decision did not reach the log within the wait limit: the answer must be withheld.
    pub async fn finish(mut self, outcome: Outcome, result: Option<&Value>) -> Result<(), AppendError> {
        if let Some(pending) = self.outcome.take() {
            pending.record(outcome, result);
        }
        if self.awaits_written {
            return super::recorder::within(self.wait_limit, self.decision.written()).await;
        }
        Ok(())
    }

    pub(crate) async fn durable(&mut self) -> Result<(), AppendError> {
        super::recorder::within(self.wait_limit, self.decision.durable()).await
    }

    /// The blocking form of [`durable`](Self::durable), for threads that may block.
    pub(crate) fn wait_durable(&mut self) -> bool {
        self.decision.wait_durable(self.wait_limit).is_ok()
    }

    pub(crate) fn withdraw(mut self) {
        if let Some(pending) = self.outcome.take() {
            pending.record(Outcome::NotRun, None);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pending) = self.outcome.take() {
            let outcome = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Cancelled };
            pending.record(outcome, None);
        }
    }
}
