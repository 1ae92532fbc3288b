//! The verifier, through its public face only, over logs that a second writer made.

#![expect(unreachable_pub, reason = "what the tests share is public to them")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step fails the test"
)]

mod builder;
mod edits;
mod engine;
mod flips;
mod forged;
mod meddled;
mod reading;
mod removal;
mod sets;
mod whole;

use std::path::Path;

use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{Finding, FindingKind, Report, Verifier};

use builder::{Key, Log};

fn key(key: &Key) -> VerifierKey {
    key.vkey().parse().unwrap()
}

fn verifier(log: &Log) -> Verifier {
    Verifier::new([key(&log.key)])
}

fn verify(log: &Log, directory: &Path) -> Report {
    verifier(log).verify_log(directory, &mut |_, _| {})
}

/// Kind and place of every finding.
fn found(report: &Report) -> Vec<(FindingKind, Option<u64>)> {
    report.findings.iter().map(|Finding { kind, index, .. }| (*kind, *index)).collect()
}

/// Whether the long variants of the tests are wanted (`RMCP_GUARD_FULL=1`; take `--release`).
fn is_full() -> bool {
    std::env::var_os("RMCP_GUARD_FULL").is_some_and(|value| value == "1")
}
