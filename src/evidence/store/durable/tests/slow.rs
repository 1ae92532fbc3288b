//! A disk that hangs: strict and bounded deny within their limit, best effort counts.

use std::time::Duration;

use super::{Held, LONG, World};
use crate::evidence::{AppendError, EvidenceId, EvidenceLog, EvidenceMode, NoticeRecord, Record};

const LIMIT: Duration = Duration::from_millis(20);

fn notice() -> Record {
    let now = std::time::UNIX_EPOCH;
    Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()))
}

fn append(log: &EvidenceLog) -> Result<crate::evidence::Ticket, AppendError> {
    log.append(&mut log.reserve_blocking(1)?, &notice())
}

#[test]
fn strict_denies_while_a_sync_hangs_and_loses_nothing() {
    let mut world = World::new(1, EvidenceMode::Strict);
    world.options.capacity = 4 + crate::evidence::flood::LAST_PLACES;
    let log = world.open_log(EvidenceMode::Strict, LIMIT);
    let held = Held::new(&world.disk);
    let mut tickets = Vec::new();
    for _ in 0..4 {
        let mut ticket = append(&log).unwrap();
        assert_eq!(ticket.wait_durable(log.wait_limit()), Err(AppendError::TimedOut));
        assert!(!ticket.receipt().is_some_and(|receipt| receipt.durable));
        tickets.push(ticket);
    }
    // no place is left: the next call is denied before it gets that far
    assert_eq!(append(&log).unwrap_err(), AppendError::Full);
    drop(held);
    for ticket in &mut tickets {
        assert_eq!(ticket.wait_durable(LONG), Ok(()));
        assert!(ticket.receipt().unwrap().durable);
    }
    append(&log).unwrap().wait_durable(LONG).unwrap();
    log.close();
    assert_eq!(world.notices().iter().filter(|name| *name == "test").count(), 5);
}

#[test]
fn bounded_denies_while_a_sync_hangs_and_loses_nothing() {
    let mut world = World::new(1, EvidenceMode::Bounded);
    world.options.capacity = 4 + crate::evidence::flood::LAST_PLACES;
    let log = world.open_log(EvidenceMode::Bounded, LIMIT);
    let held = Held::new(&world.disk);
    // a few are written before the commit is due, in whose sync the thread then hangs
    let mut written = 0;
    let mut tickets = loop {
        let mut ticket = append(&log).unwrap();
        match ticket.wait_written(log.wait_limit()) {
            Ok(()) => written += 1,
            Err(error) => {
                assert_eq!((error, ticket.receipt()), (AppendError::TimedOut, None));
                break vec![ticket];
            }
        }
        assert!(!ticket.receipt().unwrap().durable);
    };
    for _ in 0..3 {
        let mut ticket = append(&log).unwrap();
        assert_eq!(ticket.wait_written(log.wait_limit()), Err(AppendError::TimedOut));
        tickets.push(ticket);
    }
    assert_eq!(append(&log).unwrap_err(), AppendError::Full);
    drop(held);
    for ticket in &mut tickets {
        assert_eq!(ticket.wait_written(LONG), Ok(()));
    }
    log.close();
    assert_eq!(world.notices().iter().filter(|name| *name == "test").count(), tickets.len() + written);
}

/// What best effort drops is what its gap records count, and the time it takes is nobody's.
#[test]
fn best_effort_drops_what_its_gap_records_count() {
    let mut world = World::new(1, EvidenceMode::BestEffort);
    world.options.commit_delay = Duration::from_millis(1);
    world.options.capacity = 8;
    let log = world.open_log(EvidenceMode::BestEffort, LIMIT);
    let mut appended = 0;
    for _ in 0..3 {
        let held = Held::new(&world.disk);
        let dropped = log.health().dropped;
        while log.health().dropped < dropped + 10 {
            let mut place = log.reserve(1).unwrap();
            let _ = log.append(&mut place, &notice()).unwrap();
            appended += 1;
        }
        drop(held);
        // room again, and so a gap record
        log.append(&mut log.reserve_blocking(1).unwrap(), &notice()).unwrap().wait_written(LONG).unwrap();
        appended += 1;
    }
    log.close();
    let dropped = log.health().dropped;
    let events = world.events();
    let gaps: Vec<_> = events.iter().filter(|event| event["rmcp_guard.kind"] == "gap").collect();
    let counted: u64 = gaps.iter().map(|gap| gap["rmcp_guard.gap.count"].as_u64().unwrap()).sum();
    assert_eq!(counted, dropped);
    assert!(gaps.iter().all(|gap| gap["rmcp_guard.gap.reason"] == "queue_full"));
    let kept = u64::try_from(world.notices().iter().filter(|name| *name == "test").count()).unwrap();
    assert_eq!(kept + dropped, appended);
}
