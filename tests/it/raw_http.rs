//! HTTP requests as no MCP client sends them, against a guarded server: a denied tool stays unreached.

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::common::{Credential, Fixture, LEVELS, Transport, badge};

const LEGACY: &str = "2025-06-18";
const NEWEST: &str = "2026-07-28";

fn message(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

/// A call with what 2026-07-28 wants in `_meta`; earlier revisions ignore it.
fn call(tool: &str) -> Value {
    json!({ "name": tool, "arguments": {}, "_meta": {
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    } })
}

fn newest(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(NEWEST);
    params
}

struct Attack {
    name: &'static str,
    revision: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn attacks() -> Vec<Attack> {
    let low = || badge(11, LEVELS[1]);
    let high = || badge(10, LEVELS[4]);
    let with_badge = |mut params: Value, badge: Value| {
        params["_meta"]["capiscio_caller_badge"] = badge;
        params
    };
    let plain = || message("tools/call", &call("level4"));
    let attack = |name, headers, body| Attack { name, revision: LEGACY, headers, body };
    let new = |name, headers, body| Attack { name, revision: NEWEST, headers, body };
    let routed = |tool: &str| vec![("mcp-method", "tools/call".to_owned()), ("mcp-name", tool.to_owned())];
    vec![
        attack("plain", vec![], plain()),
        // Routing headers decide nothing, in the revisions that do not check them either.
        attack("headers name another tool", routed("open"), plain()),
        attack("headers name another method", vec![("mcp-method", "ping".to_owned())], plain()),
        new("headers name another tool, newest", routed("open"), message("tools/call", &newest(call("level4")))),
        new("plain, newest", routed("level4"), message("tools/call", &newest(call("level4")))),
        attack(
            "two badges, the good one first",
            vec![("x-capiscio-badge", high()), ("x-capiscio-badge", low())],
            plain(),
        ),
        attack(
            "two badges, the good one last",
            vec![("x-capiscio-badge", low()), ("x-capiscio-badge", high())],
            plain(),
        ),
        attack("two badges in one value", vec![("x-capiscio-badge", format!("{}, {}", high(), low()))], plain()),
        attack(
            "another badge in _meta",
            vec![("x-capiscio-badge", low())],
            message("tools/call", &with_badge(call("level4"), json!(high()))),
        ),
        attack("a badge in a list", vec![], message("tools/call", &with_badge(call("level4"), json!([high()])))),
        attack("a badge as a bearer token", vec![("authorization", format!("Bearer {}", high()))], plain()),
        attack("a server's disclosure", vec![("capiscio-server-badge", high())], plain()),
        attack("a principal of the caller's own", vec![("x-rmcp-guard-principal", "admin".to_owned())], plain()),
        attack("a batch", vec![], format!("[{}]", plain())),
        attack("two messages", vec![], format!("{}\n{}", message("ping", &json!({})), plain())),
        attack("the name twice", vec![], plain().replacen(r#""name":"level4""#, r#""name":"open","name":"level4""#, 1)),
        attack(
            "_meta twice",
            vec![],
            plain().replacen(r#""_meta""#, r#""_meta":{"capiscio_caller_badge":"x"},"_meta""#, 1),
        ),
        attack("another case", vec![], message("Tools/Call", &call("level4"))),
        attack("as a notification", vec![], plain().replacen(r#""id":1,"#, "", 1)),
        attack("a byte order mark", vec![], format!("\u{feff}{}", plain())),
        attack("a session of its own", vec![("mcp-session-id", "0".repeat(36))], plain()),
        attack("a resumption", vec![("last-event-id", "0".to_owned())], plain()),
    ]
}

fn post(url: &str, attack: &Attack) -> RequestBuilder {
    let mut headers = HeaderMap::new();
    for (name, value) in &attack.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    reqwest::Client::new()
        .post(url)
        .timeout(Duration::from_secs(20))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", attack.revision)
        .headers(headers)
        .body(attack.body.clone())
}

/// Opens a session without a credential, as a stateful server wants one for most of the requests.
async fn open(url: &str) -> String {
    let hello = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let body = message("initialize", &hello);
    let response = post(url, &Attack { name: "", revision: LEGACY, headers: Vec::new(), body }).send().await.unwrap();
    let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let initialized = Attack { name: "", revision: LEGACY, headers: vec![("mcp-session-id", id.clone())], body };
    assert!(post(url, &initialized).send().await.unwrap().status().is_success());
    id
}

/// Stops a denied tool from being run by what a proxy, a careless parser or rmcp's own header checks read differently
/// than the guard, in every mode of the HTTP transport.
#[tokio::test]
async fn no_http_request_runs_a_tool_that_its_credential_does_not_open() {
    for transport in [Transport::HttpStateful, Transport::HttpStatelessSse, Transport::HttpStatelessJson] {
        for mut attack in attacks() {
            let fixture = Fixture::new();
            let server = fixture.serve(transport).await;
            let name = format!("{transport:?}, {}", attack.name);
            let has_session = attack.headers.iter().any(|(header, _)| *header == "mcp-session-id");
            if transport == Transport::HttpStateful && attack.revision == LEGACY && !has_session {
                attack.headers.push(("mcp-session-id", open(server.url()).await));
            }
            let response = post(server.url(), &attack).send().await.unwrap();
            let status = response.status();
            let answer = response.text().await.unwrap();
            assert!(!answer.contains("level4 ran"), "{name}: {status} {answer}");
            // A notification is answered before it is handled; a client of good standing comes after it.
            let credential = Credential::badge(transport, &badge(10, LEVELS[4]));
            let client = server.connect(transport.versions().last().unwrap(), credential).await;
            assert_eq!(client.call("level3", json!({})).await.code(), "ran", "{name}");
            let mut reached = fixture.demo.all_runs();
            assert_eq!(reached.remove("level3"), Some(1), "{name}");
            assert!(reached.is_empty(), "{name}: {reached:?}");
            let allowed = fixture.records("decision").iter().filter(|it| it["capiscio.decision"] == "ALLOW").count();
            assert_eq!(allowed, 1, "{name}");
        }
    }
}
