//! A server with a tool of each class, and with every other method that MCP has. It counts what reaches it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::enforce::Principal;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Value, json};

use super::LEVELS;

/// Tools that anybody may call.
pub const OPEN_TOOLS: &[&str] =
    &["open", "look", "slow", "fail", "protocol_error", "panic", "ask", "job", "beside_level3", "beside_broken"];

/// Tools that ask for a badge of the level in their name.
pub const LEVEL_TOOLS: &[&str] = &["level0", "level1", "level2", "level3", "level4"];

type Context = RequestContext<RoleServer>;

#[derive(Clone, Default)]
pub struct Demo {
    runs: Arc<Mutex<BTreeMap<String, usize>>>,
    tasks: Arc<Mutex<BTreeMap<String, TaskPayload>>>,
    running: Arc<Mutex<(usize, usize)>>,
    /// What `look` and custom methods saw of their last request.
    pub seen: Arc<Mutex<Value>>,
}

impl Demo {
    /// How often a tool or a method has been reached.
    pub fn runs(&self, what: &str) -> usize {
        self.runs.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    pub fn all_runs(&self) -> BTreeMap<String, usize> {
        self.runs.lock().unwrap().clone()
    }

    /// The largest number of `slow` calls that ran at once.
    pub fn peak(&self) -> usize {
        self.running.lock().unwrap().1
    }

    pub fn task(&self, id: &str) -> Option<TaskPayload> {
        self.tasks.lock().unwrap().get(id).cloned()
    }

    fn count(&self, what: &str) {
        *self.runs.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    fn look(&self, meta: &Map, extensions: &Extensions) -> Value {
        let headers = extensions
            .get::<http::request::Parts>()
            .map(|parts| parts.headers.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>());
        let principal = extensions.get::<Principal>().map(|it| {
            json!({
                "auth_level": it.auth_level.as_str(),
                "did": it.did.as_ref().map(ToString::to_string),
                "trust_level": it.trust_level.map(TrustLevel::as_u8),
                "evidence_id": it.evidence_id.map(|id| id.to_string()),
            })
        });
        let seen = json!({
            "meta": meta.keys().collect::<Vec<_>>(), "headers": headers, "principal": principal,
            "extensions": [
                extensions.get::<RequestMetaObject>().map(|meta| json!(meta)),
                extensions.get::<NotificationMetaObject>().map(|meta| json!(meta)),
            ],
        });
        *self.seen.lock().unwrap() = seen.clone();
        seen
    }

    fn start_task(&self, id: &str) -> CallToolResponse {
        self.tasks.lock().unwrap().entry(id.to_owned()).or_insert(TaskPayload::Working);
        CreateTaskResult::new(task(id)).into()
    }

    fn task_or_error(&self, id: &str) -> Result<TaskPayload, ErrorData> {
        self.task(id).ok_or_else(|| ErrorData::invalid_params("task not found", None))
    }
}

type Map = serde_json::Map<String, Value>;

fn task(id: &str) -> Task {
    Task::new(id, TaskStatus::Working, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
}

fn text(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text.into())]).into()
}

fn meta(value: &Value) -> MetaObject {
    MetaObject(value.as_object().unwrap().clone())
}

fn tool(name: &'static str) -> Tool {
    let schema = json!({ "type": "object" }).as_object().unwrap().clone();
    let mut tool = Tool::new(name, "a tool", Arc::new(schema));
    tool.meta = match name {
        "beside_level3" => {
            let mut meta = MetaObject(ToolRequirement::min_trust(LEVELS[3]).to_meta());
            meta.insert("example.com/colour".to_owned(), json!("blue"));
            Some(meta)
        }
        "beside_broken" => Some(meta(&json!({ ToolRequirement::META_KEY: { "min_trust_level": "high" } }))),
        _ => None,
    };
    tool
}

pub fn tools() -> Vec<Tool> {
    let others = ["member", "vip_job", "unlisted"];
    OPEN_TOOLS.iter().chain(LEVEL_TOOLS).chain(&others).map(|name| tool(name)).collect()
}

struct Running(Arc<Mutex<(usize, usize)>>);

impl Running {
    fn new(running: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut now = running.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        Self(Arc::clone(running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

#[expect(deprecated, reason = "legacy methods are guarded too")]
impl ServerHandler for Demo {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    /// Two pages.
    async fn list_tools(&self, page: Option<PaginatedRequestParams>, _: Context) -> Result<ListToolsResult, ErrorData> {
        self.count("tools/list");
        let mut first = tools();
        let second = first.split_off(7);
        let mut result = match page.and_then(|page| page.cursor).as_deref() {
            None => {
                let mut page = ListToolsResult::with_all_items(first);
                page.next_cursor = Some("2".to_owned());
                page
            }
            Some("2") => ListToolsResult::with_all_items(second),
            Some(_) => return Err(ErrorData::invalid_params("no such page", None)),
        };
        result.cache_scope = Some(CacheScope::Public);
        result.ttl_ms = Some(60_000);
        Ok(result)
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        self.count(&request.name);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        Ok(match &*request.name {
            "look" => {
                let mut seen = self.look(&context.meta.0.0, &context.extensions);
                seen["params_meta"] = json!(request.meta.map(|meta| meta.0.0));
                text(seen.to_string())
            }
            "slow" => {
                let _running = Running::new(&self.running);
                let time = Duration::from_millis(arguments["ms"].as_u64().unwrap_or(60_000));
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
                }
                self.count("slow finished");
                text("slow")
            }
            "fail" => CallToolResult::error(vec![ContentBlock::text("failed")]).into(),
            "protocol_error" => return Err(ErrorData::invalid_params("the tool's own error", None)),
            "panic" => panic!("a tool that panics"),
            "ask" => InputRequiredResult::from_request_state("state").into(),
            "job" | "vip_job" => {
                let id = arguments["id"].as_str().map_or_else(|| format!("task-{}", self.runs("job")), str::to_owned);
                self.start_task(&id)
            }
            name if get(name) => text(format!("{name} ran")),
            _ => return Err(ErrorData::invalid_params("tool not found", None)),
        })
    }

    async fn get_task(&self, request: GetTaskParams, _: Context) -> Result<GetTaskResult, ErrorData> {
        self.count("tasks/get");
        let payload = self.task_or_error(&request.task_id)?;
        Ok(GetTaskResult::new(DetailedTask::new(task(&request.task_id), payload)))
    }

    /// Completes the task.
    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Result<(), ErrorData> {
        self.count("tasks/update");
        self.task_or_error(&request.task_id)?;
        let result = json!({ "content": [{ "type": "text", "text": "the result" }] }).as_object().unwrap().clone();
        self.tasks.lock().unwrap().insert(request.task_id, TaskPayload::Completed { result });
        Ok(())
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Result<(), ErrorData> {
        self.count("tasks/cancel");
        self.task_or_error(&request.task_id)?;
        self.tasks.lock().unwrap().insert(request.task_id, TaskPayload::Cancelled);
        Ok(())
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        self.count("completion/complete");
        Ok(CompleteResult::default())
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        self.count("logging/setLevel");
        Ok(())
    }

    async fn get_prompt(&self, _: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        self.count("prompts/get");
        Ok(GetPromptResult::new(Vec::new()).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.count("prompts/list");
        Ok(ListPromptsResult {
            cache_scope: Some(CacheScope::Public),
            ttl_ms: Some(60_000),
            ..ListPromptsResult::default()
        })
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.count("resources/list");
        Ok(ListResourcesResult::default())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.count("resources/templates/list");
        Ok(ListResourceTemplatesResult::default())
    }

    async fn read_resource(&self, _: ReadResourceRequestParams, _: Context) -> Result<ReadResourceResponse, ErrorData> {
        self.count("resources/read");
        Ok(ReadResourceResult::new(Vec::new()).into())
    }

    async fn read_resource_directory(
        &self,
        _: ReadResourceDirectoryRequestParams,
        _: Context,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        self.count("resources/directory/read");
        Ok(ListResourcesResult::default())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, _: SubscriptionContext) -> Result<(), ErrorData> {
        self.count("subscriptions/listen");
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.count("resources/subscribe");
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.count("resources/unsubscribe");
        Ok(())
    }

    async fn list_skills(&self, _: Option<PaginatedRequestParams>, _: Context) -> Result<ListSkillsResult, ErrorData> {
        self.count("skills/list");
        Ok(ListSkillsResult::default())
    }

    async fn get_skill(&self, _: GetSkillRequestParams, _: Context) -> Result<GetSkillResult, ErrorData> {
        self.count("skills/get");
        Err(ErrorData::invalid_params("no such skill", None))
    }

    /// The worst case: a proxy that would run whatever it is sent.
    async fn on_custom_request(&self, request: CustomRequest, context: Context) -> Result<CustomResult, ErrorData> {
        self.count("custom request");
        self.look(&context.meta.0.0, &context.extensions);
        Ok(CustomResult(json!({ "ran": request.method })))
    }

    async fn on_custom_notification(&self, _: CustomNotification, context: NotificationContext<RoleServer>) {
        self.look(&context.meta.0.0, &context.extensions);
        self.count("custom notification");
    }
}

fn get(name: &str) -> bool {
    tools().iter().any(|tool| tool.name == name)
}
