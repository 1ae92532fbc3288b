//! Issuer keys: who waits, what is fetched, and what a key set that is old or gone still lets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use futures_util::{FutureExt as _, poll};
use rmcp_guard::clock::{Clock, SystemClock};
use rmcp_guard::identity::badge::BadgeErrorKind;
use rmcp_guard::identity::fetch::FetchErrorKind;
use rmcp_guard::identity::remote::{JWKS_LIFETIME, JWKS_MAX_STALE, RemoteKeys, UNKNOWN_KEY_COOLDOWN};
use rmcp_guard::identity::resolve::{KeySource as _, MaybeReady};
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::test_util::TEST_NOW;
use serde_json::json;

use super::world::{
    Host, JWKS, Key, PATIENCE, badge, clock, fetcher, issuer, key, now, remote, trusting, verify, with_type,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_first_call_waits_and_the_next_do_not() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    assert_eq!(keys.health(), rmcp_guard::identity::health::SourceHealth::unknown());
    assert_eq!(host.all_hits(), 0, "nobody asked yet");
    assert!(matches!(keys.keys(Some("a")), MaybeReady::Wait(_)));
    tokio::task::yield_now().await;
    assert_eq!(host.all_hits(), 0, "nor was that answer awaited");

    let set = keys.keys(Some("a")).await.unwrap();
    assert_eq!(set.keys().count(), 1);
    for kid in [Some("a"), None] {
        let ready = keys.keys(kid).now_or_never().expect("a fresh set is at hand").unwrap();
        assert!(Arc::ptr_eq(&ready, &set));
    }
    assert_eq!(host.hits(JWKS), 1);
    let health = keys.health();
    assert_eq!((health.last_success, health.failing_since, health.last_error), (Some(TEST_NOW), None, None));
    let next = health.next_attempt.unwrap();
    assert!((200..=260).contains(&(next.as_i64() - TEST_NOW.as_i64())), "{next}: before the set is 300 s old");
    assert!(health.is_good_at(now().saturating_add(JWKS_LIFETIME)));
}

#[tokio::test]
async fn a_fresh_set_answers_without_allocating() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a"), &key(2, "b")]);
    let keys = remote(&host, &clock);
    keys.keys(None).await.unwrap();
    // the first look of a thread makes room for the thread's later ones
    drop(keys.keys(None).now_or_never());
    let lookups = allocation_counter::measure(|| {
        for kid in [Some("a"), Some("b"), None].into_iter().cycle().take(999) {
            assert!(keys.keys(kid).now_or_never().unwrap().is_ok());
        }
    });
    assert_eq!(lookups.count_total, 0);
    // Nor does the refusal of a key that nobody published, however often somebody names one.
    assert!(keys.keys(Some("x")).await.is_ok());
    let refusals = allocation_counter::measure(|| {
        for _ in 0..999 {
            assert!(keys.keys(Some("x")).now_or_never().unwrap().is_err());
        }
    });
    assert_eq!(refusals.count_total, 0);
}

/// Attack: a stranger names an issuer of his choice in a badge and makes the verifier fetch from there.
#[tokio::test]
async fn an_issuer_that_is_not_trusted_is_not_asked() {
    let (host, stranger) = (Host::start().await, Host::start().await);
    for each in [&host, &stranger] {
        each.publish(&[&key(1, "a")]);
    }
    let trusted = Issuer::discover(&host.origin(), fetcher()).unwrap();
    let verifier = trusting(trusted.max_level(rmcp_guard::identity::trust_level::TrustLevel::Registered)).build();
    let cases =
        [("unknown issuer", badge(&stranger.origin(), &key(1, "a"))), ("level", badge(&host.origin(), &key(1, "a")))];
    for (name, badge) in cases {
        assert_eq!(verify(&verifier, &badge).await, Err(BadgeErrorKind::IssuerUntrusted), "{name}");
    }
    assert_eq!((host.all_hits(), stranger.all_hits()), (0, 0));
}

#[tokio::test]
async fn a_hundred_callers_make_one_request() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    let gate = host.hold();
    let mut callers: Vec<_> = (0..100).map(|_| keys.keys(Some("a"))).collect();
    for caller in &mut callers {
        assert!(poll!(caller).is_pending());
    }
    host.wait_for_hits(JWKS, 1).await;
    gate.add_permits(1000);
    for answer in join_all(callers).await {
        assert!(answer.is_ok());
    }
    assert_eq!(host.hits(JWKS), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nothing_from_the_others() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    let gate = host.hold();
    let mut first = keys.keys(None);
    let mut second = keys.keys(None);
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    host.wait_for_hits(JWKS, 1).await;
    drop(first);
    gate.add_permits(1000);
    assert!(second.await.is_ok());
    assert_eq!(host.hits(JWKS), 1);
}

#[tokio::test]
async fn old_keys_count_while_the_issuer_is_down_and_not_for_ever() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    let verifier = trusting(issuer(&host.origin(), keys.clone())).build();
    let good = badge(&host.origin(), &key(1, "a"));
    verify(&verifier, &good).await.unwrap();

    host.fail();
    clock.advance(JWKS_LIFETIME + SECOND);
    verify(&verifier, &good).await.unwrap();
    let health = keys.health();
    assert_eq!(health.last_error, Some("the answer's status is an error"));
    assert!(health.failing_since.is_some() && health.is_good_at(clock.now_unix()), "{health:?}");
    // Nobody waits for an issuer that is known to be down.
    assert!(keys.keys(Some("a")).now_or_never().unwrap().is_ok());
    assert!(keys.keys(Some("b")).now_or_never().unwrap().is_err());

    clock.advance(JWKS_MAX_STALE);
    assert_eq!(verify(&verifier, &good).await, Err(BadgeErrorKind::KeysUnavailable));
    assert!(!keys.health().is_good_at(clock.now_unix()));

    host.publish(&[&key(1, "a")]);
    keys.refresh().await.unwrap();
    verify(&verifier, &good).await.unwrap();
    assert_eq!(keys.health().failing_since, None);
}

/// A wall clock that jumps costs a fetch; it neither keeps a set for ever nor stops one from counting.
#[tokio::test]
async fn a_clock_that_jumps_costs_one_fetch() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    keys.keys(Some("a")).await.unwrap();
    clock.advance(SECOND * 1_000_000);
    for _ in 0..3 {
        keys.keys(Some("a")).await.unwrap();
    }
    assert_eq!(host.hits(JWKS), 2);
    // The set is from the future now; the schedule goes by the monotonic clock.
    clock.set(TEST_NOW);
    assert!(keys.keys(Some("a")).now_or_never().unwrap().is_ok());
    let next = keys.health().next_attempt.unwrap();
    assert!(next <= TEST_NOW.saturating_add(JWKS_LIFETIME), "{next}");
}

/// An issuer that is down from the start lets nobody in, is not asked to death, and counts as soon as it is back.
#[tokio::test]
async fn an_issuer_that_never_answered_lets_nobody_in() {
    let (host, clock) = (Host::start().await, clock());
    let verifier = trusting(issuer(&host.origin(), remote(&host, &clock))).build();
    let good = badge(&host.origin(), &key(1, "a"));
    for _ in 0..1000 {
        assert_eq!(verify(&verifier, &good).await, Err(BadgeErrorKind::KeysUnavailable));
    }
    assert!(host.hits(JWKS) <= 10, "{} requests", host.hits(JWKS));
    host.publish(&[&key(1, "a")]);
    let back = async {
        while verify(&verifier, &good).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

/// Changes what a host answers.
type SetUp = fn(&Host);

#[tokio::test]
async fn what_is_no_key_set_replaces_none() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    let verifier = trusting(issuer(&host.origin(), keys.clone())).build();
    let good = badge(&host.origin(), &key(1, "a"));
    verify(&verifier, &good).await.unwrap();
    let cases: [(&str, SetUp, FetchErrorKind); 6] = [
        ("down", Host::fail, FetchErrorKind::Status(503)),
        ("no keys", |host| host.put_json(JWKS, &json!({"keys": []})), FetchErrorKind::Body),
        (
            "no usable key",
            |host| host.put_json(JWKS, &json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})),
            FetchErrorKind::Body,
        ),
        ("an error in a 200", |host| host.put_json(JWKS, &json!({"error": "internal"})), FetchErrorKind::Body),
        ("a page", |host| host.put(JWKS, || with_type("text/html", "<html>")), FetchErrorKind::ContentType),
        (
            "a page that says JSON",
            |host| host.put(JWKS, || with_type("application/json", "<html>")),
            FetchErrorKind::Body,
        ),
    ];
    for (name, set_up, want) in cases {
        set_up(&host);
        assert_eq!(keys.refresh().await.map_err(|error| error.kind()), Err(want), "{name}");
        verify(&verifier, &good).await.unwrap();
    }
}

/// The issuer publishes a new key while badges of both keys are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollover_fails_no_call_in_flight() {
    for _ in 0..10 {
        let (host, clock) = (Host::start().await, clock());
        let (old, new) = (key(1, "old"), key(2, "new"));
        host.publish(&[&old]);
        let verifier = trusting(issuer(&host.origin(), remote(&host, &clock))).build();
        let badges = [badge(&host.origin(), &old), badge(&host.origin(), &new)];
        verify(&verifier, &badges[0]).await.unwrap();

        host.publish(&[&old, &new]);
        let calls: Vec<_> = (0..64)
            .map(|call| {
                let (verifier, badge) = (verifier.clone(), badges[call % 2].clone());
                tokio::spawn(async move { verify(&verifier, &badge).await })
            })
            .collect();
        let failed = join_all(calls).await.into_iter().filter(|outcome| *outcome.as_ref().unwrap() != Ok(())).count();
        assert_eq!(failed, 0);
        assert_eq!(host.hits(JWKS), 2, "one for the first call, one for the new key");
    }
}

/// The reference issuer writes no `kid`, so only the signature shows that the key is new.
#[tokio::test]
async fn a_rollover_without_key_ids_fails_no_call_either() {
    let (host, clock) = (Host::start().await, clock());
    let (old, new) = (key(1, "").nameless(), key(2, "").nameless());
    host.publish(&[&old]);
    let verifier = trusting(issuer(&host.origin(), remote(&host, &clock))).build();
    verify(&verifier, &badge(&host.origin(), &old)).await.unwrap();
    host.publish(&[&new, &old]);
    let calls = (0..64).map(|call| {
        let badge = badge(&host.origin(), if call % 2 == 0 { &old } else { &new });
        let verifier = verifier.clone();
        async move { verify(&verifier, &badge).await }
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(host.hits(JWKS), 2);
    // Forgeries cost no fetch each.
    let forged = badge(&host.origin(), &key(3, "").nameless());
    for _ in 0..100 {
        assert_eq!(verify(&verifier, &forged).await, Err(BadgeErrorKind::SignatureInvalid));
    }
    assert_eq!(host.hits(JWKS), 2);
}

/// Attack: an issuer withdraws a key that leaked, and its thief goes on: with a badge that was verified before and stands
/// in the signature cache, and with the old key set of a verifier that unites what it ever saw.
#[tokio::test]
async fn s05_a_withdrawn_key_signs_nothing_more() {
    let (host, clock) = (Host::start().await, clock());
    let (leaked, new) = (key(1, "leaked"), key(2, "new"));
    host.publish(&[&leaked]);
    let keys = remote(&host, &clock);
    let verifier = trusting(issuer(&host.origin(), keys.clone())).build();
    let stolen = badge(&host.origin(), &leaked);
    verify(&verifier, &stolen).await.unwrap();
    verify(&verifier, &stolen).await.unwrap();

    host.publish(&[&new]);
    keys.refresh().await.unwrap();
    assert_eq!(verify(&verifier, &stolen).await, Err(BadgeErrorKind::SignatureInvalid));
    assert_eq!(verify(&verifier, &stolen).await, Err(BadgeErrorKind::KeysUnavailable), "in cooldown");
    verify(&verifier, &badge(&host.origin(), &new)).await.unwrap();
    // The new key under the old name is another key.
    let renamed = Key { kid: Some("new"), ..leaked };
    assert_eq!(verify(&verifier, &badge(&host.origin(), &renamed)).await, Err(BadgeErrorKind::SignatureInvalid));
}

/// Attack: a stranger sends badges with made-up key ids, each of which would cost a fetch.
#[tokio::test]
async fn s26_a_flood_of_unknown_kids_costs_one_fetch_per_cooldown() {
    const KIDS: [&str; 4] = ["x1", "x2", "x3", "x4"];
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let verifier = trusting(issuer(&host.origin(), remote(&host, &clock))).build();
    let good = badge(&host.origin(), &key(1, "a"));
    verify(&verifier, &good).await.unwrap();

    for round in 1..=3 {
        let forged = |kid| badge(&host.origin(), &key(7, kid));
        // The one that caused the fetch knows that no such key is published.
        assert_eq!(verify(&verifier, &forged("x0")).await, Err(BadgeErrorKind::SignatureInvalid));
        for kid in KIDS.into_iter().cycle().take(500) {
            // For the others the key may be newer than that.
            assert_eq!(verify(&verifier, &forged(kid)).await, Err(BadgeErrorKind::KeysUnavailable));
        }
        verify(&verifier, &good).await.unwrap();
        assert_eq!(host.hits(JWKS), 1 + round);
        clock.advance(UNKNOWN_KEY_COOLDOWN);
    }
}

/// Attack: the same flood, to use up what a verifier may fetch, so that it misses the issuer's next key.
#[tokio::test]
async fn s26_a_flood_of_unknown_kids_does_not_delay_the_scheduled_refresh() {
    // This clock stands still, so the flood has one fetch, and nothing but the schedule can bring the next key.
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock).with_lifetime(SECOND);
    let verifier = trusting(issuer(&host.origin(), keys.clone())).build();
    verify(&verifier, &badge(&host.origin(), &key(1, "a"))).await.unwrap();
    let forged = badge(&host.origin(), &key(7, "x"));
    let _ = verify(&verifier, &forged).await;

    host.publish(&[&key(1, "a"), &key(2, "b")]);
    let flooded = async {
        while keys.keys(Some("b")).now_or_never().is_none_or(|answer| answer.is_err()) {
            let outcome = verify(&verifier, &forged).await;
            assert!(matches!(outcome, Err(BadgeErrorKind::KeysUnavailable | BadgeErrorKind::SignatureInvalid)));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, flooded).await.unwrap();
}

/// An issuer that fails for unknown kids does not push the schedule into its backoff.
#[tokio::test]
async fn s26_failed_demands_leave_the_schedule_alone() {
    let (host, clock) = (Host::start().await, clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    keys.keys(None).await.unwrap();
    let planned = keys.health().next_attempt.unwrap();
    host.fail();
    for _ in 0..5 {
        assert!(keys.keys(Some("x")).await.is_err());
        clock.advance(UNKNOWN_KEY_COOLDOWN);
    }
    assert_eq!(host.hits(JWKS), 6);
    let health = keys.health();
    assert!(health.failing_since.is_some());
    let next = health.next_attempt.unwrap();
    assert!(next.as_i64().abs_diff(planned.as_i64()) <= 1, "{next} is not {planned}");
    assert!(keys.keys(Some("a")).now_or_never().unwrap().is_ok());
}

#[tokio::test]
async fn a_refresh_comes_before_the_set_is_old_and_ends_with_its_owner() {
    let host = Host::start().await;
    host.publish(&[&key(1, "a")]);
    let keys = RemoteKeys::new(&host.origin(), fetcher()).with_lifetime(SECOND);
    keys.keys(None).await.unwrap();
    host.wait_for_hits(JWKS, 3).await;
    drop(keys);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let hits = host.hits(JWKS);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(host.hits(JWKS), hits);
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let keys = RemoteKeys::new("https://registry.example.com", fetcher());
    assert!(keys.keys(Some("a")).now_or_never().expect("there is nothing to wait for").is_err());
    let error = keys.refresh().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Connect);
    assert_eq!(keys.health().next_attempt, None);
}

/// A set that was fetched by a runtime that is gone still answers, and the next runtime goes on from there.
#[test]
fn a_source_outlives_the_runtime_that_it_began_on() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = tokio::runtime::Runtime::new().unwrap();
    let (host, clock) = (serving.block_on(Host::start()), clock());
    host.publish(&[&key(1, "a")]);
    let keys = remote(&host, &clock);
    runtime().block_on(keys.keys(None)).unwrap();
    assert!(keys.keys(None).now_or_never().unwrap().is_ok());
    clock.advance(JWKS_LIFETIME + SECOND);
    runtime().block_on(keys.keys(None)).unwrap();
    assert_eq!(host.hits(JWKS), 2);
}

/// The system's clock, which panics once when told to.
#[derive(Debug, Default)]
struct Faulty(AtomicBool);

impl Clock for Faulty {
    fn now(&self) -> SystemTime {
        assert!(!self.0.swap(false, Ordering::SeqCst), "this panic is part of the test");
        SystemClock.now()
    }
}

/// A fetch that panics is a failure like others: it is told, it is followed by a pause, and then by the next fetch.
#[tokio::test]
async fn a_fetch_that_panics_is_told_and_does_not_end_the_fetching() {
    let (host, clock) = (Host::start().await, Arc::new(Faulty::default()));
    host.publish(&[&key(1, "a")]);
    let keys = RemoteKeys::new(&host.origin(), fetcher()).with_clock(clock.clone());
    clock.0.store(true, Ordering::SeqCst);
    keys.keys(None).await.unwrap_err();
    let health = keys.health();
    assert!(health.failing_since.is_some() && health.next_attempt.is_some());
    assert_eq!(health.last_error, Some("the fetch panicked"));
    host.wait_for_hits(JWKS, 1).await;
    keys.refresh().await.unwrap();
    assert_eq!(keys.health().last_error, None);
}
