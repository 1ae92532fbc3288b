//! `redact`, `prune`, `shred`: each needs the server stopped, is recorded, and leaves a log that verifies.

use serde_json::Value;

use crate::world::World;

const BY: [&str; 4] = ["--by", "tests", "--why", "a request"];

fn notices(world: &World, name: &str) -> Vec<Value> {
    let notices = world.lines(&["evidence", "query", "evidence", "--kind", "notice"]);
    notices.into_iter().filter(|notice| notice["event"]["rmcp_guard.notice"] == name).collect()
}

#[test]
fn a_redacted_entry_is_gone_and_the_log_verifies() {
    let world = World::new(300);
    world.ok(&["evidence", "query", "evidence"]);
    world.ok(&[&["evidence", "redact", "evidence", "17"][..], &BY].concat());
    let report = world.verify(0, &[]);
    assert_eq!(report["logs"][0]["redacted"], 1);
    assert!(world.fails(2, &["evidence", "show", "evidence", "17"]).contains("redacted"));
    let notices = notices(&world, "entry_redacted");
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0]["event"]["rmcp_guard.notice.index"], "17");
    assert_eq!(notices[0]["event"]["rmcp_guard.notice.by"], "tests");
    assert_eq!(world.json(&["evidence", "stats", "evidence"])["redacted"], 1);
    // the entries beside it can still be proved
    world.ok(&["evidence", "prove", "evidence", "18", "-o", "proof"]);
    let entry = world.run(&["evidence", "show", "evidence", "18", "--raw"]).stdout;
    std::fs::write(world.path("entry"), entry).unwrap();
    world.ok(&["evidence", "verify-proof", "proof", "--entry", "entry", "--key-file", "log.vkey"]);
    world.fails(3, &["evidence", "redact", "evidence", "18"]);
}

#[test]
fn pruned_entries_are_gone_and_the_log_verifies() {
    let world = World::new(600);
    world.ok(&["evidence", "query", "evidence"]);
    world.ok(&[&["evidence", "prune", "evidence", "--before", "2025-10-09T08:57:30Z"][..], &BY].concat());
    let report = world.verify(0, &[]);
    assert_eq!(report["logs"][0]["pruned"], 256);
    assert!(world.fails(2, &["evidence", "show", "evidence", "17"]).contains("pruned"));
    assert_eq!(notices(&world, "entries_pruned").len(), 1);
    assert_eq!(world.json(&["evidence", "stats", "evidence"])["pruned"], 256);
    let by_index = world.lines(&["evidence", "query", "evidence"]);
    assert_eq!(by_index, world.lines(&["evidence", "query", "evidence", "--no-index"]));
    world.ok(&["evidence", "prove", "evidence", "700", "-o", "proof"]);
    world.fails(3, &[&["evidence", "prune", "evidence"][..], &BY].concat());
    world.fails(3, &[&["evidence", "prune", "evidence", "--below", "1", "--before", "-1h"][..], &BY].concat());
}

#[test]
fn a_shredded_key_is_gone() {
    let world = World::new(5);
    let hash =
        world.lines(&["evidence", "query", "evidence", "--kind", "decision"])[0]["event"]["capiscio.tool.params_hash"]
            .clone();
    let kid = hash.as_str().unwrap().split(':').nth(1).unwrap().to_owned();
    let key = world.path(&format!("evidence.private/main/params/{kid}.key"));
    assert!(key.is_file());
    world.ok(&[&["evidence", "shred", "evidence", "--key-id", &kid][..], &BY].concat());
    assert!(!key.exists());
    world.verify(0, &[]);
    // there is another one, under which the same arguments have another hash
    world.write(5..7);
    let hashes = world.lines(&["evidence", "query", "evidence", "--kind", "decision"]);
    assert_ne!(hashes[6]["event"]["capiscio.tool.params_hash"], hash);
}

#[test]
fn a_running_server_is_in_the_way() {
    let world = World::new(5);
    let log = world.open();
    let commands: [&[&str]; 4] = [
        &["evidence", "redact", "evidence", "1", "--by", "x", "--why", "y"],
        &["evidence", "prune", "evidence", "--below", "1", "--by", "x", "--why", "y"],
        &["evidence", "shred", "evidence", "--key-id", "x", "--by", "x", "--why", "y"],
        &["evidence", "fsck", "evidence", "--repair-tiles"],
    ];
    for command in commands {
        let said = world.fails(4, command);
        assert!(said.contains(&format!("`{}", command[1])) && said.contains("needs it stopped"), "{command:?}: {said}");
    }
    // reading and verifying are not
    world.verify(0, &[]);
    world.ok(&["evidence", "tail", "evidence"]);
    world.ok(&["evidence", "query", "evidence"]);
    drop(log);
}

#[test]
fn records_of_the_first_format_are_imported() {
    let world = World::new(1);
    std::fs::create_dir(world.path("old")).unwrap();
    let record = r#"{"event.name":"rmcp_guard.outcome","id":"a","rmcp_guard.kind":"outcome","timestamp":"2026-01-01T00:00:00Z"}"#;
    std::fs::write(world.path("old/records.jsonl"), format!("{record}\n{{\"torn")).unwrap();
    let done = world.json(&["evidence", "import", "old", "new", "--origin", "log.example/imported"]);
    assert_eq!(done["records"], 1);
    assert!(done["vkey"].as_str().unwrap().starts_with("log.example/imported/main/1+"), "{done}");
    let imported = world.lines(&["evidence", "query", "new", "--kind", "outcome"]);
    assert_eq!(imported[0]["event"], serde_json::from_str::<Value>(record).unwrap());
    world.ok(&["evidence", "verify", "new", "--key", done["vkey"].as_str().unwrap()]);

    assert!(world.fails(4, &["evidence", "import", "old", "new"]).contains("already"));
    world.fails(4, &["evidence", "import", "nowhere", "newer"]);
    assert!(!world.path("newer").exists());
    std::fs::write(world.path("old/records.jsonl"), "{}\n").unwrap();
    assert!(world.fails(1, &["evidence", "import", "old", "newer"]).contains("line 1"));
    // and a guard does not begin a log over it
    std::fs::set_permissions(world.path("old"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert!(world.fails(4, &["evidence", "redact", "old", "1", "--by", "x", "--why", "y"]).contains("evidence import"));
}
