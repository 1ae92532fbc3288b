//! Where verification asks for what it cannot compute: issuer keys, DID documents, revocation and agent status.
//!
//! Each source answers at once when it holds the answer ([`MaybeReady::Ready`]) and with a boxed future only when
//! it has to fetch. Static sources live here; the network versions implement the same traits.

mod fixed;
mod revocation_page;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::clock::UnixSeconds;
use crate::identity::did::{Did, DidDocument};
use crate::identity::health::SourceHealth;
use crate::identity::jwks::JwkSet;

#[cfg(feature = "registry")]
pub(in crate::identity) use fixed::is_fresh;
pub use fixed::{
    MAX_DID_DOCUMENTS, MAX_REVOCATION_FILE_BYTES, REVOCATION_MAX_STALENESS, RevocationFile, StaticDidDocuments,
    StaticDidDocumentsError, StatusList,
};
#[cfg(any(feature = "registry", test, fuzzing))]
pub(in crate::identity) use revocation_page::RevocationPage;

/// An answer that is either here or has to be fetched.
#[must_use = "an answer does nothing unless awaited"]
#[non_exhaustive]
pub enum MaybeReady<'a, T> {
    /// The answer, without waiting. `None` only after it has been taken.
    Ready(Option<T>),
    /// Work that waits, boxed once.
    Wait(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<T> MaybeReady<'_, T> {
    /// An answer that is already here.
    pub const fn ready(value: T) -> Self {
        Self::Ready(Some(value))
    }
}

impl<T> fmt::Debug for MaybeReady<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "MaybeReady::Ready",
            Self::Wait(_) => "MaybeReady::Wait",
        })
    }
}

impl<T: Unpin> Future for MaybeReady<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            // A second poll after the answer was taken stays pending instead of panicking.
            Self::Ready(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            Self::Wait(future) => future.as_mut().poll(cx),
        }
    }
}

/// The output of work that has nothing to wait for; `None` when it would have to wait.
pub(crate) fn poll_once<F: Future>(work: F) -> Option<F::Output> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The fetch failed; verification that needed the answer fails closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} could not be obtained")]
#[non_exhaustive]
pub struct ResolveError {
    what: &'static str,
}

impl ResolveError {
    /// Names what could not be obtained, such as `"the issuer's keys"`.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what }
    }
}

/// The verification keys of one issuer.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// The issuer's current key set. `kid` is the key that is wanted, so that a network source can refresh for it.
    fn keys<'a>(&'a self, kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>>;

    /// A key set that was fetched after `seen`, for a token that names no key and that no key of `seen` verifies: the
    /// issuer may have rolled over. A source that fetches bounds how often; an error, the default, says that there is none.
    fn newer_keys<'a>(&'a self, seen: &'a Arc<JwkSet>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        let _ = seen;
        MaybeReady::ready(Err(ResolveError::new("a newer key set")))
    }

    /// How the source is doing; `None`, the default, for one whose keys never change.
    fn health(&self) -> Option<SourceHealth> {
        None
    }
}

/// DID documents by DID.
pub trait DidDocumentSource: fmt::Debug + Send + Sync + 'static {
    /// The document of `did`.
    fn document<'a>(&'a self, did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>>;

    /// Is told that the document at hand did not prove what it should, since a key may have been rotated: the next
    /// question is to be answered by a newer one. Verification asks once more after that. Nothing by default; a source
    /// that fetches bounds how often a stranger's bad proof may make it do so.
    fn forget(&self, did: &Did) {
        let _ = did;
    }
}

/// The document of `did`, a newer one where the first does not pass `proves`. The caller checks what it gets.
pub(crate) async fn document_that(
    source: &dyn DidDocumentSource,
    did: &Did,
    proves: impl Fn(&DidDocument) -> bool,
) -> Result<Arc<DidDocument>, ResolveError> {
    let document = source.document(did).await?;
    if proves(&document) {
        return Ok(document);
    }
    source.forget(did);
    source.document(did).await
}

/// What a source knows about one badge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must decide anew when this grows")]
pub enum RevocationStatus {
    /// The source is current and does not list the badge.
    Good,
    /// The badge is listed as revoked.
    Revoked,
    /// The source cannot say: it failed, or its list is stale or missing.
    Unknown,
}

/// What a source knows about the agent or server a badge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must decide anew when this grows")]
pub enum AgentStatus {
    /// The agent is `active`.
    Active,
    /// The agent is disabled, suspended, or in a state we do not know.
    Disabled,
    /// The source cannot say.
    Unknown,
}

/// Revocation and agent status of CA badges.
pub trait StatusSource: fmt::Debug + Send + Sync + 'static {
    /// Whether the badge `jti` of `issuer` is revoked at `now`.
    fn badge_status<'a>(&'a self, issuer: &'a str, jti: &'a str, now: UnixSeconds) -> MaybeReady<'a, RevocationStatus>;

    /// Whether `subject` is active at `issuer` at `now`.
    fn agent_status<'a>(&'a self, issuer: &'a str, subject: &'a Did, now: UnixSeconds) -> MaybeReady<'a, AgentStatus>;

    /// Brings what the source holds up to date, before the first question. Nothing by default: a source that asks for
    /// each badge holds nothing.
    fn refresh(&self) -> MaybeReady<'_, Result<(), ResolveError>> {
        MaybeReady::ready(Ok(()))
    }

    /// How the source is doing for `issuer`; `None`, the default, for one that cannot fail or was never told of it.
    fn health(&self, issuer: &str) -> Option<SourceHealth> {
        let _ = issuer;
        None
    }
}
