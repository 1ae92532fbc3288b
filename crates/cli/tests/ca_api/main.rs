//! `rmcp-guard ca` from outside: the program as a child process, its HTTP API over TLS, and its own verifier.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a missing member fails the test")]
#![expect(clippy::similar_names, reason = "did and id")]

mod badges;
mod keys;
mod operator;
mod proofs;
mod registration;
mod revocations;
mod world;
