//! The Ed25519 key that signs notes.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::key::{KeyError, SignatureType, VerifierKey};
use super::{NoteSigner, SignError};

/// Longest PEM text of a key that is read: it needs under 200 bytes, the rest is room for surrounding text.
pub const MAX_KEY_PEM_BYTES: usize = 8 * 1024;

/// An Ed25519 key in memory that signs notes (signature type 0x01).
///
/// Zeroized when dropped, redacted in `Debug`, and not `Clone`: share it in an `Arc`, so that one copy exists.
pub struct Ed25519NoteSigner {
    verifier: VerifierKey,
    // with its public half, which signing needs and which costs as much to compute as a signature
    key: SigningKey,
}

impl Ed25519NoteSigner {
    /// The key with this seed (RFC 8032 §5.1.5) and the name `name`. Every seed is a key; the caller answers for its
    /// randomness.
    ///
    /// # Errors
    /// [`KeyError`] when `name` is empty or has white space, `+` or a control character.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, SigningKey::from_bytes(seed))
    }

    /// A new key from the operating system's randomness, with the name `name`.
    ///
    /// # Errors
    /// [`KeyError`] as for [`from_seed`](Self::from_seed), and when the operating system gives no random bytes.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| KeyError)?;
        Self::from_seed(name, &seed)
    }

    /// Reads a PKCS#8 PEM block (`PRIVATE KEY`), version 1 or 2, of at most [`MAX_KEY_PEM_BYTES`] (RFC 8410 §7), as the
    /// key with the name `name`.
    ///
    /// # Errors
    /// [`KeyError`] as for [`from_seed`](Self::from_seed), when it is something else, or when an enclosed public key
    /// does not belong to the private one.
    pub fn from_pkcs8_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        if pem.len() > MAX_KEY_PEM_BYTES {
            return Err(KeyError);
        }
        Self::new(name, SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError)?)
    }

    /// The PKCS#8 version 1 PEM block, byte for byte what `openssl pkey` writes.
    ///
    /// # Errors
    /// [`KeyError`] when the encoder fails, which no key is known to cause.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        // without the public half: readers of version 1 (OpenSSL before 3) refuse version 2
        let private_only = KeypairBytes { secret_key: *self.key.as_bytes(), public_key: None };
        private_only.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError)
    }

    /// The same key under another name: a log that goes on under a new origin keeps its key.
    ///
    /// # Errors
    /// As [`from_seed`](Self::from_seed).
    pub fn with_name(&self, name: &str) -> Result<Self, KeyError> {
        Self::new(name, self.key.clone())
    }

    fn new(name: &str, key: SigningKey) -> Result<Self, KeyError> {
        let verifier = VerifierKey::of_point(name, SignatureType::Ed25519, key.verifying_key())?;
        Ok(Self { verifier, key })
    }
}

impl NoteSigner for Ed25519NoteSigner {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.key.sign(text).to_vec())
    }
}

impl fmt::Debug for Ed25519NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519NoteSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
