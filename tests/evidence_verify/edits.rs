//! What somebody with the disk could do to a log, one thing at a time.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp_guard::evidence::verify::{FindingKind, Verdict};
use tempfile::tempdir;

use crate::builder::{Log, bundle, copy, files, leaf_hash, put, tile_path};
use crate::{found, is_full, verifier, verify};

/// Every so many places are tried by default, all of them with `RMCP_GUARD_FULL=1`.
fn step(default: usize) -> usize {
    if is_full() { 1 } else { default }
}

#[test]
fn each_file_cut_at_each_byte_is_found() {
    let log = Log::of_decisions(300, 600);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    for file in files(directory.path()) {
        let path = directory.path().join(&file);
        let before = fs::read(&path).unwrap();
        for length in (0..before.len()).step_by(step(before.len() / 25 + 1)) {
            fs::write(&path, &before[..length]).unwrap();
            let report = verify(&log, directory.path());
            let expected = if file == Path::new("checkpoint") {
                // without its signature line it is not a note
                vec![(FindingKind::BadCheckpoint, None)]
            } else if file.starts_with("tile/entries") {
                let first = if file.ends_with("000") { 0 } else { 256 };
                vec![(FindingKind::Malformed, Some((first + whole_entries(&log.entries[first..], length)) as u64))]
            } else {
                let first = if file.ends_with("44") { 256 } else { 0 };
                vec![(FindingKind::Malformed, Some(first))]
            };
            let context = format!("{} cut to {length}", file.display());
            assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, expected), "{context}");
        }
        // one byte more is no better
        let mut longer = before.clone();
        longer.push(0);
        fs::write(&path, longer).unwrap();
        assert_eq!(verify(&log, directory.path()).verdict, Verdict::Tampered, "{}", file.display());
        fs::remove_file(&path).unwrap();
        let report = verify(&log, directory.path());
        assert_eq!(report.verdict, Verdict::Incomplete, "{} {:?}", file.display(), report.findings);
        let kind = found(&report)[0].0;
        assert!(matches!(kind, FindingKind::Missing | FindingKind::NoCheckpoint), "{}", file.display());
        fs::write(&path, before).unwrap();
    }
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Intact);
}

fn whole_entries(entries: &[Vec<u8>], length: usize) -> usize {
    let mut end = 0;
    entries
        .iter()
        .take_while(|entry| {
            end += entry.len() + 2;
            end <= length
        })
        .count()
}

/// Entries changed within their bundles, with everything else left as it was.
#[test]
fn each_entry_swapped_doubled_dropped_or_replaced_is_named() {
    let log = Log::of_decisions(300, 300);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let write = |number: usize, entries: &[Vec<u8>]| {
        let width = if number == 0 { 256 } else { 44 };
        put(directory.path(), &tile_path("entries", number, width), &bundle(entries));
    };
    for index in (0..300).step_by(step(7)) {
        let number = index / 256;
        let (start, end) = (number * 256, if number == 0 { 256 } else { 300 });
        let place = index - start;
        let entries = &log.entries[start..end];
        let at = |index: usize| Some(index as u64);
        let is_last = index + 1 == end;
        let check = |changed: &[Vec<u8>], expected: &[(FindingKind, Option<u64>)]| {
            write(number, changed);
            let report = verify(&log, directory.path());
            assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, expected.to_vec()), "entry {index}");
        };
        if !is_last {
            let mut swapped = entries.to_vec();
            swapped.swap(place, place + 1);
            let altered = FindingKind::EntryAltered;
            check(&swapped, &[(altered, at(index)), (altered, at(index + 1))]);
            let mut repeated = entries.to_vec();
            repeated[place + 1] = entries[place].clone();
            check(&repeated, &[(altered, at(index + 1))]);
        }
        let mut replaced = entries.to_vec();
        replaced[place] = String::from_utf8(entries[place].clone()).unwrap().replace("ALLOW", "DENY").into_bytes();
        check(&replaced, &[(FindingKind::EntryAltered, at(index))]);
        replaced[place] = Vec::new();
        check(&replaced, &[(FindingKind::EntryAltered, at(index))]);
        let mut doubled = entries.to_vec();
        doubled.insert(place, entries[place].clone());
        // the first that is not in its place is the one behind, or what stands behind the last
        check(&doubled, &[(FindingKind::Malformed, at(index + 1))]);
        let mut dropped = entries.to_vec();
        dropped.remove(place);
        check(&dropped, &[(FindingKind::Malformed, at(index))]);
        write(number, entries);
    }
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Intact);
}

/// The leaf hash is recomputed as well: the tile above still tells, and the chain tells where.
#[test]
fn an_entry_altered_with_its_hash_is_named() {
    let log = Log::of_decisions(600, 0);
    for index in [0, 1, 100, 254, 256, 511, 513, 598] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let mut forged = Log::of_decisions(0, 0);
        forged.entries = log.entries.clone();
        forged.leaves = log.leaves.clone();
        forged.entries[index] = b"{\"event\":{},\"prev\":\"\",\"seq\":0}".to_vec();
        forged.leaves[index] = leaf_hash(&forged.entries[index]);
        let number = index / 256;
        let (start, end) = (number * 256, (number * 256 + 256).min(600));
        put(directory.path(), &tile_path("entries", number, end - start), &bundle(&forged.entries[start..end]));
        put(directory.path(), &tile_path("0", number, end - start), forged.leaves[start..end].as_flattened());
        let report = verify(&log, directory.path());
        let at = Some(index as u64);
        let found = found(&report);
        assert_eq!(report.verdict, Verdict::Tampered);
        if index == 511 {
            // no entry behind it in its bundle, so only the bundle can be named, and the chain into the next one
            let broken = [(FindingKind::NotARecord, at), (FindingKind::ChainBroken, Some(512))];
            assert_eq!(found, [&[(FindingKind::HashAltered, Some(256))][..], &broken].concat());
        } else {
            assert_eq!(found, [(FindingKind::HashAltered, at), (FindingKind::EntryAltered, at)], "{index}");
        }

        // all hashes recomputed, up to the root: only the signature is missing
        forged.write(directory.path());
        fs::write(directory.path().join("checkpoint"), log.checkpoint(600)).unwrap();
        let report = verify(&log, directory.path());
        assert_eq!(report.verdict, Verdict::Tampered);
        let found = crate::found(&report);
        if index >= 512 {
            // in the last bundle the chain gives the hash with which the root is right again
            assert_eq!(found, [(FindingKind::HashAltered, at), (FindingKind::EntryAltered, at)], "{index}");
            continue;
        }
        assert_eq!(report.entries_checked, 0);
        assert!(found.contains(&(FindingKind::RootMismatch, None)), "{index} {found:?}");
        assert!(found.contains(&(FindingKind::ChainBroken, Some(index as u64 + 1))), "{index} {found:?}");
    }
}

#[test]
fn tiles_and_bundles_of_another_log_are_found() {
    let log = Log::of_decisions(600, 0);
    let mut other = Log::of_decisions(0, 0);
    other.push("{\"other\":true}");
    for number in 1..600 {
        other.push(&crate::builder::decision(number, 0));
    }
    let (directory, foreign) = (tempdir().unwrap(), tempdir().unwrap());
    log.write(directory.path());
    other.write(foreign.path());
    for file in files(directory.path()) {
        let path = directory.path().join(&file);
        let before = fs::read(&path).unwrap();
        fs::copy(foreign.path().join(&file), &path).unwrap();
        let report = verify(&log, directory.path());
        assert_eq!(report.verdict, Verdict::Tampered, "{}", file.display());
        let (kind, _) = found(&report)[0];
        let expected = match file.to_str().unwrap() {
            "checkpoint" => FindingKind::RootMismatch,
            name if name.starts_with("tile/entries") => FindingKind::EntryAltered,
            _ => FindingKind::HashAltered,
        };
        if file == Path::new("checkpoint") {
            assert!(found(&report).contains(&(expected, None)), "{:?}", report.findings);
        } else {
            assert_eq!(kind, expected, "{}", file.display());
            assert!(
                report.findings.iter().all(|finding| finding.kind == expected && finding.path.as_ref() == Some(&file))
            );
        }
        fs::write(&path, before).unwrap();
    }
    // tiles of this log in each other's place
    for (one, two) in [("tile/0/000", "tile/0/001"), ("tile/entries/000", "tile/entries/001")] {
        let swapped = tempdir().unwrap();
        copy(directory.path(), swapped.path());
        fs::copy(directory.path().join(one), swapped.path().join(two)).unwrap();
        fs::copy(directory.path().join(two), swapped.path().join(one)).unwrap();
        let report = verify(&log, swapped.path());
        assert_eq!((report.verdict, report.findings_total), (Verdict::Tampered, 512));
    }
}

/// Each pair of things that one finding alone could hide behind the other.
#[test]
fn two_alterations_are_both_found() {
    let log = Log::of_decisions(600, 0);
    let spots = [
        ("tile/entries/000", 500, 500),
        ("tile/entries/001", 500, 500),
        ("tile/entries/002.p/88", 500, 500),
        ("tile/0/000", 70, 70),
        ("tile/0/001", 70, 70),
        ("tile/0/002.p/88", 70, 70),
        ("tile/1/000.p/2", 40, 40),
        ("tile/1/000.p/2", 8, 8),
    ];
    let directory = tempdir().unwrap();
    log.write(directory.path());
    for (one, (first, at, _)) in spots.iter().enumerate() {
        for (second, other_at, _) in &spots[one + 1..] {
            let mut restored = Vec::new();
            for (file, at) in [(first, at), (second, other_at)] {
                let path = directory.path().join(file);
                let mut bytes = fs::read(&path).unwrap();
                restored.push((path.clone(), bytes.clone()));
                bytes[*at] ^= 0x10;
                fs::write(&path, bytes).unwrap();
            }
            let report = verify(&log, directory.path());
            assert_eq!(report.verdict, Verdict::Tampered, "{first} {second}");
            for file in [first, second] {
                let is_named = report.findings.iter().any(|finding| finding.path.as_deref() == Some(Path::new(file)));
                assert!(is_named, "{first} {second}: {:?}", report.findings);
            }
            for (path, bytes) in restored.into_iter().rev() {
                fs::write(path, bytes).unwrap();
            }
        }
    }
    assert_eq!(verify(&log, directory.path()).verdict, Verdict::Intact);
}

/// A log that its own key has signed twice, with two endings: both are intact, and each shows the other up.
#[test]
fn two_endings_of_one_log_are_told_apart_by_either_checkpoint() {
    let mut one = Log::of_decisions(300, 0);
    let mut two = Log::of_decisions(300, 0);
    one.push("{\"one\":1}");
    two.push("{\"two\":2}");
    for (log, other) in [(&one, &two), (&two, &one)] {
        let directory = tempdir().unwrap();
        log.write(directory.path());
        let known = rmcp_guard::evidence::checkpoint::VerifiedCheckpoint::verify(
            &other.checkpoint(301),
            &[crate::key(&log.key)],
        )
        .unwrap();
        assert_eq!(verify(log, directory.path()).verdict, Verdict::Intact);
        let report = verifier(log).with_known_checkpoint(known).verify_log(directory.path(), &mut |_, _| {});
        assert_eq!((report.verdict, found(&report)), (Verdict::Tampered, vec![(FindingKind::Inconsistent, Some(301))]));
    }
}

/// Go's reader takes a last base64 character with spare bits; ours does not (one bit of 1,560).
#[test]
fn spare_bits_of_base64_are_refused() {
    let log = Log::of_decisions(3, 0);
    let directory = tempdir().unwrap();
    log.write(directory.path());
    let note = String::from_utf8(log.checkpoint(3)).unwrap();
    let (text, signature) = note.trim_end().rsplit_once(' ').unwrap();
    let length = STANDARD.decode(signature).unwrap().len();
    // 68 bytes leave two characters' worth of spare bits before the padding
    assert_eq!(length % 3, 2);
    let last = signature.trim_end_matches('=').chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let spare = format!("{}{next}=", signature.get(..signature.len() - 2).unwrap());
    fs::write(directory.path().join("checkpoint"), format!("{text} {spare}\n")).unwrap();
    assert_eq!(found(&verify(&log, directory.path())), [(FindingKind::BadCheckpoint, None)]);
}
