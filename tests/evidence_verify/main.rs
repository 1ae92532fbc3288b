//! The verifier, through its public face only, over logs that a second writer made.

#![expect(unreachable_pub, reason = "what stories share is public to them")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failed step fails the test"
)]

mod builder;
mod edits;
mod flips;
mod reading;
mod removal;
mod sets;
mod whole;

use std::path::Path;

use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{Finding, FindingKind, Report, Verifier};

use builder::{Key, Log};

pub fn key(key: &Key) -> VerifierKey {
    key.vkey().parse().unwrap()
}

pub fn verifier(log: &Log) -> Verifier {
    Verifier::new([key(&log.key)])
}

pub fn verify(log: &Log, directory: &Path) -> Report {
    verifier(log).verify_log(directory, &mut |_, _| {})
}

/// Kind and place of every finding.
pub fn found(report: &Report) -> Vec<(FindingKind, Option<u64>)> {
    report.findings.iter().map(|Finding { kind, index, .. }| (*kind, *index)).collect()
}

/// Whether the long variants of the tests are wanted (`RMCP_GUARD_FULL=1`; take `--release`).
pub fn is_full() -> bool {
    std::env::var_os("RMCP_GUARD_FULL").is_some_and(|value| value == "1")
}
