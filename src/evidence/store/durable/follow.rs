//! What the writing thread and the tiler of one log know of each other, and what others may ask.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::{AppendError, LogHealth, lock};
use super::retention::Job;
use crate::evidence::note::VerifierKey;
use crate::evidence::wal::{WalKeeper, WalPosition};

/// One log, as everybody but the writing thread sees it.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) directory: PathBuf,
    pub(super) origin: Arc<str>,
    pub(super) key: VerifierKey,
    /// The segments of its write-ahead log.
    pub(super) keeper: WalKeeper,
    written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Behind the last commit frame that is durable.
    durable: Option<WalPosition>,
    durable_size: u64,
    end: End,
    /// Publish this size without waiting for the interval.
    wanted: u64,
    /// Make tiles of this size durable.
    seal: u64,
    published: u64,
    note: Arc<[u8]>,
    /// Entries in tiles that are durable.
    sealed: u64,
    /// Since when there are durable entries that no published checkpoint covers.
    behind_since: Option<Instant>,
    /// Whether the last thing the tiler tried has failed.
    failing: bool,
    witnessed: Option<u64>,
    /// The tiler has done everything for this log, or has given up.
    over: bool,
    jobs: Vec<Job>,
}

/// Whether anything will be written behind what is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Open,
    Finished,
    /// And the last entry names the next log.
    Rolled,
}

/// What the tiler has to do next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Read to here.
    pub(super) until: Option<WalPosition>,
    pub(super) size: u64,
    pub(super) end: End,
    pub(super) wanted: u64,
    pub(super) seal: u64,
}

impl Follow {
    pub(super) fn new(directory: PathBuf, origin: Arc<str>, key: VerifierKey, keeper: WalKeeper) -> Arc<Self> {
        Arc::new(Self {
            directory,
            origin,
            key,
            keeper,
            written: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The writing thread has synced a commit. The tiler is woken only when much has come together.
    pub(super) fn committed(&self, position: WalPosition, size: u64) {
        /// Entries that wake the tiler before its interval is over.
        const MANY: u64 = 16_384;
        let mut state = lock(&self.state);
        let before = state.durable_size;
        state.durable = Some(position);
        state.durable_size = size;
        if size > state.published && state.behind_since.is_none() {
            state.behind_since = Some(Instant::now());
        }
        let wake = before.checked_div(MANY) != size.checked_div(MANY);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Nothing follows the last commit: the tiler shall end with it.
    pub(super) fn finish(&self) {
        let mut state = lock(&self.state);
        if state.end == End::Open {
            state.end = End::Finished;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// As [`finish`](Self::finish), with the next log named in the last entry: all tiles become durable, and the
    /// write-ahead log goes.
    pub(super) fn finish_rolled(&self) {
        let mut state = lock(&self.state);
        state.end = End::Rolled;
        state.wanted = state.durable_size;
        state.seal = state.durable_size;
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the tiler is at work on this log, and so done with the one before.
    pub(super) fn is_published(&self) -> bool {
        lock(&self.state).published > 0
    }

    /// Has the tiler publish `size` (which is durable) at once, and make the tiles of it durable if `seal`.
    pub(super) fn want(&self, size: u64, seal: bool) {
        let mut state = lock(&self.state);
        state.wanted = state.wanted.max(size);
        if seal {
            state.seal = state.seal.max(size);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// For the tiler: waits until `due`, or until there is more to do than `done` says is done. What has failed is tried
    /// again when it is due, or when the store is `ending`.
    pub(super) fn task(&self, due: Instant, done: u64, ending: &AtomicBool) -> Task {
        const MANY: u64 = 16_384;
        /// How often it is looked whether the store is ending, which may be known by another log first.
        const LOOK: Duration = Duration::from_millis(50);
        let mut state = lock(&self.state);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let urgent = state.end != End::Open
                || (state.wanted > state.published && state.durable_size >= state.wanted)
                || state.seal > state.sealed
                || !state.jobs.is_empty()
                || state.durable_size.saturating_sub(done) >= MANY;
            let now = !state.failing || (state.end != End::Open && ending.load(Ordering::Relaxed));
            if (urgent && now) || left.is_zero() {
                let State { durable: until, durable_size: size, end, wanted, seal, .. } = *state;
                return Task { until, size, end, wanted, seal };
            }
            let left = if state.failing { left.min(LOOK) } else { left };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The tiler has published `note` of `size`.
    pub(super) fn published(&self, size: u64, note: &[u8]) {
        let mut state = lock(&self.state);
        state.failing = false;
        state.published = size;
        state.note = note.into();
        // what came meanwhile is younger than this
        state.behind_since = (state.durable_size > size).then(Instant::now);
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn sealed(&self, size: u64) {
        let mut state = lock(&self.state);
        (state.failing, state.sealed) = (false, size);
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn failing(&self, failing: bool) {
        lock(&self.state).failing = failing;
    }

    /// Has the tiler do `job`; when it cannot, the job's answer is dropped.
    pub(super) fn run(&self, job: Job) {
        let mut state = lock(&self.state);
        if !state.over {
            state.jobs.push(job);
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut lock(&self.state).jobs)
    }

    /// The tiler does nothing more for this log.
    pub(super) fn over(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `size` is published, and its tiles durable if `seal`; returns the note.
    pub(super) fn wait(&self, size: u64, seal: bool, until: Instant) -> Result<Arc<[u8]>, AppendError> {
        let mut state = lock(&self.state);
        loop {
            if state.published >= size && (!seal || state.sealed >= size) {
                return Ok(Arc::clone(&state.note));
            }
            if state.over {
                return Err(AppendError::Failed);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AppendError::TimedOut);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Entries in the file, and how far the rest has come.
    pub(super) fn health(&self) -> (u64, LogHealth) {
        let state = lock(&self.state);
        let log = LogHealth {
            durable: state.durable_size,
            published: state.published,
            sealed: state.sealed,
            behind: state.behind_since.map(|since| since.elapsed()).unwrap_or_default(),
            wal_bytes: self.keeper.live_bytes(),
            witnessed: state.witnessed,
            ..LogHealth::default()
        };
        (self.written.load(Ordering::Relaxed), log)
    }

    /// Entries in the file are `size`.
    pub(super) fn written(&self, size: u64) {
        self.written.store(size, Ordering::Relaxed);
    }

    /// The newest checkpoint with signatures of witnesses has `size` entries.
    pub(super) fn witnessed(&self, size: Option<u64>) {
        lock(&self.state).witnessed = size;
    }
}
