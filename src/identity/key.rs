//! Ed25519 keys: generation, PEM and JWK forms, RFC 7638 thumbprints, strict signatures (RFC 8032, RFC 8410, RFC 8037).
//!
//! A [`PublicKey`] in hand is always a canonically encoded point that is not of small order, so one key has one
//! encoding, one thumbprint and one `did:key`. Out of scope: other curves, key storage and file permissions.
//!
//! ```
//! use rmcp_guard::identity::key::SigningKey;
//!
//! let key = SigningKey::generate()?;
//! let signature = key.sign(b"message");
//! assert!(key.public_key().verify(b"message", &signature).is_ok());
//! assert!(key.public_key().verify(b"massage", &signature).is_err());
//! # Ok::<(), rmcp_guard::identity::key::KeyGenerationError>(())
//! ```

use std::fmt;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes,
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encoding::{base64url, base64url_decode};
use crate::identity::did::Did;

/// Longest PEM text that is read: an Ed25519 key needs under 200 bytes, the rest is room for surrounding text.
pub const MAX_PEM_BYTES: usize = 8 * 1024;

/// The operating system gave no random bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
#[non_exhaustive]
pub struct KeyGenerationError;

/// The input is not a usable Ed25519 key. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable Ed25519 key: {0}")]
#[non_exhaustive]
pub struct KeyError(&'static str);

/// The signature does not verify under the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
#[non_exhaustive]
pub struct SignatureError;

/// An Ed25519 private key.
///
/// Zeroized when dropped, redacted in `Debug`, and not `Clone`: share it in an `Arc`, so that one copy exists.
pub struct SigningKey {
    inner: ed25519_dalek::SigningKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("did", &self.did().as_str()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyGenerationError`] when there is none to be had.
    pub fn generate() -> Result<Self, KeyGenerationError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyGenerationError)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032 §5.1.5). Every seed is a key; the caller answers for its randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { inner: ed25519_dalek::SigningKey::from_bytes(seed) }
    }

    /// Reads a PKCS#8 PEM block (`PRIVATE KEY`), version 1 or 2, of at most [`MAX_PEM_BYTES`] (RFC 8410 §7).
    ///
    /// # Errors
    /// [`KeyError`] when it is something else, or when an enclosed public key does not belong to the private one.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(KeyError("the PEM text is too long"));
        }
        let inner = ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map_err(|_| KeyError("not a PKCS#8 PEM block of an Ed25519 private key"))?;
        Ok(Self { inner })
    }

    /// The PKCS#8 version 1 PEM block, byte for byte what `openssl pkey` writes.
    ///
    /// # Errors
    /// [`KeyError`] when the encoder fails, which no key is known to cause.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        // Without the public half: readers of version 1 (OpenSSL before 3, the Python SDK's loader) refuse version 2.
        let private_only = KeypairBytes { secret_key: *self.inner.as_bytes(), public_key: None };
        private_only.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError("cannot be written as PKCS#8"))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey { inner: self.inner.verifying_key() }
    }

    /// The key's own `did:key`.
    #[must_use]
    pub fn did(&self) -> Did {
        Did::from_public_key(&self.public_key())
    }

    /// Signs `message` with Ed25519 (RFC 8032 §5.1.6).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.inner.sign(message).to_bytes()
    }
}

/// An Ed25519 public key: a canonical point that is not of small order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    inner: ed25519_dalek::VerifyingKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&base64url(self.as_bytes())).finish()
    }
}

impl PublicKey {
    /// Reads the 32-byte encoding (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`KeyError`] for another length, for bytes that are no point, for a second encoding of a point, and for points
    /// of small order, under which one signature fits almost any message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError("not 32 bytes"))?;
        if !is_canonical_y(bytes) {
            return Err(KeyError("the point is not canonically encoded"));
        }
        let inner = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError("not a point of the curve"))?;
        if inner.is_weak() {
            return Err(KeyError("the point is of small order"));
        }
        Ok(Self { inner })
    }

    /// The 32-byte encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.inner.as_bytes()
    }

    /// Reads a `SubjectPublicKeyInfo` PEM block (`PUBLIC KEY`) of at most [`MAX_PEM_BYTES`] (RFC 8410 §4).
    ///
    /// # Errors
    /// [`KeyError`] when it is something else, or for the reasons of [`Self::from_bytes`].
    pub fn from_spki_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(KeyError("the PEM text is too long"));
        }
        let inner = ed25519_dalek::VerifyingKey::from_public_key_pem(pem)
            .map_err(|_| KeyError("not an SPKI PEM block of an Ed25519 public key"))?;
        Self::from_bytes(inner.as_bytes())
    }

    /// The `SubjectPublicKeyInfo` PEM block, byte for byte what `openssl pkey -pubout` writes.
    ///
    /// # Errors
    /// [`KeyError`] when the encoder fails, which no key is known to cause.
    pub fn to_spki_pem(&self) -> Result<String, KeyError> {
        self.inner.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError("cannot be written as SPKI"))
    }

    /// The JWK with its required members `crv`, `kty` and `x` (RFC 8037 §2).
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = Map::new();
        jwk.insert("crv".to_owned(), "Ed25519".into());
        jwk.insert("kty".to_owned(), "OKP".into());
        jwk.insert("x".to_owned(), base64url(self.as_bytes()).into());
        Value::Object(jwk)
    }

    /// Reads an OKP/Ed25519 JWK; members other than `kty`, `crv`, `x` and `d` are ignored (RFC 8037 §2).
    ///
    /// # Errors
    /// [`KeyError`] for another key type, for a private key (`d`), for `x` that is not strict base64url, or for the reasons
    /// of [`Self::from_bytes`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        Self::from_bytes(&jwk_bytes(jwk)?)
    }

    /// [`from_jwk`](Self::from_jwk) where the key is probably `expected`, which is then not computed again.
    pub(crate) fn from_jwk_expecting(jwk: &Value, expected: Option<&Self>) -> Result<Self, KeyError> {
        let bytes = jwk_bytes(jwk)?;
        match expected {
            Some(expected) if bytes == expected.as_bytes() => Ok(expected.clone()),
            _ => Self::from_bytes(&bytes),
        }
    }

    /// The RFC 7638 thumbprint with SHA-256, as base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(self.as_bytes()));
        base64url(&Sha256::digest(canonical))
    }

    /// Verifies a 64-byte Ed25519 signature, refusing every malleable or small-order form.
    ///
    /// # Errors
    /// [`SignatureError`] for any other length or when the signature does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| SignatureError)?;
        self.inner.verify_strict(message, &signature).map_err(|_| SignatureError)
    }
}

fn jwk_bytes(jwk: &Value) -> Result<Vec<u8>, KeyError> {
    let member = |name| jwk.get(name).and_then(Value::as_str);
    if member("kty") != Some("OKP") || member("crv") != Some("Ed25519") {
        return Err(KeyError("the JWK is not of type OKP with curve Ed25519"));
    }
    // Whoever reads it can sign with it, so it says nothing of who did.
    if jwk.get("d").is_some() {
        return Err(KeyError("the JWK is a private key"));
    }
    let x = member("x").ok_or(KeyError("the JWK has no `x`"))?;
    // 43 characters carry 32 bytes; checked first so that no more than that is ever decoded.
    if x.len() != 43 {
        return Err(KeyError("the JWK's `x` is not 32 bytes"));
    }
    base64url_decode(x).map_err(|_| KeyError("the JWK's `x` is not base64url"))
}

/// Whether the encoded y is below p = 2^255 - 19 (RFC 8032 §5.1.3 step 1). The curve library reduces larger values
/// silently, which would give one key two encodings and so two DIDs.
fn is_canonical_y(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || (last & 0x7f) != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

#[cfg(test)]
mod tests;
