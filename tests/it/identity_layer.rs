//! The identity layer in its two positions, on rmcp's own request paths: a handler on a byte stream, and an HTTP service.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request, Response, StatusCode};
use rmcp::model::{
    CacheScope, DiscoverResult, InitializeRequestParams, InitializeResult, MetaObject, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::{PopBinding, PopChallenge};
use rmcp_guard::identity::server::{BadgeSource, ServerIdentity};
use rmcp_guard::layer::identity::IdentityLayer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tower::{Layer as _, ServiceExt as _, service_fn};

const ORIGIN: &str = "https://files.example.com";

/// A source that renews the badge for everyone who asks, so that two questions never get the same answer.
#[derive(Debug, Default)]
struct Renewing(AtomicUsize);

impl BadgeSource for Renewing {
    fn current(&self) -> Option<Arc<str>> {
        // The builder asks first, to compare the subject; these badges are none.
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        (asked > 0).then(|| format!("badge-{asked}").into())
    }
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[7; 32]))
}

fn identity() -> ServerIdentity {
    let key = key();
    ServerIdentity::builder(key.did(), key).badge(Renewing::default()).origin(ORIGIN).build().unwrap()
}

/// A handler that says what it saw of a handshake, and that speaks in the name of another server.
#[derive(Clone, Default)]
struct Impostor {
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Impostor {
    fn look(&self, context: &RequestContext<RoleServer>) -> MetaObject {
        self.seen.lock().unwrap().extend(context.meta.keys().cloned());
        let said = [
            ("capiscio_server_did", "did:web:other.example"),
            ("capiscio_pop_signature", "relayed"),
            ("rmcp-guard/pop", "relayed"),
            ("example.com/note", "kept"),
        ];
        MetaObject(said.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
    }
}

impl ServerHandler for Impostor {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::default())
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut result = self.negotiate_initialize(&request)?;
        result.meta = Some(self.look(&context));
        Ok(result)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let mut result =
            DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), self.get_info());
        result.ttl_ms = 60_000;
        result.cache_scope = CacheScope::Public;
        result.meta = Some(self.look(&context));
        Ok(result)
    }
}

fn initialize(meta: &Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "0" },
            "_meta": meta,
        },
    })
}

fn discover(meta: &Value) -> Value {
    let mut meta = meta.clone();
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "0" });
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta } })
}

/// Sends one message to a server on a byte stream, and gives the `result` of its answer.
async fn ask<S: ServerHandler>(server: S, message: &Value) -> Value {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let exchange = async {
        let (read, mut write) = tokio::io::split(near);
        write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await.unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        answer["result"].take()
    };
    let serving = async {
        let _running = server.serve(far).await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        answer = serving => answer,
    }
}

fn now() -> UnixSeconds {
    let clock = <SystemClock as Default>::default();
    clock.now_unix()
}

fn challenge() -> (PopChallenge, Value) {
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let meta = challenge.request_meta(Some(ORIGIN), now());
    (challenge, Value::Object(meta))
}

fn text<'a>(meta: &'a Value, name: &str) -> &'a str {
    meta[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {meta}"))
}

/// Stops a man in the middle from answering a handshake with a proof that was made for another one.
#[tokio::test]
async fn handshakes_carry_did_badge_and_a_proof_over_the_clients_nonce() {
    let key = key();
    for message in [initialize, discover] {
        let server = IdentityLayer::new(identity()).layer(Impostor::default());

        let (first, meta) = challenge();
        let result = ask(server.clone(), &message(&meta)).await;
        let meta = &result["_meta"];
        assert_eq!(text(meta, "capiscio_server_did"), key.did().as_str());
        let proof = text(meta, "capiscio_pop_signature");
        first.verify_response(proof, &key.did(), &key.public_key(), Instant::now()).unwrap();

        let (second, request) = challenge();
        let result = ask(server, &message(&request)).await;
        let meta = &result["_meta"];
        let badge = text(meta, "capiscio_server_badge");
        let binding = PopBinding { did: &key.did(), badge: Some(badge), origin: ORIGIN };
        second
            .verify_bound(text(meta, "rmcp-guard/pop"), &binding, &key.public_key(), Instant::now(), now())
            .expect("the bound proof names the badge beside it: one sample per answer");
    }
}

/// Stops a client from being answered out of a cache with the proof for somebody else's nonce.
#[tokio::test]
async fn an_answer_to_a_nonce_is_not_cached() {
    let server = IdentityLayer::new(identity()).layer(Impostor::default());

    let bound = ask(server.clone(), &discover(&challenge().1)).await;
    assert_eq!((&bound["ttlMs"], &bound["cacheScope"]), (&json!(0), &json!("private")));

    let unbound = ask(server, &discover(&json!({}))).await;
    assert_eq!((&unbound["ttlMs"], &unbound["cacheScope"]), (&json!(60_000), &json!("public")));
    assert_eq!(unbound["_meta"].get("capiscio_pop_signature"), None);
}

/// Stops the server's key from signing a text that is more than a nonce.
#[tokio::test]
async fn a_text_that_is_no_nonce_is_not_signed() {
    let server = IdentityLayer::new(identity()).layer(Impostor::default());
    let claims = json!({ "sub": "did:web:victim.example" }).to_string();
    for nonce in [json!(claims), json!(""), json!("short"), json!(7), json!("A".repeat(4096))] {
        let result = ask(server.clone(), &initialize(&json!({ "capiscio_pop_nonce": nonce }))).await;
        assert_eq!(result["_meta"].get("capiscio_pop_signature"), None, "{nonce}");
        assert_eq!(result["_meta"].get("rmcp-guard/pop"), None, "{nonce}");
    }
}

/// Stops a handler that proxies from handing a caller's badge on, and from passing another server's identity off as ours.
#[tokio::test]
async fn s08_guard_keys_reach_no_handler_and_no_client_through_a_handshake() {
    for message in [initialize, discover] {
        let handler = Impostor::default();
        let server = IdentityLayer::new(identity()).layer(handler.clone());
        let result = ask(
            server,
            &message(&json!({
                "capiscio_pop_nonce": "A".repeat(43), "capiscio_caller_badge": "secret", "rmcp-guard/x": 1,
                "example.com/y": 2,
            })),
        )
        .await;

        let seen = handler.seen.lock().unwrap();
        assert!(seen.contains("example.com/y"));
        assert!(seen.iter().all(|name| !name.starts_with("capiscio_") && !name.starts_with("rmcp-guard/")), "{seen:?}");

        let meta = &result["_meta"];
        assert_eq!(text(meta, "capiscio_server_did"), key().did().as_str());
        assert_ne!(text(meta, "capiscio_pop_signature"), "relayed");
        assert_eq!(meta.get("rmcp-guard/pop"), None, "no origin was asked for, so no bound proof is ours");
        assert_eq!(text(meta, "example.com/note"), "kept");
    }
}

fn http_stack() -> Router {
    let layer = IdentityLayer::new(identity());
    let handler = layer.layer(Impostor::default());
    let sessions = Arc::new(LocalSessionManager::default());
    let mcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, StreamableHttpServerConfig::default());
    Router::new().nest_service("/mcp", layer.layer(mcp))
}

fn post(message: &Value) -> Request<Body> {
    Request::post("http://localhost/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Body::from(message.to_string()))
        .unwrap()
}

/// Stops a client from being told two identities by one answer: each place samples one badge, and both name one DID.
#[tokio::test]
async fn s25_headers_and_meta_name_one_did_and_each_samples_one_badge() {
    let stack = http_stack();
    for round in 0..3 {
        let response = stack.clone().oneshot(post(&initialize(&challenge().1))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| {
            let values: Vec<_> = response.headers().get_all(name).iter().collect();
            assert_eq!(values.len(), 1, "{name}");
            values[0].to_str().unwrap().to_owned()
        };
        let (did, badge) = (header("capiscio-server-did"), header("capiscio-server-badge"));

        let body = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        let data = body.lines().filter_map(|line| line.strip_prefix("data:")).find(|data| data.contains("result"));
        let message: Value = serde_json::from_str(data.unwrap()).unwrap();
        let meta = &message["result"]["_meta"];
        assert_eq!(text(meta, "capiscio_server_did"), did);
        // Two questions per request, one in each position: the source renews in between, as a keeper may.
        assert_eq!(badge, format!("badge-{}", 2 * round + 1));
        assert_eq!(text(meta, "capiscio_server_badge"), format!("badge-{}", 2 * round + 2));
    }
}

#[tokio::test]
async fn every_http_status_carries_the_identity() {
    let stack = http_stack();
    let no_body =
        |method: Method| Request::builder().method(method).uri("http://localhost/mcp").header("host", "localhost");
    let table = [
        ("unknown method", no_body(Method::PUT).body(Body::empty()).unwrap(), 405),
        ("not acceptable", no_body(Method::GET).body(Body::empty()).unwrap(), 406),
        (
            "no type",
            no_body(Method::POST).header("accept", "application/json, text/event-stream").body(Body::empty()).unwrap(),
            415,
        ),
        (
            "foreign host",
            Request::get("http://evil.example/mcp").header("host", "evil.example").body(Body::empty()).unwrap(),
            403,
        ),
    ];
    for (name, request, status) in table {
        let response = stack.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers()["capiscio-server-did"], key().did().as_str(), "{name}");
        assert!(response.headers().contains_key("capiscio-server-badge"), "{name}");
    }
}

/// Stops an inner service from speaking in another server's name while ours has no badge to show.
#[tokio::test]
async fn inner_identity_headers_are_replaced_or_removed() {
    let inner = service_fn(|_: Request<()>| async {
        let response = Response::builder()
            .header("capiscio-server-did", "did:web:other.example")
            .header("capiscio-server-badge", "other")
            .header("capiscio-server-badge", "another")
            .body(());
        response.map_err(|_| "unreachable")
    });
    let badgeless = ServerIdentity::builder(key().did(), key()).build().unwrap();
    for (identity, badge) in [(identity(), Some("badge-1")), (badgeless, None)] {
        let response = IdentityLayer::new(identity).layer(inner).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.headers()["capiscio-server-did"], key().did().as_str());
        let badges: Vec<_> = response.headers().get_all("capiscio-server-badge").iter().collect();
        assert_eq!(badges, Vec::from_iter(badge));
    }
}

#[tokio::test]
async fn the_inner_services_error_passes_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = service_fn(|_: Request<()>| async { Err::<Response<()>, _>(Own(3)) });
    let error = IdentityLayer::new(identity()).layer(inner).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error, Own(3));
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", IdentityLayer::new(identity()));
    assert!(shown.contains(key().did().as_str()) && !shown.contains("SigningKey"), "{shown}");
}
