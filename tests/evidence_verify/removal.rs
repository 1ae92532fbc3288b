//! Logs from which something was taken out, with and without a record of it.

use std::fs;

use rmcp_guard::evidence::verify::{FindingKind, Verdict};
use tempfile::tempdir;

use crate::builder::{Log, bundle, prune, put, tile_path};
use crate::{found, verifier, verify};

fn log_with(notices: &[(&str, usize)]) -> Log {
    let mut log = Log::of_decisions(700, 0);
    for (name, index) in notices {
        let member = if *name == "entries_pruned" { "below" } else { "index" };
        log.push_notice(name, &[(member, &index.to_string()), ("by", "dpo"), ("why", "erasure")]);
    }
    log
}

#[test]
fn a_recorded_redaction_leaves_the_log_intact_and_every_proof_valid() {
    let log =
        log_with(&[("entry_redacted", 5), ("entry_redacted", 6), ("entry_redacted", 300), ("entry_redacted", 690)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &[5, 6, 300, 690]);
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]));
    assert_eq!((report.redacted, report.entries_checked), (4, 700));
    for index in [0, 5, 6, 7, 300, 690, 703] {
        let proof = verifier(&log).prove(directory.path(), index).unwrap();
        let leaf = rmcp_guard::evidence::merkle::Hash::new(log.leaves[usize::try_from(index).unwrap()]);
        verifier(&log).verify_proof(&proof, &leaf).unwrap();
    }
    // what was not redacted is still checked, also behind a redacted one
    let path = directory.path().join("tile/entries-redacted/000");
    let mut bytes = fs::read(&path).unwrap();
    let at = log.entries[..5].iter().map(|entry| entry.len() + 2).sum::<usize>() + 4 + 10;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::EntryAltered, Some(7))]));
}

#[test]
fn a_redaction_without_a_record_is_found() {
    let log = log_with(&[("entry_redacted", 5)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &[5, 6]);
    let report = verify(&log, directory.path());
    let unrecorded = vec![(FindingKind::RemovalUnrecorded, Some(6))];
    assert_eq!((report.verdict, found(&report), report.redacted), (Verdict::Incomplete, unrecorded, 2));
    // the record itself is taken out
    let log = log_with(&[("entry_redacted", 5)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &[5, 700]);
    let report = verify(&log, directory.path());
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(
        found(&report),
        [(FindingKind::RemovalUnrecorded, Some(5)), (FindingKind::RemovalUnrecorded, Some(700))]
    );
}

/// Attack: an entry is taken out of a log that has taken the place of the one whose entry of that index should go.
#[test]
fn a_record_of_a_removal_from_another_log_explains_nothing_here() {
    for (origin, verdict) in [("test.invalid/main/1", Verdict::Intact), ("test.invalid/main/2", Verdict::Incomplete)] {
        let mut log = log_with(&[]);
        log.push_notice("entry_redacted", &[("index", "5"), ("origin", origin)]);
        log.push_notice("entries_pruned", &[("below", "256"), ("origin", origin)]);
        let directory = tempdir().unwrap();
        log.write(directory.path());
        log.redact(directory.path(), &[5]);
        assert_eq!(verify(&log, directory.path()).verdict, verdict, "{origin}");
        let directory = tempdir().unwrap();
        log.write(directory.path());
        prune(directory.path(), 256);
        let report = verify(&log, directory.path());
        assert_eq!((report.verdict, report.pruned > 0), (verdict, verdict == Verdict::Intact), "{origin}");
    }
}

#[test]
fn a_redacted_body_that_is_still_there_is_told() {
    let log = log_with(&[("entry_redacted", 5)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &[5]);
    log.write_tiles(directory.path(), log.len());
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, vec![(FindingKind::UnexpectedFile, Some(0))]));
    // an entry of length 0 in a plain bundle is no redaction
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let mut entries = log.entries[..256].to_vec();
    entries[5].clear();
    put(directory.path(), &tile_path("entries", 0, 256), &bundle(&entries));
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::EntryAltered, Some(5))]));
}

#[test]
fn a_recorded_pruning_leaves_the_log_intact_and_later_proofs_valid() {
    let log = log_with(&[("entries_pruned", 512)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    prune(directory.path(), 512);
    fs::write(directory.path().join("pruned"), "512\n").unwrap();
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]));
    assert_eq!((report.pruned, report.entries_checked), (512, 189));
    assert_eq!(report.first_at, Some(crate::builder::time(512)));
    for index in [512, 600, 700] {
        verifier(&log).prove(directory.path(), index).unwrap();
    }
    assert_eq!(found(&verifier(&log).prove(directory.path(), 511).unwrap_err())[0], (FindingKind::Missing, Some(256)));
    // an earlier checkpoint can be compared where the tree that is left has its hashes
    let known = |size: usize| {
        let note = log.checkpoint(size);
        let known =
            rmcp_guard::evidence::checkpoint::VerifiedCheckpoint::verify(&note, &[crate::key(&log.key)]).unwrap();
        found(&verifier(&log).with_known_checkpoint(known).verify_log(directory.path(), &mut |_, _| {}))
    };
    for size in [0, 256, 512, 513, 701] {
        assert_eq!(known(size), [], "{size}");
    }
    assert_eq!(known(100), [(FindingKind::Missing, Some(100))]);
}

#[test]
fn what_is_missing_without_a_record_is_found() {
    for (notices, missing) in [(&[][..], 0), (&[("entries_pruned", 256)], 256), (&[("entries_pruned", 511)], 256)] {
        let log = log_with(notices);
        let directory = tempdir().unwrap();
        log.write(directory.path());
        prune(directory.path(), 512);
        let report = verify(&log, directory.path());
        assert_eq!(
            (report.verdict, found(&report)),
            (Verdict::Incomplete, vec![(FindingKind::Missing, Some(missing))])
        );
        assert_eq!(report.pruned, missing);
        assert_eq!(report.entries_checked, log.len() as u64 - 512);
    }
    // one bundle out of the middle, with and without its hashes
    let log = log_with(&[]);
    for kinds in [&["entries"][..], &["0"], &["entries", "0"]] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        for kind in kinds {
            fs::remove_file(directory.path().join(tile_path(kind, 1, 256))).unwrap();
        }
        let report = verify(&log, directory.path());
        assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, vec![(FindingKind::Missing, Some(256))]));
        let read = if kinds.contains(&"entries") { 444 } else { 700 };
        assert_eq!(report.entries_checked, read, "{kinds:?}");
    }
    // a tile above them can be done without as well, but not for proofs
    let directory = tempdir().unwrap();
    log.write(directory.path());
    fs::remove_file(directory.path().join("tile/1/000.p/2")).unwrap();
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, vec![(FindingKind::Missing, Some(0))]));
    assert_eq!(report.entries_checked, 700);
}

/// A record of pruning covers what is gone, not what is put in its place.
#[test]
fn what_lies_where_it_was_pruned_is_checked_or_told() {
    let log = log_with(&[("entries_pruned", 512)]);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    prune(directory.path(), 512);
    let mut forged = log.entries[..256].to_vec();
    forged[9] = log.entries[8].clone();
    put(directory.path(), &tile_path("entries", 0, 256), &bundle(&forged));
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Tampered);
    fs::remove_file(directory.path().join(tile_path("entries", 0, 256))).unwrap();
    // with one entry left out, nothing vouches for the others
    forged[3].clear();
    put(directory.path(), &tile_path("entries-redacted", 0, 256), &bundle(&forged));
    let report = verify(&log, directory.path());
    assert_ne!(report.verdict, Verdict::Intact);
    assert_eq!(report.entries_checked, log.len() as u64 - 512);
}
