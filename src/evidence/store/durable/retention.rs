//! Redaction and pruning on a log that is being written.

use std::time::Duration;

use super::DurableStore;
use crate::evidence::OpenError;

impl DurableStore {
    /// Takes the body of entry `index` out of tiles and write-ahead log.
    pub(crate) fn redact(&self, index: u64, limit: Duration) -> Result<(), OpenError> {
        let _ = (index, limit);
        todo!()
    }

    /// Removes what stands below `index`.
    pub(crate) fn prune(&self, index: u64, limit: Duration) -> Result<(), OpenError> {
        let _ = (index, limit);
        todo!()
    }
}
