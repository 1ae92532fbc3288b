//! Reading a log without being its writer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::OpenError;

/// A log's directory, for reading; a writer may be at work meanwhile. Nothing it says is verified: see
/// [`Verifier`](super::verify::Verifier) for that.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LogEntry {
    /// Its bytes.
    Present(Vec<u8>),
    /// Redacted: its leaf hash remains.
    Redacted,
    /// Pruned: only the tree remains.
    Pruned,
}

impl LogReader {
    /// The log in `directory`, the one that holds `log.json`.
    ///
    /// # Errors
    /// [`OpenError`] when there is no readable log.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Ok(Self { directory: directory.as_ref().to_owned() })
    }

    /// Every log in `directory`: itself, or those of a set, instances by name and epochs in order.
    ///
    /// # Errors
    /// [`OpenError`] when a directory cannot be listed.
    pub fn open_set(directory: impl AsRef<Path>) -> Result<Vec<Self>, OpenError> {
        let _ = directory;
        todo!()
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its origin, as `log.json` says.
    #[must_use]
    pub fn origin(&self) -> &str {
        todo!()
    }

    /// The published checkpoint, a signed note; `None` before the first.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, OpenError> {
        todo!()
    }

    /// Entries from `start` on: those in tiles, then those that only the write-ahead log has so far.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be read.
    pub fn entries(
        &self,
        start: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, LogEntry), OpenError>> + use<>, OpenError> {
        let _ = start;
        todo!();
        #[expect(unreachable_code, reason = "names the type")]
        Ok(std::iter::empty())
    }
}

/// The records of every log in `directory`, in order; redacted ones are left out. A writer may be at work meanwhile.
///
/// # Errors
/// [`OpenError`] when there is no readable log, or one of its entries is not a record.
pub fn read_log_records(directory: impl AsRef<Path>) -> Result<Vec<Value>, OpenError> {
    let _ = directory;
    todo!()
}
