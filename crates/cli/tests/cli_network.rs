//! The commands that ask other machines, against a registry and an MCP server that really listen on this one.
//!
//! The registry is `rmcp-guard ca serve` itself, over TLS with a root of its own; the MCP server is the example.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::{ServerIdentity, StaticBadge};
use rmcp_guard::policy::ToolRequirement;
use serde_json::Value;

const FILES: &str = "https://files.example.test";

/// Against a registry or a signal that never comes; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a running CA in `ca`, an account's key in `api.key`, and an agent's key in `a.pem` and `a.pub`.
struct World {
    folder: tempfile::TempDir,
    origin: String,
    ca: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.ca.kill();
        let _ = self.ca.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"));
    command.current_dir(folder).args(arguments).env_remove("CAPISCIO_API_KEY");
    command
}

fn output_of(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{err}", output.status)
}

impl World {
    fn new() -> Self {
        Self::speaking("https")
    }

    fn speaking(scheme: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let origin = format!("{scheme}://localhost:{port}");
        let mut init = vec!["ca", "init", "--dir", "ca", "--origin", &origin, "--api-key-file", "api.key"];
        if scheme == "http" {
            init.push("--no-tls");
        }
        let made = command(at, &init).output().unwrap();
        assert!(made.status.success(), "{}", output_of(&made));
        let ca =
            command(at, &["ca", "serve", "--dir", "ca"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let world = Self { folder, origin, ca };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "the CA does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        world.ok(&["keygen", "--out", "a.pem", "--public", "a.pub"]);
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(self.path(), arguments).output().unwrap()
    }

    /// With what lets a command reach the CA.
    fn online(&self, arguments: &[&str]) -> Output {
        let root = if self.origin.starts_with("https") { &["--root-cert", "ca/root.pem"][..] } else { &[] };
        self.run(&[arguments, &["--dangerous-loopback"], root].concat())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", output_of(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ok_online(&self, arguments: &[&str]) -> String {
        let output = self.online(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", output_of(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn json_online(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok_online(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Ends with `code` and says `part`.
    fn refused_online(&self, arguments: &[&str], code: i32, part: &str) {
        let output = self.online(arguments);
        let said = output_of(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {part} is missing in: {said}");
    }

    fn issue(&self, level: &str, out: &str, more: &[&str]) {
        let base = ["ca", "issue", "--dir", "ca", "--subject-key", "a.pub", "--level", level, "--out", out];
        self.ok(&[&base[..], &["--domain", "localhost"], more].concat());
    }

    fn stop_ca(&mut self) {
        self.ca.kill().unwrap();
        self.ca.wait().unwrap();
    }
}

#[test]
fn a_badge_is_verified_with_what_its_issuer_says_now() {
    let mut world = World::new();
    world.issue("2", "b2", &["--audience", FILES]);
    let origin = world.origin.clone();
    let verify = ["badge", "verify", "b2", "--issuer", &origin, "--audience", FILES];
    let online = [&verify[..], &["--online"]].concat();

    let answer = world.json_online(&online);
    assert_eq!((answer["valid"].as_bool(), answer["level"].as_u64()), (Some(true), Some(2)), "{answer}");
    world.refused_online(&verify, 1, "REVOCATION_CHECK_FAILED");
    // Without the CA's own root nobody believes that it is the CA.
    let unknown_root = world.run(&[&online[..], &["--dangerous-loopback"]].concat());
    assert_eq!(unknown_root.status.code(), Some(3), "{}", output_of(&unknown_root));

    world.ok(&["ca", "revoke", "--dir", "ca", answer["jti"].as_str().unwrap()]);
    world.refused_online(&online, 1, "BADGE_REVOKED");
    world.stop_ca();
    world.refused_online(&online, 3, "the issuer's keys could not be obtained");
}

#[test]
fn issuers_are_pinned_by_thumbprint() {
    let world = World::new();
    let origin = world.origin.as_str();
    let pin = ["trust", "add", origin, "--config", "guard.toml", "--pin", "pinned.json"];
    world.refused_online(&[&pin[..], &["--thumbprint", "AAAA"]].concat(), 1, "the set has no key AAAA");
    assert!(!world.path().join("pinned.json").exists() && !world.path().join("guard.toml").exists());
    world.ok_online(&pin);
    let listed: Value =
        serde_json::from_str(&world.ok(&["trust", "list", "--config", "guard.toml", "--json"])).unwrap();
    let thumbprint = listed.pointer("/issuers/0/keys/0/thumbprint").and_then(Value::as_str).unwrap().to_owned();
    let again = ["trust", "add", origin, "--config", "again.toml", "--pin", "again.json", "--thumbprint", &thumbprint];
    world.ok_online(&again);
}

#[test]
fn a_server_is_set_up_once_and_its_document_resolves() {
    // A document of `localhost` is asked for over plain http.
    let world = World::speaking("http");
    let origin = world.origin.as_str();
    let setup = ["server", "setup", "--registry", origin, "--server-id", "auto", "--name", "files", "--dir", "id"];
    let set_up = world.json_online(&[&setup[..], &["--api-key-file", "api.key"]].concat());
    let did = set_up["did"].as_str().unwrap();
    let document = world.json_online(&["did", "resolve", did]);
    assert_eq!(document.pointer("/methods/0/authentication"), Some(&Value::Bool(true)), "{document}");
    let missing = did.replace(set_up["server_id"].as_str().unwrap(), "00000000-0000-4000-8000-000000000000");
    world.refused_online(&["did", "resolve", &missing], 5, "could not be fetched");

    // The key is there now, and the registry knows the server.
    let second = world.json_online(&[&setup[..], &["--api-key-file", "api.key"]].concat());
    assert_eq!((&second["did"], &second["generated"]), (&set_up["did"], &Value::Bool(false)));
}

#[test]
fn a_registry_that_refuses_is_told_from_one_that_is_gone() {
    let mut world = World::new();
    let origin = world.origin.clone();
    std::fs::write(world.path().join("other.key"), "sk_not_a_key_of_this_registry").unwrap();
    let run = |world: &World, key: &str| {
        let base = ["server", "register", "--registry", &origin, "--create", "files", "--key", "a.pub"];
        world.online(&[&base[..], &["--api-key-file", key]].concat())
    };
    let refused = run(&world, "other.key");
    assert_eq!(refused.status.code(), Some(5), "{}", output_of(&refused));
    assert!(!output_of(&refused).contains("sk_not_a_key"), "the key is shown: {}", output_of(&refused));
    let registered = run(&world, "api.key");
    assert!(registered.status.success(), "{}", output_of(&registered));
    world.stop_ca();
    let gone = run(&world, "api.key");
    assert_eq!(gone.status.code(), Some(3), "{}", output_of(&gone));
}

#[test]
fn a_badge_is_kept_by_proof_and_by_api_key() {
    let world = World::new();
    let origin = world.origin.as_str();
    let keep = |more: &[&str]| {
        let base = ["badge", "keep", "--registry", origin, "--key", "a.pem", "--once"];
        // The registry takes a badge in place of an API key only when the badge is for it too.
        world.online(&[&base[..], &["--audience", FILES, "--audience", origin], more].concat())
    };

    world.issue("1", "registered", &["--audience", FILES]);
    let kept = keep(&["--out", "proved", "--api-key-file", "api.key"]);
    assert!(kept.status.success(), "{}", output_of(&kept));
    let valid = world.json_online(&["badge", "verify", "proved", "--issuer", origin, "--audience", FILES, "--online"]);
    assert_eq!((valid["valid"].as_bool(), valid["ial"].as_u64()), (Some(true), Some(1)), "{valid}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(world.path().join("proved")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // The badge that it has speaks for an agent without an API key.
    let again = keep(&["--out", "proved"]);
    assert!(again.status.success(), "{}", output_of(&again));
    let stranger = keep(&["--out", "nothing"]);
    assert_eq!(stranger.status.code(), Some(5), "{}", output_of(&stranger));
    assert!(!world.path().join("nothing").exists());
}

/// A program that is ended by a signal leaves the badge behind, and the signal is no failure.
#[test]
fn a_keeper_ends_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(command(at, &["keygen", "--out", "a.pem"]).output().unwrap().status.success());
    let keep = ["badge", "keep", "--out", "kept", "--key", "a.pem", "--method", "self-signed", "--json"];
    let keeper = command(at, &keep).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !at.join("kept").exists() {
        assert!(start.elapsed() < PATIENCE, "no badge came");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-TERM", &keeper.id().to_string()]).status().unwrap().success());
    let output = keeper.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output_of(&output));
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["file"], "kept");
}

/// The example server, with the key in `a.pem` and the badge in `badge`, until the process ends.
fn serve(folder: &Path, badge: &str) -> String {
    let pem = std::fs::read_to_string(folder.join("a.pem")).unwrap();
    let key = Arc::new(SigningKey::from_pkcs8_pem(&pem).unwrap());
    let badge = StaticBadge::new(std::fs::read_to_string(folder.join(badge)).unwrap().trim()).unwrap();
    let root: PathBuf = folder.to_owned();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
            let identity = ServerIdentity::builder(key.did(), key).badge(badge).origin(&origin).build().unwrap();
            let config = GuardConfig::builder()
                .audience(FILES)
                .tool("list_*", ToolRequirement::anonymous())
                .evidence(EvidenceLog::in_memory())
                .build()
                .unwrap();
            let server = GuardedServer::new(FilesystemServer::new(root).unwrap(), config).with_identity(identity);
            sender.send(format!("{origin}/mcp")).unwrap();
            server.serve_http(listener, HttpOptions::default(), std::future::pending()).await.unwrap();
        });
    });
    receiver.recv_timeout(PATIENCE).unwrap()
}

fn outcome<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|row| row["check"] == check).and_then(|row| row["outcome"].as_str()).unwrap()
}

#[test]
fn a_server_is_verified_check_by_check() {
    let mut world = World::new();
    world.issue("2", "badge", &[]);
    let did = world.ok(&["did", "key", "a.pub"]);
    let url = serve(world.path(), "badge");
    let origin = world.origin.clone();
    let base = ["server", "verify", &url, "--issuer", &origin, "--online"];
    let verify = |more: &[&str]| {
        let report = world.online(&[&base[..], more, &["--json"]].concat());
        let json = serde_json::from_slice::<Value>(&report.stdout);
        (report.status.code().unwrap(), json.unwrap_or_else(|_| panic!("{}", output_of(&report))))
    };

    let (code, report) = verify(&["--expect-did", &did, "--min-level", "2"]);
    assert_eq!((code, &report["verified"]), (0, &Value::Bool(true)), "{report}");
    assert_eq!(report["did"], did);
    let outcomes = report["checks"].as_array().unwrap().iter().map(|row| &row["outcome"]);
    assert!(outcomes.into_iter().all(|outcome| outcome == "passed"), "{report}");

    let (code, report) = verify(&["--expect-did", &did, "--min-level", "3"]);
    assert_eq!((code, &report["code"]), (1, &Value::from("trust_insufficient")), "{report}");
    assert_eq!(outcome(&report, "badge_signature"), "passed");
    assert_eq!(outcome(&report, "trust_level"), "failed");
    assert_eq!(outcome(&report, "proof_of_possession"), "skipped");

    let other = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let (code, report) = verify(&["--expect-did", other]);
    assert_eq!((code, &report["code"]), (1, &Value::from("did_unexpected")), "{report}");
    assert_eq!((outcome(&report, "did"), outcome(&report, "expected_did")), ("passed", "failed"));

    // A did:key names no origin, so nothing ties it to this URL.
    let (code, report) = verify(&[]);
    assert_eq!((code, &report["code"]), (1, &Value::from("origin_unbound")), "{report}");
    assert_eq!((outcome(&report, "expected_did"), outcome(&report, "binding")), ("skipped", "failed"));

    let people = world.online(&[&base[..], &["--expect-did", &did]].concat());
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("verified_principal") && people.contains("passed   proof_of_possession"), "{people}");

    let badge: Value = serde_json::from_str(&world.ok(&["badge", "inspect", "badge", "--json"])).unwrap();
    world.ok(&["ca", "revoke", "--dir", "ca", badge["jti"].as_str().unwrap()]);
    world.refused_online(&[&base[..], &["--expect-did", &did]].concat(), 1, "badge_revoked");
    world.stop_ca();
    world.refused_online(&[&base[..], &["--expect-did", &did]].concat(), 3, "key_fetch_failed");
}

/// A server that says nothing about itself, and one that says nothing at all.
#[test]
fn a_command_is_verified_over_its_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}"#;
    let script = format!("read line; printf '%s\\n' '{answer}'; cat > /dev/null");
    let verify = |script: &str, timeout: &str| {
        let trust = ["server", "verify", "--accept-level-zero", "--json", "--timeout", timeout];
        command(at, &[&trust[..], &["--", "sh", "-c", script]].concat()).output().unwrap()
    };
    let undisclosed = verify(&script, "30");
    assert_eq!(undisclosed.status.code(), Some(1), "{}", output_of(&undisclosed));
    let report: Value = serde_json::from_slice(&undisclosed.stdout).unwrap();
    assert_eq!((&report["code"], outcome(&report, "disclosure")), (&Value::from("identity_missing"), "failed"));

    let silent = verify("exit 0", "30");
    assert_eq!(silent.status.code(), Some(3), "{}", output_of(&silent));
    let late = verify("cat > /dev/null", "1");
    assert_eq!(late.status.code(), Some(3), "{}", output_of(&late));
}

/// What a guard decides for a badge whose issuer it asks over the network.
#[test]
fn a_policy_is_checked_with_issuers_on_the_network() {
    let world = World::new();
    world.issue("1", "b1", &["--audience", FILES]);
    let guard = format!(
        "audiences = [\"{FILES}\"]\n[[issuer]]\norigin = \"{}\"\ndiscover = true\n[revocations]\nmode = \"online\"\n\
         [tools]\nread_file = {{ min_trust_level = 1 }}\n",
        world.origin
    );
    let file = world.path().join("guard.toml");
    std::fs::write(&file, guard).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let check = ["policy", "check", "--tool", "read_file", "--badge", "b1"];
    assert_eq!(world.json_online(&check)["decision"], "allow");
    // A file alone cannot reach this machine.
    let without = world.run(&check);
    assert_eq!(without.status.code(), Some(4), "{}", output_of(&without));
}
