//! What rmcp-guard costs: the tool behind docs/PERFORMANCE.md. A program, not a library to build on.

#![expect(
    missing_docs,
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "used by the programs beside it only"
)]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement that fails tells so")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects,
    reason = "figures for people"
)]
#![expect(clippy::print_stdout, reason = "it reports")]
#![expect(clippy::disallowed_methods, clippy::wildcard_enum_match_arm, reason = "servers and callers of a measurement")]

pub mod alone;
pub mod connect;
pub mod curves;
pub mod files;
pub mod grid;
pub mod load;
mod nothing;
pub mod peers;
pub mod plot;
pub mod report;
pub mod targets;
pub mod usage;
pub mod world;
