//! A log on disk, and the command line beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp_guard::evidence::{DecisionRecord, EvidenceId, EvidenceLog, OutcomeRecord, Record};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A folder with the log `evidence` and its key in `log.vkey`.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

/// Second `second` of the world, which began on 2025-10-09 at 08:53:20 UTC.
pub(crate) fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_760_000_000 + second)
}

impl World {
    /// With the calls `0..calls`, of which every third was denied.
    pub(crate) fn new(calls: u64) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        world.write(0..calls);
        let vkey = world.ok(&["evidence", "key", "evidence"]);
        std::fs::write(world.path("log.vkey"), vkey).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The directory of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("evidence/main/00000001")
    }

    /// As a server does it.
    pub(crate) fn open(&self) -> EvidenceLog {
        EvidenceLog::options().origin("log.example/evidence").create_or_open(self.path("evidence")).unwrap()
    }

    pub(crate) fn write(&self, calls: std::ops::Range<u64>) {
        let log = self.open();
        for call in calls {
            record(&log, call);
        }
        log.publish(LIMIT).unwrap();
        log.close();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rmcp-guard"))
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What the command prints; it must end well.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command prints as JSON; it must end well.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--json"], arguments].concat())).unwrap()
    }

    /// What the command prints as lines of JSON; it must end well.
    pub(crate) fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.ok(&[&["--json"], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the command says on standard error; it must end with `code`.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The verdict and the findings of `verify`, which must end with `code`.
    pub(crate) fn verify(&self, code: i32, arguments: &[&str]) -> Value {
        let output =
            self.run(&[&["--json", "evidence", "verify", "evidence", "--key-file", "log.vkey"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Records call `call`: denied if it is a multiple of three, else allowed and with an outcome.
pub(crate) fn record(log: &EvidenceLog, call: u64) {
    let mut places = log.reserve_blocking(2).unwrap();
    let id = EvidenceId::generate(at(call));
    let mut decision = DecisionRecord::default();
    decision.id = Some(id);
    decision.at = Some(at(call));
    decision.method = "tools/call";
    if call.is_multiple_of(2) { "read_file" } else { "write_file" }.clone_into(&mut decision.target);
    decision.agent_did = Some(format!("did:key:z6Mk{}", call % 5));
    decision.auth_level = "BADGE";
    decision.allow = !call.is_multiple_of(3);
    decision.deny_reason = (!decision.allow).then_some("trust_insufficient");
    decision.params_hash = Some(log.params_hash(None));
    let allow = decision.allow;
    let target = decision.target.clone();
    let _ = log.append(&mut places, &Record::Decision(decision)).unwrap();
    if allow {
        let own = EvidenceId::generate(at(call));
        let outcome = OutcomeRecord::new(own, id, at(call), target, "ok", Duration::from_micros(250), None);
        let _ = log.append(&mut places, &Record::Outcome(outcome)).unwrap();
    }
}

/// Every regular file below `directory`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
