//! Making, recycling and losing segments.

use super::*;
use crate::evidence::storage::child;
use crate::evidence::storage::sim::{DiskError, Fault, Operation};

type Change<'c> = &'c dyn Fn(&SimDisk);

fn names(disk: &SimDisk, suffix: &str) -> Vec<String> {
    let names = disk.files().into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(suffix)).collect()
}

#[test]
fn segments_grow_and_are_recycled() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let keeper = log.wal.keeper();
    let mut lengths = Vec::new();
    for _ in 0..60 {
        keeper.prepare_spares().unwrap();
        assert_eq!(keeper.spares(), 2);
        let end = log.commit(&[40_000]).unwrap();
        lengths.push(disk.bytes(format!("{DIRECTORY}/{:020}.seg", end.segment)).len());
        keeper.release(log.size()).unwrap();
        // the one being written, the two that are spare, and one that was released just now
        assert!(disk.used_bytes() <= 4 * 256 * 1024);
    }
    assert_eq!((lengths[0], lengths[59]), (128 << 10, 256 << 10));
    assert_eq!(names(&disk, ".seg").len(), 1);
    let made = disk.count(Operation::CreateFile);
    for _ in 0..60 {
        log.commit(&[40_000]).unwrap();
        keeper.release(log.size()).unwrap();
    }
    assert_eq!(disk.count(Operation::CreateFile), made, "nothing is made when enough is given back");
    let found = read_disk(&disk).unwrap();
    check_found(&log.frames, log.frames.len(), log.size(), &found);
}

/// Test 12 of the log's plan: frames of an earlier use, at the very places where the reader looks for the next frame.
#[test]
fn frames_of_an_earlier_use_of_a_segment_are_never_read() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let keeper = log.wal.keeper();
    let mut stale_ahead = 0;
    for round in 0..90 {
        // all batches are of the same length, so that each ends where one of the earlier use ended
        let end = log.commit(&[1000, 8000]).unwrap();
        keeper.release(log.size()).unwrap();
        let bytes = disk.bytes(format!("{DIRECTORY}/{:020}.seg", end.segment));
        let behind = &bytes[usize::try_from(end.offset).unwrap()..];
        stale_ahead += usize::from(behind.windows(7).any(|window| window == b"{\"seq\":"));
        let found = read_disk(&disk).unwrap();
        check_found(&log.frames, log.frames.len(), log.size(), &found);
        let mut reader = log.reader();
        while reader.next(None).unwrap().is_some() {}
        assert_eq!(reader.torn_bytes().unwrap(), 0, "round {round}");
    }
    assert!(stale_ahead > 50, "{stale_ahead}");
}

/// The same when the crash leaves a stale frame exactly where the next one would be, without the mark.
#[test]
fn a_stale_frame_in_the_place_of_the_next_one_is_no_damage() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    log.commit(&[3000]).unwrap();
    let old = disk.bytes(format!("{DIRECTORY}/{:020}.seg", 1));
    let mut log = Log::resume(Arc::new(disk.clone()), Path::new(DIRECTORY), log.frames, 1).unwrap();
    let end = log.commit(&[100]).unwrap();
    disk.edit(format!("{DIRECTORY}/{:020}.seg", end.segment), |bytes| {
        let at = usize::try_from(end.offset).unwrap();
        bytes[at..at + 3100].copy_from_slice(&old[4096..4096 + 3100]);
    });
    let found = read_disk(&disk).unwrap();
    check_found(&log.frames, log.frames.len(), 1, &found);
}

#[test]
fn only_what_is_no_longer_needed_is_released() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let mut starts = vec![(1, 0)];
    while starts.len() < 5 {
        let size = log.size();
        let end = log.commit(&[30_000]).unwrap();
        if end.segment > starts.last().unwrap().0 {
            starts.push((end.segment, size));
        }
    }
    let live = log.wal.keeper().live_bytes();
    log.wal.keeper().release(starts[2].1 - 1).unwrap();
    assert_eq!(log.reader().start().size(), starts[1].1);
    assert!(log.wal.keeper().live_bytes() < live);
    log.wal.keeper().release(starts[2].1).unwrap();
    assert_eq!(log.reader().start().size(), starts[2].1);
    log.wal.keeper().release(u64::MAX).unwrap();
    assert_eq!(log.reader().start().size(), starts[4].1);
    check_found(&log.frames, log.frames.len(), log.size(), &read_disk(&disk).unwrap());
}

#[test]
fn a_full_disk_leaves_room_in_the_spare_segments() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    let keeper = log.wal.keeper();
    keeper.prepare_spares().unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    let mut segments = std::collections::BTreeSet::new();
    let error = loop {
        match log.commit(&[30_000]) {
            Ok(end) => segments.insert(end.segment),
            Err(error) => break error,
        };
        if keeper.spares() < 2 {
            assert_eq!(keeper.prepare_spares().unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    };
    assert_eq!((error.kind(), keeper.spares(), segments.len()), (io::ErrorKind::StorageFull, 0, 3));
    assert!(log.wal.write().is_err() && log.wal.sync().is_err(), "nothing goes on after a failure");
    assert!(!disk.files().iter().any(|path| path.to_string_lossy().ends_with(".tmp")), "what was half made is gone");
    let found = read_disk(&disk.crash(1)).unwrap();
    check_found(&log.frames, log.frames.len(), 0, &found);
}

#[test]
fn a_recovery_on_a_full_disk_takes_a_spare_segment() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    log.wal.keeper().prepare_spares().unwrap();
    log.commit(&[3000]).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let disk = disk.crash(7);
    disk.set_capacity(Some(disk.used_bytes()));
    let mut log = Log::resume(Arc::new(disk.clone()), Path::new(DIRECTORY), log.frames, 0).unwrap();
    log.commit(&[3000]).unwrap();
    check_found(&log.frames, log.frames.len(), 0, &read_disk(&disk).unwrap());
}

#[test]
fn a_segment_that_vanishes_or_changes_under_the_writer_ends_the_log() {
    let path = format!("{DIRECTORY}/{:020}.seg", 1);
    let cases: [(&str, Change<'_>); 4] = [
        ("removed", &|disk| disk.remove(&path)),
        ("replaced", &|disk| disk.put(&path, disk.bytes(&path))),
        ("cut", &|disk| disk.edit(&path, |bytes| bytes.truncate(5000))),
        ("longer", &|disk| disk.edit(&path, |bytes| bytes.push(0))),
    ];
    for (name, change) in cases {
        let disk = SimDisk::new(1);
        let mut log = Log::on(&disk);
        log.commit(&[3000]).unwrap();
        change(&disk);
        assert!(log.write(&[3000]).is_err(), "{name}");
        assert!(log.wal.sync().is_err(), "{name}");
        // nothing is confirmed either that was written before or after
        let disk = SimDisk::new(1);
        let mut log = Log::on(&disk);
        log.write(&[3000]).unwrap();
        change(&disk);
        log.write(&[3000]).unwrap();
        assert!(log.wal.sync().is_err(), "{name}");
        assert!(log.write(&[3000]).is_err(), "{name}");
    }
}

#[test]
fn a_failed_sync_ends_the_log_and_recovery_makes_durable_what_it_kept() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut log = Log::on(&disk);
        log.commit(&[3000]).unwrap();
        let confirmed = log.frames.len();
        disk.inject(Fault::nth(Operation::Sync, 1, DiskError::Io));
        assert!(log.commit(&[3000, 9000]).is_err());
        assert!(log.wal.sync().is_err() && log.wal.write().is_err(), "a second try would confirm what is gone");
        // the process begins anew, and the page cache still shows some of what never reached the disk
        let disk = disk.restart(seed);
        let kept = check_found(&log.frames, confirmed, 0, &read_disk(&disk).unwrap());
        let log = Log::resume(Arc::new(disk.clone()), Path::new(DIRECTORY), kept, 0).unwrap();
        let found = read_disk(&disk.crash(seed)).unwrap();
        check_found(&log.frames, log.frames.len(), 0, &found);
    }
}

#[test]
fn wiping_leaves_no_entry_behind_the_frames_and_in_spare_segments() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    for _ in 0..40 {
        log.commit(&[30_000]).unwrap();
        log.wal.keeper().release(log.size()).unwrap();
    }
    let traces = |disk: &SimDisk| {
        let holds = |path: &PathBuf| disk.bytes(path).windows(7).filter(|window| *window == b"{\"seq\":").count();
        disk.files().iter().map(holds).sum::<usize>()
    };
    assert!(traces(&disk) > 5);
    log.wal.wipe_spares().unwrap();
    let live = read_disk(&disk).unwrap().1.iter().filter(|frame| frame.kind == FrameKind::Entry).count();
    assert_eq!(traces(&disk), live);
    log.commit(&[30_000]).unwrap();
    let disk = disk.crash(3);
    assert_eq!(traces(&disk), live + 1, "the zeros are durable");
    check_found(&log.frames, log.frames.len(), log.size(), &read_disk(&disk).unwrap());
}

#[test]
fn what_else_lies_in_the_directory_is_left_alone() {
    let disk = SimDisk::new(1);
    disk.put("/1.seg", Vec::new());
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    storage.create_dir(Path::new(DIRECTORY)).unwrap();
    let strange = ["1.seg", "notes.txt", "+0000000000000000001.seg", "00000000000000000001.SEG", "x.tmp"];
    for name in strange {
        disk.put(child(Path::new(DIRECTORY), name), b"?".to_vec());
    }
    // half made, and a spare segment of a length that no segment has
    disk.put(child(Path::new(DIRECTORY), "00000000000000000004.spare.tmp"), vec![0; 999]);
    disk.put(child(Path::new(DIRECTORY), "00000000000000000005.spare"), vec![0; 999]);
    let mut log = Log::on(&disk);
    log.commit(&[3000]).unwrap();
    check_found(&log.frames, log.frames.len(), 0, &read_disk(&disk).unwrap());
    let mut there = storage.list(Path::new(DIRECTORY)).unwrap();
    there.retain(|name| !strange.contains(&name.as_str()));
    assert_eq!(there, ["00000000000000000001.seg"]);
}

#[test]
fn a_log_is_made_once() {
    let disk = SimDisk::new(1);
    drop(Log::on(&disk));
    let again = Log::create(Arc::new(disk.clone()), Path::new(DIRECTORY)).err().unwrap();
    assert!(matches!(again, WalError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists));
    let none = WalReader::open(Arc::new(disk), Path::new("/elsewhere"), ORIGIN).err().unwrap();
    assert!(matches!(none, WalError::Io(error) if error.kind() == io::ErrorKind::NotFound));
}

/// The writer, the keeper and a follower on threads of their own, on a real disk.
#[test]
fn writer_keeper_and_follower_work_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::create(Arc::new(FsStorage), &directory.path().join("wal")).unwrap();
    let keeper = log.wal.keeper();
    let mut reader = log.reader();
    let (send, receive) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for until in receive {
            while let Some(frame) = reader.next(Some(until)).unwrap() {
                seen.push((frame.kind, frame.body));
            }
            keeper.release(reader.size()).unwrap();
            keeper.prepare_spares().unwrap();
        }
        seen
    });
    for _ in 0..100 {
        send.send(log.write(&[20_000]).unwrap()).unwrap();
    }
    drop(send);
    assert_eq!(follower.join().unwrap(), log.frames);
}
