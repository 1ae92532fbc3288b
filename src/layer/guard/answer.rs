//! How a denial is told to a client.

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorCode, MetaObject};
use serde_json::Value;

use crate::enforce::{Denial, META_DENIAL};
use crate::evidence::Receipt;
use crate::layer::guard::receipt::Answer as _;
use crate::policy::DenyReason;

/// JSON-RPC code of a denial. Application codes lie outside -32768..=-32000 (MCP 2026-07-28, error codes).
pub const DENIAL_CODE: i32 = 46_401;

/// JSON-RPC code of a tool call that a tower layer inside the guard cut off in time.
pub const TIMEOUT_CODE: i32 = 46_408;

/// JSON-RPC code of a tool call that a tower layer inside the guard refused for want of capacity.
pub const OVERLOAD_CODE: i32 = 46_429;

/// How a denied `tools/call` is answered. Other methods, and retries whose `requestState` does not open, are always
/// answered by a JSON-RPC error: a client would take a result for the end of its rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialShape {
    /// A tool result with `isError: true`: a line that a model can read and act on, and the denial under
    /// [`META_DENIAL`]. Every client hands it on; many hide protocol errors from their model.
    #[default]
    ToolResult,
    /// A JSON-RPC error with code [`DENIAL_CODE`] and the denial in `data`.
    JsonRpcError,
}

impl DenialShape {
    pub(in crate::layer) fn answer(self, denial: &Denial) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::ToolResult if !is_of_a_state(denial.reason()) => {
                let mut result = CallToolResult::error(vec![ContentBlock::text(denial.text())]);
                let mut meta = MetaObject::new();
                meta.insert(META_DENIAL.to_owned(), denial.to_json());
                result.meta = Some(meta);
                let mut answer = CallToolResponse::from(result);
                answer.attach(denial.receipt());
                Ok(answer)
            }
            Self::ToolResult | Self::JsonRpcError => {
                let code =
                    if is_of_a_state(denial.reason()) { ErrorCode::INVALID_PARAMS } else { ErrorCode(DENIAL_CODE) };
                Err(ErrorData::new(code, denial.text(), Some(data(denial))))
            }
        }
    }
}

/// Whether a retry is refused for its state: a parameter that no server would take (MCP 2026-07-28, multi round-trip
/// requests: "MUST reject").
const fn is_of_a_state(reason: DenyReason) -> bool {
    matches!(reason, DenyReason::RequestStateInvalid | DenyReason::RequestStateExpired)
}

/// A denial in an error's `data`, with its receipt under the name that it has in a result's `_meta`.
fn data(denial: &Denial) -> Value {
    let mut data = denial.to_json();
    if let (Some(members), Some(receipt)) = (data.as_object_mut(), denial.receipt()) {
        members.insert(Receipt::META_KEY.to_owned(), receipt.to_json());
    }
    data
}

/// The answer to a denied method other than `tools/call`.
pub(super) fn error(denial: &Denial) -> ErrorData {
    let reason = denial.reason();
    let (code, message) = if reason == DenyReason::TaskNotFound {
        // What rmcp's own task manager answers where there is no such task.
        (ErrorCode::INVALID_PARAMS, "task not found".to_owned())
    } else if reason == DenyReason::RequestMalformed {
        (ErrorCode::INVALID_PARAMS, "malformed request".to_owned())
    } else if is_of_a_state(reason) {
        (ErrorCode::INVALID_PARAMS, format!("access denied: {}", denial.public_reason()))
    } else {
        (ErrorCode(DENIAL_CODE), format!("access denied: {}", denial.public_reason()))
    };
    ErrorData::new(code, message, Some(data(denial)))
}

/// Stands for the answer of a call that was cut off, and does not leave.
pub(in crate::layer) fn cut_off() -> ErrorData {
    ErrorData::internal_error("the call was cut off", None)
}

/// The answer to a custom request that is not allowed: to this caller the method does not exist, and clients that
/// probe for newer methods rely on the standard code.
pub(super) fn unknown_method(denial: &Denial) -> ErrorData {
    if denial.reason() == DenyReason::MethodNotAllowed {
        return ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "method not found", Some(data(denial)));
    }
    error(denial)
}
