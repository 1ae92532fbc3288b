//! The fetcher against real servers on this machine: what a hostile one can send, and what it gets to know.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use futures_util::future::join_all;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

const JSON: &[&str] = &["application/json"];
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
/// Short, for what has to time out; nothing else comes near the default.
const SHORT: Duration = Duration::from_millis(300);

/// What one server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    written: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// What a server does after it has read a request.
#[derive(Clone)]
enum Answer {
    /// Sends this, and closes the connection if it says so.
    Bytes(Vec<u8>),
    /// Sends this, then the other again and again, with a pause.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// Sends nothing and keeps the connection.
    Silence,
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

async fn server(answer: impl Into<Answer>) -> (u16, Arc<Seen>) {
    listen(answer.into(), None).await
}

/// A server on 127.0.0.1 until the test's runtime ends.
async fn listen(answer: Answer, tls: Option<TlsAcceptor>) -> (u16, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    Handle::current().spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let (answer, tls, seen) = (answer.clone(), tls.clone(), Arc::clone(&shared));
            Handle::current().spawn(async move {
                match tls {
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(stream) => converse(stream, answer, &seen).await,
                        Err(error) => Err(error),
                    },
                    None => converse::<TcpStream>(tcp, answer, &seen).await,
                }
            });
        }
    });
    (port, seen)
}

async fn converse<S>(mut stream: S, answer: Answer, seen: &Seen) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        seen.requests.lock().unwrap().push(String::from_utf8(request).unwrap());
        match &answer {
            Answer::Bytes(bytes) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                if !bytes.starts_with(OK.as_bytes()) {
                    return stream.shutdown().await;
                }
            }
            Answer::Endless(head, part, pause) => {
                stream.write_all(head).await?;
                loop {
                    stream.write_all(part).await?;
                    stream.flush().await?;
                    seen.written.fetch_add(part.len(), Ordering::SeqCst);
                    tokio::time::sleep(*pause).await;
                }
            }
            Answer::Silence => std::future::pending().await,
        }
    }
}

fn local() -> Fetcher {
    Fetcher::builder().dangerous_allow_loopback().build().unwrap()
}

async fn kind(fetcher: &Fetcher, url: &str, max_bytes: usize) -> Option<FetchErrorKind> {
    fetcher.get(url, JSON, max_bytes).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn an_answer_arrives_and_the_request_says_no_more_than_it_must() {
    let (port, seen) = server(OK).await;
    let url = format!("http://127.0.0.1:{port}/v1/x?y=z");
    let fetcher = local();
    let mut request = FetchRequest::get(&url).accept(JSON);
    request.headers.push(("x-capiscio-registry-key", Zeroizing::new("secret".to_owned())));
    let response = fetcher.send(request).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"{}".as_slice()));
    assert!(!format!("{response:?}").contains("{}"), "a body may be a badge");

    let text = seen.requests.lock().unwrap()[0].to_ascii_lowercase();
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    lines.sort_unstable();
    let agent = concat!("user-agent: rmcp-guard/", env!("CARGO_PKG_VERSION"));
    let host = format!("host: 127.0.0.1:{port}");
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: application/json",
            "get /v1/x?y=z http/1.1",
            host.as_str(),
            agent,
            "x-capiscio-registry-key: secret",
        ]
    );
}

#[tokio::test]
async fn a_header_or_body_of_the_callers_arrives() {
    let (port, seen) = server(OK).await;
    let url = format!("http://localhost:{port}/");
    let mut request = FetchRequest::new(FetchMethod::Post, &url).accept(JSON);
    request.json = Some(Zeroizing::new(b"{}\r\n\r\n".to_vec()));
    assert_eq!(local().send(request).await.unwrap().status, 200);
    let text = seen.requests.lock().unwrap()[0].clone();
    assert!(text.starts_with("POST / HTTP/1.1\r\n") && text.contains("content-type: application/json\r\n"), "{text}");
    assert!(text.contains("content-length: 6\r\n"), "{text}");

    let mut request = FetchRequest::get(&url);
    request.headers.push(("x-capiscio-registry-key", Zeroizing::new("a\r\nhost: b".to_owned())));
    assert_eq!(local().send(request).await.unwrap_err().kind(), FetchErrorKind::Request);
}

#[tokio::test]
async fn each_hostile_answer_has_its_kind() {
    use FetchErrorKind::{Body, ContentType, Redirect, Status, TooLarge};
    let json = "content-type: application/json\r\n";
    let many = "x: y\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(600_000));
    let chunk = format!("{:x}\r\n{}\r\n", 4096, "a".repeat(4096));
    let cases = [
        (
            "moved to the metadata service",
            "HTTP/1.1 301 M\r\nlocation: http://169.254.169.254/\r\n\r\n".to_owned(),
            Redirect,
        ),
        ("found, to itself", "HTTP/1.1 302 F\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".into(), Redirect),
        ("see other", "HTTP/1.1 303 S\r\nlocation: https://example.com/\r\n\r\n".into(), Redirect),
        ("temporary redirect", "HTTP/1.1 307 T\r\nlocation: file:///etc/passwd\r\n\r\n".into(), Redirect),
        ("permanent redirect", "HTTP/1.1 308 P\r\nlocation: //127.0.0.1\r\n\r\n".into(), Redirect),
        ("redirect to nowhere", "HTTP/1.1 302 F\r\n\r\n".into(), Redirect),
        ("a page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>".into(), ContentType),
        ("no type", "HTTP/1.1 200 OK\r\n\r\n{}".into(), ContentType),
        ("two types", format!("HTTP/1.1 200 OK\r\n{json}{json}\r\n{{}}"), ContentType),
        ("a long body, announced", format!("HTTP/1.1 200 OK\r\n{json}content-length: 1025\r\n\r\n"), TooLarge),
        (
            "a huge body, announced",
            format!("HTTP/1.1 200 OK\r\n{json}content-length: 18446744073709551615\r\n\r\n"),
            Body,
        ),
        (
            "a long body, in chunks",
            format!("HTTP/1.1 200 OK\r\n{json}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}"),
            TooLarge,
        ),
        ("a long body, until the end", format!("HTTP/1.1 200 OK\r\n{json}\r\n{}", "a".repeat(1025)), TooLarge),
        ("compressed", format!("HTTP/1.1 200 OK\r\n{json}content-encoding: gzip\r\n\r\nx"), Body),
        ("broken off", format!("HTTP/1.1 200 OK\r\n{json}content-length: 100\r\n\r\n{{"), Body),
        ("a bad chunk", format!("HTTP/1.1 200 OK\r\n{json}transfer-encoding: chunked\r\n\r\nzz\r\n"), Body),
        ("two lengths", format!("HTTP/1.1 200 OK\r\n{json}content-length: 1\r\ncontent-length: 2\r\n\r\n{{}}"), Body),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n".into(), Body),
        ("nothing", String::new(), Body),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{many}{json}\r\n{{}}"), Body),
        ("a long header", format!("HTTP/1.1 200 OK\r\n{long}{json}\r\n{{}}"), Body),
        ("not found, as a page", "HTTP/1.1 404 N\r\ncontent-type: text/html\r\n\r\n<html>".into(), Status(404)),
        ("an error, with a long body", format!("HTTP/1.1 500 E\r\n{json}\r\n{}", "a".repeat(100_000)), Status(500)),
        ("an error, broken off", format!("HTTP/1.1 503 U\r\n{json}content-length: 9\r\n\r\n{{"), Status(503)),
        ("nothing new", "HTTP/1.1 304 N\r\n\r\n".into(), Status(304)),
        ("no content", "HTTP/1.1 204 N\r\n\r\n".into(), Status(204)),
        ("accepted", format!("HTTP/1.1 202 A\r\n{json}content-length: 2\r\n\r\n{{}}"), Status(202)),
    ];
    let fetcher = local();
    for (name, answer, want) in cases {
        let (port, seen) = server(answer.as_str()).await;
        let got = kind(&fetcher, &format!("http://127.0.0.1:{port}/"), 1024).await;
        assert_eq!(got, Some(want), "{name}");
        assert_eq!(seen.connections.load(Ordering::SeqCst), 1, "{name}: asked once, and never again elsewhere");
    }
}

#[tokio::test]
async fn an_error_keeps_its_status_its_message_and_its_advice() {
    let answer = "HTTP/1.1 429 T\r\ncontent-type: application/json\r\nretry-after: 7\r\n\
                  date: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 13\r\n\r\n{\"error\":\"x\"}";
    let (port, _) = server(answer).await;
    let url = format!("http://127.0.0.1:{port}/");
    let response = local().send(FetchRequest::get(&url).accept(JSON)).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (429, br#"{"error":"x"}"#.as_slice()));
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(response.date, Some(crate::clock::UnixSeconds::new(784_111_777)));
}

#[tokio::test]
async fn an_errors_message_is_short_or_left_out() {
    let fetcher = local();
    for (length, want) in [(MAX_ERROR_BODY_BYTES, MAX_ERROR_BODY_BYTES), (MAX_ERROR_BODY_BYTES + 1, 0)] {
        let head = "HTTP/1.1 500 E\r\ncontent-type: application/json\r\n\r\n";
        let (port, _) = server(format!("{head}{}", "a".repeat(length)).as_str()).await;
        let url = format!("http://127.0.0.1:{port}/");
        let response = fetcher.send(FetchRequest::get(&url).accept(JSON).max_bytes(1 << 20)).await.unwrap();
        assert_eq!((response.status, response.body.len()), (500, want));
    }
}

#[tokio::test]
async fn an_endless_body_is_given_up_at_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec();
    let (port, seen) = server(Answer::Endless(head, vec![b'a'; 16 * 1024], Duration::ZERO)).await;
    let got = kind(&local(), &format!("http://127.0.0.1:{port}/"), 64 * 1024).await;
    assert_eq!(got, Some(FetchErrorKind::TooLarge));
    // what the server got rid of lies in the kernel's buffers of both ends
    assert!(seen.written.load(Ordering::SeqCst) < 32 * 1024 * 1024);
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline_wherever_it_drips() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec();
    let pause = Duration::from_millis(5);
    let cases = [
        ("body", Answer::Endless(head, b" ".to_vec(), pause)),
        ("headers", Answer::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), b"y".to_vec(), pause)),
        ("interim answers", Answer::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pause)),
        ("an error's body", Answer::Endless(b"HTTP/1.1 500 E\r\n\r\n".to_vec(), b" ".to_vec(), pause)),
        ("nothing", Answer::Silence),
    ];
    let fetcher = Fetcher::builder().dangerous_allow_loopback().timeout(SHORT).build().unwrap();
    for (name, answer) in cases {
        let (port, _) = server(answer).await;
        let url = format!("http://127.0.0.1:{port}/");
        let got = fetcher.send(FetchRequest::get(&url)).await.err().map(|error| error.kind());
        assert_eq!(got, Some(FetchErrorKind::Timeout), "{name}");
    }
}

#[tokio::test]
async fn one_more_request_than_a_host_may_have_is_busy_at_once() {
    let (port, seen) = server(Answer::Silence).await;
    let (fetcher, url) = (local(), format!("http://127.0.0.1:{port}/"));
    let waiting = join_all((0..MAX_REQUESTS_PER_HOST).map(|_| kind(&fetcher, &url, 1)));
    let busy = async {
        while seen.requests.lock().unwrap().len() < MAX_REQUESTS_PER_HOST {
            tokio::task::yield_now().await;
        }
        assert_eq!(kind(&fetcher, &url, 1).await, Some(FetchErrorKind::Busy));
    };
    tokio::select! {
        _ = waiting => panic!("the server never answers"),
        () = busy => {}
    }
    let (port, _) = server(OK).await;
    assert_eq!(
        kind(&fetcher, &format!("http://127.0.0.1:{port}/"), 2).await,
        None,
        "dropped requests left their places"
    );
}

#[tokio::test]
async fn a_connection_serves_the_next_request_to_the_same_name_only() {
    let (port, seen) = server(OK).await;
    let fetcher = local();
    for host in ["a.localhost", "a.localhost", "b.localhost"] {
        assert_eq!(kind(&fetcher, &format!("http://{host}:{port}/"), 2).await, None);
        // the connection goes back to the pool on another task
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 2);
}

/// Answers what it was made with.
#[derive(Debug)]
enum FixedResolver {
    Addresses(Vec<SocketAddr>),
    Failure,
    Never,
}

impl Resolve for FixedResolver {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            match self {
                Self::Addresses(addresses) => Ok(addresses.clone()),
                Self::Failure => Err(io::Error::other("the answer of `secret.example`")),
                Self::Never => std::future::pending().await,
            }
        })
    }
}

fn at(addresses: &[&str]) -> Arc<FixedResolver> {
    Arc::new(FixedResolver::Addresses(
        addresses.iter().map(|text| (text.parse::<std::net::IpAddr>().unwrap(), 1).into()).collect(),
    ))
}

#[tokio::test(start_paused = true)]
async fn a_name_without_a_usable_answer_has_its_kind() {
    use FetchErrorKind::{Address, Dns};
    let many: Vec<String> = (0..=MAX_ADDRESSES).map(|n| format!("8.8.{n}.8")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases = [
        ("no address", at(&[]), Dns),
        ("too many", at(&many), Dns),
        ("a failure", Arc::new(FixedResolver::Failure), Dns),
        ("no answer in time", Arc::new(FixedResolver::Never), Dns),
        ("a private one", at(&["10.0.0.1"]), Address),
        ("a private one among public ones", at(&["8.8.8.8", "192.168.0.1"]), Address),
        ("this machine, mapped", at(&["::ffff:127.0.0.1"]), Address),
    ];
    for (name, resolver, want) in cases {
        let fetcher = Fetcher::builder().resolver(resolver).build().unwrap();
        let error = fetcher.get("https://files.example.com/", JSON, 2).await.unwrap_err();
        assert_eq!(error.kind(), want, "{name}");
        assert!(!format!("{error} {error:?}").contains("example"), "{error:?}");
    }
}

/// A certificate authority for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(self.0.der());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    fn acceptor(&self, name: &str, last_year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusting(&self, port: u16) -> FetcherBuilder {
        Fetcher::builder()
            .resolver(at(&["127.0.0.1"]))
            .insecure_allow_network("127.0.0.1/32")
            .allow_port(port)
            .add_root_certificate_pem(self.pem().as_bytes())
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_name_in_time_and_of_a_trusted_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cases = [
        ("good", ours.acceptor("files.example.com", 2100), None),
        ("expired", ours.acceptor("files.example.com", 2020), Some(FetchErrorKind::Tls)),
        ("another name", ours.acceptor("other.example.com", 2100), Some(FetchErrorKind::Tls)),
        ("another authority", theirs.acceptor("files.example.com", 2100), Some(FetchErrorKind::Tls)),
    ];
    for (name, acceptor, want) in cases {
        let (port, seen) = listen(OK.into(), Some(acceptor)).await;
        let fetcher = ours.trusting(port).build().unwrap();
        assert_eq!(kind(&fetcher, &format!("https://files.example.com:{port}/"), 2).await, want, "{name}");
        assert_eq!(seen.requests.lock().unwrap().is_empty(), want.is_some(), "{name}: nothing is said before");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for greeting in ["220 mail.example.com\r\n", OK, ""] {
        let (fetcher, url) =
            (Authority::new().trusting(port).build().unwrap(), format!("https://files.example.com:{port}/"));
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(greeting.as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        };
        let (got, ()) = tokio::join!(kind(&fetcher, &url, 2), server);
        assert_eq!(got, Some(FetchErrorKind::Tls), "{greeting}");
    }
}

#[tokio::test]
async fn a_closed_port_and_a_silent_one_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let authority = Authority::new();
    let fetcher = authority.trusting(port).timeout(SHORT).build().unwrap();
    let url = format!("https://files.example.com:{port}/");
    // the backlog takes the connection, nobody shakes hands
    assert_eq!(kind(&fetcher, &url, 2).await, Some(FetchErrorKind::Timeout));
    drop(listener);
    assert_eq!(kind(&fetcher, &url, 2).await, Some(FetchErrorKind::Connect));
}

#[tokio::test]
async fn a_proxy_gets_the_name_and_nothing_goes_around_it() {
    let authority = Authority::new();
    let (proxy, seen) = server("HTTP/1.1 403 F\r\ncontent-length: 0\r\n\r\n").await;
    let fetcher = Fetcher::builder()
        .resolver(at(&["127.0.0.1"]))
        .add_root_certificate_pem(authority.pem().as_bytes())
        .dangerous_proxy(format!("http://user:secret@proxy.example.com:{proxy}"));
    assert!(!format!("{fetcher:?}").contains("secret"));
    let fetcher = fetcher.build().unwrap();
    assert_eq!(kind(&fetcher, "https://files.example.com/", 2).await, Some(FetchErrorKind::Connect));
    assert_eq!(kind(&fetcher, "https://10.0.0.1/", 2).await, Some(FetchErrorKind::Address));
    let requests = seen.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("CONNECT files.example.com:443 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].to_ascii_lowercase().contains("proxy-authorization: basic "), "{}", requests[0]);
}

/// Whoever sets the environment of this process does not get to see its requests: the tests above, run again with every
/// proxy set to a port that nobody listens on.
#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY").arg("--exact");
    for test in [
        "an_answer_arrives_and_the_request_says_no_more_than_it_must",
        "a_certificate_is_for_the_name_in_time_and_of_a_trusted_authority",
    ] {
        command.arg(format!("identity::fetch::tests::{test}"));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("2 passed"), "{text}");
}

#[test]
fn a_mistake_in_the_settings_is_an_error_when_built() {
    use FetcherBuildError::{Network, Proxy, RootCertificate};
    type Mistake = fn(FetcherBuilder) -> FetcherBuilder;
    let cases: [(Mistake, FetcherBuildError); 10] = [
        (|builder| builder.insecure_allow_network("10.1.0.0"), Network),
        (|builder| builder.insecure_allow_network("10.1.0.0/33"), Network),
        (|builder| builder.insecure_allow_network("10.1.2.3/16"), Network),
        (|builder| builder.insecure_allow_network("localhost/8"), Network),
        (|builder| builder.insecure_allow_network(""), Network),
        (|builder| builder.add_root_certificate_pem(b""), RootCertificate),
        (|builder| builder.add_root_certificate_pem(b"-----BEGIN CERTIFICATE-----\nx\n"), RootCertificate),
        (|builder| builder.add_root_certificate_pem(b"\xff\x00"), RootCertificate),
        (|builder| builder.dangerous_proxy("proxy.example.com:3128"), Proxy),
        (|builder| builder.dangerous_proxy("socks5://proxy.example.com"), Proxy),
    ];
    for (number, (mistake, want)) in cases.into_iter().enumerate() {
        let got = mistake(Fetcher::builder()).build().unwrap_err();
        assert_eq!(got.to_string(), want.to_string(), "case {number}");
    }
    let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(Fetcher::builder().add_root_certificate_pem(wrong.as_bytes()).build().is_err());
}
