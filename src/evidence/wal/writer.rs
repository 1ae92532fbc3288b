//! The writer's side.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{Check, END_MARK, FRAME_HEADER_BYTES, Seed, write_frame};
use super::pool::{Pool, Spare, fill_with_zeros, no_number_left};
use super::segment::{FIRST_FRAME, Header, MAX_ORIGIN_BYTES, Segment, list, segment_numbers};
use super::{FrameKind, OwnedFrame, WalError, WalKeeper, WalOptions, WalPosition};
use crate::evidence::MAX_ENTRY_BYTES;
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::storage::{Storage, StorageFile, parent_of};

/// Longest commit in bytes: a checkpoint with the longest origin is 1.2 KB, a signature of it about as much, and one that
/// resists quantum computers 4.6 KB.
pub(super) const MAX_COMMIT_BYTES: usize = 8 * 1024;
/// Kept free behind the entries of a batch: for its commit, a frame that closes the log, and the mark behind the last one.
const RESERVED_BYTES: usize = MAX_COMMIT_BYTES + 4 * FRAME_HEADER_BYTES;
/// Buffer of the batch that is kept; a rare huge batch does not hold its memory for ever.
const RETAINED_BATCH_BYTES: usize = 4 << 20;
/// Written at once when a tail is copied.
const COPY_BYTES: usize = 1 << 20;

/// The writer's side. It never writes to a byte that a sync has confirmed.
#[derive(Debug)]
pub(crate) struct WalWriter {
    origin: String,
    pool: Arc<Pool>,
    current: Current,
    /// Frames not yet written.
    batch: Vec<u8>,
    /// Something was written that no sync has covered.
    unsynced: bool,
    /// A commit is among it, or in the batch.
    unsynced_commit: bool,
    /// Why nothing more is written.
    failed: Option<&'static str>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    opened: Arc<Opened>,
    number: u64,
    run: u64,
    seed: Seed,
    /// Where the next batch goes.
    end: u64,
    /// Of the last frame.
    check: Check,
}

/// The file of a segment.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: Box<dyn StorageFile>,
    bytes: u64,
}

impl Opened {
    /// A file that was removed or cut would go on taking records that nobody ever finds: looked at before the first write
    /// behind a sync, and before each sync.
    fn look(&self) -> io::Result<()> {
        match self.file.length_at(&self.path)? {
            None => Err(io::Error::other("the segment was removed or replaced")),
            Some(length) if length != self.bytes => Err(io::Error::other("the segment was changed by somebody else")),
            Some(_) => Ok(()),
        }
    }
}

/// What was written up to a place and is to be synced. The sync needs no writer, so it keeps nobody from writing on.
#[derive(Debug)]
pub(crate) struct WalSync {
    opened: Arc<Opened>,
    end: u64,
    covers_commit: bool,
}

impl WalSync {
    /// Makes what was written durable (fdatasync). Whatever comes of it is to be [told](WalWriter::end_sync) the writer.
    pub(crate) fn run(&self) -> io::Result<()> {
        self.opened.look()?;
        self.opened.file.sync_data()
    }
}

impl WalWriter {
    /// Makes the write-ahead log of a new log in `directory`, which is empty or missing, beginning with `start`. What an
    /// earlier call left that did not end is no obstacle, unless it came as far as the first segment: then this is
    /// `AlreadyExists`.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        directory: &Path,
        origin: &str,
        start: &Frontier,
        options: WalOptions,
    ) -> Result<Self, WalError> {
        if !segment_numbers(&list(&*storage, directory)?).is_empty() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        Self::begin_run(storage, directory, origin, start, &[], options)
    }

    /// Goes on behind everything that [`WalReader`](super::WalReader) found whole, in a *new* file that begins with
    /// `tail_start` and holds `tail` from the first moment on: what a failed sync left in the page cache only is thus never
    /// taken for durable.
    ///
    /// `tail` are the frames behind the first `tail_start` entries, and no other. Where these are the frames of the last
    /// segment, a copy takes its place and the segments before it stay, which were synced before it was begun. Otherwise
    /// durable tiles hold everything before, and all segments before become spare ones. A crash in between leaves the
    /// old segments as the log, or the new one with all of `tail`; never a part of it.
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        directory: &Path,
        origin: &str,
        tail_start: &Frontier,
        tail: &[OwnedFrame],
        options: WalOptions,
    ) -> Result<Self, WalError> {
        let numbers = segment_numbers(&list(&*storage, directory)?);
        let last = numbers.last().map(|last| Segment::open(&*storage, directory, *last, origin)).transpose()?;
        let of_last = |header: &Header| {
            header.start == *tail_start && tail.iter().all(|frame| frame.end.segment == header.number)
        };
        match last.map(|segment| segment.header).filter(of_last) {
            Some(header) => Self::replace_last(&storage, directory, header, &numbers, tail, options),
            None => Self::begin_run(storage, directory, origin, tail_start, tail, options),
        }
    }

    /// Puts a copy with `tail` in the place of the last segment, whose header is `last`.
    fn replace_last(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        last: Header,
        numbers: &[u64],
        tail: &[OwnedFrame],
        options: WalOptions,
    ) -> Result<Self, WalError> {
        let pool = Pool::open(Arc::clone(storage), directory, options)?;
        let mut headers = Vec::new();
        for number in numbers.iter().filter(|number| (last.run..last.number).contains(*number)) {
            headers.push(Segment::open(&**storage, directory, *number, &last.origin)?.header);
        }
        // the header of a segment says where the one before ends
        let ends = headers.iter().skip(1).chain([&last]).map(|next| next.previous_end);
        let ends: Vec<u64> = ends.collect();
        for (header, end) in headers.iter().zip(ends) {
            pool.keep(header, end);
        }
        let needed = FIRST_FRAME.saturating_add(tail_bytes(tail)).saturating_add(room_for_one());
        let spare = pool.take(needed.max(pool.first_segment()).next_multiple_of(4096))?;
        let header = Header { bytes: spare.bytes, seed: new_seed()?, ..last };
        let writer = Self::begin_with(pool, &spare, header, tail)?;
        for number in numbers.iter().filter(|number| **number < writer.current.run) {
            writer.pool.retire_old(*number)?;
        }
        Ok(writer)
    }

    fn begin_run(
        storage: Arc<dyn Storage>,
        directory: &Path,
        origin: &str,
        start: &Frontier,
        tail: &[OwnedFrame],
        options: WalOptions,
    ) -> Result<Self, WalError> {
        if origin.len() > MAX_ORIGIN_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the origin is too long").into());
        }
        let parent = parent_of(directory);
        for made in [parent, directory] {
            storage.create_dir(made)?;
            storage.sync_dir(parent_of(made))?;
        }
        let superseded = segment_numbers(&list(&*storage, directory)?);
        let number = superseded.last().map_or(Some(1), |last| last.checked_add(1)).ok_or_else(no_number_left)?;
        let pool = Pool::open(storage, directory, options)?;

        // room for as much again, and whole pages
        let least = FIRST_FRAME.saturating_add(tail_bytes(tail).saturating_mul(2)).saturating_add(room_for_one());
        let spare = pool.take(least.max(pool.first_segment()).next_multiple_of(4096))?;
        let header = Header {
            number,
            run: number,
            bytes: spare.bytes,
            seed: new_seed()?,
            previous_end: 0,
            previous_check: Check::default(),
            origin: origin.to_owned(),
            start: start.clone(),
        };
        let writer = Self::begin_with(pool, &spare, header, tail)?;
        for number in superseded {
            writer.pool.retire_old(number)?;
        }
        Ok(writer)
    }

    /// Begins a segment that holds `tail` before it has its name.
    fn begin_with(pool: Arc<Pool>, spare: &Spare, header: Header, tail: &[OwnedFrame]) -> Result<Self, WalError> {
        let mut check = Check::default();
        let mut too_long = false;
        let mut rest = tail.iter().peekable();
        let blocks = std::iter::from_fn(|| {
            rest.peek()?;
            let mut block = Vec::with_capacity(COPY_BYTES.saturating_add(MAX_ENTRY_BYTES));
            while let Some(frame) = rest.next_if(|_| block.len() < COPY_BYTES) {
                match write_frame(&mut block, &header.seed, (frame.kind, false), &frame.body, frame.leaf.as_ref()) {
                    Some(written) => check = written,
                    None => too_long = true,
                }
            }
            Some(block)
        });
        let (path, file, end) = pool.begin(spare, &header, blocks)?;
        if too_long {
            // no reader makes such a frame
            return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
        }
        let Header { number, run, bytes, seed, origin, .. } = header;
        let current = Current { opened: Arc::new(Opened { path, file, bytes }), number, run, seed, end, check };
        Ok(Self { origin, pool, current, batch: Vec::new(), unsynced: false, unsynced_commit: false, failed: None })
    }

    /// What keeps spare segments ready and releases old ones; for another thread.
    pub(crate) fn keeper(&self) -> WalKeeper {
        WalKeeper { pool: Arc::clone(&self.pool) }
    }

    /// How many bytes of entry still fit into the batch under construction before a commit must follow, so that the
    /// commit frame fits behind them: an entry as long as that may be pushed. It is [`MAX_ENTRY_BYTES`] or more for an
    /// empty batch, for which this moves to the next segment when little is left: that syncs what was written, and may
    /// fail like any write. A segment that must be *made* makes the caller wait; see [`WalKeeper::prepare_spares`].
    pub(crate) fn room(&mut self, next_frontier: &Frontier) -> io::Result<usize> {
        self.check_usable()?;
        if self.batch.is_empty() && self.room_left() < MAX_ENTRY_BYTES {
            self.next_segment(next_frontier).inspect_err(|_| self.failed = Some("no new segment could be begun"))?;
        }
        Ok(self.room_left())
    }

    /// Whether `count` entries of `bytes` together fit behind what was written without another segment.
    pub(crate) fn has_room(&self, count: usize, bytes: usize) -> bool {
        self.room_left() >= count.saturating_mul(FRAME_HEADER_BYTES).saturating_add(bytes)
    }

    /// Moves to the next segment now, so that the one before can be released once tiles have its entries. For an empty
    /// batch; syncs what was written, and may fail like any write.
    pub(crate) fn rotate(&mut self, next_frontier: &Frontier) -> io::Result<()> {
        self.check_usable()?;
        if !self.batch.is_empty() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        self.next_segment(next_frontier).inspect_err(|_| self.failed = Some("no new segment could be begun"))
    }

    fn room_left(&self) -> usize {
        let left = usize::try_from(self.current.opened.bytes.saturating_sub(self.current.end)).unwrap_or(usize::MAX);
        left.saturating_sub(self.batch.len()).saturating_sub(RESERVED_BYTES).saturating_sub(FRAME_HEADER_BYTES)
    }

    fn next_segment(&mut self, start: &Frontier) -> io::Result<()> {
        self.sync()?;
        let number = self.current.number.checked_add(1).ok_or_else(no_number_left)?;
        let spare = self.pool.take(FIRST_FRAME.saturating_add(room_for_one()))?;
        let seed = new_seed()?;
        let header = Header {
            number,
            run: self.current.run,
            bytes: spare.bytes,
            seed,
            previous_end: self.current.end,
            previous_check: self.current.check,
            origin: self.origin.clone(),
            start: start.clone(),
        };
        let (path, file, end) = self.pool.begin(&spare, &header, std::iter::empty())?;
        let (run, check) = (self.current.run, Check::default());
        let opened = Arc::new(Opened { path, file, bytes: header.bytes });
        self.current = Current { opened, number, run, seed, end, check };
        Ok(())
    }

    /// Adds a frame to the batch in memory. A body longer than an entry may be makes the next [`write`](Self::write) fail;
    /// so does a commit before a sync covers the one before, since readers tell damage by that.
    ///
    /// `leaf` is the leaf hash of an entry, which saves making it here.
    pub(crate) fn push(&mut self, kind: FrameKind, body: &[u8], leaf: Option<&Hash>) {
        if kind == FrameKind::Commit && std::mem::replace(&mut self.unsynced_commit, true) {
            self.failed = Some("a commit came before the one before was synced");
        }
        let after_sync = self.batch.is_empty() && !self.unsynced;
        match write_frame(&mut self.batch, &self.current.seed, (kind, after_sync), body, leaf) {
            Some(check) => self.current.check = check,
            None => self.failed = Some("a frame was too long"),
        }
    }

    /// Writes the batch with one write(2). It survives a crash of the process from here on.
    ///
    /// Whoever reads up to the position that this returns finds the batch there. After an error the log must not be used
    /// again, and says so itself.
    pub(crate) fn write(&mut self) -> io::Result<WalPosition> {
        self.check_usable()?;
        if !self.batch.is_empty() {
            self.write_batch().inspect_err(|_| self.failed = Some("a write failed"))?;
        }
        Ok(WalPosition { segment: self.current.number, offset: self.current.end })
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let current = &mut self.current;
        let length = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        let end = current.end.saturating_add(length);
        self.batch.extend_from_slice(&END_MARK);
        if current.end.saturating_add(u64::try_from(self.batch.len()).unwrap_or(u64::MAX)) > current.opened.bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the batch is longer than the room for it"));
        }
        if !self.unsynced {
            current.opened.look()?;
        }
        self.unsynced = true;
        current.opened.file.write_at(current.end, &self.batch)?;
        current.end = end;
        self.batch.clear();
        self.batch.shrink_to(RETAINED_BATCH_BYTES);
        self.pool.set_used(end);
        Ok(())
    }

    /// Makes everything written durable (fdatasync). After an error the log must not be used again, and says so itself:
    /// the kernel may have dropped the pages, and a retry that succeeds would confirm bytes that are gone.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.check_usable()?;
        if self.unsynced {
            let sync = self.begin_sync();
            let synced = sync.run();
            self.end_sync(&sync, synced)?;
        }
        Ok(())
    }

    /// A [`sync`](Self::sync) that is done without this writer, which may write meanwhile but not begin another segment.
    pub(crate) fn begin_sync(&self) -> WalSync {
        let covers_commit = self.unsynced_commit;
        WalSync { opened: Arc::clone(&self.current.opened), end: self.current.end, covers_commit }
    }

    /// Takes note of how `sync` ended.
    pub(crate) fn end_sync(&mut self, sync: &WalSync, synced: io::Result<()>) -> io::Result<()> {
        synced.inspect_err(|_| self.failed = Some("a sync failed"))?;
        // what was written meanwhile is not covered, and the next frame must not say so
        self.unsynced = self.current.end != sync.end;
        self.unsynced_commit &= !sync.covers_commit;
        Ok(())
    }

    fn check_usable(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |reason| Err(io::Error::other(reason)))
    }

    /// Overwrites every spare segment and the rest of the current one with zeros, so that no entry that was redacted
    /// stays in them. Syncs what was written.
    pub(crate) fn wipe_spares(&mut self) -> io::Result<()> {
        self.check_usable()?;
        self.keeper().wipe_spares()?;
        let Current { opened, end, .. } = &self.current;
        fill_with_zeros(&*opened.file, *end, opened.bytes)
            .and_then(|()| opened.file.sync_data())
            .inspect_err(|_| self.failed = Some("a sync failed"))?;
        (self.unsynced, self.unsynced_commit) = (false, false);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) const fn has_unsynced_commit(&self) -> bool {
        self.unsynced_commit
    }
}

/// Bytes of these frames.
fn tail_bytes(tail: &[OwnedFrame]) -> u64 {
    tail.iter().fold(0_u64, |sum, frame| {
        let frame_bytes = frame.body.len().saturating_add(FRAME_HEADER_BYTES);
        sum.saturating_add(u64::try_from(frame_bytes).unwrap_or(u64::MAX))
    })
}

/// What a segment must have room for behind its header and its tail.
fn room_for_one() -> u64 {
    let bytes = MAX_ENTRY_BYTES.saturating_add(FRAME_HEADER_BYTES).saturating_add(RESERVED_BYTES);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn new_seed() -> io::Result<Seed> {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed).map_err(|_| io::Error::other("the operating system gives no randomness"))?;
    Ok(seed)
}
