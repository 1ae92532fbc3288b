//! `tail`, `query`, `stats`, `show`, `index`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::{World, record};

fn tools(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"]["capiscio.target"].as_str().unwrap()).collect()
}

#[test]
fn a_query_gives_the_same_by_index_and_by_scan() {
    let world = World::new(300);
    let queries: [&[&str]; 7] = [
        &[],
        &["--decision", "deny"],
        &["--tool", "read_*", "--kind", "decision"],
        &["--agent", "did:key:z6Mk3", "--limit", "7"],
        &["--reason", "trust_insufficient", "--since", "2025-10-09T08:55:00Z"],
        &["--since", "2025-10-09T10:54:00+02:00", "--until", "2025-10-09T08:55:00Z", "--kind", "outcome"],
        &["--tool", "none"],
    ];
    for query in queries {
        let by_index = world.lines(&[&["evidence", "query", "evidence"], query].concat());
        let by_scan = world.lines(&[&["evidence", "query", "evidence", "--no-index"], query].concat());
        assert_eq!(by_index, by_scan, "{query:?}");
    }
    assert!(world.path("evidence/.index/evidence.sqlite").is_file());
    let denied = world.lines(&["evidence", "query", "evidence", "--decision", "deny", "--limit", "3"]);
    assert_eq!(tools(&denied), ["write_file", "read_file", "write_file"]);
    assert_eq!(denied[2]["event"]["timestamp"], "2025-10-09T08:58:17.000000000Z");
    let nothing = world.lines(&["evidence", "query", "evidence", "--tool", "none"]);
    assert_eq!(nothing, Vec::<Value>::new());
}

#[test]
fn a_query_follows_the_log_and_survives_its_index() {
    let world = World::new(5);
    let query = ["evidence", "query", "evidence", "--kind", "decision"];
    assert_eq!(world.lines(&query).len(), 5);
    world.write(5..8);
    assert_eq!(world.lines(&query).len(), 8);

    std::fs::write(world.path("evidence/.index/evidence.sqlite"), "garbage").unwrap();
    let output = world.run(&query);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("made anew"), "{output:?}");
    assert_eq!(world.lines(&query).len(), 8);

    // where there can be no index, the log is read
    world.ok(&["evidence", "index", "evidence", "--drop"]);
    assert!(!world.path("evidence/.index").exists());
    std::fs::write(world.path("evidence/.index"), "").unwrap();
    let output = world.run(&query);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("reading the logs instead"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 8);
}

/// Attack: somebody edits the index, so that a query hides what happened.
#[test]
fn a_query_never_prints_what_only_the_index_says() {
    let world = World::new(9);
    let query = ["evidence", "query", "evidence", "--tool", "harmless"];
    world.ok(&query);
    let place = world.path("evidence/.index/evidence.sqlite");
    let edit = rusqlite::Connection::open(&place).unwrap();
    edit.execute("UPDATE entries SET tool = 'harmless'", []).unwrap();
    drop(edit);
    let output = world.run(&query);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("it was removed"), "{output:?}");
    assert!(!place.exists());
}

#[test]
fn an_index_is_shown_compared_and_dropped() {
    let world = World::new(5);
    let index = ["evidence", "index", "evidence"];
    assert_eq!(world.json(&[&index[..], &["--status"]].concat())["index"], Value::Null);
    let made = world.json(&index);
    assert_eq!(made["logs"][0]["log"], "main/00000001");
    assert_eq!(made["logs"][0]["lag"], 0);
    world.write(5..8);
    let status = world.json(&[&index[..], &["--status"]].concat());
    assert!(status["logs"][0]["lag"].as_u64().unwrap() >= 5, "{status}");
    world.ok(&[&index[..], &["--rebuild"]].concat());
    assert_eq!(world.json(&[&index[..], &["--verify"]].concat())["ok"], true);
    assert_eq!(world.json(&[&index[..], &["--drop"]].concat())["dropped"], true);
    world.fails(5, &[&index[..], &["--verify"]].concat());
    world.fails(3, &[&index[..], &["--drop", "--verify"]].concat());
}

#[test]
fn stats_count_what_is_there() {
    let world = World::new(30);
    let by_index = world.json(&["evidence", "stats", "evidence"]);
    assert_eq!(by_index["decisions"], serde_json::json!({"ALLOW": 20, "DENY": 10}));
    assert_eq!(by_index["reasons"], serde_json::json!({"trust_insufficient": 10}));
    assert_eq!(by_index["tools"], serde_json::json!({"read_file": 15, "write_file": 15}));
    assert_eq!(by_index["kinds"]["outcome"], 20);
    assert_eq!(by_index["redacted"], 0);
    assert!(by_index["bytes"].as_u64().unwrap() > 10_000);
    let mut by_scan = world.json(&["evidence", "stats", "evidence", "--no-index"]);
    assert_eq!(by_scan["index_lag"], 0);
    for member in ["index_lag", "bytes"] {
        by_scan[member] = by_index[member].clone();
    }
    assert_eq!(by_index, by_scan);
    let top = world.json(&["evidence", "stats", "evidence", "--top", "2", "--until", "2025-10-09T08:53:30Z"]);
    assert_eq!(top["agents"], serde_json::json!({"did:key:z6Mk0": 2, "did:key:z6Mk1": 2}));
    assert_eq!(top["agents_others"], 6);
}

#[test]
fn an_entry_is_shown_by_index_and_by_id() {
    let world = World::new(4);
    let all = world.lines(&["evidence", "query", "evidence", "--kind", "decision"]);
    let (id, index) = (all[2]["event"]["id"].as_str().unwrap(), all[2]["index"].to_string());
    let shown = world.json(&["evidence", "show", "evidence", id]);
    assert_eq!(shown["entry"]["event"], all[2]["event"]);
    assert_eq!(shown["leaf"], all[2]["leaf"]);
    for same in [
        world.json(&["evidence", "show", "evidence", id, "--no-index"]),
        world.json(&["evidence", "show", "evidence", &index]),
        world.json(&["evidence", "show", "evidence", &index, "--log", "main/00000001"]),
        world.json(&["evidence", "show", "evidence/main/00000001", &index]),
    ] {
        assert_eq!(same, shown);
    }
    let raw = world.run(&["evidence", "show", "evidence", &index, "--raw"]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&raw).unwrap(), shown["entry"]);
    world.fails(5, &["evidence", "show", "evidence", "100000"]);
    world.fails(5, &["evidence", "show", "evidence", "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1"]);
    world.fails(5, &["evidence", "show", "evidence", "1", "--log", "other"]);
    world.fails(3, &["evidence", "show", "evidence", "minus one"]);
    world.fails(4, &["evidence", "show", "nowhere", "1"]);
}

/// Attack: a caller names a tool so that a terminal shows another line, or another colour.
#[test]
fn what_callers_wrote_is_escaped() {
    let world = World::new(1);
    let log = world.open();
    let mut place = log.reserve_blocking(1).unwrap();
    let mut decision = rmcp_guard::evidence::DecisionRecord::default();
    decision.target = "a\n\u{1b}[2JALLOW \u{202e}x".to_owned();
    let _ = log.append(&mut place, &rmcp_guard::evidence::Record::Decision(decision)).unwrap();
    log.publish(std::time::Duration::from_secs(30)).unwrap();
    drop(log);
    let commands: [&[&str]; 5] = [
        &["evidence", "tail", "evidence"],
        &["evidence", "--json", "tail", "evidence"],
        &["evidence", "query", "evidence"],
        &["evidence", "stats", "evidence"],
        &["evidence", "stats", "evidence", "--json"],
    ];
    for command in commands {
        let text = world.ok(command);
        assert!(text.contains("2JALLOW"), "{command:?}: {text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains("\n\u{1b}"), "{command:?}");
    }
}

#[test]
fn a_tail_shows_the_end_and_follows() {
    let world = World::new(600);
    let last = world.lines(&["evidence", "tail", "evidence", "-n", "4"]);
    assert_eq!(last.len(), 4);
    let index = |line: &Value| line["index"].as_u64().unwrap();
    assert!(last.windows(2).all(|pair| index(&pair[0]) + 1 == index(&pair[1])), "{last:?}");
    assert_eq!(world.lines(&["evidence", "tail", "evidence", "-n", "0"]).len(), 0);

    // a server writes while it is followed
    let log = world.open();
    let mut tail = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"))
        .args(["--json", "evidence", "tail", "-n", "1", "-f"])
        .arg(world.path("evidence"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    record(&log, 601);
    let next: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next["event"]["capiscio.target"], "write_file");
    assert_eq!(index(&next), index(&first) + 1);
    tail.kill().unwrap();
    tail.wait().unwrap();
}
