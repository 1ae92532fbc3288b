//! The reader's side: recovery, and following the writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{Check, END_MARK, FRAME_HEADER_BYTES, FrameHeader, MAX_BODY_BYTES};
use super::segment::{FIRST_FRAME, Segment, list, segment_name, segment_numbers};
use super::{FrameKind, OwnedFrame, WalError, WalPosition};
use crate::evidence::merkle::Frontier;
use crate::evidence::storage::{Storage, child};

/// Read at once.
const READ_BYTES: usize = 1 << 20;
/// The longest frame in bytes.
const MAX_FRAME_BYTES: usize = FRAME_HEADER_BYTES + MAX_BODY_BYTES;
/// How often the first segment is looked for again that a writer released just now.
const OPEN_ATTEMPTS: usize = 5;

/// Reads frames in order, from the first segment there is; read only, also while a writer is at work (give it `until`).
///
/// It holds a buffer of about 1 MiB, whatever the files say.
#[derive(Debug)]
pub(crate) struct WalReader {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    start: Frontier,
    segment: Segment,
    /// Where the next frame begins in the segment.
    offset: u64,
    /// Of the last frame of this segment, zeros before the first.
    check: Check,
    /// Entries of the log up to here.
    size: u64,
    buffer: Buffer,
    /// What was found behind the last whole frame, and where.
    tail: Option<(WalPosition, Tail)>,
}

/// A window of the segment, which begins at the reader's offset.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What stands behind the last whole frame of the last segment.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// What stands where the next frame would begin.
    mark: [u8; FRAME_HEADER_BYTES],
    torn_bytes: u64,
}

impl WalReader {
    /// Opens the write-ahead log in `directory` of the log `origin`. Where there is none this is `NotFound`.
    ///
    /// The oldest segments may be missing, since the writer releases them: it is for the caller to see that
    /// [`start`](Self::start) is not behind what he has.
    pub(crate) fn open(storage: Arc<dyn Storage>, directory: &Path, origin: &str) -> Result<Self, WalError> {
        let mut attempt = 0_usize;
        loop {
            let numbers = segment_numbers(&list(&*storage, directory)?);
            let newest = *numbers.last().ok_or_else(not_found)?;
            attempt = attempt.saturating_add(1);
            let segment = match Self::open_first(&*storage, directory, origin, &numbers, newest) {
                // a writer releases segments, the oldest first
                Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound && attempt < OPEN_ATTEMPTS => {
                    continue;
                }
                other => other?,
            };
            let start = segment.header.start.clone();
            return Ok(Self {
                storage,
                directory: directory.to_owned(),
                size: start.size(),
                start,
                segment,
                offset: FIRST_FRAME,
                check: Check::default(),
                buffer: Buffer::default(),
                tail: None,
            });
        }
    }

    fn open_first(
        storage: &dyn Storage,
        directory: &Path,
        origin: &str,
        numbers: &[u64],
        newest: u64,
    ) -> Result<Segment, WalError> {
        let run = Segment::open(storage, directory, newest, origin)?.header.run;
        let of_run: Vec<u64> = numbers.iter().copied().filter(|number| *number >= run).collect();
        let oldest = *of_run.first().ok_or_else(not_found)?;
        if let Some((missing, _)) = (oldest..=newest).zip(&of_run).find(|(expected, found)| expected != *found) {
            let path = child(directory, &segment_name(missing));
            return Err(WalError::Damaged { path, offset: 0, what: "a segment is missing" });
        }
        let segment = Segment::open(storage, directory, oldest, origin)?;
        if segment.header.run != run {
            return Err(WalError::Damaged { path: segment.path, offset: 0, what: "a segment of another run" });
        }
        Ok(segment)
    }

    /// The tree before the first frame that will be read: what the header of the first segment says.
    pub(crate) fn start(&self) -> &Frontier {
        &self.start
    }

    /// The next whole frame before `until` (`None`: to the end); `Ok(None)` at the end, which may be a torn batch.
    /// Asked again after more was written, it goes on.
    ///
    /// A broken frame is [`WalError::Damaged`] when a sync had confirmed it: it stands before `until`, or a later segment
    /// exists, or a whole frame behind it says that everything before was synced when it was written, or two commits stand
    /// behind it, of which the second was written after the sync of the first. Otherwise it is what a crash left of the last
    /// write: a disk may store the end of a write and lose its beginning, so whole frames behind a broken one are no damage
    /// by themselves. They are given up; nobody was told that they are durable.
    pub(crate) fn next(&mut self, until: Option<WalPosition>) -> Result<Option<OwnedFrame>, WalError> {
        let Some(until) = until else { return self.next_to_the_end() };
        loop {
            if self.position() >= until {
                return Ok(None);
            }
            let here = until.segment == self.segment.header.number;
            let limit = if here { until.offset } else { u64::MAX };
            if let Some(frame) = self.whole_frame(limit)? {
                return Ok(Some(frame));
            }
            // the buffer may be older than what was written since
            if let Some(frame) = self.whole_frame_afresh(limit)? {
                return Ok(Some(frame));
            }
            if here {
                return Err(self.damaged("a broken frame that had been written whole"));
            }
            let Some(next) = self.open_next()? else { return Err(self.damaged("no segment behind this one")) };
            self.enter(next)?;
        }
    }

    fn next_to_the_end(&mut self) -> Result<Option<OwnedFrame>, WalError> {
        loop {
            if let Some(frame) = self.whole_frame(u64::MAX)? {
                return Ok(Some(frame));
            }
            // looked for first: once it is there, what is read of this one is final
            let next = self.open_next()?;
            if let Some(frame) = self.whole_frame_afresh(u64::MAX)? {
                return Ok(Some(frame));
            }
            if let Some(next) = next {
                self.enter(next)?;
                continue;
            }
            let mark = self.mark()?;
            if self.tail.is_some_and(|(at, tail)| at == self.position() && tail.mark == mark) {
                return Ok(None);
            }
            let Some(torn_bytes) = self.scan_tail(mark)? else {
                // a writer may have written both since we looked; the earlier first
                if let Some(frame) = self.whole_frame_afresh(u64::MAX)? {
                    return Ok(Some(frame));
                }
                return Err(self.damaged("a broken frame that a sync had confirmed"));
            };
            self.tail = Some((self.position(), Tail { mark, torn_bytes }));
            return Ok(None);
        }
    }

    /// The place behind the last frame that was read.
    pub(crate) fn position(&self) -> WalPosition {
        WalPosition { segment: self.segment.header.number, offset: self.offset }
    }

    /// Entries of the log up to [`position`](Self::position).
    #[cfg(test)]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes behind the last whole frame a crash tore, at least: what was written there before is not always
    /// told from what was not written. To be asked at the end.
    pub(crate) fn torn_bytes(&mut self) -> Result<u64, WalError> {
        if let Some((at, tail)) = self.tail
            && at == self.position()
        {
            return Ok(tail.torn_bytes);
        }
        let mark = self.mark()?;
        Ok(self.scan_tail(mark)?.unwrap_or(0))
    }

    /// The frame at the cursor, when it is whole and ends at `limit` or before.
    fn whole_frame(&mut self, limit: u64) -> Result<Option<OwnedFrame>, WalError> {
        let limit = limit.min(self.segment.header.bytes);
        self.fill(FRAME_HEADER_BYTES, limit)?;
        let Some(header) = FrameHeader::parse(self.buffer.bytes()) else { return Ok(None) };
        self.fill(header.frame_bytes(), limit)?;
        let Some(body) = self.buffer.bytes().get(FRAME_HEADER_BYTES..header.frame_bytes()) else { return Ok(None) };
        let Some(digest) = header.verify(&self.segment.header.seed, body) else { return Ok(None) };
        let body = body.to_vec();
        self.buffer.consume(header.frame_bytes());
        self.offset = self.offset.saturating_add(u64::try_from(header.frame_bytes()).unwrap_or(u64::MAX));
        self.check = header.check();
        let is_entry = header.kind == FrameKind::Entry;
        if is_entry {
            self.size = self.size.saturating_add(1);
        }
        Ok(Some(OwnedFrame { kind: header.kind, body, leaf: is_entry.then_some(digest), end: self.position() }))
    }

    fn whole_frame_afresh(&mut self, limit: u64) -> Result<Option<OwnedFrame>, WalError> {
        self.buffer.clear();
        self.whole_frame(limit)
    }

    /// What stands at the cursor; zeros behind the last frame that was written.
    fn mark(&mut self) -> Result<[u8; FRAME_HEADER_BYTES], WalError> {
        let mut mark = END_MARK;
        self.segment.file.read_at(self.offset, &mut mark)?;
        Ok(mark)
    }

    /// Reads until the buffer has `wanted` bytes or the segment (or `limit`) ends.
    fn fill(&mut self, wanted: usize, limit: u64) -> Result<(), WalError> {
        let have = self.buffer.bytes().len();
        if have >= wanted {
            return Ok(());
        }
        let at = self.offset.saturating_add(u64::try_from(have).unwrap_or(u64::MAX));
        let left = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let file = &self.segment.file;
        self.buffer.append(left.min(READ_BYTES), |space| file.read_at(at, space))?;
        Ok(())
    }

    fn open_next(&self) -> Result<Option<Segment>, WalError> {
        let Some(number) = self.segment.header.number.checked_add(1) else { return Ok(None) };
        match Segment::open(&*self.storage, &self.directory, number, &self.segment.header.origin) {
            Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(next) if next.header.run != self.segment.header.run => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the log was recovered meanwhile and must be read anew")
                    .into())
            }
            other => other.map(Some),
        }
    }

    /// Goes over to `next`, when this segment was read to the end that `next` knows of.
    fn enter(&mut self, next: Segment) -> Result<(), WalError> {
        if (next.header.previous_end, next.header.previous_check) != (self.offset, self.check) {
            return Err(self.damaged("frames are missing before the next segment"));
        }
        if next.header.start.size() != self.size {
            return Err(self.damaged("the next segment begins with another entry"));
        }
        self.segment = next;
        self.offset = FIRST_FRAME;
        self.check = Check::default();
        self.buffer.clear();
        Ok(())
    }

    /// Looks through everything behind the broken frame at the cursor. `None`: there is a whole frame which says that
    /// everything before it was synced, or there are two whole commits. Otherwise how many bytes are torn, at least.
    fn scan_tail(&self, mark: [u8; FRAME_HEADER_BYTES]) -> Result<Option<u64>, WalError> {
        let end = self.segment.header.bytes;
        let mut torn_to = self.offset;
        if mark != END_MARK {
            let plausible = FrameHeader::parse(&mark).map_or(FRAME_HEADER_BYTES, |header| header.frame_bytes());
            torn_to = torn_to.saturating_add(u64::try_from(plausible).unwrap_or(u64::MAX)).min(end);
        }
        // a frame of an earlier use costs one hash; what costs more was made to keep us busy
        let rest = end.saturating_sub(self.offset);
        let mut budget = rest.saturating_mul(2).saturating_add(1 << 20);
        let mut block = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(READ_BYTES + MAX_FRAME_BYTES)];
        let mut at = self.offset;
        let mut commits = 0_u32;
        while at < end {
            let read = self.segment.file.read_at(at, &mut block)?;
            let bytes = block.get(..read).unwrap_or_default();
            // frames that begin behind this are looked at in the next round, when they are in the block to their end
            let starts = if read < block.len() || read <= MAX_FRAME_BYTES { read } else { READ_BYTES.min(read) };
            let windows =
                bytes.windows(5).enumerate().take(starts).filter(|(_, window)| FrameHeader::may_begin(window));
            for (index, _) in windows {
                let place = at.saturating_add(u64::try_from(index).unwrap_or(u64::MAX));
                let frame = bytes.get(index..).unwrap_or_default();
                let Some(header) = FrameHeader::parse(frame) else { continue };
                let Some(body) = frame.get(FRAME_HEADER_BYTES..header.frame_bytes()) else { continue };
                if place == self.offset {
                    continue;
                }
                let cost = u64::try_from(header.frame_bytes()).unwrap_or(u64::MAX);
                budget = budget.checked_sub(cost).ok_or_else(|| self.damaged("frames inside each other"))?;
                if header.verify(&self.segment.header.seed, body).is_some() {
                    commits = commits.saturating_add(u32::from(header.kind == FrameKind::Commit));
                    if header.after_sync || commits > 1 {
                        return Ok(None);
                    }
                    torn_to = torn_to.max(place.saturating_add(cost)).min(end);
                }
            }
            if starts == 0 {
                break;
            }
            at = at.saturating_add(u64::try_from(starts).unwrap_or(u64::MAX));
        }
        Ok(Some(torn_to.saturating_sub(self.offset)))
    }

    /// Damage at the cursor; or, when the segment no longer stands there, that it was released meanwhile.
    fn damaged(&self, what: &'static str) -> WalError {
        match self.segment.file.is_still_at(&self.segment.path) {
            Ok(true) => WalError::Damaged { path: self.segment.path.clone(), offset: self.offset, what },
            Ok(false) => {
                io::Error::new(io::ErrorKind::NotFound, "the segment was released or removed meanwhile").into()
            }
            Err(error) => error.into(),
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Appends what `read` puts into at most `count` bytes.
    fn append(&mut self, count: usize, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        let space = self.end.saturating_add(count);
        if self.bytes.len() < space {
            self.bytes.resize(space, 0);
        }
        let read = read(self.bytes.get_mut(self.end..space).unwrap_or_default())?;
        self.end = self.end.saturating_add(read).min(space);
        Ok(())
    }
}
