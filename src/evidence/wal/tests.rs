#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::evidence::merkle::Frontier;
use crate::evidence::storage::{FsStorage, Storage};

const ORIGIN: &str = "log.example/main/1";
const OPTIONS: WalOptions = WalOptions { first_segment: 128 << 10, max_segment: 256 << 10, spare_segments: 2 };

/// A writer with the tree that its entries make.
struct Log {
    wal: WalWriter,
    frontier: Frontier,
    entries: Vec<Vec<u8>>,
}

impl Log {
    fn create(storage: &Arc<dyn Storage>, directory: &Path) -> Self {
        let frontier = Frontier::new();
        let wal = WalWriter::create(Arc::clone(storage), directory, ORIGIN, &frontier, OPTIONS).unwrap();
        Self { wal, frontier, entries: Vec::new() }
    }

    fn batch(&mut self, lengths: &[usize]) -> io::Result<WalPosition> {
        for length in lengths {
            assert!(self.wal.room(&self.frontier)? >= *length);
            let mut entry = format!("{{\"seq\":{},\"pad\":\"", self.entries.len()).into_bytes();
            entry.resize(entry.len().max(*length), b'x');
            let leaf = Hash::of_leaf(&entry);
            self.wal.push(FrameKind::Entry, &entry, Some(&leaf));
            self.frontier.push(leaf);
            self.entries.push(entry);
        }
        self.wal.push(FrameKind::Commit, format!("tree of {}", self.entries.len()).as_bytes(), None);
        self.wal.write()
    }
}

fn read_all(storage: &Arc<dyn Storage>, directory: &Path) -> Result<Vec<OwnedFrame>, WalError> {
    let mut reader = WalReader::open(Arc::clone(storage), directory, ORIGIN)?;
    std::iter::from_fn(|| reader.next(None).transpose()).collect()
}

fn entries(frames: &[OwnedFrame]) -> Vec<Vec<u8>> {
    frames.iter().filter(|frame| frame.kind == FrameKind::Entry).map(|frame| frame.body.clone()).collect()
}

#[test]
fn what_was_written_is_read_across_segments() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join(".state/wal");
    let storage: Arc<dyn Storage> = Arc::new(FsStorage);
    let mut log = Log::create(&storage, &directory);
    for round in 0..40 {
        log.batch(&[600, 20_000, 1 + round]).unwrap();
        log.wal.sync().unwrap();
    }
    let frames = read_all(&storage, &directory).unwrap();
    assert_eq!(entries(&frames), log.entries);
    assert!(frames.last().unwrap().end.segment > 4);
}
