//! `rmcp-guard ca` from outside: the program as a child process, its HTTP API over TLS, and its own verifier.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]
#![expect(clippy::indexing_slicing, reason = "a missing member fails the test")]

mod badges;
mod keys;
mod operator;
mod proofs;
mod registration;
mod revocations;
mod world;
