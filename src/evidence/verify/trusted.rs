//! Hashes of the tree, each checked up to the signed root before it is given out.

use super::files::{FULL, LogFiles, Tile};
use super::report::{Finding, FindingKind};
use super::tree::{above, first_leaf, levels, peaks, root_of_edges, subtree_root};
use crate::evidence::merkle::{Hash, HashReader};

/// The tiles of a log under a signed root.
#[derive(Debug)]
pub(super) struct TrustedTiles<'a> {
    files: &'a LogFiles,
    size: u64,
    /// The partial tile of each level, where it has one.
    edges: Vec<Option<Tile>>,
    /// Of each level the full tile that was read last.
    last: Vec<Option<(u64, Tile)>>,
}

impl<'a> TrustedTiles<'a> {
    /// Reads the partial tiles at the edge, which give the root.
    pub(super) fn open(files: &'a LogFiles, size: u64, root: &Hash) -> Result<Self, Finding> {
        let (mut edges, mut roots) = (Vec::new(), Vec::new());
        for level in 0..levels(size) {
            let hashes = above(size, level);
            let width = u16::try_from(hashes % 256).unwrap_or(0);
            let index = above(hashes, 1);
            let tile = match width {
                0 => None,
                width => Some(files.tile(level, index, width).map_err(|unusable| {
                    Finding::new(unusable.error.kind(), first_leaf(level, index, 0), Some(&unusable.path))
                })?),
            };
            roots.push(Some(tile.as_ref().map(|tile| peaks(&tile.hashes)).unwrap_or_default()));
            edges.push(tile);
        }
        if root_of_edges(size, &roots).as_ref() != Some(root) {
            return Err(Finding::new(FindingKind::RootMismatch, None, None));
        }
        let last = edges.iter().map(|_| None).collect();
        Ok(Self { files, size, edges, last })
    }

    /// The hashes of tile `index` of `level`.
    fn tile(&mut self, level: u8, index: u64) -> Result<&Tile, Finding> {
        let place = usize::from(level);
        let missing = Finding::new(FindingKind::Missing, first_leaf(level, index, 0), None);
        let edge = above(above(self.size, level), 1);
        if index >= edge {
            let tile = self.edges.get(place).and_then(Option::as_ref).filter(|_| index == edge);
            return tile.ok_or(missing);
        }
        if self.last.get(place).and_then(Option::as_ref).is_none_or(|(number, _)| *number != index) {
            let slot = usize::try_from(index % 256).unwrap_or(usize::MAX);
            let expected = self.tile(level.saturating_add(1), above(index, 1))?.hashes.get(slot).copied();
            let first = first_leaf(level, index, 0);
            let tile = self.files.tile(level, index, FULL);
            let tile = tile.map_err(|unusable| Finding::new(unusable.error.kind(), first, Some(&unusable.path)))?;
            if subtree_root(&tile.hashes) != expected {
                return Err(Finding::new(FindingKind::HashAltered, first, Some(&tile.path)));
            }
            if let Some(last) = self.last.get_mut(place) {
                *last = Some((index, tile));
            }
        }
        self.last.get(place).and_then(Option::as_ref).map(|(_, tile)| tile).ok_or(missing)
    }
}

impl HashReader for TrustedTiles<'_> {
    type Error = Finding;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Finding> {
        let (tile_level, height) = (level / 8, u32::from(level % 8));
        let missing = || Finding::new(FindingKind::Missing, None, None);
        let width = 1_usize.checked_shl(height).unwrap_or(1);
        let first = index.checked_mul(1_u64.checked_shl(height).unwrap_or(1)).ok_or_else(missing)?;
        let start = usize::try_from(first % 256).unwrap_or(usize::MAX);
        let tile = self.tile(tile_level, first / 256)?;
        let hashes = tile.hashes.get(start..start.saturating_add(width));
        hashes.and_then(subtree_root).ok_or_else(missing)
    }
}
