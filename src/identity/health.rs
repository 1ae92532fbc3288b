//! What a source of identity says about itself.

use crate::clock::UnixSeconds;

/// How a network source is doing, for a health endpoint or a log line. It names no secret and no address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceHealth {
    /// When the source last got a whole and valid answer.
    pub last_success: Option<UnixSeconds>,
    /// Since when every attempt has failed; `None` while the last one succeeded, and before the first.
    pub failing_since: Option<UnixSeconds>,
    /// Why the last attempt failed, in fixed words.
    pub last_error: Option<&'static str>,
    /// Until when the answers at hand count; `None` without any.
    pub good_until: Option<UnixSeconds>,
    /// When the next attempt is due, if one is planned.
    pub next_attempt: Option<UnixSeconds>,
}

impl SourceHealth {
    /// Nothing was asked yet.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { last_success: None, failing_since: None, last_error: None, good_until: None, next_attempt: None }
    }

    /// Whether the answers at hand count at `now`.
    #[must_use]
    pub fn is_good_at(&self, now: UnixSeconds) -> bool {
        self.good_until.is_some_and(|until| now <= until)
    }
}
