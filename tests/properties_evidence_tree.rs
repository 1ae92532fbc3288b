//! Laws of the evidence log's tree: it is the tree of RFC 9162, and two independent implementations agree.
//!
//! `RMCP_GUARD_FULL=1 cargo test --test properties_evidence_tree` does the same for more and larger trees, in half a
//! minute.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use rmcp_guard::evidence::merkle::{
    Frontier, Hash, HashReader, ProofError, prove_consistency, prove_inclusion, root_at, verify_consistency,
    verify_inclusion,
};
use sha2::Sha256;

fn full() -> bool {
    std::env::var_os("RMCP_GUARD_FULL").is_some()
}

fn at(index: u64) -> usize {
    usize::try_from(index).unwrap()
}

/// The definition (RFC 9162 §2.1.1).
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_empty_tree(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::of_node(&defined_root(left), &defined_root(right))
        }
    }
}

/// All complete subtrees, by height. Counts what is read.
#[derive(Default)]
struct Tree {
    levels: Vec<Vec<Hash>>,
    reads: usize,
}

impl Tree {
    fn of(leaves: u64) -> Self {
        let mut tree = Self::default();
        (0..leaves).for_each(|leaf| tree.push(Hash::of_leaf(&entry(leaf))));
        tree
    }

    fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(node);
            match level.as_slice() {
                [.., left, right] if level.len().is_multiple_of(2) => node = Hash::of_node(left, right),
                _ => return,
            }
        }
    }

    fn leaf(&self, index: u64) -> Hash {
        self.levels[0][at(index)]
    }

    fn root(&mut self, size: u64) -> Hash {
        let Ok(root) = root_at(self, size);
        root
    }

    fn inclusion(&mut self, index: u64, size: u64) -> Vec<Hash> {
        let Ok(proof) = prove_inclusion(self, index, size);
        proof.unwrap()
    }

    fn consistency(&mut self, old: u64, new: u64) -> Vec<Hash> {
        let Ok(proof) = prove_consistency(self, old, new);
        proof.unwrap()
    }
}

impl HashReader for Tree {
    type Error = Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
        self.reads += 1;
        Ok(self.levels[usize::from(level)][at(index)])
    }
}

/// The same nodes, as the second oracle asks for them.
impl tlog_tiles::HashReader for &Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let node = |index: &u64| {
            let (level, index) = tlog_tiles::split_stored_hash_index(*index);
            tlog_tiles::Hash(*self.levels[usize::from(level)][at(index)].as_bytes())
        };
        Ok(indexes.iter().map(node).collect())
    }
}

fn entry(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

type Oracle = MemoryBackedTree<Sha256, [u8; 8]>;

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks(32).map(|hash| Hash::new(hash.try_into().unwrap())).collect()
}

fn tiles_hashes(proof: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    proof.into_iter().map(|hash| Hash::new(hash.0)).collect()
}

/// One proof of each kind, against both oracles, and checked.
fn agree_on(tree: &mut Tree, oracle: Option<&Oracle>, part: u64, size: u64) {
    let root = tree.root(size);
    if part < size {
        let proof = tree.inclusion(part, size);
        assert_eq!(proof, tiles_hashes(tlog_tiles::prove_record(size, part, &&*tree).unwrap()), "{part} in {size}");
        if let Some(oracle) = oracle {
            assert_eq!(proof, hashes(oracle.prove_inclusion(at(part)).as_bytes()), "{part} in {size}");
        }
        assert_eq!(verify_inclusion(&tree.leaf(part), part, size, &proof, &root), Ok(()), "{part} in {size}");
    }
    let proof = tree.consistency(part, size);
    if part > 0 {
        assert_eq!(proof, tiles_hashes(tlog_tiles::prove_tree(size, part, &&*tree).unwrap()), "{part} to {size}");
        if let Some(oracle) = oracle {
            assert_eq!(proof, hashes(oracle.prove_consistency(at(size - part)).as_bytes()), "{part} to {size}");
        }
    }
    let old_root = tree.root(part);
    assert_eq!(verify_consistency((part, &old_root), (size, &root), &proof), Ok(()), "{part} to {size}");
}

fn agree_on_root(tree: &mut Tree, oracle: &Oracle, frontier: &Frontier, size: u64) {
    let root = tree.root(size);
    assert_eq!(root.as_bytes(), oracle.root().as_bytes().as_slice(), "{size}");
    assert_eq!(root.as_bytes(), &tlog_tiles::tree_hash(size, &&*tree).unwrap().0, "{size}");
    assert_eq!(root, frontier.root(), "{size}");
    assert_eq!(Frontier::from_peaks(size, frontier.peaks().to_vec()).as_ref(), Some(frontier), "{size}");
}

#[test]
fn every_root_and_proof_of_the_smallest_trees_is_that_of_the_oracles() {
    let (mut tree, mut oracle, mut frontier) = (Tree::default(), Oracle::new(), Frontier::new());
    for size in 0..=if full() { 600 } else { 130 } {
        agree_on_root(&mut tree, &oracle, &frontier, size);
        for part in 0..=size {
            agree_on(&mut tree, Some(&oracle), part, size);
        }
        tree.push(Hash::of_leaf(&entry(size)));
        oracle.push(entry(size));
        frontier.push(Hash::of_leaf(&entry(size)));
    }
}

#[test]
fn at_the_edges_of_tiles_roots_and_proofs_are_those_of_the_oracles() {
    let (mut tree, mut oracle, mut frontier) = (Tree::default(), Oracle::new(), Frontier::new());
    let edges = [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537];
    for size in 0..=65_537 {
        if edges.contains(&size) {
            agree_on_root(&mut tree, &oracle, &frontier, size);
            for part in edges.into_iter().chain([0, 1, 2, 3, size / 2, size - 1]).filter(|part| *part <= size) {
                agree_on(&mut tree, Some(&oracle), part, size);
            }
        }
        tree.push(Hash::of_leaf(&entry(size)));
        oracle.push(entry(size));
        frontier.push(Hash::of_leaf(&entry(size)));
    }
}

#[test]
fn proofs_of_large_trees_are_those_of_the_oracle() {
    let (leaves, cases) = if full() { (1_000_000, 10_000) } else { (50_000, 300) };
    let mut tree = Tree::of(leaves);
    let mut random = fixed_random();
    for _ in 0..cases {
        let size = 1 + random() % leaves;
        agree_on(&mut tree, None, random() % (size + 1), size);
    }
}

/// The same numbers in each run (`SplitMix64`).
fn fixed_random() -> impl FnMut() -> u64 {
    let mut state = 4_u64;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn a_proof_reads_few_hashes() {
    let mut tree = Tree::of(40_000);
    for (part, size) in [(0, 40_000), (39_999, 40_000), (32_767, 32_769), (20_001, 39_999), (1, 32_768)] {
        tree.reads = 0;
        let length = tree.inclusion(part, size).len() + tree.consistency(part, size).len();
        // each hash of a proof is one node, but for the one right of the last complete subtree
        assert!(tree.reads <= length + 2 * 16, "{} reads, {length} hashes", tree.reads);
    }
}

/// A tree of equal leaves, of any size: what stands at a node follows from its height.
struct Uniform(Vec<Hash>);

impl Uniform {
    fn new() -> Self {
        let leaf = Hash::of_leaf(b"same");
        Self(std::iter::successors(Some(leaf), |node| Some(Hash::of_node(node, node))).take(64).collect())
    }
}

impl HashReader for Uniform {
    type Error = Infallible;

    fn node(&mut self, level: u8, _index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[usize::from(level)])
    }
}

#[test]
fn the_largest_trees_have_roots_and_proofs() {
    let mut tree = Uniform::new();
    let sizes = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1, (1 << 63) - 1, 1 << 32];
    for new in sizes {
        let Ok(root) = root_at(&mut tree, new);
        for part in sizes.into_iter().chain([0, 1, 2, 3]).filter(|part| *part <= new) {
            let Ok(proof) = prove_inclusion(&mut tree, part, new);
            assert_eq!(proof.is_none(), part == new);
            if let Some(proof) = proof {
                assert_eq!(verify_inclusion(&tree.0[0], part, new, &proof, &root), Ok(()), "{part} in {new}");
            }
            let Ok(old_root) = root_at(&mut tree, part);
            let Ok(proof) = prove_consistency(&mut tree, part, new);
            let proof = proof.unwrap();
            assert_eq!(verify_consistency((part, &old_root), (new, &root), &proof), Ok(()), "{part} to {new}");
        }
    }
}

#[test]
fn there_is_no_proof_of_what_is_not_there() {
    let mut tree = Tree::of(8);
    assert_eq!(prove_inclusion(&mut tree, 8, 8), Ok(None));
    assert_eq!(prove_inclusion(&mut tree, 0, 0), Ok(None));
    assert_eq!(prove_inclusion(&mut tree, u64::MAX, 8), Ok(None));
    assert_eq!(prove_consistency(&mut tree, 8, 7), Ok(None));
    assert_eq!(tree.reads, 0);
    let (leaf, root) = (tree.leaf(0), tree.root(8));
    for (index, size) in [(8, 8), (0, 0), (u64::MAX, 8), (u64::MAX, u64::MAX)] {
        assert_eq!(verify_inclusion(&leaf, index, size, &[], &root), Err(ProofError::OutOfRange));
    }
    assert_eq!(verify_consistency((8, &root), (7, &root), &[]), Err(ProofError::OutOfRange));
}

#[test]
fn a_frontier_needs_one_peak_for_each_bit() {
    let peak = Hash::of_leaf(b"");
    for (size, peaks, fits) in [(0, 0, true), (0, 1, false), (5, 2, true), (5, 1, false), (5, 3, false), (8, 1, true)] {
        assert_eq!(Frontier::from_peaks(size, vec![peak; peaks]).is_some(), fits, "{size} {peaks}");
    }
    let mut last = Frontier::from_peaks(u64::MAX, vec![peak; 64]).unwrap();
    let before = last.clone();
    last.push(peak);
    assert_eq!(last, before);
}

#[test]
fn the_empty_tree_is_where_every_log_begins_and_no_other() {
    let mut tree = Tree::of(3);
    let (root, empty) = (tree.root(3), Hash::of_empty_tree());
    assert_eq!(verify_consistency((0, &empty), (3, &root), &[]), Ok(()));
    assert_eq!(verify_consistency((0, &empty), (0, &empty), &[]), Ok(()));
    assert_eq!(verify_consistency((0, &root), (3, &root), &[]), Err(ProofError::Mismatch));
    assert_eq!(verify_consistency((0, &root), (0, &root), &[]), Err(ProofError::Mismatch));
    assert_eq!(verify_consistency((0, &empty), (0, &root), &[]), Err(ProofError::Mismatch));
    assert_eq!(verify_consistency((0, &empty), (3, &root), &[root]), Err(ProofError::WrongLength));
}

/// A proof broken in each way that has a name, with what must be said of it.
fn broken(proof: &[Hash], root: Hash) -> Vec<(&'static str, Vec<Hash>, ProofError)> {
    let mut all = Vec::new();
    let mut add = |name, change: &dyn Fn(&mut Vec<Hash>), error| {
        let mut changed = proof.to_vec();
        change(&mut changed);
        if changed != proof {
            all.push((name, changed, error));
        }
    };
    add("extra hash in front", &|proof| proof.insert(0, root), ProofError::WrongLength);
    add("extra hash behind", &|proof| proof.push(root), ProofError::WrongLength);
    add("truncated behind", &|proof| proof.truncate(proof.len().saturating_sub(1)), ProofError::WrongLength);
    add("truncated in front", &|proof| drop(proof.drain(..proof.len().min(1))), ProofError::WrongLength);
    add("empty", &|proof| proof.clear(), ProofError::WrongLength);
    add("reversed", &|proof| proof.reverse(), ProofError::Mismatch);
    for at in 0..proof.len() {
        add("flipped bit", &|proof| proof[at] = flipped(proof[at]), ProofError::Mismatch);
        add("swapped with the next", &|changed| changed.swap(at, (at + 1) % proof.len()), ProofError::Mismatch);
        add(
            "a hash twice",
            &|proof| {
                let hash = proof[at];
                proof.insert(at, hash);
            },
            ProofError::WrongLength,
        );
        add("the root in its place", &|proof| proof[at] = root, ProofError::Mismatch);
    }
    all
}

fn flipped(hash: Hash) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 1;
    Hash::new(bytes)
}

#[test]
fn every_broken_inclusion_proof_is_refused_for_what_is_broken() {
    let mut tree = Tree::of(70);
    for size in [1, 2, 3, 7, 8, 33, 64, 70] {
        let root = tree.root(size);
        for index in 0..size {
            let (leaf, proof) = (tree.leaf(index), tree.inclusion(index, size));
            for (name, proof, error) in broken(&proof, root) {
                assert_eq!(
                    verify_inclusion(&leaf, index, size, &proof, &root),
                    Err(error),
                    "{name}: {index} in {size}"
                );
            }
            let other_leaf = verify_inclusion(&flipped(leaf), index, size, &proof, &root);
            assert_eq!(other_leaf, Err(ProofError::Mismatch));
            let other_root = verify_inclusion(&leaf, index, size, &proof, &flipped(root));
            assert_eq!(other_root, Err(ProofError::Mismatch));
            for other in (0..size).filter(|other| *other != index) {
                let moved = verify_inclusion(&leaf, other, size, &proof, &root);
                assert!(matches!(moved, Err(ProofError::Mismatch | ProofError::WrongLength)), "{index} as {other}");
            }
        }
    }
}

#[test]
fn every_broken_consistency_proof_is_refused_for_what_is_broken() {
    let mut tree = Tree::of(70);
    for new in [2, 3, 7, 8, 33, 64, 70] {
        let new_root = tree.root(new);
        for old in 1..new {
            let (old_root, proof) = (tree.root(old), tree.consistency(old, new));
            let verify =
                |old_root, new_root, proof: &[Hash]| verify_consistency((old, &old_root), (new, &new_root), proof);
            for (name, proof, error) in broken(&proof, new_root) {
                let result = verify(old_root, new_root, &proof);
                assert_eq!(result, Err(error), "{name}: {old} to {new}");
            }
            for (name, old_root, new_root) in [
                ("swapped roots", new_root, old_root),
                ("wrong old root", flipped(old_root), new_root),
                ("wrong new root", old_root, flipped(new_root)),
                ("old root twice", old_root, old_root),
                ("new root twice", new_root, new_root),
            ] {
                assert_eq!(verify(old_root, new_root, &proof), Err(ProofError::Mismatch), "{name}: {old} to {new}");
            }
        }
    }
}

fn any_hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::new)
}

/// Sizes and indices of all magnitudes, and the edges.
fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..70,
        (0_u32..64, -2_i64..3).prop_map(|(bit, by)| (1_u64 << bit).wrapping_add_signed(by)),
        any::<u64>()
    ]
}

proptest! {
    #[test]
    fn the_fast_tree_is_the_defined_one(leaves in prop::collection::vec(any_hash(), 0..200)) {
        let (mut tree, mut frontier) = (Tree::default(), Frontier::new());
        for leaf in &leaves {
            tree.push(*leaf);
            frontier.push(*leaf);
        }
        let size = u64::try_from(leaves.len()).unwrap();
        let root = defined_root(&leaves);
        prop_assert_eq!(tree.root(size), root);
        prop_assert_eq!(frontier.root(), root);
        prop_assert_eq!(frontier.size(), size);
    }

    /// Whatever is claimed, checking ends, and what is made up does not pass.
    #[test]
    fn no_claim_panics_or_passes(
        (leaf, root) in (any_hash(), any_hash()),
        (one, other) in (any_size(), any_size()),
        proof in prop::collection::vec(any_hash(), 0..70),
    ) {
        prop_assert!(verify_inclusion(&leaf, one, other, &proof, &root).is_err());
        prop_assert!(verify_consistency((one, &leaf), (other, &root), &proof).is_err());
    }

    #[test]
    fn proofs_of_any_size_verify_in_a_uniform_tree(one in any_size(), other in any_size()) {
        let mut tree = Uniform::new();
        let (part, size) = (one.min(other), one.max(other));
        let (Ok(old_root), Ok(root)) = (root_at(&mut tree, part), root_at(&mut tree, size));
        let Ok(proof) = prove_consistency(&mut tree, part, size);
        let proof = proof.unwrap();
        prop_assert_eq!(verify_consistency((part, &old_root), (size, &root), &proof), Ok(()));
        prop_assert!(proof.len() <= 65);
        let Ok(Some(proof)) = prove_inclusion(&mut tree, part, size) else { return Ok(()) };
        prop_assert_eq!(verify_inclusion(&tree.0[0], part, size, &proof, &root), Ok(()));
        prop_assert!(proof.len() <= 64);
    }

    #[test]
    fn a_hash_has_one_spelling(hash in any_hash(), text in "[A-Za-z0-9+/=_ -]{0,3}") {
        let written = hash.to_string();
        prop_assert_eq!(format!("{hash:?}"), format!("Hash({written})"));
        prop_assert_eq!(written.parse::<Hash>(), Ok(hash));
        let (front, back) = written.split_at(written.len() - text.len());
        let changed = [front, &text].concat();
        if let Ok(other) = changed.parse::<Hash>() {
            prop_assert_eq!(other.to_string(), changed);
        }
        let longer = [front, &text, back].concat();
        prop_assert!(longer.parse::<Hash>().is_err() || text.is_empty());
    }
}
