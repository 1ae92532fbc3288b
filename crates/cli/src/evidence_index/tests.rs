#![expect(clippy::arithmetic_side_effects, reason = "small numbers")]

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rmcp_guard::evidence::{DecisionRecord, EvidenceLog, EvidenceOptions, NoticeRecord, Record};
use rmcp_guard::policy::ToolPattern;
use rusqlite::Connection;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const TOOLS: [&str; 5] = ["read_file", "read_dir", "write_file", "shell/run", "=cmd"];
const AGENTS: [&str; 3] = ["did:key:z6MkA", "did:key:z6MkB", ""];
const REASONS: [&str; 2] = ["badge_missing", "trust_insufficient"];

fn options(instance: &str) -> EvidenceOptions {
    EvidenceLog::options().instance(instance).origin("log.example/evidence")
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(1_760_000_000 + seconds)).unwrap()
}

fn append(log: &EvidenceLog, record: &Record) {
    let mut place = log.reserve_blocking(1).unwrap();
    let _ = log.append(&mut place, record).unwrap();
}

/// Call number `number`: every combination of tool, agent and reason, and a clock that stumbles.
fn call(number: u64) -> Record {
    let pick = |from: &[&'static str], by: u64| from[usize::try_from(number / by).unwrap() % from.len()];
    let mut record = DecisionRecord::default();
    record.at = Some(at(if number % 97 == 5 { number / 2 } else { number }));
    record.method = "tools/call";
    record.target = pick(&TOOLS, 1).to_owned();
    record.agent_did = Some(pick(&AGENTS, 2).to_owned());
    record.api_key_name = number.is_multiple_of(11).then(|| "ops".to_owned());
    record.allow = !number.is_multiple_of(3);
    record.deny_reason = (!record.allow).then(|| pick(&REASONS, 3));
    record.auth_level = "BADGE";
    Record::Decision(record)
}

fn write(directory: &Path, instance: &str, numbers: std::ops::Range<u64>) {
    let log = options(instance).create_or_open(directory).unwrap();
    for number in numbers {
        append(&log, &call(number));
        if number % 50 == 0 {
            let notice =
                NoticeRecord::new(rmcp_guard::evidence::EvidenceId::generate(at(number)), at(number), "odd", vec![]);
            append(&log, &Record::Notice(notice));
        }
    }
    log.publish(LIMIT).unwrap();
    log.close();
}

/// Two instances, the second one beginning when the first is half way.
fn set_of_logs() -> &'static Path {
    static SET: OnceLock<(tempfile::TempDir, std::path::PathBuf)> = OnceLock::new();
    let (_, directory) = SET.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("evidence");
        write(&directory, "main", 0..600);
        write(&directory, "second", 300..400);
        (folder, directory)
    });
    directory
}

fn fill(set: &Set) -> (Index, Vec<String>) {
    let mut notes = Vec::new();
    let index = Index::fill(set, &mut |_| {}, &mut notes).unwrap();
    (index, notes)
}

/// Log and index of what matches, in order.
fn places(set: &Set, index: Option<&Index>, filter: &Filter) -> Vec<(usize, u64)> {
    let streams = set.instances().into_iter().map(|positions| match index {
        Some(index) => index.search(set, positions, filter),
        None => scan(set, positions, filter),
    });
    Merge::new(streams.collect()).map(|found| found.map(|found| (found.log, found.index)).unwrap()).collect()
}

fn log_in(folder: &tempfile::TempDir, entries: u64) -> (std::path::PathBuf, Set) {
    let directory = folder.path().join("evidence");
    write(&directory, "main", 0..entries);
    let set = Set::open(&directory).unwrap();
    (directory, set)
}

fn database(directory: &Path) -> Connection {
    Connection::open(directory.join(INDEX_DIRECTORY).join(INDEX_FILE)).unwrap()
}

fn filters() -> impl Strategy<Value = Filter> {
    let tool =
        proptest::option::of(prop::sample::select(vec!["read_file", "read_*", "*", "shell/*", "[=a]cmd", "none"]));
    let agent = proptest::option::of(prop::sample::select(vec!["did:key:z6MkA", "did:key:z6MkB", "api-key:ops", "x"]));
    let decision = proptest::option::of(prop::sample::select(vec!["ALLOW", "DENY"]));
    let reason = proptest::option::of(prop::sample::select(vec!["badge_missing", "trust_insufficient", "x"]));
    let kind = proptest::option::of(prop::sample::select(vec!["decision", "notice", "gap"]));
    let time = || proptest::option::of((0..650_u64).prop_map(|second| micros(at(second)).unwrap()));
    (tool, agent, decision, reason, kind, time(), time()).prop_map(
        |(tool, agent, decision, reason, kind, since, until)| Filter {
            tool: tool.map(|tool| ToolFilter::new(ToolPattern::parse(tool).unwrap())),
            agent: agent.map(str::to_owned),
            decision,
            reason: reason.map(str::to_owned),
            kind: kind.map(str::to_owned),
            since,
            until,
            id: None,
        },
    )
}

#[test]
fn an_index_finds_what_a_scan_finds() {
    let set = Set::open(set_of_logs()).unwrap();
    let (index, _) = fill(&set);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&filters(), |filter| {
        prop_assert_eq!(places(&set, Some(&index), &filter), places(&set, None, &filter));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn an_index_follows_a_log_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 10);
    let (index, notes) = fill(&set);
    assert_eq!(notes, Vec::<String>::new());
    let before = places(&set, Some(&index), &Filter::default());
    drop(index);

    write(&directory, "main", 10..300);
    let set = Set::open(&directory).unwrap();
    let stale = Index::look(&set).unwrap().unwrap();
    let status = stale.status(&set).unwrap();
    assert_eq!(status.len(), 1);
    assert!(status[0].lag >= 290, "{status:?}");
    drop(stale);

    let (index, notes) = fill(&set);
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(index.status(&set).unwrap()[0].lag, 0);
    let after = places(&set, Some(&index), &Filter::default());
    assert_eq!(after, places(&set, None, &Filter::default()));
    assert!(after.len() > before.len() && after.starts_with(&before));
    assert_eq!(index.compare(&set, &mut |_| {}).unwrap(), []);
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_an_index() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 3);
    let (_index, _) = fill(&set);
    let place = directory.join(INDEX_DIRECTORY);
    assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for file in place.read_dir().unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

/// Attack: the index is made to point elsewhere, so that a command writes or removes another's files.
#[cfg(unix)]
#[test]
fn what_is_not_an_index_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 3);
    let victim = folder.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let place = directory.join(INDEX_DIRECTORY);

    std::os::unix::fs::symlink(&victim, &place).unwrap();
    for refused in [Index::fill(&set, &mut |_| {}, &mut Vec::new()).err(), Index::remove(&set).err()] {
        assert!(matches!(refused, Some(IndexError::Foreign { .. })), "{refused:?}");
    }
    assert_eq!(victim.read_dir().unwrap().count(), 0);
    std::fs::remove_file(&place).unwrap();

    let other = victim.join("other.sqlite");
    std::fs::write(&other, "x").unwrap();
    drop(fill(&set));
    std::fs::remove_file(place.join(INDEX_FILE)).unwrap();
    std::os::unix::fs::symlink(&other, place.join(INDEX_FILE)).unwrap();
    for refused in [Index::fill(&set, &mut |_| {}, &mut Vec::new()).err(), Index::remove(&set).err()] {
        assert!(matches!(refused, Some(IndexError::Foreign { .. })), "{refused:?}");
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"x");
}

#[test]
fn a_damaged_or_foreign_database_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 20);
    drop(fill(&set));
    let file = directory.join(INDEX_DIRECTORY).join(INDEX_FILE);
    let meddlers: [(&str, &dyn Fn()); 4] = [
        ("not a database", &|| std::fs::write(&file, vec![0x5a; 8192]).unwrap()),
        ("cut", &|| {
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..5000]).unwrap();
        }),
        ("another version", &|| database(&directory).pragma_update(None, "user_version", 99).unwrap()),
        ("a trigger", &|| {
            let trigger = "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END";
            database(&directory).execute_batch(trigger).unwrap();
        }),
    ];
    for (what, meddle) in meddlers {
        meddle();
        let (index, notes) = fill(&set);
        assert_eq!(notes.len(), 1, "{what}: {notes:?}");
        assert_eq!(index.compare(&set, &mut |_| {}).unwrap(), [], "{what}");
    }
}

#[test]
fn the_index_of_another_log_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 20);
    drop(fill(&set));
    for meddled in [
        "UPDATE logs SET leaf = zeroblob(32)",
        "UPDATE logs SET origin = 'elsewhere/main/1'",
        "UPDATE logs SET seen = 1000, next = 1001",
    ] {
        database(&directory).execute_batch(meddled).unwrap();
        let (index, notes) = fill(&set);
        assert_eq!(notes.len(), 1, "{meddled}: {notes:?}");
        assert_eq!(index.compare(&set, &mut |_| {}).unwrap(), [], "{meddled}");
    }
}

/// Attack: somebody edits the index, so that a query shows another story than the log.
#[test]
fn a_row_that_says_something_else_than_the_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 20);
    drop(fill(&set));
    for meddled in [
        "UPDATE entries SET tool = 'harmless' WHERE idx = 7",
        "UPDATE entries SET leaf = zeroblob(32) WHERE idx = 7",
        "DELETE FROM entries WHERE idx = 7",
        "UPDATE entries SET idx = 700 WHERE idx = 7",
    ] {
        database(&directory).execute_batch(meddled).unwrap();
        let index = Index::look(&set).unwrap().unwrap();
        let differences = index.compare(&set, &mut |_| {}).unwrap();
        assert_eq!(differences.first().map(|difference| difference.index), Some(7), "{meddled}: {differences:?}");
        drop(index);
        assert!(Index::remove(&set).unwrap());
        let (index, _) = fill(&set);
        assert_eq!(index.compare(&set, &mut |_| {}).unwrap(), []);
    }
}

/// Attack: rows are taken out of the index, so that a query finds nothing where the log has something. It is noticed
/// without reading the logs.
#[test]
fn a_row_that_is_missing_is_noticed_by_the_next_query() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 20);
    let whole = fill(&set).0.status(&set).unwrap().remove(0);
    assert_eq!((whole.indexed, whole.lag), (whole.next, 0));
    for (meddled, left) in [
        ("DELETE FROM entries WHERE idx = 7", whole.next - 1),
        ("DELETE FROM entries WHERE idx = 0", whole.next - 1),
        ("DELETE FROM entries WHERE idx >= 15", 15),
        ("DELETE FROM entries", 0),
    ] {
        database(&directory).execute_batch(meddled).unwrap();
        let stale = Index::look(&set).unwrap().unwrap().status(&set).unwrap().remove(0);
        assert_eq!((stale.indexed, stale.next), (left, whole.next), "{meddled}");
        let (index, notes) = fill(&set);
        assert_eq!(notes.len(), 1, "{meddled}: {notes:?}");
        assert!(notes[0].contains(&format!("had {left} of {} entries", whole.next)), "{meddled}: {notes:?}");
        assert_eq!(index.status(&set).unwrap(), std::slice::from_ref(&whole), "{meddled}");
        assert_eq!(places(&set, Some(&index), &Filter::default()), places(&set, None, &Filter::default()));
    }
}

/// `show ID` reads a row of the index, and not all of them.
#[test]
fn a_record_is_found_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 20);
    let (index, _) = fill(&set);
    let id: String =
        database(&directory).query_row("SELECT id FROM entries WHERE idx = 9", [], |row| row.get(0)).unwrap();
    let filter = Filter { id: Some(id), ..Filter::default() };
    assert_eq!(places(&set, Some(&index), &filter), [(0, 9)]);
    drop(index);
    database(&directory).execute_batch("DROP INDEX by_id").unwrap();
    let index = Index::look(&set);
    assert!(matches!(index, Err(IndexError::Foreign { .. })), "it is part of what an index is");
}

#[test]
fn the_rows_of_a_log_that_is_gone_go_too() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, set) = log_in(&folder, 5);
    write(&directory, "second", 0..5);
    let both = Set::open(&directory).unwrap();
    drop(fill(&both));
    std::fs::remove_dir_all(directory.join("second")).unwrap();
    drop(fill(&set));
    let left: i64 =
        database(&directory).query_row("SELECT count(DISTINCT log) FROM entries", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1);
}

/// What was taken out of the log is not left in the index, nor in free pages of its file.
#[test]
fn what_is_redacted_or_pruned_leaves_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("evidence");
    let log = options("main").create(&directory).unwrap();
    for number in 0..600 {
        append(&log, &call(number));
    }
    let mut secret = DecisionRecord::default();
    secret.target = "secret_tool_name".to_owned();
    append(&log, &Record::Decision(secret));
    log.publish(LIMIT).unwrap();
    log.close();
    drop(log);

    let set = Set::open(&directory).unwrap();
    let (index, _) = fill(&set);
    let tool =
        |name: &str| Filter { tool: Some(ToolFilter::new(ToolPattern::parse(name).unwrap())), ..Filter::default() };
    let found = places(&set, Some(&index), &tool("secret_tool_name"));
    let &[(0, secret)] = found.as_slice() else { panic!("{found:?}") };
    index.settle().unwrap();
    drop(index);
    let holds_secret = || {
        directory.join(INDEX_DIRECTORY).read_dir().unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(16).any(|window| window == b"secret_tool_name")
        })
    };
    assert!(holds_secret(), "or this test cannot fail");

    let log = options("main").open(&directory).unwrap();
    log.redact(secret, "tests", "it is secret").unwrap();
    log.prune(300, "tests", "it is old").unwrap();
    log.publish(LIMIT).unwrap();
    log.close();
    let set = Set::open(&directory).unwrap();
    let (index, notes) = fill(&set);
    assert_eq!(notes, Vec::<String>::new());
    index.settle().unwrap();
    assert_eq!(places(&set, Some(&index), &tool("secret_tool_name")), []);
    assert_eq!(index.absent().unwrap(), (1, 256));
    assert_eq!(index.compare(&set, &mut |_| {}).unwrap(), []);
    assert_eq!(places(&set, Some(&index), &Filter::default()), places(&set, None, &Filter::default()));
    drop(index);
    assert!(!holds_secret());
}

#[test]
fn a_cursor_reads_near_and_far() {
    let set = Set::open(set_of_logs()).unwrap();
    let mut cursor = Cursor::default();
    for (log, index) in [(0, 3), (0, 4), (0, 600), (0, 2), (1, 5), (1, 5), (0, 0)] {
        let entry = cursor.entry(&set, log, index).unwrap();
        assert_eq!(entry, set.logs()[log].entry(index).unwrap(), "{log} {index}");
        assert!(entry.is_some());
    }
    assert_eq!(cursor.entry(&set, 0, 1_000_000).unwrap(), None);
}
