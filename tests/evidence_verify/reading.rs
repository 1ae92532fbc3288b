//! Reading without verifying.

use std::fs;
use std::path::Path;

use rmcp_guard::evidence::{LogEntry, LogReader, OpenErrorKind};
use tempfile::tempdir;

use crate::builder::{Log, prune, tile_path};

fn entries(directory: &Path, start: u64) -> Vec<(u64, LogEntry)> {
    LogReader::open(directory).unwrap().entries(start).unwrap().map(Result::unwrap).collect()
}

fn present(log: &Log, start: usize) -> Vec<(u64, LogEntry)> {
    let entries = log.entries.iter().enumerate().skip(start);
    entries.map(|(index, entry)| (index as u64, LogEntry::Present(entry.clone()))).collect()
}

#[test]
fn entries_come_in_order_from_any_start() {
    for size in [0, 1, 255, 256, 257, 600] {
        let log = Log::of_decisions(size, 0);
        let directory = tempdir().unwrap();
        // partial tiles of earlier sizes lie about
        log.write_tiles(directory.path(), size / 2);
        log.write(directory.path());
        for start in [0, 1, 200, 256, 599, 600, 10_000] {
            assert_eq!(entries(directory.path(), start as u64), present(&log, start), "{size} {start}");
        }
        let reader = LogReader::open(directory.path()).unwrap();
        assert_eq!(reader.origin(), log.origin());
        assert_eq!(reader.checkpoint().unwrap(), Some(log.checkpoint(size)));
    }
}

#[test]
fn what_was_removed_is_said_to_be() {
    let log = Log::of_decisions(700, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &[600, 255]);
    let read = entries(directory.path(), 0);
    assert_eq!(read.len(), 700);
    assert_eq!((&read[600].1, &read[255].1), (&LogEntry::Redacted, &LogEntry::Redacted));
    let log = Log::of_decisions(700, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    prune(directory.path(), 512);
    let read = entries(directory.path(), 510);
    assert_eq!(read[..2], [(510, LogEntry::Pruned), (511, LogEntry::Pruned)]);
    assert_eq!(read[2..], present(&log, 512));
}

#[test]
fn what_is_damaged_ends_the_reading_with_an_error() {
    let log = Log::of_decisions(600, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let bundle = directory.path().join(tile_path("entries", 1, 256));
    let bytes = fs::read(&bundle).unwrap();
    fs::write(&bundle, &bytes[..bytes.len() / 2]).unwrap();
    let read: Vec<_> = LogReader::open(directory.path()).unwrap().entries(0).unwrap().collect();
    assert_eq!(read.last().unwrap().as_ref().unwrap_err().kind(), OpenErrorKind::DamagedTiles);
    assert!(read.len() > 256 && read.len() < 513 && read.iter().filter(|entry| entry.is_err()).count() == 1);
    fs::remove_file(&bundle).unwrap();
    let read: Vec<_> = LogReader::open(directory.path()).unwrap().entries(0).unwrap().collect();
    assert_eq!(read.len(), 257);
    assert_eq!(read[256].as_ref().unwrap_err().kind(), OpenErrorKind::DamagedTiles);
    assert_eq!(LogReader::open(directory.path().join("tile")).unwrap_err().kind(), OpenErrorKind::Missing);
}
