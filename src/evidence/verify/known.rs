//! Roots of earlier sizes, gathered while the pass goes by.

use std::path::{Path, PathBuf};

use super::report::{FindingKind, Report};
use super::tree::{above, peaks, root_of_edges};
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::merkle::Hash;

/// A checkpoint that the log must continue.
#[derive(Debug)]
pub(super) struct Known {
    checkpoint: Checkpoint,
    /// The file it came from, where it is one of the log's own.
    path: Option<PathBuf>,
    /// The peaks of its partial tile on each level, as the log has them; none yet where they are needed.
    edges: Vec<Option<Vec<Hash>>>,
}

impl Known {
    pub(super) fn new(checkpoint: Checkpoint, path: Option<PathBuf>) -> Self {
        let edges = (0..8).map(|level| above(checkpoint.size, level).is_multiple_of(256).then(Vec::new)).collect();
        Self { checkpoint, path, edges }
    }

    pub(super) const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Takes what tile `index` of `level` should be, where the earlier tree ends in it.
    pub(super) fn note(&mut self, level: u8, index: u64, best: &[Option<Hash>]) {
        let hashes = above(self.checkpoint.size, level);
        let Some(edge) = self.edges.get_mut(usize::from(level)) else { return };
        if edge.is_some() || above(hashes, 1) != index {
            return;
        }
        let width = usize::try_from(hashes % 256).unwrap_or(0);
        let edge_hashes: Option<Vec<Hash>> = best.get(..width).and_then(|hashes| hashes.iter().copied().collect());
        *edge = edge_hashes.map(|hashes| peaks(&hashes));
    }

    /// Whether the tree of `size` leaves with the root `root`, over which the pass has gone, continues this one.
    pub(super) fn judge(&self, (size, root): (u64, &Hash), report: &mut Report) {
        let Checkpoint { size: known_size, root: known_root, .. } = &self.checkpoint;
        let continues = if *known_size >= size {
            Some(*known_size == size && known_root == root)
        } else {
            // what was pruned cannot be compared any more
            let is_whole = self.edges.iter().all(Option::is_some);
            is_whole.then(|| root_of_edges(*known_size, &self.edges).as_ref() == Some(known_root))
        };
        let kind = match continues {
            Some(true) => return,
            Some(false) => FindingKind::Inconsistent,
            None => FindingKind::Missing,
        };
        report.find(kind, (*known_size).min(size), self.path.as_deref());
    }
}
