//! The verified client against real servers, broken servers and impostors.
#![expect(
    clippy::disallowed_methods,
    clippy::items_after_statements,
    clippy::wildcard_enum_match_arm,
    reason = "servers run beside the test, cases have local types, and any other error fails the test"
)]

mod fixtures;
mod guarded;
mod http;
mod impostors;
#[cfg(all(feature = "registry", feature = "test-util"))]
mod keeper;
mod meta;
mod repeated;
mod stdio;
mod takeover;
#[cfg(feature = "client-rustls")]
mod tls;
mod web;
