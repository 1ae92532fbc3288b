//! What fuzzing does with logs, proofs and whatever is kept beside them: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use std::convert::Infallible;
use std::sync::LazyLock;

use serde_json::Value;

use crate::encoding::{canonical_json, has_inexact_numbers, parse_unique_json};
use crate::evidence::checkpoint::{Checkpoint, VerifiedCheckpoint};
use crate::evidence::entry::write_entry;
use crate::evidence::merkle::{
    Frontier, Hash, HashReader, prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion,
};
use crate::evidence::note::{MAX_NOTE_SIGNATURES, UnverifiedNote, VerifierKey};
pub use crate::evidence::store::durable::fuzz_manifest;
use crate::evidence::tiles::fuzz_bundle;
use crate::evidence::tiles::{TileKind, TilePath};
use crate::evidence::verify::{TlogProof, Verifier};
pub use crate::evidence::wal::fuzz::{fuzz_wal_frame, fuzz_wal_segment};
pub use crate::evidence::witness::fuzz::fuzz_witness_answer;
use crate::evidence::{Entry, Receipt, compute_params_hash, compute_params_hash_json, escape_for_display};

/// Notes and proofs that another implementation made.
pub(super) static NOTES: LazyLock<Value> =
    LazyLock::new(|| parse_unique_json(include_bytes!("../../tests/vectors/notes.json")).unwrap());

/// Keys of the log and of the witness of these notes.
pub(super) static KEYS: LazyLock<[VerifierKey; 2]> =
    LazyLock::new(|| ["log_vkey", "witness_vkey"].map(|name| NOTES[name].as_str().unwrap().parse().unwrap()));

static LEAVES: LazyLock<Vec<Hash>> = LazyLock::new(|| {
    let proofs = NOTES["proofs"].as_array().unwrap();
    proofs.iter().map(|proof| proof["leaf"].as_str().unwrap().parse().unwrap()).collect()
});

/// JSON: with unique names it is what another parser reads; its canonical form is a fixed point and the canonicalizer's;
/// text and value have one hash.
pub fn fuzz_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(parse_unique_json(data).is_err());
        return;
    };
    let shown = escape_for_display(text);
    assert!(shown.len() >= text.len() && !shown.contains(char::is_control));
    let valid = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    assert!(valid || compute_params_hash_json(text).is_err());
    let Ok(value) = parse_unique_json(data) else { return };
    assert_eq!(value, serde_json::from_slice::<Value>(data).unwrap());
    let canonical = canonical_json(&value).unwrap();
    assert_eq!(canonical, serde_json_canonicalizer::to_vec(&value).unwrap());
    let again = parse_unique_json(&canonical).unwrap();
    assert_eq!(canonical_json(&again).unwrap(), canonical);
    assert!(!has_inexact_numbers(&again) || has_inexact_numbers(&value));
    assert_eq!(compute_params_hash_json(&value.to_string()), Ok(compute_params_hash(&value)));
}

/// A note, a checkpoint, a key, or lines of signature: each is written as it was read, and what is verified is signed.
pub fn fuzz_checkpoint(data: &[u8]) {
    if let Ok(note) = UnverifiedNote::parse(data) {
        assert_eq!(note.to_bytes(), data);
        assert!(note.signatures().len() <= MAX_NOTE_SIGNATURES);
        let signed_by = note.verify(&*KEYS).unwrap_or_default();
        let cosigned = note.cosigned_at(&KEYS[1]);
        assert!(cosigned.is_none_or(|time| i64::try_from(time).is_ok()));
        // the one who verifies looks at every line under a known name, the other at those that are right
        assert!(cosigned.is_some() || !signed_by.contains(&&KEYS[1]));
        if let Ok(verified) = VerifiedCheckpoint::verify(data, &*KEYS) {
            let checkpoint = verified.checkpoint();
            assert!(verified.note() == data && note.text().starts_with(&checkpoint.to_text()));
            assert!(checkpoint.origin == KEYS[0].name() && signed_by.contains(&&KEYS[0]));
        }
    } else {
        assert!(VerifiedCheckpoint::verify(data, &*KEYS).is_err());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        let written = checkpoint.to_text();
        assert!(text.starts_with(&written) && Checkpoint::parse(&written) == Ok(checkpoint));
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
        assert_eq!(VerifierKey::new(key.name(), key.signature_type(), key.public_key()), Ok(key));
    }
    let before = UnverifiedNote::parse(NOTES["checkpoints"][3]["signed"].as_str().unwrap().as_bytes()).unwrap();
    let mut note = before.clone();
    if note.add_signature_lines(text).is_err() {
        assert_eq!(note, before);
    } else {
        assert_eq!(UnverifiedNote::parse(&note.to_bytes()).as_ref(), Ok(&note));
    }
}

/// A proof is written as it was read, and what it shows is in a tree that is signed.
pub fn fuzz_tlog_proof(data: &[u8]) {
    let Ok(proof) = TlogProof::parse(data) else { return };
    assert_eq!(proof.to_bytes(), data);
    let verifier = Verifier::new([KEYS[0].clone()]);
    let stranger = Verifier::new([KEYS[1].clone()]);
    for leaf in &*LEAVES {
        assert!(stranger.verify_proof(&proof, leaf).is_err());
        if let Ok(verified) = verifier.verify_proof(&proof, leaf) {
            let checkpoint = verified.checkpoint();
            assert!(proof.index < checkpoint.size);
            assert_eq!(verify_inclusion(leaf, proof.index, checkpoint.size, &proof.path, &checkpoint.root), Ok(()));
            assert!(verifier.verify_proof(&proof, &Hash::of_leaf(leaf.as_bytes())).is_err());
        }
    }
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

struct Leaves<'a>(&'a [Hash]);

impl HashReader for Leaves<'_> {
    type Error = Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
        let width = 1_usize << level;
        let start = usize::try_from(index).unwrap() * width;
        Ok(defined_root(&self.0[start..start + width]))
    }
}

/// Two numbers and hashes: a claim, of which no other form holds too; then a tree of these hashes, of which every proof holds
/// and no changed one does.
pub fn fuzz_merkle_proof(data: &[u8]) {
    let Some((numbers, rest)) = data.split_first_chunk::<17>() else { return };
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().unwrap());
    let (one, other, choice) = (number(0), number(8), usize::from(numbers[16]));
    let hashes: Vec<Hash> = rest.chunks_exact(32).take(70).map(|hash| Hash::new(hash.try_into().unwrap())).collect();
    let [leaf, root, proof @ ..] = hashes.as_slice() else { return };
    let includes = |leaf: &Hash, proof: &[Hash]| verify_inclusion(leaf, one, other, proof, root).is_ok();
    if includes(leaf, proof) {
        assert!(one < other && !includes(&Hash::of_leaf(leaf.as_bytes()), proof));
        assert!(changed(proof, choice).iter().all(|proof| !includes(leaf, proof)));
    }
    let continues = |old: &Hash, proof: &[Hash]| verify_consistency((one, old), (other, root), proof).is_ok();
    if continues(leaf, proof) {
        assert!(one <= other && !continues(&Hash::of_leaf(leaf.as_bytes()), proof));
        assert!(changed(proof, choice).iter().all(|proof| !continues(leaf, proof)));
    }

    let size = hashes.len();
    let mut frontier = Frontier::new();
    for hash in &hashes {
        frontier.push(*hash);
    }
    let (root, count) = (defined_root(&hashes), u64::try_from(size).unwrap());
    let Ok(read) = root_at(&mut Leaves(&hashes), count);
    assert_eq!((frontier.root(), read, frontier.size()), (root, root, count));
    let (at, old) = (choice % size, choice % (size + 1));
    let (index, old_count) = (u64::try_from(at).unwrap(), u64::try_from(old).unwrap());

    let Ok(Some(path)) = prove_inclusion(&mut Leaves(&hashes), index, count) else { panic!("no proof of a leaf") };
    let includes = |path: &[Hash]| verify_inclusion(&hashes[at], index, count, path, &root).is_ok();
    assert!(includes(&path));
    assert!(changed(&path, choice).iter().all(|path| !includes(path)));

    let old_root = defined_root(&hashes[..old]);
    let Ok(Some(proof)) = prove_consistency(&mut Leaves(&hashes), old_count, count) else {
        panic!("no proof of a tree")
    };
    let continues = |proof: &[Hash]| verify_consistency((old_count, &old_root), (count, &root), proof).is_ok();
    assert!(continues(&proof));
    assert!(changed(&proof, choice).iter().all(|proof| !continues(proof)));
}

/// A proof with one hash more, one less, and one with another bit.
fn changed(proof: &[Hash], choice: usize) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[Hash::of_leaf(b"more")]].concat()];
    if let Some((_, less)) = proof.split_last() {
        all.push(less.to_vec());
        let mut flipped = proof.to_vec();
        let mut bytes = *flipped[choice % proof.len()].as_bytes();
        bytes[choice % 32] ^= 1 << (choice % 8);
        flipped[choice % proof.len()] = Hash::new(bytes);
        all.push(flipped);
    }
    all
}

/// An entry is written as it was read.
pub fn fuzz_entry(data: &[u8]) {
    let Some(Entry { event, prev, seq }) = Entry::parse(data) else { return };
    let mut again = Vec::new();
    write_entry(&mut again, event, &prev, seq);
    assert_eq!(again, data);
}

/// How many entries, whether some may be redacted, and a bundle: it is written as it was read.
pub fn fuzz_entry_bundle(data: &[u8]) {
    let [count, redacted, bundle @ ..] = data else { return };
    fuzz_bundle(bundle, u16::from(*count) + 1, redacted & 1 == 1);
}

/// A tile has one path, and the tree that ends with it has it.
pub fn fuzz_tile_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(path) = TilePath::parse(text) else { return };
    assert_eq!(path.to_relative(), text);
    assert!(!text.contains("..") && text.is_ascii());
    let shift = match path.kind {
        TileKind::Hashes(level) => 8 * u32::from(level),
        TileKind::Entries | TileKind::Redacted => 0,
    };
    if let Some(size) = 1_u64.checked_shl(shift).and_then(|leaves| path.end().checked_mul(leaves)) {
        assert_eq!(TilePath::in_tree(path.kind, path.index, size), Some(path));
    }
}

/// A receipt, and behind a line break the entry that it names: it is read as it is written, and names no other entry.
pub fn fuzz_receipt(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (json, rest) = data.split_at(end);
    let Ok(Ok(receipt)) = parse_unique_json(json).map(|value| Receipt::from_json(&value)) else { return };
    assert_eq!(Receipt::from_json(&receipt.to_json()).as_ref(), Ok(&receipt));
    assert!(receipt.origin.bytes().all(|byte| byte.is_ascii_graphic()));
    let entry = rest.get(1..).unwrap_or_default();
    for receipt in [receipt.clone(), Receipt { leaf: Hash::of_leaf(entry), ..receipt }] {
        if let Ok(event) = receipt.check_entry(entry) {
            assert!(Hash::of_leaf(entry) == receipt.leaf && event["id"] == receipt.id);
            assert_eq!(Entry::parse(entry).unwrap().seq, receipt.index);
        }
    }
}
