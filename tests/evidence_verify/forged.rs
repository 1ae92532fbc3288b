//! Logs that were forged so that one part of the check is played against another.

use std::fs;

use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::note::NoteError;
use rmcp_guard::evidence::verify::{FindingKind, Verdict, Verifier};
use rmcp_guard::evidence::witness::{Submission, Witness, WitnessAnswer, WitnessError};
use tempfile::tempdir;

use crate::builder::{Hash, Key, Log, bundle, decision, leaf_hash, note_of, put, root_of, tile_path};
use crate::{found, key, verifier, verify};

/// A log whose bundles `..256` another has written, and the leaf hashes of that one.
fn forged() -> (Log, Log) {
    let mut forged = Log::new("test.invalid/main/1", 9);
    (0..256).for_each(|number| forged.push(&decision(number + 1000, 0)));
    (Log::of_decisions(300, 0), forged)
}

/// Attack: the forged entry agrees with the forged tile; that they are forged shows only in an entry beside, about which
/// nobody asked.
#[test]
fn a_forged_tile_cannot_hide_behind_an_entry_outside_the_range() {
    let (log, forged) = forged();
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let mut hashes = forged.leaves.clone();
    hashes[9] = [9; 32];
    let mut entries = forged.entries.clone();
    // its `prev` is neither the hash of the entry before nor that in the tile
    let named = String::from_utf8(entries[10].clone()).unwrap();
    let (head, _) = named.split_once(",\"prev\":").unwrap();
    entries[10] = format!("{head},\"prev\":\"{}\",\"seq\":10}}", "A".repeat(43)).into_bytes();
    hashes[10] = leaf_hash(&entries[10]);
    put(directory.path(), &tile_path("0", 0, 256), hashes.as_flattened());
    put(directory.path(), &tile_path("entries", 0, 256), &bundle(&entries));
    let report = verifier(&log).verify_range(directory.path(), 5..6);
    assert_eq!((report.verdict, report.entries_checked), (Verdict::Tampered, 0), "{:?}", found(&report));
    verifier(&log).prove(directory.path(), 5).unwrap_err();
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Tampered);
}

/// Attack: so much is missing that the check gives up before it comes to the root, and a forged record says that all of
/// it was pruned.
#[test]
fn a_check_that_gives_up_does_not_pass() {
    const TILES: usize = 129;
    let mut forged = Log::new("test.invalid/main/1", 7);
    (0..255).for_each(|number| forged.push(&decision(number, 0)));
    let size = TILES * 65_536 / 256 * 256;
    forged.push_notice("entries_pruned", &[("below", &size.to_string())]);
    let directory = tempdir().unwrap();
    put(directory.path(), &tile_path("0", 0, 256), forged.leaves.as_flattened());
    put(directory.path(), &tile_path("entries", 0, 256), &bundle(&forged.entries));
    let mut roots: Vec<Hash> = Vec::new();
    for number in 0..TILES {
        let mut hashes = vec![[3; 32]; 256];
        if number == 0 {
            hashes[0] = root_of(&forged.leaves);
        }
        put(directory.path(), &tile_path("1", number, 256), hashes.as_flattened());
        roots.push(root_of(&hashes));
    }
    put(directory.path(), &tile_path("2", 0, TILES), roots.as_flattened());
    // the true root is another
    let text = format!("test.invalid/main/1\n{size}\n{}=\n", "A".repeat(43));
    fs::write(directory.path().join("checkpoint"), note_of(&text, &[&forged.key])).unwrap();
    let report = verify(&forged, directory.path());
    assert_eq!((report.verdict, report.pruned, report.entries_checked), (Verdict::Tampered, 0, 0));
}

/// Attack: where a bundle was pruned, another with forged entries is put under the name of an earlier size.
#[test]
fn what_lies_in_the_place_of_what_was_pruned_is_told() {
    let mut log = Log::of_decisions(700, 0);
    log.push_notice("entries_pruned", &[("below", "512"), ("by", "dpo"), ("why", "erasure")]);
    let (_, forged) = forged();
    for kind in ["entries", "entries-redacted", "0"] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        crate::builder::prune(directory.path(), 512);
        let bytes = if kind == "0" { forged.leaves[..9].as_flattened().to_vec() } else { bundle(&forged.entries[..9]) };
        put(directory.path(), &tile_path(kind, 0, 9), &bytes);
        let report = verify(&log, directory.path());
        let told = vec![(FindingKind::UnexpectedFile, Some(0))];
        assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, told), "{kind}");
    }
}

/// Attack: redactions that no record tells of, in a file that the check has no need of but a reader prefers.
#[test]
fn a_redacted_bundle_of_another_size_is_told() {
    let log = Log::of_decisions(300, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let mut entries = log.entries[256..].to_vec();
    entries.push(entries[0].clone());
    entries[..44].iter_mut().for_each(Vec::clear);
    put(directory.path(), &tile_path("entries-redacted", 1, 45), &bundle(&entries));
    let report = verify(&log, directory.path());
    let told = vec![(FindingKind::UnexpectedFile, Some(256))];
    assert_eq!((report.verdict, found(&report)), (Verdict::Incomplete, told));
}

#[test]
fn a_range_is_held_to_witnesses_and_known_checkpoints_too() {
    let log = Log::of_decisions(300, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let witness = Key::witness("witness.example", 5);
    let range = |verifier: Verifier| found(&verifier.verify_range(directory.path(), 5..6));
    let demanding = || verifier(&log).with_witnesses([key(&witness)], 1).unwrap();
    assert_eq!(range(demanding()), [(FindingKind::QuorumNotReached, None)]);
    let text = String::from_utf8(log.checkpoint(280)).unwrap();
    let text = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    fs::write(directory.path().join("checkpoint.witnessed"), note_of(&text, &[&log.key, &witness])).unwrap();
    assert_eq!(range(demanding()), []);
    let known = |log: &Log, size: usize| {
        let note = log.checkpoint(size);
        VerifiedCheckpoint::verify(&note, &[key(&log.key)]).unwrap()
    };
    assert_eq!(range(verifier(&log).with_known_checkpoint(known(&log, 100))), []);
    let longer = Log::of_decisions(301, 0);
    let rolled_back = range(verifier(&log).with_known_checkpoint(known(&longer, 301)));
    assert_eq!(rolled_back, [(FindingKind::Inconsistent, Some(300))]);
    let mut other = Log::new("test.invalid/main/1", 7);
    (0..100).for_each(|number| other.push(&decision(number + 1, 0)));
    let forked = range(verifier(&log).with_known_checkpoint(known(&other, 100)));
    assert_eq!(forked, [(FindingKind::Inconsistent, Some(100))]);
    let elsewhere = Log::new("test.invalid/main/2", 7);
    let replaced = range(verifier(&log).with_known_checkpoint(known(&elsewhere, 0)));
    assert_eq!(replaced, [(FindingKind::LogMissing, None)]);
}

/// Attack: a witness fills the note with lines under its own name, so that no other finds room.
#[test]
fn of_a_witness_one_line_is_kept() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let note = String::from_utf8(log.checkpoint(3)).unwrap();
    let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let lines = |signer: &Key| {
        let note = String::from_utf8(note_of(&text, &[signer])).unwrap();
        note.split_once("\n\n").unwrap().1.to_owned()
    };
    let [greedy, other] = [("greedy.example", 5), ("other.example", 6)].map(|(name, seed)| Key::witness(name, seed));
    let mut submission = Submission::of(directory.path()).unwrap().unwrap();
    let room = 64;
    let mut answer: String = (10..room).map(|seed| lines(&Key::witness("greedy.example", seed))).collect();
    answer.push_str(&lines(&greedy).repeat(3));
    for (signer, answer) in [(&greedy, answer), (&other, lines(&other))] {
        let witness = Witness::new(key(signer), "https://witness.example").unwrap();
        let taken = submission.accept(&witness, 0, 200, answer.as_bytes());
        assert_eq!(taken, Ok(WitnessAnswer::Cosigned), "{}", signer.name);
    }
    let witnesses = [&greedy, &other].map(|signer| Witness::new(key(signer), "https://witness.example").unwrap());
    assert!(submission.save(&witnesses, 2).unwrap());
    let kept = fs::read_to_string(directory.path().join("checkpoint.witnessed")).unwrap();
    assert_eq!(kept, format!("{note}{}{}", lines(&greedy), lines(&other)));
}

/// Attack: a witness that names itself as the log does signs a tree of its own making, or a log that signs its tree counts
/// as its own witness.
#[test]
fn a_log_and_a_witness_do_not_stand_in_for_each_other() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let witness = Key::witness(log.origin(), 5);
    let note = String::from_utf8(log.checkpoint(3)).unwrap();
    let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let cosigned = note_of(&text, &[&witness]);
    let refused = VerifiedCheckpoint::verify(&cosigned, &[key(&witness)]).unwrap_err();
    assert_eq!(refused, NoteError::KeyType);
    // beside the log's own signature it does no harm
    let both = note_of(&text, &[&witness, &log.key]);
    assert!(VerifiedCheckpoint::verify(&both, &[key(&witness), key(&log.key)]).is_ok());
    fs::write(directory.path().join("checkpoint"), cosigned).unwrap();
    let report = Verifier::new([key(&witness)]).verify_log(directory.path(), &mut |_, _| {});
    assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::UntrustedLog, None)]));

    let refused = verifier(&log).with_witnesses([key(&log.key)], 1).unwrap_err();
    assert_eq!(refused, WitnessError::Key);
}

/// Attack: of the witnesses that have signed, all but one are kept from answering, so that what they have signed is gone.
#[test]
fn a_witnessed_checkpoint_is_not_replaced_by_one_that_fewer_have_signed() {
    let log = Log::of_decisions(9, 0);
    let directory = tempdir().unwrap();
    log.write_tiles(directory.path(), 9);
    let keys = [5, 6, 7].map(|seed| Key::witness(&format!("{seed}.example"), seed));
    let witnesses = [0, 1, 2].map(|place: usize| Witness::new(key(&keys[place]), "https://witness.example").unwrap());
    // how many have signed what is kept, and its size
    let round = |size: usize, signers: &[usize], quorum: usize| {
        fs::write(directory.path().join("checkpoint"), log.checkpoint(size)).unwrap();
        let note = String::from_utf8(log.checkpoint(size)).unwrap();
        let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
        let mut submission = Submission::of(directory.path()).unwrap().unwrap();
        for signer in signers {
            let signed = String::from_utf8(note_of(&text, &[&keys[*signer]])).unwrap();
            let line = signed.split_once("\n\n").unwrap().1;
            let taken = submission.accept(&witnesses[*signer], 0, 200, line.as_bytes());
            assert_eq!(taken, Ok(WitnessAnswer::Cosigned));
        }
        let kept = submission.save(&witnesses, quorum).unwrap();
        let verifier = verifier(&log).with_witnesses(keys.iter().map(key), 0).unwrap();
        fs::write(directory.path().join("checkpoint"), log.checkpoint(9)).unwrap();
        let report = verifier.verify_log(directory.path(), &mut |_, _| {});
        assert_eq!(report.verdict, Verdict::Intact);
        (kept, report.witnesses.len(), report.witnessed_size.unwrap())
    };
    assert_eq!(round(3, &[0, 1], 3), (true, 2, 3));
    assert_eq!(round(4, &[0], 3), (false, 2, 3));
    // as many as before, if not the same
    assert_eq!(round(5, &[1, 2], 3), (true, 2, 5));
    assert_eq!(round(6, &[0, 1, 2], 3), (true, 3, 6));
    assert_eq!(round(7, &[0, 1], 3), (false, 3, 6));
    // an older one that somebody asked about at the same time
    assert_eq!(round(4, &[0, 1, 2], 3), (false, 3, 6));
    // where two are enough, the third need not hold up the others
    assert_eq!(round(7, &[2], 2), (false, 3, 6));
    assert_eq!(round(7, &[0, 2], 2), (true, 2, 7));
    assert_eq!(round(7, &[0, 1, 2], 2), (true, 3, 7));
    assert_eq!(round(7, &[0, 1], 2), (false, 3, 7));
}
