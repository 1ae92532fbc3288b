//! Callers who write their records themselves, beside each other and beside the thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Held, LONG, NEVER, World, append, event, settle};
use crate::evidence::storage::sim::{DiskError, Fault, Operation};
use crate::evidence::store::durable::DurableStore;
use crate::evidence::{AppendError, EvidenceMode, EvidenceStore as _, Ticket};

const SHORT: Duration = Duration::from_millis(20);

/// A store whose thread does nothing by itself.
fn quiet() -> (World, DurableStore) {
    let mut world = World::new(1, EvidenceMode::Bounded);
    world.options.commit_delay = NEVER;
    let store = world.open().unwrap();
    settle(&store);
    (world, store)
}

fn append_here(store: &DurableStore, text: &str) -> Result<Ticket, AppendError> {
    store.append_and_write(&mut store.reserve(1)?, event(text))
}

fn append_later(store: &DurableStore, text: &str) -> Result<Ticket, AppendError> {
    store.append_later(&mut store.reserve(1)?, event(text))
}

fn is_written(ticket: &mut Ticket) -> bool {
    ticket.wait_written(Duration::ZERO).is_ok()
}

/// The thread may be ending a turn of its own at first, and leaves the pen then.
#[test]
fn a_caller_writes_its_record_and_those_that_wait() {
    let (world, store) = quiet();
    let mut later = append_later(&store, "0").unwrap();
    let written = (1..=50).find(|number| {
        let written = is_written(&mut append_here(&store, &number.to_string()).unwrap());
        if !written {
            std::thread::sleep(SHORT);
        }
        written
    });
    assert!(written.is_some());
    assert!(is_written(&mut later));
    let mut next = append_later(&store, "not yet").unwrap();
    assert!(!is_written(&mut next), "nobody has come by");
    // the thread comes by when somebody waits for a commit, whenever the next is due
    store.hurry();
    assert_eq!(next.wait_durable(LONG), Ok(()));
    drop(store);
    let texts = world.texts();
    assert_eq!(texts.last().unwrap(), "not yet");
    assert!(texts[..texts.len() - 1].iter().enumerate().all(|(place, text)| *text == place.to_string()));
}

#[test]
fn what_nobody_waits_for_is_durable_with_the_next_commit() {
    let world = World::new(1, EvidenceMode::Bounded);
    let store = world.open().unwrap();
    for round in 0..20 {
        assert_eq!(append_later(&store, &round.to_string()).unwrap().wait_durable(LONG), Ok(()), "of a log at rest");
        assert_eq!(append_here(&store, "x").unwrap().wait_durable(LONG), Ok(()));
    }
}

/// Each record stands in the log once, those of one caller in their order, over logs that roll and segments that fill.
#[test]
fn callers_and_the_thread_write_each_record_once_and_in_order() {
    const CALLERS: usize = 4;
    const RECORDS: usize = 500;
    let mut world = World::new(1, EvidenceMode::Bounded);
    world.options.roll_bytes = 64 << 10;
    world.options.publish_interval = Duration::from_millis(1);
    let store = Arc::new(world.open().unwrap());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for number in 0..RECORDS {
                    let text = format!("{caller}-{number}");
                    let mut ticket = loop {
                        let appended = match number % 3 {
                            0 => append_here(&store, &text),
                            1 => append_later(&store, &text),
                            _ => append(&store, &text),
                        };
                        match appended {
                            Err(AppendError::Full) => std::thread::yield_now(),
                            appended => break appended.unwrap(),
                        }
                    };
                    match number % 7 {
                        0 => assert_eq!(ticket.wait_durable(LONG), Ok(())),
                        1 | 2 => assert_eq!(ticket.wait_written(LONG), Ok(())),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    store.close();
    assert_eq!(store.health().queued, 0);
    assert!(world.logs().len() > 1, "it rolled");
    let texts = world.texts();
    assert_eq!(texts.len(), CALLERS * RECORDS);
    for caller in 0..CALLERS {
        let prefix = format!("{caller}-");
        let own: Vec<_> = texts.iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert!(own.iter().enumerate().all(|(place, number)| *number == place.to_string()), "{caller}: {own:?}");
    }
}

/// A record that is left to another caller is written by that one: no thread comes by for it.
#[test]
fn what_is_left_to_another_caller_is_written_by_it() {
    let (_, store) = quiet();
    // both at once, and nobody after them
    let barrier = std::sync::Barrier::new(2);
    let is_forgotten = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for caller in 0..2 {
            let (store, barrier, is_forgotten) = (&store, &barrier, &is_forgotten);
            scope.spawn(move || {
                for number in 0..3_000 {
                    barrier.wait();
                    if is_forgotten.load(Ordering::SeqCst) {
                        break;
                    }
                    let mut ticket = append_here(store, &format!("{caller}-{number}")).unwrap();
                    if ticket.wait_written(LONG).is_err() {
                        is_forgotten.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(!is_forgotten.load(Ordering::SeqCst));
}

/// The log rests, and its next commit does not end: callers write on, and their records are written and not yet durable.
#[test]
fn a_sync_that_hangs_keeps_no_caller() {
    let (world, store) = quiet();
    let (held, mut first) = hang_in_a_sync(&world, &store);
    let mut later: Vec<_> = (1..10).map(|number| append_here(&store, &number.to_string()).unwrap()).collect();
    assert!(later.iter_mut().all(is_written));
    assert_eq!(first.wait_durable(SHORT), Err(AppendError::TimedOut));
    drop(held);
    assert_eq!(first.wait_durable(LONG), Ok(()));
    // what came during the sync has a commit of its own
    assert_eq!(later[0].wait_durable(SHORT), Err(AppendError::TimedOut));
    store.hurry();
    for ticket in &mut later {
        assert_eq!(ticket.wait_durable(LONG), Ok(()));
    }
    drop(store);
    assert!(world.texts().iter().enumerate().all(|(place, text)| *text == place.to_string()));
}

/// A caller's write fails during a sync: what the sync covers is durable, and nothing else is said to be written.
#[test]
fn a_write_that_fails_during_a_sync_is_not_told_as_written() {
    let (world, store) = quiet();
    let (held, mut first) = hang_in_a_sync(&world, &store);
    world.disk.inject(Fault::nth(Operation::Write, 1, DiskError::Io).on("/wal/"));
    let mut lost = append_here(&store, "lost").unwrap();
    assert_eq!(lost.wait_written(LONG), Err(AppendError::Failed));
    drop(held);
    store.close();
    assert_eq!(first.wait_written(LONG), Ok(()));
    assert_eq!(lost.wait_written(LONG), Err(AppendError::Failed));
    assert_eq!(lost.receipt(), None);
}

/// The power goes after a sync during which callers wrote: what it covers is there, and what else is there is the start of
/// what they wrote. Nothing is taken for damage.
#[test]
fn a_power_cut_behind_a_sync_during_which_callers_wrote() {
    for seed in super::seeds(60, 2_000) {
        let (mut world, store) = quiet();
        let (held, mut first) = hang_in_a_sync(&world, &store);
        let write = |number: u64| append_here(&store, &format!("{number}-{}", "x".repeat(700))).unwrap();
        assert!((1..6).map(write).all(|mut ticket| is_written(&mut ticket)));
        drop(held);
        assert_eq!(first.wait_durable(LONG), Ok(()));
        (6..6 + seed % 4).for_each(|number| drop(write(number)));
        world.disk = world.disk.crash(seed);
        drop(store);
        drop(world.open().unwrap());
        let texts = world.texts();
        let numbers: Vec<_> = texts.iter().map(|text| text.split('-').next().unwrap().to_owned()).collect();
        assert!(numbers.iter().enumerate().all(|(place, number)| *number == place.to_string()), "{seed}: {numbers:?}");
        assert_eq!(numbers.first().map(String::as_str), Some("0"), "{seed}");
    }
}

/// A record, and its commit, which does not end while the other lives.
fn hang_in_a_sync<'a>(world: &'a World, store: &DurableStore) -> (Held<'a>, Ticket) {
    let held = Held::on(&world.disk, Operation::Sync, "/wal/");
    let record = append_here(store, "0").unwrap();
    store.hurry();
    wait_for_one(world);
    (held, record)
}

fn wait_for_one(world: &World) {
    while world.disk.waiting() == 0 {
        std::thread::yield_now();
    }
}

/// A write that hangs keeps the caller who writes; the others are told in time that their records are not written.
#[test]
fn a_write_that_hangs_keeps_one_caller() {
    let (world, store) = quiet();
    let held = Held::on(&world.disk, Operation::Write, "/wal/");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| append_here(&store, "0").unwrap().wait_written(LONG));
        wait_for_one(&world);
        let mut others: Vec<_> = (1..4).map(|number| append_here(&store, &number.to_string()).unwrap()).collect();
        for other in &mut others {
            assert_eq!(other.wait_written(SHORT), Err(AppendError::TimedOut));
        }
        drop(held);
        assert_eq!(first.join().unwrap(), Ok(()));
        for other in &mut others {
            assert_eq!(other.wait_written(LONG), Ok(()));
        }
    });
    drop(store);
    assert_eq!(world.texts(), ["0", "1", "2", "3"]);
}

/// The store ends with the write of a caller that fails: for those who wait too, and the log can be opened again.
#[test]
fn a_callers_write_that_fails_ends_the_store() {
    for error in [DiskError::Io, DiskError::Full, DiskError::ReadOnly] {
        let (mut world, store) = quiet();
        assert_eq!(append_here(&store, "kept").unwrap().wait_written(LONG), Ok(()));
        let mut waits = append_later(&store, "waits").unwrap();
        world.disk.inject(Fault::nth(Operation::Write, 1, error).on("/wal/"));
        let mut lost = append_here(&store, "lost").unwrap();
        for ticket in [&mut waits, &mut lost] {
            assert_eq!(ticket.wait_written(LONG), Err(AppendError::Failed), "{error:?}");
            assert_eq!(ticket.receipt(), None);
        }
        world.disk.heal();
        super::failure::assert_failed(&store, &format!("{error:?}"));
        drop(store);
        world.disk = world.disk.restart(1);
        let store = world.open().unwrap();
        assert_eq!(append_here(&store, "after").unwrap().wait_written(LONG), Ok(()));
        drop(store);
        let texts = world.texts();
        assert_eq!((texts.first().unwrap().as_str(), texts.last().unwrap().as_str()), ("kept", "after"));
    }
}

#[test]
fn what_is_queued_when_the_store_closes_is_written() {
    let (world, store) = quiet();
    let mut later = append_later(&store, "later").unwrap();
    store.close();
    assert_eq!(later.wait_durable(LONG), Ok(()));
    assert_eq!(append_here(&store, "late").unwrap_err(), AppendError::Closed);
    assert_eq!(world.texts(), ["later"]);
}
