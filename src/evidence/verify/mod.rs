//! The independent check of a log: it shares no state with the writer and trusts only the keys it is given.
//!
//! In scope: a whole log, a range, one entry, one proof, two checkpoints, a set of logs. It reads files only, once and in
//! order, in less than 4 MiB of memory whatever the size of the log.
//!
//! What lies in the directory and is not signed is compared with what is (`log.json`, partial tiles of earlier sizes,
//! `checkpoint.witnessed`) or told ([`FindingKind::UnexpectedFile`]). The write-ahead log is not read: what no published
//! checkpoint covers yet is not what a log can be held to.
//!
//! **What no check of one copy can see.** A log that was rolled back to an older checkpoint of its own is intact in
//! itself, also with the cosignatures that it had then. Give the newest checkpoint that you have seen
//! ([`Verifier::with_known_checkpoint`]), best one that a witness has shown you.

mod entries;
pub(super) mod files;
mod known;
mod pass;
mod proof;
mod report;
mod scan;
mod set;
mod tree;
mod trusted;

use std::ops::Range;
use std::path::Path;

use self::entries::Depth;
use self::files::{FileError, LogFiles};
use self::known::Known;
use self::pass::{Facts, Pass};
use self::trusted::TrustedTiles;
use super::checkpoint::{Checkpoint, VerifiedCheckpoint};
use super::merkle::{Hash, ProofError, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion};
use super::note::{MAX_NOTE_BYTES, NoteError, SignatureType, UnverifiedNote, VerifierKey};
use super::tiles::{CHECKPOINT_FILE, WITNESSED_FILE};
use super::witness::WitnessError;

pub use proof::{MAX_PROOF_BYTES, TlogProof, TlogProofError};
pub use report::{Finding, FindingKind, Report, Verdict};

/// Checks logs with keys that are known beforehand; none is ever read from a log, but for the key of a log that a
/// verified one names as its successor.
///
/// ```no_run
/// use rmcp_guard::evidence::note::VerifierKey;
/// use rmcp_guard::evidence::verify::{Verdict, Verifier};
///
/// # fn key_from_elsewhere() -> Result<VerifierKey, Box<dyn std::error::Error>> { unimplemented!() }
/// let reports = Verifier::new([key_from_elsewhere()?]).verify_set("/var/lib/guard/evidence", &mut |_, _| {});
/// assert!(reports.iter().all(|report| report.verdict == Verdict::Intact));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifierKey>,
    known: Vec<VerifiedCheckpoint>,
    witnesses: Vec<VerifierKey>,
    quorum: usize,
    depth: Depth,
}

impl Verifier {
    /// Trusts `keys`.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        let keys = keys.into_iter().collect();
        Self { keys, known: Vec::new(), witnesses: Vec::new(), quorum: 0, depth: Depth::default() }
    }

    /// Also demands that a log continues `checkpoint`, which was seen earlier: this is what catches a log that was
    /// rolled back or begun anew.
    #[must_use]
    pub fn with_known_checkpoint(mut self, checkpoint: VerifiedCheckpoint) -> Self {
        self.known.push(checkpoint);
        self
    }

    /// Also demands cosignatures of at least `quorum` of `witnesses` on the newest witnessed checkpoint. What was added
    /// behind that one, no witness has seen; the report says how far it goes and when they signed
    /// ([`Report::witnessed_size`], [`Report::witnessed_at`]), and whether that is recent enough is for its reader to say.
    ///
    /// # Errors
    /// [`WitnessError::Key`] when one of `witnesses` is not a key of cosignatures (signature type 0x04): a log that signs
    /// for itself has no witness.
    pub fn with_witnesses(
        mut self,
        witnesses: impl IntoIterator<Item = VerifierKey>,
        quorum: usize,
    ) -> Result<Self, WitnessError> {
        self.witnesses = witnesses.into_iter().collect();
        if self.witnesses.iter().any(|key| key.signature_type() != SignatureType::CosignatureV1) {
            return Err(WitnessError::Key);
        }
        self.quorum = quorum;
        Ok(self)
    }

    /// Also parses each record as JSON with unique member names. What was signed is what the writer wrote, so this says
    /// something about the writer, not about tampering; a check takes about two and a half times as long with it.
    #[must_use]
    pub const fn with_json_check(mut self) -> Self {
        self.depth = Depth::Json;
        self
    }

    /// Does not look into entries: for logs of another kind, whose entries have no frame, chain or records. What was
    /// redacted or pruned then counts as removed without a record.
    #[must_use]
    pub const fn with_opaque_entries(mut self) -> Self {
        self.depth = Depth::Opaque;
        self
    }

    /// Checks one log: signature, every hash, every entry, the chain, and what lies in its directory besides.
    /// `progress` is told of entries done and entries in all, once for every 256.
    #[must_use]
    pub fn verify_log(&self, directory: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Report {
        let (mut report, _) = self.check(directory.as_ref(), &self.keys, progress);
        self.check_identity(&mut report);
        report
    }

    /// Whether another log stands in the place of one that was seen.
    fn check_identity(&self, report: &mut Report) {
        let is_known = |known: &VerifiedCheckpoint| report.origin.as_ref() == Some(&known.checkpoint().origin);
        if report.origin.is_some() && !self.known.is_empty() && !self.known.iter().any(is_known) {
            report.find(FindingKind::LogMissing, None, None);
        }
    }

    /// Checks every log of a set, in order, and that each continues the one before; also that no log is missing of a key
    /// that is trusted or a checkpoint that is known. Never empty: a directory without logs gives a report that says so.
    ///
    /// A log whose key was not given is trusted if the last entry of the log before it, itself verified, names it.
    #[must_use]
    pub fn verify_set(&self, directory: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Vec<Report> {
        set::verify_set(self, directory.as_ref(), progress)
    }

    /// Checks the entries of `range` against the signed root, each by its inclusion, and the chain within it. Of the
    /// rest of the log only the hashes on the way are read, so what is redacted or pruned cannot be told from the
    /// records: redacted entries are counted, and pruned ones are [`FindingKind::Missing`]. Known checkpoints and
    /// witnesses count as for a whole log.
    #[must_use]
    pub fn verify_range(&self, directory: impl AsRef<Path>, range: Range<u64>) -> Report {
        let files = LogFiles::new(directory.as_ref());
        let mut report = Report::new(directory.as_ref());
        // read before the checkpoint, as for a whole log
        let witnessed = files.read(Path::new(WITNESSED_FILE), MAX_NOTE_BYTES);
        if let Some(signed) = signed(&files, &self.keys, &mut report) {
            let checkpoint = signed.checkpoint();
            let mut known = self.known_of(&checkpoint.origin);
            known.extend(self.check_witnessed(witnessed, &signed, &self.keys, &mut report));
            self.check_range(&files, &signed, range, &mut report);
            for known in known {
                check_continues(&files, known.checkpoint(), checkpoint, known.path(), &mut report);
            }
            self.check_identity(&mut report);
            report.sort();
        }
        report
    }

    /// Makes the proof that entry `index` is in the published tree of the log in `directory`, and checks it. The entry
    /// is checked too, unless it was redacted.
    ///
    /// # Errors
    /// [`Report`] with what is missing or altered.
    pub fn prove(&self, directory: impl AsRef<Path>, index: u64) -> Result<TlogProof, Box<Report>> {
        let files = LogFiles::new(directory.as_ref());
        let mut report = Report::new(directory.as_ref());
        let Some(signed) = signed(&files, &self.keys, &mut report) else { return Err(Box::new(report)) };
        self.check_range(&files, &signed, index..index.saturating_add(1), &mut report);
        if report.verdict != Verdict::Intact {
            return Err(Box::new(report));
        }
        match proof_of(&files, &signed, index) {
            Ok(proof) => Ok(proof),
            Err(finding) => {
                report.add(finding);
                Err(Box::new(report))
            }
        }
    }

    /// Checks that `new` continues `old`, with hashes from the log in `directory`. Both must be of one log and signed by
    /// a trusted key.
    #[must_use]
    pub fn verify_consistency(&self, directory: impl AsRef<Path>, old: &[u8], new: &[u8]) -> Report {
        let mut report = Report::new(directory.as_ref());
        let mut verified = Vec::new();
        for note in [old, new] {
            match VerifiedCheckpoint::verify(note, &self.keys) {
                Ok(checkpoint) => verified.push(checkpoint),
                Err(error) => report.find(bad_note(error), None, None),
            }
        }
        let [old, new] = verified.as_slice() else { return report };
        let (old, new) = (old.checkpoint(), new.checkpoint());
        (report.origin, report.size, report.root) = (Some(new.origin.clone()), new.size, Some(new.root));
        if old.origin != new.origin || old.size > new.size {
            report.find(FindingKind::Inconsistent, None, None);
            return report;
        }
        check_continues(&LogFiles::new(directory.as_ref()), old, new, None, &mut report);
        report
    }

    /// Checks a proof of an entry with the leaf hash `leaf`; where witnesses are demanded, they must have signed the
    /// checkpoint of the proof.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify_proof(&self, proof: &TlogProof, leaf: &Hash) -> Result<VerifiedCheckpoint, TlogProofError> {
        let signed = VerifiedCheckpoint::verify(&proof.checkpoint, &self.keys)?;
        if self.cosigned(&proof.checkpoint).len() < self.quorum {
            return Err(NoteError::UnknownKey.into());
        }
        let checkpoint = signed.checkpoint();
        verify_inclusion(leaf, proof.index, checkpoint.size, &proof.path, &checkpoint.root)?;
        Ok(signed)
    }

    /// Checks one log with `keys`, and says what its own entries tell about it.
    fn check(&self, directory: &Path, keys: &[VerifierKey], progress: &mut dyn FnMut(u64, u64)) -> (Report, Facts) {
        let files = LogFiles::new(directory);
        let mut report = Report::new(directory);
        // read before the checkpoint, which is then at least as new while a writer is at work
        let witnessed = files.read(Path::new(WITNESSED_FILE), MAX_NOTE_BYTES);
        let Some(signed) = signed(&files, keys, &mut report) else { return (report, Facts::default()) };
        let checkpoint = signed.checkpoint();
        let mut known = self.known_of(&checkpoint.origin);
        known.extend(self.check_witnessed(witnessed, &signed, keys, &mut report));
        let tree = (checkpoint.size, checkpoint.root);
        let facts = Pass::new(&files, tree, self.depth, &mut report, &mut known).run(progress);
        for known in &known {
            known.judge((checkpoint.size, &checkpoint.root), &mut report);
        }
        scan::check_files(&files, checkpoint.size, &mut report);
        scan::check_info(&files, &checkpoint.origin, keys, facts.opened.as_ref(), &mut report);
        report.sort();
        (report, facts)
    }

    fn known_of(&self, origin: &str) -> Vec<Known> {
        let known = self.known.iter().map(VerifiedCheckpoint::checkpoint);
        known.filter(|known| known.origin == origin).map(|known| Known::new(known.clone(), None)).collect()
    }

    /// Counts the witnesses, and gives the witnessed checkpoint, which the log must continue like any known one.
    fn check_witnessed(
        &self,
        witnessed: Result<Vec<u8>, FileError>,
        signed: &VerifiedCheckpoint,
        keys: &[VerifierKey],
        report: &mut Report,
    ) -> Option<Known> {
        let path = Path::new(WITNESSED_FILE);
        let mut known = None;
        match witnessed {
            // a witness may as well have signed the checkpoint itself
            Err(FileError::Missing) => self.count(signed, report),
            Err(error) => report.find(error.kind(), None, Some(path)),
            Ok(note) => match VerifiedCheckpoint::verify(&note, keys) {
                Ok(witnessed) if witnessed.checkpoint().origin == signed.checkpoint().origin => {
                    self.count(&witnessed, report);
                    known = Some(Known::new(witnessed.checkpoint().clone(), Some(path.to_owned())));
                }
                _ => report.find(FindingKind::BadCheckpoint, None, Some(path)),
            },
        }
        if report.witnesses.len() < self.quorum {
            report.find(FindingKind::QuorumNotReached, None, Some(path));
        }
        known
    }

    /// Says which witnesses have signed `checkpoint`, how far it goes, and when there were enough of them.
    fn count(&self, checkpoint: &VerifiedCheckpoint, report: &mut Report) {
        let cosigned = self.cosigned(checkpoint.note());
        let mut times: Vec<u64> = cosigned.iter().map(|(_, at)| *at).collect();
        times.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
        report.witnessed_at = times.get(self.quorum.saturating_sub(1)).copied();
        report.witnessed_size = (!cosigned.is_empty()).then_some(checkpoint.checkpoint().size);
        report.witnesses = cosigned.into_iter().map(|(name, _)| name.to_owned()).collect();
    }

    /// The names of the witnesses whose signature on `note` is right, each once, with the time that it gives.
    fn cosigned(&self, note: &[u8]) -> Vec<(&str, u64)> {
        let Ok(note) = UnverifiedNote::parse(note) else { return Vec::new() };
        let mut found: Vec<(&str, u64)> = Vec::new();
        for witness in &self.witnesses {
            // one by one, so that a wrong signature takes none but its own away
            if let Some(at) = note.cosigned_at(witness)
                && found.iter().all(|(name, _)| *name != witness.name())
            {
                found.push((witness.name(), at));
            }
        }
        found
    }

    fn check_range(&self, files: &LogFiles, signed: &VerifiedCheckpoint, range: Range<u64>, report: &mut Report) {
        let checkpoint = signed.checkpoint();
        if range.end > checkpoint.size {
            report.find(FindingKind::Missing, range.start.max(checkpoint.size), None);
        }
        let range = range.start..range.end.min(checkpoint.size);
        if !range.is_empty() {
            Pass::new(files, (checkpoint.size, checkpoint.root), self.depth, report, &mut []).run_range(range);
            report.sort();
        }
    }
}

/// The signed checkpoint; without it nothing can be said about a log.
fn signed(files: &LogFiles, keys: &[VerifierKey], report: &mut Report) -> Option<VerifiedCheckpoint> {
    let path = Path::new(CHECKPOINT_FILE);
    let kind = match files.read(path, MAX_NOTE_BYTES) {
        Ok(note) => match VerifiedCheckpoint::verify(&note, keys) {
            Ok(signed) => {
                let checkpoint = signed.checkpoint();
                report.origin = Some(checkpoint.origin.clone());
                report.size = checkpoint.size;
                report.root = Some(checkpoint.root);
                return Some(signed);
            }
            Err(error) => bad_note(error),
        },
        Err(FileError::Missing) => FindingKind::NoCheckpoint,
        Err(FileError::Unreadable) => FindingKind::Unreadable,
        Err(FileError::Malformed) => FindingKind::BadCheckpoint,
    };
    report.find(kind, None, Some(path));
    None
}

const fn bad_note(error: NoteError) -> FindingKind {
    match error {
        NoteError::UnknownKey | NoteError::KeyType => FindingKind::UntrustedLog,
        NoteError::Malformed | NoteError::BadSignature => FindingKind::BadCheckpoint,
    }
}

/// Checks that `new` continues `old`, which is of the same log, with hashes from its tiles; `path` is where `old` is from.
fn check_continues(files: &LogFiles, old: &Checkpoint, new: &Checkpoint, path: Option<&Path>, report: &mut Report) {
    if old.size > new.size {
        return report.find(FindingKind::Inconsistent, new.size, path);
    }
    let proof = TrustedTiles::open(files, new.size, &new.root)
        .and_then(|mut tiles| prove_consistency(&mut tiles, old.size, new.size));
    match proof {
        Err(finding) => report.add(finding),
        // the hashes are those of the new root, so it is the old one that does not fit
        Ok(proof) => {
            let proof = proof.unwrap_or_default();
            if verify_consistency((old.size, &old.root), (new.size, &new.root), &proof).is_err() {
                report.find(FindingKind::Inconsistent, old.size, path);
            }
        }
    }
}

/// Makes the proof of entry `index` and checks it.
fn proof_of(files: &LogFiles, signed: &VerifiedCheckpoint, index: u64) -> Result<TlogProof, Finding> {
    let checkpoint = signed.checkpoint();
    let mut tiles = TrustedTiles::open(files, checkpoint.size, &checkpoint.root)?;
    let missing = Finding::new(FindingKind::Missing, index, None);
    let path = prove_inclusion(&mut tiles, index, checkpoint.size)?.ok_or(missing)?;
    let leaf = super::merkle::HashReader::node(&mut tiles, 0, index)?;
    let wrong = |_: ProofError| Finding::new(FindingKind::RootMismatch, index, None);
    verify_inclusion(&leaf, index, checkpoint.size, &path, &checkpoint.root).map_err(wrong)?;
    Ok(TlogProof::new(index, path, signed.note().to_owned()))
}
