//! Badges of IAL-1, from challenge to proof, and the keeper of an agent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp_guard::clock::{Clock, SystemClock};
use rmcp_guard::identity::did::{Did, DidDocument};
use rmcp_guard::identity::keeper::{BadgeKeeper, BadgeRenewer};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::issuance::{Challenge, ChallengeId, ProofError};
use rmcp_guard::identity::registry::{
    AgentBadgeRenewer, AgentIdentity, ApiKey, BadgeOptions, KeyDirectory, RegistrationError, RegistryClient,
    RegistryErrorKind, setup_agent_identity,
};
use rmcp_guard::identity::server::BadgeSource as _;
use serde_json::json;

use crate::double::{Answer, KEY, Registry, Sent, badge, fetcher, key};

/// How a registry spells the answer to a challenge, and where it takes the proof.
#[derive(Clone, Copy)]
enum Dialect {
    Rfc,
    Go,
}

/// A registry that issues badges of IAL-1 to `did:key` agents, and checks each proof.
async fn authority(dialect: Dialect) -> Registry {
    let challenges: Mutex<Vec<Challenge>> = Mutex::default();
    Registry::start(move |sent| {
        let origin = format!("http://{}", sent.header("host").unwrap());
        let segments: Vec<&str> = sent.target.split('/').skip(1).collect();
        let ["v1", "agents", did, "badge", rest @ ..] = segments.as_slice() else {
            return Answer::json(200, &json!({}));
        };
        let did = Did::parse(&did.replace("%3A", ":")).unwrap();
        let suffix = if matches!(dialect, Dialect::Go) { "/pop" } else { "" };
        let mut challenges = challenges.lock().unwrap();
        match (rest, dialect) {
            (["challenge"], _) => {
                let htu = format!("{origin}/v1/agents/{}/badge{suffix}", segments[2]);
                let now = SystemClock.now_unix();
                let made = Challenge::new(did, &origin, &htu, now, Duration::from_secs(300)).unwrap();
                let answer = offer(&made, dialect);
                challenges.push(made);
                Answer::json(200, &answer)
            }
            ([], Dialect::Rfc) | (["pop"], Dialect::Go) => prove(&mut challenges, &did, sent),
            _ => Answer::json(404, &json!({ "error": "no such path" })),
        }
    })
    .await
}

fn offer(challenge: &Challenge, dialect: Dialect) -> serde_json::Value {
    let end = u64::try_from(challenge.expires_at.as_i64()).unwrap();
    let end = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(end)).to_string();
    let mut answer = json!({
        "challenge_id": challenge.id.to_string(), "nonce": challenge.nonce, "htu": challenge.htu, "htm": "POST",
    });
    let (aud, expires) = match dialect {
        Dialect::Rfc => ("proof_aud", "challenge_expires_at"),
        Dialect::Go => ("aud", "expires_at"),
    };
    answer[aud] = json!(challenge.proof_aud);
    answer[expires] = json!(end);
    answer
}

fn prove(challenges: &mut [Challenge], did: &Did, sent: &Sent) -> Answer {
    let mut check = || {
        let id = ChallengeId::parse(sent.body["challenge_id"].as_str().unwrap())?;
        let challenge =
            challenges.iter_mut().find(|challenge| challenge.id == id).ok_or(ProofError::ChallengeNotFound)?;
        let proof = sent.body["proof_jws"].as_str().unwrap();
        let document = DidDocument::of_did_key(did).unwrap();
        let proof = challenge.check(did, proof, SystemClock.now_unix())?.verify(&document)?;
        challenge.used = true;
        Ok::<_, ProofError>(proof)
    };
    match check() {
        Ok(proof) => {
            let token = badge(proof.did(), proof.key());
            Answer::json(200, &json!({ "success": true, "data": { "token": token, "assurance_level": "IAL-1" } }))
        }
        Err(error) => Answer::json(error.http_status(), &json!({ "error": error.code() })),
    }
}

fn kid() -> String {
    key().did().key_id().unwrap()
}

#[tokio::test]
async fn a_badge_is_proved_for_in_two_steps() {
    let registry = authority(Dialect::Rfc).await;
    let options =
        BadgeOptions::new().domain("a.example.com").lifetime(Duration::from_secs(120)).audience("https://x.example");
    let issued = registry
        .client()
        .agent_badge_by_proof(&key().did(), &key(), &kid(), &options, None, || SystemClock.now_unix())
        .await
        .unwrap();
    assert_eq!(issued.subject.as_deref(), Some(key().did().as_str()));

    let sent = registry.sent();
    let path = format!("/v1/agents/{}/badge", key().did().as_str().replace(':', "%3A"));
    assert_eq!(registry.lines(), [format!("POST {path}/challenge"), format!("POST {path}")]);
    let asked = json!({ "badge_ttl": 120, "badge_aud": ["https://x.example"], "domain": "a.example.com" });
    assert_eq!(sent[0].body, asked);
    assert_eq!(sent[0].header("x-capiscio-registry-key"), Some(KEY));
    let members: Vec<&String> = sent[1].body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["challenge_id", "mode", "proof_jws"]);
    assert_eq!(sent[1].body["mode"], "ial1");
    // the proof says it all
    assert_eq!(sent[1].header("x-capiscio-registry-key"), None);
    assert_eq!(sent[1].header("authorization"), None);
}

#[tokio::test]
async fn the_other_spelling_and_path_are_understood() {
    let registry = authority(Dialect::Go).await;
    let issued = registry
        .client()
        .agent_badge_by_proof(&key().did(), &key(), &kid(), &BadgeOptions::new(), None, || SystemClock.now_unix())
        .await;
    assert!(issued.is_ok());
    let lines = registry.lines();
    assert!(lines[1].ends_with("/badge") && lines[2].ends_with("/badge/pop") && lines.len() == 3, "{lines:?}");
}

#[tokio::test]
async fn only_a_404_leads_to_the_other_path_and_a_proof_is_not_sent_twice() {
    for status in [400, 401, 403, 500, 502] {
        let registry = Registry::start(move |_| Answer::json(status, &json!({ "error": "x" }))).await;
        let error = registry.client().submit_proof(&key().did(), "ch-1", "a.b.c").await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(registry.sent().len(), 1, "{status}");
    }
}

/// A hostile registry passes on the challenge of another, to get a badge there in the agent's name.
#[tokio::test]
async fn a_challenge_of_another_authority_is_not_signed() {
    let good = |origin: &str| {
        json!({
            "challenge_id": "ch-550e8400-e29b-41d4-a716-446655440000", "htm": "POST", "proof_aud": origin,
            "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "htu": format!("{origin}/v1/agents/x/badge"),
            "challenge_expires_at": "2100-01-01T00:00:00+00:00",
        })
    };
    let mut old = good("");
    old["challenge_expires_at"] = json!("2020-01-01T00:00:00Z");
    let mut missing = good("");
    missing.as_object_mut().unwrap().remove("nonce");
    for (answer, kind) in [
        (good("https://other.example.com"), RegistryErrorKind::Challenge),
        (old, RegistryErrorKind::Challenge),
        (missing, RegistryErrorKind::Answer),
        (json!({}), RegistryErrorKind::Answer),
    ] {
        let registry = Registry::always(200, answer).await;
        let result = registry
            .client()
            .agent_badge_by_proof(&key().did(), &key(), &kid(), &BadgeOptions::new(), None, || SystemClock.now_unix())
            .await;
        assert_eq!(result.unwrap_err().kind(), kind);
        assert_eq!(registry.sent().len(), 1);
    }
    // a registry behind an inner address is told by its public name
    let registry = Registry::always(200, good("https://public.example.com")).await;
    let client = registry.client().with_proof_authority("https://public.example.com").unwrap();
    let _ = client
        .agent_badge_by_proof(&key().did(), &key(), &kid(), &BadgeOptions::new(), None, || SystemClock.now_unix())
        .await;
    assert_eq!(registry.sent().len(), 2);
}

/// A registry at one path of a host passes on the challenge of its neighbour at another.
#[tokio::test]
async fn a_challenge_of_a_neighbour_on_the_same_host_is_not_signed() {
    for (path, signed) in [
        ("/ours/v1/agents/x/badge", true),
        ("/theirs/v1/agents/x/badge", false),
        ("/ours/../theirs/v1/agents/x/badge", false),
        ("/ours/%2e%2e/theirs/v1/agents/x/badge", false),
        ("/oursandmore/v1/agents/x/badge", false),
        ("/ours", false),
        ("", false),
    ] {
        let registry = Registry::start(move |sent| {
            let origin = format!("http://{}", sent.header("host").unwrap());
            Answer::json(
                200,
                &json!({
                    "challenge_id": "ch-550e8400-e29b-41d4-a716-446655440000", "htm": "POST", "proof_aud": origin,
                    "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "htu": format!("{origin}{path}"),
                    "challenge_expires_at": "2100-01-01T00:00:00Z",
                }),
            )
        })
        .await;
        let client =
            RegistryClient::new(&format!("{}/ours/", registry.url()), Some(ApiKey::new(KEY)), fetcher()).unwrap();
        let result = client
            .agent_badge_by_proof(&key().did(), &key(), &kid(), &BadgeOptions::new(), None, || SystemClock.now_unix())
            .await;
        let kind = if signed { RegistryErrorKind::Answer } else { RegistryErrorKind::Challenge };
        assert_eq!(result.unwrap_err().kind(), kind, "{path}");
        assert_eq!(registry.sent().len(), if signed { 2 } else { 1 }, "{path}");
    }
}

#[tokio::test]
async fn an_agent_starts_without_the_registry_and_is_registered_later() {
    let token = badge(&key().did(), &key().public_key());
    let down = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&down);
    let registry = Registry::start(move |_| {
        let up = !switch.load(Ordering::SeqCst);
        if up { Answer::json(200, &json!({ "badge": token })) } else { Answer::json(503, &json!({})) }
    })
    .await;
    let builder = || AgentIdentity::builder(registry.client()).agent_id("a-1").key(Arc::new(key())).by_account();
    let agent = builder().start().await.unwrap();
    assert!(agent.keeper.current().is_none());
    down.store(false, Ordering::SeqCst);
    let badge = tokio::time::timeout(Duration::from_secs(120), agent.keeper.changes().next()).await.unwrap();
    assert!(badge.is_some());
    let lines = registry.lines();
    let [.., patch, post] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(patch.starts_with("PATCH ") && post.starts_with("POST "), "{lines:?}");

    // one that refuses is no outage
    let registry = Registry::always(403, json!({})).await;
    let refused = AgentIdentity::builder(registry.client()).agent_id("a-1").key(Arc::new(key())).start().await;
    assert!(matches!(refused, Err(RegistrationError::Registry(error)) if error.kind() == RegistryErrorKind::Forbidden));
}

#[tokio::test]
async fn an_agents_keeper_proves_possession_and_shows_its_badge() {
    let registry = authority(Dialect::Rfc).await;
    let home = tempfile::tempdir().unwrap();
    let agent = setup_agent_identity(registry.client(), "a-1", &home.path().join("agent")).await.unwrap();
    let badge = agent.keeper.ready().await.unwrap();
    assert_eq!(agent.keeper.current(), Some(badge));
    let lines = registry.lines();
    assert_eq!(lines[0], "PATCH /v1/sdk/agents/a-1/identity");
    assert_eq!(registry.sent()[0].body, json!({ "did": agent.did.as_str() }));
    let stored = KeyDirectory::new(home.path().join("agent")).load().unwrap().unwrap();
    assert_eq!(stored.did(), agent.did);
    agent.keeper.stop().await;
}

#[tokio::test]
async fn without_an_api_key_the_last_badge_asks_for_the_next() {
    let registry = authority(Dialect::Rfc).await;
    let client = RegistryClient::new(&registry.url(), None, fetcher()).unwrap();
    let first = badge(&key().did(), &key().public_key());
    let renewer = AgentBadgeRenewer::by_proof(client, key().did(), Arc::new(key()), kid(), BadgeOptions::new());
    let error = renewer.renew().await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(registry.sent().is_empty());

    let renewer = renewer.initial(first.as_str());
    let second = renewer.renew().await.unwrap();
    renewer.renew().await.unwrap();
    let badges: Vec<_> =
        registry.sent().iter().filter_map(|sent| sent.header("x-capiscio-badge").map(str::to_owned)).collect();
    assert_eq!(badges, [first, second]);
    assert!(registry.sent().iter().all(|sent| sent.header("x-capiscio-registry-key").is_none()));
}

#[tokio::test]
async fn by_account_a_badge_of_another_is_refused() {
    let stranger = SigningKey::from_seed(&[0x44; 32]);
    let wrong_did = badge(&stranger.did(), &stranger.public_key());
    let did = Did::parse("did:web:registry.example.test:agents:a-1").unwrap();
    let wrong_key = badge(&did, &stranger.public_key());
    let right = badge(&did, &key().public_key());
    for (token, accepted) in [(wrong_did, false), (wrong_key, false), (right, true)] {
        let registry = Registry::always(200, json!({ "badge": token })).await;
        let renewer =
            AgentBadgeRenewer::by_account(registry.client(), did.clone(), Arc::new(key()), BadgeOptions::new());
        let result = renewer.renew().await;
        assert_eq!(result.is_ok(), accepted);
        if let Err(error) = result {
            assert_eq!((error.message(), error.is_permanent()), ("the registry's badge names somebody else", true));
        }
    }
}

#[tokio::test]
async fn a_renewal_says_when_to_ask_again_and_when_asking_is_no_use() {
    for (status, permanent) in [(401, true), (403, true), (404, true), (429, false), (503, false)] {
        let registry = Registry::start(move |_| Answer::json(status, &json!({})).with("retry-after", "90")).await;
        let agent = AgentIdentity::builder(registry.client()).key(Arc::new(key())).by_account().start().await.unwrap();
        let error = agent.keeper.ready().await.unwrap_err();
        assert_eq!(error.is_permanent(), permanent, "{status}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(90)), "{status}");
        let keeper: &BadgeKeeper = &agent.keeper;
        assert_eq!((keeper.health().failures, keeper.current()), (1, None));
    }
}
