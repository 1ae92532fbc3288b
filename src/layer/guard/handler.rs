//! `Guard`: the service side, as an rmcp handler.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam, CompleteRequestParams,
    CompleteResult, CustomNotification, CustomRequest, CustomResult, DiscoverResult, GetPromptRequestParams,
    GetPromptResponse, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult, InitializeRequestParams,
    InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, Reference, SubscribeRequestParams,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::enforce::{Action, Outcome};
use crate::layer::forward::forward_to_inner;
use crate::layer::guard::answer::cut_off;
use crate::layer::guard::facts::strip_params_meta;
use crate::layer::guard::gate::{Context, Gate, keep_private, terminal};
use crate::layer::guard::opened::Opened;
use crate::layer::guard::pass::Admitted;
use crate::layer::guard::receipt::{Answer as _, stripped};
use crate::layer::guard::round::Round;
use crate::policy::GuardedMethod;

type NotificationCtx = NotificationContext<RoleServer>;

/// An rmcp server with a guard around it; made by [`GuardLayer`](crate::layer::guard::GuardLayer).
///
/// There is no way to take the inner server out again.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    pub(crate) inner: S,
    pub(crate) gate: Gate,
}

impl<S: ServerHandler> Guard<S> {
    async fn guarded_call(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let definition = self.inner.get_tool(&request.name);
        let Admitted { params, context, mut pass } = match self.gate.admit(request, context, definition.as_ref()).await
        {
            Ok(admitted) => admitted,
            Err(denial) => return self.gate.shape.answer(&denial),
        };
        let spare = pass.client_has_tasks.then(|| context.clone());
        let ran = pass.run(self.inner.call_tool(params, context)).await.map(stripped);
        let (settlement, mut answer) = match ran {
            Ok(mut answer) => (pass.judge(answer.as_mut().ok()), answer),
            Err(reason) => (pass.end(reason), Err(cut_off())),
        };
        let withheld = match settlement.finish().await {
            Ok(receipt) => {
                if let Ok(answer) = &mut answer {
                    answer.attach(receipt.as_ref());
                }
                return answer;
            }
            Err(withheld) => withheld,
        };
        if let (Some(id), Some(context)) = (withheld.orphan, spare) {
            // Best effort: what nobody can reach should not run on.
            if let Err(error) = self.inner.cancel_task(CancelTaskParams::new(id), context).await {
                tracing::warn!(code = error.code.0, "a task without an owner could not be cancelled");
            }
        }
        self.gate.shape.answer(&withheld.denial)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: ServerHandler> ServerHandler for Guard<S> {
    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        // rmcp makes one future of all methods and moves it about, which costs more than a box
        Box::pin(self.guarded_call(request, context)).await
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let facts = self.gate.take_facts(&mut context);
        let first_page = request.as_ref().is_none_or(|page| page.cursor.is_none());
        let mut page = stripped(self.inner.list_tools(request, context).await)?;
        self.gate.filter_tools(&facts, first_page, &mut page, |tool| self.inner.get_tool(tool)).await;
        Ok(page)
    }

    async fn get_task(&self, mut request: GetTaskParams, mut context: Context) -> Result<GetTaskResult, ErrorData> {
        let id = request.task_id.clone();
        let definition = |tool: &str| self.inner.get_tool(tool);
        let permit = Box::pin(self.gate.permit_task("tasks/get", &id, &mut context, definition)).await?;
        strip_params_meta(&mut request.meta);
        let answer = self.inner.get_task(request, context).await;
        if let Ok(result) = &answer {
            self.gate.task_lives(&id, result.task.task.ttl_ms);
            if let Some(status) = terminal(result.task.status()) {
                self.gate.task_ended(&id, status, &permit).await?;
            }
        }
        self.gate.conclude(permit, answer).await
    }

    async fn update_task(&self, mut request: UpdateTaskParams, mut context: Context) -> Result<(), ErrorData> {
        let definition = |tool: &str| self.inner.get_tool(tool);
        let permit = self.gate.permit_task("tasks/update", &request.task_id, &mut context, definition);
        let permit = Box::pin(permit).await?;
        strip_params_meta(&mut request.meta);
        let answer = self.inner.update_task(request, context).await;
        self.gate.conclude(permit, answer).await
    }

    async fn cancel_task(&self, mut request: CancelTaskParams, mut context: Context) -> Result<(), ErrorData> {
        let id = request.task_id.clone();
        let definition = |tool: &str| self.inner.get_tool(tool);
        let permit = Box::pin(self.gate.permit_task("tasks/cancel", &id, &mut context, definition)).await?;
        strip_params_meta(&mut request.meta);
        let answer = self.inner.cancel_task(request, context).await;
        if answer.is_ok() {
            self.gate.task_ended(&id, "cancelled", &permit).await?;
        }
        self.gate.conclude(permit, answer).await
    }

    async fn complete(
        &self,
        mut request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = match &request.r#ref {
            Reference::Prompt(prompt) => prompt.name.clone(),
            Reference::Resource(resource) => resource.uri.clone(),
            _ => String::new(),
        };
        let action = (GuardedMethod::Completion, "completion/complete", &*target);
        let run = |context| self.inner.complete(request, context);
        self.gate.method(action, context, run, |_, _| Outcome::Ok).await
    }

    #[expect(deprecated, reason = "peers before 2026-07-28 still send it")]
    async fn set_level(
        &self,
        mut request: rmcp::model::SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        strip_params_meta(&mut request.meta);
        let run = |context| self.inner.set_level(request, context);
        self.gate.method((GuardedMethod::Logging, "logging/setLevel", ""), context, run, |(), _| Outcome::Ok).await
    }

    async fn get_prompt(
        &self,
        mut request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.name.clone();
        let round = Round::new("prompts/get", &target, request.arguments.as_ref(), request.request_state.take());
        let run = |context, state| {
            request.request_state = state;
            self.inner.get_prompt(request, context)
        };
        let adapt = |answer: &mut GetPromptResponse, _| match answer {
            GetPromptResponse::InputRequired(_) => Outcome::InputRequired,
            GetPromptResponse::Complete(_) | _ => Outcome::Ok,
        };
        let action = (GuardedMethod::Prompts, "prompts/get", &*target);
        self.gate.method_in_rounds(action, Some(round), context, run, adapt).await
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let run = |context| self.inner.list_prompts(request, context);
        let adapt = |page: &mut ListPromptsResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut page.ttl_ms, &mut page.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Prompts, "prompts/list", ""), context, run, adapt).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let run = |context| self.inner.list_resources(request, context);
        let adapt = |page: &mut ListResourcesResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut page.ttl_ms, &mut page.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Resources, "resources/list", ""), context, run, adapt).await
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let run = |context| self.inner.list_resource_templates(request, context);
        let adapt = |page: &mut ListResourceTemplatesResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut page.ttl_ms, &mut page.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Resources, "resources/templates/list", ""), context, run, adapt).await
    }

    async fn read_resource(
        &self,
        mut request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.uri.clone();
        let round = Round::new("resources/read", &target, None, request.request_state.take());
        let run = |context, state| {
            request.request_state = state;
            self.inner.read_resource(request, context)
        };
        let adapt = |answer: &mut ReadResourceResponse, depends_on_caller| match answer {
            ReadResourceResponse::InputRequired(_) => Outcome::InputRequired,
            ReadResourceResponse::Complete(result) => {
                keep_private(depends_on_caller, &mut result.ttl_ms, &mut result.cache_scope);
                Outcome::Ok
            }
            _ => Outcome::Ok,
        };
        let action = (GuardedMethod::Resources, "resources/read", &*target);
        self.gate.method_in_rounds(action, Some(round), context, run, adapt).await
    }

    async fn read_resource_directory(
        &self,
        mut request: ReadResourceDirectoryRequestParams,
        context: Context,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.uri.clone();
        let run = |context| self.inner.read_resource_directory(request, context);
        let adapt = |page: &mut ReadResourceDirectoryResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut page.ttl_ms, &mut page.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Resources, "resources/directory/read", &*target), context, run, adapt).await
    }

    async fn list_skills(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListSkillsResult, ErrorData> {
        let run = |context| self.inner.list_skills(request, context);
        let adapt = |page: &mut ListSkillsResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut page.ttl_ms, &mut page.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Skills, "skills/list", ""), context, run, adapt).await
    }

    async fn get_skill(
        &self,
        mut request: GetSkillRequestParams,
        context: Context,
    ) -> Result<GetSkillResult, ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.uri.clone();
        let run = |context| self.inner.get_skill(request, context);
        let adapt = |result: &mut GetSkillResult, depends_on_caller| {
            keep_private(depends_on_caller, &mut result.ttl_ms, &mut result.cache_scope);
            Outcome::Ok
        };
        self.gate.method((GuardedMethod::Skills, "skills/get", &*target), context, run, adapt).await
    }

    #[expect(deprecated, reason = "peers before 2026-07-28 still send it")]
    async fn subscribe(&self, mut request: SubscribeRequestParams, context: Context) -> Result<(), ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.uri.clone();
        let run = |context| self.inner.subscribe(request, context);
        let action = (GuardedMethod::Subscriptions, "resources/subscribe", &*target);
        self.gate.method(action, context, run, |(), _| Outcome::Ok).await
    }

    #[expect(deprecated, reason = "peers before 2026-07-28 still send it")]
    async fn unsubscribe(&self, mut request: UnsubscribeRequestParams, context: Context) -> Result<(), ErrorData> {
        strip_params_meta(&mut request.meta);
        let target = request.uri.clone();
        let run = |context| self.inner.unsubscribe(request, context);
        let action = (GuardedMethod::Subscriptions, "resources/unsubscribe", &*target);
        self.gate.method(action, context, run, |(), _| Outcome::Ok).await
    }

    /// rmcp acknowledges a subscription before it asks, so a denied one ends with its error and has carried nothing.
    /// What it carries leaves before its answer, so the decision is on record before the handler listens.
    /// It ends with the credential that opened it: dropping the context closes its sinks, and rmcp sends the error.
    /// The context cannot be changed from outside rmcp: a handler's own `listen` sees the request as it came.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let facts = self.gate.take_facts(&mut context.request_context().clone());
        let (class, method, target) = (GuardedMethod::Subscriptions, "subscriptions/listen", "");
        let permit = self.gate.permit_method(&facts, (class, method, target), None).await?;
        let opened = Opened::new(&permit, Action::Method { class, method, target }, &context.request_context().ct);
        self.gate.finish(permit, Outcome::Ok).await?;
        match self.gate.run(&facts, &opened, self.inner.listen(context)).await {
            Ok(ended) => stripped(ended),
            Err(reason) => Err(self.gate.end(opened, reason)),
        }
    }

    async fn on_custom_request(&self, request: CustomRequest, context: Context) -> Result<CustomResult, ErrorData> {
        let method = request.method.clone();
        let run = |context| self.inner.on_custom_request(request, context);
        Box::pin(self.gate.custom_request(&method, context, run)).await
    }

    async fn on_custom_notification(&self, notification: CustomNotification, mut context: NotificationCtx) {
        let permit = self.gate.permit_custom_notification(&notification.method, &mut context).await;
        if let Some(permit) = permit {
            self.inner.on_custom_notification(notification, context).await;
            // No answer leaves that a failure could withhold; the permit has logged it.
            let _ = self.gate.finish(permit, Outcome::Ok).await;
        }
    }

    async fn initialize(
        &self,
        mut request: InitializeRequestParams,
        mut context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        strip_params_meta(&mut request.meta);
        Gate::strip(&mut context);
        stripped(self.inner.initialize(request, context).await)
    }

    async fn discover(&self, mut context: Context) -> Result<DiscoverResult, ErrorData> {
        Gate::strip(&mut context);
        stripped(self.inner.discover(context).await)
    }

    async fn ping(&self, mut context: Context) -> Result<(), ErrorData> {
        Gate::strip(&mut context);
        stripped(self.inner.ping(context).await)
    }

    async fn on_cancelled(&self, notification: CancelledNotificationParam, mut context: NotificationCtx) {
        Gate::strip_notification(&mut context);
        self.inner.on_cancelled(notification, context).await;
    }

    async fn on_progress(&self, notification: ProgressNotificationParam, mut context: NotificationCtx) {
        Gate::strip_notification(&mut context);
        self.inner.on_progress(notification, context).await;
    }

    async fn on_initialized(&self, mut context: NotificationCtx) {
        Gate::strip_notification(&mut context);
        self.inner.on_initialized(context).await;
    }

    async fn on_roots_list_changed(&self, mut context: NotificationCtx) {
        Gate::strip_notification(&mut context);
        self.inner.on_roots_list_changed(context).await;
    }

    // These have no caller. `get_tool` is asked by rmcp's HTTP service before the guard.
    forward_to_inner! {
        negotiate_initialize, supported_protocol_versions, accepted_subscription_filter, get_tool, get_info,
    }
}
