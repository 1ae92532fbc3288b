//! Our side of `interop/tlog/run.sh`: writes logs for stock verifiers, and verifies the logs of stock writers.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests that a script runs, told by the environment"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rmcp_guard::evidence::note::{Ed25519NoteSigner, NoteSigner as _, VerifierKey};
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{EvidenceId, EvidenceLog, EvidenceMode, PolicyLoadedRecord, Record};

/// A variable that `interop/tlog/run.sh` sets.
fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap().into()
}

/// The number of entries in each log; the first of them is the log's own.
const SIZES: [u32; 4] = [1, 256, 1_000, 70_000];

/// Appends `records` records to the log in `directory`, new or not, and closes it.
fn write(directory: &Path, signer: &Arc<Ed25519NoteSigner>, text: &str, records: u32) {
    let options = EvidenceLog::options().mode(EvidenceMode::Bounded).wait_limit(Duration::from_secs(60));
    let log = options.signer(Arc::clone(signer) as _).create_or_open(directory).unwrap();
    for _ in 0..records {
        let now = SystemTime::now();
        let record =
            PolicyLoadedRecord::new(EvidenceId::generate(now), now, text.to_owned(), "sha256:..".to_owned(), "interop");
        let mut places = log.reserve_blocking(1).unwrap();
        drop(log.append(&mut places, &Record::PolicyLoaded(record)).unwrap());
    }
    log.close();
}

fn copy_checkpoint(log: &Path, to: &str) {
    std::fs::copy(log.join("main/00000001/checkpoint"), log.with_extension(to)).unwrap();
}

/// In `TLOG_INTEROP_DIR`, for every size a log `<size>`, its key `<size>.vkey`, and `<size>.earlier`, a checkpoint of half
/// its size; and `fork`, another log under the key of the one of 1,000, which it contradicts.
#[test]
#[ignore = "run by interop/tlog/run.sh"]
fn writes_logs() {
    let directory = variable("TLOG_INTEROP_DIR");
    for size in SIZES {
        let log = directory.join(size.to_string());
        let signer = Arc::new(Ed25519NoteSigner::generate(&format!("log.example/interop/{size}")).unwrap());
        std::fs::write(log.with_extension("vkey"), format!("{}\n", signer.verifier_key())).unwrap();
        write(&log, &signer, "first", size / 2);
        copy_checkpoint(&log, "earlier");
        write(&log, &signer, "second", (size - 1).saturating_sub(size / 2));
        if size == 1_000 {
            write(&directory.join("fork"), &signer, "fork", size + 10);
        }
    }
}

/// Verifies every log that a line of the file `TLOG_INTEROP_LOGS` names: `intact` or `altered`, the directory, the file
/// with its key. Entries are opaque, since they are no records.
#[test]
#[ignore = "run by interop/tlog/run.sh"]
fn verifies_the_logs_of_others() {
    let list = std::fs::read_to_string(variable("TLOG_INTEROP_LOGS")).unwrap();
    assert!(!list.is_empty());
    for line in list.lines() {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap();
        let (want, log, vkey) = (next(), next(), next());
        let key: VerifierKey = std::fs::read_to_string(vkey).unwrap().trim().parse().unwrap();
        let report = Verifier::new([key]).with_opaque_entries().verify_log(log, &mut |_, _| {});
        match want {
            "intact" => assert_eq!(report.verdict, Verdict::Intact, "{log}: {report:?}"),
            "altered" => assert_ne!(report.verdict, Verdict::Intact, "{log}"),
            other => panic!("`{other}`"),
        }
    }
}
