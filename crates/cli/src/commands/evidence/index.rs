//! `evidence index`: the index that `query` uses, by itself.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::{filled, spinner};
use crate::evidence_index::{Index, IndexError, Set};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Text};

/// Bring the index of a set of logs up to date, compare or remove it.
///
/// `query` brings it up to date by itself.
/// The index is DIR/.index/evidence.sqlite. It is made from the logs, proves nothing, and may be deleted at any time.
#[derive(Debug, Args)]
#[command(
    name = "index",
    after_help = "EXAMPLES:\n  rmcp-guard evidence index evidence\n  rmcp-guard evidence index evidence --verify"
)]
pub(crate) struct IndexArgs {
    /// The directory of the logs.
    dir: PathBuf,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
struct What {
    /// Make it anew.
    #[arg(long)]
    rebuild: bool,
    /// Remove it.
    #[arg(long)]
    drop: bool,
    /// Show how far it is, and change nothing.
    #[arg(long)]
    status: bool,
    /// Compare every row of it with the logs, and change nothing.
    #[arg(long)]
    verify: bool,
}

impl IndexArgs {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let set = Set::open(&self.dir)?;
        if self.what.drop {
            let dropped = Index::remove(&set).map_err(refused)?;
            let text = if dropped { "the index was removed" } else { "there is no index" };
            return output.line(&json!({ "dropped": dropped }), text);
        }
        if self.what.verify {
            return verify(&set, output);
        }
        if self.what.rebuild {
            Index::remove(&set).map_err(refused)?;
        }
        let index = if self.what.status { Index::look(&set) } else { filled(&set).map(Some) };
        let Some(index) = index.map_err(refused)? else {
            return output.line(&json!({ "index": null }), "there is no index");
        };
        let logs = index.status(&set).map_err(refused)?;
        let mut text = Text::default().field("index", index.directory().display());
        for log in &logs {
            let size = log.next.saturating_add(log.lag);
            text = text
                .line(format_args!("  {}  {} of {size} entries indexed, {} behind", log.name, log.indexed, log.lag));
        }
        let logs: Vec<_> =
            logs.iter().map(|log| json!({ "log": log.name, "indexed": log.indexed, "size": log.next.saturating_add(log.lag), "lag": log.lag })).collect();
        output.result(&json!({ "index": index.directory().to_string_lossy(), "logs": logs }), &text)
    }
}

fn verify(set: &Set, output: Output) -> Result<(), Failure> {
    let index = Index::look(set).map_err(refused)?;
    let Some(index) = index else {
        return Err(Failure::new("there is no index").with_exit(Exit::Refused));
    };
    let spinner = spinner("comparing");
    let differences = index.compare(set, &mut |entries| spinner.set_position(entries)).map_err(refused)?;
    spinner.finish_and_clear();
    let text = differences.iter().fold(Text::default(), |text, difference| {
        text.line(format_args!("{} {}: {}", difference.log, difference.index, difference.what))
    });
    let text = if differences.is_empty() { text.line("the index says what the logs say") } else { text };
    let json = json!({
        "ok": differences.is_empty(),
        "differences": differences.iter().map(|difference| json!({
            "log": difference.log, "index": difference.index, "what": difference.what,
        })).collect::<Vec<_>>(),
    });
    output.result(&json, &text)?;
    if differences.is_empty() {
        return Ok(());
    }
    // the logs may well be intact
    Err(Failure::new("the index is not that of the logs; `--rebuild` makes it anew").with_exit(Exit::Input))
}

fn refused(error: IndexError) -> Failure {
    match error {
        IndexError::Log(failure) => failure,
        error @ (IndexError::Sqlite(_)
        | IndexError::Io(_)
        | IndexError::Foreign { .. }
        | IndexError::Busy
        | IndexError::Single) => Failure::from(error).about("the index").with_exit(Exit::Input),
    }
}
