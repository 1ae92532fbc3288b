//! Revocation and agent status over real HTTP, judged by the codes that a badge verifier gives.

#![cfg(feature = "registry")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::indexing_slicing, reason = "a failed step fails the test")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of these tests are small")]

mod online;
mod registry;
mod synced;
