//! What happens when somebody else begins to answer at the URL of a verified server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse as _;
use rmcp::model::{CallToolRequestParams, ClientRequest, PingRequest};
use rmcp_guard::identity::server::ServerErrorCode;
use rmcp_guard::layer::client::{VerificationFailure, VerifiedClient};
use rmcp_guard::layer::headers::SERVER_DID;
use tower::ServiceExt as _;

use super::fixtures::{Probe, Server, caller_badge, expecting};
use super::web::{Logged, Mode, Web, mcp};

/// Loses the session of the first request, then `next` answers.
pub(crate) fn losing_the_session(next: Router) -> Router {
    let lost = Arc::new(AtomicBool::new(false));
    Router::new().fallback(move |request: Request| {
        let (next, lost) = (next.clone(), Arc::clone(&lost));
        async move {
            if request.method() == "POST" && !lost.swap(true, Ordering::SeqCst) {
                return StatusCode::NOT_FOUND.into_response();
            }
            if request.headers().contains_key("mcp-session-id") && request.method() == "GET" {
                return StatusCode::NOT_FOUND.into_response();
            }
            next.oneshot(request).await.unwrap()
        }
    })
}

/// A verified client, and what the URL received since `next` took it over.
async fn take_over(server: &Server, web: &Web, next: Router) -> (VerifiedClient, usize) {
    web.become_(mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::Sessions));
    let client = expecting(server).badge(caller_badge()).connect_http(&web.url()).await.unwrap();
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    super::fixtures::eventually(|| async { web.log().iter().any(|logged| logged.verb == "GET") }).await;
    let before = web.log().len();
    web.become_(losing_the_session(next));
    (client, before)
}

/// Everything after the request that found the session gone.
fn after_the_loss(web: &Web, before: usize) -> Vec<Logged> {
    let log = web.log();
    let lost = log.iter().skip(before).position(|logged| logged.method() == "tools/call").unwrap();
    log.into_iter().skip(before).skip(lost).skip(1).collect()
}

/// Stops whoever takes over the URL of a server that lost its sessions from getting the badge and the call, which rmcp
/// would repeat after a handshake that it does not show to anybody.
#[tokio::test]
async fn s23_a_silent_handshake_with_an_impostor_releases_nothing() {
    let (server, thief, web) = (Server::new(1), Server::new(2), Web::start().await);
    let probe = Probe::default();
    // the DID and the badge of the real server, which are public, and a proof by another key
    let identity = rmcp_guard::identity::server::ServerIdentity::builder(thief.did.clone(), Arc::clone(&thief.key))
        .badge(super::fixtures::AnyBadge(thief.badge()))
        .origin(web.origin.as_str())
        .build()
        .unwrap();
    let (client, before) = take_over(&server, &web, mcp(&identity, true, &probe, Mode::Sessions)).await;

    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    match client.verification_failure() {
        Some(VerificationFailure::Identity(error)) => assert_eq!(error.code(), ServerErrorCode::DidUnexpected),
        other => panic!("{other:?}"),
    }
    // final: nothing leaves any more
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    client.cancel().await.unwrap();
    let log = after_the_loss(&web, before);
    assert_eq!(log.iter().map(Logged::method).collect::<Vec<_>>(), ["initialize"]);
    assert!(log.iter().all(|logged| !logged.has_credential()));
    assert_eq!(probe.seen(), []);
}

/// Stops an impostor without any identity in the same place.
#[tokio::test]
async fn s23_a_silent_handshake_without_identity_releases_nothing() {
    let (server, web, probe) = (Server::new(1), Web::start().await, Probe::default());
    let service = rmcp::transport::StreamableHttpService::new(
        {
            let probe = probe.clone();
            move || Ok(probe.clone())
        },
        Arc::new(rmcp::transport::streamable_http_server::session::local::LocalSessionManager::default()),
        rmcp::transport::StreamableHttpServerConfig::default(),
    );
    let (client, before) = take_over(&server, &web, Router::new().nest_service("/mcp", service)).await;
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    match client.verification_failure() {
        Some(VerificationFailure::Identity(error)) => assert_eq!(error.code(), ServerErrorCode::IdentityMissing),
        other => panic!("{other:?}"),
    }
    client.cancel().await.unwrap();
    assert!(after_the_loss(&web, before).iter().all(|logged| logged.is_handshake() && !logged.has_credential()));
    assert_eq!(probe.seen(), []);
}

/// Stops one trusted server from taking the place of another during a connection: the application looked at the first.
#[tokio::test]
async fn s23_another_trusted_server_is_another_server() {
    let (server, second, web) = (Server::new(1), Server::new(2), Web::start().await);
    let probe = Probe::default();
    web.become_(mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::Sessions));
    let builder = expecting(&server).expect_did(second.did.as_str()).badge(caller_badge());
    let client = builder.connect_http(&web.url()).await.unwrap();
    web.become_(losing_the_session(mcp(&second.identity(Some(&web.origin)), true, &probe, Mode::Sessions)));
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    assert_eq!(client.verification_failure(), Some(VerificationFailure::IdentityChanged));
    assert_eq!(client.server().did(), &server.did, "the one that was verified");
    client.cancel().await.unwrap();
    assert_eq!(probe.seen(), []);
}

/// Stops a server that names itself in its headers from being exchanged between two requests.
#[tokio::test]
async fn s25_a_response_in_another_name_ends_the_trust() {
    let (server, second, web) = (Server::new(1), Server::new(2), Web::start().await);
    let probe = Probe::default();
    web.become_(mcp(&server.identity(Some(&web.origin)), true, &probe, Mode::StatelessJson));
    let builder = expecting(&server).expect_did(second.did.as_str());
    let client = builder.connect_http(&web.url()).await.unwrap();
    web.become_(mcp(&second.identity(Some(&web.origin)), true, &probe, Mode::StatelessJson));
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    assert_eq!(client.verification_failure(), Some(VerificationFailure::IdentityChanged));
    let calls = probe.seen().len();
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    assert_eq!(probe.seen().len(), calls, "the second call does not leave");
    client.cancel().await.unwrap();
}

/// The same for the stream of a session, which brings requests and notifications of the server to the application.
#[tokio::test]
async fn s25_a_stream_in_another_name_ends_the_trust() {
    let (server, second, web) = (Server::new(1), Server::new(2), Web::start().await);
    let app = mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::Sessions);
    let other = HeaderValue::from_str(second.did.as_str()).unwrap();
    web.become_(Router::new().fallback(move |request: Request| {
        let (app, other) = (app.clone(), other.clone());
        async move {
            let stream = request.method() == "GET";
            let mut response = app.oneshot(request).await.unwrap();
            if stream {
                response.headers_mut().insert(SERVER_DID, other);
            }
            response
        }
    }));
    let client = expecting(&server).badge(caller_badge()).connect_http(&web.url()).await.unwrap();
    let changed = Some(VerificationFailure::IdentityChanged);
    super::fixtures::eventually(|| async { client.verification_failure() == changed }).await;
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    client.cancel().await.unwrap();
}

/// Stops whoever answers after a session is lost from being called without a handshake. One that is refused or breaks
/// proves nothing either way: the client stays locked, and the next call tries again.
#[tokio::test]
async fn a_handshake_that_comes_to_nothing_changes_nothing() {
    let (server, web, probe) = (Server::new(1), Web::start().await, Probe::default());
    let down = Router::new().fallback(|| async { StatusCode::SERVICE_UNAVAILABLE });
    let (client, before) = take_over(&server, &web, down).await;
    for _ in 0..2 {
        // the second call does not leave either: whoever answers now has not been verified
        client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    }
    // a ping may leave, and brings nothing with it
    client.send_request(ClientRequest::PingRequest(PingRequest::default())).await.unwrap_err();
    assert_eq!(client.verification_failure(), None);
    let log = after_the_loss(&web, before);
    assert!(log.iter().any(|logged| logged.method() == "ping"));
    assert!(log.iter().all(|logged| logged.is_handshake() || logged.method() == "ping"));
    assert!(log.iter().all(|logged| !logged.has_credential()));

    web.become_(mcp(&server.identity(Some(&web.origin)), true, &probe, Mode::Sessions));
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    assert_eq!(probe.seen().len(), 1);
    client.cancel().await.unwrap();
}
