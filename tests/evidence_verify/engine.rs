//! Logs of the crate's own writer: at rest, rolled, with entries taken out, and while it writes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{
    Entry, EvidenceId, EvidenceLog, EvidenceOptions, LogEntry, LogReader, NoticeRecord, Record, read_records,
};
use tempfile::tempdir;

use crate::found;

const LONG: Duration = Duration::from_secs(30);

fn append(log: &EvidenceLog, number: usize) {
    let now = SystemClock.now();
    let members = vec![("number", number.to_string()), ("text", "x".repeat(number % 400))];
    let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", members));
    let mut place = log.reserve_blocking(1).unwrap();
    // what is appended is waited for by `publish` or `close`
    let _ = log.append(&mut place, &record).unwrap();
}

fn open(directory: &Path, options: EvidenceOptions) -> EvidenceLog {
    options.wait_limit(LONG).create_or_open(directory).unwrap()
}

#[test]
fn a_rolled_log_is_followed_from_its_first_key() {
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("evidence");
    let options = || EvidenceLog::options().roll_after_bytes(100_000).origin("guard.invalid/log");
    let log = open(&directory, options());
    let key = log.verifier_key().unwrap();
    let fill = |log: &EvidenceLog, numbers: std::ops::Range<usize>| {
        for number in numbers {
            append(log, number);
            // a log rolls when its tiles have been published
            if number % 300 == 0 {
                log.publish(LONG).unwrap();
            }
        }
    };
    fill(&log, 0..1500);
    log.close();
    drop(log);
    // and across a restart
    let log = open(&directory, options());
    fill(&log, 1500..2000);
    log.close();
    drop(log);
    let reports = Verifier::new([key]).with_json_check().verify_set(&directory, &mut |_, _| {});
    assert!(reports.len() >= 3, "{}", reports.len());
    for report in &reports {
        assert_eq!((report.verdict, found(report), report.entries_checked), (Verdict::Intact, vec![], report.size));
    }
    let records = read_records(&directory).unwrap();
    assert_eq!(records.len() as u64, reports.iter().map(|report| report.size).sum::<u64>());
    let numbers =
        records.iter().filter_map(|record| record["rmcp_guard.notice.number"].as_str()?.parse::<usize>().ok());
    assert!(numbers.eq(0..2000));
}

#[test]
fn what_the_writer_takes_out_is_accounted_for() {
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("evidence");
    let log = open(&directory, EvidenceLog::options());
    let verifier = Verifier::new([log.verifier_key().unwrap()]);
    (0..700).for_each(|number| append(&log, number));
    log.publish(LONG).unwrap();
    for index in [3, 300, 650] {
        log.redact(index, "dpo", "erasure").unwrap();
    }
    log.publish(LONG).unwrap();
    let path = log.directory().unwrap();
    let report = verifier.verify_log(&path, &mut |_, _| {});
    assert_eq!((report.verdict, found(&report), report.redacted), (Verdict::Intact, vec![], 3));
    for index in [0, 3, 300, 301, 650] {
        let proof = verifier.prove(&path, index).unwrap();
        assert_eq!(proof.index, index);
    }
    log.prune(300, "dpo", "retention").unwrap();
    (700..1000).for_each(|number| append(&log, number));
    log.close();
    let report = verifier.verify_log(&path, &mut |_, _| {});
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]));
    assert_eq!((report.redacted, report.pruned, report.entries_checked), (2, 256, report.size - 258));
    let entries = LogReader::open(&path).unwrap().entries(0).unwrap().map(Result::unwrap);
    let gone = entries.filter(|(_, entry)| !matches!(entry, LogEntry::Present(_))).count();
    assert_eq!(gone, 258);
}

/// A reader and a verifier at work beside the writer: what they see is always whole and in order.
#[test]
fn a_log_is_read_and_verified_while_it_is_written() {
    const RECORDS: usize = 3000;
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("evidence");
    let log = open(&directory, EvidenceLog::options().checkpoint_interval(Duration::from_millis(5)));
    let path = log.directory().unwrap();
    let verifier = Verifier::new([log.verifier_key().unwrap()]);
    log.publish(LONG).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..RECORDS).for_each(|number| append(&log, number));
            log.close();
            done.store(true, Ordering::Release);
        });
        let mut last_size = 0;
        let mut next = 0;
        let mut prev = None;
        loop {
            let is_last = done.load(Ordering::Acquire);
            let report = verifier.verify_log(&path, &mut |_, _| {});
            assert_eq!(report.verdict, Verdict::Intact, "{:?}", report.findings);
            assert!(report.size >= last_size);
            last_size = report.size;
            for entry in LogReader::open(&path).unwrap().entries(next).unwrap() {
                let (index, LogEntry::Present(bytes)) = entry.unwrap() else { panic!("nothing was taken out") };
                let frame = Entry::parse(&bytes).unwrap();
                assert_eq!((index, frame.seq), (next, next));
                assert!(prev.is_none_or(|prev| prev == frame.prev));
                prev = Some(Hash::of_leaf(&bytes));
                next += 1;
            }
            assert!(next >= last_size, "what is published can be read");
            if is_last {
                break;
            }
        }
        assert_eq!((next, last_size), (next, next));
        assert!(next >= RECORDS as u64);
    });
}
