//! How many signatures are checked for callers before anybody knows who they are (S29).
//!
//! A check takes about 46 us, and whoever sends the badge pays nothing for it. Badges whose signature is remembered cost
//! none, and one that verifies and counts gives back what it cost: so the budget holds for badges that fail, and a fleet
//! that comes with thousands of new ones at once is served.
//!
//! What an attacker can still do: while more forged badges arrive than the budget has checks for, badges that are *new*
//! here are denied with a reason that says to try again. Those that were seen before are served, and so are API keys and
//! anonymous callers. Nothing short of the check tells the new badge of an agent from a forged one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::signature_cache::Partition;
use crate::budget::Budget;
use crate::clock::UnixSeconds;

/// Failing signature checks each second by default: 5 % of one processor core, and more than a fleet of agents whose issuer
/// has lost its key comes to.
pub const DEFAULT_SIGNATURE_CHECKS_PER_SECOND: u32 = 1_000;

/// Seconds whose checks may be spent at once: with the default half a second of one core.
const BURST_SECONDS: u64 = 10;

/// Anybody can make self-signed badges in any number, so they have a budget of their own, and no success fills it up.
#[derive(Debug)]
pub(super) struct CheckBudgets {
    issued: Mutex<Budget>,
    self_signed: Mutex<Budget>,
}

impl CheckBudgets {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        let budget = || Mutex::new(Budget::new(per_second, per_second.saturating_mul(BURST_SECONDS)));
        Self { issued: budget(), self_signed: budget() }
    }

    /// The account of one badge.
    pub(super) fn spend_on(&self, partition: Partition, now: UnixSeconds) -> Spent<'_> {
        let budget = match partition {
            Partition::Issued => &self.issued,
            Partition::SelfSigned => &self.self_signed,
        };
        Spent { budget, now: Duration::from_secs(u64::try_from(now.as_i64()).unwrap_or(0)), checks: 0 }
    }
}

/// What one badge has cost so far.
#[derive(Debug)]
pub(super) struct Spent<'a> {
    budget: &'a Mutex<Budget>,
    now: Duration,
    checks: u64,
}

impl Spent<'_> {
    /// Whether there is a check left; it is taken.
    pub(super) fn one_more(&mut self) -> bool {
        let taken = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(self.now);
        self.checks = self.checks.saturating_add(u64::from(taken));
        taken
    }

    /// The badge counts: it has cost nothing.
    pub(super) fn refund(self) {
        if self.checks > 0 {
            self.budget.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.checks);
        }
    }
}
