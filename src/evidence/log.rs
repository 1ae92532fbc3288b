//! The handle that applications hold.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::keyed::KeyedHash;
use super::params_hash::plain_params_hash;
use super::record::{GapRecord, NoticeRecord, Record};
use super::store::{FileStore, MAX_MEMORY_RECORDS, MemoryStore, Repair, block_on, lock, open_directory};
use super::{
    AppendError, EvidenceId, EvidenceMode, EvidenceStore, OpenError, ParamsHash, Reservation, RoomFreed, Ticket,
};
use crate::clock::{Clock, SystemClock};
use crate::encoding::canonical_json_object;

/// Records in the queue between callers and disk by default. At a kilobyte each this is 16 MiB, and at 200 syncs a
/// second it takes more than three million calls a second to fill.
pub const DEFAULT_QUEUE_RECORDS: usize = 16_384;

/// How a log is opened; see [`EvidenceLog::options`].
#[derive(Clone, Debug)]
pub struct EvidenceOptions {
    mode: EvidenceMode,
    params_hash: ParamsHash,
    wait_limit: Option<Duration>,
    queue: usize,
}

impl Default for EvidenceOptions {
    fn default() -> Self {
        Self {
            mode: EvidenceMode::default(),
            params_hash: ParamsHash::default(),
            wait_limit: None,
            queue: DEFAULT_QUEUE_RECORDS,
        }
    }
}

impl EvidenceOptions {
    /// When a decision counts as recorded; [`EvidenceMode::Bounded`] by default.
    #[must_use]
    pub const fn mode(mut self, mode: EvidenceMode) -> Self {
        self.mode = mode;
        self
    }

    /// How arguments are hashed; [`ParamsHash::Keyed`] by default.
    #[must_use]
    pub const fn params_hash(mut self, form: ParamsHash) -> Self {
        self.params_hash = form;
        self
    }

    /// How long a call may wait for room or for the disk before it is denied; by default 250 ms in strict mode and
    /// 50 ms in the others.
    #[must_use]
    pub const fn wait_limit(mut self, limit: Duration) -> Self {
        self.wait_limit = Some(limit);
        self
    }

    /// Places in the queue between callers and disk, [`DEFAULT_QUEUE_RECORDS`] by default. Every call in flight holds
    /// two of them, one where outcomes are not recorded; with fewer places than that every call is denied.
    #[must_use]
    pub const fn queue(mut self, records: usize) -> Self {
        self.queue = records;
        self
    }

    /// Opens the log in `directory`, making it where it does not exist. One process writes to a directory at a time.
    ///
    /// Every record is read once to see that it is one, so this takes time in proportion to the log. A last line that
    /// a crash left unfinished is moved to a file of its own beside the log, and the log says so.
    ///
    /// Nothing is ever removed or rotated; from 1 GiB on a warning tells of each doubling. The file belongs to this log
    /// alone: once it is moved, cut or written by anybody else, the log has failed for good.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, open to other users, or holds something that is not a record.
    pub fn create_or_open(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        let mut opened = open_directory(directory.as_ref(), SystemClock.now())?;
        let keyed = KeyedHash::new(&opened.key);
        let repairs = std::mem::take(&mut opened.repairs);
        let store = FileStore::start(opened, self.mode, self.capacity())?;
        let log = self.log(Arc::new(store), keyed);
        for repair in repairs {
            log.record_repair(repair)?;
        }
        Ok(log)
    }

    /// First part of the log's origin (c2sp.org/tlog-checkpoint), such as `files.example.com/evidence`; the instance and
    /// the number of the log follow it. Fixed when the instance is made; by default it is a random name.
    #[must_use]
    pub fn origin(self, origin: impl Into<String>) -> Self {
        let _ = origin.into();
        todo!()
    }

    /// Name of this process's logs below the directory, `main` by default. Processes that share a directory need a name
    /// each: ASCII letters, digits, `-` and `_`, at most 64.
    #[must_use]
    pub fn instance(self, name: impl Into<String>) -> Self {
        let _ = name.into();
        todo!()
    }

    /// Where the log's keys and its high-water mark are kept; by default `<directory>.private`. Whoever can write there and
    /// in the log's directory can roll the log back unseen, so another volume is better, and a witness better still.
    #[must_use]
    pub fn private_dir(self, directory: impl Into<std::path::PathBuf>) -> Self {
        let _ = directory.into();
        todo!()
    }

    /// Signs with `signer` instead of a key that is made in the private directory. Its name is the origin.
    #[must_use]
    pub fn signer(self, signer: Arc<dyn super::note::NoteSigner>) -> Self {
        let _ = signer;
        todo!()
    }

    /// Lets `signer`, of the same name, sign every checkpoint beside the log's own key: how a key is replaced, since
    /// readers ignore signatures of keys that they do not know.
    #[must_use]
    pub fn co_signer(self, signer: Arc<dyn super::note::NoteSigner>) -> Self {
        let _ = signer;
        todo!()
    }

    /// How often a log that has grown publishes its checkpoint; 1 s by default.
    #[must_use]
    pub const fn checkpoint_interval(self, interval: Duration) -> Self {
        let _ = interval;
        todo!()
    }

    /// Bytes of entries after which a new log is begun; 8 GiB by default. The old one stays, whole and provable.
    #[must_use]
    pub const fn roll_after_bytes(self, bytes: u64) -> Self {
        let _ = bytes;
        todo!()
    }

    /// Age after which a new log is begun; 31 days by default.
    #[must_use]
    pub const fn roll_after_age(self, age: Duration) -> Self {
        let _ = age;
        todo!()
    }

    /// Makes a new log in `directory`.
    ///
    /// # Errors
    /// [`OpenError`], of kind [`Exists`](super::OpenErrorKind) where there is one.
    pub fn create(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        let _ = directory;
        todo!()
    }

    /// Opens the log in `directory`, which must be there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        let _ = directory;
        todo!()
    }

    /// A log in memory, which holds at most [`MAX_MEMORY_RECORDS`] records and then denies.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Randomness`](super::OpenErrorKind::Randomness) when no hash key can be made.
    pub fn in_memory(self) -> Result<EvidenceLog, OpenError> {
        self.store(Arc::new(MemoryStore::new(MAX_MEMORY_RECORDS)))
    }

    /// A log in a store of your own; hash key and mode are this log's.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Randomness`](super::OpenErrorKind::Randomness) when no hash key can be made.
    pub fn store(self, store: Arc<dyn EvidenceStore>) -> Result<EvidenceLog, OpenError> {
        let keyed = KeyedHash::random()?;
        Ok(self.log(store, keyed))
    }

    /// The queue, and in best-effort mode the place that is kept for the gap record at the end.
    const fn capacity(&self) -> usize {
        match self.mode {
            EvidenceMode::BestEffort => self.queue.saturating_add(1),
            EvidenceMode::Strict | EvidenceMode::Bounded => self.queue,
        }
    }

    fn log(self, store: Arc<dyn EvidenceStore>, keyed: KeyedHash) -> EvidenceLog {
        let default_limit = match self.mode {
            EvidenceMode::Strict => Duration::from_millis(250),
            EvidenceMode::Bounded | EvidenceMode::BestEffort => Duration::from_millis(50),
        };
        let last_place = if self.mode == EvidenceMode::BestEffort { store.reserve(1).ok() } else { None };
        EvidenceLog(Arc::new(Inner {
            store,
            keyed,
            mode: self.mode,
            params_hash: self.params_hash,
            wait_limit: self.wait_limit.unwrap_or(default_limit),
            drops: Mutex::new(Drops { total: 0, gap: None, last_place }),
        }))
    }
}

/// The handle of an evidence log; clones share it. When the last clone is dropped the log is closed, which blocks
/// until what is queued is on disk.
#[derive(Clone, Debug)]
pub struct EvidenceLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn EvidenceStore>,
    keyed: KeyedHash,
    mode: EvidenceMode,
    params_hash: ParamsHash,
    wait_limit: Duration,
    drops: Mutex<Drops>,
}

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
}

impl EvidenceLog {
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
        let options = EvidenceOptions::default();
        match KeyedHash::random() {
            Ok(keyed) => options.log(Arc::new(MemoryStore::new(MAX_MEMORY_RECORDS)), keyed),
            // a system without randomness gets a log that denies, under a key that hashes nothing
            Err(_) => options.log(Arc::new(MemoryStore::new(0)), KeyedHash::new(&[0; super::keyed::KEY_BYTES])),
        }
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
        let now = SystemClock.now();
        if !reservation.is_backed() {
            return self.0.drop_record(reservation, record.at().unwrap_or(now));
        }
        let event = record.encode(&self.0.keyed, now)?;
        if self.0.mode == EvidenceMode::BestEffort {
            self.0.record_gap();
            return match self.0.store.append(reservation, event) {
                Err(AppendError::Failed) => Ok(self.0.count_drop(record.at().unwrap_or(now))),
                result => result,
            };
        }
        self.0.store.append(reservation, event)
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
        self.0.keyed.hash(label, bytes)
    }

    /// The name of this log's hash key, as it stands in every keyed hash; tells nothing about the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.keyed.key_id()
    }

    /// Every record so far, in order: from memory, or read back from the file with what is queued written first.
    /// Blocks; it is meant for tests, tools and demonstrations.
    ///
    /// # Errors
    /// [`OpenError`] when the records cannot be read or one of them is damaged.
    pub fn records(&self) -> Result<Vec<Value>, OpenError> {
        self.0.store.records()
    }

    /// The key that checks this log's checkpoints, to be given to auditors; `None` for a log in memory.
    #[must_use]
    pub fn verifier_key(&self) -> Option<super::note::VerifierKey> {
        todo!()
    }

    /// The directory of the log that is being written, the one with `checkpoint` and `tile/`; `None` for a log in memory.
    #[must_use]
    pub fn directory(&self) -> Option<std::path::PathBuf> {
        todo!()
    }

    /// Makes everything appended so far durable and publishes a checkpoint that covers it; returns that signed note.
    /// Blocks.
    ///
    /// # Errors
    /// [`AppendError`] when the log has failed or takes longer than `limit`.
    pub fn publish(&self, limit: Duration) -> Result<Vec<u8>, AppendError> {
        let _ = limit;
        todo!()
    }

    /// Takes the body of entry `index` out of the log that is being written, keeping its leaf hash so that every proof
    /// holds, and records who asked (`by`) and why. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn redact(&self, index: u64, by: &str, why: &str) -> Result<(), OpenError> {
        let _ = (index, by, why);
        todo!()
    }

    /// Removes the bodies and leaf hashes of the entries below `index` (rounded down to a full bundle), keeping the tree
    /// above them so that proofs of later entries hold, and records it. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn prune(&self, index: u64, by: &str, why: &str) -> Result<(), OpenError> {
        let _ = (index, by, why);
        todo!()
    }

    /// Destroys the key of keyed hashes named `key_id`, so that nobody can find what was hashed by guessing any more
    /// (crypto-shredding), and records it. The key in use is replaced first. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn shred_hash_key(&self, key_id: &str, by: &str, why: &str) -> Result<(), OpenError> {
        let _ = (key_id, by, why);
        todo!()
    }

    /// What the log holds, what it dropped, and whether it still works.
    #[must_use]
    pub fn health(&self) -> EvidenceHealth {
        let store = self.0.store.health();
        EvidenceHealth {
            records: store.records,
            queued: store.queued,
            failed: store.failed,
            dropped: lock(&self.0.drops).total,
        }
    }

    /// Stops accepting, then writes and syncs what is queued. Blocks until that is done; places still reserved
    /// elsewhere become useless, so let calls in flight end first.
    pub fn close(&self) {
        self.0.close();
    }

    fn record_repair(&self, repair: Repair) -> Result<(), OpenError> {
        let now = SystemClock.now();
        let (name, members) = match repair {
            Repair::TornTail { file, bytes } => {
                tracing::warn!(%file, bytes, "the evidence log had an unfinished last line; it was set aside");
                ("torn_tail", vec![("file", file), ("bytes", bytes.to_string())])
            }
            Repair::KeyCreated => {
                tracing::warn!("the evidence log had no hash key; a new one was made");
                ("params_key_created", vec![("key_id", self.key_id().to_owned())])
            }
        };
        let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, name, members));
        let appended = self.reserve_blocking(1).and_then(|mut place| self.append(&mut place, &notice));
        appended.map(drop).map_err(|error| OpenError::new(super::OpenErrorKind::Io).caused_by(error))
    }
}

impl Inner {
    fn drop_record(&self, reservation: &mut Reservation, at: SystemTime) -> Result<Ticket, AppendError> {
        reservation.take_unbacked()?;
        Ok(self.count_drop(at))
    }

    fn count_drop(&self, at: SystemTime) -> Ticket {
        let mut drops = lock(&self.drops);
        drops.total = drops.total.saturating_add(1);
        if drops.gap.is_none() {
            tracing::warn!("evidence is being dropped: the queue is full or the store failed");
        }
        let gap = drops.gap.get_or_insert(Gap { count: 0, first: at, last: at });
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
        let Some(Gap { count, first, last }) = drops.gap else { return };
        let record = Record::Gap(GapRecord { id: EvidenceId::generate(last), count, first, last });
        let appended = record.encode(&self.keyed, last).and_then(|event| self.store.append(place, event));
        if appended.is_ok() {
            drops.gap = None;
        }
    }

    fn close(&self) {
        let mut drops = lock(&self.drops);
        if let Some(mut place) = drops.last_place.take() {
            self.write_gap(&mut drops, &mut place);
        }
        drop(drops);
        self.store.close();
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
    /// Records kept, those of earlier runs included.
    pub records: u64,
    /// Records accepted and not yet written.
    pub queued: u64,
    /// Records that best-effort mode dropped since the log was opened.
    pub dropped: u64,
    /// Whether a write or sync failed, after which every call is denied (strict, bounded) or unrecorded (best-effort).
    pub failed: bool,
}
