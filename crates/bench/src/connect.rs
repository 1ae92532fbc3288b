//! Real rmcp servers and clients on every transport.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use http::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, GetMeta as _,
    Implementation, MetaObject, ProtocolVersion, RequestMetaObject, ServerResult,
};
use rmcp::service::RunningService;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport, StreamableHttpService, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServerHandler, ServiceExt as _};
use rmcp_guard::evidence::EvidenceLog;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tower::Layer as _;

use crate::files::TOOL;
use crate::world::{Around, Layered, Stack, Variant};

/// The longest wait for a log to come to rest.
const REST: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// rmcp's byte stream within this process.
    Memory,
    /// The same over the standard streams of a child.
    Stdio,
    /// Sessions, answers as event streams, revision 2025-11-25.
    HttpStateful,
    /// No sessions, answers as JSON, revision 2025-11-25.
    HttpJson2025,
    /// No sessions, answers as JSON, revision 2026-07-28.
    HttpJson2026,
}

impl Transport {
    pub const ALL: [Self; 5] = [Self::Memory, Self::Stdio, Self::HttpStateful, Self::HttpJson2025, Self::HttpJson2026];

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Stdio => "stdio child",
            Self::HttpStateful => "HTTP stateful 2025-11-25",
            Self::HttpJson2025 => "HTTP stateless JSON 2025-11-25",
            Self::HttpJson2026 => "HTTP stateless JSON 2026-07-28",
        }
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::HttpStateful | Self::HttpJson2025 | Self::HttpJson2026)
    }

    fn version(self) -> ProtocolVersion {
        match self {
            Self::HttpStateful | Self::HttpJson2025 => ProtocolVersion::V_2025_11_25,
            Self::Memory | Self::Stdio | Self::HttpJson2026 => ProtocolVersion::V_2026_07_28,
        }
    }
}

/// A running server: keeps what it needs alive.
#[derive(Debug)]
pub struct Server {
    pub stack: Option<Stack>,
    /// The server's process, where it has its own.
    pub process: Option<u32>,
    child: Option<Child>,
    url: Option<String>,
    /// The key that a peer wants.
    key: Option<String>,
    /// Where a server with a log in another process listens to [`rest`](Self::rest).
    control: Option<Control>,
    _serving: Option<Serving>,
}

/// A connection of its own to a child: its standard streams carry the protocol.
#[derive(Debug)]
enum Control {
    Expected(UnixListener),
    There(UnixStream),
}

#[derive(Debug)]
struct Serving(tokio::task::AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// A server for `variant` in this process, except for stdio, or in a process of its own.
    pub async fn start(transport: Transport, variant: Variant, own_process: bool, directory: &Path) -> Self {
        let mut none =
            Self { stack: None, process: None, child: None, url: None, key: None, control: None, _serving: None };
        if variant.has_log() && (own_process || transport == Transport::Stdio) {
            none.control = Some(Control::Expected(UnixListener::bind(control(directory)).unwrap()));
        }
        if transport == Transport::Stdio {
            return none; // it comes with its client
        }
        if own_process {
            let mut child = child(transport, variant, directory).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            if matches!(variant.around, Around::Peer(peer) if peer.has_key()) {
                none.key = lines.next_line().await.unwrap();
            }
            let url = lines.next_line().await.unwrap();
            return Self { process: child.id(), url, child: Some(child), ..none };
        }
        let stack = Stack::new(variant, directory);
        if transport == Transport::Memory {
            return Self { stack: Some(stack), ..none };
        }
        let (url, serving) = serve_http(transport, &stack, variant).await;
        Self { stack: Some(stack), url: Some(url), _serving: Some(serving), ..none }
    }

    /// A client of the server. A badge goes into a header where it stands for a session.
    pub async fn connect(
        &mut self,
        transport: Transport,
        variant: Variant,
        directory: &Path,
        badge: Option<&str>,
    ) -> Client {
        let in_header = badge.filter(|_| transport == Transport::HttpStateful);
        let version = transport.version();
        let mut client = match transport {
            Transport::Memory => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                match &self.stack.as_ref().unwrap().server {
                    Layered::Bare(server) => serve_stream(server.clone(), far),
                    Layered::Guarded(server) => serve_stream(server.clone(), far),
                    Layered::Identified(server) => serve_stream(server.clone(), far),
                }
                Client::over(near, &version).await
            }
            Transport::Stdio => {
                let transport = TokioChildProcess::new(child(transport, variant, directory)).unwrap();
                self.process = transport.id();
                Client::over(transport, &version).await
            }
            Transport::HttpStateful | Transport::HttpJson2025 | Transport::HttpJson2026 => {
                let header = |name, value: &str| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
                let badge = in_header.map(|badge| header("x-capiscio-badge", badge));
                let key = self.key.as_ref().map(|key| header("authorization", &format!("Bearer {key}")));
                let headers: HashMap<_, _> = badge.into_iter().chain(key).collect();
                let config = StreamableHttpClientTransportConfig::with_uri(self.url.as_deref().unwrap())
                    .custom_headers(headers)
                    .max_concurrent_requests(1024);
                Client::over(StreamableHttpClientTransport::from_config(config), &version).await
            }
        };
        client.badge = badge.filter(|_| in_header.is_none()).map(str::to_owned);
        client
    }

    /// Publishes what the log holds, so that what it still has to do for its calls counts as theirs.
    pub async fn rest(&mut self) {
        if let Some(log) = self.stack.as_ref().and_then(|stack| stack.log.clone()) {
            publish(log).await;
        }
        if let Some(Control::Expected(listener)) = &self.control {
            let (stream, _) = listener.accept().await.unwrap();
            self.control = Some(Control::There(stream));
        }
        if let Some(Control::There(stream)) = &mut self.control {
            stream.write_u8(0).await.unwrap();
            stream.read_u8().await.unwrap();
        }
    }

    /// Ends a server that has a process of its own.
    pub async fn stop(mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
            child.wait().await.unwrap();
        }
    }
}

fn serve_stream<S: ServerHandler>(server: S, stream: tokio::io::DuplexStream) {
    tokio::spawn(async move { server.serve(stream).await.unwrap().waiting().await.unwrap() });
}

async fn publish(log: EvidenceLog) {
    tokio::task::spawn_blocking(move || log.publish(REST)).await.unwrap().unwrap();
}

/// The socket beside the log's directory.
fn control(directory: &Path) -> PathBuf {
    directory.with_extension("control")
}

/// Answers each byte once the log is at rest.
async fn obey(mut stream: UnixStream, log: EvidenceLog) {
    while stream.read_u8().await.is_ok() {
        publish(log.clone()).await;
        stream.write_u8(0).await.unwrap();
    }
}

/// The command that is this program as a server, or a peer's.
fn child(transport: Transport, variant: Variant, directory: &Path) -> Command {
    let mut command = if let Around::Peer(peer) = variant.around {
        Command::from(peer.command(transport))
    } else {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--serve").arg(format!("{transport:?}")).arg(variant.to_word()).arg(directory);
        command
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// This process is a server: serves until its standard input ends.
pub fn serve(arguments: &[String]) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    Box::pin(serve_now(arguments))
}

async fn serve_now(arguments: &[String]) {
    let [transport, variant, directory] = arguments else { panic!("{arguments:?}") };
    let transport = Transport::ALL.into_iter().find(|it| format!("{it:?}") == *transport).unwrap();
    let variant = Variant::from_word(variant).unwrap();
    let directory = Path::new(directory);
    let stack = Stack::new(variant, directory);
    if let Some(log) = stack.log.clone().filter(|_| variant.has_log()) {
        tokio::spawn(obey(UnixStream::connect(control(directory)).await.unwrap(), log));
    }
    if transport == Transport::Stdio {
        match stack.server {
            Layered::Bare(server) => serve_standard_streams(server).await,
            Layered::Guarded(server) => serve_standard_streams(server).await,
            Layered::Identified(server) => serve_standard_streams(server).await,
        }
        return;
    }
    let (url, _serving) = serve_http(transport, &stack, variant).await;
    println!("{url}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await.unwrap().is_some() {}
}

async fn serve_standard_streams<S: ServerHandler>(server: S) {
    server.serve(rmcp::transport::stdio()).await.unwrap().waiting().await.unwrap();
}

async fn serve_http(transport: Transport, stack: &Stack, variant: Variant) -> (String, Serving) {
    let sessions = transport == Transport::HttpStateful;
    let app = match stack.server.clone() {
        Layered::Bare(server) => Router::new().nest_service("/mcp", mcp(server, sessions)),
        Layered::Guarded(server) => {
            let mcp = mcp(server, sessions);
            let guard = stack.guard.as_ref().unwrap();
            if sessions {
                Router::new().nest_service("/mcp", guard.session_layer().layer(mcp))
            } else {
                Router::new().nest_service("/mcp", mcp)
            }
        }
        Layered::Identified(server) => {
            assert_eq!(variant.around, Around::Everything);
            let bound = stack.guard.as_ref().unwrap().session_layer().layer(mcp(server, sessions));
            Router::new().nest_service("/mcp", stack.identity.as_ref().unwrap().layer(bound))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    // or event streams take 44 ms each: head and event are two segments, and the second waits for an acknowledgement
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    (url, Serving(serving.abort_handle()))
}

fn mcp<S: ServerHandler + Clone>(server: S, sessions: bool) -> StreamableHttpService<S, LocalSessionManager> {
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(sessions).with_json_response(!sessions);
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}

struct Stock(ClientConfig);

impl ClientHandler for Stock {
    fn get_info(&self) -> ClientConfig {
        self.0.clone()
    }
}

/// A stock rmcp client.
pub struct Client {
    service: RunningService<RoleClient, Stock>,
    /// Goes into `_meta` of each call.
    badge: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    async fn over<T, E, A>(transport: T, version: &ProtocolVersion) -> Self
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let info = ClientConfig::new(ClientCapabilities::default(), Implementation::new("bench", "0"))
            .with_protocol_version(version.clone());
        let lifecycle = if *version == ProtocolVersion::V_2026_07_28 {
            ClientLifecycleMode::Discover { preferred_versions: vec![version.clone()] }
        } else {
            ClientLifecycleMode::Initialize
        };
        let service = Stock(info).serve_with_lifecycle(transport, lifecycle).await.unwrap();
        Self { service, badge: None }
    }

    /// One call, with `badge` in place of the client's own. Whatever is not success ends the measurement.
    pub async fn call(&self, content: &str, badge: Option<&str>) {
        let mut arguments = Map::new();
        arguments.insert("path".to_owned(), json!("/srv/files/reports/2026/third-quarter.txt"));
        arguments.insert("content".to_owned(), Value::String(content.to_owned()));
        let params = CallToolRequestParams::new(TOOL).with_arguments(arguments);
        let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        if let Some(badge) = badge.or(self.badge.as_deref()) {
            let mut meta = Map::new();
            meta.insert("capiscio_caller_badge".to_owned(), Value::String(badge.to_owned()));
            request.get_meta_mut().extend(RequestMetaObject(MetaObject(meta)));
        }
        match self.service.send_request(request).await.unwrap() {
            ServerResult::CallToolResult(result) if result.is_error != Some(true) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Says good bye and waits until the connection has ended.
    pub async fn close(self) {
        drop(self.service.cancel().await);
    }
}
