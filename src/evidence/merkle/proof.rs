//! Inclusion and consistency proofs (RFC 9162 §2.1.3, §2.1.4).

use super::Hash;

/// Where the hashes of complete subtrees come from.
pub trait HashReader {
    /// What can go wrong when a hash is read.
    type Error;

    /// The root of the complete subtree number `index` (from 0) of height `level` (0: a leaf), which covers the leaves
    /// `index * 2^level .. (index + 1) * 2^level`.
    ///
    /// # Errors
    /// When the hash is not there or cannot be read.
    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// A proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Index and size do not go together, such as an index behind the end.
    #[error("no such leaf or tree")]
    OutOfRange,
    /// The proof has too few or too many hashes.
    #[error("the proof has the wrong length")]
    WrongLength,
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Mismatch,
}

/// The root of the first `size` leaves.
///
/// # Errors
/// Those of `reader`.
pub fn root_at<R: HashReader>(reader: &mut R, size: u64) -> Result<Hash, R::Error> {
    let _ = (reader, size);
    todo!()
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards; `None` when `index >= size`.
///
/// # Errors
/// Those of `reader`.
pub fn prove_inclusion<R: HashReader>(reader: &mut R, index: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    let _ = (reader, index, size);
    todo!()
}

/// The consistency proof from the tree of `old` leaves to that of `new`; `None` when `old > new`. Empty where `old` is
/// 0 or equal to `new`.
///
/// # Errors
/// Those of `reader`.
pub fn prove_consistency<R: HashReader>(reader: &mut R, old: u64, new: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    let _ = (reader, old, new);
    todo!()
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with root `root`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let _ = (leaf, index, size, proof, root);
    todo!()
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    let _ = (old, old_root, new, new_root, proof);
    todo!()
}
