//! Public keys of notes: `<name>+<id>+<base64 of type and key>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Longest name of a key, in bytes. Names are short URLs.
const MAX_NAME_BYTES: usize = 512;

/// Longest key text that is read: a name, an id of 8 digits and 33 bytes in base64.
const MAX_KEY_BYTES: usize = MAX_NAME_BYTES + 54;

/// Bytes of a timestamp before a cosignature.
const TIMESTAMP_BYTES: usize = 8;

/// What a key signs, and how (c2sp.org/signed-note, "signature types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureType {
    /// Type 0x01: Ed25519 over the text.
    Ed25519,
    /// Type 0x04: Ed25519 over a time and the text (c2sp.org/tlog-cosignature).
    CosignatureV1,
}

impl SignatureType {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureV1),
            _ => None,
        }
    }
}

/// The public half of a note key, with its name (c2sp.org/signed-note, "vkey").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: u32,
    signature_type: SignatureType,
    key: VerifyingKey,
}

/// A text is not a note key, or of a type that is not supported. Never holds key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not a supported note key (`<name>+<hash>+<base64>`)")]
#[non_exhaustive]
pub struct KeyError;

/// Whether the specification allows the name of a key: not empty, no Unicode space, no `+`.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

impl VerifierKey {
    /// The key with this name and these 32 bytes (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`KeyError`] when `name` is empty or has white space, `+` or a control character, and when the bytes are not the
    /// one encoding of a point, or of a point of small order, under which one signature fits many texts.
    pub fn new(name: &str, signature_type: SignatureType, key: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(key)
            .ok()
            .filter(|point| !point.is_weak() && VerifyingKey::from(point.to_edwards()).as_bytes() == key);
        Self::of_point(name, signature_type, key.ok_or(KeyError)?)
    }

    pub(super) fn of_point(name: &str, signature_type: SignatureType, key: VerifyingKey) -> Result<Self, KeyError> {
        // names of our own keys are displayed and logged, so they hold no control character either
        if !is_name(name) || name.contains(char::is_control) || name.len() > MAX_NAME_BYTES {
            return Err(KeyError);
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', signature_type.byte()])
            .chain_update(key.as_bytes())
            .finalize();
        let key_id = u32::from_be_bytes(*hash.first_chunk().ok_or(KeyError)?);
        Ok(Self { name: name.to_owned(), key_id, signature_type, key })
    }

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

    /// How the key signs.
    #[must_use]
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The 32 bytes of the key (RFC 8032 §5.1.5).
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature`, without the key id, is one of `text` by this key.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> bool {
        let verify = |text: &[u8], signature: &[u8]| {
            Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
        };
        match self.signature_type {
            SignatureType::Ed25519 => verify(text.as_bytes(), signature),
            SignatureType::CosignatureV1 => split_timestamp(signature)
                .is_some_and(|(time, signature)| verify(cosigned_text(time, text).as_bytes(), signature)),
        }
    }

    /// The time that a signature of this key carries.
    pub(super) fn timestamp(&self, signature: &[u8]) -> Option<u64> {
        match self.signature_type {
            SignatureType::Ed25519 => None,
            SignatureType::CosignatureV1 => split_timestamp(signature).map(|(time, _)| time),
        }
    }
}

/// What a cosigner signs: that it saw this checkpoint at `time`, in seconds since 1970.
pub(super) fn cosigned_text(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The time is below 2^63, as the specification has it.
fn split_timestamp(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk::<TIMESTAMP_BYTES>()?;
    let time = u64::from_be_bytes(*time);
    i64::try_from(time).ok().map(|_| (time, signature))
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError);
        }
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError);
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError)?;
        let (signature_type, key) = bytes.split_first().ok_or(KeyError)?;
        let signature_type = SignatureType::from_byte(*signature_type).ok_or(KeyError)?;
        let key = Self::new(name, signature_type, key.try_into().map_err(|_| KeyError)?)?;
        // the id is lower case and of eight digits, so there is one way to write it
        if format!("{:08x}", key.key_id) == id { Ok(key) } else { Err(KeyError) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.signature_type.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.key_id, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({}+{:08x})", self.name, self.key_id)
    }
}
