//! What fuzzing does with what a server sends: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use rmcp::model::CallToolResult;

use super::denial::{MAX_DENIAL_CHARS, denial_of};
use super::receipt::receipt_of;
use super::sse::EventLimit;
use crate::evidence::Receipt;

/// A limit, then a stream: what is one event too large is so however it is cut, and for every smaller limit.
pub fn fuzz_sse(data: &[u8]) {
    let [limit, cut, stream @ ..] = data else { return };
    let (limit, cut) = (usize::from(*limit), usize::from(*cut) + 1);
    let fits = |limit: usize, size: usize| {
        let mut events = EventLimit::new(limit);
        stream.chunks(size).all(|chunk| events.observe(chunk).is_ok())
    };
    let whole = fits(limit, stream.len().max(1));
    assert_eq!(whole, fits(limit, cut));
    assert!(!whole || fits(limit + 1, cut));
    let line = stream.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::len).max().unwrap_or(0);
    assert!(!whole || line <= limit);
    assert!(whole || stream.len() > limit);
}

/// A tool's result: the denial and the receipt in it can be shown.
pub fn fuzz_tool_result(data: &[u8]) {
    let Ok(result) = serde_json::from_slice::<CallToolResult>(data) else { return };
    if let Some(denial) = denial_of(&result) {
        let shown = denial.to_string();
        assert_eq!(result.is_error, Some(true));
        assert!(!shown.contains(|character: char| character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')));
        assert!(shown.chars().count() < 3 * MAX_DENIAL_CHARS + 20);
    }
    if let Some(receipt) = receipt_of(&result) {
        assert_eq!(Receipt::from_json(&receipt.to_json()).unwrap(), receipt);
    }
}
