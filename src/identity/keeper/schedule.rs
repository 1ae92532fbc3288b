//! When to try next. Pure: both clocks and the randomness are arguments, so that ten thousand renewals can be simulated.
//!
//! Times that are planned run on the steady clock, which never jumps. The wall clock can only bring a renewal forward: a
//! machine that was suspended, or whose clock was set forward, finds its badge older than planned.

use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::identity::keeper::RenewError;

/// Longest sleep between two looks at the wall clock, so that a jump is seen within it.
pub const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Within this a keeper that starts without a live badge makes its first attempt, so that a thousand that start together
/// do not ask together.
pub const MAX_START_DELAY: Duration = Duration::from_secs(1);

/// Longest delay after a failure that names no other.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Longest delay that another side can ask for; it may be hostile, or mean a date.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Longest delay after a permanent failure. Somebody may have fixed the cause, and nobody told us.
pub const MAX_PERMANENT_BACKOFF: Duration = Duration::from_secs(600);

/// Longest time for one attempt.
pub const MAX_ATTEMPT: Duration = Duration::from_secs(30);

/// A renewal is planned this long before expiry at the latest, where the rest of the badge's life is at least twice that.
const MARGIN: Duration = Duration::from_secs(10);

/// Bound of the first delay after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

/// No attempt follows another sooner, whatever the other side answers.
const MIN_DELAY: Duration = Duration::from_millis(500);

/// What is left of a badge bounds neither a backoff below this, else all that hold the same badge crowd into its last
/// seconds,
const MIN_BOUNDED_BACKOFF: Duration = Duration::from_secs(10);

/// nor an attempt below this, else a slow answer is never waited for.
const MIN_ATTEMPT: Duration = Duration::from_secs(5);

/// Both clocks at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What expiry is judged by.
    pub(super) wall: UnixSeconds,
    /// Time since the keeper started.
    pub(super) steady: Duration,
}

/// When the next attempt is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    failures: u32,
    due: Duration,
    /// From this wall time on the attempt is due even if `due` lies ahead; only after a success.
    wall_due: Option<UnixSeconds>,
}

impl Schedule {
    /// The plan at the start, with a badge that lives for `left`, or zero.
    pub(super) fn start(now: Reading, left: Duration, random: u64) -> Self {
        let mut schedule = Self { failures: 0, due: now.steady, wall_due: None };
        if left.is_zero() {
            schedule.due = now.steady.saturating_add(between(Duration::ZERO, MAX_START_DELAY, random));
        } else {
            schedule.renewed(now, left, random);
        }
        schedule
    }

    /// Plans after a success: at a random point between 60 % and 75 % of what is `left` of the new badge.
    pub(super) fn renewed(&mut self, now: Reading, left: Duration, random: u64) {
        let latest = percent(left, 75).min(left.saturating_sub(MARGIN).max(percent(left, 50)));
        // A badge that is about to die says nothing about when it was issued: spread over all the time there is.
        let earliest = if left < MARGIN.saturating_mul(2) { Duration::ZERO } else { percent(latest, 80) };
        let delay = between(earliest.max(MIN_DELAY), latest, random);
        self.failures = 0;
        self.due = now.steady.saturating_add(delay);
        // Whole seconds, one more than `delay` has: without a jump the steady clock comes first.
        self.wall_due = Some(now.wall.saturating_add(delay).saturating_add(Duration::from_secs(2)));
    }

    /// Plans after a failure, with what is `left` of the badge at hand, or zero.
    pub(super) fn failed(&mut self, now: Reading, left: Duration, error: &RenewError, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let (earliest, latest) = if error.is_permanent() {
            (percent(MAX_PERMANENT_BACKOFF, 50), MAX_PERMANENT_BACKOFF)
        } else {
            let doublings = self.failures.saturating_sub(1).min(16);
            let backoff = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_BACKOFF);
            let bound = if left.is_zero() { MAX_BACKOFF } else { percent(left, 50).max(MIN_BOUNDED_BACKOFF) };
            (MIN_DELAY, backoff.min(bound))
        };
        let (earliest, latest) = match error.retry_after().map(|asked| asked.min(MAX_RETRY_AFTER)) {
            // Everybody was told the same time: come after it, and not together.
            Some(asked) if asked >= earliest => (asked, asked.saturating_add(latest.max(percent(asked, 25)))),
            _ => (earliest, latest),
        };
        self.due = now.steady.saturating_add(between(earliest, latest, random));
        self.wall_due = None;
    }

    /// Whether to try now.
    pub(super) fn is_due(&self, now: Reading) -> bool {
        now.steady >= self.due || self.wall_due.is_some_and(|due| now.wall >= due)
    }

    /// How long to sleep before asking [`is_due`](Self::is_due) again: bounded, and at random, since a jump of the clock
    /// is the same for everybody.
    pub(super) fn sleep(&self, now: Reading, random: u64) -> Duration {
        self.until_due(now).min(between(percent(MAX_SLEEP, 50), MAX_SLEEP, random))
    }

    /// What remains until the attempt is due, if the clock does not jump.
    pub(super) const fn until_due(&self, now: Reading) -> Duration {
        self.due.saturating_sub(now.steady)
    }

    /// Attempts that failed since the last success.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }
}

/// How long one attempt may take, with what is `left` of the badge at hand: one that hangs leaves time for another.
pub(super) fn patience(left: Duration) -> Duration {
    if left.is_zero() { MAX_ATTEMPT } else { percent(left, 50).clamp(MIN_ATTEMPT, MAX_ATTEMPT) }
}

fn percent(of: Duration, percent: u32) -> Duration {
    of.saturating_mul(percent).checked_div(100).unwrap_or_default()
}

/// A point of `earliest..=latest`, uniform in `random`.
fn between(earliest: Duration, latest: Duration, random: u64) -> Duration {
    let span = latest.saturating_sub(earliest).as_millis();
    let offset = span.saturating_mul(u128::from(random)) >> 64;
    earliest.saturating_add(Duration::from_millis(u64::try_from(offset).unwrap_or(0)))
}
