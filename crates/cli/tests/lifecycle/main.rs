//! From `ca init` to the rollover of the CA's key, as a new user does it: against the real CA, over TLS with a root of its
//! own, with the guarded filesystem server and a client that verifies it over HTTP.
//!
//! The CA is a child process and its operator uses the command line. Guard, keepers and clients run in this process, so
//! that a test can set their clocks ahead; badges are issued by the system's.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a failed step fails the test; server and callers run beside it"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::registry::{EventDecision, PolicyEvent};
use rmcp_guard::identity::remote::RevocationSync;
use rmcp_guard::identity::resolve::REVOCATION_MAX_STALENESS;
use rmcp_guard::identity::server::BadgeSource as _;
use rmcp_guard::identity::trust_level::TrustLevel;

use world::{Agent, By, Ca, Ended, Server, Trust, allowed, call, denied, eventually};

/// From nothing to guarded calls, and back: a badge that is revoked ends with the next copy of the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_badge_is_refused_after_the_next_sync() {
    let ca = Ca::start();
    let server = Server::start(&ca).await;
    let health = server.connected.keeper.health();
    assert!(health.running && health.last_error.is_none() && health.expires_at.is_some(), "{health:?}");
    let agent = Agent::register(&ca, "agent", By::Proof).await;
    let trust = Trust::new(&ca);
    let client = trust.connect(&server, agent.keeper.clone()).await;
    assert_eq!(client.server().trust_level(), TrustLevel::DomainValidated);

    allowed(&client, "read_file").await;
    let record = server.last_decision();
    assert_eq!((record["trust_level"].as_u64(), record["capiscio.badge.jti"].as_str()), (Some(2), Some(&*agent.jti())));
    let level_1 = trust.connect(&server, agent.level_1.as_str()).await;
    denied(&server, &level_1, "read_file", "trust_insufficient", "trust_insufficient").await;

    assert_eq!(server.revoked.revoked_badges(&ca.origin), Some(0));
    ca.operator(&["revoke", &agent.jti(), "--reason", "stolen"]);
    eventually("the next sync", || async { server.revoked.revoked_badges(&ca.origin).filter(|count| *count == 1) })
        .await;
    denied(&server, &client, "read_file", "badge_revoked", "badge_revoked").await;
    let event = PolicyEvent::new(EventDecision::Deny, "read_file", SystemClock.now()).unwrap();
    ca.registry().post_event(&event).await.unwrap();
    let events = ca.operator(&["list", "events"]);
    assert_eq!((events[0]["id"].as_str(), events[1].as_object()), (Some(&*event.id()), None), "{events}");
    // the agent is as good as before, and so is its next badge
    agent.renew().await;
    allowed(&client, "read_file").await;

    // what was copied outlives both the guard and the CA
    ca.stop();
    let fetcher = ca.fetcher();
    let restarted = eventually("the list in the cache", || async {
        let copy = RevocationSync::builder(fetcher.clone()).issuer(&ca.origin).cache_dir(ca.path().join("revocations"));
        copy.build().unwrap().revoked_badges(&ca.origin).filter(|count| *count == 1)
    });
    assert_eq!(restarted.await, 1);
}

/// Under either of its names a disabled agent gets nowhere, neither to tools nor to a new badge, until it is enabled.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_agent_gets_no_call_and_no_badge() {
    let ca = Ca::start();
    let server = Server::start(&ca).await;
    let trust = Trust::new(&ca);
    for (name, by) in [("prover", By::Proof), ("ward", By::Account)] {
        let agent = Agent::register(&ca, name, by).await;
        let client = trust.connect(&server, agent.keeper.clone()).await;
        allowed(&client, "read_file").await;
        assert_eq!(server.last_decision()["rmcp_guard.notes"], serde_json::Value::Null, "{name}: its status is known");

        ca.operator(&["disable", &agent.id, "--reason", "left"]);
        // what was asked before no longer counts
        server.clock.advance(11);
        denied(&server, &client, "read_file", "badge_invalid", "agent_disabled").await;
        let health = agent.failing().await;
        assert!(health.running && health.last_error.is_some_and(|error| error.is_permanent()), "{name}");

        ca.operator(&["enable", &agent.id]);
        server.clock.advance(11);
        allowed(&client, "read_file").await;
    }
}

/// Without the CA, level 2 passes as long as the list is fresh and no longer; level 1 passes with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_ca_ends_level_2_after_300_seconds() {
    let ca = Ca::start();
    let server = Server::start(&ca).await;
    let trust = Trust::new(&ca);
    let agent = Agent::register(&ca, "agent", By::Proof).await;
    let level_2 = trust.connect(&server, agent.keeper.clone()).await;
    let level_1 = trust.connect(&server, agent.level_1.as_str()).await;
    allowed(&level_2, "read_file").await;
    allowed(&level_1, "stat").await;

    ca.stop();
    let failing = || async { server.revoked.health(&ca.origin).unwrap().last_error };
    eventually("a sync that fails", failing).await;
    allowed(&level_2, "read_file").await;
    // the keeper holds on to its badge, and says what is wrong
    let health = agent.failing().await;
    assert!(health.running && health.expires_at.is_some() && !health.last_error.unwrap().is_permanent());
    server.clock.advance(240);
    allowed(&level_2, "read_file").await;
    allowed(&level_1, "stat").await;

    server.clock.advance(61);
    assert_eq!(REVOCATION_MAX_STALENESS, Duration::from_secs(300));
    denied(&server, &level_2, "read_file", "badge_invalid", "revocation_check_failed").await;
    denied(&server, &level_2, "stat", "badge_invalid", "revocation_check_failed").await;
    allowed(&level_1, "stat").await;
    let record = server.last_decision();
    let notes = record["rmcp_guard.notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note == "revocation could not be checked"), "{record}");

    ca.serve();
    eventually("the CA's answers", || async {
        matches!(call(&level_2, "read_file").await, Ended::Allowed).then_some(())
    })
    .await;
    allowed(&level_1, "stat").await;
}

/// Calls go on while the CA's key changes, once with an overlap and once at once: none fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_the_key_of_the_ca_rolls_over() {
    let ca = Ca::start();
    let server = Arc::new(Server::start(&ca).await);
    let trust = Trust::new(&ca);
    let (calls, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut agents = Vec::new();
    let mut callers = Vec::new();
    for number in 0..4 {
        let by = if number % 2 == 0 { By::Proof } else { By::Account };
        let agent = Agent::register(&ca, &format!("agent-{number}"), by).await;
        let mut client = trust.connect(&server, agent.keeper.clone()).await;
        let (server, trust, keeper) = (Arc::clone(&server), trust.clone(), agent.keeper.clone());
        let (calls, stop) = (Arc::clone(&calls), Arc::clone(&stop));
        callers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                allowed(&client, "read_file").await;
                calls.fetch_add(1, Ordering::SeqCst);
                // one of them meets the server anew each time, and verifies its badge
                if number == 3 {
                    client = trust.connect(&server, keeper.clone()).await;
                }
            }
        }));
        agents.push(agent);
    }
    let some_calls = || async {
        let goal = calls.load(Ordering::SeqCst) + 40;
        eventually("calls in flight", || async { (calls.load(Ordering::SeqCst) >= goal).then_some(()) }).await;
    };
    let first = agents.iter().map(|agent| agent.keeper.current()).collect::<Vec<_>>();
    some_calls().await;

    ca.operator(&["rotate", "--overlap", "5"]);
    assert_eq!(ca.signing_keys(), ["signing", "announced"]);
    agents[0].renew().await;
    some_calls().await;
    eventually("the new key", || async { (ca.signing_keys() == ["published", "signing"]).then_some(()) }).await;
    // two badges of the new key beside two of the old one
    agents[1].renew().await;
    agents[2].renew().await;
    some_calls().await;
    server.renew().await;
    some_calls().await;
    assert_eq!(agents[3].keeper.current(), first[3]);

    // A guard asks for an unknown key at once, but not again within ten seconds: two rollovers lie further apart.
    server.clock.advance(11);
    ca.operator(&["rotate", "--overlap", "0"]);
    assert_eq!(ca.signing_keys(), ["published", "published", "signing"]);
    for agent in &agents {
        agent.renew().await;
        some_calls().await;
    }

    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}
