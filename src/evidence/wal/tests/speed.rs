//! Figures, to be read and not asserted:
//! `cargo test --release --no-default-features --lib -- --ignored --nocapture wal::tests::speed`, with `TMPDIR` on the disk
//! to be measured.

use std::time::{Duration, Instant};

use super::*;

const ENTRY: [u8; 600] = [b'x'; 600];
const NOTE: [u8; 260] = [b'n'; 260];
const SIZES: WalOptions = WalOptions { first_segment: 1 << 20, max_segment: 64 << 20, spare_segments: 2 };

fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{line}");
}

/// Time that this thread has had a processor, which other processes do not disturb much; zero where it cannot be told.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

#[test]
#[ignore = "measures"]
fn records_written_and_synced() {
    for batch in [1_u32, 64, 256, 1024, 4096] {
        let directory = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(FsStorage);
        let mut frontier = Frontier::new();
        let mut wal = WalWriter::create(storage, &directory.path().join("wal"), ORIGIN, &frontier, SIZES).unwrap();
        let keeper = wal.keeper();
        let (send, receive) = std::sync::mpsc::channel::<u64>();
        let kept = std::thread::spawn(move || {
            for size in receive {
                keeper.release(size).unwrap();
                keeper.prepare_spares().unwrap();
            }
        });
        let (begun, mut records, mut longest) = (Instant::now(), 0_u64, Duration::ZERO);
        let processor = processor_time();
        let mut segment = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            let commit = Instant::now();
            for _ in 0..batch {
                if wal.room(&frontier).unwrap() < ENTRY.len() {
                    break;
                }
                let leaf = Hash::of_leaf(&ENTRY);
                wal.push(FrameKind::Entry, &ENTRY, Some(&leaf));
                frontier.push(leaf);
                records += 1;
            }
            wal.push(FrameKind::Commit, &NOTE, None);
            let end = wal.write().unwrap();
            wal.sync().unwrap();
            longest = longest.max(commit.elapsed());
            if end.segment != segment {
                segment = end.segment;
                send.send(frontier.size()).unwrap();
            }
        }
        let rate = records * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap();
        let each = processor_time().saturating_sub(processor).as_nanos() / u128::from(records);
        say(&format!(
            "batches of {batch}: {rate} records/s, {each} ns of processor a record, {segment} segments, longest commit \
             {longest:?}"
        ));
        drop(send);
        kept.join().unwrap();
    }
}

#[test]
#[ignore = "measures"]
fn a_gibibyte_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wal");
    let mut frontier = Frontier::new();
    let mut wal = WalWriter::create(Arc::new(FsStorage), &path, ORIGIN, &frontier, SIZES).unwrap();
    let leaf = Hash::of_leaf(&ENTRY);
    while wal.keeper().live_bytes() < 1 << 30 {
        wal.room(&frontier).unwrap();
        for _ in 0..100 {
            wal.push(FrameKind::Entry, &ENTRY, Some(&leaf));
            frontier.push(leaf);
        }
        wal.push(FrameKind::Commit, &NOTE, None);
        wal.write().unwrap();
    }
    wal.sync().unwrap();
    for _ in 0..2 {
        let (begun, processor) = (Instant::now(), processor_time());
        let mut reader = WalReader::open(Arc::new(FsStorage), &path, ORIGIN).unwrap();
        let mut tree = Frontier::new();
        let mut commits = 0_u32;
        while let Some(frame) = reader.next(None).unwrap() {
            match frame.leaf {
                Some(leaf) => tree.push(leaf),
                None => commits += u32::from(tree.root() != Hash::new([0; 32])),
            }
        }
        assert_eq!(tree, frontier);
        let processor = processor_time().saturating_sub(processor);
        say(&format!(
            "{} entries, {commits} roots, 1 GiB in {:?}, processor {processor:?}",
            tree.size(),
            begun.elapsed()
        ));
    }
    let begun = Instant::now();
    let tail: Vec<_> = Vec::new();
    WalWriter::resume(Arc::new(FsStorage), &path, ORIGIN, &frontier, &tail, SIZES).unwrap();
    say(&format!("resumed with an empty tail in {:?}", begun.elapsed()));
}
