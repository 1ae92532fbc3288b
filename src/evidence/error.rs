//! Why a log could not be opened or read.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log could not be opened or read. Where a person can do something about it, the text says what.
#[derive(Clone, Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    path: Option<PathBuf>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept a log from being opened or read. Nothing was changed in any of these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The operating system refused an operation; see the error's source.
    Io,
    /// Another process, or another log in this one, writes to this instance.
    Locked,
    /// The directory or a file in it can be entered or read by others than its owner (`chmod -R go= DIR`).
    NotPrivate,
    /// Something that is no log of ours stands in the way: a file where a directory should be, a symbolic link or a
    /// directory where a file should be, a name that no log has.
    Foreign,
    /// The name of the instance or the origin cannot be used.
    Name,
    /// The private directory is in the log's directory or the other way round.
    Nested,
    /// The directory holds a log of the first format (`records.jsonl`), which is imported and not opened.
    OldFormat,
    /// A log should be made, and there is one.
    Exists,
    /// There is no log; or the one that the high-water mark vouches for is gone.
    Missing,
    /// The log is shorter than a checkpoint that its key has signed: the high-water mark or the published one. An older
    /// copy was restored, or its end was cut off.
    RolledBack {
        /// Entries that the log has.
        size: u64,
        /// Entries that were signed.
        signed: u64,
    },
    /// The log is not the one whose checkpoint its key has signed: an entry before that point is another.
    Forked,
    /// The log is not the one that is asked for: its origin, instance or number is another.
    OtherLog,
    /// The high-water mark is not a checkpoint that the log's key has signed.
    Mark,
    /// The published checkpoint is not one that the log's key has signed.
    Checkpoint,
    /// The end of the log is not signed by its key, as far as it must be.
    Unsigned,
    /// A log's directory has no `log.json`.
    NoManifest,
    /// `log.json` is not what this program writes.
    Manifest,
    /// `log.json` is of another version of the format.
    Version {
        /// The version it names.
        found: u64,
    },
    /// A log between two others is missing.
    EpochGap {
        /// Its number.
        missing: u64,
    },
    /// The write-ahead log is not what a crash leaves: bytes that were confirmed were altered or lost.
    DamagedWal {
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// A tile or a bundle of entries is missing, or is not of this log.
    DamagedTiles,
    /// A line or an entry is not a record.
    Damaged {
        /// Its number, from 1.
        line: usize,
    },
    /// A key file does not hold a key, or holds another one than the log's: the private directory is the wrong one.
    Key,
    /// The hash key is the one in use, which can only be destroyed once another has taken its place.
    KeyInUse,
    /// The log has no such entry, or no such key, or none of either since it is kept in memory.
    NoSuchEntry,
    /// The operating system gave no random bytes.
    Randomness,
}

impl OpenError {
    pub(super) const fn new(kind: OpenErrorKind) -> Self {
        Self { kind, path: None, source: None }
    }

    pub(super) fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub(super) fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// For `map_err`: the operating system's error about `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::new(OpenErrorKind::Io).at(&path).caused_by(error)
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// The file or directory concerned.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for OpenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Io => "the evidence log cannot be accessed",
            Self::NoSuchEntry => "the evidence log has no such entry or key",
            Self::Locked => {
                "the evidence log is in use by another writer (processes that share a directory need an instance name each)"
            }
            Self::NotPrivate => "the evidence log is open to other users (`chmod -R go=` it)",
            Self::Foreign => "not a file or directory of an evidence log (give the log a directory of its own)",
            Self::Name => {
                "not a usable name (instance: 1 to 64 ASCII letters, digits, `-`, `_`; origin: printable ASCII without `+`, at most 200 bytes, no empty part)"
            }
            Self::Nested => "the private directory and the evidence log's must not lie within each other",
            Self::OldFormat => {
                "an evidence log of the first format (`rmcp-guard evidence import OLD NEW` takes its records into a new log; or move it away)"
            }
            Self::Exists => "there is an evidence log already",
            Self::Missing => {
                "the evidence log is missing (if its high-water mark is in the private directory, restore the log; it is never begun anew under the same key)"
            }
            Self::RolledBack { size, signed } => {
                return write!(
                    f,
                    "the evidence log has {size} entries, and {signed} were signed: its end was cut off or an older copy restored (restore the newest copy, or keep this one as it is and begin another with a new private directory)"
                );
            }
            Self::Forked => {
                "the evidence log is not the one that was signed: an entry was altered, or it is another copy (keep it as it is; `rmcp-guard evidence verify` tells more)"
            }
            Self::OtherLog => "the evidence log is another one than was asked for, by its origin, instance or number",
            Self::Mark => {
                "the high-water mark is not signed by the evidence log's key (the private directory is that of another log, or was altered)"
            }
            Self::Checkpoint => "the published checkpoint is not signed by the evidence log's key",
            Self::Unsigned => "the end of the evidence log is not signed by its key",
            Self::NoManifest => "the directory of an evidence log has no `log.json`",
            Self::Manifest => "`log.json` of the evidence log is malformed",
            Self::Version { found } => {
                return write!(
                    f,
                    "the evidence log has version {found} of the format, and this program knows version 1"
                );
            }
            Self::EpochGap { missing } => {
                return write!(f, "log number {missing} of the evidence is missing between two others (restore it)");
            }
            Self::DamagedWal { offset } => {
                return write!(
                    f,
                    "the write-ahead log is damaged at byte {offset}, which no crash does (keep the directory as it is; restore it from a copy)"
                );
            }
            Self::DamagedTiles => {
                "a tile of the evidence log is missing or is not of this log (restore it from a copy)"
            }
            Self::Damaged { line } => return write!(f, "line {line} is not an evidence record"),
            Self::Key => {
                "the key file does not hold the evidence log's key (the private directory is that of another log, or was begun anew)"
            }
            Self::KeyInUse => "the hash key is in use (another must take its place first)",
            Self::Randomness => "the system gave no random bytes",
        };
        f.write_str(text)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: `{}`", self.kind, path.display()),
            None => self.kind.fmt(f),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}
