//! What must hold after the crash.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{EvidenceLog, OpenError};
use serde_json::Value;

use crate::job::Job;
use crate::writer::options;

/// What a child said before it ended.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) key: Option<VerifierKey>,
    pub(crate) acked: Vec<String>,
    pub(crate) closed: bool,
    pub(crate) acked_after_failure: bool,
}

impl Said {
    /// Whole lines only: the last one may have been cut with the process.
    pub(crate) fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut said = Self::default();
        for line in whole.lines() {
            // the test harness of the child may have written in front of the first line
            match line.rsplit_once(' ').unwrap_or((line, "")) {
                (before, id) if before.ends_with("ack") => said.acked.push(id.to_owned()),
                (before, key) if before.ends_with("opened") => said.key = key.parse().ok(),
                _ if line.ends_with("ack-after-failure") => said.acked_after_failure = true,
                _ if line.ends_with("closed") => said.closed = true,
                _ => {}
            }
        }
        said
    }
}

/// Opens the log again, and checks that everything acknowledged is there exactly once, that the caller's records are in
/// their order, and that the log is whole and signed. Returns the number of records.
pub(crate) fn recovered(job: &Job, acked: &[String], first_key: &VerifierKey) -> usize {
    let log = open(job).unwrap_or_else(|error| panic!("the log does not open again: {error:?}"));
    log.publish(Duration::from_secs(60)).unwrap();
    let records = log.records().unwrap();
    log.close();
    check_records(&records, acked);
    verify(&job.directory, first_key);
    records.len()
}

fn check_records(records: &[Value], acked: &[String]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut last_of_caller: HashMap<&str, (u64, u64)> = HashMap::new();
    for record in records {
        *seen.entry(record["id"].as_str().unwrap()).or_default() += 1;
        if record["rmcp_guard.notice"] == "crash_test" {
            let member = |name: &str| record[format!("rmcp_guard.notice.{name}")].as_str().unwrap();
            let place = (member("life").parse().unwrap(), member("number").parse().unwrap());
            let last = last_of_caller.insert(member("caller"), place);
            assert!(last.is_none_or(|last| last < place), "out of order: {last:?}, then {place:?}");
        }
    }
    let lost: Vec<_> = acked.iter().filter(|id| !seen.contains_key(id.as_str())).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged records are lost, the first is {}",
        lost.len(),
        acked.len(),
        lost[0]
    );
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} records are there more than once", twice.len());
}

fn verify(directory: &Path, key: &VerifierKey) {
    let reports = Verifier::new([key.clone()]).verify_set(directory, &mut |_, _| {});
    assert!(!reports.is_empty());
    for report in reports {
        assert_eq!(report.verdict, Verdict::Intact, "{report:#?}");
    }
}

pub(crate) fn open(job: &Job) -> Result<EvidenceLog, OpenError> {
    options(job).create_or_open(&job.directory)
}

/// Every file below `directory` with its bytes, for comparing two states of a log.
pub(crate) fn snapshot(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
