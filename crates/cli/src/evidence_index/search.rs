//! Records in their order, from the logs themselves or by the index.

use rmcp_guard::evidence::LogEntry;
use rmcp_guard::evidence::merkle::Hash;
use serde_json::Value;

use super::set::{Entries, Set};
use super::{Filter, Row, event_of};
use crate::exit::Failure;

/// A record that is asked for.
#[derive(Debug)]
pub(crate) struct Found {
    /// Which log, as a position in [`Set::logs`].
    pub(crate) log: usize,
    pub(crate) index: u64,
    pub(crate) row: Row,
    pub(crate) content: Content,
}

/// Its entry.
#[derive(Debug)]
pub(crate) enum Content {
    /// As it was read; `None` where it is not an entry of ours.
    Read { event: Option<Value>, leaf: Hash },
    /// Still to be read; the index says that it has this hash.
    Indexed { leaf: Hash },
}

/// Records in order.
pub(crate) type Stream<'a> = Box<dyn Iterator<Item = Result<Found, Failure>> + 'a>;

/// Records of the logs at `positions` that match, one log after the other, read from the logs.
pub(crate) fn scan<'a>(set: &'a Set, positions: Vec<usize>, filter: &'a Filter) -> Stream<'a> {
    let logs = positions.into_iter().filter_map(|position| Some((position, set.logs().get(position)?)));
    Box::new(logs.flat_map(move |(position, log)| -> Stream<'a> {
        match log.entries(0) {
            Ok(entries) => Box::new(entries.filter_map(move |entry| match entry {
                Ok((index, LogEntry::Present(bytes))) => read(position, index, &bytes, filter).map(Ok),
                Ok(_) => None,
                Err(failure) => Some(Err(failure)),
            })),
            Err(failure) => Box::new(std::iter::once(Err(failure))),
        }
    }))
}

fn read(log: usize, index: u64, bytes: &[u8], filter: &Filter) -> Option<Found> {
    let event = event_of(bytes);
    let row = event.as_ref().map(Row::of).unwrap_or_default();
    let content = Content::Read { event, leaf: Hash::of_leaf(bytes) };
    filter.matches(&row).then_some(Found { log, index, row, content })
}

/// A stream, the record that it gives next, and the time that this counts as.
type Waiting<'a> = (Stream<'a>, Option<Result<Found, Failure>>, i64);

/// Streams of several instances as one: by time, where the order within an instance stays what it is.
pub(crate) struct Merge<'a> {
    streams: Vec<Waiting<'a>>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(streams: Vec<Stream<'a>>) -> Self {
        let mut merge = Self { streams: streams.into_iter().map(|stream| (stream, None, i64::MIN)).collect() };
        for stream in &mut merge.streams {
            advance(stream);
        }
        merge
    }
}

/// A record counts as no earlier than the one before it, whatever the clock did.
fn advance((stream, head, key): &mut Waiting<'_>) {
    *head = stream.next();
    if let Some(Ok(found)) = head {
        *key = found.row.at.unwrap_or(i64::MIN).max(*key);
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Found, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let waiting = self.streams.iter_mut().filter(|(_, head, _)| head.is_some());
        // of equal ones the first
        let earliest = waiting.min_by_key(|(_, head, key)| (matches!(head, Some(Ok(_))), *key))?;
        let next = earliest.1.take();
        if matches!(next, Some(Ok(_))) {
            advance(earliest);
        }
        next
    }
}

/// Reads single entries; those in ascending order at little cost.
#[derive(Default)]
pub(crate) struct Cursor {
    open: Option<(usize, u64, Entries)>,
}

/// Entries that are rather skipped than looked up: two bundles.
const SKIP: u64 = 512;

impl Cursor {
    /// The entry `index` of the log at `position`; `None` behind its end.
    pub(crate) fn entry(&mut self, set: &Set, position: usize, index: u64) -> Result<Option<LogEntry>, Failure> {
        let Some(log) = set.logs().get(position) else { return Ok(None) };
        let near = |&(at, next, _): &(usize, u64, Entries)| {
            at == position && index.checked_sub(next).is_some_and(|distance| distance < SKIP)
        };
        let mut entries = match self.open.take().filter(near) {
            Some((_, _, entries)) => entries,
            None => log.entries(index)?,
        };
        while let Some(entry) = entries.next() {
            let (at, entry) = entry?;
            if at >= index {
                self.open = Some((position, at.saturating_add(1), entries));
                return Ok((at == index).then_some(entry));
            }
        }
        Ok(None)
    }
}
