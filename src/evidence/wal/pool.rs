//! The segments of a log: which ones hold entries, and which are spare.
//!
//! A spare segment is a file of its full length, written and synced, so that using it needs no room on the disk and no
//! journal of the file system at each sync. Making one of 64 MiB takes a tenth of a second and more; that is the work of
//! [`WalKeeper`], which lives with the thread that writes tiles. The writer itself only ever takes a spare segment, and
//! makes one only when there is none: two syncs, about a millisecond, once for each segment.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::WalOptions;
use super::frame::END_MARK;
use super::segment::{HEADER_BYTES, Header, list, segment_name, spare_name, spare_numbers};
use crate::evidence::storage::{Storage, StorageFile, TEMPORARY_SUFFIX, child};

/// Shortest segment in bytes: the header block, one entry of the greatest length, and a commit behind it.
pub(super) const MIN_SEGMENT_BYTES: u64 = 128 * 1024;
/// Longest spare segment in bytes that is taken over from an earlier process.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// How the names of spare segments end that were not made to their end.
const HALF_MADE_SUFFIX: &str = ".spare.tmp";
/// Written at once when a segment is filled with zeros. Linux keeps a file in memory in pieces as large as its writes were
/// and walks through a whole one for each small write, so pieces of a mebibyte make an entry cost twice as much as these.
const FILL_BYTES: usize = 64 << 10;

/// The segments of one log.
#[derive(Debug)]
pub(super) struct Pool {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    options: WalOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Segments that hold entries not yet released, oldest first; the last one is being written.
    live: VecDeque<Live>,
    spares: Vec<Spare>,
    next_spare: u64,
    /// Length of the next segment to be made.
    next_bytes: u64,
    /// A name could not be made durable: nothing more is released or recycled.
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    number: u64,
    /// Entries before the segment.
    start: u64,
    bytes: u64,
    /// Of these, how many are header and frames.
    used: u64,
}

/// A segment that is ready to be used, whatever it holds.
#[derive(Clone, Debug)]
pub(super) struct Spare {
    path: PathBuf,
    pub(super) bytes: u64,
}

impl Pool {
    /// Takes stock of `directory`, which exists, and removes what was half made.
    pub(super) fn open(storage: Arc<dyn Storage>, directory: &Path, options: WalOptions) -> io::Result<Arc<Self>> {
        let first_segment = options.first_segment.clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let max_segment = options.max_segment.clamp(first_segment, MAX_SEGMENT_BYTES);
        let options = WalOptions { first_segment, max_segment, ..options };
        let mut state = State { next_bytes: first_segment, ..State::default() };
        let names = list(&*storage, directory)?;
        for half_made in names.iter().filter(|name| name.ends_with(HALF_MADE_SUFFIX)) {
            storage.remove_file(&child(directory, half_made))?;
        }
        for number in spare_numbers(&names) {
            state.next_spare = number.checked_add(1).ok_or_else(no_number_left)?;
            let path = child(directory, &spare_name(number));
            // what cannot be opened, or is no file, is not used
            let Ok(bytes) = storage.open_read(&path).and_then(|file| file.len()) else { continue };
            if (MIN_SEGMENT_BYTES..=max_segment).contains(&bytes) {
                state.spares.push(Spare { path, bytes });
            } else {
                storage.remove_file(&path)?;
            }
        }
        Ok(Arc::new(Self { storage, directory: directory.to_owned(), options, state: Mutex::new(state) }))
    }

    /// A segment of at least `least` bytes, spare or made now.
    pub(super) fn take(&self, least: u64) -> io::Result<Spare> {
        let make = {
            let mut state = self.state();
            let spares = state.spares.iter().enumerate().filter(|(_, spare)| spare.bytes >= least);
            if let Some(index) = spares.max_by_key(|(_, spare)| spare.bytes).map(|(index, _)| index) {
                return Ok(state.spares.swap_remove(index));
            }
            state.next_bytes.max(least)
        };
        self.make(make)
    }

    /// Puts `spare` to use as the segment that `header` describes, with these frames in it. When this returns, the segment
    /// is durable, name and all; before, it is none.
    pub(super) fn begin(
        &self,
        spare: &Spare,
        header: &Header,
        frames: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<(PathBuf, Box<dyn StorageFile>, u64)> {
        let block = header.encode().ok_or(io::ErrorKind::InvalidInput)?;
        let file = self.storage.open(&spare.path)?;
        let mut end = 0_u64;
        for bytes in std::iter::once(block).chain(frames) {
            file.write_at(end, &bytes)?;
            end = end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        file.write_at(end, &END_MARK)?;
        file.sync_data()?;
        let path = child(&self.directory, &segment_name(header.number));
        self.storage.rename(&spare.path, &path)?;
        self.storage.sync_dir(&self.directory)?;
        let mut state = self.state();
        let live = Live { number: header.number, start: header.start.size(), bytes: header.bytes, used: end };
        state.live.push_back(live);
        state.next_bytes = state.next_bytes.saturating_mul(2).min(self.options.max_segment);
        Ok((path, file, end))
    }

    /// Takes over a segment that an earlier process made, which is used up to `end`.
    pub(super) fn keep(&self, header: &Header, end: u64) {
        let live = Live { number: header.number, start: header.start.size(), bytes: header.bytes, used: end };
        self.state().live.push_back(live);
    }

    /// Makes a spare segment of `bytes` bytes, filled with zeros and synced.
    fn make(&self, bytes: u64) -> io::Result<Spare> {
        let name = spare_name(self.next_spare_number()?);
        let path = child(&self.directory, &name);
        let temporary = child(&self.directory, &format!("{name}{TEMPORARY_SUFFIX}"));
        let file = self.storage.create_new(&temporary)?;
        let filled = fill_with_zeros(&*file, 0, bytes).and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = filled {
            // a full disk gets its room back; what cannot be removed now is removed by the next opening
            let _ = self.storage.remove_file(&temporary);
            return Err(error);
        }
        self.storage.rename(&temporary, &path)?;
        self.storage.sync_dir(&self.directory)?;
        Ok(Spare { path, bytes })
    }

    /// As [`retire`](Self::retire), for a segment that an earlier process made.
    pub(super) fn retire_old(&self, number: u64) -> io::Result<()> {
        let bytes = self.storage.open_read(&child(&self.directory, &segment_name(number)))?.len()?;
        self.retire(number, bytes)
    }

    /// Makes a spare segment of the segment `number`, which holds nothing that is needed, or removes it when there are
    /// enough. The names are synced before the next one changes: a crash never leaves a gap between two segments.
    pub(super) fn retire(&self, number: u64, bytes: u64) -> io::Result<()> {
        let path = child(&self.directory, &segment_name(number));
        let useful = {
            let state = self.state();
            let enough = state.spares.len() >= self.options.spare_segments;
            let fits = (MIN_SEGMENT_BYTES..=self.options.max_segment).contains(&bytes);
            fits && (!enough || state.spares.iter().any(|spare| spare.bytes < bytes))
        };
        if !useful {
            self.storage.remove_file(&path)?;
            return self.storage.sync_dir(&self.directory);
        }
        let spare = Spare { path: child(&self.directory, &spare_name(self.next_spare_number()?)), bytes };
        self.storage.rename(&path, &spare.path)?;
        self.storage.sync_dir(&self.directory)?;
        self.state().spares.push(spare);
        self.drop_surplus()
    }

    /// Removes the shortest spare segments above the number that is kept.
    fn drop_surplus(&self) -> io::Result<()> {
        loop {
            let surplus = {
                let mut state = self.state();
                if state.spares.len() <= self.options.spare_segments {
                    return Ok(());
                }
                let shortest = state.spares.iter().enumerate().min_by_key(|(_, spare)| spare.bytes);
                let Some(index) = shortest.map(|(index, _)| index) else { return Ok(()) };
                state.spares.swap_remove(index)
            };
            self.storage.remove_file(&surplus.path)?;
        }
    }

    fn next_spare_number(&self) -> io::Result<u64> {
        let mut state = self.state();
        let number = state.next_spare;
        state.next_spare = number.checked_add(1).ok_or_else(no_number_left)?;
        Ok(number)
    }

    /// Length of the first segment.
    pub(super) const fn first_segment(&self) -> u64 {
        self.options.first_segment
    }

    /// Says that the current segment is used up to `end`.
    pub(super) fn set_used(&self, end: u64) {
        if let Some(live) = self.state().live.back_mut() {
            live.used = end;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Overwrites the bytes `from..to`, unsynced.
pub(super) fn fill_with_zeros(file: &dyn StorageFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES.min(usize::try_from(to.saturating_sub(from)).unwrap_or(FILL_BYTES))];
    let mut at = from;
    while at < to {
        let rest = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
        let part = zeros.get(..rest.min(zeros.len())).unwrap_or_default();
        file.write_at(at, part)?;
        at = at.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

pub(super) fn no_number_left() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a segment has the greatest number there is")
}

/// Keeps segments ready and takes back those that are no longer needed, beside the writer and without making it wait: for
/// the thread that writes tiles.
#[derive(Clone, Debug)]
pub(crate) struct WalKeeper {
    pub(super) pool: Arc<Pool>,
}

impl WalKeeper {
    /// Gives up the segments that hold only entries below `size`: they become spare segments.
    ///
    /// After an error nothing is released any more, since a name may or may not have changed on the disk.
    pub(crate) fn release(&self, size: u64) -> io::Result<()> {
        loop {
            let oldest = {
                let mut state = self.pool.state();
                if state.failed {
                    return Err(io::Error::other("an earlier segment could not be released"));
                }
                let next_start = state.live.get(1).map(|next| next.start);
                if next_start.is_none_or(|start| start > size) {
                    return Ok(());
                }
                let Some(oldest) = state.live.pop_front() else { return Ok(()) };
                oldest
            };
            if let Err(error) = self.pool.retire(oldest.number, oldest.bytes) {
                let mut state = self.pool.state();
                state.failed = true;
                state.live.push_front(oldest);
                return Err(error);
            }
        }
    }

    /// Makes the spare segments that are missing, and longer ones in place of those that have become too short.
    ///
    /// An error (such as a full disk) harms nothing: the spare segments that there are stay, and the writer goes on with
    /// them.
    pub(crate) fn prepare_spares(&self) -> io::Result<()> {
        let wanted = self.pool.options.spare_segments;
        loop {
            let bytes = {
                let state = self.pool.state();
                let long_enough = state.spares.iter().filter(|spare| spare.bytes >= state.next_bytes).count();
                if long_enough >= wanted {
                    return Ok(());
                }
                state.next_bytes
            };
            let spare = self.pool.make(bytes)?;
            self.pool.state().spares.push(spare);
            self.pool.drop_surplus()?;
        }
    }

    /// How many spare segments are ready.
    #[cfg(test)]
    pub(crate) fn spares(&self) -> usize {
        self.pool.state().spares.len()
    }

    /// Overwrites every spare segment with zeros, so that no entry that was redacted stays in them.
    pub(crate) fn wipe_spares(&self) -> io::Result<()> {
        // taken out one by one, so that the writer does not get one that is being wiped
        let mut done = Vec::new();
        let result = loop {
            let Some(spare) = self.pool.state().spares.pop() else { break Ok(()) };
            let wiped = self.pool.storage.open(&spare.path).and_then(|file| {
                fill_with_zeros(&*file, 0, spare.bytes)?;
                file.sync_data()
            });
            if let Err(error) = wiped {
                break Err(error);
            }
            done.push(spare);
        };
        self.pool.state().spares.extend(done);
        result
    }

    /// Bytes of headers and frames in all segments that hold entries not yet released.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.pool.state().live.iter().fold(0, |sum, live| sum.saturating_add(live.used))
    }
}

const _: () = assert!(HEADER_BYTES < 1 << 16, "a segment of the shortest length has room for its header");
