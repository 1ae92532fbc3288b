//! Signed notes (c2sp.org/signed-note): a text and signatures of it.
//!
//! In scope: the format, Ed25519 signatures (type 0x01), timestamped cosignatures (c2sp.org/tlog-cosignature, type
//! 0x04), signing through [`NoteSigner`]. Out of scope: what the text says.

mod key;

use std::fmt;

pub use key::{Ed25519NoteSigner, KeyError, VerifierKey};

/// Most bytes of a note that are looked at: a checkpoint is 200, each signature adds about 120.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// Most signature lines of a note (the specification asks for at least 16, and names 100 as a fair limit).
pub const MAX_NOTE_SIGNATURES: usize = 100;

/// Signs notes. Implement it for a key that never leaves its hardware; [`Ed25519NoteSigner`] holds one in memory.
///
/// The log signs once for every commit, and callers in strict mode wait for it.
pub trait NoteSigner: fmt::Debug + Send + Sync + 'static {
    /// The key that checks the signatures; its name is the origin of the log.
    fn verifier_key(&self) -> &VerifierKey;

    /// The signature of `text`, without the key id: for Ed25519 64 bytes (RFC 8032).
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used now. The log then fails as for a disk that fails.
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A key could not be used to sign.
#[derive(Debug, thiserror::Error)]
#[error("the log's key could not sign")]
#[non_exhaustive]
pub struct SignError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// One line of signature: whose it says it is, and its bytes. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

/// A note that was read and not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why a note was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It is not a note: wrong form, too long, not UTF-8, base64 that is not exact, a control character.
    #[error("not a signed note")]
    Malformed,
    /// None of the given keys has signed it.
    #[error("not signed by a known key")]
    UnknownKey,
    /// A signature that names a given key does not verify.
    #[error("a signature does not verify")]
    BadSignature,
}

impl NoteSignature {
    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key: the first four bytes of its hash.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }
}

impl UnverifiedNote {
    /// Reads a note strictly: at most [`MAX_NOTE_BYTES`], UTF-8, no control character but line breaks, exact base64.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let _ = bytes;
        todo!()
    }

    /// The text, which nobody vouches for yet.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks the signatures that name one of `keys`, and returns those keys; signatures of other keys are ignored, as
    /// the specification asks.
    ///
    /// # Errors
    /// [`NoteError::UnknownKey`] when none names one of `keys`, [`NoteError::BadSignature`] when one of them is wrong.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let _ = keys;
        todo!()
    }
}

/// `text` with a signature of each of `signers`, as bytes of a note.
///
/// # Errors
/// [`SignError`] of the first signer that fails.
pub fn sign_note(text: &str, signers: &[&dyn NoteSigner]) -> Result<Vec<u8>, SignError> {
    let _ = (text, signers);
    todo!()
}
