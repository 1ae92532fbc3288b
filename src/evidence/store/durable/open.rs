//! Opening: lock, keys, recovery, the high-water mark (S30), and beginning the next log of an instance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::{DurableOptions, Epoch, PrivateDir};
use crate::clock::Clock;
use crate::evidence::OpenError;
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

/// Begins the log with the number `number`, empty, in its own directory with its own origin.
pub(crate) fn begin_epoch(
    storage: &Arc<dyn Storage>,
    options: &DurableOptions,
    private: &PrivateDir,
    number: u64,
    now: SystemTime,
) -> Result<Epoch, OpenError> {
    let _ = (storage, options, private, number, now);
    todo!()
}
