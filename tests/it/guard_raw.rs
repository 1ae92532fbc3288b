//! The guard around raw rmcp services, and messages as no stock client sends them.

use rmcp::model::ProtocolVersion;
use rmcp::service::{DynService, ServiceExt as _};
use rmcp::{RoleServer, ServerHandler as _};
use rmcp_guard::layer::guard::{GuardLayer, MAX_METHOD_BYTES};
use rmcp_guard::layer::raw::RawGuard;
use rmcp_guard::policy::{GuardedMethod, MethodAccess};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tower::Layer as _;

use crate::common::{Credential, Demo, Fixture, LEVELS, Server, badge};

type Serve = fn(&Fixture) -> Box<dyn DynService<RoleServer>>;
type Raw = RawGuard<Box<dyn DynService<RoleServer>>>;

fn raw(guard: &GuardLayer, demo: &Demo) -> Raw {
    let tools = demo.clone();
    guard.raw(demo.clone().into_dyn(), move |name| tools.get_tool(name))
}

/// Stops a raw service from deciding otherwise than a handler would.
#[tokio::test]
async fn a_raw_service_is_guarded_by_the_same_decisions() {
    for version in ProtocolVersion::KNOWN_VERSIONS {
        let fixture = Fixture::with(|config| config.method(GuardedMethod::Logging, MethodAccess::Inner));
        let (guard, demo) = (fixture.guard.clone(), fixture.demo.clone());
        let server = Server::duplex_from(move || raw(&guard, &demo));
        let stranger = server.connect(version, Credential::none()).await;
        let agent = server.connect(version, Credential::meta(&badge(10, LEVELS[2]))).await;
        let other = server.connect(version, Credential::meta(&badge(11, LEVELS[2]))).await;

        assert_eq!(stranger.call("open", json!({})).await.code(), "ran", "{version}");
        assert_eq!(stranger.call("level2", json!({})).await.code(), "badge_missing", "{version}");
        assert_eq!(agent.call("level2", json!({})).await.code(), "ran", "{version}");
        assert_eq!(agent.call("beside_level3", json!({})).await.code(), "trust_insufficient", "{version}");
        assert_eq!(agent.call("beside_broken", json!({})).await.code(), "requirement_unreadable", "{version}");
        assert!(!agent.tool_names().await.contains(&"level3".to_owned()), "{version}");
        assert!(agent.tool_names().await.contains(&"level2".to_owned()), "{version}");

        let look = agent.call("look", json!({})).await;
        assert!(!look.text().contains("capiscio"), "{version} {}", look.text());

        assert_eq!(agent.call("vip_job", json!({ "id": "t" })).await.code(), "task", "{version}");
        assert_eq!(other.get_task("t").await.unwrap_err().code.0, -32602, "{version}");
        assert!(agent.get_task("t").await.is_ok(), "{version}");
        agent.update_task("t").await.unwrap();
        other.cancel_task("t").await.unwrap_err();
        agent.cancel_task("t").await.unwrap();

        agent.request(rmcp::model::ListPromptsRequest::default().into()).await.unwrap_err();
        assert_eq!(fixture.demo.runs("prompts/list"), 0, "{version}");
        agent.custom("tools/call", json!({})).await.unwrap_err();
        agent.custom("com.example/x", json!({})).await.unwrap_err();
        assert_eq!(fixture.demo.runs("custom request"), 0, "{version}");
    }
}

/// One connection to a server, in bytes.
struct Wire {
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
    serving: tokio::task::AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Wire {
    async fn open<S: rmcp::Service<RoleServer>>(service: S) -> Self {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let serving = tokio::spawn(async move {
            if let Ok(running) = service.serve(far).await {
                let _ = running.waiting().await;
            }
        });
        let (read, write) = tokio::io::split(near);
        let mut wire = Self { read: BufReader::new(read), write, serving: serving.abort_handle() };
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } });
        wire.send(&hello.to_string()).await;
        wire.answer(0).await;
        wire.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        wire
    }

    async fn send(&mut self, line: &str) {
        self.write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The answer to a request, past whatever else comes.
    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.read.read_line(&mut line).await.unwrap() > 0, "the server hung up");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }
}

/// Stops a denied tool from being run by a message in a form that parsers read differently. The demo server behind the
/// guard runs whatever custom request reaches it, as a careless proxy would.
#[tokio::test]
async fn s11_no_form_of_a_message_runs_a_denied_tool() {
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let method = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"level4","arguments":{{}}}}}}"#)
    };
    let messages = [
        call(r#"{"name":"level4"}"#),
        call(r#"{"name":"level4","arguments":[]}"#),
        call(r#"{"name":"level4","arguments":""}"#),
        call(r#"{"name":"level4","arguments":null}"#),
        call(r#"{"name":"open","name":"level4"}"#),
        call(r#"{"Name":"level4"}"#),
        call(r#"{"name":["level4"]}"#),
        call(r#"{"name":"level4","task":{}}"#),
        call(r#"{"name":"level4","requestState":7}"#),
        call(r#"{"name":"level4","inputResponses":[],"requestState":"s"}"#),
        call(r#"{"name":"level4\u0000"}"#),
        call(r#"{"name":" level4"}"#),
        call(r#"{"name":"Level4"}"#),
        call(r#"{"name":"level\u0034"}"#),
        call(r#"{"name":"level4","_meta":{"capiscio_caller_badge":["x"]}}"#),
        call(r#"{"name":"level4","arguments":{"_meta":{"capiscio_caller_badge":"x"}}}"#),
        call(r#"[{"name":"level4"}]"#),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"level4"}}"#.to_owned(),
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"level4"}}]"#.to_owned(),
        method("tools\\/call"),
        method("tools/c\\u0061ll"),
        method("Tools/Call"),
        method("tools/call "),
        method("/tools/call"),
        method("//tools/call/"),
        method("tools/call\\u0000"),
        method("\\ufefftools/call"),
        method("tools\\uff0fcall"),
        method("notifications/tools/call"),
        method(&"x".repeat(MAX_METHOD_BYTES + 1)),
    ];
    let servers: [Serve; 2] = [
        |fixture| fixture.guard.layer(fixture.demo.clone()).into_dyn(),
        |fixture| raw(&fixture.guard, &fixture.demo).into_dyn(),
    ];
    for serve in servers {
        for message in &messages {
            let fixture = Fixture::with(|config| config.allow_custom_method("com.example/known"));
            let mut wire = Wire::open(serve(&fixture)).await;
            wire.send(message).await;
            wire.send(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"open"}}"#).await;
            let after = wire.answer(2).await;
            assert_eq!(after["result"]["content"][0]["text"], "open ran", "{message}: {after}");
            assert_eq!(after["result"].get("resultType"), None, "{message}");
            // Requests run concurrently: let the one in question finish, too.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let mut reached = fixture.demo.all_runs();
            assert_eq!(reached.remove("open"), Some(1), "{message}");
            assert!(reached.is_empty(), "{message}: {reached:?}");
        }
    }
}

/// A denial of ours has the shape that the revision knows, also where rmcp's own clean-up stands inside the guard.
#[tokio::test]
async fn a_denial_has_no_members_that_the_revision_does_not_know() {
    let fixture = Fixture::new();
    let mut wire = Wire::open(raw(&fixture.guard, &fixture.demo)).await;
    wire.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"level4"}}"#).await;
    let answer = wire.answer(1).await;
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(answer["result"].get("resultType"), None, "{answer}");
}
