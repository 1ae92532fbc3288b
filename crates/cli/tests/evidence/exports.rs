//! `export` in each format, and its manifest.

use std::io::Read as _;

use rmcp_guard::evidence::merkle::Hash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::world::World;

/// The manifest of `out`, whose digests are right.
fn manifest(world: &World, out: &str) -> Value {
    let text = std::fs::read(world.path(out).join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let bytes = std::fs::read(world.path(out).join(file["name"].as_str().unwrap())).unwrap();
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&bytes)), "{file}");
        assert_eq!(file["bytes"], bytes.len());
    }
    manifest
}

#[test]
fn json_lines_are_the_entries_and_name_each_other() {
    let world = World::new(300);
    let before = world.json(&["evidence", "stats", "evidence"])["records"].as_u64().unwrap();
    let done = world.json(&["evidence", "export", "evidence", "--format", "jsonl", "-o", "out", "--by", "tests"]);
    assert_eq!((done["entries"].as_u64(), done["recorded"].as_bool()), (Some(before), Some(true)));
    let manifest = manifest(&world, "out");
    assert_eq!(manifest["files"][0]["name"], "main-00000001.jsonl");
    assert_eq!(manifest["logs"][0]["first"], 0);
    assert!(manifest["logs"][0]["checkpoint"].as_str().unwrap().starts_with("log.example/evidence/main/1\n"));
    let text = std::fs::read_to_string(world.path("out/main-00000001.jsonl")).unwrap();
    let mut prev = Hash::new([0; 32]);
    for (index, line) in text.lines().enumerate() {
        let entry = rmcp_guard::evidence::Entry::parse(line.as_bytes()).unwrap();
        assert_eq!((entry.prev, entry.seq), (prev, index as u64));
        prev = Hash::of_leaf(line.as_bytes());
    }
    // the log tells who took what
    let notice = world.lines(&["evidence", "query", "evidence", "--kind", "notice"]).pop().unwrap();
    assert_eq!(notice["event"]["rmcp_guard.notice"], "exported");
    assert_eq!(notice["event"]["rmcp_guard.notice.by"], "tests");
    assert_eq!(notice["event"]["rmcp_guard.notice.manifest_sha256"], done["manifest_sha256"]);
    world.verify(0, &[]);
    assert!(world.fails(4, &["evidence", "export", "evidence", "--format", "jsonl", "-o", "out"]).contains("exists"));
}

#[test]
fn a_period_is_exported_and_a_running_server_is_no_obstacle() {
    let world = World::new(60);
    let log = world.open();
    let period = ["--since", "2025-10-09T08:53:30Z", "--until", "2025-10-09T08:53:40Z"];
    let output =
        world.run(&[&["evidence", "export", "evidence", "--format", "csv", "-o", "out"][..], &period].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("a server is writing"), "{output:?}");
    drop(log);
    let manifest = manifest(&world, "out");
    assert_eq!(manifest["since"], "2025-10-09T08:53:30.000000Z");
    let table = std::fs::read_to_string(world.path("out/records.csv")).unwrap();
    let rows = table.lines().count() as u64;
    assert_eq!(Some(rows - 1), manifest["logs"][0]["entries"].as_u64());
    assert!(table.starts_with("\"log\",\"index\",\"timestamp\""), "{table}");
    assert!(table.lines().skip(1).all(|row| row.contains("\"2025-10-09T08:53:3")), "{table}");
}

/// Attack: a caller names a tool so that the auditor's spreadsheet runs it.
#[test]
fn a_tool_name_is_no_formula() {
    let world = World::new(1);
    let log = world.open();
    let mut place = log.reserve_blocking(1).unwrap();
    let mut decision = rmcp_guard::evidence::DecisionRecord::default();
    decision.target = "=HYPERLINK(\"http://evil.example\")".to_owned();
    let _ = log.append(&mut place, &rmcp_guard::evidence::Record::Decision(decision)).unwrap();
    log.publish(std::time::Duration::from_secs(30)).unwrap();
    drop(log);
    world.ok(&["evidence", "export", "evidence", "--format", "csv", "-o", "out", "--no-record"]);
    let mut table = String::new();
    std::fs::File::open(world.path("out/records.csv")).unwrap().read_to_string(&mut table).unwrap();
    assert!(table.contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""), "{table}");
}

#[test]
fn exported_tiles_verify_by_themselves() {
    let world = World::new(700);
    world.ok(&["evidence", "export", "evidence", "--format", "tiles", "-o", "out"]);
    let manifest = manifest(&world, "out");
    assert!(manifest["files"].as_array().unwrap().len() > 5);
    let report = world.json(&["evidence", "verify", "out/main/00000001", "--key-file", "log.vkey"]);
    assert_eq!(report["verdict"], "intact");
    assert_eq!(report["logs"][0]["size"], manifest["logs"][0]["entries"]);
    assert!(!world.path("out/main/00000001/.state").exists());
}

/// Attack: whoever can write to the log's directory has the auditor's export hold a file of the auditor's own, or never
/// end.
#[test]
fn an_export_follows_no_links_and_waits_for_nobody() {
    let world = World::new(5);
    std::fs::write(world.path("secret"), "the auditor's own").unwrap();
    let fifo = |path: &std::path::Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for (place, name) in ["checkpoint.witnessed", "log.json", "pruned"].into_iter().enumerate() {
        let file = world.log().join(name);
        let kept = std::fs::read(&file).ok();
        let _ = std::fs::remove_file(&file);
        for what in ["link", "fifo", "long"] {
            match what {
                "link" => std::os::unix::fs::symlink(world.path("secret"), &file).unwrap(),
                "fifo" => fifo(&file),
                _ => std::fs::write(&file, vec![b'x'; 1 << 20]).unwrap(),
            }
            let out = format!("out-{place}-{what}");
            let said =
                world.fails(4, &["evidence", "export", "evidence", "--format", "tiles", "-o", &out, "--no-record"]);
            let why = if what == "long" { "is larger than" } else { "is not a regular file" };
            assert!(said.contains(name) && said.contains(why), "{name} {what}: {said}");
            let copied = crate::world::files(&world.path(&out));
            assert!(copied.iter().all(|file| std::fs::read(file).unwrap() != b"the auditor's own"), "{name} {what}");
            std::fs::remove_file(&file).unwrap();
        }
        if let Some(kept) = kept {
            std::fs::write(&file, kept).unwrap();
        }
    }
    world.ok(&["evidence", "export", "evidence", "--format", "tiles", "-o", "out", "--no-record"]);

    // the key that a log names, for a proof without another
    let info = world.log().join("log.json");
    std::fs::remove_file(&info).unwrap();
    fifo(&info);
    let said = world.fails(4, &["evidence", "prove", "evidence", "2", "-o", "proof"]);
    assert!(said.contains("log.json: is not a regular file"), "{said}");
    std::fs::remove_file(&info).unwrap();
    // and what witnesses have signed
    fifo(&world.log().join("checkpoint.witnessed"));
    let said = world.fails(4, &["evidence", "witness", "show", "evidence"]);
    assert!(said.contains("checkpoint.witnessed: is not a regular file"), "{said}");
}
