//! The independent check of a log: it shares no state with the writer and trusts only the keys it is given.
//!
//! In scope: a whole log, a range, one entry, one proof, two checkpoints, a set of logs. Streaming, in bounded memory.

mod proof;
mod report;

use std::ops::Range;
use std::path::Path;

use super::checkpoint::VerifiedCheckpoint;
use super::merkle::Hash;
use super::note::VerifierKey;

pub use proof::{MAX_PROOF_BYTES, TlogProof, TlogProofError};
pub use report::{Finding, FindingKind, Report, Verdict};

/// Checks logs with keys that are known beforehand; none is ever read from a log, but for the key of a log that a
/// verified one names as its successor.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifierKey>,
    known: Vec<VerifiedCheckpoint>,
    witnesses: Vec<VerifierKey>,
    quorum: usize,
}

impl Verifier {
    /// Trusts `keys`.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        Self { keys: keys.into_iter().collect(), known: Vec::new(), witnesses: Vec::new(), quorum: 0 }
    }

    /// Also demands that a log continues `checkpoint`, which was seen earlier: this is what catches a log that was
    /// rolled back or begun anew.
    #[must_use]
    pub fn with_known_checkpoint(mut self, checkpoint: VerifiedCheckpoint) -> Self {
        self.known.push(checkpoint);
        self
    }

    /// Also demands cosignatures of at least `quorum` of `witnesses` on the newest witnessed checkpoint.
    #[must_use]
    pub fn with_witnesses(mut self, witnesses: impl IntoIterator<Item = VerifierKey>, quorum: usize) -> Self {
        self.witnesses = witnesses.into_iter().collect();
        self.quorum = quorum;
        self
    }

    /// Checks one log: signature, every hash, every entry, the chain, and what lies in its directory besides.
    /// `progress` is told of entries done and entries in all.
    #[must_use]
    pub fn verify_log(&self, directory: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Report {
        let _ = (directory, progress, &self.keys, &self.known, &self.witnesses, self.quorum);
        todo!()
    }

    /// Checks every log of a set, in order, and that each continues the one before.
    #[must_use]
    pub fn verify_set(&self, directory: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Vec<Report> {
        let _ = (directory, progress);
        todo!()
    }

    /// Checks the entries of `range` against the signed root, each by its inclusion.
    #[must_use]
    pub fn verify_range(&self, directory: impl AsRef<Path>, range: Range<u64>) -> Report {
        let _ = (directory, range);
        todo!()
    }

    /// Makes the proof that entry `index` is in the published tree of the log in `directory`.
    ///
    /// # Errors
    /// [`Report`] with what is missing or altered.
    pub fn prove(&self, directory: impl AsRef<Path>, index: u64) -> Result<TlogProof, Box<Report>> {
        let _ = (directory, index);
        todo!()
    }

    /// Checks that `new` continues `old`, with hashes from the log in `directory`.
    #[must_use]
    pub fn verify_consistency(&self, directory: impl AsRef<Path>, old: &[u8], new: &[u8]) -> Report {
        let _ = (directory, old, new);
        todo!()
    }

    /// Checks a proof of an entry with the leaf hash `leaf`.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify_proof(&self, proof: &TlogProof, leaf: &Hash) -> Result<VerifiedCheckpoint, TlogProofError> {
        let _ = (proof, leaf);
        todo!()
    }
}
