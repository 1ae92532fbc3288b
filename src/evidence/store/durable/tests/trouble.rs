//! What docs/EVIDENCE.md says of disks under "When something is wrong": told where it says so, and never a silent loss.

use std::time::Duration;

use super::{Held, LONG, World, append, settle};
use crate::evidence::storage::sim::{DiskError, Fault, Operation};
use crate::evidence::{AppendError, EvidenceMode, EvidenceStore as _, LogHealth, OpenErrorKind};

const MODES: [EvidenceMode; 2] = [EvidenceMode::Strict, EvidenceMode::Bounded];
/// How long a caller waits that is to be denied.
const SHORT: Duration = Duration::from_millis(20);
const OFTEN: Duration = Duration::from_millis(5);

fn log_health(store: &super::DurableStore) -> LogHealth {
    store.health().log.unwrap()
}

/// Far beyond what a loaded machine needs; no test passes by waiting for it.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if reached() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("never came to pass: {what}");
}

/// Makes every change of the disk fail, as after a remount.
fn remount_read_only(world: &World) {
    let changes = [
        Operation::CreateDir,
        Operation::CreateFile,
        Operation::Rename,
        Operation::Remove,
        Operation::SyncDir,
        Operation::Write,
        Operation::Sync,
    ];
    for operation in changes {
        world.disk.inject(Fault::every(operation, DiskError::ReadOnly));
    }
}

#[test]
fn a_nearly_full_disk_is_told_and_calls_go_on() {
    const LOW: u64 = 1 << 20;
    for mode in MODES {
        let mut world = World::new(1, mode);
        world.options.publish_interval = OFTEN;
        world.options.low_disk_bytes = LOW;
        world.disk.set_capacity(Some(world.disk.used_bytes() + 16 * LOW));
        let store = world.open().unwrap();
        settle(&store);
        eventually("the disk is looked at", || log_health(&store).free_bytes.is_some());
        assert!(!log_health(&store).disk_low);
        // the write-ahead log has its room already, and tiles of so few records need less than this
        world.disk.set_capacity(Some(world.disk.used_bytes() + LOW - 1));
        eventually("little is left", || log_health(&store).disk_low);
        let free = log_health(&store).free_bytes.unwrap();
        assert!(free < LOW, "{free}");
        for number in 0..10 {
            append(&store, &format!("{number}")).unwrap().wait_durable(LONG).unwrap();
        }
        store.publish(LONG, true).unwrap();
        assert!(!store.health().failed && !log_health(&store).tiles_failing);
        world.disk.set_capacity(Some(world.disk.used_bytes() + 16 * LOW));
        eventually("there is room again", || !log_health(&store).disk_low);
        store.close();
        assert_eq!(world.texts().len(), 10);
    }
}

/// On the disk of this machine, with the limit that everybody has.
#[cfg(all(unix, feature = "disk-space"))]
#[test]
fn two_gibibytes_are_little() {
    let directory = tempfile::tempdir().unwrap();
    let options = crate::evidence::EvidenceLog::options().checkpoint_interval(OFTEN);
    let log = options.create_or_open(directory.path().join("log")).unwrap();
    eventually("the disk is looked at", || log.health().log.unwrap().free_bytes.is_some());
    let LogHealth { free_bytes, disk_low, .. } = log.health().log.unwrap();
    assert_eq!(disk_low, free_bytes.unwrap() < 2 << 30);
}

/// Tiles that are slow are no failure: the writer waits for them, callers are denied meanwhile, and nothing is lost.
#[test]
fn slow_tiles_hold_calls_back_at_the_limit_of_the_write_ahead_log() {
    for mode in MODES {
        let mut world = World::new(1, mode);
        world.options.publish_interval = OFTEN;
        world.options.wal_limit = 300 << 10;
        world.options.capacity = 8;
        let store = world.open().unwrap();
        settle(&store);
        let held = Held::on(&world.disk, Operation::Sync, "/tile");
        let text = |number: usize| format!("{number:0>10000}");
        let (mut confirmed, mut waiting) = (0, Vec::new());
        let denied = loop {
            let mut ticket = match append(&store, &text(confirmed + waiting.len())) {
                Ok(ticket) => ticket,
                Err(error) => break error,
            };
            match ticket.wait_durable(SHORT * 10) {
                Ok(()) => confirmed += 1,
                Err(error) => {
                    assert_eq!(error, AppendError::TimedOut, "{mode:?}");
                    waiting.push(ticket);
                }
            }
            assert!(confirmed < 100, "the limit does not hold");
        };
        assert_eq!((denied, waiting.len()), (AppendError::Full, 8), "{mode:?}");
        assert!(confirmed > 10, "{mode:?}: {confirmed}");
        let health = store.health();
        assert!(!health.failed && !log_health(&store).tiles_failing, "{mode:?}: {health:?}");
        drop(held);
        for ticket in &mut waiting {
            assert_eq!(ticket.wait_durable(LONG), Ok(()), "{mode:?}");
        }
        append(&store, &text(confirmed + waiting.len())).unwrap().wait_durable(LONG).unwrap();
        store.close();
        let texts: Vec<_> = (0..=confirmed + waiting.len()).map(text).collect();
        assert!(world.texts() == texts, "{mode:?}: in order, each once");
    }
}

/// The files that a checkpoint goes to, and what can fail about them.
const PUBLISHED: [(&str, Operation); 9] = [
    ("/checkpoint", Operation::CreateFile),
    ("/checkpoint", Operation::Write),
    ("/checkpoint", Operation::Sync),
    ("/checkpoint", Operation::Rename),
    ("/high-water", Operation::CreateFile),
    ("/high-water", Operation::Write),
    ("/high-water", Operation::Sync),
    ("/high-water", Operation::Rename),
    ("/private/main", Operation::SyncDir),
];

/// Neither may be passed over, and neither fails a call; once they can be written, all is made up for.
#[test]
fn a_checkpoint_or_a_mark_that_cannot_be_written_is_told_and_tried_again() {
    let errors = [DiskError::Full, DiskError::ReadOnly].into_iter().cycle();
    for ((path, operation), error) in PUBLISHED.into_iter().zip(errors) {
        for dies in [true, false] {
            let context = format!("{operation:?} of {path}: {error:?}");
            let mut world = World::new(1, if dies { EvidenceMode::Strict } else { EvidenceMode::Bounded });
            world.options.publish_interval = OFTEN;
            let mut store = world.open().unwrap();
            settle(&store);
            store.publish(LONG, true).unwrap();
            world.disk.inject(Fault::every(operation, error).on(path));
            append(&store, "a").unwrap().wait_durable(LONG).unwrap();
            eventually(&context, || log_health(&store).tiles_failing);
            for _ in 0..20 {
                append(&store, "b").unwrap().wait_durable(LONG).unwrap();
            }
            assert_eq!(store.publish(Duration::from_millis(50), true).unwrap_err(), AppendError::TimedOut, "{context}");
            let health = log_health(&store);
            assert!(health.tiles_failing && !store.health().failed, "{context}");
            assert_eq!((health.published, health.sealed), (1, 1), "{context}: {health:?}");
            assert!(health.behind > Duration::ZERO, "{context}");
            // the process dies while it is so, or lives to see it mended
            if dies {
                world.disk = world.disk.restart(1);
                store = world.open().unwrap();
            } else {
                world.disk.heal();
            }
            store.publish(LONG, true).unwrap();
            let health = log_health(&store);
            assert_eq!((health.sealed, health.tiles_failing), (health.published, false), "{context}");
            store.close();
            assert_eq!(world.texts().len(), 21, "{context}");
        }
    }
}

/// Tiles that no sync takes are told as long as that is so, also while checkpoints go out: a look at the health between two
/// attempts must not find that all is well.
#[test]
fn what_fails_is_told_all_the_while() {
    let mut world = World::new(1, EvidenceMode::Strict);
    world.options.publish_interval = OFTEN;
    let store = world.open().unwrap();
    settle(&store);
    world.disk.inject(Fault::every(Operation::SyncDir, DiskError::Io).on("/tile"));
    assert_eq!(store.publish(SHORT, true).unwrap_err(), AppendError::TimedOut);
    eventually("it is told", || log_health(&store).tiles_failing);
    // an attempt publishes and is held on its way to durable tiles; one that is under way already has nothing to publish
    let mut size = 1;
    eventually("an attempt publishes", || {
        let held = Held::on(&world.disk, Operation::Sync, "/tile");
        append(&store, "a").unwrap().wait_durable(LONG).unwrap();
        size += 1;
        std::thread::sleep(SHORT);
        let published = log_health(&store).published == size;
        assert!(log_health(&store).tiles_failing, "at {size}, published: {published}");
        drop(held);
        published
    });
    world.disk.heal();
    store.publish(LONG, true).unwrap();
    assert!(!log_health(&store).tiles_failing);
}

/// Without a checkpoint no segment is given up, so the write-ahead log comes to its limit, and the log ends there.
#[test]
fn a_checkpoint_or_a_mark_that_keeps_failing_ends_the_log_at_its_limit() {
    for path in ["/checkpoint", "/high-water"] {
        for mode in MODES {
            let mut world = World::new(1, mode);
            world.options.publish_interval = OFTEN;
            world.options.wal_limit = 300 << 10;
            let store = world.open().unwrap();
            settle(&store);
            world.disk.inject(Fault::every(Operation::CreateFile, DiskError::Io).on(path));
            let text = "x".repeat(10_000);
            let mut kept = 0;
            let error = loop {
                match append(&store, &text).and_then(|mut ticket| ticket.wait_durable(LONG)) {
                    Ok(()) => kept += 1,
                    Err(error) => break error,
                }
                assert!(kept < 200, "the limit does not hold");
            };
            assert_eq!(error, AppendError::Failed, "{path} {mode:?}");
            assert!(store.health().failed && kept > 10, "{path} {mode:?}");
            world.disk.heal();
            drop(store);
            let store = world.open().unwrap();
            store.publish(LONG, true).unwrap();
            drop(store);
            assert!(world.texts().len() >= kept, "{path} {mode:?}");
        }
    }
}

/// Everything is refused from the next write on, what was confirmed can be read, and a process that starts meanwhile is
/// told why it cannot.
#[test]
fn a_disk_that_is_remounted_read_only_ends_the_log() {
    for mode in MODES {
        let mut world = World::new(1, mode);
        world.options.publish_interval = OFTEN;
        let store = world.open().unwrap();
        settle(&store);
        for _ in 0..300 {
            append(&store, "before").unwrap().wait_durable(LONG).unwrap();
        }
        store.publish(LONG, false).unwrap();
        remount_read_only(&world);
        assert_eq!(append(&store, "lost").unwrap().wait_durable(LONG), Err(AppendError::Failed), "{mode:?}");
        super::failure::assert_failed(&store, "read-only");
        // ends, though it cannot say so on the disk
        drop(store);
        assert!(world.texts().starts_with(&vec!["before".to_owned(); 300]), "{mode:?}");
        world.disk = world.disk.restart(1);
        remount_read_only(&world);
        let refused = world.open().unwrap_err();
        assert_eq!(refused.kind(), OpenErrorKind::Io, "{mode:?}");
        assert!(refused.path().is_some(), "{mode:?}: {refused}");
        world.disk.heal();
        let store = world.open().unwrap();
        append(&store, "after").unwrap().wait_durable(LONG).unwrap();
        drop(store);
        let texts = world.texts();
        assert!((301..=302).contains(&texts.len()), "{mode:?}: {}", texts.len());
        assert_eq!(texts.last().unwrap(), "after", "{mode:?}");
    }
}
