//! The power is cut: what was confirmed is there, and nothing that was signed and shown is contradicted.
//!
//! `RMCP_GUARD_FULL=1 cargo test --release --no-default-features --lib durable::tests::power` runs ten thousand seeds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::DurableStore;
use super::{World, append, assert_continues, event, seeds};
use crate::evidence::storage::sim::SimDisk;
use crate::evidence::{AppendError, EvidenceMode, EvidenceStore as _, OpenErrorKind, Receipt};

/// What has left the process.
#[derive(Debug, Default)]
struct Witness {
    notes: Vec<Vec<u8>>,
    /// Receipts that said durable.
    receipts: Vec<(String, Receipt)>,
    /// Records whose wait for durability was answered.
    confirmed: Vec<String>,
}

impl Witness {
    /// Takes every note that somebody could read on `disk`.
    fn look(&mut self, disk: &SimDisk) {
        for path in disk.files() {
            let name = path.file_name().unwrap();
            if name == "checkpoint" || name == "high-water" {
                self.notes.push(disk.bytes(&path));
            }
        }
    }
}

/// A small random generator (splitmix64), so that a seed is a run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Opens, appends and publishes until the power goes, or everything is done.
fn live(world: &World, random: &mut Random, round: u64, witness: &mut Witness) {
    let Ok(store) = world.open() else { return };
    for number in 0..random.below(30) {
        let text = format!("{round}-{number}");
        let mut tickets = Vec::new();
        for part in 0..=random.below(3) {
            let text = format!("{text}-{part}");
            match append(&store, &text) {
                Ok(ticket) => tickets.push((text, ticket)),
                Err(_) => return,
            }
        }
        let wait = random.below(4) > 0;
        for (text, mut ticket) in tickets {
            if wait && ticket.wait_durable(Duration::from_secs(60)).is_ok() {
                let receipt = ticket.receipt().unwrap();
                assert!(receipt.durable);
                witness.confirmed.push(text.clone());
                witness.receipts.push((text, receipt));
            }
        }
        if random.below(4) == 0
            && let Some(note) = publish(&store, random.below(2) == 0)
        {
            witness.notes.push(note.to_vec());
        }
        witness.look(&world.disk);
    }
    store.close();
}

/// Publishes, unless the power is gone.
fn publish(store: &DurableStore, seal: bool) -> Option<Arc<[u8]>> {
    loop {
        match store.publish(Duration::from_millis(20), seal) {
            Ok(note) => return Some(note),
            Err(AppendError::TimedOut) if !store.health().log.unwrap().tiles_failing => {}
            Err(_) => return None,
        }
    }
}

fn check(world: &World, witness: &Witness, context: &str) {
    let logs = world.logs();
    let texts = world.texts();
    for text in &witness.confirmed {
        assert_eq!(texts.iter().filter(|found| *found == text).count(), 1, "{context}: {text} was confirmed");
    }
    for (text, receipt) in &witness.receipts {
        let (_, entries) = logs.iter().find(|(origin, _)| *origin == *receipt.origin).unwrap();
        let entry = &entries[usize::try_from(receipt.index).unwrap()];
        assert_eq!(crate::evidence::merkle::Hash::of_leaf(entry), receipt.leaf, "{context}: the receipt of {text}");
        assert_eq!(crate::evidence::Entry::parse(entry).unwrap().event, event(text));
    }
    let roots = world.roots();
    for note in &witness.notes {
        assert_continues(note, &roots);
    }
}

/// Any subset of unsynced sectors and names may be lost, and any of them may stay.
#[test]
fn no_confirmed_record_is_lost_and_no_view_is_split() {
    for seed in seeds(150, 10_000) {
        let mut random = Random(seed);
        let mode = if random.below(3) == 0 { EvidenceMode::Bounded } else { EvidenceMode::Strict };
        let mut world = World::new(seed, mode);
        world.options.publish_interval = Duration::from_millis(1);
        if random.below(2) == 0 {
            world.options.roll_bytes = 1_000 + random.below(10_000);
        }
        let mut witness = Witness::default();
        for round in 0..3 {
            world.disk.cut_power_at(world.disk.changes() + 1 + random.below(400));
            live(&world, &mut random, round, &mut witness);
            // what was renamed was seen, whether it lasts or not
            witness.look(&world.disk);
            let killed = random.below(4) == 0;
            let crash_seed = random.below(u64::MAX);
            world.disk = if killed { world.disk.restart(crash_seed) } else { world.disk.crash(crash_seed) };
        }
        let store = world.open().unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        append(&store, "after").unwrap().wait_durable(super::LONG).unwrap();
        witness.confirmed.push("after".to_owned());
        witness.notes.push(store.publish(super::LONG, true).unwrap().to_vec());
        store.close();
        check(&world, &witness, &format!("seed {seed}"));
    }
}

/// The power goes at each change of the disk in turn, so also between signing and sync, between
/// sync and publishing, between tile and publishing, and within opening, rolling and closing.
#[test]
fn whatever_change_is_the_last_no_view_is_split() {
    let run = |cut: Option<u64>, seed: u64| {
        let mut world = World::new(seed, EvidenceMode::Strict);
        world.options.roll_bytes = 2_500;
        let mut witness = Witness::default();
        let mut live = || {
            let store = world.open().ok()?;
            for number in 0..8 {
                let text = format!("{number}");
                append(&store, &text).ok()?.wait_durable(super::LONG).ok()?;
                witness.confirmed.push(text);
                if number % 2 == 0 {
                    witness.notes.push(publish(&store, number % 4 == 0)?.to_vec());
                }
            }
            store.close();
            Some(())
        };
        if let Some(cut) = cut {
            world.disk.cut_power_at(cut);
        }
        live();
        witness.look(&world.disk);
        let changes = world.disk.changes();
        world.disk = world.disk.crash(seed);
        let context = format!("change {cut:?}, seed {seed}");
        let store = world.open().unwrap_or_else(|error| panic!("{context}: {error:?}"));
        append(&store, "after").unwrap().wait_durable(super::LONG).unwrap();
        witness.notes.push(store.publish(super::LONG, true).unwrap().to_vec());
        store.close();
        check(&world, &witness, &context);
        changes
    };
    let changes = run(None, 0);
    assert!(changes > 100, "{changes}");
    for seed in seeds(1, 50) {
        for cut in 1..=changes {
            run(Some(cut), seed);
        }
    }
}

/// The other half of the high-water mark: an older copy of the log is refused, whole as it is.
#[test]
fn s30_an_older_copy_of_the_log_is_refused() {
    let world = World::new(7, EvidenceMode::Strict);
    let store = world.open().unwrap();
    append(&store, "a").unwrap().wait_durable(super::LONG).unwrap();
    store.close();
    let older: Vec<_> = world.disk.files().into_iter().map(|path| (world.disk.bytes(&path), path)).collect();
    let store = world.open().unwrap();
    append(&store, "b").unwrap().wait_durable(super::LONG).unwrap();
    store.close();
    for path in world.disk.files().iter().filter(|path| path.starts_with("/log")) {
        world.disk.remove(path);
    }
    for (bytes, path) in older.into_iter().filter(|(_, path)| path.starts_with(Path::new("/log"))) {
        world.disk.put(path, bytes);
    }
    let kind = world.open().unwrap_err().kind();
    assert!(matches!(kind, OpenErrorKind::RolledBack { .. }), "{kind:?}");
}
