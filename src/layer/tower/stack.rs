//! An rmcp server whose tool calls go through a tower stack.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, CallToolResponse, ErrorCode};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::forward::forward_to_inner;
use crate::layer::guard::{Guard, GuardLayer, OVERLOAD_CODE, TIMEOUT_CODE};
use crate::layer::tower::{ToolCall, ToolService};

type BoxError = Box<dyn Error + Send + Sync>;

/// A handler whose `tools/call` runs through tower layers, while every other method goes to it directly.
///
/// Made by [`GuardLayer::tool_stack`] alone, which puts a guard around it: with the only guard among the layers, tasks,
/// lists and custom methods would pass beside it.
pub struct ToolStack<H, T> {
    inner: Arc<H>,
    tools: T,
}

impl GuardLayer {
    /// A guarded server with tower layers between the guard and the tools of `handler`.
    ///
    /// `layers` is anything that makes a service of [`ToolCall`]s, such as a `tower::ServiceBuilder`. Clones of the
    /// result share what clones of its services share: limits, buffers, and all state of this guard.
    ///
    /// A guard among `layers` sees requests whose credentials are gone, and denies what is not anonymous.
    #[must_use]
    pub fn tool_stack<H, L>(&self, handler: H, layers: L) -> Guard<ToolStack<H, L::Service>>
    where
        H: ServerHandler,
        L: Layer<ToolService<H>>,
    {
        let inner = Arc::new(handler);
        let tools = layers.layer(ToolService::new(Arc::clone(&inner)));
        self.layer(ToolStack { inner, tools })
    }
}

impl<H, T: Clone> Clone for ToolStack<H, T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), tools: self.tools.clone() }
    }
}

impl<H, T> fmt::Debug for ToolStack<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolStack").finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<H, T> ServerHandler for ToolStack<H, T>
where
    H: ServerHandler,
    T: Service<ToolCall, Response = CallToolResponse> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let definition = self.inner.get_tool(&params.name);
        let mut tools = self.tools.clone();
        poll_fn(|cx| tools.poll_ready(cx)).await.map_err(error_data)?;
        tools.call(ToolCall::new(params, context, definition)).await.map_err(error_data)
    }

    forward_to_inner! {
        ping, initialize, negotiate_initialize, supported_protocol_versions, discover, complete, set_level, get_prompt,
        list_prompts, list_resources, list_resource_templates, read_resource, accepted_subscription_filter, listen,
        subscribe, unsubscribe, list_tools, get_tool, on_custom_request, on_cancelled, on_progress, on_initialized,
        on_roots_list_changed, on_custom_notification, get_info, get_task, update_task, cancel_task, list_skills,
        get_skill, read_resource_directory,
    }
}

/// A layer's error as the client may see it: the handler's own errors as they are, others by their kind alone.
fn error_data(error: impl Into<BoxError>) -> ErrorData {
    let error = match error.into().downcast::<ErrorData>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    if error.is::<tower::timeout::error::Elapsed>() {
        return ErrorData::new(ErrorCode(TIMEOUT_CODE), "the tool call took too long", None);
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return ErrorData::new(ErrorCode(OVERLOAD_CODE), "the server is overloaded; try again later", None);
    }
    tracing::error!(%error, "a tower layer around the tools failed");
    ErrorData::internal_error("internal error", None)
}
