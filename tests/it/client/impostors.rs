//! HTTP servers that are not who they say they are.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use rmcp_guard::identity::server::ServerErrorCode;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::layer::client::{ConnectError, VerificationFailure};
use rmcp_guard::layer::headers::{SERVER_BADGE, SERVER_DID};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::fixtures::{LIFECYCLES, Probe, Server, caller_badge, expecting, handshake_answer, meta_of, now};
use super::web::{Mode, Web, mcp};

/// `app` with its responses changed.
fn responding(app: Router, change: impl Fn(&mut Response) + Clone + Send + Sync + 'static) -> Router {
    Router::new().fallback(move |request: Request| {
        let (app, change) = (app.clone(), change.clone());
        async move {
            let mut response = app.oneshot(request).await.unwrap();
            change(&mut response);
            response
        }
    })
}

/// Passes every request on to the real server, with its JSON changed.
fn relaying(real: &Web, change: impl Fn(&mut Value) + Clone + Send + Sync + 'static) -> Router {
    let (target, http) = (real.url(), reqwest::Client::new());
    Router::new().fallback(move |request: Request| {
        let (target, http, change) = (target.clone(), http.clone(), change.clone());
        async move {
            let (parts, body) = request.into_parts();
            let mut message: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
            change(&mut message);
            let mut headers = parts.headers;
            headers.remove("host");
            headers.remove("content-length");
            let answer =
                http.request(parts.method, target).headers(headers).body(message.to_string()).send().await.unwrap();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            response.headers_mut().remove("content-length");
            response.headers_mut().remove("transfer-encoding");
            *response.body_mut() = Body::from(answer.bytes().await.unwrap());
            response
        }
    })
}

/// Stops an impostor that hands our nonce to the real server and the real server's proof to us.
#[tokio::test]
async fn s19_a_relayed_proof_does_not_count() {
    let (server, probe) = (Server::new(1), Probe::default());
    let (real, impostor) = (Web::start().await, Web::start().await);
    real.become_(mcp(&server.identity(Some(&real.origin)), true, &probe, Mode::StatelessJson));
    let origin = real.origin.clone();
    let cases = [
        // the real server signs its own origins only, so no bound proof comes back
        ("as it is", relaying(&real, |_| {}), ServerErrorCode::PopMissing),
        // and a bound proof that was asked for in its name is not about the URL that we dialled
        (
            "with the origin changed",
            relaying(&real, move |message| {
                if let Some(meta) = message["params"]["_meta"].as_object_mut() {
                    meta.insert("rmcp-guard/pop-origin".to_owned(), json!(origin));
                }
            }),
            ServerErrorCode::PopFailed,
        ),
    ];
    for (name, app, want) in cases {
        impostor.become_(app);
        for lifecycle in LIFECYCLES {
            let builder = expecting(&server).lifecycle(lifecycle).badge(caller_badge());
            match builder.connect_http(&impostor.url()).await.unwrap_err() {
                ConnectError::Identity(error) => assert_eq!(error.code(), want, "{name} {lifecycle:?}"),
                other => panic!("{name} {lifecycle:?}: {other:?}"),
            }
        }
    }
    assert!(impostor.log().iter().all(|logged| logged.is_handshake() && !logged.has_credential()));
    // the real server itself is fine
    expecting(&server).connect_http(&real.url()).await.unwrap().cancel().await.unwrap();
}

/// Stops a proxy from putting another identity beside the server's: both places are read, compared, and verified.
#[tokio::test]
async fn s25_header_and_meta_identity_are_compared_and_both_verified() {
    let (server, other) = (Server::new(1), Server::new(2));
    let web = Web::start().await;
    let header = |text: &str| HeaderValue::from_str(text).unwrap();
    let (other_did, real_did) = (header(other.did.as_str()), header(server.did.as_str()));
    let (renewed, foreign) = (header(&server.badge()), header(&server.badge_with(201, TrustLevel::Registered, now())));
    type Change = Box<dyn Fn(&mut Response) + Send + Sync>;
    let cases: [(&str, Change, Option<ServerErrorCode>); 4] = [
        (
            "another DID",
            Box::new(move |response| drop(response.headers_mut().insert(SERVER_DID, other_did.clone()))),
            Some(ServerErrorCode::DidMismatch),
        ),
        (
            "the DID twice",
            Box::new(move |response| {
                response.headers_mut().append(SERVER_DID, real_did.clone());
            }),
            Some(ServerErrorCode::DisclosureMalformed),
        ),
        (
            "a badge of a forged issuer",
            Box::new(move |response| drop(response.headers_mut().insert(SERVER_BADGE, foreign.clone()))),
            Some(ServerErrorCode::BadgeInvalid),
        ),
        (
            "a renewed badge",
            Box::new(move |response| drop(response.headers_mut().insert(SERVER_BADGE, renewed.clone()))),
            None,
        ),
    ];
    for (name, change, want) in cases {
        let app = mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::StatelessJson);
        let change = std::sync::Arc::new(change);
        web.become_(responding(app, move |response| change(response)));
        match (expecting(&server).badge(caller_badge()).connect_http(&web.url()).await, want) {
            (Ok(client), None) => drop(client.cancel().await.unwrap()),
            (Err(ConnectError::Identity(error)), Some(want)) => assert_eq!(error.code(), want, "{name}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

/// Stops a proven answer to one request from counting for another, and an answer of another kind from counting at all.
#[tokio::test]
async fn an_answer_over_http_is_the_answer_to_its_request() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 2] = [
        ("another id", |answer| answer["id"] = json!(77)),
        ("another kind", |answer| answer["result"] = json!({"tools": []})),
    ];
    for (name, change) in cases {
        let (server, web) = (Server::new(1), Web::start().await);
        let identity = server.identity(Some(&web.origin));
        web.become_(Router::new().fallback(move |body: String| {
            let identity = identity.clone();
            async move {
                let message: Value = serde_json::from_str(&body).unwrap();
                let mut answer =
                    handshake_answer(&message, || identity.disclose(meta_of(&message), now()).meta).unwrap();
                change(&mut answer);
                ([("content-type", "application/json")], answer.to_string())
            }
        }));
        let error = expecting(&server).badge(caller_badge()).connect_http(&web.url()).await.unwrap_err();
        let ConnectError::Protocol(error) = error else { panic!("{name}: {error:?}") };
        let want = VerificationFailure::UnexpectedHandshake.to_string();
        assert_eq!(error.to_string(), want, "{name}: refused before rmcp sees it");
        assert!(web.log().iter().all(|logged| logged.is_handshake() && !logged.has_credential()), "{name}");
    }
}
