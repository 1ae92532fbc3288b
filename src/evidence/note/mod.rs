//! Signed notes (c2sp.org/signed-note): a text and signatures of it.
//!
//! In scope: the format, Ed25519 signatures (type 0x01), timestamped cosignatures (c2sp.org/tlog-cosignature, type
//! 0x04), signing through [`NoteSigner`]. Out of scope: what the text says.
//!
//! Nothing of a note means anything before [`UnverifiedNote::verify`], and its name in a signature is no more than a
//! claim: names of unknown keys can hold anything but spaces, so escape them for display.
//!
//! ```
//! use rmcp_guard::evidence::note::{Ed25519NoteSigner, NoteError, NoteSigner, UnverifiedNote, sign_note};
//!
//! let signer = Ed25519NoteSigner::generate("example.com/log")?;
//! let trusted = [signer.verifier_key().clone()];
//!
//! let note = sign_note("all is well\n", &[&signer])?;
//! assert_eq!(UnverifiedNote::parse(&note)?.verify(&trusted)?, [&trusted[0]]);
//!
//! let altered = String::from_utf8(note)?.replace("all is", "nothing is");
//! assert_eq!(UnverifiedNote::parse(altered.as_bytes())?.verify(&trusted), Err(NoteError::BadSignature));
//!
//! // another key with the same name says nothing
//! let stranger = Ed25519NoteSigner::generate("example.com/log")?;
//! let note = sign_note("all is well\n", &[&stranger])?;
//! assert_eq!(UnverifiedNote::parse(&note)?.verify(&trusted), Err(NoteError::UnknownKey));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod key;
mod signer;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use key::{KeyError, SignatureType, VerifierKey};
pub use signer::{Ed25519NoteSigner, MAX_KEY_PEM_BYTES};

use key::is_name;

/// How a line of signature begins: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// About how long a line of signature is, with a name of usual length.
const SIGNATURE_LINE_BYTES: usize = 192;

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
    /// The key that has signed it is of a type that does not sign such texts: a witness's where a log's is asked for.
    #[error("signed by a key of another type (a log's is 0x01, a witness's 0x04)")]
    KeyType,
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

    /// Reads a line without its line break.
    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let decoded = STANDARD.decode(signature).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk()?;
        if !is_name(name) || bytes.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), key_id: u32::from_be_bytes(*key_id), bytes: bytes.to_owned() })
    }

    fn is_named_as(&self, key: &VerifierKey) -> bool {
        self.key_id == key.key_id() && self.name == key.name()
    }
}

/// Appends the line of a signature.
fn write_signature(out: &mut String, name: &str, key_id: u32, signature: &[u8]) {
    let mut bytes = Vec::with_capacity(signature.len().saturating_add(4));
    bytes.extend_from_slice(&key_id.to_be_bytes());
    bytes.extend_from_slice(signature);
    out.push_str(SIGNATURE_PREFIX);
    out.push_str(name);
    out.push(' ');
    STANDARD.encode_string(&bytes, out);
    out.push('\n');
}

/// Whether `text` can be the text of a note.
fn is_note_text(text: &str) -> bool {
    text.ends_with('\n') && !has_control(text)
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

impl UnverifiedNote {
    /// Reads a note strictly: at most [`MAX_NOTE_BYTES`], UTF-8, no control character but line breaks, exact base64.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Self::read(bytes).ok_or(NoteError::Malformed)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_NOTE_BYTES {
            return None;
        }
        let note = std::str::from_utf8(bytes).ok().filter(|note| !has_control(note))?;
        // the last empty line ends the text; of three line breaks in a row, the first is still of the text
        let (text, lines) = note.split_at_checked(note.rfind("\n\n")?.checked_add(1)?)?;
        let lines = lines.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_NOTE_SIGNATURES {
                return None;
            }
            signatures.push(NoteSignature::parse(line)?);
        }
        Some(Self { text: text.to_owned(), signatures })
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

    /// Checks the signatures that name one of `keys`, and returns those keys, each once; signatures of other keys are
    /// ignored, as the specification asks.
    ///
    /// Every line that names a known key has to be right, also the second of the same key. The specification lets a
    /// reader look at the first alone; then a line that proves nothing could stand under a trusted name.
    ///
    /// # Errors
    /// [`NoteError::UnknownKey`] when none names one of `keys`, [`NoteError::BadSignature`] when one of them is wrong.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed_by: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            // two keys can share name and id by design of somebody, since ids are short
            let mut named = keys.iter().filter(|key| signature.is_named_as(key)).peekable();
            if named.peek().is_none() {
                continue;
            }
            let key = named.find(|key| key.verify(&self.text, &signature.bytes)).ok_or(NoteError::BadSignature)?;
            if !signed_by.contains(&key) {
                signed_by.push(key);
            }
        }
        if signed_by.is_empty() { Err(NoteError::UnknownKey) } else { Ok(signed_by) }
    }

    /// When `key` has cosigned the text (c2sp.org/tlog-cosignature), in seconds since 1970: the newest time of its
    /// signatures that verify. `None` when there is none, or `key` is of a type without time.
    #[must_use]
    pub fn cosigned_at(&self, key: &VerifierKey) -> Option<u64> {
        let own = self.signatures.iter().filter(|signature| signature.is_named_as(key));
        own.filter(|signature| key.verify(&self.text, &signature.bytes))
            .filter_map(|signature| key.timestamp(&signature.bytes))
            .max()
    }

    /// Adds a signature of `signer` behind those that are there.
    ///
    /// # Errors
    /// [`SignError`] when it cannot sign, or the note is full.
    pub fn sign(&mut self, signer: &dyn NoteSigner) -> Result<(), SignError> {
        let bytes = signer.sign(self.text.as_bytes())?;
        let key = signer.verifier_key();
        let signature = NoteSignature { name: key.name().to_owned(), key_id: key.key_id(), bytes };
        self.push(signature).map_err(|error| SignError(error.into()))
    }

    /// Adds signature lines as another has made them for the same text, such as a witness's answer. They are not
    /// verified.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when they are not one signature line or more, or the note is full; then none is added.
    pub fn add_signature_lines(&mut self, lines: &str) -> Result<(), NoteError> {
        let mut whole = self.clone();
        for line in lines.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n') {
            let signature = NoteSignature::parse(line).filter(|_| !has_control(line)).ok_or(NoteError::Malformed)?;
            whole.push(signature)?;
        }
        *self = whole;
        Ok(())
    }

    fn push(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        self.signatures.push(signature);
        if self.signatures.len() > MAX_NOTE_SIGNATURES || self.to_bytes().len() > MAX_NOTE_BYTES {
            self.signatures.pop();
            return Err(NoteError::Malformed);
        }
        Ok(())
    }

    /// The note as it is stored and sent; byte for byte what was read.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            write_signature(&mut note, &signature.name, signature.key_id, &signature.bytes);
        }
        note.into_bytes()
    }
}

/// `text` with a signature of each of `signers`, as bytes of a note.
///
/// # Errors
/// [`SignError`] of the first signer that fails, or when `text` cannot be the text of a note: it does not end with a line
/// break or holds another control character.
pub fn sign_note(text: &str, signers: &[&dyn NoteSigner]) -> Result<Vec<u8>, SignError> {
    if !is_note_text(text) {
        return Err(SignError(NoteError::Malformed.into()));
    }
    let room = signers.len().saturating_mul(SIGNATURE_LINE_BYTES);
    let mut note = String::with_capacity(text.len().saturating_add(room));
    note.push_str(text);
    note.push('\n');
    for signer in signers {
        let key = signer.verifier_key();
        write_signature(&mut note, key.name(), key.key_id(), &signer.sign(text.as_bytes())?);
    }
    Ok(note.into_bytes())
}
