//! The badge at hand, and what a new one must be to take its place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::identity::badge::UnverifiedBadge;
use crate::identity::keeper::RenewError;
use crate::identity::keeper::schedule::Reading;

pub(super) const NOT_A_BADGE: RenewError = RenewError::new("the new badge is none");
pub(super) const EXPIRED: RenewError =
    RenewError::new("the new badge has expired already; a clock is wrong, here or at the issuer");
pub(super) const OTHER_SUBJECT: RenewError = RenewError::new("the new badge names another subject").permanent();
pub(super) const NO_LONGER: RenewError = RenewError::new("the new badge does not outlive the one at hand");

/// A badge that was read but not verified: it is ours to show, and verifying it is up to those who see it.
pub(super) struct Held {
    token: Arc<str>,
    subject: String,
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    /// On the steady clock: a wall clock that is set back makes no badge live longer.
    ends: Duration,
}

impl Held {
    /// Reads a badge that arrived at `now`; it may have expired.
    pub(super) fn read(token: &str, now: Reading) -> Result<Self, RenewError> {
        let badge = UnverifiedBadge::parse(token).map_err(|_| NOT_A_BADGE)?;
        let issued_at = badge.claimed_issued_at().ok_or(NOT_A_BADGE)?;
        let expires_at = badge.claimed_expires_at().ok_or(NOT_A_BADGE)?;
        let subject = badge.identity().subject.ok_or(NOT_A_BADGE)?;
        // With a clock that is slow, more seems to be left than the badge ever had.
        let left = from(now.wall, expires_at).min(from(issued_at, expires_at));
        Ok(Self { token: token.into(), subject, issued_at, expires_at, ends: now.steady.saturating_add(left) })
    }

    /// Whether this may take the place of `old`.
    pub(super) fn check_replaces(&self, old: Option<&Self>, now: Reading) -> Result<(), RenewError> {
        if !self.is_live(now) {
            return Err(EXPIRED);
        }
        let Some(old) = old else { return Ok(()) };
        if old.subject != self.subject {
            return Err(OTHER_SUBJECT);
        }
        // A badge from the future is left over from before the clock was set back, and nobody accepts it.
        if old.is_live(now) && old.issued_at <= now.wall && self.expires_at <= old.expires_at {
            return Err(NO_LONGER);
        }
        Ok(())
    }

    /// What is left of its life; zero when it has expired.
    pub(super) fn left(&self, now: Reading) -> Duration {
        from(now.wall, self.expires_at).min(self.ends.saturating_sub(now.steady))
    }

    pub(super) fn is_live(&self, now: Reading) -> bool {
        !self.left(now).is_zero()
    }

    pub(super) const fn token(&self) -> &Arc<str> {
        &self.token
    }

    pub(super) const fn subject(&self) -> &str {
        self.subject.as_str()
    }

    pub(super) const fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The time from `start` to `end`; zero when that lies behind.
fn from(start: UnixSeconds, end: UnixSeconds) -> Duration {
    Duration::from_secs(u64::try_from(end.as_i64().saturating_sub(start.as_i64())).unwrap_or(0))
}
