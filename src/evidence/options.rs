//! How a log is opened.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::flood::{ByteLimit, LAST_PLACES};
use super::keyed::{KeyCell, KeyedHash};
use super::note::NoteSigner;
use super::storage::FsStorage;
use super::store::durable::{Creation, DurableOptions, DurableStore, open_instance};
use super::store::{DEFAULT_UNAUTHENTICATED_SHARE, MAX_MEMORY_RECORDS, MemoryStore, share};
use super::wal::WalOptions;
use super::{EvidenceLog, EvidenceMode, EvidenceStore, OpenError, OpenErrorKind, ParamsHash};
use crate::clock::SystemClock;

/// Records in the queue between callers and disk by default. At a kilobyte each this is 16 MiB, and at 200 syncs a
/// second it takes more than three million calls a second to fill.
pub const DEFAULT_QUEUE_RECORDS: usize = 16_384;

/// Bytes of denials that callers who are not authenticated can have recorded each second by default: about seventy records,
/// or 5.6 GB a day, which is what strangers can fill the disk with at most. What is beyond is counted.
pub const DEFAULT_DENIED_BYTES_PER_SECOND: u64 = 64 << 10;

/// Bytes of such denials at once by default, about sixteen thousand records: a fleet with a wrong key or clock, or an
/// issuer that is down for a minute, stays on record call by call.
pub const DEFAULT_DENIED_BURST_BYTES: u64 = 16 << 20;

/// Bytes of calls that a rule opens to everybody, each second by default: about six thousand calls with their outcomes.
///
/// An eighth of what the log takes on a small machine (a hundred thousand records, some 64 MiB, a second), so that those
/// who can show who they are have the rest. What is beyond is denied, so a public server that is busier needs a higher
/// limit. It is also how fast strangers can fill the disk, up to 720 GB a day: a server whose disk is not made for that
/// wants a lower one.
pub const DEFAULT_ANONYMOUS_BYTES_PER_SECOND: u64 = 8 << 20;

/// Bytes of such calls at once by default, about fifty thousand calls: no burst of honest callers comes near.
pub const DEFAULT_ANONYMOUS_BURST_BYTES: u64 = 64 << 20;

/// Name of a process's logs where none is given.
const DEFAULT_INSTANCE: &str = "main";
/// What is appended to the log's directory to name the one of its keys.
const PRIVATE_SUFFIX: &str = ".private";
const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(1);
/// A day.
const MAX_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_ROLL_BYTES: u64 = 8 << 30;
const DEFAULT_ROLL_AGE: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// How long records of bounded mode are collected before a sync: it bounds what a power cut can hide. A sync with its
/// signature costs more processor time than twenty records, and whoever waits for one does not wait this long.
const COMMIT_DELAY: Duration = Duration::from_millis(10);
/// Days of an ordinary log fit into this.
const LOW_DISK_BYTES: u64 = 2 << 30;
/// Bytes of the write-ahead log from which the writer waits for tiles: seconds of the fastest writing there is.
const WAL_LIMIT: u64 = 1 << 30;
/// Two segments are ready at any time, the one that is written and a spare one: opening a log makes them with the first
/// length, and a busy log doubles up to the greatest.
const WAL: WalOptions = WalOptions { first_segment: 1 << 20, max_segment: 64 << 20, spare_segments: 1 };

/// How a log is opened; see [`EvidenceLog::options`].
#[derive(Clone, Debug)]
pub struct EvidenceOptions {
    pub(super) mode: EvidenceMode,
    pub(super) params_hash: ParamsHash,
    pub(super) wait_limit: Option<Duration>,
    pub(super) denied: ByteLimit,
    pub(super) anonymous: ByteLimit,
    queue: usize,
    unauthenticated_share: u8,
    origin: Option<String>,
    instance: String,
    private_dir: Option<PathBuf>,
    signer: Option<Arc<dyn NoteSigner>>,
    co_signer: Option<Arc<dyn NoteSigner>>,
    checkpoint_interval: Duration,
    roll_bytes: u64,
    roll_age: Duration,
}

impl Default for EvidenceOptions {
    fn default() -> Self {
        Self {
            mode: EvidenceMode::default(),
            params_hash: ParamsHash::default(),
            wait_limit: None,
            denied: ByteLimit { per_second: DEFAULT_DENIED_BYTES_PER_SECOND, burst: DEFAULT_DENIED_BURST_BYTES },
            anonymous: ByteLimit {
                per_second: DEFAULT_ANONYMOUS_BYTES_PER_SECOND,
                burst: DEFAULT_ANONYMOUS_BURST_BYTES,
            },
            queue: DEFAULT_QUEUE_RECORDS,
            unauthenticated_share: DEFAULT_UNAUTHENTICATED_SHARE,
            origin: None,
            instance: DEFAULT_INSTANCE.to_owned(),
            private_dir: None,
            signer: None,
            co_signer: None,
            checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
            roll_bytes: DEFAULT_ROLL_BYTES,
            roll_age: DEFAULT_ROLL_AGE,
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

    /// Per cent of those places, 1 to 100, that callers may hold together who are not authenticated, at least the two of one
    /// call; 50 by default. A call counts among them until its caller is authenticated, so that a flood of strangers leaves
    /// the other places to those who can show who they are. For a store of your own its [`Room`](super::Room) says it.
    #[must_use]
    pub const fn unauthenticated_share(mut self, per_cent: u8) -> Self {
        self.unauthenticated_share = per_cent;
        self
    }

    /// Bytes of denials of callers who are not authenticated that are recorded one by one: `per_second` in the long run,
    /// `burst` at once; [`DEFAULT_DENIED_BYTES_PER_SECOND`] and [`DEFAULT_DENIED_BURST_BYTES`] by default. Beyond it identical
    /// denials are counted, and a record of the count ([`CoalescedRecord`](super::CoalescedRecord)) is written each second.
    #[must_use]
    pub const fn denied_bytes(mut self, per_second: u64, burst: u64) -> Self {
        self.denied = ByteLimit { per_second, burst };
        self
    }

    /// Bytes of the records of anonymous calls that a rule allows: `per_second` in the long run, `burst` at once;
    /// [`DEFAULT_ANONYMOUS_BYTES_PER_SECOND`] and [`DEFAULT_ANONYMOUS_BURST_BYTES`] by default. Beyond it such calls are
    /// denied (`rate_limited`) and counted.
    #[must_use]
    pub const fn anonymous_bytes(mut self, per_second: u64, burst: u64) -> Self {
        self.anonymous = ByteLimit { per_second, burst };
        self
    }

    /// First part of the log's origin (c2sp.org/tlog-checkpoint), such as `files.example.com/evidence`; the instance and
    /// the number of the log follow it. Fixed when the instance is made; by default it is a random name.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Name of this process's logs below the directory, `main` by default. Processes that share a directory need a name
    /// each: ASCII letters, digits, `-` and `_`, at most 64.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// Where the log's keys and its high-water mark are kept; by default `<directory>.private`. Whoever can write there and
    /// in the log's directory can roll the log back unseen, so another volume is better, and a witness better still.
    #[must_use]
    pub fn private_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.private_dir = Some(directory.into());
        self
    }

    /// Signs with `signer` instead of a key that is made in the private directory. Its name is the origin, so the log
    /// never rolls.
    #[must_use]
    pub fn signer(mut self, signer: Arc<dyn NoteSigner>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Lets `signer`, of the same name, sign every checkpoint beside the log's own key: how a key is replaced, since
    /// readers ignore signatures of keys that they do not know.
    #[must_use]
    pub fn co_signer(mut self, signer: Arc<dyn NoteSigner>) -> Self {
        self.co_signer = Some(signer);
        self
    }

    /// How often a log that has grown publishes its checkpoint, 1 ms to a day; 1 s by default. In best-effort mode also how often it is
    /// synced.
    #[must_use]
    pub const fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// Bytes of entries after which a new log is begun; 8 GiB by default. The old one stays, whole and provable.
    ///
    /// It is looked at after each batch of records, at most 4 MiB of them, once the log before is published: with less
    /// than a few MiB a busy server makes a log, some twenty files, out of every batch. The configuration file takes no
    /// less than 1 MiB; anything less is for tests.
    #[must_use]
    pub const fn roll_after_bytes(mut self, bytes: u64) -> Self {
        self.roll_bytes = bytes;
        self
    }

    /// Age after which a new log is begun; 31 days by default. With seconds a log is made out of every few batches, as
    /// with few bytes; the configuration file counts in days.
    #[must_use]
    pub const fn roll_after_age(mut self, age: Duration) -> Self {
        self.roll_age = age;
        self
    }

    /// Makes a new log in `directory`.
    ///
    /// # Errors
    /// [`OpenError`], of kind [`Exists`](super::OpenErrorKind) where there is one.
    pub fn create(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        self.open_durable(directory.as_ref(), Creation::Create)
    }

    /// Opens the log in `directory`, which must be there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        self.open_durable(directory.as_ref(), Creation::Open)
    }

    /// Opens the log in `directory`, making it where it does not exist. One process writes to an instance at a time.
    ///
    /// What a crash left unfinished is cut off, and the log says so. A log that is shorter or other than its high-water
    /// mark says is refused, and so is one that somebody damaged. The files belong to this log alone: once they are
    /// moved, cut or written by anybody else, the log has failed for good.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, open to other users, damaged, or not the one that the mark speaks of.
    pub fn create_or_open(self, directory: impl AsRef<Path>) -> Result<EvidenceLog, OpenError> {
        self.open_durable(directory.as_ref(), Creation::CreateOrOpen)
    }

    fn open_durable(self, directory: &Path, creation: Creation) -> Result<EvidenceLog, OpenError> {
        let options = self.durable(directory)?;
        let clock = Arc::new(SystemClock);
        let opened = open_instance(Arc::new(FsStorage), options, creation, &*clock)?;
        let keys = KeyCell::new(KeyedHash::new(&opened.private.hash_key()?.0));
        let store = Arc::new(DurableStore::start(opened, keys.clone(), clock)?);
        store.limit_unauthenticated(share(self.queue, self.unauthenticated_share));
        Ok(EvidenceLog::new(&self, Arc::clone(&store) as Arc<dyn EvidenceStore>, Some(store), keys))
    }

    fn durable(&self, directory: &Path) -> Result<DurableOptions, OpenError> {
        // names are looked up again later, when the process may have another working directory
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| OpenError::new(OpenErrorKind::Io).at(path).caused_by(error))
        };
        let directory = absolute(directory)?;
        let private = match &self.private_dir {
            Some(private) => absolute(private)?,
            None => beside(&directory),
        };
        Ok(DurableOptions {
            directory,
            private,
            instance: self.instance.clone(),
            origin: self.origin.clone(),
            signer: self.signer.clone(),
            co_signer: self.co_signer.clone(),
            capacity: self.capacity(),
            commit_delay: match self.mode {
                EvidenceMode::Strict => Duration::ZERO,
                EvidenceMode::Bounded => COMMIT_DELAY,
                EvidenceMode::BestEffort => self.checkpoint_interval.max(MIN_CHECKPOINT_INTERVAL),
            },
            // an interval of nothing, or one without end, would keep a processor busy
            publish_interval: self.checkpoint_interval.clamp(MIN_CHECKPOINT_INTERVAL, MAX_CHECKPOINT_INTERVAL),
            roll_bytes: self.roll_bytes,
            roll_age: self.roll_age,
            low_disk_bytes: LOW_DISK_BYTES,
            wal_limit: WAL_LIMIT,
            wal: WAL,
        })
    }

    /// A log in memory, which holds at most [`MAX_MEMORY_RECORDS`] records and then denies.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Randomness`](super::OpenErrorKind::Randomness) when no hash key can be made.
    pub fn in_memory(self) -> Result<EvidenceLog, OpenError> {
        let store = MemoryStore::new(MAX_MEMORY_RECORDS);
        store.limit_unauthenticated(share(MAX_MEMORY_RECORDS, self.unauthenticated_share));
        self.store(Arc::new(store))
    }

    /// A log in a store of your own; hash key and mode are this log's.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Randomness`](super::OpenErrorKind::Randomness) when no hash key can be made.
    pub fn store(self, store: Arc<dyn EvidenceStore>) -> Result<EvidenceLog, OpenError> {
        let keys = KeyCell::new(KeyedHash::random()?);
        Ok(EvidenceLog::new(&self, store, None, keys))
    }

    /// The queue, and the places that are kept for counts at the end, in best-effort mode also for the gap record.
    const fn capacity(&self) -> usize {
        let kept = match self.mode {
            EvidenceMode::BestEffort => LAST_PLACES.saturating_add(1),
            EvidenceMode::Strict | EvidenceMode::Bounded => LAST_PLACES,
        };
        self.queue.saturating_add(kept)
    }
}

/// `directory` with the suffix of the private directory.
fn beside(directory: &Path) -> PathBuf {
    let mut name: OsString = directory.as_os_str().to_owned();
    name.push(PRIVATE_SUFFIX);
    name.into()
}
