//! The guard around a raw rmcp service: what is a `Service<RoleServer>` and no `ServerHandler`, such as rmcp's
//! `Router` or a `Box<dyn DynService<RoleServer>>`.
//!
//! rmcp serves these over stdio and other plain transports only; `StreamableHttpService` asks for a `ServerHandler`, so
//! a [`RawGuard`] there does not compile. Prefer [`Guard`](crate::layer::guard::Guard) wherever a handler is at hand.

#![expect(clippy::wildcard_enum_match_arm, reason = "of rmcp's unions, what is not named here is refused")]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequest, CallToolResponse, ClientNotification, ClientRequest, GetMeta as _, ProtocolVersion, Reference,
    ServerConfig, ServerResult, Tool,
};
use rmcp::service::{NotificationContext, Service};
use rmcp::{ErrorData, RoleServer};

use crate::enforce::{Outcome, is_guard_meta_key};
use crate::layer::guard::GuardLayer;
use crate::layer::guard::answer::cut_off;
use crate::layer::guard::gate::{Context, Gate, keep_private, outcome_of, terminal};
use crate::layer::guard::pass::Admitted;
use crate::layer::guard::receipt::{Answer as _, stripped};
use crate::layer::guard::round::{Round, restore_state};
use crate::policy::GuardedMethod;

type FindTool = dyn Fn(&str) -> Option<Tool> + Send + Sync;

/// A raw rmcp service with a guard around it; made by [`GuardLayer::raw`].
#[derive(Clone)]
pub struct RawGuard<S> {
    inner: S,
    gate: Gate,
    find_tool: Arc<FindTool>,
}

impl GuardLayer {
    /// Guards a raw rmcp service with the decisions of this layer.
    ///
    /// A raw service cannot be asked for a tool's definition, so `find_tool` must answer for it, by the exact name: a
    /// requirement in a tool's metadata that it does not show cannot tighten anything. Where no tool carries one,
    /// `|_| None` will do.
    pub fn raw<S>(&self, service: S, find_tool: impl Fn(&str) -> Option<Tool> + Send + Sync + 'static) -> RawGuard<S>
    where
        S: Service<RoleServer>,
    {
        RawGuard { inner: service, gate: self.gate.clone(), find_tool: Arc::new(find_tool) }
    }
}

impl<S> fmt::Debug for RawGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawGuard").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<S: Service<RoleServer>> Service<RoleServer> for RawGuard<S> {
    async fn handle_request(&self, mut request: ClientRequest, context: Context) -> Result<ServerResult, ErrorData> {
        request.get_meta_mut().retain(|key, _| !is_guard_meta_key(key));
        // rmcp checks the version inside the service, which a denial would never reach.
        if let Some(version) = context.meta.protocol_version()
            && !matches!(request, ClientRequest::InitializeRequest(_))
        {
            let supported = self.inner.supported_protocol_versions();
            if !supported.contains(&version) {
                return Err(ErrorData::unsupported_protocol_version(version, &supported));
            }
        }
        let version = context.protocol_version();
        let mut answer = self.dispatch(request, context).await?;
        if version.is_none_or(|it| it.as_str() < ProtocolVersion::V_2026_07_28.as_str()) {
            // The service has done so with its own answers; a denial is ours.
            answer.strip_result_type_for_legacy_peer();
        }
        Ok(answer)
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        mut context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let ClientNotification::CustomNotification(custom) = &notification else {
            Gate::strip_notification(&mut context);
            return self.inner.handle_notification(notification, context).await;
        };
        let Some(permit) = self.gate.permit_custom_notification(&custom.method, &mut context).await else {
            return Ok(());
        };
        let handled = self.inner.handle_notification(notification, context).await;
        self.gate.finish(permit, outcome_of(&handled)).await?;
        handled
    }

    fn get_info(&self) -> ServerConfig {
        self.inner.get_info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.inner.supported_protocol_versions()
    }
}

impl<S: Service<RoleServer>> RawGuard<S> {
    async fn dispatch(&self, mut request: ClientRequest, mut context: Context) -> Result<ServerResult, ErrorData> {
        if let Some((class, method, target)) = guarded_method(&request) {
            let round = Round::of(&mut request);
            let run = |context, state| {
                restore_state(&mut request, state);
                self.inner.handle_request(request, context)
            };
            return self.gate.method_in_rounds((class, method, &*target), round, context, run, adapt).await;
        }
        match request {
            ClientRequest::CallToolRequest(call) => self.call_tool(call, context).await,
            ClientRequest::ListToolsRequest(list) => {
                let facts = self.gate.take_facts(&mut context);
                let first_page = list.params.as_ref().is_none_or(|page| page.cursor.is_none());
                let mut answer = stripped(self.inner.handle_request(list.into(), context).await)?;
                match &mut answer {
                    ServerResult::ListToolsResult(page) => {
                        self.gate.filter_tools(&facts, first_page, page, &*self.find_tool).await;
                    }
                    _ => return Err(ErrorData::internal_error("the service did not answer with tools", None)),
                }
                Ok(answer)
            }
            ClientRequest::GetTaskRequest(get) => {
                let id = get.params.task_id.clone();
                let permit = self.gate.permit_task("tasks/get", &id, &mut context, &*self.find_tool).await?;
                let answer = self.inner.handle_request(get.into(), context).await;
                if let Ok(ServerResult::GetTaskResult(result)) = &answer {
                    self.gate.task_lives(&id, result.task.task.ttl_ms);
                    if let Some(status) = terminal(result.task.status()) {
                        self.gate.task_ended(&id, status, &permit).await?;
                    }
                }
                self.gate.conclude(permit, answer).await
            }
            ClientRequest::UpdateTaskRequest(update) => {
                let id = update.params.task_id.clone();
                let permit = self.gate.permit_task("tasks/update", &id, &mut context, &*self.find_tool).await?;
                let answer = self.inner.handle_request(update.into(), context).await;
                self.gate.conclude(permit, answer).await
            }
            ClientRequest::CancelTaskRequest(cancel) => {
                let id = cancel.params.task_id.clone();
                let permit = self.gate.permit_task("tasks/cancel", &id, &mut context, &*self.find_tool).await?;
                let answer = self.inner.handle_request(cancel.into(), context).await;
                if answer.is_ok() {
                    self.gate.task_ended(&id, "cancelled", &permit).await?;
                }
                self.gate.conclude(permit, answer).await
            }
            ClientRequest::CustomRequest(custom) => {
                let method = custom.method.clone();
                let run = |context| self.inner.handle_request(custom.into(), context);
                self.gate.custom_request(&method, context, run).await
            }
            ClientRequest::PingRequest(_) | ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_) => {
                Gate::strip(&mut context);
                stripped(self.inner.handle_request(request, context).await)
            }
            // A method that a later rmcp adds is closed until it is known here.
            other => Err(self.gate.refuse_unknown(other.method(), &mut context).await),
        }
    }

    async fn call_tool(&self, mut call: CallToolRequest, context: Context) -> Result<ServerResult, ErrorData> {
        let definition = (self.find_tool)(&call.params.name);
        let admitted = self.gate.admit(call.params, context, definition.as_ref()).await;
        let Admitted { params, context, mut pass } = match admitted {
            Ok(admitted) => admitted,
            Err(denial) => return self.gate.shape.answer(&denial).map(ServerResult::from),
        };
        call.params = params;
        let ran = pass.run(self.inner.handle_request(call.into(), context)).await.map(stripped);
        let (settlement, mut answer) = match ran.map(|answer| answer.and_then(tool_answer)) {
            Ok(mut answer) => (pass.judge(answer.as_mut().ok()), answer),
            Err(reason) => (pass.end(reason), Err(cut_off())),
        };
        match settlement.finish().await {
            Ok(receipt) => {
                if let Ok(answer) = &mut answer {
                    answer.attach(receipt.as_ref());
                }
                answer.map(ServerResult::from)
            }
            Err(withheld) => {
                if withheld.orphan.is_some() {
                    tracing::warn!("a task without an owner runs on: a raw service cannot cancel it");
                }
                self.gate.shape.answer(&withheld.denial).map(ServerResult::from)
            }
        }
    }
}

fn tool_answer(answer: ServerResult) -> Result<CallToolResponse, ErrorData> {
    match answer {
        ServerResult::CallToolResult(result) => Ok(CallToolResponse::Complete(result)),
        ServerResult::InputRequiredResult(result) => Ok(CallToolResponse::InputRequired(result)),
        ServerResult::CreateTaskResult(result) => Ok(CallToolResponse::Task(result)),
        _ => Err(ErrorData::internal_error("the service did not answer with a tool result", None)),
    }
}

/// The requests that stand under a requirement of their class, and what they name.
fn guarded_method(request: &ClientRequest) -> Option<(GuardedMethod, &'static str, String)> {
    use GuardedMethod::{Completion, Logging, Prompts, Resources, Skills, Subscriptions};
    let (class, method, target) = match request {
        ClientRequest::CompleteRequest(it) => {
            let target = match &it.params.r#ref {
                Reference::Prompt(prompt) => &*prompt.name,
                Reference::Resource(resource) => &*resource.uri,
                _ => "",
            };
            (Completion, "completion/complete", target)
        }
        ClientRequest::SetLevelRequest(_) => (Logging, "logging/setLevel", ""),
        ClientRequest::GetPromptRequest(it) => (Prompts, "prompts/get", &*it.params.name),
        ClientRequest::ListPromptsRequest(_) => (Prompts, "prompts/list", ""),
        ClientRequest::ListResourcesRequest(_) => (Resources, "resources/list", ""),
        ClientRequest::ListResourceTemplatesRequest(_) => (Resources, "resources/templates/list", ""),
        ClientRequest::ReadResourceRequest(it) => (Resources, "resources/read", &*it.params.uri),
        ClientRequest::ReadResourceDirectoryRequest(it) => (Resources, "resources/directory/read", &*it.params.uri),
        ClientRequest::SubscribeRequest(it) => (Subscriptions, "resources/subscribe", &*it.params.uri),
        ClientRequest::UnsubscribeRequest(it) => (Subscriptions, "resources/unsubscribe", &*it.params.uri),
        ClientRequest::SubscriptionsListenRequest(_) => (Subscriptions, "subscriptions/listen", ""),
        ClientRequest::ListSkillsRequest(_) => (Skills, "skills/list", ""),
        ClientRequest::GetSkillRequest(it) => (Skills, "skills/get", &*it.params.uri),
        _ => return None,
    };
    Some((class, method, target.to_owned()))
}

fn adapt(answer: &mut ServerResult, depends_on_caller: bool) -> Outcome {
    let (ttl_ms, scope) = match answer {
        ServerResult::InputRequiredResult(_) => return Outcome::InputRequired,
        ServerResult::ListPromptsResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListResourcesResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListResourceTemplatesResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ReadResourceResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListSkillsResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::GetSkillResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        _ => return Outcome::Ok,
    };
    keep_private(depends_on_caller, ttl_ms, scope);
    Outcome::Ok
}
