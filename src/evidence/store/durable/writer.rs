//! The thread that makes records durable: takes what queued up, chains, hashes, writes, signs, syncs, then tells.
//!
//! Group commit: it takes whatever queued up while it was busy, so the cost of a sync is shared by all callers that wait
//! for it. The thread is the operating system's and not a runtime's: it must go on when a runtime shuts down, and a
//! blocked disk must not take a worker away from anybody.
//!
//! In strict mode entries and commit frame go out in one write. In the others entries are written at once, so that those
//! who wait for write(2) wait for nothing else, and the commit frame with its note goes out in front of the sync.
//!
//! INVARIANT: a note leaves this thread only after the sync that covers it; see [`Writer::commit`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::AppendError;
use super::queue::{Item, Queue, Taken};
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
use crate::evidence::wal::{FrameKind, WalPosition, WalWriter};
use crate::evidence::{EvidenceId, NoticeRecord, Record};

use super::follow::Follow;

/// Most records and bytes of one write: more would only keep those who wait for its first records.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 4 << 20;
/// How long the thread looks away after a small batch where nobody waits for a sync. Under load this saves callers the
/// cost of waking it; a record on its own is still written at once.
const LINGER: Duration = Duration::from_micros(50);
const SMALL_BATCH: usize = 64;
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
    /// The latest time that was seen, to notice a clock that goes back.
    pub(super) latest: SystemTime,
    pub(super) entry: Vec<u8>,
}

impl Writer {
    /// Writes what opening found, then what comes, until the store is closed or something fails.
    pub(super) fn run(mut self, notices: Vec<OpeningNotice>) {
        match self.serve(notices) {
            Ok(()) => self.queue.end(AppendError::Closed),
            Err(error) => {
                // No second try: after a failed fsync the kernel may have dropped the pages, and a retry that succeeds
                // would confirm bytes that are gone.
                tracing::error!(%error, "evidence could not be stored; nothing is recorded from here on");
                self.queue.end(AppendError::Failed);
            }
        }
        // callers have their answer; the lock is given up when nothing is written to the log any more
        self.log.follow.finish();
        self.tiler.end();
    }

    fn serve(&mut self, notices: Vec<OpeningNotice>) -> io::Result<()> {
        for notice in notices {
            self.notice(notice.name, notice.members)?;
        }
        self.commit()?;
        loop {
            let Taken { items, commands, ended } = self.queue.take(self.due());
            let small = !items.is_empty() && items.len() < SMALL_BATCH;
            self.write_all(items)?;
            for command in commands {
                self.execute(command)?;
            }
            if ended {
                break;
            }
            if self.due().is_some_and(|due| due <= Instant::now()) {
                self.commit()?;
            }
            self.roll_if_due()?;
            if small && !self.is_strict() {
                std::thread::sleep(LINGER);
            }
        }
        self.finish()
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
            let Some(Item { event, place, unauthenticated }) = items.next() else { break };
            let index = self.log.frontier.size();
            self.push(&event);
            place.set(Arc::clone(&self.log.origin), index, self.log.last_leaf);
            count = count.saturating_add(1);
            self.places.0 = self.places.0.saturating_add(1);
            self.places.1 = self.places.1.saturating_add(usize::from(unauthenticated));
            bytes = bytes.saturating_add(event.len());
        }
        self.done = self.done.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if self.is_strict() { self.commit() } else { self.write().map(drop) }
    }

    /// Whether an entry with an event of `bytes` fits behind the batch under construction; behind none it does.
    fn fits(&mut self, bytes: usize) -> io::Result<bool> {
        Ok(self.log.wal.room(&self.log.frontier)? >= bytes.saturating_add(ENVELOPE_BYTES))
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
        let log = &mut self.log;
        let size = log.frontier.size();
        let text = Checkpoint::new(log.origin.to_string(), size, log.frontier.root()).to_text();
        let signers: Vec<&dyn NoteSigner> = log.signers.iter().map(AsRef::as_ref).collect();
        let note = sign_note(&text, &signers).map_err(io::Error::other)?;
        log.wal.push(FrameKind::Commit, &note, None);
        let position = self.write()?;
        let log = &mut self.log;
        log.wal.sync()?;
        log.committed = size;
        self.last_commit = Instant::now();
        let follow = Arc::clone(&log.follow);
        self.give_back();
        self.queue.progress.set_durable(self.done);
        follow.committed(position, size);
        Ok(())
    }

    /// Hands the batch to the operating system, and says so.
    fn write(&mut self) -> io::Result<WalPosition> {
        let position = self.log.wal.write()?;
        self.log.follow.written(self.log.frontier.size());
        if !self.is_strict() {
            self.give_back();
        }
        self.queue.progress.set_written(self.done);
        Ok(position)
    }

    /// Gives back the places of what is kept, before anybody is told: who is told finds room for the next.
    fn give_back(&mut self) {
        let (places, unauthenticated) = std::mem::take(&mut self.places);
        if places > 0 {
            self.queue.room.give_back_all(places, unauthenticated);
        }
    }

    /// Waits while the write-ahead log is as long as it may get, since tiles are written more slowly than entries: the
    /// queue then fills, and callers are told so. Where tiles cannot be written at all this fails.
    fn hold_back(&mut self) -> io::Result<()> {
        while self.log.follow.keeper.live_bytes() > self.options.wal_limit {
            if self.due().is_some() {
                self.commit()?;
            }
            let committed = self.log.committed;
            self.log.follow.want(committed, true);
            let until = Instant::now().checked_add(Duration::from_secs(1)).unwrap_or_else(Instant::now);
            let waited = self.log.follow.wait(committed, true, until);
            if waited.is_ok() && self.log.follow.keeper.live_bytes() > self.options.wal_limit {
                // everything is in tiles: the segment that is being written is longer than the limit
                break;
            }
            if self.tiler.is_failing() || waited == Err(AppendError::Failed) {
                return Err(io::Error::other("tiles cannot be written, and the write-ahead log has reached its limit"));
            }
        }
        Ok(())
    }

    /// Records that the clock went back, since the times of records say less from there on.
    fn check_clock(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let Ok(back) = self.latest.duration_since(now) else {
            self.latest = now;
            return Ok(());
        };
        if back > CLOCK_STEP {
            let seconds = back.as_secs_f64();
            tracing::warn!(seconds, "the clock went back; the evidence log says so");
            self.latest = now;
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
        // nobody is left waiting whatever ended this thread
        self.queue.end(if std::thread::panicking() { AppendError::Failed } else { AppendError::Closed });
        self.log.follow.finish();
        // the lock is given up when nothing is written any more, also after a panic
        self.tiler.end();
    }
}
