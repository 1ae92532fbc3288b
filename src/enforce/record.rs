//! From a verdict to its record, and from there to a permit or a denial.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::encoding::has_inexact_numbers;
use crate::enforce::decide::{Authenticated, Verdict};
use crate::enforce::permit::{Awaits, PendingOutcome};
use crate::enforce::share::{Place, Trace};
use crate::enforce::{
    Action, Call, CallerCredential, Denial, Enforcer, Permit, PresentedCredential, Principal, offered_auth_level,
    recorder,
};
use crate::evidence::flood::Share;
use crate::evidence::{AppendError, DecisionRecord, EvidenceId, EvidenceMode, Record, Reservation, Ticket};
use crate::identity::badge::ClaimedIdentity;
#[cfg(feature = "layer")]
use crate::identity::badge::VerifiedBadge;
use crate::policy::{AuthLevel, Decision, DenyReason, ToolRequirement};

/// What a recorded decision leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// A call that runs under the permit and leaves an outcome.
    Call,
    /// An answer only: nothing runs under it here.
    Evaluation,
}

/// A call that is accounted for in the evidence and has no decision yet. Dropped in this state, it is recorded or counted
/// as denied: whoever cancelled it must not be able to probe without a trace.
pub(crate) struct Undecided<'a> {
    pub(crate) enforcer: &'a Enforcer,
    pub(crate) call: Call<'a>,
    pub(crate) credential: &'a PresentedCredential,
    pub(crate) recording: Recording,
    pub(super) trace: Trace,
}

impl Undecided<'_> {
    /// Decides and records. `call` is what the place was taken for, with what was learnt since.
    pub(crate) async fn settle(mut self, call: &Call<'_>, caller: &Authenticated) -> Result<Permit, Denial> {
        let Self { enforcer, credential, recording, .. } = self;
        let verdict = enforcer.decide(call, caller);
        let reservation = match self.place(&verdict, enforcer.knows(caller)).await {
            Place::Held(reservation) => Some(reservation),
            Place::Lost => None,
            Place::Counted(instead) => return Err(enforcer.count(call, credential, &verdict, instead)),
        };
        let mut permit = match enforcer.record(call, credential, verdict, reservation, recording) {
            Ok(permit) => permit,
            Err((denial, ticket)) => return Err(enforcer.settle_denial(denial, ticket).await),
        };
        if permit.awaits_durable() && permit.durable().await.is_err() {
            let denial = evidence_unavailable(call, permit.principal());
            permit.withdraw();
            return Err(denial);
        }
        Ok(permit)
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        let trace = std::mem::replace(&mut self.trace, Trace::Nothing);
        if matches!(trace, Trace::Nothing) {
            return;
        }
        let (reason, detail) = if std::thread::panicking() {
            (DenyReason::InternalError, "the decision ended in a panic")
        } else {
            (DenyReason::CallCancelled, "the call was dropped before its decision")
        };
        let Self { enforcer, call, credential, recording, .. } = self;
        let verdict = Verdict { evaluation: enforcer.denied(reason, detail), identity: None, requirement: None };
        let has_share = enforcer.config().evidence().has_share(Share::Denied, enforcer.now());
        // Nobody waits for this answer; the record is what matters.
        if let Trace::Place(reservation) = trace
            && has_share
        {
            drop(enforcer.record(call, credential, verdict, Some(reservation), *recording));
        } else {
            enforcer.count(call, credential, &verdict, (reason, detail));
        }
    }
}

impl Enforcer {
    pub(crate) fn records_outcome(&self, call: &Call<'_>, recording: Recording) -> bool {
        recording == Recording::Call && matches!(call.action, Action::Tool { .. }) && self.config().records_outcomes()
    }

    /// Whether a decision has to be durable before anything runs under it.
    pub(crate) fn wants_durable(&self, requirement: Option<&ToolRequirement>) -> bool {
        self.config().evidence().mode() == EvidenceMode::Strict
            || requirement.is_some_and(ToolRequirement::is_durable_evidence)
    }

    pub(crate) fn append_now(&self, record: &Record) {
        let log = self.config().evidence();
        let appended = log.reserve(1).and_then(|mut reservation| log.append(&mut reservation, record));
        if let Err(error) = appended {
            tracing::error!(%error, "a record could not be written");
        }
    }

    /// Holds the answer back until its record is written, as for an allowed call; a denial stays one in any case.
    pub(crate) async fn settle_denial(&self, mut denial: Denial, ticket: Option<Box<Ticket>>) -> Denial {
        let log = self.config().evidence();
        let Some(mut ticket) = ticket else {
            denial.evidence_id = None;
            return denial;
        };
        let recorded = match log.mode() {
            EvidenceMode::BestEffort => ticket.is_recorded(),
            EvidenceMode::Bounded => recorder::within(log.wait_limit(), ticket.written()).await.is_ok(),
            EvidenceMode::Strict => recorder::within(log.wait_limit(), ticket.durable()).await.is_ok(),
        };
        if !recorded {
            denial.evidence_id = None;
        }
        // The index tells how much is going on here, which is nothing to tell a stranger (S36).
        if self.config().receipts() && denial.principal.is_some() {
            denial.receipt = ticket.receipt().filter(|_| recorded).map(Box::new);
        }
        denial
    }

    /// Turns a verdict into its record, and then into a permit or a denial.
    pub(crate) fn record(
        &self,
        call: &Call<'_>,
        credential: &PresentedCredential,
        verdict: Verdict,
        reservation: Option<Reservation>,
        recording: Recording,
    ) -> Result<Permit, (Denial, Option<Box<Ticket>>)> {
        let log = self.config().evidence();
        let now = self.config().clock().now();
        let id = EvidenceId::generate(now);
        let mut principal = verdict.principal();
        let record = self.decision_record(id, now, call, credential, &verdict, &principal);
        let awaits = match log.mode() {
            _ if self.wants_durable(verdict.requirement.as_ref()) => Awaits::Durable,
            EvidenceMode::BestEffort => Awaits::Nothing,
            EvidenceMode::Bounded | EvidenceMode::Strict => Awaits::Written,
        };
        let record = Record::Decision(record);
        let appended = reservation.ok_or(AppendError::Full).and_then(|mut place| {
            let ticket = match awaits {
                Awaits::Durable => log.append_in_haste(&mut place, &record),
                Awaits::Written => log.append_and_write(&mut place, &record),
                Awaits::Nothing => log.append(&mut place, &record),
            };
            Ok((ticket?, place))
        });
        let reason = verdict.evaluation.reason;
        let denial = |reason, detail, id| Self::denial(call, credential, &verdict, (reason, detail), id);
        match (appended, reason) {
            (Ok((ticket, reservation)), None) if verdict.evaluation.decision == Decision::Allow => {
                let outcome = self.records_outcome(call, recording).then(|| PendingOutcome {
                    log: log.clone(),
                    clock: Arc::clone(self.config().clock()),
                    reservation,
                    decision_id: id,
                    target: call.action.target().to_owned(),
                    started: Instant::now(),
                    hash_results: self.config().records_result_hashes(),
                });
                principal.evidence_id = Some(id);
                let gives_receipt = self.config().receipts() && principal.auth_level != AuthLevel::Anonymous;
                #[cfg(feature = "layer")]
                let badge_expires = verdict.badge().map(VerifiedBadge::expires_at);
                let permit = Permit::new(principal, id, verdict.requirement, ticket, awaits, log.wait_limit());
                #[cfg(feature = "layer")]
                let permit = permit.until(badge_expires);
                Ok(permit.with_outcome(outcome).with_receipt(gives_receipt))
            }
            (Ok((ticket, _)), reason) => {
                let reason = reason.unwrap_or(DenyReason::InternalError);
                Err((denial(reason, verdict.evaluation.detail, Some(id)), Some(Box::new(ticket))))
            }
            (Err(error), Some(reason)) => {
                tracing::error!(%error, reason = reason.code(), "a denial could not be recorded");
                Err((denial(reason, verdict.evaluation.detail, None), None))
            }
            (Err(error), None) => {
                tracing::error!(%error, "a call was denied because its decision could not be recorded");
                Err((denial(DenyReason::EvidenceUnavailable, EVIDENCE_UNAVAILABLE, None), None))
            }
        }
    }

    /// The denial of a call, for its caller.
    pub(super) fn denial(
        call: &Call<'_>,
        credential: &PresentedCredential,
        verdict: &Verdict,
        (reason, detail): (DenyReason, &'static str),
        evidence_id: Option<EvidenceId>,
    ) -> Denial {
        Denial {
            reason,
            detail,
            target: call.action.target().to_owned(),
            auth_level: offered_auth_level(credential),
            principal: verdict.principal().authenticated(),
            required: verdict.requirement.as_ref().and_then(ToolRequirement::min_level),
            evidence_id,
            receipt: None,
        }
    }

    fn decision_record(
        &self,
        id: EvidenceId,
        now: SystemTime,
        call: &Call<'_>,
        credential: &PresentedCredential,
        verdict: &Verdict,
        principal: &Principal,
    ) -> DecisionRecord {
        let evaluation = &verdict.evaluation;
        let badge = verdict.badge();
        let arguments = match call.action {
            Action::Tool { arguments, .. } => Some(arguments),
            Action::Task { .. } | Action::Method { .. } | Action::Custom { .. } => None,
        };
        let claimed = match (badge, credential) {
            (None, Ok(CallerCredential::Badge(token))) => ClaimedIdentity::peek(token),
            _ => ClaimedIdentity::default(),
        };
        let mut notes: Vec<&'static str> = badge.map_or_else(Vec::new, |badge| badge.warnings().to_vec());
        let inexact = arguments.flatten().is_some_and(|members| members.values().any(has_inexact_numbers));
        notes.extend(inexact.then_some("arguments hold integers beyond 2^53, which the hash does not tell apart"));
        DecisionRecord {
            id: Some(id),
            at: Some(now),
            method: call.action.method(),
            target: call.action.target().to_owned(),
            allow: evaluation.decision == Decision::Allow,
            deny_reason: evaluation.reason.map(DenyReason::code),
            deny_reason_rfc: evaluation.reason.map(DenyReason::rfc_code),
            deny_detail: evaluation.reason.map(|_| evaluation.detail),
            auth_level: offered_auth_level(credential).evidence_str(),
            agent_did: badge.map(|badge| badge.subject().as_str().to_owned()),
            badge_jti: badge.map(|badge| badge.jti().to_owned()),
            badge_issuer: badge.map(|badge| badge.issuer().to_owned()),
            api_key_name: principal.api_key_name.clone(),
            trust_level: badge.map(|badge| badge.level().as_u8()),
            binding: badge.map(|badge| if badge.bound_audience().is_some() { "audience" } else { "none" }),
            claimed_issuer: claimed.issuer,
            claimed_subject: claimed.subject,
            claimed_jti: claimed.jti,
            params_hash: arguments.map(|arguments| self.config().evidence().params_hash(arguments)),
            server_origin: self.config().server_origin().map(str::to_owned),
            policy_version: evaluation.policy_version.to_string(),
            policy_digest: self.config().digest().to_owned(),
            profile: self.config().profile().as_str(),
            rule: evaluation.rule.as_deref().map(str::to_owned),
            transport: call.transport,
            protocol_version: call.protocol_version.map(str::to_owned),
            notes,
        }
    }
}

pub(super) const EVIDENCE_UNAVAILABLE: &str = "the decision could not be recorded";

pub(crate) fn evidence_unavailable(call: &Call<'_>, principal: &Principal) -> Denial {
    Denial {
        reason: DenyReason::EvidenceUnavailable,
        detail: EVIDENCE_UNAVAILABLE,
        target: call.action.target().to_owned(),
        auth_level: principal.auth_level,
        principal: principal.authenticated(),
        required: None,
        evidence_id: None,
        receipt: None,
    }
}
