//! One pass over a whole log: entries once, tiles once, in order and in bounded memory.
//!
//! Trust comes from above and evidence from below. A tile is *linked* when it gives the hash that the tile above it has
//! for it, and *trusted* when all tiles above are linked too, up to the signed root. Entries are compared with the hashes
//! of a trusted tile, so one altered entry is one finding. Where a tile is not linked, what stands below it is tried in
//! its place: if that gives the hash above, the tile was altered; if not, the chain of `prev` decides entry by entry.

mod choose;
mod entries;
mod range;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::choose::{choose, differs, merge, whole};
use super::entries::{Content, Depth, Opened, timestamp};
use super::files::{BundleBuffer, FULL, FileError, LogFiles, Tile};
use super::known::Known;
use super::report::{FindingKind, Report};
use super::tree::{above, first_leaf, levels, peaks, root_of_edges, subtree_root};
use crate::evidence::entry::NO_PREVIOUS;
use crate::evidence::merkle::Hash;
use crate::evidence::note::VerifierKey;
use crate::evidence::tiles::{TileKind, TilePath};

/// Missing files after which a check stops. An honest log misses none, and a size that is not backed by files must not
/// keep an auditor busy for years.
const MAX_MISSING_FILES: u32 = 1 << 16;

/// What the trusted entries of a log say about it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) opened: Option<Opened>,
    /// Whether the last entry says that another log follows.
    pub(super) is_rolled: bool,
    /// The key of that log.
    pub(super) next_key: Option<VerifierKey>,
    pruned_below: u64,
}

/// How far the signed root proves what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// All of it, but for what findings name.
    Whole,
    /// Entries were read of which it cannot be told whether they were signed, since hashes above them are missing.
    Partial,
    /// Something below a trusted hash is not what was signed, and it is not known what was.
    Refuted,
}

/// The tile that the pass is in, on one level.
#[derive(Debug, Default)]
struct Level {
    number: Option<u64>,
    tile: Option<Tile>,
    expected: Option<Hash>,
    linked: bool,
    trusted: bool,
    /// Roots of the tiles below, as far as they are known.
    computed: Vec<Option<Hash>>,
    findings_before: u64,
    checked_before: u64,
}

/// The partial tile of entries, until it is known whether the edge of the tree is right.
#[derive(Debug)]
struct LastBundle {
    start: u64,
    width: u16,
    content: Content,
}

/// A run of entries whose bundle or leaf hashes are not there.
#[derive(Debug)]
struct Run {
    start: u64,
    end: u64,
    path: PathBuf,
}

/// One pass over a log; see the module.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    files: &'a LogFiles,
    size: u64,
    root: Hash,
    depth: Depth,
    /// The entries that are wanted; others are only read where they stand in the same bundle.
    wanted: Range<u64>,
    report: &'a mut Report,
    known: &'a mut [Known],
    buffer: BundleBuffer,
    levels: Vec<Level>,
    /// The partial tiles at the right edge of the tree that the pass has not reached yet.
    edges: Vec<Option<Tile>>,
    edges_right: bool,
    /// Leaf hash of the entry before, where it is known.
    before: Option<Hash>,
    last_bundle: Option<LastBundle>,
    /// A record is wanted whose time is the first.
    wants_first: bool,
    last: Option<Vec<u8>>,
    missing: Vec<Run>,
    missing_files: u32,
    redacted: BTreeSet<u64>,
    proof: Proof,
    facts: Facts,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        files: &'a LogFiles,
        (size, root): (u64, Hash),
        depth: Depth,
        report: &'a mut Report,
        known: &'a mut [Known],
    ) -> Self {
        let mut all = Vec::new();
        all.resize_with(usize::from(levels(size)), Level::default);
        Self {
            files,
            size,
            root,
            depth,
            wanted: 0..size,
            report,
            known,
            buffer: BundleBuffer::new(),
            levels: all,
            edges: Vec::new(),
            edges_right: false,
            before: Some(NO_PREVIOUS),
            last_bundle: None,
            wants_first: true,
            last: None,
            missing: Vec::new(),
            missing_files: 0,
            redacted: BTreeSet::new(),
            proof: Proof::Whole,
            facts: Facts::default(),
        }
    }

    /// Goes over the log. What the entries say is returned only as far as it is proven by the signed root.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(u64, u64)) -> Facts {
        if self.size == 0 {
            if self.root != Hash::of_empty_tree() {
                self.report.find(FindingKind::RootMismatch, None, None);
            }
            return self.facts;
        }
        self.load_edges();
        let first_present = self.files.first_present().unwrap_or(u64::MAX);
        let bundles = self.size.div_ceil(256);
        for number in 0..bundles {
            self.enter(number);
            let (start, end) = (number.saturating_mul(256), number.saturating_add(1).saturating_mul(256));
            if end > self.size {
                self.last_leaves(number);
            } else {
                let root = if number < first_present { self.skip(number) } else { self.leaves(number) };
                self.leave(number, root);
            }
            if self.missing_files > MAX_MISSING_FILES {
                self.give_up();
                return Facts::default();
            }
            progress(end.min(self.size).max(start), self.size);
        }
        self.close_edges();
        self.account_for_removals();
        if let Some(record) = self.last.take() {
            self.report.last_at = timestamp(&record);
        }
        self.conclude();
        if self.proof == Proof::Whole { self.facts } else { Facts::default() }
    }

    /// Nothing that is not proven may end in a log that passes, whatever was found or not.
    fn conclude(&mut self) {
        let least = match self.proof {
            Proof::Whole => super::Verdict::Intact,
            Proof::Partial => super::Verdict::Incomplete,
            Proof::Refuted => super::Verdict::Tampered,
        };
        if self.report.verdict < least {
            self.report.find(FindingKind::RootMismatch, None, None);
        }
    }

    /// Ends a pass that has not come to the root, so that nothing it has read is proven: neither entries nor what they
    /// say was pruned.
    fn give_up(&mut self) {
        self.facts = Facts::default();
        self.report.entries_checked = 0;
        self.proof = self.proof.max(if self.edges_right { Proof::Partial } else { Proof::Refuted });
        self.account_for_removals();
        self.conclude();
    }

    /// Reads the partial tiles at the right edge and compares what they give with the signed root.
    fn load_edges(&mut self) {
        let mut roots = Vec::new();
        for level in 0..levels(self.size) {
            let (index, width) = self.edge(level);
            let Some(width) = width else {
                roots.push(Some(Vec::new()));
                self.edges.push(None);
                continue;
            };
            let tile = match self.files.tile(level, index, width) {
                Ok(tile) => Some(tile),
                Err(unusable) => {
                    self.report.find(unusable.error.kind(), first_leaf(level, index, 0), Some(&unusable.path));
                    None
                }
            };
            roots.push(tile.as_ref().map(|tile| peaks(&tile.hashes)));
            self.edges.push(tile);
        }
        self.edges_right = root_of_edges(self.size, &roots) == Some(self.root);
    }

    /// Number and width of the partial tile of `level`; no width where there is none.
    fn edge(&self, level: u8) -> (u64, Option<u16>) {
        let hashes = above(self.size, level);
        (above(hashes, 1), u16::try_from(hashes % 256).ok().filter(|width| *width > 0))
    }

    /// What the tile above has for tile `index` of `level`, and whether that can be trusted.
    fn expected(&self, level: u8, index: u64) -> (Option<Hash>, bool) {
        let above = self.levels.get(usize::from(level).saturating_add(1));
        let slot = usize::try_from(index % 256).unwrap_or(usize::MAX);
        let hash = above.and_then(|state| state.tile.as_ref()?.hashes.get(slot).copied());
        (hash, above.is_some_and(|state| state.trusted))
    }

    /// Makes the tiles above the leaves of tile `number` the current ones, from the top down.
    fn enter(&mut self, number: u64) {
        for level in (1..levels(self.size)).rev() {
            let index = above(number, level);
            let place = usize::from(level);
            if self.levels.get(place).is_none_or(|state| state.number == Some(index)) {
                continue;
            }
            let mut entered = Level {
                number: Some(index),
                findings_before: self.report.findings_total,
                checked_before: self.report.entries_checked,
                ..Level::default()
            };
            if index == self.edge(level).0 {
                entered.trusted = self.edges_right;
                entered.linked = self.edges_right;
                entered.tile = self.edges.get_mut(place).and_then(Option::take);
            } else {
                let (expected, parent_trusted) = self.expected(level, index);
                entered.expected = expected;
                match self.files.tile(level, index, FULL) {
                    Ok(tile) => {
                        entered.linked = expected.is_some() && subtree_root(&tile.hashes) == expected;
                        entered.trusted = entered.linked && parent_trusted;
                        entered.tile = Some(tile);
                    }
                    Err(unusable) => {
                        self.report.find(unusable.error.kind(), first_leaf(level, index, 0), Some(&unusable.path));
                        self.missing_files = self.missing_files.saturating_add(1);
                    }
                }
            }
            if let Some(state) = self.levels.get_mut(place) {
                *state = entered;
            }
        }
    }

    /// Hands the root of a full tile of leaves to the tiles above, and ends those that are full with it.
    fn leave(&mut self, number: u64, root: Option<Hash>) {
        let (mut index, mut root) = (number, root);
        for level in 1..levels(self.size) {
            let Some(state) = self.levels.get_mut(usize::from(level)) else { return };
            state.computed.push(root);
            if index % 256 != 255 {
                return;
            }
            index = above(index, 1);
            root = self.end_tile(level, index);
        }
    }

    /// Decides what a full tile above the leaves should have been, and returns its root.
    fn end_tile(&mut self, level: u8, index: u64) -> Option<Hash> {
        let state = std::mem::take(self.levels.get_mut(usize::from(level))?);
        let tile = state.tile.as_ref().map(|tile| tile.hashes.as_slice());
        let parent_trusted = self.expected(level, index).1;
        let best = match tile {
            Some(hashes) if state.linked => hashes.iter().copied().map(Some).collect(),
            _ => merge(&state.computed, tile, usize::from(FULL)),
        };
        self.note_known(level, index, &best);
        let root = whole(&best).and_then(|hashes| subtree_root(&hashes));
        if state.linked {
            let is_contradicted = state.computed.iter().zip(&best).any(|(below, own)| below.is_some() && below != own);
            if !state.trusted && is_contradicted {
                // the tile above vouches for this one, but nobody for that; below is something else
                self.proof = Proof::Refuted;
                self.report.entries_checked = state.checked_before;
            }
            return root;
        }
        self.compare_tile(level, index, state.tile.as_ref(), &best);
        if root.is_none() {
            self.proof = self.proof.max(Proof::Partial);
            self.report.entries_checked = state.checked_before;
        } else if parent_trusted && root != state.expected {
            self.proof = Proof::Refuted;
            self.report.entries_checked = state.checked_before;
            if self.report.findings_total == state.findings_before {
                let path = state.tile.as_ref().map(|tile| tile.path.as_path());
                self.report.find(FindingKind::HashAltered, first_leaf(level, index, 0), path);
            }
        }
        root
    }

    /// Names each hash of `tile` that is not what it should be.
    fn compare_tile(&mut self, level: u8, index: u64, tile: Option<&Tile>, best: &[Option<Hash>]) {
        let Some(tile) = tile else { return };
        for (slot, (found, best)) in tile.hashes.iter().zip(best).enumerate() {
            if best.is_some_and(|best| best != *found) {
                self.report.find(FindingKind::HashAltered, first_leaf(level, index, slot), Some(&tile.path));
            }
        }
    }

    fn note_known(&mut self, level: u8, index: u64, best: &[Option<Hash>]) {
        for known in self.known.iter_mut() {
            known.note(level, index, best);
        }
    }

    /// Passes over a full tile of leaves that is not there, nor any before it.
    fn skip(&mut self, number: u64) -> Option<Hash> {
        let path = TilePath { kind: TileKind::Entries, index: number, width: FULL }.to_relative();
        self.miss(number, FULL, Path::new(&path));
        self.before = None;
        self.expected(0, number).0
    }

    /// Checks a full tile of leaves and its entries, and returns its root.
    fn leaves(&mut self, number: u64) -> Option<Hash> {
        let start = number.saturating_mul(256);
        let (expected, parent_trusted) = self.expected(0, number);
        let tile = match self.files.tile(0, number, FULL) {
            Ok(tile) => Some(tile),
            Err(unusable) => {
                self.cannot_use(number, FULL, unusable.error, &unusable.path);
                None
            }
        };
        let content = self.content(number, FULL, false);
        let proves = |hashes: &[Option<Hash>]| {
            expected.is_some() && whole(hashes).and_then(|hashes| subtree_root(&hashes)) == expected
        };
        let hashes = tile.as_ref().map(|tile| tile.hashes.as_slice());
        let checked_before = self.report.entries_checked;
        let (best, is_proven) = choose(&content, hashes, FULL, proves);
        self.compare_tile(0, number, tile.as_ref(), &best);
        self.note_known(0, number, &best);
        let was_read = !content.slots.is_empty();
        let is_accused = !is_proven && differs(&content, hashes, &best);
        self.check_entries(start, &best, content);
        if is_proven {
            return expected;
        }
        let root = whole(&best).and_then(|hashes| subtree_root(&hashes));
        if root.is_none() && was_read {
            // not even where the log says that it was pruned may something lie there that nobody vouches for
            self.proof = self.proof.max(Proof::Partial);
            self.report.entries_checked = checked_before;
            self.report.find(FindingKind::Missing, start, None);
        } else if root.is_some() && parent_trusted {
            self.proof = Proof::Refuted;
            self.report.entries_checked = checked_before;
            if !is_accused {
                // they agree with each other, but not with the hash above, which is right
                let path = tile.as_ref().map(|tile| tile.path.as_path());
                self.report.find(FindingKind::HashAltered, start, path);
            }
        }
        // of what is not there at all, the tile above speaks
        root.or(expected)
    }

    fn cannot_use(&mut self, number: u64, width: u16, error: FileError, path: &Path) {
        if error == FileError::Missing {
            self.missing_files = self.missing_files.saturating_add(1);
            self.miss(number, width, path);
        } else {
            self.report.find(error.kind(), number.saturating_mul(256), Some(path));
        }
    }

    fn content(&mut self, number: u64, width: u16, is_last: bool) -> Content {
        let keep = (self.wants_first, is_last);
        let content = Content::read(self.files, &mut self.buffer, (number, width), self.depth, keep);
        if content.error == Some(FileError::Missing) {
            self.cannot_use(number, width, FileError::Missing, &content.path);
        }
        content
    }

    /// Reads the partial bundle at the end. What it should be is known when the edge of the tree is.
    fn last_leaves(&mut self, number: u64) {
        let Some(width) = self.edge(0).1 else { return };
        let content = self.content(number, width, true);
        self.last_bundle = Some(LastBundle { start: number.saturating_mul(256), width, content });
    }

    /// Decides what the partial tiles at the edge should have been, and checks the last entries by them.
    fn close_edges(&mut self) {
        let size = self.size;
        // the tiles as they are, or else as what is below them makes them
        let mut best: Vec<Vec<Option<Hash>>> = vec![Vec::new()];
        for level in 1..levels(size) {
            let width = usize::from(self.edge(level).1.unwrap_or(0));
            let Some(state) = self.levels.get(usize::from(level)) else { continue };
            let tile = state.tile.as_ref().map(|tile| tile.hashes.as_slice());
            best.push(match tile {
                Some(hashes) if self.edges_right => hashes.iter().copied().map(Some).collect(),
                _ => merge(&state.computed, tile, width),
            });
        }
        let upper: Option<Vec<Option<Vec<Hash>>>> =
            best.iter().skip(1).map(|hashes| whole(hashes).map(|hashes| Some(peaks(&hashes)))).collect();
        let root = self.root;
        let proves = |leaves: &[Option<Hash>]| {
            let (Some(upper), Some(leaves)) = (&upper, whole(leaves)) else { return false };
            let mut edges = vec![Some(peaks(&leaves))];
            edges.extend(upper.iter().cloned());
            root_of_edges(size, &edges) == Some(root)
        };
        let leaf_tile = self.edges.first_mut().and_then(Option::take);
        let last = self.last_bundle.take();
        let (leaves, is_proven) = match &last {
            Some(last) => {
                let hashes = leaf_tile.as_ref().map(|tile| tile.hashes.as_slice());
                choose(&last.content, hashes, last.width, proves)
            }
            None => (Vec::new(), proves(&[])),
        };
        if let Some(first) = best.first_mut() {
            *first = leaves;
        }
        for (level, hashes) in (0..levels(size)).zip(&best) {
            let (index, _) = self.edge(level);
            let tile = if level == 0 {
                leaf_tile.clone()
            } else {
                self.levels.get(usize::from(level)).and_then(|state| state.tile.clone())
            };
            self.compare_tile(level, index, tile.as_ref(), hashes);
            self.note_known(level, index, hashes);
        }
        if let (Some(last), Some(leaves)) = (last, best.first()) {
            self.check_entries(last.start, leaves, last.content);
        }
        if !is_proven {
            self.report.entries_checked = 0;
            if best.iter().flatten().all(Option::is_some) {
                self.proof = Proof::Refuted;
                self.report.find(FindingKind::RootMismatch, None, None);
            } else {
                self.proof = self.proof.max(Proof::Partial);
            }
        }
    }
}
