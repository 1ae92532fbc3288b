//! The guarded server as a client sees it that knows nothing of badges: rmcp's own.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::policy::ToolRequirement;
use rmcp_guard::test_util::TestIssuer;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn guarded() -> (TempDir, GuardedServer, EvidenceLog) {
    let root = TempDir::new().unwrap();
    std::fs::write(root.path().join("hello.txt"), "hello").unwrap();
    let issuer = TestIssuer::new().unwrap();
    let evidence = EvidenceLog::in_memory();
    let config = GuardConfig::builder()
        .audience("https://files.example.com")
        .trusted_issuer(issuer.issuer().unwrap())
        .insecure_no_revocation()
        .tool("list_directory", ToolRequirement::anonymous())
        .tool("read_file", ToolRequirement::min_trust(TrustLevel::Registered))
        .evidence(evidence.clone())
        .clock(issuer.clock())
        .build()
        .unwrap();
    let server = GuardedServer::new(FilesystemServer::new(root.path()).unwrap(), config);
    (root, server, evidence)
}

/// Anonymous tools work, and the others say readably what is missing; a caller without a badge cannot tell a tool that
/// needs one from a tool without a rule or one that does not exist.
async fn use_it(client: &RunningService<RoleClient, ()>) {
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["list_directory"]);

    let listed = client.call_tool(CallToolRequestParams::new("list_directory")).await.unwrap();
    assert_eq!(listed.structured_content.unwrap()["entries"][0]["name"], "hello.txt");

    for tool in ["read_file", "delete_path", "no_such_tool"] {
        let arguments = json!({"path": "hello.txt"}).as_object().unwrap().clone();
        let denied = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap();
        assert_eq!(denied.is_error, Some(true), "{tool}");
        let text = &denied.content[0].as_text().unwrap().text;
        assert!(
            text.contains(tool) && text.contains("badge_missing") && text.contains("evidence_id="),
            "{tool}: {text}"
        );
    }
}

#[tokio::test]
async fn over_byte_streams() {
    let (root, server, evidence) = guarded();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    let client = async {
        let client = ().serve(ours).await.unwrap();
        use_it(&client).await;
        client.cancel().await.unwrap();
    };
    let (ended, ()) = tokio::join!(server.serve_io(read, write, std::future::pending()), client);
    ended.unwrap();
    assert!(root.path().join("hello.txt").exists());
    let records = evidence.records().unwrap();
    assert_eq!(records.iter().filter(|record| record["capiscio.decision"] == "DENY").count(), 3);
}

async fn over_http(stateless: bool, work: impl AsyncFnOnce(&RunningService<RoleClient, ()>)) {
    let (_root, server, _evidence) = guarded();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let mut options = HttpOptions::default();
    options.stateless = stateless;
    let (stop, stopped) = oneshot::channel::<()>();
    let client = async {
        let client = ().serve(StreamableHttpClientTransport::from_uri(url)).await.unwrap();
        work(&client).await;
        client.cancel().await.unwrap();
        drop(stop);
    };
    let shutdown = async {
        let _ = stopped.await;
    };
    let (ended, ()) = tokio::join!(server.serve_http(listener, options, shutdown), client);
    ended.unwrap();
}

#[tokio::test]
async fn over_http_with_sessions_and_without() {
    for stateless in [false, true] {
        over_http(stateless, async |client| use_it(client).await).await;
    }
}
