//! What must not lie beside the log: the signing key, the keys of hashes, and the high-water mark.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::evidence::OpenError;
use crate::evidence::keyed::KEY_BYTES;
use crate::evidence::storage::Storage;

/// The private directory of one instance.
#[derive(Clone, Debug)]
pub(crate) struct PrivateDir {
    _storage: Arc<dyn Storage>,
    _path: PathBuf,
}

impl PrivateDir {
    /// The signing key's seed; made on first use.
    pub(crate) fn signing_seed(&self) -> Result<Zeroizing<[u8; 32]>, OpenError> {
        todo!()
    }

    /// The newest key of keyed hashes, made where there is none; and whether it was made just now.
    pub(crate) fn hash_key(&self) -> Result<(Zeroizing<[u8; KEY_BYTES]>, bool), OpenError> {
        todo!()
    }

    /// Makes a new key of keyed hashes, which is the newest from now on.
    pub(crate) fn rotate_hash_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
        todo!()
    }

    /// Destroys the key named `kid`: hashes under it can no longer be recomputed by anybody. `false` when there is none.
    pub(crate) fn shred_hash_key(&self, kid: &str) -> Result<bool, OpenError> {
        let _ = kid;
        todo!()
    }

    /// The signed checkpoint below which the log must never be seen again.
    pub(crate) fn high_water(&self) -> Result<Option<Vec<u8>>, OpenError> {
        todo!()
    }

    /// Moves the mark, durably. Only a note that is durable in the log may be given.
    pub(crate) fn set_high_water(&self, note: &[u8]) -> Result<(), OpenError> {
        let _ = note;
        todo!()
    }
}
