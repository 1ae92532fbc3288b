//! Revocation and status: which sources are asked, and what their silence means (RFC-002 verification steps
//! 8 and 9).

use std::path::Path;
use std::sync::Arc;

use crate::clock::UnixSeconds;
use crate::identity::badge::{BadgeErrorKind, BadgeVerifyError};
use crate::identity::did::Did;
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
}

impl RevocationMode {
    /// The spelling in configurations.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Hybrid => "hybrid",
        }
    }
}

/// The sources of revocation and agent status, and their mode.
#[derive(Clone, Debug)]
pub struct Revocations {
    mode: RevocationMode,
    first: Arc<dyn StatusSource>,
    /// The list behind a live source, in hybrid mode.
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
