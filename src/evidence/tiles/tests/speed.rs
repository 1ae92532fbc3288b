//! `cargo test --release --no-default-features --lib -- --ignored --nocapture tiles::tests::speed`, with `TMPDIR` on the disk
//! to be measured.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::*;

const ENTRY: [u8; 600] = [b'x'; 600];
const ENTRIES: u32 = 400_000;

/// What this thread has had of a CPU so far.
fn cpu_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(statistics.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default())
}

#[test]
#[ignore = "measures"]
fn entries_written_to_tiles() {
    for synced_every in [None, Some(100_000)] {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = open(directory.path(), 0);
        let leaf = Hash::of_leaf(&ENTRY);
        let (begun, cpu) = (Instant::now(), cpu_time());
        for index in 1..=ENTRIES {
            writer.push(&ENTRY, leaf).unwrap();
            if synced_every.is_some_and(|every| index % every == 0) {
                writer.sync().unwrap();
            }
        }
        let (wall, cpu) = (begun.elapsed() / ENTRIES, cpu_time().saturating_sub(cpu) / ENTRIES);
        let _ = writeln!(std::io::stderr(), "synced every {synced_every:?}: {cpu:?} of CPU, {wall:?} an entry");

        let begun = cpu_time();
        let mut reader = TileReader::new(storage(), directory.path(), u64::from(ENTRIES));
        let bundles = u64::from(ENTRIES).div_ceil(TILE_WIDTH);
        let length: usize =
            (0..bundles).filter_map(|index| reader.bundle(index).ok()).map(|bundle| bundle.0.len()).sum();
        let cpu = cpu_time().saturating_sub(begun) / ENTRIES;
        let _ = writeln!(std::io::stderr(), "read back {length} bytes: {cpu:?} of CPU an entry");
    }
}
