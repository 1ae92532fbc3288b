//! The keys of an issuer, from its JWK set (RFC 7517 §5).

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::identity::fetch::{FetchError, Fetcher};
use crate::identity::health::SourceHealth;
use crate::identity::jwks::JwkSet;
use crate::identity::resolve::{KeySource, MaybeReady, ResolveError};

/// The JWK set of one issuer, kept fresh. Clones share it.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    fetcher: Fetcher,
}

impl RemoteKeys {
    /// The keys at `{origin}/.well-known/jwks.json`. Nothing is fetched before somebody asks.
    #[must_use]
    pub fn new(origin: &str, fetcher: Fetcher) -> Self {
        let _ = origin;
        Self { fetcher }
    }

    /// How long a set counts as fresh; 5 min by default.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        let _ = lifetime;
        self
    }

    /// How long a set still counts after its lifetime while the issuer cannot be reached; 1 h by default.
    #[must_use]
    pub fn with_max_stale(self, max_stale: Duration) -> Self {
        let _ = max_stale;
        self
    }

    /// The clock that ages the set.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let _ = clock;
        self
    }

    /// Fetches the set now, whatever is at hand.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn refresh(&self) -> Result<(), FetchError> {
        let _ = &self.fetcher;
        Ok(())
    }

    /// How the source is doing.
    #[must_use]
    pub fn health(&self) -> SourceHealth {
        SourceHealth::unknown()
    }
}

impl KeySource for RemoteKeys {
    fn keys<'a>(&'a self, _kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        MaybeReady::ready(Err(ResolveError::new("the issuer's keys")))
    }

    fn health(&self) -> Option<SourceHealth> {
        Some(Self::health(self))
    }
}
