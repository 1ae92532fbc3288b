//! Reading a log without being its writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::note::{MAX_NOTE_BYTES, UnverifiedNote};
use super::storage::FsStorage;
use super::tiles::{CHECKPOINT_FILE, TilePath};
use super::verify::files::{BundleBuffer, BundleFile, FileError, LogFiles};
use super::wal::{FrameKind, WalError, WalReader};
use super::{Entry, OpenError, OpenErrorKind};
use crate::encoding::parse_unique_json;

const LOG_INFO_FILE: &str = "log.json";
const MAX_LOG_INFO_BYTES: usize = 64 * 1024;
const WAL_DIRECTORY: &str = ".state/wal";

/// Digits of the name of a log's directory in a set.
const EPOCH_DIGITS: usize = 8;
/// Most names of a directory that are looked at for logs.
const MAX_LOGS: usize = 1 << 16;

/// How often the place of the next entry is looked for again, when it has moved from the write-ahead log to tiles, or
/// from a partial bundle to a larger one, between two looks.
const ATTEMPTS: u32 = 8;

/// A log's directory, for reading; a writer may be at work meanwhile. Nothing it says is verified: see
/// [`Verifier`](super::verify::Verifier) for that.
#[derive(Clone, Debug)]
pub struct LogReader {
    directory: PathBuf,
    origin: String,
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// [`OpenError`] of kind [`Missing`](OpenErrorKind::Missing) when there is no log, or [`Io`](OpenErrorKind::Io).
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        if !is_log(directory) {
            return Err(OpenError::new(OpenErrorKind::Missing).at(directory));
        }
        let files = LogFiles::new(directory);
        let from_info = || {
            let bytes = files.read(Path::new(LOG_INFO_FILE), MAX_LOG_INFO_BYTES).ok()?;
            parse_unique_json(&bytes).ok()?.get("origin")?.as_str().map(str::to_owned)
        };
        let from_checkpoint = || {
            let bytes = files.read(Path::new(CHECKPOINT_FILE), MAX_NOTE_BYTES).ok()?;
            unverified(&bytes).map(|checkpoint| checkpoint.origin)
        };
        let origin = from_info().or_else(from_checkpoint).unwrap_or_default();
        Ok(Self { directory: directory.to_owned(), origin })
    }

    /// Every log in `directory`: itself, or those of a set, instances by name and epochs in order.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Io`](OpenErrorKind::Io) when a directory cannot be listed, or
    /// [`Missing`](OpenErrorKind::Missing) when a log in it has no files.
    pub fn open_set(directory: impl AsRef<Path>) -> Result<Vec<Self>, OpenError> {
        find_logs(directory.as_ref())?.into_iter().flatten().map(Self::open).collect()
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its origin, as `log.json` says, or else its checkpoint; empty where there is neither.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The published checkpoint, a signed note; `None` before the first.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read, or is larger than a note may be.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, OpenError> {
        let path = Path::new(CHECKPOINT_FILE);
        match LogFiles::new(&self.directory).read(path, MAX_NOTE_BYTES) {
            Ok(note) => Ok(Some(note)),
            Err(FileError::Missing) => Ok(None),
            Err(FileError::Malformed) => Err(OpenError::new(OpenErrorKind::Checkpoint).at(&self.directory.join(path))),
            Err(FileError::Unreadable) => Err(OpenError::new(OpenErrorKind::Io).at(&self.directory.join(path))),
        }
    }

    /// Entries from `start` on: those in tiles, then those that only the write-ahead log has so far, up to its end when
    /// it is reached. None is skipped and none comes twice, also while a writer is at work. After an error, nothing
    /// follows.
    ///
    /// # Errors
    /// None so far; each item has its own: [`OpenError`] of kind [`DamagedTiles`](OpenErrorKind::DamagedTiles),
    /// [`DamagedWal`](OpenErrorKind::DamagedWal) or [`Io`](OpenErrorKind::Io).
    pub fn entries(
        &self,
        start: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, LogEntry), OpenError>> + use<>, OpenError> {
        let files = LogFiles::new(&self.directory);
        Ok(Entries {
            files,
            origin: self.origin.clone(),
            next: start,
            source: Source::None,
            buffer: BundleBuffer::new(),
            attempts: 0,
        })
    }
}

/// The records of every log in `directory`, in order; redacted and pruned ones are left out. A writer may be at work
/// meanwhile. Everything is in memory at once, so this is for tests, demonstrations and small logs; others take
/// [`LogReader::entries`].
///
/// # Errors
/// [`OpenError`]: there is no log ([`Missing`](OpenErrorKind::Missing)), or an entry is not a record
/// ([`Damaged`](OpenErrorKind::Damaged) with its index plus one).
pub fn read_records(directory: impl AsRef<Path>) -> Result<Vec<Value>, OpenError> {
    let directory = directory.as_ref();
    let logs = LogReader::open_set(directory)?;
    if logs.is_empty() {
        return Err(OpenError::new(OpenErrorKind::Missing).at(directory));
    }
    let mut records = Vec::new();
    for log in logs {
        for entry in log.entries(0)? {
            let (index, LogEntry::Present(bytes)) = entry? else { continue };
            let line = usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
            let record = Entry::parse(&bytes).and_then(|entry| parse_unique_json(entry.event).ok());
            records.push(record.ok_or_else(|| OpenError::new(OpenErrorKind::Damaged { line }).at(&log.directory))?);
        }
    }
    Ok(records)
}

/// The directories of logs in `directory`: its own, or those of its instances, by name and then by number.
pub(super) fn find_logs(directory: &Path) -> Result<Vec<Vec<PathBuf>>, OpenError> {
    if is_log(directory) {
        return Ok(vec![vec![directory.to_owned()]]);
    }
    let mut instances = Vec::new();
    let mut own = Vec::new();
    for folder in folders(directory)? {
        if is_log(&folder) || is_epoch_name(&folder) {
            own.push(folder);
        } else {
            let logs: Vec<_> = folders(&folder)?.into_iter().filter(|log| is_log(log) || is_epoch_name(log)).collect();
            instances.push(logs);
        }
    }
    instances.insert(0, own);
    instances.retain(|logs| !logs.is_empty());
    Ok(instances)
}

/// Whether something of a log is in `directory`.
fn is_log(directory: &Path) -> bool {
    [LOG_INFO_FILE, CHECKPOINT_FILE, "tile", ".state"]
        .iter()
        .any(|name| std::fs::symlink_metadata(directory.join(name)).is_ok())
}

/// Whether a directory has the name of a log in a set; then it is one, whatever may be missing from it.
fn is_epoch_name(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == EPOCH_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The directories in `directory`, by name; hidden ones and symbolic links are left out.
fn folders(directory: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(OpenError::io(directory))?.take(MAX_LOGS) {
        let entry = entry.map_err(OpenError::io(directory))?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn unverified(note: &[u8]) -> Option<Checkpoint> {
    Checkpoint::parse(UnverifiedNote::parse(note).ok()?.text()).ok()
}

/// Where entries come from at the moment.
#[derive(Debug)]
enum Source {
    None,
    /// A bundle, and the number of its first entry that was not read yet.
    Bundle(BundleFile, u64),
    /// The write-ahead log, and the number of its next entry.
    Wal(Box<WalReader>, u64),
    End,
}

#[derive(Debug)]
struct Entries {
    files: LogFiles,
    origin: String,
    next: u64,
    source: Source,
    buffer: BundleBuffer,
    /// Looks for `next` without success.
    attempts: u32,
}

impl Iterator for Entries {
    type Item = Result<(u64, LogEntry), OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match std::mem::replace(&mut self.source, Source::End) {
                Source::End => return None,
                Source::None => self.locate(),
                Source::Bundle(bundle, number) => self.read_bundle(bundle, number),
                Source::Wal(wal, number) => self.read_wal(wal, number),
            };
            match found {
                Ok(Some((index, _))) if index < self.next => {}
                Ok(Some((index, entry))) => {
                    self.next = index.saturating_add(1);
                    self.attempts = 0;
                    return Some(Ok((index, entry)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.source = Source::End;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Entries {
    fn read_bundle(&mut self, mut bundle: BundleFile, number: u64) -> Result<Option<(u64, LogEntry)>, OpenError> {
        if number >= bundle.end() {
            self.source = Source::None;
            return Ok(None);
        }
        let is_redacted = bundle.redacted;
        let entry = match self.buffer.entry(&mut bundle) {
            Ok([]) if is_redacted => LogEntry::Redacted,
            Ok(bytes) => LogEntry::Present(bytes.to_owned()),
            Err(error) => {
                let kind = if error == FileError::Malformed { OpenErrorKind::DamagedTiles } else { OpenErrorKind::Io };
                return Err(OpenError::new(kind).at(&self.files.directory().join(&bundle.path)));
            }
        };
        self.source = Source::Bundle(bundle, number.saturating_add(1));
        Ok(Some((number, entry)))
    }

    fn read_wal(&mut self, mut wal: Box<WalReader>, number: u64) -> Result<Option<(u64, LogEntry)>, OpenError> {
        match wal.next(None) {
            Ok(Some(frame)) if frame.kind == FrameKind::Entry => {
                self.source = Source::Wal(wal, number.saturating_add(1));
                Ok(Some((number, LogEntry::Present(frame.body))))
            }
            Ok(Some(_)) => {
                self.source = Source::Wal(wal, number);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(error) => self.again(error),
        }
    }

    /// Finds where entry `next` is: in the widest bundle, or else in the write-ahead log.
    fn locate(&mut self) -> Result<Option<(u64, LogEntry)>, OpenError> {
        let number = self.next / 256;
        match self.files.widest_bundle(number) {
            Ok(bundle) if bundle.end() > self.next => {
                self.buffer.clear();
                self.source = Source::Bundle(bundle, number.saturating_mul(256));
                return Ok(None);
            }
            Ok(_) => {}
            Err(unusable) if unusable.error == FileError::Missing => {}
            Err(unusable) => {
                let path = self.files.directory().join(&unusable.path);
                return Err(OpenError::new(OpenErrorKind::Io).at(&path));
            }
        }
        let directory = self.files.directory().join(WAL_DIRECTORY);
        match WalReader::open(Arc::new(FsStorage), &directory, &self.origin) {
            Ok(wal) if wal.start().size() <= self.next => {
                let size = wal.start().size();
                self.source = Source::Wal(Box::new(wal), size);
                Ok(None)
            }
            // a segment is given up when tiles have its entries, so they have come since the look at them
            Ok(_) if self.attempts < ATTEMPTS => {
                self.attempts = self.attempts.saturating_add(1);
                self.source = Source::None;
                Ok(None)
            }
            Ok(_) => self.pruned(true),
            Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let signed = self.files.read(Path::new(CHECKPOINT_FILE), MAX_NOTE_BYTES).ok();
                let size = signed.and_then(|note| unverified(&note)).map_or(0, |checkpoint| checkpoint.size);
                self.pruned(self.next < size)
            }
            Err(error) => self.again(error),
        }
    }

    /// Entry `next` is nowhere: it was pruned if there are later ones, and else the log ends here, unless it `must_be`.
    fn pruned(&mut self, must_be: bool) -> Result<Option<(u64, LogEntry)>, OpenError> {
        let number = self.next / 256;
        if self.files.first_bundle().is_some_and(|first| number < first) {
            self.source = Source::None;
            return Ok(Some((self.next, LogEntry::Pruned)));
        }
        if must_be {
            let path = TilePath::full(super::tiles::TileKind::Entries, number).to_path(self.files.directory());
            return Err(OpenError::new(OpenErrorKind::DamagedTiles).at(&path));
        }
        Ok(None)
    }

    /// A writer may have moved on while its files were read.
    fn again(&mut self, error: WalError) -> Result<Option<(u64, LogEntry)>, OpenError> {
        if self.attempts < ATTEMPTS {
            self.attempts = self.attempts.saturating_add(1);
            self.source = Source::None;
            return Ok(None);
        }
        let directory = self.files.directory().join(WAL_DIRECTORY);
        Err(match error {
            WalError::Io(error) => OpenError::new(OpenErrorKind::Io).at(&directory).caused_by(error),
            WalError::Damaged { ref path, offset, .. } => {
                OpenError::new(OpenErrorKind::DamagedWal { offset }).at(path).caused_by(error)
            }
        })
    }
}
