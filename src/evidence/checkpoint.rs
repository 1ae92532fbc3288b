//! Checkpoints (c2sp.org/tlog-checkpoint): what a log signs about its tree.

use super::merkle::Hash;
use super::note::{NoteError, UnverifiedNote, VerifierKey};

/// The state of a log: its origin, its size and its root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Which log; also the name of its key.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root hash of these entries.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint of this log at this size.
    #[must_use]
    pub const fn new(origin: String, size: u64, root: Hash) -> Self {
        Self { origin, size, root }
    }

    /// Reads the text of a checkpoint strictly: three lines or more, a decimal size without leading zeros, exact base64.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::Malformed);
        let (origin, size, root) = (line()?, line()?, line()?);
        // extension lines
        if lines.any(str::is_empty) || text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Malformed);
        }
        let size = parse_decimal(size.as_bytes()).ok_or(NoteError::Malformed)?;
        let root = root.parse().map_err(|_| NoteError::Malformed)?;
        if size == 0 && root != Hash::of_empty_tree() {
            return Err(NoteError::Malformed);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// The text that is signed: origin, size and root, each on its line.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }
}

/// A checkpoint whose log has signed it: only [`verify`](Self::verify) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

impl VerifiedCheckpoint {
    /// Checks the signed note `bytes` against `keys`: one whose name is the checkpoint's origin must have signed it.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn verify(bytes: &[u8], keys: &[VerifierKey]) -> Result<Self, NoteError> {
        let note = UnverifiedNote::parse(bytes)?;
        let signed_by = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if !signed_by.iter().any(|key| key.name() == checkpoint.origin) {
            return Err(NoteError::UnknownKey);
        }
        Ok(Self { checkpoint, note: bytes.to_owned() })
    }

    /// What was signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note, byte for byte.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }
}

/// A decimal number as these formats write it: digits only, no leading zero.
pub(in crate::evidence) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
