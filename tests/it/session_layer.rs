//! Sessions of a real rmcp HTTP server, seen by their owner and by everybody else: raw requests over TCP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use http::{Method, Request, StatusCode};
use reqwest::{RequestBuilder, Response};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::enforce::{Enforcer, GuardConfig, GuardConfigBuilder};
use rmcp_guard::evidence::{EvidenceLog, EvidenceMode};
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::guard::{Guard, GuardLayer};
use rmcp_guard::layer::session::{MAX_SESSION_ID_BYTES, SessionLayer};
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};
use tokio::time::timeout;
use tower::{Layer as _, Service, ServiceExt as _};

const AUDIENCE: &str = "https://files.example.com";
const REGISTRY: &str = "https://registry.example.com";
const OTHER_REGISTRY: &str = "https://other.example.org";
/// More than a loopback answer needs, less than anyone wants to wait for a failing test.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two tools: `open` answers anybody, `secret` answers a badge holder once the test lets it.
#[derive(Clone, Default)]
struct Vault {
    release: Arc<Notify>,
}

impl ServerHandler for Vault {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match &*request.name {
            "open" => "open to all",
            "secret" => {
                self.release.notified().await;
                "the treasure"
            }
            _ => return Err(ErrorData::invalid_params("no such tool", None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

fn registry(origin: &str) -> BadgeIssuer {
    BadgeIssuer::new(origin, "key-1", Arc::new(SigningKey::from_seed(&[1; 32]))).unwrap()
}

fn agent(seed: u8) -> (Did, SigningKey) {
    let key = SigningKey::from_seed(&[seed; 32]);
    (key.did(), key)
}

/// A badge for the agent of `seed`; badges of different seconds have different ids, lifetimes and bytes.
fn badge_at(origin: &str, seed: u8, now: UnixSeconds) -> Credential {
    let (did, key) = agent(seed);
    let request = BadgeRequest::new(did, key.public_key(), TrustLevel::Registered).audience(AUDIENCE);
    Credential::Badge(registry(origin).issue(&request, now).unwrap())
}

fn now() -> UnixSeconds {
    let clock = <SystemClock as Default>::default();
    clock.now_unix()
}

fn badge(seed: u8) -> Credential {
    badge_at(REGISTRY, seed, now())
}

fn expired_badge(seed: u8) -> Credential {
    badge_at(REGISTRY, seed, now().saturating_sub(Duration::from_secs(7200)))
}

fn config(evidence: EvidenceLog) -> GuardConfig {
    rules(evidence).insecure_no_revocation().build().unwrap()
}

fn rules(evidence: EvidenceLog) -> GuardConfigBuilder {
    let issuer = |origin| Issuer::jwks(origin, &registry(origin).jwks_json()).unwrap();
    GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(issuer(REGISTRY))
        .trusted_issuer(issuer(OTHER_REGISTRY))
        .tool("open", ToolRequirement::anonymous())
        .tool("secret", ToolRequirement::min_trust(TrustLevel::Registered))
        .evidence(evidence)
}

type Mcp = StreamableHttpService<Guard<Vault>, LocalSessionManager>;

/// One server: its guard, and rmcp's HTTP service around it.
struct Server {
    guard: GuardLayer,
    mcp: Mcp,
    release: Arc<Notify>,
    evidence: EvidenceLog,
}

impl Server {
    fn new() -> Self {
        Self::with(GuardConfigBuilder::insecure_no_revocation)
    }

    fn with(change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder) -> Self {
        Self::recording(EvidenceLog::in_memory(), change)
    }

    fn recording(evidence: EvidenceLog, change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder) -> Self {
        let guard = GuardLayer::new(change(rules(evidence.clone())).build().unwrap());
        let vault = Vault::default();
        let release = Arc::clone(&vault.release);
        let guarded = guard.layer(vault);
        let http = StreamableHttpServerConfig::default().enforce_origin_validation();
        let mcp = StreamableHttpService::new(move || Ok(guarded.clone()), Arc::default(), http);
        Self { guard, mcp, release, evidence }
    }

    async fn start(&self) -> Endpoint {
        self.start_with(self.guard.session_layer()).await
    }

    async fn start_with(&self, sessions: SessionLayer) -> Endpoint {
        Endpoint::serve(Router::new().nest_service("/mcp", sessions.layer(self.mcp.clone()))).await
    }
}

/// What a caller presents in headers.
#[derive(Clone)]
enum Credential {
    None,
    Badge(String),
}

/// The address of a server.
#[derive(Clone)]
struct Endpoint(String);

impl Endpoint {
    #[expect(clippy::disallowed_methods, reason = "the server runs beside its test")]
    async fn serve(app: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self(format!("http://{address}/mcp"))
    }

    fn request(&self, method: Method, credential: &Credential) -> RequestBuilder {
        let request = reqwest::Client::new().request(method, &self.0);
        match credential {
            Credential::None => request,
            Credential::Badge(badge) => request.header("x-capiscio-badge", badge),
        }
    }

    fn post(&self, credential: &Credential, message: &Value) -> RequestBuilder {
        self.request(Method::POST, credential)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(message.to_string())
    }

    /// A session that `credential` opened, with the handshake done.
    async fn open(&self, credential: &Credential) -> Session {
        let response = self.post(credential, &initialize()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let session = Session { endpoint: self.clone(), id };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let response = session.post(credential, &initialized).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        session
    }
}

fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "0" },
        },
    })
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

/// A session id, in the hands of whoever has it.
struct Session {
    endpoint: Endpoint,
    id: String,
}

impl Session {
    async fn send(&self, request: RequestBuilder) -> Response {
        let request = request.header("mcp-session-id", &self.id).header("mcp-protocol-version", "2025-06-18");
        timeout(PATIENCE, request.send()).await.expect("an answer in time").unwrap()
    }

    async fn post(&self, credential: &Credential, message: &Value) -> Response {
        self.send(self.endpoint.post(credential, message)).await
    }

    async fn listen(&self, credential: &Credential) -> Response {
        self.send(self.endpoint.request(Method::GET, credential).header("accept", "text/event-stream")).await
    }

    async fn resume(&self, credential: &Credential, event: &str) -> Response {
        let request = self.endpoint.request(Method::GET, credential).header("accept", "text/event-stream");
        self.send(request.header("last-event-id", event)).await
    }

    async fn delete(&self, credential: &Credential) -> Response {
        self.send(self.endpoint.request(Method::DELETE, credential)).await
    }
}

/// Reads a response until `wanted` appears in it: everything so far, or `None` if the response ends without it.
async fn read_until(response: &mut Response, wanted: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let chunk = timeout(PATIENCE, response.chunk()).await.expect("more of the response, or its end");
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()?));
        if text.contains(wanted) {
            return Some(text);
        }
    }
}

fn event_id(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("id:")).expect("an event id").trim().to_owned()
}

async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
    (status, body["reason"].as_str().unwrap_or_default().to_owned())
}

fn unbound() -> (u16, String) {
    (404, "session_unbound".to_owned())
}

/// Stops whoever learned a session id from reading its answers with `GET` and `Last-Event-ID`, ending it with `DELETE`, or
/// speaking in it with `POST`: without a badge, with another's, or with the same subject vouched for by another issuer.
#[tokio::test]
async fn s14_a_stolen_session_id_resumes_speaks_and_deletes_nothing() {
    let server = Server::new();
    let endpoint = server.start().await;
    let owner = badge(10);
    let session = endpoint.open(&owner).await;

    let mut answer = session.post(&owner, &call("secret")).await;
    let event = event_id(&read_until(&mut answer, "id:").await.unwrap());
    drop(answer);

    let now = now();
    for (name, thief) in
        [("nobody", Credential::None), ("another", badge(11)), ("another issuer", badge_at(OTHER_REGISTRY, 10, now))]
    {
        for event in [event.as_str(), "0", "0/1"] {
            assert_eq!(refusal(session.resume(&thief, event).await).await, unbound(), "{name}, event {event}");
        }
        assert_eq!(refusal(session.listen(&thief).await).await, unbound(), "{name}");
        assert_eq!(refusal(session.post(&thief, &call("open")).await).await, unbound(), "{name}");
        let response = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
        assert_eq!(refusal(session.post(&thief, &response).await).await, unbound(), "{name}");
        assert_eq!(refusal(session.delete(&thief).await).await, unbound(), "{name}");
    }
    assert_eq!(refusal(session.resume(&expired_badge(10), &event).await).await, (401, "badge_expired".to_owned()));

    // The owner's badge was renewed meanwhile: another id, another lifetime, the same owner.
    let renewed = badge_at(REGISTRY, 10, now.saturating_sub(Duration::from_secs(30)));
    let mut resumed = session.resume(&renewed, &event).await;
    assert_eq!(resumed.status(), StatusCode::OK);
    server.release.notify_one();
    assert!(read_until(&mut resumed, "the treasure").await.is_some());

    assert_eq!(session.delete(&renewed).await.status(), StatusCode::ACCEPTED);
    assert_eq!(refusal(session.listen(&renewed).await).await, unbound());
}

/// The attack itself, on a server without the layer: what the tests around this one refuse does work there.
#[tokio::test]
async fn rmcp_alone_gives_a_session_to_whoever_knows_its_id() {
    let vault = Vault::default();
    let release = Arc::clone(&vault.release);
    let mcp: StreamableHttpService<_, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(vault.clone()), Arc::default(), StreamableHttpServerConfig::default());
    let endpoint = Endpoint::serve(Router::new().nest_service("/mcp", mcp)).await;
    let session = endpoint.open(&badge(10)).await;
    let mut answer = session.post(&badge(10), &call("secret")).await;
    let event = event_id(&read_until(&mut answer, "id:").await.unwrap());

    let mut stolen = session.resume(&Credential::None, &event).await;
    release.notify_one();
    assert!(read_until(&mut stolen, "the treasure").await.is_some());
    assert_eq!(session.delete(&Credential::None).await.status(), StatusCode::ACCEPTED);
}

/// Stops somebody who listened in a session before its client authenticated from hearing what comes after.
#[tokio::test]
async fn s15_the_first_authorized_principal_takes_an_anonymous_session() {
    let server = Server::new();
    let endpoint = server.start().await;
    let (nobody, owner, other) = (Credential::None, badge(10), badge(11));
    let session = endpoint.open(&nobody).await;

    let mut eavesdropper = session.listen(&nobody).await;
    assert_eq!(eavesdropper.status(), StatusCode::OK);
    let mut open = session.post(&nobody, &call("open")).await;
    assert!(read_until(&mut open, "open to all").await.is_some());
    // A badge that is not authorized for anything takes nothing.
    let mut denied = session.post(&other, &call("none")).await;
    assert!(read_until(&mut denied, "tool_not_allowed").await.is_some());
    assert_eq!(session.post(&nobody, &call("open")).await.status(), StatusCode::OK);

    let mut secret = session.post(&owner, &call("secret")).await;
    assert!(read_until(&mut eavesdropper, "the treasure").await.is_none(), "the stream of before ends");
    server.release.notify_one();
    assert!(read_until(&mut secret, "the treasure").await.is_some(), "the stream of the owner does not");

    for (name, thief) in [("nobody", &nobody), ("another", &other)] {
        assert_eq!(refusal(session.listen(thief).await).await, unbound(), "{name}");
        assert_eq!(refusal(session.post(thief, &call("open")).await).await, unbound(), "{name}");
        assert_eq!(refusal(session.delete(thief).await).await, unbound(), "{name}");
    }
    let mut open = session.post(&owner, &call("open")).await;
    assert!(read_until(&mut open, "open to all").await.is_some());
}

/// Every badge is good, and a question about one waits until there is one about another.
#[derive(Debug)]
struct Together(Barrier);

impl StatusSource for Together {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::Wait(Box::pin(async {
            self.0.wait().await;
            RevocationStatus::Good
        }))
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(AgentStatus::Active)
    }
}

/// Stops two callers who are authorized at the same moment from both getting a session: the loser's tool does not run,
/// and its record says so.
#[tokio::test]
async fn s15_of_two_callers_at_once_one_gets_the_session() {
    let directory = tempfile::tempdir().unwrap();
    // Strict: both decisions wait for the disk, and the session is nobody's until one of them is there.
    let options = EvidenceLog::options().mode(EvidenceMode::Strict).wait_limit(Duration::from_secs(10));
    let evidence = options.create_or_open(directory.path().join("evidence")).unwrap();
    let together = Revocations::online(Arc::new(Together(Barrier::new(2))));
    let server = Server::recording(evidence, |config| config.revocations(together));
    let endpoint = server.start().await;

    // The disk may be faster than the second caller, who then finds the session taken and is denied.
    for round in 1..=50 {
        let session = endpoint.open(&Credential::None).await;
        let call = async |seed: u8| {
            let mut call = call("secret");
            call["id"] = seed.into();
            let mut response = session.post(&badge(seed), &call).await;
            read_until(&mut response, "the treasure").await.is_some()
        };
        server.release.notify_one();
        let (one, two) = tokio::join!(call(10), call(11));
        assert!(one != two, "exactly one got the answer");

        // The loser's response ends at once, its record a little later.
        let records = timeout(PATIENCE, async {
            loop {
                let records = server.evidence.records().unwrap();
                let is = |it: &&Value, name: &str, value: &str| it[format!("rmcp_guard.{name}")] == value;
                let decided = records.iter().filter(|it| is(it, "kind", "decision")).count();
                let ended = records.iter().filter(|it| is(it, "kind", "outcome")).count();
                let allowed = records.iter().filter(|it| it["capiscio.decision"] == "ALLOW").count();
                if decided == 2 * round && ended == allowed {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let records = records.await.expect("both callers are on record");
        let outcome = |how: &str| records.iter().filter(|it| it["rmcp_guard.outcome"] == how).collect::<Vec<_>>();
        assert_eq!(outcome("ok").len(), round);
        if let Some(lost) = outcome("not_run").first() {
            let named = |it: &&Value| it["rmcp_guard.notice.decision_id"] == lost["rmcp_guard.decision_id"];
            let is_notice = |it: &&Value| it["rmcp_guard.kind"] == "notice";
            assert_eq!(records.iter().filter(is_notice).filter(named).count(), 1);
            return;
        }
    }
    panic!("the two never met");
}

/// Stops a session from being lost, or from going to another agent, when its owner's key is rotated.
#[tokio::test]
async fn s14_a_session_survives_the_rotation_of_its_owners_key() {
    let server = Server::new();
    let endpoint = server.start().await;
    let badge_of = |name: &str, seed| {
        let subject = Did::parse(&format!("did:web:registry.example.com:agents:{name}")).unwrap();
        let request = BadgeRequest::new(subject, agent(seed).1.public_key(), TrustLevel::Registered).audience(AUDIENCE);
        Credential::Badge(registry(REGISTRY).issue(&request, now()).unwrap())
    };
    let session = endpoint.open(&badge_of("rotating", 10)).await;
    let mut answer = session.post(&badge_of("rotating", 30), &call("open")).await;
    assert!(read_until(&mut answer, "open to all").await.is_some());
    assert_eq!(refusal(session.listen(&badge_of("other", 10)).await).await, unbound());
}

/// Stops a session id from outliving what was known of its owner: after a restart it opens nothing.
#[tokio::test]
async fn s15_an_unknown_binding_is_not_found() {
    let server = Server::new();
    let owner = badge(10);
    let before = server.start().await.open(&owner).await;
    // The same rmcp sessions behind a new table, as an external session store would have it after a restart.
    let restarted = server.start_with(SessionLayer::new(server.guard.enforcer().clone())).await;
    let after = Session { endpoint: restarted, id: before.id.clone() };
    assert_eq!(refusal(after.listen(&owner).await).await, unbound());
    assert_eq!(refusal(after.post(&owner, &call("open")).await).await, unbound());
    assert_eq!(before.post(&owner, &call("open")).await.status(), StatusCode::OK);
}

/// Stops a server that forgot the session layer from serving sessions that nobody owns.
#[tokio::test]
async fn s15_a_call_in_a_session_without_the_layer_is_denied() {
    let server = Server::new();
    let endpoint = Endpoint::serve(Router::new().nest_service("/mcp", server.mcp.clone())).await;
    let owner = badge(10);
    let session = endpoint.open(&owner).await;
    for tool in ["open", "secret"] {
        let mut answer = session.post(&owner, &call(tool)).await;
        assert!(read_until(&mut answer, "session_unbound").await.is_some(), "{tool}");
    }
}

/// Stops a client from owning a session by a badge that its other requests do not show: whoever knew the session id
/// could send those.
#[tokio::test]
async fn s15_a_badge_in_meta_alone_opens_nothing_in_a_session() {
    let server = Server::new();
    let endpoint = server.start().await;
    let session = endpoint.open(&Credential::None).await;
    let Credential::Badge(badge) = badge(10) else { panic!("a badge") };
    let mut message = call("secret");
    message["params"]["_meta"] = json!({ "capiscio_caller_badge": badge });
    let mut answer = session.post(&Credential::None, &message).await;
    assert!(read_until(&mut answer, "session_unbound").await.is_some());
}

/// Stops a resumption that names no session from reading whatever stream its event id names.
#[tokio::test]
async fn s15_an_event_id_without_a_session_resumes_nothing() {
    let endpoint = Server::new().start().await;
    let request = endpoint.request(Method::GET, &badge(10)).header("accept", "text/event-stream");
    assert_eq!(refusal(request.header("last-event-id", "0/1").send().await.unwrap()).await, unbound());
}

#[tokio::test]
async fn malformed_session_ids_are_refused() {
    let endpoint = Server::new().start().await;
    let owner = badge(10);
    let session = endpoint.open(&owner).await;
    let malformed = (400, "request_malformed".to_owned());
    for (name, ids) in [
        ("twice", vec![session.id.clone(), session.id.clone()]),
        ("good then other", vec![session.id.clone(), "other".to_owned()]),
        ("too long", vec!["x".repeat(MAX_SESSION_ID_BYTES + 1)]),
        ("blank", vec!["a b".to_owned()]),
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = endpoint.request(method, &owner);
            let request = ids.iter().fold(request, |request, id| request.header("mcp-session-id", id));
            assert_eq!(refusal(request.send().await.unwrap()).await, malformed, "{name}");
        }
    }
    assert_eq!(session.delete(&owner).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn credentials_that_fail_are_challenged() {
    let server = Server::new();
    let endpoint = server.start().await;
    let owner = badge(10);
    let session = endpoint.open(&owner).await;

    let failing = [
        ("expired", vec![("x-capiscio-badge", expired_badge(10))]),
        ("twice", vec![("x-capiscio-badge", owner.clone()), ("x-capiscio-badge", owner.clone())]),
        ("no badge", vec![("x-capiscio-badge", Credential::Badge("nonsense".into()))]),
        ("unknown key", vec![("x-capiscio-registry-key", Credential::Badge("nonsense".into()))]),
    ];
    for (name, headers) in failing {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request =
                headers.iter().fold(endpoint.request(method, &Credential::None), |request, (header, value)| {
                    let Credential::Badge(value) = value else { panic!("a value") };
                    request.header(*header, value)
                });
            let response = session.send(request).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
            assert_eq!(response.headers()["www-authenticate"], "Badge", "{name}");
        }
    }

    // A credential that fails opens no session either: it is not anonymous.
    let response = endpoint.post(&expired_badge(10), &initialize()).send().await.unwrap();
    assert!(!response.headers().contains_key("mcp-session-id"));
    assert_eq!(refusal(response).await, (401, "badge_expired".to_owned()));
}

#[tokio::test]
async fn a_full_table_refuses_new_sessions_and_keeps_the_old() {
    let server = Server::new();
    let endpoint = server.start_with(server.guard.session_layer().with_max_sessions(1)).await;
    let owner = badge(10);
    let session = endpoint.open(&owner).await;
    let response = endpoint.post(&owner, &initialize()).send().await.unwrap();
    assert!(!response.headers().contains_key("mcp-session-id"));
    assert_eq!(refusal(response).await, (503, "session_limit".to_owned()));

    assert_eq!(session.post(&owner, &call("open")).await.status(), StatusCode::OK);
    assert_eq!(session.delete(&owner).await.status(), StatusCode::ACCEPTED);
    endpoint.open(&owner).await;
}

#[tokio::test]
async fn the_layers_of_a_guard_share_their_sessions() {
    let server = Server::new();
    let (one, two) = (server.start().await, server.start_with(server.guard.clone().session_layer()).await);
    let owner = badge(10);
    let session = one.open(&owner).await;
    let elsewhere = Session { endpoint: two, id: session.id };
    assert_eq!(elsewhere.post(&owner, &call("open")).await.status(), StatusCode::OK);
    assert_eq!(refusal(elsewhere.delete(&badge(11)).await).await, unbound());
}

#[tokio::test]
async fn stateless_requests_pass() {
    let endpoint = Server::new().start().await;
    let mut message = call("open");
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let request = endpoint.post(&Credential::None, &message).header("mcp-protocol-version", "2026-07-28");
    let mut answer = request.header("mcp-method", "tools/call").header("mcp-name", "open").send().await.unwrap();
    assert!(read_until(&mut answer, "open to all").await.is_some());
}

/// Stops evidence from being a source of session ids.
#[tokio::test]
async fn refusals_are_recorded_without_the_session_id() {
    let server = Server::new();
    let endpoint = server.start().await;
    let session = endpoint.open(&badge(10)).await;
    assert_eq!(refusal(session.delete(&badge(11)).await).await, unbound());

    let records = server.evidence.records().unwrap();
    let notice = records.iter().find(|record| record["rmcp_guard.notice"] == "session_refused").expect("a notice");
    assert_eq!(notice["rmcp_guard.notice.reason"], "session_unbound");
    assert_eq!(notice["rmcp_guard.notice.http_status"], "404");
    assert_eq!(notice["rmcp_guard.notice.session"].as_str().unwrap().len(), 16);
    assert!(!records.iter().any(|record| record.to_string().contains(&session.id)));
}

/// Stops a page in a browser from reaching a local server under a name of its own (DNS rebinding) or from its own origin.
#[tokio::test]
async fn s37_foreign_hosts_and_origins_are_refused() {
    let endpoint = Server::new().start().await;
    for (header, value, status) in [
        ("host", "evil.example", StatusCode::FORBIDDEN),
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("host", "localhost", StatusCode::OK),
    ] {
        let request = endpoint.post(&Credential::None, &initialize()).header(header, value);
        assert_eq!(request.send().await.unwrap().status(), status, "{header}: {value}");
    }
}

/// Stops an OAuth client from being left without a way to learn where it gets a token.
#[tokio::test]
async fn s37_a_challenge_of_the_applications_own_is_sent() {
    let challenge = r#"Bearer resource_metadata="https://files.example.com/.well-known/oauth-protected-resource""#;
    let server = Server::new();
    let layer = SessionLayer::new(Enforcer::new(config(EvidenceLog::in_memory())));
    let endpoint = server.start_with(layer.with_challenge(challenge.parse().unwrap())).await;
    let session = endpoint.open(&badge(10)).await;
    let response = session.listen(&expired_badge(10)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], challenge);
}

/// Stops OAuth and badges from being taken for each other: a token opens no session of a badge, and no badge needs to be
/// a token.
#[tokio::test]
async fn s37_oauth_outside_and_badges_inside_coexist() {
    use axum::middleware::{self, Next};
    use axum::response::IntoResponse as _;

    const CHALLENGE: &str =
        "Bearer resource_metadata=\"https://files.example.com/.well-known/oauth-protected-resource\"";
    let require_token = async |request: axum::extract::Request, next: Next| {
        if request.headers().get("authorization").is_some_and(|value| value == "Bearer user-token") {
            next.run(request).await
        } else {
            (StatusCode::UNAUTHORIZED, [("www-authenticate", CHALLENGE)]).into_response()
        }
    };
    let server = Server::new();
    let mcp = server.guard.session_layer().layer(server.mcp.clone());
    let app = Router::new().nest_service("/mcp", mcp).layer(middleware::from_fn(require_token));
    let endpoint = Endpoint::serve(app).await;

    let response = endpoint.post(&badge(10), &initialize()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], CHALLENGE);

    let request = endpoint.post(&badge(10), &initialize()).header("authorization", "Bearer user-token");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()["mcp-session-id"].clone();
    for (credential, status) in [(badge(10), 202), (badge(11), 404), (Credential::None, 404)] {
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let request = endpoint.post(&credential, &message).header("authorization", "Bearer user-token");
        assert_eq!(request.header("mcp-session-id", &id).send().await.unwrap().status(), status);
    }
}

/// An HTTP service that counts its calls, opens session `s`, and is ready once per `poll_ready`, in that instance only.
struct Counting {
    calls: Arc<AtomicUsize>,
    ready: bool,
}

impl Clone for Counting {
    fn clone(&self) -> Self {
        Self { calls: Arc::clone(&self.calls), ready: false }
    }
}

impl Service<Request<()>> for Counting {
    type Response = http::Response<axum::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let response = http::Response::builder().header("mcp-session-id", "s").body(axum::body::Body::empty());
        std::future::ready(Ok(response.unwrap()))
    }
}

#[tokio::test]
async fn the_inner_service_is_called_ready_or_not_at_all() {
    let calls = Arc::new(AtomicUsize::new(0));
    let layer = SessionLayer::new(Enforcer::new(config(EvidenceLog::in_memory())));
    let mut service = layer.layer(Counting { calls: Arc::clone(&calls), ready: false });
    let request = |session: Option<&str>, credential: &Credential| {
        let mut request = Request::post("/mcp");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        if let Credential::Badge(badge) = credential {
            request = request.header("x-capiscio-badge", badge);
        }
        request.body(()).unwrap()
    };
    let table = [
        ("opens", None, badge(10), 200, 1),
        ("owner", Some("s"), badge(10), 200, 2),
        ("another", Some("s"), badge(11), 404, 2),
        ("nobody", Some("s"), Credential::None, 404, 2),
        ("expired", Some("s"), expired_badge(10), 401, 2),
        ("unknown", Some("t"), badge(10), 404, 2),
        ("malformed", Some(""), badge(10), 400, 2),
        ("an id twice", None, badge(11), 500, 3),
        ("owner again", Some("s"), badge(10), 200, 4),
    ];
    for (name, session, credential, status, called) in table {
        let response = service.ready().await.unwrap().call(request(session, &credential)).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(calls.load(Ordering::Relaxed), called, "{name}");
    }

    // Dropped before its first poll, a request of a session has not reached the inner service.
    drop(service.ready().await.unwrap().call(request(Some("s"), &badge(10))));
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}
