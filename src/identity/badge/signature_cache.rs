//! One remembered fact: these bytes verify under this key. Whether that key is the right one, and everything else
//! about the badge, is decided anew on every call.

use quick_cache::sync::Cache;

use crate::identity::key::PublicKey;

/// SHA-256 of the exact token, and the key it verified under.
type Fact = ([u8; 32], [u8; 32]);

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
    issued: Option<Cache<Fact, ()>>,
    self_signed: Option<Cache<Fact, ()>>,
}

impl SignatureCache {
    /// Room for `entries` badges of issuers and an eighth of that for self-signed ones; 0 remembers nothing.
    pub(super) fn new(entries: usize) -> Self {
        let cache = |entries: usize| (entries > 0).then(|| Cache::new(entries));
        Self { issued: cache(entries), self_signed: cache(entries.div_ceil(8)) }
    }

    pub(super) fn contains(&self, partition: Partition, token: &[u8; 32], key: &PublicKey) -> bool {
        self.partition(partition).is_some_and(|cache| cache.get(&(*token, *key.as_bytes())).is_some())
    }

    pub(super) fn insert(&self, partition: Partition, token: &[u8; 32], key: &PublicKey) {
        if let Some(cache) = self.partition(partition) {
            cache.insert((*token, *key.as_bytes()), ());
        }
    }

    const fn partition(&self, partition: Partition) -> Option<&Cache<Fact, ()>> {
        match partition {
            Partition::Issued => self.issued.as_ref(),
            Partition::SelfSigned => self.self_signed.as_ref(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self, partition: Partition) -> usize {
        self.partition(partition).map_or(0, Cache::len)
    }
}
