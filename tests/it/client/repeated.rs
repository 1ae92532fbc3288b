//! Handshakes that are repeated on an open connection and come to no end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, Implementation, ProtocolVersion, RequestMetaObject};
use rmcp_guard::identity::did::{Did, DidDocument};
use rmcp_guard::identity::resolve::{DidDocumentSource, MaybeReady, ResolveError};
use rmcp_guard::identity::server::ServerErrorCode;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{Lifecycle, VerificationFailure};
use serde_json::json;

use super::fixtures::{ISSUER, Probe, Server, caller_badge, expecting, issuer_jwks};
use super::takeover::losing_the_session;
use super::web::{Mode, Web, mcp};

const LIMIT: Duration = Duration::from_secs(3);

fn discover_meta() -> RequestMetaObject {
    RequestMetaObject::with_client_context(
        ProtocolVersion::LATEST,
        Implementation::from_build_env(),
        ClientCapabilities::default(),
    )
}

/// Has the document once; after that nobody answers.
#[derive(Debug)]
struct Once {
    document: Arc<DidDocument>,
    asked: AtomicBool,
}

impl DidDocumentSource for Once {
    fn document<'a>(&'a self, _did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        if self.asked.swap(true, Ordering::SeqCst) {
            return MaybeReady::Wait(Box::pin(std::future::pending()));
        }
        MaybeReady::ready(Ok(Arc::clone(&self.document)))
    }
}

/// Stops a source that hangs from holding a connection, with every call on it, for good.
#[tokio::test]
async fn a_second_verification_that_does_not_end_ends_the_connection() {
    let server = Server::named(1, "did:web:files.example.test");
    let document = json!({
        "id": server.did.as_str(),
        "verificationMethod": [{
            "id": "#key-1", "type": "JsonWebKey2020", "controller": server.did.as_str(),
            "publicKeyJwk": server.key.public_key().to_jwk(),
        }],
        "authentication": ["#key-1"],
    });
    let document = Arc::new(DidDocument::parse(&server.did, document.to_string().as_bytes()).unwrap());
    let (read, write) = tokio::io::split(super::stdio::serve(&server, &Probe::default()));
    let client = expecting(&server)
        .trusted_issuer(Issuer::jwks(ISSUER, &issuer_jwks()).unwrap().subjects(["did:web:*"]).unwrap())
        .did_documents(Arc::new(Once { document, asked: AtomicBool::new(false) }))
        .lifecycle(Lifecycle::Discover)
        .handshake_timeout(LIMIT)
        .connect_io(read, write)
        .await
        .unwrap();
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    tokio::time::timeout(LIMIT * 3, client.discover(discover_meta())).await.unwrap().unwrap_err();
    assert_eq!(client.verification_failure(), Some(VerificationFailure::TimedOut(LIMIT)));
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
}

/// Stops whoever takes over a URL from blocking the client, and every call to come, by not answering its handshake.
#[tokio::test]
async fn a_repeated_handshake_that_nobody_answers_ends() {
    let (server, web, probe) = (Server::new(1), Web::start().await, Probe::default());
    let honest = || mcp(&server.identity(Some(&web.origin)), true, &probe, Mode::Sessions);
    web.become_(honest());
    let builder = expecting(&server).badge(caller_badge()).handshake_timeout(LIMIT);
    let client = builder.connect_http(&web.url()).await.unwrap();
    web.become_(losing_the_session(Router::new().fallback(std::future::pending::<()>)));
    let call = || tokio::time::timeout(LIMIT * 3, client.call_tool(CallToolRequestParams::new("echo")));
    call().await.unwrap().unwrap_err();
    assert_eq!(client.verification_failure(), None, "nobody was there to be distrusted");
    assert!(probe.seen().is_empty());
    // and the client is usable when the server is back
    web.become_(honest());
    call().await.unwrap().unwrap();
    client.cancel().await.unwrap();
}

/// Stops what an impostor says about itself from reaching the application, when it asks the server once more who it is.
#[tokio::test]
async fn s21_an_unverified_answer_to_a_repeated_discover_is_not_delivered() {
    let (server, thief, web) = (Server::new(1), Server::new(2), Web::start().await);
    web.become_(mcp(&server.identity(Some(&web.origin)), false, &Probe::default(), Mode::StatelessJson));
    let builder = expecting(&server).lifecycle(Lifecycle::Discover).badge(caller_badge());
    let client = builder.connect_http(&web.url()).await.unwrap();
    web.become_(mcp(&thief.identity(Some(&web.origin)), false, &Probe::default(), Mode::StatelessJson));
    client.discover(discover_meta()).await.unwrap_err();
    match client.verification_failure() {
        Some(VerificationFailure::Identity(error)) => assert_eq!(error.code(), ServerErrorCode::DidUnexpected),
        other => panic!("{other:?}"),
    }
    client.cancel().await.unwrap();
}
