//! What was changed behind our back is told from what a crash leaves.

use super::*;

const SEGMENT: &str = "/wal/00000000000000000001.seg";

fn is_damaged<T>(result: &Result<T, WalError>) -> bool {
    matches!(result, Err(WalError::Damaged { .. }))
}

/// A log in which a few batches were synced.
fn committed() -> (SimDisk, Log) {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    for _ in 0..4 {
        log.commit(&[40, 90]).unwrap();
    }
    (disk, log)
}

fn tail_of(disk: &SimDisk) -> (usize, u64) {
    let mut reader = WalReader::open(Arc::new(disk.clone()), Path::new(DIRECTORY), ORIGIN).unwrap();
    let mut frames = 0;
    while reader.next(None).unwrap().is_some() {
        frames += 1;
    }
    (frames, reader.torn_bytes().unwrap())
}

#[test]
fn a_batch_torn_at_any_byte_is_cut() {
    let (disk, mut log) = committed();
    let confirmed = log.frames.len();
    let before = disk.bytes(SEGMENT);
    let from = usize::try_from(log.wal.write().unwrap().offset).unwrap();
    let end = usize::try_from(log.write(&[40, 90, 10]).unwrap().offset).unwrap();
    let after = disk.bytes(SEGMENT);
    for cut in from..=end {
        disk.edit(SEGMENT, |bytes| {
            bytes[cut..].copy_from_slice(&before[cut..]);
            bytes[..cut].copy_from_slice(&after[..cut]);
        });
        check_found(&log.frames, confirmed, 0, &read_disk(&disk).unwrap());
        let (frames, torn) = tail_of(&disk);
        // its end and the start of its zeros look alike in the last bytes of a frame only
        let whole = frames == log.frames.len() || after[cut..end].iter().all(|byte| *byte == 0);
        let clean = log.frames[..frames].iter().map(|(_, body)| body.len() + 13).sum::<usize>() + 4096 == cut;
        assert_eq!(torn > 0, !(whole || clean), "{cut}: {torn}");
    }
}

#[test]
fn the_start_of_a_write_may_be_lost_and_its_end_kept() {
    let (disk, mut log) = committed();
    let confirmed = log.frames.len();
    let before = disk.bytes(SEGMENT);
    let from = usize::try_from(log.wal.write().unwrap().offset).unwrap();
    log.write(&[40, 90, 10]).unwrap();
    disk.edit(SEGMENT, |bytes| bytes[from..from + 20].copy_from_slice(&before[from..from + 20]));
    // two batches without a sync between them, as when nobody waits for one
    let (frames, torn) = tail_of(&disk);
    assert_eq!(frames, confirmed);
    assert!(torn > 100, "{torn}");
    log.write(&[500]).unwrap();
    assert_eq!(tail_of(&disk).0, confirmed);
    // but once a sync has covered it, what is missing was there
    log.wal.sync().unwrap();
    assert_eq!(tail_of(&disk).0, confirmed);
    log.write(&[40]).unwrap();
    assert!(is_damaged(&read_disk(&disk)));
}

/// What is written while a sync is under way is not covered by it: the frame behind it does not say so, and what is lost of
/// it is no damage.
#[test]
fn what_is_written_during_a_sync_may_be_lost() {
    let (disk, mut log) = committed();
    let confirmed = log.frames.len() + 2;
    log.write(&[40]).unwrap();
    let sync = log.wal.begin_sync();
    let from = usize::try_from(log.wal.write().unwrap().offset).unwrap();
    log.write(&[90]).unwrap();
    let synced = sync.run();
    log.wal.end_sync(&sync, synced).unwrap();
    log.write(&[500]).unwrap();
    let whole = disk.bytes(SEGMENT);
    disk.edit(SEGMENT, |bytes| bytes[from..from + 20].fill(0));
    assert_eq!(tail_of(&disk).0, confirmed);
    // the sync of the next commit covers it, and the commit behind that says so
    disk.edit(SEGMENT, |bytes| bytes.clone_from(&whole));
    let sync = log.wal.begin_sync();
    log.write(&[10]).unwrap();
    let synced = sync.run();
    log.wal.end_sync(&sync, synced).unwrap();
    log.write(&[10]).unwrap();
    assert_eq!(tail_of(&disk).0, log.frames.len());
    disk.edit(SEGMENT, |bytes| bytes[from..from + 20].fill(0));
    assert!(is_damaged(&read_disk(&disk)));
}

#[test]
fn a_commit_waits_for_the_sync_of_the_one_before() {
    let (_, mut log) = committed();
    log.write(&[40]).unwrap();
    log.wal.push(FrameKind::Commit, b"too early", None);
    assert!(log.wal.write().is_err());
    assert!(log.wal.sync().is_err());
}

/// One bit of each byte; [`every_flipped_bit_is_damage_or_the_end`] flips them all.
#[test]
fn a_flipped_bit_is_damage_or_the_end() {
    let bits = (0_usize..).map(|byte| byte.wrapping_mul(5) % 8);
    flip_bits(&mut |byte| vec![bits.clone().nth(byte % 97).unwrap()], 7);
}

/// `cargo test --release --no-default-features --lib -- --ignored every_flipped_bit`, some minutes.
#[test]
#[ignore = "takes minutes; see above"]
fn every_flipped_bit_is_damage_or_the_end() {
    flip_bits(&mut |_| (0..8).collect(), 1);
}

fn flip_bits(bits: &mut dyn FnMut(usize) -> Vec<usize>, header_step: usize) {
    let (disk, mut log) = committed();
    let last_batch = usize::try_from(log.wal.write().unwrap().offset).unwrap();
    let sizes = [40, 90].map(|length: usize| length + 13);
    log.wal.push(FrameKind::Close, b"", None);
    log.frames.push((FrameKind::Close, Vec::new()));
    let end = usize::try_from(log.wal.write().unwrap().offset).unwrap();
    log.wal.sync().unwrap();
    assert!(sizes.iter().sum::<usize>() < last_batch - 4096);
    let places = (0..4096).step_by(header_step).chain(4096..end + 100);
    for byte in places {
        for bit in bits(byte) {
            disk.edit(SEGMENT, |bytes| bytes[byte] ^= 1 << bit);
            let found = read_disk(&disk);
            if byte < last_batch {
                assert!(is_damaged(&found), "byte {byte} bit {bit}");
            } else {
                // the frame that closes the log is the last one: gone, it was never confirmed to anybody
                let kept = check_found(&log.frames, log.frames.len() - 1, 0, &found.unwrap());
                assert_eq!(kept.len() == log.frames.len(), byte >= end, "byte {byte} bit {bit}");
            }
            disk.edit(SEGMENT, |bytes| bytes[byte] ^= 1 << bit);
        }
    }
}

#[test]
fn a_segment_that_was_cut_or_grew_is_damage() {
    let (disk, _log) = committed();
    let whole = disk.bytes(SEGMENT);
    for length in (0..whole.len()).step_by(61).chain([whole.len() - 1, whole.len() + 1]) {
        disk.edit(SEGMENT, |bytes| bytes.resize(length, 0));
        assert!(is_damaged(&read_disk(&disk)), "{length}");
        disk.edit(SEGMENT, |bytes| bytes.clone_from(&whole));
    }
    assert!(read_disk(&disk).is_ok());
}

/// A log of four segments, with what is in each.
fn four_segments() -> (SimDisk, Log, Vec<(PathBuf, Vec<u8>)>) {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    while log.commit(&[30_000]).unwrap().segment < 4 {}
    let segments = disk.files().into_iter().map(|path| (path.clone(), disk.bytes(&path))).collect();
    (disk, log, segments)
}

#[test]
fn a_missing_or_changed_segment_is_damage() {
    let (disk, _log, segments) = four_segments();
    assert_eq!(segments.len(), 4);
    let damaged = |name: &str, change: &dyn Fn(&SimDisk)| {
        let copy = disk.restart(0);
        change(&copy);
        assert!(is_damaged(&read_disk(&copy)), "{name}");
    };
    damaged("missing in the middle", &|disk| disk.remove(&segments[1].0));
    damaged("two missing", &|disk| {
        disk.remove(&segments[1].0);
        disk.remove(&segments[2].0);
    });
    damaged("the second instead of the third", &|disk| disk.put(&segments[2].0, segments[1].1.clone()));
    damaged("the last under the next number too", &|disk| {
        disk.put("/wal/00000000000000000005.seg", segments[3].1.clone());
    });
    damaged("empty", &|disk| disk.put(&segments[2].0, Vec::new()));
    damaged("zeros", &|disk| disk.put(&segments[2].0, vec![0; segments[2].1.len()]));
    damaged("a number that does not follow", &|disk| {
        disk.put("/wal/18446744073709551615.seg", segments[3].1.clone());
    });
    for (index, (path, bytes)) in segments.iter().enumerate().take(3) {
        // the last frame of a segment behind which there is another one
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        damaged("the last frame is gone", &|disk| disk.edit(path, |bytes| bytes[end - 5..].fill(0)));
        damaged("all frames are gone", &|disk| disk.edit(path, |bytes| bytes[4096..].fill(0)));
        assert!(index < 3);
    }
    // the first ones may be gone, since they are released; the caller looks at the start
    let copy = disk.restart(0);
    copy.remove(&segments[0].0);
    assert!(read_disk(&copy).unwrap().0.size() > 0);
}

#[test]
fn a_segment_of_another_log_is_damage() {
    let (disk, _log, segments) = four_segments();
    let other = SimDisk::new(2);
    let mut wal =
        WalWriter::create(Arc::new(other.clone()), Path::new(DIRECTORY), "other.example", &Frontier::new(), OPTIONS)
            .unwrap();
    wal.push(FrameKind::Entry, b"{}", None);
    wal.write().unwrap();
    assert!(is_damaged(&read_disk(&other)));
    // of a log with the same origin, begun anew
    let (again, _) = committed();
    disk.put(&segments[0].0, again.bytes(SEGMENT));
    assert!(is_damaged(&read_disk(&disk)));
}

#[test]
fn a_follower_takes_nothing_broken() {
    let (disk, mut log) = committed();
    let mut reader = log.reader();
    let until = log.write(&[40, 90]).unwrap();
    disk.edit(SEGMENT, |bytes| {
        let last = usize::try_from(until.offset).unwrap() - 1;
        bytes[last] ^= 1;
    });
    let result = std::iter::from_fn(|| reader.next(Some(until)).transpose()).collect::<Result<Vec<_>, _>>();
    assert!(is_damaged(&result));
    disk.remove(SEGMENT);
    assert!(matches!(reader.next(Some(until)), Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
}

/// Frame headers inside each other would each cost a hash of 64 KiB.
#[test]
fn what_was_made_to_keep_the_search_busy_is_damage() {
    let (disk, log) = committed();
    drop(log);
    disk.edit(SEGMENT, |bytes| {
        for header in bytes[8000..].chunks_exact_mut(5) {
            header.copy_from_slice(&[0xff, 0xff, 0, 0, 1]);
        }
    });
    assert!(is_damaged(&read_disk(&disk)));
}

#[test]
fn garbage_is_no_frame() {
    let config = proptest::prelude::ProptestConfig::with_cases(60);
    proptest::proptest!(config, |(garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..5000))| {
        let (disk, log) = committed();
        let end = usize::try_from(log.reader().position().offset).unwrap();
        let end = end + log.frames.iter().map(|(_, body)| body.len() + 13).sum::<usize>();
        disk.edit(SEGMENT, |bytes| bytes[end..end + garbage.len()].copy_from_slice(&garbage));
        let found = read_disk(&disk).unwrap();
        assert_eq!(found.1.len(), log.frames.len());
    });
}
