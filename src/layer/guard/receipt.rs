//! What an answer says in the guard's name: the receipt goes in, and whatever the inner service said in that name comes
//! out.
//!
//! A tool that could write these members could show its caller a place in the log where something else stands, a denial
//! that nobody has decided, or an identity that is not the server's. So every key of ours is taken out of every answer,
//! also where this guard puts nothing in its place, and an error cannot read as a denial.

#![expect(clippy::wildcard_enum_match_arm, reason = "of rmcp's unions, what is not named here carries no `_meta`")]

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CompleteResult, CustomResult, DiscoverResult, ErrorCode, GetPromptResponse, GetSkillResult,
    GetTaskResult, InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListSkillsResult, ListToolsResult, MetaObject, ReadResourceResponse, ServerResult, TaskPayload,
};
use serde_json::{Map, Value};

use crate::enforce::is_guard_meta_key;
use crate::evidence::Receipt;
use crate::layer::guard::DENIAL_CODE;

/// An answer of the inner service.
pub(crate) trait Answer {
    /// Its `_meta`; `None` for a kind that has none.
    fn meta(&mut self) -> Option<&mut Option<MetaObject>>;

    /// Its `requestState`; `None` for an answer that asks for no input.
    fn request_state(&mut self) -> Option<&mut Option<String>> {
        None
    }

    /// Takes out what only this guard may say.
    fn strip(&mut self) {
        if let Some(meta) = self.meta() {
            strip_meta(meta);
        }
    }

    /// Puts the receipt into an answer that has been [stripped](Self::strip).
    fn attach(&mut self, receipt: Option<&Receipt>) {
        if let (Some(receipt), Some(meta)) = (receipt, self.meta()) {
            meta.get_or_insert_default().insert(Receipt::META_KEY.to_owned(), receipt.to_json());
        }
    }
}

/// [`Answer::strip`] for whatever the inner service answered.
pub(crate) fn stripped<T: Answer>(mut answer: Result<T, ErrorData>) -> Result<T, ErrorData> {
    match &mut answer {
        Ok(answer) => answer.strip(),
        Err(error) => strip_error(error),
    }
    answer
}

/// A denial that is told as an error has a code of its own, and stands in `data` with its receipt; an error of the inner
/// service has none of these.
fn strip_error(error: &mut ErrorData) {
    if error.code == ErrorCode(DENIAL_CODE) {
        error.code = ErrorCode::INTERNAL_ERROR;
    }
    if let Some(data) = &mut error.data {
        strip_data(data);
    }
}

fn strip_data(data: &mut Value) {
    if let Value::Object(data) = data {
        data.retain(|key, _| !is_guard_meta_key(key));
        // by this member clients tell a denial from another error
        if data.get("decision").is_some_and(|decision| decision == "deny") {
            data.remove("decision");
        }
    }
}

fn strip_meta(meta: &mut Option<MetaObject>) {
    let Some(members) = meta else { return };
    let before = members.0.len();
    members.0.retain(|key, _| !is_guard_meta_key(key));
    if members.0.is_empty() && before > 0 {
        *meta = None;
    }
}

fn strip_members(result: &mut Map<String, Value>) {
    if let Some(Value::Object(meta)) = result.get_mut("_meta") {
        meta.retain(|key, _| !is_guard_meta_key(key));
    }
}

macro_rules! answers_with_meta {
    ($($result:ty),* $(,)?) => { $(
        impl Answer for $result {
            fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
                Some(&mut self.meta)
            }
        }
    )* };
}

answers_with_meta! {
    CompleteResult, DiscoverResult, GetSkillResult, InitializeResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListSkillsResult, ListToolsResult,
}

impl Answer for () {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        None
    }
}

/// Its form is the application's, so nothing is put in.
impl Answer for CustomResult {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        None
    }

    fn strip(&mut self) {
        if let Value::Object(result) = &mut self.0 {
            strip_members(result);
        }
    }
}

impl Answer for CallToolResponse {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        match self {
            Self::Complete(result) => Some(&mut result.meta),
            Self::InputRequired(result) => Some(&mut result.meta),
            Self::Task(result) => Some(&mut result.meta),
            _ => None,
        }
    }

    fn request_state(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::InputRequired(result) => Some(&mut result.request_state),
            _ => None,
        }
    }
}

impl Answer for GetPromptResponse {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        match self {
            Self::Complete(result) => Some(&mut result.meta),
            Self::InputRequired(result) => Some(&mut result.meta),
            _ => None,
        }
    }

    fn request_state(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::InputRequired(result) => Some(&mut result.request_state),
            _ => None,
        }
    }
}

impl Answer for ReadResourceResponse {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        match self {
            Self::Complete(result) => Some(&mut result.meta),
            Self::InputRequired(result) => Some(&mut result.meta),
            _ => None,
        }
    }

    fn request_state(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::InputRequired(result) => Some(&mut result.request_state),
            _ => None,
        }
    }
}

/// The result of a task is an answer within an answer. The receipt of its call was in the answer that announced the
/// task; here stands that of the `tasks/get`.
impl Answer for GetTaskResult {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        Some(&mut self.meta)
    }

    fn strip(&mut self) {
        strip_meta(&mut self.meta);
        match &mut self.task.payload {
            TaskPayload::Completed { result } => strip_members(result),
            TaskPayload::Failed { error } => {
                if error.get("code").is_some_and(|code| code == DENIAL_CODE) {
                    error.insert("code".to_owned(), ErrorCode::INTERNAL_ERROR.0.into());
                }
                if let Some(data) = error.get_mut("data") {
                    strip_data(data);
                }
            }
            _ => {}
        }
    }
}

impl Answer for ServerResult {
    fn meta(&mut self) -> Option<&mut Option<MetaObject>> {
        match self {
            Self::CallToolResult(result) => Some(&mut result.meta),
            Self::CompleteResult(result) => Some(&mut result.meta),
            Self::CreateTaskResult(result) => Some(&mut result.meta),
            Self::DiscoverResult(result) => Some(&mut result.meta),
            Self::GetPromptResult(result) => Some(&mut result.meta),
            Self::GetSkillResult(result) => Some(&mut result.meta),
            Self::GetTaskResult(result) => Some(&mut result.meta),
            Self::InitializeResult(result) => Some(&mut result.meta),
            Self::InputRequiredResult(result) => Some(&mut result.meta),
            Self::ListPromptsResult(result) => Some(&mut result.meta),
            Self::ListResourceTemplatesResult(result) => Some(&mut result.meta),
            Self::ListResourcesResult(result) => Some(&mut result.meta),
            Self::ListSkillsResult(result) => Some(&mut result.meta),
            Self::ListToolsResult(result) => Some(&mut result.meta),
            Self::ReadResourceResult(result) => Some(&mut result.meta),
            Self::TaskAckResult(result) => Some(&mut result.meta),
            _ => None,
        }
    }

    fn request_state(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::InputRequiredResult(result) => Some(&mut result.request_state),
            _ => None,
        }
    }

    fn strip(&mut self) {
        match self {
            Self::GetTaskResult(result) => result.strip(),
            Self::CustomResult(result) => result.strip(),
            other => {
                if let Some(meta) = other.meta() {
                    strip_meta(meta);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolResult, DetailedTask, ErrorCode, Task, TaskStatus};
    use serde_json::json;

    use super::*;

    fn forged() -> Value {
        json!({"origin": "log.example/main/1", "index": 1})
    }

    fn meta(members: Value) -> Option<MetaObject> {
        serde_json::from_value(members).unwrap()
    }

    /// Attack: a tool tells its caller that the call stands where another one does.
    #[test]
    fn what_an_inner_service_says_as_our_receipt_is_taken_out() {
        let mut result = CallToolResult::success(vec![]);
        result.meta = meta(json!({Receipt::META_KEY: forged(), "other": 1}));
        let mut answer = CallToolResponse::Complete(result);
        answer.strip();
        assert_eq!(*answer.meta().unwrap(), meta(json!({"other": 1})));

        let mut alone = CallToolResult::success(vec![]);
        alone.meta = meta(json!({Receipt::META_KEY: forged()}));
        let mut answer = CallToolResponse::Complete(alone);
        answer.strip();
        assert_eq!(*answer.meta().unwrap(), None, "no empty `_meta` is left behind");

        let inner = json!({"content": [], "_meta": {Receipt::META_KEY: forged(), "x": 2}});
        let Value::Object(result) = inner else { panic!() };
        let task = Task::new("t", TaskStatus::Completed, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        let mut task = GetTaskResult::new(DetailedTask::new(task, TaskPayload::Completed { result }));
        task.strip();
        let TaskPayload::Completed { result } = &task.task.payload else { panic!() };
        assert_eq!(result["_meta"], json!({"x": 2}), "also in the result of a task");

        let mut custom = CustomResult(json!({"_meta": {Receipt::META_KEY: forged()}, "y": 3}));
        custom.strip();
        assert_eq!(custom.0, json!({"_meta": {}, "y": 3}));

        let error = ErrorData::new(ErrorCode(1), "e", Some(json!({Receipt::META_KEY: forged(), "z": 4})));
        assert_eq!(stripped::<()>(Err(error)).unwrap_err().data, Some(json!({"z": 4})));
    }

    /// Attack: a tool answers as if the guard had denied the call, so that its caller gives up a right or asks for more; or
    /// shows another server's identity.
    #[test]
    fn s08_what_an_inner_service_says_in_our_name_is_taken_out() {
        let denial = json!({"decision": "deny", "reason": "badge_missing"});
        let said = || json!({"rmcp-guard/denial": denial, "rmcp-guard/x": 1, "capiscio_server_did": "did:web:x", "capiscio": {}});
        let mut result = CallToolResult::error(vec![]);
        result.meta = meta(said());
        let mut answer = CallToolResponse::Complete(result);
        answer.strip();
        assert_eq!(*answer.meta().unwrap(), None);

        let mut data = said();
        data.as_object_mut().unwrap().extend(denial.as_object().unwrap().clone());
        let error = ErrorData::new(ErrorCode(DENIAL_CODE), "e", Some(data));
        let error = stripped::<()>(Err(error)).unwrap_err();
        assert_eq!((error.code, error.data), (ErrorCode::INTERNAL_ERROR, Some(json!({"reason": "badge_missing"}))));

        let task = Task::new("t", TaskStatus::Failed, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        let Value::Object(error) = json!({"code": DENIAL_CODE, "message": "m", "data": denial}) else { panic!() };
        let mut task = GetTaskResult::new(DetailedTask::new(task, TaskPayload::Failed { error }));
        task.strip();
        let TaskPayload::Failed { error } = &task.task.payload else { panic!() };
        assert_eq!(json!(error), json!({"code": -32603, "message": "m", "data": {"reason": "badge_missing"}}));

        // other errors are the inner service's own
        let own = ErrorData::new(ErrorCode(-32602), "e", Some(json!({"decision": "later", "reason": "r"})));
        assert_eq!(stripped::<()>(Err(own.clone())).unwrap_err(), own);
        let mut empty = CallToolResult::success(vec![]);
        empty.meta = meta(json!({}));
        let mut answer = CallToolResponse::Complete(empty);
        answer.strip();
        assert_eq!(*answer.meta().unwrap(), meta(json!({})));
    }

    /// Every answer that a raw service can give and that has a `_meta` is known here: one that rmcp adds shows up.
    #[test]
    fn every_kind_of_answer_is_stripped() {
        let kinds = [
            json!({"content": [], "isError": false}),
            json!({"completion": {"values": []}}),
            json!({"messages": []}),
            json!({"prompts": []}),
            json!({"resources": []}),
            json!({"resourceTemplates": []}),
            json!({"contents": []}),
            json!({"tools": []}),
            json!({"resultType": "input_required"}),
            json!({"resultType": "complete"}),
            json!({"anything": "else"}),
        ];
        for mut kind in kinds {
            kind["_meta"] = json!({Receipt::META_KEY: forged(), "kept": true});
            let mut answer: ServerResult = serde_json::from_value(kind.clone()).unwrap();
            answer.strip();
            let written = serde_json::to_value(&answer).unwrap();
            assert_eq!(written["_meta"], json!({"kept": true}), "{kind}");
        }
    }
}
