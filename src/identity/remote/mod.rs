//! Sources that ask the network: issuer keys, did:web documents, revocation and agent status.

mod did_web;
mod keys;
mod online_status;
mod revocation_sync;

pub use did_web::{DidResolveError, DidWebDocuments};
pub use keys::RemoteKeys;
pub use online_status::OnlineStatus;
pub use revocation_sync::{RevocationSync, RevocationSyncBuilder, RevocationSyncError};
