//! The MCP server that is called: bare, guarded, and by the programs of crates/peers.

use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;

/// The tool that is called.
pub const TOOL: &str = "read_file";

/// An MCP server as a user would write it: one tool, its router built once.
#[derive(Clone, Debug)]
pub struct Files {
    router: Arc<ToolRouter<Self>>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Read {
    #[expect(dead_code, reason = "no file is read: what counts is the way there and back")]
    path: String,
    content: String,
}

#[tool_router]
impl Files {
    pub fn new() -> Self {
        Self { router: Arc::new(Self::tool_router()) }
    }

    /// Answers with the content that it was sent.
    #[tool]
    async fn read_file(&self, Parameters(read): Parameters<Read>) -> String {
        read.content
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Files {}
