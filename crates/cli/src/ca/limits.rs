//! How often somebody may ask: in memory, bounded, and forgotten at a restart.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ca::error::{CaError, Refusal};

/// Most callers that one limiter remembers: about 8 MiB. A full table refuses whoever is new, until others are forgotten.
const MAX_CALLERS: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);

/// So many calls a minute for each key, in a burst or spread out (the generic cell rate algorithm: one point in time for
/// each caller says when its calls so far would have been due).
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    /// The time that one call takes of the minute.
    cost: Duration,
    due: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Limiter<K> {
    pub(crate) fn per_minute(calls: u32) -> Self {
        Self { cost: MINUTE.checked_div(calls).unwrap_or(Duration::MAX), due: Mutex::default() }
    }

    /// Counts a call at `now`.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), CaError> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() >= MAX_CALLERS && !due.contains_key(&key) {
            // Who has nothing outstanding is as good as unknown.
            due.retain(|_, due| *due > now);
            if due.len() >= MAX_CALLERS {
                return Err(limited(MINUTE));
            }
        }
        let after = due.get(&key).map_or(now, |due| now.max(*due)).checked_add(self.cost);
        // What is due after the call may reach a minute ahead, and no further.
        let ahead = after.map_or(Duration::MAX, |after| after.saturating_duration_since(now));
        match after {
            Some(after) if ahead <= MINUTE => {
                due.insert(key, after);
                Ok(())
            }
            _ => Err(limited(ahead.saturating_sub(MINUTE))),
        }
    }
}

/// Blocks whoever fails too often: five proofs in 15 minutes block a DID for 15 minutes (RFC-003).
#[derive(Debug, Default)]
pub(crate) struct Failures {
    seen: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Failures {
    const MOST: u32 = 5;
    const WINDOW: Duration = Duration::from_secs(15 * 60);

    pub(crate) fn check(&self, key: &str, now: Instant) -> Result<(), CaError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((count, since)) = seen.get(key) else { return Ok(()) };
        let left = Self::WINDOW.saturating_sub(now.saturating_duration_since(*since));
        if *count >= Self::MOST && left > Duration::ZERO { Err(limited(left)) } else { Ok(()) }
    }

    /// Counts a failure. The time runs anew with the one that blocks.
    pub(crate) fn count(&self, key: &str, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (_, since)| now.saturating_duration_since(*since) < Self::WINDOW);
        // Only DIDs with a challenge get here, and making one is limited; a full table lets the proof fail uncounted.
        if seen.len() >= MAX_CALLERS && !seen.contains_key(key) {
            return;
        }
        let (count, since) = seen.entry(key.to_owned()).or_insert((0, now));
        *count = count.saturating_add(1);
        if *count == Self::MOST {
            *since = now;
        }
    }
}

fn limited(wait: Duration) -> CaError {
    CaError::Refused(Refusal {
        status: 429,
        code: "rate_limit_exceeded",
        message: "too many requests".to_owned(),
        retry_after: Some(wait.max(Duration::from_secs(1)).min(Duration::from_secs(3600))),
    })
}

/// What counts as one address: whoever has IPv6 has a whole /64 of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(result: Result<(), CaError>) -> Option<Duration> {
        match result {
            Ok(()) => None,
            Err(CaError::Refused(refusal)) => refusal.retry_after,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_minute_holds_so_many_calls_and_no_more() {
        let limiter = Limiter::per_minute(10);
        let start = Instant::now();
        for call in 0..10 {
            assert_eq!(wait(limiter.take("a", start)), None, "{call}");
        }
        assert_eq!(wait(limiter.take("a", start)), Some(Duration::from_secs(6)));
        assert_eq!(wait(limiter.take("b", start)), None, "others are not held up");
        let later = start + Duration::from_secs(6);
        assert_eq!(wait(limiter.take("a", later)), None);
        assert_eq!(wait(limiter.take("a", later)), Some(Duration::from_secs(6)));
        assert!(wait(Limiter::per_minute(0).take("a", start)).is_some());
    }

    #[test]
    fn a_full_table_refuses_strangers_until_others_are_forgotten() {
        let limiter = Limiter::per_minute(10);
        let start = Instant::now();
        for caller in 0..MAX_CALLERS {
            assert_eq!(wait(limiter.take(caller, start)), None);
        }
        assert!(wait(limiter.take(MAX_CALLERS, start)).is_some());
        assert_eq!(wait(limiter.take(0, start)), None, "who is known is served");
        assert_eq!(wait(limiter.take(MAX_CALLERS, start + MINUTE)), None);
    }

    #[test]
    fn five_failures_block_for_a_quarter_of_an_hour() {
        let failures = Failures::default();
        let start = Instant::now();
        for _ in 0..4 {
            failures.count("did", start);
            assert_eq!(wait(failures.check("did", start)), None);
        }
        let fifth = start + Duration::from_secs(600);
        failures.count("did", fifth);
        assert_eq!(wait(failures.check("did", fifth)), Some(Failures::WINDOW));
        assert_eq!(wait(failures.check("other", fifth)), None);
        assert_eq!(wait(failures.check("did", fifth + Failures::WINDOW)), None);
    }
}
