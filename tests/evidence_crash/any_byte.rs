//! A process or a machine that dies leaves its last write in part. Wherever that write ends, the log opens again, has what
//! was published and a beginning of the rest, and verifies.
//!
//! `RMCP_GUARD_FULL=1` ends it at every byte.

use std::path::Path;
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{EvidenceId, EvidenceLog, EvidenceMode, EvidenceOptions, NoticeRecord, Record};

use crate::check::snapshot;

const WAIT: Duration = Duration::from_secs(60);

/// A log in the middle of its work, as it lies on the disk.
struct Image {
    files: Vec<(String, Vec<u8>)>,
    key: VerifierKey,
    /// The ids of all records, and how many of them were published.
    ids: Vec<String>,
    published: usize,
    /// Where what was written behind the published begins and ends in the write-ahead log.
    tail: std::ops::Range<usize>,
}

fn options() -> EvidenceOptions {
    let never = Duration::from_secs(3600);
    EvidenceLog::options().mode(EvidenceMode::Strict).wait_limit(WAIT).origin("cut.example").checkpoint_interval(never)
}

fn append(log: &EvidenceLog, count: usize) {
    for number in 0..count {
        let now = SystemClock.now();
        let text = "x".repeat(number * 97);
        let record = NoticeRecord::new(EvidenceId::generate(now), now, "cut", vec![("text", text)]);
        let ticket = log.append(&mut log.reserve(1).unwrap(), &Record::Notice(record));
        ticket.unwrap().wait_durable(WAIT).unwrap();
    }
}

fn ids(log: &EvidenceLog) -> Vec<String> {
    log.records().unwrap().iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

fn is_wal(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "seg")
}

/// Behind the last byte of the write-ahead log that is not zero.
fn written(files: &[(String, Vec<u8>)]) -> usize {
    let segments: Vec<_> = files.iter().filter(|(name, _)| is_wal(name)).collect();
    let [(_, segment)] = segments.as_slice() else { panic!("{} segments", segments.len()) };
    segment.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

impl Image {
    fn take() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("evidence");
        let log = options().create_or_open(&directory).unwrap();
        append(&log, 3);
        log.publish(WAIT).unwrap();
        let published = ids(&log).len();
        let start = written(&snapshot(place.path()));
        append(&log, 5);
        let (ids, files) = (ids(&log), snapshot(place.path()));
        let key = log.verifier_key().unwrap().clone();
        log.close();
        let tail = start..written(&files);
        Self { files, key, ids, published, tail }
    }

    /// Opens a log that has lost what was written from `end` on, and returns how many records it has.
    fn recover(&self, end: usize) -> usize {
        let place = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            write_private(place.path(), name, &cut(name, bytes, end));
        }
        let directory = place.path().join("evidence");
        let log = options().create_or_open(&directory).unwrap_or_else(|error| panic!("cut at {end}: {error:?}"));
        let found = ids(&log);
        log.publish(WAIT).unwrap();
        log.close();
        let kept = found.iter().zip(&self.ids).take_while(|(found, written)| found == written).count();
        assert!(kept >= self.published, "cut at {end}: {kept} of {} published records", self.published);
        // what the opening itself records comes behind
        assert!(found[kept..].iter().all(|id| !self.ids.contains(id)), "cut at {end}: a record in another place");
        for report in Verifier::new([self.key.clone()]).verify_set(&directory, &mut |_, _| {}) {
            assert_eq!(report.verdict, Verdict::Intact, "cut at {end}: {report:#?}");
        }
        kept
    }
}

/// Segments keep their length: what was not written is zero.
fn cut(name: &str, bytes: &[u8], end: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if is_wal(name) {
        bytes[end..].fill(0);
    }
    bytes
}

/// With the modes that a log demands of what it finds.
fn write_private(place: &Path, name: &str, bytes: &[u8]) {
    let path = &place.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(path, 0o600);
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(place));
        folders.for_each(|folder| mode(folder, 0o700));
    }
}

#[test]
fn a_log_opens_wherever_its_last_write_ends() {
    let image = Image::take();
    let step = if std::env::var_os("RMCP_GUARD_FULL").is_some() { 1 } else { image.tail.len().div_ceil(25) };
    let mut kept = Vec::new();
    for end in image.tail.clone().step_by(step).chain([image.tail.end]) {
        kept.push(image.recover(end));
    }
    assert_eq!((kept.first(), kept.last()), (Some(&image.published), Some(&image.ids.len())));
    assert!(kept.is_sorted(), "{kept:?}");
}
