#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

mod crash;
mod damage;
mod segments;
mod speed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::evidence::merkle::Frontier;
use crate::evidence::storage::sim::SimDisk;
use crate::evidence::storage::{FsStorage, Storage};

const ORIGIN: &str = "log.example/main/1";
const DIRECTORY: &str = "/wal";
const OPTIONS: WalOptions = WalOptions { first_segment: 128 << 10, max_segment: 256 << 10, spare_segments: 2 };

/// A writer, and all frames that were given to it since the log began.
struct Log {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    wal: WalWriter,
    frames: Vec<(FrameKind, Vec<u8>)>,
    frontier: Frontier,
}

impl Log {
    fn create(storage: Arc<dyn Storage>, directory: &Path) -> Result<Self, WalError> {
        let wal = WalWriter::create(Arc::clone(&storage), directory, ORIGIN, &Frontier::new(), OPTIONS)?;
        Ok(Self { storage, directory: directory.to_owned(), wal, frames: Vec::new(), frontier: Frontier::new() })
    }

    fn on(disk: &SimDisk) -> Self {
        Self::create(Arc::new(disk.clone()), Path::new(DIRECTORY)).unwrap()
    }

    /// Goes on with the log whose frames are `frames`; those of the first `durable` entries are no longer needed.
    fn resume(
        storage: Arc<dyn Storage>,
        directory: &Path,
        frames: Vec<(FrameKind, Vec<u8>)>,
        durable: u64,
    ) -> Result<Self, WalError> {
        let start = frontier_of(&frames, durable);
        let tail: Vec<_> = frames[index_behind(&frames, durable)..].iter().map(owned).collect();
        let wal = WalWriter::resume(Arc::clone(&storage), directory, ORIGIN, &start, &tail, OPTIONS)?;
        let frontier = frontier_of(&frames, u64::MAX);
        Ok(Self { storage, directory: directory.to_owned(), wal, frames, frontier })
    }

    fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Writes a batch of entries of these lengths (or a little more), with a commit behind them if the one before is synced.
    fn write(&mut self, lengths: &[usize]) -> io::Result<WalPosition> {
        for length in lengths {
            assert!(self.wal.room(&self.frontier)? >= *length);
            let mut entry = format!("{{\"seq\":{},\"pad\":\"", self.size()).into_bytes();
            entry.resize(entry.len().max(*length), b'x');
            let leaf = Hash::of_leaf(&entry);
            self.wal.push(FrameKind::Entry, &entry, Some(&leaf));
            self.frontier.push(leaf);
            self.frames.push((FrameKind::Entry, entry));
        }
        if !self.wal.has_unsynced_commit() {
            let commit = format!("tree of {}", self.size()).into_bytes();
            self.wal.push(FrameKind::Commit, &commit, None);
            self.frames.push((FrameKind::Commit, commit));
        }
        self.wal.write()
    }

    fn commit(&mut self, lengths: &[usize]) -> io::Result<WalPosition> {
        let end = self.write(lengths)?;
        self.wal.sync().map(|()| end)
    }

    fn reader(&self) -> WalReader {
        WalReader::open(Arc::clone(&self.storage), &self.directory, ORIGIN).unwrap()
    }
}

fn owned((kind, body): &(FrameKind, Vec<u8>)) -> OwnedFrame {
    OwnedFrame { kind: *kind, body: body.clone(), leaf: None, end: WalPosition { segment: 0, offset: 0 } }
}

fn size_of(frames: &[(FrameKind, Vec<u8>)]) -> u64 {
    u64::try_from(frames.iter().filter(|(kind, _)| *kind == FrameKind::Entry).count()).unwrap()
}

/// Where the frames begin that stand behind the first `size` entries.
fn index_behind(frames: &[(FrameKind, Vec<u8>)], size: u64) -> usize {
    if size == 0 {
        return 0;
    }
    let entries = frames.iter().enumerate().filter(|(_, (kind, _))| *kind == FrameKind::Entry);
    entries.map(|(index, _)| index + 1).nth(usize::try_from(size - 1).unwrap()).unwrap()
}

/// The tree of the first `size` entries, or of all.
fn frontier_of(frames: &[(FrameKind, Vec<u8>)], size: u64) -> Frontier {
    let mut frontier = Frontier::new();
    for (_, body) in frames.iter().filter(|(kind, _)| *kind == FrameKind::Entry) {
        if frontier.size() < size {
            frontier.push(Hash::of_leaf(body));
        }
    }
    frontier
}

/// What a reader finds: the size of the tree before, and the frames.
fn read(storage: Arc<dyn Storage>, directory: &Path) -> Result<(Frontier, Vec<OwnedFrame>), WalError> {
    let mut reader = WalReader::open(storage, directory, ORIGIN)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next(None)? {
        assert_eq!(frame.leaf, (frame.kind == FrameKind::Entry).then(|| Hash::of_leaf(&frame.body)));
        frames.push(frame);
    }
    Ok((reader.start().clone(), frames))
}

fn read_disk(disk: &SimDisk) -> Result<(Frontier, Vec<OwnedFrame>), WalError> {
    read(Arc::new(disk.clone()), Path::new(DIRECTORY))
}

/// The frames of `written` that a reader has found, which must be those behind some entry, in order and without a gap;
/// `confirmed` of them and `durable` entries must be there.
fn check_found(
    written: &[(FrameKind, Vec<u8>)],
    confirmed: usize,
    durable: u64,
    (start, found): &(Frontier, Vec<OwnedFrame>),
) -> Vec<(FrameKind, Vec<u8>)> {
    assert!(start.size() <= durable, "entries are missing that no tile has");
    let mut first = index_behind(written, start.size());
    // a segment begins behind the commit of its last entry, a tail that was copied before it
    while found.first().is_none_or(|frame| frame.kind == FrameKind::Entry)
        && written.get(first).is_some_and(|(kind, _)| *kind != FrameKind::Entry)
    {
        first += 1;
    }
    assert_eq!(*start, frontier_of(written, start.size()));
    let end = first + found.len();
    assert!(end >= confirmed, "{end} of {confirmed} confirmed frames");
    for (found, written) in found.iter().zip(&written[first..]) {
        assert!((found.kind, &found.body) == (written.0, &written.1), "a frame that was not written there");
    }
    written[..end].to_vec()
}

#[test]
fn what_was_written_is_read_across_segments() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join(".state/wal");
    let mut log = Log::create(Arc::new(FsStorage), &directory).unwrap();
    for round in 0..40 {
        log.commit(&[600, 20_000, 1 + round]).unwrap();
    }
    log.wal.push(FrameKind::Close, b"", None);
    log.frames.push((FrameKind::Close, Vec::new()));
    let end = log.wal.write().unwrap();
    let found = read(Arc::new(FsStorage), &directory).unwrap();
    assert_eq!(check_found(&log.frames, log.frames.len(), 0, &found), log.frames);
    assert_eq!(found.1.last().unwrap().end, end);
    assert!(end.segment > 4);
}

#[test]
fn a_follower_reads_up_to_where_it_may() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let mut reader = log.reader();
    let mut seen = 0;
    let mut allowed = reader.position();
    for round in 0..60 {
        let end = log.write(&[9000, 60, 3000]).unwrap();
        if round % 3 == 0 {
            continue;
        }
        while let Some(frame) = reader.next(Some(allowed)).unwrap() {
            assert_eq!((frame.kind, frame.body), log.frames[seen]);
            seen += 1;
        }
        assert_eq!(reader.position(), allowed);
        allowed = end;
    }
    assert!(seen > 150 && allowed.segment > 2);
    assert_eq!(reader.size(), size_of(&log.frames[..seen]));
}

#[test]
fn a_reader_that_came_to_the_end_goes_on_when_more_was_written() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let mut reader = log.reader();
    let mut seen = 0;
    for _ in 0..30 {
        assert!(reader.next(None).unwrap().is_none());
        assert_eq!(reader.torn_bytes().unwrap(), 0);
        log.write(&[20_000, 1]).unwrap();
        while let Some(frame) = reader.next(None).unwrap() {
            assert_eq!((frame.kind, frame.body), log.frames[seen]);
            seen += 1;
        }
        assert_eq!(seen, log.frames.len());
    }
    assert!(reader.position().segment > 2);
}

#[test]
fn room_is_what_fits_before_the_commit() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let entry = vec![b'x'; 65_535];
    let largest = Frontier::new();
    for _ in 0..10 {
        assert!(log.wal.room(&largest).unwrap() >= entry.len(), "an empty batch has room for any entry");
        log.wal.push(FrameKind::Entry, &entry, None);
        let left = log.wal.room(&largest).unwrap();
        log.wal.push(FrameKind::Entry, &entry[..left.min(entry.len())], None);
        log.wal.push(FrameKind::Commit, &entry[..writer::MAX_COMMIT_BYTES], None);
        log.wal.push(FrameKind::Close, b"", None);
        log.wal.write().unwrap();
        log.wal.sync().unwrap();
    }
    // one byte more than the reserve
    log.wal.room(&largest).unwrap();
    for _ in 0..5 {
        log.wal.push(FrameKind::Entry, &entry, None);
    }
    assert_eq!(log.wal.write().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(log.wal.room(&largest).is_err() && log.wal.write().is_err() && log.wal.sync().is_err());
}

#[test]
fn a_body_that_is_too_long_is_not_written() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    log.wal.push(FrameKind::Entry, &vec![b'x'; 65_536], None);
    assert!(log.wal.write().is_err());
    assert!(read_disk(&disk).unwrap().1.is_empty());
}
