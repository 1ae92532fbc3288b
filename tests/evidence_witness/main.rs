//! Witnesses: what they sign is kept and counts, what they refuse is told, and none of it costs the log anything.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::disallowed_methods, reason = "a witness of this test runs beside it")]

mod witness;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rmcp_guard::enforce::WitnessClient;
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{FindingKind, Verdict, Verifier};
use rmcp_guard::evidence::witness::{Witness, WitnessError};
use rmcp_guard::evidence::{EvidenceId, EvidenceLog, NoticeRecord, Record};
use rmcp_guard::identity::fetch::Fetcher;

use witness::Temper;

const PATIENCE: Duration = Duration::from_secs(30);

/// A log with one publication after the other.
struct Log {
    evidence: EvidenceLog,
    directory: PathBuf,
    _home: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let options = EvidenceLog::options().origin("witnessed.example").wait_limit(PATIENCE);
        // what is published is for the test to say
        let log = options.checkpoint_interval(Duration::from_secs(3600)).create(home.path().join("evidence")).unwrap();
        let directory = log.directory().unwrap();
        Self { evidence: log, directory, _home: home }
    }

    fn key(&self) -> VerifierKey {
        self.evidence.verifier_key().unwrap()
    }

    /// Adds records and publishes.
    fn grow(&self, records: u32) {
        for _ in 0..records {
            let now = SystemTime::UNIX_EPOCH;
            let notice = NoticeRecord::new(EvidenceId::generate(now), now, "grown", Vec::new());
            let mut place = self.evidence.reserve_blocking(1).unwrap();
            self.evidence.append(&mut place, &Record::Notice(notice)).unwrap().wait_durable(PATIENCE).unwrap();
        }
        self.evidence.publish(PATIENCE).unwrap();
    }
}

fn client(witnesses: &[&Witness]) -> WitnessClient {
    let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
    WitnessClient::new(fetcher, witnesses.iter().copied().cloned())
}

/// Asks one witness once.
async fn ask(witness: &Witness, directory: &Path) -> Result<u64, WitnessError> {
    let mut results = client(&[witness]).push(directory).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0).1
}

fn verdict(log: &Log, witness: &Witness, quorum: usize) -> (Verdict, Vec<String>, Vec<FindingKind>) {
    let verifier = Verifier::new([log.key()]).with_witnesses([witness.key().clone()], quorum).unwrap();
    let report = verifier.verify_log(&log.directory, &mut |_, _| {});
    (report.verdict, report.witnesses, report.findings.iter().map(|finding| finding.kind).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_signs_a_log_that_grows() {
    let log = Log::new();
    log.grow(3);
    let witness = witness::start("w.example", &[log.key()], Temper::Honest).await;
    assert_eq!(verdict(&log, &witness, 1).2, [FindingKind::QuorumNotReached]);
    let first = ask(&witness, &log.directory).await.unwrap();
    assert_eq!(verdict(&log, &witness, 1), (Verdict::Intact, vec!["w.example".to_owned()], vec![]));
    log.grow(300);
    // the witnessed checkpoint is behind now, and still counts
    assert_eq!(verdict(&log, &witness, 1).0, Verdict::Intact);
    assert_eq!(ask(&witness, &log.directory).await, Ok(first + 300));
    // asked again about the same, it signs again
    assert_eq!(ask(&witness, &log.directory).await, Ok(first + 300));
    assert_eq!(verdict(&log, &witness, 1).0, Verdict::Intact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_further_than_we_know_says_from_where() {
    let log = Log::new();
    log.grow(3);
    let witness = witness::start("w.example", &[log.key()], Temper::Honest).await;
    let first = ask(&witness, &log.directory).await.unwrap();
    std::fs::remove_file(log.directory.join("checkpoint.witnessed")).unwrap();
    log.grow(20);
    assert_eq!(ask(&witness, &log.directory).await, Ok(first + 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_rolled_back_is_refused() {
    let log = Log::new();
    log.grow(3);
    let old = std::fs::read(log.directory.join("checkpoint")).unwrap();
    log.grow(20);
    let witness = witness::start("w.example", &[log.key()], Temper::Honest).await;
    let size = ask(&witness, &log.directory).await.unwrap();
    std::fs::write(log.directory.join("checkpoint"), old).unwrap();
    let refused = ask(&witness, &log.directory).await.unwrap_err();
    assert_eq!(refused, WitnessError::Ahead { witnessed: size });
    assert!(refused.is_alarm());
}

/// The same key and origin, and two histories: what only somebody with the key can make.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_refused() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut forks = Vec::new();
    for (home, records) in homes.iter().zip([5, 9]) {
        let private = home.path().join("private");
        if records == 9 {
            // the thief has the key
            std::fs::create_dir_all(private.join("main")).unwrap();
            let stolen = homes[0].path().join("private/main/log.key");
            std::fs::copy(stolen, private.join("main/log.key")).unwrap();
            #[cfg(unix)]
            for path in [&private, &private.join("main")] {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
        let options = EvidenceLog::options().origin("forked.example").wait_limit(PATIENCE).private_dir(&private);
        let log = options.checkpoint_interval(Duration::from_secs(3600)).create(home.path().join("evidence")).unwrap();
        let directory = log.directory().unwrap();
        let fork = Log { evidence: log, directory, _home: tempfile::tempdir().unwrap() };
        fork.grow(records);
        forks.push(fork);
    }
    assert_eq!(forks[0].key(), forks[1].key());
    let witness = witness::start("w.example", &[forks[0].key()], Temper::Honest).await;
    assert!(ask(&witness, &forks[0].directory).await.is_ok());
    assert_eq!(ask(&witness, &forks[1].directory).await, Err(WitnessError::Forked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_signature_is_not_kept() {
    let log = Log::new();
    log.grow(3);
    let cases = [
        (Temper::Garbage, WitnessError::BadCosignature),
        (Temper::SignsSomethingElse, WitnessError::BadCosignature),
        // it is asked from there, and says the same again
        (Temper::Claims(1), WitnessError::Forked),
        (Temper::Claims(1 << 40), WitnessError::Ahead { witnessed: 1 << 40 }),
        (Temper::Claims(0), WitnessError::Forked),
        (Temper::Fails(404), WitnessError::UnknownLog),
        (Temper::Fails(403), WitnessError::UnknownLog),
        (Temper::Fails(422), WitnessError::Forked),
        (Temper::Fails(500), WitnessError::Unreachable),
    ];
    for (temper, expected) in cases {
        let witness = witness::start("w.example", &[log.key()], temper).await;
        assert_eq!(ask(&witness, &log.directory).await, Err(expected), "{temper:?}");
        assert!(!log.directory.join("checkpoint.witnessed").exists(), "{temper:?}");
    }
}

/// Attack: one of two witnesses is cut off, so that the checkpoint which both have signed is replaced by one that only
/// the other has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_gone_does_not_cost_the_log_its_quorum() {
    let log = Log::new();
    log.grow(3);
    let one = witness::start("one.example", &[log.key()], Temper::Honest).await;
    let two = witness::start("two.example", &[log.key()], Temper::Honest).await;
    let both = |quorum| {
        let keys = [one.key().clone(), two.key().clone()];
        let verifier = Verifier::new([log.key()]).with_witnesses(keys, quorum).unwrap();
        let report = verifier.verify_log(&log.directory, &mut |_, _| {});
        (report.verdict, report.witnessed_size)
    };
    let push = async |witnesses: &[&Witness], quorum| {
        let results = client(witnesses).quorum(quorum).push(&log.directory).await.unwrap();
        results.into_iter().filter_map(|(_, signed)| signed.ok()).collect::<Vec<_>>()
    };
    let first = push(&[&one, &two], 2).await;
    assert_eq!(first.len(), 2);
    log.grow(5);
    let gone = Witness::new(two.key().clone(), "http://127.0.0.1:1/").unwrap();
    assert_eq!(push(&[&one, &gone], 2).await, [first[0] + 5]);
    assert_eq!(both(2), (Verdict::Intact, Some(first[0])));
    // back again, it signs from where it was
    assert_eq!(push(&[&one, &two], 2).await, [first[0] + 5; 2]);
    assert_eq!(both(2), (Verdict::Intact, Some(first[0] + 5)));
    // where one is enough, the newer one is kept
    log.grow(5);
    assert_eq!(push(&[&one, &gone], 1).await, [first[0] + 10]);
    assert_eq!(both(1), (Verdict::Intact, Some(first[0] + 10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_fails_costs_neither_the_others_nor_the_log() {
    let log = Log::new();
    log.grow(3);
    let good = witness::start("good.example", &[log.key()], Temper::Honest).await;
    let bad = witness::start("bad.example", &[log.key()], Temper::Fails(500)).await;
    let task = client(&[&bad, &good]).start(&log.evidence, Duration::from_secs(1)).unwrap();
    let signed = tokio::time::timeout(PATIENCE, async {
        loop {
            let states = task.states();
            if states[1].signed_size.is_some() {
                return states;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let states = signed.await.unwrap_or_else(|_| panic!("never signed: {:?}", task.states()));
    assert_eq!((states[0].name.as_str(), states[0].last_error), ("bad.example", Some(WitnessError::Unreachable)));
    assert!(states[0].failures > 0);
    log.grow(5);
    assert_eq!(verdict(&log, &good, 1).0, Verdict::Intact);
}
