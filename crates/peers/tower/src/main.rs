//! tower-mcp as one of the servers that are measured: `peer-tower FORM TRANSPORT`.
//!
//! `bare` is its server with one tool, `guard` has its `GuardLayer` around the tool, and `key` its `AuthLayer` with an API
//! key besides.

#[path = "../../listen.rs"]
mod listen;

use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tower_mcp::auth::{ApiKeyValidator, AuthLayer};
use tower_mcp::tool::ToolRequest;
use tower_mcp::transport::HttpTransport;
use tower_mcp::{CallToolResult, McpRouter, StdioTransport, ToolBuilder};

const TOOL: &str = "read_file";

#[derive(Deserialize, JsonSchema)]
struct Read {
    #[expect(dead_code, reason = "no file is read: what counts is the way there and back")]
    path: String,
    content: String,
}

fn router(guarded: bool) -> McpRouter {
    let tool = ToolBuilder::new(TOOL)
        .description("Answers with the content that it was sent.")
        .handler(|read: Read| async move { Ok(CallToolResult::text(read.content)) });
    let allowed: Arc<HashSet<String>> = Arc::new(["list_files".to_owned(), TOOL.to_owned()].into());
    // a guard is not told which tool it stands around
    let guard = move |_: &ToolRequest| if allowed.contains(TOOL) { Ok(()) } else { Err("not allowed".to_owned()) };
    let tool = if guarded { tool.guard(guard).build() } else { tool.build() };
    McpRouter::new().server_info("peer", "0").tool(tool)
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, transport] = arguments.as_slice() else { panic!("FORM TRANSPORT") };
    let router = router(form != "bare");
    match (form.as_str(), transport.as_str()) {
        ("bare" | "guard", "Stdio") => StdioTransport::new(router).run().await.unwrap(),
        ("bare" | "guard", "HttpJson2026") => listen::serve(HttpTransport::new(router).into_router_at("/mcp")).await,
        ("key", "HttpJson2026") => {
            let key = "peer-key-1".to_owned();
            println!("{key}");
            let app = HttpTransport::new(router).into_router_at("/mcp");
            listen::serve(app.layer(AuthLayer::new(ApiKeyValidator::new([key])))).await;
        }
        _ => panic!("no {form} over {transport}"),
    }
}
