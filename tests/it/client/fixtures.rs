//! An issuer, server identities, a server that writes down what it sees, and raw servers that say whatever they like.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::{BadgeSource, ServerIdentity};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{Lifecycle, VerifiedClient, VerifiedClientBuilder};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

pub(crate) const ISSUER: &str = "https://registry.example.com";
pub(crate) const LIFECYCLES: [Lifecycle; 3] = [Lifecycle::Initialize, Lifecycle::Discover, Lifecycle::Auto];

pub(crate) fn now() -> UnixSeconds {
    UnixSeconds::from(std::time::SystemTime::now())
}

pub(crate) fn issuer(seed: u8) -> BadgeIssuer {
    BadgeIssuer::new(ISSUER, "k1", Arc::new(SigningKey::from_seed(&[seed; 32]))).unwrap()
}

pub(crate) fn issuer_jwks() -> String {
    issuer(200).jwks_json()
}

/// A token as it is, expired or not.
#[derive(Debug)]
pub(crate) struct AnyBadge(pub(crate) String);

impl BadgeSource for AnyBadge {
    fn current(&self) -> Option<Arc<str>> {
        Some(self.0.as_str().into())
    }
}

/// A server's key and what an issuer says about it.
pub(crate) struct Server {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) did: Did,
}

impl Server {
    pub(crate) fn new(seed: u8) -> Self {
        let key = Arc::new(SigningKey::from_seed(&[seed; 32]));
        let did = key.did();
        Self { key, did }
    }

    /// The same, under a DID that names a place.
    pub(crate) fn named(seed: u8, did: &str) -> Self {
        Self { did: Did::parse(did).unwrap(), ..Self::new(seed) }
    }

    pub(crate) fn badge(&self) -> String {
        self.badge_with(200, TrustLevel::Registered, now())
    }

    pub(crate) fn badge_with(&self, issuer_seed: u8, level: TrustLevel, issued: UnixSeconds) -> String {
        let request = BadgeRequest::new(self.did.clone(), self.key.public_key(), level);
        issuer(issuer_seed).issue(&request, issued).unwrap()
    }

    pub(crate) fn identity(&self, origin: Option<&str>) -> ServerIdentity {
        self.identity_with(self.badge(), origin)
    }

    pub(crate) fn identity_with(&self, badge: String, origin: Option<&str>) -> ServerIdentity {
        let builder = ServerIdentity::builder(self.did.clone(), Arc::clone(&self.key)).badge(AnyBadge(badge));
        let builder = match origin {
            Some(origin) => builder.origin(origin),
            None => builder,
        };
        builder.build().unwrap()
    }
}

/// A client that trusts the issuer and expects `server`.
pub(crate) fn expecting(server: &Server) -> VerifiedClientBuilder {
    VerifiedClient::builder()
        .trusted_issuer(Issuer::jwks(ISSUER, &issuer_jwks()).unwrap())
        .insecure_no_revocation()
        .expect_did(server.did.as_str())
        .handshake_timeout(Duration::from_secs(15))
}

/// The caller's badge. The client passes it on as it is, so it need not name these servers.
pub(crate) fn caller_badge() -> String {
    Server::new(90).badge()
}

/// What one request brought with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: &'static str,
    pub(crate) meta: Vec<String>,
    pub(crate) badge: Option<String>,
    pub(crate) api_key: Option<String>,
}

/// A server that writes down every request and serves one tool.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Mutex<Vec<Seen>>>);

impl Probe {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    fn record(&self, method: &'static str, context: &RequestContext<RoleServer>) {
        let text = |name: &str| context.meta.get(name).and_then(Value::as_str).map(str::to_owned);
        self.0.lock().unwrap().push(Seen {
            method,
            meta: context.meta.keys().filter(|key| key.starts_with("capiscio_")).cloned().collect(),
            badge: text("capiscio_caller_badge"),
            api_key: text("capiscio_caller_api_key"),
        });
    }
}

impl ServerHandler for Probe {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn ping(&self, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.record("ping", &context);
        Ok(())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.record("tools/list", &context);
        let schema = json!({"type": "object"}).as_object().cloned().unwrap();
        Ok(ListToolsResult::with_all_items(vec![Tool::new("echo", "says hello", schema)]))
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.record("tools/call", &context);
        Ok(CallToolResult::success(vec![ContentBlock::text("hello")]).into())
    }
}

/// A server in raw JSON lines: `answer` gets each message and says what to write. It returns what it has read.
pub(crate) async fn raw_server(io: DuplexStream, mut answer: impl FnMut(&Value) -> Vec<Value>) -> Vec<Value> {
    let (read, mut write) = tokio::io::split(io);
    let mut lines = BufReader::new(read).lines();
    let mut read = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        for reply in answer(&message) {
            let mut line = reply.to_string();
            line.push('\n');
            if write.write_all(line.as_bytes()).await.is_err() {
                return read;
            }
        }
        read.push(message);
    }
    read
}

/// The `_meta` of a request.
pub(crate) fn meta_of(message: &Value) -> Option<&Map<String, Value>> {
    message["params"]["_meta"].as_object()
}

/// The answer to `initialize` or `server/discover`, with this `_meta`; nothing for other messages.
pub(crate) fn handshake_answer(request: &Value, meta: impl FnOnce() -> Map<String, Value>) -> Option<Value> {
    let info = json!({"name": "raw", "version": "1"});
    let mut result = match request["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": request["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": info,
        }),
        "server/discover" => json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "serverInfo": info,
            "ttlMs": 0,
            "cacheScope": "private",
        }),
        _ => return None,
    };
    result["_meta"] = Value::Object(meta());
    Some(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

/// Runs `client` against a raw server and returns its outcome with what the server has read.
pub(crate) async fn against_raw<T>(
    client: impl AsyncFnOnce(DuplexStream) -> T,
    answer: impl FnMut(&Value) -> Vec<Value> + Send + 'static,
) -> (T, Vec<Value>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(raw_server(theirs, answer));
    let outcome = client(ours).await;
    (outcome, server.await.unwrap())
}

pub(crate) fn methods(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["method"].as_str().unwrap_or("(answer)")).collect()
}

/// Waits until `condition` holds; what a background task does has no other sign.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the condition did not come to hold");
}
