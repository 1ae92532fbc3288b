//! The parts: a CA that runs as its users run it, a guarded server, agents and their calls.

use std::future::Future;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use rmcp::model::CallToolRequestParams;
use rmcp_guard::clock::{Clock, SystemClock};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::{ClaimedIdentity, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::keeper::{BadgeKeeper, KeeperHealth};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::{AgentBadgeRenewer, ApiKey, BadgeOptions, ConnectedServer, RegistryClient};
use rmcp_guard::identity::remote::{DidWebDocuments, RevocationSync};
use rmcp_guard::identity::server::{BadgeSource, ServerIdentity};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{CallerBadge, VerifiedClient, denial_of};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const FILES: &str = "https://files.example.com";
const FILES_DOMAIN: &str = "files.example.com";
const AGENT_DOMAIN: &str = "agent.example.com";

/// Against a process that hangs; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that a badge of the CA lives: no test outlives it, however far its clock is set ahead.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The system's clock, ahead by what a test says.
#[derive(Debug, Default)]
pub(crate) struct Ahead(AtomicI64);

impl Ahead {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        let ahead = u64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        SystemClock.now() + Duration::from_secs(ahead)
    }
}

/// Asks until the answer is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `rmcp-guard ca` in a folder: the CA in `ca`, its account's key in `api.key`.
pub(crate) struct Ca {
    folder: tempfile::TempDir,
    pub(crate) origin: String,
    port: u16,
    running: Mutex<Option<Child>>,
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ca {
    /// `ca init`, and `ca serve` with TLS under a root of its own. The name is one that did:web resolves by https.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let origin = format!("https://ca.localhost:{port}");
        let ca = Self { folder, origin: origin.clone(), port, running: Mutex::default() };
        ca.run(&["ca", "init", "--dir", "ca", "--origin", &origin, "--api-key-file", "api.key"]);
        ca.serve();
        ca
    }

    pub(crate) fn serve(&self) {
        let mut serve = self.command(&["ca", "serve", "--dir", "ca"]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the CA ended");
            assert!(start.elapsed() < PATIENCE, "the CA does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        *self.running.lock().unwrap() = Some(child);
    }

    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.running.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"));
        command.current_dir(self.path()).args(arguments).env_remove("CAPISCIO_API_KEY");
        command
    }

    /// What the program says; it has to succeed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "{arguments:?}: {}\n{out}{err}", output.status);
        out
    }

    /// `rmcp-guard --json ca ...` as the operator.
    pub(crate) fn operator(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[&["--json", "ca"], arguments, &["--dir", "ca"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    pub(crate) fn fetcher(&self) -> Fetcher {
        let root = std::fs::read(self.path().join("ca/root.pem")).unwrap();
        Fetcher::builder().add_root_certificate_pem(&root).dangerous_allow_loopback().build().unwrap()
    }

    pub(crate) fn registry(&self) -> RegistryClient {
        let key = std::fs::read_to_string(self.path().join("api.key")).unwrap();
        RegistryClient::new(&self.origin, Some(ApiKey::new(key.trim())), self.fetcher()).unwrap()
    }

    /// The states of the CA's own keys, oldest first.
    pub(crate) fn signing_keys(&self) -> Vec<String> {
        let keys = self.operator(&["list", "signing-keys"]);
        keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
    }
}

/// The filesystem server behind its guard, with an identity that the CA hosts.
pub(crate) struct Server {
    pub(crate) origin: String,
    pub(crate) connected: ConnectedServer,
    /// What the guard takes for the time.
    pub(crate) clock: Arc<Ahead>,
    /// What the server's keeper takes for the time.
    keeper_clock: Arc<Ahead>,
    pub(crate) revoked: RevocationSync,
    config: GuardConfig,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Registered by `server setup`, then started with what that left in its directory.
    pub(crate) async fn start(ca: &Ca) -> Self {
        let setup = ["--json", "server", "setup", "--server-id", "auto", "--name", "files", "--dir", "identity"];
        let reach = ["--registry", &ca.origin, "--api-key-file", "api.key", "--root-cert", "ca/root.pem"];
        let set_up = ca.run(&[&setup[..], &reach, &["--dangerous-loopback"]].concat());
        let set_up: Value = serde_json::from_str(&set_up).unwrap();
        let id = set_up["server_id"].as_str().unwrap();
        ca.operator(&["agent", "allow-domain", "--agent", id, FILES_DOMAIN]);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let keeper_clock = Arc::new(Ahead::default());
        let connected = ServerIdentity::connect(ca.registry(), "auto")
            .key_directory(ca.path().join("identity"))
            .domain(FILES_DOMAIN)
            .origin(&origin)
            .clock(keeper_clock.clone())
            .start()
            .await
            .unwrap();
        assert_eq!(
            (connected.server_id.as_str(), connected.identity.did().as_str()),
            (id, set_up["did"].as_str().unwrap())
        );
        connected.keeper.ready().await.unwrap();

        let clock = Arc::new(Ahead::default());
        let revoked = RevocationSync::builder(ca.fetcher())
            .issuer(&ca.origin)
            .cache_dir(ca.path().join("revocations"))
            .interval(Duration::from_secs(1))
            .clock(clock.clone())
            .build()
            .unwrap();
        let file = ca.path().join("guard.toml");
        let text = format!(
            r#"
            audiences = ["{FILES}"]
            [[issuer]]
            origin = "{}"
            discover = true
            [tools]
            stat = {{ min_trust_level = 1 }}
            read_file = {{ min_trust_level = 2 }}
            "#,
            ca.origin
        );
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        // However slow the disk of this machine is: no call is denied for that.
        let evidence = EvidenceLog::options().wait_limit(PATIENCE).create_or_open(ca.path().join("evidence")).unwrap();
        let config = GuardConfig::builder()
            .file(&file)
            .evidence(evidence)
            .fetcher(ca.fetcher())
            .revocations(Revocations::registry(revoked.clone()))
            .own_identity(&connected.identity)
            .clock(clock.clone())
            .build()
            .unwrap();
        config.warm_up().await.unwrap();

        let files = ca.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("hello.txt"), "hello").unwrap();
        let server = GuardedServer::new(FilesystemServer::new(&files).unwrap(), config.clone())
            .with_identity(connected.identity.clone());
        // Without sessions a credential that fails is answered by the guard, call by call, and not by a 401.
        let mut options = HttpOptions::default();
        options.stateless = true;
        let serving = tokio::spawn(async move {
            server.serve_http(listener, options, std::future::pending()).await.unwrap();
        });
        Self { origin, connected, clock, keeper_clock, revoked, config, serving }
    }

    /// The record of a decision.
    pub(crate) fn record(&self, evidence_id: &str) -> Value {
        let records = self.config.evidence().records().unwrap();
        records.into_iter().find(|record| record["id"] == evidence_id).unwrap()
    }

    /// The record of the last decision.
    pub(crate) fn last_decision(&self) -> Value {
        let records = self.config.evidence().records().unwrap();
        records.into_iter().rev().find(|record| !record["capiscio.decision"].is_null()).unwrap()
    }

    /// Lets the keeper get the next badge now.
    pub(crate) async fn renew(&self) {
        renew(&self.connected.keeper, &self.keeper_clock).await;
    }
}

/// How an agent gets its badges.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// It proves its did:key (IAL-1).
    Proof,
    /// Its account vouches for the did:web that the CA hosts (IAL-0).
    Account,
}

pub(crate) struct Agent {
    /// The id at the CA.
    pub(crate) id: String,
    pub(crate) keeper: BadgeKeeper,
    pub(crate) keeper_clock: Arc<Ahead>,
    /// A badge of level 1 from the operator.
    pub(crate) level_1: String,
}

impl Agent {
    /// A registered agent whose domain the operator granted, and its keeper with a badge of level 2.
    pub(crate) async fn register(ca: &Ca, name: &str, by: By) -> Self {
        let [private, public, badge] = ["pem", "pub", "badge"].map(|kind| format!("{name}.{kind}"));
        ca.run(&["keygen", "--out", &private, "--public", &public]);
        let issued = ["issue", "--subject-key", &public, "--level", "1", "--audience", FILES, "--lifetime", "3600"];
        ca.operator(&[&issued[..], &["--out", &badge]].concat());
        let read = |file: &str| std::fs::read_to_string(ca.path().join(file)).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8_pem(&read(&private)).unwrap());
        let listed = ca.operator(&["list", "agents"]);
        let listed = listed.as_array().unwrap().iter().find(|agent| agent["did"] == key.did().as_str()).unwrap();
        let id = listed["id"].as_str().unwrap().to_owned();
        ca.operator(&["agent", "allow-domain", "--agent", &id, AGENT_DOMAIN]);

        let keeper_clock = Arc::new(Ahead::default());
        let options = BadgeOptions::new().domain(AGENT_DOMAIN).audience(FILES).lifetime(LIFETIME);
        // The keeper's clock is ours to set; proofs are dated by the system's, as the CA expects.
        let renewer = match by {
            By::Proof => {
                let kid = key.did().key_id().unwrap();
                AgentBadgeRenewer::by_proof(ca.registry(), key.did(), key, kid, options)
            }
            By::Account => {
                let hosted = Did::parse(listed["hosted_did"].as_str().unwrap()).unwrap();
                AgentBadgeRenewer::by_account(ca.registry(), hosted, key, options)
            }
        };
        let keeper = BadgeKeeper::builder(Arc::new(renewer)).clock(keeper_clock.clone()).start().unwrap();
        keeper.ready().await.unwrap();
        Self { id, keeper, keeper_clock, level_1: read(&badge).trim().to_owned() }
    }

    /// The id of the badge at hand.
    pub(crate) fn jti(&self) -> String {
        ClaimedIdentity::peek(&self.keeper.current().unwrap()).jti.unwrap()
    }

    /// Lets the keeper get the next badge now.
    pub(crate) async fn renew(&self) {
        renew(&self.keeper, &self.keeper_clock).await;
    }

    /// What the keeper says after an attempt that fails.
    pub(crate) async fn failing(&self) -> KeeperHealth {
        make_due(&self.keeper, &self.keeper_clock);
        eventually("a renewal that fails", || async {
            Some(self.keeper.health()).filter(|health| health.last_error.is_some())
        })
        .await
    }
}

/// Sets the keeper's clock past its next renewal.
fn make_due(keeper: &BadgeKeeper, clock: &Ahead) {
    let due = keeper.health().next_renewal.unwrap().as_i64();
    clock.advance((due + 3 - clock.now_unix().as_i64()).max(0));
}

async fn renew(keeper: &BadgeKeeper, clock: &Ahead) {
    let old = keeper.current();
    make_due(keeper, clock);
    eventually("the next badge", || async {
        let health = keeper.health();
        assert!(!health.last_error.is_some_and(|error| error.is_permanent()), "{:?}", keeper.health());
        keeper.current().filter(|new| Some(new) != old.as_ref())
    })
    .await;
}

/// What a client program trusts and asks, once for all of its connections.
#[derive(Clone)]
pub(crate) struct Trust {
    issuer: Issuer,
    revocations: Revocations,
    documents: Arc<DidWebDocuments>,
}

impl Trust {
    /// The CA's keys, its list of revoked badges, and the DID documents that it hosts.
    pub(crate) fn new(ca: &Ca) -> Self {
        let list = RevocationSync::builder(ca.fetcher()).issuer(&ca.origin).build().unwrap();
        Self {
            issuer: Issuer::discover(&ca.origin, ca.fetcher()).unwrap(),
            revocations: Revocations::registry(list),
            documents: Arc::new(DidWebDocuments::new(ca.fetcher())),
        }
    }

    /// A client that has verified the server's badge of level 2, and that it holds the key in its DID document.
    pub(crate) async fn connect(&self, server: &Server, badge: impl Into<CallerBadge>) -> VerifiedClient {
        let (did, url) = (server.connected.identity.did(), format!("{}/mcp", server.origin));
        let connecting = VerifiedClient::builder()
            .trusted_issuer(self.issuer.clone())
            .revocations(self.revocations.clone())
            .did_documents(self.documents.clone())
            .min_trust_level(TrustLevel::DomainValidated)
            // the DID is one of the CA's host
            .gateway(&server.origin, [did.as_str()])
            .badge(badge)
            .connect_http(&url);
        let client = Box::pin(connecting).await.unwrap();
        assert_eq!((client.server().did(), client.server().pop_verified()), (did, true));
        client
    }
}

/// How a call ended: allowed, or denied with the words for its caller and the evidence's id.
#[derive(Debug)]
pub(crate) enum Ended {
    Allowed,
    Denied { reason: String, evidence_id: String },
}

pub(crate) async fn call(client: &VerifiedClient, tool: &'static str) -> Ended {
    let arguments = json!({ "path": "hello.txt" }).as_object().cloned().unwrap();
    let result = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap();
    match denial_of(&result) {
        None => {
            assert_ne!(result.is_error, Some(true), "{result:?}");
            Ended::Allowed
        }
        Some(denial) => Ended::Denied {
            reason: denial.reason().to_owned(),
            evidence_id: denial.evidence_id().unwrap_or_default().to_owned(),
        },
    }
}

pub(crate) async fn allowed(client: &VerifiedClient, tool: &'static str) {
    let ended = call(client, tool).await;
    assert!(matches!(ended, Ended::Allowed), "{tool}: {ended:?}");
}

/// The call is denied: its caller reads `class`, evidence has `reason`.
pub(crate) async fn denied(server: &Server, client: &VerifiedClient, tool: &'static str, class: &str, reason: &str) {
    let Ended::Denied { reason: told, evidence_id } = call(client, tool).await else { panic!("{tool} was allowed") };
    let record = server.record(&evidence_id);
    assert_eq!((told.as_str(), record["rmcp_guard.deny_reason"].as_str()), (class, Some(reason)), "{record}");
}
