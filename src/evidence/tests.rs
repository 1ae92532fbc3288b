use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::store::block_on;
use super::*;

const AT: SystemTime = UNIX_EPOCH;
const LONG: Duration = Duration::from_secs(10);

fn notice(text: &str) -> Record {
    let members = vec![("text", text.to_owned())];
    Record::Notice(NoticeRecord::new(EvidenceId::generate(AT), AT, "test", members))
}

fn append(log: &EvidenceLog, text: &str) -> Ticket {
    let mut place = log.reserve_blocking(1).unwrap();
    log.append(&mut place, &notice(text)).unwrap()
}

fn texts(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["rmcp_guard.notice.text"].as_str()).collect()
}

fn directory() -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("evidence");
    (temporary, path)
}

/// The records without what the log says about itself.
fn of_callers(records: Vec<Value>) -> Vec<Value> {
    let own = |record: &Value| record["rmcp_guard.notice"].as_str().is_some_and(|name| name.starts_with("log_"));
    records.into_iter().filter(|record| !own(record)).collect()
}

/// The directory of its keys.
fn private_of(path: &Path) -> PathBuf {
    path.with_file_name("evidence.private").join("main")
}

fn open(path: &Path, mode: EvidenceMode) -> Result<EvidenceLog, OpenError> {
    EvidenceLog::options().mode(mode).create_or_open(path)
}

fn open_kind(path: &Path) -> OpenErrorKind {
    EvidenceLog::create_or_open(path).unwrap_err().kind()
}

const MODES: [EvidenceMode; 3] = [EvidenceMode::Strict, EvidenceMode::Bounded, EvidenceMode::BestEffort];

#[test]
fn every_mode_keeps_records_in_order_across_openings() {
    for mode in MODES {
        let (_temporary, path) = directory();
        for run in ["a", "b"] {
            let log = open(&path, mode).unwrap();
            let mut last = append(&log, &format!("{run}1"));
            last.wait_written(LONG).unwrap();
            for number in 2..=20 {
                last = append(&log, &format!("{run}{number}"));
            }
            last.wait_written(LONG).unwrap();
            if mode != EvidenceMode::BestEffort {
                last.wait_durable(LONG).unwrap();
            }
            // dropped without `close`: the last handle closes
        }
        let records = read_records(&path).unwrap();
        let expected: Vec<_> = ["a", "b"].iter().flat_map(|run| (1..=20).map(move |n| format!("{run}{n}"))).collect();
        assert_eq!(texts(&records), expected, "{mode:?}");
    }
}

#[test]
fn best_effort_is_durable_at_close() {
    let (_temporary, path) = directory();
    let log = open(&path, EvidenceMode::BestEffort).unwrap();
    let mut ticket = append(&log, "x");
    ticket.wait_written(LONG).unwrap();
    assert_eq!(ticket.wait_durable(Duration::from_millis(20)), Err(AppendError::TimedOut));
    log.close();
    assert_eq!(ticket.wait_durable(Duration::ZERO), Ok(()));
}

#[test]
fn sixty_four_producers_lose_nothing_and_keep_their_own_order() {
    const PRODUCERS: usize = 64;
    const EACH: usize = 40;
    let (_temporary, path) = directory();
    let log = EvidenceLog::options().queue(100).wait_limit(LONG).create_or_open(&path).unwrap();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut ticket = append(&log, &format!("{producer}/{number}"));
                    if number % 7 == 0 {
                        ticket.wait_durable(LONG).unwrap();
                    }
                }
            });
        }
    });
    log.close();
    let records = log.records().unwrap();
    // with the one about its opening
    assert_eq!(records.len(), PRODUCERS * EACH + 1);
    assert_eq!(log.health().records, u64::try_from(PRODUCERS * EACH + 1).unwrap());
    for producer in 0..PRODUCERS {
        let prefix = format!("{producer}/");
        let own: Vec<_> = texts(&records).into_iter().filter(|text| text.starts_with(&prefix)).collect();
        assert_eq!(own, (0..EACH).map(|number| format!("{producer}/{number}")).collect::<Vec<_>>());
    }
}

#[test]
fn one_writer_at_a_time() {
    let (_temporary, path) = directory();
    let log = EvidenceLog::create_or_open(&path).unwrap();
    let clone = log.clone();
    assert_eq!(open_kind(&path), OpenErrorKind::Locked);
    drop(log);
    assert_eq!(open_kind(&path), OpenErrorKind::Locked);
    drop(clone);
    EvidenceLog::create_or_open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_a_log() {
    use std::os::unix::fs::PermissionsExt;

    let (_temporary, path) = directory();
    drop(EvidenceLog::create_or_open(path.join("nested")).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let log = path.join("nested");
    let private = path.join("nested.private").join("main");
    let params = std::fs::read_dir(private.join("params")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = params.collect();
    files.extend(["LOCK", "00000001/log.json", "00000001/checkpoint"].map(|name| log.join("main").join(name)));
    files.extend(["log.key", "high-water"].map(|name| private.join(name)));
    assert_eq!((mode(&path), mode(&log), mode(&private)), (0o700, 0o700, 0o700));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        set_mode(file, 0o640);
        assert_eq!(open_kind(&log), OpenErrorKind::NotPrivate, "{}", file.display());
        set_mode(file, 0o600);
    }
    for directory in [&log, &private] {
        set_mode(directory, 0o755);
        assert_eq!(open_kind(&log), OpenErrorKind::NotPrivate, "{}", directory.display());
        set_mode(directory, 0o700);
    }
    EvidenceLog::create_or_open(&log).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_no_log_of_ours_is_refused() {
    use std::os::unix::fs::symlink;

    let (_temporary, path) = directory();
    std::fs::write(&path, "a file").unwrap();
    assert_eq!(open_kind(&path), OpenErrorKind::Foreign);
    for name in ["evidence/main/LOCK", "evidence/main/00000001/log.json", "evidence.private/main/log.key"] {
        let (temporary, path) = directory();
        drop(EvidenceLog::create_or_open(&path).unwrap());
        let file = temporary.path().join(name);
        std::fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        assert_eq!(open_kind(&path), OpenErrorKind::Foreign, "link {name}");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(open_kind(&path), OpenErrorKind::Foreign, "directory {name}");
    }
}

#[test]
fn the_hash_key_stays_with_the_log_and_out_of_its_records() {
    let (_temporary, path) = directory();
    let arguments = json!({"pin": "1234"});
    let log = EvidenceLog::create_or_open(&path).unwrap();
    let hash = log.params_hash(arguments.as_object());
    append(&log, "x").wait_durable(LONG).unwrap();
    drop(log);

    let log = EvidenceLog::create_or_open(&path).unwrap();
    assert_eq!(log.params_hash(arguments.as_object()), hash);
    assert!(hash.starts_with(&format!("hmac-sha256:{}:", log.key_id())), "{hash}");
    assert_ne!(EvidenceLog::in_memory().params_hash(arguments.as_object()), hash);
    assert_ne!(log.keyed_hash("result", b"x"), log.keyed_hash("claimed", b"x"));
    assert_eq!(log.params_hash(None), log.params_hash(Some(&serde_json::Map::new())));
    drop(log);

    let key = std::fs::read_dir(private_of(&path).join("params")).unwrap().next().unwrap().unwrap().path();
    for bytes in [31, 33] {
        std::fs::write(&key, vec![0; bytes]).unwrap();
        assert_eq!(open_kind(&path), OpenErrorKind::Key);
    }

    // without the key hashes are unguessable for good; the log goes on under another and says so
    std::fs::remove_dir_all(private_of(&path).join("params")).unwrap();
    let log = EvidenceLog::create_or_open(&path).unwrap();
    assert_ne!(log.params_hash(arguments.as_object()), hash);
    assert_eq!(log.records().unwrap().pop().unwrap()["rmcp_guard.notice"], "params_key_created");
}

#[test]
fn places_are_all_or_none_and_come_back_on_drop() {
    let (_temporary, path) = directory();
    let log = EvidenceLog::options().queue(3).create_or_open(&path).unwrap();
    let held = log.reserve(2).unwrap();
    assert_eq!(log.reserve(2).unwrap_err(), AppendError::Full);
    drop(held);
    let mut all = log.reserve(3).unwrap();
    for _ in 0..3 {
        log.append(&mut all, &notice("x")).unwrap().wait_durable(LONG).unwrap();
    }
    assert_eq!(all.places(), 0);
    assert_eq!(log.append(&mut all, &notice("x")).unwrap_err(), AppendError::Full);
    // used places come back with the commit
    drop(log.reserve_blocking(3).unwrap());
}

#[test]
fn places_of_one_log_are_worth_nothing_in_another() {
    let (one, other) = (EvidenceLog::in_memory(), EvidenceLog::in_memory());
    let mut place = one.reserve(1).unwrap();
    assert_eq!(other.append(&mut place, &notice("x")).unwrap_err(), AppendError::Full);
    assert_eq!(place.places(), 1);
}

#[test]
fn waiting_for_room_ends_when_room_returns_and_not_before() {
    let (_temporary, path) = directory();
    let log = EvidenceLog::options().queue(1).create_or_open(&path).unwrap();
    let held = log.reserve(1).unwrap();
    assert!(block_on(log.reserve_wait(1), Duration::from_millis(20)).is_none());
    assert_eq!(log.reserve_blocking(1).unwrap_err(), AppendError::Full);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(log.reserve_wait(1), LONG));
        std::thread::sleep(Duration::from_millis(20));
        drop(held);
        assert_eq!(waiter.join().unwrap().unwrap().unwrap().places(), 1);
    });
    let held = log.reserve(1).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(log.reserve_wait(1), LONG));
        std::thread::sleep(Duration::from_millis(20));
        log.close();
        assert_eq!(waiter.join().unwrap().unwrap().unwrap_err(), AppendError::Closed);
    });
    drop(held);
}

#[test]
fn a_closed_log_takes_nothing_and_still_reads() {
    let (_temporary, path) = directory();
    for log in [EvidenceLog::in_memory(), EvidenceLog::create_or_open(path).unwrap()] {
        append(&log, "before").wait_written(LONG).unwrap();
        let mut held = log.reserve(1).unwrap();
        log.close();
        log.close();
        assert_eq!(log.reserve(1).unwrap_err(), AppendError::Closed);
        assert_eq!(log.append(&mut held, &notice("after")).unwrap_err(), AppendError::Closed);
        assert_eq!(texts(&log.records().unwrap()), ["before"]);
    }
}

#[test]
fn a_memory_log_is_bounded() {
    let log = EvidenceLog::in_memory();
    let most = u32::try_from(MAX_MEMORY_RECORDS).unwrap();
    assert_eq!(log.reserve(most + 1).unwrap_err(), AppendError::Full);
    append(&log, "x").wait_durable(Duration::ZERO).unwrap();
    // a kept record keeps its place
    assert_eq!(log.reserve(most).unwrap_err(), AppendError::Full);
    assert_eq!(log.health(), EvidenceHealth { records: 1, ..EvidenceHealth::default() });
}

#[test]
fn best_effort_counts_what_it_drops_and_records_the_gap() {
    let (_temporary, path) = directory();
    let log = EvidenceLog::options().mode(EvidenceMode::BestEffort).queue(2).create_or_open(&path).unwrap();
    let drop_two = || {
        let held = log.reserve(2).unwrap();
        let mut unbacked = log.reserve(2).unwrap();
        for seconds in [5, 3] {
            let at = AT.checked_add(Duration::from_secs(seconds));
            let record = DecisionRecord { at, ..DecisionRecord::default() };
            let mut ticket = log.append(&mut unbacked, &Record::Decision(record)).unwrap();
            assert!(!ticket.is_recorded());
            ticket.wait_written(Duration::ZERO).unwrap();
        }
        assert_eq!(log.append(&mut unbacked, &notice("none left")).unwrap_err(), AppendError::Full);
        drop(held);
    };
    drop_two();
    assert_eq!(log.health().dropped, 2);
    append(&log, "room again").wait_written(LONG).unwrap();
    drop_two();
    // a gap that is still open is recorded at the end
    log.close();

    let records = log.records().unwrap();
    let gaps: Vec<_> = records.iter().filter(|record| record["event.name"] == "rmcp_guard.gap").collect();
    assert_eq!(gaps.len(), 2);
    for gap in gaps {
        assert_eq!(gap["rmcp_guard.kind"], "gap");
        assert_eq!(gap["rmcp_guard.gap.count"], 2);
        assert_eq!(gap["rmcp_guard.gap.first"], "1970-01-01T00:00:03.000000000Z");
        assert_eq!(gap["rmcp_guard.gap.last"], "1970-01-01T00:00:05.000000000Z");
    }
    assert_eq!(texts(&records), ["room again"]);
    assert_eq!(log.health().dropped, 4);
}

#[test]
fn a_wait_that_is_dropped_can_be_taken_up_again() {
    let (_temporary, path) = directory();
    let log = open(&path, EvidenceMode::BestEffort).unwrap();
    let mut ticket = append(&log, "x");
    for _ in 0..100 {
        assert!(block_on(ticket.durable(), Duration::ZERO).is_none());
    }
    log.close();
    assert_eq!(block_on(ticket.durable(), Duration::ZERO), Some(Ok(())));
}

/// An unverified token must not put its claims where a reader takes them for verified, long text must not fill the
/// disk, and neither line breaks nor terminal codes may forge a record for a reader of the file or of a terminal.
#[test]
fn s09_unverified_text_is_claimed_bounded_and_harmless() {
    let hostile = "\n{\"capiscio.decision\":\"ALLOW\"}\n\u{1b}[2J\u{9b}\u{202e}\u{2028}";
    let endless = format!("{hostile}{}", "é".repeat(100_000));
    let (_temporary, path) = directory();
    let log = EvidenceLog::create_or_open(&path).unwrap();
    let record = DecisionRecord {
        method: "tools/call",
        auth_level: "BADGE",
        target: endless.clone(),
        claimed_issuer: Some(endless.clone()),
        claimed_subject: Some("did:key:zAttacker".to_owned()),
        claimed_jti: Some(hostile.to_owned()),
        protocol_version: Some(endless.clone()),
        ..DecisionRecord::default()
    };
    let mut place = log.reserve(1).unwrap();
    log.append(&mut place, &Record::Decision(record)).unwrap().wait_durable(LONG).unwrap();

    let record = of_callers(log.records().unwrap()).remove(0);
    assert_eq!(record["capiscio.agent.did"], "");
    assert_eq!(record.get("capiscio.badge.jti"), None);
    assert_eq!(record.get("rmcp_guard.issuer"), None);
    assert_eq!(record.get("trust_level"), None);
    assert_eq!(record["claimed.sub"], "did:key:zAttacker");
    let members = record.as_object().unwrap();
    let attacker: Vec<_> = members.iter().filter(|(_, value)| value.to_string().contains("zAttacker")).collect();
    assert_eq!(attacker.len(), 1);
    for name in ["capiscio.target", "claimed.iss", "rmcp_guard.protocol_version"] {
        let kept = record[name].as_str().unwrap();
        assert!(endless.starts_with(kept) && kept.len() <= MAX_TEXT_BYTES && kept.len() > MAX_TEXT_BYTES - 4, "{name}");
        assert_eq!(record[format!("{name}.cut.bytes")], endless.len(), "{name}");
        assert_eq!(record[format!("{name}.cut.hash")], log.keyed_hash("text", endless.as_bytes()), "{name}");
        let shown = escape_for_display(kept);
        assert!(!shown.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{name}");
    }
    assert_eq!(record.get("claimed.jti.cut.bytes"), None);
}

/// A caller who could make a record too large to keep could call a tool without evidence, or switch the guard off.
#[test]
fn s09_no_text_makes_a_decision_too_large_to_record() {
    let worst = || "\u{1}".repeat(10 * MAX_TEXT_BYTES);
    let record = DecisionRecord {
        target: worst(),
        policy_version: worst(),
        policy_digest: worst(),
        agent_did: Some(worst()),
        badge_jti: Some(worst()),
        badge_issuer: Some(worst()),
        api_key_name: Some(worst()),
        claimed_issuer: Some(worst()),
        claimed_subject: Some(worst()),
        claimed_jti: Some(worst()),
        params_hash: Some(worst()),
        server_origin: Some(worst()),
        rule: Some(worst()),
        protocol_version: Some(worst()),
        ..DecisionRecord::default()
    };
    let log = EvidenceLog::in_memory();
    let _ = log.append(&mut log.reserve(1).unwrap(), &Record::Decision(record)).unwrap();

    let members = (0..40).map(|_| ("x", worst())).collect();
    let notice = NoticeRecord::new(EvidenceId::generate(AT), AT, "many members of one name", members);
    let _ = log.append(&mut log.reserve(1).unwrap(), &Record::Notice(notice)).unwrap();
}

#[test]
fn a_notice_with_too_many_members_is_refused() {
    const NAMES: [&str; 24] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v",
        "w", "x",
    ];
    let log = EvidenceLog::in_memory();
    let members = NAMES.map(|name| (name, "\u{1}".repeat(MAX_TEXT_BYTES))).to_vec();
    let notice = NoticeRecord::new(EvidenceId::generate(AT), AT, "too much", members);
    let mut place = log.reserve(1).unwrap();
    assert_eq!(log.append(&mut place, &Record::Notice(notice)).unwrap_err(), AppendError::TooLarge);
    assert_eq!(place.places(), 1);
}

#[test]
fn nothing_secret_is_debugged() {
    let (_temporary, path) = directory();
    let log = EvidenceLog::create_or_open(&path).unwrap();
    let key = std::fs::read_dir(private_of(&path).join("params")).unwrap().next().unwrap().unwrap().path();
    let key = std::fs::read(key).unwrap();
    let shown = format!("{log:?}");
    assert!(shown.contains(&log.key_id()) && !shown.contains(&format!("{:?}", &key[..8]).replace(['[', ']'], "")));
}
