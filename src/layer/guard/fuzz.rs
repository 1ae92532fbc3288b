//! What fuzzing does with methods and answers: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "of rmcp's unions only those are of interest that are named")]

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, ServerResult};
use serde_json::Value;

use super::method_name::{MAX_METHOD_BYTES, looks_standard};
use super::receipt::Answer as _;
use crate::evidence::Receipt;

/// Whoever sees through a name sees through it in other dress.
pub fn fuzz_method_name(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    let dressed = [
        format!("/{name}"),
        format!(" {name} "),
        format!("{name}\u{200b}"),
        format!("\u{feff}{name}/"),
        name.to_ascii_uppercase(),
        name.to_ascii_lowercase(),
        name.chars().map(fullwidth).collect(),
    ];
    let standard = looks_standard(name);
    assert!(standard || name.len() <= MAX_METHOD_BYTES);
    for other in dressed {
        assert!(
            other.len() > MAX_METHOD_BYTES || name.len() > MAX_METHOD_BYTES || looks_standard(&other) == standard,
            "{other:?}"
        );
    }
}

fn fullwidth(character: char) -> char {
    match character {
        '!'..='~' => char::from_u32(u32::from(character) + 0xfee0).unwrap(),
        other => other,
    }
}

/// What rmcp takes for a custom method, its name is; and no standard name is let through as one.
pub fn fuzz_jsonrpc(data: &[u8]) {
    let Ok(message) = serde_json::from_slice::<ClientJsonRpcMessage>(data) else { return };
    let custom = match message {
        JsonRpcMessage::Request(request) => match request.request {
            ClientRequest::CustomRequest(custom) => custom.method,
            _ => return,
        },
        JsonRpcMessage::Notification(notification) => match notification.notification {
            ClientNotification::CustomNotification(custom) => custom.method,
            _ => return,
        },
        _ => return,
    };
    let named: Vec<String> = serde_json::from_slice::<Value>(data)
        .ok()
        .and_then(|message| Some(message.get("method")?.as_str()?.to_owned()))
        .into_iter()
        .collect();
    assert!(named.iter().all(|named| *named == custom));
    for standard in ["tools/call", "tools/list", "initialize", "resources/read", "notifications/cancelled", "tasks/get"]
    {
        assert!(looks_standard(&custom) || !custom.trim().eq_ignore_ascii_case(standard));
    }
}

/// Whatever an inner server answers, no receipt of its own gets out.
pub fn fuzz_answer(data: &[u8]) {
    let Ok(mut answer) = serde_json::from_slice::<ServerResult>(data) else { return };
    answer.strip();
    let told = serde_json::to_value(&answer).unwrap();
    let receipt_in = |value: &Value| value.get("_meta").and_then(|meta| meta.get(Receipt::META_KEY)).is_some();
    assert!(!receipt_in(&told), "{told}");
    if let ServerResult::GetTaskResult(_) = answer {
        assert!(!told.get("result").is_some_and(receipt_in), "{told}");
    }
    let mut again = answer.clone();
    again.strip();
    assert_eq!(serde_json::to_value(&again).unwrap(), told);
}
