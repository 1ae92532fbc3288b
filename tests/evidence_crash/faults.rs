//! A system call fails, or the process dies in it: each call that the log makes, one after the other, by strace.

use std::process::{Command, Stdio};

use rmcp_guard::evidence::EvidenceMode;

use crate::check::{Said, recovered};
use crate::job::Job;

/// What is made to fail; those that only start the child fail too, and then nothing is acknowledged.
const CALLS: &[&str] = &["pwrite64", "write", "fdatasync", "fsync", "rename", "renameat2", "mkdir", "unlink", "openat"];
const FAULTS: &[&str] = &["error=EIO", "error=ENOSPC", "signal=KILL"];

/// Records of the small job whose every call is made to fail once: enough for tiles, two logs and a publication.
const RECORDS: u64 = 40;

fn strace_is_here() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn job(directory: &std::path::Path) -> Job {
    let mut job = Job::new(directory.join("evidence"), EvidenceMode::Strict, 1);
    job.records = Some(RECORDS);
    job.roll_after_bytes = 12_000;
    job
}

/// How many times the undisturbed job makes `call` on files of the log.
fn count(call: &str) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let job = job(directory.path());
    let arguments = ["-f", "-qq", "-o", trace.to_str().unwrap(), "-P", "/nowhere", "-e"].map(str::to_owned);
    let arguments: Vec<_> =
        arguments.into_iter().chain([format!("trace={call}")]).filter(|a| a != "-P" && a != "/nowhere").collect();
    let output = job.command_under("strace", &arguments).stderr(Stdio::null()).output().unwrap();
    assert!(Said::parse(&output.stdout).closed, "the undisturbed job does not end");
    let trace = std::fs::read_to_string(&trace).unwrap();
    u64::try_from(trace.lines().filter(|line| line.contains(&format!("{call}("))).count()).unwrap()
}

/// What came of one fault.
#[derive(Debug, Default)]
struct Tally {
    runs: u32,
    refused_to_start: u32,
    failed: u32,
    unharmed: u32,
    acked: usize,
}

fn inject(call: &str, fault: &str, number: u64, tally: &mut Tally) {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path());
    let inject = format!("inject={call}:{fault}:when={number}");
    let arguments = ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject].map(str::to_owned);
    let output = job.command_under("strace", &arguments).stderr(Stdio::null()).output().unwrap();
    let said = Said::parse(&output.stdout);
    let context = format!("{call} {fault} number {number}");
    assert!(!said.acked_after_failure, "{context}: a record was acknowledged after a failure");
    tally.runs += 1;
    tally.acked += said.acked.len();
    let Some(key) = &said.key else {
        assert!(said.acked.is_empty(), "{context}");
        tally.refused_to_start += 1;
        return;
    };
    if said.closed {
        tally.unharmed += 1;
    } else {
        tally.failed += 1;
    }
    // undisturbed now, the log opens, is whole, and has every acknowledged record
    recovered(&job, &said.acked, key);
}

/// Of `total` calls every one in the full run, else some that are spread evenly.
fn numbers(total: u64) -> Vec<u64> {
    let step = if std::env::var_os("RMCP_GUARD_FULL").is_some() { 1 } else { (total / 4).max(1) };
    (1..=total).step_by(usize::try_from(step).unwrap()).collect()
}

#[test]
fn every_call_that_fails_leaves_a_log_that_verifies_or_refuses() {
    if !strace_is_here() {
        println!("SKIPPED: strace is not installed, so no system call was made to fail");
        return;
    }
    for call in CALLS {
        let total = count(call);
        let mut tally = Tally::default();
        for fault in FAULTS {
            for number in numbers(total) {
                inject(call, fault, number, &mut tally);
            }
        }
        println!("{call}: {total} calls, {tally:?}");
    }
}
