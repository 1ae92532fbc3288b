//! The Merkle tree of RFC 6962 (RFC 9162 §2.1): hashes, growth, proofs. Pure, silent and total.
//!
//! In scope: hashing, the frontier of a growing tree, making and checking proofs. Out of scope: files, signatures, JSON.
//!
//! ```
//! use rmcp_guard::evidence::merkle::{Hash, ProofError, verify_inclusion};
//!
//! let (first, second) = (Hash::of_leaf(b"first"), Hash::of_leaf(b"second"));
//! let root = Hash::of_node(&first, &second);
//!
//! assert_eq!(verify_inclusion(&second, 1, 2, &[first], &root), Ok(()));
//! assert_eq!(verify_inclusion(&second, 0, 2, &[first], &root), Err(ProofError::Mismatch));
//! ```

mod frontier;
mod proof;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub use frontier::Frontier;
pub use proof::{
    HashReader, MAX_PATH_HASHES, ProofError, prove_consistency, prove_inclusion, root_at, verify_consistency,
    verify_inclusion,
};

/// Length of every hash of the tree, in bytes.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 hash: of a leaf, a node or a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// The hash with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The root of the tree without leaves, SHA-256 of nothing (RFC 9162 §2.1.1).
    #[must_use]
    pub fn of_empty_tree() -> Self {
        Self(Sha256::digest(b"").into())
    }

    /// The hash of a leaf, SHA-256(0x00 || entry).
    #[must_use]
    pub fn of_leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// The hash of an inner node, SHA-256(0x01 || left || right).
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }
}

/// Length of a hash in base64 with padding.
const BASE64_BYTES: usize = 44;

/// Base64 as in checkpoints (RFC 4648 §4, with padding).
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; BASE64_BYTES];
        STANDARD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not a hash in base64")]
#[non_exhaustive]
pub struct ParseHashError;

/// Reads what [`Display`](fmt::Display) writes, and no other spelling of it.
impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        // 44 characters without padding would be 33 bytes, for which there is no room
        let mut bytes = [0; HASH_BYTES];
        if text.len() != BASE64_BYTES {
            return Err(ParseHashError);
        }
        let length = STANDARD.decode_slice(text, &mut bytes).map_err(|_| ParseHashError)?;
        let hash = bytes.get(..length).and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or(ParseHashError)
    }
}
