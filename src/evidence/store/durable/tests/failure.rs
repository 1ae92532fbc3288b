//! Disks that fail, fill up or are meddled with: everything after the first error is refused, nothing confirmed is lost.

use std::time::Duration;

use super::{LONG, World, append, seeds, settle};
use crate::evidence::storage::sim::{DiskError, Fault, Operation};
use crate::evidence::{AppendError, EvidenceMode, EvidenceStore as _};

const MODES: [EvidenceMode; 2] = [EvidenceMode::Strict, EvidenceMode::Bounded];

/// After an error the store refuses everything, also when the disk is well again.
pub(super) fn assert_failed(store: &super::DurableStore, context: &str) {
    assert_eq!(append(store, "late").unwrap_err(), AppendError::Failed, "{context}");
    assert_eq!(store.reserve(1).unwrap_err(), AppendError::Failed, "{context}");
    assert_eq!(store.publish(LONG, false).unwrap_err(), AppendError::Failed, "{context}");
    assert!(store.health().failed, "{context}");
    store.close();
    assert_eq!(store.reserve(1).unwrap_err(), AppendError::Failed, "{context}");
}

#[test]
fn a_failed_write_or_sync_fails_everything_from_then_on() {
    for mode in MODES {
        for operation in [Operation::Write, Operation::Sync] {
            for error in [DiskError::Io, DiskError::Full, DiskError::ReadOnly] {
                let context = format!("{mode:?} {operation:?} {error:?}");
                let mut world = World::new(1, mode);
                let store = world.open().unwrap();
                append(&store, "before").unwrap().wait_durable(LONG).unwrap();
                settle(&store);
                world.disk.inject(Fault::nth(operation, 1, error).on("/wal/"));
                let mut ticket = append(&store, "lost").unwrap();
                assert_eq!(ticket.wait_durable(LONG), Err(AppendError::Failed), "{context}");
                assert!(!ticket.receipt().is_some_and(|receipt| receipt.durable), "{context}");
                world.disk.heal();
                assert_failed(&store, &context);
                drop(store);
                // what was confirmed is there when the process comes back, and the log goes on
                world.disk = world.disk.restart(1);
                let store = world.open().unwrap();
                append(&store, "after").unwrap().wait_durable(LONG).unwrap();
                drop(store);
                let texts = world.texts();
                assert_eq!((texts.first().unwrap().as_str(), texts.last().unwrap().as_str()), ("before", "after"));
            }
        }
    }
}

/// An entry whose sync failed is not taken for durable because it can be read: the pages may never reach the disk.
#[test]
fn what_a_failed_sync_left_in_memory_is_written_again() {
    for seed in seeds(20, 1_000) {
        let mut world = World::new(seed, EvidenceMode::Strict);
        let store = world.open().unwrap();
        append(&store, "before").unwrap().wait_durable(LONG).unwrap();
        settle(&store);
        world.disk.inject(Fault::nth(Operation::Sync, 1, DiskError::Io).on("/wal/"));
        assert_eq!(append(&store, "unsure").unwrap().wait_durable(LONG), Err(AppendError::Failed));
        drop(store);
        world.disk = world.disk.restart(seed);
        let store = world.open().unwrap();
        let kept = world.texts().contains(&"unsure".to_owned());
        append(&store, "after").unwrap().wait_durable(LONG).unwrap();
        // durable means durable: also what was there before it
        world.disk = world.disk.crash(seed);
        drop(store);
        let store = world.open().unwrap();
        let expected: &[_] = if kept { &["before", "unsure", "after"] } else { &["before", "after"] };
        assert_eq!(world.texts(), expected, "seed {seed}");
        drop(store);
    }
}

#[test]
fn whoever_waits_on_a_failing_disk_is_woken() {
    let world = World::new(1, EvidenceMode::Strict);
    let store = world.open().unwrap();
    let mut all = store.reserve(64).unwrap();
    settle(&store);
    world.disk.inject(Fault::every(Operation::Write, DiskError::Full).on("/wal/"));
    std::thread::scope(|scope| {
        let room = store.room_freed();
        let room = scope.spawn(move || crate::evidence::store::block_on(room, LONG));
        let mut ticket = store.append(&mut all, super::event("x")).unwrap();
        assert_eq!(ticket.wait_durable(LONG), Err(AppendError::Failed));
        assert!(room.join().unwrap().is_some());
    });
}

/// Tiles that cannot be written fail no call; when they can be, everything is made up for.
#[test]
fn tiles_that_fail_are_told_and_tried_again() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::CreateDir, Operation::SyncDir] {
        let mut world = World::new(1, EvidenceMode::Strict);
        world.options.publish_interval = Duration::from_millis(5);
        let store = world.open().unwrap();
        settle(&store);
        world.disk.inject(Fault::every(operation, DiskError::Full).on("/tile"));
        for number in 0..600 {
            append(&store, &format!("{number}")).unwrap().wait_durable(LONG).unwrap();
        }
        assert_eq!(store.publish(Duration::from_millis(50), true).unwrap_err(), AppendError::TimedOut, "{operation:?}");
        let health = store.health().log.unwrap();
        assert!(health.tiles_failing && !store.health().failed, "{operation:?} {:?}", store.health());
        // a checkpoint needs its tiles, but not that they are durable: the write-ahead log has the entries
        let behind = matches!(operation, Operation::Write | Operation::Rename | Operation::CreateDir);
        assert!(health.sealed < 601 && (health.behind > Duration::ZERO || !behind), "{operation:?} {health:?}");
        world.disk.heal();
        store.publish(LONG, true).unwrap();
        let health = store.health().log.unwrap();
        assert!(!health.tiles_failing, "{operation:?}");
        assert_eq!((health.published, health.sealed), (601, 601), "{operation:?}");
        store.close();
        assert_eq!(world.texts().len(), 600);
    }
}

/// Without tiles the write-ahead log grows to its limit and no further.
#[test]
fn tiles_that_keep_failing_end_the_log_at_its_limit() {
    let mut world = World::new(1, EvidenceMode::Bounded);
    world.options.publish_interval = Duration::from_millis(5);
    world.options.wal_limit = 300 << 10;
    let store = world.open().unwrap();
    settle(&store);
    world.disk.inject(Fault::every(Operation::CreateFile, DiskError::Full).on("/tile"));
    let text = "x".repeat(10_000);
    let mut kept = 0;
    let error = loop {
        match append(&store, &text).and_then(|mut ticket| ticket.wait_written(LONG)) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 200, "the limit does not hold");
    };
    assert_eq!(error, AppendError::Failed);
    assert!(kept > 10);
    world.disk.heal();
    drop(store);
    let store = world.open().unwrap();
    store.publish(LONG, true).unwrap();
    drop(store);
    assert_eq!(world.texts().len(), kept);
}

/// A disk that is full when the next segment is needed: the last words have their room.
#[test]
fn a_full_disk_ends_the_log_and_loses_no_confirmed_record() {
    for mode in MODES {
        let mut world = World::new(3, mode);
        world.options.publish_interval = Duration::from_millis(5);
        let store = world.open().unwrap();
        append(&store, "first").unwrap().wait_durable(LONG).unwrap();
        store.publish(LONG, false).unwrap();
        world.disk.set_capacity(Some(world.disk.used_bytes() + (1 << 16)));
        let text = "x".repeat(1_000);
        let (mut confirmed, mut warned) = (1, false);
        let error = loop {
            match append(&store, &text).and_then(|mut ticket| ticket.wait_durable(LONG)) {
                Ok(()) => confirmed += 1,
                Err(error) => break error,
            }
            if confirmed % 16 == 0 {
                // time for the tiler to see that it cannot make another segment
                std::thread::sleep(Duration::from_millis(20));
            }
            warned |= store.health().log.unwrap().disk_low;
            assert!(confirmed < 2_000, "the disk does not fill");
        };
        assert_eq!(error, AppendError::Failed);
        assert!(warned, "{mode:?}");
        drop(store);
        assert!(world.texts().len() >= confirmed, "{mode:?}");
        world.disk.set_capacity(None);
        drop(world.open().unwrap());
    }
}

/// A log rotator, a cleaner of temporary files or a second writer must not turn the log into one that nobody can read
/// while calls go on as if they were recorded.
#[test]
fn a_file_that_is_removed_replaced_or_cut_fails_the_log() {
    type Meddle = fn(&World, &std::path::Path);
    let cases: [(&str, Meddle); 3] = [
        ("removed", |world, file| world.disk.remove(file)),
        ("replaced", |world, file| {
            let bytes = world.disk.bytes(file);
            world.disk.remove(file);
            world.disk.put(file, bytes);
        }),
        ("cut", |world, file| world.disk.edit(file, |bytes| bytes.truncate(5_000))),
    ];
    for mode in MODES {
        for (name, meddle) in cases {
            let world = World::new(1, mode);
            let store = world.open().unwrap();
            append(&store, "before").unwrap().wait_durable(LONG).unwrap();
            let files = world.disk.files();
            let segment = files.iter().rfind(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
            meddle(&world, segment.unwrap());
            let lost = append(&store, "lost").unwrap().wait_durable(LONG);
            assert_eq!(lost, Err(AppendError::Failed), "{mode:?} {name}");
            assert_failed(&store, name);
        }
    }
}

/// Best effort counts what a failing disk cost it and lets the call go on; the others deny.
#[test]
fn best_effort_goes_on_without_its_disk() {
    use crate::evidence::{EvidenceId, NoticeRecord, Record};
    let now = std::time::UNIX_EPOCH;
    let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()));
    for (mode, denies) in [(EvidenceMode::BestEffort, false), (EvidenceMode::Bounded, true)] {
        let world = World::new(1, mode);
        let log = world.open_log(mode, LONG);
        let mut places = log.reserve(2).unwrap();
        settle(log.durable().unwrap());
        world.disk.inject(Fault::every(Operation::Write, DiskError::Full).on("/wal/"));
        let _ = log.append(&mut places, &notice).unwrap().wait_written(LONG);
        if denies {
            assert_eq!(log.append(&mut places, &notice).unwrap_err(), AppendError::Failed);
            assert_eq!(log.reserve(1).unwrap_err(), AppendError::Failed);
            continue;
        }
        // the one whose write failed is the first
        for dropped in 2..5 {
            let mut place = log.reserve(1).unwrap();
            assert!(!log.append(&mut place, &notice).unwrap().is_recorded());
            assert_eq!(log.health().dropped, dropped);
        }
    }
}

/// What was queued when the log failed is in no gap record, since nothing is written any more; it is counted all the same.
#[test]
fn best_effort_counts_what_a_failure_has_kept_from_the_file() {
    use crate::evidence::{EvidenceId, NoticeRecord, Record};
    const RECORDS: u64 = 3_000;
    let now = std::time::UNIX_EPOCH;
    let members = vec![("text", "x".repeat(400))];
    let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", members));
    let mut world = World::new(1, EvidenceMode::BestEffort);
    // no record is dropped for want of a place, so there is no gap record either
    world.options.capacity = usize::try_from(RECORDS).unwrap() + 8;
    let log = world.open_log(EvidenceMode::BestEffort, LONG);
    settle(log.durable().unwrap());
    // a segment is longer than that, so there will be no other
    world.disk.set_capacity(Some(world.disk.used_bytes() + (1 << 15)));
    for _ in 0..RECORDS {
        let _ = log.append(&mut log.reserve(1).unwrap(), &notice).unwrap();
    }
    log.close();
    let health = log.health();
    assert!(health.failed);
    drop(log);
    let kept = u64::try_from(world.notices().iter().filter(|name| *name == "test").count()).unwrap();
    assert!(kept > 0 && kept < RECORDS, "{kept}");
    assert_eq!(kept + health.dropped, RECORDS, "{kept} kept, {} dropped", health.dropped);
}

/// Old partial tiles or segments that cannot be given up are tried again like anything else: whoever waits for durable
/// tiles gets them once the disk is well, and until then the health says what is wrong.
#[test]
fn what_cannot_be_given_up_is_told_and_tried_again() {
    let mut world = World::new(1, EvidenceMode::Strict);
    world.options.publish_interval = Duration::from_millis(5);
    let store = world.open().unwrap();
    settle(&store);
    append(&store, "a").unwrap().wait_durable(LONG).unwrap();
    store.publish(LONG, false).unwrap();
    append(&store, "b").unwrap().wait_durable(LONG).unwrap();
    store.publish(LONG, false).unwrap();
    world.disk.inject(Fault::every(Operation::Remove, DiskError::Io).on("/tile"));
    for _ in 0..2 {
        assert_eq!(store.publish(Duration::from_millis(100), true).unwrap_err(), AppendError::TimedOut);
        assert!(store.health().log.unwrap().tiles_failing);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.disk.heal();
    store.publish(LONG, true).unwrap();
    let health = store.health().log.unwrap();
    assert_eq!((health.sealed, health.tiles_failing), (3, false));
}

/// Panics on the tiler's thread.
struct Panics;

impl tracing::Subscriber for Panics {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        assert_ne!(std::thread::current().name(), Some("rmcp-guard-tiler"), "the subscriber's own trouble");
        false
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn nobody_waits_for_a_tiler_that_is_gone() {
    let world = World::new(1, EvidenceMode::Strict);
    let store = tracing::dispatcher::with_default(&tracing::Dispatch::new(Panics), || world.open()).unwrap();
    append(&store, "a").unwrap().wait_durable(LONG).unwrap();
    assert_eq!(store.publish(LONG, false).unwrap_err(), AppendError::Failed);
    assert!(store.health().log.unwrap().tiles_failing);
    store.close();
    assert_eq!(world.texts(), ["a"]);
}
