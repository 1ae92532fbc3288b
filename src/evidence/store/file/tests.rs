use std::fs::OpenOptions;
use std::time::Duration;

use super::*;
use crate::evidence::keyed::KEY_BYTES;

const LONG: Duration = Duration::from_secs(10);

/// A store whose disk is full: every write to `/dev/full` fails with ENOSPC.
#[cfg(target_os = "linux")]
fn full_disk(mode: EvidenceMode) -> FileStore {
    let path = PathBuf::from("/dev/full");
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    let key = [0; KEY_BYTES].into();
    let opened = Opened { path, file, lock_file: None, bytes: 0, records: 0, key, repairs: Vec::new() };
    FileStore::start(opened, mode, 8).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_fails_everything_from_then_on() {
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded] {
        let store = full_disk(mode);
        let mut places = store.reserve(8).unwrap();
        let mut ticket = store.append(&mut places, b"{}".to_vec()).unwrap();
        assert_eq!(ticket.wait_written(LONG), Err(AppendError::Failed));
        assert_eq!(ticket.wait_durable(LONG), Err(AppendError::Failed));
        assert_eq!(store.append(&mut places, b"{}".to_vec()).unwrap_err(), AppendError::Failed);
        assert_eq!(store.reserve(1).unwrap_err(), AppendError::Failed);
        assert!(store.health().failed);
        store.close();
        assert_eq!(store.reserve(1).unwrap_err(), AppendError::Failed);
        assert_eq!(ticket.wait_written(Duration::ZERO), Err(AppendError::Failed));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn whoever_waits_on_a_failing_disk_is_woken() {
    let store = full_disk(EvidenceMode::Strict);
    let mut places = store.reserve(8).unwrap();
    std::thread::scope(|scope| {
        let room = store.room_freed();
        let room = scope.spawn(move || super::super::block_on(room, LONG));
        let mut ticket = store.append(&mut places, b"{}".to_vec()).unwrap();
        assert_eq!(ticket.wait_durable(LONG), Err(AppendError::Failed));
        assert!(room.join().unwrap().is_some());
    });
}

/// Best-effort counts what a failing disk cost it and lets the call go on; the others deny.
#[cfg(target_os = "linux")]
#[test]
fn best_effort_goes_on_without_its_disk() {
    use crate::evidence::EvidenceId;
    use crate::evidence::{EvidenceLog, NoticeRecord, Record};
    let now = std::time::UNIX_EPOCH;
    let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()));
    let log = EvidenceLog::with_store(Arc::new(full_disk(EvidenceMode::BestEffort)), EvidenceMode::BestEffort).unwrap();
    let _ = log.append(&mut log.reserve(1).unwrap(), &notice).unwrap().wait_written(LONG);
    for dropped in 1..4 {
        let mut place = log.reserve(1).unwrap();
        assert!(!log.append(&mut place, &notice).unwrap().is_recorded());
        assert_eq!(log.health().dropped, dropped);
    }

    let log = EvidenceLog::with_store(Arc::new(full_disk(EvidenceMode::Bounded)), EvidenceMode::Bounded).unwrap();
    let mut place = log.reserve(2).unwrap();
    let _ = log.append(&mut place, &notice).unwrap().wait_written(LONG);
    assert_eq!(log.append(&mut place, &notice).unwrap_err(), AppendError::Failed);
    assert_eq!(log.reserve(1).unwrap_err(), AppendError::Failed);
}

/// What a batch wrote before its sync failed is not confirmed as durable.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_sync_after_a_write_fails_the_durable_wait() {
    // a pipe takes writes and cannot be synced
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
    let key = [0; KEY_BYTES].into();
    let opened = Opened { path, file, lock_file: None, bytes: 0, records: 0, key, repairs: Vec::new() };
    let store = FileStore::start(opened, EvidenceMode::Strict, 8).unwrap();
    let mut places = store.reserve(1).unwrap();
    let mut ticket = store.append(&mut places, b"{}".to_vec()).unwrap();
    assert_eq!(ticket.wait_durable(LONG), Err(AppendError::Failed));
    assert_eq!(ticket.wait_written(LONG), Ok(()));
    let mut line = [0; 3];
    io::Read::read_exact(&mut reader, &mut line).unwrap();
    assert_eq!(&line, b"{}\n");
    assert_eq!(store.reserve(1).unwrap_err(), AppendError::Failed);
}

/// Runs in a process of its own, where it stands in a directory called `aborted`.
#[test]
#[ignore = "started by `a_crash_of_the_process_loses_no_written_record`"]
fn child_aborts() {
    use crate::evidence::{EvidenceId, EvidenceLog, NoticeRecord, Record};
    if !std::env::current_dir().unwrap().ends_with("aborted") {
        return;
    }
    let now = std::time::UNIX_EPOCH;
    let log = EvidenceLog::create_or_open("evidence").unwrap();
    for _ in 0..20 {
        let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()));
        log.append(&mut log.reserve(1).unwrap(), &notice).unwrap().wait_written(LONG).unwrap();
    }
    std::process::abort();
}

/// What bounded mode promises: an answer that left has its record, whatever becomes of the process.
#[test]
fn a_crash_of_the_process_loses_no_written_record() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("aborted");
    std::fs::create_dir(&directory).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "evidence::store::file::tests::child_aborts"])
        .current_dir(&directory)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert_eq!(read_records(directory.join("evidence")).unwrap().len(), 20);
    // the lock went with the process
    crate::evidence::EvidenceLog::create_or_open(directory.join("evidence")).unwrap();
}

/// Runs in a process of its own with a limit on the size of files, where it stands in a directory called `limited`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "started by `a_full_disk_poisons_a_real_log_and_loses_no_confirmed_record`"]
fn child_fills_its_disk() {
    use crate::evidence::{EvidenceId, EvidenceLog, NoticeRecord, Record};
    if !std::env::current_dir().unwrap().ends_with("limited") {
        return;
    }
    let now = std::time::UNIX_EPOCH;
    let log = EvidenceLog::create_or_open("evidence").unwrap();
    let mut confirmed = 0;
    let error = loop {
        let members = vec![("text", "x".repeat(300))];
        let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", members));
        let appended = log.reserve(1).and_then(|mut place| log.append(&mut place, &notice));
        match appended.and_then(|mut ticket| ticket.wait_durable(LONG)) {
            Ok(()) => confirmed += 1,
            Err(error) => break error,
        }
        assert!(confirmed < 1_000, "the limit does not hold");
    };
    assert_eq!(error, AppendError::Failed);
    assert_eq!(log.reserve(1).unwrap_err(), AppendError::Failed);
    assert!(log.health().failed);
    std::fs::write("confirmed", confirmed.to_string()).unwrap();
}

/// The write that hits the limit is cut short by the kernel: what was confirmed stays, what was not is set aside.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_poisons_a_real_log_and_loses_no_confirmed_record() {
    use crate::evidence::EvidenceLog;
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("limited");
    std::fs::create_dir(&directory).unwrap();
    // ignored signals stay ignored across exec: the write fails with EFBIG instead of killing the process
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact --ignored \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("evidence::store::file::tests::child_fills_its_disk")
        .current_dir(&directory)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let confirmed: usize = std::fs::read_to_string(directory.join("confirmed")).unwrap().parse().unwrap();
    assert!(confirmed > 1);
    assert_eq!(read_records(directory.join("evidence")).unwrap().len(), confirmed);
    let log = EvidenceLog::create_or_open(directory.join("evidence")).unwrap();
    let records = log.records().unwrap();
    assert_eq!(records.len(), confirmed + 1);
    assert_eq!(records[confirmed]["rmcp_guard.notice"], "torn_tail");
}

/// A log rotator, a cleaner of temporary files or a second writer must not turn the log into one that nobody can read
/// while calls go on as if they were recorded.
#[test]
fn a_file_that_is_removed_replaced_cut_or_written_by_another_fails_the_log() {
    use crate::evidence::{EvidenceId, EvidenceLog, NoticeRecord, Record};
    type Meddle = fn(&std::path::Path);
    let cases: [(&str, Meddle); 5] = [
        ("removed", |file| std::fs::remove_file(file).unwrap()),
        ("rotated away", |file| std::fs::rename(file, file.with_extension("1")).unwrap()),
        ("replaced", |file| {
            let copy = file.with_extension("copy");
            std::fs::copy(file, &copy).unwrap();
            std::fs::rename(copy, file).unwrap();
        }),
        ("cut", |file| OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap()),
        ("written", |file| OpenOptions::new().append(true).open(file).unwrap().write_all(b"{}\n").unwrap()),
    ];
    for (name, meddle) in cases {
        if cfg!(not(unix)) && !["cut", "written"].contains(&name) {
            continue;
        }
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("evidence");
        let log = EvidenceLog::create_or_open(&directory).unwrap();
        let append = || {
            let now = std::time::UNIX_EPOCH;
            let notice = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()));
            log.append(&mut log.reserve(1).unwrap(), &notice).unwrap().wait_written(LONG)
        };
        assert_eq!(append(), Ok(()), "{name}");
        assert_eq!(append(), Ok(()), "{name}");
        meddle(&directory.join("records.jsonl"));
        assert_eq!(append(), Err(AppendError::Failed), "{name}");
        assert_eq!(log.reserve(1).unwrap_err(), AppendError::Failed, "{name}");
        assert!(log.health().failed, "{name}");
    }
}
