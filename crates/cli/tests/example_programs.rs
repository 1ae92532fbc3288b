//! The two example programs with a registry in place of files: the client starts the server, and each has its key at the CA.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::fs::{self, DirBuilder, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const FILES: &str = "https://files.example.com";
const DOMAIN: &str = "files.example.com";

/// Against a CA that never listens; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of an example, which stands beside ours in the target directory. A test of the workspace builds it; a test of
/// this package alone does not, and then it is built here.
fn example(name: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_rmcp-guard"));
    let program = ours.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let target = ours.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--package", name, "--bin", name, "--target-dir"]).arg(target);
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    }
    program
}

fn text_of(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{err}", output.status)
}

/// A folder with a running CA in `ca`, its account's key in `api.key`, a registered server and a registered agent.
struct World {
    folder: tempfile::TempDir,
    origin: String,
    ca: Child,
    server_id: String,
    server_did: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.ca.kill();
        let _ = self.ca.wait();
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // a name that did:web resolves by https
        let origin = format!("https://ca.localhost:{port}");
        run(folder.path(), &["ca", "init", "--dir", "ca", "--origin", &origin, "--api-key-file", "api.key"]);
        let mut serve = command(folder.path(), &["ca", "serve", "--dir", "ca"]);
        let ca = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut world =
            Self { folder, origin: origin.clone(), ca, server_id: String::new(), server_did: String::new() };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "the CA does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }

        let setup = ["--json", "server", "setup", "--server-id", "auto", "--name", "files", "--dir", "server"];
        let reach = ["--registry", &origin, "--api-key-file", "api.key", "--root-cert", "ca/root.pem"];
        let set_up = run(world.path(), &[&setup[..], &reach, &["--dangerous-loopback"]].concat());
        let set_up: Value = serde_json::from_str(&set_up).unwrap();
        [world.server_id, world.server_did] =
            ["server_id", "did"].map(|name| set_up[name].as_str().unwrap().to_owned());
        run(world.path(), &["ca", "agent", "allow-domain", "--dir", "ca", "--agent", &world.server_id, DOMAIN]);

        DirBuilder::new().mode(0o700).create(world.path().join("agent")).unwrap();
        run(world.path(), &["keygen", "--out", "agent/private_key.pem", "--public", "agent.pub"]);
        run(
            world.path(),
            &["ca", "issue", "--dir", "ca", "--subject-key", "agent.pub", "--level", "1", "--out", "first"],
        );

        fs::create_dir(world.path().join("files")).unwrap();
        fs::write(world.path().join("files/hello.txt"), "hello").unwrap();
        let guard = format!(
            r#"
            audiences = ["{FILES}"]
            [[issuer]]
            origin = "{origin}"
            discover = true
            [revocations]
            mode = "online"
            [evidence]
            dir = "evidence"
            wait_limit_ms = 60000
            [tools]
            read_file = {{ min_trust_level = 1 }}
            delete_path = {{ min_trust_level = 2 }}
            "#
        );
        fs::write(world.path().join("guard.toml"), guard).unwrap();
        fs::set_permissions(world.path().join("guard.toml"), Permissions::from_mode(0o600)).unwrap();
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The client, which expects `did` of the server that it starts and calls `tool`.
    fn client(&self, did: &str, tool: &str) -> Output {
        let key = fs::read_to_string(self.path().join("api.key")).unwrap();
        let development = ["--root-cert", "ca/root.pem", "--dangerous-loopback"];
        let mut client = Command::new(example("verified-client"));
        client.current_dir(self.path()).stdin(Stdio::null()).env_remove("VERIFIED_CLIENT_BADGE");
        client.args(["stdio", "--json", "--issuer", &self.origin, "--resolve-did", "--min-level", "2"]);
        client.args(development).args(["--expect-did", did]);
        client.args(["--badge-from", &self.origin, "--agent-dir", "agent", "--badge-audience", FILES]);
        client.args(["--call", tool, "--args", r#"{"path": "hello.txt"}"#]);
        for (name, value) in [
            ("CAPISCIO_SERVER_URL", self.origin.as_str()),
            ("CAPISCIO_SERVER_ID", &self.server_id),
            ("CAPISCIO_SERVER_DOMAIN", DOMAIN),
            ("CAPISCIO_API_KEY", key.trim()),
            ("CAPISCIO_LOG_LEVEL", "warn"),
        ] {
            client.env(name, value).args(["--pass-env", name]);
        }
        client.arg("--").arg(example("filesystem-server")).args(["stdio", "--root", "files", "--config", "guard.toml"]);
        client.args(["--identity-from-env", "--identity-dir", "server"]).args(development);
        let output = client.output().unwrap();
        let said = text_of(&output);
        assert!(!said.contains("eyJ") && !said.contains(key.trim()), "a secret is shown: {said}");
        output
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"));
    command.current_dir(folder).args(arguments).env_remove("CAPISCIO_API_KEY");
    command
}

/// What the command says; it has to succeed.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text_of(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Ends with `code`; the one line of JSON.
fn ended(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", text_of(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Both programs as their READMEs show them with a registry: keys, status and the server's document are asked for, and
/// both badges are the CA's.
#[test]
fn the_example_programs_find_each_other_through_a_registry() {
    let world = World::new();
    let read = ended(&world.client(&world.server_did, "read_file"), 0);
    assert_eq!(read.pointer("/server/state").and_then(Value::as_str), Some("VERIFIED_PRINCIPAL"), "{read}");
    assert_eq!(read.pointer("/server/did").and_then(Value::as_str), Some(world.server_did.as_str()), "{read}");

    let denied = ended(&world.client(&world.server_did, "delete_path"), 4);
    assert_eq!(denied.pointer("/error/reason").and_then(Value::as_str), Some("trust_insufficient"), "{denied}");
    assert!(world.path().join("files/hello.txt").exists());

    let other = world.server_did.replace(&world.server_id, "00000000-0000-4000-8000-000000000000");
    let impostor = ended(&world.client(&other, "read_file"), 3);
    assert_eq!(impostor.pointer("/error/code").and_then(Value::as_str), Some("did_unexpected"), "{impostor}");

    // A server that the registry refuses does not start, and says what a person can do.
    run(world.path(), &["ca", "disable", "--dir", "ca", &world.server_id, "--reason", "left"]);
    let refused = world.client(&world.server_did, "read_file");
    ended(&refused, 1);
    assert!(text_of(&refused).contains("have it enabled again"), "{}", text_of(&refused));
}
