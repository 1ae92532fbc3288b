//! The handle that applications hold.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::flood::{Denied, Flood, Share};
use super::keyed::{KEY_BYTES, KeyCell, KeyedHash};
use super::note::VerifierKey;
use super::params_hash::plain_params_hash;
use super::record::{GapRecord, Record};
use super::store::durable::DurableStore;
use super::store::{LogHealth, MAX_MEMORY_RECORDS, MemoryStore, block_on, lock};
use super::{
    AppendError, EvidenceId, EvidenceMode, EvidenceOptions, EvidenceStore, OpenError, ParamsHash, Reservation,
    RoomFreed, Ticket,
};
use crate::clock::{Clock, SystemClock};
use crate::encoding::canonical_json_object;

/// The handle of an evidence log; clones share it. When the last clone is dropped the log is closed, which blocks
/// until what is queued is on disk.
#[derive(Clone, Debug)]
pub struct EvidenceLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn EvidenceStore>,
    /// The store again, where it is the log on disk.
    durable: Option<Arc<DurableStore>>,
    keys: KeyCell,
    mode: EvidenceMode,
    params_hash: ParamsHash,
    wait_limit: Duration,
    drops: Mutex<Drops>,
    flood: Flood,
}

const QUEUE_FULL: &str = "queue_full";
const STORE_FAILED: &str = "store_failed";

/// What best-effort mode had to drop.
#[derive(Debug)]
struct Drops {
    total: u64,
    gap: Option<Gap>,
    /// Kept from the start for a gap that is still open when the log is closed.
    last_place: Option<Reservation>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    count: u64,
    first: SystemTime,
    last: SystemTime,
    reason: &'static str,
}

impl EvidenceLog {
    pub(super) fn new(
        options: &EvidenceOptions,
        store: Arc<dyn EvidenceStore>,
        durable: Option<Arc<DurableStore>>,
        keys: KeyCell,
    ) -> Self {
        let default_limit = match options.mode {
            EvidenceMode::Strict => Duration::from_millis(250),
            EvidenceMode::Bounded | EvidenceMode::BestEffort => Duration::from_millis(50),
        };
        let flood = Flood::new(Arc::clone(&store), keys.clone(), options.denied, options.anonymous);
        let last_place = if options.mode == EvidenceMode::BestEffort { store.reserve(1).ok() } else { None };
        Self(Arc::new(Inner {
            store,
            durable,
            keys,
            mode: options.mode,
            params_hash: options.params_hash,
            wait_limit: options.wait_limit.unwrap_or(default_limit),
            drops: Mutex::new(Drops { total: 0, gap: None, last_place }),
            flood,
        }))
    }

    /// Opens the log in `directory` in bounded mode with defaults; see [`EvidenceOptions::create_or_open`].
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, open to other users, or holds something that is not a record.
    pub fn create_or_open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        EvidenceOptions::default().create_or_open(directory)
    }

    /// Options, for another mode or other limits.
    #[must_use]
    pub fn options() -> EvidenceOptions {
        EvidenceOptions::default()
    }

    /// A log in memory in bounded mode, which holds at most [`MAX_MEMORY_RECORDS`] records and then denies.
    #[must_use]
    pub fn in_memory() -> Self {
        let (places, keyed) = match KeyedHash::random() {
            Ok(keyed) => (MAX_MEMORY_RECORDS, keyed),
            // a system without randomness gets a log that denies, under a key that hashes nothing
            Err(_) => (0, KeyedHash::new(&[0; KEY_BYTES])),
        };
        Self::new(&EvidenceOptions::default(), Arc::new(MemoryStore::new(places)), None, KeyCell::new(keyed))
    }

    /// A log in a store of your own.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Randomness`](super::OpenErrorKind::Randomness) when no hash key can be made.
    pub fn with_store(store: Arc<dyn EvidenceStore>, mode: EvidenceMode) -> Result<Self, OpenError> {
        EvidenceOptions::default().mode(mode).store(store)
    }

    /// When a decision counts as recorded.
    #[must_use]
    pub fn mode(&self) -> EvidenceMode {
        self.0.mode
    }

    /// How long a call may wait for room or for the disk before it is denied.
    #[must_use]
    pub fn wait_limit(&self) -> Duration {
        self.0.wait_limit
    }

    /// Takes places for `records` records, all or none, without waiting. In best-effort mode a full or failed store
    /// gives places that nothing backs, and what is appended to them is counted as dropped.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`Failed`](AppendError::Failed) or [`Closed`](AppendError::Closed).
    pub fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        match self.0.store.reserve(records) {
            Err(AppendError::Full | AppendError::Failed) if self.0.mode == EvidenceMode::BestEffort => {
                Ok(Reservation::unbacked(records))
            }
            result => result,
        }
    }

    /// [`reserve`](Self::reserve), waiting for room. It waits as long as it takes, for ever where `records` exceeds the
    /// queue, so put a timeout of [`wait_limit`](Self::wait_limit) around it. Cancel safe: dropped, it holds no place.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`Closed`](AppendError::Closed).
    pub async fn reserve_wait(&self, records: u32) -> Result<Reservation, AppendError> {
        loop {
            match self.reserve(records) {
                Err(AppendError::Full) => {}
                result => return result,
            }
            // listen first and look again, or room that returns in between would go unnoticed
            let freed = self.room();
            match self.reserve(records) {
                Err(AppendError::Full) => freed.await,
                result => return result,
            }
        }
    }

    /// [`reserve`](Self::reserve) for a caller who is not authenticated, or not yet, within the share of all of these.
    pub(crate) fn reserve_unauthenticated(&self, records: u32) -> Result<Reservation, AppendError> {
        match self.0.store.reserve_unauthenticated(records) {
            Err(AppendError::Failed) if self.0.mode == EvidenceMode::BestEffort => Ok(Reservation::unbacked(records)),
            result => result,
        }
    }

    /// [`reserve_wait`](Self::reserve_wait) within that share.
    pub(crate) async fn reserve_unauthenticated_wait(&self, records: u32) -> Result<Reservation, AppendError> {
        let reserve = || match self.reserve_unauthenticated(records) {
            Err(AppendError::Full) if self.0.mode == EvidenceMode::BestEffort => Ok(Reservation::unbacked(records)),
            result => result,
        };
        loop {
            match reserve() {
                Err(AppendError::Full) => {}
                result => return result,
            }
            let freed = self.room();
            match reserve() {
                Err(AppendError::Full) => freed.await,
                result => return result,
            }
        }
    }

    /// [`reserve_unauthenticated_wait`](Self::reserve_unauthenticated_wait) on a thread that may block.
    pub(crate) fn reserve_unauthenticated_blocking(&self, records: u32) -> Result<Reservation, AppendError> {
        block_on(self.reserve_unauthenticated_wait(records), self.0.wait_limit).unwrap_or(Err(AppendError::Full))
    }

    /// Whether callers who are not authenticated may have something more recorded now.
    pub(crate) fn has_share(&self, share: Share, now: SystemTime) -> bool {
        self.0.flood.has_some(share, now)
    }

    /// Counts a denial that gets no record of its own.
    pub(crate) fn count_denial(&self, denied: &Denied<'_>, now: SystemTime) {
        self.0.flood.count(denied, now);
    }

    /// [`reserve_wait`](Self::reserve_wait) for code outside an async runtime: blocks this thread for at most
    /// [`wait_limit`](Self::wait_limit).
    ///
    /// # Errors
    /// [`AppendError::Full`] when no room returned in time, [`Failed`](AppendError::Failed) or
    /// [`Closed`](AppendError::Closed).
    pub fn reserve_blocking(&self, records: u32) -> Result<Reservation, AppendError> {
        block_on(self.reserve_wait(records), self.0.wait_limit).unwrap_or(Err(AppendError::Full))
    }

    /// Resolves when places have been given back after this call, or the log has ended.
    pub fn room(&self) -> RoomFreed {
        self.0.store.room_freed()
    }

    /// Encodes `record` and queues it in one place of `reservation`, without waiting. Texts longer than
    /// [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES) are cut; their length and keyed hash are recorded instead.
    ///
    /// In best-effort mode a record may be dropped: the returned ticket then says so
    /// ([`Ticket::is_recorded`]), and a gap record follows when room returns.
    ///
    /// # Errors
    /// [`AppendError::Full`] when the reservation holds no place, [`TooLarge`](AppendError::TooLarge),
    /// [`Failed`](AppendError::Failed) or [`Closed`](AppendError::Closed).
    pub fn append(&self, reservation: &mut Reservation, record: &Record) -> Result<Ticket, AppendError> {
        self.append_by(reservation, record, |place, event| self.0.store.append(place, event))
    }

    /// [`append`](Self::append) for a caller who will wait for the record to be written: in bounded mode it is written on this
    /// thread, where that can be done at once.
    pub(crate) fn append_and_write(
        &self,
        reservation: &mut Reservation,
        record: &Record,
    ) -> Result<Ticket, AppendError> {
        match &self.0.durable {
            Some(store) if self.0.mode == EvidenceMode::Bounded => {
                self.append_by(reservation, record, |place, event| store.append_and_write(place, event))
            }
            _ => self.append(reservation, record),
        }
    }

    /// [`append`](Self::append) for a record that nobody waits for: in bounded mode it is written with the next one, or
    /// before the next commit.
    pub(crate) fn append_later(&self, reservation: &mut Reservation, record: &Record) -> Result<Ticket, AppendError> {
        match &self.0.durable {
            Some(store) if self.0.mode == EvidenceMode::Bounded => {
                self.append_by(reservation, record, |place, event| store.append_later(place, event))
            }
            _ => self.append(reservation, record),
        }
    }

    /// [`append`](Self::append) for a caller who will wait for the record to be durable: no commit is waited for that is due
    /// only later.
    pub(crate) fn append_in_haste(
        &self,
        reservation: &mut Reservation,
        record: &Record,
    ) -> Result<Ticket, AppendError> {
        let ticket = self.append(reservation, record)?;
        if let Some(store) = &self.0.durable {
            store.hurry();
        }
        Ok(ticket)
    }

    fn append_by(
        &self,
        reservation: &mut Reservation,
        record: &Record,
        append: impl FnOnce(&mut Reservation, Vec<u8>) -> Result<Ticket, AppendError>,
    ) -> Result<Ticket, AppendError> {
        let now = SystemClock.now();
        if !reservation.is_backed() {
            return self.0.drop_record(reservation, record.at().unwrap_or(now));
        }
        let id = record.id(now);
        let event = record.encode(id, &self.0.keys.get(), now)?;
        if reservation.is_unauthenticated() {
            self.0.flood.spend(share_of(record), event.len());
        }
        if self.0.mode != EvidenceMode::BestEffort {
            return Ok(append(reservation, event)?.with_id(id));
        }
        self.0.record_gap();
        match append(reservation, event) {
            Err(AppendError::Failed) => Ok(self.0.count_drop(record.at().unwrap_or(now), STORE_FAILED)),
            result => Ok(result?.with_id(id)),
        }
    }

    /// The hash of a call's arguments in the configured form; `None` is hashed as the empty object.
    ///
    /// The keyed form hashes the RFC 8785 form, in which integers beyond 2^53 collapse: note in the record when
    /// [`has_inexact_numbers`](crate::encoding::has_inexact_numbers) says so.
    #[must_use]
    pub fn params_hash(&self, arguments: Option<&Map<String, Value>>) -> String {
        let empty = Map::new();
        let arguments = arguments.unwrap_or(&empty);
        match self.0.params_hash {
            ParamsHash::InsecurePlain => plain_params_hash(arguments),
            ParamsHash::Keyed => match canonical_json_object(arguments) {
                Ok(canonical) => self.keyed_hash("params", &canonical),
                // only where an application turns on serde_json's `arbitrary_precision` and a number is no double;
                // the label keeps it apart from every canonical form
                Err(_) => self.keyed_hash("params-text", Value::Object(arguments.clone()).to_string().as_bytes()),
            },
        }
    }

    /// The keyed hash `hmac-sha256:<kid>:<b64url>` of any bytes, such as a result (`result`) or a claim (`claimed`).
    /// Hashes under different labels never compare equal.
    #[must_use]
    pub fn keyed_hash(&self, label: &'static str, bytes: &[u8]) -> String {
        self.0.keys.get().hash(label, bytes)
    }

    /// The name of the hash key in use, as it stands in every keyed hash; tells nothing about the key. Each log has its
    /// own, so it changes when the log rolls.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.0.keys.get().key_id().to_owned()
    }

    /// Every record so far, in order, with what the log says about itself: from memory, or read back from the logs of
    /// this instance with what is queued written first. Redacted records are left out.
    /// Blocks; it is meant for tests, tools and demonstrations.
    ///
    /// # Errors
    /// [`OpenError`] when the records cannot be read or one of them is damaged.
    pub fn records(&self) -> Result<Vec<Value>, OpenError> {
        self.0.flood.flush();
        self.0.store.records()
    }

    /// The key that checks this log's checkpoints, to be given to auditors; `None` for a log in memory.
    #[must_use]
    pub fn verifier_key(&self) -> Option<VerifierKey> {
        self.0.durable.as_ref().map(|store| store.verifier_key())
    }

    /// The directory of the log that is being written, the one with `checkpoint` and `tile/`; `None` for a log in memory.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        self.0.durable.as_ref().map(|store| store.directory())
    }

    /// Makes everything appended so far durable and publishes a checkpoint that covers it; returns that signed note,
    /// which is empty for a log in memory. Blocks.
    ///
    /// # Errors
    /// [`AppendError`] when the log has failed or takes longer than `limit`.
    pub fn publish(&self, limit: Duration) -> Result<Vec<u8>, AppendError> {
        let Some(store) = &self.0.durable else { return Ok(Vec::new()) };
        self.0.flood.flush();
        store.publish(limit, false).map(|note| note.to_vec())
    }

    pub(super) fn durable(&self) -> Option<&DurableStore> {
        self.0.durable.as_deref()
    }

    /// Appends an event in its canonical form, whatever the mode; waits at most `limit` for room.
    pub(super) fn append_event(&self, event: Vec<u8>, limit: Duration) -> Result<Ticket, AppendError> {
        let store = &self.0.store;
        loop {
            // listen first, or room that returns in between would go unnoticed
            let freed = self.room();
            match store.reserve(1) {
                Ok(mut place) => return store.append(&mut place, event),
                Err(AppendError::Full) => block_on(freed, limit).ok_or(AppendError::TimedOut)?,
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn keys(&self) -> &KeyCell {
        &self.0.keys
    }

    /// What the log holds, what it dropped, and whether it still works.
    #[must_use]
    pub fn health(&self) -> EvidenceHealth {
        let store = self.0.store.health();
        EvidenceHealth {
            records: store.records,
            queued: store.queued,
            failed: store.failed,
            // in the other modes a call whose record is lost is denied, or its answer withheld
            dropped: lock(&self.0.drops).total.saturating_add(match self.0.mode {
                EvidenceMode::BestEffort => store.lost,
                EvidenceMode::Strict | EvidenceMode::Bounded => 0,
            }),
            coalesced: self.0.flood.total(),
            log: store.log,
        }
    }

    /// Stops accepting, then writes and syncs what is queued. Blocks until that is done; places still reserved
    /// elsewhere become useless, so let calls in flight end first.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn drop_record(&self, reservation: &mut Reservation, at: SystemTime) -> Result<Ticket, AppendError> {
        reservation.take_unbacked()?;
        let reason = if self.store.health().failed { STORE_FAILED } else { QUEUE_FULL };
        Ok(self.count_drop(at, reason))
    }

    fn count_drop(&self, at: SystemTime, reason: &'static str) -> Ticket {
        let mut drops = lock(&self.drops);
        drops.total = drops.total.saturating_add(1);
        if drops.gap.is_none() {
            tracing::warn!(reason, "evidence is being dropped");
        }
        let gap = drops.gap.get_or_insert(Gap { count: 0, first: at, last: at, reason });
        gap.count = gap.count.saturating_add(1);
        gap.first = gap.first.min(at);
        gap.last = gap.last.max(at);
        Ticket::dropped()
    }

    /// Records an open gap if there is room for it; it stays open otherwise.
    fn record_gap(&self) {
        let mut drops = lock(&self.drops);
        if drops.gap.is_some()
            && let Ok(mut place) = self.store.reserve(1)
        {
            self.write_gap(&mut drops, &mut place);
        }
    }

    fn write_gap(&self, drops: &mut Drops, place: &mut Reservation) {
        let Some(Gap { count, first, last, reason }) = drops.gap else { return };
        let id = EvidenceId::generate(last);
        let record = Record::Gap(GapRecord { id, count, first, last, reason });
        let appended = record.encode(id, &self.keys.get(), last).and_then(|event| self.store.append(place, event));
        if appended.is_ok() {
            drops.gap = None;
        }
    }

    fn close(&self) {
        // places that are left come back when the store is closed: nobody shall take them for room
        let left = self.flood.close();
        let mut drops = lock(&self.drops);
        let mut last_place = drops.last_place.take();
        if let Some(place) = &mut last_place {
            self.write_gap(&mut drops, place);
        }
        drop(drops);
        self.store.close();
        drop((left, last_place));
    }
}

/// Whose bytes a record of a caller who is not authenticated takes.
const fn share_of(record: &Record) -> Share {
    match record {
        Record::Decision(decision) if decision.allow => Share::Anonymous,
        Record::Outcome(_) => Share::Anonymous,
        Record::Decision(_) | Record::PolicyLoaded(_) | Record::Notice(_) | Record::Gap(_) | Record::Coalesced(_) => {
            Share::Denied
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// A log's state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvidenceHealth {
    /// Records kept, those of earlier runs included; of a log on disk the entries of the one that is being written, with
    /// what it says about itself. That begins anew when a log rolls.
    pub records: u64,
    /// Records accepted and not yet written.
    pub queued: u64,
    /// Records that best-effort mode dropped since the log was opened: those that found no place, which gap records count
    /// too, and those that a failure of the log has kept from the file, of which nothing but this tells. A count that was
    /// itself among these (a gap, or denials that were coalesced) is one record.
    pub dropped: u64,
    /// Denials that were counted in coalesced records instead of recorded one by one, since the log was opened.
    pub coalesced: u64,
    /// Whether a write or sync failed, after which every call is denied (strict, bounded) or unrecorded (best-effort).
    pub failed: bool,
    /// What is known of the log on disk; `None` for one in memory or in a store of your own that says nothing.
    pub log: Option<LogHealth>,
}
