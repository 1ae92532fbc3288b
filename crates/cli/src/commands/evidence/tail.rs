//! `evidence tail`: the newest records, and those to come.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rmcp_guard::evidence::LogEntry;

use super::record;
use crate::evidence_index::{Log, Set};
use crate::exit::Failure;
use crate::output::Output;

/// How often a log is looked at for new entries.
const INTERVAL: Duration = Duration::from_millis(250);
/// Most records that can be asked for, so that they fit in memory.
const MAX_LINES: u64 = 100_000;

/// Show the newest records, and follow the log.
///
/// With --json each is a JSON document on a line of its own. Nothing here is verified.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence tail -f evidence")]
pub(crate) struct Tail {
    /// The directory of the logs.
    dir: PathBuf,
    /// How many of each instance.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=MAX_LINES))]
    lines: u64,
    /// Go on with those to come, until the program is ended.
    #[arg(short, long)]
    follow: bool,
}

impl Tail {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let set = Set::open(&self.dir)?;
        // by name, where to go on
        let mut ends = BTreeMap::new();
        for positions in set.instances() {
            let logs: Vec<&Log> = positions.into_iter().filter_map(|position| set.logs().get(position)).collect();
            self.newest(&logs, output, &mut ends)?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(INTERVAL);
            // a log that rolled is followed by the next
            for log in Set::open(&self.dir)?.logs() {
                let start = ends.get(log.name()).copied().unwrap_or(0);
                let end = print_from(log, start, output)?;
                ends.insert(log.name().to_owned(), end);
            }
        }
    }

    /// Prints the last entries of one instance, which may be of several of its logs, and notes where each ends.
    fn newest(&self, logs: &[&Log], output: Output, ends: &mut BTreeMap<String, u64>) -> Result<(), Failure> {
        let lines = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let mut newest: VecDeque<(&Log, u64, LogEntry)> = VecDeque::new();
        for log in logs.iter().rev() {
            let missing = self.lines.saturating_sub(u64::try_from(newest.len()).unwrap_or(u64::MAX));
            let start = log.published()?.saturating_sub(missing);
            let mut end = start;
            let mut last = VecDeque::new();
            for entry in log.entries(start)? {
                let (index, entry) = entry?;
                end = index.saturating_add(1);
                if u64::try_from(last.len()).unwrap_or(u64::MAX) >= missing {
                    last.pop_front();
                }
                if missing > 0 {
                    last.push_back((*log, index, entry));
                }
            }
            ends.insert(log.name().to_owned(), end);
            last.append(&mut newest);
            newest = last;
            if newest.len() >= lines && !self.follow {
                break;
            }
        }
        newest.iter().try_for_each(|(log, index, entry)| record::print_entry(output, log, *index, entry))
    }
}

/// Prints what `log` has from `start` on, and returns where it ends.
fn print_from(log: &Log, start: u64, output: Output) -> Result<u64, Failure> {
    let mut end = start;
    for entry in log.entries(start)? {
        let (index, entry) = entry?;
        record::print_entry(output, log, index, &entry)?;
        end = index.saturating_add(1);
    }
    Ok(end)
}
