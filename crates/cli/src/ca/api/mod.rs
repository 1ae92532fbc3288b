//! The registry's HTTP API: paths and JSON of capiscio-mcp's registry, RFC-002 and RFC-003.

mod agents;
mod badges;
mod challenge;
mod events;
mod input;
mod servers;
mod status;
mod wellknown;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use rmcp_guard::identity::remote::DidWebDocuments;
use serde_json::{Value, json};

use crate::ca::error::CaError;
use crate::ca::limits::{Failures, Limiter, network};
use crate::ca::origin::Origin;
use crate::ca::policy::Policy;
use crate::ca::signing::KeyRing;
use crate::ca::store::Store;

/// Everything a request may need.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) ring: KeyRing,
    pub(crate) origin: Origin,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    /// DID documents of other hosts.
    pub(crate) documents: DidWebDocuments,
}

/// The address at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// One limiter for each line of the policy.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Limiter<IpAddr>,
    unauthorized: Limiter<IpAddr>,
    calls: Limiter<String>,
    challenges: Limiter<String>,
    challenges_of_account: Limiter<String>,
    challenges_of_ip: Limiter<IpAddr>,
    badges: Limiter<String>,
    badges_of_account: Limiter<String>,
    failed_proofs: Failures,
}

impl Limits {
    pub(crate) fn new(policy: &Policy) -> Self {
        let limits = &policy.limits;
        Self {
            requests: Limiter::per_minute(limits.requests_per_ip),
            unauthorized: Limiter::per_minute(limits.unauthorized_per_ip),
            calls: Limiter::per_minute(limits.calls_per_key),
            challenges: Limiter::per_minute(limits.challenges_per_did),
            challenges_of_account: Limiter::per_minute(limits.challenges_per_account),
            challenges_of_ip: Limiter::per_minute(limits.challenges_per_ip),
            badges: Limiter::per_minute(limits.badges_per_did),
            badges_of_account: Limiter::per_minute(limits.badges_per_account),
            failed_proofs: Failures::default(),
        }
    }
}

impl App {
    /// Runs `work`, which blocks, on a thread for that. It goes on when the request is dropped.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, CaError> + Send + 'static,
    ) -> Result<T, CaError> {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(|_| CaError::Worker)?
    }
}

type Answer = Result<Response, CaError>;

/// DID documents alone: what a did:web of `localhost` is resolved from, which is plain http by convention.
pub(crate) fn documents(app: Arc<App>) -> Router {
    Router::new()
        .route("/agents/{id}/did.json", get(wellknown::agent_document))
        .route("/servers/{id}/did.json", get(wellknown::server_document))
        .fallback(async || CaError::refused(403, "tls_required", "this port speaks TLS"))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit_address))
        .with_state(app)
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(wellknown::health))
        .route("/.well-known/jwks.json", get(wellknown::jwks))
        .route("/agents/{id}/did.json", get(wellknown::agent_document))
        .route("/servers/{id}/did.json", get(wellknown::server_document))
        // what guards ask
        .route("/v1/badges/{jti}/status", get(status::badge))
        .route("/v1/servers/badges/{jti}/status", get(status::badge))
        .route("/v1/agents/{id}/status", get(status::agent))
        .route("/v1/servers/{id}/status", get(status::server))
        .route("/v1/revocations", get(status::revocations))
        .route("/v1/validate", post(status::validate))
        // what owners change
        .route("/v1/sdk/servers", get(servers::list).post(servers::create))
        .route("/v1/sdk/servers/{id}", get(servers::show).put(servers::update))
        .route("/v1/sdk/servers/{id}/badge", post(servers::badge))
        .route("/v1/sdk/servers/badges/{jti}/revoke", post(badges::revoke))
        .route("/v1/servers/{id}/disable", post(servers::disable))
        .route("/v1/servers/{id}/enable", post(servers::enable))
        .route("/v1/sdk/agents", get(agents::list).post(agents::create))
        .route("/v1/sdk/agents/{id}", get(agents::show))
        .route("/v1/sdk/agents/{id}/identity", patch(agents::update))
        .route("/v1/agents/{id}/disable", post(agents::disable))
        .route("/v1/agents/{id}/enable", post(agents::enable))
        .route("/v1/badges/{jti}/revoke", post(badges::revoke))
        .route("/v1/events", post(events::create))
        // badges, in the spellings of RFC-003, of the Go client and of the documentation
        .route("/v1/agents/{id}/badge", post(badges::issue))
        .route("/v1/agents/{id}/badge/pop", post(challenge::prove))
        .route("/v1/agents/{id}/badge/challenge", post(challenge::create))
        .route("/v1/sdk/agents/{id}/badge", post(badges::issue))
        .route("/v1/sdk/agents/{id}/badge/pop", post(challenge::prove))
        .route("/v1/sdk/agents/{id}/badge/challenge", post(challenge::create))
        .fallback(async || CaError::refused(404, "not_found", "there is nothing under this path"))
        .method_not_allowed_fallback(async || CaError::refused(405, "method_not_allowed", "not with this method"))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit_address))
        .with_state(app)
}

/// Before anything else is looked at.
async fn limit_address(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(Peer(address)) = request.extensions().get::<Peer>().copied() else {
        return CaError::Worker.into_response();
    };
    let mut response = match app.limits.requests.take(network(address), Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl IntoResponse for CaError {
    fn into_response(self) -> Response {
        let (status, code, message, retry_after) = match self {
            Self::Refused(refusal) => {
                let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, refusal.code, refusal.message, refusal.retry_after)
            }
            // Whoever asked learns nothing about our disks.
            error @ (Self::Database(_) | Self::Io(..) | Self::State(_) | Self::Random | Self::Worker) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the CA failed".to_owned(), None)
            }
        };
        let mut response = json_answer(status, &json!({ "error": code, "message": message }));
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn ok(body: &Value) -> Response {
    json_answer(StatusCode::OK, body)
}
