//! What entries say: their place, and the few records that a check must understand.
//!
//! Nothing is parsed as JSON but those few, told by how their canonical form begins. A parse costs three times the hash.

use std::path::PathBuf;

use serde_json::Value;

use super::files::{BundleBuffer, FileError, LogFiles};
use crate::encoding::parse_unique_json;
use crate::evidence::Entry;
use crate::evidence::merkle::Hash;
use crate::evidence::note::VerifierKey;

/// How the canonical form of a notice begins: `event.name` is the first of its members.
const NOTICE: &[u8] = br#"{"event.name":"rmcp_guard.notice","#;
const GAP: &[u8] = br#"{"event.name":"rmcp_guard.gap","#;

/// One place of a bundle that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// The hash of its bytes; `None` where they were redacted.
    pub(super) leaf: Option<Hash>,
    /// What it says of the entry before it and of its place, where it has the form of an entry.
    pub(super) frame: Option<(Hash, u64)>,
}

/// A record that the check must understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Gap(u64),
    Opened(Opened),
    Rolled(Option<VerifierKey>),
    /// An index, and the log that it is of, where the record names it.
    Redacted(u64, Option<String>),
    Pruned(u64, Option<String>),
}

/// What the first entry of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The log that this one continues.
    pub(super) previous: Option<PreviousLog>,
    pub(super) rollback_detectable: Option<bool>,
}

/// A closed log, as its successor names it; only to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreviousLog {
    pub(super) origin: String,
    pub(super) size: String,
    pub(super) root: String,
}

/// How deep to look into entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// Not at all.
    Opaque,
    /// Frame and chain of all, and the records that the check must understand.
    #[default]
    Frames,
    /// Also that every record is one JSON object with unique names.
    Json,
}

/// A bundle that was read.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The places that were read, all of them unless there was an error.
    pub(super) slots: Vec<Slot>,
    pub(super) events: Vec<(u64, Event)>,
    /// The first record that is there, and the last.
    pub(super) first: Option<(u64, Vec<u8>)>,
    pub(super) last: Option<(u64, Vec<u8>)>,
    /// Entries whose record is no JSON object, where that was looked at.
    pub(super) no_json: Vec<u64>,
    pub(super) error: Option<FileError>,
    pub(super) path: PathBuf,
}

impl Content {
    /// Reads the entries `first..first + width` of `files`. Keeps the first and last record where it is told to.
    pub(super) fn read(
        files: &LogFiles,
        buffer: &mut BundleBuffer,
        (number, width): (u64, u16),
        depth: Depth,
        (keep_first, keep_last): (bool, bool),
    ) -> Self {
        let start = number.saturating_mul(256);
        let mut content = Self { slots: Vec::with_capacity(usize::from(width)), ..Self::default() };
        let mut bundle = match files.bundle(number, width) {
            Ok(bundle) => bundle,
            Err(unusable) => return Self { error: Some(unusable.error), path: unusable.path, ..content },
        };
        let redacted = bundle.redacted;
        let result = buffer.read(&mut bundle, width, |place, bytes| {
            let index = start.saturating_add(place.into());
            content.add(index, bytes, redacted, depth, (keep_first, keep_last || place.saturating_add(1) == width));
        });
        content.error = result.err();
        content.path = bundle.path;
        content
    }

    fn add(&mut self, index: u64, bytes: &[u8], redacted: bool, depth: Depth, (keep_first, keep_last): (bool, bool)) {
        if redacted && bytes.is_empty() {
            self.slots.push(Slot { leaf: None, frame: None });
            return;
        }
        let entry = if depth == Depth::Opaque { None } else { Entry::parse(bytes) };
        self.slots.push(Slot {
            leaf: Some(Hash::of_leaf(bytes)),
            frame: entry.as_ref().map(|entry| (entry.prev, entry.seq)),
        });
        let Some(entry) = entry else { return };
        if entry.event.starts_with(NOTICE) || entry.event.starts_with(GAP) {
            self.events.extend(Event::parse(entry.event).map(|event| (index, event)));
        }
        if depth == Depth::Json && !matches!(parse_unique_json(entry.event), Ok(Value::Object(_))) {
            self.no_json.push(index);
        }
        if keep_first && self.first.is_none() {
            self.first = Some((index, entry.event.to_owned()));
        }
        if keep_last {
            self.last = Some((index, entry.event.to_owned()));
        }
    }
}

impl Event {
    fn parse(record: &[u8]) -> Option<Self> {
        let record = parse_unique_json(record).ok()?;
        if record.get("event.name")?.as_str() == Some("rmcp_guard.gap") {
            return record.get("rmcp_guard.gap.count")?.as_u64().map(Self::Gap);
        }
        let member = |name: &str| record.get(format!("rmcp_guard.notice.{name}")).and_then(Value::as_str);
        let owned = |name| member(name).map(str::to_owned);
        match record.get("rmcp_guard.notice")?.as_str()? {
            "log_opened" => Some(Self::Opened(Opened {
                previous: owned("previous_origin").map(|origin| PreviousLog {
                    origin,
                    size: owned("previous_size").unwrap_or_default(),
                    root: owned("previous_root").unwrap_or_default(),
                }),
                rollback_detectable: member("rollback_detectable").and_then(|word| match word {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                }),
            })),
            "log_rolled" => {
                let key = member("next_vkey").and_then(|key| key.parse::<VerifierKey>().ok());
                // one that is named otherwise than its log is no key of that log
                Some(Self::Rolled(key.filter(|key| Some(key.name()) == member("next_origin"))))
            }
            "entry_redacted" => member("index")?.parse().ok().map(|index| Self::Redacted(index, owned("origin"))),
            // only whole bundles go
            "entries_pruned" => {
                member("below")?.parse::<u64>().ok().map(|below| Self::Pruned(below & !255, owned("origin")))
            }
            _ => None,
        }
    }
}

/// The `timestamp` of a record.
pub(super) fn timestamp(record: &[u8]) -> Option<String> {
    parse_unique_json(record).ok()?.get("timestamp")?.as_str().map(str::to_owned)
}
