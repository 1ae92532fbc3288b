//! Revocation and status: which sources are asked, and what their silence means (RFC-002 verification steps
//! 8 and 9).

use std::path::Path;
use std::sync::Arc;

use crate::clock::UnixSeconds;
use crate::identity::badge::{BadgeErrorKind, BadgeVerifyError};
use crate::identity::did::Did;
#[cfg(feature = "registry")]
use crate::identity::remote::{OnlineStatus, RevocationSync};
use crate::identity::resolve::{AgentStatus, RevocationFile, RevocationStatus, StatusSource};
use crate::identity::trust_level::TrustLevel;

/// From this level up an unknown revocation status denies, however the sources are arranged.
const FAIL_CLOSED: TrustLevel = TrustLevel::DomainValidated;

/// How revocation is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RevocationMode {
    /// A live source; its silence denies at every level.
    #[default]
    Online,
    /// A local list; when it is missing or stale, levels 2 to 4 are denied and lower ones pass with a warning.
    Offline,
    /// The live source first, the local list when it is silent.
    Hybrid,
    /// A copy of the issuer's list first, the live source when the copy is old, and for agents.
    Synced,
}

impl RevocationMode {
    /// The spelling in configurations.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Hybrid => "hybrid",
            Self::Synced => "synced",
        }
    }
}

/// The sources of revocation and agent status, and their mode.
///
/// Who is let in while the issuer cannot be reached; a badge that is known to be revoked, and an agent that is known to
/// be disabled, never is:
///
/// | mode | levels 2 to 4 | level 1 |
/// |---|---|---|
/// | online | as long as the live source remembers a good answer (10 s by default, 300 s at most), then nobody | the same |
/// | offline | while the list is at most [300 s](crate::identity::resolve::REVOCATION_MAX_STALENESS) old, then nobody | everybody, then with a warning |
/// | hybrid | as online, then as offline | as offline |
/// | synced | as offline, by the copy of the list that was made last | as offline |
///
/// "Nobody" is a refusal with [`BadgeErrorKind::RevocationCheckFailed`]; level 0 has no issuer to ask. Whether an agent
/// is disabled cannot be found out meanwhile: online refuses that too, the other modes let it pass with a warning. A
/// restart changes nothing of this for a list that is kept in a file, and forgets the answers of a live source.
#[derive(Clone, Debug)]
pub struct Revocations {
    mode: RevocationMode,
    first: Arc<dyn StatusSource>,
    /// What is asked where the first is silent.
    fallback: Option<Arc<dyn StatusSource>>,
}

impl Revocations {
    /// One live source, [`RevocationMode::Online`].
    #[must_use]
    pub fn online(source: Arc<dyn StatusSource>) -> Self {
        Self { mode: RevocationMode::Online, first: source, fallback: None }
    }

    /// A local list, [`RevocationMode::Offline`].
    #[must_use]
    pub fn offline(source: Arc<dyn StatusSource>) -> Self {
        Self { mode: RevocationMode::Offline, first: source, fallback: None }
    }

    /// A live source with a local list behind it, [`RevocationMode::Hybrid`].
    #[must_use]
    pub fn hybrid(online: Arc<dyn StatusSource>, offline: Arc<dyn StatusSource>) -> Self {
        Self { mode: RevocationMode::Hybrid, first: online, fallback: Some(offline) }
    }

    /// A copy of the issuers' lists with a live source behind it, [`RevocationMode::Synced`]. While the copy is fresh,
    /// badges are answered from memory; the live source is asked about agents, and about badges when the copy is old.
    #[must_use]
    pub fn synced(list: Arc<dyn StatusSource>, live: Arc<dyn StatusSource>) -> Self {
        Self { mode: RevocationMode::Synced, first: list, fallback: Some(live) }
    }

    /// What a service on the network usually wants: [`Self::synced`] with `list`, and a live source that makes its
    /// requests as the list does.
    ///
    /// ```no_run
    /// use rmcp_guard::identity::{badge::Revocations, fetch::Fetcher, remote::RevocationSync};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let list = RevocationSync::builder(Fetcher::new()?)
    ///     .issuer("https://registry.example.com")
    ///     .cache_dir("/var/cache/files-server/revocations")
    ///     .build()?;
    /// let revocations = Revocations::registry(list);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "registry")]
    #[must_use]
    pub fn registry(list: RevocationSync) -> Self {
        let live = OnlineStatus::new(list.fetcher().clone());
        Self::synced(Arc::new(list), Arc::new(live))
    }

    /// A local list in a [`RevocationFile`], [`RevocationMode::Offline`]. The file need not exist yet; until it does,
    /// levels 2 to 4 are denied.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::offline(Arc::new(RevocationFile::new(path)))
    }

    /// How the sources are asked.
    #[must_use]
    pub const fn mode(&self) -> RevocationMode {
        self.mode
    }

    /// The sources, in the order in which they are asked.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &dyn StatusSource> {
        std::iter::once(&self.first).chain(&self.fallback).map(|source| &**source)
    }

    /// Refuses a revoked badge and, where silence denies, one of unknown status.
    pub(super) async fn check_badge(
        &self,
        issuer: &str,
        jti: &str,
        level: TrustLevel,
        now: UnixSeconds,
        warnings: &mut Vec<&'static str>,
    ) -> Result<(), BadgeVerifyError> {
        let mut status = self.first.badge_status(issuer, jti, now).await;
        if let (RevocationStatus::Unknown, Some(fallback)) = (status, &self.fallback) {
            status = fallback.badge_status(issuer, jti, now).await;
        }
        match status {
            RevocationStatus::Good => Ok(()),
            RevocationStatus::Revoked => Err(BadgeVerifyError::new(BadgeErrorKind::Revoked, "the badge is revoked")),
            RevocationStatus::Unknown if self.mode == RevocationMode::Online => Err(unknown_status()),
            RevocationStatus::Unknown => pass_below_fail_closed(level, warnings),
        }
    }

    /// Refuses a disabled subject and, with a live source alone, one of unknown status.
    pub(super) async fn check_subject(
        &self,
        issuer: &str,
        subject: &Did,
        now: UnixSeconds,
        warnings: &mut Vec<&'static str>,
    ) -> Result<(), BadgeVerifyError> {
        let mut status = self.first.agent_status(issuer, subject, now).await;
        if let (AgentStatus::Unknown, Some(fallback)) = (status, &self.fallback) {
            status = fallback.agent_status(issuer, subject, now).await;
        }
        match status {
            AgentStatus::Active => Ok(()),
            AgentStatus::Disabled => {
                Err(BadgeVerifyError::new(BadgeErrorKind::AgentDisabled, "the subject is not active at its issuer"))
            }
            AgentStatus::Unknown if self.mode == RevocationMode::Online => Err(unknown_status()),
            // A revocation list says nothing about agents; the RFC asks for no more when there is no live source.
            AgentStatus::Unknown => {
                warnings.push("the status of the subject is unknown");
                Ok(())
            }
        }
    }
}

/// The rule of a missing or stale list, which is also the rule without any source.
pub(super) fn pass_below_fail_closed(
    level: TrustLevel,
    warnings: &mut Vec<&'static str>,
) -> Result<(), BadgeVerifyError> {
    if level >= FAIL_CLOSED {
        return Err(unknown_status());
    }
    warnings.push("revocation could not be checked");
    Ok(())
}

const fn unknown_status() -> BadgeVerifyError {
    BadgeVerifyError::new(BadgeErrorKind::RevocationCheckFailed, "nobody can say whether the badge still counts")
}
