//! Keyed hashes: equal inputs can be joined within one log, and nobody without the key can guess an input.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encoding::base64url;
use crate::evidence::{OpenError, OpenErrorKind};

/// Length of a log's hash key: as long as the hash, which is what HMAC can make use of (RFC 2104 §3).
pub(super) const KEY_BYTES: usize = 32;

/// Bytes of the key's digest that name it in a hash.
const KEY_ID_BYTES: usize = 8;

/// HMAC-SHA-256 under one log's key, for several purposes that cannot be confused.
#[derive(Clone)]
pub(super) struct KeyedHash {
    key_id: String,
    mac: Hmac<Sha256>,
}

impl KeyedHash {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        // HMAC pads a short key with zeros to the block length; done here, the length is right by type
        let mut block = Zeroizing::new([0_u8; 64]);
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        let digest = Sha256::new().chain_update(b"rmcp-guard evidence key id\0").chain_update(key).finalize();
        let id: Vec<u8> = digest.iter().take(KEY_ID_BYTES).copied().collect();
        Self { key_id: base64url(&id), mac: Hmac::new((&*block).into()) }
    }

    pub(super) fn random() -> Result<Self, OpenError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| OpenError::new(OpenErrorKind::Randomness))?;
        Ok(Self::new(&key))
    }

    /// Names the key without telling anything about it.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `hmac-sha256:<kid>:<b64url>` of `bytes` for the purpose `label`. Labels are ours and hold no NUL, so no two
    /// pairs of label and bytes give the same input.
    pub(super) fn hash(&self, label: &'static str, bytes: &[u8]) -> String {
        let mac = self.mac.clone().chain_update(label).chain_update(b"\0").chain_update(bytes).finalize().into_bytes();
        format!("hmac-sha256:{}:{}", self.key_id, base64url(&mac))
    }
}

/// The hash key in use, which is replaced while records are made.
#[derive(Clone, Debug)]
pub(super) struct KeyCell(Arc<RwLock<Arc<KeyedHash>>>);

impl KeyCell {
    pub(super) fn new(keyed: KeyedHash) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keyed))))
    }

    pub(super) fn get(&self) -> Arc<KeyedHash> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, keyed: KeyedHash) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyed);
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHash").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python: `hmac.new(bytes(range(32)), b"params\0{}", "sha256")` and the first 8 bytes of
    /// `hashlib.sha256(b"rmcp-guard evidence key id\0" + bytes(range(32)))`.
    #[test]
    fn a_known_answer() {
        let mut key = [0; KEY_BYTES];
        for (value, byte) in (0..).zip(&mut key) {
            *byte = value;
        }
        assert_eq!(
            KeyedHash::new(&key).hash("params", b"{}"),
            "hmac-sha256:3wCMM10WLNs:EI5toci4J3o0bwAHHsE7tZNBQ8fDeaU6OCZsLQVQCL4"
        );
    }

    #[test]
    fn key_label_and_bytes_each_change_the_hash() {
        let (one, other) = (KeyedHash::new(&[1; KEY_BYTES]), KeyedHash::new(&[2; KEY_BYTES]));
        let hash = one.hash("params", b"x");
        assert_eq!(one.hash("params", b"x"), hash);
        for different in [other.hash("params", b"x"), one.hash("result", b"x"), one.hash("params", b"y")] {
            assert_ne!(different, hash);
        }
    }
}
