//! Streamable HTTP with an honest server.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp_guard::identity::server::{HttpOrigin, ServerErrorCode};
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{ClientConfigErrorKind, ConnectError, Lifecycle, VerifiedClient, denial_of};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::fixtures::{
    ISSUER, LIFECYCLES, Probe, Server, caller_badge, eventually, expecting, handshake_answer, issuer_jwks, meta_of, now,
};
use super::web::{Mode, Web, mcp};

/// Stops credentials from leaving early, twice, by the wrong way, or not at all: each request but the handshake has the
/// badge as one header, on every verb, since the server's session layer authenticates every verb.
#[tokio::test]
async fn s23_credentials_are_headers_of_single_requests_after_verification() {
    for mode in [Mode::Sessions, Mode::StatelessSse, Mode::StatelessJson] {
        for lifecycle in LIFECYCLES {
            let name = format!("{mode:?} {lifecycle:?}");
            let (server, probe, badge, web) = (Server::new(1), Probe::default(), caller_badge(), Web::start().await);
            web.become_(mcp(&server.identity(Some(&web.origin)), true, &probe, mode));
            let client = expecting(&server)
                .lifecycle(lifecycle)
                .badge(badge.as_str())
                .api_key("key-1")
                .connect_http(&web.url())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(client.server().origin().map(HttpOrigin::as_str), Some(web.origin.as_str()), "{name}");
            assert_eq!(client.list_all_tools().await.unwrap().len(), 1, "{name}");
            let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
            assert_eq!(result.is_error, Some(false), "{name}");
            let sessions = mode == Mode::Sessions && lifecycle == Lifecycle::Initialize;
            if sessions {
                let stream = || async { web.log().iter().any(|logged| logged.verb == "GET") };
                eventually(stream).await;
            }
            client.cancel().await.unwrap();

            for logged in web.log() {
                let what = format!("{name} {} {}", logged.verb, logged.method());
                assert!(!logged.body.to_string().contains("capiscio_caller"), "{what}: not twice");
                if logged.is_handshake() {
                    assert!(!logged.has_credential(), "{what}");
                } else {
                    assert_eq!(logged.headers.get_all("x-capiscio-badge").iter().count(), 1, "{what}");
                    assert_eq!(logged.header("x-capiscio-badge"), Some(badge.as_str()), "{what}");
                    assert_eq!(logged.header("x-capiscio-registry-key"), Some("key-1"), "{what}");
                }
            }
            assert_eq!(sessions, web.log().iter().any(|logged| logged.verb == "DELETE"), "{name}");
            assert!(web.log().iter().any(|logged| logged.method() == "tools/call"), "{name}");
        }
    }
}

/// A server that lost its sessions is verified again by a new challenge, and the call goes through.
#[tokio::test]
async fn an_expired_session_is_replaced_and_verified_anew() {
    let (server, probe, web) = (Server::new(1), Probe::default(), Web::start().await);
    let identity = server.identity(Some(&web.origin));
    web.become_(mcp(&identity, true, &probe, Mode::Sessions));
    let client = expecting(&server).badge(caller_badge()).connect_http(&web.url()).await.unwrap();
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();

    web.become_(mcp(&identity, true, &probe, Mode::Sessions));
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    assert_eq!(client.verification_failure(), None);

    let nonces: Vec<_> = web
        .log()
        .iter()
        .filter(|logged| logged.is_handshake())
        .map(|logged| logged.body["params"]["_meta"]["capiscio_pop_nonce"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(nonces.len(), 2);
    assert_ne!(nonces[0], nonces[1]);
    client.cancel().await.unwrap();
}

/// Stops a redirect from carrying a handshake, a call or a credential to another place.
#[tokio::test]
async fn s23_redirects_are_not_followed() {
    let (server, probe, badge) = (Server::new(1), Probe::default(), caller_badge());
    for status in [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ] {
        let (web, elsewhere) = (Web::start().await, Web::start().await);
        elsewhere.become_(mcp(&server.identity(Some(&web.origin)), false, &probe, Mode::StatelessJson));
        let target = elsewhere.url();
        let away = Router::new().fallback(move || {
            let target = target.clone();
            async move { (status, [(header::LOCATION, target)]).into_response() }
        });

        // at the handshake
        web.become_(away.clone());
        let builder = expecting(&server).badge(badge.as_str());
        let error = builder.connect_http(&web.url()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Transport(_)), "{status}: {error:?}");

        // and later, whatever redirect policy the application's HTTP client came with
        web.become_(mcp(&server.identity(Some(&web.origin)), false, &probe, Mode::StatelessJson));
        let follows = reqwest::Client::builder().redirect(reqwest::redirect::Policy::limited(5));
        let client =
            expecting(&server).badge(badge.as_str()).http_client(follows).connect_http(&web.url()).await.unwrap();
        web.become_(away);
        client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
        assert!(elsewhere.log().is_empty(), "{status}: nothing arrives at the target");
        client.cancel().await.unwrap();
    }
}

/// Stops credentials from crossing a network in the clear, and mistakes in the URL from being guessed around.
#[tokio::test]
async fn s23_the_url_is_https_or_this_machine() {
    let server = Server::new(1);
    let cases = [
        ("http://files.example.com/mcp", ClientConfigErrorKind::PlainHttp),
        ("http://127.0.0.1.example.com/mcp", ClientConfigErrorKind::PlainHttp),
        ("http://10.0.0.1/mcp", ClientConfigErrorKind::PlainHttp),
        ("https://user:secret@files.example.com/mcp", ClientConfigErrorKind::InvalidUrl),
        ("https://files.example.com/mcp#part", ClientConfigErrorKind::InvalidUrl),
        ("ftp://files.example.com/mcp", ClientConfigErrorKind::InvalidUrl),
        ("files.example.com/mcp", ClientConfigErrorKind::InvalidUrl),
        ("", ClientConfigErrorKind::InvalidUrl),
    ];
    for (url, want) in cases {
        match expecting(&server).connect_http(url).await.unwrap_err() {
            ConnectError::Config(error) => {
                assert_eq!(error.kind(), want, "{url}");
                assert!(!error.to_string().contains("secret"), "{error}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

/// Stops rmcp's own HTTP transport, which repeats handshakes below any wrapper, from being wrapped.
#[tokio::test]
async fn s23_http_connects_through_connect_http_alone() {
    use rmcp::transport::StreamableHttpClientTransport;
    let transport = StreamableHttpClientTransport::from_uri("http://127.0.0.1:1/mcp");
    let error = expecting(&Server::new(1)).connect_transport(transport).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(e) if e.kind() == ClientConfigErrorKind::HttpTransport), "{error:?}");
}

/// An HTTP server without an identity, and one that is down, are two different errors.
#[tokio::test]
async fn unreachable_and_unidentified_are_told_apart() {
    let issuer = || Issuer::jwks(ISSUER, &issuer_jwks()).unwrap();
    let builder = || VerifiedClient::builder().trusted_issuer(issuer()).insecure_no_revocation();

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let error = builder().connect_http(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)), "{error:?}");

    let web = Web::start().await;
    let server = Server::new(1);
    let app = mcp(&server.identity(Some(&web.origin)), false, &Probe::default(), Mode::Sessions);
    // an authorization server in front answers first
    let gate = Router::new().fallback(move |request: axum::extract::Request| {
        let app = app.clone();
        async move {
            if request.headers().contains_key(header::AUTHORIZATION) {
                return app.oneshot(request).await.unwrap();
            }
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer realm=\"mcp\"")]).into_response()
        }
    });
    web.become_(gate);
    let error = builder().connect_http(&web.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)), "{error:?}");
}

/// Stops an unverified server from asking the client anything in the stream that answers the handshake.
#[tokio::test]
async fn s22_requests_in_the_handshakes_stream_are_not_answered() {
    let (server, web) = (Server::new(1), Web::start().await);
    let identity = server.identity(Some(&web.origin));
    let app = Router::new().fallback(move |body: String| {
        let identity = identity.clone();
        async move {
            let message: Value = serde_json::from_str(&body).unwrap_or_default();
            let Some(answer) = handshake_answer(&message, || identity.disclose(meta_of(&message), now()).meta) else {
                return StatusCode::ACCEPTED.into_response();
            };
            let ask = json!({"jsonrpc": "2.0", "id": 100, "method": "example/ask"});
            let log =
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "x"}});
            let events: String = [ask, log, answer].map(|message| format!("data: {message}\n\n")).concat();
            ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
        }
    });
    web.become_(app);
    let client = expecting(&server).connect_http(&web.url()).await.unwrap();
    client.cancel().await.unwrap();
    assert!(web.log().iter().all(|logged| logged.body["id"] != 100), "nobody answered");
}

/// Stops a server from filling the client's memory with one answer.
#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let server = Server::new(1);
    for (content_type, start) in [("application/json", "{\"x\":\""), ("text/event-stream", "data: ")] {
        let web = Web::start().await;
        web.become_(Router::new().fallback(move || async move {
            let chunk = "x".repeat(1 << 20);
            let endless = futures_util::stream::iter(std::iter::once(start.to_owned()).chain(std::iter::repeat(chunk)))
                .map(Ok::<_, std::convert::Infallible>);
            ([(header::CONTENT_TYPE, content_type)], Body::from_stream(endless)).into_response()
        }));
        let error = expecting(&server).connect_http(&web.url()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Transport(_)), "{content_type}: {error:?}");
    }
}

#[tokio::test]
async fn denials_of_the_server_reach_the_program_as_results() {
    let (server, web) = (Server::new(1), Web::start().await);
    let identity = server.identity(Some(&web.origin));
    let app = Router::new().fallback(move |body: String| {
        let identity = identity.clone();
        async move {
            let message: Value = serde_json::from_str(&body).unwrap_or_default();
            let denied = json!({"jsonrpc": "2.0", "id": message["id"], "result": {
                "content": [{"type": "text", "text": "denied"}], "isError": true,
                "_meta": {"rmcp-guard/denial": {"reason": "trust_insufficient", "evidence_id": "e-1"}},
            }});
            let answer = match message["method"].as_str() {
                Some("tools/call") => Some(denied),
                _ => handshake_answer(&message, || identity.disclose(meta_of(&message), now()).meta),
            };
            match answer {
                Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response(),
                None => StatusCode::ACCEPTED.into_response(),
            }
        }
    });
    web.become_(app);
    let client = expecting(&server).connect_http(&web.url()).await.unwrap();
    let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    assert_eq!(denial_of(&result).unwrap().to_string(), "trust_insufficient (evidence_id=e-1)");
    client.cancel().await.unwrap();
}

/// Stops a proxy, of the environment or of the application's HTTP client, from being handed a credential in the clear.
#[tokio::test]
async fn s23_plain_http_goes_through_no_proxy() {
    let (server, web, proxy) = (Server::new(1), Web::start().await, Web::start().await);
    web.become_(mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::StatelessJson));
    let proxied = reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy.origin).unwrap());
    let builder = expecting(&server).badge(caller_badge()).http_client(proxied);
    let client = builder.connect_http(&web.url()).await.unwrap();
    client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    client.cancel().await.unwrap();
    assert!(proxy.log().is_empty());
}

/// Stops a refusal of `server/discover` over HTTP from leading to an `initialize` that nobody verifies, or from leading
/// there at all when it says something else than "I do not know that".
#[tokio::test]
async fn falling_back_over_http_is_verified_or_does_not_happen() {
    enum Want {
        Connected,
        Identity(ServerErrorCode),
        Transport,
    }
    let text = |status: StatusCode| move || (status, "no such method").into_response();
    let json = |status: StatusCode| {
        let error = json!({"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "bad"}});
        move || (status, [(header::CONTENT_TYPE, "application/json")], error.to_string()).into_response()
    };
    type Refuse = Box<dyn Fn() -> axum::response::Response + Send + Sync>;
    let cases: [(&str, Refuse, bool, Want); 6] = [
        ("400 in plain text", Box::new(text(StatusCode::BAD_REQUEST)), true, Want::Connected),
        ("404", Box::new(text(StatusCode::NOT_FOUND)), true, Want::Connected),
        ("400 with an error of another id", Box::new(json(StatusCode::BAD_REQUEST)), true, Want::Connected),
        (
            "400 of a server without identity",
            Box::new(text(StatusCode::BAD_REQUEST)),
            false,
            Want::Identity(ServerErrorCode::IdentityMissing),
        ),
        ("401", Box::new(text(StatusCode::UNAUTHORIZED)), true, Want::Transport),
        ("503", Box::new(text(StatusCode::SERVICE_UNAVAILABLE)), true, Want::Transport),
    ];
    for (name, refuse, identified, want) in cases {
        let (server, web) = (Server::new(1), Web::start().await);
        let legacy = if identified {
            mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::Sessions)
        } else {
            let answer = |body: String| async move {
                let message: Value = serde_json::from_str(&body).unwrap_or_default();
                let answer = handshake_answer(&message, serde_json::Map::new).unwrap();
                ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
            };
            Router::new().fallback(answer)
        };
        let refuse = Arc::new(refuse);
        web.become_(Router::new().fallback(move |request: axum::extract::Request| {
            let (legacy, refuse) = (legacy.clone(), Arc::clone(&refuse));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                if bytes.windows(15).any(|text| text == b"server/discover") {
                    return refuse();
                }
                legacy.oneshot(axum::extract::Request::from_parts(parts, Body::from(bytes))).await.unwrap()
            }
        }));
        let builder = expecting(&server).lifecycle(Lifecycle::Auto).badge(caller_badge());
        match (builder.connect_http(&web.url()).await, &want) {
            (Ok(client), Want::Connected) => {
                client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
                client.cancel().await.unwrap();
            }
            (Err(ConnectError::Identity(error)), Want::Identity(code)) => assert_eq!(error.code(), *code, "{name}"),
            (Err(ConnectError::Transport(_)), Want::Transport) => {}
            (got, _) => panic!("{name}: {got:?}"),
        }
        if !matches!(want, Want::Connected) {
            assert!(web.log().iter().all(|logged| logged.is_handshake() && !logged.has_credential()), "{name}");
        }
        if matches!(want, Want::Transport) {
            assert_eq!(web.log().len(), 1, "{name}: no `initialize` follows");
        }
    }
}
