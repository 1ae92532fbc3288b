//! Which of the hashes that disagree is right.

use crate::evidence::merkle::Hash;
use crate::evidence::verify::entries::Content;

/// What is known from below, and where nothing is, what the tile says.
pub(super) fn merge(computed: &[Option<Hash>], tile: Option<&[Hash]>, width: usize) -> Vec<Option<Hash>> {
    let from_tile = |slot| tile.and_then(|hashes: &[Hash]| hashes.get(slot).copied());
    (0..width).map(|slot| computed.get(slot).copied().flatten().or_else(|| from_tile(slot))).collect()
}

/// Whether an entry or a hash of the tile is not what it should be.
pub(super) fn differs(content: &Content, tile: Option<&[Hash]>, best: &[Option<Hash>]) -> bool {
    let mut slots = content.slots.iter().zip(best);
    slots.any(|(slot, best)| slot.leaf.is_some() && slot.leaf != *best)
        || tile.is_some_and(|hashes| hashes.iter().zip(best).any(|(hash, best)| Some(*hash) != *best))
}

/// All of the hashes, if all are known.
pub(super) fn whole(hashes: &[Option<Hash>]) -> Option<Vec<Hash>> {
    hashes.iter().copied().collect()
}

/// The leaf hashes that a bundle and its tile should have, and whether `proves` says so.
///
/// Tried in this order: the tile; the entries; what each entry says of the one before it. Where none of them is proven,
/// each hash on which bundle and tile disagree goes to the side that the next entry takes.
pub(super) fn choose(
    content: &Content,
    tile: Option<&[Hash]>,
    width: u16,
    proves: impl Fn(&[Option<Hash>]) -> bool,
) -> (Vec<Option<Hash>>, bool) {
    let width = usize::from(width);
    if let Some(tile) = tile {
        let as_is: Vec<_> = tile.iter().copied().map(Some).collect();
        if proves(&as_is) {
            return (as_is, true);
        }
    }
    let leaves: Vec<_> = content.slots.iter().map(|slot| slot.leaf).collect();
    let from_entries = merge(&leaves, tile, width);
    if proves(&from_entries) {
        return (from_entries, true);
    }
    let named_by_next = |slot: usize| content.slots.get(slot.saturating_add(1))?.frame.map(|(prev, _)| prev);
    let by_chain: Vec<_> = from_entries.iter().enumerate().map(|(slot, hash)| named_by_next(slot).or(*hash)).collect();
    if proves(&by_chain) {
        return (by_chain, true);
    }
    let sides = from_entries.iter().zip(&by_chain).enumerate().map(|(slot, (entry, named))| {
        let tile = tile.and_then(|hashes| hashes.get(slot).copied());
        if entry == named || tile.is_none() { *entry } else { tile }
    });
    (sides.collect(), false)
}
