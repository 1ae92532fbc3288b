//! The copy of one issuer's list: reading it page by page, and how old it is.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::{Clock, UnixSeconds};
use crate::identity::fetch::{FetchError, FetchErrorKind, FetchRequest, Fetcher};
use crate::identity::health::SourceHealth;
use crate::identity::remote::escape;
use crate::identity::remote::moment::{backoff, random_below};
use crate::identity::remote::revocation_cache::{CacheFile, Mark};
use crate::identity::remote::revocation_sync::RevocationSyncError;
use crate::identity::remote::revoked_set::RevokedSet;
use crate::identity::resolve::{REVOCATION_MAX_STALENESS, RevocationPage, RevocationStatus, is_fresh};

/// Revocations that are asked for in one page.
pub const REVOCATION_PAGE_ENTRIES: usize = 1000;

/// The largest page: 4 KiB for each entry that was asked for.
pub const MAX_REVOCATION_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The longest cursor that is sent back.
pub const MAX_CURSOR_BYTES: usize = 1024;

/// How far an issuer's clock may be from ours; its list does not count beyond. See [`RevocationSync`] for the reason.
///
/// [`RevocationSync`]: crate::identity::remote::RevocationSync
pub const MAX_ISSUER_CLOCK_DIFFERENCE: Duration = Duration::from_secs(15 * 60);

/// An incremental read begins this long before the last one ended, by the issuer's clock: revocations that were being
/// written then, and those of a clock that was put back, which can be from one end of what counts to the other.
const OVERLAP: Duration = MAX_ISSUER_CLOCK_DIFFERENCE.saturating_mul(2);

/// An issuer's clock that went back by more than this makes the next read one from the beginning.
const MAX_STEP_BACK: Duration = Duration::from_secs(5 * 60);

/// A list is read from its beginning this often, in case an entry was dated back.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that reading all pages may take.
const MAX_SYNC: Duration = Duration::from_secs(15 * 60);

/// The longest that a question waits for a list to be brought up to date.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Between two syncs, however many questions ask for one.
const MIN_GAP: Duration = Duration::from_secs(1);

const JSON: &[&str] = &["application/json"];

/// No list was ever complete.
const NEVER: i64 = i64::MIN;

#[derive(Debug)]
pub(super) struct RevocationList {
    /// Without a path, and without a slash at the end.
    base_url: String,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    interval: Duration,
    max_entries: usize,
    set: RevokedSet,
    entries: AtomicUsize,
    /// Written after the entries that it speaks for, and read before them.
    synced_at: AtomicI64,
    opened: Instant,
    /// Until when the list counts by the monotonic clock, in seconds from `opened`: a wall clock that is set back makes no
    /// list last longer.
    counts_until: AtomicU64,
    state: Mutex<State>,
    /// Whether there is a [`Running`].
    running: AtomicBool,
    /// One sync at a time.
    syncing: tokio::sync::Mutex<()>,
    /// A question wants a sync before the next one is due.
    wanted: Notify,
    /// Counts the syncs that have ended.
    ended: watch::Sender<u64>,
    cache: Option<Mutex<CacheFile>>,
}

#[derive(Debug, Default)]
struct State {
    mark: Option<Mark>,
    /// Entries that the cache does not have yet.
    unsaved: Vec<u64>,
    failures: u32,
    failing_since: Option<UnixSeconds>,
    last_error: Option<&'static str>,
    retry_after: Option<Duration>,
    next_attempt: Option<UnixSeconds>,
    cache_failing: bool,
}

/// What a list is made from.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) base_url: String,
    pub(super) fetcher: Fetcher,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Duration,
    pub(super) max_entries: usize,
    pub(super) cache: Option<CacheFile>,
}

struct PageEnd {
    synced_at: UnixSeconds,
    next_cursor: Option<String>,
}

impl RevocationList {
    /// What the cache has, or an empty list. `None` without randomness.
    pub(super) fn open(settings: Settings) -> Option<Self> {
        let Settings { base_url, fetcher, clock, interval, max_entries, cache } = settings;
        let loaded = cache.as_ref().and_then(|cache| match cache.load(max_entries) {
            Ok(loaded) => loaded,
            Err(error) => {
                let path = cache.path().display();
                tracing::warn!(%path, %error, "the cache of revocations is not used; it will be replaced");
                None
            }
        });
        let (set, mark) = match loaded {
            Some(loaded) => (loaded.set, loaded.mark),
            None => (RevokedSet::random()?, None),
        };
        let now = clock.now_unix();
        let age = mark.map(|mark| age(mark.synced_at, now).unwrap_or_default());
        let rest = age.map_or(Duration::ZERO, |age| REVOCATION_MAX_STALENESS.saturating_sub(age));
        Some(Self {
            base_url,
            fetcher,
            clock,
            interval,
            max_entries,
            entries: AtomicUsize::new(set.len()),
            set,
            synced_at: AtomicI64::new(mark.map_or(NEVER, |mark| mark.synced_at.as_i64())),
            opened: Instant::now(),
            counts_until: AtomicU64::new(rest.as_secs()),
            state: Mutex::new(State { mark, ..State::default() }),
            running: AtomicBool::new(false),
            syncing: tokio::sync::Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::default(),
            cache: cache.map(Mutex::new),
        })
    }

    /// What the copy says, without waiting.
    pub(super) fn status(&self, jti: &str, now: UnixSeconds) -> RevocationStatus {
        // Before the look into the set: entries that come with a later sync must not be missed under its date.
        let synced_at = self.synced_at.load(Ordering::Acquire);
        if self.set.contains(self.set.hash(jti)) {
            RevocationStatus::Revoked
        } else if synced_at != NEVER && is_fresh(UnixSeconds::new(synced_at), now) && !self.has_run_out() {
            RevocationStatus::Good
        } else {
            RevocationStatus::Unknown
        }
    }

    /// Whether the list is too old by the monotonic clock, whatever the wall clock says.
    fn has_run_out(&self) -> bool {
        self.opened.elapsed().as_secs() > self.counts_until.load(Ordering::Relaxed)
    }

    /// The number of revoked badges that the copy holds.
    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn is_failing(&self) -> bool {
        self.state().failing_since.is_some()
    }

    /// What the copy says when a sync has ended, which is made to happen soon, or after [`MAX_WAIT`]; outside of a runtime,
    /// what it says now.
    pub(super) async fn synced_status(&self, jti: &str, now: UnixSeconds) -> RevocationStatus {
        let mut ended = self.ended.subscribe();
        // A sync may have ended since somebody looked: nobody would wake us before the next.
        let status = self.status(jti, now);
        // The work may go on in a runtime that is not the caller's; a timer of ours cannot.
        if status != RevocationStatus::Unknown || self.is_failing() || Handle::try_current().is_err() {
            return status;
        }
        self.wanted.notify_one();
        // Neither the time running out nor a closed channel is news: the copy says what it says.
        let _ = timeout(MAX_WAIT, ended.changed()).await;
        self.status(jti, now)
    }

    /// Whether the list is brought up to date in the background.
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// How long to wait for the next sync, and whether the last one failed.
    fn plan_next(&self) -> (Duration, bool) {
        let mut state = self.state();
        let failed = state.failures > 0;
        let delay = if failed {
            let asked = state.retry_after.unwrap_or_default().min(REVOCATION_MAX_STALENESS);
            backoff(state.failures).min(self.interval).max(asked)
        } else {
            // Up to a tenth less, so that replicas which started together do not ask together.
            self.interval.saturating_sub(random_below(self.interval.checked_div(10).unwrap_or_default()))
        };
        state.next_attempt = Some(self.clock.now_unix().saturating_add(delay));
        (delay, failed)
    }

    /// Brings the copy up to date.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), RevocationSyncError> {
        if Handle::try_current().is_err() {
            return Err(RevocationSyncError::Fetch(FetchError::new(FetchErrorKind::Connect)));
        }
        let _one = self.syncing.lock().await;
        let (asked_at, asked) = (self.clock.now_unix(), Instant::now());
        let read = timeout(MAX_SYNC, self.read_list(asked_at)).await;
        let outcome = match read {
            Ok(read) => read.and_then(|mark| self.complete(mark, asked)),
            Err(_) => Err(RevocationSyncError::Fetch(FetchError::new(FetchErrorKind::Timeout))),
        };
        self.note(asked_at, outcome.as_ref().err());
        if outcome.is_ok() {
            self.save().await;
        }
        self.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
        outcome
    }

    /// Reads every page since the last time, or all there are.
    async fn read_list(self: &Arc<Self>, asked_at: UnixSeconds) -> Result<Mark, RevocationSyncError> {
        self.state().retry_after = None;
        let known = self.state().mark;
        let since = known.filter(|mark| is_within(mark.full_at, asked_at, FULL_READ_INTERVAL));
        let first = self.read_pages(since.map(|mark| mark.read_until)).await?;
        let (issuer_time, full_at) = match since {
            // What was revoked since then carries dates before the ones that were asked for.
            Some(mark) if first.saturating_add(MAX_STEP_BACK) < mark.read_until => {
                (self.read_pages(None).await?, asked_at)
            }
            Some(mark) => (first, mark.full_at),
            None => (first, asked_at),
        };
        let (synced_at, newest) = match known {
            // The issuer has not looked at its list since: the answer is as old as when it was first seen.
            Some(mark) if issuer_time <= mark.newest => (mark.synced_at, mark.newest),
            _ => (asked_at, issuer_time),
        };
        Ok(Mark { synced_at, newest, read_until: issuer_time, full_at })
    }

    /// Follows the cursor to its end; the earliest `syncedAt` of the pages.
    async fn read_pages(self: &Arc<Self>, since: Option<UnixSeconds>) -> Result<UnixSeconds, RevocationSyncError> {
        let since = since.map_or(UnixSeconds::new(0), |since| since.saturating_sub(OVERLAP));
        let first_url = format!(
            "{}/v1/revocations?since={}&limit={REVOCATION_PAGE_ENTRIES}",
            self.base_url,
            escape::data(&rfc3339(since)),
        );
        // Twice as many as full ones would be, for issuers that give less than they are asked for.
        let max_pages = (self.max_entries / REVOCATION_PAGE_ENTRIES).saturating_mul(2).saturating_add(16);
        let mut url = first_url.clone();
        let mut cursors = HashSet::new();
        let mut synced_at = None;
        for _ in 0..max_pages {
            let page = self.read_page(&url).await?;
            let now = self.clock.now_unix();
            if !is_within(page.synced_at, now, MAX_ISSUER_CLOCK_DIFFERENCE)
                && !is_within(now, page.synced_at, MAX_ISSUER_CLOCK_DIFFERENCE)
            {
                return Err(RevocationSyncError::Clock);
            }
            let earliest = synced_at.map_or(page.synced_at, |earliest: UnixSeconds| earliest.min(page.synced_at));
            synced_at = Some(earliest);
            let Some(cursor) = page.next_cursor else { return Ok(earliest) };
            if cursor.len() > MAX_CURSOR_BYTES || !cursors.insert(self.set.hash(&cursor)) {
                return Err(RevocationSyncError::Cursor);
            }
            url = format!("{first_url}&cursor={}", escape::data(&cursor));
        }
        Err(RevocationSyncError::Cursor)
    }

    async fn read_page(self: &Arc<Self>, url: &str) -> Result<PageEnd, RevocationSyncError> {
        let request = FetchRequest::get(url).accept(JSON).max_bytes(MAX_REVOCATION_PAGE_BYTES);
        let response = self.fetcher.send(request).await.map_err(RevocationSyncError::Fetch)?;
        if response.status != 200 {
            self.state().retry_after = response.retry_after;
            return Err(RevocationSyncError::Fetch(FetchError::new(FetchErrorKind::Status(response.status))));
        }
        // A page is milliseconds of parsing and hashing: not on a thread that answers calls.
        let list = Arc::clone(self);
        let taken = spawn_blocking(move || list.take_page(&response.body)).await;
        taken.unwrap_or(Err(RevocationSyncError::List))
    }

    /// What is read counts as revoked at once; that the list is complete is said when all pages were read.
    fn take_page(&self, body: &[u8]) -> Result<PageEnd, RevocationSyncError> {
        let page = RevocationPage::parse(body).ok_or(RevocationSyncError::List)?;
        let (mut new, mut is_full) = (Vec::new(), false);
        for id in page.ids() {
            let hash = self.set.hash(id);
            if self.set.contains(hash) {
                continue;
            }
            is_full = self.entries.load(Ordering::Relaxed).saturating_add(new.len()) >= self.max_entries;
            if is_full {
                break;
            }
            if self.set.insert(hash) {
                new.push(hash);
            }
        }
        // Also of a list that is too long: what is not counted would never be full, nor come into the cache.
        self.entries.fetch_add(new.len(), Ordering::Relaxed);
        if self.cache.is_some() {
            self.state().unsaved.extend(new);
        }
        if is_full {
            return Err(RevocationSyncError::Full);
        }
        Ok(PageEnd { synced_at: page.synced_at, next_cursor: page.next_cursor().map(str::to_owned) })
    }

    /// All pages were read, of which the first was `asked` for then.
    fn complete(&self, mark: Mark, asked: Instant) -> Result<(), RevocationSyncError> {
        let mut state = self.state();
        if state.mark.is_none_or(|known| mark.newest > known.newest) {
            let until = asked.saturating_duration_since(self.opened).saturating_add(REVOCATION_MAX_STALENESS);
            self.counts_until.store(until.as_secs(), Ordering::Relaxed);
        }
        state.mark = Some(mark);
        drop(state);
        self.synced_at.store(mark.synced_at.as_i64(), Ordering::Release);
        let counts = is_fresh(mark.synced_at, self.clock.now_unix()) && !self.has_run_out();
        if counts { Ok(()) } else { Err(RevocationSyncError::Old) }
    }

    /// Keeps how it went for the health, and says it once.
    fn note(&self, asked_at: UnixSeconds, error: Option<&RevocationSyncError>) {
        let mut state = self.state();
        let issuer = &self.base_url;
        if let Some(error) = error {
            let why = error.why();
            if state.failing_since.is_none() {
                tracing::warn!(%issuer, why, "the list of revocations could not be brought up to date");
            }
            state.failures = state.failures.saturating_add(1);
            state.failing_since.get_or_insert(asked_at);
            state.last_error = Some(why);
        } else {
            if state.failing_since.is_some() {
                tracing::info!(%issuer, "the list of revocations is up to date again");
            }
            state.failures = 0;
            (state.failing_since, state.last_error) = (None, None);
        }
    }

    async fn save(self: &Arc<Self>) {
        if self.cache.is_none() {
            return;
        }
        let list = Arc::clone(self);
        // A panic or a runtime that ends leaves the file as it was.
        let _ = spawn_blocking(move || list.save_now()).await;
    }

    fn save_now(&self) {
        let Some(cache) = &self.cache else { return };
        // First, so that saves which overlap write in the order in which they take: a mark speaks for all before it.
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (mark, new) = {
            let mut state = self.state();
            (state.mark, std::mem::take(&mut state.unsaved))
        };
        let Some(mark) = mark else { return };
        // After a failure the file is written anew from the set, so nothing of `new` is lost.
        let saved = cache.save(&self.set, &new, mark);
        let mut state = self.state();
        if let Err(error) = &saved
            && !state.cache_failing
        {
            tracing::warn!(issuer = %self.base_url, %error, "the cache of revocations could not be written");
        }
        state.cache_failing = saved.is_err();
    }

    pub(super) fn health(&self) -> SourceHealth {
        let state = self.state();
        let last_success = state.mark.map(|mark| mark.synced_at);
        SourceHealth {
            last_success,
            failing_since: state.failing_since,
            last_error: state.last_error,
            good_until: last_success
                .filter(|_| !self.has_run_out())
                .map(|at| at.saturating_add(REVOCATION_MAX_STALENESS)),
            next_attempt: state.next_attempt.filter(|_| self.is_running()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves every member meaningful by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work of a list in the background. Dropped, however it ends, it says so.
#[derive(Debug)]
pub(super) struct Running(Arc<RevocationList>);

impl Running {
    pub(super) fn new(list: &Arc<RevocationList>) -> Self {
        list.running.store(true, Ordering::Relaxed);
        Self(Arc::clone(list))
    }

    /// Syncs for ever.
    pub(super) async fn keep(self) {
        let list = &self.0;
        // What was read a moment ago, by us or by the process before, is due when it would have been; and work that
        // failed, by a panic too, is not begun anew with every question.
        let known = list.state().mark.and_then(|mark| age(mark.synced_at, list.clock.now_unix()));
        if list.is_failing() {
            sleep(list.plan_next().0).await;
        } else if let Some(left) = known.and_then(|age| list.interval.checked_sub(age)) {
            let _ = timeout(left, list.wanted.notified()).await;
        }
        loop {
            // The state and the log have what went wrong.
            let _ = list.sync().await;
            let (delay, failed) = list.plan_next();
            if failed {
                sleep(delay).await;
            } else {
                sleep(MIN_GAP).await;
                let _ = timeout(delay.saturating_sub(MIN_GAP), list.wanted.notified()).await;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Without a word to the log and a look at the clock, which may be what panicked.
            let mut state = self.0.state();
            state.failures = state.failures.saturating_add(1);
            let since = state.mark.map_or(UnixSeconds::new(0), |mark| mark.synced_at);
            state.failing_since.get_or_insert(since);
            state.last_error = Some("the sync panicked");
        }
        self.0.running.store(false, Ordering::Relaxed);
    }
}

/// Whether `then` is not after `now`, nor longer ago than `limit`.
fn is_within(then: UnixSeconds, now: UnixSeconds, limit: Duration) -> bool {
    then <= now && now <= then.saturating_add(limit)
}

/// From `then` to `now`; `None` for a time that lies ahead.
fn age(then: UnixSeconds, now: UnixSeconds) -> Option<Duration> {
    u64::try_from(now.as_i64().saturating_sub(then.as_i64())).ok().map(Duration::from_secs)
}

fn rfc3339(time: UnixSeconds) -> String {
    // Beyond the year 9999 the formatter fails, and `to_string` with it.
    let seconds = u64::try_from(time.as_i64()).unwrap_or(0).min(253_402_300_799);
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    humantime::format_rfc3339_seconds(time.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::{FixedClock, TEST_NOW};

    fn list(clock: &Arc<FixedClock>) -> RevocationList {
        RevocationList::open(Settings {
            base_url: "https://registry.example.com".to_owned(),
            fetcher: Fetcher::new().unwrap(),
            clock: Arc::<FixedClock>::clone(clock),
            interval: Duration::from_secs(60),
            max_entries: 10,
            cache: None,
        })
        .unwrap()
    }

    /// Attack: the issuer is cut off and our clock is set back, so that the last list stays young.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_keeps_no_list_alive() {
        let clock = Arc::new(FixedClock::new(TEST_NOW));
        let list = list(&clock);
        let mark = |newest| Mark { synced_at: clock.now_unix(), newest, read_until: newest, full_at: TEST_NOW };
        list.complete(mark(TEST_NOW), Instant::now()).unwrap();
        // an hour goes by, and the clock that was set back by one says what it said then
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(list.status("x", TEST_NOW), RevocationStatus::Good);
        assert!(list.health().is_good_at(TEST_NOW));
        tokio::time::advance(Duration::from_secs(3300)).await;
        assert_eq!(list.status("x", TEST_NOW), RevocationStatus::Unknown);
        assert!(!list.health().is_good_at(TEST_NOW));
        // the same list once more is no news, a later one is
        assert!(matches!(list.complete(mark(TEST_NOW), Instant::now()), Err(RevocationSyncError::Old)));
        assert_eq!(list.status("x", TEST_NOW), RevocationStatus::Unknown);
        list.complete(mark(TEST_NOW.saturating_add(Duration::from_secs(1))), Instant::now()).unwrap();
        assert_eq!(list.status("x", TEST_NOW), RevocationStatus::Good);
    }
}
