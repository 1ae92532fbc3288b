//! Keys of notes: `<name>+<hash>+<base64 of type and key>`, and the Ed25519 key that signs.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::{NoteSigner, SignError};

/// The public half of a note key, with its name (c2sp.org/signed-note, "vkey").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: u32,
    /// Signature type and key.
    encoded: Vec<u8>,
}

/// A text is not a note key, or of a type that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not a supported note key (`<name>+<hash>+<base64>`)")]
#[non_exhaustive]
pub struct KeyError;

impl VerifierKey {
    /// The name, which for a log is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that signature lines carry.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let _ = text;
        todo!()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({}+{:08x})", self.name, self.key_id)
    }
}

/// An Ed25519 key in memory that signs notes (signature type 0x01).
pub struct Ed25519NoteSigner {
    verifier: VerifierKey,
    seed: Zeroizing<[u8; 32]>,
}

impl Ed25519NoteSigner {
    /// The key with this seed (RFC 8032 §5.1.5) and the name `name`.
    ///
    /// # Errors
    /// [`KeyError`] when `name` is empty or has white space, `+` or a control character.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let _ = (name, seed);
        todo!()
    }
}

impl NoteSigner for Ed25519NoteSigner {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        let _ = (text, &self.seed);
        todo!()
    }
}

impl fmt::Debug for Ed25519NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519NoteSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
