//! A hostile or broken issuer costs bounded time and memory, lets nobody in, and holds up nobody else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, header};
use axum::serve::Listener;
use base64::Engine as _;
use futures_util::{StreamExt as _, stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rmcp_guard::identity::badge::BadgeErrorKind;
use rmcp_guard::identity::fetch::{FetchErrorKind, Fetcher};
use rmcp_guard::identity::jwks::MAX_JWKS_BYTES;
use rmcp_guard::identity::remote::RemoteKeys;
use rmcp_guard::identity::resolve::KeySource as _;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use super::world::{Host, JWKS, PATIENCE, badge, clock, fetcher, issuer, key, remote, trusting, verify, with_type};

const CHUNK: &[u8] = &[b' '; 64 * 1024];

/// Spaces, which may precede any JSON text, without end.
fn endless() -> Response<Body> {
    let chunks = stream::repeat_with(|| Ok::<_, Infallible>(CHUNK));
    with_type("application/json", Body::from_stream(chunks))
}

/// One space every 20 ms: each read succeeds, and the whole never ends.
fn slow() -> Response<Body> {
    let spaces = stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(" ")
    });
    with_type("application/json", Body::from_stream(spaces))
}

fn redirect() -> Response<Body> {
    Response::builder().status(302).header(header::LOCATION, "/elsewhere").body(Body::empty()).unwrap()
}

fn huge() -> Response<Body> {
    with_type("application/json", vec![b' '; MAX_JWKS_BYTES + 1])
}

/// A key set as good as any other, under another type.
fn as_type(media: &'static str) -> impl Fn() -> Response<Body> + Clone {
    let set = json!({"keys": [key(1, "a").jwk()]}).to_string();
    move || with_type(media, set.clone())
}

/// Its own attacks, one per row: see the names.
#[tokio::test]
async fn a_hostile_issuer_lets_nobody_in_and_holds_up_nobody() {
    type Page = Box<dyn Fn() -> Response<Body> + Send + Sync>;
    let cases: Vec<(&str, Page, FetchErrorKind)> = vec![
        ("endless", Box::new(endless), FetchErrorKind::TooLarge),
        ("slow drip", Box::new(slow), FetchErrorKind::Timeout),
        ("huge", Box::new(huge), FetchErrorKind::TooLarge),
        ("a page", Box::new(|| with_type("text/html", "<html>")), FetchErrorKind::ContentType),
        ("keys as text", Box::new(as_type("text/plain")), FetchErrorKind::ContentType),
        ("keys as a script", Box::new(as_type("application/javascript")), FetchErrorKind::ContentType),
        ("an error in a 200", Box::new(|| with_type("application/json", r#"{"error":"down"}"#)), FetchErrorKind::Body),
        ("a lone key", Box::new(|| with_type("application/json", key(1, "a").jwk().to_string())), FetchErrorKind::Body),
        (
            "one name twice",
            Box::new(|| with_type("application/json", r#"{"keys":[],"keys":[]}"#)),
            FetchErrorKind::Body,
        ),
        ("redirect", Box::new(redirect), FetchErrorKind::Redirect),
    ];
    for (name, page, want) in cases {
        let (bad, good, clock) = (Host::start().await, Host::start().await, clock());
        bad.put(JWKS, page);
        for each in [&good, &bad] {
            each.put("/elsewhere", as_type("application/json"));
        }
        good.publish(&[&key(1, "a")]);
        let patient =
            Fetcher::builder().dangerous_allow_loopback().timeout(Duration::from_millis(500)).build().unwrap();
        let hostile = RemoteKeys::new(&bad.origin(), patient).with_clock(clock.clone());
        let verifier = trusting(issuer(&bad.origin(), hostile.clone()))
            .issuer(issuer(&good.origin(), remote(&good, &clock)))
            .build();
        let (waiting, prompt) = (badge(&bad.origin(), &key(1, "a")), badge(&good.origin(), &key(1, "a")));
        let (refused, accepted) = tokio::join!(verify(&verifier, &waiting), async {
            for _ in 0..10 {
                verify(&verifier, &prompt).await?;
            }
            Ok::<_, BadgeErrorKind>(())
        });
        assert_eq!(refused, Err(BadgeErrorKind::KeysUnavailable), "{name}");
        assert_eq!(accepted, Ok(()), "{name}");
        assert_eq!(hostile.refresh().await.map_err(|error| error.kind()), Err(want), "{name}");
        assert_eq!(hostile.health().last_error, Some(want.as_str()), "{name}");
        assert_eq!(bad.hits("/elsewhere"), 0, "{name}");
    }
}

#[tokio::test]
async fn both_types_of_a_key_set_count() {
    let clock = clock();
    for media in ["application/json", "application/jwk-set+json", "Application/JSON; charset=utf-8"] {
        let host = Host::start().await;
        host.put(JWKS, as_type(media));
        let verifier = trusting(issuer(&host.origin(), remote(&host, &clock))).build();
        verify(&verifier, &badge(&host.origin(), &key(1, "a"))).await.unwrap();
    }
}

/// HTTP's cache rules would let an issuer pin a leaked key for a year, or have itself asked with every call.
#[tokio::test]
async fn cache_control_changes_nothing() {
    for rule in ["max-age=31536000, immutable", "no-store", "max-age=0"] {
        let (host, clock) = (Host::start().await, clock());
        let page = as_type("application/json");
        host.put(JWKS, move || {
            let mut page = page();
            page.headers_mut().insert(header::CACHE_CONTROL, rule.parse().unwrap());
            page
        });
        let keys = remote(&host, &clock);
        for _ in 0..5 {
            keys.keys(None).await.unwrap();
        }
        assert_eq!(host.hits(JWKS), 1, "{rule}");
        clock.advance(Duration::from_secs(301));
        keys.keys(None).await.unwrap();
        assert_eq!(host.hits(JWKS), 2, "{rule}");
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
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// The same key set over https: from a host that shows its certificate, one whose certificate has expired, and one that
/// shows another's.
#[tokio::test]
async fn an_issuer_counts_under_its_own_valid_certificate_only() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let root = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::engine::general_purpose::STANDARD.encode(authority.der()),
    );
    let trusted = || Fetcher::builder().dangerous_allow_loopback().add_root_certificate_pem(root.as_bytes());
    let stranger = || Fetcher::builder().dangerous_allow_loopback();
    let cases = [
        ("valid", "localhost", (2040, 1, 1), trusted(), Ok(())),
        ("expired", "localhost", (2020, 1, 1), trusted(), Err(FetchErrorKind::Tls)),
        ("of another host", "registry.example.com", (2040, 1, 1), trusted(), Err(FetchErrorKind::Tls)),
        ("of an authority that is not trusted", "localhost", (2040, 1, 1), stranger(), Err(FetchErrorKind::Tls)),
    ];
    for (name, host, (year, month, day), fetcher, want) in cases {
        let server_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2010, 1, 1), date_time_ymd(year, month, day));
        let certificate = params.signed_by(&server_key, &authority).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(server_key.serialize_der().into()))
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
        let page = as_type("application/json");
        let app = Router::new().fallback(move || async move { page() });
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

        let keys = RemoteKeys::new(&origin, fetcher.build().unwrap()).with_clock(clock());
        let refreshed = tokio::time::timeout(PATIENCE, keys.refresh()).await.unwrap();
        assert_eq!(refreshed.map_err(|error| error.kind()), want, "{name}");
        let verifier = trusting(issuer(&origin, keys)).build();
        let verdict = verify(&verifier, &badge(&origin, &key(1, "a"))).await;
        assert_eq!(verdict, want.map_err(|_| BadgeErrorKind::KeysUnavailable), "{name}");
        server.abort();
    }
}

/// Plain http, and names that are not this machine's, are for development; the default fetcher asks nobody there.
#[tokio::test]
async fn the_default_fetcher_asks_no_machine_of_its_own_network() {
    let host = Host::start().await;
    host.publish(&[&key(1, "a")]);
    for origin in [host.origin(), format!("http://127.0.0.1:{}", host.port), format!("https://localhost:{}", host.port)]
    {
        let keys = RemoteKeys::new(&origin, Fetcher::new().unwrap()).with_clock(clock());
        let verifier = trusting(issuer(&origin, keys)).build();
        let verdict = verify(&verifier, &badge(&origin, &key(1, "a"))).await;
        assert_eq!(verdict, Err(BadgeErrorKind::KeysUnavailable), "{origin}");
    }
    assert_eq!(host.all_hits(), 0);
    let allowed = RemoteKeys::new(&host.origin(), fetcher()).with_clock(clock());
    allowed.refresh().await.unwrap();
}
