//! Ten million revoked badges in memory: 64 bits of a keyed hash of each id, in shards.
//!
//! | | |
//! |---|---|
//! | memory | 8 bytes and a control byte per slot, tables of a power of two at most 7/8 full: 10 to 21 bytes an id, 15 at ten million (143 MiB), however long the ids are |
//! | a question | one HMAC-SHA-256 and one look into a hash table under a read lock: the same for any number of ids |
//! | growth | one of 256 shards at a time is copied, some 40,000 entries at ten million: readers of the others do not notice |
//! | an error | a badge that was not revoked is denied with probability n / 2^64, 5e-13 at ten million; a revoked one never passes |
//!
//! The key is random and secret, so nobody can choose an id that collides with a revoked one.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A power of two, so that eight bits of the hash name a shard.
const SHARDS: usize = 256;

/// The key of one set: a block of SHA-256 (RFC 2104 §2), of which the first 32 bytes are random.
pub(super) type SetKey = Zeroizing<[u8; 32]>;

pub(super) struct RevokedSet {
    key: SetKey,
    mac: Hmac<Sha256>,
    shards: Vec<RwLock<Shard>>,
}

type Shard = HashSet<u64, BuildHasherDefault<AlreadyHashed>>;

/// The entries are hashes; hashing them again would add nothing.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl RevokedSet {
    pub(super) fn new(key: SetKey) -> Self {
        // HMAC pads a short key with zeros to the block length; done here, the length is right by type.
        let mut block = Zeroizing::new([0_u8; 64]);
        for (to, from) in block.iter_mut().zip(key.iter()) {
            *to = *from;
        }
        let mac = Hmac::new((&*block).into());
        Self { key, mac, shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// An empty set under a new key; `None` without randomness.
    pub(super) fn random() -> Option<Self> {
        let mut key = SetKey::default();
        getrandom::fill(key.as_mut_slice()).ok()?;
        Some(Self::new(key))
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// What stands for `id` in this set.
    pub(super) fn hash(&self, id: &str) -> u64 {
        let mac = self.mac.clone().chain_update(id).finalize().into_bytes();
        mac.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.shard(hash).is_none_or(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).contains(&hash))
    }

    /// Whether `hash` is new. Locks one shard, for one insertion.
    pub(super) fn insert(&self, hash: u64) -> bool {
        self.shard(hash).is_some_and(|shard| shard.write().unwrap_or_else(PoisonError::into_inner).insert(hash))
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// The entries, one shard at a time; what is inserted meanwhile may be missing.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Vec<u64>> {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect::<Vec<_>>())
            .filter(|chunk| !chunk.is_empty())
    }

    /// By bits that the table of a shard does not look at: it takes the slot from the low end and a tag from the top.
    fn shard(&self, hash: u64) -> Option<&RwLock<Shard>> {
        let [_, number, ..] = hash.to_be_bytes();
        self.shards.get(usize::from(number))
    }
}

impl fmt::Debug for RevokedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokedSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let set = RevokedSet::random().unwrap();
        let ids: Vec<_> = (0..20_000).map(|number| format!("badge-{number}")).collect();
        let (revoked, others) = ids.split_at(10_000);
        assert!(revoked.iter().all(|id| set.insert(set.hash(id))));
        assert!(!set.insert(set.hash("badge-0")), "twice is once");
        assert_eq!(set.len(), 10_000);
        assert!(revoked.iter().all(|id| set.contains(set.hash(id))));
        assert!(!others.iter().any(|id| set.contains(set.hash(id))));
        assert_eq!(set.chunks().map(|chunk| chunk.len()).sum::<usize>(), 10_000);
        let fullest = set.chunks().map(|chunk| chunk.len()).max().unwrap();
        assert!(fullest < 100, "{fullest} of 10,000 in one of 256 shards");
    }

    /// Computed with Python: `hmac.new(bytes([7] * 32), b"j-1", "sha256").hexdigest()[:16]`.
    #[test]
    fn the_hash_is_hmac_under_the_sets_key() {
        let set = RevokedSet::new(Zeroizing::new([7; 32]));
        assert_eq!(format!("{:016x}", set.hash("j-1")), "416eb0ea2e3b9b51");
        assert_ne!(RevokedSet::random().unwrap().hash("j-1"), RevokedSet::random().unwrap().hash("j-1"));
        assert_eq!(set.key(), &[7; 32]);
    }
}
