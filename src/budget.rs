//! A budget that time refills: what may be spent at once, and how much comes back each second.
//!
//! Time is an argument, as everywhere. A clock that goes back refills nothing and is followed from there.

use std::time::Duration;

/// Threads that ask at the same moment may see each other's times in another order; a greater step back is the clock's.
const DISORDER: Duration = Duration::from_secs(1);

const NANOS: i128 = 1_000_000_000;

/// A token bucket. It may be overdrawn, and then gives nothing until that has come back.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    per_second: u64,
    burst: i128,
    /// What is left, in billionths.
    left: i128,
    /// When that was so, since 1970.
    at: Option<Duration>,
}

impl Budget {
    /// A full budget of `burst`, to which `per_second` comes back.
    pub(crate) const fn new(per_second: u64, burst: u64) -> Self {
        // the cast is lossless, and `From` is not const
        let burst = (burst as i128).saturating_mul(NANOS);
        Self { per_second, burst, left: burst, at: None }
    }

    /// Whether there is something left at `now`, which is counted from 1970.
    pub(crate) fn has_some(&mut self, now: Duration) -> bool {
        match self.at.map(|at| (now.checked_sub(at), at)) {
            // the first question, or a clock that was set back
            None => self.at = Some(now),
            Some((None, at)) if at.saturating_sub(now) > DISORDER => self.at = Some(now),
            Some((None, _)) => {}
            Some((Some(elapsed), _)) => {
                let elapsed = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
                let refilled = self.left.saturating_add(elapsed.saturating_mul(self.per_second.into()));
                self.left = refilled.min(self.burst);
                self.at = Some(now);
            }
        }
        self.left > 0
    }

    /// Takes one at `now`, if there is one left.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let has_some = self.has_some(now);
        if has_some {
            self.spend(1);
        }
        has_some
    }

    /// Takes `amount`, left or not.
    pub(crate) fn spend(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(i128::from(amount).saturating_mul(NANOS));
    }

    /// Puts `amount` back.
    pub(crate) fn give_back(&mut self, amount: u64) {
        self.left = self.left.saturating_add(i128::from(amount).saturating_mul(NANOS)).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_spent_comes_back_with_time_up_to_the_burst() {
        let mut budget = Budget::new(2, 3);
        assert_eq!([(); 4].map(|()| budget.take(at(100))), [true, true, true, false]);
        assert_eq!([(); 3].map(|()| budget.take(at(101))), [true, true, false]);
        assert_eq!([(); 4].map(|()| budget.take(at(1000))), [true, true, true, false]);
        budget.give_back(1);
        assert_eq!([(); 2].map(|()| budget.take(at(1000))), [true, false]);
    }

    #[test]
    fn an_overdraft_is_paid_back_first() {
        let mut budget = Budget::new(10, 10);
        assert!(budget.has_some(at(0)));
        budget.spend(30);
        assert!(!budget.has_some(at(2)));
        assert!(budget.has_some(at(3)));
    }

    #[test]
    fn a_clock_that_goes_back_neither_refills_nor_stops_the_budget() {
        let mut budget = Budget::new(1, 1);
        assert!(budget.take(at(1000)));
        assert!(!budget.take(at(10)));
        assert!(budget.take(at(11)), "time goes on from where the clock was set to");
    }

    #[test]
    fn nothing_is_left_of_nothing() {
        assert!(!Budget::new(0, 0).has_some(at(5)));
        assert!(!Budget::new(5, 0).has_some(at(5)));
    }

    proptest! {
        /// Whatever the order in which threads ask, no more is given than the burst and what time brought.
        #[test]
        fn never_more_than_the_burst_and_what_time_brought(
            (per_second, burst) in (0_u64..50, 0_u64..50), times in prop::collection::vec(0_u64..900, 1..300),
        ) {
            let mut budget = Budget::new(per_second, burst);
            let taken = times.iter().filter(|time| budget.take(Duration::from_millis(5_000 + **time))).count() as u64;
            prop_assert!(taken <= burst + per_second + 1, "{taken}");
        }
    }
}
