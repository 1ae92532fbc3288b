//! Records of the first format of the log (`records.jsonl`, a JSON object a line) as entries of one of today's.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::store::durable::FIRST_FORMAT_FILE;
use super::text::hex;
use super::{AppendError, EvidenceId, EvidenceLog, MAX_RECORD_BYTES, NoticeRecord, OpenError, OpenErrorKind, Record};
use crate::clock::{Clock as _, SystemClock};
use crate::encoding::{canonical_json, has_inexact_numbers, parse_unique_json};

/// How long one record may wait for room, and all of them for the disk in the end.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest line that the first format could have: a record of 65,535 bytes.
const MAX_LINE_BYTES: u64 = 65_535;

/// Appends the records of the log of the first format in `directory` to `log`, and returns their number. Blocks.
///
/// A notice `imported` comes first: how many records, from which file, and the SHA-256 of it. The file is only read;
/// everything in it is checked before anything is appended. A last line without its end, as a crash leaves it, is left
/// out, and the notice says how long it is. Times and ids stay what they are: that the records were already there when
/// the file was written is what the notice says and what no proof can show.
///
/// Called again, it imports again; a log that is made for it is best.
///
/// # Errors
/// [`OpenErrorKind::Locked`] while a process writes the old log, [`Damaged`](OpenErrorKind::Damaged) with the line that
/// is no record, [`Io`](OpenErrorKind::Io) when there is no such file, it changes meanwhile, or `log` takes no more.
pub fn import_records(directory: impl AsRef<Path>, log: &EvidenceLog) -> Result<u64, OpenError> {
    let path = directory.as_ref().join(FIRST_FORMAT_FILE);
    let _lock = lock_first_format(directory.as_ref())?;
    let checked = read_lines(&path, |_| Ok(()))?;

    let not_kept = |error: AppendError| OpenError::new(OpenErrorKind::Io).at(&path).caused_by(error);
    let now = SystemClock.now();
    let mut members = vec![
        ("records", checked.records.to_string()),
        ("file", path.display().to_string()),
        ("sha256", checked.sha256.clone()),
    ];
    if checked.torn > 0 {
        members.push(("torn_bytes", checked.torn.to_string()));
    }
    let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "imported", members));
    let mut place = log.reserve_blocking(1).map_err(not_kept)?;
    let ticket = log.append(&mut place, &notice).map_err(not_kept)?;
    if !ticket.is_recorded() {
        return Err(not_kept(AppendError::Full));
    }
    let appended = read_lines(&path, |event| log.append_event(event, LIMIT).map(drop).map_err(not_kept))?;
    log.publish(LIMIT).map_err(not_kept)?;
    if appended != checked {
        let changed = io::Error::new(io::ErrorKind::InvalidData, "the file was changed while it was imported");
        return Err(OpenError::io(&path)(changed));
    }
    Ok(appended.records)
}

/// What was read of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    records: u64,
    /// Bytes behind the last line break.
    torn: u64,
    /// Of the whole file, in hexadecimal digits.
    sha256: String,
}

/// Hands each record in its canonical form to `each`.
fn read_lines(path: &Path, mut each: impl FnMut(Vec<u8>) -> Result<(), OpenError>) -> Result<Lines, OpenError> {
    let file = File::open(path).map_err(OpenError::io(path))?;
    // one byte more than the longest line with its break, so that a longer one is seen to be too long
    let limit = MAX_LINE_BYTES.saturating_add(2);
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut lines = Lines::default();
    let mut hash = Sha256::new();
    let mut line = Vec::new();
    let mut number = 0_usize;
    loop {
        line.clear();
        number = number.saturating_add(1);
        let damaged = || OpenError::new(OpenErrorKind::Damaged { line: number }).at(path);
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).map_err(OpenError::io(path))?;
        hash.update(&line);
        let length = u64::try_from(read).unwrap_or(u64::MAX);
        if length == limit {
            return Err(damaged());
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            lines.torn = length;
            lines.sha256 = hex(&hash.finalize());
            return Ok(lines);
        };
        let record = parse_unique_json(text).map_err(|error| damaged().caused_by(error))?;
        // a file of somebody else's JSON lines is no evidence
        if record.get("id").and_then(Value::as_str).is_none() || record.get("event.name").is_none() {
            return Err(damaged());
        }
        // would be rounded on its way; no record that this crate wrote has such a number
        if has_inexact_numbers(&record) {
            return Err(damaged());
        }
        let event = canonical_json(&record).map_err(|error| damaged().caused_by(error))?;
        if event.len() > MAX_RECORD_BYTES {
            return Err(damaged());
        }
        each(event)?;
        lines.records = lines.records.saturating_add(1);
    }
}

/// Held while the file is read, so that no process of the first format writes to it. A directory that cannot be written
/// to has no writer.
fn lock_first_format(directory: &Path) -> Result<Option<File>, OpenError> {
    use std::fs::TryLockError;
    let path = directory.join("LOCK");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(OpenError::io(&path))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(OpenErrorKind::Locked).at(directory)),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old_log(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FIRST_FORMAT_FILE), text).unwrap();
        directory
    }

    const TWO: &str = "{\"event.name\":\"a\",\"id\":\"1\"}\n{ \"id\":\"2\",\"event.name\":\"b\" }\n";

    #[test]
    fn records_come_behind_a_notice_that_names_their_file() {
        let old = old_log(&format!("{TWO}{{\"torn"));
        let directory = tempfile::tempdir().unwrap();
        let log = EvidenceLog::create_or_open(directory.path().join("new")).unwrap();
        assert_eq!(import_records(old.path(), &log).unwrap(), 2);
        let records = log.records().unwrap();
        let notice = records.iter().position(|record| record["rmcp_guard.notice"] == "imported").unwrap();
        assert_eq!(records[notice]["rmcp_guard.notice.records"], "2");
        assert_eq!(records[notice]["rmcp_guard.notice.torn_bytes"], "6");
        let path = old.path().join(FIRST_FORMAT_FILE);
        assert_eq!(records[notice]["rmcp_guard.notice.file"], path.to_str().unwrap());
        let hash = hex(&Sha256::digest(std::fs::read(&path).unwrap()));
        assert_eq!(records[notice]["rmcp_guard.notice.sha256"], hash);
        assert_eq!(records[notice + 1], serde_json::json!({"event.name": "a", "id": "1"}));
        assert_eq!(records[notice + 2], serde_json::json!({"event.name": "b", "id": "2"}));
        assert_eq!(records.len(), notice + 3);
        // what was imported is published
        assert!(log.directory().unwrap().join("checkpoint").exists());
    }

    #[test]
    fn more_records_than_the_queue_has_places_for() {
        let lines: Vec<_> = (0..200).map(|number| format!("{{\"event.name\":\"a\",\"id\":\"{number}\"}}\n")).collect();
        let old = old_log(&lines.concat());
        let directory = tempfile::tempdir().unwrap();
        let log = EvidenceLog::options().queue(4).create(directory.path().join("new")).unwrap();
        assert_eq!(import_records(old.path(), &log).unwrap(), 200);
        assert_eq!(log.records().unwrap().iter().filter(|record| record["event.name"] == "a").count(), 200);
    }

    #[test]
    fn a_file_that_is_not_one_of_records_is_not_begun() {
        let log = EvidenceLog::in_memory();
        let too_long = format!("{{\"event.name\":\"a\",\"id\":\"{}\"}}\n", "x".repeat(MAX_RECORD_BYTES));
        let cases = [
            ("no JSON", format!("{TWO}x\n"), 3),
            ("an empty line", format!("\n{TWO}"), 1),
            ("no record", format!("{TWO}{{}}\n"), 3),
            ("a name twice", format!("{TWO}{{\"id\":\"1\",\"id\":\"2\",\"event.name\":\"a\"}}\n"), 3),
            (
                "a number that JSON rounds",
                format!("{TWO}{{\"id\":\"1\",\"event.name\":\"a\",\"n\":9007199254740993}}\n"),
                3,
            ),
            ("a line too long", format!("{TWO}{too_long}"), 3),
            ("a line without end", format!("{TWO}{}", "x".repeat(1 << 20)), 3),
        ];
        for (name, text, line) in cases {
            let old = old_log(&text);
            let error = import_records(old.path(), &log).unwrap_err();
            assert_eq!(error.kind(), OpenErrorKind::Damaged { line }, "{name}");
            assert_eq!(error.path(), Some(old.path().join(FIRST_FORMAT_FILE).as_path()), "{name}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(import_records(empty.path(), &log).unwrap_err().kind(), OpenErrorKind::Io);
        assert_eq!(log.records().unwrap().len(), 0);
    }

    #[test]
    fn a_log_that_is_being_written_is_not_imported() {
        let old = old_log(TWO);
        let lock = File::create(old.path().join("LOCK")).unwrap();
        lock.lock().unwrap();
        let error = import_records(old.path(), &EvidenceLog::in_memory()).unwrap_err();
        assert_eq!((error.kind(), error.path()), (OpenErrorKind::Locked, Some(old.path())));
    }
}
