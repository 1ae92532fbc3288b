//! What `fuzz/` calls: one function for each place where a stranger's bytes are read.
//!
//! Each function reads its input as the crate does and asserts the law that the accepted inputs obey, not only that
//! nothing panics. The functions stand beside the code that they call, in the `fuzz.rs` of each room. They are compiled
//! for fuzzing and for the crate's own tests, which replay `fuzz/seeds`; no build that somebody depends on has them.

#[cfg(feature = "layer")]
pub use crate::enforce::fuzz_request_state;
#[cfg(feature = "registry")]
pub use crate::identity::fuzz::{fuzz_registry_answer, fuzz_status_answer};
#[cfg(feature = "client")]
pub use crate::layer::client::fuzz::{fuzz_sse, fuzz_tool_result};
#[cfg(feature = "layer")]
pub use crate::layer::fuzz::fuzz_meta_headers;
#[cfg(feature = "layer")]
pub use crate::layer::guard::fuzz::{fuzz_answer, fuzz_jsonrpc, fuzz_method_name};
#[cfg(feature = "layer")]
pub use crate::layer::session::fuzz::fuzz_session_id;
pub use crate::{
    enforce::fuzz_policy_config,
    evidence::fuzz::{
        fuzz_checkpoint, fuzz_entry, fuzz_entry_bundle, fuzz_json, fuzz_manifest, fuzz_merkle_proof, fuzz_receipt,
        fuzz_tile_path, fuzz_tlog_proof, fuzz_wal_frame, fuzz_wal_segment, fuzz_witness_answer,
    },
    identity::fuzz::{
        fuzz_badge, fuzz_badge_claims, fuzz_did, fuzz_did_document, fuzz_issuance_proof, fuzz_jwks, fuzz_jws,
        fuzz_origin, fuzz_pop, fuzz_revocations,
    },
    policy::fuzz::{fuzz_tool_meta, fuzz_tool_pattern},
};

/// A fuzz target: its name, which is that of its program and of the folder of its seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets that the enabled features have, those that read unauthenticated network input first.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "layer")]
    ("meta_headers", fuzz_meta_headers),
    #[cfg(feature = "layer")]
    ("session_id", fuzz_session_id),
    #[cfg(feature = "layer")]
    ("jsonrpc", fuzz_jsonrpc),
    #[cfg(feature = "layer")]
    ("method_name", fuzz_method_name),
    #[cfg(feature = "layer")]
    ("request_state", fuzz_request_state),
    ("jws", fuzz_jws),
    ("badge", fuzz_badge),
    ("badge_claims", fuzz_badge_claims),
    ("did", fuzz_did),
    ("origin", fuzz_origin),
    ("pop", fuzz_pop),
    ("issuance_proof", fuzz_issuance_proof),
    ("json", fuzz_json),
    ("jwks", fuzz_jwks),
    ("did_document", fuzz_did_document),
    ("revocations", fuzz_revocations),
    #[cfg(feature = "registry")]
    ("status_answer", fuzz_status_answer),
    #[cfg(feature = "registry")]
    ("registry_answer", fuzz_registry_answer),
    #[cfg(feature = "client")]
    ("sse", fuzz_sse),
    #[cfg(feature = "client")]
    ("tool_result", fuzz_tool_result),
    #[cfg(feature = "layer")]
    ("answer", fuzz_answer),
    ("tool_meta", fuzz_tool_meta),
    ("witness_answer", fuzz_witness_answer),
    ("checkpoint", fuzz_checkpoint),
    ("tlog_proof", fuzz_tlog_proof),
    ("merkle_proof", fuzz_merkle_proof),
    ("receipt", fuzz_receipt),
    ("tile_path", fuzz_tile_path),
    ("entry_bundle", fuzz_entry_bundle),
    ("entry", fuzz_entry),
    ("wal_frame", fuzz_wal_frame),
    ("wal_segment", fuzz_wal_segment),
    ("manifest", fuzz_manifest),
    ("tool_pattern", fuzz_tool_pattern),
    ("policy_config", fuzz_policy_config),
];

#[cfg(test)]
mod tests;
