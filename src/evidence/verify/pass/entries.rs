//! Entries against their leaf hashes, against each other, and what they say of entries that are gone.

use std::path::Path;

use super::{Pass, Run};
use crate::evidence::merkle::Hash;
use crate::evidence::verify::entries::{Content, Depth, Event, timestamp};
use crate::evidence::verify::files::FileError;
use crate::evidence::verify::report::FindingKind;

/// Redacted entries whose record has not come yet that are remembered.
const MAX_REDACTED: usize = 1 << 16;

/// Runs of missing files that are remembered; what the log says it pruned is one.
const MAX_RUNS: usize = 1 << 10;

impl Pass<'_> {
    /// Compares entries with the leaf hashes that they should have, and with each other.
    pub(super) fn check_entries(&mut self, start: u64, best: &[Option<Hash>], content: Content) {
        let broken = content.error.filter(|error| *error != FileError::Missing);
        let mut first_bad = None;
        let right = |index: u64| {
            let slot = usize::try_from(index.saturating_sub(start)).ok()?;
            let leaf = content.slots.get(slot)?.leaf?;
            (best.get(slot)?.as_ref() == Some(&leaf)).then_some(())
        };
        for ((index, slot), best) in (start..).zip(&content.slots).zip(best) {
            let Some(best) = best.filter(|_| self.wanted.contains(&index)) else {
                self.before = *best;
                continue;
            };
            match slot.leaf {
                None => self.redacted(index, &content.path),
                Some(leaf) if leaf != best => {
                    first_bad = first_bad.or(Some(index));
                    // behind a broken frame nothing is where it was
                    if broken.is_none() {
                        self.report.find(FindingKind::EntryAltered, index, Some(&content.path));
                    }
                }
                Some(_) => {
                    self.report.entries_checked = self.report.entries_checked.saturating_add(1);
                    if self.depth != Depth::Opaque {
                        self.check_frame(index, slot.frame, &content.path);
                    }
                }
            }
            self.before = Some(best);
        }
        let read = start.saturating_add(u64::try_from(content.slots.len()).unwrap_or(u64::MAX));
        let at = first_bad.unwrap_or(read);
        // behind the last entry of the log nothing may follow either
        if let Some(error) = broken.filter(|_| at < self.wanted.end || self.wanted.end == self.size) {
            self.report.find(error.kind(), at, Some(&content.path));
        }
        self.before = best.last().copied().flatten();
        for index in content.no_json.iter().filter(|index| right(**index).is_some()) {
            self.report.find(FindingKind::NotARecord, *index, Some(&content.path));
        }
        if let Some((_, record)) = content.first.filter(|(index, _)| self.wants_first && right(*index).is_some()) {
            self.wants_first = false;
            self.report.first_at = timestamp(&record);
        }
        if let Some((_, record)) = content.last.filter(|(index, _)| right(*index).is_some()) {
            self.last = Some(record);
        }
        for (index, event) in content.events {
            let slot = usize::try_from(index.saturating_sub(start)).unwrap_or(usize::MAX);
            let leaf = content.slots.get(slot).and_then(|slot| slot.leaf);
            if leaf.is_some() && leaf == best.get(slot).copied().flatten() {
                self.learn(index, event);
            }
        }
    }

    fn check_frame(&mut self, index: u64, frame: Option<(Hash, u64)>, path: &Path) {
        let kind = match frame {
            None => FindingKind::NotARecord,
            Some((prev, seq)) if seq != index || self.before.is_some_and(|before| before != prev) => {
                FindingKind::ChainBroken
            }
            Some(_) => return,
        };
        self.report.find(kind, index, Some(path));
    }

    fn redacted(&mut self, index: u64, path: &Path) {
        self.report.redacted = self.report.redacted.saturating_add(1);
        if self.redacted.len() < MAX_REDACTED {
            self.redacted.insert(index);
        } else {
            self.report.find(FindingKind::RemovalUnrecorded, index, Some(path));
        }
    }

    fn learn(&mut self, index: u64, event: Event) {
        match event {
            Event::Gap(count) => self.report.dropped = self.report.dropped.saturating_add(count),
            Event::Opened(opened) if index == 0 => {
                self.report.rollback_detectable = opened.rollback_detectable;
                self.facts.opened = Some(opened);
            }
            Event::Rolled(key) if index.saturating_add(1) == self.size => {
                self.report.next_origin = key.as_ref().map(|key| key.name().to_owned());
                self.facts.is_rolled = true;
                self.facts.next_key = key;
            }
            // elsewhere they say nothing
            Event::Opened(_) | Event::Rolled(_) => {}
            // announced when this log had taken the place of another, and not done
            Event::Redacted(_, Some(of)) | Event::Pruned(_, Some(of)) if self.report.origin.as_ref() != Some(&of) => {}
            Event::Redacted(which, _) => {
                self.redacted.remove(&which);
            }
            Event::Pruned(below, _) => self.facts.pruned_below = self.facts.pruned_below.max(below),
        }
    }

    /// Compares what is missing with what the log says it removed.
    pub(super) fn account_for_removals(&mut self) {
        for run in std::mem::take(&mut self.missing) {
            let recorded = run.end.min(self.facts.pruned_below.max(run.start));
            self.report.pruned = self.report.pruned.saturating_add(recorded.saturating_sub(run.start));
            if recorded < run.end {
                let path = (recorded == run.start).then_some(run.path.as_path());
                self.report.find(FindingKind::Missing, recorded, path);
            }
        }
        for index in std::mem::take(&mut self.redacted) {
            self.report.find(FindingKind::RemovalUnrecorded, index, None);
        }
    }

    /// Remembers that entries or their hashes are missing, until the log may say that they were pruned.
    pub(super) fn miss(&mut self, number: u64, width: u16, path: &Path) {
        let start = number.saturating_mul(256);
        let end = start.saturating_add(width.into());
        if let Some(run) = self.missing.last_mut().filter(|run| run.end >= start) {
            run.end = end;
        } else if self.missing.len() < MAX_RUNS {
            self.missing.push(Run { start, end, path: path.to_owned() });
        } else {
            self.report.find(FindingKind::Missing, start, Some(path));
        }
    }
}
