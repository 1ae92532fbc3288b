//! `evidence show`: one entry, whole.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use rmcp_guard::evidence::LogEntry;
use rmcp_guard::evidence::merkle::Hash;
use serde_json::{Value, json};

use super::args::{IndexUse, Target};
use super::query::search;
use super::record::absence;
use crate::evidence_index::{Filter, Log, Set, event_of};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Text, print_json};

/// Show one entry with everything that it says.
///
/// Nothing here is verified; `evidence prove` makes a proof of it.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard evidence show evidence 17\n  \
    rmcp-guard evidence show evidence 019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1 --raw > entry")]
pub(crate) struct Show {
    /// The directory of the logs.
    dir: PathBuf,
    #[command(flatten)]
    entry: EntryArgs,
    /// The bytes of the entry, as they were hashed.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Which entry.
#[derive(Debug, Args)]
pub(super) struct EntryArgs {
    /// The id of a record, or the index of an entry.
    #[arg(value_name = "ID|INDEX")]
    target: Target,
    /// The log of the index, as <instance>/<number>; an instance alone stands for its newest log.
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[command(flatten)]
    index: IndexUse,
}

impl EntryArgs {
    /// The log and the index that are meant.
    pub(super) fn find<'a>(&self, set: &'a Set) -> Result<(&'a Log, u64), Failure> {
        let id = match &self.target {
            Target::Index(index) => return Ok((set.log(self.log.as_deref())?, *index)),
            Target::Id(id) => id.to_string(),
        };
        let index = self.index.open(set)?;
        let mut place = None;
        let filter = Filter { id: Some(id.clone()), ..Filter::default() };
        search(set, index.as_ref(), &filter, Some(1), &mut |found, _, _| {
            place = Some((found.log, found.index));
            Ok(())
        })?;
        let place = place.and_then(|(log, index)| Some((set.logs().get(log)?, index)));
        place.ok_or_else(|| Failure::new(format!("no record has the id {id}")).with_exit(Exit::Refused))
    }
}

impl Show {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let set = Set::open(&self.dir)?;
        let (log, index) = self.entry.find(&set)?;
        let bytes = match log.entry(index)? {
            Some(LogEntry::Present(bytes)) => bytes,
            Some(entry) => {
                let what = format!("{} {index}: its body was {}", log.name(), absence(&entry));
                return Err(Failure::new(what).with_exit(Exit::Incomplete));
            }
            None => {
                return Err(Failure::new(format!("{} has no entry {index}", log.name())).with_exit(Exit::Refused));
            }
        };
        if self.raw {
            let written = std::io::stdout().write_all(&bytes);
            return written.map_err(|error| Failure::from(error).about("standard output").with_exit(Exit::Input));
        }
        let leaf = Hash::of_leaf(&bytes);
        let event = event_of(&bytes);
        if output.is_json() {
            let entry: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return print_json(&json!({
                "entry": entry,
                "index": index,
                "leaf": leaf.to_string(),
                "log": log.name(),
                "origin": log.origin(),
            }));
        }
        let mut text = Text::default()
            .field("log", log.name())
            .field("origin", log.origin())
            .field("index", index)
            .field("leaf", leaf);
        match event.as_ref().and_then(Value::as_object) {
            Some(members) => {
                for (name, value) in members {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    text = text.line(format_args!("  {name}: {value}"));
                }
            }
            None => text = text.line("  not a record"),
        }
        output.result(&Value::Null, &text)
    }
}
