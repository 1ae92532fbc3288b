//! Where records live: the seam between the log's handle and its storage.
//!
//! A store hands out places before it takes records, so that a caller knows whether a record *can* be kept before it
//! lets anything happen, and so that a record written from `Drop`, which cannot wait, always finds its place.

pub(crate) mod durable;
mod memory;
mod progress;
mod room;
pub(in crate::evidence) mod sync;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use memory::MAX_MEMORY_RECORDS;
pub(super) use memory::MemoryStore;
pub use progress::{Progress, Ticket};
pub(in crate::evidence) use room::{DEFAULT_UNAUTHENTICATED_SHARE, share};
pub use room::{Reservation, Room, RoomFreed};

use crate::evidence::OpenError;

/// Why a record could not be kept. The enforcer turns every one of these into a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Every place of the queue is taken; room may return.
    #[error("the evidence queue is full")]
    Full,
    /// A write or sync failed, now or earlier. The store stays failed: after a failed fsync the kernel may have dropped
    /// the pages, so a second try that succeeds would prove nothing.
    #[error("the evidence store failed")]
    Failed,
    /// The store was closed.
    #[error("the evidence store is closed")]
    Closed,
    /// The record is larger than [`MAX_RECORD_BYTES`](crate::evidence::MAX_RECORD_BYTES).
    #[error("the record is too large")]
    TooLarge,
    /// The record did not reach the disk within the time given to a blocking wait; it may still do so.
    #[error("the record was not stored in time")]
    TimedOut,
}

/// Where records live.
///
/// Implementations take their bookkeeping from [`Room`] (places), [`Progress`] (what is written and durable) and
/// [`Ticket`]. They never wait in `reserve` or `append`, keep records in the order of `append`, and once one
/// write has failed refuse everything after it.
pub trait EvidenceStore: fmt::Debug + Send + Sync + 'static {
    /// Takes `records` places, all or none, without waiting.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`Failed`](AppendError::Failed) or [`Closed`](AppendError::Closed).
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError>;

    /// [`reserve`](Self::reserve) for a caller who is not authenticated, or not yet: within the share of all of these
    /// ([`Room::reserve_unauthenticated`]).
    ///
    /// # Errors
    /// As `reserve`; [`AppendError::Full`] also when only the share is used up.
    fn reserve_unauthenticated(&self, records: u32) -> Result<Reservation, AppendError> {
        self.reserve(records)?.unauthenticated()
    }

    /// Queues `event`, one canonical JSON object without a line break, in one place of `reservation`, without waiting.
    ///
    /// # Errors
    /// [`AppendError::Full`] when the reservation holds no place of this store, [`Failed`](AppendError::Failed) or
    /// [`Closed`](AppendError::Closed).
    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError>;

    /// Resolves when places have been given back after this call, or the store has ended.
    fn room_freed(&self) -> RoomFreed;

    /// Every record kept so far, in order.
    ///
    /// # Errors
    /// [`OpenError`] when the records cannot be read or one of them is damaged.
    fn records(&self) -> Result<Vec<Value>, OpenError>;

    /// What the store holds and whether it still works.
    fn health(&self) -> StoreHealth;

    /// Stops accepting, then writes and syncs what is queued. Blocks until that is done; further calls do nothing.
    fn close(&self);
}

/// A store's state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Records kept, those of earlier runs included; of a log on disk the entries of the one that is being written, which
    /// begins anew when a log rolls.
    pub records: u64,
    /// Records accepted and not yet written.
    pub queued: u64,
    /// Records that were accepted and that nobody will write, since the store has failed.
    pub lost: u64,
    /// Whether a write or sync failed, after which nothing is accepted any more.
    pub failed: bool,
    /// What is known of a log on disk; `None` for a store that keeps none.
    pub log: Option<LogHealth>,
}

/// The state of a log on disk at one moment; see [`EvidenceLog::health`](crate::evidence::EvidenceLog::health).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogHealth {
    /// Entries on stable storage under a signed note.
    pub durable: u64,
    /// Entries that the published checkpoint covers.
    pub published: u64,
    /// Entries whose tiles are on stable storage; those beyond are in the write-ahead log too.
    pub sealed: u64,
    /// How long there have been durable entries that no published checkpoint covers; zero while there are none.
    pub behind: Duration,
    /// Whether tiles, the checkpoint or the high-water mark could not be written the last time. Calls go on until the
    /// write-ahead log has reached its limit.
    pub tiles_failing: bool,
    /// Bytes of the write-ahead log that hold entries whose tiles are not on stable storage yet.
    pub wal_bytes: u64,
    /// Free bytes on the disk, where that can be told.
    pub free_bytes: Option<u64>,
    /// Whether the disk is nearly full, or room for the log's last words could not be kept ready.
    pub disk_low: bool,
    /// Entries that the newest checkpoint with witnesses' signatures covers; `None` without one.
    pub witnessed: Option<u64>,
    /// Copies of records (as `tracing` events) that were lost since the log was opened, since the subscriber was too slow.
    pub copies_dropped: u64,
}

impl StoreHealth {
    /// The state of a store that keeps no log on disk.
    #[must_use]
    pub const fn new(records: u64, queued: u64, failed: bool) -> Self {
        Self { records, queued, lost: 0, failed, log: None }
    }
}

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data consistent at each step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls `future` on this thread for at most `limit`.
pub(super) fn block_on<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}
