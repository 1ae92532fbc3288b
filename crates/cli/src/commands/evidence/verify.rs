//! `evidence verify`, `evidence consistency`: logs checked against keys that are known beforehand.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::note::{MAX_NOTE_BYTES, NoteError, VerifierKey};
use rmcp_guard::evidence::verify::{Report, Verifier};
use serde_json::{Value, json};

use super::args::KeyArgs;
use super::report;
use crate::evidence_index::Set;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Output, Text, is_watched};

/// Check a log, or every log of a set, with keys known beforehand.
///
/// That is every signature, hash and entry, and that each log continues the one before.
///
/// Trusted are the keys given here and nothing in DIR, but for the key of a log that a verified one names as its
/// successor. To notice that a log was rolled back or begun anew, give a checkpoint kept from earlier, or witnesses.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard evidence verify evidence --key-file files.vkey\n  \
    rmcp-guard evidence verify evidence --key-file files.vkey --old-checkpoint last-audit/checkpoint --json\n\n\
    EXIT CODES: 0 intact, 1 tampered, 2 incomplete, 3 usage, 4 a file cannot be used")]
pub(crate) struct Verify {
    /// The directory of the logs, or of one.
    dir: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Demand that a log continues this checkpoint, kept from earlier; may be repeated.
    #[arg(long, value_name = "FILE")]
    old_checkpoint: Vec<PathBuf>,
    /// Count the cosignature of this witness; may be repeated.
    #[arg(long, value_name = "VKEY")]
    witness: Vec<VerifierKey>,
    /// How many of the witnesses must have signed; all of them unless given.
    #[arg(long, value_name = "N", requires = "witness")]
    quorum: Option<usize>,
    /// Check only these entries, from A up to but not including B, each by its inclusion; of one log.
    #[arg(long, value_name = "A..B", value_parser = range)]
    range: Option<Range<u64>>,
    /// The log of the range, as <instance>/<number>.
    #[arg(long, value_name = "LOG", requires = "range")]
    log: Option<String>,
}

fn range(text: &str) -> Result<Range<u64>, &'static str> {
    let ends = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.filter(|range: &Range<u64>| !range.is_empty()).ok_or("write two indexes as A..B, with A below B")
}

impl Verify {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let quorum = self.quorum()?;
        let keys = self.keys.keys()?;
        let mut verifier = Verifier::new(keys.iter().cloned());
        if let Some(quorum) = quorum {
            let refused = |error| Failure::from(error).about("--witness").with_exit(Exit::Usage);
            verifier = verifier.with_witnesses(self.witness.iter().cloned(), quorum).map_err(refused)?;
        }
        for file in &self.old_checkpoint {
            verifier = verifier.with_known_checkpoint(old_checkpoint(file, &keys)?);
        }
        if let Err(error) = self.dir.read_dir() {
            return Err(files::about(&self.dir, &error));
        }
        let reports = match &self.range {
            Some(range) => vec![self.verify_range(&verifier, range)?],
            None => self.verify_all(&verifier),
        };
        if reports.is_empty() {
            return Err(files::about(&self.dir, &"holds no evidence log"));
        }
        let verdict = report::worst(&reports);
        let json = json!({
            "verdict": report::word(verdict),
            "logs": reports.iter().map(report::as_json).collect::<Vec<_>>(),
        });
        let text = reports.iter().fold(Text::default(), |text, log| report::as_text(text, log, quorum));
        let text = text.line(report::word(verdict));
        output.result(&json, &text)?;
        report::end(verdict)
    }

    fn quorum(&self) -> Result<Option<usize>, Failure> {
        let witnesses = self.witness.len();
        let quorum = if witnesses == 0 { None } else { Some(self.quorum.unwrap_or(witnesses)) };
        if quorum.is_some_and(|quorum| quorum > witnesses) {
            return Err(Failure::new("--quorum asks for more witnesses than there are").with_exit(Exit::Usage));
        }
        Ok(quorum)
    }

    fn verify_range(&self, verifier: &Verifier, range: &Range<u64>) -> Result<Report, Failure> {
        if is_log(&self.dir) {
            return Ok(verifier.verify_range(&self.dir, range.clone()));
        }
        let set = Set::open(&self.dir)?;
        let log = set.log(self.log.as_deref())?;
        Ok(verifier.verify_range(log.directory(), range.clone()))
    }

    fn verify_all(&self, verifier: &Verifier) -> Vec<Report> {
        let bar = bar();
        let mut progress = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
        };
        let reports = if is_log(&self.dir) {
            vec![verifier.verify_log(&self.dir, &mut progress)]
        } else {
            verifier.verify_set(&self.dir, &mut progress)
        };
        bar.finish_and_clear();
        reports
    }
}

/// Whether `directory` is that of one log, such as a copy of it without our own files.
fn is_log(directory: &Path) -> bool {
    ["checkpoint", "tile", "log.json"].iter().any(|name| directory.join(name).symlink_metadata().is_ok())
}

fn bar() -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("verifying {wide_bar} {human_pos}/{human_len} entries, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// A checkpoint that was kept, signed by one of `keys`.
fn old_checkpoint(file: &Path, keys: &[VerifierKey]) -> Result<VerifiedCheckpoint, Failure> {
    VerifiedCheckpoint::verify(&read_bytes(file, MAX_NOTE_BYTES)?, keys).map_err(|error| {
        let advice = "; add the key of its log with --key, each log of a set has its own";
        let advice = if error == NoteError::UnknownKey { advice } else { "" };
        files::about(file, &format_args!("{error}{advice}"))
    })
}

/// The bytes of `file`, or of standard input for `-`, at most `limit`.
pub(super) fn read_bytes(file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    match read {
        Err(error) => Err(files::about(file, &error)),
        Ok(read) if read > limit => Err(files::about(file, &format_args!("is larger than {limit} bytes"))),
        Ok(_) => Ok(bytes),
    }
}

/// Check that one checkpoint of a log continues another, with the hashes in the log.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence consistency evidence/main/00000001 last-audit/checkpoint \\\n    \
    evidence/main/00000001/checkpoint --key-file files.vkey"
)]
pub(crate) struct Consistency {
    /// The directory of the log.
    dir: PathBuf,
    /// The earlier checkpoint.
    old: PathBuf,
    /// The later checkpoint.
    new: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Consistency {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let (old, new) = (read_bytes(&self.old, MAX_NOTE_BYTES)?, read_bytes(&self.new, MAX_NOTE_BYTES)?);
        let verifier = Verifier::new(self.keys.keys()?);
        let directory =
            if is_log(&self.dir) { self.dir.clone() } else { Set::open(&self.dir)?.log(None)?.directory().to_owned() };
        let found = verifier.verify_consistency(directory, &old, &new);
        let json: Value = report::as_json(&found);
        output.result(&json, &report::as_text(Text::default(), &found, None))?;
        report::end(found.verdict)
    }
}
