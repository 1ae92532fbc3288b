//! What of a record can be searched: the same few members whether they are read from the log or from the index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp_guard::evidence::Entry;
use serde_json::Value;

/// The searchable members of a record; a member that is missing or of another type is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Row {
    /// `timestamp`, in microseconds since 1970.
    pub(crate) at: Option<i64>,
    /// `id`.
    pub(crate) id: Option<String>,
    /// `rmcp_guard.kind`.
    pub(crate) kind: Option<String>,
    /// `capiscio.decision`: `ALLOW` or `DENY`.
    pub(crate) decision: Option<String>,
    /// `capiscio.target`.
    pub(crate) tool: Option<String>,
    /// `capiscio.agent.did`, or `api-key:<name>` of a caller that an API key names.
    pub(crate) agent: Option<String>,
    /// `rmcp_guard.deny_reason`.
    pub(crate) reason: Option<String>,
    /// How many calls the record stands for: more than one where it counts others that have no record of their own.
    pub(crate) count: Option<i64>,
}

impl Row {
    /// The searchable members of `event`.
    pub(crate) fn of(event: &Value) -> Self {
        let text = |name: &str| event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let agent = text("capiscio.agent.did").map(str::to_owned);
        Self {
            at: text("timestamp").and_then(micros_of),
            id: text("id").map(str::to_owned),
            kind: text("rmcp_guard.kind").map(str::to_owned),
            decision: text("capiscio.decision").map(str::to_owned),
            tool: text("capiscio.target").map(str::to_owned),
            agent: agent.or_else(|| text("rmcp_guard.api_key_name").map(|name| format!("api-key:{name}"))),
            reason: text("rmcp_guard.deny_reason").map(str::to_owned),
            count: COUNTS.iter().find_map(|name| event.get(*name)).and_then(Value::as_i64),
        }
    }
}

/// Members that say for how many calls a record stands.
const COUNTS: [&str; 2] = ["rmcp_guard.gap.count", "rmcp_guard.coalesced.count"];

/// The event of an entry; `None` when the bytes are not an entry of ours.
pub(crate) fn event_of(entry: &[u8]) -> Option<Value> {
    let event = serde_json::from_slice(Entry::parse(entry)?.event).ok()?;
    matches!(event, Value::Object(_)).then_some(event)
}

/// A time in RFC 3339 as microseconds since 1970.
pub(crate) fn micros_of(text: &str) -> Option<i64> {
    humantime::parse_rfc3339(text).ok().and_then(micros)
}

/// Microseconds since 1970; `None` for times before it.
pub(crate) fn micros(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// RFC 3339 in UTC of microseconds since 1970.
pub(crate) fn rfc3339(micros: i64) -> Option<String> {
    /// The last second of the year 9999, behind which there is no RFC 3339.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = Duration::from_micros(u64::try_from(micros).ok()?).min(LAST);
    Some(humantime::format_rfc3339_micros(UNIX_EPOCH.checked_add(since)?).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_takes_what_is_there_and_of_the_right_type() {
        let row = Row::of(&json!({
            "timestamp": "2026-11-01T10:00:00.123456789Z",
            "id": "x",
            "rmcp_guard.kind": "decision",
            "capiscio.decision": "DENY",
            "capiscio.target": 7,
            "capiscio.agent.did": "",
            "rmcp_guard.api_key_name": "ops",
        }));
        let want = Row {
            at: Some(1_793_527_200_123_456),
            id: Some("x".to_owned()),
            kind: Some("decision".to_owned()),
            decision: Some("DENY".to_owned()),
            agent: Some("api-key:ops".to_owned()),
            ..Row::default()
        };
        assert_eq!(row, want);
        assert_eq!(Row::of(&json!([])), Row::default());
    }

    #[test]
    fn a_time_is_read_and_written() {
        let micros = micros_of("2026-11-01T10:00:00.000001Z").unwrap();
        assert_eq!(rfc3339(micros).as_deref(), Some("2026-11-01T10:00:00.000001Z"));
        assert_eq!(rfc3339(i64::MAX).as_deref(), Some("9999-12-31T23:59:59.000000Z"));
        assert_eq!(rfc3339(-1), None);
        assert_eq!(micros_of("yesterday"), None);
    }
}
