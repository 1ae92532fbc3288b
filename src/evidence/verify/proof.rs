//! Proofs that stand alone (c2sp.org/tlog-proof): an index, an audit path and a signed checkpoint.

use crate::evidence::merkle::Hash;

/// Most bytes of a proof that are looked at.
pub const MAX_PROOF_BYTES: usize = 128 * 1024;

/// That an entry is in the tree of a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlogProof {
    /// Index of the entry.
    pub index: u64,
    /// Audit path, from the leaf upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
}

/// A proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// Not a proof.
    #[error("not a tlog proof")]
    Malformed,
    /// The checkpoint is not signed as it must be.
    #[error("the checkpoint of the proof is not trusted")]
    Checkpoint(#[from] crate::evidence::note::NoteError),
    /// The audit path does not lead to the root.
    #[error("the proof does not show the entry")]
    Path(#[from] crate::evidence::merkle::ProofError),
}

impl TlogProof {
    /// Reads a proof strictly.
    ///
    /// # Errors
    /// [`TlogProofError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        let _ = bytes;
        todo!()
    }

    /// The text form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }
}
