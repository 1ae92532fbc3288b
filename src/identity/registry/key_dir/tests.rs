use std::sync::{Arc, Barrier};
use std::thread;

use super::*;

fn kind<T>(result: Result<T, KeyDirectoryError>) -> KeyDirectoryErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
#[cfg(unix)]
fn files_are_the_owners_alone_and_nothing_is_left_beside_them() {
    let home = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(home.path().join("mcp-servers").join("s-1"));
    let (key, source) = directory.load_or_generate().unwrap();
    assert_eq!(source, KeySource::Generated);
    directory.set_did(&key.did()).unwrap();
    directory.set_org_id("org-1").unwrap();
    directory.set_resolved_server_id("s-2").unwrap();
    assert_eq!(mode(directory.path()), 0o700);
    assert_eq!(mode(directory.path().parent().unwrap()), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, [RESOLVED_ID_FILE, DID_FILE, ORG_ID_FILE, PRIVATE_KEY_FILE, PUBLIC_KEY_FILE]);

    let (again, source) = directory.load_or_generate().unwrap();
    assert_eq!((again.did(), source), (key.did(), KeySource::File));
    let public = fs::read_to_string(directory.path().join(PUBLIC_KEY_FILE)).unwrap();
    assert_eq!(public, key.public_key().to_spki_pem().unwrap());
    assert_eq!(directory.did(), Some(key.did()));
    assert_eq!(
        (directory.org_id().unwrap().as_str(), directory.resolved_server_id().unwrap().as_str()),
        ("org-1", "s-2")
    );
}

#[test]
#[cfg(unix)]
fn a_key_that_others_may_read_or_replace_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(home.path().join("keys"));
    directory.load_or_generate().unwrap();
    let path = directory.private_key_path();
    for (file_mode, directory_mode, refused) in [
        (0o600, 0o700, false),
        (0o400, 0o755, false),
        (0o640, 0o700, true),
        (0o604, 0o700, true),
        (0o602, 0o700, true),
        (0o600, 0o720, true),
        (0o600, 0o702, true),
    ] {
        set_mode(&path, file_mode);
        set_mode(directory.path(), directory_mode);
        let result = directory.load();
        assert_eq!(result.is_err(), refused, "{file_mode:o} in {directory_mode:o}");
        if let Err(error) = result {
            assert_eq!(error.kind(), KeyDirectoryErrorKind::Permissions);
            assert!(error.advice().contains("chmod"));
        }
        // what stands there is never replaced by a new key
        assert_eq!(directory.load_or_generate().is_err(), refused, "{file_mode:o} in {directory_mode:o}");
    }
}

#[test]
#[cfg(unix)]
fn no_key_is_made_where_others_may_replace_it() {
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o777);
    let directory = KeyDirectory::new(home.path());
    assert_eq!(kind(directory.load_or_generate()), KeyDirectoryErrorKind::Permissions);
    assert!(!directory.private_key_path().exists());
}

#[test]
fn what_is_no_key_is_refused_and_kept() {
    let home = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(home.path().join("keys"));
    directory.load_or_generate().unwrap();
    let path = directory.private_key_path();
    for bad in
        [b"".as_slice(), b"\xff", b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", &[b'a'; 9000]]
    {
        fs::write(&path, bad).unwrap();
        assert_eq!(kind(directory.load_or_generate()), KeyDirectoryErrorKind::NotAKey);
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    let shown = format!("{} {0:?}", directory.load().unwrap_err());
    assert!(!shown.contains("aaaa"));
}

#[test]
fn a_name_that_leads_elsewhere_is_no_server_id() {
    for bad in ["", "..", ".", "a/b", "a\\b", "a b", "a\0", ".x", &"a".repeat(129)] {
        assert_eq!(kind(KeyDirectory::of_server(Some(bad))), KeyDirectoryErrorKind::Path, "{bad:?}");
    }
    let auto = KeyDirectory::of_server(None).unwrap();
    assert!(auto.path().ends_with(".capiscio/mcp-servers/_auto"));
}

#[test]
fn notes_are_one_short_line() {
    let home = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(home.path());
    for (text, note) in
        [("x\n", Some("x")), (" \n", None), ("", None), ("a b", None), ("a\u{1b}", None), (&"a".repeat(2049), None)]
    {
        fs::write(home.path().join(RESOLVED_ID_FILE), text).unwrap();
        assert_eq!(directory.resolved_server_id().as_deref(), note, "{text:?}");
    }
}

#[test]
fn of_many_that_start_at_once_one_makes_the_key() {
    for _ in 0..20 {
        let home = tempfile::tempdir().unwrap();
        let barrier = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (directory, barrier) = (KeyDirectory::new(home.path().join("keys")), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    directory.load_or_generate().map(|(key, source)| (key.did(), source)).unwrap()
                })
            })
            .collect();
        let made: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(made.iter().filter(|(_, source)| *source == KeySource::Generated).count(), 1);
        assert!(made.iter().all(|(did, _)| *did == made[0].0));
    }
}

#[tokio::test]
async fn the_lock_is_one_holders() {
    let home = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(home.path());
    let held = directory.lock().await.unwrap();
    tokio::time::pause();
    assert_eq!(kind(directory.lock().await), KeyDirectoryErrorKind::Locked);
    drop(held);
    assert!(directory.lock().await.is_ok());
}
