//! Writing tiles behind the write-ahead log: a pure function of its entries, so that writing again changes nothing.

use std::path::Path;
use std::sync::Arc;

use super::TileError;
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::storage::Storage;

/// Builds the tiles of one log. Entries go in one by one; full tiles and bundles are written as they fill, partial ones
/// when asked for.
#[derive(Debug)]
pub(crate) struct TileWriter {
    _storage: Arc<dyn Storage>,
}

impl TileWriter {
    /// Goes on behind the first `size` entries, which are on disk (as full or partial tiles), or begins at 0.
    pub(crate) fn open(storage: Arc<dyn Storage>, directory: &Path, size: u64) -> Result<Self, TileError> {
        let _ = (storage, directory, size);
        todo!()
    }

    /// Adds the next entry. A full tile or bundle is written without a sync; where a file of that name is there
    /// already, it must have the same bytes ([`TileError::Malformed`] otherwise).
    pub(crate) fn push(&mut self, entry: &[u8], leaf: Hash) -> Result<(), TileError> {
        let _ = (entry, leaf);
        todo!()
    }

    /// The tree with everything pushed so far.
    pub(crate) fn frontier(&self) -> &Frontier {
        todo!()
    }

    /// Writes what is not full yet as partial tiles, so that a checkpoint of this size can be published. Partial tiles
    /// of earlier sizes stay until [`drop_partials`](Self::drop_partials).
    pub(crate) fn write_partials(&mut self) -> Result<(), TileError> {
        todo!()
    }

    /// Syncs every file and directory that was written since the last call (and existing ones that were met), after
    /// which the write-ahead log may let go of these entries. Calls [`write_partials`](Self::write_partials) first.
    pub(crate) fn sync(&mut self) -> Result<(), TileError> {
        todo!()
    }

    /// Removes partial tiles of sizes below the published one, where the full or larger partial file is durable.
    pub(crate) fn drop_partials(&mut self) -> Result<(), TileError> {
        todo!()
    }

    /// Bytes of entries pushed to this log, with those before it was opened where bundles tell.
    pub(crate) fn bytes(&self) -> u64 {
        todo!()
    }
}
