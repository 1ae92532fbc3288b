//! What the stories share: a web server whose answers are set by path and whose requests are counted, keys, and badges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, header};
use rmcp_guard::clock::{Clock as _, UnixSeconds};
use rmcp_guard::identity::badge::{BadgeContext, BadgeErrorKind, BadgeVerifier, BadgeVerifierBuilder, Profile};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::jws;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::remote::RemoteKeys;
use rmcp_guard::identity::resolve::KeySource;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::test_util::{FixedClock, TEST_NOW};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) const JWKS: &str = "/.well-known/jwks.json";

/// Against hanging only; nothing here is measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Answer = Arc<dyn Fn() -> Response<Body> + Send + Sync>;

#[derive(Default)]
struct Site {
    answers: Mutex<HashMap<String, Answer>>,
    hits: Mutex<HashMap<String, usize>>,
    /// While there is one, answers wait for it to be opened.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

/// A web server on this machine.
pub(crate) struct Host {
    pub(crate) port: u16,
    site: Arc<Site>,
    task: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let site = Arc::<Site>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&site));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, site, task }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The `did:web` of this host.
    pub(crate) fn did(&self) -> String {
        format!("did:web:localhost%3A{}", self.port)
    }

    pub(crate) fn put(&self, path: &str, answer: impl Fn() -> Response<Body> + Send + Sync + 'static) {
        self.site.answers.lock().unwrap().insert(path.to_owned(), Arc::new(answer));
    }

    pub(crate) fn put_json(&self, path: &str, body: &Value) {
        let body = body.to_string();
        self.put(path, move || with_type("application/json", body.clone()));
    }

    /// From now on the key set has these keys.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.put_json(JWKS, &json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }));
    }

    /// From now on every path is an error.
    pub(crate) fn fail(&self) {
        self.site.answers.lock().unwrap().clear();
    }

    pub(crate) fn hits(&self, path: &str) -> usize {
        self.site.hits.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    pub(crate) fn all_hits(&self) -> usize {
        self.site.hits.lock().unwrap().values().sum()
    }

    /// Holds back all answers until a permit is added.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.site.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) async fn wait_for_hits(&self, path: &str, least: usize) {
        let enough = async {
            while self.hits(path) < least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    *site.hits.lock().unwrap().entry(path.clone()).or_default() += 1;
    // What is answered is settled when the question arrives, also where the answer is held back.
    let answer = site.answers.lock().unwrap().get(&path).cloned();
    let gate = site.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        drop(gate.acquire().await.unwrap());
    }
    answer.map_or_else(|| Response::builder().status(503).body(Body::empty()).unwrap(), |answer| answer())
}

pub(crate) fn with_type(media: &str, body: impl Into<Body>) -> Response<Body> {
    Response::builder().header(header::CONTENT_TYPE, media).body(body.into()).unwrap()
}

/// A fetcher that reaches this machine.
pub(crate) fn fetcher() -> Fetcher {
    Fetcher::builder().dangerous_allow_loopback().timeout(Duration::from_secs(30)).build().unwrap()
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(TEST_NOW))
}

/// A signing key with its name.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) kid: Option<&'static str>,
    pub(crate) key: Arc<SigningKey>,
}

pub(crate) fn key(seed: u8, kid: &'static str) -> Key {
    Key { kid: Some(kid), key: Arc::new(SigningKey::from_seed(&[seed; 32])) }
}

impl Key {
    /// The same key without a name.
    pub(crate) fn nameless(mut self) -> Self {
        self.kid = None;
        self
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.key.public_key().to_jwk();
        if let Some(kid) = self.kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }
}

/// What a badge says of `subject`, whose key is `holder`.
pub(crate) fn claims(issuer: &str, subject: &str, holder: &SigningKey) -> Value {
    let now = TEST_NOW.as_i64();
    json!({
        "jti": "j", "iss": issuer, "sub": subject, "iat": now, "exp": now + 3000, "ial": "0",
        "key": holder.public_key().to_jwk(),
        "vc": {
            "type": ["VerifiableCredential", "AgentIdentity"],
            "credentialSubject": {"domain": "localhost", "level": "2"},
        },
    })
}

pub(crate) fn sign(key: &Key, claims: &Value) -> String {
    jws::sign(&key.key, Some("JWT"), key.kid, claims.to_string().as_bytes())
}

/// A badge of some `did:key` holder, signed by `key` in the name of `issuer`.
pub(crate) fn badge(issuer: &str, key: &Key) -> String {
    let holder = SigningKey::from_seed(&[9; 32]);
    sign(key, &claims(issuer, holder.did().as_str(), &holder))
}

/// The key set of `host`, aged by `clock`.
pub(crate) fn remote(host: &Host, clock: &Arc<FixedClock>) -> RemoteKeys {
    RemoteKeys::new(&host.origin(), fetcher()).with_clock(clock.clone())
}

pub(crate) fn issuer(origin: &str, keys: impl KeySource) -> Issuer {
    Issuer::with_keys(origin, Arc::new(keys)).unwrap().subjects(["did:key", "did:web:*"]).unwrap()
}

/// Trusts `issuer`, on plain http too, which the profile for development allows on this machine.
pub(crate) fn trusting(issuer: Issuer) -> BadgeVerifierBuilder {
    BadgeVerifier::builder().profile(Profile::Dev).issuer(issuer).insecure_no_revocation()
}

pub(crate) fn now() -> UnixSeconds {
    FixedClock::new(TEST_NOW).now_unix()
}

pub(crate) async fn verify(verifier: &BadgeVerifier, badge: &str) -> Result<(), BadgeErrorKind> {
    let context = BadgeContext::at(now());
    let outcome = tokio::time::timeout(PATIENCE, verifier.verify(badge, &context)).await.unwrap();
    outcome.map(drop).map_err(|error| error.kind())
}
