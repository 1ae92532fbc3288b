//! The proof that a call may run, and the record of how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::clock::Clock;
#[cfg(feature = "layer")]
use crate::clock::UnixSeconds;
use crate::enforce::result_hash::ResultHash;
use crate::enforce::{Principal, recorder};
use crate::evidence::{AppendError, EvidenceId, EvidenceLog, OutcomeRecord, Receipt, Record, Reservation, Ticket};
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
    awaits: Awaits,
    wait_limit: Duration,
    /// Whether its caller is told where the decision stands in the log.
    gives_receipt: bool,
    #[cfg(feature = "layer")]
    badge_expires: Option<UnixSeconds>,
    outcome: Option<PendingOutcome>,
}

/// What the answer of a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// Nothing, in best-effort mode.
    Nothing,
    /// Its decision on record by write(2).
    Written,
    /// Its decision and its outcome on stable storage (S31).
    Durable,
}

/// What of a call that ran could not be stored, so that its answer is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    Decision(AppendError),
    /// The decision is on stable storage and tells that the call was let in; how it ended is not.
    Outcome(AppendError),
}

impl From<Unrecorded> for AppendError {
    fn from(unrecorded: Unrecorded) -> Self {
        match unrecorded {
            Unrecorded::Decision(error) | Unrecorded::Outcome(error) => error,
        }
    }
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
    /// `is_awaited`: somebody waits until the outcome is durable.
    fn record(mut self, outcome: Outcome, result: Option<ResultHash>, is_awaited: bool) -> Result<Ticket, AppendError> {
        let now = self.clock.now();
        let ResultHash { hash, notes } = result.unwrap_or_default();
        let mut record = OutcomeRecord::new(
            EvidenceId::generate(now),
            self.decision_id,
            now,
            self.target,
            outcome.as_str(),
            self.started.elapsed(),
            hash,
        );
        record.notes = notes;
        let record = Record::Outcome(record);
        let appended = if is_awaited {
            self.log.append_in_haste(&mut self.reservation, &record)
        } else {
            self.log.append_later(&mut self.reservation, &record)
        };
        if let Err(error) = &appended {
            tracing::error!(decision_id = %self.decision_id, %error, "an outcome could not be recorded");
        }
        appended
    }
}

impl Permit {
    pub(crate) const fn new(
        principal: Principal,
        evidence_id: EvidenceId,
        requirement: Option<ToolRequirement>,
        decision: Ticket,
        awaits: Awaits,
        wait_limit: Duration,
    ) -> Self {
        Self {
            principal,
            evidence_id,
            requirement,
            decision,
            awaits,
            wait_limit,
            gives_receipt: false,
            #[cfg(feature = "layer")]
            badge_expires: None,
            outcome: None,
        }
    }

    pub(crate) fn with_outcome(mut self, outcome: Option<PendingOutcome>) -> Self {
        self.outcome = outcome;
        self
    }

    pub(crate) const fn with_receipt(mut self, yes: bool) -> Self {
        self.gives_receipt = yes;
        self
    }

    #[cfg(feature = "layer")]
    pub(crate) const fn until(mut self, badge_expires: Option<UnixSeconds>) -> Self {
        self.badge_expires = badge_expires;
        self
    }

    /// When the caller's badge expires; `None` without a badge.
    #[cfg(feature = "layer")]
    pub(crate) const fn badge_expires(&self) -> Option<UnixSeconds> {
        self.badge_expires
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

    /// The hash of a result for [`conclude`](Self::conclude), `None` where none is wanted.
    pub(crate) fn hash_result(&self, result: &impl Serialize) -> Option<ResultHash> {
        let outcome = self.outcome.as_ref().filter(|outcome| outcome.hash_results)?;
        Some(ResultHash::of(result, &outcome.log))
    }

    /// Records the outcome, and returns once the log has the call as its mode demands, so that the answer may leave: the
    /// *decision* written in bounded mode, the *outcome* durable too in strict mode and under a requirement of durable
    /// evidence (S31).
    ///
    /// `result` is hashed with the log's key when the configuration asks for result hashes; it is never stored. Above
    /// [`MAX_HASHED_RESULT_BYTES`](super::MAX_HASHED_RESULT_BYTES) it is not hashed, and the record says so.
    ///
    /// Returns the receipt of the decision, for the caller: `None` where receipts are switched off, for an anonymous
    /// caller, and as long as the record's place in the log is not known.
    ///
    /// Cancel safe: the outcome is recorded before anything waits.
    ///
    /// # Errors
    /// [`AppendError`] when the log did not get there within the wait limit: the answer must be withheld.
    pub async fn finish(self, outcome: Outcome, result: Option<&Value>) -> Result<Option<Receipt>, AppendError> {
        let result = result.and_then(|result| self.hash_result(result));
        Ok(self.conclude(outcome, result).await?)
    }

    pub(crate) async fn conclude(
        mut self,
        outcome: Outcome,
        result: Option<ResultHash>,
    ) -> Result<Option<Receipt>, Unrecorded> {
        let is_awaited = self.awaits == Awaits::Durable;
        let recorded = self.outcome.take().map(|pending| pending.record(outcome, result, is_awaited));
        if self.awaits != Awaits::Nothing {
            recorder::within(self.wait_limit, self.decision.written()).await.map_err(Unrecorded::Decision)?;
        }
        if is_awaited && let Some(recorded) = recorded {
            let stored = match recorded {
                Ok(mut ticket) => recorder::within(self.wait_limit, ticket.durable()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                tracing::error!(
                    decision_id = %self.evidence_id,
                    %error,
                    "a call ran and its outcome could not be stored: its answer is withheld"
                );
                return Err(Unrecorded::Outcome(error));
            }
        }
        Ok(self.receipt())
    }

    fn receipt(&self) -> Option<Receipt> {
        if self.gives_receipt { self.decision.receipt() } else { None }
    }

    pub(crate) fn awaits_durable(&self) -> bool {
        self.awaits == Awaits::Durable
    }

    pub(crate) async fn durable(&mut self) -> Result<(), AppendError> {
        recorder::within(self.wait_limit, self.decision.durable()).await
    }

    /// The blocking form of [`durable`](Self::durable), for threads that may block.
    pub(crate) fn wait_durable(&mut self) -> bool {
        self.decision.wait_durable(self.wait_limit).is_ok()
    }

    pub(crate) fn withdraw(mut self) {
        if let Some(pending) = self.outcome.take() {
            // nobody waits for it: the answer is a denial already
            drop(pending.record(Outcome::NotRun, None, false));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pending) = self.outcome.take() {
            let outcome = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Cancelled };
            drop(pending.record(outcome, None, false));
        }
    }
}
