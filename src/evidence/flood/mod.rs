//! What callers who are not authenticated may have written to the log, and the count of what is beyond that (S29).
//!
//! An entry costs its caller nothing and the operator about a kilobyte for ever. So the records of callers who are not
//! authenticated have two budgets of bytes: one for denials, one for calls that a rule opens to everybody. They are two so
//! that a flood of denials does not shut out those who may call. Above the first, a denial is counted under what it has in
//! common with others, and a record of the count is written each second. A call above the second is denied and counted.
//!
//! Whatever is counted stands in memory for a second at most, and then in the log: [`Flood::flush`] runs on a thread of its
//! own while there is a count, and when the log is closed. A crash of the process loses the counts of that second, which
//! is why no denial that is counted names a record.

mod windows;

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use windows::{Counted, Denied};
use windows::{Window, Windows, merged};

use super::keyed::KeyCell;
use super::store::lock;
use super::{AppendError, CoalescedRecord, EvidenceStore, Record, Reservation};
use crate::budget::Budget;

/// How long denials are counted before the count is written.
const WINDOW: Duration = Duration::from_secs(1);

/// Places that are kept for counts which are open when the log is closed: one for each kind of count.
pub(super) const LAST_PLACES: usize = 2;

/// Bytes each second, and at once, for one sort of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteLimit {
    pub(crate) per_second: u64,
    pub(crate) burst: u64,
}

/// Whose bytes a record of a caller who is not authenticated takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// A denial.
    Denied,
    /// A call that a rule opens to everybody.
    Anonymous,
}

/// The budgets and counts of one log.
#[derive(Debug)]
pub(super) struct Flood(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<dyn EvidenceStore>,
    keys: KeyCell,
    state: Mutex<State>,
    /// Held while counts are written, so that the end of the log waits for it; places for the last ones.
    writing: Mutex<Option<Reservation>>,
}

#[derive(Debug)]
struct State {
    denied: Budget,
    anonymous: Budget,
    windows: Windows,
    total: u64,
    /// Whether there is a thread that will write the counts.
    ticking: bool,
    closed: bool,
}

impl State {
    const fn budget(&mut self, share: Share) -> &mut Budget {
        match share {
            Share::Denied => &mut self.denied,
            Share::Anonymous => &mut self.anonymous,
        }
    }
}

impl Flood {
    pub(super) fn new(store: Arc<dyn EvidenceStore>, keys: KeyCell, denied: ByteLimit, anonymous: ByteLimit) -> Self {
        let budget = |limit: ByteLimit| Budget::new(limit.per_second, limit.burst);
        let last_places = store.reserve(u32::try_from(LAST_PLACES).unwrap_or(u32::MAX)).ok();
        let state = State {
            denied: budget(denied),
            anonymous: budget(anonymous),
            windows: Windows::default(),
            total: 0,
            ticking: false,
            closed: false,
        };
        Self(Arc::new(Shared { store, keys, state: Mutex::new(state), writing: Mutex::new(last_places) }))
    }

    /// Whether there is something left of a share.
    pub(super) fn has_some(&self, share: Share, now: SystemTime) -> bool {
        lock(&self.0.state).budget(share).has_some(since_1970(now))
    }

    /// Takes the bytes of a record from a share.
    pub(super) fn spend(&self, share: Share, bytes: usize) {
        lock(&self.0.state).budget(share).spend(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Counts a denial that has no record of its own; in a log that is closed it is lost, as its record would be.
    pub(super) fn count(&self, denied: &Denied<'_>, now: SystemTime) {
        let mut state = lock(&self.0.state);
        if state.closed {
            return;
        }
        let due =
            state.windows.since().and_then(|since| now.duration_since(since).ok()).is_some_and(|age| age >= WINDOW);
        if due {
            drop(state);
            self.flush();
            state = lock(&self.0.state);
        }
        // between the two somebody may have closed the log
        if state.closed {
            return;
        }
        state.windows.count(denied, now);
        state.total = state.total.saturating_add(1);
        let starts = !std::mem::replace(&mut state.ticking, true);
        drop(state);
        if starts {
            self.start();
        }
    }

    /// Denials counted since the log was opened.
    pub(super) fn total(&self) -> u64 {
        lock(&self.0.state).total
    }

    /// Queues a record of every open count; what finds no room stays open.
    pub(super) fn flush(&self) {
        self.0.flush();
    }

    /// Writes what is counted, and counts no more.
    ///
    /// Returns what is left of its places, to be given back when nobody can take them any more.
    pub(super) fn close(&self) -> Option<Reservation> {
        let mut last_places = lock(&self.0.writing);
        let mut state = lock(&self.0.state);
        state.closed = true;
        let windows = state.windows.drain();
        drop(state);
        let left = self.0.write_all(windows);
        if let Some(place) = last_places.as_mut() {
            for what in [Counted::Decisions, Counted::RefusedSessions] {
                if let Some(record) = merged(&left, what) {
                    let written = self.0.write(place, record);
                    if let Err(error) = written {
                        tracing::error!(%error, "a count of denials could not be written");
                    }
                }
            }
        }
        last_places.take()
    }

    /// Starts the thread that writes counts while there are any. Without one they are written by the next call.
    fn start(&self) {
        tracing::warn!(
            "callers who are not authenticated have used up their share of the evidence; denials are counted"
        );
        let shared = Arc::downgrade(&self.0);
        let thread = std::thread::Builder::new().name("rmcp-guard-counts".to_owned()).spawn(move || tick(&shared));
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread for counts of denials");
            lock(&self.0.state).ticking = false;
        }
    }
}

/// Writes the counts each second until there are none, or the log is gone.
fn tick(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(WINDOW);
        let Some(shared) = shared.upgrade() else { return };
        shared.flush();
        let mut state = lock(&shared.state);
        if state.windows.is_empty() || state.closed {
            state.ticking = false;
            return;
        }
    }
}

impl Shared {
    fn flush(&self) {
        let writing = lock(&self.writing);
        let windows = lock(&self.state).windows.drain();
        let left = self.write_all(windows);
        if !left.is_empty() {
            let mut state = lock(&self.state);
            for window in left {
                state.windows.put_back(window);
            }
        }
        drop(writing);
    }

    /// Queues what finds room; the rest comes back.
    fn write_all(&self, windows: Vec<Window>) -> Vec<Window> {
        let mut left = Vec::new();
        for window in windows {
            let place = self.store.reserve(1);
            match place.and_then(|mut place| self.write(&mut place, window.record.clone())) {
                Ok(()) => {}
                Err(AppendError::Full) => left.push(window),
                Err(error) => {
                    // the log has failed, and said so
                    tracing::error!(%error, "counts of denials could not be written");
                    return Vec::new();
                }
            }
        }
        left
    }

    fn write(&self, place: &mut Reservation, record: CoalescedRecord) -> Result<(), AppendError> {
        let (id, at) = (record.id, record.last);
        let event = Record::Coalesced(record).encode(id, &self.keys.get(), at)?;
        self.store.append(place, event).map(drop)
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
