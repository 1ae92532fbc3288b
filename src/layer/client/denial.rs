//! Reading a guard's denial out of what a call returned, so that a client program can print it and act on it.

use std::fmt;

use rmcp::ServiceError;
use rmcp::model::CallToolResult;
use serde_json::{Map, Value};

use crate::enforce::META_DENIAL;
use crate::identity::trust_level::TrustLevel;
use crate::policy::DenyReason;

/// Characters of each text of a denial that are kept: a server's text ends up on terminals and in prompts.
pub const MAX_DENIAL_CHARS: usize = 512;

/// A denial as the server reported it.
///
/// The texts come from the server: they are cut at [`MAX_DENIAL_CHARS`], and control and bidirectional formatting
/// characters are replaced, so that printing one cannot move the cursor or reorder the line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportedDenial {
    reason: String,
    detail: Option<String>,
    evidence_id: Option<String>,
    required_trust_level: Option<TrustLevel>,
}

impl ReportedDenial {
    /// The reason code, such as `trust_insufficient`.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The reason as a value, if this version knows the code.
    #[must_use]
    pub fn known_reason(&self) -> Option<DenyReason> {
        DenyReason::ALL.iter().copied().find(|known| known.code() == self.reason)
    }

    /// One sentence on what was missing, if the server says.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Where the server's evidence has the decision; what to quote when asking its operator.
    #[must_use]
    pub fn evidence_id(&self) -> Option<&str> {
        self.evidence_id.as_deref()
    }

    /// The trust level that would have been enough, if the server says.
    #[must_use]
    pub const fn required_trust_level(&self) -> Option<TrustLevel> {
        self.required_trust_level
    }

    fn from_json(denial: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| denial.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(printable);
        let level = denial.get("required_trust_level").and_then(Value::as_u64);
        Some(Self {
            reason: text("reason")?,
            detail: text("detail"),
            evidence_id: text("evidence_id"),
            required_trust_level: level
                .and_then(|level| u8::try_from(level).ok())
                .and_then(|level| TrustLevel::try_from(level).ok()),
        })
    }
}

impl fmt::Display for ReportedDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(id) = &self.evidence_id {
            write!(f, " (evidence_id={id})")?;
        }
        Ok(())
    }
}

/// The denial in a tool result, if a guard denied the call.
///
/// ```
/// use rmcp::model::CallToolResult;
/// use rmcp_guard::layer::client::denial_of;
///
/// let denied: CallToolResult = serde_json::from_value(serde_json::json!({
///     "content": [{"type": "text", "text": "Error executing tool write_file"}],
///     "isError": true,
///     "_meta": {"rmcp-guard/denial": {"reason": "trust_insufficient", "detail": "level 2 is needed"}},
/// }))?;
/// assert_eq!(denial_of(&denied).unwrap().to_string(), "trust_insufficient: level 2 is needed");
///
/// let allowed: CallToolResult = serde_json::from_value(serde_json::json!({"content": []}))?;
/// assert!(denial_of(&allowed).is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn denial_of(result: &CallToolResult) -> Option<ReportedDenial> {
    if result.is_error != Some(true) {
        return None;
    }
    ReportedDenial::from_json(result.meta.as_ref()?.get(META_DENIAL)?.as_object()?)
}

/// The denial in a JSON-RPC error, if the server's guard answers that way.
#[must_use]
pub fn denial_of_error(error: &ServiceError) -> Option<ReportedDenial> {
    let ServiceError::McpError(error) = error else { return None };
    let data = error.data.as_ref()?.as_object()?;
    // other errors have data too, and some of it a `reason`
    (data.get("decision")? == "deny").then(|| ReportedDenial::from_json(data))?
}

/// A peer's text for a terminal: bounded, and without characters that move the cursor or reorder the line.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_bidi_control(c) { '\u{FFFD}' } else { c };
    text.chars().take(MAX_DENIAL_CHARS).map(shown).collect()
}

const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ErrorCode, ErrorData};
    use serde_json::json;

    use super::*;

    fn result(value: Value) -> CallToolResult {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_denial_is_read_whatever_is_missing() {
        let with = |denial: Value| result(json!({"content": [], "isError": true, "_meta": {META_DENIAL: denial}}));
        let full = json!({"decision": "deny", "reason": "badge_missing", "detail": "d", "evidence_id": "e",
            "required_trust_level": 2, "x": 1});
        let full = denial_of(&with(full)).unwrap();
        assert_eq!(full.known_reason(), Some(DenyReason::BadgeMissing));
        assert_eq!(full.required_trust_level(), Some(TrustLevel::DomainValidated));
        assert_eq!(full.to_string(), "badge_missing: d (evidence_id=e)");
        let bare = denial_of(&with(json!({"reason": "new_reason", "detail": 7}))).unwrap();
        assert_eq!((bare.reason(), bare.known_reason(), bare.detail()), ("new_reason", None, None));
        for value in [json!(null), json!("badge_missing"), json!({}), json!({"reason": ""}), json!({"reason": 1})] {
            assert_eq!(denial_of(&with(value.clone())), None, "{value}");
        }
        let success = result(json!({"content": [], "_meta": {META_DENIAL: {"reason": "badge_missing"}}}));
        assert_eq!(denial_of(&success), None, "only an error result is a denial");
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal_through_a_denial() {
        let hostile = json!({"reason": "x\u{1b}[2J\u{202e}y", "detail": "z".repeat(10_000)});
        let denied =
            denial_of(&result(json!({"content": [], "isError": true, "_meta": {META_DENIAL: hostile}}))).unwrap();
        assert_eq!(denied.reason(), "x\u{FFFD}[2J\u{FFFD}y");
        assert_eq!(denied.detail().unwrap().chars().count(), MAX_DENIAL_CHARS);
    }

    #[test]
    fn a_denial_is_read_from_a_json_rpc_error() {
        let error = |data: Value| ServiceError::McpError(ErrorData::new(ErrorCode(46401), "denied", Some(data)));
        let denied = denial_of_error(&error(json!({"decision": "deny", "reason": "badge_expired"}))).unwrap();
        assert_eq!(denied.known_reason(), Some(DenyReason::BadgeExpired));
        assert_eq!(denial_of_error(&error(json!({"reason": "out of paper"}))), None);
        assert_eq!(denial_of_error(&error(json!(["badge_expired"]))), None);
    }
}
