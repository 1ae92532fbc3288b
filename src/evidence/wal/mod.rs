//! The write-ahead log: what makes a record durable, in 0.3 ms instead of the 5 ms that tiles take.
//!
//! A directory of segments `<number>.seg`, zero-filled when they are made (so that a sync needs no journal) and recycled
//! by renaming. A segment begins with a header block: its number, a random seed, the origin of the log and the
//! [`Frontier`] of the tree at its start. Frames follow; see [`frame`]. Each batch of entries ends with a commit frame,
//! which holds the signed note of the tree with them.
//!
//! INVARIANT: a frame of an earlier use of a segment is never valid again, since the check of every frame covers the
//! seed of the segment.

mod frame;
mod segment;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merkle::{Frontier, Hash};
use super::storage::Storage;

/// How segments are made.
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
    /// Whole frames stand behind a broken one, or a segment is missing or of another log: not what a crash leaves.
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

/// The writer's side. It never writes to a byte that a sync has confirmed.
#[derive(Debug)]
pub(crate) struct WalWriter {
    _storage: Arc<dyn Storage>,
}

impl WalWriter {
    /// Makes the write-ahead log of a new log in `directory`, which is empty or missing, beginning with `start`.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        directory: &Path,
        origin: &str,
        start: &Frontier,
        options: WalOptions,
    ) -> Result<Self, WalError> {
        let _ = (storage, directory, origin, start, options);
        todo!()
    }

    /// Goes on behind everything that [`WalReader`] found whole, in a *new* segment that begins with `frontier`. The
    /// entries behind the last segment that `first_kept` needs are copied there and synced before this returns: what a
    /// failed sync left in the page cache only is thus never taken for durable.
    ///
    /// `tail` are the frames from index `tail_start` on that no durable tile covers.
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        directory: &Path,
        origin: &str,
        tail_start: &Frontier,
        tail: &[OwnedFrame],
        options: WalOptions,
    ) -> Result<Self, WalError> {
        let _ = (storage, directory, origin, tail_start, tail, options);
        todo!()
    }

    /// How many bytes of entry still fit into the batch under construction before a commit must follow, so that the
    /// commit frame fits behind them; moves to the next segment when the batch is empty and little is left. Making or
    /// recycling a segment may fail like any write.
    pub(crate) fn room(&mut self, next_frontier: &Frontier) -> io::Result<usize> {
        let _ = next_frontier;
        todo!()
    }

    /// Adds a frame to the batch in memory.
    pub(crate) fn push(&mut self, kind: FrameKind, body: &[u8], leaf: Option<&Hash>) {
        let _ = (kind, body, leaf);
        todo!()
    }

    /// Writes the batch with one write(2). It survives a crash of the process from here on.
    pub(crate) fn write(&mut self) -> io::Result<WalPosition> {
        todo!()
    }

    /// Makes everything written durable (fdatasync). After an error the log must not be used again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        todo!()
    }

    /// Gives up the segments that hold only entries below `size`: they become spare segments.
    pub(crate) fn release(&mut self, size: u64) -> io::Result<()> {
        let _ = size;
        todo!()
    }

    /// Overwrites every spare segment and the rest of the current one with zeros, so that no entry that was redacted
    /// stays in them.
    pub(crate) fn wipe_spares(&mut self) -> io::Result<()> {
        todo!()
    }

    /// Bytes of all segments that hold entries not yet released.
    pub(crate) fn live_bytes(&self) -> u64 {
        todo!()
    }
}

/// Reads frames in order, from the first segment there is; read only, also while a writer is at work (give it `until`).
#[derive(Debug)]
pub(crate) struct WalReader {
    _storage: Arc<dyn Storage>,
}

impl WalReader {
    /// Opens the write-ahead log in `directory` of the log `origin`.
    pub(crate) fn open(storage: Arc<dyn Storage>, directory: &Path, origin: &str) -> Result<Self, WalError> {
        let _ = (storage, directory, origin);
        todo!()
    }

    /// The tree before the first frame that will be read: what the header of the first segment says.
    pub(crate) fn start(&self) -> &Frontier {
        todo!()
    }

    /// The next whole frame before `until` (`None`: to the end); `Ok(None)` at the end, which may be a torn frame.
    /// Asked again after more was written, it goes on.
    ///
    /// A broken frame behind which whole frames of the same use of the segment stand is [`WalError::Damaged`].
    pub(crate) fn next(&mut self, until: Option<WalPosition>) -> Result<Option<OwnedFrame>, WalError> {
        let _ = until;
        todo!()
    }

    /// The place behind the last frame that was read.
    pub(crate) fn position(&self) -> WalPosition {
        todo!()
    }

    /// Bytes behind the last whole frame that are not zero: what a crash tore.
    pub(crate) fn torn_bytes(&mut self) -> Result<u64, WalError> {
        todo!()
    }
}
