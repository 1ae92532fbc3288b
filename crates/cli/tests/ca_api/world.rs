//! A CA as a person would run it: the real program, its directory, a client that trusts its root.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::{
    BadgeContext, BadgeErrorKind, BadgeVerifier, BadgeVerifierBuilder, Revocations, VerifiedBadge,
};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::{ApiKey, RegistryClient};
use rmcp_guard::identity::remote::{DidWebDocuments, OnlineStatus};
use rmcp_guard::identity::trust_store::Issuer;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const AUDIENCE: &str = "https://files.example.test";

/// A running CA. It ends with this value.
pub(crate) struct Ca {
    pub(crate) folder: TempDir,
    pub(crate) origin: String,
    pub(crate) key: String,
    pub(crate) http: Client,
    server: Child,
}

impl Drop for Ca {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn rmcp_guard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rmcp-guard")).current_dir(folder).args(arguments).output().unwrap()
}

/// The JSON that a command prints.
pub(crate) fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let output = rmcp_guard(folder, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts the server, and says when it is ready. `None` when another process took the port meanwhile.
fn serve(folder: &Path) -> Option<Child> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"))
        .current_dir(folder)
        .args(["ca", "serve", "--dir", "ca"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.starts_with("serving ") {
        return Some(server);
    }
    let _ = server.wait();
    None
}

impl Ca {
    /// A CA whose rate limits are out of the way.
    pub(crate) fn start() -> Self {
        Self::with_policy(
            "[limits]\nrequests_per_ip = 1000000\nunauthorized_per_ip = 1000000\ncalls_per_key = 1000000\n\
             challenges_per_did = 1000000\nchallenges_per_account = 1000000\nchallenges_per_ip = 1000000\n\
             badges_per_did = 1000000\nbadges_per_account = 1000000\n",
        )
    }

    pub(crate) fn with_policy(policy: &str) -> Self {
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let origin = format!("https://localhost:{}", free_port());
            let made = json_of(folder.path(), &["ca", "init", "--dir", "ca", "--origin", &origin]);
            std::fs::write(folder.path().join("ca/policy.toml"), policy).unwrap();
            let Some(server) = serve(folder.path()) else { continue };
            let root = std::fs::read(folder.path().join("ca/root.pem")).unwrap();
            let http = Client::builder()
                .tls_certs_only([reqwest::Certificate::from_pem(&root).unwrap()])
                .timeout(Duration::from_secs(60))
                // the server is killed and restarted under some tests
                .pool_max_idle_per_host(0)
                .build()
                .unwrap();
            let key = made["api_key"].as_str().unwrap().to_owned();
            return Self { folder, origin, key, http, server };
        }
        panic!("no port for the CA");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `rmcp-guard ca ...` on this CA.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        rmcp_guard(self.path(), &[&["ca"], command, &["--dir", "ca"]].concat())
    }

    pub(crate) fn run_json(&self, command: &[&str]) -> Value {
        json_of(self.path(), &[&["ca"], command, &["--dir", "ca"]].concat())
    }

    /// Kills the server as a crash would, and starts it again.
    pub(crate) fn crash_and_restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = serve(self.path()).unwrap();
    }

    /// Asks the server to end, and says how it ended.
    #[cfg(unix)]
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let id = self.server.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.server.wait().unwrap();
        let mut rest = String::new();
        if let Some(mut out) = self.server.stdout.take() {
            out.read_to_string(&mut rest).unwrap();
        }
        assert_eq!(rest, "");
        status.code()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.origin))
    }

    /// A call with the first account's key.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.key, method, path, body).await
    }

    pub(crate) async fn call_as(&self, key: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(method, path).header("X-Capiscio-Registry-Key", key).json(&body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, body).await
    }

    /// A call without any credential.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// Another account's key.
    pub(crate) fn stranger(&self) -> String {
        self.run_json(&["account", "add", "stranger"]);
        self.run_json(&["key", "create", "--account", "stranger"])["api_key"].as_str().unwrap().to_owned()
    }

    /// An agent with a key: its id, the DID that the CA hosts, its key.
    pub(crate) async fn agent(&self) -> (String, String, SigningKey) {
        let key = SigningKey::generate().unwrap();
        let body = json!({ "name": "agent", "publicKey": key.public_key().to_spki_pem().unwrap() });
        let (status, made) = self.post("/v1/sdk/agents", body).await;
        assert_eq!(status, 201, "{made}");
        (text(&made["data"]["id"]), text(&made["data"]["did"]), key)
    }

    /// A badge for the agent `id`.
    pub(crate) async fn badge(&self, id: &str, body: Value) -> (u16, Value) {
        let (status, answer) = self.post(&format!("/v1/agents/{}/badge", encode(id)), body).await;
        (status, if status == 200 { answer["data"].clone() } else { answer })
    }

    /// What this project's own programs use: the CA's root, and this machine.
    pub(crate) fn fetcher(&self) -> Fetcher {
        let root = std::fs::read(self.path().join("ca/root.pem")).unwrap();
        Fetcher::builder().add_root_certificate_pem(&root).dangerous_allow_loopback().build().unwrap()
    }

    pub(crate) fn client(&self) -> RegistryClient {
        RegistryClient::new(&self.origin, Some(ApiKey::new(self.key.clone())), self.fetcher()).unwrap()
    }

    /// A guard's verifier that knows the CA by its origin alone, and asks it about every badge.
    pub(crate) fn verifier(&self) -> BadgeVerifier {
        let online = OnlineStatus::new(self.fetcher()).with_lifetime(Duration::ZERO);
        self.verifier_with(|builder| builder.revocations(Revocations::online(Arc::new(online))))
    }

    pub(crate) fn verifier_with(
        &self,
        with: impl FnOnce(BadgeVerifierBuilder) -> BadgeVerifierBuilder,
    ) -> BadgeVerifier {
        let builder = BadgeVerifier::builder()
            .issuer(Issuer::discover(&self.origin, self.fetcher()).unwrap())
            .audience(AUDIENCE)
            .did_documents(Arc::new(DidWebDocuments::new(self.fetcher())));
        with(builder).build()
    }
}

pub(crate) async fn verify(verifier: &BadgeVerifier, badge: &Value) -> Result<VerifiedBadge, BadgeErrorKind> {
    let context = BadgeContext::at(SystemClock.now_unix());
    verifier.verify(badge["token"].as_str().unwrap(), &context).await.map_err(|error| error.kind())
}

pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A DID as one segment of a path.
pub(crate) fn encode(did: &str) -> String {
    did.replace('%', "%25").replace(':', "%3A")
}

/// Asserts a refusal by its status and code, and that it explains itself.
#[track_caller]
pub(crate) fn refused(answer: &(u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["error"].as_str()), (status, Some(code)), "{}", answer.1);
    assert!(answer.1["message"].as_str().is_some_and(|message| !message.is_empty()));
}
