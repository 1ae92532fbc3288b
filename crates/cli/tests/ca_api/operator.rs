//! Setting up, starting, ending: what the operator sees.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use serde_json::json;

use crate::world::{Ca, json_of, refused, rmcp_guard};

#[tokio::test]
async fn a_ca_is_made_once_and_its_files_are_its_owners() {
    let mut ca = Ca::start();
    let root = ca.path().join("ca");
    let mode = |name: &str| std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("keys"), mode("ca.sqlite"), mode("policy.toml")), (0o700, 0o700, 0o600, 0o600));
    for key in std::fs::read_dir(root.join("keys")).unwrap() {
        assert_eq!(key.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    // The key is in no file of the CA: the database has its hash.
    let secret = ca.key.rsplit_once('_').unwrap().1.as_bytes().to_vec();
    for file in ["ca.sqlite", "ca.sqlite-wal"] {
        let bytes = std::fs::read(root.join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file}");
    }

    assert_eq!(ca.get("/health").await, (200, json!({ "status": "ok", "issuer": ca.origin })));
    let again = rmcp_guard(ca.path(), &["ca", "init", "--dir", "ca", "--origin", &ca.origin]);
    assert_eq!(again.status.code(), Some(4), "a CA is never overwritten");
    assert_eq!(ca.terminate(), Some(0));

    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = ca.run(&["serve"]);
    assert_eq!(open.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&open.stderr).contains("others may enter"));
}

#[test]
fn names_that_badges_cannot_bear_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("https://127.0.0.1:8443", &[]),
        ("https://[::1]:8443", &[]),
        ("http://ca.example.test", &["--no-tls"]),
        ("http://localhost:8080", &[]),
        ("https://ca.example.test/path", &[]),
        ("ca.example.test", &[]),
    ];
    for (origin, more) in cases {
        let made = rmcp_guard(folder.path(), &[&["ca", "init", "--dir", "ca", "--origin", origin], *more].concat());
        assert_eq!(made.status.code(), Some(2), "{origin}");
        assert!(!folder.path().join("ca").exists(), "{origin}: nothing is left behind");
    }
    // Plain http stays on this machine.
    json_of(folder.path(), &["ca", "init", "--dir", "ca", "--origin", "http://localhost:8080", "--no-tls"]);
    let open = rmcp_guard(folder.path(), &["ca", "serve", "--dir", "ca", "--listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&open.stderr).contains("loopback"));
}

#[tokio::test]
async fn what_is_no_request_of_the_api_is_refused_with_its_code() {
    let ca = Ca::start();
    refused(&ca.get("/nothing").await, 404, "not_found");
    refused(&ca.get("/v1/events").await, 405, "method_not_allowed");
    let post = |body: &'static str, media: &'static str| {
        let request = ca.request(Method::POST, "/v1/sdk/agents").header("X-Capiscio-Registry-Key", &ca.key);
        crate::world::answer(request.header("Content-Type", media).body(body))
    };
    refused(&post("{", "application/json").await, 400, "invalid_request");
    refused(&post("[]", "application/json").await, 400, "invalid_request");
    refused(&post(r#"{"name":"a","name":"b"}"#, "application/json").await, 400, "invalid_request");
    refused(&post(r#"{"name":5}"#, "application/json").await, 400, "invalid_request");
    refused(&post("name=a", "application/x-www-form-urlencoded").await, 415, "unsupported_media_type");
    let long = json!({ "name": "a".repeat(70_000) });
    refused(&ca.post("/v1/sdk/agents", long).await, 413, "body_too_large");

    let twice = ca.request(Method::GET, "/v1/sdk/agents");
    let twice = twice.header("X-Capiscio-Registry-Key", &ca.key).header("X-Capiscio-Registry-Key", &ca.key);
    refused(&crate::world::answer(twice).await, 400, "invalid_request");
    refused(&ca.get("/v1/sdk/agents").await, 401, "unauthorized");
    let (id, rest) = ca.key.rsplit_once('_').unwrap();
    let wrong = format!("{id}_{}", rest.chars().rev().collect::<String>());
    for key in [wrong.as_str(), "", "rgk_", &"x".repeat(5000)] {
        refused(&ca.call_as(key, Method::GET, "/v1/sdk/agents", json!({})).await, 401, "unauthorized");
    }
    let revoked = ca.run_json(&["key", "create"]);
    let key = revoked["api_key"].as_str().unwrap();
    assert_eq!(ca.call_as(key, Method::GET, "/v1/sdk/agents", json!({})).await.0, 200);
    ca.run_json(&["key", "revoke", revoked["id"].as_str().unwrap()]);
    refused(&ca.call_as(key, Method::GET, "/v1/sdk/agents", json!({})).await, 401, "unauthorized");
}

#[tokio::test]
async fn events_are_kept_once() {
    let ca = Ca::start();
    let event = json!({
        "id": "8a6e0804-2bd0-4672-b79d-d97027f9071a", "agentId": "00000000-0000-0000-0000-000000000000",
        "eventType": "capiscio.policy_enforced", "decision": "DENY", "payload": { "tool_name": "read_file" },
    });
    for _ in 0..2 {
        assert_eq!(ca.post("/v1/events", event.clone()).await.0, 202);
    }
    refused(&ca.post("/v1/events", json!({ "id": "1", "eventType": "x" })).await, 400, "invalid_event");
    let mut long = event;
    long["payload"] = "x".repeat(20_000).into();
    refused(&ca.post("/v1/events", long).await, 413, "body_too_large");
}

/// A did:web of localhost is resolved over plain http; nobody can be made to send a key that way.
#[tokio::test]
async fn without_tls_the_port_gives_documents_and_nothing_else() {
    let ca = Ca::start();
    let (id, did, _) = ca.agent().await;
    let plain = ca.origin.replace("https:", "http:");
    let http = reqwest::Client::new();
    let (status, document) = crate::world::answer(http.get(format!("{plain}/agents/{id}/did.json"))).await;
    assert_eq!((status, document["id"].as_str()), (200, Some(did.as_str())));
    for path in ["/.well-known/jwks.json", "/health", "/v1/sdk/agents"] {
        refused(&crate::world::answer(http.get(format!("{plain}{path}"))).await, 403, "tls_required");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let ca = Ca::with_policy("[limits]\nbadges_per_did = 2\nunauthorized_per_ip = 3\n");
    let (id, _, _) = ca.agent().await;
    let (other, _, _) = ca.agent().await;
    for _ in 0..2 {
        assert_eq!(ca.badge(&id, json!({})).await.0, 200);
    }
    let path = format!("/v1/agents/{id}/badge");
    let request = ca.request(Method::POST, &path).header("X-Capiscio-Registry-Key", &ca.key).json(&json!({}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["error"], "rate_limit_exceeded");
    assert_eq!(ca.badge(&other, json!({})).await.0, 200, "another DID is not held up");

    // Guessing keys gets slow.
    for _ in 0..3 {
        refused(&ca.call_as("rgk_0_x", Method::GET, "/v1/sdk/agents", json!({})).await, 401, "unauthorized");
    }
    refused(&ca.call_as("rgk_0_x", Method::GET, "/v1/sdk/agents", json!({})).await, 429, "rate_limit_exceeded");
    assert_eq!(ca.call(Method::GET, "/v1/sdk/agents", json!({})).await.0, 200, "who has a key still gets in");
}
