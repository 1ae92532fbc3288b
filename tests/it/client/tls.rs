//! https with `did:web`: the name in the DID, in the URL and in the certificate are one.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::ClientBuilder;
use rmcp::model::CallToolRequestParams;
use rmcp_guard::identity::server::{ServerErrorCode, ServerIdentity, ServerState};
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{
    ClientConfigErrorKind, ConnectError, VerifiedClient, VerifiedClientBuilder, denial_of,
};
use rmcp_guard::policy::DenyReason;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use super::fixtures::{ISSUER, LIFECYCLES, Server, issuer_jwks};
use super::guarded::{app, badge, guard};
use super::web::Web;

const HOST: &str = "files.example.test";

/// A certificate authority for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Listens on this machine with a certificate for `host`.
    async fn listen(&self, host: &str) -> (Tls, u16) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        (Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) }, port)
    }

    /// An HTTP client that trusts this authority and finds `host` on this machine.
    fn http(&self, host: &str) -> ClientBuilder {
        let root = reqwest::Certificate::from_der(self.0.der()).unwrap();
        ClientBuilder::new().tls_certs_only([root]).resolve(host, SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, peer) = self.tcp.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            // clients that do not trust the certificate go away here
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A guarded server behind TLS whose DID is made from its port, and the authority of its certificate.
async fn start(did: Name, bound_proof: bool) -> (Authority, Server, Web) {
    let authority = Authority::new();
    let (listener, port) = authority.listen(HOST).await;
    let server = Server::named(1, &did(port));
    let web = Web::serve(listener, format!("https://{HOST}:{port}"));
    web.become_(app(&server.identity(bound_proof.then_some(web.origin.as_str())), &guard()));
    (authority, server, web)
}

/// A DID made from the server's port.
type Name = fn(u16) -> String;

fn own_name(port: u16) -> String {
    format!("did:web:{HOST}%3A{port}")
}

/// A client that trusts the registry for every server and pins none.
fn anybody() -> VerifiedClientBuilder {
    let issuer = Issuer::jwks(ISSUER, &issuer_jwks()).unwrap().subjects(["did:key", "did:web:*"]).unwrap();
    VerifiedClient::builder().trusted_issuer(issuer).insecure_no_revocation()
}

fn code_of(outcome: Result<VerifiedClient, ConnectError>, name: &str) -> ServerErrorCode {
    match outcome {
        Err(ConnectError::Identity(error)) => error.code(),
        other => panic!("{name}: {other:?}"),
    }
}

/// The server was asked for a handshake and for nothing else, and got no credential.
fn only_handshakes(web: &Web) -> bool {
    !web.log().is_empty() && web.log().iter().all(|logged| logged.is_handshake() && !logged.has_credential())
}

/// The way of production: TLS shows the host, the DID names it, the registry vouches for the DID. Without a pin, by the
/// proof of capiscio-mcp's servers as well as by ours.
#[tokio::test]
async fn a_did_web_is_verified_by_its_origin() {
    for bound_proof in [false, true] {
        for lifecycle in LIFECYCLES {
            let name = format!("{lifecycle:?}, bound proof: {bound_proof}");
            let (authority, server, web) = start(own_name, bound_proof).await;
            let builder = || anybody().lifecycle(lifecycle).http_client(authority.http(HOST));
            let client = builder().badge(badge()).connect_http(&web.url()).await;
            let client = client.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let verified = client.server();
            assert_eq!(verified.did(), &server.did, "{name}");
            assert_eq!(verified.state(), ServerState::VerifiedPrincipal, "{name}");
            assert!(verified.pop_verified() && verified.origin_bound(), "{name}");
            assert_eq!(verified.origin().unwrap().as_str(), web.origin, "{name}");
            let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
            assert_eq!(result.is_error, Some(false), "{name}: {result:?}");
            client.cancel().await.unwrap();

            let client = builder().connect_http(&web.url()).await.unwrap();
            let denied = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
            assert_eq!(denial_of(&denied).unwrap().known_reason(), Some(DenyReason::BadgeMissing), "{name}");
            client.cancel().await.unwrap();
        }
    }
}

/// The DID of one service on a shared host: its path is part of the name.
#[tokio::test]
async fn a_did_web_with_a_path_is_verified_at_that_path() {
    let (authority, server, web) = start(|port| format!("{}:mcp", own_name(port)), false).await;
    let client = anybody().http_client(authority.http(HOST)).connect_http(&web.url()).await.unwrap();
    assert_eq!(client.server().did(), &server.did);
    assert!(client.server().origin_bound());
    client.cancel().await.unwrap();
}

/// Stops any other server that the registry vouches for from answering in the place that was dialled.
#[tokio::test]
async fn s20_a_did_web_of_another_place_is_refused() {
    let cases: [(&str, Name, ServerErrorCode); 6] = [
        ("another host", |port| format!("did:web:mail.example.test%3A{port}"), ServerErrorCode::OriginMismatch),
        ("a host below", |port| format!("did:web:a.{HOST}%3A{port}"), ServerErrorCode::OriginMismatch),
        ("another port", |port| format!("did:web:{HOST}%3A{}", port ^ 1), ServerErrorCode::OriginMismatch),
        ("the default port", |_| format!("did:web:{HOST}"), ServerErrorCode::OriginMismatch),
        ("another path", |port| format!("{}:other", own_name(port)), ServerErrorCode::PathMismatch),
        ("a path below", |port| format!("{}:mcp:tenant", own_name(port)), ServerErrorCode::PathMismatch),
    ];
    for (name, did, want) in cases {
        for bound_proof in [false, true] {
            let (authority, server, web) = start(did, bound_proof).await;
            let builder = || anybody().badge(badge()).http_client(authority.http(HOST));
            assert_eq!(code_of(builder().connect_http(&web.url()).await, name), want, "{name}");
            // a pin says which server, not that it may answer elsewhere
            let pinned = builder().expect_did(server.did.as_str());
            assert_eq!(code_of(pinned.connect_http(&web.url()).await, name), want, "{name}, pinned");
            assert!(only_handshakes(&web), "{name}");
        }
    }
}

/// Stops a server without a place in its name from being anybody's server at any URL.
#[tokio::test]
async fn s20_a_did_key_needs_a_pin_over_tls_too() {
    let (authority, server, web) = start(|_| Server::new(1).did.to_string(), true).await;
    let builder = || anybody().badge(badge()).http_client(authority.http(HOST));
    assert_eq!(code_of(builder().connect_http(&web.url()).await, "no pin"), ServerErrorCode::OriginUnbound);
    assert!(only_handshakes(&web));
    let client = builder().expect_did(server.did.as_str()).connect_http(&web.url()).await.unwrap();
    assert!(client.server().pop_verified() && !client.server().origin_bound());
    client.cancel().await.unwrap();

    // and a proof that names no origin is not enough there: it could be a relayed one
    let (authority, server, web) = start(|_| Server::new(1).did.to_string(), false).await;
    let builder = anybody().badge(badge()).http_client(authority.http(HOST)).expect_did(server.did.as_str());
    assert_eq!(code_of(builder.connect_http(&web.url()).await, "bare proof"), ServerErrorCode::PopMissing);
    assert!(only_handshakes(&web));
}

/// Stops the same name without TLS from being the same server: whoever is on the way would answer.
#[tokio::test]
async fn s23_the_same_name_without_tls_is_refused() {
    let (authority, server, web) = start(own_name, true).await;
    let plain = web.url().replace("https:", "http:");
    let error = anybody().http_client(authority.http(HOST)).connect_http(&plain).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(e) if e.kind() == ClientConfigErrorKind::PlainHttp), "{error:?}");
    assert!(web.log().is_empty());

    // plain http on this machine is dialled, and binds no name
    let local = Web::start().await;
    local.become_(app(&server.identity(Some(&local.origin)), &guard()));
    let pinned = || anybody().badge(badge()).expect_did(server.did.as_str());
    assert_eq!(code_of(pinned().connect_http(&local.url()).await, "loopback"), ServerErrorCode::OriginMismatch);
    // not even where development is allowed to bind it: the name is another
    let development = pinned().dangerous_loopback_http();
    assert_eq!(code_of(development.connect_http(&local.url()).await, "development"), ServerErrorCode::OriginMismatch);
    assert!(only_handshakes(&local));
}

/// Stops somebody on the way with a certificate of their own making from even seeing the handshake.
#[tokio::test]
async fn s19_an_untrusted_certificate_gets_no_handshake() {
    let (_, _, web) = start(own_name, true).await;
    let cases = [
        ("of another authority", Authority::new().http(HOST)),
        ("of no authority in the system", ClientBuilder::new().resolve(HOST, ([127, 0, 0, 1], 0).into())),
    ];
    for (name, http) in cases {
        let error = anybody().badge(badge()).http_client(http).connect_http(&web.url()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Transport(_)), "{name}: {error:?}");
    }
    // a trusted one for another name
    let authority = Authority::new();
    let (listener, port) = authority.listen("mail.example.test").await;
    let other = Web::serve(listener, format!("https://{HOST}:{port}"));
    let builder = anybody().badge(badge()).http_client(authority.http(HOST));
    let error = builder.connect_http(&other.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)), "{error:?}");
    assert!(web.log().is_empty() && other.log().is_empty(), "nothing was said");
}

/// Hands every request on to the real server, as `change` has made it, and its answer back.
fn relay(to: &Web, http: reqwest::Client, change: impl Fn(&mut Value) + Clone + Send + Sync + 'static) -> Router {
    let target = to.url();
    Router::new().fallback(move |request: Request| {
        let (http, target, change) = (http.clone(), target.clone(), change.clone());
        async move {
            let (parts, body) = request.into_parts();
            let mut message: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
            change(&mut message);
            let mut headers = parts.headers;
            headers.remove("host");
            headers.remove("content-length");
            let answer =
                http.request(parts.method, target).headers(headers).body(message.to_string()).send().await.unwrap();
            let mut response = Response::builder().status(answer.status());
            for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
                response = response.header(name, value);
            }
            response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        }
    })
}

/// Stops an impostor with a good certificate for its own host: it hands our nonce to the real server and that server's
/// proof to us. The name that TLS shows is not the name in the DID, and the origin in the proof is not the one dialled.
#[tokio::test]
async fn s19_a_relayed_proof_does_not_count_over_tls() {
    const IMPOSTOR: &str = "files.example.test.evil.test";
    let to_key: Name = |_| Server::new(1).did.to_string();
    let cases: [(&str, Name, bool, bool, ServerErrorCode); 5] = [
        ("did:web, bare proof", own_name, false, false, ServerErrorCode::OriginMismatch),
        ("did:web, bound proof", own_name, true, true, ServerErrorCode::OriginMismatch),
        ("did:key, bare proof", to_key, false, false, ServerErrorCode::PopMissing),
        ("did:key, our origin is not signed", to_key, true, false, ServerErrorCode::PopMissing),
        ("did:key, proof for the real origin", to_key, true, true, ServerErrorCode::PopFailed),
    ];
    for (name, did, bound_proof, ask_in_its_name, want) in cases {
        let (authority, server, real) = start(did, bound_proof).await;
        let (listener, port) = authority.listen(IMPOSTOR).await;
        let impostor = Web::serve(listener, format!("https://{IMPOSTOR}:{port}"));
        let http = authority.http(HOST).build().unwrap();
        let origin = real.origin.clone();
        impostor.become_(relay(&real, http, move |message| {
            if ask_in_its_name {
                message["params"]["_meta"]["rmcp-guard/pop-origin"] = json!(origin);
            }
        }));
        for lifecycle in LIFECYCLES {
            let builder = anybody().expect_did(server.did.as_str()).lifecycle(lifecycle).badge(badge());
            let outcome = builder.http_client(authority.http(IMPOSTOR)).connect_http(&impostor.url()).await;
            assert_eq!(code_of(outcome, name), want, "{name} {lifecycle:?}");
        }
        assert!(only_handshakes(&impostor) && only_handshakes(&real), "{name}");
    }
}

/// Stops a host that was honest from being replaced by another of the same name: DNS moved, the certificate is good, the
/// key behind the DID is not there.
#[tokio::test]
async fn s21_the_right_name_without_the_key_is_refused() {
    let (authority, server, web) = start(own_name, true).await;
    let thief = Server::named(2, server.did.as_str());
    // the real server's public badge, proofs by another key
    let identity = ServerIdentity::builder(thief.did.clone(), Arc::clone(&thief.key))
        .badge(super::fixtures::AnyBadge(server.badge()))
        .origin(web.origin.as_str())
        .build()
        .unwrap();
    web.become_(app(&identity, &guard()));
    let builder = anybody().badge(badge()).http_client(authority.http(HOST));
    assert_eq!(code_of(builder.connect_http(&web.url()).await, "thief"), ServerErrorCode::PopFailed);
    assert!(only_handshakes(&web));
}
