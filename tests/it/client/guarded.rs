//! The client and the guard, each at its end of the same connection.

use std::sync::Arc;

use axum::Router;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::BadgeRequest;
use rmcp_guard::identity::server::ServerIdentity;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{Lifecycle, VerifiedClient, denial_of};
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::layer::identity::IdentityLayer;
use rmcp_guard::policy::{DenyReason, ToolRequirement};
use tower::ServiceBuilder;

use super::fixtures::{ISSUER, LIFECYCLES, Probe, Server, eventually, expecting, issuer, issuer_jwks, now};
use super::web::{Logged, Web};

const AUDIENCE: &str = "https://echo.example.com";

pub(crate) fn badge() -> String {
    let caller = Server::new(90);
    let request = BadgeRequest::new(caller.did, caller.key.public_key(), TrustLevel::Registered).audience(AUDIENCE);
    issuer(200).issue(&request, now()).unwrap()
}

pub(crate) fn guard() -> GuardLayer {
    let config = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::jwks(ISSUER, &issuer_jwks()).unwrap())
        .insecure_no_revocation()
        .tool("echo", ToolRequirement::min_trust(TrustLevel::Registered))
        .evidence(EvidenceLog::in_memory())
        .build()
        .unwrap();
    GuardLayer::new(config)
}

/// Everything that a guarded server has around it; it answers to its public name and to the loopback address.
pub(crate) fn app(identity: &ServerIdentity, guard: &GuardLayer) -> Router {
    app_with(IdentityLayer::new(identity.clone()), guard)
}

pub(crate) fn app_with(identity: IdentityLayer, guard: &GuardLayer) -> Router {
    let stack = ServiceBuilder::new().layer(identity.clone()).layer(guard.clone()).service(Probe::default());
    let sessions: Arc<LocalSessionManager> = Arc::default();
    let config = StreamableHttpServerConfig::default().with_allowed_hosts(["127.0.0.1", "files.example.test"]);
    let mcp = StreamableHttpService::new(move || Ok(stack.clone()), sessions, config);
    Router::new().nest_service("/mcp", ServiceBuilder::new().layer(identity).layer(guard.session_layer()).service(mcp))
}

/// The same call twice: refused without the badge, with a reason that can be read, and allowed with it.
async fn denied_then_allowed(without: VerifiedClient, with: VerifiedClient, name: &str) {
    let denied = without.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    let denial = denial_of(&denied).unwrap_or_else(|| panic!("{name}: {denied:?}"));
    assert_eq!(denial.known_reason(), Some(DenyReason::BadgeMissing), "{name}");
    assert!(denial.evidence_id().is_some(), "{name}");
    without.cancel().await.unwrap();

    let allowed = with.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    assert_eq!(allowed.is_error, Some(false), "{name}: {allowed:?}");
    assert_eq!(with.list_all_tools().await.unwrap().len(), 1, "{name}");
    with.cancel().await.unwrap();
}

#[tokio::test]
async fn a_guarded_server_over_a_pipe() {
    for lifecycle in LIFECYCLES {
        let (server, guard) = (Server::new(1), guard());
        let connect = async |badge: Option<String>| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let stack = ServiceBuilder::new().layer(IdentityLayer::new(server.identity(None))).layer(guard.clone());
            let service = stack.service(Probe::default());
            tokio::spawn(async move { service.serve(theirs).await.unwrap().waiting().await });
            let (read, write) = tokio::io::split(ours);
            let builder = expecting(&server).lifecycle(lifecycle);
            let builder = match badge {
                Some(badge) => builder.badge(badge),
                None => builder,
            };
            builder.connect_io(read, write).await.unwrap()
        };
        denied_then_allowed(connect(None).await, connect(Some(badge())).await, &format!("{lifecycle:?}")).await;
    }
}

#[tokio::test]
async fn a_guarded_server_over_http() {
    for lifecycle in LIFECYCLES {
        let (server, guard, web) = (Server::new(1), guard(), Web::start().await);
        web.become_(app(&server.identity(Some(&web.origin)), &guard));
        let builder = || expecting(&server).lifecycle(lifecycle);
        let without = builder().connect_http(&web.url()).await.unwrap();
        let with = builder().badge(badge()).connect_http(&web.url()).await.unwrap();
        denied_then_allowed(without, with, &format!("{lifecycle:?}")).await;
    }
}

/// Stops a client from losing its own session: once it belongs to a caller, every verb has to say who is there.
#[tokio::test]
async fn s15_the_owner_keeps_its_session_on_every_verb() {
    let (server, guard, web) = (Server::new(1), guard(), Web::start().await);
    web.become_(app(&server.identity(Some(&web.origin)), &guard));
    let builder = expecting(&server).lifecycle(Lifecycle::Initialize).badge(badge());
    let client = builder.connect_http(&web.url()).await.unwrap();
    for _ in 0..3 {
        client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    }
    eventually(|| async { web.log().iter().any(|logged| logged.verb == "GET") }).await;
    client.cancel().await.unwrap();
    let log = web.log();
    assert_eq!(log.iter().filter(|logged| logged.is_handshake()).count(), 1, "the session never expired");
    let session = |logged: &Logged| logged.header("mcp-session-id").map(str::to_owned);
    let sessions: std::collections::HashSet<_> = log.iter().filter_map(session).collect();
    assert_eq!(sessions.len(), 1);
    assert!(log.iter().any(|logged| logged.verb == "DELETE"));
}
