//! How many requests are under way, per host and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most requests to one host at a time, so that one issuer is not asked to death, nor can one slow host hold all.
pub const MAX_REQUESTS_PER_HOST: usize = 32;

/// The most requests of one fetcher at a time: each may hold its answer's size in memory.
pub const MAX_REQUESTS: usize = 128;

/// Requests under way. A host without one is not in the map, so the map is no longer than [`MAX_REQUESTS`].
#[derive(Debug, Default)]
struct UnderWay {
    hosts: HashMap<String, usize>,
    total: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Limits(Arc<Mutex<UnderWay>>);

/// A place among the requests under way; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    limits: Limits,
    host: String,
}

impl Limits {
    /// A place for a request to `host`, or `None` at once where there is none: whoever waits here would only time out.
    pub(super) fn enter(&self, host: &str) -> Option<Place> {
        let mut under_way = self.lock();
        let of_host = under_way.hosts.get(host).copied().unwrap_or(0);
        if under_way.total >= MAX_REQUESTS || of_host >= MAX_REQUESTS_PER_HOST {
            return None;
        }
        under_way.total = under_way.total.saturating_add(1);
        under_way.hosts.insert(host.to_owned(), of_host.saturating_add(1));
        Some(Place { limits: self.clone(), host: host.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.limits.lock();
        under_way.total = under_way.total.saturating_sub(1);
        match under_way.hosts.get_mut(&self.host) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(under_way.hosts.remove(&self.host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_per_host_and_in_all_and_come_back() {
        let limits = Limits::default();
        let mut places: Vec<Place> = (0..MAX_REQUESTS_PER_HOST).map_while(|_| limits.enter("a.example")).collect();
        assert_eq!(places.len(), MAX_REQUESTS_PER_HOST);
        assert!(limits.enter("a.example").is_none(), "one host has no more");
        places.extend((0..).map_while(|n| limits.enter(&format!("{n}.example"))));
        assert_eq!(places.len(), MAX_REQUESTS, "nor have all");
        places.remove(0);
        assert!(limits.enter("a.example").is_some(), "a place given back counts");
        places.clear();
        assert!(limits.lock().hosts.is_empty() && limits.lock().total == 0);
    }
}
