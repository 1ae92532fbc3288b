//! Frames: `length u32 | kind u8 | check [8] | body`, little endian.
//!
//! The check is the start of SHA-256(seed || kind || length || digest of the body), where the digest of an entry is its
//! leaf hash: the hash that the tree needs anyway. A CRC would be one more dependency and one more pass over the bytes.
//!
//! The highest bit of the kind says that everything before the frame was synced when the frame was written. It is what
//! tells damage from a torn write: see [`WalReader::next`](super::WalReader::next).

use sha2::{Digest as _, Sha256};

use super::FrameKind;
use crate::evidence::MAX_ENTRY_BYTES;
use crate::evidence::merkle::Hash;

/// Bytes before the body. So many zeros are the mark behind the last frame.
pub(super) const FRAME_HEADER_BYTES: usize = 13;
/// Longest body in bytes.
pub(super) const MAX_BODY_BYTES: usize = MAX_ENTRY_BYTES;
/// What stands behind the last frame that was written; the next frame overwrites it.
pub(super) const END_MARK: [u8; FRAME_HEADER_BYTES] = [0; FRAME_HEADER_BYTES];

const ENTRY: u8 = 1;
const COMMIT: u8 = 2;
const CLOSE: u8 = 3;
const AFTER_SYNC: u8 = 0x80;

pub(super) type Seed = [u8; 16];
pub(super) type Check = [u8; 8];

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    /// Everything before the frame was synced when it was written.
    pub(super) after_sync: bool,
    /// Of the body, at most [`MAX_BODY_BYTES`].
    pub(super) length: usize,
    check: Check,
}

impl FrameHeader {
    /// The header at the start of `bytes`, when there can be one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (&kind, rest) = rest.split_first()?;
        let check = *rest.first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_BODY_BYTES)?;
        let after_sync = kind & AFTER_SYNC != 0;
        let kind = match kind & !AFTER_SYNC {
            ENTRY => FrameKind::Entry,
            COMMIT => FrameKind::Commit,
            CLOSE => FrameKind::Close,
            _ => return None,
        };
        Some(Self { kind, after_sync, length, check })
    }

    /// Whether [`parse`](Self::parse) can succeed for bytes that begin with these; for searching, byte by byte.
    pub(super) const fn may_begin(window: &[u8]) -> bool {
        matches!(window, [_, _, 0, 0, kind] if matches!(*kind & !AFTER_SYNC, ENTRY | COMMIT | CLOSE))
    }

    /// The digest of `body` when it is the body of this frame under `seed`.
    pub(super) fn verify(&self, seed: &Seed, body: &[u8]) -> Option<Hash> {
        let digest = digest_of(self.kind, body);
        let right = check_of(seed, self.kind, self.after_sync, body.len(), &digest)? == self.check;
        right.then_some(digest)
    }

    pub(super) const fn check(&self) -> Check {
        self.check
    }

    /// Header and body together, in bytes.
    pub(super) const fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES.saturating_add(self.length)
    }
}

/// Appends a frame to `out` and returns its check; `None`, and nothing appended, when the body is too long.
///
/// `leaf` is the leaf hash of an entry, where the caller has it already.
pub(super) fn write_frame(
    out: &mut Vec<u8>,
    seed: &Seed,
    (kind, after_sync): (FrameKind, bool),
    body: &[u8],
    leaf: Option<&Hash>,
) -> Option<Check> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY_BYTES)?;
    let digest = match (kind, leaf) {
        (FrameKind::Entry, Some(leaf)) => *leaf,
        _ => digest_of(kind, body),
    };
    let check = check_of(seed, kind, after_sync, body.len(), &digest)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind_byte(kind, after_sync));
    out.extend_from_slice(&check);
    out.extend_from_slice(body);
    Some(check)
}

const fn kind_byte(kind: FrameKind, after_sync: bool) -> u8 {
    let byte = match kind {
        FrameKind::Entry => ENTRY,
        FrameKind::Commit => COMMIT,
        FrameKind::Close => CLOSE,
    };
    if after_sync { byte | AFTER_SYNC } else { byte }
}

fn digest_of(kind: FrameKind, body: &[u8]) -> Hash {
    match kind {
        FrameKind::Entry => Hash::of_leaf(body),
        FrameKind::Commit | FrameKind::Close => {
            Hash::new(Sha256::new().chain_update([2]).chain_update(body).finalize().into())
        }
    }
}

/// 53 bytes are hashed, which is one block of SHA-256.
fn check_of(seed: &Seed, kind: FrameKind, after_sync: bool, length: usize, digest: &Hash) -> Option<Check> {
    let length = u32::try_from(length).ok()?;
    let hash = Sha256::new()
        .chain_update(seed)
        .chain_update([kind_byte(kind, after_sync)])
        .chain_update(length.to_le_bytes())
        .chain_update(digest.as_bytes())
        .finalize();
    hash.first_chunk().copied()
}
