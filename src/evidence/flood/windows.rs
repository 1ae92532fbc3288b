//! Denials that are counted instead of recorded: who is counted under which key, in bounded memory.

use std::time::SystemTime;

use super::super::{CoalescedRecord, EvidenceId, MAX_TEXT_BYTES};

/// Keys of a window that name their target. Honest callers who are denied name a few tools; a stranger can make up any
/// number of names, and beyond this all of them count as one.
const MAX_TARGETS: usize = 16;

/// Keys that name reason and method without a target. Beyond this only the class of the reason counts, of which there are
/// fewer than ten: with [`MAX_TARGETS`] no stranger can have more than 42 records written each second.
const MAX_KINDS: usize = 16;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A call that was denied.
    Decisions,
    /// A request to a session that was turned away before it became a call.
    RefusedSessions,
}

impl Counted {
    /// The kind of the record.
    const fn kind(self) -> &'static str {
        match self {
            Self::Decisions => "coalesced",
            Self::RefusedSessions => "coalesced_sessions",
        }
    }
}

/// A denial that has no record of its own; a text that says nothing is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denied<'a> {
    pub(crate) what: Counted,
    pub(crate) reason: &'static str,
    /// The RFC's spelling, which several reasons share.
    pub(crate) class: &'static str,
    pub(crate) method: &'static str,
    pub(crate) target: &'a str,
    pub(crate) auth_level: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) policy_version: &'a str,
    pub(crate) policy_digest: &'a str,
    pub(crate) profile: &'static str,
}

/// How much the denials under one key have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// All of it.
    Target,
    /// All but the target.
    Kind,
    /// What is counted, the class of the reason and the policy.
    Class,
}

impl Level {
    /// The members that differ.
    const fn many(self) -> &'static [&'static str] {
        match self {
            Self::Target => &[],
            Self::Kind => &["targets"],
            Self::Class => &["auth_levels", "methods", "reasons", "targets", "transports"],
        }
    }
}

/// The open counts.
#[derive(Debug, Default)]
pub(super) struct Windows {
    open: Vec<Window>,
}

/// The denials under one key so far; its record is what is written.
#[derive(Debug)]
pub(super) struct Window {
    level: Level,
    pub(super) what: Counted,
    pub(super) record: CoalescedRecord,
}

impl Window {
    fn is_of(&self, level: Level, denied: &Denied<'_>) -> bool {
        let record = &self.record;
        self.level == level
            && self.what == denied.what
            && record.deny_reason_rfc.unwrap_or_default() == denied.class
            && (level == Level::Class
                || (record.deny_reason.unwrap_or_default() == denied.reason
                    && record.method.unwrap_or_default() == denied.method
                    && record.auth_level.unwrap_or_default() == denied.auth_level
                    && record.transport.unwrap_or_default() == denied.transport))
            && (level != Level::Target || record.target.as_deref().unwrap_or_default() == denied.target)
            && record.policy_digest.as_deref().unwrap_or_default() == denied.policy_digest
    }

    fn add(&mut self, count: u64, first: SystemTime, last: SystemTime) {
        let record = &mut self.record;
        record.count = record.count.saturating_add(count);
        record.first = record.first.min(first);
        record.last = record.last.max(last);
    }
}

impl Windows {
    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The time of the first denial of all.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.open.iter().map(|window| window.record.first).min()
    }

    /// Counts one denial.
    pub(super) fn count(&mut self, denied: &Denied<'_>, at: SystemTime) {
        self.add(Level::Target, denied, (1, at, at), None);
    }

    fn add(
        &mut self,
        level: Level,
        denied: &Denied<'_>,
        (count, first, last): (u64, SystemTime, SystemTime),
        id: Option<EvidenceId>,
    ) {
        if let Some(window) = self.open.iter_mut().find(|window| window.is_of(level, denied)) {
            return window.add(count, first, last);
        }
        let of = |level| self.open.iter().filter(|window| window.level == level).count();
        let (fits, next) = match level {
            Level::Target => (of(level) < MAX_TARGETS && denied.target.len() <= MAX_TEXT_BYTES, Level::Kind),
            Level::Kind => (of(level) < MAX_KINDS, Level::Class),
            Level::Class => (true, Level::Class),
        };
        if !fits {
            return self.add(next, denied, (count, first, last), id);
        }
        let of_kind = |word: &'static str| (level != Level::Class && !word.is_empty()).then_some(word);
        self.open.push(Window {
            level,
            what: denied.what,
            record: CoalescedRecord {
                id: id.unwrap_or_else(|| EvidenceId::generate(first)),
                kind: denied.what.kind(),
                count,
                first,
                last,
                deny_reason: of_kind(denied.reason),
                deny_reason_rfc: (!denied.class.is_empty()).then_some(denied.class),
                method: of_kind(denied.method),
                target: (level == Level::Target && !denied.target.is_empty()).then(|| denied.target.to_owned()),
                auth_level: of_kind(denied.auth_level),
                transport: of_kind(denied.transport),
                policy_version: Some(denied.policy_version.to_owned()),
                policy_digest: Some(denied.policy_digest.to_owned()),
                profile: Some(denied.profile),
                many: level.many(),
            },
        });
    }

    /// Takes all counts out.
    pub(super) fn drain(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.open)
    }

    /// Counts again what found no room in the log, within the same bounds.
    pub(super) fn put_back(&mut self, window: Window) {
        let Window { level, what, record } = window;
        let denied = Denied {
            what,
            reason: record.deny_reason.unwrap_or_default(),
            class: record.deny_reason_rfc.unwrap_or_default(),
            method: record.method.unwrap_or_default(),
            target: record.target.as_deref().unwrap_or_default(),
            auth_level: record.auth_level.unwrap_or_default(),
            transport: record.transport.unwrap_or_default(),
            policy_version: record.policy_version.as_deref().unwrap_or_default(),
            policy_digest: record.policy_digest.as_deref().unwrap_or_default(),
            profile: record.profile.unwrap_or_default(),
        };
        self.add(level, &denied, (record.count, record.first, record.last), Some(record.id));
    }
}

/// One record for all of `windows`, which count the same: for a log that is closed and has room for no more.
pub(super) fn merged(windows: &[Window], what: Counted) -> Option<CoalescedRecord> {
    let mut windows = windows.iter().filter(|window| window.what == what).map(|window| &window.record);
    let first = windows.next()?.clone();
    let Some(second) = windows.next() else { return Some(first) };
    Some([second].into_iter().chain(windows).fold(
        CoalescedRecord {
            deny_reason: None,
            deny_reason_rfc: None,
            method: None,
            target: None,
            auth_level: None,
            transport: None,
            policy_version: None,
            policy_digest: None,
            profile: None,
            many: &["auth_levels", "methods", "policies", "reasons", "targets", "transports"],
            ..first
        },
        |sum, record| CoalescedRecord {
            count: sum.count.saturating_add(record.count),
            first: sum.first.min(record.first),
            last: sum.last.max(record.last),
            ..sum
        },
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    const REASONS: [&str; 4] = ["badge_missing", "badge_expired", "badge_revoked", "tool_not_allowed"];
    const CLASSES: [&str; 3] = ["TOOL_AUTH_MISSING", "TOOL_BADGE_INVALID", "TOOL_POLICY_DENIED"];
    const METHODS: [&str; 5] = ["tools/call", "prompts/get", "tasks/get", "resources/read", "custom"];
    const LEVELS: [&str; 3] = ["ANONYMOUS", "API_KEY", "BADGE"];

    fn denied(target: &str) -> Denied<'_> {
        Denied {
            what: Counted::Decisions,
            reason: "badge_missing",
            class: "TOOL_AUTH_MISSING",
            method: "tools/call",
            target,
            auth_level: "ANONYMOUS",
            transport: "http",
            policy_version: "1",
            policy_digest: "sha256:x",
            profile: "interop",
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn identical_denials_are_one_record_with_their_count_and_times() {
        let mut windows = Windows::default();
        for second in [7, 5, 9] {
            windows.count(&denied("read"), at(second));
        }
        windows.count(&Denied { reason: "badge_expired", ..denied("read") }, at(8));
        windows.count(&denied("write"), at(8));
        assert_eq!(windows.since(), Some(at(5)));
        let [read, expired, write] = <[Window; 3]>::try_from(windows.drain()).unwrap();
        assert!(windows.is_empty());
        assert_eq!((read.record.count, read.record.first, read.record.last), (3, at(5), at(9)));
        assert_eq!(read.record.target.as_deref(), Some("read"));
        assert_eq!((expired.record.count, expired.record.deny_reason), (1, Some("badge_expired")));
        assert_eq!((write.record.count, write.record.many), (1, &[][..]));
    }

    #[test]
    fn made_up_names_end_under_one_key() {
        let mut windows = Windows::default();
        for number in 0..1_000 {
            windows.count(&denied(&format!("tool_{number}")), at(number));
        }
        windows.count(&denied(&"x".repeat(MAX_TEXT_BYTES + 1)), at(0));
        let all = windows.drain();
        assert_eq!(all.len(), MAX_TARGETS + 1);
        let rest = &all.last().unwrap().record;
        assert_eq!((rest.count, rest.target.as_deref(), rest.many), (985, None, &["targets"][..]));
        assert_eq!((rest.deny_reason, rest.method), (Some("badge_missing"), Some("tools/call")));
    }

    #[test]
    fn what_is_written_at_the_end_names_only_what_all_have_in_common() {
        let mut windows = Windows::default();
        windows.count(&denied("read"), at(5));
        let one = windows.drain();
        assert_eq!(merged(&one, Counted::Decisions).unwrap().target.as_deref(), Some("read"));
        assert!(merged(&one, Counted::RefusedSessions).is_none());
        for window in one {
            windows.put_back(window);
        }
        windows.count(&denied("write"), at(3));
        let merged = merged(&windows.drain(), Counted::Decisions).unwrap();
        assert_eq!((merged.count, merged.first, merged.last), (2, at(3), at(5)));
        assert_eq!((merged.target, merged.policy_digest), (None, None));
    }

    proptest! {
        /// Whatever is denied, memory is bounded and nothing is counted twice or lost, also when the log is full now and
        /// then.
        #[test]
        fn the_counts_add_up_in_bounded_memory(
            denials in prop::collection::vec((0_usize..4, 0_usize..3, 0_usize..5, 0_usize..3, 0_u16..60, any::<u8>()), 0..400),
        ) {
            let (mut windows, mut written) = (Windows::default(), 0);
            for (number, (reason, class, method, level, target, step)) in denials.iter().enumerate() {
                let target = target.to_string();
                let denied = Denied {
                    reason: REASONS[*reason],
                    class: CLASSES[*class],
                    method: METHODS[*method],
                    auth_level: LEVELS[*level],
                    ..denied(&target)
                };
                windows.count(&denied, at(number as u64));
                if step % 16 == 0 {
                    for (place, window) in windows.drain().into_iter().enumerate() {
                        if place < usize::from(step / 16) {
                            written += window.record.count;
                        } else {
                            windows.put_back(window);
                        }
                    }
                }
                prop_assert!(windows.open.len() <= MAX_TARGETS + MAX_KINDS + CLASSES.len());
            }
            let open: u64 = windows.drain().iter().map(|window| window.record.count).sum();
            prop_assert_eq!(written + open, denials.len() as u64);
        }
    }
}
