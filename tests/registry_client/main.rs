//! The registry's client against a registry on loopback that is written from the wire protocol: every call, every
//! answer that can go wrong, and the way from an id and an API key to an identity.
//!
//! The double stands for an outside service. It keeps what it was sent, so that a test sees the bytes on the wire.
#![cfg(feature = "registry")]
#![expect(unreachable_pub, reason = "what stories share is public to them")]
#![expect(clippy::disallowed_methods, reason = "servers under test run in tasks of their own")]
#![expect(clippy::arithmetic_side_effects, reason = "times of tests are small")]
#![expect(clippy::type_complexity, reason = "a table of cases names its columns once")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind fails the test")]

#[cfg(test)]
mod agents;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod double;
#[cfg(test)]
mod failures;
