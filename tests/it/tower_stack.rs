//! Stock tower layers around the tools of a guarded server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::service::RequestContext;
use rmcp_guard::layer::guard::{OVERLOAD_CODE, TIMEOUT_CODE};
use rmcp_guard::layer::tower::ToolCall;
use serde_json::json;
use tower::{BoxError, Layer as _, Service, ServiceBuilder, ServiceExt as _};

use crate::common::{Credential, Fixture, LEVELS, Server, Transport, badge};

const TRANSPORTS: [Transport; 4] = Transport::ALL;

#[tokio::test]
async fn a_timeout_cuts_a_call_off_and_the_record_says_so() {
    for transport in TRANSPORTS {
        let fixture = Fixture::new();
        // Long enough for a loaded machine to answer within it.
        let layers = ServiceBuilder::new().timeout(Duration::from_secs(1));
        let stack = fixture.guard.tool_stack(fixture.demo.clone(), layers);
        let server = Server::start(transport, stack, &fixture.guard).await;
        let client = server.connect(transport.versions().last().unwrap(), Credential::none()).await;
        assert_eq!(client.call("slow", json!({})).await.code(), format!("error {TIMEOUT_CODE}"), "{transport:?}");
        assert_eq!(client.call("slow", json!({ "ms": 1 })).await.code(), "ran", "{transport:?}");
        assert_eq!(client.call("protocol_error", json!({})).await.text(), "the tool's own error", "{transport:?}");
        assert_eq!(fixture.demo.runs("slow finished"), 1, "{transport:?}");
        let outcomes: Vec<_> = fixture.records("outcome").iter().map(|it| it["rmcp_guard.outcome"].clone()).collect();
        assert_eq!(outcomes, ["protocol_error", "ok", "protocol_error"], "{transport:?}");
    }
}

/// A stack that is built once and cloned into the HTTP factory has one limit, not one for each request.
#[tokio::test]
async fn a_concurrency_limit_is_shared_by_all_clones_of_a_stack() {
    for transport in TRANSPORTS {
        let fixture = Fixture::new();
        let stack = fixture.guard.tool_stack(fixture.demo.clone(), ServiceBuilder::new().concurrency_limit(2));
        let server = Server::start(transport, stack, &fixture.guard).await;
        let version = transport.versions().last().unwrap();
        let (one, two) =
            tokio::join!(server.connect(version, Credential::none()), server.connect(version, Credential::none()));
        let call = async |client: &crate::common::Client| client.call("slow", json!({ "ms": 30 })).await.code();
        let codes = tokio::join!(call(&one), call(&two), call(&one), call(&two), call(&one), call(&two));
        assert_eq!(codes.0, "ran", "{transport:?}");
        assert_eq!(fixture.demo.runs("slow finished"), 6, "{transport:?}");
        assert_eq!(fixture.demo.peak(), 2, "{transport:?}");
    }
}

/// Stops denied calls from using up the room of allowed ones, and one that waits for room from being run unguarded.
#[tokio::test]
async fn load_is_shed_behind_the_guard() {
    for transport in TRANSPORTS {
        let fixture = Fixture::new();
        let layers = ServiceBuilder::new().load_shed().concurrency_limit(1);
        let stack = fixture.guard.tool_stack(fixture.demo.clone(), layers);
        let server = Server::start(transport, stack, &fixture.guard).await;
        let client = server.connect(transport.versions().last().unwrap(), Credential::none()).await;
        let running = client.call("slow", json!({ "ms": 2_000 }));
        let meanwhile = async {
            while fixture.demo.runs("slow") == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let denied = client.call("level1", json!({})).await.code();
            let shed = client.call("open", json!({})).await.code();
            (denied, shed)
        };
        let (ran, (denied, shed)) = tokio::join!(running, meanwhile);
        assert_eq!(ran.code(), "ran", "{transport:?}");
        assert_eq!(denied, "badge_missing", "{transport:?}");
        assert_eq!(shed, format!("error {OVERLOAD_CODE}"), "{transport:?}");
        assert_eq!(fixture.demo.runs("open"), 0, "{transport:?}");
        assert_eq!(fixture.records("decision").len(), 3, "{transport:?}");
        assert_eq!(fixture.records("outcome").len(), 2, "{transport:?}");
    }
}

/// Stops an error of some layer from telling a client how the server is built.
#[tokio::test]
async fn other_errors_of_layers_do_not_leak() {
    let fixture = Fixture::new();
    let layers = ServiceBuilder::new().map_err(|_: ErrorData| BoxError::from("secret internals"));
    let stack = fixture.guard.tool_stack(fixture.demo.clone(), layers);
    let server = Server::start(Transport::Duplex, stack, &fixture.guard).await;
    let client = server.client(Credential::none()).await;
    let answer = client.call("protocol_error", json!({})).await;
    assert_eq!((answer.code(), answer.text()), ("error -32603".to_owned(), "internal error".to_owned()));
}

/// The guard's own state is one for all clones: a task that was created through one clone is found through another.
#[tokio::test]
async fn clones_of_a_stack_share_the_owners_of_tasks() {
    let fixture = Fixture::new();
    let stack = fixture.guard.tool_stack(fixture.demo.clone(), ServiceBuilder::new().timeout(Duration::from_secs(5)));
    let server = Server::start(Transport::HttpStatelessJson, stack, &fixture.guard).await;
    let owner = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    assert_eq!(owner.call("vip_job", json!({ "id": "t" })).await.code(), "task");
    assert!(owner.get_task("t").await.is_ok());
    let other = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
    assert!(other.get_task("t").await.is_err());
}

/// A tower service of tool calls that must be polled ready before each call, and says if it was not.
#[derive(Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    /// Readiness is of one service, not of its clones.
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<ToolCall> for Strict {
    type Response = CallToolResponse;
    type Error = ErrorData;
    type Future = std::future::Ready<Result<CallToolResponse, ErrorData>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ErrorData>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: ToolCall) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into()))
    }
}

/// A handler that dispatches its tool calls to a guarded tower service.
#[derive(Clone)]
pub struct Dispatcher<T>(pub T);

impl<T> rmcp::ServerHandler for Dispatcher<T>
where
    T: Service<ToolCall, Response = CallToolResponse, Error = ErrorData, Future: Send> + Clone + Send + Sync + 'static,
{
    async fn call_tool(
        &self,
        params: rmcp::model::CallToolRequestParams,
        context: RequestContext<rmcp::RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.clone().oneshot(ToolCall::new(params, context, None)).await
    }
}

#[tokio::test]
async fn a_guard_is_a_tower_service_of_tool_calls() {
    let fixture = Fixture::new();
    let strict = Strict::default();
    let calls = Arc::clone(&strict.calls);
    let server = Server::duplex(Dispatcher(fixture.guard.layer(strict)));
    let stranger = server.client(Credential::none()).await;
    assert_eq!(stranger.call("open", json!({})).await.code(), "ran");
    assert_eq!(stranger.call("level2", json!({})).await.code(), "badge_missing");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let agent = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    for _ in 0..2 {
        assert_eq!(agent.call("level2", json!({})).await.code(), "ran");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(fixture.records("decision").len(), 4);
    assert_eq!(fixture.records("outcome").len(), 3);
}

/// Stops a call from going unrecorded because somebody outside the guard gave up on it.
#[tokio::test]
async fn a_guarded_call_that_is_dropped_is_recorded_as_cancelled() {
    let fixture = Fixture::new();
    let forever = tower::service_fn(|_: ToolCall| std::future::pending::<Result<CallToolResponse, ErrorData>>());
    let outside = ServiceBuilder::new()
        .map_err(|_: BoxError| ErrorData::internal_error("given up", None))
        .timeout(Duration::from_millis(50))
        .layer(fixture.guard.clone())
        .service(forever);
    let server = Server::duplex(Dispatcher(outside));
    let client = server.client(Credential::none()).await;
    assert_eq!(client.call("open", json!({})).await.text(), "given up");
    let outcomes: Vec<_> = fixture.records("outcome").iter().map(|it| it["rmcp_guard.outcome"].clone()).collect();
    assert_eq!(outcomes, ["cancelled"]);
}
