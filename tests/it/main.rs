//! The layers on real transports: one binary, a module per story.
//!
//! `cfg(test)` says to clippy what cargo knows: these are tests, which fail by panicking.
#![cfg(feature = "layer")]
#![expect(unreachable_pub, reason = "what stories share is public to them")]
#![expect(clippy::disallowed_methods, reason = "servers under test run in tasks of their own")]
#![expect(clippy::arithmetic_side_effects, reason = "counters of a few hundred")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind fails the test")]

#[cfg(test)]
mod answer_waits;
#[cfg(test)]
#[cfg(feature = "client")]
mod client;
#[cfg(test)]
mod common;
#[cfg(test)]
mod completeness;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod crash;
#[cfg(test)]
mod guard_calls;
#[cfg(test)]
mod guard_methods;
#[cfg(test)]
mod guard_raw;
#[cfg(test)]
mod identity_layer;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod one_authentication;
#[cfg(test)]
#[cfg(feature = "client")] // for reqwest
mod raw_http;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod rounds;
#[cfg(test)]
#[cfg(feature = "client")] // for reqwest
mod session_layer;
#[cfg(test)]
mod stock_client;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tower_stack;
#[cfg(test)]
mod transports;
