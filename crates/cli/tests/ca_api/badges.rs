//! Badges: what each level takes, and that a guard believes them until it must not.

use reqwest::Method;
use rmcp_guard::identity::badge::{BadgeErrorKind, UnverifiedBadge};
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::world::{AUDIENCE, Ca, refused, text, verify};

#[tokio::test]
async fn a_badge_has_the_documented_form() {
    let ca = Ca::start();
    let (id, did, key) = ca.agent().await;
    let (status, badge) = ca.badge(&id, json!({ "mode": "ial0", "badge_ttl": 600, "badge_aud": [AUDIENCE] })).await;
    assert_eq!(status, 200, "{badge}");
    let token = text(&badge["token"]);
    let parsed = UnverifiedBadge::parse(&token).unwrap();
    let (_, jwks) = ca.get("/.well-known/jwks.json").await;
    assert_eq!((parsed.typ(), parsed.kid()), (Some("JWT"), jwks["keys"][0]["kid"].as_str()));
    let claims = parsed.claims();
    let issued = claims["iat"].as_i64().unwrap();
    let want = json!({
        "jti": badge["jti"], "iss": ca.origin, "sub": did, "aud": [AUDIENCE], "iat": issued, "exp": issued + 600,
        "ial": "0", "key": key.public_key().to_jwk(),
        "vc": { "type": ["VerifiableCredential", "AgentIdentity"], "credentialSubject": { "level": "1" } },
    });
    assert_eq!(Value::Object(claims.clone()), want);
    assert_eq!((text(&badge["assurance_level"]), badge.get("cnf")), ("IAL-0".to_owned(), None));
}

/// All the spellings of one ask, and the asks that no spelling makes good.
#[tokio::test]
async fn an_ask_is_understood_in_every_spelling() {
    let ca = Ca::start();
    let (id, ..) = ca.agent().await;
    for body in [
        json!({ "mode": "ial0", "badge_ttl": 90, "badge_aud": [AUDIENCE] }),
        json!({ "ttl": 90, "audience": AUDIENCE, "unknown": { "a": 1 } }),
        json!({ "domain": "", "trustLevel": "1", "duration": "1m30s", "audience": [AUDIENCE] }),
    ] {
        let (status, badge) = ca.badge(&id, body.clone()).await;
        assert_eq!(status, 200, "{body}: {badge}");
        let token = text(&badge["token"]);
        let parsed = UnverifiedBadge::parse(&token).unwrap();
        let lives = parsed.claims()["exp"].as_i64().unwrap() - parsed.claims()["iat"].as_i64().unwrap();
        assert_eq!((lives, parsed.claimed_audience().collect::<Vec<_>>()), (90, vec![AUDIENCE]), "{body}");
    }
    let cases = [
        (json!({ "badge_ttl": 59 }), 400, "invalid_ttl"),
        (json!({ "badge_ttl": 3601 }), 400, "invalid_ttl"),
        (json!({ "ttl": 90, "badge_ttl": 91 }), 400, "invalid_ttl"),
        (json!({ "duration": "soon" }), 400, "invalid_ttl"),
        (json!({ "badge_ttl": -1 }), 400, "invalid_request"),
        (json!({ "trustLevel": 1 }), 400, "invalid_request"),
        (json!({ "trustLevel": "0" }), 400, "invalid_level"),
        (json!({ "trustLevel": "5" }), 400, "invalid_level"),
        (json!({ "trustLevel": "2" }), 409, "domain_required"),
        (json!({ "trustLevel": "2", "domain": "a.example.test" }), 403, "level_not_granted"),
        (json!({ "trustLevel": "2", "domain": "a.example.test/" }), 400, "invalid_domain"),
        (json!({ "badge_aud": ["a b"] }), 400, "invalid_audience"),
        (json!({ "badge_aud": vec!["a"; 17] }), 400, "invalid_audience"),
        (json!({ "mode": "ial2" }), 400, "invalid_mode"),
    ];
    for (body, status, code) in cases {
        refused(&ca.badge(&id, body).await, status, code);
    }
    refused(&ca.badge("550e8400-e29b-41d4-a716-446655440000", json!({})).await, 404, "agent_not_found");
    refused(&ca.badge("agent", json!({})).await, 400, "invalid_did");
    let path = format!("/v1/agents/{id}/badge");
    let anonymous = crate::world::answer(ca.request(Method::POST, &path).json(&json!({}))).await;
    refused(&anonymous, 401, "unauthorized");
}

/// A key alone yields level 1; what is above it, the operator grants domain by domain and level by level.
#[tokio::test]
async fn levels_are_granted_and_never_taken() {
    let ca = Ca::start();
    let verifier = ca.verifier();
    let (id, ..) = ca.agent().await;
    let ask = |level: &str| json!({ "trustLevel": level, "domain": "A.example.test", "badge_aud": [AUDIENCE] });
    refused(&ca.badge(&id, ask("2")).await, 403, "level_not_granted");

    ca.run_json(&["agent", "allow-domain", "--agent", &id, "a.example.test"]);
    let (_, badge) = ca.badge(&id, ask("2")).await;
    let verified = verify(&verifier, &badge).await.unwrap();
    assert_eq!((verified.level(), verified.domain()), (TrustLevel::DomainValidated, Some("a.example.test")));
    refused(&ca.badge(&id, ask("3")).await, 403, "level_not_granted");
    let other = json!({ "trustLevel": "2", "domain": "b.example.test" });
    refused(&ca.badge(&id, other).await, 403, "level_not_granted");
    let (_, badge) = ca.badge(&id, json!({ "badge_aud": [AUDIENCE] })).await;
    assert_eq!(badge["trustLevel"], "2", "its one domain is meant where none is named");

    ca.run_json(&["agent", "allow-domain", "--account", "default", "b.example.test", "--level", "4"]);
    let (_, badge) = ca.badge(&id, json!({ "domain": "b.example.test", "badge_aud": [AUDIENCE] })).await;
    assert_eq!(verify(&verifier, &badge).await.unwrap().level(), TrustLevel::ExtendedValidated);

    ca.run_json(&["agent", "deny-domain", "--agent", &id, "a.example.test"]);
    refused(&ca.badge(&id, ask("2")).await, 403, "level_not_granted");

    // The operator issues what it answers for.
    crate::world::json_of(ca.path(), &["keygen", "--out", "k.pem", "--public", "k.pub"]);
    let command = ["issue", "--subject-key", "k.pub", "--level", "3", "--domain", "c.example.test"];
    let issued = ca.run_json(&[&command[..], &["--audience", AUDIENCE]].concat());
    let verified = verify(&verifier, &json!({ "token": issued["badge"] })).await.unwrap();
    assert_eq!(verified.level(), TrustLevel::OrganizationValidated);
    let none = ca.run(&["issue", "--subject-key", "k.pub", "--level", "0"]);
    assert_eq!(none.status.code(), Some(2), "level 0 is nobody's to issue");
}

/// The whole life as a guard sees it that asks the CA about every badge.
#[tokio::test]
async fn a_guard_learns_of_revocation_and_of_disabled_agents() {
    let ca = Ca::start();
    // A source of its own for each question: one remembers its answers for a moment.
    let (id, did, _) = ca.agent().await;
    ca.run_json(&["agent", "allow-domain", "--agent", &id, "a.example.test"]);
    let ask = json!({ "badge_aud": [AUDIENCE] });
    let (_, badge) = ca.badge(&id, ask.clone()).await;
    assert_eq!(verify(&ca.verifier(), &badge).await.unwrap().level(), TrustLevel::DomainValidated);
    assert_eq!(ca.post("/v1/validate", json!({ "token": badge["token"] })).await.1["error"], "BADGE_AUDIENCE_MISMATCH");

    let jti = text(&badge["jti"]);
    let (status, revoked) = ca.post(&format!("/v1/badges/{jti}/revoke"), json!({ "reason": "lost" })).await;
    assert_eq!((status, &revoked["revoked"]), (200, &json!(true)));
    assert_eq!(verify(&ca.verifier(), &badge).await.unwrap_err(), BadgeErrorKind::Revoked);
    let (_, said) = ca.get(&format!("/v1/badges/{jti}/status")).await;
    assert_eq!((&said["revoked"], &said["reason"], &said["sub"]), (&json!(true), &json!("lost"), &json!(did)));
    let (status, again) = ca.post(&format!("/v1/badges/{jti}/revoke"), json!({ "reason": "again" })).await;
    assert_eq!((status, &again["revokedAt"], &again["reason"]), (200, &said["revokedAt"], &json!("lost")));
    refused(&ca.post("/v1/badges/x/revoke", json!({})).await, 400, "invalid_jti");
    refused(&ca.get("/v1/badges/550e8400-e29b-41d4-a716-446655440000/status").await, 404, "badge_not_found");

    let (_, badge) = ca.badge(&id, ask.clone()).await;
    verify(&ca.verifier(), &badge).await.unwrap();
    assert_eq!(ca.post(&format!("/v1/agents/{id}/disable"), json!({})).await.1["status"], "disabled");
    assert_eq!(verify(&ca.verifier(), &badge).await.unwrap_err(), BadgeErrorKind::AgentDisabled);
    refused(&ca.badge(&id, ask.clone()).await, 403, "agent_disabled");
    assert_eq!(ca.post(&format!("/v1/agents/{id}/enable"), json!({})).await.1["status"], "active");
    verify(&ca.verifier(), &badge).await.unwrap();

    // What the operator disables, the owner cannot enable.
    ca.run_json(&["disable", &did, "--reason", "under review"]);
    assert_eq!(verify(&ca.verifier(), &badge).await.unwrap_err(), BadgeErrorKind::AgentDisabled);
    refused(&ca.post(&format!("/v1/agents/{id}/enable"), json!({})).await, 403, "disabled_by_operator");
    ca.run_json(&["enable", &id]);
    verify(&ca.verifier(), &badge).await.unwrap();
}

#[tokio::test]
async fn validate_says_what_a_guard_would() {
    let ca = Ca::start();
    let (id, did, _) = ca.agent().await;
    let (_, badge) = ca.badge(&id, json!({ "audience": ca.origin })).await;
    let (status, answer) = ca.post("/v1/validate", json!({ "token": badge["token"] })).await;
    assert_eq!((status, &answer["valid"], &answer["subject"]), (200, &json!(true), &json!(did)));
    ca.run_json(&["revoke", &text(&badge["jti"])]);
    let validated = ca.post("/v1/validate", json!({ "token": badge["token"] })).await;
    assert_eq!((&validated.1["valid"], &validated.1["error"]), (&json!(false), &json!("BADGE_REVOKED")));
    let validated = ca.post("/v1/validate", json!({ "token": "a.b.c" })).await;
    assert_eq!(validated.1["error"], "BADGE_MALFORMED");
    refused(&ca.post("/v1/validate", json!({})).await, 400, "invalid_request");
}

/// Anyone who has seen a did:key could register it. It becomes a subject only when its holder has proved it.
#[tokio::test]
async fn a_did_key_of_somebody_else_is_no_subject() {
    let ca = Ca::start();
    let victim = rmcp_guard::identity::key::SigningKey::generate().unwrap().did();
    let (_, made) = ca.post("/v1/sdk/agents", json!({ "did": victim.as_str() })).await;
    let id = text(&made["data"]["id"]);
    refused(&ca.badge(victim.as_str(), json!({})).await, 403, "proof_required");
    let (_, badge) = ca.badge(&id, json!({})).await;
    assert_eq!(badge["subject"], made["data"]["hostedDid"]);
}
