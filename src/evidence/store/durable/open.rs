//! Opening: lock, keys, recovery, the high-water mark (S30), and beginning the next log of an instance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::{DurableOptions, Epoch, PreviousLog, PrivateDir};
use crate::clock::Clock;
use crate::evidence::OpenError;
use crate::evidence::note::VerifierKey;
use crate::evidence::storage::{Storage, StorageLock};

/// What to do where there is no log, or one. A high-water mark overrides all three: then there must be its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    Create,
    Open,
    CreateOrOpen,
}

/// Something found while opening that the log itself must tell, as a notice record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpeningNotice {
    pub(crate) name: &'static str,
    pub(crate) members: Vec<(&'static str, String)>,
}

/// An instance that is locked, recovered and ready to be written.
#[derive(Debug)]
pub(crate) struct OpenedInstance {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: DurableOptions,
    /// `DIR/<instance>`.
    pub(crate) directory: PathBuf,
    pub(crate) private: PrivateDir,
    /// Held for life.
    pub(crate) lock: Box<dyn StorageLock>,
    pub(crate) epoch: Epoch,
    /// To be appended before anything else, in this order: `log_opened` comes first where the log has no entry yet.
    pub(crate) notices: Vec<OpeningNotice>,
}

/// Opens the instance, recovering what a crash left.
pub(crate) fn open_instance(
    storage: Arc<dyn Storage>,
    options: DurableOptions,
    creation: Creation,
    clock: &dyn Clock,
) -> Result<OpenedInstance, OpenError> {
    let _ = (storage, options, creation, clock);
    todo!()
}

/// Origin and key of the log that will follow `epoch`, which its last entry `log_rolled` names.
pub(crate) fn successor(
    options: &DurableOptions,
    private: &PrivateDir,
    epoch: &Epoch,
) -> Result<VerifierKey, OpenError> {
    let _ = (options, private, epoch);
    todo!()
}

/// Begins the log with the number `number`, empty, in its own directory with its own origin, behind the closed log
/// `previous`. What an earlier, interrupted call left there is replaced.
pub(crate) fn begin_epoch(
    storage: &Arc<dyn Storage>,
    options: &DurableOptions,
    private: &PrivateDir,
    number: u64,
    previous: Option<PreviousLog>,
    now: SystemTime,
) -> Result<Epoch, OpenError> {
    let _ = (storage, options, private, number, previous, now);
    todo!()
}
