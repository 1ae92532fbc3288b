//! Whose share of the evidence a call takes, and what becomes of a denial above it (S29).
//!
//! A call begins in the share of callers who are not authenticated, and leaves it when its caller is. Where that share is
//! used up it begins without a place: it is authenticated all the same, and takes its place then, among the others if it is
//! known. So a flood of strangers makes nobody wait who can show who it is. Whatever ends without a place of its own is
//! counted, so that the log tells of every call.

use crate::enforce::decide::Verdict;
use crate::enforce::record::{EVIDENCE_UNAVAILABLE, Undecided};
use crate::enforce::{Call, Denial, Enforcer, PresentedCredential, offered_auth_level, recorder};
use crate::evidence::flood::{Counted, Denied, Share};
use crate::evidence::{AppendError, Reservation};
#[cfg(any(test, feature = "layer"))]
use crate::evidence::{EvidenceId, NoticeRecord, Record};
#[cfg(any(test, feature = "layer"))]
use crate::policy::AuthLevel;
use crate::policy::{Decision, DenyReason};

const SHARE_USED_UP: &str = "callers who are not authenticated have used up their share of the evidence";

/// What a call leaves in the evidence when it ends as it is.
#[derive(Debug)]
pub(crate) enum Trace {
    /// A record, in a place that counts as that of a caller who is not authenticated.
    Place(Reservation),
    /// One more in a count: there was no place yet.
    Count,
    /// Nothing: the log has ended, or the call is settled.
    Nothing,
}

/// Where the decision on a call goes.
#[derive(Debug)]
pub(crate) enum Place {
    /// Into a record.
    Held(Reservation),
    /// Nowhere: the log has ended.
    Lost,
    /// Into a count. A call that would have been allowed is denied for the reason given.
    Counted((DenyReason, &'static str)),
}

impl Verdict {
    fn share(&self) -> Share {
        if self.evaluation.decision == Decision::Allow { Share::Anonymous } else { Share::Denied }
    }
}

impl Undecided<'_> {
    /// The place for the record of `verdict`. While it waits, the call is one to be counted.
    pub(super) async fn place(&mut self, verdict: &Verdict, known: bool) -> Place {
        let log = self.enforcer.config().evidence();
        let share = verdict.share();
        if !known && !matches!(self.trace, Trace::Nothing) && !log.has_share(share, self.enforcer.now()) {
            self.trace = Trace::Nothing;
            return Place::Counted((DenyReason::RateLimited, SHARE_USED_UP));
        }
        let waited = match std::mem::replace(&mut self.trace, Trace::Count) {
            Trace::Place(mut reservation) => {
                if known {
                    reservation.authenticate();
                }
                Ok(reservation)
            }
            Trace::Nothing => Err(AppendError::Closed),
            // a stranger's denial is counted as well as recorded, and nobody waits for it
            Trace::Count if !known && share == Share::Denied => Err(AppendError::Full),
            Trace::Count => {
                let places = self.enforcer.places(&self.call, self.recording);
                if known {
                    recorder::within(log.wait_limit(), log.reserve_wait(places)).await
                } else {
                    recorder::within(log.wait_limit(), log.reserve_unauthenticated_wait(places)).await
                }
            }
        };
        self.trace = Trace::Nothing;
        Place::of(waited)
    }
}

impl Place {
    fn of(reserved: Result<Reservation, AppendError>) -> Self {
        match reserved {
            Ok(reservation) => Self::Held(reservation),
            Err(AppendError::Full | AppendError::TimedOut | AppendError::TooLarge) => {
                Self::Counted((DenyReason::EvidenceUnavailable, EVIDENCE_UNAVAILABLE))
            }
            Err(AppendError::Failed | AppendError::Closed) => Self::Lost,
        }
    }
}

impl Enforcer {
    /// The share in which a call begins.
    pub(super) fn trace_of(&self, places: u32) -> Trace {
        match self.config().evidence().reserve_unauthenticated(places) {
            Ok(reservation) => Trace::Place(reservation),
            Err(AppendError::Failed | AppendError::Closed) => Trace::Nothing,
            Err(AppendError::Full | AppendError::TimedOut | AppendError::TooLarge) => Trace::Count,
        }
    }

    /// The place for one record of `verdict`, for code without a runtime; waits where this thread may block.
    pub(super) fn place_now(&self, verdict: &Verdict, known: bool) -> Place {
        let log = self.config().evidence();
        let share = verdict.share();
        let may_block = recorder::may_block();
        if !known && !log.has_share(share, self.now()) {
            return Place::Counted((DenyReason::RateLimited, SHARE_USED_UP));
        }
        Place::of(match (known, may_block) {
            (true, true) => log.reserve_blocking(1),
            (true, false) => log.reserve(1),
            (false, true) if share == Share::Anonymous => log.reserve_unauthenticated_blocking(1),
            (false, _) => log.reserve_unauthenticated(1),
        })
    }

    /// Counts the denial of a call that gets no record of its own; `instead` is its reason where it would have been
    /// allowed. It names no record, since that of the count is written later, if the process lives.
    pub(super) fn count(
        &self,
        call: &Call<'_>,
        credential: &PresentedCredential,
        verdict: &Verdict,
        instead: (DenyReason, &'static str),
    ) -> Denial {
        let evaluation = &verdict.evaluation;
        let (reason, detail) = evaluation.reason.map_or(instead, |reason| (reason, evaluation.detail));
        let denied = Denied {
            what: Counted::Decisions,
            reason: reason.code(),
            class: reason.rfc_code(),
            method: call.action.method(),
            target: call.action.target(),
            auth_level: offered_auth_level(credential).evidence_str(),
            transport: call.transport,
            policy_version: &evaluation.policy_version,
            policy_digest: self.config().digest(),
            profile: self.config().profile().as_str(),
        };
        self.config().evidence().count_denial(&denied, self.now());
        Self::denial(call, credential, verdict, (reason, detail), None)
    }

    /// [`notice`](Self::notice) of a request to a session that was turned away, which anybody can send: within the share of
    /// callers who are not authenticated, and counted above it.
    #[cfg(any(test, feature = "layer"))]
    pub(crate) fn session_refused(
        &self,
        code: &'static str,
        credential: Option<AuthLevel>,
        members: Vec<(&'static str, String)>,
    ) {
        let (log, now) = (self.config().evidence(), self.now());
        let place = log.has_share(Share::Denied, now).then(|| log.reserve_unauthenticated(1).ok()).flatten();
        let Some(mut place) = place else {
            let denied = Denied {
                what: Counted::RefusedSessions,
                reason: code,
                class: "",
                method: "",
                target: "",
                auth_level: credential.unwrap_or(AuthLevel::Anonymous).evidence_str(),
                transport: "http",
                policy_version: self.config().policy().version(),
                policy_digest: self.config().digest(),
                profile: self.config().profile().as_str(),
            };
            return log.count_denial(&denied, now);
        };
        let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "session_refused", members));
        if let Err(error) = log.append(&mut place, &record) {
            tracing::error!(%error, "a record could not be written");
        }
    }
}

#[cfg(test)]
mod tests;
