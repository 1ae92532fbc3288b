//! The attack corpus: ways to run a guarded tool without a permit, or to read what is another's.
//!
//! One row of a table is one attack: an id, the attack in one sentence, the bytes on the wire, and what must come of it.
//! Every row is played on stdio and over HTTP in each mode and revision that rmcp has, against a real rmcp server. It holds
//! when nothing ran, the attacker was told what the row says, the evidence says what the row says, and the next caller is
//! served. `README.md` beside this file says how to read a row, and what is not covered.
#![cfg(feature = "layer")]
#![expect(unreachable_pub, reason = "what families share is public to them")]
#![expect(clippy::disallowed_methods, reason = "servers under test run in tasks of their own")]
#![expect(clippy::arithmetic_side_effects, reason = "counters of a few hundred")]
#![expect(clippy::too_many_lines, reason = "a table is as long as it is")]
#![expect(clippy::string_slice, reason = "tokens are ASCII")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind fails the test")]

#[cfg(test)]
mod attacker;
#[cfg(test)]
mod case;
#[cfg(test)]
#[path = "../it/common/mod.rs"]
mod common;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
