//! `rmcp-guard evidence` from outside: what it prints, how it ends, and what it does to a log.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failed step fails the test"
)]

mod changes;
mod exports;
mod reading;
mod verifying;
mod world;
