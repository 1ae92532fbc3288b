//! The program, bare and guarded, before an rmcp client.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::{Value, json};

struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_everything-server"));
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client sees of the tools, and the answer to a call of one.
async fn look(url: &str, tool: &'static str) -> (Vec<Value>, Value) {
    let client = ().serve(StreamableHttpClientTransport::from_uri(url)).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let answer = client.call_tool(CallToolRequestParams::new(tool)).await.unwrap();
    client.cancel().await.unwrap();
    (tools.into_iter().map(|tool| json!(tool)).collect(), json!(answer))
}

fn config(directory: &Path, tools: &str) -> String {
    let file = directory.join("guard.toml");
    let text =
        format!("policy_version = \"test\"\n[evidence]\ndir = \"evidence\"\nwait_limit_ms = 10000\n[tools]\n{tools}");
    std::fs::write(&file, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_open_guard_shows_what_the_bare_server_shows() {
    let directory = tempfile::tempdir().unwrap();
    let bare = Program::start(&["--bare"]);
    let guarded = Program::start(&["--guarded", &config(directory.path(), "\"*\" = { anonymous = true }")]);
    let (tools, answer) = look(&bare.url, "test_simple_text").await;
    assert_eq!(look(&guarded.url, "test_simple_text").await, (tools.clone(), answer));
    assert!(tools.len() > 30, "{}", tools.len());
}

#[tokio::test]
async fn a_closed_tool_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Program::start(&["--guarded", &config(directory.path(), "greet = { anonymous = true }")]);
    let (tools, denied) = look(&guarded.url, "test_simple_text").await;
    assert_eq!(tools.len(), 1, "{tools:?}");
    assert_eq!(denied["_meta"]["rmcp-guard/denial"]["reason"], "badge_missing", "{denied}");
}
