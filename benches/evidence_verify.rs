//! What a check of a whole log costs, beside what cannot be saved: the hash of each entry.
//!
//! `cargo bench --no-default-features --bench evidence_verify`; without `--bench` it only makes sure that it runs.
//! Figures are CPU time of one thread where the system tells it (Linux), the best of some runs; the page cache is warm.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench whose world cannot be built fails, and what it finds is printed"
)]

#[path = "../tests/evidence_verify/builder.rs"]
#[expect(dead_code, unreachable_pub, reason = "the tests need more of it")]
mod builder;

use std::hint::black_box;
use std::time::{Duration, Instant};

use builder::Log;
use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::verify::{Verdict, Verifier};

const ENTRY_BYTES: usize = 600;

/// CPU time of this thread, or else time.
fn now(start: Instant) -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = line.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Best of `runs`, in nanoseconds for each of `entries`.
fn best(runs: usize, entries: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let times = (0..runs).map(|_| {
        let before = now(start);
        work();
        now(start).saturating_sub(before)
    });
    times.min().unwrap().as_nanos() as f64 / entries as f64
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (entries, runs) = if is_bench { (200_000, 9) } else { (1_000, 1) };
    let log = Log::of_decisions(entries, ENTRY_BYTES);
    let directory = tempfile::tempdir().unwrap();
    log.write(directory.path());
    let verifier = Verifier::new([log.key.vkey().parse().unwrap()]);
    let check = |verifier: &Verifier| {
        let report = verifier.verify_log(directory.path(), &mut |_, _| {});
        assert_eq!((report.verdict, report.entries_checked), (Verdict::Intact, entries as u64));
    };
    let bytes: usize = log.entries.iter().map(Vec::len).sum();

    let leaf = best(runs, entries, || {
        for entry in &log.entries {
            black_box(Hash::of_leaf(entry));
        }
    });
    let whole = best(runs, entries, || check(&verifier));
    let opaque = verifier.clone().with_opaque_entries();
    let opaque = best(runs, entries, || check(&opaque));
    let json = verifier.clone().with_json_check();
    let json = best(runs.min(3), entries, || check(&json));

    println!("{entries} entries of {} bytes, one thread", bytes / entries);
    for (name, nanos) in [
        ("leaf hash alone (SHA-256)", leaf),
        ("whole log", whole),
        ("whole log, not looking into entries", opaque),
        ("whole log, each record parsed", json),
    ] {
        println!("{name:<38} {nanos:>8.0} ns/entry {:>10.0} entries/s {:>6.2} leaf hashes", 1e9 / nanos, nanos / leaf);
    }
}
