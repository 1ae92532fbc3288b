//! Why a log could not be opened or read.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log could not be opened or read.
#[derive(Clone, Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    path: Option<PathBuf>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept a log from being opened or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The operating system refused an operation; see the error's source.
    Io,
    /// Another process, or another log in this one, writes to the directory.
    Locked,
    /// The directory or a file in it can be entered or read by others than its owner (`chmod -R go= DIR`).
    NotPrivate,
    /// Something that is no log of ours stands in the way: a file where the directory should be, a symbolic link or a
    /// directory where a file should be.
    Foreign,
    /// A line is not a record. Nothing was changed; what to do about it is for a person to decide.
    Damaged {
        /// The line's number, from 1.
        line: usize,
    },
    /// The file of the hash key does not hold a key.
    Key,
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

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OpenErrorKind::Io => f.write_str("the evidence log cannot be accessed")?,
            OpenErrorKind::Locked => f.write_str("the evidence log is in use by another writer")?,
            OpenErrorKind::NotPrivate => f.write_str("the evidence log is open to other users (`chmod -R go=` it)")?,
            OpenErrorKind::Foreign => f.write_str("not a file or directory of an evidence log")?,
            OpenErrorKind::Damaged { line } => write!(f, "line {line} is not an evidence record")?,
            OpenErrorKind::Key => f.write_str("the evidence log's key file does not hold a key")?,
            OpenErrorKind::Randomness => f.write_str("the system gave no random bytes")?,
        }
        match &self.path {
            Some(path) => write!(f, ": `{}`", path.display()),
            None => Ok(()),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}
