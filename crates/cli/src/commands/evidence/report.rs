//! What a check found, for people and programs.

use std::path::Path;

use rmcp_guard::evidence::escape_for_display;
use rmcp_guard::evidence::verify::{Finding, Report, Verdict};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output::{Mark, Text};

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
        "witnesses": report.witnesses,
        "findings": report.findings.iter().map(|finding| json!({
            "kind": kind(finding),
            "index": finding.index,
            "path": finding.path.as_ref().map(|path| path.to_string_lossy()),
        })).collect::<Vec<_>>(),
    })
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
    if let Some(quorum) = quorum {
        let names = report.witnesses.join(", ");
        let names = if names.is_empty() { String::new() } else { format!(": {names}") };
        text = text.field("witnesses", format_args!("{} of {quorum} asked for{names}", report.witnesses.len()));
    }
    for finding in &report.findings {
        text = text.line(format_args!("  {}", sentence(finding, &report.directory)));
    }
    if report.findings.len() >= Report::MAX_FINDINGS {
        text = text.line("  there may be more");
    }
    text
}

/// The name of a finding in JSON: that of its kind, in lower snake case.
fn kind(finding: &Finding) -> String {
    let mut name = String::new();
    for character in format!("{:?}", finding.kind).chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

/// A finding in words.
pub(super) fn sentence(finding: &Finding, directory: &Path) -> String {
    let index = finding.index.map(|index| format!(" at entry {index}"));
    let path =
        finding.path.as_ref().map(|path| format!(": {}", path.strip_prefix(directory).unwrap_or(path).display()));
    format!("{}{}{}", kind(finding).replace('_', " "), index.unwrap_or_default(), path.unwrap_or_default())
}
