#![expect(clippy::arithmetic_side_effects, reason = "a test's clock of a few hours")]

mod simulation;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, advance, sleep};

use super::held::{EXPIRED, NO_LONGER, NOT_A_BADGE, OTHER_SUBJECT};
use super::{
    BadgeKeeper, BadgeKeeperBuilder, BadgeRenewer, MAX_ATTEMPT, MAX_BACKOFF, MAX_SLEEP, PANICKED, RenewError, STOPPED,
    SelfSignedRenewer, TIMED_OUT,
};
use crate::clock::{Clock, UnixSeconds};
use crate::identity::badge::{MAX_BADGE_BYTES, UnverifiedBadge, self_sign};
use crate::identity::key::SigningKey;
use crate::identity::server::BadgeSource;

const MINUTE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(300);

/// A wall clock that runs with tokio's, and can be set.
#[derive(Debug)]
struct TokioClock {
    started: Instant,
    offset: AtomicI64,
}

impl TokioClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), offset: AtomicI64::new(0) })
    }

    fn jump(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        let base = 1_760_000_000_i64.checked_add(self.offset.load(Ordering::SeqCst)).unwrap();
        UNIX_EPOCH + Duration::from_secs(u64::try_from(base).unwrap()) + self.started.elapsed()
    }
}

#[derive(Debug)]
enum Answer {
    Token(String),
    Fails(RenewError),
    Hangs,
    Panics,
}

/// Gives the answers it was told to, and then signs.
#[derive(Debug)]
struct Scripted {
    key: SigningKey,
    clock: Arc<TokioClock>,
    answers: Mutex<VecDeque<Answer>>,
    down: Mutex<Option<RenewError>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(clock: &Arc<TokioClock>, answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            key: SigningKey::from_seed(&[7; 32]),
            clock: Arc::clone(clock),
            answers: Mutex::new(answers.into_iter().collect()),
            down: Mutex::new(None),
            asked: AtomicUsize::new(0),
        })
    }

    fn badge(&self, lifetime: Duration) -> String {
        self.badge_of(&self.key, lifetime, 0)
    }

    fn badge_of(&self, key: &SigningKey, lifetime: Duration, shift: i64) -> String {
        let now = UnixSeconds::new(self.clock.now_unix().as_i64() + shift);
        self_sign(key, &[], lifetime, now).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn set_down(&self, down: Option<RenewError>) {
        *self.down.lock().unwrap() = down;
    }
}

impl BadgeRenewer for Scripted {
    fn renew(&self) -> Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front();
        let down = self.down.lock().unwrap().clone();
        Box::pin(async move {
            match answer {
                Some(Answer::Token(token)) => Ok(token),
                Some(Answer::Fails(error)) => Err(error),
                Some(Answer::Hangs) => std::future::pending().await,
                Some(Answer::Panics) => panic!("a bug in the renewer"),
                None => down.map_or_else(|| Ok(self.badge(LIFETIME)), Err),
            }
        })
    }
}

fn keeper_of(renewer: &Arc<Scripted>) -> BadgeKeeperBuilder {
    let renewer = Arc::clone(renewer);
    let clock = Arc::clone(&renewer.clock);
    BadgeKeeper::builder(renewer).clock(clock)
}

fn expiry(token: &str) -> UnixSeconds {
    UnverifiedBadge::parse(token).unwrap().claimed_expires_at().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_live_badge_is_at_hand_over_a_hundred_lifetimes_with_failures() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let keeper = keeper_of(&renewer).start().unwrap();
    let first = keeper.ready().await.unwrap();
    let mut last = first.clone();
    let mut badges = 1;
    for second in 0..30_000 {
        // out for up to 40 s every 100 s: shorter than what is left when a renewal is due
        renewer.set_down((second % 100 < 40).then(|| RenewError::new("no")));
        advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        let token = keeper.current().expect("a badge is at hand");
        assert!(clock.now_unix() < expiry(&token));
        badges += usize::from(token != last);
        last = token;
    }
    assert!((100..=200).contains(&badges), "{badges}");
    let health = keeper.health();
    assert_eq!((health.running, health.expires_at), (true, Some(expiry(&last))));
    assert!(health.next_renewal.unwrap() < expiry(&last));
}

/// What the renewer answers to a keeper that holds this badge.
type Makes = fn(&Scripted, &str) -> String;

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_better_than_the_badge_at_hand_is_refused_and_told() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let cases: [(&str, Makes, RenewError); 7] = [
        ("no badge", |_, _| "not.a.badge".to_owned(), NOT_A_BADGE),
        ("a page of HTML", |_, _| "<html>".to_owned(), NOT_A_BADGE),
        ("too long", |_, _| "a".repeat(MAX_BADGE_BYTES + 1), NOT_A_BADGE),
        ("another's", |it, _| it.badge_of(&SigningKey::from_seed(&[8; 32]), LIFETIME * 2, 0), OTHER_SUBJECT),
        ("expired", |it, _| it.badge_of(&it.key, LIFETIME, -600), EXPIRED),
        ("the same again", |_, initial| initial.to_owned(), NO_LONGER),
        ("shorter", |it, _| it.badge_of(&it.key, LIFETIME, -1), NO_LONGER),
    ];
    for (name, answer, error) in cases {
        let initial = renewer.badge(LIFETIME);
        renewer.answers.lock().unwrap().push_back(Answer::Token(answer(&renewer, &initial)));
        let keeper = keeper_of(&renewer).initial(initial.clone()).start().unwrap();
        let before = renewer.asked();
        // stops before the attempt that follows
        while renewer.asked() == before {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(keeper.health().last_error, Some(error), "{name}");
        assert_eq!(keeper.health().failures, 1, "{name}");
        assert_eq!(keeper.current().as_deref(), Some(initial.as_str()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_subject_that_was_named_is_the_only_one() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let other = SigningKey::from_seed(&[8; 32]).did();
    let keeper = keeper_of(&renewer).subject(other.clone()).start().unwrap();
    assert_eq!(keeper.ready().await.unwrap_err(), OTHER_SUBJECT);
    assert_eq!(keeper.current(), None);
    let initial = renewer.badge(LIFETIME);
    assert_eq!(keeper_of(&renewer).subject(other).initial(&initial).start().unwrap_err(), OTHER_SUBJECT);
    let keeper = keeper_of(&renewer).subject(renewer.key.did()).initial(&initial).start().unwrap();
    assert_eq!(keeper.ready().await.unwrap(), initial.into());
}

#[tokio::test(start_paused = true)]
async fn an_expired_badge_is_never_handed_out_whatever_the_clock_does() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let keeper = keeper_of(&renewer).start().unwrap();
    let first = keeper.ready().await.unwrap();

    clock.jump(300);
    assert_eq!(keeper.current(), None, "expired at once, before the task has looked");
    sleep(MAX_SLEEP + Duration::from_millis(1)).await;
    let second = keeper.current().expect("renewed at once");
    assert_ne!(first, second);

    renewer.set_down(Some(RenewError::new("no")));
    clock.jump(-3600);
    sleep(LIFETIME.saturating_sub(MAX_SLEEP * 2)).await;
    assert_eq!(keeper.current(), Some(second), "its life is not over");
    sleep(MAX_SLEEP * 3).await;
    assert!(clock.now_unix() < expiry(&first));
    assert_eq!(keeper.current(), None, "by the steady clock its life is over");
    assert_eq!(keeper.health().expires_at, None);

    renewer.set_down(None);
    sleep(MAX_BACKOFF + MAX_SLEEP).await;
    let third = keeper.current().expect("dated by the clock that was set back");
    assert!(expiry(&third) < expiry(&first));
}

#[tokio::test(start_paused = true)]
async fn a_renewer_that_hangs_is_given_up_and_asked_again() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, [Answer::Hangs]);
    let keeper = keeper_of(&renewer).start().unwrap();
    let begin = Instant::now();
    assert_eq!(keeper.ready().await.unwrap_err(), TIMED_OUT);
    assert!((MAX_ATTEMPT..MAX_ATTEMPT + MAX_SLEEP * 2).contains(&begin.elapsed()));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(renewer.asked(), 2);
    assert!(keeper.ready().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_renewer_that_panics_is_told_and_what_it_gave_stays() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, [Answer::Panics]);
    let initial = renewer.badge(MINUTE);
    let keeper = keeper_of(&renewer).initial(&initial).start().unwrap();
    let mut changes = keeper.changes();
    assert_eq!(changes.next().await.as_deref(), Some(initial.as_str()));
    assert_eq!(changes.next().await, None);
    let health = keeper.health();
    assert_eq!((health.running, health.next_renewal, health.last_error), (false, None, Some(PANICKED)));
    assert_eq!(keeper.ready().await.as_deref(), Ok(initial.as_str()));
    sleep(MINUTE).await;
    assert_eq!(keeper.ready().await.unwrap_err(), PANICKED);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_work_in_the_middle_of_an_attempt() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, [Answer::Hangs]);
    let initial = renewer.badge(LIFETIME);
    let keeper = keeper_of(&renewer).initial(&initial).start().unwrap();
    while renewer.asked() == 0 {
        sleep(MAX_SLEEP).await;
    }
    keeper.stop().await;
    keeper.clone().stop().await;
    assert!(!keeper.health().running);
    assert_eq!(keeper.current().as_deref(), Some(initial.as_str()), "it stays until it expires");
    assert_eq!(Arc::strong_count(&renewer), 2, "the task let go of it: ours and the keeper's");
    sleep(LIFETIME).await;
    assert_eq!((keeper.current(), renewer.asked()), (None, 1));
    assert_eq!(keeper.ready().await.unwrap_err(), STOPPED);
    assert_eq!(keeper.changes().next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_with_the_last_clone() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let keeper = keeper_of(&renewer).start().unwrap();
    let clone = keeper.clone();
    clone.ready().await.unwrap();
    let mut changes = keeper.changes();
    drop(keeper);
    sleep(LIFETIME).await;
    assert!(clone.health().running && clone.current().is_some());
    assert!(changes.next().await.is_some());
    drop(clone);
    assert_eq!(changes.next().await, None, "who waits for changes does not keep it alive");
    drop(changes);
    assert_eq!(Arc::strong_count(&renewer), 1, "nothing is left of the task");
}

#[tokio::test(start_paused = true)]
async fn a_start_says_how_its_first_attempt_ended() {
    let clock = TokioClock::new();
    let asked = RenewError::new("busy").with_retry_after(MINUTE);
    let renewer = Scripted::new(&clock, [Answer::Fails(asked.clone())]);
    let keeper = keeper_of(&renewer).start().unwrap();
    let health = keeper.health();
    assert_eq!((health.expires_at, health.failures, health.running), (None, 0, true));
    assert_eq!(keeper.ready().await.unwrap_err(), asked);
    assert_eq!(keeper.health().last_error, Some(asked));
    let next = keeper.health().next_renewal.unwrap();
    assert!(next >= clock.now_unix().saturating_add(MINUTE));
    let begin = Instant::now();
    let token = keeper.changes().next().await.unwrap();
    assert!(begin.elapsed() >= MINUTE);
    assert_eq!(keeper.ready().await.unwrap(), token);
    assert_eq!((keeper.health().last_error, keeper.health().failures), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn changes_tell_each_badge_once() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let keeper = keeper_of(&renewer).initial(renewer.badge(MINUTE)).start().unwrap();
    let mut changes = keeper.changes();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let token = changes.next().await.unwrap();
        assert_eq!(keeper.current().as_ref(), Some(&token));
        assert!(!seen.contains(&token));
        seen.push(token);
    }
}

#[test]
fn a_keeper_needs_a_runtime_and_an_initial_badge_that_is_one() {
    let renewer = || Arc::new(SelfSignedRenewer::new(SigningKey::from_seed(&[7; 32]).into()));
    assert!(BadgeKeeper::builder(renewer()).start().unwrap_err().is_permanent());
    assert_eq!(BadgeKeeper::builder(renewer()).initial("nothing").start().unwrap_err(), NOT_A_BADGE);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_outlives_its_runtime_without_a_panic() {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let renewer = Arc::new(SelfSignedRenewer::new(SigningKey::from_seed(&[7; 32]).into()));
        let keeper = runtime.block_on(async {
            let keeper = BadgeKeeper::builder(renewer).start().unwrap();
            keeper.ready().await.unwrap();
            keeper
        });
        drop(runtime);
        keeper
    });
    let keeper = thread.join().unwrap();
    assert!(!keeper.health().running && keeper.current().is_some());
    keeper.stop().await;
}

/// Defect 32 of the peer: a keeper that signs for itself gave each badge the same id, or none.
#[tokio::test]
async fn each_self_signed_badge_has_an_id_of_its_own() {
    let key = Arc::new(SigningKey::from_seed(&[7; 32]));
    let renewer = SelfSignedRenewer::new(Arc::clone(&key)).audience("https://files.example.com").lifetime(MINUTE);
    let (one, two) = (renewer.renew().await.unwrap(), renewer.renew().await.unwrap());
    let (one, two) = (UnverifiedBadge::parse(&one).unwrap(), UnverifiedBadge::parse(&two).unwrap());
    assert!(one.identity().jti.is_some_and(|jti| uuid::Uuid::parse_str(&jti).is_ok()));
    assert_ne!(one.identity().jti, two.identity().jti);
    assert_eq!(one.identity().subject.as_deref(), Some(key.did().as_str()));
    assert_eq!(one.claimed_audience().collect::<Vec<_>>(), ["https://files.example.com"]);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_shown() {
    let clock = TokioClock::new();
    let renewer = Scripted::new(&clock, []);
    let initial = renewer.badge(LIFETIME);
    let signature = initial.rsplit('.').next().unwrap();
    let builder = keeper_of(&renewer).initial(&initial);
    assert!(!format!("{builder:?}").contains(signature));
    let keeper = builder.start().unwrap();
    assert!(!format!("{keeper:?} {:?} {:?}", keeper.changes(), keeper.health()).contains(signature));
}
