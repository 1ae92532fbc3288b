//! Logs in which nothing is wrong, and the checks of parts of them.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::merkle::{Hash, ProofError};
use rmcp_guard::evidence::note::NoteError;
use rmcp_guard::evidence::verify::{FindingKind, TlogProof, TlogProofError, Verdict, Verifier};
use tempfile::{TempDir, tempdir};

use crate::builder::{Key, Log, checkpoint, copy, gap, put, time};
use crate::{found, key, verifier, verify};

/// Around every border of tiles up to two levels of them; `LARGE` has three.
const SIZES: [usize; 11] = [0, 1, 2, 3, 255, 256, 257, 300, 511, 512, 513];

/// One log for all tests that need a large one, since it takes a while to make.
static LARGE: LazyLock<(Log, TempDir)> = LazyLock::new(|| {
    let mut log = Log::new("test.invalid/main/1", 7);
    for _ in 0..65_800 {
        log.push("{}");
    }
    let directory = tempdir().unwrap();
    log.write(directory.path());
    (log, directory)
});

#[test]
fn whole_logs_of_every_shape_are_intact() {
    for size in SIZES {
        let log = Log::of_decisions(size, 0);
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let mut last = (0, 0);
        let report = verifier(&log).verify_log(directory.path(), &mut |done, all| {
            assert!(done > last.0 && done <= all);
            last = (done, all);
        });
        assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]), "{size}");
        assert_eq!((report.size, report.entries_checked), (size as u64, size as u64));
        assert_eq!(report.origin.as_deref(), Some(log.origin()));
        assert_eq!(report.root.unwrap().to_string(), log.root());
        assert_eq!(report.first_at, (size > 0).then(|| time(0)));
        assert_eq!(report.last_at, size.checked_sub(1).map(time));
        assert_eq!(last, (size as u64, size as u64));
    }
}

/// Bounded memory, whatever the size: the log here has 8 MiB of entries, and one bundle alone may have 16.
#[test]
fn a_check_takes_less_than_four_mebibytes() {
    let (log, directory) = &*LARGE;
    let verifier = verifier(log);
    let measured = allocation_counter::measure(|| {
        assert_eq!(verifier.verify_log(directory.path(), &mut |_, _| {}).verdict, Verdict::Intact);
    });
    assert!(measured.bytes_max < 1 << 20, "{}", measured.bytes_max);

    let mut log = Log::new("test.invalid/main/1", 7);
    for _ in 0..300 {
        log.push(&format!("{{\"filler\":\"{}\"}}", "x".repeat(65_400)));
    }
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.redact(directory.path(), &(0..300).step_by(2).collect::<Vec<_>>());
    let verifier = crate::verifier(&log);
    let measured = allocation_counter::measure(|| {
        let report = verifier.verify_log(directory.path(), &mut |_, _| {});
        assert_eq!((report.redacted, report.entries_checked), (150, 150));
    });
    assert!(measured.bytes_max < 4 << 20, "{}", measured.bytes_max);
}

#[test]
fn proofs_are_made_checked_and_refused() {
    for size in SIZES.into_iter().skip(1) {
        let log = Log::of_decisions(size, 0);
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let verifier = verifier(&log);
        for index in [0, 1, 254, 255, 256, 300, size / 2, size - 1] {
            if index >= size {
                continue;
            }
            let proof = verifier.prove(directory.path(), index as u64).unwrap();
            let proof = TlogProof::parse(&proof.to_bytes()).unwrap();
            let leaf = Hash::new(log.leaves[index]);
            let checkpoint = verifier.verify_proof(&proof, &leaf).unwrap();
            assert_eq!(checkpoint.checkpoint().size, size as u64);
            let other = Hash::of_leaf(b"another entry");
            let refused = verifier.verify_proof(&proof, &other).unwrap_err();
            assert_eq!(refused, TlogProofError::Path(ProofError::Mismatch), "{size} {index}");
            let stranger = Verifier::new([key(&Key::new(log.origin(), 9))]);
            let refused = stranger.verify_proof(&proof, &leaf).unwrap_err();
            assert_eq!(refused, TlogProofError::Checkpoint(NoteError::UnknownKey));
        }
        let report = verifier.prove(directory.path(), size as u64).unwrap_err();
        assert_eq!(found(&report), [(FindingKind::Missing, Some(size as u64))]);
        assert_eq!(verifier.prove(directory.path(), u64::MAX).unwrap_err().verdict, Verdict::Incomplete);
    }
}

#[test]
fn a_range_is_checked_alone() {
    let log = Log::of_decisions(700, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    for range in [0..700, 0..1, 255..257, 256..512, 300..301, 511..513, 640..700, 699..700, 5..5] {
        let report = verifier(&log).verify_range(directory.path(), range.clone());
        assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]), "{range:?}");
        assert_eq!(report.entries_checked, range.end - range.start);
    }
    let report = verifier(&log).verify_range(directory.path(), 690..710);
    assert_eq!(found(&report), [(FindingKind::Missing, Some(700))]);
    assert_eq!(report.entries_checked, 10);

    // what is wrong elsewhere does not matter, what is wrong within does
    let path = directory.path().join("tile/entries/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = verifier(&log).verify_range(directory.path(), 257..700);
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![]));
    let report = verifier(&log).verify_range(directory.path(), 256..257);
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::EntryAltered, Some(256))]));
    assert_eq!(verifier(&log).prove(directory.path(), 256).unwrap_err().findings, report.findings);
}

#[test]
fn hashes_on_the_way_to_a_range_are_checked() {
    let (log, pristine) = &*LARGE;
    let directory = tempdir().unwrap();
    copy(pristine.path(), directory.path());
    for (tile, byte, kind, index) in [
        ("tile/0/001", 0, FindingKind::HashAltered, Some(256)),
        ("tile/1/000", 33, FindingKind::HashAltered, Some(0)),
        ("tile/2/000.p/1", 3, FindingKind::RootMismatch, None),
    ] {
        let path = directory.path().join(tile);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        bytes[byte] ^= 1;
        fs::write(&path, bytes).unwrap();
        let report = verifier(log).verify_range(directory.path(), 257..300);
        assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(kind, index)]), "{tile}");
        // the whole log tells which hash it is
        let report = verify(log, directory.path());
        let slot = (byte / 32 * 256) as u64;
        let index = if tile.starts_with("tile/0") { 256 } else { slot };
        assert_eq!(found(&report), [(FindingKind::HashAltered, Some(index))], "{tile}");
        assert_eq!(report.entries_checked, 65_800);
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_checkpoint_continues_an_older_one_or_not() {
    let log = Log::of_decisions(600, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let sizes = [0, 1, 255, 256, 257, 511, 512, 599, 600];
    for old in sizes {
        for new in sizes {
            if old <= new {
                log.write_tiles(directory.path(), new);
            }
            let notes = (log.checkpoint(old), log.checkpoint(new));
            let report = verifier(&log).verify_consistency(directory.path(), &notes.0, &notes.1);
            let expected = if old <= new { Verdict::Intact } else { Verdict::Tampered };
            assert_eq!(report.verdict, expected, "{old} {new} {:?}", report.findings);
        }
    }
    let mut fork = Log::of_decisions(100, 0);
    fork.push("{\"other\":true}");
    let old = fork.checkpoint(101);
    let report = verifier(&log).verify_consistency(directory.path(), &old, &log.checkpoint(600));
    assert_eq!(found(&report), [(FindingKind::Inconsistent, Some(101))]);
    let stranger = checkpoint(log.origin(), &log.leaves, &[&Key::new(log.origin(), 9)]);
    let report = verifier(&log).verify_consistency(directory.path(), &log.checkpoint(1), &stranger);
    assert_eq!(found(&report), [(FindingKind::UntrustedLog, None)]);
}

fn known(log: &Log, size: usize) -> VerifiedCheckpoint {
    VerifiedCheckpoint::verify(&log.checkpoint(size), &[key(&log.key)]).unwrap()
}

#[test]
fn a_known_checkpoint_shows_a_rollback_and_a_fork() {
    let (large, directory) = &*LARGE;
    let mut all = verifier(large);
    for size in [0, 1, 200, 255, 256, 257, 512, 65_535, 65_536, 65_537, 65_799, 65_800] {
        all = all.with_known_checkpoint(known(large, size));
    }
    let report = all.verify_log(directory.path(), &mut |_, _| {});
    assert_eq!((report.verdict, found(&report), report.entries_checked), (Verdict::Intact, vec![], 65_800));
    for index in [0, 255, 256, 65_535, 65_536, 65_799] {
        let proof = verifier(large).prove(directory.path(), index).unwrap();
        let leaf = Hash::new(large.leaves[usize::try_from(index).unwrap()]);
        verifier(large).verify_proof(&proof, &leaf).unwrap();
    }
    let mut fork = Log::of_decisions(0, 0);
    fork.push("{\"other\":true}");
    let mut others = large.leaves[..65_536].to_vec();
    others[65_535] = fork.leaves[0];
    let note = checkpoint(large.origin(), &others, &[&large.key]);
    let known_fork = VerifiedCheckpoint::verify(&note, &[key(&large.key)]).unwrap();
    let report = verifier(large).with_known_checkpoint(known_fork).verify_log(directory.path(), &mut |_, _| {});
    assert_eq!(found(&report), [(FindingKind::Inconsistent, Some(65_536))]);

    let log = Log::of_decisions(600, 0);
    // an old state of the same log, put back whole
    let old = Log::of_decisions(300, 0);
    let restored = tempdir().unwrap();
    old.write(restored.path());
    assert_eq!(verify(&log, restored.path()).verdict, Verdict::Intact);
    let report = verifier(&log).with_known_checkpoint(known(&log, 301)).verify_log(restored.path(), &mut |_, _| {});
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::Inconsistent, Some(300))]));
    // a log begun anew under the same name
    let mut fork = Log::of_decisions(299, 0);
    fork.push("{\"other\":true}");
    for size in [300, 301, 600] {
        while fork.len() < size {
            fork.push("{}");
        }
        let directory = tempdir().unwrap();
        fork.write(directory.path());
        let verifier = verifier(&log).with_known_checkpoint(known(&log, 300));
        let report = verifier.verify_log(directory.path(), &mut |_, _| {});
        assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::Inconsistent, Some(300))]));
    }
}

/// Only the checkpoint is put back: without anything known it passes, but what lies beyond it is told.
#[test]
fn an_old_checkpoint_needs_a_known_one_to_be_seen() {
    let log = Log::of_decisions(600, 0);
    let directory = tempdir().unwrap();
    log.write_tiles(directory.path(), 300);
    log.write(directory.path());
    fs::write(directory.path().join("checkpoint"), log.checkpoint(300)).unwrap();
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![(FindingKind::Ahead, None)]));
    let verifier = verifier(&log).with_known_checkpoint(known(&log, 600));
    let report = verifier.verify_log(directory.path(), &mut |_, _| {});
    assert_eq!(report.verdict, Verdict::Tampered);
    assert!(found(&report).contains(&(FindingKind::Inconsistent, Some(300))));
}

#[test]
fn witnesses_are_counted_and_their_checkpoint_must_be_continued() {
    let log = Log::of_decisions(300, 0);
    let (one, two) = (Key::witness("one.invalid", 1), Key::witness("two.invalid", 2));
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let check = |quorum| {
        let verifier = verifier(&log).with_witnesses([key(&one), key(&two)], quorum).unwrap();
        verifier.verify_log(directory.path(), &mut |_, _| {})
    };
    assert_eq!(check(0).verdict, Verdict::Intact);
    assert_eq!((check(0).witnessed_size, check(0).witnessed_at), (None, None));
    let missing = [(FindingKind::QuorumNotReached, None)];
    assert_eq!((check(1).verdict, found(&check(1))), (Verdict::Incomplete, missing.to_vec()));

    let path = directory.path().join("checkpoint.witnessed");
    fs::write(&path, checkpoint(log.origin(), &log.leaves[..200], &[&log.key, &two, &two])).unwrap();
    assert_eq!((check(1).verdict, check(1).witnesses), (Verdict::Intact, vec!["two.invalid".to_owned()]));
    assert_eq!((check(1).size, check(1).witnessed_size, check(1).witnessed_at), (300, Some(200), Some(1_700_000_002)));
    // of two there are not enough, so there is no time at which there were
    assert_eq!((check(2).witnessed_size, check(2).witnessed_at), (Some(200), None));
    assert_eq!(found(&check(2)), missing);
    fs::write(&path, checkpoint(log.origin(), &log.leaves[..250], &[&log.key, &one, &two])).unwrap();
    // one of them has signed at the later time, both no earlier than at the first
    for (quorum, at) in [(0, 2), (1, 2), (2, 1)] {
        assert_eq!((check(quorum).witnessed_size, check(quorum).witnessed_at), (Some(250), Some(1_700_000_000 + at)));
    }
    // a signature of the wrong tree counts for nothing
    let mut others = log.leaves[..200].to_vec();
    others[0] = [0; 32];
    fs::write(&path, checkpoint(log.origin(), &others, &[&log.key, &one, &two])).unwrap();
    assert_eq!((check(2).verdict, found(&check(2))), (Verdict::Tampered, vec![(FindingKind::Inconsistent, Some(200))]));
    // cosigned, but not by the log
    fs::write(&path, checkpoint(log.origin(), &log.leaves[..200], &[&one, &two])).unwrap();
    assert!(found(&check(0)).contains(&(FindingKind::BadCheckpoint, None)));
    // newer than what is published
    let mut longer = Log::of_decisions(301, 0);
    fs::write(&path, checkpoint(longer.origin(), &longer.leaves, &[&longer.key, &one, &two])).unwrap();
    assert_eq!(found(&check(2)), [(FindingKind::Inconsistent, Some(300))]);
    longer.entries.clear();

    let proof = verifier(&log).prove(directory.path(), 5).unwrap();
    let demanding = verifier(&log).with_witnesses([key(&one)], 1).unwrap();
    let refused = demanding.verify_proof(&proof, &Hash::new(log.leaves[5])).unwrap_err();
    assert_eq!(refused, TlogProofError::Checkpoint(NoteError::UnknownKey));
}

#[test]
fn only_given_keys_are_trusted() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.write_info(directory.path(), "main", 1, None);
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Intact);
    for keys in [vec![], vec![Key::new("other.invalid", 7)], vec![Key::new(log.origin(), 8)]] {
        let report = Verifier::new(keys.iter().map(key)).verify_log(directory.path(), &mut |_, _| {});
        assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::UntrustedLog, None)]));
        assert_eq!((report.origin, report.entries_checked), (None, 0));
    }
    // a key that is trusted for another log
    let other = Key::new("other.invalid", 7);
    fs::write(directory.path().join("checkpoint"), checkpoint(log.origin(), &log.leaves, &[&other])).unwrap();
    let report = Verifier::new([key(&log.key), key(&other)]).verify_log(directory.path(), &mut |_, _| {});
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::UntrustedLog, None)]));
}

#[test]
fn dropped_records_are_summed_and_the_first_record_tells_of_rollback() {
    let mut log = Log::new("test.invalid/main/1", 7);
    log.push_notice("log_opened", &[("origin", "test.invalid/main/1"), ("epoch", "1"), ("rollback_detectable", "no")]);
    log.push(&gap(1, 41));
    log.push(&gap(2, 1));
    // a caller cannot write either by the name of a tool
    log.push("{\"capiscio.target\":\"{\\\"event.name\\\":\\\"rmcp_guard.gap\\\",\\\"rmcp_guard.gap.count\\\":5}\"}");
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, report.dropped, report.rollback_detectable), (Verdict::Intact, 42, Some(false)));
}

#[test]
fn logs_of_another_kind_can_be_checked_without_looking_into_entries() {
    let mut log = Log::new("test.invalid/other", 7);
    for number in 0..300 {
        log.push_raw(format!("entry {number}").into_bytes());
    }
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let opaque = verifier(&log).with_opaque_entries();
    assert_eq!(opaque.verify_log(directory.path(), &mut |_, _| {}).verdict, Verdict::Intact);
    let report = verify(&log, directory.path());
    assert_eq!((report.verdict, report.findings_total), (Verdict::Tampered, 300));
    assert_eq!(found(&report)[99], (FindingKind::NotARecord, Some(99)));
}

#[test]
fn a_record_that_is_no_json_is_found_when_asked_for() {
    let mut log = Log::of_decisions(2, 0);
    log.push("{\"a\":1,\"a\":2}");
    log.push("{not json}");
    let directory = tempdir().unwrap();
    log.write(directory.path());
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Intact);
    let report = verifier(&log).with_json_check().verify_log(directory.path(), &mut |_, _| {});
    assert_eq!(found(&report), [(FindingKind::NotARecord, Some(2)), (FindingKind::NotARecord, Some(3))]);
}

/// What the log's own key has signed and is still no log of ours.
#[test]
fn entries_must_name_the_one_before_them_and_their_place() {
    let mut log = Log::of_decisions(2, 0);
    let good = log.entries[1].clone();
    log.push_raw(good);
    let swapped = String::from_utf8(log.entries[1].clone()).unwrap().replace("\"seq\":1", "\"seq\":3");
    log.push_raw(swapped.into_bytes());
    log.push("{\"fine\":true}");
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let report = verify(&log, directory.path());
    let broken = [(FindingKind::ChainBroken, Some(2)), (FindingKind::ChainBroken, Some(3))];
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, broken.to_vec()));
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    let none = [(FindingKind::NoCheckpoint, None)];
    assert_eq!(found(&verify(&log, directory.path())), none);
    assert_eq!(found(&verify(&log, &directory.path().join("nowhere"))), none);
    log.write_tiles(directory.path(), 3);
    assert_eq!(
        (verify(&log, directory.path()).verdict, found(&verify(&log, directory.path()))),
        (Verdict::Incomplete, none.to_vec())
    );
    for (note, kind) in [
        (vec![b'x'; 70_000], FindingKind::BadCheckpoint),
        (b"not a note".to_vec(), FindingKind::BadCheckpoint),
        (Vec::new(), FindingKind::BadCheckpoint),
    ] {
        fs::write(directory.path().join("checkpoint"), note).unwrap();
        assert_eq!(found(&verify(&log, directory.path())), [(kind, None)]);
    }
}

/// A size that no files stand behind neither takes for ever nor all memory.
#[test]
fn a_huge_signed_size_is_given_up() {
    let mut log = Log::new("test.invalid/main/1", 7);
    log.push("{}");
    for size in [u64::MAX, u64::MAX - 255, 1 << 63, 1 << 40] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let note = crate::builder::note_of(&format!("{}\n{size}\n{}\n", log.origin(), log.root()), &[&log.key]);
        fs::write(directory.path().join("checkpoint"), note).unwrap();
        let report = verify(&log, directory.path());
        assert_ne!(report.verdict, Verdict::Intact, "{size}");
        assert!(report.findings_total > 0 && report.findings.len() <= 100);
        assert!(verifier(&log).prove(directory.path(), size - 1).is_err());
        assert_ne!(verifier(&log).verify_range(directory.path(), size - 2..size).verdict, Verdict::Intact);
    }
}

#[test]
fn what_does_not_belong_there_is_told() {
    let log = Log::of_decisions(300, 0);
    let directory = tempdir().unwrap();
    let path = directory.path();
    log.write_tiles(path, 100);
    log.write_tiles(path, 270);
    log.write(path);
    // leftovers of smaller sizes, and of a writer that was interrupted, are part of the format
    put(path, "tile/0/000.p/7.tmp", b"half");
    put(path, "tile/entries/002.tmp", b"half");
    assert_eq!(found(&verify(&log, path)), []);
    put(path, "notes.txt", b"mine");
    let report = verify(&log, path);
    assert_eq!((report.verdict, found(&report)), (Verdict::Intact, vec![(FindingKind::UnexpectedFile, None)]));
    assert_eq!(report.findings[0].path.as_deref(), Some(Path::new("notes.txt")));
    for stray in
        ["tile/0/0", "tile/9/000", "tile/readme", "tile/0/000.p/256", "tile/0/000.p/01", "tile/entries/x000/000"]
    {
        put(path, stray, b"x");
        let report = verify(&log, path);
        assert_eq!((report.verdict, report.findings_total), (Verdict::Incomplete, 2), "{stray}");
        fs::remove_file(path.join(stray)).unwrap();
    }
    // garbage where a partial tile of an earlier size may be
    for (partial, kind, index) in [
        ("tile/0/001.p/14", FindingKind::HashAltered, Some(256 + 2)),
        ("tile/entries/001.p/14", FindingKind::EntryAltered, Some(256)),
        ("tile/0/000.p/100", FindingKind::HashAltered, Some(2)),
    ] {
        let file = path.join(partial);
        let before = fs::read(&file).unwrap();
        let mut bytes = before.clone();
        bytes[64] ^= 4;
        fs::write(&file, bytes).unwrap();
        let report = verify(&log, path);
        assert_eq!((report.verdict, found(&report)[0]), (Verdict::Tampered, (kind, index)), "{partial}");
        fs::write(&file, &before[1..]).unwrap();
        assert_eq!(found(&verify(&log, path))[0].0, FindingKind::Malformed);
        fs::write(&file, before).unwrap();
    }
    assert_eq!(verify(&log, path).verdict, Verdict::Intact);
}

#[test]
fn log_json_must_agree_with_what_is_signed() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    log.write_info(directory.path(), "main", 1, None);
    assert_eq!(found(&verify(&log, directory.path())), []);
    let path = directory.path().join("log.json");
    let right = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("test.invalid/main/1\",\"version", "test.invalid/main/2\",\"version"),
        ("\"epoch\":1", "\"epoch\":2"),
        ("\"version\":1", "\"version\":2"),
        ("\"main\"", "\"other\""),
        ("2026-01", "2026-13"),
        ("+", "-"),
        ("{\"created", "{\"more\":1,\"created"),
        ("{\"created", "["),
    ] {
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right);
        fs::write(&path, wrong).unwrap();
        let report = verify(&log, directory.path());
        assert_eq!(
            (report.verdict, found(&report)),
            (Verdict::Incomplete, vec![(FindingKind::LogInfoWrong, None)]),
            "{to}"
        );
    }
}

/// Opening a FIFO would wait for its other end for ever.
#[cfg(unix)]
#[test]
fn neither_links_nor_fifos_are_opened() {
    let log = Log::of_decisions(3, 0);
    for name in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let path = directory.path().join(name);
        let moved = directory.path().join(".state");
        fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        let report = verify(&log, directory.path());
        assert_eq!((report.verdict, found(&report)[0].0), (Verdict::Incomplete, FindingKind::Unreadable), "{name}");
        fs::remove_file(&path).unwrap();
        if std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()) {
            assert_eq!(found(&verify(&log, directory.path()))[0].0, FindingKind::Unreadable, "{name}");
        }
    }
}
