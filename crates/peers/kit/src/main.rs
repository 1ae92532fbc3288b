//! rmcp-server-kit as one of the servers that are measured: `peer-kit FORM TRANSPORT`.
//!
//! `hooks` is its `HookedHandler` around the tool, on rmcp's own transport: a role policy is asked before each call, a hook
//! is told after it. `server` is its own HTTP server without a check; `guarded` is that server with an API key, the role
//! policy, and the hooks.

#[path = "../../../bench/src/files.rs"]
mod files;
#[path = "../../listen.rs"]
mod listen;

use std::sync::Arc;

use axum::Router;
use files::{Files, TOOL};
use rmcp::model::ErrorData;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ServerHandler, ServiceExt as _};
use rmcp_server_kit::auth::{ApiKeyEntry, AuthConfig, generate_api_key};
use rmcp_server_kit::rbac::{RbacConfig, RbacDecision, RbacPolicy, RoleConfig};
use rmcp_server_kit::tool_hooks::{AfterHook, BeforeHook, HookOutcome, HookedHandler, ToolHooks, with_hooks};
use rmcp_server_kit::transport::{McpServerConfig, serve_with_listener};

const ROLE: &str = "reader";

fn policy() -> Arc<RbacPolicy> {
    let role = RoleConfig::new(ROLE, vec!["list_files".into(), TOOL.into()], vec!["*".into()]);
    Arc::new(RbacPolicy::new(&RbacConfig::with_roles(vec![role])))
}

/// The tool with a hook before each call that asks the policy, and one after it that does nothing.
fn hooked() -> HookedHandler<Files> {
    let policy = policy();
    let before: BeforeHook = Arc::new(move |call| {
        let role = call.role.as_deref().unwrap_or(ROLE);
        let outcome = match policy.check_operation(role, &call.tool_name) {
            RbacDecision::Allow => HookOutcome::Continue,
            _ => HookOutcome::Deny(ErrorData::invalid_request("not allowed", None)),
        };
        Box::pin(std::future::ready(outcome))
    });
    let after: AfterHook = Arc::new(|_, _, _| Box::pin(std::future::ready(())));
    let hooks = ToolHooks::new().with_max_result_bytes(4 << 20).with_before(before).with_after(after);
    with_hooks(Files::new(), Arc::new(hooks))
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, transport] = arguments.as_slice() else { panic!("FORM TRANSPORT") };
    match (form.as_str(), transport.as_str()) {
        ("hooks", "Stdio") => {
            let serving = hooked().serve(rmcp::transport::stdio()).await.unwrap();
            serving.waiting().await.unwrap();
        }
        ("hooks", "HttpJson2026") => {
            let hooked = hooked();
            let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
            let sessions = Arc::<LocalSessionManager>::default();
            let service = StreamableHttpService::new(move || Ok(hooked.clone()), sessions, config);
            listen::serve(Router::new().nest_service("/mcp", service)).await;
        }
        ("server", "HttpJson2026") => {
            let files = Files::new();
            own_server(move || files.clone(), |config| config).await;
        }
        ("guarded", "HttpJson2026") => {
            let (key, hash) = generate_api_key().unwrap();
            let hooked = hooked();
            let auth = AuthConfig::with_keys(vec![ApiKeyEntry::new("agent", hash, ROLE)]);
            println!("{key}");
            own_server(move || hooked.clone(), |config| config.with_auth(auth).with_rbac(policy())).await;
        }
        _ => panic!("no {form} over {transport}"),
    }
}

/// The HTTP server that comes with rmcp-server-kit.
async fn own_server<H: ServerHandler + 'static>(
    handler: impl Fn() -> H + Send + Sync + Clone + 'static,
    change: impl FnOnce(McpServerConfig) -> McpServerConfig,
) {
    let listener = listen::bind().await;
    let address = listener.local_addr().unwrap().to_string();
    let config = change(McpServerConfig::new(address, "peer", "0")).validate().unwrap();
    listen::tell(&listener);
    tokio::spawn(async move { serve_with_listener(listener, config, handler, None, None).await });
    listen::until_left().await;
}
