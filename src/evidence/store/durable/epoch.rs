//! One log on disk between its first and its last entry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::open::OpeningNotice;
use super::recovery::OPENED_NOTICE;
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::note::NoteSigner;
use crate::evidence::tiles::TileWriter;
use crate::evidence::wal::{WalReader, WalWriter};

/// A closed log, as its successor names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreviousLog {
    pub(crate) origin: Arc<str>,
    /// Number of entries, `log_rolled` included.
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// Its first signer's key.
    pub(crate) vkey: String,
}

/// Everything that the writing threads need of a log that is open.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// Number of the log within its instance, from 1.
    pub(crate) number: u64,
    pub(crate) directory: PathBuf,
    pub(crate) origin: Arc<str>,
    /// First the log's own signer, then a co-signer.
    pub(crate) signers: Vec<Arc<dyn NoteSigner>>,
    pub(crate) created: SystemTime,
    /// The closed log that this one goes on from.
    pub(crate) previous: Option<PreviousLog>,
    /// The tree with every entry in the write-ahead log.
    pub(crate) frontier: Frontier,
    /// Leaf hash of the last entry, or that before the first.
    pub(crate) last_leaf: Hash,
    pub(crate) wal: WalWriter,
    /// Reads the frames that tiles do not have yet; stands where `tiles` ends.
    pub(crate) unsealed: WalReader,
    pub(crate) tiles: TileWriter,
    /// Bytes of all entries.
    pub(crate) bytes: u64,
    /// Time of the newest record, to notice a clock that goes backwards.
    pub(crate) last_record_at: Option<SystemTime>,
}

impl Epoch {
    /// This log as its successor names it, once it is closed.
    pub(crate) fn as_previous(&self) -> PreviousLog {
        PreviousLog {
            origin: Arc::clone(&self.origin),
            size: self.frontier.size(),
            root: self.frontier.root(),
            vkey: self.signers.first().map(|signer| signer.verifier_key().to_string()).unwrap_or_default(),
        }
    }

    /// The notice that is the first entry of every log. `rollback_detectable`: whether a high-water mark vouches for
    /// everything before it; a log that follows another takes it to be so.
    pub(crate) fn opened_notice(&self, rollback_detectable: bool) -> OpeningNotice {
        let mut members = vec![
            ("origin", self.origin.to_string()),
            ("epoch", self.number.to_string()),
            ("rollback_detectable", yes_or_no(rollback_detectable).to_owned()),
        ];
        if let Some(previous) = &self.previous {
            members.push(("previous_origin", previous.origin.to_string()));
            members.push(("previous_size", previous.size.to_string()));
            members.push(("previous_root", previous.root.to_string()));
        }
        OpeningNotice { name: OPENED_NOTICE, members }
    }
}

const fn yes_or_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}
