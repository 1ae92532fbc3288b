//! `evidence query`: records by tool, agent, decision, reason, kind and time.

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::Args;
use rmcp_guard::evidence::LogEntry;
use rmcp_guard::evidence::merkle::Hash;
use serde_json::Value;

use super::args::{FilterArgs, IndexUse};
use super::record;
use crate::evidence_index::{
    Content, Cursor, Filter, Found, Index, IndexError, Merge, Row, Set, Stream, event_of, scan,
};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};

/// Search records by tool, agent, decision, reason, kind and time.
///
/// With --json each is a JSON document on a line of its own.
///
/// What is printed is read from the logs; an index in DIR/.index only finds it. The index is made and brought up to date
/// on the way, may be deleted at any time, and is not needed. Nothing here is verified: `evidence verify` does that.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard evidence query evidence --decision deny --since -2h\n  \
    rmcp-guard evidence query evidence --tool 'delete_*' --since 2026-11-01 --until 2026-12-01 --json")]
pub(crate) struct Query {
    /// The directory of the logs.
    dir: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only the newest N of them.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    index: IndexUse,
}

/// How a search by index ended early.
enum Stop {
    Failed(Failure),
    /// The index is not that of these logs after all.
    Mismatch {
        log: usize,
        index: u64,
    },
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Query {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let filter = self.filter.filter()?;
        let set = Set::open(&self.dir)?;
        let index = self.index.open(&set)?;
        search(&set, index.as_ref(), &filter, self.limit, &mut |found, event, leaf| {
            let Some(log) = set.logs().get(found.log) else { return Ok(()) };
            record::print(output, log, found.index, event, leaf)
        })
    }
}

/// What is done with each record, in order.
type Each<'a> = dyn FnMut(&Found, Option<&Value>, &Hash) -> Result<(), Failure> + 'a;

/// Tells `each` of every record that matches, or of the newest `limit` of them, by the index where there is one. An index
/// that says something else than the logs is removed, and the logs are read instead.
pub(super) fn search(
    set: &Set,
    index: Option<&Index>,
    filter: &Filter,
    limit: Option<usize>,
    each: &mut Each<'_>,
) -> Result<(), Failure> {
    let mut told = 0_u64;
    let mut counted = |found: &Found, event: Option<&Value>, leaf: &Hash| {
        told = told.saturating_add(1);
        each(found, event, leaf)
    };
    let (log, place) = match attempt(set, index, filter, limit, &mut counted) {
        Ok(()) => return Ok(()),
        Err(Stop::Failed(failure)) => return Err(failure),
        Err(Stop::Mismatch { log, index }) => (log, index),
    };
    let name = set.logs().get(log).map(crate::evidence_index::Log::name).unwrap_or_default();
    let what = format!("the index says something else than the log {name} at entry {place}; it was removed");
    Index::remove(set).map_err(|error: IndexError| Failure::from(error).about(&what).with_exit(Exit::Input))?;
    if told > 0 {
        return Err(Failure::new(format!("{what}; run the command again")).with_exit(Exit::Input));
    }
    note(format_args!("{what}, and the logs are read instead"));
    match attempt(set, None, filter, limit, each) {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Mismatch { .. }) => Err(Failure::new("the logs changed while they were read").with_exit(Exit::Input)),
    }
}

fn attempt(
    set: &Set,
    index: Option<&Index>,
    filter: &Filter,
    limit: Option<usize>,
    each: &mut Each<'_>,
) -> Result<(), Stop> {
    let streams: Vec<Stream<'_>> = set
        .instances()
        .into_iter()
        .map(|positions| match index {
            Some(index) => index.search(set, positions, filter),
            None => scan(set, positions, filter),
        })
        .collect();
    let mut cursor = Cursor::default();
    let found = Merge::new(streams);
    let Some(limit) = limit else {
        for found in found {
            tell(set, filter, &mut cursor, &found?, each)?;
        }
        return Ok(());
    };
    let mut newest = VecDeque::new();
    for found in found {
        if newest.len() >= limit {
            newest.pop_front();
        }
        if limit > 0 {
            newest.push_back(found?);
        }
    }
    newest.iter().try_for_each(|found| tell(set, filter, &mut cursor, found, each))
}

fn tell(set: &Set, filter: &Filter, cursor: &mut Cursor, found: &Found, each: &mut Each<'_>) -> Result<(), Stop> {
    let leaf = match &found.content {
        Content::Read { event, leaf } => return Ok(each(found, event.as_ref(), leaf)?),
        Content::Indexed { leaf } => leaf,
    };
    match cursor.entry(set, found.log, found.index)? {
        Some(LogEntry::Present(bytes)) => {
            let event = event_of(&bytes);
            let row = event.as_ref().map(Row::of).unwrap_or_default();
            if Hash::of_leaf(&bytes) != *leaf || !filter.matches(&row) {
                return Err(Stop::Mismatch { log: found.log, index: found.index });
            }
            Ok(each(found, event.as_ref(), leaf)?)
        }
        None => Err(Stop::Mismatch { log: found.log, index: found.index }),
        // taken out since it was indexed
        Some(_) => Ok(()),
    }
}
