//! Reading hashes and entries back; trusts nothing it reads, but does not check it against a root either.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::evidence::merkle::{Hash, HashReader};
use crate::evidence::storage::Storage;

/// A tile could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TileError {
    /// The operating system refused.
    #[error("`{}` cannot be read", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such file, full or partial.
    #[error("`{}` is missing", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The file has the wrong length or form.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a log of `size` leaves; keeps the tiles it read last.
#[derive(Debug)]
pub(crate) struct TileReader {
    _storage: Arc<dyn Storage>,
}

impl TileReader {
    /// The log in `directory`, as far as the tree of `size` leaves.
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, size: u64) -> Self {
        let _ = (storage, directory, size);
        todo!()
    }

    /// The leaf hash number `index`.
    pub(crate) fn leaf(&mut self, index: u64) -> Result<Hash, TileError> {
        let _ = index;
        todo!()
    }

    /// The bytes of the bundle that holds entry `index`, and whether it is one with redactions. A full bundle is
    /// preferred to a partial one.
    pub(crate) fn bundle(&mut self, bundle: u64) -> Result<(Vec<u8>, u16, bool), TileError> {
        let _ = bundle;
        todo!()
    }

    /// The entry `index`; `None` when it was redacted.
    pub(crate) fn entry(&mut self, index: u64) -> Result<Option<Vec<u8>>, TileError> {
        let _ = index;
        todo!()
    }
}

impl HashReader for TileReader {
    type Error = TileError;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, TileError> {
        let _ = (level, index);
        todo!()
    }
}
