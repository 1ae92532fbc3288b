//! The logs of a set: each is followed from the one before it, by what that one has signed.

use std::path::Path;

use super::Verifier;
use super::entries::Depth;
use super::pass::Facts;
use super::report::{FindingKind, Report};
use crate::evidence::merkle::Hash;
use crate::evidence::reader::find_logs;

/// The log before, as far as it could be verified.
struct Before {
    origin: Option<String>,
    size: u64,
    root: Option<Hash>,
    is_rolled: bool,
    next_origin: Option<String>,
}

pub(super) fn verify_set(verifier: &Verifier, directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    let Ok(instances) = find_logs(directory) else {
        let mut report = Report::new(directory);
        report.find(FindingKind::Unreadable, None, None);
        return vec![report];
    };
    for instance in instances {
        let mut keys = verifier.keys.clone();
        let mut before: Option<Before> = None;
        for log in instance {
            let (mut report, facts) = verifier.check(&log, &keys, progress);
            if verifier.depth != Depth::Opaque {
                compare(&mut report, &facts, before.as_ref());
            }
            if report.origin.is_some() && reports.iter().any(|other: &Report| other.origin == report.origin) {
                report.find(FindingKind::NotContinued, None, None);
            }
            let next_origin = facts.next_key.as_ref().map(|key| key.name().to_owned());
            keys.extend(facts.next_key);
            let origin = report.origin.clone();
            let is_rolled = facts.is_rolled;
            before = Some(Before { origin, size: report.size, root: report.root, is_rolled, next_origin });
            reports.push(report);
        }
        // the newest logs are the ones whose loss would hide most
        if let Some(last) = reports.last_mut().filter(|_| before.is_some_and(|before| before.is_rolled)) {
            last.find(FindingKind::LogMissing, None, None);
        }
    }
    let trusted = verifier.keys.iter().map(|key| key.name().to_owned());
    let known = verifier.known.iter().map(|known| known.checkpoint().origin.clone());
    let mut wanted: Vec<String> = trusted.chain(known).collect();
    wanted.sort_unstable();
    wanted.dedup();
    for origin in wanted {
        if reports.iter().all(|report| report.origin.as_ref() != Some(&origin)) {
            let mut report = Report::new(directory);
            report.origin = Some(origin);
            report.find(FindingKind::LogMissing, None, None);
            reports.push(report);
        }
    }
    if reports.is_empty() {
        let mut report = Report::new(directory);
        report.find(FindingKind::NoCheckpoint, None, None);
        reports.push(report);
    }
    reports
}

/// Compares a log with the one before it.
fn compare(report: &mut Report, facts: &Facts, before: Option<&Before>) {
    let Some(origin) = report.origin.clone() else { return };
    let previous = facts.opened.as_ref().and_then(|opened| opened.previous.as_ref());
    let kind = match (before, previous) {
        // the second: what the one before is could not be verified, which its own report says
        (None, None) | (Some(Before { origin: None, .. }), _) => return,
        (None, Some(_)) => FindingKind::LogMissing,
        (Some(before), Some(previous)) => {
            let is_it = before.origin.as_ref() == Some(&previous.origin)
                && before.size.to_string() == previous.size
                && before.root.is_some_and(|root| root.to_string() == previous.root)
                && before.next_origin.as_ref().is_none_or(|next| *next == origin);
            if is_it {
                return;
            }
            FindingKind::NotContinued
        }
        (Some(before), None) => {
            // where the first entry was taken out, or could not be verified, which the report says, only the last entry
            // of the log before is left to tell
            let is_gone = report.pruned > 0 || report.redacted > 0 || report.verdict != super::Verdict::Intact;
            let is_named = before.next_origin.as_ref().is_none_or(|next| *next == origin);
            if facts.opened.is_none() && is_gone && is_named {
                return;
            }
            FindingKind::NotContinued
        }
    };
    report.find(kind, 0, None);
    report.sort();
}
