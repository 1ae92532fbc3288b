//! The write-ahead log: what makes a record durable, in 0.3 ms instead of the 5 ms that tiles take.
//!
//! A directory of segments `<number>.seg`, zero-filled when they are made (so that a sync needs no journal) and recycled
//! by renaming. A segment begins with a header block: its number, a random seed, the origin of the log and the
//! [`Frontier`] of the tree at its start. Frames follow; see [`frame`]. Each batch of entries ends with a commit frame,
//! which holds the signed note of the tree with them.
//!
//! INVARIANT: a frame of an earlier use of a segment is never valid again, since the check of every frame covers the
//! seed of the segment.
//!
//! INVARIANT: a name that ends with `.seg` stands for a file whose length, header and, in a segment that a recovery made,
//! frames were synced before it got the name; and a segment is begun only when all frames of the one before are synced.
//! Thus only the last segment can end with a torn frame.
//!
//! **What is assumed of a disk.** A batch begins where the one before ended, so the two share a sector, and the second
//! write repeats bytes that a sync has confirmed. A disk that loses power in that write leaves each sector of 512 bytes
//! (or more) old or new, and the shared bytes are the same in both. That is `SQLite`'s "powersafe overwrite", and every
//! log that appends relies on it. To begin each batch on a page of its own would need no such assumption, and make a
//! lone record with its note (950 bytes) 4.3 times as long.

mod frame;
#[cfg(any(test, fuzzing))]
pub(in crate::evidence) mod fuzz;
mod pool;
mod reader;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;

use super::merkle::Hash;

pub(crate) use pool::WalKeeper;
pub(crate) use reader::WalReader;
pub(crate) use writer::{WalSync, WalWriter};

/// How segments are made. Lengths are at least 128 KiB and at most 1 GiB; others are taken for the nearest of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalOptions {
    /// Length of the first segment in bytes; later ones double up to `max_segment`.
    pub(crate) first_segment: u64,
    /// Greatest length of a segment in bytes.
    pub(crate) max_segment: u64,
    /// Segments kept ready beside the current one, so that a full disk still leaves room for the last words.
    pub(crate) spare_segments: usize,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// One entry of the log.
    Entry,
    /// The signed note of the tree with all entries before it.
    Commit,
    /// The log was closed in order; nothing follows.
    Close,
}

/// A place behind a frame: all frames before it are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WalPosition {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Byte offset in it.
    pub(crate) offset: u64,
}

/// A frame that was read and whose check is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedFrame {
    pub(crate) kind: FrameKind,
    pub(crate) body: Vec<u8>,
    /// Of an entry: its leaf hash, which the check has needed anyway.
    pub(crate) leaf: Option<Hash>,
    /// The place behind it.
    pub(crate) end: WalPosition,
}

/// What is wrong with a write-ahead log that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalError {
    /// The operating system refused.
    #[error("the write-ahead log cannot be accessed")]
    Io(#[from] io::Error),
    /// Something that a sync had confirmed is gone or changed, or a segment is missing or of another log: not what a crash
    /// leaves.
    #[error("the write-ahead log is damaged: {what} in `{}` at byte {offset}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
}
