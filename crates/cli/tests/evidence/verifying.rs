//! `verify`, `prove`, `verify-proof`, `consistency`, `fsck`, `key`, `keygen`, `witness`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rmcp_guard::evidence::note::{SignatureType, VerifierKey};
use serde_json::Value;

use crate::world::{World, files};

fn kinds(report: &Value) -> Vec<&str> {
    report["logs"][0]["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// The files of the public part of the log, which an auditor has.
fn public(world: &World) -> Vec<PathBuf> {
    files(&world.log().join("tile"))
}

#[test]
fn an_intact_log_verifies() {
    let world = World::new(600);
    let report = world.verify(0, &[]);
    assert_eq!(report["verdict"], "intact");
    let log = &report["logs"][0];
    assert_eq!(log["origin"], "log.example/evidence/main/1");
    assert_eq!(log["size"], log["entries_checked"]);
    assert!(log["size"].as_u64().unwrap() > 1000);
    assert_eq!(kinds(&report), Vec::<&str>::new());
    let text = world.ok(&["evidence", "verify", "evidence", "--key-file", "log.vkey"]);
    assert!(text.ends_with("\nintact\n"), "{text}");

    let vkey = std::fs::read_to_string(world.path("log.vkey")).unwrap();
    world.ok(&["evidence", "verify", "evidence/main/00000001", "--key", vkey.trim()]);
    world.ok(&["evidence", "verify", "evidence", "--key", vkey.trim(), "--range", "17..400"]);
}

/// Each kind of change ends with 1, a missing file with 2, and neither is taken for the other.
#[test]
fn a_tampered_log_ends_with_1_and_a_missing_tile_with_2() {
    let world = World::new(600);
    for file in public(&world) {
        let bytes = std::fs::read(&file).unwrap();
        let mut altered = bytes.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        std::fs::write(&file, &altered).unwrap();
        let report = world.verify(1, &[]);
        assert_eq!(report["verdict"], "tampered", "{file:?}");
        let named = report["logs"][0]["findings"].to_string();
        assert!(named.contains("path") && !kinds(&report).is_empty(), "{file:?}: {named}");

        std::fs::remove_file(&file).unwrap();
        let report = world.verify(2, &[]);
        assert_eq!(report["verdict"], "incomplete", "{file:?}");
        assert!(kinds(&report).contains(&"missing"), "{file:?}: {report}");
        std::fs::write(&file, &bytes).unwrap();
    }
    world.verify(0, &[]);
    std::fs::remove_file(world.log().join("checkpoint")).unwrap();
    assert_eq!(kinds(&world.verify(2, &[])), ["no_checkpoint"]);
}

#[test]
fn only_the_keys_that_are_given_are_trusted() {
    let world = World::new(5);
    let other = world.ok(&["evidence", "keygen", "--origin", "log.example/evidence/main/1", "-o", "other.pem"]);
    world.fails(1, &["evidence", "verify", "evidence", "--key", other.trim()]);
    assert!(world.fails(3, &["evidence", "verify", "evidence"]).contains("--key"));
    world.fails(3, &["evidence", "verify", "evidence", "--key", "nonsense"]);
    world.fails(3, &["evidence", "verify", "evidence", "--key", other.trim(), "--quorum", "1"]);
    world.fails(
        3,
        &["evidence", "verify", "evidence", "--key", other.trim(), "--witness", other.trim(), "--quorum", "2"],
    );
    world.fails(3, &["evidence", "verify", "evidence", "--key", other.trim(), "--range", "5..5"]);
    world.fails(4, &["evidence", "verify", "evidence", "--key-file", "nowhere"]);
    world.fails(4, &["evidence", "verify", "nowhere", "--key", other.trim()]);
    std::fs::create_dir(world.path("empty")).unwrap();
    world.fails(2, &["evidence", "verify", "empty", "--key", other.trim()]);
}

/// Attack: the log is begun anew with the server's own key, and every signature in it is right.
#[test]
fn an_older_checkpoint_catches_a_log_that_was_begun_anew() {
    let world = World::new(30);
    std::fs::copy(world.log().join("checkpoint"), world.path("kept")).unwrap();
    world.write(30..40);
    world.verify(0, &["--old-checkpoint", "kept"]);

    std::fs::remove_dir_all(world.path("evidence")).unwrap();
    std::fs::remove_file(world.path("evidence.private/main/high-water")).unwrap();
    world.write(0..50);
    world.verify(0, &[]);
    let report = world.verify(1, &["--old-checkpoint", "kept"]);
    assert_eq!(kinds(&report), ["inconsistent"]);
    world.fails(4, &["evidence", "verify", "evidence", "--key-file", "log.vkey", "--old-checkpoint", "log.vkey"]);
}

#[test]
fn a_missing_witness_is_told() {
    let world = World::new(5);
    let own = world.ok(&["evidence", "keygen", "--origin", "witness.example", "-o", "w.pem"]);
    // a log's key is no witness's
    let verify = ["evidence", "verify", "evidence", "--key-file", "log.vkey", "--witness", own.trim()];
    assert!(world.fails(3, &verify).contains("0x04"));
    let own: VerifierKey = own.trim().parse().unwrap();
    let witness = VerifierKey::new(own.name(), SignatureType::CosignatureV1, own.public_key()).unwrap().to_string();
    let report = world.verify(2, &["--witness", &witness]);
    assert_eq!(kinds(&report), ["quorum_not_reached"]);
    let shown = world.json(&["evidence", "witness", "show", "evidence"]);
    assert_eq!(shown["logs"][0]["witnessed"], Value::Null);
}

#[test]
fn an_entry_is_proved_without_the_log() {
    let world = World::new(600);
    world.ok(&["evidence", "prove", "evidence", "700", "-o", "proof"]);
    let entry = world.run(&["evidence", "show", "evidence", "700", "--raw"]).stdout;
    std::fs::write(world.path("entry"), &entry).unwrap();
    let leaf = world.json(&["evidence", "show", "evidence", "700"])["leaf"].as_str().unwrap().to_owned();
    let check = ["evidence", "verify-proof", "proof", "--key-file", "log.vkey"];
    let proved = world.json(&[&check[..], &["--entry", "entry"]].concat());
    assert_eq!((proved["valid"].as_bool(), proved["index"].as_u64()), (Some(true), Some(700)));
    assert_eq!(world.json(&[&check[..], &["--leaf", &leaf]].concat()), proved);

    // the proof of another entry, an entry that was altered, a key that is not the log's
    std::fs::write(world.path("altered"), [&entry[..], b" "].concat()).unwrap();
    world.fails(1, &[&check[..], &["--entry", "altered"]].concat());
    world.ok(&["evidence", "prove", "evidence", "701", "-o", "other"]);
    world.fails(1, &["evidence", "verify-proof", "other", "--key-file", "log.vkey", "--entry", "entry"]);
    let key = world.ok(&["evidence", "keygen", "--origin", "log.example/evidence/main/1", "-o", "other.pem"]);
    world.fails(1, &["evidence", "verify-proof", "proof", "--key", key.trim(), "--entry", "entry"]);
    world.fails(1, &["evidence", "verify-proof", "entry", "--key-file", "log.vkey", "--entry", "entry"]);
    world.fails(3, &check);
    world.fails(4, &[&check[..], &["--entry", "nowhere"]].concat());
    world.fails(5, &["evidence", "prove", "evidence", "100000"]);
    // nothing is overwritten
    world.fails(4, &["evidence", "prove", "evidence", "700", "-o", "proof"]);
}

#[test]
fn a_receipt_is_checked_against_a_proof() {
    let world = World::new(20);
    world.ok(&["evidence", "prove", "evidence", "10", "-o", "proof"]);
    let shown = world.json(&["evidence", "show", "evidence", "10"]);
    let leaf: rmcp_guard::evidence::merkle::Hash = shown["leaf"].as_str().unwrap().parse().unwrap();
    // base64url without padding, as a receipt has it
    let leaf = leaf.to_string().replace('+', "-").replace('/', "_").replace('=', "");
    let receipt = |index: u64| {
        serde_json::json!({ "_meta": { "rmcp-guard/evidence": {
            "origin": "log.example/evidence/main/1",
            "id": shown["entry"]["event"]["id"],
            "index": index,
            "leaf": leaf,
            "durable": true,
        }}})
    };
    let check = ["evidence", "verify-proof", "proof", "--key-file", "log.vkey", "--receipt", "receipt"];
    std::fs::write(world.path("receipt"), receipt(10).to_string()).unwrap();
    assert_eq!(world.json(&check)["index"], 10);
    std::fs::write(world.path("receipt"), receipt(11).to_string()).unwrap();
    world.fails(1, &check);
    std::fs::write(world.path("receipt"), "{}").unwrap();
    world.fails(4, &check);
}

#[test]
fn two_checkpoints_are_compared() {
    let world = World::new(30);
    std::fs::copy(world.log().join("checkpoint"), world.path("old")).unwrap();
    world.write(30..700);
    let now = "evidence/main/00000001/checkpoint";
    let check =
        |old: &str, new: &str| world.run(&["evidence", "consistency", "evidence", old, new, "--key-file", "log.vkey"]);
    assert_eq!(check("old", now).status.code(), Some(0), "{:?}", check("old", now));
    assert_eq!(check(now, "old").status.code(), Some(1));
    assert_eq!(check("old", "log.vkey").status.code(), Some(1));
    assert_eq!(check("nowhere", now).status.code(), Some(4));
}

#[test]
fn keys_are_made_and_shown() {
    let world = World::new(3);
    let made = world.json(&["evidence", "keygen", "--origin", "log.example/x", "-o", "new.pem"]);
    assert!(made["vkey"].as_str().unwrap().starts_with("log.example/x+"), "{made}");
    assert_eq!(world.path("new.pem").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    world.fails(4, &["evidence", "keygen", "--origin", "log.example/x", "-o", "new.pem"]);
    world.fails(3, &["evidence", "keygen", "--origin", "a b", "-o", "other.pem"]);
    assert!(!world.path("other.pem").exists());

    let keys = world.json(&["evidence", "key", "evidence/"]);
    assert_eq!(keys["keys"][0]["log"], "main/00000001");
    assert_eq!(keys["keys"][0]["vkey"], world.open().verifier_key().unwrap().to_string());
    world.fails(4, &["evidence", "key", "evidence", "--instance", "other"]);
    world.fails(4, &["evidence", "key", "evidence", "--private-dir", "nowhere"]);
}

#[test]
fn fsck_finds_what_an_owner_can_lose() {
    let world = World::new(600);
    let check = ["evidence", "fsck", "evidence"];
    let sound = world.json(&check);
    assert_eq!((sound["verdict"].as_str(), sound["ok"].as_bool()), (Some("intact"), Some(true)), "{sound}");
    let failed = |code: i32, name: &str| {
        let output = world.run(&["--json", "evidence", "fsck", "evidence"]);
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let failed: Vec<&Value> =
            report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "failed").collect();
        assert!(failed.iter().any(|check| check["check"] == name), "{name}: {report}");
    };

    let set_mode = |name: &str, mode: u32| {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("evidence.private/main", 0o755);
    failed(4, "modes");
    set_mode("evidence.private/main", 0o700);

    let mark = world.path("evidence.private/main/high-water");
    let kept = std::fs::read(&mark).unwrap();
    std::fs::write(&mark, "x").unwrap();
    failed(1, "mark");
    std::fs::remove_file(&mark).unwrap();
    failed(4, "mark");
    std::fs::write(&mark, kept).unwrap();
    set_mode("evidence.private/main/high-water", 0o600);

    let key = world.path("evidence.private/main/log.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    world.ok(&["evidence", "keygen", "--origin", "x", "-o", "evidence.private/main/log.key"]);
    failed(1, "key");
    std::fs::write(&key, kept).unwrap();

    let tile = public(&world).swap_remove(0);
    let kept = std::fs::read(&tile).unwrap();
    std::fs::remove_file(&tile).unwrap();
    failed(2, "log main/00000001");
    std::fs::write(&tile, kept).unwrap();
    world.ok(&check);
}
