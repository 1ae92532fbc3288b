//! Proofs that stand alone (c2sp.org/tlog-proof): an index, an audit path and a signed checkpoint.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::evidence::checkpoint::{Checkpoint, parse_decimal};
use crate::evidence::merkle::{Hash, MAX_PATH_HASHES};
use crate::evidence::note::UnverifiedNote;

/// Most bytes of a proof that are looked at.
pub const MAX_PROOF_BYTES: usize = 128 * 1024;

/// That an entry is in the tree of a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlogProof {
    /// Index of the entry.
    pub index: u64,
    /// Audit path, from the leaf upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
    /// What an application put beside the proof. It is not covered by any signature.
    pub extra: Option<Vec<u8>>,
}

/// A proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// Not a proof.
    #[error("not a tlog proof")]
    Malformed,
    /// The checkpoint is not signed as it must be.
    #[error("the checkpoint of the proof is not trusted")]
    Checkpoint(#[from] crate::evidence::note::NoteError),
    /// The audit path does not lead to the root.
    #[error("the proof does not show the entry")]
    Path(#[from] crate::evidence::merkle::ProofError),
}

/// First line of a proof.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

impl TlogProof {
    /// The proof of these parts.
    #[must_use]
    pub const fn new(index: u64, path: Vec<Hash>, checkpoint: Vec<u8>) -> Self {
        Self { index, path, checkpoint, extra: None }
    }

    /// Reads a proof strictly: at most [`MAX_PROOF_BYTES`], exact base64 and numbers, and a checkpoint behind the path.
    /// Nothing of it is verified.
    ///
    /// # Errors
    /// [`TlogProofError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        Self::read(bytes).ok_or(TlogProofError::Malformed)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_PROOF_BYTES {
            return None;
        }
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let (mut line, mut rest) = rest.split_once('\n')?;
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = Some(STANDARD.decode(encoded).ok()?);
            (line, rest) = rest.split_once('\n')?;
        }
        let index = parse_decimal(line.strip_prefix("index ")?.as_bytes())?;
        let mut path = Vec::new();
        loop {
            (line, rest) = rest.split_once('\n')?;
            if line.is_empty() {
                break;
            }
            if path.len() == MAX_PATH_HASHES {
                return None;
            }
            path.push(line.parse().ok()?);
        }
        let note = UnverifiedNote::parse(rest.as_bytes()).ok()?;
        Checkpoint::parse(note.text()).ok()?;
        Some(Self { index, path, checkpoint: rest.as_bytes().to_owned(), extra })
    }

    /// The text form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text.push_str("extra ");
            STANDARD.encode_string(extra, &mut text);
            text.push('\n');
        }
        // a String takes whatever is written to it
        let _ = writeln!(text, "index {}", self.index);
        for hash in &self.path {
            let _ = writeln!(text, "{hash}");
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.checkpoint);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::note::{Ed25519NoteSigner, sign_note};

    fn checkpoint() -> Vec<u8> {
        let text = Checkpoint::new("example.com/log".to_owned(), 9, Hash::of_leaf(b"root")).to_text();
        sign_note(&text, &[&Ed25519NoteSigner::from_seed("example.com/log", &[1; 32]).unwrap()]).unwrap()
    }

    fn proof(hashes: usize) -> TlogProof {
        TlogProof::new(3, vec![Hash::of_leaf(b"sibling"); hashes], checkpoint())
    }

    #[test]
    fn a_proof_of_another_form_is_malformed() {
        let good = String::from_utf8(proof(2).to_bytes()).unwrap();
        let hash = Hash::of_leaf(b"sibling").to_string();
        let changed = |from: &str, to: &str| {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            changed
        };
        for (what, text) in [
            ("empty", String::new()),
            ("only its first line", format!("{HEADER}\n")),
            ("another version", changed("@v1", "@v2")),
            ("something before", format!("\n{good}")),
            ("line breaks of Windows", good.replace('\n', "\r\n")),
            ("no index", changed("index 3\n", "")),
            ("index without number", changed("index 3", "index ")),
            ("index with leading zero", changed("index 3", "index 03")),
            ("index with sign", changed("index 3", "index +3")),
            ("index with two spaces", changed("index 3", "index  3")),
            ("index beyond 64 bits", changed("index 3", "index 18446744073709551616")),
            ("extra behind the index", changed("index 3\n", "index 3\nextra AAAA\n")),
            ("extra twice", changed("index", "extra AAAA\nextra AAAA\nindex")),
            ("extra that is no base64", changed("index", "extra AAA\nindex")),
            ("extra without space", changed("index", "extraAAAA\nindex")),
            ("short hash", changed("hroA", "")),
            ("hash with spare bits", changed(&hash, &hash.replace("U=", "V="))),
            ("hash with a space", changed(&hash, &format!("{hash} "))),
            ("no empty line", changed("\n\nexample", "\nexample")),
            ("two empty lines", changed("\n\nexample", "\n\n\nexample")),
            ("no checkpoint", good.split("\n\n").next().unwrap().to_owned() + "\n\n"),
            ("unsigned checkpoint", good.rsplit_once('\u{2014}').unwrap().0.to_owned()),
            ("a note that is no checkpoint", changed("\n9\n", "\nnine\n")),
            ("something behind", format!("{good}\n")),
        ] {
            assert_eq!(TlogProof::parse(text.as_bytes()), Err(TlogProofError::Malformed), "{what}");
        }
    }

    #[test]
    fn a_path_is_as_long_as_that_of_the_largest_tree_and_no_longer() {
        assert!(TlogProof::parse(&proof(MAX_PATH_HASHES).to_bytes()).is_ok());
        assert_eq!(TlogProof::parse(&proof(MAX_PATH_HASHES + 1).to_bytes()), Err(TlogProofError::Malformed));
        let mut long = proof(0);
        long.extra = Some(vec![0; MAX_PROOF_BYTES]);
        assert_eq!(TlogProof::parse(&long.to_bytes()), Err(TlogProofError::Malformed));
    }

    proptest! {
        #[test]
        fn a_proof_is_read_as_it_was_written(
            index in any::<u64>(),
            path in prop::collection::vec(any::<[u8; 32]>(), 0..5),
            extra in any::<Option<Vec<u8>>>(),
        ) {
            let mut proof = TlogProof::new(index, path.into_iter().map(Hash::new).collect(), checkpoint());
            proof.extra = extra;
            prop_assert_eq!(TlogProof::parse(&proof.to_bytes()), Ok(proof));
        }

        #[test]
        fn what_is_read_has_no_other_spelling(
            place in any::<prop::sample::Index>(),
            removed in 0_usize..3,
            added in "[\na0=+ ]{0,2}",
            bytes in any::<Vec<u8>>(),
        ) {
            prop_assert!(TlogProof::parse(&bytes).is_err());
            let mut changed = proof(2).to_bytes();
            let start = place.index(changed.len());
            changed.splice(start..start.saturating_add(removed).min(changed.len()), added.into_bytes());
            if let Ok(read) = TlogProof::parse(&changed) {
                prop_assert_eq!(read.to_bytes(), changed);
            }
        }
    }
}
