//! A badge that renews itself.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixSeconds};
use crate::identity::server::BadgeSource;

/// Gets a new badge: from a registry, or by signing one.
pub trait BadgeRenewer: fmt::Debug + Send + Sync + 'static {
    /// A new badge as a compact JWS. The future may be dropped at any point.
    fn renew(&self) -> Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + '_>>;
}

/// A badge was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RenewError {
    message: &'static str,
    retry_after: Option<Duration>,
    permanent: bool,
}

impl RenewError {
    /// A failure that may pass by itself, in fixed words without a secret.
    #[must_use]
    pub const fn new(message: &'static str) -> Self {
        Self { message, retry_after: None, permanent: false }
    }

    /// Says when the other side wants to be asked again.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Says that nothing but a person will change the answer: an unknown key, a disabled agent.
    #[must_use]
    pub const fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    /// When the other side wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether asking again is unlikely to help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The failure in fixed words.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }
}

/// How a keeper is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperHealth {
    /// When the badge at hand expires; `None` without one.
    pub expires_at: Option<UnixSeconds>,
    /// When the next renewal is due; `None` once stopped.
    pub next_renewal: Option<UnixSeconds>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed.
    pub last_error: Option<RenewError>,
    /// Whether the keeper works.
    pub running: bool,
}

/// Keeps a badge alive. Clones share it; the work ends with the last, or with [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct BadgeKeeper {
    renewer: Arc<dyn BadgeRenewer>,
}

/// Collects what makes a [`BadgeKeeper`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct BadgeKeeperBuilder {
    renewer: Arc<dyn BadgeRenewer>,
}

impl BadgeKeeper {
    /// A keeper that renews with `renewer`.
    pub fn builder(renewer: Arc<dyn BadgeRenewer>) -> BadgeKeeperBuilder {
        BadgeKeeperBuilder { renewer }
    }

    /// Waits until there is a badge at hand, or until the first attempt has failed.
    ///
    /// # Errors
    /// The [`RenewError`] of the last attempt.
    pub async fn ready(&self) -> Result<Arc<str>, RenewError> {
        let _ = &self.renewer;
        Err(RenewError::new("not yet"))
    }

    /// How the keeper is doing.
    #[must_use]
    pub fn health(&self) -> KeeperHealth {
        KeeperHealth { expires_at: None, next_renewal: None, failures: 0, last_error: None, running: false }
    }

    /// Ends the work. The badge at hand stays until it expires.
    pub async fn stop(&self) {}
}

impl BadgeKeeperBuilder {
    /// A badge that is at hand already.
    pub fn initial(self, token: impl Into<String>) -> Self {
        let _ = token.into();
        self
    }

    /// The clock that judges expiry.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        let _ = clock;
        self
    }

    /// Starts the work on the runtime of the caller.
    ///
    /// # Errors
    /// A [`RenewError`] outside of a tokio runtime, or when the initial badge is none.
    pub fn start(self) -> Result<BadgeKeeper, RenewError> {
        Ok(BadgeKeeper { renewer: self.renewer })
    }
}

impl BadgeSource for BadgeKeeper {
    fn current(&self) -> Option<Arc<str>> {
        None
    }
}
