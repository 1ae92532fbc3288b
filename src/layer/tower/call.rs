//! One tool call as a request, and a handler's tools as a service.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tower_service::Service;

/// One `tools/call` with everything that rmcp knows about it.
#[derive(Clone)]
#[non_exhaustive]
pub struct ToolCall {
    /// What is called with which arguments.
    pub params: CallToolRequestParams,
    /// The request that it came with: `_meta`, extensions, and the peer to talk to.
    pub context: RequestContext<RoleServer>,
    /// The tool as its handler defines it, `None` if there is no such tool. A requirement in its `_meta` counts.
    pub definition: Option<Tool>,
}

impl ToolCall {
    /// A call of a tool with this definition, which is looked up by the exact name in `params`.
    #[must_use]
    pub const fn new(
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
        definition: Option<Tool>,
    ) -> Self {
        Self { params, context, definition }
    }
}

/// Shows the tool's name: arguments and `_meta` are the caller's secrets.
impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall").field("tool", &self.params.name).finish_non_exhaustive()
    }
}

/// The tools of an rmcp handler as a tower service. Clones share the handler.
pub struct ToolService<H> {
    handler: Arc<H>,
}

impl<H> ToolService<H> {
    pub(super) const fn new(handler: Arc<H>) -> Self {
        Self { handler }
    }
}

impl<H> Clone for ToolService<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler) }
    }
}

impl<H> fmt::Debug for ToolService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolService").finish_non_exhaustive()
    }
}

impl<H: ServerHandler> Service<ToolCall> for ToolService<H> {
    type Response = CallToolResponse;
    type Error = ErrorData;
    type Future = ToolFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ErrorData>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: ToolCall) -> ToolFuture {
        let handler = Arc::clone(&self.handler);
        ToolFuture { inner: Box::pin(async move { handler.call_tool(call.params, call.context).await }) }
    }
}

/// The future of [`ToolService`].
///
/// The one box on the way to a tool: the future of an rmcp handler borrows the handler and has no name.
#[must_use = "futures do nothing unless polled"]
pub struct ToolFuture {
    inner: Pin<Box<dyn Future<Output = Result<CallToolResponse, ErrorData>> + Send>>,
}

impl Future for ToolFuture {
    type Output = Result<CallToolResponse, ErrorData>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl fmt::Debug for ToolFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolFuture").finish_non_exhaustive()
    }
}
