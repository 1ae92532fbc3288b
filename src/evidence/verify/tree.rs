//! Roots of tiles, and the edge of a tree: its partial tiles, one at most on each level.

use crate::evidence::merkle::{Frontier, Hash};

/// The root of a complete subtree over `hashes`, a power of two of them.
pub(super) fn subtree_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks().0.iter().map(|[left, right]| Hash::of_node(left, right)).collect();
    }
    row.first().copied()
}

/// The roots of the complete subtrees over `hashes`, largest first.
pub(super) fn peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut found = Vec::new();
    let mut rest = hashes;
    while let Some(largest) = rest.len().checked_ilog2() {
        let (subtree, behind) = rest.split_at(1_usize.checked_shl(largest).unwrap_or(rest.len()).min(rest.len()));
        found.extend(subtree_root(subtree));
        rest = behind;
    }
    found
}

/// The root of the tree of `size` leaves, from the peaks of its partial tile on each level (none where the level has no
/// partial tile); level 0 first.
pub(super) fn root_of_edges(size: u64, edges: &[Option<Vec<Hash>>]) -> Option<Hash> {
    let mut all = Vec::new();
    for edge in edges.iter().rev() {
        all.extend_from_slice(edge.as_ref()?);
    }
    Frontier::from_peaks(size, all).map(|frontier| frontier.root())
}

/// The number of levels of tiles that a tree of `size` leaves has.
pub(super) fn levels(size: u64) -> u8 {
    let bits = u64::BITS.saturating_sub(size.leading_zeros());
    u8::try_from(bits.div_ceil(8)).unwrap_or(8)
}

/// `number` of bits shifted out for `level`s of tiles.
pub(super) const fn above(number: u64, level: u8) -> u64 {
    match number.checked_shr(8_u32.saturating_mul(level as u32)) {
        Some(shifted) => shifted,
        None => 0,
    }
}

/// The first leaf below hash `slot` of tile `index` on `level`.
pub(super) fn first_leaf(level: u8, index: u64, slot: usize) -> u64 {
    let hash = index.saturating_mul(256).saturating_add(u64::try_from(slot).unwrap_or(u64::MAX));
    hash.saturating_mul(1_u64.checked_shl(8_u32.saturating_mul(u32::from(level))).unwrap_or(u64::MAX))
}
