//! Stands before a server that has no identity and gives it one, as a gateway of its operator would: the answer to a
//! handshake discloses it and proves its key, every answer names it in its headers, and callers' badges end here.
//! Everything else passes as it is, event streams as they come.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::serve::ListenerExt as _;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::enforce::is_guard_meta_key;
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::{ServerIdentity, StaticBadge};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::headers;
use rmcp_guard::layer::identity::IdentityLayer;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// Trusted by nobody but this program; the name is reserved and never resolves.
const ISSUER: &str = "https://issuer.example.test";
const LIFETIME: Duration = Duration::from_secs(600);
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// A server's identity, and its issuer and its caller, all made just now.
pub(crate) struct Relay {
    url: String,
    identity: ServerIdentity,
    jwks: String,
    caller_badge: String,
    seen: Arc<Seen>,
}

/// The requests so far, by whether they carried the caller's badge.
#[derive(Debug, Default)]
struct Seen {
    handshakes: AtomicU64,
    handshakes_with_badge: AtomicU64,
    others: AtomicU64,
    others_without_badge: AtomicU64,
}

#[derive(Clone)]
struct Upstream {
    http: reqwest::Client,
    origin: String,
    identity: ServerIdentity,
    caller_badge: String,
    seen: Arc<Seen>,
}

impl Relay {
    /// Relays to the server of `upstream` for as long as the program runs.
    pub(crate) async fn start(upstream: &str) -> Result<Self> {
        let mut origin = reqwest::Url::parse(upstream)?;
        let path = origin.path().to_owned();
        origin.set_path("");
        let origin = origin.as_str().trim_end_matches('/').to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;

        let issuer = BadgeIssuer::new(ISSUER, "conformance-1", Arc::new(SigningKey::generate()?))?;
        let badge = |key: &SigningKey| {
            let request = BadgeRequest::new(key.did(), key.public_key(), TrustLevel::Registered).lifetime(LIFETIME);
            issuer.issue(&request, SystemClock.now_unix())
        };
        let (server, caller) = (SigningKey::generate()?, SigningKey::generate()?);
        let (server_badge, caller_badge) = (badge(&server)?, badge(&caller)?);
        let identity = ServerIdentity::builder(server.did(), Arc::new(server))
            .badge(StaticBadge::new(&server_badge)?)
            .origin(format!("http://{address}"))
            .build()?;

        let seen = Arc::<Seen>::default();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let (identity_of_server, caller) = (identity.clone(), caller_badge.clone());
        let upstream =
            Upstream { http, origin, identity: identity_of_server, caller_badge: caller, seen: Arc::clone(&seen) };
        let app = Router::new().fallback(relay).with_state(upstream).layer(IdentityLayer::new(identity.clone()));
        // an event must not wait for the acknowledgement of the headers before it
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(axum::serve(listener, app).into_future());
        Ok(Self { url: format!("http://{address}{path}"), identity, jwks: issuer.jwks_json(), caller_badge, seen })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn did(&self) -> &str {
        self.identity.did().as_str()
    }

    pub(crate) fn issuer(&self) -> Result<Issuer> {
        Ok(Issuer::jwks(ISSUER, &self.jwks)?)
    }

    pub(crate) fn caller_badge(&self) -> String {
        self.caller_badge.clone()
    }

    /// What a verified client must have done: the server it verified is this one, no handshake carried its badge, and
    /// every other request did.
    pub(crate) fn report(&self, verified: &Did) -> Result<Value> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (handshakes, others) = (count(&self.seen.handshakes), count(&self.seen.others));
        ensure!(verified == self.identity.did(), "another server was verified: {verified}");
        ensure!(handshakes > 0, "no handshake");
        ensure!(count(&self.seen.handshakes_with_badge) == 0, "a handshake carried the badge");
        ensure!(count(&self.seen.others_without_badge) == 0, "a request did not carry the badge");
        Ok(json!({"verified": verified.as_str(), "handshakes": handshakes, "others": others}))
    }
}

async fn relay(State(upstream): State<Upstream>, request: Request<Body>) -> Response<Body> {
    upstream.pass(request).await.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("{error:#}")));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

impl Upstream {
    async fn pass(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let mut body = to_bytes(body, MAX_REQUEST_BYTES).await?;
        let mut message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let handshake = matches!(message.get("method").and_then(Value::as_str), Some("initialize" | "server/discover"));
        self.seen.note(handshake, &parts.headers, &self.caller_badge);
        let mut asked = Map::new();
        if handshake {
            asked = take_guard_members(&mut message);
            body = serde_json::to_vec(&message)?.into();
        }
        for name in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING, headers::BADGE] {
            parts.headers.remove(name);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let sent = self.http.request(parts.method, format!("{}{path}", self.origin)).headers(parts.headers).body(body);
        let answer = sent.send().await?;

        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        for name in [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        *response.body_mut() = if handshake {
            let events = is_event_stream(answer.headers());
            Body::from(self.disclose(&asked, &answer.bytes().await?, events)?)
        } else {
            Body::from_stream(answer.bytes_stream())
        };
        Ok(response)
    }

    /// The answer to a handshake, with the identity in its result.
    fn disclose(&self, asked: &Map<String, Value>, answer: &[u8], events: bool) -> Result<Vec<u8>> {
        if !events {
            return self.disclose_in(asked, answer);
        }
        let mut lines = Vec::new();
        for line in std::str::from_utf8(answer)?.lines() {
            match line.strip_prefix("data:").filter(|data| !data.trim().is_empty()) {
                Some(data) => lines.push([b"data: ", &*self.disclose_in(asked, data.trim().as_bytes())?].concat()),
                None => lines.push(line.into()),
            }
        }
        lines.push(Vec::new());
        Ok(lines.join(&b'\n'))
    }

    fn disclose_in(&self, asked: &Map<String, Value>, message: &[u8]) -> Result<Vec<u8>> {
        let Ok(mut message) = serde_json::from_slice::<Value>(message) else { return Ok(message.to_vec()) };
        if let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) {
            let disclosure = self.identity.disclose(Some(asked), SystemClock.now_unix());
            let meta = result.entry("_meta").or_insert_with(|| json!({}));
            meta.as_object_mut().context("`_meta` is no object")?.extend(disclosure.meta);
            // the next nonce must not be answered with this one's proof
            if disclosure.nonce_bound && result.contains_key("ttlMs") {
                result.insert("ttlMs".to_owned(), json!(0));
                result.insert("cacheScope".to_owned(), json!("private"));
            }
        }
        Ok(serde_json::to_vec(&message)?)
    }
}

impl Seen {
    fn note(&self, handshake: bool, sent: &HeaderMap, badge: &str) {
        let carries = sent.get(headers::BADGE).is_some_and(|carried| carried == badge);
        let (all, wrong) = if handshake {
            (&self.handshakes, carries.then_some(&self.handshakes_with_badge))
        } else {
            (&self.others, (!carries).then_some(&self.others_without_badge))
        };
        for counter in [Some(all), wrong].into_iter().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The client's challenge, which is not for the server behind.
fn take_guard_members(message: &mut Value) -> Map<String, Value> {
    let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) else { return Map::new() };
    let Some(Value::Object(meta)) = params.remove("_meta") else { return Map::new() };
    let (ours, theirs): (Map<_, _>, Map<_, _>) = meta.into_iter().partition(|(name, _)| is_guard_meta_key(name));
    if !theirs.is_empty() {
        params.insert("_meta".to_owned(), Value::Object(theirs));
    }
    ours
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/event-stream"))
}
