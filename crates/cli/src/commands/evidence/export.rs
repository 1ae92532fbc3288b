//! `evidence export`: the records of a period, in files that others can read, with a manifest.

mod csv;
mod tiles;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::evidence::{EvidenceId, EvidenceLog, LogEntry, NoticeRecord, OpenErrorKind, Record};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::args::{OwnerArgs, PeriodArgs, spinner};
use super::change::explain;
use crate::evidence_index::{Filter, Log, Row, Set, event_of, micros, rfc3339};
use crate::exit::Failure;
use crate::files;
use crate::output::{Output, Text, note};

/// How long the record of an export may take to reach the disk.
const PUBLISH_LIMIT: Duration = Duration::from_secs(60);
const MANIFEST: &str = "manifest.json";

/// Write the records of a period into a new directory, with a manifest.
///
/// The manifest has the signed checkpoints that cover the records, and the SHA-256 of every file.
///
/// Only entries of published checkpoints are exported, so each can be proved. jsonl has a file for each log with its
/// entries byte for byte, where `prev` is the hash of the line before. csv is for spreadsheets: a cell that one would take
/// for a formula gets a `'` in front. tiles copies whole logs (those with a record of the period), which `verify` and
/// other tools check. The export is recorded in the log, where no server has it open.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence export evidence --since 2026-10-01 --until 2026-11-01 --format csv -o october"
)]
pub(crate) struct Export {
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    period: PeriodArgs,
    /// In which form.
    #[arg(long, value_enum)]
    format: Format,
    /// The directory that is made.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Who exports; recorded.
    #[arg(long, value_name = "WHO", default_value = "not said")]
    by: String,
    /// Do not record it in the log, as for a copy that is not yours to write to.
    #[arg(long)]
    no_record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
    Tiles,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Tiles => "tiles",
        }
    }
}

/// A file of the export under construction.
struct OutFile {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl OutFile {
    /// Makes `name` in `out`, readable by its owner only.
    fn create(out: &Path, name: &str) -> Result<Self, Failure> {
        let path = out.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(&path).map_err(|error| files::about(&path, &error))?;
        Ok(Self { name: name.to_owned(), path, file: BufWriter::new(file), digest: Sha256::new(), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.digest.update(bytes);
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.file.write_all(bytes).map_err(|error| files::about(&self.path, &error))
    }

    /// Its line in the manifest, once it is on disk.
    fn finish(self) -> Result<Value, Failure> {
        let Self { name, path, file, digest, bytes } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(|error| files::about(&path, &error))?;
        Ok(json!({ "name": name, "bytes": bytes, "sha256": hex::encode(digest.finalize()) }))
    }
}

/// What was taken of one log.
#[derive(Debug, Default)]
struct Taken {
    first: Option<u64>,
    last: u64,
    entries: u64,
    redacted: u64,
    pruned: u64,
}

impl Export {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let now = SystemClock.now();
        let (since, until) = self.period.bounds()?;
        let filter = Filter { since, until, ..Filter::default() };
        let set = Set::open(&self.owner.dir)?;
        make_directory(&self.out).map_err(|error| files::about(&self.out, &error))?;
        let (logs, files) = match self.format {
            Format::Jsonl => self.lines(&set, &filter)?,
            Format::Csv => self.table(&set, &filter)?,
            Format::Tiles => tiles::copy(&set, &filter, &self.out)?,
        };
        let entries: u64 = logs.iter().filter_map(|log| log.get("entries").and_then(Value::as_u64)).sum();
        let manifest = json!({
            "version": 1,
            "made": micros(now).and_then(rfc3339),
            "format": self.format.as_str(),
            "since": since.and_then(rfc3339),
            "until": until.and_then(rfc3339),
            "logs": logs,
            "files": files,
        });
        let mut file = OutFile::create(&self.out, MANIFEST)?;
        file.write(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        file.write(b"\n")?;
        let written = file.finish()?;
        let digest = written.get("sha256").and_then(Value::as_str).unwrap_or_default();
        let recorded = self.record(now, entries, digest);
        let json = json!({
            "directory": self.out.to_string_lossy(),
            "entries": entries,
            "manifest_sha256": digest,
            "recorded": recorded.is_ok(),
        });
        let text = Text::default()
            .field("exported", format_args!("{entries} entries to {}", self.out.display()))
            .field("manifest", format_args!("sha256:{digest}"))
            .field("recorded", if recorded.is_ok() { "yes" } else { "no" });
        output.result(&json, &text)?;
        if let Err(why) = recorded {
            note(format_args!("the export was not recorded in the log: {why}"));
        }
        Ok(())
    }

    /// A file for each log, with its entries byte for byte.
    fn lines(&self, set: &Set, filter: &Filter) -> Result<(Vec<Value>, Vec<Value>), Failure> {
        let (mut logs, mut files) = (Vec::new(), Vec::new());
        for log in set.logs() {
            let mut file = None;
            let described = each(log, filter, &mut |_, bytes, _| {
                let file = match &mut file {
                    Some(file) => file,
                    none => none.insert(OutFile::create(&self.out, &format!("{}.jsonl", file_name(log.name())))?),
                };
                file.write(bytes)?;
                file.write(b"\n")
            })?;
            logs.extend(described);
            if let Some(file) = file {
                files.push(file.finish()?);
            }
        }
        Ok((logs, files))
    }

    /// One table of all logs.
    fn table(&self, set: &Set, filter: &Filter) -> Result<(Vec<Value>, Vec<Value>), Failure> {
        let mut file = OutFile::create(&self.out, "records.csv")?;
        file.write(csv::header().as_bytes())?;
        let mut logs = Vec::new();
        for log in set.logs() {
            logs.extend(each(log, filter, &mut |index, bytes, event| {
                file.write(csv::line(log.name(), index, bytes, event).as_bytes())
            })?);
        }
        Ok((logs, vec![file.finish()?]))
    }

    /// Records the export in the log; why not, otherwise.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other reasons speak for themselves")]
    fn record(&self, now: SystemTime, entries: u64, digest: &str) -> Result<(), String> {
        if self.no_record {
            return Err("--no-record was given".to_owned());
        }
        let log = self.owner.options().open(&self.owner.dir).map_err(|error| match error.kind() {
            OpenErrorKind::Locked => "a server is writing to it".to_owned(),
            _ => explain(&error, "export").text(),
        })?;
        let (since, until) = self.period.bounds().unwrap_or_default();
        let time = |bound: Option<i64>| bound.and_then(rfc3339).unwrap_or_default();
        let members = vec![
            ("by", self.by.clone()),
            ("format", self.format.as_str().to_owned()),
            ("since", time(since)),
            ("until", time(until)),
            ("entries", entries.to_string()),
            ("manifest_sha256", digest.to_owned()),
        ];
        let appended = append(&log, now, members);
        log.close();
        appended.map_err(|error| Failure::from(error).text())
    }
}

fn append(
    log: &EvidenceLog,
    now: SystemTime,
    members: Vec<(&'static str, String)>,
) -> Result<(), rmcp_guard::evidence::AppendError> {
    let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "exported", members));
    let mut place = log.reserve_blocking(1)?;
    log.append(&mut place, &record)?.wait_durable(PUBLISH_LIMIT)?;
    log.publish(PUBLISH_LIMIT).map(drop)
}

/// What is done with each entry of the period.
type Each<'a> = dyn FnMut(u64, &[u8], Option<&Value>) -> Result<(), Failure> + 'a;

/// Tells `each` of every entry of the period that the published checkpoint covers, and describes the log for the
/// manifest; `None` for a log that has none.
fn each(log: &Log, filter: &Filter, each: &mut Each<'_>) -> Result<Option<Value>, Failure> {
    // first the checkpoint: what comes after it is not exported
    let Some((checkpoint, bytes)) = log.checkpoint()? else { return Ok(None) };
    let everything = filter.since.is_none() && filter.until.is_none();
    let mut taken = Taken::default();
    // bodies that are gone have no time; those between two of the period are of it
    let (mut redacted, mut pruned) = (0_u64, 0_u64);
    let spinner = spinner("exporting");
    for entry in log.entries(0)? {
        let (index, entry) = entry?;
        if index >= checkpoint.size {
            break;
        }
        spinner.inc(1);
        match entry {
            LogEntry::Present(bytes) => {
                let event = event_of(&bytes);
                let row = event.as_ref().map(Row::of).unwrap_or_default();
                if !filter.matches(&row) {
                    continue;
                }
                each(index, &bytes, event.as_ref())?;
                if taken.first.is_none() && !everything {
                    (redacted, pruned) = (0, 0);
                }
                taken.first.get_or_insert(index);
                taken.last = index;
                taken.entries = taken.entries.saturating_add(1);
                taken.redacted = redacted;
                taken.pruned = pruned;
            }
            LogEntry::Pruned => pruned = pruned.saturating_add(1),
            LogEntry::Redacted | _ => redacted = redacted.saturating_add(1),
        }
    }
    if everything {
        (taken.redacted, taken.pruned) = (redacted, pruned);
    }
    spinner.finish_and_clear();
    if taken.first.is_none() {
        return Ok(None);
    }
    Ok(Some(json!({
        "log": log.name(),
        "origin": log.origin(),
        "checkpoint": String::from_utf8_lossy(&bytes),
        "first": taken.first,
        "last": taken.last,
        "entries": taken.entries,
        "redacted": taken.redacted,
        "pruned": taken.pruned,
    })))
}

/// A log's name as that of a file.
fn file_name(log: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    log.chars().map(|character| if safe(character) { character } else { '-' }).collect()
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(directory)
}
