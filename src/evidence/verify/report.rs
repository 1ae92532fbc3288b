//! What a check found.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::evidence::merkle::Hash;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller must break when this grows")]
pub enum Verdict {
    /// Everything is there and is what was signed; what is redacted or pruned is counted.
    Intact,
    /// Nothing was found altered, but something is not there, cannot be read, or does not belong there.
    Incomplete,
    /// Something was altered, or is not signed by a trusted key.
    Tampered,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intact => "intact",
            Self::Incomplete => "incomplete",
            Self::Tampered => "tampered",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// At which entry, where it can be told; of a hash that covers several entries the first of them.
    pub index: Option<u64>,
    /// In which file, relative to the directory of the log.
    pub path: Option<PathBuf>,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, index: impl Into<Option<u64>>, path: Option<&Path>) -> Self {
        Self { kind, index: index.into(), path: path.map(Path::to_owned) }
    }

    /// The best verdict that a log with this finding can have.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        use FindingKind as Kind;
        match self.kind {
            // `tile` is what other tools read and copy; beside it there may be anything
            Kind::UnexpectedFile if self.path.as_ref().is_some_and(|path| path.starts_with("tile")) => {
                Verdict::Incomplete
            }
            Kind::UnexpectedFile | Kind::Ahead => Verdict::Intact,
            Kind::NoCheckpoint
            | Kind::Missing
            | Kind::Unreadable
            | Kind::RemovalUnrecorded
            | Kind::LogMissing
            | Kind::LogInfoWrong
            | Kind::QuorumNotReached => Verdict::Incomplete,
            Kind::BadCheckpoint
            | Kind::UntrustedLog
            | Kind::Malformed
            | Kind::EntryAltered
            | Kind::HashAltered
            | Kind::RootMismatch
            | Kind::ChainBroken
            | Kind::NotARecord
            | Kind::Inconsistent
            | Kind::NotContinued => Verdict::Tampered,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        if let Some(index) = self.index {
            write!(f, ", entry {index}")?;
        }
        match &self.path {
            Some(path) => write!(f, ", `{}`", path.display()),
            None => Ok(()),
        }
    }
}

/// What can be wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// There is no checkpoint, so nothing is signed.
    NoCheckpoint,
    /// The checkpoint is not a signed note of a log, or its signature is wrong.
    BadCheckpoint,
    /// The checkpoint is signed by a key that is not trusted. Nothing else of this log was looked at.
    UntrustedLog,
    /// A file is missing.
    Missing,
    /// A file cannot be read, or is no regular file.
    Unreadable,
    /// A file has the wrong length or form. The index, where there is one, is that of the first entry that is not
    /// what was signed.
    Malformed,
    /// An entry is not the one whose hash was signed.
    EntryAltered,
    /// A hash in a tile is not what the hashes below it give.
    HashAltered,
    /// The tree is not that of the signed root, and no single place can be named.
    RootMismatch,
    /// An entry does not name the one before it, or its own place.
    ChainBroken,
    /// An entry is not one that this log writes.
    NotARecord,
    /// Entries were redacted or pruned, and the log has no record of it.
    RemovalUnrecorded,
    /// The log does not continue a checkpoint that was seen earlier: it was rolled back, or begun anew.
    Inconsistent,
    /// The log does not continue the one before it in its set, or stands there twice.
    NotContinued,
    /// A log of the set is missing: the one before or behind this one, one of a key that is trusted, or one that a known
    /// checkpoint is of.
    LogMissing,
    /// Too few witnesses have signed.
    QuorumNotReached,
    /// `log.json` says something else than what is signed.
    LogInfoWrong,
    /// A file is there that no log of this kind has. Below `tile` that makes the log incomplete; elsewhere it is only
    /// told.
    UnexpectedFile,
    /// There are tiles beyond the signed size; only told. A writer at work is ahead of its checkpoint, but behind one
    /// that was closed in order, this is what an old checkpoint put back leaves.
    Ahead,
}

impl FindingKind {
    /// A stable word for machines, such as `entry_altered`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCheckpoint => "no_checkpoint",
            Self::BadCheckpoint => "bad_checkpoint",
            Self::UntrustedLog => "untrusted_log",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Malformed => "malformed",
            Self::EntryAltered => "entry_altered",
            Self::HashAltered => "hash_altered",
            Self::RootMismatch => "root_mismatch",
            Self::ChainBroken => "chain_broken",
            Self::NotARecord => "not_a_record",
            Self::RemovalUnrecorded => "removal_unrecorded",
            Self::Inconsistent => "inconsistent",
            Self::NotContinued => "not_continued",
            Self::LogMissing => "log_missing",
            Self::QuorumNotReached => "quorum_not_reached",
            Self::LogInfoWrong => "log_info_wrong",
            Self::UnexpectedFile => "unexpected_file",
            Self::Ahead => "ahead",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NoCheckpoint => "there is no checkpoint",
            Self::BadCheckpoint => "the checkpoint is not validly signed",
            Self::UntrustedLog => "the checkpoint is signed by no trusted key",
            Self::Missing => "a file is missing",
            Self::Unreadable => "a file cannot be read",
            Self::Malformed => "a file is malformed",
            Self::EntryAltered => "an entry was altered",
            Self::HashAltered => "a hash of the tree was altered",
            Self::RootMismatch => "the tree is not the signed one",
            Self::ChainBroken => "an entry does not follow the one before it",
            Self::NotARecord => "an entry is not a record",
            Self::RemovalUnrecorded => "entries were removed without a record of it",
            Self::Inconsistent => "the log does not continue an earlier checkpoint",
            Self::NotContinued => "the log does not continue the one before it",
            Self::LogMissing => "a log is missing",
            Self::QuorumNotReached => "too few witnesses have signed",
            Self::LogInfoWrong => "log.json contradicts what is signed",
            Self::UnexpectedFile => "a file does not belong here",
            Self::Ahead => "there is more than the checkpoint covers",
        }
    }
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
    /// Entries whose body was pruned, as the log itself records.
    pub pruned: u64,
    /// Records that the log itself says were dropped (best-effort mode).
    pub dropped: u64,
    /// `timestamp` of the first entry that is there.
    pub first_at: Option<String>,
    /// `timestamp` of the last entry that is there.
    pub last_at: Option<String>,
    /// Whether something outside the log's directory vouched, when the log was begun, that none was lost before it; as
    /// its first entry says.
    pub rollback_detectable: Option<bool>,
    /// The log that its last entry names as its successor, where it was rolled.
    pub next_origin: Option<String>,
    /// Witnesses whose signature on the newest witnessed checkpoint is right.
    pub witnesses: Vec<String>,
    /// Entries that this checkpoint covers; what lies between it and [`size`](Self::size) no witness has seen. `None` where
    /// no witness was asked for or none has signed.
    pub witnessed_size: Option<u64>,
    /// When as many of them as were demanded, or one, had signed, in seconds since 1970 by their own clocks: of that many
    /// each signed then or later. `None` where too few have.
    pub witnessed_at: Option<u64>,
    /// How many things are wrong, those beyond [`MAX_FINDINGS`](Self::MAX_FINDINGS) included.
    pub findings_total: u64,
    /// What is wrong, at most [`MAX_FINDINGS`](Self::MAX_FINDINGS) of it, in the order of the log; what has no place
    /// there comes last.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Most findings that a report keeps.
    pub const MAX_FINDINGS: usize = 100;

    pub(super) fn new(directory: &Path) -> Self {
        Self {
            verdict: Verdict::Intact,
            directory: directory.to_owned(),
            origin: None,
            size: 0,
            root: None,
            entries_checked: 0,
            redacted: 0,
            pruned: 0,
            dropped: 0,
            first_at: None,
            last_at: None,
            rollback_detectable: None,
            next_origin: None,
            witnesses: Vec::new(),
            witnessed_size: None,
            witnessed_at: None,
            findings_total: 0,
            findings: Vec::new(),
        }
    }

    /// Adds a finding; the verdict follows it even where the list is full.
    pub(super) fn add(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(finding.verdict());
        self.findings_total = self.findings_total.saturating_add(1);
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    pub(super) fn find(&mut self, kind: FindingKind, index: impl Into<Option<u64>>, path: Option<&Path>) {
        self.add(Finding::new(kind, index, path));
    }

    /// Puts the findings in the order of the log.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.index.unwrap_or(u64::MAX));
    }
}
