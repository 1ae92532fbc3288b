//! The log on disk: records in a write-ahead log, tiles behind it, checkpoints in front.
//!
//! ```text
//! DIR/                          the set of logs, 0700
//!   <instance>/                 one writing process (LOCK, held for life)
//!     <epoch>/                  one log of c2sp.org/tlog-tiles with its own origin: log.json checkpoint tile/ .state/wal/
//! DIR.private/                  what must not lie beside the log, 0700 (another volume is better; see `private_dir`)
//!   <instance>/                 log.key  params/<kid>.key  high-water
//! ```

mod begin;
mod directory;
mod epoch;
mod follow;
mod keys;
mod manifest;
mod open;
mod private;
mod queue;
mod recovery;
mod retention;
mod roll;
mod store;
#[cfg(test)]
mod tests;
mod tiler;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::note::NoteSigner;
use crate::evidence::wal::WalOptions;

pub(crate) use begin::{begin_epoch, successor};
pub(in crate::evidence) use directory::FIRST_FORMAT_FILE;
pub(crate) use epoch::{Epoch, PreviousLog};
#[cfg(any(test, fuzzing))]
pub use manifest::fuzz_manifest;
pub(crate) use open::{Creation, OpenedInstance, OpeningNotice, open_instance};
pub(crate) use private::PrivateDir;
pub(crate) use retention::Removal;
pub(crate) use store::DurableStore;

/// How the log on disk is kept; made by `EvidenceOptions`.
#[derive(Clone, Debug)]
pub(crate) struct DurableOptions {
    /// The set of logs.
    pub(crate) directory: PathBuf,
    /// Where keys and the high-water mark are; beside `directory` by default.
    pub(crate) private: PathBuf,
    /// Name of this process's logs, `main` by default.
    pub(crate) instance: String,
    /// First part of origins; a random one is made for a new instance where there is none.
    pub(crate) origin: Option<String>,
    /// Signs instead of the key in `private`; its name is then the origin, and the log never rolls by itself.
    pub(crate) signer: Option<Arc<dyn NoteSigner>>,
    /// Signs beside the signer: the key that replaces it, or that it replaced.
    pub(crate) co_signer: Option<Arc<dyn NoteSigner>>,
    /// Room between callers and disk, in records.
    pub(crate) capacity: usize,
    /// At most so long after the last one a commit follows a write; zero: each write is a commit (strict mode).
    pub(crate) commit_delay: Duration,
    /// How often a grown log is published, 1 s by default.
    pub(crate) publish_interval: Duration,
    /// Size in bytes of entries after which the log rolls, 8 GiB by default.
    pub(crate) roll_bytes: u64,
    /// Age after which the log rolls, 31 days by default.
    pub(crate) roll_age: Duration,
    /// Free bytes on the disk below which a warning is given.
    pub(crate) low_disk_bytes: u64,
    pub(crate) wal: WalOptions,
    /// Bytes of the write-ahead log from which the writer waits for tiles.
    pub(crate) wal_limit: u64,
}
