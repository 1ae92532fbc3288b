//! What is recorded, under which member names.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::entry::{ENVELOPE_BYTES, MAX_ENTRY_BYTES};
use super::keyed::KeyedHash;
use super::text::cut;
use super::{AppendError, EvidenceId, MAX_TEXT_BYTES};
use crate::encoding::MAX_EXACT_INTEGER;

/// Largest record in bytes: what an entry of a log can hold beside its number and the hash of the entry before.
pub const MAX_RECORD_BYTES: usize = MAX_ENTRY_BYTES - ENVELOPE_BYTES;

/// One thing that happened.
///
/// Stored as one flat JSON object in its RFC 8785 form. Members of the peer keep its names and spelling (RFC-006,
/// `capiscio:rfc-006:tool-invocation:v0.4`), ours are under `rmcp_guard.`, and what an unverified token says of itself
/// is under `claimed.` and nowhere else. Every record has `id`, `timestamp` (RFC 3339, UTC, nanoseconds), `event.name`
/// and `rmcp_guard.kind`: `decision`, `outcome`, `policy_loaded`, `notice`, `gap`, `coalesced` or
/// `coalesced_sessions`.
///
/// A text longer than [`MAX_TEXT_BYTES`] is cut. Beside it then stand `<member>.cut.bytes`, its full length, and
/// `<member>.cut.hash`, its keyed hash.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "built and encoded on the stack, never stored")]
#[non_exhaustive]
pub enum Record {
    /// A call was allowed or denied: exactly one for every call that a coalesced record does not count.
    Decision(DecisionRecord),
    /// An allowed call ended: exactly one for every allowed call, unless outcomes are switched off.
    Outcome(OutcomeRecord),
    /// A policy took effect.
    PolicyLoaded(PolicyLoadedRecord),
    /// Something else worth keeping, such as a refused session.
    Notice(NoticeRecord),
    /// Records were dropped for want of room; best-effort mode only.
    Gap(GapRecord),
    /// Calls were denied that have no record of their own, since callers who are not authenticated had used up their share.
    Coalesced(CoalescedRecord),
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
    /// `rmcp_guard.gap.reason`: why the first of them was dropped, `queue_full` or `store_failed`.
    pub reason: &'static str,
}

/// Identical denials, counted above the share of callers who are not authenticated (`event.name`
/// `rmcp_guard.coalesced_denials`, `rmcp_guard.coalesced_sessions`). A member is absent where those counted differ in it, and `many` names it then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoalescedRecord {
    /// `id` of this record.
    pub id: EvidenceId,
    /// `rmcp_guard.kind`: `coalesced` where calls are counted, `coalesced_sessions` where requests to sessions are that were
    /// turned away before they became calls.
    pub kind: &'static str,
    /// `rmcp_guard.coalesced.count`: how many.
    pub count: u64,
    /// `rmcp_guard.coalesced.first`: the time of the first of them.
    pub first: SystemTime,
    /// `rmcp_guard.coalesced.last`, and `timestamp`: the time of the last of them.
    pub last: SystemTime,
    /// `rmcp_guard.deny_reason`: our stable code.
    pub deny_reason: Option<&'static str>,
    /// `capiscio.deny_reason`: the RFC's spelling of it, which several codes share.
    pub deny_reason_rfc: Option<&'static str>,
    /// `rmcp_guard.method`: the MCP method.
    pub method: Option<&'static str>,
    /// `capiscio.target`: the name of the tool, as the callers wrote it.
    pub target: Option<String>,
    /// `capiscio.auth.level`: what was presented, whether or not it counts.
    pub auth_level: Option<&'static str>,
    /// `rmcp_guard.transport`: `stdio` or `http`.
    pub transport: Option<&'static str>,
    /// `capiscio.policy_version`.
    pub policy_version: Option<String>,
    /// `rmcp_guard.policy_digest` of the policy that denied.
    pub policy_digest: Option<String>,
    /// `rmcp_guard.profile`: the verification profile.
    pub profile: Option<&'static str>,
    /// `rmcp_guard.coalesced.many`: in what those counted differ, such as `targets`.
    pub many: &'static [&'static str],
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
            Self::Coalesced(record) => Some(record.last),
        }
    }

    /// The id of the record; one that it does not name is made now.
    pub(super) fn id(&self, now: SystemTime) -> EvidenceId {
        match self {
            Self::Decision(record) => record.id.unwrap_or_else(|| EvidenceId::generate(record.at.unwrap_or(now))),
            Self::Outcome(record) => record.id,
            Self::PolicyLoaded(record) => record.id,
            Self::Notice(record) => record.id,
            Self::Gap(record) => record.id,
            Self::Coalesced(record) => record.id,
        }
    }

    /// The RFC 8785 form: one line, since JSON escapes every line break.
    pub(super) fn encode(&self, id: EvidenceId, keyed: &KeyedHash, now: SystemTime) -> Result<Vec<u8>, AppendError> {
        let mut members = Members { list: Vec::with_capacity(MOST_MEMBERS), keyed };
        match self {
            Self::Decision(record) => record.write(&mut members, id, now),
            Self::Outcome(record) => record.write(&mut members),
            Self::PolicyLoaded(record) => record.write(&mut members),
            Self::Notice(record) => record.write(&mut members),
            Self::Gap(record) => record.write(&mut members),
            Self::Coalesced(record) => record.write(&mut members),
        }
        let line = members.into_json()?;
        if line.len() > MAX_RECORD_BYTES { Err(AppendError::TooLarge) } else { Ok(line) }
    }
}

// Members are written in the order of their names, so that nothing is left to sort.

impl DecisionRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>, id: EvidenceId, now: SystemTime) {
        let at = self.at.unwrap_or(now);
        let event = if self.method == "tools/call" { "capiscio.tool_invocation" } else { "rmcp_guard.method_access" };
        members.text("capiscio.agent.did", self.agent_did.as_deref().unwrap_or_default());
        members.text("capiscio.auth.level", self.auth_level);
        members.optional("capiscio.badge.jti", self.badge_jti.as_deref());
        members.text("capiscio.decision", if self.allow { "ALLOW" } else { "DENY" });
        members.optional("capiscio.deny_reason", self.deny_reason_rfc);
        members.text("capiscio.policy_version", &self.policy_version);
        members.text("capiscio.target", &self.target);
        members.optional("capiscio.tool.params_hash", self.params_hash.as_deref());
        members.optional("claimed.iss", self.claimed_issuer.as_deref());
        members.optional("claimed.jti", self.claimed_jti.as_deref());
        members.optional("claimed.sub", self.claimed_subject.as_deref());
        members.text("event.name", event);
        members.id("id", id);
        members.optional("rmcp_guard.api_key_name", self.api_key_name.as_deref());
        members.optional("rmcp_guard.binding", self.binding);
        members.optional("rmcp_guard.deny_reason", self.deny_reason);
        members.optional("rmcp_guard.detail", self.deny_detail);
        members.optional("rmcp_guard.issuer", self.badge_issuer.as_deref());
        members.text("rmcp_guard.kind", "decision");
        members.text("rmcp_guard.method", self.method);
        if !self.notes.is_empty() {
            members.words("rmcp_guard.notes", &self.notes);
        }
        members.text("rmcp_guard.policy_digest", &self.policy_digest);
        members.text("rmcp_guard.profile", self.profile);
        members.optional("rmcp_guard.protocol_version", self.protocol_version.as_deref());
        members.optional("rmcp_guard.rule", self.rule.as_deref());
        members.text("rmcp_guard.transport", self.transport);
        members.optional("server_origin", self.server_origin.as_deref());
        members.time("timestamp", at);
        if let Some(level) = self.trust_level {
            members.count("trust_level", level.into());
        }
    }
}

impl OutcomeRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>) {
        members.text("capiscio.target", &self.target);
        members.text("event.name", "rmcp_guard.outcome");
        members.id("id", self.id);
        members.id("rmcp_guard.decision_id", self.decision_id);
        members.count("rmcp_guard.duration_us", u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX));
        members.text("rmcp_guard.kind", "outcome");
        if !self.notes.is_empty() {
            members.words("rmcp_guard.notes", &self.notes);
        }
        members.text("rmcp_guard.outcome", self.outcome);
        members.optional("rmcp_guard.result_hash", self.result_hash.as_deref());
        members.time("timestamp", self.at);
    }
}

impl PolicyLoadedRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>) {
        members.text("capiscio.policy_version", &self.policy_version);
        members.text("event.name", "rmcp_guard.policy_loaded");
        members.id("id", self.id);
        members.text("rmcp_guard.kind", "policy_loaded");
        members.text("rmcp_guard.policy_digest", &self.policy_digest);
        members.text("rmcp_guard.profile", self.profile);
        members.time("timestamp", self.at);
    }
}

impl NoticeRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>) {
        members.text("event.name", "rmcp_guard.notice");
        members.id("id", self.id);
        members.text("rmcp_guard.kind", "notice");
        members.text("rmcp_guard.notice", self.name);
        for (name, value) in &self.members {
            members.text(format!("rmcp_guard.notice.{name}"), value);
        }
        members.time("timestamp", self.at);
    }
}

impl GapRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>) {
        members.text("event.name", "rmcp_guard.gap");
        members.id("id", self.id);
        members.count("rmcp_guard.gap.count", self.count);
        members.time("rmcp_guard.gap.first", self.first);
        members.time("rmcp_guard.gap.last", self.last);
        members.text("rmcp_guard.gap.reason", self.reason);
        members.text("rmcp_guard.kind", "gap");
        members.time("timestamp", self.last);
    }
}

impl CoalescedRecord {
    fn write<'a>(&'a self, members: &mut Members<'a>) {
        members.optional("capiscio.auth.level", self.auth_level);
        members.text("capiscio.decision", "DENY");
        members.optional("capiscio.deny_reason", self.deny_reason_rfc);
        members.optional("capiscio.policy_version", self.policy_version.as_deref());
        members.optional("capiscio.target", self.target.as_deref());
        let calls = self.kind == "coalesced";
        members
            .text("event.name", if calls { "rmcp_guard.coalesced_denials" } else { "rmcp_guard.coalesced_sessions" });
        members.id("id", self.id);
        members.count("rmcp_guard.coalesced.count", self.count);
        members.time("rmcp_guard.coalesced.first", self.first);
        members.time("rmcp_guard.coalesced.last", self.last);
        if !self.many.is_empty() {
            members.words("rmcp_guard.coalesced.many", self.many);
        }
        members.optional("rmcp_guard.deny_reason", self.deny_reason);
        members.text("rmcp_guard.kind", self.kind);
        members.optional("rmcp_guard.method", self.method);
        members.optional("rmcp_guard.policy_digest", self.policy_digest.as_deref());
        members.optional("rmcp_guard.profile", self.profile);
        members.optional("rmcp_guard.transport", self.transport);
        members.time("timestamp", self.last);
    }
}

/// Members of the longest ordinary record.
const MOST_MEMBERS: usize = 32;

/// A record's members under construction.
struct Members<'a> {
    list: Vec<(Cow<'static, str>, Member<'a>)>,
    keyed: &'a KeyedHash,
}

enum Member<'a> {
    Text(Cow<'a, str>),
    Count(u64),
    Words(&'a [&'static str]),
}

impl<'a> Members<'a> {
    /// A text, whoever wrote it. One that is too long is cut, and its length and keyed hash say what was cut off:
    /// enough to recognise it again, not enough to fill the disk.
    fn text(&mut self, name: impl Into<Cow<'static, str>>, text: &'a str) {
        let name = name.into();
        if text.len() <= MAX_TEXT_BYTES {
            return self.list.push((name, Member::Text(text.into())));
        }
        let (bytes, hash) = (format!("{name}.cut.bytes"), format!("{name}.cut.hash"));
        self.list.push((name, Member::Text(cut(text).into())));
        self.count(bytes, u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.list.push((hash.into(), Member::Text(self.keyed.hash("text", text.as_bytes()).into())));
    }

    fn optional(&mut self, name: &'static str, text: Option<&'a str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn id(&mut self, name: &'static str, id: EvidenceId) {
        self.list.push((name.into(), Member::Text(id.to_string().into())));
    }

    fn time(&mut self, name: &'static str, time: SystemTime) {
        self.list.push((name.into(), Member::Text(rfc3339(time).into())));
    }

    fn count(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        self.list.push((name.into(), Member::Count(count.min(MAX_EXACT_INTEGER))));
    }

    fn words(&mut self, name: &'static str, words: &'a [&'static str]) {
        self.list.push((name.into(), Member::Words(words)));
    }

    /// RFC 8785 directly: names are ASCII, so their bytes sort as UTF-16 does; every number is an exact integer; and
    /// `serde_json` escapes strings as RFC 8785 has it. A map and the canonicalizer would take five times as long.
    fn into_json(mut self) -> Result<Vec<u8>, AppendError> {
        // only a notice has names of its own
        if !self.list.is_sorted_by(|(one, _), (next, _)| one < next) {
            self.list.sort_by(|(one, _), (other, _)| one.cmp(other));
            // of two members with one name the last counts, as in a map
            self.list.reverse();
            self.list.dedup_by(|(earlier, _), (later, _)| earlier == later);
            self.list.reverse();
        }
        let mut out = Vec::with_capacity(1024);
        let mut separator = b'{';
        for (name, value) in &self.list {
            out.push(separator);
            separator = b',';
            write_json(&mut out, name.as_ref())?;
            out.push(b':');
            match value {
                Member::Text(text) => write_json(&mut out, text.as_ref())?,
                Member::Count(count) => write_json(&mut out, count)?,
                Member::Words(words) => write_json(&mut out, words)?,
            }
        }
        out.push(b'}');
        Ok(out)
    }
}

/// Writing to memory does not fail, and nor do texts, integers and lists of texts.
fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<(), AppendError> {
    serde_json::to_writer(out, value).map_err(|_| AppendError::Failed)
}

/// RFC 3339 in UTC with nanoseconds; times before 1970 or after 9999, which it cannot say, become the nearest it can.
pub(super) fn rfc3339(time: SystemTime) -> String {
    const END_OF_YEAR_9999: Duration = Duration::from_secs(253_402_300_799);
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(END_OF_YEAR_9999);
    let clamped = UNIX_EPOCH.checked_add(elapsed).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_nanos(clamped).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::parse_unique_json;

    fn keyed() -> KeyedHash {
        KeyedHash::new(&[7; super::super::keyed::KEY_BYTES])
    }

    fn assert_canonical(record: &Record) {
        let line = record.encode(record.id(UNIX_EPOCH), &keyed(), UNIX_EPOCH).unwrap();
        let value = parse_unique_json(&line).unwrap();
        let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), String::from_utf8(canonical).unwrap());
    }

    /// Texts of every kind, some of them longer than a member may be.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            Just("x".repeat(MAX_TEXT_BYTES + 1)),
            "[\u{0}-\u{20}\"\\\\\u{7f}\u{d7ff}\u{e000}]{0,20}"
        ]
    }

    proptest! {
        #[test]
        fn a_decision_is_canonical(
            (target, policy_version, policy_digest) in (text(), text(), text()),
            optional in prop::collection::vec(prop::option::of(text()), 10),
            (allow, trust_level, notes) in (any::<bool>(), prop::option::of(0_u8..5), 0_usize..3),
        ) {
            let mut optional = optional.into_iter();
            let mut next = || optional.next().flatten();
            assert_canonical(&Record::Decision(DecisionRecord {
                method: "tools/call",
                target,
                allow,
                deny_reason: (!allow).then_some("badge_missing"),
                deny_reason_rfc: (!allow).then_some("BADGE_MISSING"),
                deny_detail: (!allow).then_some("no badge"),
                auth_level: "ANONYMOUS",
                agent_did: next(),
                badge_jti: next(),
                badge_issuer: next(),
                api_key_name: next(),
                trust_level,
                binding: allow.then_some("audience"),
                claimed_issuer: next(),
                claimed_subject: next(),
                claimed_jti: next(),
                params_hash: next(),
                server_origin: next(),
                policy_version,
                policy_digest,
                profile: "interop",
                rule: next(),
                transport: "http",
                protocol_version: next(),
                notes: vec!["a \"note\"", "another"].into_iter().take(notes).collect(),
                ..DecisionRecord::default()
            }));
        }

        #[test]
        fn every_other_record_is_canonical(
            texts in prop::collection::vec(text(), 5), count in any::<u64>(), hashed in any::<bool>(),
        ) {
            let id = EvidenceId::generate(UNIX_EPOCH);
            let [a, b, c, d, e] = <[String; 5]>::try_from(texts).unwrap();
            let hash = hashed.then_some(b.clone());
            let word = |word| hashed.then_some(word);
            assert_canonical(&Record::Coalesced(CoalescedRecord {
                id,
                kind: if hashed { "coalesced" } else { "coalesced_sessions" },
                count,
                first: UNIX_EPOCH,
                last: UNIX_EPOCH,
                deny_reason: word("badge_missing"),
                deny_reason_rfc: word("TOOL_AUTH_MISSING"),
                method: word("tools/call"),
                target: hashed.then(|| a.clone()),
                auth_level: word("ANONYMOUS"),
                transport: word("http"),
                policy_version: hashed.then(|| c.clone()),
                policy_digest: hashed.then(|| d.clone()),
                profile: word("interop"),
                many: if hashed { &[] } else { &["reasons", "targets"] },
            }));
            let mut outcome = OutcomeRecord::new(id, id, UNIX_EPOCH, a.clone(), "ok", Duration::from_micros(count), hash);
            outcome.notes = if hashed { Vec::new() } else { vec!["result_too_large"] };
            assert_canonical(&Record::Outcome(outcome));
            assert_canonical(&Record::PolicyLoaded(PolicyLoadedRecord::new(id, UNIX_EPOCH, a, b, "interop")));
            // names out of order, one of them twice
            let members = vec![("zone", c), ("address", d), ("zone", e)];
            assert_canonical(&Record::Notice(NoticeRecord::new(id, UNIX_EPOCH, "session_refused", members)));
            assert_canonical(&Record::Gap(GapRecord { id, count, first: UNIX_EPOCH, last: UNIX_EPOCH, reason: "queue_full" }));
        }
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        let members = vec![("zone", "first".to_owned()), ("zone", "last".to_owned())];
        let id = EvidenceId::generate(UNIX_EPOCH);
        let record = Record::Notice(NoticeRecord::new(id, UNIX_EPOCH, "x", members));
        let value = parse_unique_json(&record.encode(id, &keyed(), UNIX_EPOCH).unwrap()).unwrap();
        assert_eq!(value["rmcp_guard.notice.zone"], "last");
    }
}
