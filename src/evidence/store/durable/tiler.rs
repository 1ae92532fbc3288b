//! The thread behind it: reads the write-ahead log, writes tiles, publishes checkpoints, moves the high-water mark.
//!
//! It reads back what the writing thread has made durable, and nothing else, so that running and recovering are one
//! path and no checkpoint can come before the bytes it speaks of. Its errors fail no call: they are told, the segments
//! stay, and it tries again; see `Writer::hold_back` for the end of that.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::{LogHealth, lock};
use super::begin::remove_wal;
use super::follow::{End, Follow, Task};
use super::recovery::Place;
use super::retention::{Job, Removal, removal_error};
use super::store::LogTail;
use super::{DurableOptions, PrivateDir};
use crate::evidence::OpenError;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::note::{MAX_NOTE_BYTES, UnverifiedNote};
use crate::evidence::sink::RecordSink;
use crate::evidence::storage::{Storage, read_file, replace_file};
use crate::evidence::tiles::{CHECKPOINT_FILE, TileError, TileWriter, WITNESSED_FILE, prune, redact};
use crate::evidence::wal::{FrameKind, WalError, WalReader};

/// A log that grows faster than its interval is published each time it has grown by so much.
const PUBLISH_ENTRIES: u64 = 65_536;
/// Tiles are synced when so many bytes of entries came together, or so much time has passed.
const SEAL_BYTES: u64 = 16 << 20;
const SEAL_INTERVAL: Duration = Duration::from_secs(10);
/// What failed is tried again so much later at most.
const RETRY: Duration = Duration::from_secs(1);

/// The thread, from the writing thread's side.
#[derive(Debug)]
pub(super) struct Tiler {
    logs: Option<Sender<LogTail>>,
    ending: Arc<AtomicBool>,
    disk: Arc<Disk>,
    thread: Option<JoinHandle<()>>,
}

impl Tiler {
    /// Starts the thread with the log that is open.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        private: PrivateDir,
        options: &DurableOptions,
        first: LogTail,
        disk: Arc<Disk>,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let interval = options.publish_interval;
        let work = Work { storage, private, interval, disk: Arc::clone(&disk), ending: Arc::clone(&ending) };
        let thread = std::thread::Builder::new()
            .name("rmcp-guard-tiler".to_owned())
            .spawn(move || work.run(first, &receiver))?;
        Ok(Self { logs: Some(sender), ending, disk, thread: Some(thread) })
    }

    /// Whether the last thing that it tried has failed.
    pub(super) fn is_failing(&self) -> bool {
        lock(&self.disk.state).failing
    }

    /// Goes on with the next log once the one before is finished.
    pub(super) fn follow(&self, log: LogTail) {
        if let Some(logs) = &self.logs {
            // for a tiler that is gone nobody waits
            if let Err(unsent) = logs.send(log) {
                unsent.0.follow.over();
            }
        }
    }

    /// Waits until every log is published as far as it is finished, or has failed to be.
    pub(super) fn end(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.logs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is known of the disk.
#[derive(Debug)]
pub(super) struct Disk {
    low: u64,
    state: Mutex<DiskState>,
}

#[derive(Debug, Default)]
struct DiskState {
    free: Option<u64>,
    /// Little is left, or no segment could be made.
    low: bool,
    /// Whether the last thing that the tiler tried has failed, for whichever log.
    failing: bool,
}

impl Disk {
    pub(super) fn new(low: u64) -> Arc<Self> {
        Arc::new(Self { low, state: Mutex::default() })
    }

    /// Says what is known of the disk.
    pub(super) fn add_to(&self, log: LogHealth) -> LogHealth {
        let state = lock(&self.state);
        LogHealth { free_bytes: state.free, disk_low: state.low, tiles_failing: state.failing, ..log }
    }

    fn set_failing(&self, failing: bool) {
        lock(&self.state).failing = failing;
    }

    /// Warns once each time little is left; `spare` is whether room for the last words of the log is ready.
    fn look(&self, storage: &dyn Storage, directory: &Path, spare: io::Result<()>) {
        let free = storage.free_bytes(directory);
        let low = free.is_some_and(|free| free < self.low) || spare.is_err();
        let mut state = lock(&self.state);
        state.free = free;
        if low && !state.low {
            let cause = spare.err().map(|error| error.to_string());
            tracing::warn!(free, cause, path = %directory.display(), "the disk of the evidence log is getting full");
        }
        state.low = low;
    }
}

/// Why the tiler could not go on.
#[derive(Debug, thiserror::Error)]
enum TilerError {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Tile(#[from] TileError),
    #[error("the checkpoint cannot be written")]
    Checkpoint(#[source] io::Error),
    #[error("the high-water mark cannot be moved")]
    Mark(#[source] OpenError),
    #[error("segments of the write-ahead log cannot be given up")]
    Release(#[source] io::Error),
    /// What stands in the write-ahead log is not what was signed.
    #[error("the tree of the tiles is not the one that was signed")]
    OtherTree,
}

/// The thread's own.
#[derive(Debug)]
struct Work {
    storage: Arc<dyn Storage>,
    private: PrivateDir,
    interval: Duration,
    disk: Arc<Disk>,
    /// The store is being closed: what fails now is left to the next opening.
    ending: Arc<AtomicBool>,
}

/// Whoever waits for the tiler is told of its end, whatever ends it: a subscriber of `tracing` may panic on this thread.
struct Ended<'w> {
    disk: &'w Disk,
    follow: &'w Follow,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.disk.set_failing(true);
        }
        self.follow.over();
    }
}

/// A log and how far its tiles have come.
#[derive(Debug)]
struct Tiling {
    reader: WalReader,
    tiles: TileWriter,
    follow: Arc<Follow>,
    sink: RecordSink,
    /// Entries of which there were copies.
    copied: u64,
    /// Something failed: what no sync has covered has to be written anew.
    stale: bool,
    /// The last try to make tiles durable has failed or is under way; checkpoints that go out meanwhile say nothing of it.
    sealing: bool,
    /// The note of the last commit frame that was read, and its size.
    note: Option<(Vec<u8>, u64)>,
    published: u64,
    sealed: u64,
    sealed_bytes: u64,
    sealed_at: Instant,
}

impl Work {
    fn run(&self, first: LogTail, logs: &Receiver<LogTail>) {
        let mut ended = self.serve(first);
        while let Ok(log) = logs.recv() {
            // only now that the next log is there: it is by its write-ahead log that opening knows where the newest ends
            if let Some(Err(error)) = ended.map(|place| remove_wal(&place)) {
                tracing::warn!(%error, "the write-ahead log of a finished log stays until the next opening");
            }
            ended = self.serve(log);
        }
    }

    /// Follows one log until it is finished and published. Returns its place when all of its tiles are durable.
    fn serve(&self, log: LogTail) -> Option<Place> {
        let LogTail { reader, tiles, follow, sink } = log;
        let _ended = Ended { disk: &self.disk, follow: &follow };
        let mut tiling = Tiling {
            sealed_bytes: tiles.bytes(),
            copied: tiles.frontier().size(),
            sink,
            reader,
            tiles,
            follow: Arc::clone(&follow),
            stale: false,
            sealing: false,
            note: None,
            published: 0,
            sealed: 0,
            sealed_at: Instant::now(),
        };
        let mut due = after(self.interval);
        self.look_around(&follow);
        loop {
            let task = follow.task(due, tiling.tiles.frontier().size(), &self.ending);
            let interval_over = due <= Instant::now();
            let result = self.step(&mut tiling, task, interval_over);
            let failed = result.is_err();
            tiling.stale = failed;
            if let Err(error) = result {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "tiles of the evidence log could not be written; tried again later");
            }
            self.disk.set_failing(failed || tiling.sealing);
            follow.failing(failed);
            // what is not in tiles stays in the write-ahead log, and is taken up when the log is opened again
            if task.end != End::Open && (!failed || self.ending.load(Ordering::Relaxed)) {
                follow.over();
                return (!failed && task.end == End::Rolled).then(|| self.place(&tiling));
            }
            if failed || interval_over {
                due = after(if failed { self.interval.min(RETRY) } else { self.interval });
                self.look_around(&follow);
            }
        }
    }

    /// Keeps segments ready, and sees how full the disk is and how far witnesses have come.
    fn look_around(&self, follow: &Follow) {
        self.disk.look(&*self.storage, &follow.directory, follow.keeper.prepare_spares());
        let path = follow.directory.join(WITNESSED_FILE);
        let size = read_file(&*self.storage, &path, MAX_NOTE_BYTES).ok().and_then(|bytes| {
            let note = UnverifiedNote::parse(&bytes).ok()?;
            Some(Checkpoint::parse(note.text()).ok()?.size)
        });
        follow.witnessed(size);
    }

    /// Takes over what is durable, and publishes and seals it where that is due.
    fn step(&self, tiling: &mut Tiling, task: Task, interval_over: bool) -> Result<(), TilerError> {
        let Some(until) = task.until else { return Ok(()) };
        if tiling.stale {
            self.begin_anew(tiling)?;
        }
        let copies = tiling.sink.is_wanted();
        while let Some(frame) = tiling.reader.next(Some(until))? {
            match (frame.kind, frame.leaf) {
                (FrameKind::Entry, Some(leaf)) => {
                    let index = tiling.tiles.frontier().size();
                    tiling.tiles.push(&frame.body, leaf)?;
                    if copies && index >= tiling.copied {
                        tiling.sink.offer(index, leaf, frame.body);
                        tiling.copied = index.saturating_add(1);
                    }
                }
                (FrameKind::Entry, None) => return Err(TilerError::OtherTree),
                (FrameKind::Commit, _) => {
                    let size = tiling.tiles.frontier().size();
                    tiling.note = Some((frame.body, size));
                    if size.saturating_sub(tiling.published) >= PUBLISH_ENTRIES {
                        self.publish(tiling)?;
                    }
                }
                (FrameKind::Close, _) => {}
            }
        }
        if tiling.reader.position() < until || tiling.tiles.frontier().size() < task.size {
            return Err(TilerError::OtherTree);
        }
        if interval_over || task.end != End::Open || task.wanted > tiling.published {
            self.publish(tiling)?;
        }
        let size = tiling.tiles.frontier().size();
        let bytes = tiling.tiles.bytes().saturating_sub(tiling.sealed_bytes);
        let old = interval_over && tiling.sealed_at.elapsed() >= SEAL_INTERVAL;
        // at the end too, so that a log at rest has no partial tiles but its last, of this process or an earlier one
        let asked = task.end != End::Open || task.seal > tiling.sealed;
        if size > tiling.sealed && (bytes >= SEAL_BYTES || old || asked) {
            tiling.sealing = true;
            // no segment is given up before a published signature covers it: opening accepts nothing else of tiles
            self.publish(tiling)?;
            tiling.tiles.sync()?;
            tiling.tiles.drop_partials(tiling.published)?;
            tiling.follow.keeper.release(size).map_err(TilerError::Release)?;
            // not before: what failed on the way is tried again, and told until it is done
            tiling.sealed = size;
            tiling.sealed_bytes = tiling.tiles.bytes();
            tiling.sealed_at = Instant::now();
            tiling.sealing = false;
            self.disk.set_failing(false);
            tiling.follow.sealed(size);
        }
        for job in tiling.follow.take_jobs() {
            self.work_off(tiling, job);
        }
        Ok(())
    }

    /// Does what was asked for; whoever asked is told how it went.
    fn work_off(&self, tiling: &Tiling, job: Job) {
        let keeper = &tiling.follow.keeper;
        match job {
            Job::Release(size, answer) => {
                let released = keeper.release(size.min(tiling.sealed)).and_then(|()| keeper.wipe_spares());
                let _ = answer.send(released.map_err(OpenError::io(&tiling.follow.directory)));
            }
            Job::Remove(removal, size, answer) => {
                let (storage, directory) = (&self.storage, &tiling.follow.directory);
                let removed = match removal {
                    Removal::Redact(index) => redact(storage, directory, &[index], size),
                    Removal::Prune(below) => prune(storage, directory, below),
                };
                let _ = answer.send(removed.map(drop).map_err(removal_error));
            }
        }
    }

    /// Reads the write-ahead log again from its start, and writes everything again that no sync has covered: after an
    /// error nobody knows what of it is on the disk.
    fn begin_anew(&self, tiling: &mut Tiling) -> Result<(), TilerError> {
        let place = self.place(tiling);
        let reader = WalReader::open(place.storage.clone(), &place.wal_directory(), &place.origin)?;
        let tiles = TileWriter::open(place.storage.clone(), &place.directory, reader.start().size())?;
        if tiles.frontier() != reader.start() {
            return Err(TilerError::OtherTree);
        }
        tiling.sealed_bytes = tiles.bytes();
        (tiling.reader, tiling.tiles, tiling.note) = (reader, tiles, None);
        tiling.stale = false;
        Ok(())
    }

    fn place(&self, tiling: &Tiling) -> Place {
        Place {
            storage: Arc::clone(&self.storage),
            directory: tiling.follow.directory.clone(),
            origin: Arc::clone(&tiling.follow.origin),
        }
    }

    /// Publishes the note that was read last, if it is newer than the published one: first the tiles that it needs,
    /// then the note, then the mark below which the log must never be seen again.
    fn publish(&self, tiling: &mut Tiling) -> Result<(), TilerError> {
        let Some((note, size)) = &tiling.note else { return Ok(()) };
        if *size <= tiling.published {
            return Ok(());
        }
        let tree = tiling.tiles.frontier();
        let expected = Checkpoint::new(tiling.follow.origin.to_string(), tree.size(), tree.root());
        let signed = UnverifiedNote::parse(note).and_then(|note| Checkpoint::parse(note.text()));
        if signed != Ok(expected) {
            return Err(TilerError::OtherTree);
        }
        tiling.tiles.write_partials()?;
        let path = tiling.follow.directory.join(CHECKPOINT_FILE);
        replace_file(&*self.storage, &path, note, true).map_err(TilerError::Checkpoint)?;
        self.private.set_high_water(note).map_err(TilerError::Mark)?;
        if !tiling.sealing {
            self.disk.set_failing(false);
        }
        tiling.follow.published(*size, note);
        tiling.published = *size;
        Ok(())
    }
}

fn after(interval: Duration) -> Instant {
    let now = Instant::now();
    // an interval without end publishes all the time rather than never
    now.checked_add(interval).unwrap_or(now)
}
