//! What makes records durable: takes what queued up, chains, hashes, writes, signs, syncs, then tells.
//!
//! Group commit: whatever queued up while it was busy is taken together, so the cost of a sync is shared by all callers that
//! wait for it. Its thread is the operating system's and not a runtime's: it must go on when a runtime shuts down, and a
//! blocked disk must not take the workers away.
//!
//! In strict mode entries and commit frame go out in one write. In the others entries are written at once, so that those
//! who wait for write(2) wait for nothing else, and the commit frame with its note goes out in front of the sync.
//!
//! A caller may [write](Writer::write_quickly) its record itself, as one write(2) into room that is there: that takes a
//! fraction of what waking the thread and being woken takes. Whatever can take long is the thread's, and it lays the pen down
//! for its syncs: a slow disk makes nobody wait who does not wait for a sync. Writing holds the pen, so a disk that hangs in
//! such a write holds the one worker that came first; the others leave their records to the queue, where each waits no longer
//! than its limit.
//!
//! INVARIANT: a note leaves this thread only after the sync that covers it; see [`Writer::commit`]. What is written during
//! a sync is not covered by it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::AppendError;
use super::super::sync::{Mutex, lock};
use super::queue::{Item, Queue, Taken, Written, Wrote};
use super::store::{Command, Committed, Current};
use super::tiler::Tiler;
use super::{DurableOptions, OpeningNotice, PrivateDir};
use crate::clock::Clock;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::entry::{ENVELOPE_BYTES, write_entry};
use crate::evidence::keyed::KeyCell;
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::note::{NoteSigner, VerifierKey, sign_note};
use crate::evidence::sink::RecordSink;
use crate::evidence::storage::{Storage, StorageLock};
use crate::evidence::wal::{FrameKind, WalPosition, WalSync, WalWriter};
use crate::evidence::{EvidenceId, NoticeRecord, Record};

use super::follow::Follow;

/// Most records and bytes of one write: more would only keep those who wait for its first records.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 4 << 20;
/// How long the thread looks away after a small batch where nobody waits for a sync. Under load this saves callers the
/// cost of waking it; a record on its own is still written at once.
const LINGER: Duration = Duration::from_micros(50);
const SMALL_BATCH: usize = 64;
/// Most records and bytes that a caller writes for itself and others.
const QUICK_RECORDS: usize = 64;
const QUICK_BYTES: usize = 256 << 10;
/// After a write that took longer than this, callers leave writing to the thread for so many times as long as it took: a slow
/// disk holds up a worker for a small part of its time.
const SLOW_WRITE: Duration = Duration::from_millis(5);
const SLOW_FOR: u32 = 16;
/// A clock that goes back further than this is told in the log.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// The log under the writer's hand.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) number: u64,
    pub(super) origin: Arc<str>,
    pub(super) signers: Vec<Arc<dyn NoteSigner>>,
    pub(super) created: SystemTime,
    pub(super) frontier: Frontier,
    pub(super) last_leaf: Hash,
    pub(super) bytes: u64,
    pub(super) wal: WalWriter,
    pub(super) follow: Arc<Follow>,
    /// Where copies of its records go.
    pub(super) sink: RecordSink,
    /// Origin and key of the log that will follow, where there can be one.
    pub(super) successor: Option<VerifierKey>,
    /// Size under the last note.
    pub(super) committed: u64,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: DurableOptions,
    pub(super) private: PrivateDir,
    /// Held for the life of the writer: one process for each instance.
    pub(super) _lock: Box<dyn StorageLock>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: KeyCell,
    pub(super) queue: Arc<Queue<Command>>,
    pub(super) current: Arc<Current>,
    pub(super) tiler: Tiler,
    pub(super) log: Log,
    /// Callers' records that are written.
    pub(super) done: u64,
    /// Places of the queue that such records still hold, and how many of these are of callers not authenticated.
    pub(super) places: (usize, usize),
    pub(super) last_commit: Instant,
    /// Until when callers do not write themselves, unless the thread is syncing.
    pub(super) slow_until: Option<Instant>,
    /// Whether the thread syncs without the pen.
    pub(super) syncing: bool,
    /// The latest time that was seen, to notice a clock that goes back.
    pub(super) latest: SystemTime,
    pub(super) entry: Vec<u8>,
    /// Empty; kept for its memory.
    pub(super) taken: Vec<Item>,
}

/// The writer while nobody writes; `None` once it has ended.
pub(super) type Pen = Mutex<Option<Writer>>;

/// The thread: does what others leave to it until the store is closed or something fails.
pub(super) fn serve(queue: &Queue<Command>, pen: &Pen, notices: Vec<OpeningNotice>) {
    let _end = EndOfShift(pen);
    let act = |turn: &mut dyn FnMut(&mut Writer) -> io::Result<Turn>| {
        let (mut held, is_whole) =
            pen.lock().map_or_else(|poisoned| (poisoned.into_inner(), false), |held| (held, true));
        let result = match &mut *held {
            Some(writer) if is_whole => turn(writer),
            _ => Err(io::Error::other("writing ended in a panic")),
        };
        // No second try: after a failed fsync the kernel may have dropped the pages, and a retry that succeeds would
        // confirm bytes that are gone. Nobody writes behind this, so it is said before the pen is laid down.
        result.inspect_err(|error| {
            report_failure(error);
            queue.end(AppendError::Failed);
        })
    };
    let mut notices = Some(notices);
    let mut turn = act(&mut |writer| writer.open(notices.take().unwrap_or_default()));
    while let Ok(done) = turn {
        match done {
            Turn::Done => {}
            Turn::Small => std::thread::sleep(LINGER),
            Turn::Sync(commit) => {
                let mut synced = Some(commit.sync.run());
                turn = act(&mut |writer| {
                    let synced = synced.take().unwrap_or_else(|| Err(io::Error::other("a sync counts once")));
                    writer.end_turn_of(&commit, synced)
                });
                continue;
            }
            Turn::Ended => break,
        }
        queue.wait();
        turn = act(&mut Writer::turn);
    }
    queue.end(AppendError::Closed);
}

fn report_failure(error: &io::Error) {
    tracing::error!(%error, "evidence could not be stored; nothing is recorded from here on");
}

/// Ends the writer with its thread, however that ends.
struct EndOfShift<'a>(&'a Pen);

impl Drop for EndOfShift<'_> {
    fn drop(&mut self) {
        drop(lock(self.0).take());
    }
}

/// How the thread's turn ended.
#[derive(Debug)]
enum Turn {
    Done,
    /// With a small batch, where nobody waits for a sync.
    Small,
    /// With a sync that is to be done without the pen, so that callers write on meanwhile.
    Sync(Commit),
    Ended,
}

/// A note that is written and not yet synced.
#[derive(Debug)]
struct Commit {
    sync: WalSync,
    position: WalPosition,
    /// Entries under the note.
    size: u64,
    /// Callers' records among them and in the logs before.
    done: u64,
}

impl Writer {
    /// Makes what opening found durable.
    fn open(&mut self, notices: Vec<OpeningNotice>) -> io::Result<Turn> {
        for notice in notices {
            self.notice(notice.name, notice.members)?;
        }
        self.commit()?;
        Ok(Turn::Done)
    }

    /// The thread's turn: what is queued, what was asked for, and what is due.
    fn turn(&mut self) -> io::Result<Turn> {
        let Taken { items, commands, hurry, ended } = self.queue.take();
        if ended == Some(AppendError::Failed) {
            // a caller's write did, and has said so
            return Ok(Turn::Ended);
        }
        let small = !items.is_empty() && items.len() < SMALL_BATCH;
        self.write_all(items)?;
        for command in commands {
            self.execute(command)?;
        }
        if ended.is_some() {
            self.finish()?;
            return Ok(Turn::Ended);
        }
        if self.due().is_some_and(|due| hurry || due <= Instant::now()) {
            let commit = self.begin_commit()?;
            self.syncing = true;
            return Ok(Turn::Sync(commit));
        }
        self.end_turn()?;
        Ok(if small && !self.is_strict() { Turn::Small } else { Turn::Done })
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.roll_if_due()?;
        self.queue.set_due(self.due());
        Ok(())
    }

    /// The rest of a turn whose sync was done without the pen.
    fn end_turn_of(&mut self, commit: &Commit, synced: io::Result<()>) -> io::Result<Turn> {
        self.syncing = false;
        self.end_commit(commit, synced)?;
        if self.queue.state().1 == Some(AppendError::Failed) {
            // a caller's write did meanwhile, and has said so
            return Ok(Turn::Ended);
        }
        self.end_turn()?;
        Ok(Turn::Done)
    }

    /// A caller's turn: what is queued, where that is one write that should not take long. Tells nobody.
    pub(super) fn write_quickly(&mut self) -> Wrote {
        let mut items = std::mem::take(&mut self.taken);
        let wrote = if self.take_quickly(&mut items) { self.write_items(&mut items) } else { Ok(Wrote::Nothing) };
        self.taken = items;
        wrote.unwrap_or_else(|error| {
            report_failure(&error);
            Wrote::Failed
        })
    }

    fn write_items(&mut self, items: &mut Vec<Item>) -> io::Result<Wrote> {
        let was_clean = self.log.frontier.size() == self.log.committed;
        for item in items.drain(..) {
            self.push_item(item);
        }
        self.write_frames()?;
        if was_clean {
            self.queue.set_due(self.due());
        }
        Ok(Wrote::All(self.take_written()))
    }

    const fn is_strict(&self) -> bool {
        self.options.commit_delay.is_zero()
    }

    /// When the next commit is due; `None` while there is nothing to commit.
    fn due(&self) -> Option<Instant> {
        if self.log.frontier.size() == self.log.committed {
            return None;
        }
        // a time that cannot be told is now: it commits too often rather than never
        Some(self.last_commit.checked_add(self.options.commit_delay).unwrap_or(self.last_commit))
    }

    fn write_all(&mut self, items: Vec<Item>) -> io::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        self.check_clock()?;
        let mut items = items.into_iter();
        while !items.as_slice().is_empty() {
            self.hold_back()?;
            self.write_batch(&mut items)?;
        }
        Ok(())
    }

    /// Writes as many of `items` as make one batch.
    fn write_batch(&mut self, items: &mut std::vec::IntoIter<Item>) -> io::Result<()> {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        while count < BATCH_RECORDS
            && bytes < BATCH_BYTES
            && let Some(next) = items.as_slice().first()
        {
            if !self.fits(next.event.len())? && count > 0 {
                break;
            }
            let Some(item) = items.next() else { break };
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(item.event.len());
            self.push_item(item);
        }
        if self.is_strict() { self.commit() } else { self.write().map(drop) }
    }

    /// Whether an entry with an event of `bytes` fits behind the batch under construction; behind none it does.
    fn fits(&mut self, bytes: usize) -> io::Result<bool> {
        Ok(self.log.wal.room(&self.log.frontier)? >= bytes.saturating_add(ENVELOPE_BYTES))
    }

    /// Takes `records` if a caller may write them at once.
    fn take_quickly(&mut self, records: &mut Vec<Item>) -> bool {
        // a thread that is syncing would take longer still
        let is_slow = !self.syncing && self.slow_until.is_some_and(|until| Instant::now() < until);
        if self.is_strict() || is_slow || self.clock_step().is_some() || self.is_wal_full() {
            return false;
        }
        let wal = &self.log.wal;
        self.queue.take_if(records, |count, bytes| {
            let entries = bytes.saturating_add(count.saturating_mul(ENVELOPE_BYTES));
            count <= QUICK_RECORDS && bytes <= QUICK_BYTES && wal.has_room(count, entries)
        })
    }

    /// Adds a caller's record to the batch.
    fn push_item(&mut self, Item { event, place, unauthenticated }: Item) {
        let index = self.log.frontier.size();
        self.push(&event);
        place.set(Arc::clone(&self.log.origin), index, self.log.last_leaf);
        self.done = self.done.saturating_add(1);
        self.places.0 = self.places.0.saturating_add(1);
        self.places.1 = self.places.1.saturating_add(usize::from(unauthenticated));
    }

    /// Adds an entry with `event` to the batch, the chain and the tree.
    fn push(&mut self, event: &[u8]) {
        let log = &mut self.log;
        self.entry.clear();
        write_entry(&mut self.entry, event, &log.last_leaf, log.frontier.size());
        let leaf = Hash::of_leaf(&self.entry);
        log.wal.push(FrameKind::Entry, &self.entry, Some(&leaf));
        log.frontier.push(leaf);
        log.last_leaf = leaf;
        log.bytes = log.bytes.saturating_add(u64::try_from(self.entry.len()).unwrap_or(u64::MAX));
    }

    /// Signs the tree, writes what is not written, syncs, and only then tells anybody.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let commit = self.begin_commit()?;
        let synced = commit.sync.run();
        self.end_commit(&commit, synced)
    }

    /// A commit up to its sync.
    fn begin_commit(&mut self) -> io::Result<Commit> {
        let log = &mut self.log;
        let size = log.frontier.size();
        let text = Checkpoint::new(log.origin.to_string(), size, log.frontier.root()).to_text();
        let signers: Vec<&dyn NoteSigner> = log.signers.iter().map(AsRef::as_ref).collect();
        let note = sign_note(&text, &signers).map_err(io::Error::other)?;
        log.wal.push(FrameKind::Commit, &note, None);
        let position = self.write()?;
        Ok(Commit { sync: self.log.wal.begin_sync(), position, size, done: self.done })
    }

    fn end_commit(&mut self, commit: &Commit, synced: io::Result<()>) -> io::Result<()> {
        let log = &mut self.log;
        log.wal.end_sync(&commit.sync, synced)?;
        log.committed = commit.size;
        self.last_commit = Instant::now();
        let follow = Arc::clone(&log.follow);
        if self.is_strict() {
            let written = self.take_written();
            self.queue.tell(written);
        }
        self.queue.progress.set_durable(commit.done);
        follow.committed(commit.position, commit.size);
        Ok(())
    }

    /// Hands the batch to the operating system, and says so.
    fn write(&mut self) -> io::Result<WalPosition> {
        let position = self.write_frames()?;
        if self.is_strict() {
            self.queue.progress.set_written(self.done);
        } else {
            let written = self.take_written();
            self.queue.tell(written);
        }
        Ok(position)
    }

    fn write_frames(&mut self) -> io::Result<WalPosition> {
        let begun = Instant::now();
        let position = self.log.wal.write()?;
        let now = Instant::now();
        let took = now.saturating_duration_since(begun);
        if took > SLOW_WRITE {
            self.slow_until = now.checked_add(took.saturating_mul(SLOW_FOR));
        }
        self.log.follow.written(self.log.frontier.size());
        Ok(position)
    }

    fn take_written(&mut self) -> Written {
        Written { records: self.done, places: std::mem::take(&mut self.places) }
    }

    /// Waits while the write-ahead log is as long as it may get, since tiles are written more slowly than entries: the
    /// queue then fills, and callers are told so. Where tiles cannot be written at all this fails.
    fn hold_back(&mut self) -> io::Result<()> {
        while self.is_wal_full() {
            if self.due().is_some() {
                self.commit()?;
            }
            let committed = self.log.committed;
            self.log.follow.want(committed, true);
            let until = Instant::now().checked_add(Duration::from_secs(1)).unwrap_or_else(Instant::now);
            let waited = self.log.follow.wait(committed, true, until);
            if waited.is_ok() && self.is_wal_full() {
                // everything is in tiles: the segment that is being written is longer than the limit
                break;
            }
            if self.tiler.is_failing() || waited == Err(AppendError::Failed) {
                return Err(io::Error::other("tiles cannot be written, and the write-ahead log has reached its limit"));
            }
        }
        Ok(())
    }

    fn is_wal_full(&self) -> bool {
        self.log.follow.keeper.live_bytes() > self.options.wal_limit
    }

    /// By how much the clock went back since it was asked last, where that is to be told.
    fn clock_step(&mut self) -> Option<Duration> {
        let now = self.clock.now();
        let Ok(back) = self.latest.duration_since(now) else {
            self.latest = now;
            return None;
        };
        (back > CLOCK_STEP).then_some(back)
    }

    /// Records that the clock went back, since the times of records say less from there on.
    fn check_clock(&mut self) -> io::Result<()> {
        if let Some(back) = self.clock_step() {
            let seconds = back.as_secs_f64();
            tracing::warn!(seconds, "the clock went back; the evidence log says so");
            self.latest = self.latest.checked_sub(back).unwrap_or(self.latest);
            self.notice("clock_stepped_back", vec![("seconds", format!("{seconds:.3}"))])?;
        }
        Ok(())
    }

    /// Adds a record of the log about itself to the batch.
    pub(super) fn notice(&mut self, name: &'static str, members: Vec<(&'static str, String)>) -> io::Result<()> {
        let now = self.clock.now();
        let id = EvidenceId::generate(now);
        let record = Record::Notice(NoticeRecord::new(id, now, name, members));
        let event = record.encode(id, &self.keys.get(), now).map_err(io::Error::other)?;
        // in a batch of its own
        self.fits(event.len())?;
        self.push(&event);
        self.write()?;
        Ok(())
    }

    fn execute(&mut self, command: Command) -> io::Result<()> {
        if self.due().is_some() {
            self.commit()?;
        }
        match command {
            Command::Commit(answer) => {
                let _ = answer.send(self.committed());
            }
            Command::Rotate(answer) => {
                self.log.wal.rotate(&self.log.frontier)?;
                let _ = answer.send(self.committed());
            }
            Command::Wipe(answer) => {
                self.log.wal.wipe_spares()?;
                let _ = answer.send(());
            }
        }
        Ok(())
    }

    fn committed(&self) -> Committed {
        Committed { follow: Arc::clone(&self.log.follow), size: self.log.committed }
    }

    /// The orderly end: everything durable, a frame that says so, and a last checkpoint.
    fn finish(&mut self) -> io::Result<()> {
        if self.due().is_some() {
            self.commit()?;
        }
        self.log.wal.push(FrameKind::Close, &[], None);
        self.log.wal.write()?;
        self.log.wal.sync()?;
        self.log.follow.finish();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // nobody is left waiting, whatever ended the thread
        self.queue.end(if std::thread::panicking() { AppendError::Failed } else { AppendError::Closed });
        self.log.follow.finish();
        // the lock is given up when nothing is written any more, also after a panic
        self.tiler.end();
    }
}
