//! Which keys sign a log, and which signatures on it are its own.

use std::sync::Arc;

use super::{DurableOptions, PrivateDir};
use crate::evidence::note::{NoteSigner, VerifierKey};
use crate::evidence::{OpenError, OpenErrorKind};

/// The signers of the log `origin`: the one of the options or the key in the private directory, then a co-signer.
pub(super) fn signers(
    options: &DurableOptions,
    private: &PrivateDir,
    origin: &str,
) -> Result<Vec<Arc<dyn NoteSigner>>, OpenError> {
    let first: Arc<dyn NoteSigner> = match &options.signer {
        Some(signer) if signer.verifier_key().name() == origin => Arc::clone(signer),
        Some(_) => return Err(OpenError::new(OpenErrorKind::OtherLog)),
        None => {
            let missing = || OpenError::new(OpenErrorKind::Key).at(&private.signing_key_path());
            Arc::new(private.signer(origin)?.ok_or_else(missing)?)
        }
    };
    let mut signers = vec![first];
    match &options.co_signer {
        Some(signer) if signer.verifier_key().name() == origin => signers.push(Arc::clone(signer)),
        Some(signer) => {
            let name = signer.verifier_key().name();
            tracing::warn!(%origin, %name, "the co-signer is for another log; this one is signed without it");
        }
        None => {}
    }
    Ok(signers)
}

/// The keys whose signature on the log `origin` counts as its own: those of its signers, and the one in the private
/// directory where another signs instead.
pub(super) fn known_keys(
    options: &DurableOptions,
    private: &PrivateDir,
    origin: &str,
) -> Result<Vec<VerifierKey>, OpenError> {
    let given = [&options.signer, &options.co_signer].into_iter().flatten();
    let mut keys: Vec<_> = given.map(|signer| signer.verifier_key().clone()).collect();
    keys.retain(|key| key.name() == origin);
    if let Some(signer) = private.signer(origin)? {
        keys.push(signer.verifier_key().clone());
    }
    Ok(keys)
}
