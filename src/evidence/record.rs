//! What is recorded, under which member names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::keyed::KeyedHash;
use super::text::cut;
use super::{AppendError, EvidenceId, MAX_TEXT_BYTES};

/// Largest record in bytes: what a C2SP tlog-tiles entry can hold, so that every record fits the tamper-evident log.
pub const MAX_RECORD_BYTES: usize = 65_535;

/// One thing that happened.
///
/// Stored as one flat JSON object in its RFC 8785 form. Members of the peer keep its names and spelling (RFC-006,
/// `capiscio:rfc-006:tool-invocation:v0.4`), ours are under `rmcp_guard.`, and what an unverified token says of itself
/// is under `claimed.` and nowhere else. Every record has `id`, `timestamp` (RFC 3339, UTC, nanoseconds), `event.name`
/// and `rmcp_guard.kind`: `decision`, `outcome`, `policy_loaded`, `notice` or `gap`.
///
/// A text longer than [`MAX_TEXT_BYTES`] is cut. Beside it then stand `<member>.cut.bytes`, its full length, and
/// `<member>.cut.hash`, its keyed hash.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "built and encoded on the stack, never stored")]
#[non_exhaustive]
pub enum Record {
    /// A call was allowed or denied: exactly one for every call.
    Decision(DecisionRecord),
    /// An allowed call ended: exactly one for every allowed call, unless outcomes are switched off.
    Outcome(OutcomeRecord),
    /// A policy took effect.
    PolicyLoaded(PolicyLoadedRecord),
    /// Something else worth keeping, such as a refused session.
    Notice(NoticeRecord),
    /// Records were dropped for want of room; best-effort mode only.
    Gap(GapRecord),
}

/// A decision, with everything that explains it. Strings only: this room knows no identity or policy types.
///
/// Fill the fields that apply and leave the others at their default; texts are bounded when the record is encoded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// `id`; `None` has one made when the record is appended.
    pub id: Option<EvidenceId>,
    /// `timestamp`; `None` takes the time at which the record is appended.
    pub at: Option<SystemTime>,
    /// `rmcp_guard.method`: the MCP method. `event.name` is capiscio-mcp's `capiscio.tool_invocation` for `tools/call`,
    /// `rmcp_guard.method_access` for all others.
    pub method: &'static str,
    /// `capiscio.target`: the name of the tool, as the caller wrote it.
    pub target: String,
    /// `capiscio.decision`: `ALLOW` or `DENY`.
    pub allow: bool,
    /// `rmcp_guard.deny_reason`: our stable code.
    pub deny_reason: Option<&'static str>,
    /// `capiscio.deny_reason`: the RFC's spelling of it.
    pub deny_reason_rfc: Option<&'static str>,
    /// `rmcp_guard.detail`: a fixed sentence.
    pub deny_detail: Option<&'static str>,
    /// `capiscio.auth.level`: `BADGE`, `API_KEY` or `ANONYMOUS`.
    pub auth_level: &'static str,
    /// `capiscio.agent.did`: the subject of the *verified* badge; the member is always there, empty without one.
    pub agent_did: Option<String>,
    /// `capiscio.badge.jti` of the verified badge.
    pub badge_jti: Option<String>,
    /// `rmcp_guard.issuer` of the verified badge.
    pub badge_issuer: Option<String>,
    /// `rmcp_guard.api_key_name`: the principal that the configuration gives a listed API key.
    pub api_key_name: Option<String>,
    /// `trust_level`, 0 to 4. Only a verified badge has one: the member is absent otherwise, where capiscio-mcp writes 0,
    /// since "no level" is not level 0.
    pub trust_level: Option<u8>,
    /// `rmcp_guard.binding`: how the badge is bound to this server, `audience` or `none`.
    pub binding: Option<&'static str>,
    /// `claimed.iss`: what an unverified token says.
    pub claimed_issuer: Option<String>,
    /// `claimed.sub`: what an unverified token says.
    pub claimed_subject: Option<String>,
    /// `claimed.jti`: what an unverified token says.
    pub claimed_jti: Option<String>,
    /// `capiscio.tool.params_hash`.
    pub params_hash: Option<String>,
    /// `server_origin`: where this server says it is.
    pub server_origin: Option<String>,
    /// `capiscio.policy_version`.
    pub policy_version: String,
    /// `rmcp_guard.policy_digest` of the effective policy.
    pub policy_digest: String,
    /// `rmcp_guard.profile`: the verification profile.
    pub profile: &'static str,
    /// `rmcp_guard.rule`: the rule that decided.
    pub rule: Option<String>,
    /// `rmcp_guard.transport`: `stdio` or `http`.
    pub transport: &'static str,
    /// `rmcp_guard.protocol_version`, as the peer wrote it.
    pub protocol_version: Option<String>,
    /// `rmcp_guard.notes`: fixed words such as `inexact_numbers`.
    pub notes: Vec<&'static str>,
}

/// How an allowed call ended (`event.name` `rmcp_guard.outcome`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutcomeRecord {
    /// `id` of this record.
    pub id: EvidenceId,
    /// `rmcp_guard.decision_id`: the decision that allowed the call.
    pub decision_id: EvidenceId,
    /// `timestamp`: when it ended.
    pub at: SystemTime,
    /// `capiscio.target`: the tool.
    pub target: String,
    /// `rmcp_guard.outcome`: `ok`, `tool_error`, `protocol_error`, `input_required`, `accepted`, `cancelled`,
    /// `panicked`, or `not_run` when the decision did not become durable in time.
    pub outcome: &'static str,
    /// `rmcp_guard.duration_us`: from the decision to the end, in whole microseconds.
    pub duration: Duration,
    /// `rmcp_guard.result_hash`: keyed, if results are hashed.
    pub result_hash: Option<String>,
    /// `rmcp_guard.notes`: fixed words such as `result_too_large`, which tells why there is no hash.
    pub notes: Vec<&'static str>,
}

impl OutcomeRecord {
    /// The end of the call that `decision_id` allowed.
    #[must_use]
    pub const fn new(
        id: EvidenceId,
        decision_id: EvidenceId,
        at: SystemTime,
        target: String,
        outcome: &'static str,
        duration: Duration,
        result_hash: Option<String>,
    ) -> Self {
        Self { id, decision_id, at, target, outcome, duration, result_hash, notes: Vec::new() }
    }
}

/// A policy took effect (`event.name` `rmcp_guard.policy_loaded`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyLoadedRecord {
    /// `id` of this record.
    pub id: EvidenceId,
    /// `timestamp`: when.
    pub at: SystemTime,
    /// `capiscio.policy_version`: its version as its author names it.
    pub policy_version: String,
    /// `rmcp_guard.policy_digest`: what it really says.
    pub policy_digest: String,
    /// `rmcp_guard.profile`: the verification profile.
    pub profile: &'static str,
}

impl PolicyLoadedRecord {
    /// The policy that every decision after this record is taken by.
    #[must_use]
    pub const fn new(
        id: EvidenceId,
        at: SystemTime,
        policy_version: String,
        policy_digest: String,
        profile: &'static str,
    ) -> Self {
        Self { id, at, policy_version, policy_digest, profile }
    }
}

/// Something worth keeping that is no decision (`event.name` `rmcp_guard.notice`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NoticeRecord {
    /// `id` of this record.
    pub id: EvidenceId,
    /// `timestamp`: when.
    pub at: SystemTime,
    /// `rmcp_guard.notice`: what happened, such as `session_refused`.
    pub name: &'static str,
    /// Further members as `rmcp_guard.notice.<name>`; values may come from a peer.
    pub members: Vec<(&'static str, String)>,
}

impl NoticeRecord {
    /// A notice called `name`.
    #[must_use]
    pub const fn new(id: EvidenceId, at: SystemTime, name: &'static str, members: Vec<(&'static str, String)>) -> Self {
        Self { id, at, name, members }
    }
}

/// Records that best-effort mode dropped for want of room (`event.name` `rmcp_guard.gap`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GapRecord {
    /// `id` of this record.
    pub id: EvidenceId,
    /// `rmcp_guard.gap.count`: how many are missing.
    pub count: u64,
    /// `rmcp_guard.gap.first`: the time of the first of them.
    pub first: SystemTime,
    /// `rmcp_guard.gap.last`, and `timestamp`: the time of the last of them.
    pub last: SystemTime,
}

impl Record {
    /// The time of the event, if it says one.
    pub(super) const fn at(&self) -> Option<SystemTime> {
        match self {
            Self::Decision(record) => record.at,
            Self::Outcome(record) => Some(record.at),
            Self::PolicyLoaded(record) => Some(record.at),
            Self::Notice(record) => Some(record.at),
            Self::Gap(record) => Some(record.last),
        }
    }

    /// The RFC 8785 form: one line, since JSON escapes every line break.
    pub(super) fn encode(&self, keyed: &KeyedHash, now: SystemTime) -> Result<Vec<u8>, AppendError> {
        let mut members = Members { map: Map::new(), keyed };
        match self {
            Self::Decision(record) => record.write(&mut members, now),
            Self::Outcome(record) => record.write(&mut members),
            Self::PolicyLoaded(record) => record.write(&mut members),
            Self::Notice(record) => record.write(&mut members),
            Self::Gap(record) => record.write(&mut members),
        }
        // every value is a string, a small integer or a list of strings, so there is always a canonical form
        let line = crate::encoding::canonical_json(&Value::Object(members.map)).map_err(|_| AppendError::Failed)?;
        if line.len() > MAX_RECORD_BYTES { Err(AppendError::TooLarge) } else { Ok(line) }
    }
}

impl DecisionRecord {
    fn write(&self, members: &mut Members<'_>, now: SystemTime) {
        let at = self.at.unwrap_or(now);
        let event = if self.method == "tools/call" { "capiscio.tool_invocation" } else { "rmcp_guard.method_access" };
        members.head("decision", event, self.id.unwrap_or_else(|| EvidenceId::generate(at)), at);
        members.text("capiscio.agent.did", self.agent_did.as_deref().unwrap_or_default());
        members.text("capiscio.auth.level", self.auth_level);
        members.text("capiscio.target", &self.target);
        members.text("capiscio.policy_version", &self.policy_version);
        members.text("capiscio.decision", if self.allow { "ALLOW" } else { "DENY" });
        members.text("rmcp_guard.method", self.method);
        members.text("rmcp_guard.policy_digest", &self.policy_digest);
        members.text("rmcp_guard.profile", self.profile);
        members.text("rmcp_guard.transport", self.transport);
        let optional = [
            ("capiscio.deny_reason", self.deny_reason_rfc),
            ("rmcp_guard.deny_reason", self.deny_reason),
            ("rmcp_guard.detail", self.deny_detail),
            ("capiscio.badge.jti", self.badge_jti.as_deref()),
            ("rmcp_guard.issuer", self.badge_issuer.as_deref()),
            ("rmcp_guard.api_key_name", self.api_key_name.as_deref()),
            ("rmcp_guard.binding", self.binding),
            ("claimed.iss", self.claimed_issuer.as_deref()),
            ("claimed.sub", self.claimed_subject.as_deref()),
            ("claimed.jti", self.claimed_jti.as_deref()),
            ("capiscio.tool.params_hash", self.params_hash.as_deref()),
            ("server_origin", self.server_origin.as_deref()),
            ("rmcp_guard.rule", self.rule.as_deref()),
            ("rmcp_guard.protocol_version", self.protocol_version.as_deref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                members.text(name, value);
            }
        }
        if let Some(level) = self.trust_level {
            members.value("trust_level", level.into());
        }
        if !self.notes.is_empty() {
            members.value("rmcp_guard.notes", self.notes.clone().into());
        }
    }
}

impl OutcomeRecord {
    fn write(&self, members: &mut Members<'_>) {
        members.head("outcome", "rmcp_guard.outcome", self.id, self.at);
        members.text("rmcp_guard.decision_id", &self.decision_id.to_string());
        members.text("capiscio.target", &self.target);
        members.text("rmcp_guard.outcome", self.outcome);
        members.count("rmcp_guard.duration_us", u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX));
        if let Some(hash) = &self.result_hash {
            members.text("rmcp_guard.result_hash", hash);
        }
        if !self.notes.is_empty() {
            members.value("rmcp_guard.notes", self.notes.clone().into());
        }
    }
}

impl PolicyLoadedRecord {
    fn write(&self, members: &mut Members<'_>) {
        members.head("policy_loaded", "rmcp_guard.policy_loaded", self.id, self.at);
        members.text("capiscio.policy_version", &self.policy_version);
        members.text("rmcp_guard.policy_digest", &self.policy_digest);
        members.text("rmcp_guard.profile", self.profile);
    }
}

impl NoticeRecord {
    fn write(&self, members: &mut Members<'_>) {
        members.head("notice", "rmcp_guard.notice", self.id, self.at);
        members.text("rmcp_guard.notice", self.name);
        for (name, value) in &self.members {
            members.text(&format!("rmcp_guard.notice.{name}"), value);
        }
    }
}

impl GapRecord {
    fn write(&self, members: &mut Members<'_>) {
        members.head("gap", "rmcp_guard.gap", self.id, self.last);
        members.count("rmcp_guard.gap.count", self.count);
        members.text("rmcp_guard.gap.first", &rfc3339(self.first));
        members.text("rmcp_guard.gap.last", &rfc3339(self.last));
    }
}

/// Integers from here on are not exact in RFC 8785's doubles.
pub(super) const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// A record's members under construction.
struct Members<'a> {
    map: Map<String, Value>,
    keyed: &'a KeyedHash,
}

impl Members<'_> {
    fn head(&mut self, kind: &str, event: &str, id: EvidenceId, at: SystemTime) {
        self.text("rmcp_guard.kind", kind);
        self.text("event.name", event);
        self.text("id", &id.to_string());
        self.text("timestamp", &rfc3339(at));
    }

    fn value(&mut self, name: &str, value: Value) {
        self.map.insert(name.to_owned(), value);
    }

    fn count(&mut self, name: &str, count: u64) {
        self.value(name, count.min(LARGEST_EXACT_INTEGER).into());
    }

    /// A text, whoever wrote it. One that is too long is cut, and its length and keyed hash say what was cut off:
    /// enough to recognise it again, not enough to fill the disk.
    fn text(&mut self, name: &str, text: &str) {
        self.value(name, cut(text).into());
        if text.len() > MAX_TEXT_BYTES {
            self.count(&format!("{name}.cut.bytes"), u64::try_from(text.len()).unwrap_or(u64::MAX));
            self.value(&format!("{name}.cut.hash"), self.keyed.hash("text", text.as_bytes()).into());
        }
    }
}

/// RFC 3339 in UTC with nanoseconds; times before 1970 or after 9999, which it cannot say, become the nearest it can.
fn rfc3339(time: SystemTime) -> String {
    const END_OF_YEAR_9999: Duration = Duration::from_secs(253_402_300_799);
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(END_OF_YEAR_9999);
    let clamped = UNIX_EPOCH.checked_add(elapsed).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_nanos(clamped).to_string()
}
