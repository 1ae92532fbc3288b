//! Tools that work as tasks (SEP-2663).

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateTaskResult, InputRequest, InputResponses,
    JsonObject,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use serde_json::Value;

const MAX_SLEEP: Duration = Duration::from_secs(60);

pub(crate) fn is_task_tool(tool: &str) -> bool {
    matches!(tool, "slow_compute" | "protocol_error_job") || needs_task(tool)
}

/// Whether a tool has no answer to give at once.
fn needs_task(tool: &str) -> bool {
    matches!(tool, "failing_job" | "confirm_delete" | "multi_input" | "test_tool_with_task")
}

/// A client that cannot follow a task gets no answer from a tool that needs one.
pub(crate) fn refuse_without_tasks(tool: &str, client_has_tasks: bool) -> Result<(), ErrorData> {
    if needs_task(tool) && !client_has_tasks {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    Ok(())
}

pub(crate) struct Job {
    pub(crate) tool: String,
    pub(crate) arguments: JsonObject,
    /// What the client answered before the task began.
    pub(crate) answers: InputResponses,
    pub(crate) questions: BTreeMap<String, InputRequest>,
}

impl Job {
    pub(crate) async fn run(self, tasks: &TaskManager, client_has_tasks: bool) -> Result<CallToolResponse, ErrorData> {
        if !client_has_tasks {
            return match self.work(None).await {
                Ok(result) => Ok(result.into()),
                Err(TaskExit::Error(error)) => Err(error),
                Err(TaskExit::Cancelled) => Err(ErrorData::internal_error("cancelled", None)),
            };
        }
        let task = tasks.spawn(TaskOptions::default(), move |context| {
            Box::pin(async move {
                tokio::select! {
                    () = context.cancelled() => Err(TaskExit::Cancelled),
                    result = self.work(Some(&context)) => result,
                }
            })
        });
        Ok(CreateTaskResult::new(task).into())
    }

    async fn work(&self, context: Option<&TaskContext>) -> Result<CallToolResult, TaskExit> {
        let done = |text: String| Ok(CallToolResult::success(vec![ContentBlock::text(text)]));
        match self.tool.as_str() {
            "slow_compute" => {
                let seconds = self.arguments.get("seconds").and_then(Value::as_f64).unwrap_or(1.0);
                tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default().min(MAX_SLEEP)).await;
                done(format!("computed for {seconds} s"))
            }
            "failing_job" => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(CallToolResult::error(vec![ContentBlock::text("this job always fails")]))
            }
            "protocol_error_job" => Err(ErrorData::internal_error("this job always ends with an error", None).into()),
            "confirm_delete" => done(format!("answered: {}", self.ask(context, "confirm").await?)),
            "multi_input" => {
                let (first, second) = tokio::join!(self.ask(context, "input-a"), self.ask(context, "input-b"));
                done(format!("answered: {} {}", first?, second?))
            }
            _ => {
                let name = self.answers.get("user_name").and_then(|answer| answer.pointer("/content/name"));
                done(format!("Hello, {}!", name.and_then(Value::as_str).unwrap_or("friend")))
            }
        }
    }

    async fn ask(&self, context: Option<&TaskContext>, key: &str) -> Result<Value, TaskExit> {
        let (Some(context), Some(question)) = (context, self.questions.get(key)) else {
            return Err(ErrorData::internal_error("there is nobody to ask", None).into());
        };
        context.request_input(key, question.clone()).await
    }
}
