//! Records as JSON lines in a file that only grows, written by one thread.
//!
//! Group commit: the thread takes whatever queued up while it was busy, writes it in one go and syncs it once, so the
//! cost of a sync is shared by all callers that wait for it. The thread is the operating system's and not a runtime's:
//! it must go on when a runtime shuts down, and a blocked disk must not take a worker away from anybody.

mod open;
#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::{AppendError, EvidenceStore, Progress, Reservation, Room, RoomFreed, StoreHealth, Ticket, lock};
use crate::evidence::{EvidenceMode, OpenError, OpenErrorKind};

pub use open::read_records;
pub(in crate::evidence) use open::{Opened, Repair, open_directory};

/// How long `records()` waits for what is queued to reach the file; beyond it, it returns what is there.
const READ_WAIT: Duration = Duration::from_secs(5);

/// The append-only file and the thread that writes it. Dropping it closes it.
#[derive(Debug)]
pub(in crate::evidence) struct FileStore {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Arc<Room>,
    progress: Arc<Progress>,
    /// Length of the file up to and including the last whole batch; only the writer changes it.
    bytes: AtomicU64,
    /// Records in the file, those of earlier runs included.
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Vec<u8>>,
    appended: u64,
    ended: Option<AppendError>,
}

impl FileStore {
    /// Starts the writer of `opened`, with room for `capacity` records between caller and file.
    pub(in crate::evidence) fn start(opened: Opened, mode: EvidenceMode, capacity: usize) -> Result<Self, OpenError> {
        let Opened { path, file, lock_file, bytes, records, .. } = opened;
        // the name is looked up again later, when the process may have another working directory
        let path =
            std::path::absolute(&path).map_err(|error| OpenError::new(OpenErrorKind::Io).at(&path).caused_by(error))?;
        warn_of_growth(0, bytes);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Room::new(capacity),
            progress: Progress::new(),
            bytes: AtomicU64::new(bytes),
            records: AtomicU64::new(records),
        });
        let writer = Writer {
            path: path.clone(),
            file,
            _lock: lock_file,
            sync: mode != EvidenceMode::BestEffort,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("rmcp-guard-evidence".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::new(OpenErrorKind::Io).at(&path).caused_by(error))?;
        Ok(Self { path, shared, writer: Mutex::new(Some(thread)) })
    }
}

impl EvidenceStore for FileStore {
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        self.shared.room.reserve(records)
    }

    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        let mut queue = lock(&self.shared.queue);
        if let Some(reason) = queue.ended {
            return Err(reason);
        }
        reservation.take(&self.shared.room)?;
        queue.events.push(event);
        queue.appended = queue.appended.saturating_add(1);
        let ticket = self.shared.progress.ticket(queue.appended);
        drop(queue);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    fn room_freed(&self) -> RoomFreed {
        self.shared.room.freed()
    }

    fn records(&self) -> Result<Vec<Value>, OpenError> {
        let appended = lock(&self.shared.queue).appended;
        // whatever could not be written is not in the file, which is what this is asked for
        let _ = self.shared.progress.ticket(appended).wait_written(READ_WAIT);
        open::read_lines(&self.path, Some(self.shared.bytes.load(Ordering::Acquire)))
    }

    fn health(&self) -> StoreHealth {
        let queue = lock(&self.shared.queue);
        let queued = u64::try_from(queue.events.len()).unwrap_or(u64::MAX);
        StoreHealth::new(self.shared.records.load(Ordering::Relaxed), queued, queue.ended == Some(AppendError::Failed))
    }

    fn close(&self) {
        lock(&self.shared.queue).ended.get_or_insert(AppendError::Closed);
        self.shared.room.end(AppendError::Closed);
        self.shared.work.notify_all();
        // a second caller waits here until the first has joined
        let mut writer = lock(&self.writer);
        if let Some(thread) = writer.take() {
            // the writer does not panic; if it ever did, its `Drop` has failed every waiter
            let _ = thread.join();
        }
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// The writing thread's side.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    /// Held for the life of the writer: one process per log.
    _lock: Option<File>,
    sync: bool,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self) {
        let mut buffer = Vec::new();
        let mut done = 0_u64;
        while let Some(events) = self.next_batch() {
            buffer.clear();
            for event in &events {
                buffer.extend_from_slice(event);
                buffer.push(b'\n');
            }
            if let Err(error) = self.check_file().and_then(|()| self.file.write_all(&buffer)) {
                return self.fail(&error);
            }
            let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
            let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            done = done.saturating_add(count);
            let before = self.shared.bytes.fetch_add(length, Ordering::Release);
            warn_of_growth(before, before.saturating_add(length));
            self.shared.records.fetch_add(count, Ordering::Relaxed);
            self.shared.progress.set_written(done);
            if self.sync {
                if let Err(error) = self.file.sync_data() {
                    return self.fail(&error);
                }
                self.shared.progress.set_durable(done);
            }
            self.shared.room.give_back(events.len());
            buffer.shrink_to(RETAINED_BUFFER_BYTES);
        }
        match self.file.sync_all() {
            Ok(()) => self.shared.progress.set_durable(done),
            Err(error) => self.fail(&error),
        }
    }

    /// Everything queued, or `None` once the store is closed and the queue is empty.
    fn next_batch(&self) -> Option<Vec<Vec<u8>>> {
        let mut queue = lock(&self.shared.queue);
        while queue.events.is_empty() {
            if queue.ended.is_some() {
                return None;
            }
            queue = self.shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut queue.events))
    }

    /// Whether what is written will be found under the log's name. A file that was removed, rotated away or cut would go
    /// on taking records that no reader ever sees; one that somebody else writes to is no log of ours.
    fn check_file(&self) -> io::Result<()> {
        let (named, open) = (std::fs::metadata(&self.path)?, self.file.metadata()?);
        if !is_same_file(&named, &open) {
            return Err(io::Error::other("the file was replaced by another one"));
        }
        if open.len() != self.shared.bytes.load(Ordering::Relaxed) {
            return Err(io::Error::other("the file was changed by somebody else"));
        }
        Ok(())
    }

    /// No second try: after a failed fsync the kernel may have dropped the pages, and a retry that succeeds would
    /// confirm bytes that are gone.
    fn fail(&self, error: &io::Error) {
        tracing::error!(%error, "evidence could not be stored; nothing is recorded from here on");
        self.shared.end(AppendError::Failed);
    }
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere the standard library names no identity of a file; a file that is open can hardly be replaced there.
#[cfg(not(unix))]
fn is_same_file(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

/// Length from which a log's growth is worth a warning: nothing here ever removes a record, and every start reads them
/// all once.
const LARGE_LOG_BYTES: u64 = 1 << 30;

/// Warns once for each doubling, so that a disk does not fill unannounced.
fn warn_of_growth(before: u64, after: u64) {
    if after >= LARGE_LOG_BYTES && before.checked_ilog2() < after.checked_ilog2() {
        tracing::warn!(bytes = after, "the evidence log is large; stop, move its directory away and start a new one");
    }
}

/// Write buffer kept between batches; a rare huge batch does not hold its memory for ever.
const RETAINED_BUFFER_BYTES: usize = 1 << 20;

impl Drop for Writer {
    fn drop(&mut self) {
        // `Closed` after an orderly end; nobody is left waiting whatever ended this thread
        let reason = if std::thread::panicking() { AppendError::Failed } else { AppendError::Closed };
        self.shared.end(reason);
    }
}

impl Shared {
    fn end(&self, reason: AppendError) {
        let mut queue = lock(&self.queue);
        if reason == AppendError::Failed {
            queue.ended = Some(reason);
        }
        queue.ended.get_or_insert(reason);
        queue.events.clear();
        drop(queue);
        self.room.end(reason);
        self.progress.end(reason);
    }
}
