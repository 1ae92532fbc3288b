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

/// Most hashes of an inclusion proof, that of the largest tree; a consistency proof has at most one more.
pub const MAX_PATH_HASHES: usize = 64;

/// The root of the first `size` leaves.
///
/// # Errors
/// Those of `reader`.
pub fn root_at<R: HashReader>(reader: &mut R, size: u64) -> Result<Hash, R::Error> {
    range_root(reader, 0, size)
}

/// The root of the leaves `start..end`. `start` is a multiple of a power of two that is no smaller than the range, as
/// for every branch of a tree, so the complete subtrees in it are those of the bits of its length.
fn range_root<R: HashReader>(reader: &mut R, start: u64, mut end: u64) -> Result<Hash, R::Error> {
    let mut root = None;
    while let Some(rest) = end.checked_sub(start).filter(|rest| *rest != 0) {
        // the last and smallest: as many leaves as the lowest bit says, and its last leaf is the last of all
        let leaves = 1 << rest.trailing_zeros();
        let level = u8::try_from(rest.trailing_zeros()).unwrap_or(u8::MAX);
        end = end.saturating_sub(leaves);
        let left = reader.node(level, end >> level)?;
        root = Some(root.map_or(left, |right| Hash::of_node(&left, &right)));
    }
    Ok(root.unwrap_or_else(Hash::of_empty_tree))
}

/// Where a tree of the leaves `start..end` branches: after the largest power of two that is less than their number.
/// `None` when they are fewer than two.
fn split(start: u64, end: u64) -> Option<u64> {
    let power = end.checked_sub(start)?.checked_sub(1)?.checked_ilog2()?;
    start.checked_add(1_u64.checked_shl(power)?)
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards; `None` when `index >= size`.
///
/// # Errors
/// Those of `reader`.
pub fn prove_inclusion<R: HashReader>(reader: &mut R, index: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while let Some(middle) = split(start, end) {
        if index < middle {
            path.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(reader, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The consistency proof from the tree of `old` leaves to that of `new`; `None` when `old > new`. Empty where `old` is
/// 0 or equal to `new`.
///
/// # Errors
/// Those of `reader`.
pub fn prove_consistency<R: HashReader>(reader: &mut R, old: u64, new: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if old > new {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(Some(proof));
    }
    let (mut start, mut end) = (0, new);
    while old != end {
        let Some(middle) = split(start, end) else { break };
        if old <= middle {
            proof.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(reader, start, middle)?);
            start = middle;
        }
    }
    // the verifier has the old root, and so needs this subtree only where it is not the whole old tree
    if start != 0 {
        proof.push(range_root(reader, start, end)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with root `root` (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let mut place = match size.checked_sub(1) {
        Some(last) if index <= last => Place { index, last },
        _ => return Err(ProofError::OutOfRange),
    };
    let mut node = *leaf;
    for sibling in proof {
        node = match place.step()? {
            Side::Left => Hash::of_node(sibling, &node),
            Side::Right => Hash::of_node(&node, sibling),
        };
    }
    place.at_root()?;
    if node == *root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162 §2.1.4.2). Every tree begins
/// with the empty one, whose root is [`Hash::of_empty_tree`].
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfRange);
    }
    let Some(last_old) = old.checked_sub(1).filter(|_| old != new) else {
        // nothing to prove: the same tree, or one from nothing
        if !proof.is_empty() {
            return Err(ProofError::WrongLength);
        }
        let empty = |size, root: &Hash| size != 0 || *root == Hash::of_empty_tree();
        let same = old != new || old_root == new_root;
        return if same && empty(old, old_root) && empty(new, new_root) { Ok(()) } else { Err(ProofError::Mismatch) };
    };
    let (first, rest) = match proof {
        [] => return Err(ProofError::WrongLength),
        // the old tree is itself a subtree of the new one
        rest if old.is_power_of_two() => (old_root, rest),
        [first, rest @ ..] => (first, rest),
    };
    let mut place = Place { index: last_old, last: new.saturating_sub(1) }.up(last_old.trailing_ones());
    let (mut old_node, mut new_node) = (*first, *first);
    for sibling in rest {
        match place.step()? {
            Side::Left => {
                old_node = Hash::of_node(sibling, &old_node);
                new_node = Hash::of_node(sibling, &new_node);
            }
            Side::Right => new_node = Hash::of_node(&new_node, sibling),
        }
    }
    place.at_root()?;
    if old_node == *old_root && new_node == *new_root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// A node on the way from a leaf to the root: its index in its level, and the last index of that level. The `fn` and
/// `sn` of RFC 9162.
struct Place {
    index: u64,
    last: u64,
}

/// On which side of the node its sibling stands.
enum Side {
    Left,
    Right,
}

impl Place {
    fn up(&self, levels: u32) -> Self {
        // 64 levels up there is nothing left, where a shift would not be defined
        let shift = |index: u64| index.checked_shr(levels).unwrap_or(0);
        Self { index: shift(self.index), last: shift(self.last) }
    }

    /// Joins the node with its next sibling and goes to their parent.
    fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::WrongLength);
        }
        let is_right = self.index & 1 == 1;
        if !is_right && self.index != self.last {
            *self = self.up(1);
            return Ok(Side::Right);
        }
        // a last node without a right sibling goes up as it is, until it has a left one
        let levels = if is_right { 0 } else { self.index.trailing_zeros() };
        *self = self.up(levels).up(1);
        Ok(Side::Left)
    }

    fn at_root(&self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::WrongLength) }
    }
}
