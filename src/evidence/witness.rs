//! Witnesses (c2sp.org/tlog-witness): others who sign what they saw of a log, so that its keeper cannot show two
//! histories or go back to an older one, not even with the log's key in hand.
//!
//! In scope: what is asked, and what an answer proves. Out of scope: HTTP (`enforce::WitnessClient`, feature `registry`).
//!
//! A witness is asked about the published checkpoint. Its cosignatures go to `checkpoint.witnessed`, beside the newest
//! checkpoint, which moves on every second and would leave them behind.

#[cfg(any(test, fuzzing))]
pub(in crate::evidence) mod fuzz;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, parse_decimal};
use super::merkle::prove_consistency;
use super::note::{MAX_NOTE_BYTES, NoteError, SignatureType, UnverifiedNote, VerifierKey};
use super::storage::{FsStorage, Storage, read_file, replace_file};
use super::tiles::{CHECKPOINT_FILE, TileReader, WITNESSED_FILE};
use super::{OpenError, OpenErrorKind};

/// Somebody who cosigns checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    key: VerifierKey,
    url: String,
}

impl Witness {
    /// The witness whose cosignatures `key` checks, asked below the URL `url` (its submission prefix).
    ///
    /// # Errors
    /// [`WitnessError::Key`] when `key` is not one of cosignatures (signature type 0x04).
    pub fn new(key: VerifierKey, url: impl Into<String>) -> Result<Self, WitnessError> {
        if key.signature_type() != SignatureType::CosignatureV1 {
            return Err(WitnessError::Key);
        }
        Ok(Self { key, url: url.into().trim_end_matches('/').to_owned() })
    }

    /// Checks its cosignatures; its name is the witness's.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where a checkpoint is sent: `<prefix>/add-checkpoint`.
    #[must_use]
    pub fn submission_url(&self) -> String {
        format!("{}/add-checkpoint", self.url)
    }
}

/// Why a witness has not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The key is not one of cosignatures.
    #[error("the key is not a witness's (signature type 0x04)")]
    Key,
    /// The witness could not be asked, or gave an answer that is none.
    #[error("the witness cannot be reached or does not answer as one")]
    Unreachable,
    /// The witness does not know the log (404), or not the key that signed (403).
    #[error("the witness does not know this log or its key")]
    UnknownLog,
    /// The witness has signed a larger tree of this log: what is here was rolled back, or is another copy.
    #[error("the witness has signed a larger tree of this log, {witnessed} entries: what is here was rolled back")]
    Ahead {
        /// The size that it signed.
        witnessed: u64,
    },
    /// The witness has signed another tree of this log (422): the log was forked.
    #[error("the witness refuses the proof: it has signed another history of this log")]
    Forked,
    /// The witness's answer is not a signature of this checkpoint by its key.
    #[error("the witness's answer is not its signature of this checkpoint")]
    BadCosignature,
    /// The log's own tiles do not give the proof.
    #[error("the log's tiles do not give a consistency proof")]
    NoProof,
}

impl WitnessError {
    /// Whether it says that the history here is not the one that the witness saw: a reason for alarm, not for patience.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Forked)
    }
}

/// The published checkpoint of one log on its way to witnesses.
#[derive(Clone, Debug)]
pub struct Submission {
    directory: PathBuf,
    checkpoint: Checkpoint,
    note: UnverifiedNote,
    /// The newest witnessed checkpoint, which says how far each witness is.
    before: Option<UnverifiedNote>,
}

/// What a witness answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WitnessAnswer {
    /// It signed, and the signature is right.
    Cosigned,
    /// It was asked from another size than it has: ask again from this one.
    AskFrom(u64),
}

impl Submission {
    /// The published checkpoint of the log in `directory`; `None` before the first.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read or is none.
    pub fn of(directory: impl AsRef<Path>) -> Result<Option<Self>, OpenError> {
        let directory = directory.as_ref().to_owned();
        let Some(note) = read_note(&directory.join(CHECKPOINT_FILE))? else { return Ok(None) };
        let checkpoint = Checkpoint::parse(note.text())
            .map_err(|error| OpenError::new(OpenErrorKind::Foreign).at(&directory).caused_by(error))?;
        let before = read_note(&directory.join(WITNESSED_FILE))?;
        Ok(Some(Self { directory, checkpoint, note, before }))
    }

    /// What is to be signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The size that `witness` has signed before, as far as it is known here; 0 where nothing is.
    #[must_use]
    pub fn known_size(&self, witness: &Witness) -> u64 {
        let signed = self.before.as_ref().filter(|note| note.cosigned_at(&witness.key).is_some());
        let checkpoint = signed.and_then(|note| Checkpoint::parse(note.text()).ok());
        checkpoint.filter(|one| one.origin == self.checkpoint.origin).map_or(0, |checkpoint| checkpoint.size)
    }

    /// The body of the request: the size that the witness has, the proof from there, and the checkpoint.
    ///
    /// # Errors
    /// [`WitnessError::Ahead`] when `old` is beyond the checkpoint, [`WitnessError::NoProof`].
    pub fn request(&self, old: u64) -> Result<Vec<u8>, WitnessError> {
        if old > self.checkpoint.size {
            return Err(WitnessError::Ahead { witnessed: old });
        }
        let mut tiles = TileReader::new(Arc::new(FsStorage), &self.directory, self.checkpoint.size);
        let proof = prove_consistency(&mut tiles, old, self.checkpoint.size);
        let proof = proof.ok().flatten().ok_or(WitnessError::NoProof)?;
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&hash.to_string());
            body.push('\n');
        }
        body.push('\n');
        let mut body = body.into_bytes();
        body.extend(self.note.to_bytes());
        Ok(body)
    }

    /// Takes the answer of `witness` to a [`request`](Self::request) from the size `old`.
    ///
    /// # Errors
    /// [`WitnessError`]; what the witness signed is kept by `Ok` only.
    pub fn accept(
        &mut self,
        witness: &Witness,
        old: u64,
        status: u16,
        body: &[u8],
    ) -> Result<WitnessAnswer, WitnessError> {
        match status {
            200 => self.accept_cosignature(witness, body).map(|()| WitnessAnswer::Cosigned),
            409 => {
                let size = body.strip_suffix(b"\n").unwrap_or(body);
                let size = parse_decimal(size).ok_or(WitnessError::Unreachable)?;
                match size {
                    size if size > self.checkpoint.size => Err(WitnessError::Ahead { witnessed: size }),
                    // the same size and still a conflict: its tree of that size is another one
                    size if size == old => Err(WitnessError::Forked),
                    size => Ok(WitnessAnswer::AskFrom(size)),
                }
            }
            422 => Err(WitnessError::Forked),
            403 | 404 => Err(WitnessError::UnknownLog),
            _ => Err(WitnessError::Unreachable),
        }
    }

    fn accept_cosignature(&mut self, witness: &Witness, body: &[u8]) -> Result<(), WitnessError> {
        let bad = |_: NoteError| WitnessError::BadCosignature;
        let lines = std::str::from_utf8(body).map_err(|_| WitnessError::BadCosignature)?;
        // on its own first, since lines of one witness must not pass for those of another
        let mut alone = UnverifiedNote::parse(&self.note.to_bytes()).map_err(bad)?;
        alone.add_signature_lines(lines).map_err(bad)?;
        alone.verify(std::slice::from_ref(&witness.key)).map_err(bad)?;
        // only what was verified is kept, and once: a note has room for so many lines, and others are to sign it too
        if self.note.cosigned_at(&witness.key).is_some() {
            return Ok(());
        }
        let own = |line: &&str| {
            let mut one = self.note.clone();
            one.add_signature_lines(&format!("{line}\n")).is_ok() && one.cosigned_at(&witness.key).is_some()
        };
        let line = lines.lines().find(own).ok_or(WitnessError::BadCosignature)?;
        self.note.add_signature_lines(&format!("{line}\n")).map_err(bad)
    }

    /// Names of those of `witnesses` that have signed it.
    #[must_use]
    pub fn cosigners<'w>(&self, witnesses: &'w [Witness]) -> Vec<&'w str> {
        cosigners(&self.note, witnesses)
    }

    /// Writes it with its cosignatures to `checkpoint.witnessed`, durably, unless that would lower what is there: a
    /// checkpoint that has `quorum` of the signatures of `witnesses` is replaced only by a newer one that has as many, and
    /// one that has fewer only by one with no fewer. To be called when somebody has signed; `false` when the file stays as
    /// it is.
    ///
    /// # Errors
    /// [`OpenError`] of kind [`Io`](OpenErrorKind::Io), or [`Foreign`](OpenErrorKind::Foreign) when what is there is no
    /// note.
    pub fn save(&self, witnesses: &[Witness], quorum: usize) -> Result<bool, OpenError> {
        let path = self.directory.join(WITNESSED_FILE);
        let rank = |note: &UnverifiedNote, size: u64| {
            let signed = cosigners(note, witnesses).len();
            (signed.min(quorum), size, signed)
        };
        // read anew, since somebody else may have asked witnesses meanwhile
        if let Some(kept) = read_note(&path)?
            && let Ok(checkpoint) = Checkpoint::parse(kept.text())
            && checkpoint.origin == self.checkpoint.origin
            && rank(&kept, checkpoint.size) > rank(&self.note, self.checkpoint.size)
        {
            return Ok(false);
        }
        replace_file(&FsStorage, &path, &self.note.to_bytes(), true).map_err(OpenError::io(&path))?;
        Ok(true)
    }
}

/// Names of those of `witnesses` that have signed `note`, each once.
fn cosigners<'w>(note: &UnverifiedNote, witnesses: &'w [Witness]) -> Vec<&'w str> {
    let signed = witnesses.iter().filter(|witness| note.cosigned_at(&witness.key).is_some());
    let mut names: Vec<_> = signed.map(|witness| witness.key.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn read_note(path: &Path) -> Result<Option<UnverifiedNote>, OpenError> {
    let storage: &dyn Storage = &FsStorage;
    match read_file(storage, path, MAX_NOTE_BYTES) {
        Ok(bytes) => UnverifiedNote::parse(&bytes)
            .map(Some)
            .map_err(|error| OpenError::new(OpenErrorKind::Foreign).at(path).caused_by(error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io(path)(error)),
    }
}
