//! Published vectors of the evidence log's formats: proofs of github.com/transparency-dev/merkle, and notes, checkpoints
//! and proofs as Go's `golang.org/x/mod/sumdb` and github.com/transparency-dev/formats write them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "vectors are as they are, or the test fails")]

use rmcp_guard::evidence::checkpoint::{Checkpoint, VerifiedCheckpoint};
use rmcp_guard::evidence::merkle::{Hash, verify_consistency, verify_inclusion};
use rmcp_guard::evidence::note::{Ed25519NoteSigner, NoteError, SignatureType, UnverifiedNote, VerifierKey, sign_note};
use rmcp_guard::evidence::verify::TlogProof;
use serde_json::Value;

fn merkle_vectors(kind: &str) -> Vec<Value> {
    let text = include_str!("vectors/merkle_proofs.json");
    serde_json::from_str::<Value>(text).unwrap()[kind].as_array().unwrap().clone()
}

/// `None` for what is not 32 bytes, which cannot be a [`Hash`] here: such a vector is refused as it is read.
fn hash(vector: &Value) -> Option<Hash> {
    vector.as_str().unwrap().parse().ok()
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    vector["proof"].as_array().unwrap().iter().map(hash).collect()
}

#[test]
fn inclusion_proofs_are_judged_as_published() {
    let vectors = merkle_vectors("inclusion");
    assert_eq!(vectors.len(), 98);
    for vector in vectors {
        let (index, size) = (vector["leafIdx"].as_u64().unwrap(), vector["treeSize"].as_u64().unwrap());
        let verified = || {
            verify_inclusion(&hash(&vector["leafHash"])?, index, size, &proof(&vector)?, &hash(&vector["root"])?).ok()
        };
        assert_eq!(verified().is_none(), vector["wantErr"], "{}", vector["id"]);
    }
}

/// Whose roots are dummies of 12 bytes (DIFFERENCES.md).
const NO_HASHES: &str = "consistency/additional/sizes-are-equal-one-and-proof-is-empty";

#[test]
fn consistency_proofs_are_judged_as_published() {
    let vectors = merkle_vectors("consistency");
    assert_eq!(vectors.len(), 98);
    for vector in vectors {
        let (old, new) = (vector["size1"].as_u64().unwrap(), vector["size2"].as_u64().unwrap());
        let verified = || {
            let (old_root, new_root) = (hash(&vector["root1"])?, hash(&vector["root2"])?);
            verify_consistency((old, &old_root), (new, &new_root), &proof(&vector)?).ok()
        };
        let refused = vector["wantErr"] == true || vector["id"] == NO_HASHES;
        assert_eq!(verified().is_none(), refused, "{}", vector["id"]);
    }
}

fn notes() -> Value {
    serde_json::from_str(include_str!("vectors/notes.json")).unwrap()
}

fn key(notes: &Value, name: &str) -> VerifierKey {
    notes[name].as_str().unwrap().parse().unwrap()
}

#[test]
fn checkpoints_signed_and_cosigned_in_go_verify() {
    let notes = notes();
    let (log, witness) = (key(&notes, "log_vkey"), key(&notes, "witness_vkey"));
    assert_eq!(witness.signature_type(), SignatureType::CosignatureV1);
    let checkpoints = notes["checkpoints"].as_array().unwrap();
    assert_eq!(checkpoints.len(), 7);
    for vector in checkpoints {
        let bytes = vector["cosigned"].as_str().unwrap().as_bytes();
        let verified = VerifiedCheckpoint::verify(bytes, std::slice::from_ref(&log)).unwrap();
        let expected = Checkpoint::new(
            "example.com/log".to_owned(),
            vector["size"].as_u64().unwrap(),
            hash(&vector["root"]).unwrap(),
        );
        assert_eq!(*verified.checkpoint(), expected);

        let note = UnverifiedNote::parse(bytes).unwrap();
        let both = [log.clone(), witness.clone()];
        assert_eq!(note.verify(&both).unwrap(), both.iter().collect::<Vec<_>>());
        assert!(note.cosigned_at(&witness).unwrap() > 1_700_000_000);
        // a witness is not the log
        let witness = std::slice::from_ref(&witness);
        assert_eq!(VerifiedCheckpoint::verify(bytes, witness), Err(NoteError::UnknownKey), "it has another name");
        assert_eq!(note.to_bytes(), bytes);
    }
}

#[test]
fn checkpoints_are_signed_as_in_go() {
    let notes = notes();
    let signer =
        Ed25519NoteSigner::from_seed("example.com/log", &std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap();
    for vector in notes["checkpoints"].as_array().unwrap() {
        let root = hash(&vector["root"]).unwrap();
        let text = Checkpoint::new("example.com/log".to_owned(), vector["size"].as_u64().unwrap(), root).to_text();
        assert_eq!(sign_note(&text, &[&signer]).unwrap(), vector["signed"].as_str().unwrap().as_bytes());
    }
}

#[test]
fn proofs_made_in_go_verify() {
    let notes = notes();
    let log = [key(&notes, "log_vkey")];
    let proofs = notes["proofs"].as_array().unwrap();
    assert_eq!(proofs.len(), 23);
    for vector in proofs {
        let bytes = vector["proof"].as_str().unwrap().as_bytes();
        let proof = TlogProof::parse(bytes).unwrap();
        assert_eq!(proof.to_bytes(), bytes);
        assert_eq!(proof.extra.as_deref(), (vector["index"] == 1).then_some(b"opaque".as_slice()));
        let verified = VerifiedCheckpoint::verify(&proof.checkpoint, &log).unwrap();
        let Checkpoint { size, root, .. } = verified.checkpoint();
        let leaf = Hash::of_leaf(format!("leaf {}", vector["index"]).as_bytes());
        assert_eq!(Some(leaf), hash(&vector["leaf"]));
        assert_eq!(verify_inclusion(&leaf, proof.index, *size, &proof.path, root), Ok(()));
    }
}
