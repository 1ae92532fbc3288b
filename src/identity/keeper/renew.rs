//! Where new badges come from.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::identity::badge::{BadgeIssueError, DEFAULT_BADGE_LIFETIME, self_sign};
use crate::identity::key::SigningKey;

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

/// Signs badges of level 0 with the holder's own key. Each has an id of its own.
#[derive(Debug)]
pub struct SelfSignedRenewer {
    key: Arc<SigningKey>,
    audience: Vec<String>,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

impl SelfSignedRenewer {
    /// Badges without an audience that live [`DEFAULT_BADGE_LIFETIME`], dated by the system clock.
    #[must_use]
    pub fn new(key: Arc<SigningKey>) -> Self {
        Self { key, audience: Vec::new(), lifetime: DEFAULT_BADGE_LIFETIME, clock: Arc::new(SystemClock) }
    }

    /// Makes the badges out to one more audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// The lifetime of each badge, in whole seconds from [`MIN_BADGE_LIFETIME`](crate::identity::badge::MIN_BADGE_LIFETIME)
    /// to [`MAX_BADGE_LIFETIME`](crate::identity::badge::MAX_BADGE_LIFETIME); another one fails each renewal.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The clock that dates the badges.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl BadgeRenewer for SelfSignedRenewer {
    fn renew(&self) -> Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + '_>> {
        let signed = self_sign(&self.key, &self.audience, self.lifetime, self.clock.now_unix());
        Box::pin(std::future::ready(signed.map_err(|error| {
            if error == BadgeIssueError::Random {
                return RenewError::new("the operating system gave no random bytes");
            }
            RenewError::new("the lifetime is not 60 to 3600 seconds").permanent()
        })))
    }
}
