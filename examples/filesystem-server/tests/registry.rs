//! The program with a registry in place of files: its key, its badge, and whose badges count.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed step fails the test; its registry runs beside it"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use rmcp::model::CallToolRequestParams;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use rmcp_guard::identity::remote::OnlineStatus;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{VerifiedClient, denial_of};
use serde_json::{Value, json};
use tempfile::TempDir;

const AUDIENCE: &str = "https://files.example.com";
const SERVER_ID: &str = "6a1f2f58-8c8f-4a0c-9a39-6f3d3c1d2b10";

/// The paths of a registry that this program asks, on this machine.
#[derive(Clone)]
struct Registry {
    origin: String,
    issuer: BadgeIssuer,
    up: Arc<AtomicBool>,
    /// The server's DID and key, once it has registered.
    server: Arc<Mutex<Option<(Did, PublicKey)>>>,
}

impl Registry {
    async fn start(up: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let issuer = BadgeIssuer::new(&origin, "k1", Arc::new(SigningKey::generate().unwrap())).unwrap();
        let registry = Self { origin, issuer, up: Arc::new(AtomicBool::new(up)), server: Arc::default() };
        let app = Router::new().fallback(answer).with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        registry
    }

    fn issue(&self, request: &BadgeRequest) -> String {
        self.issuer.issue(request, SystemClock.now_unix()).unwrap()
    }

    fn answer(&self, uri: &Uri, body: &str) -> Option<Value> {
        let path: Vec<_> = uri.path().split('/').skip(1).collect();
        match *path.as_slice() {
            [".well-known", "jwks.json"] => serde_json::from_str(&self.issuer.jwks_json()).ok(),
            ["v1", "sdk", "servers", id] => {
                let body: Value = serde_json::from_str(body).unwrap();
                let key = PublicKey::from_spki_pem(body.get("publicKey")?.as_str()?).unwrap();
                *self.server.lock().unwrap() = Some((Did::parse(body.get("did")?.as_str()?).unwrap(), key));
                Some(json!({"data": {"id": id, "orgId": "org-1"}}))
            }
            ["v1", "sdk", "servers", _, "badge"] => {
                let (did, key) = self.server.lock().unwrap().clone()?;
                let request = BadgeRequest::new(did, key, TrustLevel::DomainValidated).domain("example.com");
                Some(json!({"data": {"badge": self.issue(&request)}}))
            }
            ["v1", "revocations"] => {
                let now = humantime::format_rfc3339_seconds(SystemClock.now()).to_string();
                Some(json!({"revocations": [], "syncedAt": now}))
            }
            ["v1", "badges", jti, "status"] => Some(json!({"jti": jti, "revoked": false})),
            ["v1", "agents" | "servers", id, "status"] => {
                let id = id.replace("%3A", ":");
                Some(json!({"id": id, "did": id, "status": "active"}))
            }
            _ => None,
        }
    }

    /// The program with its key and configuration in `directory`.
    fn program(&self, directory: &Path) -> Child {
        let files = directory.join("files");
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("hello.txt"), "hello").unwrap();
        let config = directory.join("guard.toml");
        let text = format!(
            r#"
            audiences = ["{AUDIENCE}"]
            [[issuer]]
            origin = "{}"
            discover = true
            [revocations]
            mode = "synced"
            cache_dir = "revocations"
            [evidence]
            dir = "evidence"
            wait_limit_ms = 10000
            [tools]
            stat = {{ anonymous = true }}
            read_file = {{ min_trust_level = 2 }}
            delete_path = {{ min_trust_level = 3 }}
            "#,
            self.origin
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_filesystem-server"));
        command.args(["http", "--identity-from-env", "--dangerous-loopback", "--root"]).arg(files);
        command.arg("--config").arg(config).arg("--identity-dir").arg(directory.join("keys"));
        command.env("CAPISCIO_SERVER_URL", &self.origin).env("CAPISCIO_SERVER_ID", SERVER_ID);
        command.env("CAPISCIO_API_KEY", "a-key-for-tests").env_remove("CAPISCIO_SERVER_PRIVATE_KEY_PEM");
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

async fn answer(State(registry): State<Registry>, uri: Uri, body: String) -> Response {
    if !registry.up.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match registry.answer(&uri, &body) {
        Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Ends the program with the test, however that ends.
struct Running {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
    url: String,
}

impl Running {
    /// Waits until the program listens.
    fn new(mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let url = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the program ended: {log}");
            if let Some(url) = line.trim().strip_prefix("listening on ") {
                break url.to_owned();
            }
            log.push_str(&line);
        };
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            lines.read_to_string(&mut rest).unwrap();
            log + &rest
        });
        Self { child, log: Some(rest), url }
    }

    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn client(registry: &Registry, url: &str, level: TrustLevel) -> Result<VerifiedClient, String> {
    let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
    let did = registry.server.lock().unwrap().clone().map(|(did, _)| did.to_string()).unwrap_or_default();
    let agent = SigningKey::generate().unwrap();
    let request = BadgeRequest::new(agent.did(), agent.public_key(), level).domain("example.com").audience(AUDIENCE);
    let connected = VerifiedClient::builder()
        .trusted_issuer(Issuer::discover(&registry.origin, fetcher.clone()).unwrap())
        .revocations(Revocations::online(Arc::new(OnlineStatus::new(fetcher))))
        .min_trust_level(TrustLevel::DomainValidated)
        .dangerous_dev_profile()
        .dangerous_loopback_http()
        .expect_did(did)
        .badge(registry.issue(&request))
        .connect_http(url);
    Box::pin(connected).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gives_the_identity_and_says_whose_badges_count() {
    let registry = Registry::start(true).await;
    let directory = TempDir::new().unwrap();
    let running = Running::new(registry.program(directory.path()));
    let key = directory.path().join("keys/private_key.pem");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);

    let client = client(&registry, &running.url, TrustLevel::DomainValidated).await.unwrap();
    let call = |tool: &'static str| {
        let arguments = json!({"path": "hello.txt"}).as_object().cloned().unwrap();
        client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments))
    };
    let read = call("read_file").await.unwrap();
    assert!(denial_of(&read).is_none() && read.is_error != Some(true), "{read:?}");
    let denied = call("delete_path").await.unwrap();
    assert_eq!(denial_of(&denied).unwrap().reason(), "trust_insufficient");

    // what was fetched counts on while the registry is down
    registry.up.store(false, Ordering::SeqCst);
    let read = call("read_file").await.unwrap();
    assert!(denial_of(&read).is_none() && read.is_error != Some(true), "{read:?}");
    drop(client);
    let log = running.end();
    assert!(log.contains("issuers answer") && !log.contains("eyJ") && !log.contains("a-key-for-tests"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_keeps_no_server_from_starting() {
    let registry = Registry::start(false).await;
    let directory = TempDir::new().unwrap();
    let child = registry.program(directory.path());
    let running = tokio::task::spawn_blocking(|| Running::new(child)).await.unwrap();
    // the server is there, without a badge: a client that asks for one sends nothing
    assert!(client(&registry, &running.url, TrustLevel::DomainValidated).await.is_err());
    registry.up.store(true, Ordering::SeqCst);
    let connected = tokio::time::timeout(Duration::from_secs(150), async {
        loop {
            if let Ok(client) = client(&registry, &running.url, TrustLevel::DomainValidated).await {
                break client;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let _client = connected.await.unwrap();
    assert!(running.end().contains("stands without a badge"));
}
