//! What each call puts on the wire, and what it reads.

use std::time::{Duration, UNIX_EPOCH};

use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::registry::{
    BadgeOptions, EventDecision, EventDetail, PolicyEvent, RegistryClient, RegistryError, RegistryErrorKind,
    UNKNOWN_AGENT,
};
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::double::{Answer, KEY, Registry, SERVER_ID, Sent, badge, client, fetcher, key};

const AGENT: &str = "did:web:registry.example.test:agents:a-1";
const AGENT_PATH: &str = "/v1/agents/did%3Aweb%3Aregistry.example.test%3Aagents%3Aa-1";

fn agent() -> Did {
    Did::parse(AGENT).unwrap()
}

/// The only request of `call`, against a registry that answers everything with `answer`.
async fn sent<T>(
    answer: Value,
    call: impl AsyncFnOnce(RegistryClient) -> Result<T, RegistryError>,
) -> (Sent, Result<T, RegistryError>) {
    let registry = Registry::always(200, answer).await;
    let result = call(registry.client()).await;
    let sent = registry.sent();
    assert_eq!(sent.len(), 1, "{:?}", registry.lines());
    (sent[0].clone(), result)
}

fn assert_keyed(sent: &Sent) {
    assert_eq!(sent.header("x-capiscio-registry-key"), Some(KEY));
    assert_eq!(sent.header("authorization"), None);
    assert_eq!(sent.header("x-capiscio-badge"), None);
    assert!(!sent.target.contains(KEY));
    if sent.method != "GET" {
        assert_eq!(sent.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn registering_a_server_is_a_put_of_did_and_spki() {
    let data = json!({ "data": { "id": SERVER_ID, "orgId": "org-1", "more": 1 } });
    let (sent, server) =
        sent(data, async |client| client.register_server(SERVER_ID, &key().did(), &key().public_key()).await).await;
    assert_eq!(sent.line(), format!("PUT /v1/sdk/servers/{SERVER_ID}"));
    // what OpenSSL and the Python SDK write for this key
    let pem = concat!(
        "-----BEGIN PUBLIC KEY-----\n",
        "MCowBQYDK2VwAyEAF8t5+ytBIPKx7GXkGY1uCLKOgT/rAeSkAIObheGAgM4=\n",
        "-----END PUBLIC KEY-----\n"
    );
    assert_eq!(sent.body, json!({ "did": key().did().as_str(), "publicKey": pem }));
    assert_keyed(&sent);
    let server = server.unwrap();
    assert_eq!((server.id.as_str(), server.org_id.as_deref()), (SERVER_ID, Some("org-1")));
}

#[tokio::test]
async fn a_registration_under_another_id_is_none() {
    for data in [json!({ "data": { "id": "other" } }), json!({}), json!({ "data": null }), json!({ "data": "x" })] {
        let (_, result) = sent(data.clone(), async |client| {
            client.register_server(SERVER_ID, &key().did(), &key().public_key()).await
        })
        .await;
        assert_eq!(result.unwrap_err().kind(), RegistryErrorKind::Answer, "{data}");
    }
}

#[tokio::test]
async fn a_server_is_created_once() {
    let registry = Registry::start(|sent| match sent.method.as_str() {
        "GET" => Answer::json(200, &json!({ "data": [] })),
        _ => Answer::json(201, &json!({ "data": { "id": "new-1", "orgId": "org-1" } })),
    })
    .await;
    let server = registry.client().create_server("Files", &key().did(), &key().public_key()).await.unwrap();
    assert_eq!((server.id.as_str(), server.org_id.as_deref()), ("new-1", Some("org-1")));
    let sent = registry.sent();
    let did = key().did();
    assert_eq!(
        registry.lines(),
        [format!("GET /v1/sdk/servers?did={}", did.as_str().replace(':', "%3A")), "POST /v1/sdk/servers".to_owned()]
    );
    let pem = key().public_key().to_spki_pem().unwrap();
    assert_eq!(sent[1].body, json!({ "name": "Files", "did": did.as_str(), "publicKey": pem }));
    sent.iter().for_each(assert_keyed);

    // one that is there already is not created again
    let known = json!({ "data": [{ "id": "other", "did": AGENT }, { "id": "s-9", "did": did.as_str() }] });
    let registry = Registry::always(200, known).await;
    let server = registry.client().create_server("Files", &did, &key().public_key()).await.unwrap();
    assert_eq!((server.id.as_str(), registry.lines().len()), ("s-9", 1));
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_looked_up_and_not_repeated() {
    for status in [409, 500, 502, 503] {
        let registry = Registry::start(move |sent| match sent.method.as_str() {
            "POST" => Answer::json(status, &json!({ "error": "down" })),
            _ => Answer::json(404, &json!({})),
        })
        .await;
        let error = registry.client().create_server("x", &key().did(), &key().public_key()).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        let methods: Vec<_> = registry.sent().into_iter().map(|sent| sent.method).collect();
        assert_eq!(methods, ["GET", "POST", "GET"], "{status}");
    }
    let posted = std::sync::atomic::AtomicBool::new(false);
    let registry = Registry::start(move |sent| {
        use std::sync::atomic::Ordering;
        if sent.method == "POST" {
            posted.store(true, Ordering::SeqCst);
            return Answer::json(502, &json!({}));
        }
        let entry = json!({ "id": "made", "did": key().did().as_str() });
        let entries = if posted.load(Ordering::SeqCst) { vec![entry] } else { Vec::new() };
        Answer::json(200, &json!({ "data": entries }))
    })
    .await;
    let server = registry.client().create_server("x", &key().did(), &key().public_key()).await.unwrap();
    assert_eq!(server.id, "made");
}

/// The last start created a server and did not hear of it; now the registry answers to some calls only.
#[tokio::test]
async fn nothing_is_created_while_the_registry_cannot_say_what_it_has() {
    for (status, created) in [(404, true), (405, true), (501, true), (503, false), (500, false), (401, false)] {
        let registry = Registry::start(move |sent| match sent.method.as_str() {
            "POST" => Answer::json(201, &json!({ "data": { "id": "second" } })),
            _ => Answer::json(status, &json!({})),
        })
        .await;
        let result = registry.client().create_server("x", &key().did(), &key().public_key()).await;
        assert_eq!(result.is_ok(), created, "{status}");
        assert_eq!(registry.sent().iter().any(|sent| sent.method == "POST"), created, "{status}");
        if let Err(error) = result {
            assert_eq!(error.status(), Some(status));
        }
    }
}

#[tokio::test]
async fn a_servers_badge_is_found_at_four_places_in_order() {
    let (one, other) = (badge(&agent(), &key().public_key()), badge(&agent(), &key().public_key()));
    let answers = [
        json!({ "data": { "badge": one, "token": other }, "badge": other }),
        json!({ "data": { "badge": "", "token": one }, "badge": other }),
        json!({ "data": {}, "badge": one, "token": other }),
        json!({ "token": one }),
    ];
    for answer in answers {
        let (sent, issued) =
            sent(answer, async |client| client.server_badge(SERVER_ID, Some("files.example.com")).await).await;
        assert_eq!(sent.line(), format!("POST /v1/sdk/servers/{SERVER_ID}/badge"));
        assert_eq!(sent.body, json!({ "domain": "files.example.com" }));
        assert_keyed(&sent);
        let issued = issued.unwrap();
        assert_eq!((&*issued.token, issued.subject.as_deref()), (one.as_str(), Some(AGENT)));
        assert!(issued.jti.is_some());
        assert!(!format!("{issued:?}").contains(one.split('.').next().unwrap()));
    }
    let (sent, _) = sent(json!({}), async |client| client.server_badge(SERVER_ID, None).await).await;
    assert_eq!(sent.body, json!({}));
}

#[tokio::test]
async fn what_is_no_badge_with_an_expiry_is_an_answer_error() {
    let answers =
        [json!({}), json!({ "badge": "a.b.c" }), json!({ "badge": 1 }), json!({ "data": "x" }), json!({ "token": "" })];
    for answer in answers {
        let (_, result) = sent(answer.clone(), async |client| client.server_badge(SERVER_ID, None).await).await;
        assert_eq!(result.unwrap_err().kind(), RegistryErrorKind::Answer, "{answer}");
    }
}

#[tokio::test]
async fn an_agent_is_found_by_its_did_and_never_by_its_place_in_the_list() {
    let entries = json!({ "data": [
        { "id": "first", "did": "did:web:registry.example.test:agents:other", "name": "First" },
        { "id": "a-1", "did": AGENT, "name": "Mine" },
    ]});
    let (sent_, found) = sent(entries.clone(), async |client| client.find_agent(&agent()).await).await;
    assert_eq!(sent_.line(), "GET /v1/sdk/agents?did=did%3Aweb%3Aregistry.example.test%3Aagents%3Aa-1");
    assert_keyed(&sent_);
    let found = found.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.name.as_deref()), ("a-1", Some("Mine")));

    let (_, none) = sent(entries, async |client| client.find_agent(&key().did()).await).await;
    assert_eq!(none.unwrap(), None);
    let (_, error) = sent(json!({ "data": {} }), async |client| client.find_agent(&agent()).await).await;
    assert_eq!(error.unwrap_err().kind(), RegistryErrorKind::Answer);
}

#[tokio::test]
async fn an_agents_did_is_set_by_patch() {
    let (sent, result) = sent(json!({}), async |client| client.set_agent_did("a-1", &agent()).await).await;
    assert_eq!(sent.line(), "PATCH /v1/sdk/agents/a-1/identity");
    assert_eq!(sent.body, json!({ "did": AGENT }));
    assert_keyed(&sent);
    result.unwrap();
}

#[tokio::test]
async fn an_agents_badge_of_ial_0_is_asked_for_as_the_rfc_says() {
    let token = badge(&agent(), &key().public_key());
    let options =
        BadgeOptions::new().domain("a.example.com").lifetime(Duration::from_secs(600)).audience("https://x.example");
    let (sent, issued) = sent(json!({ "badge": token, "jti": "x", "expires_at": "x" }), async |client| {
        client.agent_badge(&agent(), &options).await
    })
    .await;
    assert_eq!(sent.line(), format!("POST {AGENT_PATH}/badge"));
    let body =
        json!({ "mode": "ial0", "domain": "a.example.com", "badge_ttl": 600, "badge_aud": ["https://x.example"] });
    assert_eq!(sent.body, body);
    assert_keyed(&sent);
    assert_eq!(&*issued.unwrap().token, token);
}

#[tokio::test]
async fn an_event_has_the_peers_form_and_keeps_its_id() {
    let at = UNIX_EPOCH + Duration::from_micros(1_795_362_386_056_009);
    let event = PolicyEvent::new(EventDecision::Deny, "rm", at)
        .unwrap()
        .detail(EventDetail::DenyReason, "badge_missing")
        .detail(EventDetail::DenyDetail, "")
        .server_id("srv-1");
    let (sent_, result) = sent(json!({}), async |client| client.post_event(&event).await).await;
    result.unwrap();
    assert_eq!(sent_.line(), "POST /v1/events");
    assert_keyed(&sent_);
    let mut body = sent_.body;
    let trace = body["traceId"].as_str().unwrap().to_owned();
    assert_eq!((trace.len(), trace == event.id()), (36, false));
    body["traceId"] = Value::Null;
    let expected = json!({
        "id": event.id(), "agentId": UNKNOWN_AGENT, "traceId": null, "eventType": "capiscio.policy_enforced",
        "severity": "HIGH", "decision": "DENY", "timestamp": "2026-11-22T15:46:26.056009+00:00",
        "payload": { "tool_name": "rm", "deny_reason": "badge_missing" }, "mcpServerId": "srv-1",
    });
    assert_eq!(body, expected);

    let event = PolicyEvent::new(EventDecision::Allow, "ls", at)
        .unwrap()
        .agent_id("a-1")
        .trust_level(TrustLevel::SelfSigned)
        .detail(EventDetail::AgentDid, AGENT);
    let (sent_, _) = sent(json!({}), async |client| client.post_event(&event).await).await;
    assert_eq!((&sent_.body["severity"], &sent_.body["agentId"]), (&json!("INFO"), &json!("a-1")));
    assert_eq!(sent_.body["payload"], json!({ "tool_name": "ls", "agent_did": AGENT, "trust_level": 0 }));
    assert_eq!(sent_.body.get("mcpServerId"), None);
}

#[tokio::test]
async fn revoking_and_disabling_carry_the_reason() {
    let (sent_, _) = sent(json!({}), async |client| client.revoke_badge("j/1", Some("lost")).await).await;
    assert_eq!((sent_.line().as_str(), &sent_.body), ("POST /v1/badges/j%2F1/revoke", &json!({ "reason": "lost" })));
    assert_keyed(&sent_);
    let (sent_, _) = sent(json!({}), async |client| client.revoke_server_badge("j1", None).await).await;
    assert_eq!((sent_.line().as_str(), &sent_.body), ("POST /v1/sdk/servers/badges/j1/revoke", &json!({})));
    let (sent_, _) = sent(json!({}), async |client| client.disable_agent(&agent(), None).await).await;
    assert_eq!(sent_.line(), format!("POST {AGENT_PATH}/disable"));
    assert_keyed(&sent_);
}

/// An id from a configuration or a registry that would climb out of its place in the path.
#[tokio::test]
async fn an_id_stays_one_path_segment() {
    let registry = Registry::always(200, json!({ "data": {} })).await;
    let prefixed = client(&format!("{}/base/", registry.url()));
    for (id, target) in [
        ("a/b", "/base/v1/sdk/servers/a%2Fb"),
        ("a?b#c", "/base/v1/sdk/servers/a%3Fb%23c"),
        ("%2e%2e", "/base/v1/sdk/servers/%252e%252e"),
        ("ä", "/base/v1/sdk/servers/%C3%A4"),
    ] {
        prefixed.register_server(id, &key().did(), &key().public_key()).await.unwrap();
        assert_eq!(registry.sent().last().unwrap().target, target);
    }
    let before = registry.sent().len();
    for id in ["", ".", "..", &"a".repeat(2049)] {
        let error = prefixed.register_server(id, &key().did(), &key().public_key()).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Argument, "{id:?}");
    }
    assert_eq!(registry.sent().len(), before);
}

#[tokio::test]
async fn without_a_key_no_call_that_needs_one_leaves() {
    let registry = Registry::always(200, json!({})).await;
    let client = RegistryClient::new(&registry.url(), None, fetcher()).unwrap();
    let error = client.server_badge(SERVER_ID, None).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::ApiKey);
    assert!(registry.sent().is_empty());
}
