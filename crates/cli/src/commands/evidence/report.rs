//! What a check found, for people and programs.

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::evidence::escape_for_display;
use rmcp_guard::evidence::verify::{Report, Verdict};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output::{Mark, Text, time};

/// The worst of several outcomes.
pub(super) fn worst<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Verdict {
    reports.into_iter().map(|report| report.verdict).max().unwrap_or(Verdict::Intact)
}

pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Intact => "intact",
        Verdict::Incomplete => "incomplete",
        Verdict::Tampered => "tampered",
    }
}

/// How the command ends; standard output has said why.
pub(super) fn end(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Intact => Ok(()),
        Verdict::Incomplete => Err(Failure::answered().with_exit(Exit::Incomplete)),
        Verdict::Tampered => Err(Failure::answered().with_exit(Exit::Tampered)),
    }
}

pub(super) fn as_json(report: &Report) -> Value {
    json!({
        "verdict": word(report.verdict),
        "directory": report.directory.to_string_lossy(),
        "origin": report.origin,
        "size": report.size,
        "root": report.root.map(|root| root.to_string()),
        "first_at": report.first_at,
        "last_at": report.last_at,
        "entries_checked": report.entries_checked,
        "redacted": report.redacted,
        "pruned": report.pruned,
        "dropped": report.dropped,
        "rollback_detectable": report.rollback_detectable,
        "next_origin": report.next_origin,
        "witnesses": report.witnesses,
        "witnessed_size": report.witnessed_size,
        "witnessed_at": report.witnessed_at.map(seconds),
        "findings_total": report.findings_total,
        "findings": report.findings.iter().map(|finding| json!({
            "kind": finding.kind.code(),
            "index": finding.index,
            "path": finding.path.as_ref().map(|path| path.to_string_lossy()),
        })).collect::<Vec<_>>(),
    })
}

/// RFC 3339 of seconds since 1970.
pub(super) fn seconds(at: u64) -> String {
    i64::try_from(at).map_or_else(|_| at.to_string(), |at| time(UnixSeconds::new(at)))
}

/// The block of one log.
pub(super) fn as_text(text: Text, report: &Report, quorum: Option<usize>) -> Text {
    let mark = if report.verdict == Verdict::Intact { Mark::Passed } else { Mark::Failed };
    let directory = report.directory.display().to_string();
    let mut text = text
        .check(mark, &escape_for_display(&directory), word(report.verdict))
        .maybe("origin", report.origin.as_ref())
        .field("size", report.size)
        .maybe("root", report.root)
        .maybe("first", report.first_at.as_ref())
        .maybe("last", report.last_at.as_ref())
        .field("checked", format_args!("{} entries", report.entries_checked))
        .field("redacted", report.redacted)
        .field("pruned", report.pruned)
        .field("dropped", format_args!("{} records, as the log itself says", report.dropped));
    if report.rollback_detectable == Some(false) {
        text = text.field("rollback", "a loss of earlier logs would not have been noticed when this one was begun");
    }
    text = text.maybe("continues in", report.next_origin.as_ref());
    if let Some(quorum) = quorum {
        let names = report.witnesses.join(", ");
        let names = if names.is_empty() { String::new() } else { format!(": {names}") };
        text = text.field("witnesses", format_args!("{} of {quorum} asked for{names}", report.witnesses.len()));
        if let Some(size) = report.witnessed_size {
            let at = report.witnessed_at.map(|at| format!(", signed {}", seconds(at))).unwrap_or_default();
            let behind = report.size.saturating_sub(size);
            text = text.field("witnessed", format_args!("{size} of {} entries ({behind} behind){at}", report.size));
        }
    }
    for finding in &report.findings {
        text = text.line(format_args!("  {finding}"));
    }
    let shown = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    match report.findings_total.saturating_sub(shown) {
        0 => text,
        more => text.line(format_args!("  and {more} more")),
    }
}
