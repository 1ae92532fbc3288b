//! An HTTP server that can change its mind: a listener whose application is exchanged while it runs, with a log of
//! every request that reached it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::{Listener, ListenerExt as _};
use http::HeaderMap;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp_guard::identity::server::ServerIdentity;
use rmcp_guard::layer::identity::IdentityLayer;
use serde_json::Value;
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use super::fixtures::Probe;

/// How an rmcp server speaks HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sessions,
    StatelessSse,
    StatelessJson,
}

/// One HTTP request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) verb: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Logged {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_handshake(&self) -> bool {
        matches!(self.method(), "initialize" | "server/discover")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether any credential came along, wherever.
    pub(crate) fn has_credential(&self) -> bool {
        ["x-capiscio-badge", "x-capiscio-registry-key", "authorization"]
            .iter()
            .any(|name| self.headers.contains_key(*name))
            || self.body.to_string().contains("capiscio_caller")
    }
}

#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) origin: String,
    app: Arc<Mutex<Router>>,
    log: Arc<Mutex<Vec<Logged>>>,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener.tap_io(|io| io.set_nodelay(true).unwrap()), origin)
    }

    /// Serves on `listener`, which clients reach by `origin`.
    pub(crate) fn serve(listener: impl Listener<Addr: Debug>, origin: String) -> Self {
        let web = Self { origin, app: Arc::default(), log: Arc::default() };
        let router = Router::new().fallback(answer).with_state(web.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        web
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// From now on `app` answers.
    pub(crate) fn become_(&self, app: Router) {
        *self.app.lock().unwrap() = app;
    }

    pub(crate) fn log(&self) -> Vec<Logged> {
        self.log.lock().unwrap().clone()
    }
}

async fn answer(State(web): State<Web>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    web.log.lock().unwrap().push(Logged {
        verb: parts.method.to_string(),
        headers: parts.headers.clone(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    });
    let app = web.app.lock().unwrap().clone();
    app.oneshot(Request::from_parts(parts, Body::from(bytes))).await.unwrap()
}

/// A real rmcp server with this identity in `_meta`, and in the headers too if `headers` says so.
pub(crate) fn mcp(identity: &ServerIdentity, headers: bool, probe: &Probe, mode: Mode) -> Router {
    let stack = IdentityLayer::new(identity.clone()).layer(probe.clone());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(mode == Mode::Sessions)
        .with_json_response(mode == Mode::StatelessJson);
    let service =
        StreamableHttpService::new(move || Ok(stack.clone()), Arc::new(LocalSessionManager::default()), config);
    if headers {
        let layered = ServiceBuilder::new().layer(IdentityLayer::new(identity.clone())).service(service);
        Router::new().nest_service("/mcp", layered)
    } else {
        Router::new().nest_service("/mcp", service)
    }
}
