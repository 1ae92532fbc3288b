//! The issuer's list of revoked badges, copied in the background.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock, UnixSeconds};
use crate::identity::background::Background;
use crate::identity::did::Did;
use crate::identity::fetch::{FetchError, Fetcher};
use crate::identity::health::SourceHealth;
use crate::identity::remote::revocation_cache::{CacheFile, prepare_directory};
use crate::identity::remote::revocation_list::{RevocationList, Running, Settings};
use crate::identity::resolve::{AgentStatus, MaybeReady, ResolveError, RevocationStatus, StatusSource};
use crate::identity::server::HttpOrigin;

/// How often the lists are brought up to date unless told otherwise.
pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(60);

/// Revoked badges of one issuer that are held unless told otherwise: about 300 MB, far more than live badges.
pub const DEFAULT_MAX_REVOCATIONS: usize = 20_000_000;

/// A copy of the list of revoked badges of one or more issuers, `{iss}/v1/revocations`. Clones share it; the work ends
/// with the last.
///
/// Each list is read in the background every [`DEFAULT_SYNC_INTERVAL`], incrementally, all of its pages; after a
/// failure again after 1 s, 2 s, 4 s and so on. A question about a badge
/// - that is listed is answered [`Revoked`](RevocationStatus::Revoked), however old the list is;
/// - that is not listed is answered [`Good`](RevocationStatus::Good) while the list is younger than
///   [`REVOCATION_MAX_STALENESS`](crate::identity::resolve::REVOCATION_MAX_STALENESS), and neither answer waits;
/// - otherwise waits for one sync, shared with all others and 10 s at most, unless the last one failed: then, and when
///   the list is still old after it, the answer is [`Unknown`](RevocationStatus::Unknown).
///
/// Other issuers' badges, and every agent, are [`Unknown`](RevocationStatus::Unknown) here.
///
/// # How old a list is
/// A list is dated by our clock, to when its first page was asked for, and never by the issuer's: a clock of the issuer
/// that is minutes ahead makes no list last longer, and one that is behind makes none useless. A steady clock counts too,
/// so that no list lasts longer for our clock being set back. The issuer's `syncedAt` has two tasks. It has to be later
/// than at the last sync, else the issuer (or a cache before it) has not looked since, and the list is as old as when this
/// `syncedAt` was first seen. And it has to be within 15 min of our time, else one of the two clocks cannot be relied on
/// and the list does not count.
#[derive(Clone, Debug)]
pub struct RevocationSync(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    lists: HashMap<String, Arc<RevocationList>>,
    /// By issuer. They know their lists and not us, so that dropping us ends them.
    tasks: Mutex<HashMap<String, Background>>,
}

/// Collects what makes a [`RevocationSync`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RevocationSyncBuilder {
    fetcher: Fetcher,
    issuers: Vec<String>,
    cache_dir: Option<PathBuf>,
    interval: Duration,
    max_entries: usize,
    clock: Arc<dyn Clock>,
}

/// A list could not be brought up to date, or its cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationSyncError {
    /// An issuer is not an https origin (http only on loopback).
    #[error("`{0}` is not an https origin")]
    Issuer(String),
    /// The list could not be fetched.
    #[error("the list of revocations could not be fetched")]
    Fetch(#[source] FetchError),
    /// What was fetched is not a list of revocations.
    #[error("the list of revocations is not one")]
    List,
    /// The pages of the list have no end, or lead back.
    #[error("the pages of the list of revocations have no end")]
    Cursor,
    /// The list has more entries than may be held.
    #[error("the list of revocations has more entries than allowed")]
    Full,
    /// The issuer's clock and ours are more than 15 min apart.
    #[error("the issuer's clock and ours are too far apart")]
    Clock,
    /// The issuer has not looked at its list for too long.
    #[error("the issuer's list of revocations is too old")]
    Old,
    /// The directory for the cache cannot be used.
    #[error("the cache of revocations cannot be used")]
    Cache(#[source] std::io::Error),
    /// The operating system gives no random numbers.
    #[error("no random numbers")]
    Randomness,
}

impl RevocationSyncError {
    /// The failure in fixed words, for the health.
    pub(super) const fn why(&self) -> &'static str {
        match self {
            Self::Issuer(_) => "the issuer is not an https origin",
            Self::Fetch(error) => error.kind().as_str(),
            Self::List => "the list is not one",
            Self::Cursor => "the pages of the list have no end",
            Self::Full => "the list has more entries than allowed",
            Self::Clock => "the issuer's clock and ours are too far apart",
            Self::Old => "the issuer's list is too old",
            Self::Cache(_) => "the cache cannot be used",
            Self::Randomness => "no random numbers",
        }
    }
}

impl RevocationSync {
    /// Starts with no issuer.
    pub fn builder(fetcher: Fetcher) -> RevocationSyncBuilder {
        RevocationSyncBuilder {
            fetcher,
            issuers: Vec::new(),
            cache_dir: None,
            interval: DEFAULT_SYNC_INTERVAL,
            max_entries: DEFAULT_MAX_REVOCATIONS,
            clock: Arc::new(SystemClock),
        }
    }

    /// Brings every list up to date now, one after the other. Fails outside of a tokio runtime. Cancel safe: what was read
    /// stays.
    ///
    /// # Errors
    /// The first [`RevocationSyncError`]; the lists of other issuers are brought up to date all the same.
    pub async fn sync_now(&self) -> Result<(), RevocationSyncError> {
        let mut outcome = Ok(());
        for list in self.0.lists.values() {
            outcome = outcome.and(list.sync().await);
        }
        outcome
    }

    /// Starts the synchronization in the background, on the runtime of the caller. It starts by itself with the first
    /// question that is asked inside a runtime, and so it does again when that runtime has ended.
    pub fn start(&self) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (issuer, list) in &self.0.lists {
            if tasks.get(issuer).is_none_or(Background::is_finished)
                && let Some(task) = Background::start(Running::new(list).keep())
            {
                tasks.insert(issuer.clone(), task);
            }
        }
    }

    /// How the list of `issuer` is doing; `None` for an issuer that was not named.
    #[must_use]
    pub fn health(&self, issuer: &str) -> Option<SourceHealth> {
        self.0.lists.get(issuer).map(|list| list.health())
    }

    /// How many revoked badges of `issuer` are known; `None` for an issuer that was not named.
    #[must_use]
    pub fn revoked_badges(&self, issuer: &str) -> Option<usize> {
        self.0.lists.get(issuer).map(|list| list.len())
    }

    /// What the lists are fetched with.
    pub(in crate::identity) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }
}

impl RevocationSyncBuilder {
    /// Copies the list of `issuer`, an origin word for word as in the badge's `iss`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Keeps the lists in this directory, so that a restart without the issuer knows what it knew. It is made for this
    /// user alone if it is not there; on Unix one that others can write to is refused. Two processes that share it
    /// overwrite each other's files, which costs writing and no truth.
    pub fn cache_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(directory.into());
        self
    }

    /// How often the lists are brought up to date, up to a tenth sooner; [`DEFAULT_SYNC_INTERVAL`] unless set, and at
    /// least 1 s. It bounds how long a revoked badge still passes.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_secs(1));
        self
    }

    /// How many revocations of one issuer are held at most; [`DEFAULT_MAX_REVOCATIONS`] unless set. A list with more
    /// does not count, so levels 2 to 4 are denied.
    pub fn max_revocations(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// The clock that dates the lists.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the issuers and reads what the cache has, on this thread; ten million entries take about a second. A cache
    /// that is damaged is left aside with a warning, and replaced by the next sync.
    ///
    /// # Errors
    /// [`RevocationSyncError::Issuer`], [`RevocationSyncError::Cache`] or [`RevocationSyncError::Randomness`].
    pub fn build(self) -> Result<RevocationSync, RevocationSyncError> {
        if let Some(directory) = &self.cache_dir {
            prepare_directory(directory).map_err(RevocationSyncError::Cache)?;
        }
        let mut lists = HashMap::new();
        for issuer in self.issuers {
            let origin = HttpOrigin::parse(&issuer).ok().filter(|origin| origin.is_tls() || origin.is_loopback());
            let origin = origin.ok_or_else(|| RevocationSyncError::Issuer(issuer.clone()))?;
            let list = RevocationList::open(Settings {
                base_url: origin.as_str().to_owned(),
                fetcher: self.fetcher.clone(),
                clock: Arc::clone(&self.clock),
                interval: self.interval,
                max_entries: self.max_entries,
                cache: self.cache_dir.as_deref().map(|directory| CacheFile::new(directory, &issuer)),
            });
            lists.insert(issuer, Arc::new(list.ok_or(RevocationSyncError::Randomness)?));
        }
        Ok(RevocationSync(Arc::new(Inner { fetcher: self.fetcher, lists, tasks: Mutex::default() })))
    }
}

impl StatusSource for RevocationSync {
    fn badge_status<'a>(&'a self, issuer: &'a str, jti: &'a str, now: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        let Some(list) = self.0.lists.get(issuer) else { return MaybeReady::ready(RevocationStatus::Unknown) };
        let status = list.status(jti, now);
        if !list.is_running() {
            self.start();
        }
        // Outside a runtime nobody would wake us; while the issuer is failing the wait would be for nothing.
        if status != RevocationStatus::Unknown || !list.is_running() || list.is_failing() {
            return MaybeReady::ready(status);
        }
        MaybeReady::Wait(Box::pin(list.synced_status(jti, now)))
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
            let synced = self.sync_now().await;
            // from now on it keeps itself up to date, or goes on trying
            self.start();
            synced.map_err(|_| ResolveError::new("the list of revocations"))
        }))
    }

    fn health(&self, issuer: &str) -> Option<SourceHealth> {
        Self::health(self, issuer)
    }
}
