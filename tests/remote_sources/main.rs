//! Issuer keys and DID documents from real servers on this machine: what is fetched when, for whom, and what a hostile
//! host gets out of it.
//!
//! `cfg(test)` says to clippy what cargo knows: these are tests, which fail by panicking.
#![expect(clippy::disallowed_methods, reason = "servers under test run in tasks of their own")]
#![expect(clippy::arithmetic_side_effects, reason = "counters of a few hundred")]

#[cfg(test)]
mod documents;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod world;
