//! Clients that have never heard of this crate: what is open to anybody works, and the rest says why it does not, to
//! people and models in words and to machines in `_meta`.

use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult, ProtocolVersion};
use rmcp_guard::evidence::EvidenceId;
use rmcp_guard::layer::guard::META_DENIAL;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tower::Layer as _;

use crate::common::{Credential, Fixture, Transport, demo};

/// What anybody may call and see: the open tools but those with a stricter requirement beside them.
fn open_tools() -> Vec<&'static str> {
    demo::OPEN_TOOLS.iter().copied().filter(|tool| !tool.starts_with("beside_")).collect()
}

/// All the others, one that no rule names and one that does not exist among them.
fn closed_tools() -> Vec<&'static str> {
    let others = ["beside_level3", "beside_broken", "member", "vip_job", "unlisted", "no_such_tool"];
    demo::LEVEL_TOOLS.iter().copied().chain(others).collect()
}

/// What a denied client holds in its hand, as the JSON that it got.
fn check_denial(name: &str, tool: &str, result: &Value, fixture: &Fixture) {
    assert_eq!(result["isError"], true, "{name}");
    let content = result["content"].as_array().unwrap();
    assert_eq!(content.len(), 1, "{name}");
    assert_eq!(content[0]["type"], "text", "{name}");
    let denial = &result["_meta"][META_DENIAL];
    let id = denial["evidence_id"].as_str().unwrap();
    assert!(id.parse::<EvidenceId>().is_ok(), "{name}: {id}");
    assert_eq!(
        content[0]["text"],
        format!(
            "Error executing tool {tool}: badge_missing: present a badge that this server trusts (evidence_id={id})"
        ),
        "{name}"
    );
    assert_eq!(denial["decision"], "deny", "{name}");
    assert_eq!(denial["reason"], "badge_missing", "{name}");
    assert_eq!(denial["auth_level"], "anonymous", "{name}");
    // The operator finds what the client was told.
    let recorded = fixture.records("decision").into_iter().find(|record| record["id"] == id);
    assert_eq!(recorded.expect(name)["capiscio.target"], tool, "{name}");
}

fn text(result: &CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}

#[tokio::test]
async fn a_stock_client_uses_open_tools_and_is_told_why_others_are_closed() {
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let client = server.connect(&version, Credential::none()).await;
        let peer = client.service.peer();
        let name = format!("{transport:?} {version}");

        let listed = peer.list_all_tools().await.unwrap();
        let listed: Vec<&str> = listed.iter().map(|tool| &*tool.name).collect();
        assert_eq!(listed, open_tools(), "{name}");

        let result = peer.call_tool(CallToolRequestParams::new("open")).await.unwrap();
        assert_eq!((text(&result), result.is_error), ("open ran", Some(false)), "{name}");
        for tool in closed_tools() {
            let result = peer.call_tool(CallToolRequestParams::new(tool)).await.unwrap();
            check_denial(&name, tool, &serde_json::to_value(&result).unwrap(), &fixture);
            assert_eq!(fixture.demo.runs(tool), 0, "{name} {tool}");
        }
        // The connection is as good as before.
        let result = peer.call_tool(CallToolRequestParams::new("fail")).await.unwrap();
        assert_eq!((text(&result), result.is_error), ("failed", Some(true)), "{name}");
        assert!(result.meta.is_none_or(|meta| meta.get(META_DENIAL).is_none()), "{name}: failing is no denial");
    }
}

/// A session written by hand: one JSON-RPC message a line, as on stdio, and no SDK.
struct Session {
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
    /// Goes into `params._meta` of each request.
    meta: Value,
    last_id: u64,
}

impl Session {
    /// Shakes hands in `version`: `initialize` before 2026-07-28, `server/discover` from then on.
    async fn open(fixture: &Fixture, version: &str) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let guarded = fixture.guard.layer(fixture.demo.clone());
        tokio::spawn(async move { guarded.serve(far).await.unwrap().waiting().await });
        let (read, write) = tokio::io::split(near);
        let mut session = Self { read: BufReader::new(read), write, meta: json!({}), last_id: 0 };
        let client = json!({ "name": "by hand", "version": "0" });
        if version < ProtocolVersion::V_2026_07_28.as_str() {
            let hello = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
            assert_eq!(session.request("initialize", hello).await["protocolVersion"], version);
            session.write_line(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        } else {
            session.meta = json!({
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": client,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            session.request("server/discover", json!({})).await;
        }
        session
    }

    async fn write_line(&mut self, message: &Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// The result of a request, past what the server says of its own accord.
    async fn request(&mut self, method: &str, mut params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        params["_meta"] = self.meta.clone();
        self.write_line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        loop {
            let mut line = String::new();
            assert_ne!(self.read.read_line(&mut line).await.unwrap(), 0, "the server hung up");
            let mut message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].take();
            }
        }
    }
}

#[tokio::test]
async fn a_session_written_by_hand_sees_what_a_stock_client_sees() {
    for version in ProtocolVersion::KNOWN_VERSIONS.iter().map(ProtocolVersion::as_str) {
        let fixture = Fixture::new();
        let mut session = Session::open(&fixture, version).await;

        let mut listed = Vec::new();
        let mut page = session.request("tools/list", json!({})).await;
        loop {
            let tools = page["tools"].as_array().unwrap();
            listed.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            let params = json!({ "cursor": cursor });
            page = session.request("tools/list", params).await;
        }
        assert_eq!(listed, open_tools(), "{version}");

        let result = session.request("tools/call", json!({ "name": "open", "arguments": {} })).await;
        assert_eq!(result["content"][0]["text"], "open ran", "{version}");
        for tool in closed_tools() {
            let result = session.request("tools/call", json!({ "name": tool })).await;
            check_denial(version, tool, &result, &fixture);
            assert_eq!(fixture.demo.runs(tool), 0, "{version} {tool}");
        }
    }
}
