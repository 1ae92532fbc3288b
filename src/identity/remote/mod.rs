//! Sources that ask the network: issuer keys, did:web documents, revocation and agent status.
//!
//! In scope: what is fetched, how long it counts, and who has to wait for it. Every source answers at once while it holds
//! a fresh answer, fetches once however many callers ask, and bounds what strangers can make it fetch. Out of scope: what
//! may be connected to and how much may come back ([`fetch`](crate::identity::fetch)), and what an answer means
//! ([`badge`](crate::identity::badge), [`server`](crate::identity::server)).
//!
//! Nothing here is asked before a configuration named the issuer: verification looks at the trust store first. HTTP's own
//! cache rules (`Cache-Control`, `Expires`) count for nothing: an issuer must not decide for how long a verifier lives
//! without news, nor make it ask more often.
//!
//! ```
//! use rmcp_guard::identity::fetch::Fetcher;
//! use rmcp_guard::identity::remote::DidWebDocuments;
//! use rmcp_guard::identity::trust_store::{Issuer, IssuerError};
//!
//! let fetcher = Fetcher::new()?;
//! let issuer = Issuer::discover("https://registry.example.com", fetcher.clone())?;
//! assert!(issuer.health().is_some_and(|health| health.last_success.is_none()), "nothing was fetched yet");
//! // nobody's word counts over plain http
//! assert!(matches!(Issuer::discover("http://registry.example.com", fetcher.clone()), Err(IssuerError::Origin)));
//! let documents = DidWebDocuments::new(fetcher);
//! # drop(documents);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Deployment: background work runs on the tokio runtime of the caller that first asked, and ends with the last clone of
//! the source. Outside of a runtime a source answers what it holds, and an error otherwise; it never panics.

mod did_web;
mod escape;
mod flight;
mod keys;
mod moment;
mod online_status;
mod revocation_cache;
mod revocation_list;
mod revocation_sync;
mod revoked_set;

pub use did_web::{
    DID_DOCUMENT_FAILURE_LIFETIME, DID_DOCUMENT_LIFETIME, DidResolveError, DidWebDocuments, MAX_CACHED_DID_DOCUMENTS,
    MAX_DID_DOCUMENT_FETCHES,
};
pub use escape::MAX_ID_BYTES;
pub use keys::{JWKS_LIFETIME, JWKS_MAX_STALE, RemoteKeys, UNKNOWN_KEY_COOLDOWN};
#[cfg(any(test, fuzzing))]
pub use online_status::fuzz::fuzz_status_answer;
pub use online_status::{
    DEFAULT_STATUS_LIFETIME, MAX_STATUS_ANSWERS, MAX_STATUS_BYTES, MAX_STATUS_LIFETIME, MAX_STATUS_QUESTIONS,
    OnlineStatus,
};
pub use revocation_list::{
    MAX_CURSOR_BYTES, MAX_ISSUER_CLOCK_DIFFERENCE, MAX_REVOCATION_PAGE_BYTES, REVOCATION_PAGE_ENTRIES,
};
pub use revocation_sync::{
    DEFAULT_MAX_REVOCATIONS, DEFAULT_SYNC_INTERVAL, RevocationSync, RevocationSyncBuilder, RevocationSyncError,
};
