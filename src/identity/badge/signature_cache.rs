//! What is remembered of a badge, by its exact bytes: what they say, and the key under which they verify. Neither can change.
//! Whether that key is the right one, and everything else about the badge, is decided anew on every call.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::identity::badge::claims::Claims;

/// What was found out about the token with one SHA-256.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// The key that it verified under last.
    pub(super) key: [u8; 32],
    /// What it says; `None` for a badge too long to be kept.
    pub(super) claims: Option<Arc<Claims>>,
}

/// Anybody can make self-signed badges in any number, so they have a partition of their own and never push out the
/// badges of issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partition {
    Issued,
    SelfSigned,
}

/// Bounded; holds successes only, so that a stream of forgeries finds nothing to fill.
#[derive(Debug)]
pub(super) struct SignatureCache {
    issued: Option<Cache<[u8; 32], Fact>>,
    self_signed: Option<Cache<[u8; 32], Fact>>,
}

impl SignatureCache {
    /// Room for `entries` badges of issuers and an eighth of that for self-signed ones; 0 remembers nothing.
    pub(super) fn new(entries: usize) -> Self {
        let cache = |entries: usize| (entries > 0).then(|| Cache::new(entries));
        Self { issued: cache(entries), self_signed: cache(entries.div_ceil(8)) }
    }

    /// A token stands in one partition at most, since what it says tells who issued it.
    pub(super) fn get(&self, token: &[u8; 32]) -> Option<Fact> {
        let of = |partition: &Option<Cache<_, _>>| partition.as_ref().and_then(|cache| cache.get(token));
        of(&self.issued).or_else(|| of(&self.self_signed))
    }

    pub(super) fn insert(&self, partition: Partition, token: [u8; 32], fact: Fact) {
        let cache = match partition {
            Partition::Issued => &self.issued,
            Partition::SelfSigned => &self.self_signed,
        };
        if let Some(cache) = cache {
            cache.insert(token, fact);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self, partition: Partition) -> usize {
        let cache = match partition {
            Partition::Issued => &self.issued,
            Partition::SelfSigned => &self.self_signed,
        };
        cache.as_ref().map_or(0, Cache::len)
    }
}
