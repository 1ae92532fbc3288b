//! Crashes: the process is killed, a system call fails, the power goes. What was acknowledged is there afterwards, once,
//! and the log is whole or refuses.
//!
//! The default run is a sample. The whole: `RMCP_GUARD_FULL=1 cargo test --release --test evidence_crash`, and as root
//! `tests/evidence_crash/power_cut.sh`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]
#![expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "small numbers, and places just found")]
#![expect(clippy::print_stdout, reason = "figures for people, and what skips says so")]

mod any_byte;
mod check;
mod faults;
mod job;
mod kill;
mod power_cut;
mod writer;

#[test]
#[ignore = "the child process of the other tests"]
fn child_writer() {
    let job = job::Job::from_environment().expect("started by another test, with its job in the environment");
    writer::run(&job).unwrap();
}
