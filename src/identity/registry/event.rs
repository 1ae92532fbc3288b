//! Events: what a guard decided, told to the registry.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::identity::registry::error::{RegistryError, RegistryErrorKind};

/// The agent id of an event about a caller whom the registry does not know. Never some other agent's.
pub const UNKNOWN_AGENT: &str = "00000000-0000-0000-0000-000000000000";

/// The most bytes of a text in an event's payload; what is longer is cut. A caller chooses the name of the tool.
pub const MAX_EVENT_TEXT_BYTES: usize = 1024;

/// The last second that RFC 3339 can write: the end of the year 9999.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a decision has two outcomes")]
pub enum EventDecision {
    /// The call was let through.
    Allow,
    /// The call was refused.
    Deny,
}

/// One decision of a guard, in the form of capiscio-mcp's `capiscio.policy_enforced`. No arguments, no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEvent {
    id: uuid::Uuid,
    trace_id: uuid::Uuid,
    decision: EventDecision,
    at: SystemTime,
    agent_id: Option<String>,
    server_id: Option<String>,
    payload: Map<String, Value>,
}

/// The members of an event's payload besides `tool_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventDetail {
    /// Why the call was refused, as a code.
    DenyReason,
    /// Why the call was refused, in words.
    DenyDetail,
    /// The caller's DID.
    AgentDid,
    /// The id of the evidence record.
    EvidenceId,
    /// The code of an error.
    ErrorCode,
    /// The capability that was needed.
    RequestedCapability,
    /// The capability that was shown.
    PresentedCapability,
    /// The class of capability.
    CapabilityClass,
}

impl EventDetail {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DenyReason => "deny_reason",
            Self::DenyDetail => "deny_detail",
            Self::AgentDid => "agent_did",
            Self::EvidenceId => "evidence_id",
            Self::ErrorCode => "error_code",
            Self::RequestedCapability => "requested_capability",
            Self::PresentedCapability => "presented_capability",
            Self::CapabilityClass => "capability_class",
        }
    }
}

impl fmt::Display for EventDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PolicyEvent {
    /// What was decided about `tool` at `at`, with a random id, which the event keeps however often it is sent. A time
    /// outside of the years 1970 to 9999 becomes the nearest one inside.
    ///
    /// # Errors
    /// [`RegistryErrorKind::Random`].
    pub fn new(decision: EventDecision, tool: &str, at: SystemTime) -> Result<Self, RegistryError> {
        let payload = Map::from_iter([("tool_name".to_owned(), cut(tool).into())]);
        let (id, trace_id) = (random_uuid()?, random_uuid()?);
        Ok(Self { id, trace_id, decision, at, agent_id: None, server_id: None, payload })
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// With the registry's id of the caller, from [`find_agent`](super::RegistryClient::find_agent); [`UNKNOWN_AGENT`]
    /// otherwise.
    #[must_use]
    pub fn agent_id(mut self, id: impl Into<String>) -> Self {
        self.agent_id = Some(id.into());
        self
    }

    /// With the registry's id of this server.
    #[must_use]
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = Some(id.into());
        self
    }

    /// With the trust level of a verified badge.
    #[must_use]
    pub fn trust_level(mut self, level: crate::identity::trust_level::TrustLevel) -> Self {
        let number = level.as_str().parse::<u8>().map_or(Value::Null, Value::from);
        self.payload.insert("trust_level".to_owned(), number);
        self
    }

    /// With one more member, of at most [`MAX_EVENT_TEXT_BYTES`]; an empty one is left out.
    #[must_use]
    pub fn detail(mut self, name: EventDetail, value: &str) -> Self {
        if !value.is_empty() {
            self.payload.insert(name.as_str().to_owned(), cut(value).into());
        }
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let (severity, decision) = match self.decision {
            EventDecision::Allow => ("INFO", "ALLOW"),
            EventDecision::Deny => ("HIGH", "DENY"),
        };
        // Outside of these bounds humantime panics, and a machine may have any time.
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST_SECOND);
        let at = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
        let utc = humantime::format_rfc3339_micros(at).to_string();
        let mut event = json!({
            "id": self.id.to_string(),
            "agentId": self.agent_id.as_deref().unwrap_or(UNKNOWN_AGENT),
            "traceId": self.trace_id.to_string(),
            "eventType": "capiscio.policy_enforced",
            "severity": severity,
            "decision": decision,
            "timestamp": format!("{}+00:00", utc.trim_end_matches('Z')),
            "payload": self.payload,
        });
        if let (Some(members), Some(server)) = (event.as_object_mut(), &self.server_id) {
            members.insert("mcpServerId".to_owned(), server.as_str().into());
        }
        event
    }
}

/// The longest beginning of `text` that is within [`MAX_EVENT_TEXT_BYTES`].
fn cut(text: &str) -> &str {
    if text.len() <= MAX_EVENT_TEXT_BYTES {
        return text;
    }
    // A character has at most four bytes, so one of the last four places is between two.
    (0..=MAX_EVENT_TEXT_BYTES).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Not `Uuid::new_v4`, which panics when the operating system has no random bytes.
fn random_uuid() -> Result<uuid::Uuid, RegistryError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| RegistryError::new(RegistryErrorKind::Random))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose clock is far off calls a tool whose name somebody else chose.
    #[test]
    fn a_time_that_has_no_text_and_a_text_without_end_are_cut() {
        let far = Duration::from_secs(400 * 366 * 86_400 * 25);
        let cases = [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00.000000+00:00"),
            (UNIX_EPOCH + LAST_SECOND, "9999-12-31T23:59:59.000000+00:00"),
            (UNIX_EPOCH + far, "9999-12-31T23:59:59.000000+00:00"),
        ];
        for (at, text) in cases {
            let event = PolicyEvent::new(EventDecision::Allow, "ls", at).unwrap().to_json();
            assert_eq!(event["timestamp"], text);
        }
        let long = format!("a{}", "é".repeat(MAX_EVENT_TEXT_BYTES));
        let event = PolicyEvent::new(EventDecision::Deny, &long, UNIX_EPOCH).unwrap();
        let event = event.detail(EventDetail::DenyDetail, &long).to_json();
        for name in ["tool_name", "deny_detail"] {
            assert_eq!(event["payload"][name].as_str().unwrap().len(), MAX_EVENT_TEXT_BYTES - 1, "{name}");
        }
        assert_eq!(cut(&"a".repeat(MAX_EVENT_TEXT_BYTES)).len(), MAX_EVENT_TEXT_BYTES);
    }
}
