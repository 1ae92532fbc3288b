//! The keys of an issuer, from its JWK set (RFC 7517 §5).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::{Clock, SystemClock, UnixSeconds};
use crate::identity::background::Background;
use crate::identity::fetch::{FetchError, FetchErrorKind, Fetcher};
use crate::identity::health::SourceHealth;
use crate::identity::jwks::{JwkSet, MAX_JWKS_BYTES};
use crate::identity::remote::flight::{Flight, Landing};
use crate::identity::remote::moment::{Moment, backoff, random_below};
use crate::identity::resolve::{KeySource, MaybeReady, ResolveError};

/// How long a JWK set counts as fresh, by default; the peer's cache time.
pub const JWKS_LIFETIME: Duration = Duration::from_secs(300);

/// How long a JWK set still counts after its lifetime while the issuer cannot be reached, by default: an outage of an
/// hour stops nobody, and a key that was withdrawn because it leaked does not count for a day.
pub const JWKS_MAX_STALE: Duration = Duration::from_secs(3600);

/// The least time between two fetches for a key id that the set at hand does not have. Anybody can name such an id.
pub const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(10);

/// A shorter lifetime would be a flood of our own.
const MIN_LIFETIME: Duration = Duration::from_secs(1);

const MEDIA: &[&str] = &["application/json", "application/jwk-set+json"];

const UNAVAILABLE: ResolveError = ResolveError::new("the issuer's keys");

/// The JWK set of one issuer, kept fresh. Clones share it.
///
/// | the set at hand | a call with a key of it | a call with an unknown `kid` |
/// |---|---|---|
/// | fresh | is answered at once | fetches once, then waits out [`UNKNOWN_KEY_COOLDOWN`] with an error |
/// | past its lifetime | waits for a fetch; at once with the old set while fetches fail, until [`JWKS_MAX_STALE`] | fails while fetches fail |
/// | none, or older than that | waits for a fetch; fails at once while fetches fail | the same |
///
/// From the first question on, a task fetches the set anew after about four fifths of its lifetime, so that callers of an
/// issuer that answers never wait again. What a stranger's unknown `kid` may cause is counted apart and cannot delay it.
/// The set that was fetched last is the only one: a key that the issuer withdrew is gone with the next fetch. An answer
/// that is no JWK set, or has no usable key, counts as a failure and replaces nothing.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    inner: Arc<Inner>,
}

impl RemoteKeys {
    /// The keys at `{origin}/.well-known/jwks.json`. Nothing is fetched before somebody asks.
    #[must_use]
    pub fn new(origin: &str, fetcher: Fetcher) -> Self {
        let url = format!("{}/.well-known/jwks.json", origin.strip_suffix('/').unwrap_or(origin));
        let (lifetime, max_stale) = (JWKS_LIFETIME, JWKS_MAX_STALE);
        Self::with_settings(Settings { url, fetcher, clock: Arc::new(SystemClock), lifetime, max_stale })
    }

    fn with_settings(settings: Settings) -> Self {
        let (held, state) = (ArcSwapOption::empty(), Mutex::default());
        Self { inner: Arc::new(Inner { settings, held, state }) }
    }

    /// How long a set counts as fresh, at least 1 s; [`JWKS_LIFETIME`] by default. The new source starts without a set.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self::with_settings(Settings { lifetime: lifetime.max(MIN_LIFETIME), ..self.inner.settings.clone() })
    }

    /// How long a set still counts after its lifetime while the issuer cannot be reached; [`JWKS_MAX_STALE`] by default.
    /// The new source starts without a set.
    #[must_use]
    pub fn with_max_stale(self, max_stale: Duration) -> Self {
        Self::with_settings(Settings { max_stale, ..self.inner.settings.clone() })
    }

    /// The clock that ages the set, beside the monotonic one. The new source starts without a set.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::with_settings(Settings { clock, ..self.inner.settings.clone() })
    }

    /// Fetches the set now, whatever is at hand; a fetch that began before this call does not count. Cancel safe: the
    /// fetch goes on in the background.
    ///
    /// # Errors
    /// [`FetchError`]; its kind is [`FetchErrorKind::Body`] for an answer that is no JWK set with a usable key.
    pub async fn refresh(&self) -> Result<(), FetchError> {
        if let Some(earlier) = self.inner.under_way() {
            earlier.outcome().await;
        }
        let landing = self.inner.refresh();
        let outcome = match landing {
            Some(landing) => landing.outcome().await,
            None => None,
        };
        outcome.unwrap_or(Err(FetchError::new(FetchErrorKind::Connect))).map(drop)
    }

    /// How the source is doing.
    #[must_use]
    pub fn health(&self) -> SourceHealth {
        self.inner.health()
    }
}

impl KeySource for RemoteKeys {
    fn keys<'a>(&'a self, kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.inner.ask(Wanted::Key(kid))
    }

    fn newer_keys<'a>(&'a self, seen: &'a Arc<JwkSet>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.inner.ask(Wanted::Newer(seen))
    }

    fn health(&self) -> Option<SourceHealth> {
        Some(Self::health(self))
    }
}

#[derive(Clone, Debug)]
struct Settings {
    url: String,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    max_stale: Duration,
}

/// What one fetch brought, shared by all who waited for it.
type Outcome = Result<Arc<Held>, FetchError>;

impl Settings {
    async fn fetch(&self) -> Outcome {
        // Before the request: the answer may be this old when it arrives.
        let asked = Moment::now(&*self.clock);
        let body = self.fetcher.get(&self.url, MEDIA, MAX_JWKS_BYTES).await?;
        let keys = JwkSet::parse(&body).ok().filter(|keys| !keys.is_empty());
        let keys = Arc::new(keys.ok_or(FetchError::new(FetchErrorKind::Body))?);
        // Between 75 and 85 per cent, so that the verifiers of one issuer spread out.
        let refresh_after = self.lifetime.mul_f64(0.75).saturating_add(random_below(self.lifetime.mul_f64(0.1)));
        Ok(Arc::new(Held { keys, asked, refresh_after }))
    }
}

#[derive(Debug)]
struct Held {
    keys: Arc<JwkSet>,
    asked: Moment,
    refresh_after: Duration,
}

impl Held {
    fn answers(&self, wanted: Wanted<'_>) -> bool {
        match wanted {
            Wanted::Key(kid) => self.keys.candidates(kid).next().is_some(),
            Wanted::Newer(seen) => !Arc::ptr_eq(&self.keys, seen),
        }
    }
}

/// What a caller asks of the set.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// To have the key of this `kid`, or any key.
    Key(Option<&'a str>),
    /// To be another than this one.
    Newer(&'a Arc<JwkSet>),
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    held: ArcSwapOption<Held>,
    /// Held for moments only, never while something is awaited.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    flight: Option<Flight<Outcome>>,
    schedule: Option<Background>,
    /// The last fetch for an unknown `kid`: its budget is its own (S26).
    demanded: Option<Moment>,
    /// Scheduled fetches are failing; there is one more after the pause.
    retry: Option<Retry>,
    failing_since: Option<UnixSeconds>,
    last_error: Option<&'static str>,
}

#[derive(Debug)]
struct Retry {
    failures: u32,
    failed: Moment,
    pause: Duration,
}

/// Why a fetch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The set is due, or there is none.
    Schedule,
    /// A fresh set lacks a key that somebody named.
    UnknownKey,
}

impl State {
    fn is_under_way(&self) -> bool {
        self.flight.as_ref().is_some_and(Flight::is_under_way)
    }

    fn is_scheduled(&self) -> bool {
        self.schedule.as_ref().is_some_and(|task| !task.is_finished())
    }

    fn landing(&self) -> Option<Landing<Outcome>> {
        self.flight.as_ref().filter(|flight| flight.is_under_way()).map(Flight::landing)
    }

    fn cools_down(&self, clock: &dyn Clock) -> bool {
        self.demanded.as_ref().is_some_and(|demanded| demanded.elapsed(clock) < UNKNOWN_KEY_COOLDOWN)
    }
}

impl Retry {
    fn remaining(&self, clock: &dyn Clock) -> Duration {
        self.pause.saturating_sub(self.failed.elapsed(clock))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is a few stores, and none of them can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.settings.clock
    }

    fn is_fresh(&self, held: &Held) -> bool {
        held.asked.elapsed(self.clock()) <= self.settings.lifetime
    }

    fn counts(&self, held: &Held) -> bool {
        held.asked.elapsed(self.clock()) <= self.settings.lifetime.saturating_add(self.settings.max_stale)
    }

    fn ask<'a>(self: &'a Arc<Self>, wanted: Wanted<'a>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        match self.at_hand(wanted) {
            Some(answer) => MaybeReady::ready(answer),
            None => MaybeReady::Wait(Box::pin(self.fetched(wanted))),
        }
    }

    /// The answer that needs no waiting, if there is one. Starts nothing.
    fn at_hand(&self, wanted: Wanted<'_>) -> Option<Result<Arc<JwkSet>, ResolveError>> {
        self.fresh(wanted).map(Ok).or_else(|| self.settled(wanted))
    }

    /// The hot path: no lock, no allocation.
    fn fresh(&self, wanted: Wanted<'_>) -> Option<Arc<JwkSet>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| self.is_fresh(held) && held.answers(wanted));
        held.map(|held| Arc::clone(&held.keys))
    }

    /// What is settled without another fetch although the set is old, or lacks what is wanted.
    fn settled(&self, wanted: Wanted<'_>) -> Option<Result<Arc<JwkSet>, ResolveError>> {
        let state = self.lock();
        // A fetch may have ended since we looked: sets are replaced under the lock, before their fetch counts as ended.
        if let Some(fresh) = self.fresh(wanted) {
            return Some(Ok(fresh));
        }
        let held = self.held.load();
        if held.as_ref().is_some_and(|held| self.is_fresh(held)) {
            // Not "the signature is wrong": the key may be newer than our set.
            let refused = !state.is_under_way() && state.cools_down(self.clock());
            return refused.then_some(Err(UNAVAILABLE));
        }
        let retry = state.retry.as_ref()?;
        if let Some(stale) = held.as_ref().filter(|held| self.counts(held)) {
            let answer = if stale.answers(wanted) { Ok(Arc::clone(&stale.keys)) } else { Err(UNAVAILABLE) };
            // The schedule goes on trying; callers of an issuer that hangs do not all wait for it to time out.
            return state.is_scheduled().then_some(answer);
        }
        let refused = !state.is_under_way() && !retry.remaining(self.clock()).is_zero();
        refused.then_some(Err(UNAVAILABLE))
    }

    /// The answer after at most two fetches.
    async fn fetched(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<Arc<JwkSet>, ResolveError> {
        // What was asked before this call can say that a key is there. That it is not there, only a later answer can.
        if let Some(earlier) = self.under_way() {
            earlier.outcome().await;
            if let Some(answer) = self.at_hand(wanted) {
                return answer;
            }
        }
        let outcome = match self.begin(wanted) {
            Some(landing) => landing.outcome().await,
            None => None,
        };
        if let Some(Ok(held)) = outcome {
            return Ok(Arc::clone(&held.keys));
        }
        let held = self.held.load();
        let last = held.as_ref().filter(|held| self.counts(held) && held.answers(wanted));
        last.map(|held| Arc::clone(&held.keys)).ok_or(UNAVAILABLE)
    }

    fn under_way(&self) -> Option<Landing<Outcome>> {
        self.lock().landing()
    }

    /// Joins the fetch under way or starts one, as far as the budgets allow; `None` otherwise, and where an earlier one
    /// has just brought what is wanted.
    fn begin(self: &Arc<Self>, wanted: Wanted<'_>) -> Option<Landing<Outcome>> {
        let mut state = self.lock();
        self.keep_schedule(&mut state);
        if self.fresh(wanted).is_some() {
            return None;
        }
        if let Some(landing) = state.landing() {
            return Some(landing);
        }
        if self.held.load().as_ref().is_some_and(|held| self.is_fresh(held)) {
            if state.cools_down(self.clock()) {
                return None;
            }
            let landing = self.start(&mut state, Cause::UnknownKey)?;
            state.demanded = Some(Moment::now(self.clock()));
            Some(landing)
        } else if state.retry.as_ref().is_some_and(|retry| !retry.remaining(self.clock()).is_zero()) {
            None
        } else {
            self.start(&mut state, Cause::Schedule)
        }
    }

    /// Joins the fetch under way or starts one, whatever is at hand; `None` outside of a runtime.
    fn refresh(self: &Arc<Self>) -> Option<Landing<Outcome>> {
        let mut state = self.lock();
        self.keep_schedule(&mut state);
        state.landing().or_else(|| self.start(&mut state, Cause::Schedule))
    }

    /// Fetches in the background, so that a caller that gives up takes nothing from the others.
    fn start(self: &Arc<Self>, state: &mut State, cause: Cause) -> Option<Landing<Outcome>> {
        let (settings, owner) = (self.settings.clone(), Arc::downgrade(self));
        let flight = Flight::start(async move {
            let _panicked = Panicked { owner: Weak::clone(&owner), cause };
            let outcome = settings.fetch().await;
            if let Some(inner) = owner.upgrade() {
                inner.settle(cause, &outcome);
            }
            outcome
        })?;
        let landing = flight.landing();
        state.flight = Some(flight);
        Some(landing)
    }

    fn settle(&self, cause: Cause, outcome: &Outcome) {
        let mut state = self.lock();
        match outcome {
            Ok(held) => {
                self.held.store(Some(Arc::clone(held)));
                if state.failing_since.is_some() {
                    tracing::info!(url = %self.settings.url, "the issuer's keys were fetched again");
                }
                (state.retry, state.failing_since, state.last_error) = (None, None, None);
            }
            Err(error) => {
                let error = error.kind().as_str();
                // Said once: an outage is one event, however often it is noticed.
                if state.failing_since.is_none() {
                    tracing::warn!(url = %self.settings.url, error, "the issuer's keys could not be fetched");
                    state.failing_since = Some(self.clock().now_unix());
                }
                self.failed(&mut state, cause, error);
            }
        }
    }

    fn failed(&self, state: &mut State, cause: Cause, error: &'static str) {
        state.last_error = Some(error);
        if cause == Cause::Schedule {
            let failures = state.retry.as_ref().map_or(0, |retry| retry.failures).saturating_add(1);
            let (failed, pause) = (Moment::now(self.clock()), backoff(failures));
            state.retry = Some(Retry { failures, failed, pause });
        }
    }

    /// Starts the schedule, also again: its runtime may be gone.
    fn keep_schedule(self: &Arc<Self>, state: &mut State) {
        if !state.is_scheduled() {
            state.schedule = Background::start(run_schedule(Arc::downgrade(self)));
        }
    }

    /// Joins the fetch under way or starts one, if it is time; otherwise how long that is away.
    fn refresh_if_due(self: &Arc<Self>) -> Result<Landing<Outcome>, Duration> {
        let mut state = self.lock();
        let wait = self.until_due(&state);
        if !wait.is_zero() {
            return Err(wait);
        }
        state.landing().or_else(|| self.start(&mut state, Cause::Schedule)).ok_or(wait)
    }

    /// How long until the schedule has to fetch.
    fn until_due(&self, state: &State) -> Duration {
        if let Some(retry) = &state.retry {
            return retry.remaining(self.clock());
        }
        let held = self.held.load();
        held.as_ref().map_or(Duration::ZERO, |held| held.refresh_after.saturating_sub(held.asked.elapsed(self.clock())))
    }

    fn health(&self) -> SourceHealth {
        let state = self.lock();
        let (held, now) = (self.held.load(), self.clock().now_unix());
        let counts_for = |held: &Held| {
            let whole = self.settings.lifetime.saturating_add(self.settings.max_stale);
            whole.checked_sub(held.asked.elapsed(self.clock()))
        };
        SourceHealth {
            last_success: held.as_ref().map(|held| held.asked.wall()),
            failing_since: state.failing_since,
            last_error: state.last_error,
            good_until: held.as_deref().and_then(counts_for).map(|rest| now.saturating_add(rest)),
            next_attempt: state.is_scheduled().then(|| now.saturating_add(self.until_due(&state))),
        }
    }
}

/// Makes a failure of a fetch that panicked: nobody would hear of it, and the next would follow at once.
struct Panicked {
    owner: Weak<Inner>,
    cause: Cause,
}

impl Drop for Panicked {
    fn drop(&mut self) {
        // A fetch that is only cancelled, as by the end of its runtime, failed at nothing.
        if std::thread::panicking()
            && let Some(inner) = self.owner.upgrade()
        {
            // Without a word to the log, which may be what panicked.
            let mut state = inner.lock();
            let now = inner.clock().now_unix();
            state.failing_since.get_or_insert(now);
            inner.failed(&mut state, self.cause, "the fetch panicked");
        }
    }
}

/// Fetches whenever the set is due, until the source is dropped.
async fn run_schedule(source: Weak<Inner>) {
    loop {
        let Some(due) = source.upgrade().map(|inner| inner.refresh_if_due()) else { return };
        let wait = match due {
            Ok(landing) => match landing.outcome().await {
                Some(_) => continue,
                None => Duration::ZERO,
            },
            Err(wait) => wait,
        };
        // At least a moment, also where a fetch ended without an outcome.
        tokio::time::sleep(wait.max(Duration::from_millis(50))).await;
    }
}
