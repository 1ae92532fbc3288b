//! `evidence stats`: how much of what.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use rmcp_guard::evidence::LogEntry;
use serde_json::{Map, Value, json};

use super::args::{IndexUse, PeriodArgs, spinner};
use crate::evidence_index::{Filter, Index, Row, Set, event_of, rfc3339};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Text};

/// Names that are counted one by one; hostile callers can make up any number of them.
const MAX_NAMES: usize = 100_000;
/// Files and directories that are measured at most.
const MAX_FILES: u64 = 50_000_000;

/// Count calls by decision, reason, tool and agent.
///
/// Nothing here is verified.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence stats evidence --since -24h")]
pub(crate) struct Stats {
    /// The directory of the logs.
    dir: PathBuf,
    #[command(flatten)]
    period: PeriodArgs,
    /// How many names of each list, the most frequent ones.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    index: IndexUse,
}

/// How often each name was met.
#[derive(Debug, Default)]
struct Counts {
    names: HashMap<String, u64>,
    /// Those of names beyond [`MAX_NAMES`].
    rest: u64,
}

impl Counts {
    fn add(&mut self, name: Option<&String>, times: u64) {
        let Some(name) = name else { return };
        if let Some(count) = self.names.get_mut(name) {
            *count = count.saturating_add(times);
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(name.clone(), times);
        } else {
            self.rest = self.rest.saturating_add(times);
        }
    }

    /// The most frequent ones, and how many others there are.
    fn top(&self, most: usize) -> (Vec<(&str, u64)>, u64) {
        let mut names: Vec<(&str, u64)> = self.names.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        names.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        let others = names.iter().skip(most).fold(self.rest, |sum, (_, count)| sum.saturating_add(*count));
        names.truncate(most);
        (names, others)
    }
}

/// What is counted, the most frequent names, and how many records have none of these.
type List<'a> = (&'static str, Vec<(&'a str, u64)>, u64);

#[derive(Debug, Default)]
struct Tally {
    records: u64,
    kinds: Counts,
    decisions: Counts,
    reasons: Counts,
    tools: Counts,
    agents: Counts,
    /// Calls that coalesced records count; they are among `decisions`, `reasons` and `tools`.
    coalesced: u64,
    gaps: u64,
    dropped: u64,
    redacted: u64,
    pruned: u64,
    first: Option<i64>,
    last: Option<i64>,
}

impl Tally {
    fn add(&mut self, row: &Row) {
        self.records = self.records.saturating_add(1);
        self.kinds.add(row.kind.as_ref(), 1);
        let count = row.count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
        match row.kind.as_deref() {
            Some("decision") => self.add_calls(row, 1),
            // calls that were denied without a record of their own
            Some("coalesced") => {
                self.coalesced = self.coalesced.saturating_add(count);
                self.add_calls(row, count);
            }
            Some("gap") => {
                self.gaps = self.gaps.saturating_add(1);
                self.dropped = self.dropped.saturating_add(count);
            }
            _ => {}
        }
        if let Some(at) = row.at {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
        }
    }

    fn add_calls(&mut self, row: &Row, calls: u64) {
        self.decisions.add(row.decision.as_ref(), calls);
        self.reasons.add(row.reason.as_ref(), calls);
        self.tools.add(row.tool.as_ref(), calls);
        self.agents.add(row.agent.as_ref(), calls);
    }
}

impl Stats {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let (since, until) = self.period.bounds()?;
        let filter = Filter { since, until, ..Filter::default() };
        let set = Set::open(&self.dir)?;
        // before it is brought up to date
        let lag = Index::look(&set).ok().flatten().and_then(|index| index.status(&set).ok());
        let lag = lag.map(|logs| logs.iter().fold(0_u64, |sum, log| sum.saturating_add(log.lag)));
        let tally = match self.index.open(&set)? {
            Some(index) => by_index(&set, &index, &filter)?,
            None => by_scan(&set, &filter)?,
        };
        let mut files = 0;
        let bytes = size(set.directory(), &mut files).map_err(|error| crate::files::about(&self.dir, &error))?;
        output.result(&self.as_json(&set, &tally, bytes, lag), &self.as_text(&set, &tally, bytes, lag))
    }

    fn lists<'a>(&self, tally: &'a Tally) -> [List<'a>; 5] {
        let list = |name, counts: &'a Counts| {
            let (names, others) = counts.top(self.top);
            (name, names, others)
        };
        [
            list("kinds", &tally.kinds),
            list("decisions", &tally.decisions),
            list("reasons", &tally.reasons),
            list("tools", &tally.tools),
            list("agents", &tally.agents),
        ]
    }

    fn as_json(&self, set: &Set, tally: &Tally, bytes: u64, lag: Option<u64>) -> Value {
        let mut json = json!({
            "logs": set.logs().len(),
            "records": tally.records,
            "first": tally.first.and_then(rfc3339),
            "last": tally.last.and_then(rfc3339),
            "coalesced": tally.coalesced,
            "gaps": tally.gaps,
            "dropped": tally.dropped,
            "redacted": tally.redacted,
            "pruned": tally.pruned,
            "bytes": bytes,
            "index_lag": lag,
        });
        for (name, names, others) in self.lists(tally) {
            let counts: Map<String, Value> =
                names.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
            if let Value::Object(members) = &mut json {
                members.insert(name.to_owned(), Value::Object(counts));
                if others > 0 {
                    members.insert(format!("{name}_others"), others.into());
                }
            }
        }
        json
    }

    fn as_text(&self, set: &Set, tally: &Tally, bytes: u64, lag: Option<u64>) -> Text {
        let mut text = Text::default()
            .field("logs", set.logs().len())
            .field("records", tally.records)
            .maybe("first", tally.first.and_then(rfc3339))
            .maybe("last", tally.last.and_then(rfc3339))
            .field("coalesced", format_args!("{} denied calls without a record of their own", tally.coalesced))
            .field("gaps", format_args!("{} ({} records dropped)", tally.gaps, tally.dropped))
            .field("redacted", tally.redacted)
            .field("pruned", tally.pruned)
            .field("on disk", indicatif::HumanBytes(bytes))
            .maybe("index lag", lag.map(|lag| format!("{lag} entries before this command")));
        for (name, names, others) in self.lists(tally) {
            if names.is_empty() {
                continue;
            }
            text = text.line(format_args!("{name}:"));
            for (name, count) in names {
                text = text.line(format_args!("{count:>12}  {name}"));
            }
            if others > 0 {
                text = text.line(format_args!("{others:>12}  (others)"));
            }
        }
        text
    }
}

fn by_index(set: &Set, index: &Index, filter: &Filter) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for found in index.search(set, (0..set.logs().len()).collect(), filter) {
        tally.add(&found?.row);
    }
    let (redacted, pruned) = index.absent().map_err(|error| Failure::from(error).with_exit(Exit::Input))?;
    tally.redacted = redacted;
    tally.pruned = pruned;
    Ok(tally)
}

fn by_scan(set: &Set, filter: &Filter) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let spinner = spinner("reading");
    for log in set.logs() {
        for entry in log.entries(0)? {
            spinner.inc(1);
            match entry?.1 {
                LogEntry::Present(bytes) => {
                    let row = event_of(&bytes).as_ref().map(Row::of).unwrap_or_default();
                    if filter.matches(&row) {
                        tally.add(&row);
                    }
                }
                LogEntry::Pruned => tally.pruned = tally.pruned.saturating_add(1),
                LogEntry::Redacted | _ => tally.redacted = tally.redacted.saturating_add(1),
            }
        }
    }
    spinner.finish_and_clear();
    Ok(tally)
}

/// Bytes of all regular files below `directory`; what vanishes meanwhile does not count.
fn size(directory: &Path, files: &mut u64) -> std::io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in directory.read_dir()? {
        *files = files.saturating_add(1);
        if *files > MAX_FILES {
            return Err(std::io::Error::other("has too many files"));
        }
        let entry = entry?;
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let more = if metadata.is_dir() { size(&entry.path(), files).unwrap_or(0) } else { metadata.len() };
        bytes = bytes.saturating_add(more);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coalesced_record_stands_for_the_calls_that_it_counts() {
        let mut tally = Tally::default();
        for event in [
            json!({"rmcp_guard.kind": "decision", "capiscio.decision": "DENY", "capiscio.target": "t",
                "rmcp_guard.deny_reason": "badge_missing"}),
            json!({"rmcp_guard.kind": "coalesced", "capiscio.decision": "DENY", "capiscio.target": "t",
                "rmcp_guard.deny_reason": "badge_missing", "rmcp_guard.coalesced.count": 40}),
            json!({"rmcp_guard.kind": "coalesced_sessions", "capiscio.decision": "DENY",
                "rmcp_guard.deny_reason": "session_unbound", "rmcp_guard.coalesced.count": 500}),
            json!({"rmcp_guard.kind": "gap", "rmcp_guard.gap.count": 7}),
        ] {
            tally.add(&Row::of(&event));
        }
        assert_eq!((tally.records, tally.coalesced, tally.gaps, tally.dropped), (4, 40, 1, 7));
        assert_eq!(tally.decisions.top(9), (vec![("DENY", 41)], 0));
        assert_eq!(tally.reasons.top(9), (vec![("badge_missing", 41)], 0));
        assert_eq!(tally.tools.top(9), (vec![("t", 41)], 0));
    }
}
