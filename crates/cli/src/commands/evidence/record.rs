//! A record as people and programs see it.

use rmcp_guard::evidence::LogEntry;
use rmcp_guard::evidence::merkle::Hash;
use serde_json::{Value, json};

use crate::evidence_index::{Log, event_of};
use crate::exit::Failure;
use crate::output::{Output, Text, print_json_line};

/// Prints one record of many: a line, or a JSON document on a line.
pub(super) fn print(output: Output, log: &Log, index: u64, event: Option<&Value>, leaf: &Hash) -> Result<(), Failure> {
    if output.is_json() {
        return print_json_line(&json!({
            "event": event,
            "index": index,
            "leaf": leaf.to_string(),
            "log": log.name(),
        }));
    }
    output.result(&Value::Null, &Text::default().line(line(log.name(), index, event)))
}

/// Prints an entry whose body is not there.
pub(super) fn print_absent(output: Output, log: &Log, index: u64, what: &str) -> Result<(), Failure> {
    if output.is_json() {
        return print_json_line(&json!({ "event": null, "index": index, "log": log.name(), "absent": what }));
    }
    output.result(&Value::Null, &Text::default().line(format_args!("{:<27}  {} {index}  {what}", "", log.name())))
}

/// Prints an entry as it was read.
pub(super) fn print_entry(output: Output, log: &Log, index: u64, entry: &LogEntry) -> Result<(), Failure> {
    match entry {
        LogEntry::Present(bytes) => print(output, log, index, event_of(bytes).as_ref(), &Hash::of_leaf(bytes)),
        entry @ (LogEntry::Redacted | LogEntry::Pruned | _) => print_absent(output, log, index, absence(entry)),
    }
}

/// Why there is no body.
pub(super) fn absence(entry: &LogEntry) -> &'static str {
    match entry {
        LogEntry::Pruned => "pruned",
        LogEntry::Present(_) | LogEntry::Redacted | _ => "redacted",
    }
}

/// `TIME  LOG INDEX  what happened`.
fn line(log: &str, index: u64, event: Option<&Value>) -> String {
    let Some(event) = event else { return format!("{:<27}  {log} {index}  not a record", "") };
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    // nanoseconds say nothing to a person
    let time = text("timestamp");
    let time = match time.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{:.6}Z", fraction.trim_end_matches('Z')),
        None => time.to_owned(),
    };
    let kind = text("rmcp_guard.kind");
    let what = match kind {
        "decision" => {
            let target =
                if text("capiscio.target").is_empty() { text("rmcp_guard.method") } else { text("capiscio.target") };
            let who = [text("capiscio.agent.did"), text("rmcp_guard.api_key_name"), text("capiscio.auth.level")];
            let who = who.into_iter().find(|who| !who.is_empty()).unwrap_or("?");
            let reason = text("rmcp_guard.deny_reason");
            let reason = if reason.is_empty() { String::new() } else { format!("  {reason}") };
            format!("{:<7} {target}  {who}{reason}", text("capiscio.decision"))
        }
        "outcome" => format!("{kind:<7} {}  {}", text("capiscio.target"), text("rmcp_guard.outcome")),
        "policy_loaded" => format!("policy  {}  {}", text("capiscio.policy_version"), text("rmcp_guard.policy_digest")),
        "gap" => {
            let count = event.get("rmcp_guard.gap.count").and_then(Value::as_u64).unwrap_or_default();
            format!("{kind:<7} {count} records were dropped from {}", text("rmcp_guard.gap.first"))
        }
        "coalesced" | "coalesced_sessions" => {
            let count = event.get("rmcp_guard.coalesced.count").and_then(Value::as_u64).unwrap_or_default();
            let reason = [text("rmcp_guard.deny_reason"), text("capiscio.deny_reason"), "many reasons"];
            let reason = reason.into_iter().find(|reason| !reason.is_empty()).unwrap_or_default();
            let target = text("capiscio.target");
            let what = match kind {
                "coalesced" if target.is_empty() => "calls",
                "coalesced" => target,
                _ => "sessions",
            };
            format!("DENY    {what}  {count} times from {}  {reason}", text("rmcp_guard.coalesced.first"))
        }
        "notice" => {
            let members = event.as_object().into_iter().flatten().filter_map(|(name, value)| {
                let name = name.strip_prefix("rmcp_guard.notice.")?;
                Some(format!("  {name}={}", value.as_str().unwrap_or_default()))
            });
            format!("{kind:<7} {}{}", text("rmcp_guard.notice"), members.collect::<String>())
        }
        other => format!("{other:<7} {}", text("event.name")),
    };
    format!("{time:<27}  {log} {index}  {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_line() {
        let cases = [
            (
                json!({"rmcp_guard.kind": "decision", "capiscio.decision": "DENY", "capiscio.target": "t",
                    "capiscio.agent.did": "", "capiscio.auth.level": "ANONYMOUS", "rmcp_guard.deny_reason": "badge_missing"}),
                "DENY    t  ANONYMOUS  badge_missing",
            ),
            (
                json!({"rmcp_guard.kind": "outcome", "capiscio.target": "t", "rmcp_guard.outcome": "ok"}),
                "outcome t  ok",
            ),
            (
                json!({"rmcp_guard.kind": "gap", "rmcp_guard.gap.count": 3, "rmcp_guard.gap.first": "x"}),
                "gap     3 records were dropped from x",
            ),
            (
                json!({"rmcp_guard.kind": "coalesced", "rmcp_guard.coalesced.count": 3,
                    "rmcp_guard.coalesced.first": "x", "capiscio.target": "t",
                    "rmcp_guard.deny_reason": "badge_missing"}),
                "DENY    t  3 times from x  badge_missing",
            ),
            (
                json!({"rmcp_guard.kind": "coalesced", "rmcp_guard.coalesced.count": 2,
                    "rmcp_guard.coalesced.first": "x"}),
                "DENY    calls  2 times from x  many reasons",
            ),
            (
                json!({"rmcp_guard.kind": "coalesced_sessions", "rmcp_guard.coalesced.count": 2,
                    "rmcp_guard.coalesced.first": "x", "rmcp_guard.deny_reason": "session_unbound"}),
                "DENY    sessions  2 times from x  session_unbound",
            ),
            (
                json!({"rmcp_guard.kind": "notice", "rmcp_guard.notice": "n", "rmcp_guard.notice.a": "b"}),
                "notice  n  a=b",
            ),
            (json!({"rmcp_guard.kind": 7}), "        "),
        ];
        for (event, want) in cases {
            let mut event = event;
            event["timestamp"] = "2026-11-01T10:00:00.123456789Z".into();
            let line = line("main/00000001", 5, Some(&event));
            assert_eq!(line, format!("2026-11-01T10:00:00.123456Z  main/00000001 5  {want}"));
        }
    }
}
