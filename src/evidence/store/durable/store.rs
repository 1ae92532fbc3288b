//! The store that callers see: a queue in front of the writing thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{AppendError, EvidenceStore, LogHealth, Reservation, RoomFreed, StoreHealth, Ticket, lock};
use super::follow::Follow;
use super::queue::{Queue, Urgency, Wrote};
use super::tiler::{Disk, Tiler};
use super::writer::{Log, Pen, Writer, serve};
use super::{OpenedInstance, PrivateDir};
use crate::clock::Clock;
use crate::evidence::keyed::KeyCell;
use crate::evidence::sink::RecordSink;
use crate::evidence::tiles::TileWriter;
use crate::evidence::wal::WalReader;
use crate::evidence::{OpenError, OpenErrorKind};

/// How long `records()` waits for what is queued to be written; beyond it, it returns what is there.
const READ_WAIT: Duration = Duration::from_secs(5);
/// How long the first commit may take.
const OPEN_WAIT: Duration = Duration::from_secs(60);

/// What the writing thread can be told to do, after everything appended before.
#[derive(Debug)]
pub(super) enum Command {
    /// Make everything durable, and say in which log it stands up to which size.
    Commit(Sender<Committed>),
    /// As `Commit`, and go on in another segment, so that those before can be given up.
    Rotate(Sender<Committed>),
    /// Overwrite what is not in use of the write-ahead log.
    Wipe(Sender<()>),
}

/// Everything up to `size` is durable in the log of `follow`.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) follow: Arc<Follow>,
    pub(super) size: u64,
}

/// What the tiler needs of a log.
#[derive(Debug)]
pub(super) struct LogTail {
    pub(super) reader: WalReader,
    pub(super) tiles: TileWriter,
    pub(super) follow: Arc<Follow>,
    pub(super) sink: RecordSink,
}

/// The log that is being written.
#[derive(Debug)]
pub(super) struct Current(Mutex<Arc<Follow>>);

impl Current {
    pub(super) fn get(&self) -> Arc<Follow> {
        Arc::clone(&lock(&self.0))
    }

    pub(super) fn set(&self, follow: Arc<Follow>) {
        *lock(&self.0) = follow;
    }
}

/// The log on disk and the threads that write it. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct DurableStore {
    pub(super) private: PrivateDir,
    pub(super) queue: Arc<Queue<Command>>,
    pub(super) current: Arc<Current>,
    disk: Arc<Disk>,
    copies_dropped: Arc<AtomicU64>,
    pen: Arc<Pen>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl DurableStore {
    /// Starts the threads of `opened`.
    pub(crate) fn start(opened: OpenedInstance, keys: KeyCell, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let OpenedInstance { storage, options, directory, private, lock, epoch, notices } = opened;
        let io_error = |error| OpenError::new(OpenErrorKind::Io).at(&directory).caused_by(error);
        let queue = Queue::new(options.capacity);
        let disk = Disk::new(options.low_disk_bytes);
        let latest = epoch.last_record_at.unwrap_or(epoch.created);
        let copies_dropped = Arc::<AtomicU64>::default();
        let sink = RecordSink::new(Arc::clone(&epoch.origin), Arc::clone(&copies_dropped));
        let (log, tail) = Log::split(epoch, &options, &private, sink)?;
        let current = Arc::new(Current(Mutex::new(Arc::clone(&log.follow))));
        let tiler =
            Tiler::start(Arc::clone(&storage), private.clone(), &options, tail, Arc::clone(&disk)).map_err(io_error)?;
        let writer = Writer {
            storage,
            options,
            private: private.clone(),
            _lock: lock,
            clock,
            keys,
            queue: Arc::clone(&queue),
            current: Arc::clone(&current),
            tiler,
            log,
            done: 0,
            places: (0, 0),
            last_commit: Instant::now(),
            slow_until: None,
            syncing: false,
            latest,
            entry: Vec::new(),
            taken: Vec::new(),
        };
        let pen = Arc::new(Pen::new(Some(writer)));
        let (of_thread, queue_of_thread) = (Arc::clone(&pen), Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("rmcp-guard-evidence".to_owned())
            .spawn(move || serve(&queue_of_thread, &of_thread, notices))
            .map_err(io_error)?;
        let writer = Mutex::new(Some(thread));
        let store = Self { private, queue, current, disk, copies_dropped, pen, writer };
        // what opening found is durable before anything else can happen, or the log is not open
        store.commit(OPEN_WAIT).map_err(|error| OpenError::new(OpenErrorKind::Io).at(&directory).caused_by(error))?;
        Ok(store)
    }

    /// Makes everything appended so far durable.
    pub(super) fn commit(&self, limit: Duration) -> Result<Committed, AppendError> {
        let until = Instant::now().checked_add(limit).unwrap_or_else(Instant::now);
        let (answer, committed) = std::sync::mpsc::channel();
        self.queue.command(Command::Commit(answer))?;
        self.answer(&committed, until)
    }

    /// [`append`](EvidenceStore::append), and writes the record on this thread where nobody is writing and the disk does
    /// not seem slow: the ticket is then written already.
    pub(crate) fn append_and_write(
        &self,
        reservation: &mut Reservation,
        event: Vec<u8>,
    ) -> Result<Ticket, AppendError> {
        let ticket = self.queue.append(reservation, event, Urgency::Here)?;
        self.queue.write_here(&self.pen, |held| held.as_mut().map_or(Wrote::Nothing, Writer::write_quickly));
        Ok(ticket)
    }

    /// [`append`](EvidenceStore::append) for a record that nobody waits for: it is written with the next one, or by the next
    /// commit.
    pub(crate) fn append_later(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        self.queue.append(reservation, event, Urgency::Soon)
    }

    /// Makes everything appended so far durable as soon as it can be, whenever the next commit would be due; does not wait.
    pub(crate) fn hurry(&self) {
        self.queue.hurry();
    }

    /// How many places callers may hold together who are not authenticated.
    pub(crate) fn limit_unauthenticated(&self, places: usize) {
        self.queue.room.limit_unauthenticated(places);
    }

    /// Where the log's keys are.
    pub(crate) const fn private(&self) -> &PrivateDir {
        &self.private
    }

    /// The directory of the log that is being written.
    pub(crate) fn directory(&self) -> std::path::PathBuf {
        self.current.get().directory.clone()
    }

    /// The key that checks its checkpoints.
    pub(crate) fn verifier_key(&self) -> crate::evidence::note::VerifierKey {
        self.current.get().key.clone()
    }

    /// Makes everything appended so far durable and publishes it, with durable tiles if `seal`; returns the note.
    pub(crate) fn publish(&self, limit: Duration, seal: bool) -> Result<Arc<[u8]>, AppendError> {
        let until = Instant::now().checked_add(limit).unwrap_or_else(Instant::now);
        let Committed { follow, size } = self.commit(limit)?;
        follow.want(size, seal);
        follow.wait(size, seal, until)
    }

    pub(super) fn answer<T>(&self, answer: &std::sync::mpsc::Receiver<T>, until: Instant) -> Result<T, AppendError> {
        use std::sync::mpsc::RecvTimeoutError;
        answer.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|error| match error {
            RecvTimeoutError::Timeout => AppendError::TimedOut,
            RecvTimeoutError::Disconnected => self.queue.state().1.unwrap_or(AppendError::Failed),
        })
    }
}

impl EvidenceStore for DurableStore {
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        self.queue.room.reserve(records)
    }

    fn reserve_unauthenticated(&self, records: u32) -> Result<Reservation, AppendError> {
        self.queue.room.reserve_unauthenticated(records)
    }

    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        self.queue.append(reservation, event, Urgency::Now)
    }

    fn room_freed(&self) -> RoomFreed {
        self.queue.room.freed()
    }

    fn records(&self) -> Result<Vec<Value>, OpenError> {
        // whatever could not be written is not in the log, which is what this is asked for
        let _ = self.queue.everything().wait_written(READ_WAIT);
        let current = self.current.get();
        let instance = current.directory.parent().unwrap_or(&current.directory);
        crate::evidence::read_records(instance)
    }

    fn health(&self) -> StoreHealth {
        let (queued, ended) = self.queue.state();
        let queued = u64::try_from(queued).unwrap_or(u64::MAX);
        let (written, log) = self.current.get().health();
        let mut health = StoreHealth::new(written, queued, ended == Some(AppendError::Failed));
        health.lost = self.queue.lost();
        let copies_dropped = self.copies_dropped.load(Ordering::Relaxed);
        health.log = Some(LogHealth { copies_dropped, ..self.disk.add_to(log) });
        health
    }

    fn close(&self) {
        self.queue.close();
        // a second caller waits here until the first has joined
        let mut writer = lock(&self.writer);
        if let Some(thread) = writer.take() {
            // a waker or a subscriber may drop the last handle on the writer's own thread, which cannot wait for itself
            if thread.thread().id() == std::thread::current().id() {
                return;
            }
            // the writer does not panic; if it ever did, its `Drop` has failed every waiter
            let _ = thread.join();
        }
    }
}

impl Drop for DurableStore {
    fn drop(&mut self) {
        self.close();
    }
}
