//! The store on a simulated disk.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

mod callers;
mod failure;
mod incumbent;
#[cfg(loom)]
mod interleaving;
mod power;
mod records;
mod retention;
mod roll;
mod slow;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Creation, DurableOptions, DurableStore, open_instance};
use crate::clock::Clock;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::entry::NO_PREVIOUS;
use crate::evidence::keyed::{KeyCell, KeyedHash};
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::note::UnverifiedNote;
use crate::evidence::storage::Storage;
use crate::evidence::storage::sim::{Operation, SimDisk};
use crate::evidence::wal::WalOptions;
use crate::evidence::{
    AppendError, Entry, EvidenceId, EvidenceLog, EvidenceMode, EvidenceStore as _, OpenError, Ticket,
};

pub(super) const LONG: Duration = Duration::from_secs(10);
/// So far apart that nothing happens by itself.
pub(super) const NEVER: Duration = Duration::from_secs(1_000_000);

/// A clock that is set.
#[derive(Debug)]
pub(super) struct TestClock(Mutex<SystemTime>);

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(UNIX_EPOCH.checked_add(Duration::from_secs(1_760_000_000)).unwrap())))
    }

    pub(super) fn step(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        let by = Duration::from_secs(seconds.unsigned_abs());
        *now = if seconds < 0 { now.checked_sub(by) } else { now.checked_add(by) }.unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// A log below `/log` on a simulated disk.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) options: DurableOptions,
    pub(super) clock: Arc<TestClock>,
}

impl World {
    pub(super) fn new(seed: u64, mode: EvidenceMode) -> Self {
        let commit_delay = match mode {
            EvidenceMode::Strict => Duration::ZERO,
            EvidenceMode::Bounded => Duration::from_millis(1),
            EvidenceMode::BestEffort => NEVER,
        };
        let options = DurableOptions {
            directory: PathBuf::from("/log"),
            private: PathBuf::from("/private"),
            instance: "main".to_owned(),
            origin: Some("test.example/log".to_owned()),
            signer: None,
            co_signer: None,
            capacity: 64,
            commit_delay,
            publish_interval: NEVER,
            roll_bytes: u64::MAX,
            roll_age: NEVER,
            low_disk_bytes: 0,
            wal: WalOptions { first_segment: 128 << 10, max_segment: 128 << 10, spare_segments: 1 },
            wal_limit: 64 << 20,
        };
        Self { disk: SimDisk::new(seed), options, clock: TestClock::new() }
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.disk.clone())
    }

    pub(super) fn open(&self) -> Result<DurableStore, OpenError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let opened = open_instance(self.storage(), self.options.clone(), Creation::CreateOrOpen, &*clock)?;
        let keys = KeyCell::new(KeyedHash::new(&opened.private.hash_key()?.0));
        DurableStore::start(opened, keys, clock)
    }

    /// The handle that applications have, on this disk.
    pub(super) fn open_log(&self, mode: EvidenceMode, limit: Duration) -> EvidenceLog {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let opened = open_instance(self.storage(), self.options.clone(), Creation::CreateOrOpen, &*clock).unwrap();
        let keys = KeyCell::new(KeyedHash::new(&opened.private.hash_key().unwrap().0));
        let store = Arc::new(DurableStore::start(opened, keys.clone(), clock).unwrap());
        let options = EvidenceLog::options().mode(mode).wait_limit(limit);
        EvidenceLog::new(&options, Arc::clone(&store) as _, Some(store), keys)
    }

    /// The entries of each log, with its origin; the chain in them is checked.
    pub(super) fn logs(&self) -> Vec<records::OneLog> {
        let logs = records::read_instance(&self.storage(), &self.options.directory.join("main")).unwrap();
        for (_, entries) in &logs {
            let mut prev = NO_PREVIOUS;
            for (seq, bytes) in (0..).zip(entries) {
                let entry = Entry::parse(bytes).unwrap();
                assert_eq!((entry.seq, entry.prev), (seq, prev));
                prev = Hash::of_leaf(bytes);
            }
        }
        logs
    }

    /// The events of all logs.
    pub(super) fn events(&self) -> Vec<serde_json::Value> {
        let entries = self.logs().into_iter().flat_map(|(_, entries)| entries);
        entries.map(|entry| serde_json::from_slice(Entry::parse(&entry).unwrap().event).unwrap()).collect()
    }

    /// The log's notices about itself, by name.
    pub(super) fn notices(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter_map(|event| event["rmcp_guard.notice"].as_str().map(str::to_owned)).collect()
    }

    /// What callers appended, in order.
    pub(super) fn texts(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
    }

    /// The root of each log at each size.
    pub(super) fn roots(&self) -> BTreeMap<(String, u64), Hash> {
        let mut roots = BTreeMap::new();
        for (origin, entries) in self.logs() {
            let mut tree = Frontier::new();
            roots.insert((origin.clone(), 0), tree.root());
            for entry in entries {
                tree.push(Hash::of_leaf(&entry));
                roots.insert((origin.clone(), tree.size()), tree.root());
            }
        }
        roots
    }
}

/// Checks that a note is of a tree that the log has had: its entries are the first ones of the log of that origin.
pub(super) fn assert_continues(note: &[u8], roots: &BTreeMap<(String, u64), Hash>) {
    let note = UnverifiedNote::parse(note).unwrap();
    let Checkpoint { origin, size, root } = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(roots.get(&(origin.clone(), size)), Some(&root), "split view of {origin} at {size}");
}

/// Appends an event with `text`. Whether its caller may write it itself depends on the text: every test has both.
pub(super) fn append(store: &DurableStore, text: &str) -> Result<Ticket, AppendError> {
    let mut place = store.reserve(1)?;
    let here = text.bytes().fold(0_u8, u8::wrapping_add) % 2 == 0;
    let append = if here { DurableStore::append_and_write } else { DurableStore::append };
    Ok(append(store, &mut place, event(text))?.with_id(EvidenceId::generate(UNIX_EPOCH)))
}

/// Waits until the tiler has its spare segment, and so writes nothing into the write-ahead log's directory any more.
pub(super) fn settle(store: &DurableStore) {
    while store.current.get().keeper.spares() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Syncs, or writes, hang for as long as this lives.
pub(super) struct Held<'a>(&'a SimDisk);

impl<'a> Held<'a> {
    pub(super) fn new(disk: &'a SimDisk) -> Self {
        Self::on(disk, Operation::Sync, "")
    }

    /// Those of files whose path contains `part`.
    pub(super) fn on(disk: &'a SimDisk, operation: Operation, part: &str) -> Self {
        disk.hold(operation, part);
        Self(disk)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

pub(super) fn event(text: &str) -> Vec<u8> {
    format!(r#"{{"event.name":"test","id":"{text}","text":"{text}"}}"#).into_bytes()
}

/// Seeds to run: a few by default, `full` with `RMCP_GUARD_FULL=1`.
pub(super) fn seeds(few: u64, full: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("RMCP_GUARD_FULL").is_some() { full } else { few }
}
