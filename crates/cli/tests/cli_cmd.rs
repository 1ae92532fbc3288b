//! Every command as a person types it, with what it prints and how it ends.
//!
//! The cases are in `tests/cmd`, with a Unix system's words for its errors; `TRYCMD=overwrite` writes what the commands
//! print now. The keys there are for these cases only.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a failed step fails the test")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp_guard::evidence::{DecisionRecord, EvidenceLog, Record};

#[test]
fn commands_print_what_their_cases_say() {
    let cases = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd"));
    make_logs(&cases.join("evidence.in"));
    forbid_others_to_write(cases);
    trycmd::TestCases::new().env("NO_COLOR", "1").env("CAPISCIO_API_KEY", "").case("tests/cmd/*.trycmd");
}

/// Calls of the log: id, second, tool, agent, reason of a denial.
const CALLS: [(&str, u64, &str, &str, Option<&str>); 4] = [
    ("0199c8a0-1f00-7000-8000-000000000001", 0, "read_file", "did:key:z6MkAlice", None),
    ("0199c8a0-1f00-7000-8000-000000000002", 1, "delete_file", "did:key:z6MkBob", Some("trust_insufficient")),
    ("0199c8a0-1f00-7000-8000-000000000003", 2, "delete_file", "", Some("badge_missing")),
    ("0199c8a0-1f00-7000-8000-000000000004", 3, "=cmd\u{202e}", "did:key:z6MkAlice", Some("tool_not_allowed")),
];

/// The logs that the cases of `evidence` are about: one as a guard leaves it, one that was tampered with, one that lost a
/// file, and two more to be changed. They cannot be in the repository, since git keeps no modes.
fn make_logs(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir(folder).unwrap();
    for name in ["evidence", "tampered", "lossy", "kept"] {
        let log = EvidenceLog::options().origin("files.example.com/evidence").create(folder.join(name)).unwrap();
        for (id, second, tool, agent, reason) in CALLS {
            let mut record = DecisionRecord::default();
            record.id = Some(id.parse().unwrap());
            record.at = Some(at(second));
            record.method = "tools/call";
            tool.clone_into(&mut record.target);
            record.agent_did = Some(agent.to_owned());
            record.auth_level = if agent.is_empty() { "ANONYMOUS" } else { "BADGE" };
            record.allow = reason.is_none();
            record.deny_reason = reason;
            let _ = log.append(&mut log.reserve(1).unwrap(), &Record::Decision(record)).unwrap();
        }
        log.publish(Duration::from_secs(30)).unwrap();
        std::fs::write(folder.join(format!("{name}.vkey")), log.verifier_key().unwrap().to_string()).unwrap();
    }
    let entries = |name: &str| folder.join(name).join("main/00000001/tile/entries/000.p/5");
    let mut text = std::fs::read(entries("tampered")).unwrap();
    let place = text.windows(7).position(|window| window == b"z6MkBob").unwrap();
    text.splice(place..place + 7, *b"z6MkEve");
    std::fs::write(entries("tampered"), text).unwrap();
    std::fs::remove_file(entries("lossy")).unwrap();
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_760_000_000 + second)
}

/// A checkout under another umask leaves configurations that their group can write, which are refused.
fn forbid_others_to_write(folder: &Path) {
    #[cfg(unix)]
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = entry.path();
        if path.is_dir() {
            forbid_others_to_write(&path);
        } else if let Ok(metadata) = path.metadata() {
            let mode = metadata.permissions().mode() & !0o022;
            let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        }
    }
    let _ = folder;
}
