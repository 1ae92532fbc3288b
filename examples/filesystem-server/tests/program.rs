//! The program as a user runs it: its exit codes, its output, its files.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_filesystem-server"));
    command.env_remove("CAPISCIO_LOG_LEVEL").env_remove("CAPISCIO_SERVER_ORIGIN");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a demonstration leaves behind.
struct World {
    _temporary: TempDir,
    path: PathBuf,
    demo: Output,
}

impl World {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let path = temporary.path().join("demo");
        let demo = program().arg("demo").arg("--keep").arg(&path).output().unwrap();
        assert!(demo.status.success(), "{}", text(&demo.stderr));
        Self { _temporary: temporary, path, demo }
    }

    fn serve(&self, how: &str) -> Command {
        let mut command = program();
        command.arg(how).arg("--root").arg(self.path.join("files"));
        command.arg("--config").arg(self.path.join("filesystem.toml"));
        command
    }

    fn serve_as_itself(&self, how: &str) -> Command {
        let mut command = self.serve(how);
        command.arg("--identity-key").arg(self.path.join("server.key.pem"));
        command.arg("--identity-badge").arg(self.path.join("server.badge.jws"));
        command
    }
}

#[test]
fn the_demonstration_shows_both_transports_and_leaves_its_files() {
    let world = World::new();
    let said = text(&world.demo.stdout);
    assert_eq!(said.matches("server VERIFIED_PRINCIPAL, level 2, key proved").count(), 4, "{said}");
    assert_eq!(said.matches("DENIED   trust_insufficient").count(), 2, "{said}");
    assert_eq!(said.matches("allowed").count(), 6, "{said}");
    assert_eq!(said.matches("  DENY ").count(), 2, "{said}");
    assert!(said.contains("refuses this one before any call: did_unexpected"), "{said}");
    assert!(said.contains("8 calls, 8 decisions: every call is on record as it was answered"), "{said}");
    assert_eq!(text(&world.demo.stderr), "");

    assert_eq!(fs::metadata(&world.path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["issuer.key.pem", "server.key.pem", "reader.key.pem", "reader.badge.jws", "filesystem.toml"] {
        let mode = fs::metadata(world.path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for name in ["issuer.jwks.json", "server.badge.jws", "keeper.badge.jws", "evidence", "files/hello.txt"] {
        assert!(world.path.join(name).exists(), "{name}");
    }
    assert!(!said.contains("eyJ"), "a badge was printed");
}

#[test]
fn the_demonstration_never_overwrites() {
    let there = TempDir::new().unwrap();
    let again = program().arg("demo").arg("--keep").arg(there.path()).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 0);
}

/// Attack: a server that is started with the trust of a development machine is reached from another one.
#[test]
fn s35_development_is_for_a_server_that_only_this_machine_reaches() {
    let world = World::new();
    let exposed = world.serve("http").args(["--dangerous-loopback", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(exposed.status.code(), Some(1));
    assert!(text(&exposed.stderr).contains("--dangerous-loopback"), "{}", text(&exposed.stderr));
}

#[test]
fn a_client_that_leaves_ends_the_server() {
    let world = World::new();
    let began = Instant::now();
    let ended = world.serve_as_itself("stdio").stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stdout), "", "standard output belongs to the protocol");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// An open standard input that nobody writes to must not keep the process alive.
#[test]
fn a_signal_ends_the_server_on_stdio() {
    let world = World::new();
    let mut child =
        world.serve("stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    writeln!(child.stdin.as_mut().unwrap(), "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("filesystem-server"), "{answer}");
    end(&mut child, "-TERM");
}

struct Http {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Http {
    fn start(mut command: Command) -> Self {
        let mut child = command.env("CAPISCIO_LOG_LEVEL", "warn").stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/mcp"));
        let address = address.unwrap_or_else(|| panic!("not the ready line: {line}")).to_owned();
        Self { child, stderr, address }
    }

    /// One POST of an `initialize` with these header lines; the answer's status line and headers.
    fn post(&self, headers: &str) -> String {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\n{headers}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut head = String::new();
        let mut reader = BufReader::new(stream);
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        head.to_ascii_lowercase()
    }
}

fn end(child: &mut Child, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("the server outlived its signal");
}

#[test]
fn the_http_server_says_one_line_and_ends_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let world = World::new();
        let mut http = Http::start(world.serve_as_itself("http"));
        let host = format!("Host: {}\r\n", http.address);
        let head = http.post(&host);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let did = fs::read_to_string(world.path.join("server.did")).unwrap();
        assert!(head.contains(&format!("capiscio-server-did: {did}").to_ascii_lowercase()), "{head}");
        // a session's stream stays open; the server must end nevertheless
        end(&mut http.child, signal);
        let mut rest = String::new();
        http.stderr.read_to_string(&mut rest).unwrap();
        // rmcp calls the end of an open session an error, where it comes to that before the process ends
        let ours: Vec<&str> = rest.lines().filter(|line| !line.contains("rmcp::transport::worker")).collect();
        assert!(ours.is_empty(), "{rest}");
    }
}

/// Stops a web page that resolves its own name to this machine (DNS rebinding), or any page at all, from calling tools
/// through its visitor's browser.
#[test]
fn s37_requests_for_another_host_or_from_a_page_are_refused() {
    let world = World::new();
    for extra in [&[][..], &["--stateless"]] {
        let mut command = world.serve("http");
        command.args(extra).args([
            "--allowed-host",
            "files.example.com",
            "--allowed-origin",
            "https://app.example.com:443",
        ]);
        let mut http = Http::start(command);
        let own = format!("Host: {}\r\n", http.address);
        let table = [
            ("own address", own.clone(), "http/1.1 200"),
            ("localhost", "Host: localhost\r\n".to_owned(), "http/1.1 200"),
            ("allowed host", "Host: files.example.com\r\n".to_owned(), "http/1.1 200"),
            ("rebound host", "Host: evil.example.com\r\n".to_owned(), "http/1.1 403"),
            ("allowed page", format!("{own}Origin: https://app.example.com\r\n"), "http/1.1 200"),
            ("other page", format!("{own}Origin: https://evil.example.com\r\n"), "http/1.1 403"),
            ("page of this machine", format!("{own}Origin: http://{}\r\n", http.address), "http/1.1 403"),
            ("sandboxed page", format!("{own}Origin: null\r\n"), "http/1.1 403"),
        ];
        for (name, headers, want) in table {
            let head = http.post(&headers);
            assert!(head.starts_with(want), "{name} {extra:?}: {head}");
        }
        end(&mut http.child, "-TERM");
    }
}

fn refused(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", text(&ended.stderr));
    text(&ended.stderr)
}

#[test]
fn what_is_wrong_is_said_before_the_first_request() {
    let world = World::new();
    let said = refused(world.serve("stdio").env("CAPISCIO_LOG_LEVEL", "loud"));
    assert!(said.contains("CAPISCIO_LOG_LEVEL: a log level is one of"), "{said}");
    let said = refused(world.serve("stdio").env("CAPISCIO_SERVER_ORIGIN", "not an origin"));
    assert!(said.contains("filesystem.toml"), "{said}");

    let key = world.path.join("server.key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let said = refused(&mut world.serve_as_itself("stdio"));
    assert!(said.contains("others than its owner can use it"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let foreign = world.path.join("reader.badge.jws");
    let said = refused(world.serve("stdio").arg("--identity-key").arg(&key).arg("--identity-badge").arg(&foreign));
    assert!(said.contains("the badge names another subject"), "{said}");

    let config = world.path.join("filesystem.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o664)).unwrap();
    assert!(refused(&mut world.serve("stdio")).contains("filesystem.toml"));
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let mut broken = fs::OpenOptions::new().append(true).open(&config).unwrap();
    write!(broken, "[tools.\"read_*\"]\nmin_trust_level = 7\n[surprise]\n").unwrap();
    let said = refused(&mut world.serve("stdio"));
    assert!(said.contains("min_trust_level") && said.contains("surprise"), "every mistake at once: {said}");
}

#[test]
fn the_sample_configuration_is_valid() {
    let world = World::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("filesystem.toml");
    let config = world.path.join("sample.toml");
    fs::write(&config, fs::read(sample).unwrap()).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(world.path.join("issuer.jwks.json"), world.path.join("registry.jwks.json")).unwrap();
    let mut command = program();
    command.args(["stdio", "--root"]).arg(&world.path).arg("--config").arg(&config);
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
}
