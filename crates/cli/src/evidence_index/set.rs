//! The logs of a directory, by name.

use std::path::{Path, PathBuf};

use rmcp_guard::evidence::checkpoint::Checkpoint;
use rmcp_guard::evidence::note::{UnverifiedNote, VerifierKey};
use rmcp_guard::evidence::{LogEntry, LogReader, OpenError, OpenErrorKind};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::files;

/// Longest `log.json` that is read; one has under a kilobyte.
pub(crate) const MAX_LOG_JSON_BYTES: usize = 64 * 1024;

/// Entries of a log and their places, as they are read.
pub(crate) type Entries = Box<dyn Iterator<Item = Result<(u64, LogEntry), Failure>>>;

/// A directory with logs, or with one.
#[derive(Debug)]
pub(crate) struct Set {
    directory: PathBuf,
    logs: Vec<Log>,
    is_single: bool,
}

/// One log.
#[derive(Debug)]
pub(crate) struct Log {
    name: String,
    instance: String,
    reader: LogReader,
}

impl Set {
    /// Every log in `directory`, instances by name and their logs in order.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let readers = LogReader::open_set(directory).map_err(|error| failure(&error))?;
        let is_single = matches!(readers.as_slice(), [only] if only.directory() == directory);
        let logs: Vec<Log> = readers.into_iter().map(|reader| Log::new(directory, reader)).collect();
        if logs.is_empty() {
            return Err(Failure::new(format!("{}: holds no evidence log", directory.display())).with_exit(Exit::Input));
        }
        Ok(Self { directory: directory.to_owned(), logs, is_single })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Whether the directory is that of one log, and no set.
    pub(crate) const fn is_single(&self) -> bool {
        self.is_single
    }

    /// The logs that one process wrote after another, as positions in [`logs`](Self::logs).
    pub(crate) fn instances(&self) -> Vec<Vec<usize>> {
        let mut instances: Vec<(&str, Vec<usize>)> = Vec::new();
        for (position, log) in self.logs.iter().enumerate() {
            match instances.iter_mut().find(|(name, _)| *name == log.instance) {
                Some((_, logs)) => logs.push(position),
                None => instances.push((&log.instance, vec![position])),
            }
        }
        instances.into_iter().map(|(_, logs)| logs).collect()
    }

    /// The log called `name`, or the only one; an instance's name stands for its newest.
    pub(crate) fn log(&self, name: Option<&str>) -> Result<&Log, Failure> {
        let mut matching =
            self.logs.iter().filter(|log| name.is_none_or(|name| log.name == name || log.instance == name));
        let first = matching.next();
        let last = matching.next_back();
        match (first, last, name) {
            (Some(log), None, _) => Ok(log),
            (Some(_), Some(last), Some(_)) => Ok(last),
            (Some(_), Some(_), None) => {
                let names: Vec<&str> = self.logs.iter().map(|log| log.name.as_str()).collect();
                let advice = format!("there are several logs; name one with --log: {}", names.join(", "));
                Err(Failure::new(advice).with_exit(Exit::Usage))
            }
            (None, ..) => {
                let name = name.unwrap_or_default();
                Err(Failure::new(format!("there is no log `{name}`")).with_exit(Exit::Refused))
            }
        }
    }
}

impl Log {
    fn new(directory: &Path, reader: LogReader) -> Self {
        // of a log by itself, the two names above it are those that it has in its set
        let inside = reader.directory().strip_prefix(directory).ok().filter(|inside| !inside.as_os_str().is_empty());
        let whole = std::path::absolute(reader.directory()).unwrap_or_else(|_| reader.directory().to_owned());
        let path = inside.unwrap_or(&whole);
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let parts = parts.get(parts.len().saturating_sub(2)..).unwrap_or_default();
        let instance = parts.first().cloned().unwrap_or_default();
        Self { name: parts.join("/"), instance, reader }
    }

    /// `<instance>/<epoch>`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn directory(&self) -> &Path {
        self.reader.directory()
    }

    /// What the log says its origin is; nobody vouches for it.
    pub(crate) fn origin(&self) -> &str {
        self.reader.origin()
    }

    /// The published checkpoint, unverified, and its bytes.
    pub(crate) fn checkpoint(&self) -> Result<Option<(Checkpoint, Vec<u8>)>, Failure> {
        let Some(bytes) = self.reader.checkpoint().map_err(|error| self.failure(&error))? else { return Ok(None) };
        let checkpoint = UnverifiedNote::parse(&bytes).and_then(|note| Checkpoint::parse(note.text()));
        match checkpoint {
            Ok(checkpoint) => Ok(Some((checkpoint, bytes))),
            Err(error) => {
                Err(Failure::from(error).about(self.directory().join("checkpoint").display()).with_exit(Exit::Tampered))
            }
        }
    }

    /// The size that the published checkpoint claims; 0 before the first.
    pub(crate) fn published(&self) -> Result<u64, Failure> {
        Ok(self.checkpoint()?.map_or(0, |(checkpoint, _)| checkpoint.size))
    }

    /// The key that the log itself names in `log.json`: good enough to make a proof, and to verify nothing.
    pub(crate) fn named_key(&self) -> Result<VerifierKey, Failure> {
        let file = self.directory().join("log.json");
        let bytes = files::read_regular(&file, MAX_LOG_JSON_BYTES).map_err(|error| files::about(&file, &error))?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|_| files::about(&file, &"is not that of a log"))?;
        let key = json.get("vkey").and_then(Value::as_str).and_then(|key| key.parse().ok());
        key.ok_or_else(|| files::about(&file, &"names no key; give the log's with --key"))
    }

    /// Entries from `start` on, those not yet published included.
    pub(crate) fn entries(&self, start: u64) -> Result<Entries, Failure> {
        let entries = self.reader.entries(start).map_err(|error| self.failure(&error))?;
        let name = self.name.clone();
        Ok(Box::new(entries.map(move |entry| entry.map_err(|error| failure(&error).about(&name)))))
    }

    /// The entry `index`; `None` behind the end.
    pub(crate) fn entry(&self, index: u64) -> Result<Option<LogEntry>, Failure> {
        match self.entries(index)?.next() {
            Some(Ok((at, entry))) if at == index => Ok(Some(entry)),
            Some(Err(failure)) => Err(failure),
            Some(Ok(_)) | None => Ok(None),
        }
    }

    fn failure(&self, error: &OpenError) -> Failure {
        failure(error).about(&self.name)
    }
}

/// Why a log could not be read or opened, with its exit code.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are files that cannot be used")]
pub(crate) fn failure(error: &OpenError) -> Failure {
    let exit = match error.kind() {
        OpenErrorKind::RolledBack { .. }
        | OpenErrorKind::Forked
        | OpenErrorKind::OtherLog
        | OpenErrorKind::Mark
        | OpenErrorKind::Checkpoint
        | OpenErrorKind::Unsigned
        | OpenErrorKind::DamagedWal { .. }
        | OpenErrorKind::Damaged { .. } => Exit::Tampered,
        OpenErrorKind::DamagedTiles | OpenErrorKind::EpochGap { .. } | OpenErrorKind::NoManifest => Exit::Incomplete,
        OpenErrorKind::NoSuchEntry => Exit::Refused,
        _ => Exit::Input,
    };
    Failure::from(error.clone()).with_exit(exit)
}
