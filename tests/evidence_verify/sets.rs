//! Sets of logs, each continuing the one before.

use std::fs;
use std::path::Path;

use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::verify::{FindingKind, Report, Verdict, Verifier};
use tempfile::{TempDir, tempdir};

use crate::builder::Log;
use crate::{found, key};

type Members = Vec<(String, String)>;

/// Three logs of one instance, of which the first two were rolled.
struct Set {
    directory: TempDir,
    logs: Vec<Log>,
}

fn roll(instance: &str, epochs: u64, opened: impl Fn(u64, &Log) -> Members) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::new();
    for epoch in 1..=epochs {
        let mut log = Log::new(&format!("test.invalid/{instance}/{epoch}"), 7);
        let mut members =
            vec![("epoch".to_owned(), epoch.to_string()), ("rollback_detectable".to_owned(), "yes".to_owned())];
        if let Some(previous) = logs.last() {
            members.extend(opened(epoch, previous));
        }
        let members: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        log.push_notice("log_opened", &members);
        for number in 0..260 {
            log.push(&crate::builder::decision(number, 0));
        }
        if epoch < epochs {
            let next = crate::builder::Key::new(&format!("test.invalid/{instance}/{}", epoch + 1), 7);
            log.push_notice("log_rolled", &[("next_origin", &next.name), ("next_vkey", &next.vkey())]);
        }
        logs.push(log);
    }
    logs
}

fn previous(log: &Log) -> Members {
    vec![
        ("previous_origin".to_owned(), log.origin().to_owned()),
        ("previous_size".to_owned(), log.len().to_string()),
        ("previous_root".to_owned(), log.root()),
    ]
}

fn write(logs: &[Log], directory: &Path, instance: &str) {
    for (number, log) in (1..).zip(logs) {
        let path = directory.join(instance).join(format!("{number:08}"));
        fs::create_dir_all(&path).unwrap();
        log.write(&path);
        log.write_info(
            &path,
            instance,
            number,
            number.checked_sub(2).map(|before| &logs[usize::try_from(before).unwrap()]),
        );
    }
}

fn set() -> Set {
    let directory = tempdir().unwrap();
    let logs = roll("main", 3, |_, log| previous(log));
    write(&logs, directory.path(), "main");
    fs::write(directory.path().join("main/LOCK"), "").unwrap();
    Set { directory, logs }
}

fn check(set: &Set) -> Vec<Report> {
    Verifier::new([key(&set.logs[0].key)]).verify_set(set.directory.path(), &mut |_, _| {})
}

type Outcome = (Verdict, Vec<(FindingKind, Option<u64>)>);

fn all(reports: &[Report]) -> Vec<Outcome> {
    reports.iter().map(|report| (report.verdict, found(report))).collect()
}

#[test]
fn one_key_leads_through_all_logs() {
    let set = set();
    let reports = check(&set);
    assert_eq!(all(&reports), vec![(Verdict::Intact, vec![]); 3]);
    let origins: Vec<_> = reports.iter().map(|report| report.origin.as_deref().unwrap()).collect();
    assert_eq!(origins, ["test.invalid/main/1", "test.invalid/main/2", "test.invalid/main/3"]);
    assert_eq!(reports[0].next_origin.as_deref(), Some("test.invalid/main/2"));
    assert_eq!(reports[0].rollback_detectable, Some(true));
    // the instance, or one log alone, is a set too
    for path in ["main", "main/00000001"] {
        let key = key(&set.logs[0].key);
        let reports = Verifier::new([key]).verify_set(set.directory.path().join(path), &mut |_, _| {});
        assert_eq!(reports[0].origin.as_deref(), Some("test.invalid/main/1"), "{path}");
    }
}

#[test]
fn a_key_counts_only_where_a_verified_log_names_it() {
    let set = set();
    let untrusted = (Verdict::Tampered, vec![(FindingKind::UntrustedLog, None)]);
    // the key of a later log says nothing about earlier ones
    let reports = Verifier::new([key(&set.logs[1].key)]).verify_set(set.directory.path(), &mut |_, _| {});
    assert_eq!(all(&reports), [untrusted.clone(), (Verdict::Intact, vec![]), (Verdict::Intact, vec![])]);
    // the entry that names the key is altered: from there on nothing is trusted
    let path = set.directory.path().join("main/00000001/tile/entries/001.p/6");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 300;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let reports = check(&set);
    let altered = (Verdict::Tampered, vec![(FindingKind::EntryAltered, Some(261))]);
    assert_eq!(all(&reports), [altered, untrusted.clone(), untrusted]);
    // another entry is altered: what is named is still signed
    bytes[at] ^= 1;
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let altered = (Verdict::Tampered, vec![(FindingKind::EntryAltered, Some(256))]);
    assert_eq!(all(&check(&set)), [altered, (Verdict::Intact, vec![]), (Verdict::Intact, vec![])]);
}

#[test]
fn a_missing_log_is_found_at_each_place() {
    let gone = |which: &str| {
        let set = set();
        fs::remove_dir_all(set.directory.path().join("main").join(which)).unwrap();
        all(&check(&set))
    };
    let (intact, untrusted) = ((Verdict::Intact, vec![]), (Verdict::Tampered, vec![(FindingKind::UntrustedLog, None)]));
    let missing = (Verdict::Incomplete, vec![(FindingKind::LogMissing, None)]);
    // the newest
    assert_eq!(gone("00000003"), [intact.clone(), missing.clone()]);
    // one in between: nobody vouches for the one behind
    assert_eq!(gone("00000002"), [intact, untrusted.clone()]);
    // the oldest, whose key was given
    assert_eq!(gone("00000001"), [untrusted.clone(), untrusted, missing.clone()]);
    assert_eq!(gone("../main"), [(Verdict::Incomplete, vec![(FindingKind::LogMissing, None)])]);
    // the later keys are given too
    let set = set();
    fs::remove_dir_all(set.directory.path().join("main/00000002")).unwrap();
    let verifier = Verifier::new(set.logs.iter().map(|log| key(&log.key)));
    let reports = verifier.verify_set(set.directory.path(), &mut |_, _| {});
    let not_continued = (Verdict::Tampered, vec![(FindingKind::NotContinued, Some(0))]);
    assert_eq!(all(&reports), [(Verdict::Intact, vec![]), not_continued, missing]);
    // emptied instead of removed
    let path = set.directory.path().join("main/00000003");
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(found(&check(&set)[1]).contains(&(FindingKind::NoCheckpoint, None)));
}

#[test]
fn an_empty_directory_is_no_set() {
    let directory = tempdir().unwrap();
    let reports = Verifier::new([]).verify_set(directory.path(), &mut |_, _| {});
    assert_eq!(all(&reports), [(Verdict::Incomplete, vec![(FindingKind::NoCheckpoint, None)])]);
    let reports = Verifier::new([]).verify_set(directory.path().join("nowhere"), &mut |_, _| {});
    assert_eq!(all(&reports), [(Verdict::Incomplete, vec![(FindingKind::Unreadable, None)])]);
}

#[test]
fn a_log_must_continue_the_one_before() {
    let wrong: [fn(&Log) -> Members; 4] = [
        |_| Vec::new(),
        |log| previous(log).into_iter().map(|(name, value)| (name, value.replace("main/1", "main/9"))).collect(),
        |log| previous(log).into_iter().map(|(name, value)| (name, value.replace("262", "261"))).collect(),
        |_| previous(&Log::of_decisions(5, 0)),
    ];
    for wrong in wrong {
        let directory = tempdir().unwrap();
        let logs = roll("main", 2, |_, log| wrong(log));
        write(&logs, directory.path(), "main");
        fs::remove_file(directory.path().join("main/00000002/log.json")).unwrap();
        let reports = Verifier::new([key(&logs[0].key)]).verify_set(directory.path(), &mut |_, _| {});
        let not_continued = (Verdict::Tampered, vec![(FindingKind::NotContinued, Some(0))]);
        assert_eq!(all(&reports), [(Verdict::Intact, vec![]), not_continued]);
    }
    // it names one that is not there
    let directory = tempdir().unwrap();
    let logs = roll("main", 2, |_, log| previous(log));
    write(&logs, directory.path(), "main");
    fs::remove_dir_all(directory.path().join("main/00000001")).unwrap();
    let reports = Verifier::new([key(&logs[1].key)]).verify_set(directory.path(), &mut |_, _| {});
    assert_eq!(all(&reports), [(Verdict::Incomplete, vec![(FindingKind::LogMissing, Some(0))])]);
}

/// A log whose beginning was pruned says nothing of the one before it; that one still names it.
#[test]
fn a_pruned_log_is_followed_by_the_name_that_the_one_before_gives() {
    let directory = tempdir().unwrap();
    let mut logs = roll("main", 2, |_, log| previous(log));
    logs[1].push_notice("entries_pruned", &[("below", "256"), ("by", "dpo"), ("why", "retention")]);
    write(&logs, directory.path(), "main");
    crate::builder::prune(&directory.path().join("main/00000002"), 256);
    let reports = Verifier::new([key(&logs[0].key)]).verify_set(directory.path(), &mut |_, _| {});
    assert_eq!(all(&reports), [(Verdict::Intact, vec![]), (Verdict::Intact, vec![])]);
    assert_eq!(reports[1].pruned, 256);
}

#[test]
fn a_known_checkpoint_of_another_log_is_missed() {
    let set = set();
    let note = set.logs[1].checkpoint(5);
    let known = VerifiedCheckpoint::verify(&note, &[key(&set.logs[1].key)]).unwrap();
    let verifier = Verifier::new([key(&set.logs[0].key)]).with_known_checkpoint(known);
    let path = set.directory.path().join("main/00000001");
    let report = verifier.verify_log(&path, &mut |_, _| {});
    assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, vec![(FindingKind::LogMissing, None)]));
    let reports = verifier.verify_set(set.directory.path(), &mut |_, _| {});
    assert_eq!(all(&reports), vec![(Verdict::Intact, vec![]); 3]);
    fs::remove_dir_all(set.directory.path().join("main/00000002")).unwrap();
    let reports = verifier.verify_set(set.directory.path(), &mut |_, _| {});
    let last = reports.last().unwrap();
    assert_eq!(
        (last.origin.as_deref(), found(last)),
        (Some("test.invalid/main/2"), vec![(FindingKind::LogMissing, None)])
    );
}

#[test]
fn instances_stand_side_by_side_and_none_twice() {
    let directory = tempdir().unwrap();
    let (one, two) = (roll("one", 2, |_, log| previous(log)), roll("two", 1, |_, log| previous(log)));
    write(&one, directory.path(), "one");
    write(&two, directory.path(), "two");
    let verifier = Verifier::new([key(&one[0].key), key(&two[0].key)]);
    let intact = (Verdict::Intact, vec![]);
    assert_eq!(all(&verifier.verify_set(directory.path(), &mut |_, _| {})), vec![intact.clone(); 3]);
    // one in the place of the other
    fs::remove_dir_all(directory.path().join("two")).unwrap();
    crate::builder::copy(&directory.path().join("one"), &directory.path().join("two"));
    let reports = verifier.verify_set(directory.path(), &mut |_, _| {});
    let kinds: Vec<_> = reports.iter().flat_map(|report| &report.findings).map(|finding| finding.kind).collect();
    assert!(kinds.contains(&FindingKind::NotContinued) && kinds.contains(&FindingKind::LogMissing), "{kinds:?}");
    assert!(reports.iter().any(|report| report.verdict == Verdict::Tampered));
}

#[test]
fn records_are_read_in_the_order_of_the_set() {
    let set = set();
    let records = rmcp_guard::evidence::read_records(set.directory.path()).unwrap();
    assert_eq!(records.len(), set.logs.iter().map(Log::len).sum::<usize>());
    assert_eq!(records[0]["rmcp_guard.notice"], "log_opened");
    assert_eq!(records[261]["rmcp_guard.notice"], "log_rolled");
    assert_eq!(records[262]["rmcp_guard.notice.previous_origin"], "test.invalid/main/1");
}
