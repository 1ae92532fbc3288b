//! Servers and agents: registered, found, changed, and kept from other accounts.

use reqwest::Method;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use serde_json::{Value, json};

use crate::world::{Ca, encode, refused, text};

fn pem(key: &SigningKey) -> String {
    key.public_key().to_spki_pem().unwrap()
}

/// The calls of capiscio-mcp 2.7.1, in its order and spelling.
#[tokio::test]
async fn a_server_registers_as_the_peer_does() {
    let ca = Ca::start();
    let key = SigningKey::generate().unwrap();
    let identity = json!({ "did": key.did().as_str(), "publicKey": pem(&key) });
    let unknown = "/v1/sdk/servers/550e8400-e29b-41d4-a716-446655440000";
    refused(&ca.call(Method::PUT, unknown, identity.clone()).await, 404, "server_not_found");

    let mut creation = identity.clone();
    creation["name"] = "MCP Server 550e8400".into();
    let (status, made) = ca.post("/v1/sdk/servers", creation.clone()).await;
    assert_eq!(status, 201, "{made}");
    let id = text(&made["data"]["id"]);
    assert!(made["data"]["orgId"].is_string());
    let (status, again) = ca.post("/v1/sdk/servers", creation).await;
    assert_eq!((status, &again["data"]["id"]), (200, &made["data"]["id"]), "a repeated call makes no second server");

    let path = format!("/v1/sdk/servers/{id}");
    let (status, updated) = ca.call(Method::PUT, &path, identity).await;
    assert_eq!((status, text(&updated["data"]["id"])), (200, id.clone()));

    let (status, badge) = ca.post(&format!("{path}/badge"), json!({ "domain": "localhost:8443" })).await;
    assert_eq!(status, 200, "{badge}");
    assert_eq!(badge["data"]["badge"], badge["data"]["token"]);
    assert_eq!(badge["data"]["badge"], badge["badge"]);
    assert_eq!(text(&badge["data"]["subject"]), format!("{}:servers:{id}", hosted(&ca)));
    assert_eq!(badge["data"]["trustLevel"], "1", "a domain that nobody granted lifts no level");

    // It starts again with a new key, under the name that the peer takes for its own.
    let next = SigningKey::generate().unwrap();
    let as_agent = format!("{}:agents:{id}", hosted(&ca));
    let (status, _) = ca.call(Method::PUT, &path, json!({ "did": as_agent, "publicKey": pem(&next) })).await;
    assert_eq!(status, 200);
    let (_, document) = ca.get(&format!("/agents/{id}/did.json")).await;
    assert_eq!(document["verificationMethod"][0]["publicKeyJwk"], next.public_key().to_jwk());
    assert_eq!(ca.get(&format!("/servers/{id}/did.json")).await.0, 404, "it has one name at a time");

    let (_, found) = ca.call(Method::GET, &format!("/v1/sdk/servers?did={}", encode(&as_agent)), json!({})).await;
    assert_eq!((&found["data"][0]["id"], &found["data"][0]["did"]), (&json!(id), &json!(as_agent)));
}

/// `did:web:localhost%3A<port>`.
fn hosted(ca: &Ca) -> String {
    let authority = ca.origin.strip_prefix("https://").unwrap();
    format!("did:web:{}", authority.replace(':', "%3A"))
}

#[tokio::test]
async fn an_identity_has_to_fit_its_key_and_its_name() {
    let ca = Ca::start();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let (id, did, _) = ca.agent().await;
    let foreign_id = "11111111-1111-4111-8111-111111111111";
    let private = key.to_pkcs8_pem().unwrap();
    let cases = [
        (json!({ "did": key.did().as_str(), "publicKey": pem(&other) }), "key_mismatch"),
        (json!({ "did": "did:key:z6Mk" }), "invalid_did"),
        (json!({ "did": "did:web:127.0.0.1" }), "invalid_did"),
        (json!({ "did": "did:example:a" }), "invalid_did"),
        (json!({ "publicKey": "MCowBQYDK2VwAyEA" }), "invalid_public_key"),
        (json!({ "publicKey": private.as_str() }), "invalid_public_key"),
        (json!({ "did": did }), "did_mismatch"),
        (json!({ "did": format!("{}:agents:{foreign_id}", hosted(&ca)) }), "did_mismatch"),
        (json!({ "name": "two\nlines" }), "invalid_name"),
    ];
    for (body, code) in cases {
        refused(&ca.post("/v1/sdk/agents", body.clone()).await, 400, code);
    }
    // A did:key brings its key along, and belongs to one agent.
    let body = json!({ "did": key.did().as_str() });
    let (status, _) = ca.call(Method::PATCH, &format!("/v1/sdk/agents/{id}/identity"), body.clone()).await;
    assert_eq!(status, 200);
    let (_, document) = ca.get(&format!("/agents/{id}/did.json")).await;
    assert_eq!(document["verificationMethod"][0]["publicKeyJwk"], key.public_key().to_jwk());
    let (second, _, _) = ca.agent().await;
    let taken = ca.call(Method::PATCH, &format!("/v1/sdk/agents/{second}/identity"), body).await;
    refused(&taken, 409, "did_registered");
}

/// One account must not read, change, disable or get badges for what is another's.
#[tokio::test]
async fn accounts_are_kept_apart() {
    let ca = Ca::start();
    let (id, did, key) = ca.agent().await;
    let (_, badge) = ca.badge(&id, json!({})).await;
    let stranger = ca.stranger();
    let revoke = format!("/v1/badges/{}/revoke", text(&badge["jti"]));
    let of_agent = |rest: &str| format!("/v1/agents/{id}/{rest}");
    let calls = [
        (Method::GET, format!("/v1/sdk/agents/{id}")),
        (Method::PATCH, format!("/v1/sdk/agents/{id}/identity")),
        (Method::POST, of_agent("badge")),
        (Method::POST, of_agent("badge/challenge")),
        (Method::POST, format!("/v1/agents/{}/badge", encode(&did))),
        (Method::POST, of_agent("disable")),
        (Method::POST, of_agent("enable")),
        (Method::POST, format!("/v1/sdk/servers/{id}/badge")),
        (Method::POST, revoke),
    ];
    for (method, path) in calls {
        let answer = ca.call_as(&stranger, method, &path, json!({})).await;
        refused(&answer, 403, "agent_not_owned");
    }
    let (_, listed) = ca.call_as(&stranger, Method::GET, "/v1/sdk/agents", json!({})).await;
    assert_eq!(listed["data"], json!([]));
    let (_, found) =
        ca.call_as(&stranger, Method::GET, &format!("/v1/sdk/agents?did={}", encode(&did)), json!({})).await;
    assert_eq!(found["data"], json!([]));
    let body = json!({ "did": key.did().as_str() });
    assert_eq!(ca.call(Method::PATCH, &format!("/v1/sdk/agents/{id}/identity"), body.clone()).await.0, 200);
    refused(&ca.call_as(&stranger, Method::POST, "/v1/sdk/agents", body).await, 409, "did_registered");
}

/// What this project's own client reads.
#[tokio::test]
async fn our_client_registers_a_server_and_gets_its_badge() {
    let ca = Ca::start();
    let client = ca.client();
    let key = SigningKey::generate().unwrap();
    let server = client.create_server("files", &key.did(), &key.public_key()).await.unwrap();
    let again = client.create_server("files", &key.did(), &key.public_key()).await.unwrap();
    assert_eq!(again.id, server.id);
    client.register_server(&server.id, &key.did(), &key.public_key()).await.unwrap();
    let badge = client.server_badge(&server.id, Some("files.example.test")).await.unwrap();
    assert!(badge.jti.is_some());
    let agent: Did = key.did();
    assert!(client.find_agent(&agent).await.unwrap().is_none(), "a server is no agent");
    let status = ca.get(&format!("/v1/agents/{}/status", encode(agent.as_str()))).await;
    assert_eq!(status, (200, json!({ "id": agent.as_str(), "did": agent.as_str(), "status": "active" })));
    let hosted: Value = format!("{}:servers:{}", hosted(&ca), server.id).into();
    let status = ca.get(&format!("/v1/servers/{}/status", server.id)).await;
    assert_eq!(status, (200, json!({ "id": server.id, "did": hosted, "status": "active" })));
}
