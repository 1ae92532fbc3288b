//! What fuzzing does with session ids: see [`internal`](crate::internal).

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a panic is how fuzzing reports a broken law")]

use http::{HeaderMap, HeaderValue};

use super::MAX_SESSION_ID_BYTES;
use super::service::session_of;
use super::table::SessionKey;
use crate::layer::headers::MCP_SESSION_ID;

/// Each line is a value of the header: one id of visible ASCII is a session, none is none, and all else is refused.
pub fn fuzz_session_id(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(MCP_SESSION_ID, value);
        }
    }
    let ids: Vec<_> = headers.get_all(MCP_SESSION_ID).iter().map(HeaderValue::as_bytes).collect();
    let good = |id: &[u8]| !id.is_empty() && id.len() <= MAX_SESSION_ID_BYTES && id.iter().all(u8::is_ascii_graphic);
    match (session_of(&headers), ids.as_slice()) {
        (Ok(None), []) | (Err(_), [_, _, ..]) => {}
        (Ok(Some(key)), [id]) => {
            assert!(good(id) && key == SessionKey::of(id));
            // enough to be followed, and too little to be used
            let shown = key.to_string();
            assert!(shown.len() == 16 && format!("{key:?}").contains(&shown));
        }
        (Err(_), [id]) => assert!(!good(id)),
        (answer, ids) => panic!("{:?} of {} ids", answer.is_ok(), ids.len()),
    }
}
