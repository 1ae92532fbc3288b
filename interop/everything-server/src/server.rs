//! The server, which knows nothing of a guard.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
    ClientResult, CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, CreateMessageRequestParams,
    ElicitRequest, ElicitRequestParams, ElicitationSchema, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    GetTaskParams, GetTaskResult, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, LoggingLevel, LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam,
    PromptMessage, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents, Role,
    SamplingMessage, ServerCapabilities, ServerConfig, ServerRequest, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::task_manager::TaskManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use crate::fixtures::Fixtures;
use crate::rounds::{self, Attempt, RequestStates, Step};
use crate::tasks::{Job, is_task_tool, refuse_without_tasks};

/// How long lists and contents may be kept.
const TTL_MS: u64 = 60_000;

/// Between two messages of a tool, so that each leaves before the next.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a subscription may take from its acknowledgement to the first notification that it gets.
const SETTLE: Duration = Duration::from_millis(250);

type Context = RequestContext<RoleServer>;

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Everything {
    fixtures: Arc<Fixtures>,
    states: Arc<RequestStates>,
    tasks: TaskManager,
    subscribers: Arc<Mutex<HashMap<u64, SubscriptionSink>>>,
    next_subscriber: Arc<AtomicU64>,
    runs: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Everything {
    pub(crate) fn new() -> serde_json::Result<Self> {
        Ok(Self {
            fixtures: Arc::new(Fixtures::load()?),
            states: Arc::default(),
            tasks: TaskManager::new(),
            subscribers: Arc::default(),
            next_subscriber: Arc::default(),
            runs: Arc::default(),
        })
    }

    /// How often each tool ran.
    pub(crate) fn runs(&self) -> BTreeMap<String, u64> {
        lock(&self.runs).clone()
    }

    fn step(
        &self,
        name: &str,
        request: (Option<&rmcp::model::InputResponses>, Option<&str>),
        declared: Option<ClientCapabilities>,
    ) -> Result<Option<Step>, ErrorData> {
        let Some(script) = self.fixtures.rounds.get(name) else { return Ok(None) };
        // One tool asks only for what its client can give; the others ask, and leave it to rmcp to see whether it can.
        let capabilities = match declared {
            Some(declared) if name.ends_with("_capabilities") => declared,
            _ => rounds::every_capability(),
        };
        let states = self.fixtures.sealed.contains(name).then_some(&*self.states);
        let (responses, state) = request;
        rounds::next(script, states, &Attempt { responses, state, capabilities }).map(Some)
    }

    async fn tell_subscribers(&self, tool: &str) {
        // rmcp acknowledges a subscription before its handler listens, and a guard puts its decision on record in between.
        tokio::time::sleep(SETTLE).await;
        let subscribers: Vec<_> = lock(&self.subscribers).values().cloned().collect();
        for subscriber in subscribers {
            // One that did not ask for it, or is gone, is not told.
            let _ = match tool {
                "test_trigger_tool_change" => subscriber.notify_tool_list_changed().await,
                _ => subscriber.notify_prompt_list_changed().await,
            };
        }
    }

    async fn run(&self, tool: &str, request: &CallToolRequestParams, context: &Context) -> Result<String, ErrorData> {
        let argument = |name| {
            let value = request.arguments.as_ref().and_then(|arguments| arguments.get(name));
            value.and_then(Value::as_str).map(ToOwned::to_owned)
        };
        if let Some(schema) = self.fixtures.elicitations.get(tool) {
            return elicit(context, argument("message"), schema.clone()).await;
        }
        match tool {
            "test_tool_with_logging" => {
                for message in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    log(context, LoggingLevel::Info, message).await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            "test_logging_tool" => {
                if let Some(level) = context.meta.log_level() {
                    log(context, level, "as the request asked").await;
                }
            }
            "test_tool_with_progress" => {
                for progress in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let notice = ProgressNotificationParam::new(token, progress).with_total(100.0);
                        // A client that is gone is told nothing.
                        let _ = context.peer.notify_progress(notice).await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            "test_sampling" => return sample(context, argument("prompt").unwrap_or_default()).await,
            "test_missing_capability" if context.client_capabilities().unwrap_or_default().sampling.is_none() => {
                let needed = ClientCapabilities::builder().enable_sampling().build();
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            "test_trigger_tool_change" | "test_trigger_prompt_change" => self.tell_subscribers(tool).await,
            "test_reconnection" => tokio::time::sleep(PAUSE).await,
            "test_custom_header" => {
                return argument("value").ok_or_else(|| ErrorData::invalid_params("`value` is missing", None));
            }
            "greet" => return Ok(format!("Hello, {}!", argument("name").unwrap_or_else(|| "friend".to_owned()))),
            _ => {}
        }
        Ok(format!("{tool} is done"))
    }
}

impl ServerHandler for Everything {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_logging()
            .enable_completions()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("everything-server", "0.1.0"))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.fixtures.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: Context) -> Result<ListToolsResult, ErrorData> {
        let page = ListToolsResult { tools: self.fixtures.tools.clone(), ..Default::default() };
        Ok(page.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let tool = request.name.to_string();
        if self.get_tool(&tool).is_none() {
            return Err(ErrorData::invalid_params(format!("unknown tool: {tool}"), None));
        }
        lock(&self.runs).entry(tool.clone()).and_modify(|runs| *runs = runs.saturating_add(1)).or_insert(1);
        if let Some(result) = self.fixtures.results.get(&tool) {
            return Ok(result.clone().into());
        }
        let capabilities = context.client_capabilities();
        let client_has_tasks = capabilities.as_ref().is_some_and(ClientCapabilities::supports_tasks);
        refuse_without_tasks(&tool, client_has_tasks)?;
        let input = (request.input_responses.as_ref(), request.request_state.as_deref());
        let answers = match self.step(&tool, input, capabilities)? {
            Some(Step::Ask(question)) => return Ok(question.into()),
            Some(Step::Done(answers)) => Some(answers),
            None => None,
        };
        if is_task_tool(&tool) {
            let arguments = request.arguments.clone().unwrap_or_default();
            let questions = self.fixtures.task_questions.clone();
            let job = Job { tool, arguments, answers: answers.unwrap_or_default(), questions };
            return job.run(&self.tasks, client_has_tasks).await;
        }
        let text = match answers {
            Some(answers) => json!({"answers": answers}).to_string(),
            None => self.run(&tool, &request, &context).await?,
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    async fn get_task(&self, request: GetTaskParams, _: Context) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let page = ListPromptsResult { prompts: self.fixtures.prompts.clone(), ..Default::default() };
        Ok(page.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        let name = request.name.as_str();
        if let Some(result) = self.fixtures.prompt_results.get(name) {
            return Ok(result.clone().into());
        }
        let input = (request.input_responses.as_ref(), request.request_state.as_deref());
        let text = match self.step(name, input, None)? {
            Some(Step::Ask(question)) => return Ok(question.into()),
            Some(Step::Done(answers)) => json!({"answers": answers}).to_string(),
            None if name == "test_prompt_with_arguments" => {
                let arguments = request.arguments.unwrap_or_default();
                format!("Prompt with arguments: {}", Value::Object(arguments))
            }
            None => return Err(ErrorData::invalid_params(format!("unknown prompt: {name}"), None)),
        };
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let page = ListResourcesResult { resources: self.fixtures.resources.clone(), ..Default::default() };
        Ok(page.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let resource_templates = self.fixtures.templates.clone();
        let page = ListResourceTemplatesResult { resource_templates, ..Default::default() };
        Ok(page.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let template = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (self.fixtures.contents.get(&uri), template) {
            (Some(contents), _) => contents.clone(),
            (None, Some(id)) => ResourceContents::TextResourceContents {
                text: json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string(),
                mime_type: Some("application/json".to_owned()),
                uri,
                meta: None,
            },
            (None, None) => {
                return Err(ErrorData::resource_not_found("no such resource", Some(json!({"uri": uri}))));
            }
        };
        let result = ReadResourceResult::new(vec![contents]);
        Ok(result.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public).into())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let subscriber = self.next_subscriber.fetch_add(1, Ordering::Relaxed);
        lock(&self.subscribers).insert(subscriber, context.sink().clone());
        context.cancelled().await;
        lock(&self.subscribers).remove(&subscriber);
        Ok(())
    }

    async fn complete(&self, request: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        let values = vec![format!("{}-value", request.argument.value)];
        let info = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(info))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}

async fn log(context: &Context, level: LoggingLevel, message: &str) {
    let notice = LoggingMessageNotificationParam::new(level, json!(message)).with_logger("everything-server");
    // A client that is gone is told nothing.
    let _ = context.peer.notify_logging_message(notice).await;
}

async fn sample(context: &Context, prompt: String) -> Result<String, ErrorData> {
    let request = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let result = context.peer.create_message(request).await.map_err(unanswered)?;
    let text = result.message.content.first().and_then(|content| content.as_text());
    Ok(format!("LLM response: {}", text.map_or("", |text| text.text.as_str())))
}

async fn elicit(
    context: &Context,
    message: Option<String>,
    requested_schema: ElicitationSchema,
) -> Result<String, ErrorData> {
    let message = message.unwrap_or_else(|| "Please answer".to_owned());
    let request = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    let request = ServerRequest::ElicitRequest(ElicitRequest::new(request));
    let ClientResult::ElicitResult(answer) = context.peer.send_request(request).await.map_err(unanswered)? else {
        return Err(ErrorData::internal_error("the client answered something else", None));
    };
    Ok(format!("User response: {}", json!(answer)))
}

fn unanswered(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(format!("the client did not answer: {error}"), None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
