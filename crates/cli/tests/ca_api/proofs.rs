//! RFC-003: challenges, proofs, and badges of IAL-1.

use reqwest::Method;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::issuance::ProofClaims;
use rmcp_guard::identity::registry::BadgeOptions;
use serde_json::{Value, json};

use crate::world::{AUDIENCE, Ca, answer, encode, refused, text, verify};

/// An agent with the did:key of its key.
async fn key_agent(ca: &Ca) -> (Did, SigningKey) {
    let key = SigningKey::generate().unwrap();
    let (status, made) = ca.post("/v1/sdk/agents", json!({ "did": key.did().as_str() })).await;
    assert_eq!(status, 201, "{made}");
    (key.did(), key)
}

async fn challenge(ca: &Ca, did: &str) -> Value {
    let path = format!("/v1/agents/{}/badge/challenge", encode(did));
    let (status, offer) = ca.post(&path, json!({ "badge_aud": [AUDIENCE], "badge_ttl": 120 })).await;
    assert_eq!(status, 200, "{offer}");
    offer
}

/// What an honest holder answers.
fn claims(offer: &Value, did: &str) -> ProofClaims {
    let now = SystemClock.now_unix().as_i64();
    ProofClaims {
        cid: text(&offer["challenge_id"]),
        nonce: text(&offer["nonce"]),
        sub: did.to_owned(),
        aud: text(&offer["proof_aud"]),
        htu: text(&offer["htu"]),
        htm: text(&offer["htm"]),
        iat: now,
        exp: now + 60,
        jti: "660e8400-e29b-41d4-a716-446655440001".to_owned(),
    }
}

/// Hands a proof in, with no credential but the proof.
async fn submit(ca: &Ca, did: &str, id: &Value, proof: &str) -> (u16, Value) {
    let path = format!("/v1/agents/{}/badge", encode(did));
    let body = json!({ "mode": "ial1", "challenge_id": id, "proof_jws": proof, "badge_ttl": 3600 });
    answer(ca.request(Method::POST, &path).json(&body)).await
}

#[tokio::test]
async fn a_proof_yields_a_badge_that_a_guard_believes() {
    let ca = Ca::start();
    let verifier = ca.verifier();
    let client = ca.client();
    let options = BadgeOptions::new().audience(AUDIENCE);
    let now = || SystemClock.now_unix();

    // a did:key, by our own client
    let (did, key) = key_agent(&ca).await;
    let badge = client.agent_badge_by_proof(&did, &key, &did.key_id().unwrap(), &options, None, now).await.unwrap();
    let verified = verify(&verifier, &json!({ "token": &*badge.token })).await.unwrap();
    assert!(verified.is_ial1());
    assert_eq!(*verified.subject(), did);
    // now that it was proven, the account's word is enough
    let (status, badge) = ca.badge(did.as_str(), json!({ "badge_aud": [AUDIENCE] })).await;
    assert_eq!((status, text(&badge["subject"])), (200, did.to_string()), "{badge}");

    // a did:web that the CA hosts, in the Go client's spelling
    let (_, hosted, key) = ca.agent().await;
    let kid = format!("{hosted}#key-1");
    let offer = challenge(&ca, &hosted).await;
    assert_eq!((&offer["aud"], &offer["expires_at"]), (&offer["proof_aud"], &offer["challenge_expires_at"]));
    let path = format!("/v1/agents/{}/badge/pop", encode(&hosted));
    let proof = claims(&offer, &hosted).sign(&key, &kid);
    let body = json!({ "challenge_id": offer["challenge_id"], "proof_jws": proof });
    let (status, badge) = answer(ca.request(Method::POST, &path).json(&body)).await;
    assert_eq!(status, 200, "{badge}");
    assert_eq!((&badge["data"]["assurance_level"], &badge["data"]["cnf"]), (&json!("IAL-1"), &json!({ "kid": kid })));
    assert!(verify(&verifier, &badge["data"]).await.unwrap().is_ial1());

    // its badge speaks for it where it has no API key
    let (_, for_ca) = ca.badge(&hosted, json!({ "audience": ca.origin })).await;
    let path = format!("/v1/agents/{}/badge/challenge", encode(&hosted));
    let ask = |name: &str, value: String| ca.request(Method::POST, &path).header(name, value).json(&json!({}));
    let token = text(&for_ca["token"]);
    assert_eq!(answer(ask("X-Capiscio-Badge", token.clone())).await.0, 200);
    assert_eq!(answer(ask("Authorization", format!("Bearer {token}"))).await.0, 200);
    refused(&answer(ask("Authorization", format!("Bearer {}", text(&badge["badge"])))).await, 401, "unauthorized");
    let (other, _, _) = ca.agent().await;
    let path = format!("/v1/agents/{other}/badge/challenge");
    let foreign = ca.request(Method::POST, &path).header("X-Capiscio-Badge", token).json(&json!({}));
    refused(&answer(foreign).await, 403, "agent_not_owned");
}

/// Each check that can fail, each with its own code, and the challenge still good for the honest answer.
#[tokio::test]
async fn every_check_of_a_proof_has_its_code() {
    type Bend = fn(&mut ProofClaims);
    let ca = Ca::start();
    let (did, key) = key_agent(&ca).await;
    let kid = did.key_id().unwrap();
    let honest = |offer: &Value| claims(offer, did.as_str());
    let bends: [(Bend, u16, &str); 12] = [
        (|claims| claims.cid = "ch-550e8400-e29b-41d4-a716-446655440000".to_owned(), 403, "cid_mismatch"),
        (|claims| claims.nonce.push('A'), 400, "invalid_proof"),
        (|claims| claims.aud = "https://other.example.test".to_owned(), 403, "audience_mismatch"),
        (|claims| claims.htu = claims.htu.replace("%3A", ":"), 403, "htu_mismatch"),
        (|claims| claims.htm = "GET".to_owned(), 400, "invalid_proof"),
        (|claims| claims.iat += 120, 403, "iat_invalid"),
        (|claims| claims.iat -= 120, 403, "iat_invalid"),
        (|claims| claims.exp += 30, 403, "exp_too_long"),
        (
            |claims| {
                claims.iat -= 50;
                claims.exp = claims.iat + 20;
            },
            403,
            "proof_expired",
        ),
        (|claims| claims.sub = "did:web:other.example.test".to_owned(), 403, "subject_mismatch"),
        (|claims| claims.jti.clear(), 400, "invalid_proof"),
        (|claims| claims.cid.clear(), 403, "cid_mismatch"),
    ];
    for (index, (bend, status, code)) in bends.into_iter().enumerate() {
        // five failures would block the DID
        let (did, key) = key_agent(&ca).await;
        let offer = challenge(&ca, did.as_str()).await;
        let mut bent = claims(&offer, did.as_str());
        bend(&mut bent);
        let kid = did.key_id().unwrap();
        let answer = submit(&ca, did.as_str(), &offer["challenge_id"], &bent.sign(&key, &kid)).await;
        assert_eq!((answer.0, answer.1["error"].as_str()), (status, Some(code)), "case {index}");
        let good = claims(&offer, did.as_str()).sign(&key, &kid);
        let (status, badge) = submit(&ca, did.as_str(), &offer["challenge_id"], &good).await;
        assert_eq!((status, &badge["data"]["subject"]), (200, &json!(did.as_str())), "case {index}: {badge}");
    }

    let offer = challenge(&ca, did.as_str()).await;
    let id = &offer["challenge_id"];
    let send = |proof: String| {
        let (ca, did) = (&ca, &did);
        async move { submit(ca, did.as_str(), id, &proof).await }
    };
    refused(&send("a.b.c".to_owned()).await, 400, "invalid_proof");
    let other = SigningKey::generate().unwrap();
    refused(&send(honest(&offer).sign(&other, &other.did().key_id().unwrap())).await, 403, "kid_not_found");
    refused(&send(honest(&offer).sign(&other, &kid)).await, 403, "proof_verification_failed");
    let good = honest(&offer).sign(&key, &kid);
    refused(&submit(&ca, did.as_str(), &json!("550e8400"), &good).await, 400, "invalid_challenge_id");
    let unknown = json!("ch-550e8400-e29b-41d4-a716-446655440000");
    refused(&submit(&ca, did.as_str(), &unknown, &good).await, 404, "challenge_not_found");
    let (elsewhere, _) = key_agent(&ca).await;
    refused(&submit(&ca, elsewhere.as_str(), id, &good).await, 403, "subject_mismatch");

    // What the badge says was settled with the challenge: the body asked for an hour.
    let (status, badge) = send(good.clone()).await;
    assert_eq!(status, 200, "{badge}");
    let token = text(&badge["badge"]);
    let parsed = rmcp_guard::identity::badge::UnverifiedBadge::parse(&token).unwrap();
    assert_eq!(parsed.claims()["exp"].as_i64().unwrap() - parsed.claims()["iat"].as_i64().unwrap(), 120);
    refused(&send(good).await, 403, "challenge_used");
}

/// Two who bring the same proof at once must not both get a badge.
#[tokio::test]
async fn of_many_who_answer_a_challenge_at_once_one_gets_the_badge() {
    let ca = Ca::start();
    let (did, key) = key_agent(&ca).await;
    let offer = challenge(&ca, did.as_str()).await;
    let proof = claims(&offer, did.as_str()).sign(&key, &did.key_id().unwrap());
    let calls = (0..12).map(|_| submit(&ca, did.as_str(), &offer["challenge_id"], &proof));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1);
    let losers = answers.iter().filter(|(status, _)| *status != 200);
    assert!(losers.into_iter().all(|(_, body)| body["error"] == "challenge_used"));
}

/// Whoever can register a DID must not be able to make the CA connect to what only the CA can reach.
#[tokio::test]
async fn a_did_of_this_machine_is_not_fetched() {
    let ca = Ca::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let did = format!("did:web:localhost%3A{}:inner", listener.local_addr().unwrap().port());
    let (status, _) = ca.post("/v1/sdk/agents", json!({ "did": did })).await;
    assert_eq!(status, 201);
    refused(&ca.badge(&did, json!({})).await, 403, "proof_required");
    let offer = challenge(&ca, &did).await;
    let key = SigningKey::generate().unwrap();
    let proof = claims(&offer, &did).sign(&key, &format!("{did}#key-1"));
    let refusal = submit(&ca, &did, &offer["challenge_id"], &proof).await;
    refused(&refusal, 502, "did_resolution_failed");
    let connected = futures_util::poll!(std::pin::pin!(listener.accept()));
    assert!(connected.is_pending(), "nobody knocked");
}

/// Guessing at a proof blocks the DID, for the holder too: RFC-003 wants it so.
#[tokio::test]
async fn five_failed_proofs_block_the_did() {
    let ca = Ca::start();
    let (did, key) = key_agent(&ca).await;
    let kid = did.key_id().unwrap();
    let offer = challenge(&ca, did.as_str()).await;
    let id = &offer["challenge_id"];
    for _ in 0..5 {
        refused(&submit(&ca, did.as_str(), id, "a.b.c").await, 400, "invalid_proof");
    }
    let good = claims(&offer, did.as_str()).sign(&key, &kid);
    refused(&submit(&ca, did.as_str(), id, &good).await, 429, "rate_limit_exceeded");
    let (other, key) = key_agent(&ca).await;
    let offer = challenge(&ca, other.as_str()).await;
    let good = claims(&offer, other.as_str()).sign(&key, &other.key_id().unwrap());
    assert_eq!(submit(&ca, other.as_str(), &offer["challenge_id"], &good).await.0, 200);
}

#[tokio::test]
async fn a_challenge_is_for_who_may_have_the_badge() {
    let ca = Ca::start();
    let (id, did, _) = ca.agent().await;
    let path = format!("/v1/agents/{}/badge/challenge", encode(&did));
    refused(&answer(ca.request(Method::POST, &path).json(&json!({}))).await, 401, "unauthorized");
    for (body, status, code) in [
        (json!({ "challenge_ttl": 601 }), 400, "invalid_ttl"),
        (json!({ "challenge_ttl": 1 }), 400, "invalid_ttl"),
        (json!({ "badge_ttl": 10 }), 400, "invalid_ttl"),
        (json!({ "trustLevel": "2", "domain": "a.example.test" }), 403, "level_not_granted"),
    ] {
        refused(&ca.post(&path, body).await, status, code);
    }
    ca.run_json(&["disable", &id]);
    refused(&ca.post(&path, json!({})).await, 403, "agent_disabled");
}
