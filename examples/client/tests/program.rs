//! The program against the guarded filesystem server: what it prints, and the exit code that it ends with.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};

use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::read_records;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::{ServerIdentity, StaticBadge};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The server's program, which stands beside ours in the target directory. A test of the workspace builds it; a test of
/// this package alone does not, and then it is built here.
static SERVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let ours = Path::new(env!("CARGO_BIN_EXE_verified-client"));
    let server = ours.with_file_name(format!("filesystem-server{}", std::env::consts::EXE_SUFFIX));
    if !server.exists() {
        let target = ours.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--package", "filesystem-server", "--bin", "filesystem-server", "--target-dir"])
            .arg(target);
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    }
    server
});

/// Keys, badges, files and configuration, as the demonstration leaves them.
struct World {
    _temporary: TempDir,
    path: PathBuf,
    did: String,
}

impl World {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let path = temporary.path().join("demo");
        let demo = Command::new(&*SERVER).arg("demo").arg("--keep").arg(&path).output().unwrap();
        assert!(demo.status.success(), "{}", text(&demo.stderr));
        let did = fs::read_to_string(path.join("server.did")).unwrap();
        Self { _temporary: temporary, path, did }
    }

    fn client(&self, how: &str) -> Command {
        let mut client = Command::new(env!("CARGO_BIN_EXE_verified-client"));
        client.env_remove("VERIFIED_CLIENT_BADGE").stdin(Stdio::null());
        client.arg(how).args(["--issuer", "https://issuer.example.test", "--min-level", "2"]);
        client.arg("--jwks").arg(self.path.join("issuer.jwks.json"));
        client.arg("--revocations").arg(self.path.join("revocations.json"));
        client
    }

    /// A client that is right about the server, with the badge of `agent`.
    fn client_as(&self, agent: &str, how: &str) -> Command {
        let mut client = self.client(how);
        client.args(["--expect-did", &self.did]);
        client.arg("--badge-file").arg(self.path.join(format!("{agent}.badge.jws")));
        client
    }

    fn server(&self) -> Vec<OsString> {
        let file = |name: &str| self.path.join(name).into_os_string();
        let mut words = vec![OsString::from("--"), SERVER.clone().into_os_string(), OsString::from("stdio")];
        for (flag, value) in [
            ("--root", "files"),
            ("--config", "filesystem.toml"),
            ("--identity-key", "server.key.pem"),
            ("--identity-badge", "server.badge.jws"),
        ] {
            words.extend([OsString::from(flag), file(value)]);
        }
        words
    }

    /// Runs `client` against a server of its own over stdio.
    fn stdio(&self, mut client: Command) -> Output {
        // Not inherited, so that the server's log stays out of what the client says.
        client.args(["--pass-env", "CAPISCIO_LOG_LEVEL"]).env("CAPISCIO_LOG_LEVEL", "off").args(self.server());
        client.output().unwrap()
    }

    /// Serves over HTTP in this process while `work` runs, with the endpoint's URL.
    fn http(&self, work: impl FnOnce(&str)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let key = fs::read_to_string(self.path.join("server.key.pem")).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8_pem(&key).unwrap());
        let badge = StaticBadge::new(&fs::read_to_string(self.path.join("server.badge.jws")).unwrap()).unwrap();
        let identity = ServerIdentity::builder(key.did(), key).badge(badge).origin(&origin).build().unwrap();
        let config = GuardConfig::builder().file(self.path.join("filesystem.toml")).own_did(identity.did().clone());
        let server = FilesystemServer::new(self.path.join("files")).unwrap();
        let server = GuardedServer::new(server, config.build().unwrap()).with_identity(identity);
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let stopped = async {
                    let _ = stopped.await;
                };
                runtime.block_on(Box::pin(server.serve_http(listener, HttpOptions::default(), stopped)))
            });
            // Whether the work returns or panics, this drops, and the server ends.
            let running = stop;
            work(&format!("{origin}/mcp"));
            drop(running);
            serving.join().unwrap().unwrap();
        });
    }

    /// The decision on record under this id.
    fn decision(&self, id: &str) -> String {
        let records = read_records(self.path.join("evidence")).unwrap();
        let record = records.iter().find(|record| record["id"] == id).unwrap_or_else(|| panic!("no record {id}"));
        record["capiscio.decision"].as_str().unwrap().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    serde_json::from_str(&printed).unwrap()
}

/// Asserts the exit code and returns standard output and standard error.
fn ended(output: &Output, code: i32) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert!(!format!("{out}{err}").contains("eyJ"), "a badge was printed: {out}\n{err}");
    (out, err)
}

/// The same story over either transport; `run` finishes a client's command line and runs it.
fn story(world: &World, how: &str, run: impl Fn(Command) -> Output) {
    let verified = format!("server  {}\nstate   VERIFIED_PRINCIPAL, level 2, key proved", world.did);

    // The list shows what the caller may call.
    let (out, _) = ended(&run(world.client_as("reader", how)), 0);
    assert!(out.starts_with(&verified), "{out}");
    assert!(out.contains("  read_file ") && !out.contains("  delete_path "), "{out}");
    let (out, _) = ended(&run(world.client_as("keeper", how)), 0);
    assert!(out.contains("  read_file ") && out.contains("  delete_path "), "{out}");

    let mut allowed = world.client_as("reader", how);
    allowed.args(["--call", "read_file", "--args", r#"{"path": "hello.txt"}"#]);
    let (out, _) = ended(&run(allowed), 0);
    assert!(
        out.starts_with(&verified) && out.ends_with("tool    read_file: ok\n  Hello from below the root.\n"),
        "{out}"
    );

    let mut denied = world.client_as("reader", how);
    denied.args(["--call", "delete_path", "--args", r#"{"path": "hello.txt"}"#]);
    let (_, err) = ended(&run(denied), 4);
    assert!(err.starts_with("DENIED  delete_path\nreason  trust_insufficient\ndetail  "), "{err}");
    assert!(world.path.join("files/hello.txt").exists());

    let mut denied = world.client_as("reader", how);
    denied.args(["--json", "--call", "delete_path", "--args", r#"{"path": "hello.txt"}"#]);
    let denied = run(denied);
    ended(&denied, 4);
    let error = &json(&denied)["error"];
    assert_eq!((&error["kind"], &error["reason"]), (&"denied".into(), &"trust_insufficient".into()), "{error}");
    assert_eq!(world.decision(error["evidence_id"].as_str().unwrap()), "DENY");

    // Without a badge: anonymous tools, and a readable denial for the others.
    let mut anonymous = world.client(how);
    anonymous.args(["--expect-did", &world.did, "--json", "--call", "list_directory"]);
    let anonymous = run(anonymous);
    ended(&anonymous, 0);
    let answer = json(&anonymous);
    assert_eq!(answer["server"]["state"], "VERIFIED_PRINCIPAL");
    assert_eq!(answer["result"]["structuredContent"]["entries"][0]["name"], "hello.txt");
    let mut anonymous = world.client(how);
    anonymous.args(["--expect-did", &world.did, "--call", "read_file", "--args", r#"{"path": "hello.txt"}"#]);
    let (_, err) = ended(&run(anonymous), 4);
    assert!(err.contains("reason  badge_missing"), "{err}");

    let mut failing = world.client_as("reader", how);
    failing.args(["--call", "read_file", "--args", r#"{"path": "../secret"}"#]);
    let (out, _) = ended(&run(failing), 5);
    assert!(out.ends_with("tool    read_file: failed\n  `..` is not accepted in a path\n"), "{out}");

    // A server that is not the expected one, not good enough, or of an unknown issuer, gets neither badge nor call.
    let other = fs::read_to_string(world.path.join("reader.did")).unwrap();
    let mut impostor = world.client(how);
    impostor.args(["--expect-did", &other]);
    let (_, err) = ended(&run(impostor), 3);
    assert!(err.starts_with("server not verified (did_unexpected)"), "{err}");
    let mut unpinned = world.client(how);
    unpinned.arg("--json");
    let unpinned = run(unpinned);
    ended(&unpinned, 3);
    let error = &json(&unpinned)["error"];
    assert_eq!((&error["kind"], &error["code"]), (&"server_not_verified".into(), &"origin_unbound".into()), "{error}");
}

#[test]
fn over_stdio() {
    let world = World::new();
    story(&world, "stdio", |client| world.stdio(client));
}

#[test]
fn over_http() {
    let world = World::new();
    world.http(|url| {
        story(&world, "http", |mut client| client.arg(url).output().unwrap());
    });
}

#[test]
fn a_badge_also_comes_from_the_environment_or_standard_input() {
    let world = World::new();
    let badge = fs::read_to_string(world.path.join("reader.badge.jws")).unwrap();
    let call = ["--call", "read_file", "--args", r#"{"path": "hello.txt"}"#];
    let mut client = world.client("stdio");
    client.args(["--expect-did", &world.did]).args(call).env("VERIFIED_CLIENT_BADGE", &badge);
    ended(&world.stdio(client), 0);

    let mut client = world.client("stdio");
    client.args(["--expect-did", &world.did, "--badge-file", "-"]).args(call).args(world.server());
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(badge.as_bytes()).unwrap();
    ended(&child.wait_with_output().unwrap(), 0);
}

#[test]
fn mistakes_of_usage_and_connections_have_their_own_codes() {
    let world = World::new();
    let run = |arguments: &[&str]| {
        let mut client = Command::new(env!("CARGO_BIN_EXE_verified-client"));
        client.env_remove("VERIFIED_CLIENT_BADGE").args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let jwks = world.path.join("issuer.jwks.json");
    let trust = ["--issuer", "https://issuer.example.test", "--jwks", jwks.to_str().unwrap()];
    let table: [(&str, &[&str], i32, &str); 10] = [
        ("no transport", &[], 2, "Usage"),
        ("no command", &["stdio"], 2, "COMMAND"),
        ("nobody trusted", &["http", "https://127.0.0.1:9/mcp"], 2, "nobody is trusted"),
        ("arguments that are no object", &["http", "--call", "x", "--args", "[]", "u"], 2, "not a JSON object"),
        ("keys without an issuer", &["http", "--jwks", "a.json", "u"], 2, "--issuer"),
        ("an issuer in the clear", &["http", "--issuer", "http://a.example", "u"], 2, "--issuer"),
        (
            "roots that are none",
            &["http", "--issuer", "https://a.example", "--root-cert", "/dev/null", "u"],
            2,
            "--root-cert",
        ),
        ("a level that does not exist", &["http", "--min-level", "5", "u"], 2, "trust level"),
        ("an agent's key and no registry", &["http", "--agent-dir", "a", "u"], 2, "--badge-from"),
        ("a badge as an argument", &["http", "--badge", "eyJ", "u"], 2, "unexpected argument"),
    ];
    for (name, arguments, code, want) in table {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(want), "{name}: {}", text(&output.stderr));
    }
    let plain = run(&[&["http"][..], &trust, &["http://files.example.com/mcp"]].concat());
    let (_, err) = ended(&plain, 2);
    assert!(err.contains("use https"), "{err}");
    let absent = run(&[&["stdio"][..], &trust, &["--", "/no/such/program"]].concat());
    ended(&absent, 1);
    let closed = run(&[&["http"][..], &trust, &["http://127.0.0.1:1/mcp"]].concat());
    ended(&closed, 1);
}
