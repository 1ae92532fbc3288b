//! The program, bare and verified, before an rmcp server that has no identity.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed step fails the test; its server runs beside it"
)]

use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::process::Command;

/// The arguments, and what of the caller's identity came along.
type Call = (Value, Vec<String>);

/// Remembers its calls.
#[derive(Clone, Default)]
struct Adder {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl ServerHandler for Adder {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"}).as_object().unwrap().clone();
        Ok(ListToolsResult { tools: vec![Tool::new("add_numbers", "adds", schema)], ..Default::default() })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let headers = &context.extensions.get::<Parts>().unwrap().headers;
        let names = headers.keys().map(ToString::to_string).chain(context.meta.keys().cloned());
        let ours = names.filter(|name| name.contains("capiscio") || name.contains("rmcp-guard")).collect();
        self.calls.lock().unwrap().push((json!(request.arguments), ours));
        Ok(CallToolResult::success(vec![ContentBlock::text("8")]).into())
    }
}

async fn serve(adder: Adder) -> String {
    let sessions = Arc::new(LocalSessionManager::default());
    let service =
        StreamableHttpService::new(move || Ok(adder.clone()), sessions, StreamableHttpServerConfig::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().nest_service("/mcp", service)).into_future());
    url
}

async fn play(mode: &str, scenario: &str, revision: &str, url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance-client"));
    command.args([mode, url]).env("MCP_CONFORMANCE_SCENARIO", scenario);
    command.env("MCP_CONFORMANCE_PROTOCOL_VERSION", revision).output().await.unwrap()
}

#[tokio::test]
async fn both_make_the_same_call_and_the_badge_ends_at_the_relay() {
    for revision in ["2025-11-25", "2026-07-28"] {
        let adder = Adder::default();
        let url = serve(adder.clone()).await;
        for mode in ["--bare", "--verified"] {
            let output = play(mode, "tools_call", revision, &url).await;
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{mode}, {revision}: {err}");
            if mode == "--verified" {
                let report: Value = serde_json::from_str(&out).unwrap();
                assert!(report["verified"].as_str().unwrap().starts_with("did:key:"), "{report}");
                assert!(report["others"].as_u64().unwrap() >= 2, "{report}");
            }
        }
        let call = (json!({"a": 5, "b": 3}), Vec::new());
        assert_eq!(*adder.calls.lock().unwrap(), [call.clone(), call], "{revision}");
    }
}

#[tokio::test]
async fn a_scenario_that_is_not_covered_is_named() {
    let output = play("--bare", "auth/basic-cimd", "2025-11-25", "http://127.0.0.1:9/mcp").await;
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: not covered: auth/basic-cimd\n");
}
