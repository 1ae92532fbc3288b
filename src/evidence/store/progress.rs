//! How far a store has come: which records are written, which are durable.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;

use super::{AppendError, block_on, lock};

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
        Ticket(State::Pending { sequence, progress: Arc::clone(self) })
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

    /// Nothing will advance any more: whoever waits for more gets `reason`.
    pub fn end(&self, reason: AppendError) {
        self.written.end(reason);
        self.durable.end(reason);
    }
}

/// A number that only grows, and those who wait for it.
#[derive(Debug, Default)]
struct Mark(Mutex<MarkState>);

#[derive(Debug, Default)]
struct MarkState {
    reached: u64,
    ended: Option<AppendError>,
    waiters: Vec<(u64, oneshot::Sender<()>)>,
}

impl Mark {
    fn advance(&self, sequence: u64) {
        let mut state = lock(&self.0);
        state.reached = state.reached.max(sequence);
        let reached = state.reached;
        let done: Vec<_> = state.waiters.extract_if(.., |(wanted, _)| *wanted <= reached).collect();
        drop(state);
        for (_, waiter) in done {
            let _ = waiter.send(());
        }
    }

    fn end(&self, reason: AppendError) {
        let mut state = lock(&self.0);
        state.ended.get_or_insert(reason);
        // dropping the senders wakes every waiter, which then reads the reason
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        drop(waiters);
    }

    fn check_or_wait(&self, sequence: u64) -> Result<Option<oneshot::Receiver<()>>, AppendError> {
        let mut state = lock(&self.0);
        if state.reached >= sequence {
            return Ok(None);
        }
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        // Callers that gave up waiting leave a dead entry; sweep them where the list would grow.
        if state.waiters.len() == state.waiters.capacity() {
            state.waiters.retain(|(_, waiter)| !waiter.is_canceled());
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.push((sequence, sender));
        Ok(Some(receiver))
    }

    async fn reach(&self, sequence: u64) -> Result<(), AppendError> {
        while let Some(woken) = self.check_or_wait(sequence)? {
            // an error only says that the mark has ended, which the next check reports
            let _ = woken.await;
        }
        Ok(())
    }
}

/// One appended record. Await or wait for [`written`](Self::written) or [`durable`](Self::durable); dropping the
/// ticket changes nothing about the record.
#[derive(Debug)]
#[must_use = "an appended record is kept only once it is written or durable"]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Kept,
    Dropped,
    Pending { sequence: u64, progress: Arc<Progress> },
}

impl Ticket {
    /// The ticket of a record that is as safe as its store can make it.
    pub const fn kept() -> Self {
        Self(State::Kept)
    }

    pub(in crate::evidence) const fn dropped() -> Self {
        Self(State::Dropped)
    }

    /// Whether there is a record at all: `false` only where best-effort mode found no room and counted the record
    /// as dropped. Waiting on such a ticket succeeds at once.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        !matches!(self.0, State::Dropped)
    }

    /// Where the record stands, once it is written; `None` before, and for records that are kept in memory or dropped.
    #[must_use]
    pub fn receipt(&self) -> Option<crate::evidence::Receipt> {
        None
    }

    /// Resolves when the record's bytes have reached the file by write(2), so that a crash of this process cannot lose
    /// them. Cancel safe.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`Closed`](AppendError::Closed) when they never will.
    pub async fn written(&mut self) -> Result<(), AppendError> {
        match &self.0 {
            State::Kept | State::Dropped => Ok(()),
            State::Pending { sequence, progress } => progress.written.reach(*sequence).await,
        }
    }

    /// Resolves when the record is on stable storage (fdatasync), so that a power cut cannot lose it. In best-effort
    /// mode that is at [`close`](crate::evidence::EvidenceLog::close) only. Cancel safe.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`Closed`](AppendError::Closed) when it never will be.
    pub async fn durable(&mut self) -> Result<(), AppendError> {
        match &self.0 {
            State::Kept | State::Dropped => Ok(()),
            State::Pending { sequence, progress } => progress.durable.reach(*sequence).await,
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
