//! `evidence fsck`: whether everything that an owner needs for a log is there, fits together, and is private.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::note::{Ed25519NoteSigner, MAX_NOTE_BYTES, NoteSigner as _, VerifierKey};
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use serde_json::{Value, json};

use super::args::OwnerArgs;
use super::change;
use super::report;
use crate::evidence_index::{Index, IndexError, Log, Set};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Mark, Output, Text};

/// Most entries of a directory that are looked at for their modes.
const MAX_LISTED: usize = 10_000;

/// Check the logs of an instance as their owner.
///
/// That is directories and their modes, the private key and what it signed, the high-water mark, every tile and entry, the
/// write-ahead log, and the index.
///
/// This trusts the private directory. An auditor uses `verify`. The logs may be in use; what a server writes meanwhile is
/// not checked.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence fsck evidence --repair-tiles\n\n\
    EXIT CODES: 0 nothing found, 1 tampered, 2 incomplete, 3 usage, 4 something else is wrong, or a file cannot be used")]
pub(crate) struct Fsck {
    #[command(flatten)]
    owner: OwnerArgs,
    /// First open the log, which writes missing tiles anew from the write-ahead log; the server has to be stopped. Tiles
    /// that the write-ahead log no longer covers are in no other place, and come from a backup.
    #[arg(long)]
    repair_tiles: bool,
}

/// What was looked at, how it came out, and how bad that is.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<(Mark, String, String)>,
    verdict: Option<Verdict>,
    is_unsound: bool,
}

impl Findings {
    fn passed(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push((Mark::Passed, name.to_owned(), detail.into()));
    }

    fn skipped(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push((Mark::Skipped, name.to_owned(), detail.into()));
    }

    /// Something is wrong that says nothing about the records.
    fn unsound(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push((Mark::Failed, name.to_owned(), detail.into()));
        self.is_unsound = true;
    }

    fn failed(&mut self, name: &str, detail: impl Into<String>, verdict: Verdict) {
        self.checks.push((Mark::Failed, name.to_owned(), detail.into()));
        self.verdict = self.verdict.max(Some(verdict));
    }
}

impl Fsck {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        if self.repair_tiles {
            let log = change::open(&self.owner, "fsck --repair-tiles")?;
            let published = log.publish(std::time::Duration::from_secs(60));
            log.close();
            published.map_err(|error| Failure::from(error).with_exit(Exit::Input))?;
        }
        let set = Set::open(&self.owner.dir)?;
        let logs: Vec<&Log> = set.logs().iter().filter(|log| log.instance() == self.owner.instance).collect();
        if logs.is_empty() {
            let what = format!("{}: no instance `{}`", self.owner.dir.display(), self.owner.instance);
            return Err(Failure::new(what).with_exit(Exit::Refused));
        }
        let mut findings = Findings::default();
        self.modes(&mut findings);
        let keys = self.keys(&logs, &mut findings)?;
        let mark = self.mark(&keys, &mut findings)?;
        verify(&logs, &keys, mark.as_ref(), &mut findings);
        if let Some(newest) = logs.last() {
            tail(newest, &mut findings)?;
        }
        index(&set, &mut findings);
        findings.end(output)
    }

    /// Others may enter or read none of it.
    fn modes(&self, findings: &mut Findings) {
        let instance = self.owner.dir.join(&self.owner.instance);
        let private = self.owner.private().join(&self.owner.instance);
        let places = [
            (self.owner.dir.clone(), false),
            (instance, false),
            (self.owner.private(), false),
            (private.clone(), true),
            (private.join("params"), true),
        ];
        let mut open = Vec::new();
        for (place, contents) in places {
            match modes(&place, contents) {
                Ok(found) => open.extend(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => findings.unsound("modes", format!("{}: {error}", place.display())),
            }
        }
        if open.is_empty() {
            findings.passed("modes", "only their owner can enter or read the directories");
        }
        for path in open {
            findings.unsound("modes", format!("{} is open to other users; `chmod -R go= {0}`", path.display()));
        }
    }

    /// The key of each log, from the private one, which must be the one that the log names.
    fn keys(&self, logs: &[&Log], findings: &mut Findings) -> Result<Vec<VerifierKey>, Failure> {
        let file = self.owner.private().join(&self.owner.instance).join("log.key");
        if matches!(file.try_exists(), Ok(false)) {
            findings.skipped("key", format!("{} is not there; the keys that the logs name are taken", file.display()));
            return logs.iter().map(|log| log.named_key()).collect();
        }
        let pem = files::read_text(&file)?;
        let mut keys = Vec::new();
        let mut others = false;
        for log in logs {
            let signer =
                Ed25519NoteSigner::from_pkcs8_pem(log.origin(), &pem).map_err(|error| files::about(&file, &error))?;
            let key = signer.verifier_key().clone();
            if log.named_key().is_ok_and(|named| named != key) {
                others = true;
                findings.failed(
                    "key",
                    format!("{} names another key than that in {}", log.name(), file.display()),
                    Verdict::Tampered,
                );
            }
            keys.push(key);
        }
        if !others {
            findings.passed("key", "the private key is the one that the logs name");
        }
        Ok(keys)
    }

    /// The checkpoint below which the log must never be seen.
    fn mark(&self, keys: &[VerifierKey], findings: &mut Findings) -> Result<Option<VerifiedCheckpoint>, Failure> {
        let file = self.owner.private().join(&self.owner.instance).join("high-water");
        if matches!(file.try_exists(), Ok(false)) {
            findings.unsound("mark", format!("{} is not there; a rollback would not be noticed", file.display()));
            return Ok(None);
        }
        let note = files::read_regular(&file, MAX_NOTE_BYTES).map_err(|error| files::about(&file, &error))?;
        match VerifiedCheckpoint::verify(&note, keys) {
            Ok(mark) => {
                let checkpoint = mark.checkpoint();
                findings.passed("mark", format!("at {} entries of {}", checkpoint.size, checkpoint.origin));
                Ok(Some(mark))
            }
            Err(error) => {
                findings.failed("mark", format!("{}: {error}", file.display()), Verdict::Tampered);
                Ok(None)
            }
        }
    }
}

impl Findings {
    fn end(self, output: Output) -> Result<(), Failure> {
        let Self { checks, verdict, is_unsound } = self;
        let verdict = verdict.unwrap_or(Verdict::Intact);
        let json = json!({
            "verdict": report::word(verdict),
            "ok": verdict == Verdict::Intact && !is_unsound,
            "checks": checks.iter().map(|(mark, name, detail)| json!({
                "check": name, "result": mark.as_str(), "detail": detail,
            })).collect::<Vec<Value>>(),
        });
        let text = checks.iter().fold(Text::default(), |text, (mark, name, detail)| text.check(*mark, name, detail));
        output.result(&json, &text)?;
        report::end(verdict)?;
        if is_unsound { Err(Failure::answered().with_exit(Exit::Input)) } else { Ok(()) }
    }
}

/// `place` and, if asked, what is directly in it, as far as others can use it.
fn modes(place: &Path, contents: bool) -> io::Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    let mut look = |path: &Path| -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if path.symlink_metadata()?.permissions().mode() & 0o077 != 0 {
                open.push(path.to_owned());
            }
        }
        #[cfg(not(unix))]
        path.symlink_metadata()?;
        Ok(())
    };
    look(place)?;
    if contents {
        for entry in place.read_dir()?.take(MAX_LISTED) {
            look(&entry?.path())?;
        }
    }
    Ok(open)
}

fn verify(logs: &[&Log], keys: &[VerifierKey], mark: Option<&VerifiedCheckpoint>, findings: &mut Findings) {
    let verifier = Verifier::new(keys.iter().cloned());
    for log in logs {
        let of_log = mark.cloned().filter(|mark| mark.checkpoint().origin == log.origin());
        let verifier = of_log.into_iter().fold(verifier.clone(), Verifier::with_known_checkpoint);
        let found = verifier.verify_log(log.directory(), &mut |_, _| {});
        let name = format!("log {}", log.name());
        if found.verdict == Verdict::Intact {
            let detail = format!("{} entries, {} redacted, {} pruned", found.size, found.redacted, found.pruned);
            findings.passed(&name, detail);
        }
        for finding in &found.findings {
            findings.failed(&name, finding.to_string(), found.verdict);
        }
    }
}

/// What the write-ahead log has behind the published checkpoint.
fn tail(log: &Log, findings: &mut Findings) -> Result<(), Failure> {
    let published = log.published()?;
    let mut end = published;
    for entry in log.entries(published)? {
        match entry {
            Ok((index, _)) => end = index.saturating_add(1),
            Err(failure) => {
                let verdict = if failure.exit() == Exit::Tampered { Verdict::Tampered } else { Verdict::Incomplete };
                findings.failed("write-ahead log", failure.text(), verdict);
                return Ok(());
            }
        }
    }
    findings.passed("write-ahead log", format!("{} entries behind the checkpoint", end.saturating_sub(published)));
    Ok(())
}

fn index(set: &Set, findings: &mut Findings) {
    match Index::look(set).and_then(|index| index.map(|index| index.status(set)).transpose()) {
        Ok(None) => findings.skipped("index", "there is none; `query` makes one"),
        Ok(Some(logs)) => {
            let lag = logs.iter().fold(0_u64, |sum, log| sum.saturating_add(log.lag));
            for log in logs.iter().filter(|log| log.indexed != log.next) {
                let what = format!("{} of {} entries of {} are in it", log.indexed, log.next, log.name);
                findings.unsound("index", format!("{what}; `query` makes it anew"));
            }
            findings.passed("index", format!("{lag} entries behind; `index --verify` compares it with the logs"));
        }
        Err(IndexError::Single) => findings.skipped("index", "of one log by itself there is none"),
        Err(error) => {
            findings.unsound("index", format!("{}; `index --rebuild` makes it anew", Failure::from(error).text()));
        }
    }
}
