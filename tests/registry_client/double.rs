//! A registry on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use rmcp_guard::clock::{Clock, SystemClock, UnixSeconds};
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use rmcp_guard::identity::registry::{ApiKey, RegistryClient, RetryPolicy};
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub const KEY: &str = "sk_test_0123456789";
pub const SERVER_ID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// What the registry was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: String,
    /// Path and query as they stood on the wire.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Sent {
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What it answers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Behaviour = dyn Fn(&Sent) -> Answer + Send + Sync;

/// A running registry; it ends when dropped.
pub struct Registry {
    pub address: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// A registry that answers as `behaviour` says.
    pub async fn start(behaviour: impl Fn(&Sent) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), behaviour)
    }

    pub fn start_on(listener: TcpListener, behaviour: impl Fn(&Sent) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let log = Arc::clone(&sent);
        let app = Router::new().fallback(move |request: Request| {
            let (log, behaviour) = (Arc::clone(&log), Arc::clone(&behaviour));
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let sent = Sent {
                    method: parts.method.to_string(),
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                };
                log.lock().unwrap().push(sent.clone());
                let answer = behaviour(&sent);
                let mut response = Response::new(answer.body);
                *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
                for (name, value) in answer.headers {
                    response.headers_mut().append(name, value.parse().unwrap());
                }
                response
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, sent, task }
    }

    /// A registry that gives the same answer to everything.
    pub async fn always(status: u16, body: Value) -> Self {
        Self::start(move |_| Answer::json(status, &body)).await
    }

    /// By name, since a `did:web` names no address.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn client(&self) -> RegistryClient {
        client(&self.url())
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.sent().iter().map(Sent::line).collect()
    }
}

pub fn fetcher() -> Fetcher {
    Fetcher::builder().dangerous_allow_loopback().build().unwrap()
}

/// Retries as often as in production and without its waits.
pub fn client(url: &str) -> RegistryClient {
    let retry = RetryPolicy { base_delay: Duration::from_millis(1), ..RetryPolicy::default() };
    RegistryClient::new(url, Some(ApiKey::new(KEY)), fetcher()).unwrap().with_retry(retry)
}

pub fn key() -> SigningKey {
    SigningKey::from_seed(&[0x33; 32])
}

/// A badge of level 1 that lives 300 s from now on.
pub fn badge(subject: &Did, key: &PublicKey) -> String {
    badge_at(subject, key, SystemClock.now_unix())
}

pub fn badge_at(subject: &Did, key: &PublicKey, now: UnixSeconds) -> String {
    let issuer = BadgeIssuer::new("https://issuer.example.test", "ca-1", Arc::new(SigningKey::from_seed(&[9; 32])));
    issuer.unwrap().issue(&BadgeRequest::new(subject.clone(), key.clone(), TrustLevel::Registered), now).unwrap()
}

/// A registry that works: it keeps servers and gives them badges under `did:web:<host>:<form>:<id>`.
#[derive(Clone, Debug)]
pub struct Accounts {
    form: &'static str,
    can_find: bool,
    servers: Arc<Mutex<HashMap<String, (String, PublicKey)>>>,
}

impl Accounts {
    pub fn new(form: &'static str) -> Self {
        Self { form, can_find: true, servers: Arc::default() }
    }

    pub fn with_server(self, id: &str) -> Self {
        self.servers().insert(id.to_owned(), (String::new(), key().public_key()));
        self
    }

    pub fn servers(&self) -> MutexGuard<'_, HashMap<String, (String, PublicKey)>> {
        self.servers.lock().unwrap()
    }

    pub fn answer(&self, sent: &Sent) -> Answer {
        if sent.header("x-capiscio-registry-key") != Some(KEY) {
            return Answer::json(401, &json!({ "error": "unauthorized" }));
        }
        let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let text = |name: &str| sent.body[name].as_str().unwrap().to_owned();
        let pair = || (text("did"), PublicKey::from_spki_pem(&text("publicKey")).unwrap());
        let mut servers = self.servers();
        match (sent.method.as_str(), segments.as_slice()) {
            ("PUT", ["v1", "sdk", "servers", id]) => match servers.get_mut(*id) {
                Some(server) => {
                    *server = pair();
                    Answer::json(200, &json!({ "data": { "id": id, "orgId": "org-1" } }))
                }
                None => Answer::json(404, &json!({ "error": "no such server" })),
            },
            ("POST", ["v1", "sdk", "servers"]) => {
                let id = format!("00000000-0000-4000-8000-{:012}", servers.len());
                servers.insert(id.clone(), pair());
                Answer::json(201, &json!({ "data": { "id": id, "orgId": "org-1" } }))
            }
            ("GET", ["v1", "sdk", "servers"]) if self.can_find => {
                let entry = |(id, (did, _)): (&String, &(String, PublicKey))| json!({ "id": id, "did": did });
                assert!(query.starts_with("did="));
                Answer::json(200, &json!({ "data": servers.iter().map(entry).collect::<Vec<_>>() }))
            }
            ("POST", ["v1", "sdk", "servers", id, "badge"]) => match servers.get(*id) {
                Some((_, key)) => {
                    let host = sent.header("host").unwrap().replace(':', "%3A");
                    let subject = Did::parse(&format!("did:web:{host}:{}:{id}", self.form)).unwrap();
                    Answer::json(201, &json!({ "data": { "badge": badge(&subject, key) } }))
                }
                None => Answer::json(404, &json!({ "error": "no such server" })),
            },
            _ => Answer::json(404, &json!({ "error": "no such path" })),
        }
    }
}
