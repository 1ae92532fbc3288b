//! `evidence redact`, `evidence prune`, `evidence shred`: what an owner takes out of a log, each recorded in it.

use std::time::Duration;

use clap::Args;
use rmcp_guard::evidence::{EvidenceLog, LogEntry, OpenError, OpenErrorKind};
use serde_json::{Value, json};

use super::args::{Moment, OwnerArgs, ReasonArgs, filled};
use crate::evidence_index::{Index, IndexError, Row, Set, event_of, failure, micros};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};

/// How long the last words may take to reach the disk.
const PUBLISH_LIMIT: Duration = Duration::from_secs(60);

/// Take the body of one entry out of the newest log.
///
/// Its hash stays, so that every proof and the log verify as before; who asked and why is recorded.
///
/// Copies elsewhere, such as exports and backups, are not touched. The server has to be stopped.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence redact evidence 17 --by 'J. Doe' --why 'erasure request 4711'")]
pub(crate) struct Redact {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The index of the entry.
    index: u64,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Remove the oldest entries of the newest log.
///
/// The tree above them stays, so that later entries can be proved as before; who asked and why is recorded.
///
/// Whole bundles of 256 entries are removed, so some before the place may stay. The server has to be stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence prune evidence --before 2026-05-01 --by ops --why 'retention, 6 months'"
)]
pub(crate) struct Prune {
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    place: PrunePlace,
    #[command(flatten)]
    reason: ReasonArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PrunePlace {
    /// Entries below this index.
    #[arg(long, value_name = "INDEX")]
    below: Option<u64>,
    /// Entries up to the first one of this time or later.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    before: Option<Moment>,
}

/// Destroy a key of hashed arguments and results.
///
/// Nobody can find by guessing what was hashed under it any more.
///
/// Keyed hashes name their key: `hmac-sha256:<KID>:..`. The key in use is replaced first. The server has to be stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence shred evidence --key-id 3q2-7w --by ops --why 'retention, 6 months'"
)]
pub(crate) struct Shred {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The id of the key, as it stands in the hashes.
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    key_id: String,
    #[command(flatten)]
    reason: ReasonArgs,
}

impl Redact {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let log = open(&self.owner, "redact")?;
        let redacted = log.redact(self.index, &self.reason.by, &self.reason.why);
        finish(&log, redacted, &self.owner)?;
        output.line(&json!({ "redacted": self.index }), format_args!("entry {} was redacted", self.index))
    }
}

impl Prune {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let below = match (self.place.below, self.place.before) {
            (Some(below), _) => below,
            (None, Some(Moment(time))) => self.first_from(micros(time).unwrap_or(0))?,
            (None, None) => 0, // one of them is required
        };
        let log = open(&self.owner, "prune")?;
        let pruned = log.prune(below, &self.reason.by, &self.reason.why);
        finish(&log, pruned, &self.owner)?;
        output.line(
            &json!({ "pruned_below": below }),
            format_args!("entries below {below} were pruned, as far as whole bundles go"),
        )
    }

    /// The index of the first entry that is not before `time`: everything below it is. What the log says of its own
    /// beginning does not count, since records that were imported are older than the log.
    fn first_from(&self, time: i64) -> Result<u64, Failure> {
        let set = Set::open(&self.owner.dir)?;
        let log = set.log(Some(&self.owner.instance))?;
        let mut end = 0;
        for entry in log.entries(0)? {
            let (index, entry) = entry?;
            end = index;
            let LogEntry::Present(bytes) = entry else { continue };
            let Some(event) = event_of(&bytes) else { continue };
            let notice = event.get("rmcp_guard.notice").and_then(Value::as_str);
            let is_beginning = matches!(notice, Some("log_opened" | "imported"));
            if !is_beginning && Row::of(&event).at.is_some_and(|at| at >= time) {
                return Ok(index);
            }
        }
        // never the last one, which says where the log stands
        Ok(end)
    }
}

impl Shred {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let log = open(&self.owner, "shred")?;
        let shredded = log.shred_hash_key(&self.key_id, &self.reason.by, &self.reason.why);
        finish(&log, shredded, &self.owner)?;
        output.line(&json!({ "shredded": self.key_id }), format_args!("the key {} was destroyed", self.key_id))
    }
}

/// Opens the log as its one writer.
pub(super) fn open(owner: &OwnerArgs, command: &str) -> Result<EvidenceLog, Failure> {
    owner.options().open(&owner.dir).map_err(|error| explain(&error, command))
}

/// Why the log could not be opened, and what to do about it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others say what to do themselves")]
pub(super) fn explain(error: &OpenError, command: &str) -> Failure {
    match error.kind() {
        OpenErrorKind::Locked => failure(error).and(format!("a server is writing to it; `{command}` needs it stopped")),
        _ => failure(error),
    }
}

/// Makes what was done durable and public, and the index forget what was taken out.
fn finish(log: &EvidenceLog, done: Result<(), OpenError>, owner: &OwnerArgs) -> Result<(), Failure> {
    let published = log.publish(PUBLISH_LIMIT);
    log.close();
    done.map_err(|error| failure(&error))?;
    published.map_err(|error| Failure::from(error).about("the log").with_exit(Exit::Input))?;
    forget(owner).map_err(|error| {
        let advice = "the index beside the log may still hold what was taken out; delete DIR/.index";
        Failure::from(error).and(advice).with_exit(Exit::Input)
    })
}

fn forget(owner: &OwnerArgs) -> Result<(), IndexError> {
    let set = Set::open(&owner.dir).map_err(IndexError::Log)?;
    if Index::look(&set).is_ok_and(|index| index.is_none()) {
        return Ok(());
    }
    let followed = filled(&set).and_then(|index| index.settle());
    match followed {
        Ok(()) => Ok(()),
        Err(error) => {
            note(format_args!("the index could not follow ({error}); it is removed"));
            Index::remove(&set).map(drop)
        }
    }
}
