//! What a check found.

use std::path::PathBuf;

use crate::evidence::merkle::Hash;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller must break when this grows")]
pub enum Verdict {
    /// Everything is there and is what was signed; what is redacted or pruned is counted.
    Intact,
    /// Nothing was found altered, but something is not there.
    Incomplete,
    /// Something was altered, or is not signed by a trusted key.
    Tampered,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// At which entry, where it can be told.
    pub index: Option<u64>,
    /// In which file.
    pub path: Option<PathBuf>,
}

/// What can be wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// There is no checkpoint.
    NoCheckpoint,
    /// The checkpoint is not a signed note, or not signed by a trusted key.
    BadCheckpoint,
    /// A file is missing.
    Missing,
    /// A file cannot be read.
    Unreadable,
    /// A file has the wrong form.
    Malformed,
    /// An entry is not the one whose hash was signed.
    EntryAltered,
    /// A hash in a tile is not what the hashes below it give.
    HashAltered,
    /// The tree is not that of the signed root.
    RootMismatch,
    /// An entry does not name the one before it, or its own place.
    ChainBroken,
    /// An entry is no record.
    NotARecord,
    /// The log does not continue a checkpoint that was seen earlier.
    Inconsistent,
    /// Too few witnesses have signed.
    QuorumNotReached,
    /// A file is there that no log of this kind has.
    UnexpectedFile,
}

/// What a check of one log found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The outcome.
    pub verdict: Verdict,
    /// Where the log is.
    pub directory: PathBuf,
    /// Its origin, as signed.
    pub origin: Option<String>,
    /// Its size, as signed.
    pub size: u64,
    /// Its root, as signed.
    pub root: Option<Hash>,
    /// Entries whose bytes were read and are what was signed.
    pub entries_checked: u64,
    /// Entries whose body was redacted.
    pub redacted: u64,
    /// Entries whose body was pruned.
    pub pruned: u64,
    /// Records that the log itself says were dropped (best-effort mode).
    pub dropped: u64,
    /// `timestamp` of the first entry.
    pub first_at: Option<String>,
    /// `timestamp` of the last entry.
    pub last_at: Option<String>,
    /// Witnesses whose signature on the newest witnessed checkpoint is right.
    pub witnesses: Vec<String>,
    /// What is wrong, at most [`MAX_FINDINGS`](Self::MAX_FINDINGS) of it, in the order of the log.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Most findings that a report keeps.
    pub const MAX_FINDINGS: usize = 100;
}
