//! A badge that renews itself.
//!
//! A badge lives minutes. [`BadgeKeeper`] gets the next one before the last expires, from a [`BadgeRenewer`]: a registry,
//! or the holder's own key ([`SelfSignedRenewer`]). It is a [`BadgeSource`], so a server's identity and a client take it
//! wherever they take a [`StaticBadge`](crate::identity::server::StaticBadge).
//!
//! * A renewal is due at a random point between 60 % and 75 % of what is left of a badge. Failures are followed by an
//!   exponential backoff with full jitter, at most [`MAX_BACKOFF`]; a time that the other side asks for is kept, and a
//!   permanent failure is tried again every few minutes. An attempt that hangs is given up after [`MAX_ATTEMPT`] or half
//!   of what is left.
//! * An expired badge is never handed out. The wall clock is read at each question, and a clock that was set back makes
//!   no badge live longer than the steady clock allows. A jump is seen within [`MAX_SLEEP`].
//! * A new badge must be one, live, name the same subject, and outlive the one at hand. Otherwise the old one stays, and
//!   [`health`](BadgeKeeper::health) tells why.
//! * A renewer that answers again after an outage is asked within [`MAX_BACKOFF`], unless it asked for more.
//!
//! In scope: when to renew and what to hand out. Out of scope: how a badge is issued, and verifying it; a keeper shows
//! what it was given. A token is never logged.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use rmcp_guard::identity::keeper::{BadgeKeeper, SelfSignedRenewer};
//! use rmcp_guard::identity::key::SigningKey;
//! use rmcp_guard::identity::server::BadgeSource;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Arc::new(SigningKey::from_seed(&[7; 32]));
//! let keeper = BadgeKeeper::builder(Arc::new(SelfSignedRenewer::new(Arc::clone(&key)))).start()?;
//! let badge = keeper.ready().await?;
//! assert_eq!(keeper.current(), Some(badge));
//!
//! // No registry issues a badge of one second, and no self-signed one can be had either: nothing is handed out.
//! let renewer = SelfSignedRenewer::new(key).lifetime(Duration::from_secs(1));
//! let keeper = BadgeKeeper::builder(Arc::new(renewer)).start()?;
//! assert!(keeper.ready().await.unwrap_err().is_permanent());
//! assert_eq!(keeper.current(), None);
//! # Ok(())
//! # }
//! ```

mod held;
mod renew;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::{Clock, SystemClock, UnixSeconds};
use crate::identity::background::Background;
use crate::identity::did::Did;
use crate::identity::server::BadgeSource;
use held::{Held, OTHER_SUBJECT};
use schedule::{Reading, Schedule};

pub use renew::{BadgeRenewer, RenewError, SelfSignedRenewer};
pub use schedule::{MAX_ATTEMPT, MAX_BACKOFF, MAX_PERMANENT_BACKOFF, MAX_RETRY_AFTER, MAX_SLEEP, MAX_START_DELAY};

const TIMED_OUT: RenewError = RenewError::new("the renewal took too long");
const PANICKED: RenewError = RenewError::new("the renewer panicked").permanent();
const STOPPED: RenewError = RenewError::new("the keeper was stopped").permanent();
const NO_RUNTIME: RenewError = RenewError::new("a keeper starts within a tokio runtime").permanent();

/// How a keeper is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperHealth {
    /// When the badge at hand expires; `None` without a live one.
    pub expires_at: Option<UnixSeconds>,
    /// When the next attempt is due; `None` once the keeper has stopped.
    pub next_renewal: Option<UnixSeconds>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed; `None` when it succeeded.
    pub last_error: Option<RenewError>,
    /// Whether the keeper works. It does not after [`BadgeKeeper::stop`], after a panic of the renewer, and when its
    /// runtime is gone.
    pub running: bool,
}

/// Keeps a badge alive. Clones share it; the work ends with the last, or with [`stop`](Self::stop).
///
/// A renewer must not hold a clone of its own keeper: then neither would ever be dropped.
#[derive(Clone, Debug)]
pub struct BadgeKeeper(Arc<Owner>);

/// What the clones share and the task does not: dropped with the last clone, it ends the task.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    task: Background,
}

#[derive(Debug)]
struct Shared {
    renewer: Arc<dyn BadgeRenewer>,
    clock: Arc<dyn Clock>,
    subject: Option<Did>,
    started: Instant,
    held: ArcSwapOption<Held>,
    status: watch::Sender<Status>,
}

/// What changes with every attempt.
#[derive(Clone, Debug)]
struct Status {
    /// Number of badges so far.
    badges: u64,
    next_renewal: UnixSeconds,
    failures: u32,
    last_error: Option<RenewError>,
    running: bool,
}

/// Collects what makes a [`BadgeKeeper`].
#[must_use = "a builder does nothing until it is built"]
pub struct BadgeKeeperBuilder {
    renewer: Arc<dyn BadgeRenewer>,
    initial: Option<String>,
    subject: Option<Did>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for BadgeKeeperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BadgeKeeperBuilder")
            .field("renewer", &self.renewer)
            .field("initial", &self.initial.is_some())
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl BadgeKeeper {
    /// A keeper that renews with `renewer`.
    pub fn builder(renewer: Arc<dyn BadgeRenewer>) -> BadgeKeeperBuilder {
        BadgeKeeperBuilder { renewer, initial: None, subject: None, clock: Arc::new(SystemClock) }
    }

    /// Waits until there is a badge at hand, or until an attempt has failed. Cancel safe.
    ///
    /// # Errors
    /// The [`RenewError`] of the last attempt, or a permanent one when the keeper has stopped.
    pub async fn ready(&self) -> Result<Arc<str>, RenewError> {
        let mut status = self.0.shared.status.subscribe();
        loop {
            let Status { last_error, running, .. } = status.borrow_and_update().clone();
            if let Some(token) = self.current() {
                return Ok(token);
            }
            if let Some(error) = last_error {
                return Err(error);
            }
            if !running || status.changed().await.is_err() {
                return Err(STOPPED);
            }
        }
    }

    /// The badges from now on, the one at hand first: for those who copy it elsewhere, such as to a file.
    #[must_use]
    pub fn changes(&self) -> BadgeChanges {
        let shared = Arc::clone(&self.0.shared);
        BadgeChanges { status: shared.status.subscribe(), shared, seen: 0 }
    }

    /// How the keeper is doing.
    #[must_use]
    pub fn health(&self) -> KeeperHealth {
        let shared = &*self.0.shared;
        let Status { next_renewal, failures, last_error, running, .. } = shared.status.borrow().clone();
        KeeperHealth {
            expires_at: shared.live(shared.now()).map(|held| held.expires_at()),
            next_renewal: running.then_some(next_renewal),
            failures,
            last_error,
            running,
        }
    }

    /// Ends the work, and returns once it has ended. The badge at hand stays until it expires.
    pub async fn stop(&self) {
        self.0.task.abort();
        let mut status = self.0.shared.status.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = status.wait_for(|status| !status.running).await;
    }
}

impl BadgeSource for BadgeKeeper {
    /// The badge at hand, without a lock; `None` when it has expired.
    fn current(&self) -> Option<Arc<str>> {
        self.0.shared.current()
    }
}

/// The badges of a keeper, one after the other; made by [`BadgeKeeper::changes`]. It does not keep the keeper alive.
#[derive(Debug)]
pub struct BadgeChanges {
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    seen: u64,
}

impl BadgeChanges {
    /// Waits for a badge that was not seen yet; `None` once the keeper has stopped. Who asks rarely misses badges that
    /// came and went, never the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            let Status { badges, running, .. } = *self.status.borrow_and_update();
            if badges != self.seen {
                self.seen = badges;
                if let Some(token) = self.shared.current() {
                    return Some(token);
                }
            }
            if !running || self.status.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl BadgeKeeperBuilder {
    /// A badge that is at hand already. It may have expired; the badges that follow must name its subject.
    pub fn initial(mut self, token: impl Into<String>) -> Self {
        self.initial = Some(token.into());
        self
    }

    /// Whose badges they must be. Without this the first badge says it for all that follow.
    pub fn subject(mut self, subject: Did) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The clock that judges expiry; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the work on the runtime of the caller, which must have its timer enabled.
    ///
    /// # Errors
    /// A [`RenewError`] outside of a tokio runtime, or when the initial badge is none or of another subject.
    pub fn start(self) -> Result<BadgeKeeper, RenewError> {
        let Self { renewer, initial, subject, clock } = self;
        let now = Reading { wall: clock.now_unix(), steady: Duration::ZERO };
        let held = initial.map(|token| Held::read(&token, now)).transpose()?;
        check_subject(subject.as_ref(), held.as_ref())?;

        let left = held.as_ref().map_or(Duration::ZERO, |held| held.left(now));
        let schedule = Schedule::start(now, left, random());
        let status = Status {
            badges: u64::from(held.is_some()),
            next_renewal: now.wall.saturating_add(schedule.until_due(now)),
            failures: 0,
            last_error: None,
            running: true,
        };
        let held = ArcSwapOption::new(held.map(Arc::new));
        let (status, _) = watch::channel(status);
        let shared = Arc::new(Shared { renewer, clock, subject, started: Instant::now(), held, status });
        let running = Running(Arc::clone(&shared));
        let task = Background::start(async move { running.keep(schedule).await }).ok_or(NO_RUNTIME)?;
        Ok(BadgeKeeper(Arc::new(Owner { shared, task })))
    }
}

impl Shared {
    fn now(&self) -> Reading {
        Reading { wall: self.clock.now_unix(), steady: self.started.elapsed() }
    }

    fn live(&self, now: Reading) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.is_live(now))
    }

    fn left(&self, now: Reading) -> Duration {
        self.held.load().as_ref().map_or(Duration::ZERO, |held| held.left(now))
    }

    fn current(&self) -> Option<Arc<str>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.is_live(self.now()))?;
        Some(Arc::clone(held.token()))
    }

    /// Puts a new badge in the place of the old one, if it may.
    fn take(&self, token: &str, now: Reading) -> Result<(), RenewError> {
        let new = Held::read(token, now)?;
        check_subject(self.subject.as_ref(), Some(&new))?;
        new.check_replaces(self.held.load().as_deref(), now)?;
        self.held.store(Some(Arc::new(new)));
        Ok(())
    }
}

/// The work of a keeper. Dropped, however it ends, it says so.
struct Running(Arc<Shared>);

impl Running {
    async fn keep(self, mut schedule: Schedule) {
        let shared = &*self.0;
        loop {
            let now = shared.now();
            if !schedule.is_due(now) {
                sleep(schedule.sleep(now, random())).await;
                continue;
            }
            let answer = timeout(schedule::patience(shared.left(now)), shared.renewer.renew()).await;
            let now = shared.now();
            let renewed = answer.unwrap_or(Err(TIMED_OUT)).and_then(|token| shared.take(&token, now));
            let left = shared.left(now);
            match &renewed {
                Ok(()) => schedule.renewed(now, left, random()),
                Err(error) => schedule.failed(now, left, error, random()),
            }
            let next_renewal = now.wall.saturating_add(schedule.until_due(now));
            match &renewed {
                Ok(()) => tracing::debug!(%next_renewal, "a badge was renewed"),
                Err(error) => {
                    tracing::warn!(%error, failures = schedule.failures(), %next_renewal, "a badge was not renewed");
                }
            }
            shared.status.send_modify(|status| {
                status.badges = status.badges.saturating_add(u64::from(renewed.is_ok()));
                status.next_renewal = next_renewal;
                status.failures = schedule.failures();
                status.last_error = renewed.err();
            });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        if panicked {
            tracing::error!("a badge is no longer renewed: the renewer panicked");
        }
        self.0.status.send_modify(|status| {
            status.running = false;
            if panicked {
                status.last_error = Some(PANICKED);
            }
        });
    }
}

fn check_subject(subject: Option<&Did>, held: Option<&Held>) -> Result<(), RenewError> {
    match (subject, held) {
        (Some(subject), Some(held)) if !subject.is_named_by(held.subject()) => Err(OTHER_SUBJECT),
        _ => Ok(()),
    }
}

/// Jitter needs no secrecy: without random bytes all delays are middling ones.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}
