//! A registry on loopback that answers as a test tells it to, and a CA that signs in its name.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use rmcp_guard::clock::{Clock as _, UnixSeconds};
use rmcp_guard::identity::badge::{BadgeContext, BadgeErrorKind, BadgeVerifier, Profile, Revocations, VerifiedBadge};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::jws;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::test_util::{FixedClock, TEST_NOW};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const AUDIENCE: &str = "https://files.example.com";

/// What the registry says to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(Value),
    /// Status, content type, body.
    Text(u16, &'static str, String),
    /// A body that never ends.
    Endless,
    /// Nothing, ever.
    Silence,
    /// Waits first.
    Late(Duration, Box<Reply>),
}

pub(crate) type Script = Box<dyn Fn(&str) -> Reply + Send>;

pub(crate) struct Registry {
    pub(crate) origin: String,
    pub(crate) clock: Arc<FixedClock>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    issued: AtomicUsize,
}

struct Shared {
    script: Mutex<Script>,
    requests: Mutex<Vec<String>>,
}

impl Registry {
    pub(crate) async fn start(script: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // A name, since a did:web of this host cannot be one of an address.
        let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared { script: Mutex::new(Box::new(script)), requests: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::runtime::Handle::current().spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { origin, clock: Arc::new(FixedClock::new(TEST_NOW)), shared, server, issued: AtomicUsize::new(0) }
    }

    /// Answers in another way from now on.
    pub(crate) fn script(&self, script: impl Fn(&str) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Paths with queries, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many requests there were for paths that contain `part`.
    pub(crate) fn asked(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.contains(part)).count()
    }

    /// Refuses connections from now on; those that stand are left alone, so ask with a new [`fetcher`].
    pub(crate) fn stop(&self) {
        self.server.abort();
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now_unix()
    }

    /// A badge of `subject` for an hour, and its `jti`.
    pub(crate) fn badge_of(&self, subject: &Did, level: u8) -> (String, String) {
        let (now, jti) = (self.now().as_i64(), format!("jti-{}", self.issued.fetch_add(1, Ordering::SeqCst)));
        let claims = json!({
            "jti": jti, "iss": self.origin, "sub": subject.as_str(), "aud": [AUDIENCE], "iat": now, "exp": now + 3600,
            "ial": "0", "key": holder().public_key().to_jwk(),
            "vc": {
                "type": ["VerifiableCredential", "AgentIdentity"],
                "credentialSubject": {"domain": "a.example", "level": level.to_string()},
            },
        });
        (jws::sign(&ca(), Some("JWT"), Some("ca-1"), claims.to_string().as_bytes()), jti)
    }

    pub(crate) fn badge(&self, level: u8) -> (String, String) {
        self.badge_of(&agent(), level)
    }

    pub(crate) async fn verify(&self, revocations: &Revocations, token: &str) -> Result<VerifiedBadge, BadgeErrorKind> {
        let mut jwk = ca().public_key().to_jwk();
        jwk["kid"] = "ca-1".into();
        let issuer = Issuer::jwks(&self.origin, &json!({"keys": [jwk]}).to_string()).unwrap();
        let verifier = BadgeVerifier::builder()
            .issuer(issuer.subjects(["did:key", "did:web:*"]).unwrap())
            .audience(AUDIENCE)
            .profile(Profile::Dev)
            .revocations(revocations.clone())
            .build();
        verifier.verify(token, &BadgeContext::at(self.now())).await.map_err(|error| error.kind())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn ca() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn holder() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A did:key subject.
pub(crate) fn agent() -> Did {
    holder().did()
}

/// Asks this machine, and gives up soon enough for a test.
pub(crate) fn fetcher() -> Fetcher {
    Fetcher::builder().dangerous_allow_loopback().timeout(Duration::from_secs(5)).build().unwrap()
}

pub(crate) fn rfc3339(time: UnixSeconds) -> String {
    let since = Duration::from_secs(u64::try_from(time.as_i64()).unwrap());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

/// A page of revocations.
pub(crate) fn page(ids: &[String], synced_at: UnixSeconds, next_cursor: Option<&str>) -> Reply {
    let entries: Vec<_> = ids.iter().map(|jti| json!({"jti": jti, "revokedAt": "2025-10-09T08:00:00Z"})).collect();
    let mut page = json!({"revocations": entries, "syncedAt": rfc3339(synced_at)});
    if let Some(cursor) = next_cursor {
        page["nextCursor"] = cursor.into();
    }
    Reply::Json(page)
}

/// What a well-behaved registry holds; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) revoked: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) disabled: Arc<Mutex<BTreeSet<String>>>,
}

impl Records {
    pub(crate) fn revoke(&self, jti: &str) {
        self.revoked.lock().unwrap().insert(jti.to_owned());
    }

    pub(crate) fn disable(&self, did: &str) {
        self.disabled.lock().unwrap().insert(did.to_owned());
    }

    /// Answers by these records, and by `clock`.
    pub(crate) fn script(&self, clock: &Arc<FixedClock>) -> impl Fn(&str) -> Reply + Send + 'static {
        let (records, clock) = (self.clone(), Arc::clone(clock));
        move |path| {
            let segments: Vec<_> = path.split(['/', '?']).collect();
            match segments.as_slice() {
                ["", "v1", "revocations", ..] => {
                    let revoked: Vec<_> = records.revoked.lock().unwrap().iter().cloned().collect();
                    page(&revoked, clock.now_unix(), None)
                }
                ["", "v1", "badges", jti, "status"] => {
                    let revoked = records.revoked.lock().unwrap().contains(*jti);
                    Reply::Json(json!({"jti": jti, "revoked": revoked}))
                }
                ["", "v1", "agents", did, "status"] => {
                    let did = did.replace("%3A", ":");
                    let disabled = records.disabled.lock().unwrap().contains(&did);
                    Reply::Json(json!({"did": did, "status": if disabled { "disabled" } else { "active" }}))
                }
                _ => Reply::Text(404, "application/json", "{}".to_owned()),
            }
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path_and_query().unwrap().as_str().to_owned();
    shared.requests.lock().unwrap().push(path.clone());
    let mut reply = (shared.script.lock().unwrap())(&path);
    if let Reply::Late(delay, later) = reply {
        tokio::time::sleep(delay).await;
        reply = *later;
    }
    let response = Response::builder();
    let json = response.header("content-type", "application/json");
    match reply {
        Reply::Json(value) => json.body(Body::from(value.to_string())),
        Reply::Text(status, media, body) => {
            let status = StatusCode::from_u16(status).unwrap();
            let response = Response::builder().status(status).header("content-type", media);
            response.header("location", "/elsewhere").body(Body::from(body))
        }
        Reply::Endless => {
            let parts =
                futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096])));
            json.body(Body::from_stream(parts))
        }
        Reply::Silence | Reply::Late(..) => std::future::pending().await,
    }
    .unwrap()
}
