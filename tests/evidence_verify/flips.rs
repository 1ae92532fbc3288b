//! Every bit of every file of a log, flipped one at a time (evidence of "100 % of bit flips are detected").
//!
//! By default a sample, of every file and every position in a byte. All of them:
//! `RMCP_GUARD_FULL=1 cargo test --release --no-default-features --test evidence_verify flip -- --nocapture`.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp_guard::evidence::verify::{FindingKind, Report, Verdict, Verifier};
use tempfile::tempdir;

use crate::builder::{Key, Log, checkpoint, copy, files};
use crate::{found, is_full, key, verifier};

/// Flips of each file that the default run makes, about.
const SAMPLE: usize = 60;

#[test]
fn each_flipped_bit_is_found_and_named() {
    let log = Log::of_decisions(300, 600);
    let witness = Key::witness("witness.invalid", 1);
    let pristine = tempdir().unwrap();
    log.write(pristine.path());
    let witnessed = checkpoint(log.origin(), &log.leaves[..200], &[&log.key, &witness]);
    fs::write(pristine.path().join("checkpoint.witnessed"), witnessed).unwrap();
    let verifier = verifier(&log).with_witnesses([key(&witness)], 1).unwrap();
    let intact = verifier.verify_log(pristine.path(), &mut |_, _| {});
    assert_eq!((intact.verdict, found(&intact), intact.entries_checked), (Verdict::Intact, vec![], 300));

    // every flip of a file: its number among all of its bits
    let flips: Vec<(PathBuf, usize)> = files(pristine.path())
        .into_iter()
        .flat_map(|file| {
            let bits = fs::read(pristine.path().join(&file)).unwrap().len() * 8;
            // odd, so that all positions in a byte come up
            let stride = if is_full() { 1 } else { (bits / SAMPLE) | 1 };
            (0..bits).step_by(stride).map(move |bit| (file.clone(), bit))
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let own = tempdir().unwrap();
                copy(pristine.path(), own.path());
                while let Some((file, bit)) = flips.get(next.fetch_add(1, Ordering::Relaxed)) {
                    flip(&log, &verifier, own.path(), file, *bit);
                }
            });
        }
    });
    println!("{} flips of {} files, each found and named", flips.len(), files(pristine.path()).len());
}

fn flip(log: &Log, verifier: &Verifier, directory: &Path, file: &Path, bit: usize) {
    let path = directory.join(file);
    let before = fs::read(&path).unwrap()[bit / 8];
    let set = |byte: u8| {
        let mut opened = OpenOptions::new().write(true).open(&path).unwrap();
        opened.seek(SeekFrom::Start((bit / 8) as u64)).unwrap();
        opened.write_all(&[byte]).unwrap();
    };
    set(before ^ (1 << (bit % 8)));
    let report = verifier.verify_log(directory, &mut |_, _| {});
    set(before);
    assert_named(log, file, bit / 8, &report);
}

/// Asserts that the report names what stands at byte `at` of `file`.
fn assert_named(log: &Log, file: &Path, at: usize, report: &Report) {
    let context = || format!("{} at byte {at}: {:?}", file.display(), report.findings);
    let (kind, index) = *found(report).first().unwrap_or_else(|| panic!("not detected: {}", context()));
    let name = file.to_str().unwrap();
    match name {
        "checkpoint" => {
            assert_eq!((report.verdict, report.entries_checked), (Verdict::Tampered, 0), "{}", context());
            assert!(matches!(kind, FindingKind::BadCheckpoint | FindingKind::UntrustedLog), "{}", context());
        }
        "checkpoint.witnessed" => {
            assert_ne!(report.verdict, Verdict::Intact);
            assert!(matches!(kind, FindingKind::BadCheckpoint | FindingKind::QuorumNotReached), "{}", context());
        }
        _ if name.starts_with("tile/entries") => {
            let first = if name.contains("000") { 0 } else { 256 };
            let entry = entry_at(&log.entries[first..], at) + first;
            assert_eq!((report.verdict, index), (Verdict::Tampered, Some(entry as u64)), "{}", context());
            assert!(matches!(kind, FindingKind::EntryAltered | FindingKind::Malformed), "{}", context());
            assert_eq!(report.findings_total, 1, "{}", context());
        }
        _ => {
            let first = if name.contains("000") { 0 } else { 256 };
            let width = if name.starts_with("tile/0") { 1 } else { 256 };
            let entry = (first + at / 32 * width) as u64;
            assert_eq!(report.verdict, Verdict::Tampered);
            assert_eq!(found(report), [(FindingKind::HashAltered, Some(entry))], "{}", context());
            assert_eq!(report.entries_checked, 300, "the entries are as they were");
        }
    }
    assert_eq!(
        report.findings[0].path.as_deref(),
        // an unreached quorum is about this file too
        Some(file),
        "{}",
        context()
    );
}

fn entry_at(entries: &[Vec<u8>], at: usize) -> usize {
    let mut end = 0;
    entries
        .iter()
        .position(|entry| {
            end += entry.len() + 2;
            at < end
        })
        .unwrap()
}

/// `log.json` is signed by nothing; what it says of the log is compared with what is.
#[test]
fn each_flipped_bit_of_log_json_is_found_but_for_its_time() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.write_info(directory.path(), "main", 1, None);
    let path = directory.path().join("log.json");
    let right = fs::read(&path).unwrap();
    let time = 12..32;
    assert_eq!(&right[time.clone()], b"2026-01-02T03:04:05Z");
    let mut tested = 0;
    for bit in (0..right.len() * 8).step_by(if is_full() { 1 } else { 5 }) {
        if time.contains(&(bit / 8)) {
            continue;
        }
        let mut wrong = right.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, wrong).unwrap();
        let report = verifier(&log).verify_log(directory.path(), &mut |_, _| {});
        assert_eq!(
            (report.verdict, found(&report)),
            (Verdict::Incomplete, vec![(FindingKind::LogInfoWrong, None)]),
            "{bit}"
        );
        tested += 1;
    }
    assert!(tested > 200);
}
