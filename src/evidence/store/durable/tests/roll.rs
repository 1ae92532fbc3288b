//! Growth and time: logs that end and go on, clocks that go back.

use std::time::Duration;

use super::{LONG, World, append};
use crate::evidence::merkle::Hash;
use crate::evidence::storage::Storage as _;
use crate::evidence::{EvidenceMode, EvidenceStore as _};

fn strict() -> World {
    World::new(1, EvidenceMode::Strict)
}

/// One key of trust is enough to follow a log: the last entry of each names the next.
#[test]
fn a_log_that_has_grown_goes_on_in_the_next_one() {
    let mut world = strict();
    world.options.roll_bytes = 4_000;
    let log = world.open_log(EvidenceMode::Strict, LONG);
    let store = log.durable().unwrap();
    let first_key = log.key_id();
    for number in 0..100 {
        append(store, &format!("{number}")).unwrap().wait_durable(LONG).unwrap();
        store.publish(LONG, false).unwrap();
    }
    assert_ne!(log.key_id(), first_key, "each log has a hash key of its own");
    assert_ne!(log.directory().unwrap(), std::path::Path::new("/log/main/00000001"));
    let mut ticket = append(store, "last").unwrap();
    ticket.wait_durable(LONG).unwrap();
    let receipt = ticket.receipt().unwrap();
    assert_eq!(*receipt.origin, *log.verifier_key().unwrap().name());
    log.close();

    let logs = world.logs();
    assert!(logs.len() > 2, "{}", logs.len());
    let events = |entries: &[Vec<u8>]| -> Vec<serde_json::Value> {
        let event = |entry: &Vec<u8>| crate::evidence::Entry::parse(entry).unwrap().event.to_owned();
        entries.iter().map(|entry| serde_json::from_slice(&event(entry)).unwrap()).collect()
    };
    let roots = world.roots();
    for ((origin, entries), (next_origin, next_entries)) in logs.iter().zip(logs.iter().skip(1)) {
        let (ended, begun) = (events(entries).pop().unwrap(), events(next_entries).remove(0));
        assert_eq!(ended["rmcp_guard.notice"], "log_rolled");
        assert_eq!(ended["rmcp_guard.notice.next_origin"], **next_origin);
        assert!(ended["rmcp_guard.notice.next_vkey"].as_str().unwrap().starts_with(&format!("{next_origin}+")));
        assert_eq!(begun["rmcp_guard.notice"], "log_opened");
        assert_eq!(begun["rmcp_guard.notice.previous_origin"], **origin);
        assert_eq!(begun["rmcp_guard.notice.previous_size"], entries.len().to_string());
        let size = u64::try_from(entries.len()).unwrap();
        assert_eq!(begun["rmcp_guard.notice.previous_root"], roots[&(origin.clone(), size)].to_string());
    }
    assert_eq!(world.texts().len(), 101);
    let (_, last) = logs.last().unwrap();
    assert_eq!(Hash::of_leaf(&last[usize::try_from(receipt.index).unwrap()]), receipt.leaf);
    // of a log that has ended nothing but tiles remains
    assert!(world.disk.list(std::path::Path::new("/log/main/00000001/.state/wal")).is_err());
    // and it is opened where it was left
    let store = world.open().unwrap();
    append(&store, "again").unwrap().wait_durable(LONG).unwrap();
    store.close();
    assert_eq!(world.logs().len(), logs.len());
}

#[test]
fn a_log_that_is_old_goes_on_in_the_next_one() {
    let mut world = strict();
    world.options.roll_age = Duration::from_secs(3_600);
    let store = world.open().unwrap();
    append(&store, "a").unwrap().wait_durable(LONG).unwrap();
    store.publish(LONG, false).unwrap();
    world.clock.step(3_599);
    append(&store, "b").unwrap().wait_durable(LONG).unwrap();
    world.clock.step(1);
    append(&store, "c").unwrap().wait_durable(LONG).unwrap();
    append(&store, "d").unwrap().wait_durable(LONG).unwrap();
    store.close();
    let sizes: Vec<_> = world.logs().iter().map(|(_, entries)| entries.len()).collect();
    // opened a b c rolled, opened d; or the time has come while `b` was still being dealt with
    assert!(sizes == [5, 2] || sizes == [4, 3], "{sizes:?}");
    assert_eq!(world.texts(), ["a", "b", "c", "d"]);
}

#[test]
fn a_clock_that_goes_back_is_told() {
    let world = strict();
    let store = world.open().unwrap();
    append(&store, "a").unwrap().wait_durable(LONG).unwrap();
    world.clock.step(-1);
    append(&store, "b").unwrap().wait_durable(LONG).unwrap();
    assert_eq!(world.notices(), ["log_opened"]);
    world.clock.step(-5);
    append(&store, "c").unwrap().wait_durable(LONG).unwrap();
    append(&store, "d").unwrap().wait_durable(LONG).unwrap();
    store.close();
    assert_eq!(world.notices(), ["log_opened", "clock_stepped_back"]);
    let events = world.events();
    let told = events.iter().find(|event| event["rmcp_guard.notice"] == "clock_stepped_back").unwrap();
    assert_eq!(told["rmcp_guard.notice.seconds"], "6.000");
    let index = events.iter().position(|event| event["text"] == "c").unwrap();
    assert_eq!(events[index - 1], *told);
}
