//! Processes that die, and disks that lose power, at every change that opening makes on the disk.

use super::*;
use crate::evidence::storage::sim::{DiskError, Fault, Operation, SimDisk};

fn open_on(disk: &SimDisk) -> Result<OpenedInstance, OpenError> {
    open_instance(Arc::new(disk.clone()), options(Path::new("/")), Creation::CreateOrOpen, &SystemClock)
}

/// Outcomes of a cut that are tried at each change; `RMCP_GUARD_FULL=1` tries many.
fn seeds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs")]
    let full = std::env::var("RMCP_GUARD_FULL").is_ok_and(|full| full == "1");
    if full { 40 } else { 1 }
}

/// Opens what `prepare` leaves on a disk that stops after 0, 1, 2, .. changes, until it stops no more; by the death of
/// the process and by loss of power. Each time the next process must open it and find what `check` wants, and what it has
/// found must outlast another loss of power. Returns how many changes there are.
fn stop_everywhere(prepare: impl Fn(&SimDisk), check: impl Fn(&OpenedInstance)) -> u64 {
    let prepared = SimDisk::new(1);
    prepare(&prepared);
    let mut most = 0;
    for (power, seed) in (0..seeds()).flat_map(|seed| [(false, seed), (true, seed)]) {
        for change in 1.. {
            assert!(change < 1_000, "it never ends");
            let disk = prepared.restart(seed);
            disk.cut_power_at(disk.changes() + change);
            let first = open_on(&disk);
            if let Err(error) = &first {
                assert_eq!(error.kind(), OpenErrorKind::Io, "{change}: {error}");
            }
            let size = first.as_ref().map(|log| (log.epoch.number, log.epoch.frontier.size()));
            let size = size.ok();
            drop(first);
            let mut disk = if power { disk.crash(seed + change) } else { disk.restart(seed + change) };
            let mut found = size;
            for _ in 0..2 {
                let log = open_on(&disk).unwrap_or_else(|error| panic!("{power} {seed} {change}: {error:?}"));
                check(&log);
                let size = (log.epoch.number, log.epoch.frontier.size());
                assert_eq!(*found.get_or_insert(size), size, "{power} {seed} {change}");
                drop(log);
                disk = disk.crash(seed + change);
            }
            if size.is_some() {
                most = most.max(change);
                break;
            }
        }
    }
    most
}

#[test]
fn a_log_is_made_whole_or_not_at_all() {
    let prepare = |_: &SimDisk| {};
    let changes = stop_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (1, 0));
        assert_eq!(log.told().first(), Some(&"log_opened"));
    });
    assert!(changes > 30, "{changes}");
}

#[test]
fn a_recovery_that_stops_changes_nothing() {
    let prepare = |disk: &SimDisk| {
        let mut log = open_on(disk).unwrap();
        log.append(300);
        log.publish();
        log.epoch.wal.keeper().release(300).unwrap();
        log.append(5);
        log.push(&notice("test", "not synced"));
        log.push(&notice("test", "not synced either"));
        log.epoch.wal.write().unwrap();
        disk.put("/log/main/00000001/checkpoint.tmp", Vec::new());
    };
    let changes = stop_everywhere(prepare, |log| {
        assert_eq!(log.epoch.number, 1);
        assert!((305..=307).contains(&log.epoch.frontier.size()), "{}", log.epoch.frontier.size());
        assert!(log.epoch.unsealed.start().size() > 0);
    });
    assert!(changes > 10, "{changes}");
}

#[test]
fn the_next_log_is_begun_whole_or_not_at_all() {
    let prepare = |disk: &SimDisk| {
        let mut log = open_on(disk).unwrap();
        log.append(20);
        log.publish();
        log.roll();
    };
    let changes = stop_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (2, 0));
        assert_eq!(log.epoch.previous.as_ref().unwrap().size, 21);
        assert_eq!(log.told(), ["log_opened"]);
    });
    assert!(changes > 30, "{changes}");
}

#[test]
fn a_closed_log_is_finished_whole_or_not_at_all() {
    let prepare = |disk: &SimDisk| {
        let mut log = open_on(disk).unwrap();
        log.append(20);
        log.publish();
        log.append(250);
        log.roll();
        let end = log.epoch.as_previous();
        begin_epoch(&log.storage, &log.options, &log.private, 2, Some(end), SystemTime::UNIX_EPOCH).unwrap();
    };
    let changes = stop_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (2, 0));
        let end = log.epoch.previous.as_ref().unwrap();
        assert_eq!(end.size, 271);
        let mut tiles = TileReader::new(Arc::clone(&log.storage), &log.directory.join("00000001"), 271);
        assert_eq!(crate::evidence::merkle::root_at(&mut tiles, 271).unwrap(), end.root);
    });
    assert!(changes > 30, "{changes}");
}

/// A checkpoint is published before its tiles are synced; a loss of power then must not cost the closed log its end.
#[test]
fn a_closed_log_that_was_published_keeps_its_write_ahead_log_until_its_tiles_are_durable() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut log = open_on(&disk).unwrap();
        log.append(300);
        log.roll();
        let end = log.epoch.as_previous();
        while let Some(frame) = log.epoch.unsealed.next(None).unwrap() {
            if let Some(leaf) = frame.leaf {
                log.epoch.tiles.push(&frame.body, leaf).unwrap();
            }
        }
        log.epoch.tiles.write_partials().unwrap();
        let note = log.checkpoint();
        replace_file(&*log.storage, &log.epoch.directory.join(CHECKPOINT_FILE), &note, true).unwrap();
        log.private.set_high_water(&note).unwrap();
        begin_epoch(&log.storage, &log.options, &log.private, 2, Some(end.clone()), SystemTime::UNIX_EPOCH).unwrap();
        drop(log);
        let mut disk = disk.crash(seed);
        for _ in 0..2 {
            let log = open_on(&disk).unwrap();
            assert_eq!(log.epoch.number, 2);
            let mut tiles = TileReader::new(Arc::clone(&log.storage), &log.directory.join("00000001"), end.size);
            assert_eq!(crate::evidence::merkle::root_at(&mut tiles, end.size).unwrap(), end.root, "{seed}");
            assert!((0..end.size).all(|index| tiles.entry(index).unwrap().is_some()), "{seed}");
            drop(log);
            disk = disk.crash(seed);
        }
    }
}

/// What a loss of power leaves of an unsynced tile may be torn, and a verifier takes such a file for an altered one.
#[test]
fn partial_tiles_of_a_process_that_died_do_not_outlive_the_end_of_its_log() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut log = open_on(&disk).unwrap();
        log.append(20);
        log.roll();
        let end = log.epoch.as_previous();
        while let Some(frame) = log.epoch.unsealed.next(None).unwrap() {
            if let Some(leaf) = frame.leaf {
                log.epoch.tiles.push(&frame.body, leaf).unwrap();
                log.epoch.tiles.write_partials().unwrap();
            }
        }
        begin_epoch(&log.storage, &log.options, &log.private, 2, Some(end.clone()), SystemTime::UNIX_EPOCH).unwrap();
        drop(log);
        let log = open_on(&disk.crash(seed)).unwrap();
        for kind in ["0", "entries"] {
            let partials = log.storage.list(&log.directory.join(format!("00000001/tile/{kind}/000.p"))).unwrap();
            assert_eq!(partials, [end.size.to_string()], "{kind}, {seed}");
        }
    }
}

/// A disk that refuses, such as one that is mounted read-only or is full: told with the file, and nothing is lost by it.
#[test]
fn a_disk_that_refuses_is_told_with_its_path() {
    let operations = [Operation::CreateDir, Operation::CreateFile, Operation::Write, Operation::SyncDir];
    for (operation, error) in operations
        .into_iter()
        .flat_map(|operation| [DiskError::ReadOnly, DiskError::Full, DiskError::Io].map(|error| (operation, error)))
    {
        let disk = SimDisk::new(1);
        disk.inject(Fault::every(operation, error));
        let refused = open_on(&disk).unwrap_err();
        assert_eq!(refused.kind(), OpenErrorKind::Io, "{operation:?}");
        assert!(refused.path().unwrap().starts_with("/"), "{operation:?}: {refused}");
        disk.heal();
        let mut log = open_on(&disk).unwrap();
        log.append(3);
        drop(log);
        disk.inject(Fault::every(operation, error));
        let refused = open_on(&disk);
        disk.heal();
        if let Err(refused) = refused {
            assert_eq!(refused.kind(), OpenErrorKind::Io, "{operation:?}");
            assert!(refused.path().unwrap().starts_with("/log"), "{operation:?}: {refused}");
        }
        assert_eq!(open_on(&disk.restart(1)).unwrap().epoch.frontier.size(), 3, "{operation:?}");
    }
}
