//! The four faults of the peer's evidence store: records skipped in silence, failed deliveries
//! ignored, no fsync, no chain.

use super::{Held, LONG, World, append, settle};
use crate::evidence::merkle::Hash;
use crate::evidence::storage::sim::{DiskError, Fault, Operation};
use crate::evidence::{AppendError, Entry, EvidenceMode, EvidenceStore as _};

/// A store that is asked for more than it can take says so to each caller; what it took is there.
#[test]
fn no_record_is_skipped_in_silence() {
    let world = World::new(1, EvidenceMode::Strict);
    let store = world.open().unwrap();
    let held = Held::new(&world.disk);
    let mut accepted = Vec::new();
    let mut refused = 0;
    for number in 0..500 {
        let text = format!("{number}");
        match append(&store, &text) {
            Ok(_) => accepted.push(text),
            Err(error) => {
                assert_eq!(error, AppendError::Full);
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    drop(held);
    store.close();
    assert_eq!(world.texts(), accepted);
}

/// A record that did not reach the disk is never reported as kept.
#[test]
fn no_failed_write_is_ignored() {
    for operation in [Operation::Write, Operation::Sync] {
        let world = World::new(1, EvidenceMode::Strict);
        let store = world.open().unwrap();
        settle(&store);
        world.disk.inject(Fault::nth(operation, 1, DiskError::Io).on("/wal/"));
        assert_eq!(append(&store, "x").unwrap().wait_durable(LONG), Err(AppendError::Failed), "{operation:?}");
    }
}

/// Each confirmed record has a sync behind it, and a power cut right after proves it.
#[test]
fn every_confirmation_has_a_sync_behind_it() {
    let mut world = World::new(1, EvidenceMode::Strict);
    let store = world.open().unwrap();
    for number in 0..10 {
        let before = world.disk.count(Operation::Sync);
        append(&store, &format!("{number}")).unwrap().wait_durable(LONG).unwrap();
        assert!(world.disk.count(Operation::Sync) > before);
    }
    world.disk = world.disk.crash(1);
    drop(store);
    drop(world.open().unwrap());
    assert_eq!(world.texts().len(), 10);
}

/// Changing one entry breaks the chain at the next and every signed root from there on.
#[test]
fn every_entry_names_the_one_before() {
    let world = World::new(1, EvidenceMode::Strict);
    let store = world.open().unwrap();
    for number in 0..10 {
        append(&store, &format!("{number}")).unwrap().wait_durable(LONG).unwrap();
    }
    store.close();
    // the helper checks the whole chain
    let logs = world.logs();
    let (_, entries) = &logs[0];
    let mut altered = entries[4].clone();
    let at = altered.iter().position(|byte| *byte == b'3').unwrap();
    altered[at] = b'7';
    assert_ne!(Entry::parse(&entries[5]).unwrap().prev, Hash::of_leaf(&altered));
}
