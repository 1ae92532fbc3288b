use futures_util::FutureExt as _;
use serde_json::json;

use super::*;
use crate::identity::key::SigningKey;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const NOW_TEXT: &str = "2025-10-09T08:53:20Z";
const ISSUER: &str = "https://registry.example.com";

fn badge_status(source: &impl StatusSource, jti: &str, now: UnixSeconds) -> RevocationStatus {
    source.badge_status(ISSUER, jti, now).now_or_never().unwrap()
}

fn agent_status(source: &impl StatusSource, subject: &Did, now: UnixSeconds) -> AgentStatus {
    source.agent_status(ISSUER, subject, now).now_or_never().unwrap()
}

fn after(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

#[test]
fn a_status_list_is_current_for_five_minutes() {
    let list = StatusList::new(NOW);
    let agent = SigningKey::from_seed(&[1; 32]).did();
    list.revoke("revoked");
    for (now, badge, subject) in [
        (NOW, RevocationStatus::Good, AgentStatus::Active),
        (after(300), RevocationStatus::Good, AgentStatus::Active),
        (after(301), RevocationStatus::Unknown, AgentStatus::Unknown),
        (NOW.saturating_sub(CLOCK_SKEW), RevocationStatus::Good, AgentStatus::Active),
        (NOW.saturating_sub(Duration::from_secs(61)), RevocationStatus::Unknown, AgentStatus::Unknown),
    ] {
        assert_eq!(badge_status(&list, "other", now), badge, "{now}");
        assert_eq!(agent_status(&list, &agent, now), subject, "{now}");
        assert_eq!(badge_status(&list, "revoked", now), RevocationStatus::Revoked, "stale or not: {now}");
    }
    list.mark_synced(after(1000));
    assert_eq!(badge_status(&list, "other", after(1000)), RevocationStatus::Good);
}

#[test]
fn a_disabled_subject_can_be_enabled_again() {
    let list = StatusList::new(NOW);
    let did = |text| Did::parse(text).unwrap();
    list.disable(did("did:web:Example.com:agents:a"));
    let agent = did("did:web:example.com:agents:a");
    assert_eq!(agent_status(&list, &agent, after(10_000)), AgentStatus::Disabled);
    list.enable(&agent);
    assert_eq!(agent_status(&list, &agent, NOW), AgentStatus::Active);
}

#[test]
fn a_revocation_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("revocations.json");
    let source = RevocationFile::new(&path);
    let write = |jtis: &[&str], synced_at: &str| {
        let entries: Vec<_> = jtis.iter().map(|jti| json!({"jti": jti, "revokedAt": NOW_TEXT})).collect();
        fs::write(&path, json!({"revocations": entries, "syncedAt": synced_at}).to_string()).unwrap();
    };
    assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Unknown, "no file yet");
    write(&[], NOW_TEXT);
    assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Good);
    write(&["a"], NOW_TEXT);
    assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Revoked);
    assert_eq!(badge_status(&source, "b", NOW), RevocationStatus::Good);
    // Same length, other content.
    write(&["b"], NOW_TEXT);
    assert_eq!(badge_status(&source, "b", NOW), RevocationStatus::Revoked);
    assert_eq!(badge_status(&source, "b", after(301)), RevocationStatus::Revoked, "stale, but listed");
    assert_eq!(badge_status(&source, "c", after(301)), RevocationStatus::Unknown, "stale");
    assert_eq!(agent_status(&source, &SigningKey::from_seed(&[1; 32]).did(), NOW), AgentStatus::Unknown);
}

#[test]
fn a_broken_revocation_file_leaves_the_last_list_until_it_is_stale() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("revocations.json");
    let source = RevocationFile::new(&path);
    fs::write(&path, json!({"revocations": [{"jti": "a"}], "syncedAt": NOW_TEXT}).to_string()).unwrap();
    assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Revoked);
    for broken in ["", "{}", "{\"revocations\":[]", "[1]"] {
        fs::write(&path, broken).unwrap();
        assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Revoked, "{broken}");
        assert_eq!(badge_status(&source, "b", NOW), RevocationStatus::Good, "{broken}");
        assert_eq!(badge_status(&source, "b", after(301)), RevocationStatus::Unknown, "{broken}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(badge_status(&source, "a", NOW), RevocationStatus::Revoked);
}

/// A pipe in the file's place, which nobody writes to, must not hold up every call.
#[cfg(unix)]
#[test]
fn only_a_regular_revocation_file_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), directory.path(), Path::new("/dev/zero")] {
        let (sender, answer) = std::sync::mpsc::channel();
        let source = RevocationFile::new(path);
        std::thread::spawn(move || sender.send(badge_status(&source, "a", NOW)));
        assert_eq!(answer.recv_timeout(Duration::from_secs(10)), Ok(RevocationStatus::Unknown), "{}", path.display());
    }
}

#[test]
fn a_revocation_list_has_one_form() {
    let empty = json!({"revocations": [], "syncedAt": NOW_TEXT}).to_string();
    let large = format!("{}{empty}", " ".repeat(MAX_REVOCATION_FILE_BYTES));
    let cases = [
        ("empty list", empty, true),
        ("last page", json!({"revocations": [], "nextCursor": "", "syncedAt": NOW_TEXT}).to_string(), true),
        ("one page of more", json!({"revocations": [], "nextCursor": "x", "syncedAt": NOW_TEXT}).to_string(), false),
        ("misspelt", json!({"revoked": [{"jti": "x"}], "syncedAt": NOW_TEXT}).to_string(), false),
        ("null of Go", json!({"revocations": null, "syncedAt": NOW_TEXT}).to_string(), true),
        (
            "more members",
            json!({"revocations": [{"jti": "x", "reason": "r"}], "syncedAt": NOW_TEXT, "v": 1}).to_string(),
            true,
        ),
        ("no time", json!({"revocations": []}).to_string(), false),
        ("number as time", json!({"revocations": [], "syncedAt": 1}).to_string(), false),
        ("entry without jti", json!({"revocations": [{"id": "x"}], "syncedAt": NOW_TEXT}).to_string(), false),
        ("entry is text", json!({"revocations": ["x"], "syncedAt": NOW_TEXT}).to_string(), false),
        ("object", json!({"revocations": {"jti": "x"}, "syncedAt": NOW_TEXT}).to_string(), false),
        ("twice", format!(r#"{{"revocations":[{{"jti":"a"}}],"revocations":[],"syncedAt":"{NOW_TEXT}"}}"#), false),
        ("too large", large, false),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (name, text, want) in cases {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let status = badge_status(&RevocationFile::new(&path), "other", NOW);
        assert_eq!(status, if want { RevocationStatus::Good } else { RevocationStatus::Unknown }, "{name}");
    }
}

fn document_of(did: &str) -> String {
    json!({"id": did, "verificationMethod": []}).to_string()
}

#[test]
fn documents_are_read_from_a_file_or_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = ("did:web:a.example", "did:web:b.example");
    fs::write(directory.path().join("a.json"), document_of(a)).unwrap();
    fs::write(directory.path().join("b.json"), document_of(b)).unwrap();
    fs::write(directory.path().join("notes.txt"), "not a document").unwrap();
    let holds = |source: &StaticDidDocuments, did: &str| {
        source.document(&Did::parse(did).unwrap()).now_or_never().unwrap().is_ok()
    };
    let all = StaticDidDocuments::load(directory.path()).unwrap();
    assert!(holds(&all, a) && holds(&all, b) && !holds(&all, "did:web:c.example"));
    let one = StaticDidDocuments::load(directory.path().join("a.json")).unwrap();
    assert!(holds(&one, a) && !holds(&one, b));

    fs::write(directory.path().join("c.json"), document_of(a)).unwrap();
    let twice = StaticDidDocuments::load(directory.path()).unwrap_err();
    assert!(matches!(twice, StaticDidDocumentsError::Surplus { path } if path.ends_with("c.json")));
    fs::write(directory.path().join("c.json"), "{}").unwrap();
    let broken = StaticDidDocuments::load(directory.path()).unwrap_err();
    assert!(matches!(broken, StaticDidDocumentsError::Document { source: None, .. }));
    let missing = StaticDidDocuments::load(directory.path().join("d.json")).unwrap_err();
    assert!(matches!(missing, StaticDidDocumentsError::File { .. }));
}
