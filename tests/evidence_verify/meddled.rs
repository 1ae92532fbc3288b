//! Tiles that somebody removes or cuts while the server writes: calls go on, and it is found.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{EvidenceId, EvidenceLog, NoticeRecord, OpenErrorKind, Record};

const LONG: Duration = Duration::from_secs(30);

fn append(log: &EvidenceLog, count: usize) {
    for number in 0..count {
        let now = SystemClock.now();
        let members = vec![("number", number.to_string())];
        let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", members));
        let mut place = log.reserve_blocking(1).unwrap();
        // `publish` waits for it
        let _ = log.append(&mut place, &record).unwrap();
    }
}

/// Files below `tile`, relative to the log.
fn tiles(log: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![log.join("tile")]);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(log).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Removed,
    Cut,
}

impl Harm {
    fn to(self, file: &Path) {
        match self {
            Self::Removed => std::fs::remove_file(file).unwrap(),
            Self::Cut => OpenOptions::new().write(true).open(file).unwrap().set_len(37).unwrap(),
        }
    }
}

/// Whatever is done to whichever file: no call fails, and `verify` finds it. The next start writes anew what the write-ahead
/// log still has; no record is lost.
#[test]
fn a_tile_that_is_removed_or_cut_while_the_server_runs_is_found() {
    for harm in [Harm::Removed, Harm::Cut] {
        let mut place = 0;
        loop {
            let temporary = tempfile::tempdir().unwrap();
            let directory = temporary.path().join("log");
            // what is published is for the test to say
            let options = || EvidenceLog::options().wait_limit(LONG).checkpoint_interval(Duration::from_secs(3600));
            let log = options().create_or_open(&directory).unwrap();
            let path = log.directory().unwrap();
            let verifier = Verifier::new([log.verifier_key().unwrap()]);
            append(&log, 599);
            log.publish(LONG).unwrap();
            let files = tiles(&path);
            let Some(file) = files.get(place) else {
                assert!(place >= 7, "bundles and tiles, full and partial: {files:?}");
                break;
            };
            let context = format!("{harm:?} {}", file.display());
            harm.to(&path.join(file));
            let report = verifier.verify_log(&path, &mut |_, _| {});
            // of a file that is cut it cannot be told who did it
            let want = if harm == Harm::Removed { Verdict::Incomplete } else { Verdict::Tampered };
            assert_eq!(report.verdict, want, "{context}: {:?}", report.findings);
            assert!(
                report.findings.iter().any(|it| it.path.as_ref() == Some(file)),
                "{context}: {:?}",
                report.findings
            );
            append(&log, 1_000);
            log.publish(LONG).unwrap();
            let health = log.health();
            assert!(!health.failed && !health.log.unwrap().tiles_failing, "{context}");
            log.close();
            drop(log);
            let report = verifier.verify_log(&path, &mut |_, _| {});
            // a partial tile is written anew, wider
            let is_partial = file.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".p"));
            assert_eq!(report.verdict == Verdict::Intact, is_partial, "{context}: {:?}", report.findings);
            match options().create_or_open(&directory) {
                Ok(log) => {
                    append(&log, 1);
                    log.publish(LONG).unwrap();
                    log.close();
                    let report = verifier.verify_log(&path, &mut |_, _| {});
                    assert_eq!(report.size, 1_601, "{context}");
                    // of what the write-ahead log still has, all tiles are written anew; one that was cut reads as torn
                    assert_eq!(report.verdict, Verdict::Intact, "{context}: {:?}", report.findings);
                }
                // not by a cut that leaves less than the form of the file
                Err(error) => assert_eq!((error.kind(), harm), (OpenErrorKind::DamagedTiles, Harm::Cut), "{context}"),
            }
            place += 1;
        }
    }
}

/// The next start needs the tiles at the end of the tree that the write-ahead log no longer holds.
#[test]
fn a_tile_that_the_next_start_needs_is_missed_there() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("log");
    let log = EvidenceLog::options().wait_limit(LONG).create_or_open(&directory).unwrap();
    let path = log.directory().unwrap();
    append(&log, 599);
    // leaves nothing of these entries in the write-ahead log
    log.redact(3, "dpo", "erasure").unwrap();
    let last = tiles(&path).into_iter().rfind(|file| file.starts_with("tile/0/002.p")).unwrap();
    Harm::Removed.to(&path.join(&last));
    drop(log);
    let error = EvidenceLog::options().wait_limit(LONG).create_or_open(&directory).unwrap_err();
    assert_eq!((error.kind(), error.path()), (OpenErrorKind::DamagedTiles, Some(&*path.join(&last))));
}
