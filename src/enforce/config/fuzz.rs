//! What fuzzing does with configuration files: see [`internal`](crate::internal).

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a panic is how fuzzing reports a broken law")]

use std::path::Path;

use super::GuardConfig;
use super::builder::EvidenceChoice;
#[cfg(feature = "registry")]
use super::builder::RevocationChoice;
use crate::evidence::EvidenceLog;
use crate::identity::badge::Profile;
use crate::policy::{Caller, Decision};

/// A file that is accepted means the same each time, and neither opens a tool that it does not name nor development.
pub fn fuzz_policy_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let build = || {
        let mut draft = GuardConfig::builder().toml(text, Path::new("/nonexistent/rmcp-guard-fuzz"));
        // what would be made on a disk is not: the rest of the file counts as it stands
        if matches!(draft.evidence, Some(EvidenceChoice::Directory(_)) | None) {
            draft.evidence = Some(EvidenceChoice::Open(EvidenceLog::in_memory()));
        }
        #[cfg(feature = "registry")]
        if matches!(&draft.revocations, Some(RevocationChoice::Network(_))) {
            draft.revocations = Some(RevocationChoice::Unchecked);
        }
        draft.build()
    };
    match (build(), build()) {
        (Ok(config), Ok(again)) => {
            assert!(config.digest() == again.digest() && config.profile() != Profile::Dev);
            assert!(!config.metadata_opens_tools());
            let policy = config.policy();
            for tool in ["read_file", "a", "no such tool"] {
                let allowed = policy.evaluate(tool, Caller::Anonymous, None).decision == Decision::Allow;
                assert!(!allowed || policy.requirement(tool).is_some() || policy.effective(tool, None).is_some());
            }
            assert!(config.api_key_name("no such key").is_none());
        }
        (Err(error), Err(again)) => {
            assert!(error == again && !error.problems().is_empty());
            assert!(error.problems().iter().all(|problem| !problem.to_string().contains(char::is_control)));
        }
        (one, other) => panic!("two answers: {:?}, {:?}", one.is_ok(), other.is_ok()),
    }
}
