//! One method per call of the registry's HTTP API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::identity::fetch::Fetcher;

/// A registry's API key. It is wiped when dropped and never shown.
#[derive(Clone)]
pub struct ApiKey(Arc<Zeroizing<String>>);

impl ApiKey {
    /// Wraps a key.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(key.into())))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// A badge that a registry issued. Nothing about it is verified.
#[derive(Clone)]
#[non_exhaustive]
pub struct IssuedBadge {
    /// The compact JWS.
    pub token: Arc<str>,
    /// Its `jti`, if it names one.
    pub jti: Option<String>,
    /// Its `exp`.
    pub expires_at: UnixSeconds,
}

impl fmt::Debug for IssuedBadge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedBadge")
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A call of the registry failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry did not answer as asked")]
pub struct RegistryError {
    kind: RegistryErrorKind,
    status: Option<u16>,
    retry_after: Option<Duration>,
}

/// The kinds of [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// No answer.
    Unreachable,
}

impl RegistryError {
    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> RegistryErrorKind {
        self.kind
    }

    /// The answer's status, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// When the registry wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// Talks to a registry. Clones share connections.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    fetcher: Fetcher,
    key: Option<ApiKey>,
}

impl RegistryClient {
    /// A client of the registry at `base_url`.
    ///
    /// # Errors
    /// [`RegistryError`] when `base_url` is not one.
    pub fn new(base_url: &str, key: Option<ApiKey>, fetcher: Fetcher) -> Result<Self, RegistryError> {
        let _ = base_url;
        Ok(Self { fetcher, key })
    }
}
