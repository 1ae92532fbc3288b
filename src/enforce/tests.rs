//! The enforcer from outside: every answer with its record, in every mode, also when the caller goes away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::{Map, Value, json};

use super::record::Recording;
use super::*;
use crate::evidence::{EvidenceLog, EvidenceMode};
use crate::identity::badge::BadgeRequest;
use crate::identity::did::Did;
use crate::identity::key::SigningKey;
use crate::identity::resolve::{KeySource, MaybeReady, ResolveError};
use crate::identity::server::ServerIdentity;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;
use crate::policy::{DenyReason, GuardedMethod, MethodAccess, ToolRequirement};
use crate::test_util::{TEST_ISSUER, TestIssuer};

const AUDIENCE: &str = "https://files.example.test";

fn config(issuer: &TestIssuer, evidence: EvidenceLog) -> GuardConfigBuilder {
    GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(issuer.issuer().unwrap())
        .insecure_no_revocation()
        .clock(issuer.clock())
        .tool("open", ToolRequirement::anonymous())
        .tool("read", ToolRequirement::min_trust(TrustLevel::Registered))
        .tool("write", ToolRequirement::min_trust(TrustLevel::DomainValidated).durable_evidence())
        .evidence(evidence)
}

fn enforcer(issuer: &TestIssuer, evidence: EvidenceLog) -> Enforcer {
    Enforcer::new(config(issuer, evidence).build().unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "what the enforcer takes")]
fn badge(issuer: &TestIssuer, level: TrustLevel) -> PresentedCredential {
    Ok(CallerCredential::badge(issuer.badge(level, AUDIENCE).unwrap()))
}

const ANONYMOUS: PresentedCredential = Ok(CallerCredential::Anonymous);

fn records(enforcer: &Enforcer, name: &str) -> Vec<Value> {
    let records = enforcer.config().evidence().records().unwrap();
    records.into_iter().filter(|record| record["event.name"] == name).collect()
}

fn decisions(enforcer: &Enforcer) -> Vec<Value> {
    records(enforcer, "capiscio.tool_invocation")
}

fn outcomes(enforcer: &Enforcer) -> Vec<Value> {
    let mut found = enforcer.config().evidence().records().unwrap();
    found.retain(|record| record.get("rmcp_guard.outcome").is_some());
    found
}

#[tokio::test]
async fn an_allowed_call_leaves_a_decision_and_an_outcome() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let arguments: Map<String, Value> = json!({"path": "a.txt"}).as_object().unwrap().clone();
    let credential = badge(&issuer, TrustLevel::Registered);
    let permit = enforcer.authorize(&Call::tool("read", Some(&arguments)), &credential).await.unwrap();
    assert_eq!(permit.principal().did, Some(issuer.agent_did()));
    assert_eq!(permit.principal().trust_level, Some(TrustLevel::Registered));
    let id = permit.evidence_id().to_string();
    permit.finish(Outcome::Ok, None).await.unwrap();

    let [decision] = decisions(&enforcer).try_into().unwrap();
    assert_eq!(decision["id"], id.as_str());
    assert_eq!(decision["capiscio.decision"], "ALLOW");
    assert_eq!(decision["capiscio.agent.did"], issuer.agent_did().as_str());
    assert_eq!(decision["capiscio.target"], "read");
    assert!(decision["capiscio.tool.params_hash"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert!(!decision.to_string().contains("a.txt"), "arguments are never stored");
    let [outcome] = outcomes(&enforcer).try_into().unwrap();
    assert_eq!(outcome["rmcp_guard.outcome"], "ok");
    assert_eq!(outcome["rmcp_guard.decision_id"], id.as_str());
}

/// Attack: a request is taken for its sender's last one, or for somebody else's, since somebody was just authenticated.
#[cfg(feature = "layer")]
#[tokio::test]
async fn s5_an_authentication_answers_for_its_own_credential_configuration_and_moment_only() {
    let issuer = TestIssuer::new().unwrap();
    let (enforcer, twin) = (enforcer(&issuer, EvidenceLog::in_memory()), enforcer(&issuer, EvidenceLog::in_memory()));
    let credential = badge(&issuer, TrustLevel::Registered);
    let known = enforcer.identify(&credential).await;
    assert!(known.answers_for(&enforcer, &credential));
    assert!(known.answers_for(&enforcer.clone(), &credential), "a clone has the same configuration");
    assert!(!known.answers_for(&twin, &credential), "another says the same and is not the same");
    for other in [badge(&issuer, TrustLevel::Registered), Ok(CallerCredential::api_key("key")), ANONYMOUS] {
        assert!(!known.answers_for(&enforcer, &other), "the same agent with another badge, or without");
        assert!(!enforcer.identify(&other).await.answers_for(&enforcer, &credential));
    }
    let failed = enforcer.identify(&Ok(CallerCredential::badge("no badge"))).await;
    assert!(!failed.answers_for(&enforcer, &Ok(CallerCredential::badge("no badge"))), "a failure is asked about again");

    for (name, seconds, want) in [("at its end", 5, true), ("late", 6, false), ("before it was", -1, false)] {
        let at = crate::test_util::TEST_NOW.as_i64() + seconds;
        issuer.clock().set(crate::clock::UnixSeconds::new(at));
        assert_eq!(known.answers_for(&enforcer, &credential), want, "{name}");
    }
}

#[tokio::test]
async fn every_denial_has_its_reason_and_its_record() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let foreign = CallerCredential::badge(issuer.badge(TrustLevel::Registered, "https://other.example.test").unwrap());
    let agent = SigningKey::from_seed(&[9; 32]);
    let unbound = issuer.issue(&BadgeRequest::new(agent.did(), agent.public_key(), TrustLevel::Registered)).unwrap();
    let cases = [
        ("read", ANONYMOUS, DenyReason::BadgeMissing, "TOOL_AUTH_MISSING"),
        ("unknown", ANONYMOUS, DenyReason::ToolNotAllowed, "TOOL_POLICY_DENIED"),
        ("write", badge(&issuer, TrustLevel::Registered), DenyReason::TrustInsufficient, "TOOL_TRUST_INSUFFICIENT"),
        ("open", badge(&issuer, TrustLevel::SelfSigned), DenyReason::IssuerUntrusted, "TOOL_ISSUER_UNTRUSTED"),
        ("open", Ok(foreign), DenyReason::AudienceMismatch, "TOOL_BADGE_INVALID"),
        ("read", Ok(CallerCredential::badge(unbound)), DenyReason::BadgeUnbound, "TOOL_BADGE_INVALID"),
        ("open", Ok(CallerCredential::badge("not a badge")), DenyReason::BadgeInvalid, "TOOL_BADGE_INVALID"),
        ("open", Ok(CallerCredential::api_key("unknown")), DenyReason::ApiKeyUnknown, "TOOL_BADGE_INVALID"),
    ];
    for (number, (tool, credential, reason, rfc)) in cases.into_iter().enumerate() {
        let denial = enforcer.authorize(&Call::tool(tool, None), &credential).await.unwrap_err();
        assert_eq!(denial.reason(), reason, "{tool}");
        let recorded = decisions(&enforcer);
        assert_eq!(recorded.len(), number + 1, "one record per decision");
        let record = recorded.last().unwrap();
        assert_eq!(record["id"], denial.evidence_id().unwrap().to_string());
        assert_eq!(record["capiscio.decision"], "DENY");
        assert_eq!(record["capiscio.deny_reason"], rfc, "{reason}");
        assert_eq!(record["rmcp_guard.deny_reason"], reason.code());
    }
    assert!(outcomes(&enforcer).is_empty(), "a denied call has no outcome");
}

#[tokio::test]
async fn time_is_looked_at_on_every_call() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let credential = badge(&issuer, TrustLevel::Registered);
    let call = Call::tool("read", None);
    drop(enforcer.authorize(&call, &credential).await.unwrap());
    issuer.clock().advance(std::time::Duration::from_secs(300 + 60));
    let denial = enforcer.authorize(&call, &credential).await.unwrap_err();
    assert_eq!(denial.reason(), DenyReason::BadgeExpired);
}

/// Attack: anybody copies the badge that a server shows in every handshake, ours too, and calls with it.
#[tokio::test]
async fn s02_a_servers_public_badge_is_no_credential() {
    let issuer = TestIssuer::new().unwrap();
    let own = SigningKey::from_seed(&[5; 32]);
    let own_did: Did = "did:web:issuer.example.test:agents:us".parse().unwrap();
    let other_server: Did = "did:web:issuer.example.test:servers:files".parse().unwrap();
    let key = SigningKey::from_seed(&[6; 32]).public_key();
    let mint = |did: &Did, key: &crate::identity::key::PublicKey| {
        let request = BadgeRequest::new(did.clone(), key.clone(), TrustLevel::Registered).audience(AUDIENCE);
        Ok(CallerCredential::badge(issuer.issue(&request).unwrap()))
    };
    let identity = ServerIdentity::builder(own_did.clone(), Arc::new(SigningKey::from_seed(&[5; 32]))).build().unwrap();
    let guard = config(&issuer, EvidenceLog::in_memory()).own_identity(&identity);
    let enforcer = Enforcer::new(guard.build().unwrap());
    for (name, credential) in [
        ("our DID", mint(&own_did, &key)),
        (
            "our key under another DID",
            mint(&"did:web:issuer.example.test:agents:x".parse().unwrap(), &own.public_key()),
        ),
        ("another server", mint(&other_server, &key)),
    ] {
        for tool in ["open", "read"] {
            let denial = enforcer.authorize(&Call::tool(tool, None), &credential).await.unwrap_err();
            assert_eq!(denial.reason(), DenyReason::ServerBadgePresented, "{name}");
        }
    }
}

/// Attack: a forged token writes the DID of somebody else into the log as if it had been verified.
#[tokio::test]
async fn s09_unverified_identifiers_are_recorded_as_claims_only() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let token = issuer.badge(TrustLevel::ExtendedValidated, AUDIENCE).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", crate::encoding::base64url(&[7; 64]));
    let denial = enforcer.authorize(&Call::tool("read", None), &Ok(CallerCredential::badge(forged))).await.unwrap_err();
    assert_eq!(denial.reason(), DenyReason::BadgeSignatureInvalid);
    let [record] = decisions(&enforcer).try_into().unwrap();
    assert_eq!(record["capiscio.agent.did"], "");
    assert!(record.get("capiscio.badge.jti").is_none());
    assert!(record.get("trust_level").is_none());
    let claimed: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(claimed.iter().any(|key| key.contains("claimed.")), "{claimed:?}");
}

#[tokio::test]
async fn a_dropped_permit_is_recorded_as_cancelled_and_a_panic_as_a_panic() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    drop(enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.unwrap());
    let permit = enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _permit = permit;
        panic!("the tool panics");
    }));
    assert!(panicked.is_err());
    let found: Vec<Value> =
        outcomes(&enforcer).into_iter().map(|record| record["rmcp_guard.outcome"].clone()).collect();
    assert_eq!(found, ["cancelled", "panicked"]);
}

/// A source of keys that never answers.
#[derive(Debug)]
struct Silent;

impl KeySource for Silent {
    fn keys<'a>(
        &'a self,
        _: Option<&'a str>,
    ) -> MaybeReady<'a, Result<Arc<crate::identity::jwks::JwkSet>, ResolveError>> {
        MaybeReady::Wait(Box::pin(std::future::pending()))
    }
}

#[tokio::test]
async fn a_call_dropped_before_its_decision_leaves_a_record() {
    let issuer = TestIssuer::new().unwrap();
    let silent = Issuer::with_keys(TEST_ISSUER, Arc::new(Silent)).unwrap();
    let guard = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(silent)
        .insecure_no_revocation()
        .clock(issuer.clock())
        .tool("read", ToolRequirement::min_trust(TrustLevel::Registered))
        .evidence(EvidenceLog::in_memory());
    let enforcer = Enforcer::new(guard.build().unwrap());
    let credential = badge(&issuer, TrustLevel::Registered);
    {
        let call = Call::tool("read", None);
        let mut authorize = pin!(enforcer.authorize(&call, &credential));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(authorize.as_mut().poll(&mut context), Poll::Pending));
    }
    let [record] = decisions(&enforcer).try_into().unwrap();
    assert_eq!(record["rmcp_guard.deny_reason"], "call_cancelled");

    let sync = evaluate_tool_access_sync(&enforcer, "read", None, &credential.unwrap());
    assert_eq!(sync, Err(WouldWait), "the synchronous form does not wait for keys");
    assert_eq!(decisions(&enforcer).len(), 1, "and records nothing that it did not decide");
}

#[tokio::test]
async fn without_evidence_there_is_no_call() {
    let issuer = TestIssuer::new().unwrap();
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded] {
        let log = EvidenceLog::options().mode(mode).in_memory().unwrap();
        let enforcer = enforcer(&issuer, log.clone());
        log.close();
        let denial = enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.unwrap_err();
        assert_eq!(denial.reason(), DenyReason::EvidenceUnavailable, "{mode:?}");
        assert_eq!(denial.evidence_id(), None);
        // a denial stays what it is, and does not claim a record
        let denial = enforcer.authorize(&Call::tool("read", None), &ANONYMOUS).await.unwrap_err();
        assert_eq!(denial.reason(), DenyReason::BadgeMissing, "{mode:?}");
        assert_eq!(denial.evidence_id(), None);
    }
}

// without a timer nothing ends the wait
#[cfg(feature = "rt")]
#[tokio::test]
async fn a_full_queue_denies_within_the_limit() {
    let issuer = TestIssuer::new().unwrap();
    let log = EvidenceLog::options().queue(4).in_memory().unwrap();
    let enforcer = enforcer(&issuer, log.clone());
    let held = std::iter::repeat_with(|| log.reserve(1)).take_while(Result::is_ok).collect::<Vec<_>>();
    assert_eq!(log.reserve(1).unwrap_err(), crate::evidence::AppendError::Full);
    let denial = enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.unwrap_err();
    assert_eq!(denial.reason(), DenyReason::EvidenceUnavailable);
    drop(held);
    assert!(enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await.is_ok(), "room came back");
}

#[tokio::test]
async fn evaluation_decides_and_records_without_an_outcome() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let credential = CallerCredential::badge(issuer.badge(TrustLevel::Registered, AUDIENCE).unwrap());
    let allowed = evaluate_tool_access(&enforcer, "read", None, &credential).await;
    assert_eq!(allowed.decision, crate::policy::Decision::Allow);
    assert_eq!(allowed.trust_level, Some(TrustLevel::Registered));
    let denied = evaluate_tool_access(&enforcer, "write", None, &credential).await;
    assert_eq!(denied.deny_reason, Some(DenyReason::TrustInsufficient));
    assert_eq!(denied.agent_did, Some(issuer.agent_did()), "a verified caller is named also when denied");
    assert_eq!(decisions(&enforcer).len(), 2);
    assert!(outcomes(&enforcer).is_empty());
}

#[test]
fn the_synchronous_form_needs_no_runtime() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let credential = CallerCredential::badge(issuer.badge(TrustLevel::DomainValidated, AUDIENCE).unwrap());
    let result = evaluate_tool_access_sync(&enforcer, "write", None, &credential).unwrap();
    assert_eq!(result.decision, crate::policy::Decision::Allow, "durable evidence is waited for on this thread");
}

#[cfg(feature = "rt")]
#[tokio::test]
async fn the_synchronous_form_never_blocks_a_worker() {
    let issuer = TestIssuer::new().unwrap();
    let enforcer = enforcer(&issuer, EvidenceLog::in_memory());
    let credential = CallerCredential::badge(issuer.badge(TrustLevel::DomainValidated, AUDIENCE).unwrap());
    assert_eq!(evaluate_tool_access_sync(&enforcer, "write", None, &credential), Err(WouldWait));
    assert!(decisions(&enforcer).is_empty());
    assert!(evaluate_tool_access_sync(&enforcer, "read", None, &credential).is_ok(), "bounded evidence is only queued");
}

#[tokio::test]
async fn other_methods_follow_their_own_rule() {
    let issuer = TestIssuer::new().unwrap();
    let guard = config(&issuer, EvidenceLog::in_memory())
        .method(GuardedMethod::Prompts, MethodAccess::Require(ToolRequirement::min_trust(TrustLevel::Registered)))
        .method(GuardedMethod::Completion, MethodAccess::Inner)
        .allow_custom_method("vendor/echo");
    let enforcer = Enforcer::new(guard.build().unwrap());
    let method = |class, method| Call::new(Action::Method { class, method, target: "x" });
    let prompts = method(GuardedMethod::Prompts, "prompts/get");
    let registered = badge(&issuer, TrustLevel::Registered);
    assert!(enforcer.authorize(&prompts, &registered).await.is_ok());
    assert_eq!(enforcer.authorize(&prompts, &ANONYMOUS).await.unwrap_err().reason(), DenyReason::BadgeMissing);
    let resources = method(GuardedMethod::Resources, "resources/read");
    assert_eq!(enforcer.authorize(&resources, &registered).await.unwrap_err().reason(), DenyReason::MethodNotAllowed);
    let completion = method(GuardedMethod::Completion, "completion/complete");
    assert!(enforcer.authorize(&completion, &ANONYMOUS).await.is_ok());
    assert!(enforcer.authorize(&Call::new(Action::Custom { method: "vendor/echo" }), &ANONYMOUS).await.is_ok());
    let other = Call::new(Action::Custom { method: "vendor/Echo" });
    assert_eq!(enforcer.authorize(&other, &ANONYMOUS).await.unwrap_err().reason(), DenyReason::MethodNotAllowed);
}

/// Attack: rules are changed between two audits, and nothing shows which ones a decision was taken by.
#[tokio::test]
async fn s33_every_record_carries_the_policy_that_decided() {
    let issuer = TestIssuer::new().unwrap();
    let one = enforcer(&issuer, EvidenceLog::in_memory());
    let two = Enforcer::new(
        config(&issuer, EvidenceLog::in_memory()).tool("extra", ToolRequirement::anonymous()).build().unwrap(),
    );
    let digest = |enforcer: &Enforcer| {
        let records = enforcer.config().evidence().records().unwrap();
        let loaded = records.first().unwrap()["rmcp_guard.policy_digest"].clone();
        assert!(loaded.as_str().unwrap().starts_with("sha256:"));
        loaded
    };
    drop(one.authorize(&Call::tool("open", None), &ANONYMOUS).await);
    let decision = decisions(&one).remove(0);
    assert_eq!(decision["rmcp_guard.policy_digest"], digest(&one));
    assert_eq!(decision["rmcp_guard.profile"], "interop");
    assert_ne!(digest(&one), digest(&two));
}

/// Attack: a caller goes away at the moment that suits it, to have a tool run or a badge probed without a trace.
#[tokio::test]
async fn a_call_dropped_at_any_point_leaves_one_decision_and_its_outcome() {
    let issuer = TestIssuer::new().unwrap();
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded] {
        for (tool, credential) in
            [("open", ANONYMOUS), ("read", ANONYMOUS), ("write", badge(&issuer, TrustLevel::DomainValidated))]
        {
            for polls in 0..20 {
                let temporary = tempfile::tempdir().unwrap();
                let log = EvidenceLog::options().mode(mode).create_or_open(temporary.path().join("evidence")).unwrap();
                let enforcer = enforcer(&issuer, log);
                let call = Call::tool(tool, None);
                {
                    let mut waits = 5;
                    let waiting = std::future::poll_fn(move |_| {
                        waits -= 1;
                        if waits == 0 { Poll::Ready(()) } else { Poll::Pending }
                    });
                    let mut authorize = pin!(async {
                        let undecided = enforcer.begin(call, &credential, Recording::Call);
                        waiting.await;
                        undecided.settle(&call, &enforcer.identify(&credential).await).await
                    });
                    let mut context = Context::from_waker(Waker::noop());
                    for _ in 0..polls {
                        if authorize.as_mut().poll(&mut context).is_ready() {
                            break;
                        }
                    }
                }
                let decisions = decisions(&enforcer);
                // a future that was never polled has not called anybody
                assert_eq!(decisions.len(), usize::from(polls > 0), "{mode:?} {tool} {polls}");
                let allowed = decisions.iter().filter(|record| record["capiscio.decision"] == "ALLOW").count();
                assert_eq!(outcomes(&enforcer).len(), allowed, "{mode:?} {tool} {polls}");
                assert_eq!(allowed, usize::from(tool != "read" && polls >= 5), "{mode:?} {tool} {polls}");
            }
        }
    }
}

/// A source of keys that panics.
#[derive(Debug)]
struct Panicking;

impl KeySource for Panicking {
    fn keys<'a>(
        &'a self,
        _: Option<&'a str>,
    ) -> MaybeReady<'a, Result<Arc<crate::identity::jwks::JwkSet>, ResolveError>> {
        MaybeReady::Wait(Box::pin(async { panic!("the source panics") }))
    }
}

#[tokio::test]
async fn a_panic_while_deciding_is_recorded_as_a_failure_of_ours() {
    let issuer = TestIssuer::new().unwrap();
    let guard = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::with_keys(TEST_ISSUER, Arc::new(Panicking)).unwrap())
        .insecure_no_revocation()
        .clock(issuer.clock())
        .tool("read", ToolRequirement::min_trust(TrustLevel::Registered))
        .evidence(EvidenceLog::in_memory());
    let enforcer = Enforcer::new(guard.build().unwrap());
    let (clone, credential) = (enforcer.clone(), badge(&issuer, TrustLevel::Registered));
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(async move { clone.authorize(&Call::tool("read", None), &credential).await.is_ok() });
    assert!(calls.join_next().await.unwrap().unwrap_err().is_panic());
    let [record] = decisions(&enforcer).try_into().unwrap();
    assert_eq!(record["rmcp_guard.deny_reason"], "internal_error");
}

/// With room for one call at a time, those that find none in time are denied, and nothing is counted twice or lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_share_a_queue_of_two() {
    let issuer = TestIssuer::new().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let log = EvidenceLog::options().queue(2).create_or_open(temporary.path().join("evidence")).unwrap();
    let enforcer = enforcer(&issuer, log);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let enforcer = enforcer.clone();
        calls.spawn(async move {
            match enforcer.authorize(&Call::tool("open", None), &ANONYMOUS).await {
                Ok(permit) => {
                    // it has run, even if its record comes too late for an answer
                    let _ = permit.finish(Outcome::Ok, None).await;
                    true
                }
                Err(denial) => {
                    assert_eq!((denial.reason(), denial.evidence_id()), (DenyReason::EvidenceUnavailable, None));
                    false
                }
            }
        });
    }
    let ran = calls.join_all().await.into_iter().filter(|ran| *ran).count();
    assert!(ran > 0);
    assert_eq!((decisions(&enforcer).len(), outcomes(&enforcer).len()), (ran, ran));
}

/// Attack: whoever is given the log, or a copy of it, finds arguments by guessing them under the key that lies in it.
#[tokio::test]
async fn s32_the_hash_key_is_another_in_every_log_and_stands_outside_of_them() {
    fn files(directory: &std::path::Path, found: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push((path.clone(), std::fs::read(&path).unwrap())) }
        }
    }

    let issuer = TestIssuer::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    // a log that is full with its first record, so that the next one goes to another log
    let options = EvidenceLog::options().mode(EvidenceMode::Strict).wait_limit(std::time::Duration::from_secs(60));
    let log = options.roll_after_bytes(1).create_or_open(directory.path().join("log")).unwrap();
    let guard = Enforcer::new(config(&issuer, log.clone()).result_hashes(true).build().unwrap());
    let arguments: Map<String, Value> = json!({"pin": "4711"}).as_object().unwrap().clone();
    for _ in 0..3 {
        let permit = guard.authorize(&Call::tool("open", Some(&arguments)), &ANONYMOUS).await.unwrap();
        permit.finish(Outcome::Ok, Some(&json!({"pin": "4711"}))).await.unwrap();
        log.publish(std::time::Duration::from_secs(60)).unwrap();
    }
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    let params: Vec<String> = decisions(&guard).iter().map(|it| text(it, "capiscio.tool.params_hash")).collect();
    let results: Vec<String> = outcomes(&guard).iter().map(|it| text(it, "rmcp_guard.result_hash")).collect();
    assert_eq!((params.len(), results.len()), (3, 3));
    let distinct: std::collections::BTreeSet<&String> = params.iter().chain(&results).collect();
    assert!(distinct.len() > 3, "a key for each log, and a label for each purpose: {distinct:?}");
    log.close();

    let (mut public, mut private) = (Vec::new(), Vec::new());
    files(&directory.path().join("log"), &mut public);
    files(&directory.path().join("log.private"), &mut private);
    let keys: Vec<&Vec<u8>> =
        private.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "key")).map(|(_, key)| key).collect();
    let hash_keys: Vec<&Vec<u8>> = keys.into_iter().filter(|key| key.len() == 32).collect();
    assert!(hash_keys.len() > 1, "{:?}", private.iter().map(|(path, _)| path).collect::<Vec<_>>());
    assert!(!public.is_empty());
    for key in hash_keys {
        let hex = key.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let written = [key.clone(), hex.into_bytes(), crate::encoding::base64url(key).into_bytes()];
        for (path, bytes) in &public {
            for form in &written {
                let found = bytes.windows(form.len()).any(|window| window == form.as_slice());
                assert!(!found, "{} holds the key", path.display());
            }
        }
    }
}
