//! What happened: one record for every decision and one for every outcome, kept in order.
//!
//! In scope: the record and its member names, hashes of arguments and results, ids, the log on disk with its proofs and
//! its verifier, and memory in its place (behind [`EvidenceStore`]). Out of scope: what a decision is and who a caller
//! is; this module takes strings.
//!
//! **Keeping records is part of deciding.** Places for a call's records are taken ([`EvidenceLog::reserve`]) before the
//! call is let through; where there is none, the enforcer denies. How long it then waits is the [`EvidenceMode`].
//!
//! **The log is tamper-evident.** Records are entries of a Merkle tree (RFC 9162), each naming the one before, in a
//! directory that stock tools read (c2sp.org/tlog-tiles). A checkpoint, signed with the log's own Ed25519 key, covers every
//! record within a commit of its writing and is published each second. Who holds the public key
//! ([`EvidenceLog::verifier_key`]) and an older checkpoint can show that nothing before it was altered, removed or put in
//! since; [`verify`] does that, and trusts nothing in the directory. A receipt ([`Ticket::receipt`]) lets a caller hold
//! the log to one record.
//!
//! **Deployment caveat.** What this does not show:
//!
//! - Who has the log's key can write another history. The key is in the private directory; a [`note::NoteSigner`] can
//!   keep it elsewhere. Against its theft only outsiders help who have seen checkpoints: witnesses, or whoever kept one.
//! - Who can write to the log's directory *and* to the private directory can put back an older copy of both, whole, and no
//!   opening notices. Put the private directory on another volume, or let witnesses sign.
//! - In bounded mode the last commit, some ten milliseconds, can be lost in a power cut, and be altered unseen by who has
//!   the disk at that moment. Strict mode has no such window for decisions.
//! - What the guard was never asked, and what a process that was taken over chose not to record, is not there.
//! - Files are private (0700, 0600) on Unix. On Windows the directory's access control list takes the place of the modes,
//!   and new names are not synced.
//!
//! ```
//! use std::time::SystemTime;
//! use rmcp_guard::evidence::{AppendError, EvidenceId, EvidenceLog, PolicyLoadedRecord, Record};
//!
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path().join("evidence");
//! let log = EvidenceLog::create_or_open(&directory)?;
//!
//! let now = SystemTime::now();
//! let loaded = PolicyLoadedRecord::new(EvidenceId::generate(now), now, "v1".into(), "sha256:..".into(), "interop");
//! let mut places = log.reserve(1)?;
//! let mut ticket = log.append(&mut places, &Record::PolicyLoaded(loaded))?;
//! ticket.wait_durable(log.wait_limit())?;
//!
//! // the first record is the log's own, about its opening
//! assert_eq!(log.records()?[1]["event.name"], "rmcp_guard.policy_loaded");
//! let receipt = ticket.receipt().ok_or("it is written")?;
//! assert_eq!((receipt.index, receipt.durable), (1, true));
//!
//! // what cannot be kept is refused, and the enforcer denies the call
//! log.close();
//! assert_eq!(log.reserve(1).unwrap_err(), AppendError::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod checkpoint;
mod entry;
mod error;
pub(crate) mod flood;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod id;
mod import;
mod keyed;
mod log;
pub mod merkle;
pub mod note;
mod options;
mod params_hash;
mod reader;
mod receipt;
mod record;
mod retention;
mod sink;
mod storage;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod tiles;
pub mod verify;
mod wal;
pub mod witness;

pub use entry::{Entry, MAX_ENTRY_BYTES};
pub use error::{OpenError, OpenErrorKind};
pub use id::{EvidenceId, EvidenceIdParseError};
pub use import::import_records;
pub use log::{EvidenceHealth, EvidenceLog};
pub use options::{
    DEFAULT_ANONYMOUS_BURST_BYTES, DEFAULT_ANONYMOUS_BYTES_PER_SECOND, DEFAULT_DENIED_BURST_BYTES,
    DEFAULT_DENIED_BYTES_PER_SECOND, DEFAULT_QUEUE_RECORDS, EvidenceOptions,
};
pub use params_hash::{MAX_PARAMS_JSON_BYTES, ParamsJsonError, compute_params_hash, compute_params_hash_json};
pub use reader::{LogEntry, LogReader, read_records};
pub use receipt::{MAX_RECEIPT_ORIGIN_BYTES, Receipt, ReceiptError};
pub use record::{
    CoalescedRecord, DecisionRecord, GapRecord, MAX_RECORD_BYTES, NoticeRecord, OutcomeRecord, PolicyLoadedRecord,
    Record,
};
pub use sink::RECORD_TARGET;
pub use store::{
    AppendError, EvidenceStore, LogHealth, MAX_MEMORY_RECORDS, Progress, Reservation, Room, RoomFreed, StoreHealth,
    Ticket,
};
pub use text::{MAX_TEXT_BYTES, escape_for_display};

/// When a decision counts as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a caller must break when this grows")]
pub enum EvidenceMode {
    /// The decision is durable (fdatasync) before the tool runs. A power cut hides no call.
    Strict,
    /// The decision is written (write(2)) before the answer leaves, as a rule before the tool runs, and durable one commit
    /// later, within some ten milliseconds; the outcome is written with the next record, and by then. A crash of the process
    /// hides no answered call; a power cut can hide those of the last commit.
    #[default]
    Bounded,
    /// Nothing waits, and what finds no room is counted and dropped. For development: the configuration accepts it
    /// with the dev profile only.
    BestEffort,
}

/// How the arguments of a call are hashed for evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ParamsHash {
    /// `hmac-sha256:<kid>:<b64url>` over the RFC 8785 form, under a random key of this log: equal arguments compare
    /// equal within the log, and nobody without the key can find them by guessing.
    #[default]
    Keyed,
    /// The peer's `sha256:<b64url>`, for comparison with its records. A four-digit PIN is found in milliseconds.
    InsecurePlain,
}
