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
