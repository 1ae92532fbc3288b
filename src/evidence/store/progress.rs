//! How far a store has come: which records are written, which are durable.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::sync::{AtomicU64, Mutex, lock};
use super::{AppendError, block_on};
use crate::evidence::merkle::Hash;
use crate::evidence::{EvidenceId, Receipt};

/// How far a store has come, counted in records since it was opened.
#[derive(Debug, Default)]
pub struct Progress {
    written: Mark,
    durable: Mark,
}

impl Progress {
    /// No record kept yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The ticket of the record with the 1-based number `sequence`.
    pub fn ticket(self: &Arc<Self>, sequence: u64) -> Ticket {
        self.pending(sequence, None)
    }

    /// The ticket of the record with the 1-based number `sequence`, whose place in the log will stand in `place`.
    pub(in crate::evidence) fn ticket_with_place(self: &Arc<Self>, sequence: u64, place: Arc<Place>) -> Ticket {
        self.pending(sequence, Some(place))
    }

    fn pending(self: &Arc<Self>, sequence: u64, place: Option<Arc<Place>>) -> Ticket {
        Ticket { state: State::Pending { sequence, progress: Arc::clone(self), place }, id: None }
    }

    /// The first `sequence` records have reached the file by write(2).
    pub fn set_written(&self, sequence: u64) {
        self.written.advance(sequence);
    }

    /// The first `sequence` records are durable (and so written).
    pub fn set_durable(&self, sequence: u64) {
        self.written.advance(sequence);
        self.durable.advance(sequence);
    }

    /// How many records have reached the file.
    pub(in crate::evidence) fn written(&self) -> u64 {
        self.written.reached.load(Ordering::Acquire)
    }

    /// Nothing will advance any more: whoever waits for more gets `reason`.
    pub fn end(&self, reason: AppendError) {
        self.written.end(reason);
        self.durable.end(reason);
    }
}

/// A number that only grows, and those who wait for it.
#[derive(Debug, Default)]
struct Mark {
    /// Changes under the lock only, so that nobody who looks there misses it; read without it where it is enough.
    reached: AtomicU64,
    state: Mutex<MarkState>,
}

#[derive(Debug, Default)]
struct MarkState {
    ended: Option<AppendError>,
    last_key: u64,
    /// By the number waited for, then by a key of their own.
    waiters: BTreeMap<(u64, u64), Waker>,
}

impl Mark {
    fn advance(&self, sequence: u64) {
        if self.has_reached(sequence) {
            return;
        }
        let mut state = lock(&self.state);
        if self.has_reached(sequence) {
            return;
        }
        self.reached.store(sequence, Ordering::Release);
        let later = state.waiters.split_off(&(sequence.saturating_add(1), 0));
        let done = std::mem::replace(&mut state.waiters, later);
        drop(state);
        done.into_values().for_each(Waker::wake);
    }

    fn has_reached(&self, sequence: u64) -> bool {
        self.reached.load(Ordering::Acquire) >= sequence
    }

    fn end(&self, reason: AppendError) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.into_values().for_each(Waker::wake);
    }

    const fn reach(&self, sequence: u64) -> Reach<'_> {
        Reach { mark: self, sequence, key: None }
    }
}

/// Resolves when `mark` has reached `sequence` or has ended.
struct Reach<'a> {
    mark: &'a Mark,
    sequence: u64,
    /// Under which the waker stands, if it does.
    key: Option<u64>,
}

impl Future for Reach<'_> {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // whoever moves the mark takes the waker out
        if self.mark.has_reached(self.sequence) {
            self.key = None;
            return Poll::Ready(Ok(()));
        }
        let mark = self.mark;
        let mut state = lock(&mark.state);
        if mark.has_reached(self.sequence) {
            self.key = None;
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = state.ended {
            self.key = None;
            return Poll::Ready(Err(reason));
        }
        let key = self.key.unwrap_or_else(|| {
            state.last_key = state.last_key.wrapping_add(1);
            state.last_key
        });
        self.key = Some(key);
        state.waiters.insert((self.sequence, key), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.mark.state).waiters.remove(&(self.sequence, key));
        }
    }
}

/// Where the writing thread says where it has put a record.
#[derive(Debug, Default)]
pub(in crate::evidence) struct Place(OnceLock<(Arc<str>, u64, Hash)>);

impl Place {
    /// The record stands in the log `origin` at `index`; set once, before the record counts as written.
    pub(in crate::evidence) fn set(&self, origin: Arc<str>, index: u64, leaf: Hash) {
        let _ = self.0.set((origin, index, leaf));
    }
}

/// One appended record. Await or wait for [`written`](Self::written) or [`durable`](Self::durable); dropping the
/// ticket changes nothing about the record.
#[derive(Debug)]
#[must_use = "an appended record is kept only once it is written or durable"]
pub struct Ticket {
    state: State,
    id: Option<EvidenceId>,
}

#[derive(Debug)]
enum State {
    Kept,
    Dropped,
    Pending { sequence: u64, progress: Arc<Progress>, place: Option<Arc<Place>> },
}

impl Ticket {
    /// The ticket of a record that is as safe as its store can make it.
    pub const fn kept() -> Self {
        Self { state: State::Kept, id: None }
    }

    pub(in crate::evidence) const fn dropped() -> Self {
        Self { state: State::Dropped, id: None }
    }

    pub(in crate::evidence) fn with_id(mut self, id: EvidenceId) -> Self {
        self.id = Some(id);
        self
    }

    /// Whether there is a record at all: `false` only where best-effort mode found no room and counted the record
    /// as dropped. Waiting on such a ticket succeeds at once.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        !matches!(self.state, State::Dropped)
    }

    /// Where the record stands, once it is written; `None` before, and for records that are kept in memory or dropped.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        let State::Pending { sequence, progress, place: Some(place) } = &self.state else { return None };
        if !progress.written.has_reached(*sequence) {
            return None;
        }
        let (origin, index, leaf) = place.0.get()?;
        Some(Receipt {
            origin: Arc::clone(origin),
            id: self.id?.to_string(),
            index: *index,
            leaf: *leaf,
            durable: progress.durable.has_reached(*sequence),
        })
    }

    /// Resolves when the record's bytes have reached the file by write(2), so that a crash of this process cannot lose
    /// them. Cancel safe.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`Closed`](AppendError::Closed) when they never will.
    pub async fn written(&mut self) -> Result<(), AppendError> {
        match &self.state {
            State::Kept | State::Dropped => Ok(()),
            State::Pending { sequence, progress, .. } => progress.written.reach(*sequence).await,
        }
    }

    /// Resolves when the record is on stable storage (fdatasync) under a signed note, so that a power cut cannot lose
    /// it. In bounded mode that takes up to ten milliseconds, in best-effort mode until the next checkpoint, or
    /// [`close`](crate::evidence::EvidenceLog::close). Cancel safe.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`Closed`](AppendError::Closed) when it never will be.
    pub async fn durable(&mut self) -> Result<(), AppendError> {
        match &self.state {
            State::Kept | State::Dropped => Ok(()),
            State::Pending { sequence, progress, .. } => progress.durable.reach(*sequence).await,
        }
    }

    /// [`written`](Self::written) for code outside an async runtime: blocks this thread for at most `limit`.
    ///
    /// # Errors
    /// As `written`, and [`AppendError::TimedOut`].
    pub fn wait_written(&mut self, limit: Duration) -> Result<(), AppendError> {
        block_on(self.written(), limit).unwrap_or(Err(AppendError::TimedOut))
    }

    /// [`durable`](Self::durable) for code outside an async runtime: blocks this thread for at most `limit`.
    ///
    /// # Errors
    /// As `durable`, and [`AppendError::TimedOut`].
    pub fn wait_durable(&mut self, limit: Duration) -> Result<(), AppendError> {
        block_on(self.durable(), limit).unwrap_or(Err(AppendError::TimedOut))
    }
}
