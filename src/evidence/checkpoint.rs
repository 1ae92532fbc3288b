//! Checkpoints (c2sp.org/tlog-checkpoint): what a log signs about its tree.

use super::merkle::Hash;
use super::note::{NoteError, SignatureType, UnverifiedNote, VerifierKey};

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
    /// Checks the signed note `bytes` against `keys`: one whose name is the checkpoint's origin must have signed it. A
    /// cosignature (type 0x04) says that somebody saw the tree, and is no log's signature whatever its name.
    ///
    /// # Errors
    /// [`NoteError`]; [`KeyType`](NoteError::KeyType) when the only key of that name cosigns.
    pub fn verify(bytes: &[u8], keys: &[VerifierKey]) -> Result<Self, NoteError> {
        let note = UnverifiedNote::parse(bytes)?;
        let signed_by = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let mut of_log = signed_by.iter().filter(|key| key.name() == checkpoint.origin).peekable();
        if of_log.peek().is_none() {
            return Err(NoteError::UnknownKey);
        }
        if !of_log.any(|key| key.signature_type() == SignatureType::Ed25519) {
            return Err(NoteError::KeyType);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::note::{Ed25519NoteSigner, NoteSigner as _, sign_note};

    /// From c2sp.org/tlog-checkpoint.
    const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn signer(name: &str) -> Ed25519NoteSigner {
        Ed25519NoteSigner::from_seed(name, &[5; 32]).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let checkpoint = Checkpoint::parse(TEXT).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_text(), TEXT);
        // extension lines are allowed, and none of ours
        let extended = Checkpoint::parse(&format!("{TEXT}one more\nand another\n")).unwrap();
        assert_eq!(extended, checkpoint);
    }

    #[test]
    fn a_text_of_another_form_is_malformed() {
        let changed = |from: &str, to: &str| TEXT.replacen(from, to, 1);
        let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for (what, text) in [
            ("empty", String::new()),
            ("no origin", changed("example.com/behind-the-sofa", "")),
            ("two lines", changed("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "")),
            ("no line break", TEXT.trim_end().to_owned()),
            ("an empty line behind", format!("{TEXT}\n")),
            ("an empty line before an extension", format!("{TEXT}\nextension\n")),
            ("an extension without line break", format!("{TEXT}extension")),
            ("control character in the origin", changed("behind", "\u{1b}[31m")),
            ("control character in an extension", format!("{TEXT}\t\n")),
            ("no size", changed("20852163", "")),
            ("leading zero", changed("20852163", "020852163")),
            ("zero twice", changed("20852163", "00")),
            ("sign", changed("20852163", "+20852163")),
            ("negative", changed("20852163", "-1")),
            ("space", changed("20852163", "20852163 ")),
            ("hexadecimal", changed("20852163", "0x10")),
            ("digits of another script", changed("20852163", "\u{661}")),
            ("beyond 64 bits", changed("20852163", "18446744073709551616")),
            ("short root", changed("CsUY", "")),
            ("spare bits in the root", changed("q2I=", "q2J=")),
            ("no padding", changed("q2I=", "q2I")),
            ("base64url", changed("om/Xa", "om_Xa")),
            ("line break of Windows", TEXT.replace('\n', "\r\n")),
            ("empty tree with another root", format!("example.com/log\n0\n{zero}\n")),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(NoteError::Malformed), "{what}");
        }
        assert!(Checkpoint::parse(&changed("20852163", "18446744073709551615")).is_ok());
        let empty = Checkpoint::new("example.com/log".to_owned(), 0, Hash::of_empty_tree());
        assert_eq!(Checkpoint::parse(&empty.to_text()), Ok(empty));
    }

    #[test]
    fn every_flipped_bit_of_a_signed_checkpoint_is_noticed() {
        let signer = signer("example.com/behind-the-sofa");
        let note = sign_note(TEXT, &[&signer]).unwrap();
        let keys = [signer.verifier_key().clone()];
        assert_eq!(VerifiedCheckpoint::verify(&note, &keys).unwrap().note(), note);
        let mut flips = 0;
        for byte in 0..note.len() {
            for bit in 0..8 {
                let mut note = note.clone();
                note[byte] ^= 1 << bit;
                assert!(VerifiedCheckpoint::verify(&note, &keys).is_err(), "bit {bit} of byte {byte}");
                flips += 1;
            }
        }
        assert_eq!(flips, 8 * 208);
        for length in 0..note.len() {
            assert!(VerifiedCheckpoint::verify(&note[..length], &keys).is_err(), "the first {length} bytes");
        }
    }

    #[test]
    fn the_log_itself_has_to_have_signed() {
        let (log, other) = (signer("example.com/behind-the-sofa"), signer("example.com/other"));
        let keys = [log.verifier_key().clone(), other.verifier_key().clone()];
        let verify = |note: &[u8]| VerifiedCheckpoint::verify(note, &keys).map(|verified| verified.checkpoint().size);
        assert_eq!(verify(&sign_note(TEXT, &[&other, &log]).unwrap()), Ok(20_852_163));
        assert_eq!(verify(&sign_note(TEXT, &[&other]).unwrap()), Err(NoteError::UnknownKey));
        assert_eq!(verify(&sign_note("no checkpoint\n", &[&log]).unwrap()), Err(NoteError::Malformed));
    }

    proptest! {
        #[test]
        fn checkpoints_are_read_as_by_the_oracle(
            origin in "[a-z/ .+]{1,20}",
            size in 1_u64..,
            root in any::<[u8; 32]>(),
            extension in "([a-z]{1,5}\n){0,2}",
            (place, removed, added) in (any::<prop::sample::Index>(), 0_usize..2, "[0-9A-Za+=\n]{0,1}"),
        ) {
            let mut text = Checkpoint::new(origin, size, Hash::new(root)).to_text() + &extension;
            let start = place.index(text.len());
            text.replace_range(start..start.saturating_add(removed).min(text.len()), &added);
            // that an empty tree has one root is our own rule
            prop_assume!(text.split('\n').nth(1) != Some("0"));
            let (ours, oracle) = (Checkpoint::parse(&text), tlog_tiles::Checkpoint::from_bytes(text.as_bytes()));
            prop_assert_eq!(ours.is_ok(), oracle.is_ok(), "{}", text);
            if let (Ok(ours), Ok(oracle)) = (ours, oracle) {
                prop_assert_eq!(&ours.origin, oracle.origin());
                prop_assert_eq!(ours.size, oracle.size());
                prop_assert_eq!(ours.root.as_bytes(), &oracle.hash().0);
                prop_assert_eq!(ours.to_text() + oracle.extension(), text);
            }
        }

        #[test]
        fn decimals_have_one_spelling(number in any::<u64>(), text in "[0-9+ -]{0,22}") {
            prop_assert_eq!(parse_decimal(number.to_string().as_bytes()), Some(number));
            prop_assert!(parse_decimal(text.as_bytes()).is_none_or(|number| number.to_string() == text));
        }
    }
}
