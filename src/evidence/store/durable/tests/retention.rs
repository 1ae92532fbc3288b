//! What is taken out is gone from every file, told in the log, and no proof breaks.

use super::{LONG, World, append};
use crate::evidence::{EvidenceMode, OpenErrorKind};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_redacted_entry_is_gone_from_every_file_and_its_leaf_stays() {
    // in a bundle that is full, and in the one that is filling
    for (secret_at, after) in [(3, 400), (3, 5)] {
        let world = World::new(1, EvidenceMode::Strict);
        let log = world.open_log(EvidenceMode::Strict, LONG);
        let store = log.durable().unwrap();
        let mut secret = None;
        for number in 0..after {
            let text = if number == secret_at { "s3cret-to-be-taken-out".to_owned() } else { format!("{number}") };
            let mut ticket = append(store, &text).unwrap();
            ticket.wait_durable(LONG).unwrap();
            if number == secret_at {
                secret = ticket.receipt();
            }
        }
        let secret = secret.unwrap();
        log.publish(LONG).unwrap();
        let found = |world: &World| {
            let files = world.disk.files().into_iter();
            files.filter(|path| contains(&world.disk.bytes(path), "s3cret-to-be")).collect::<Vec<_>>()
        };
        assert!(found(&world).len() > 1, "{:?}", found(&world));
        log.redact(secret.index, "the controller", "erasure request 17").unwrap();
        assert_eq!(found(&world), Vec::<std::path::PathBuf>::new());
        for number in 0..300 {
            append(store, &format!("later {number}")).unwrap().wait_durable(LONG).unwrap();
        }
        log.publish(LONG).unwrap();
        log.close();
        assert_eq!(found(&world), Vec::<std::path::PathBuf>::new());

        let events = super::records::read_instance(&world.storage(), std::path::Path::new("/log/main")).unwrap();
        let (_, entries) = &events[0];
        assert!(entries[usize::try_from(secret.index).unwrap()].is_empty());
        let mut tiles = crate::evidence::tiles::TileReader::new(
            world.storage(),
            std::path::Path::new("/log/main/00000001"),
            u64::try_from(entries.len()).unwrap(),
        );
        assert_eq!(tiles.leaf(secret.index).unwrap(), secret.leaf);
        // the next entry still names it
        let next = &entries[usize::try_from(secret.index).unwrap() + 1];
        assert_eq!(crate::evidence::Entry::parse(next).unwrap().prev, secret.leaf);
        let told = entries.iter().find(|entry| contains(entry, "entry_redacted")).unwrap();
        assert!(contains(told, "erasure request 17") && contains(told, "the controller"));
        // and it is opened as before
        let store = world.open().unwrap();
        append(&store, "again").unwrap().wait_durable(LONG).unwrap();
    }
}

#[test]
fn pruned_entries_are_gone_and_the_log_goes_on() {
    let world = World::new(1, EvidenceMode::Strict);
    let log = world.open_log(EvidenceMode::Strict, LONG);
    let store = log.durable().unwrap();
    for number in 0..600 {
        append(store, &format!("entry-{number}-")).unwrap().wait_durable(LONG).unwrap();
    }
    log.prune(300, "the operator", "six months have passed").unwrap();
    let found = |text: &str| world.disk.files().iter().any(|path| contains(&world.disk.bytes(path), text));
    // rounded down to a bundle of 256, the first of which is about the opening
    assert!(!found("entry-100-") && !found("entry-254-"));
    assert!(found("entry-255-"));
    log.close();
    let store = world.open().unwrap();
    append(&store, "again").unwrap().wait_durable(LONG).unwrap();
}

#[test]
fn what_is_not_there_is_not_recorded_as_taken_out() {
    let world = World::new(1, EvidenceMode::Strict);
    let log = world.open_log(EvidenceMode::Strict, LONG);
    assert_eq!(log.redact(1, "me", "no reason").unwrap_err().kind(), OpenErrorKind::NoSuchEntry);
    assert_eq!(log.prune(2, "me", "no reason").unwrap_err().kind(), OpenErrorKind::NoSuchEntry);
    let memory = crate::evidence::EvidenceLog::in_memory();
    assert_eq!(memory.redact(0, "me", "no reason").unwrap_err().kind(), OpenErrorKind::NoSuchEntry);
    log.close();
    assert_eq!(world.notices(), ["log_opened"]);
}

/// S32: the key of hashes is outside the log's directory, and without it nothing can be found by guessing.
#[test]
fn s32_a_destroyed_hash_key_is_nowhere_and_the_log_goes_on_under_another() {
    let world = World::new(1, EvidenceMode::Strict);
    let log = world.open_log(EvidenceMode::Strict, LONG);
    let (key_id, hash) = (log.key_id(), log.params_hash(None));
    assert!(world.disk.files().iter().any(|path| path.to_string_lossy().contains(&key_id)));
    assert!(world.disk.files().iter().all(|path| !path.starts_with("/log") || !path.ends_with(".key")));
    log.shred_hash_key(&key_id, "the controller", "the contract ended").unwrap();
    assert_ne!((log.key_id(), log.params_hash(None)), (key_id.clone(), hash));
    assert!(world.disk.files().iter().all(|path| !path.to_string_lossy().contains(&key_id)));
    let again = log.shred_hash_key(&key_id, "the controller", "again").unwrap_err();
    assert_eq!(again.kind(), OpenErrorKind::NoSuchEntry);
    log.close();
    let events = world.events();
    let told = events.iter().find(|event| event["rmcp_guard.notice"] == "params_key_shredded").unwrap();
    assert_eq!(told["rmcp_guard.notice.key_id"], key_id);
}

/// An index is that of an entry of one log: when the next log has begun meanwhile, its entry of that index stays.
#[test]
fn what_was_checked_in_one_log_is_not_taken_out_of_the_next() {
    use super::super::Removal;
    use crate::evidence::OpenErrorKind;
    let mut world = World::new(1, EvidenceMode::Strict);
    world.options.roll_bytes = 2_000;
    let store = world.open().unwrap();
    append(&store, "a").unwrap().wait_durable(LONG).unwrap();
    store.publish(LONG, false).unwrap();
    let origin = store.check_removal(Removal::Redact(1), LONG).unwrap();
    let first = store.directory();
    append(&store, &"b".repeat(3_000)).unwrap().wait_durable(LONG).unwrap();
    append(&store, "c").unwrap().wait_durable(LONG).unwrap();
    assert_ne!(store.directory(), first);
    let refused = store.remove(Removal::Redact(1), &origin, LONG).unwrap_err();
    assert_eq!(refused.kind(), OpenErrorKind::OtherLog);
    drop(store);
    assert_eq!(world.texts().len(), 3);
}
