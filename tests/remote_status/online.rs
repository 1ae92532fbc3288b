//! One question at a time: what each answer of an issuer is worth.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rmcp_guard::identity::badge::{BadgeErrorKind, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::remote::{MAX_ID_BYTES, OnlineStatus};
use rmcp_guard::identity::resolve::{AgentStatus, RevocationStatus, StatusSource as _};
use serde_json::json;

use crate::registry::{Records, Registry, Reply, agent, fetcher};

fn online() -> Revocations {
    Revocations::online(Arc::new(OnlineStatus::new(fetcher())))
}

fn text(status: u16, media: &'static str, body: impl Into<String>) -> Reply {
    Reply::Text(status, media, body.into())
}

/// Attack: whatever a broken or hostile issuer answers is taken for an answer: "not revoked" lets a revoked badge in, and
/// "revoked" accuses a holder of what nobody said.
#[tokio::test]
async fn a_badge_passes_or_is_revoked_only_by_an_answer_about_it() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let (token, jti) = registry.badge(1);
    let failed = Err(BadgeErrorKind::RevocationCheckFailed);
    let json = "application/json";
    let cases = [
        ("good", Reply::Json(json!({"jti": jti, "revoked": false})), Ok(())),
        ("good, with more", Reply::Json(json!({"jti": jti, "revoked": false, "sub": "x", "error": null})), Ok(())),
        ("revoked", Reply::Json(json!({"jti": jti, "revoked": true, "reason": "r"})), Err(BadgeErrorKind::Revoked)),
        ("another badge", Reply::Json(json!({"jti": "other", "revoked": false})), failed),
        ("another badge, revoked", Reply::Json(json!({"jti": "other", "revoked": true})), failed),
        ("no id", Reply::Json(json!({"revoked": false})), failed),
        ("no statement", Reply::Json(json!({"jti": jti})), failed),
        ("a statement in words", Reply::Json(json!({"jti": jti, "revoked": "false"})), failed),
        ("an error with 200", Reply::Json(json!({"error": "internal", "message": "x"})), failed),
        ("an error about it", Reply::Json(json!({"error": "x", "jti": jti, "revoked": false})), failed),
        ("twice", text(200, json, format!(r#"{{"jti":"{jti}","revoked":true,"revoked":false}}"#)), failed),
        ("a list", Reply::Json(json!([{"jti": jti, "revoked": false}])), failed),
        ("a page", text(200, "text/html", "<html>revoked</html>"), failed),
        ("a page called JSON", text(200, json, "<html>"), failed),
        ("nothing", text(200, json, ""), failed),
        ("404", text(404, json, json!({"jti": jti, "revoked": true}).to_string()), failed),
        ("500", text(500, json, json!({"jti": jti, "revoked": false}).to_string()), failed),
        ("201", text(201, json, json!({"jti": jti, "revoked": false}).to_string()), failed),
        ("elsewhere", text(302, json, json!({"jti": jti, "revoked": false}).to_string()), failed),
        ("endless", Reply::Endless, failed),
    ];
    for (name, reply, want) in cases {
        registry.script(move |path| {
            if path.starts_with("/v1/badges/") {
                reply.clone()
            } else {
                Reply::Json(json!({"did": agent().as_str(), "status": "active"}))
            }
        });
        let verified = registry.verify(&online(), &token).await.map(|badge| {
            assert_eq!(badge.warnings(), [""; 0], "{name}");
        });
        assert_eq!(verified, want, "{name}");
    }
    assert_eq!(registry.asked("/elsewhere"), 0);
    assert!(registry.requests().contains(&format!("/v1/badges/{jti}/status")));
}

#[tokio::test]
async fn only_active_is_active_and_only_said_of_the_subject() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let host = registry.origin.trim_start_matches("http://").replace(':', "%3A");
    let web = Did::parse(&format!("did:web:{host}:agents:a-1")).unwrap();
    let server = Did::parse(&format!("did:web:{host}:servers:s-1")).unwrap();
    // This issuer may have an agent `a-1` of its own, and the badge names that of another host.
    let foreign = Did::parse("did:web:registry.example.com:agents:a-1").unwrap();
    let by_did = "/v1/agents/did%3Aweb%3Aregistry.example.com%3Aagents%3Aa-1/status";
    let (disabled, failed) = (Err(BadgeErrorKind::AgentDisabled), Err(BadgeErrorKind::RevocationCheckFailed));
    let key = agent();
    let cases = [
        (&web, "/v1/agents/a-1/status", json!({"id": "a-1", "did": web.as_str(), "status": "active"}), Ok(())),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str(), "status": "disabled"}), disabled),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str(), "status": "suspended"}), disabled),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str(), "status": "enabled"}), disabled),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str(), "status": "ACTIVE"}), disabled),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str(), "status": true}), failed),
        (&web, "/v1/agents/a-1/status", json!({"did": web.as_str()}), failed),
        (&web, "/v1/agents/a-1/status", json!({"status": "active"}), failed),
        (&web, "/v1/agents/a-1/status", json!({"id": "a-2", "did": web.as_str(), "status": "active"}), failed),
        (&web, "/v1/agents/a-1/status", json!({"id": "a-1", "did": "did:web:x.example", "status": "active"}), failed),
        (&web, "/v1/agents/a-1/status", json!({"id": "a-1", "status": "active"}), Ok(())),
        (&foreign, by_did, json!({"id": "a-1", "status": "active"}), failed),
        (&foreign, by_did, json!({"id": "a-7", "did": foreign.as_str(), "status": "active"}), Ok(())),
        (&foreign, by_did, json!({"id": "a-7", "did": foreign.as_str(), "status": "disabled"}), disabled),
        (&server, "/v1/servers/s-1/status", json!({"did": server.as_str(), "status": "active"}), Ok(())),
        (&server, "/v1/servers/s-1/status", json!({"did": server.as_str(), "status": "disabled"}), disabled),
        (&key, "/v1/agents/did%3Akey%3A", json!({"did": key.as_str(), "status": "active"}), Ok(())),
        (&key, "/v1/agents/did%3Akey%3A", json!({"id": key.as_str(), "status": "active"}), Ok(())),
        (&key, "/v1/agents/did%3Akey%3A", json!({"did": key.as_str(), "status": "disabled"}), disabled),
    ];
    for (subject, path, answer, want) in cases {
        let (token, jti) = registry.badge_of(subject, 2);
        let (before, shown) = (registry.asked(path), answer.to_string());
        registry.script(move |path| {
            let badge = Reply::Json(json!({"jti": jti, "revoked": false}));
            if path.starts_with("/v1/badges/") { badge } else { Reply::Json(answer.clone()) }
        });
        assert_eq!(registry.verify(&online(), &token).await.map(|_| ()), want, "{subject} {shown}");
        assert_eq!(registry.asked(path), before + 1, "{subject} {shown}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_or_slow_fails_the_check_at_every_level() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let slow = Fetcher::builder().dangerous_allow_loopback().timeout(Duration::from_millis(200)).build().unwrap();
    let slow = Revocations::online(Arc::new(OnlineStatus::new(slow)));
    let (one, two) = (registry.badge(1).0, registry.badge(2).0);
    for token in [&one, &two] {
        assert_eq!(registry.verify(&slow, token).await.unwrap_err(), BadgeErrorKind::RevocationCheckFailed);
    }
    registry.stop();
    for token in [&one, &two] {
        assert_eq!(registry.verify(&online(), token).await.unwrap_err(), BadgeErrorKind::RevocationCheckFailed);
    }
}

/// Attack: a `jti` is chosen so that the question becomes another one, whose answer is "not revoked".
#[tokio::test]
async fn an_id_cannot_leave_its_place_in_the_path() {
    let registry = Registry::start(|_| Reply::Json(json!({"jti": "x", "revoked": false}))).await;
    let source = OnlineStatus::new(fetcher());
    let mut at = registry.now();
    for jti in ["../agents/x", "a/../../x", "x?", "x#", "%2e%2e", "x/status?y=", "\u{1f600}", "a\r\nb"] {
        at = at.saturating_add(Duration::from_secs(60));
        assert_eq!(source.badge_status(&registry.origin, jti, at).await, RevocationStatus::Unknown, "{jti}");
    }
    let expected = [
        "..%2Fagents%2Fx",
        "a%2F..%2F..%2Fx",
        "x%3F",
        "x%23",
        "%252e%252e",
        "x%2Fstatus%3Fy%3D",
        "%F0%9F%98%80",
        "a%0D%0Ab",
    ];
    assert_eq!(registry.requests(), expected.map(|id| format!("/v1/badges/{id}/status")));
    for jti in ["", ".", "..", &"x".repeat(MAX_ID_BYTES + 1)] {
        let answer = source.badge_status(&registry.origin, jti, at).now_or_never();
        assert_eq!(answer, Some(RevocationStatus::Unknown), "{jti}");
    }
    for issuer in ["", "did:key:z6Mk", "http://user@127.0.0.1:1", "ftp://127.0.0.1"] {
        assert_eq!(source.badge_status(issuer, "x", at).await, RevocationStatus::Unknown, "{issuer}");
    }
    assert_eq!(registry.requests().len(), expected.len());
}

#[tokio::test]
async fn equal_questions_share_one_request_and_a_dropped_one_leaves_it_to_the_others() {
    let late = |reply| Reply::Late(Duration::from_millis(300), Box::new(reply));
    let registry = Registry::start(move |_| late(Reply::Json(json!({"jti": "x", "revoked": true})))).await;
    let source = OnlineStatus::new(fetcher());
    let mut dropped = source.badge_status(&registry.origin, "x", registry.now());
    assert!(futures_util::poll!(&mut dropped).is_pending());
    drop(dropped);
    let questions = (0..50).map(|_| source.badge_status(&registry.origin, "x", registry.now()));
    assert!(join_all(questions).await.into_iter().all(|status| status == RevocationStatus::Revoked));
    assert_eq!(registry.requests().len(), 1);
    // A revocation is for good: neither time nor silence takes it back, and nobody asks again.
    registry.stop();
    let later = registry.now().saturating_add(Duration::from_secs(100_000));
    let answer = source.badge_status(&registry.origin, "x", later).now_or_never();
    assert_eq!(answer, Some(RevocationStatus::Revoked));
}

#[tokio::test]
async fn a_good_answer_is_renewed_before_it_ends_and_nobody_waits() {
    let registry = Registry::start(|_| Reply::Json(json!({"jti": "x", "revoked": false}))).await;
    let source = OnlineStatus::new(fetcher());
    let after = |seconds| registry.now().saturating_add(Duration::from_secs(seconds));
    let ask = |seconds| source.badge_status(&registry.origin, "x", after(seconds));
    assert_eq!(ask(0).await, RevocationStatus::Good);
    for second in 0..5 {
        assert_eq!(ask(second).now_or_never(), Some(RevocationStatus::Good), "{second}");
    }
    assert_eq!(registry.requests().len(), 1);

    // Past the half: answered at once, and asked for anew behind it.
    assert_eq!(ask(5).now_or_never(), Some(RevocationStatus::Good));
    while ask(12).now_or_never() != Some(RevocationStatus::Good) {
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.asked("/v1/badges/x"), 2, "by the call after 5 s; the one after 12 s finds its answer");

    // The renewal fails: what is known counts to its end, and not longer.
    registry.script(|_| text(503, "application/json", "{}"));
    assert_eq!(ask(15).now_or_never(), Some(RevocationStatus::Good));
    assert_eq!(ask(16).await, RevocationStatus::Unknown);
    // A clock that was set back does not bring it to life again.
    registry.script(|_| Reply::Json(json!({"jti": "x", "revoked": true})));
    let before = registry.now().saturating_sub(Duration::from_secs(3600));
    assert_eq!(source.badge_status(&registry.origin, "x", before).await, RevocationStatus::Revoked);
}

#[tokio::test]
async fn an_issuer_that_fails_is_left_alone_for_a_while() {
    let registry = Registry::start(|_| text(503, "application/json", "{}")).await;
    let source = OnlineStatus::new(fetcher());
    let after = |seconds| registry.now().saturating_add(Duration::from_secs(seconds));
    for jti in ["a", "b", "c"] {
        assert_eq!(source.badge_status(&registry.origin, jti, after(0)).await, RevocationStatus::Unknown);
        let again = source.badge_status(&registry.origin, jti, after(0)).now_or_never();
        assert_eq!(again, Some(RevocationStatus::Unknown), "a failed question is not asked at once again");
    }
    assert_eq!(registry.requests().len(), 3);
    let other = source.badge_status(&registry.origin, "d", after(0)).now_or_never();
    assert_eq!(other, Some(RevocationStatus::Unknown), "nobody waits for an issuer that fails");
    assert_eq!(registry.requests().len(), 3);

    // Some seconds later one question tries it, and the others do not wait for that.
    registry.script(|path| {
        let jti = path.split('/').nth(3).unwrap();
        Reply::Late(Duration::from_millis(100), Box::new(Reply::Json(json!({"jti": jti, "revoked": false}))))
    });
    let mut first = source.badge_status(&registry.origin, "e", after(10));
    assert!(futures_util::poll!(&mut first).is_pending());
    let meanwhile = source.badge_status(&registry.origin, "f", after(10)).now_or_never();
    assert_eq!(meanwhile, Some(RevocationStatus::Unknown));
    assert_eq!(first.await, RevocationStatus::Good);
    assert_eq!(source.badge_status(&registry.origin, "f", after(10)).await, RevocationStatus::Good);

    // An issuer that knows nothing of a badge works all the same.
    registry.script(|_| text(404, "application/json", "{}"));
    for number in 0..10 {
        let jti = format!("g{number}");
        assert_eq!(source.badge_status(&registry.origin, &jti, after(20)).await, RevocationStatus::Unknown);
    }
    assert_eq!(registry.asked("/v1/badges/g"), 10);
}

/// Attack: whoever was disabled makes the issuer unreachable, and is active again.
#[tokio::test]
async fn a_disabled_agent_stays_disabled_while_the_issuer_is_silent() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    registry.script(records.script(&registry.clock));
    let source = OnlineStatus::new(fetcher());
    let after = |seconds| registry.now().saturating_add(Duration::from_secs(seconds));
    records.disable(agent().as_str());
    let did = agent();
    assert_eq!(source.agent_status(&registry.origin, &did, after(0)).await, AgentStatus::Disabled);
    registry.script(|_| text(503, "text/html", "down"));
    assert_eq!(source.agent_status(&registry.origin, &did, after(3600)).await, AgentStatus::Disabled);
    // It is no revocation: the issuer can take it back.
    records.disabled.lock().unwrap().clear();
    registry.script(records.script(&registry.clock));
    assert_eq!(source.agent_status(&registry.origin, &did, after(3700)).await, AgentStatus::Active);
}

#[test]
fn outside_a_runtime_it_knows_nothing_and_does_not_panic() {
    let source = OnlineStatus::new(fetcher());
    let now = rmcp_guard::test_util::TEST_NOW;
    let answer = source.badge_status("http://127.0.0.1:9", "x", now).now_or_never();
    assert_eq!(answer, Some(RevocationStatus::Unknown));
}

/// Two calls of one agent, of which the first read the clock long before the second and then waited for something else.
#[tokio::test]
async fn a_shared_answer_counts_for_the_call_that_read_the_clock_first() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let answer = Reply::Json(json!({"jti": "j", "revoked": false}));
    registry.script(move |_| Reply::Late(Duration::from_millis(100), Box::new(answer.clone())));
    let (source, now) = (OnlineStatus::new(fetcher()), registry.now());
    let later = source.badge_status(&registry.origin, "j", now.saturating_add(Duration::from_secs(5)));
    let first = source.badge_status(&registry.origin, "j", now);
    assert_eq!(futures_util::join!(later, first), (RevocationStatus::Good, RevocationStatus::Good));
    assert_eq!(registry.asked("/v1/badges/"), 1);
}
