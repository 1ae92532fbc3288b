//! A few entries, and of the tree only what leads to them.

use std::ops::Range;

use super::Pass;
use crate::evidence::entry::NO_PREVIOUS;
use crate::evidence::merkle::Hash;
use crate::evidence::verify::entries::timestamp;
use crate::evidence::verify::files::FULL;
use crate::evidence::verify::report::{Finding, FindingKind};
use crate::evidence::verify::tree::{above, first_leaf, levels, subtree_root};

impl Pass<'_> {
    /// Checks the entries of `range`, which ends within the log, and of the tree only what leads to them.
    pub(in crate::evidence::verify) fn run_range(mut self, range: Range<u64>) {
        self.wants_first = true;
        self.load_edges();
        if !self.edges_right {
            let missing = self.report.findings_total > 0;
            if !missing {
                self.report.find(FindingKind::RootMismatch, None, None);
            }
            return;
        }
        let (first, end) = (range.start / 256, range.end.div_ceil(256));
        self.wanted = range;
        self.before = if first == 0 { Some(NO_PREVIOUS) } else { self.last_leaf(first.saturating_sub(1)) };
        for number in first..end {
            self.enter(number);
            if !self.is_trusted_above(number) {
                self.before = None;
            } else if number == self.edge(0).0 {
                let Some(width) = self.edge(0).1 else { return };
                let content = self.content(number, width, true);
                let tile = self.edges.first_mut().and_then(Option::take);
                let best: Vec<_> = tile.iter().flat_map(|tile| tile.hashes.iter().copied().map(Some)).collect();
                self.check_entries(number.saturating_mul(256), &best, content);
            } else {
                self.leaves(number);
            }
        }
        for run in std::mem::take(&mut self.missing) {
            self.report.find(FindingKind::Missing, run.start, Some(&run.path));
        }
        if let Some(record) = self.last.take() {
            self.report.last_at = timestamp(&record);
        }
        // what refutes the range may lie outside of it
        self.conclude();
    }

    /// Whether all tiles above the leaves of tile `number` are trusted; names the first that is not.
    fn is_trusted_above(&mut self, number: u64) -> bool {
        for level in (1..levels(self.size)).rev() {
            let Some(state) = self.levels.get(usize::from(level)) else { return false };
            // an edge without hashes has nothing below it
            let is_empty_edge = self.edge(level) == (above(number, level), None);
            if state.trusted || is_empty_edge {
                continue;
            }
            if let Some(tile) = &state.tile {
                let finding = Finding::new(
                    FindingKind::HashAltered,
                    first_leaf(level, above(number, level), 0),
                    Some(&tile.path),
                );
                self.report.add(finding);
            }
            return false;
        }
        true
    }

    /// The last leaf hash of full tile `number`, if it is the signed one.
    fn last_leaf(&mut self, number: u64) -> Option<Hash> {
        self.enter(number);
        let (expected, trusted) = self.expected(0, number);
        let tile = self.files.tile(0, number, FULL).ok()?;
        let is_right = trusted && expected.is_some() && subtree_root(&tile.hashes) == expected;
        tile.hashes.last().copied().filter(|_| is_right)
    }
}
