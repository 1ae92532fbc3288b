use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::MAX_SESSION_ID_BYTES;
use super::body::SessionBody;
use super::future::SessionFuture;
use super::refusal::Refusal;
use super::table::{MAX_SESSIONS, SESSION_IDLE, SessionKey, Sessions};
use crate::enforce::{CallerCredential, CredentialSources, Enforcer, PresentedCredential};
use crate::layer::headers;

/// Binds the sessions of an MCP endpoint to the principals that own them; see the [module](super) for the rules.
///
/// Clones share one table of sessions: build the layer once.
///
/// # On an HTTP server
///
/// The layer stands directly around rmcp's service, and [`IdentityLayer`](crate::layer::identity::IdentityLayer) around
/// both, so that refusals say who speaks. rmcp checks `Host`, by default against loopback names, and `Origin` only when
/// told to: name your hosts, and enforce origins even if none is allowed. Else a page in a browser reaches a local
/// server under a name of its own (DNS rebinding).
///
/// An `Authorization: Bearer` token is OAuth's, and this crate leaves it alone unless the configuration says that
/// badges come that way. Where an endpoint wants both, OAuth says which user sends a request and the badge which agent.
/// The OAuth check is an HTTP layer outside ours; it answers 401 with `WWW-Authenticate` itself, and rmcp's client
/// starts its authorization flow on that.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use axum::extract::Request;
/// use axum::http::{StatusCode, header};
/// use axum::middleware::{self, Next};
/// use axum::response::{IntoResponse, Response};
/// use axum::serve::ListenerExt;
/// use rmcp::ServerHandler;
/// use rmcp::transport::StreamableHttpService;
/// use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
/// use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
/// use rmcp_guard::layer::guard::GuardLayer;
/// use rmcp_guard::layer::identity::IdentityLayer;
/// use tower::{Layer, ServiceBuilder};
///
/// # fn is_valid(token: &str) -> bool { !token.is_empty() }
/// const CHALLENGE: &str =
///     r#"Bearer resource_metadata="https://files.example.com/.well-known/oauth-protected-resource""#;
///
/// async fn require_token(request: Request, next: Next) -> Response {
///     let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
///     match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
///         Some(token) if is_valid(token) => next.run(request).await,
///         _ => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, CHALLENGE)]).into_response(),
///     }
/// }
///
/// async fn serve<H: ServerHandler + Clone + Sync>(
///     guard: GuardLayer,
///     identity: IdentityLayer,
///     handler: H,
/// ) -> std::io::Result<()> {
///     let handler = identity.layer(guard.layer(handler));
///     let http = StreamableHttpServerConfig::default()
///         .with_allowed_hosts(["files.example.com"])
///         .with_allowed_origins(["https://app.example.com:443"])
///         .enforce_origin_validation();
///     let mcp = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(LocalSessionManager::default()), http);
///     let mcp = ServiceBuilder::new()
///         .layer(identity)
///         .layer(guard.session_layer().with_challenge(CHALLENGE.parse().map_err(std::io::Error::other)?))
///         .service(mcp);
///     let app = axum::Router::new().nest_service("/mcp", mcp).layer(middleware::from_fn(require_token));
///
///     // Without TCP_NODELAY an SSE answer takes 44 ms: head and event are two segments.
///     let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
///     axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), app).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    shared: Arc<Shared>,
    max_sessions: usize,
    idle: Duration,
}

/// What every request of every clone uses.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) enforcer: Enforcer,
    pub(super) sessions: Arc<Sessions>,
    pub(super) challenge: HeaderValue,
}

impl SessionLayer {
    /// A layer that authenticates with `enforcer`, with room for [`MAX_SESSIONS`] that may idle for [`SESSION_IDLE`].
    #[must_use]
    pub fn new(enforcer: Enforcer) -> Self {
        let sessions = Arc::new(Sessions::new(MAX_SESSIONS, SESSION_IDLE));
        let shared = Shared { enforcer, sessions, challenge: HeaderValue::from_static("Badge") };
        Self { shared: Arc::new(shared), max_sessions: MAX_SESSIONS, idle: SESSION_IDLE }
    }

    /// Replaces the number of sessions that may exist at once. Sessions that are open are not carried over.
    #[must_use]
    pub fn with_max_sessions(mut self, max_sessions: usize) -> Self {
        self.max_sessions = max_sessions;
        self.rebuilt()
    }

    /// Replaces the time for which a session may lie idle. Sessions that are open are not carried over.
    ///
    /// Keep it above the `keep_alive` of rmcp's session manager, else a client is told that a living session is gone.
    #[must_use]
    pub fn with_idle_limit(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self.rebuilt()
    }

    /// Replaces the challenge that a 401 carries as `WWW-Authenticate` (RFC 9110 §11.6.1); by default the bare `Badge`.
    ///
    /// An endpoint that also takes OAuth tokens names its metadata here:
    /// `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`.
    #[must_use]
    pub fn with_challenge(mut self, challenge: HeaderValue) -> Self {
        self.shared = Arc::new(Shared { challenge, ..Shared::clone(&self.shared) });
        self
    }

    fn rebuilt(mut self) -> Self {
        let sessions = Arc::new(Sessions::new(self.max_sessions, self.idle));
        self.shared = Arc::new(Shared { sessions, ..Shared::clone(&self.shared) });
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = Session<S>;

    fn layer(&self, inner: S) -> Session<S> {
        Session { inner, shared: Arc::clone(&self.shared) }
    }
}

/// An HTTP service whose sessions are bound to their owners; made by [`SessionLayer`].
#[derive(Clone, Debug)]
pub struct Session<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Session<S> {
    /// The service inside.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// Gives the service inside back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, RB> Service<Request<B>> for Session<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    RB: Body,
    RB::Data: From<String>,
{
    type Response = Response<SessionBody<RB>>;
    type Error = S::Error;
    type Future = SessionFuture<S, B, RB>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready is the one that is called; its clone waits for the next request.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        SessionFuture::new(ready, request, Arc::clone(&self.shared))
    }
}

/// The session that a request or response names.
pub(super) fn session_of(headers: &HeaderMap) -> Result<Option<SessionKey>, Refusal> {
    let mut values = headers.get_all(headers::MCP_SESSION_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(id), None)
            if (1..=MAX_SESSION_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic) =>
        {
            Ok(Some(SessionKey::of(id.as_bytes())))
        }
        (Some(_), _) => Err(Refusal::Malformed),
    }
}

/// The credential in a request's headers.
pub(super) fn credential_of(headers: &HeaderMap, bearer_as_badge: bool) -> PresentedCredential {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let sources = CredentialSources {
        badge_headers: values(headers::BADGE),
        api_key_headers: values(headers::API_KEY),
        authorization_headers: values(header::AUTHORIZATION),
        meta: None,
    };
    CallerCredential::from_sources(&sources, bearer_as_badge)
}
