#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::enforce::record::Recording;
use crate::enforce::{CallerCredential, GuardConfig, GuardConfigBuilder, Outcome, Permit, evaluate_tool_access_sync};
use crate::evidence::{EvidenceLog, EvidenceMode, EvidenceOptions};
use crate::identity::badge::BadgeRequest;
use crate::identity::key::SigningKey;
use crate::identity::trust_level::TrustLevel;
use crate::policy::ToolRequirement;
use crate::test_util::{TEST_NOW, TestIssuer};

const AUDIENCE: &str = "https://files.example.test";
/// SHA-256 of `key`.
const KEY: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
const ANONYMOUS: PresentedCredential = Ok(CallerCredential::Anonymous);

fn config(issuer: &TestIssuer, log: EvidenceLog) -> GuardConfigBuilder {
    GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(issuer.issuer().unwrap())
        .insecure_no_revocation()
        .dangerous_dev_profile()
        .clock(issuer.clock())
        .api_key(KEY, "build-bot")
        .tool("open", ToolRequirement::anonymous())
        .tool("read", ToolRequirement::authenticated())
        .tool("write", ToolRequirement::min_trust(TrustLevel::DomainValidated))
        .evidence(log)
}

fn enforcer(issuer: &TestIssuer, log: EvidenceLog) -> Enforcer {
    Enforcer::new(config(issuer, log).build().unwrap())
}

fn in_memory(options: EvidenceOptions) -> EvidenceLog {
    options.in_memory().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "what the enforcer takes")]
fn badge(issuer: &TestIssuer, level: TrustLevel) -> PresentedCredential {
    Ok(CallerCredential::badge(issuer.badge(level, AUDIENCE).unwrap()))
}

/// A badge that only the signature shows to be forged; each number makes another one.
#[expect(clippy::unnecessary_wraps, reason = "what the enforcer takes")]
fn forged(issuer: &TestIssuer, number: usize) -> PresentedCredential {
    let token = issuer.badge(TrustLevel::Registered, AUDIENCE).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let mut signature = [0_u8; 64];
    signature[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Ok(CallerCredential::badge(format!("{signed}.{}", crate::encoding::base64url(&signature))))
}

/// A badge of an agent that nobody has seen.
#[expect(clippy::unnecessary_wraps, reason = "what the enforcer takes")]
fn newcomer(issuer: &TestIssuer, number: u32) -> PresentedCredential {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    let agent = SigningKey::from_seed(&seed);
    let request = BadgeRequest::new(agent.did(), agent.public_key(), TrustLevel::Registered);
    Ok(CallerCredential::badge(issuer.issue(&request.domain("agent.example.test").audience(AUDIENCE)).unwrap()))
}

async fn call(enforcer: &Enforcer, tool: &str, credential: &PresentedCredential) -> Result<Permit, DenyReason> {
    enforcer.authorize(&Call::tool(tool, None), credential).await.map_err(|denial| denial.reason())
}

fn of_kind(records: &[Value], kind: &str) -> Vec<Value> {
    records.iter().filter(|record| record["rmcp_guard.kind"] == kind).cloned().collect()
}

fn sum(records: &[Value], kind: &str, count: &str) -> u64 {
    of_kind(records, kind).iter().map(|record| record[count].as_u64().unwrap()).sum()
}

fn counted(records: &[Value]) -> u64 {
    sum(records, "coalesced", "rmcp_guard.coalesced.count")
}

/// Attack: anonymous calls are held open until no place is left in the queue, so that nobody can be recorded.
// without a timer nothing ends the wait
#[cfg(feature = "rt")]
#[tokio::test]
async fn s29_callers_who_show_who_they_are_have_places_that_strangers_cannot_take() {
    let issuer = TestIssuer::new().unwrap();
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded] {
        let temporary = tempfile::tempdir().unwrap();
        // longer than a slow disk takes
        let options = EvidenceLog::options().mode(mode).queue(8).wait_limit(Duration::from_secs(2));
        let log = options.create_or_open(temporary.path().join("log")).unwrap();
        let enforcer = enforcer(&issuer, log.clone());
        let hold = || enforcer.begin(Call::tool("open", None), &ANONYMOUS, Recording::Call);
        let flood: Vec<_> = std::iter::repeat_with(hold).take(500).collect();
        assert_eq!(
            flood.iter().filter(|held| matches!(held.trace, Trace::Place(_))).count(),
            2,
            "half of eight places"
        );
        assert!(flood[2..].iter().all(|held| matches!(held.trace, Trace::Count)));

        for credential in [badge(&issuer, TrustLevel::DomainValidated), Ok(CallerCredential::api_key("key"))] {
            let permit = call(&enforcer, "read", &credential).await.unwrap();
            permit.finish(Outcome::Ok, None).await.unwrap();
        }
        // no place, and none comes back in time
        assert_eq!(call(&enforcer, "open", &ANONYMOUS).await.unwrap_err(), DenyReason::EvidenceUnavailable);
        drop(flood);
        assert!(call(&enforcer, "open", &ANONYMOUS).await.is_ok(), "the places come back");

        log.close();
        let records = log.records().unwrap();
        assert_eq!((of_kind(&records, "decision").len(), counted(&records)), (5, 499), "{mode:?}");
        let coalesced = of_kind(&records, "coalesced");
        let reasons: Vec<_> =
            coalesced.iter().map(|record| record["rmcp_guard.deny_reason"].as_str().unwrap()).collect();
        assert!(reasons.contains(&"call_cancelled") && reasons.contains(&"evidence_unavailable"), "{reasons:?}");
    }
}

/// Attack: a flood of denied calls fills the disk, a kilobyte each.
#[tokio::test]
async fn s29_above_their_bytes_identical_denials_are_one_record_with_their_number() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().denied_bytes(1, 1));
    let enforcer = enforcer(&issuer, log.clone());
    let deny = async |tool: &str| enforcer.authorize(&Call::tool(tool, None), &ANONYMOUS).await.unwrap_err();

    assert!(deny("read").await.evidence_id().is_some(), "the first one has a record");
    for number in 0..1_000 {
        let denial = deny(["read", "write", "unknown"][number % 3]).await;
        assert_eq!(denial.evidence_id(), None, "a count that is not written yet is nothing to name");
        assert_eq!(denial.public_reason(), DenyReason::BadgeMissing, "a denial stays what it is");
    }
    assert_eq!(log.health().coalesced, 1_000);
    // those who are known, and those whom a rule lets in, have nothing to do with it
    for credential in [ANONYMOUS, badge(&issuer, TrustLevel::Registered), Ok(CallerCredential::api_key("key"))] {
        assert!(call(&enforcer, "open", &credential).await.is_ok());
    }
    let denial = enforcer.authorize(&Call::tool("write", None), &badge(&issuer, TrustLevel::Registered)).await;
    assert!(denial.unwrap_err().evidence_id().is_some(), "who is known is denied by name");

    let records = log.records().unwrap();
    assert_eq!((of_kind(&records, "decision").len(), counted(&records)), (5, 1_000));
    let read = of_kind(&records, "coalesced").into_iter().find(|record| record["capiscio.target"] == "read").unwrap();
    for (member, want) in [
        ("event.name", "rmcp_guard.coalesced_denials"),
        ("capiscio.decision", "DENY"),
        ("capiscio.deny_reason", "TOOL_AUTH_MISSING"),
        ("capiscio.auth.level", "ANONYMOUS"),
        ("rmcp_guard.deny_reason", "badge_missing"),
        ("rmcp_guard.method", "tools/call"),
        ("rmcp_guard.transport", "stdio"),
        ("rmcp_guard.coalesced.first", "2025-10-09T08:53:20.000000000Z"),
        ("rmcp_guard.policy_digest", enforcer.config().digest()),
    ] {
        assert_eq!(read[member], want, "{member}");
    }
    // the bytes come back with time, and with them the records
    issuer.clock().advance(Duration::from_secs(3_600));
    assert!(deny("read").await.evidence_id().is_some());
}

/// Attack: each call names another tool, so that no two denials are alike.
#[tokio::test]
async fn s29_made_up_names_share_a_bounded_number_of_records() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().denied_bytes(0, 0));
    let enforcer = enforcer(&issuer, log.clone());
    for number in 0..500 {
        let name = format!("tool_{number}{}", "x".repeat(number));
        assert_eq!(call(&enforcer, &name, &ANONYMOUS).await.unwrap_err(), DenyReason::ToolNotAllowed);
    }
    log.close();
    let records = log.records().unwrap();
    assert_eq!((of_kind(&records, "decision").len(), counted(&records)), (0, 500));
    // the thread that writes counts may have written some in between
    assert!(of_kind(&records, "coalesced").len() < 100);
    assert!(of_kind(&records, "coalesced").iter().any(|record| record["rmcp_guard.coalesced.many"][0] == "targets"));
}

/// Attack: what a rule opens to everybody is called until the disk is full.
#[tokio::test]
async fn s29_anonymous_calls_above_their_bytes_are_denied_and_counted() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().anonymous_bytes(1, 1));
    let enforcer = enforcer(&issuer, log.clone());
    call(&enforcer, "open", &ANONYMOUS).await.unwrap().finish(Outcome::Ok, None).await.unwrap();
    for _ in 0..10 {
        let denial = enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.unwrap_err();
        assert_eq!((denial.reason(), denial.public_reason()), (DenyReason::RateLimited, DenyReason::RateLimited));
        assert_eq!(denial.evidence_id(), None);
    }
    let synchronous = evaluate_tool_access_sync(&enforcer, "open", None, &CallerCredential::Anonymous).unwrap();
    assert_eq!((synchronous.deny_reason, synchronous.evidence_id), (Some(DenyReason::RateLimited), None));
    // a denial is another matter, and those who are known have no limit
    let denial = enforcer.authorize(&Call::tool("read", None), &ANONYMOUS).await.unwrap_err();
    assert!(denial.evidence_id().is_some());
    assert!(call(&enforcer, "open", &Ok(CallerCredential::api_key("key"))).await.is_ok());

    let records = log.records().unwrap();
    assert_eq!((of_kind(&records, "decision").len(), counted(&records)), (3, 11));
    assert_eq!(of_kind(&records, "coalesced")[0]["rmcp_guard.deny_reason"], "rate_limited");
}

/// Attack: badges that anybody can make for itself are used to pass for somebody who is known.
#[tokio::test]
async fn s29_a_badge_that_anybody_can_make_shows_nobody() {
    let issuer = TestIssuer::new().unwrap();
    let credential = badge(&issuer, TrustLevel::SelfSigned);
    let everybody = enforcer(&issuer, in_memory(EvidenceLog::options()));
    assert!(!everybody.knows(&everybody.identify(&credential).await));
    let named = config(&issuer, in_memory(EvidenceLog::options())).trusted_self_signed(issuer.agent_did());
    let named = Enforcer::new(named.build().unwrap());
    assert!(named.knows(&named.identify(&credential).await));
    for (credential, want) in [
        (ANONYMOUS, false),
        (forged(&issuer, 1), false),
        (Ok(CallerCredential::api_key("other")), false),
        (Ok(CallerCredential::api_key("key")), true),
        (badge(&issuer, TrustLevel::Registered), true),
    ] {
        assert_eq!(named.knows(&named.identify(&credential).await), want, "{credential:?}");
    }
}

/// Attack: forged badges, each of which costs us a signature check and their sender nothing.
#[tokio::test]
async fn s29_signature_checks_before_authentication_are_capped() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options());
    let enforcer = Enforcer::new(config(&issuer, log).signature_checks_per_second(1).build().unwrap());
    let seen = badge(&issuer, TrustLevel::Registered);
    assert!(call(&enforcer, "read", &seen).await.is_ok());
    for number in 0..10 {
        let denied = call(&enforcer, "read", &forged(&issuer, number)).await.unwrap_err();
        assert_eq!(denied, DenyReason::BadgeSignatureInvalid, "{number}");
    }
    for number in 10..20 {
        let denial = enforcer.authorize(&Call::tool("read", None), &forged(&issuer, number)).await.unwrap_err();
        assert_eq!((denial.reason(), denial.public_reason()), (DenyReason::RateLimited, DenyReason::RateLimited));
    }
    // what is remembered costs no check; what is new here waits
    assert!(call(&enforcer, "read", &seen).await.is_ok());
    assert!(call(&enforcer, "read", &Ok(CallerCredential::api_key("key"))).await.is_ok());
    assert!(call(&enforcer, "open", &ANONYMOUS).await.is_ok());
    assert!(call(&enforcer, "open", &badge(&issuer, TrustLevel::SelfSigned)).await.is_ok(), "has a budget of its own");
    assert_eq!(call(&enforcer, "read", &newcomer(&issuer, 1)).await.unwrap_err(), DenyReason::RateLimited);
    issuer.clock().advance(Duration::from_secs(1));
    assert!(call(&enforcer, "read", &newcomer(&issuer, 1)).await.is_ok());
}

#[tokio::test]
async fn s29_a_fleet_of_new_badges_is_no_flood() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options());
    let enforcer = Enforcer::new(config(&issuer, log).signature_checks_per_second(1).build().unwrap());
    for number in 0..100 {
        assert!(call(&enforcer, "read", &newcomer(&issuer, number)).await.is_ok(), "{number}");
    }
}

/// Attack: a badge that verifies and does not count, such as one that has expired, is sent over and over: it never
/// enters the cache, so each one costs a check.
#[tokio::test]
async fn s29_a_genuine_badge_that_does_not_count_costs_its_check() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options());
    let enforcer = Enforcer::new(config(&issuer, log).signature_checks_per_second(1).build().unwrap());
    let expired = badge(&issuer, TrustLevel::Registered);
    issuer.clock().advance(Duration::from_secs(3_000));
    for want in std::iter::repeat_n(DenyReason::BadgeExpired, 10).chain([DenyReason::RateLimited; 3]) {
        assert_eq!(call(&enforcer, "read", &expired).await.unwrap_err(), want);
    }
}

/// Attack: self-signed badges, which anybody can make in any number, each of them genuine.
#[tokio::test]
async fn s29_self_signed_badges_have_a_budget_that_no_success_fills() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options());
    let enforcer = Enforcer::new(config(&issuer, log).signature_checks_per_second(1).build().unwrap());
    let one = |number: u8| {
        let agent = SigningKey::from_seed(&[number; 32]);
        let audience = [AUDIENCE.to_owned()];
        let now = crate::clock::Clock::now_unix(&*issuer.clock());
        Ok(CallerCredential::badge(
            crate::identity::badge::self_sign(&agent, &audience, Duration::from_secs(300), now).unwrap(),
        ))
    };
    for number in 0..10 {
        assert!(call(&enforcer, "open", &one(number)).await.is_ok(), "{number}");
    }
    assert_eq!(call(&enforcer, "open", &one(10)).await.unwrap_err(), DenyReason::RateLimited);
    assert!(call(&enforcer, "read", &newcomer(&issuer, 1)).await.is_ok());
}

/// Attack: requests with a made-up session id, which are no calls and leave a notice each.
#[tokio::test]
async fn s29_refused_sessions_are_counted_too_and_are_no_calls() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().denied_bytes(0, 1));
    let enforcer = enforcer(&issuer, log.clone());
    for _ in 0..50 {
        enforcer.session_refused("session_unbound", None, vec![("reason", "session_unbound".to_owned())]);
    }
    assert_eq!(call(&enforcer, "read", &ANONYMOUS).await.unwrap_err(), DenyReason::BadgeMissing);
    let records = log.records().unwrap();
    assert_eq!(of_kind(&records, "notice").len(), 1);
    assert_eq!(counted(&records), 1);
    assert_eq!(sum(&records, "coalesced_sessions", "rmcp_guard.coalesced.count"), 49);
    let refused = of_kind(&records, "coalesced_sessions").remove(0);
    assert_eq!(refused["rmcp_guard.deny_reason"], "session_unbound");
    assert_eq!((refused.get("rmcp_guard.method"), refused.get("capiscio.target")), (None, None));
}

/// A count is written although nobody calls any more.
#[tokio::test]
async fn s29_a_count_does_not_wait_for_the_next_call() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().denied_bytes(0, 0));
    let enforcer = enforcer(&issuer, log.clone());
    let before = log.health().records;
    for _ in 0..2 {
        let written = log.health().records;
        call(&enforcer, "read", &ANONYMOUS).await.unwrap_err();
        while log.health().records == written {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(log.health().records, before + 2);
    assert_eq!(counted(&log.records().unwrap()), 2);
}

/// A window ends with the time of the calls, also where that is not the time of day.
#[tokio::test]
async fn s29_a_window_lasts_a_second() {
    let issuer = TestIssuer::new().unwrap();
    let log = in_memory(EvidenceLog::options().denied_bytes(0, 0));
    let enforcer = enforcer(&issuer, log.clone());
    for second in 0..5 {
        issuer.clock().set(crate::clock::UnixSeconds::new(TEST_NOW.as_i64() + second));
        call(&enforcer, "read", &ANONYMOUS).await.unwrap_err();
    }
    let records = log.records().unwrap();
    assert_eq!(counted(&records), 5);
    assert_eq!(of_kind(&records, "coalesced").len(), 5);
}

/// Attack: calls hold every place of the queue until the server is stopped, so that its counts find none.
#[tokio::test]
async fn s29_counts_are_written_at_the_end_though_the_queue_is_full() {
    let issuer = TestIssuer::new().unwrap();
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded, EvidenceMode::BestEffort] {
        let temporary = tempfile::tempdir().unwrap();
        let options = EvidenceLog::options().mode(mode).queue(4).denied_bytes(0, 0);
        let log = options.create_or_open(temporary.path().join("log")).unwrap();
        let enforcer = enforcer(&issuer, log.clone());
        // the record of the policy has given its place back
        log.publish(Duration::from_secs(60)).unwrap();
        let held = log.reserve_blocking(4).unwrap();
        for tool in ["read", "write", "unknown"] {
            call(&enforcer, tool, &ANONYMOUS).await.unwrap_err();
        }
        enforcer.session_refused("session_unbound", None, Vec::new());
        log.close();
        drop(held);
        let records = log.records().unwrap();
        let [one] = of_kind(&records, "coalesced").try_into().unwrap();
        assert_eq!((&one["rmcp_guard.coalesced.count"], one.get("capiscio.target")), (&3.into(), None), "{mode:?}");
        assert_eq!(one["rmcp_guard.coalesced.many"][0], "auth_levels");
        let [sessions] = of_kind(&records, "coalesced_sessions").try_into().unwrap();
        assert_eq!(sessions["rmcp_guard.deny_reason"], "session_unbound");
    }
}

/// What a caller of the storm does.
async fn stormy(enforcer: &Enforcer, issuer: &TestIssuer, number: usize) {
    let known = [badge(issuer, TrustLevel::DomainValidated), Ok(CallerCredential::api_key("key"))];
    let tool = format!("tool_{number}");
    match number % 8 {
        0 => drop(call(enforcer, &tool, &ANONYMOUS).await),
        1 => drop(call(enforcer, "open", &ANONYMOUS).await),
        2 => drop(call(enforcer, "read", &forged(issuer, number)).await),
        3 => drop(call(enforcer, "read", &known[number % 2]).await),
        4 => drop(call(enforcer, "unknown", &known[number % 2]).await),
        5 => drop(enforcer.begin(Call::tool(&tool, None), &ANONYMOUS, Recording::Call)),
        6 => {
            let rich = CallerCredential::Anonymous;
            drop(crate::enforce::evaluate_tool_access(enforcer, "open", None, &rich).await);
        }
        _ => {
            // goes away at its first wait
            let (target, credential) = (Call::tool("open", None), &known[number % 2]);
            let mut gone = pin!(enforcer.authorize(&target, credential));
            let _ = gone.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// The law: each call is one decision or one in a count, or in best-effort mode one that a gap counts.
fn assert_law(records: &[Value], calls: u64, name: &str) {
    let decisions = of_kind(records, "decision").len() as u64;
    let (counted, gaps) = (counted(records), sum(records, "gap", "rmcp_guard.gap.count"));
    assert_eq!(decisions + counted + gaps, calls, "{name}: {decisions} decisions, {counted} counted, {gaps} dropped");
}

async fn storm(enforcer: &Enforcer, issuer: &Arc<TestIssuer>, calls: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (enforcer, issuer) = (enforcer.clone(), Arc::clone(issuer));
        tasks.spawn(async move {
            for number in (task..calls).step_by(8) {
                stormy(&enforcer, &issuer, number + number / 8).await;
                if number % 97 == 0 {
                    issuer.clock().advance(Duration::from_secs(1));
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_in_a_flood_every_call_is_a_record_or_counted() {
    const CALLS: usize = 240;
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded, EvidenceMode::BestEffort] {
        for queue in [6, 4_096] {
            let issuer = Arc::new(TestIssuer::new().unwrap());
            let temporary = tempfile::tempdir().unwrap();
            let options = || {
                let options = EvidenceLog::options().mode(mode).queue(queue).wait_limit(Duration::from_millis(250));
                options.denied_bytes(100, 8_000).anonymous_bytes(100, 8_000)
            };
            let name = format!("{mode:?} with {queue} places");
            // two runs, with an orderly end between them
            for run in 1..=2 {
                let log = options().create_or_open(temporary.path().join("log")).unwrap();
                let enforcer = Enforcer::new(config(&issuer, log.clone()).outcomes(false).build().unwrap());
                storm(&enforcer, &issuer, CALLS).await;
                log.close();
                let records = log.records().unwrap();
                assert!(counted(&records) > 0, "{name}: nothing was counted");
                assert_law(&records, (run * CALLS) as u64, &name);
            }
        }
    }
}

/// A log that is closed while calls come tells at least of those that had their answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_what_was_answered_before_the_log_is_closed_is_in_it() {
    let issuer = Arc::new(TestIssuer::new().unwrap());
    for wait in [1, 3, 9] {
        let temporary = tempfile::tempdir().unwrap();
        let options = EvidenceLog::options().denied_bytes(0, 5_000).anonymous_bytes(0, 5_000);
        let log = options.create_or_open(temporary.path().join("log")).unwrap();
        let enforcer = Enforcer::new(config(&issuer, log.clone()).outcomes(false).build().unwrap());
        let answered = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let (enforcer, issuer, answered) = (enforcer.clone(), Arc::clone(&issuer), Arc::clone(&answered));
            tasks.spawn(async move {
                for number in (task..800).step_by(4) {
                    stormy(&enforcer, &issuer, number).await;
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while answered.load(Ordering::SeqCst) < wait * 50 {
            tokio::task::yield_now().await;
        }
        let before = answered.load(Ordering::SeqCst);
        let closing = log.clone();
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
        tasks.join_all().await;
        let records = log.records().unwrap();
        let told = of_kind(&records, "decision").len() as u64 + counted(&records);
        assert!((before..=800).contains(&told), "{before} were answered, {told} are told of");
    }
}
