//! Servers on every transport, and a stock rmcp client that presents a credential with each request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt as _;
use http::{HeaderName, HeaderValue};
use rmcp::model::*;
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport, StreamableHttpService};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData, RoleClient, ServerHandler, ServiceExt as _,
};
use rmcp_guard::layer::guard::{DENIAL_CODE, GuardLayer, META_DENIAL};
use serde_json::{Map, Value, json};
use tokio::io::DuplexStream;
use tokio::task::AbortHandle;
use tower::Layer as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// rmcp's byte-stream transport, as on stdio, within the process.
    Duplex,
    HttpStateful,
    HttpStatelessSse,
    HttpStatelessJson,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Duplex, Self::HttpStateful, Self::HttpStatelessSse, Self::HttpStatelessJson];

    /// The protocol revisions that exist on this transport.
    pub fn versions(self) -> &'static [ProtocolVersion] {
        match self {
            Self::HttpStateful => &ProtocolVersion::KNOWN_VERSIONS[..4],
            Self::Duplex | Self::HttpStatelessSse | Self::HttpStatelessJson => ProtocolVersion::KNOWN_VERSIONS,
        }
    }

    /// Every transport with every revision that exists on it.
    pub fn with_versions() -> impl Iterator<Item = (Self, ProtocolVersion)> {
        Self::ALL.into_iter().flat_map(|it| it.versions().iter().map(move |version| (it, version.clone())))
    }
}

/// What a client presents, and where.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    pub meta: Map<String, Value>,
    pub headers: Vec<(&'static str, String)>,
}

impl Credential {
    pub fn none() -> Self {
        Self::default()
    }

    /// A badge in `_meta` of each request.
    pub fn meta(badge: &str) -> Self {
        Self::none().with_meta("capiscio_caller_badge", json!(badge))
    }

    /// A badge in the header of each request; HTTP only.
    pub fn header(badge: &str) -> Self {
        Self::none().with_header("x-capiscio-badge", badge)
    }

    /// A badge where this transport carries it best: a session needs it in the header.
    pub fn badge(transport: Transport, badge: &str) -> Self {
        if transport == Transport::HttpStateful { Self::header(badge) } else { Self::meta(badge) }
    }

    pub fn with_meta(mut self, key: &str, value: Value) -> Self {
        self.meta.insert(key.to_owned(), value);
        self
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// How a server is reached. Stops it when dropped.
pub struct Server {
    reach: Reach,
    tasks: Vec<AbortHandle>,
}

enum Reach {
    Duplex(Box<dyn Fn(DuplexStream) -> AbortHandle + Send + Sync>),
    Http(String),
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Server {
    /// Serves clones of `handler`; over HTTP behind the session layer of `guard`.
    pub async fn start<S: ServerHandler + Clone>(transport: Transport, handler: S, guard: &GuardLayer) -> Self {
        let config = StreamableHttpServerConfig::default();
        let config = match transport {
            Transport::Duplex => return Self::duplex(handler),
            Transport::HttpStateful => config,
            Transport::HttpStatelessSse => config.with_legacy_session_mode(false),
            Transport::HttpStatelessJson => config.with_legacy_session_mode(false).with_json_response(true),
        };
        let mcp = Self::mcp(handler, config);
        Self::http(Router::new().nest_service("/mcp", guard.session_layer().layer(mcp))).await
    }

    pub fn mcp<S: ServerHandler + Clone>(
        handler: S,
        config: StreamableHttpServerConfig,
    ) -> StreamableHttpService<S, LocalSessionManager> {
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), config.enforce_origin_validation())
    }

    pub fn duplex<S: rmcp::Service<rmcp::RoleServer> + Clone>(service: S) -> Self {
        Self::duplex_from(move || service.clone())
    }

    /// A service for each connection.
    pub fn duplex_from<S: rmcp::Service<rmcp::RoleServer>>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let serve = move |stream| {
            let service = make();
            let serving = async move {
                // A connection without a handshake is an attack, and ends.
                if let Ok(running) = service.serve(stream).await {
                    running.waiting().await.unwrap();
                }
            };
            tokio::spawn(serving).abort_handle()
        };
        Self { reach: Reach::Duplex(Box::new(serve)), tasks: Vec::new() }
    }

    pub async fn http(app: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        Self { reach: Reach::Http(url), tasks: vec![serving.abort_handle()] }
    }

    /// Where an HTTP server is reached.
    pub fn url(&self) -> &str {
        match &self.reach {
            Reach::Http(url) => url,
            Reach::Duplex(_) => panic!("no HTTP server"),
        }
    }

    /// A new connection to a server on a byte stream, on which nothing has been said.
    pub fn stream(&self) -> DuplexStream {
        match &self.reach {
            Reach::Duplex(serve) => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                serve(far);
                near
            }
            Reach::Http(_) => panic!("no byte stream"),
        }
    }

    /// A stock client in this revision, with the tasks extension.
    pub async fn connect(&self, version: &ProtocolVersion, credential: Credential) -> Client {
        match &self.reach {
            Reach::Duplex(_) => client_over(self.stream(), version, credential).await,
            Reach::Http(url) => {
                let header = |(name, value): &(&'static str, String)| {
                    (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                };
                let headers: HashMap<_, _> = credential.headers.iter().map(header).collect();
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str()).custom_headers(headers);
                client_over(StreamableHttpClientTransport::from_config(config), version, credential).await
            }
        }
    }

    /// A client in the newest revision of the transport.
    pub async fn client(&self, credential: Credential) -> Client {
        self.connect(&ProtocolVersion::V_2026_07_28, credential).await
    }
}

/// A stock client on any transport.
pub async fn client_over<T, E, A>(transport: T, version: &ProtocolVersion, credential: Credential) -> Client
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let capabilities = ClientCapabilities::builder().enable_tasks().build();
    let info = ClientConfig::new(capabilities, Implementation::new("test", "0")).with_protocol_version(version.clone());
    let lifecycle = if version.as_str() >= ProtocolVersion::V_2026_07_28.as_str() {
        ClientLifecycleMode::Discover { preferred_versions: vec![version.clone()] }
    } else {
        ClientLifecycleMode::Initialize
    };
    let service = Peer(info).serve_with_lifecycle(transport, lifecycle).await.unwrap();
    Client { service, meta: credential.meta }
}

pub struct Peer(ClientConfig);

impl ClientHandler for Peer {
    fn get_info(&self) -> ClientConfig {
        self.0.clone()
    }
}

/// A stock rmcp client.
pub struct Client {
    pub service: RunningService<RoleClient, Peer>,
    /// Goes into `_meta` of every request.
    pub meta: Map<String, Value>,
}

/// What a tool call came to.
#[derive(Clone, Debug)]
pub enum Answer {
    Ran(CallToolResult),
    /// The tool says that it failed.
    Failed(CallToolResult),
    /// The guard denied: the machine-readable form and the text.
    Denied(Value, String),
    Error(ErrorData),
    InputRequired(InputRequiredResult),
    Task(Task),
}

impl Answer {
    /// `ran`, `failed`, the reason code of a denial, `error <code>`, `input_required` or `task`.
    pub fn code(&self) -> String {
        match self {
            Self::Ran(_) => "ran".to_owned(),
            Self::Failed(_) => "failed".to_owned(),
            Self::Denied(denial, _) => denial["reason"].as_str().unwrap().to_owned(),
            Self::Error(error) => format!("error {}", error.code.0),
            Self::InputRequired(_) => "input_required".to_owned(),
            Self::Task(_) => "task".to_owned(),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Ran(result) | Self::Failed(result) => result.content[0].as_text().unwrap().text.clone(),
            Self::Denied(_, text) => text.clone(),
            Self::Error(error) => error.message.to_string(),
            Self::InputRequired(_) => String::new(),
            Self::Task(task) => task.task_id.clone(),
        }
    }
}

impl Client {
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        let mut params = CallToolRequestParams::new(tool.to_owned());
        if let Value::Object(arguments) = arguments {
            params = params.with_arguments(arguments);
        }
        match self.request(ClientRequest::CallToolRequest(CallToolRequest::new(params))).await {
            Ok(ServerResult::CallToolResult(result)) => answer_of(result),
            Ok(ServerResult::InputRequiredResult(result)) => Answer::InputRequired(result),
            Ok(ServerResult::CreateTaskResult(result)) => Answer::Task(result.task),
            Ok(other) => panic!("{other:?}"),
            Err(error) => match error.data.as_ref().filter(|_| error.code.0 == DENIAL_CODE) {
                Some(denial) => Answer::Denied(denial.clone(), error.message.to_string()),
                None => Answer::Error(error),
            },
        }
    }

    /// Any request, with this client's `_meta`.
    pub async fn request(&self, mut request: ClientRequest) -> Result<ServerResult, ErrorData> {
        request.get_meta_mut().extend(RequestMetaObject(MetaObject(self.meta.clone())));
        match self.service.send_request(request).await {
            Ok(result) => Ok(result),
            Err(ServiceError::McpError(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn custom(&self, method: &str, params: Value) -> Result<ServerResult, ErrorData> {
        self.request(ClientRequest::CustomRequest(CustomRequest::new(method, Some(params)))).await
    }

    /// One page of `tools/list`.
    pub async fn list(&self, cursor: Option<&str>) -> Result<ListToolsResult, ErrorData> {
        let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor.to_owned())));
        let request = ListToolsRequest { params, ..ListToolsRequest::default() };
        match self.request(ClientRequest::ListToolsRequest(request)).await? {
            ServerResult::ListToolsResult(page) => Ok(page),
            other => panic!("{other:?}"),
        }
    }

    /// The names on all pages of `tools/list`.
    pub async fn tool_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.list(cursor.as_deref()).await.unwrap();
            names.extend(page.tools.iter().map(|tool| tool.name.to_string()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return names;
            }
        }
    }

    pub async fn get_task(&self, id: &str) -> Result<TaskStatus, ErrorData> {
        match self.request(ClientRequest::GetTaskRequest(GetTaskRequest::new(GetTaskParams::new(id)))).await? {
            ServerResult::GetTaskResult(result) => Ok(result.task.status()),
            other => panic!("{other:?}"),
        }
    }

    pub async fn update_task(&self, id: &str) -> Result<(), ErrorData> {
        let params = UpdateTaskParams::new(id, InputResponses::new());
        self.request(ClientRequest::UpdateTaskRequest(UpdateTaskRequest::new(params))).await.map(drop)
    }

    pub async fn cancel_task(&self, id: &str) -> Result<(), ErrorData> {
        let params = CancelTaskParams::new(id);
        self.request(ClientRequest::CancelTaskRequest(CancelTaskRequest::new(params))).await.map(drop)
    }
}

fn answer_of(result: CallToolResult) -> Answer {
    if let Some(denial) = result.meta.as_ref().and_then(|meta| meta.get(META_DENIAL)) {
        return Answer::Denied(denial.clone(), result.content[0].as_text().unwrap().text.clone());
    }
    if result.is_error == Some(true) { Answer::Failed(result) } else { Answer::Ran(result) }
}
