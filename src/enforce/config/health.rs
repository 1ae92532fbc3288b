//! How a guard's sources are doing, and asking them before the first call does.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use serde_json::{Value, json};

use crate::clock::UnixSeconds;
use crate::enforce::config::GuardConfig;
use crate::evidence::EvidenceHealth;
use crate::identity::badge::Revocations;
use crate::identity::health::SourceHealth;
use crate::identity::trust_store::Issuer;

/// What a source answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// The keys of an issuer.
    Keys,
    /// Whether badges are revoked and their subjects active.
    Revocations,
}

impl SourceKind {
    /// The spelling in JSON and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Revocations => "revocations",
        }
    }
}

/// How one source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceReport {
    /// What it answers.
    pub kind: SourceKind,
    /// The issuer it answers for.
    pub issuer: String,
    /// How it is doing.
    pub health: SourceHealth,
}

/// How a guard is doing: its evidence, and the sources that it asks over the network. It names issuers and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardHealth {
    /// When this was so.
    pub at: UnixSeconds,
    /// One for each source and issuer; none for a guard whose keys and lists are files.
    pub sources: Vec<SourceReport>,
    /// The log that every decision goes to. Once it has failed every call is denied, or in best-effort mode unrecorded.
    pub evidence: EvidenceHealth,
}

impl GuardHealth {
    /// Whether evidence can be kept, and published too, and every source has answers that count now. `false` before
    /// anything was asked: a guard that answers requests from its first moment on is [warmed up](GuardConfig::warm_up)
    /// before.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let evidence = !self.evidence.failed && !self.evidence.log.is_some_and(|log| log.tiles_failing);
        evidence && self.sources.iter().all(|source| source.health.is_good_at(self.at))
    }

    /// The same as JSON, for a health endpoint of the operator's: `good`, `at`, `evidence` with the members of
    /// [`EvidenceHealth`], and `sources` with those of [`SourceHealth`]. Times are Unix seconds; `behind_ms` is how long
    /// there have been entries that no published checkpoint covers.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let time = |time: Option<UnixSeconds>| time.map(UnixSeconds::as_i64);
        let sources = self.sources.iter().map(|SourceReport { kind, issuer, health }| {
            json!({
                "source": kind.as_str(),
                "issuer": issuer,
                "good": health.is_good_at(self.at),
                "last_success": time(health.last_success),
                "failing_since": time(health.failing_since),
                "last_error": health.last_error,
                "good_until": time(health.good_until),
                "next_attempt": time(health.next_attempt),
            })
        });
        json!({
            "good": self.is_good(),
            "at": self.at.as_i64(),
            "evidence": evidence_json(&self.evidence),
            "sources": sources.collect::<Vec<_>>(),
        })
    }
}

fn evidence_json(health: &EvidenceHealth) -> Value {
    let log = health.log.map(|log| {
        json!({
            "durable": log.durable,
            "published": log.published,
            "sealed": log.sealed,
            "witnessed": log.witnessed,
            "behind_ms": u64::try_from(log.behind.as_millis()).unwrap_or(u64::MAX),
            "tiles_failing": log.tiles_failing,
            "wal_bytes": log.wal_bytes,
            "free_bytes": log.free_bytes,
            "disk_low": log.disk_low,
        })
    });
    json!({
        "failed": health.failed,
        "records": health.records,
        "queued": health.queued,
        "dropped": health.dropped,
        "coalesced": health.coalesced,
        "log": log,
    })
}

/// A source that had no answer when it was warmed up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingSource {
    /// What it answers.
    pub kind: SourceKind,
    /// The issuer it answers for.
    pub issuer: String,
    /// Why, in fixed words, if it says so.
    pub reason: Option<&'static str>,
}

/// Sources that had no answer when the guard was warmed up. It can start all the same: what needs them is denied until
/// they have one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUpError {
    missing: Vec<MissingSource>,
}

impl WarmUpError {
    /// The sources; never empty.
    #[must_use]
    pub fn missing(&self) -> &[MissingSource] {
        &self.missing
    }
}

impl fmt::Display for WarmUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not every source could be asked")?;
        for (number, source) in self.missing.iter().enumerate() {
            let start = if number == 0 { ": " } else { "; " };
            write!(f, "{start}{} of {}", source.kind.as_str(), source.issuer)?;
            if let Some(reason) = source.reason {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for WarmUpError {}

type Asked<'a> = Pin<Box<dyn Future<Output = Vec<MissingSource>> + Send + 'a>>;

impl GuardConfig {
    /// Asks every source for what it would be asked with the first call, all at the same time: issuers' keys and lists of
    /// revocations. Without it they are asked by the first call that needs them, which waits.
    ///
    /// Takes as long as the slowest source's own time limit, and starts what works in the background. A copy of several
    /// issuers' lists is one source here, and reads them one after the other. Cancel safe.
    ///
    /// # Errors
    /// [`WarmUpError`] names the sources without an answer. Whether that keeps a server from starting is its caller's
    /// choice: `if let Err(missing) = config.warm_up().await { warn!(%missing) }` serves anonymous calls meanwhile, and the
    /// sources go on trying.
    pub async fn warm_up(&self) -> Result<(), WarmUpError> {
        let missing = |kind, issuer: &Issuer, health: Option<SourceHealth>| MissingSource {
            kind,
            issuer: issuer.origin().to_owned(),
            reason: health.and_then(|health| health.last_error),
        };
        let mut asked: Vec<Asked<'_>> = Vec::new();
        for issuer in &self.inner.issuers {
            asked.push(Box::pin(async move {
                match issuer.keys(None).await {
                    Ok(_) => Vec::new(),
                    Err(_) => vec![missing(SourceKind::Keys, issuer, issuer.health())],
                }
            }));
        }
        for source in self.inner.revocations.iter().flat_map(Revocations::sources) {
            asked.push(Box::pin(async move {
                if source.refresh().await.is_ok() {
                    return Vec::new();
                }
                let now = self.inner.clock.now_unix();
                let mut failing = Vec::new();
                for issuer in &self.inner.issuers {
                    let health = source.health(issuer.origin());
                    if !health.as_ref().is_some_and(|health| health.is_good_at(now)) {
                        failing.push(missing(SourceKind::Revocations, issuer, health));
                    }
                }
                failing
            }));
        }
        let missing: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        if missing.is_empty() { Ok(()) } else { Err(WarmUpError { missing }) }
    }

    /// How the evidence log is doing, and the sources that are asked over the network. Asks nobody, and waits for nothing.
    #[must_use]
    pub fn health(&self) -> GuardHealth {
        let mut sources = Vec::new();
        for issuer in &self.inner.issuers {
            let name = || issuer.origin().to_owned();
            let lists = self.inner.revocations.iter().flat_map(Revocations::sources);
            let keys = issuer.health().map(|health| (SourceKind::Keys, health));
            let lists = lists.filter_map(|list| Some((SourceKind::Revocations, list.health(issuer.origin())?)));
            sources.extend(keys.into_iter().chain(lists).map(|(kind, health)| SourceReport {
                kind,
                issuer: name(),
                health,
            }));
        }
        GuardHealth { at: self.inner.clock.now_unix(), sources, evidence: self.inner.evidence.health() }
    }
}

/// Waits for all of `work` at once, in this task.
async fn join_all<T>(mut work: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut done = Vec::with_capacity(work.len());
    poll_fn(|cx| {
        work.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if work.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}

#[cfg(test)]
mod tests;
