//! A badge that is renewed in its file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filesystem_server::BadgeFile;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::self_sign;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::BadgeSource as _;
use tempfile::TempDir;

fn badge(key: &SigningKey) -> String {
    self_sign(key, &[], Duration::from_secs(300), SystemClock.now_unix()).unwrap()
}

/// As a renewal does it: the new badge takes the file's place in one step.
fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

async fn becomes(source: &BadgeFile, want: &str) -> bool {
    let changed = async {
        while source.current().as_deref() != Some(want) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), changed).await.is_ok()
}

#[tokio::test]
async fn a_renewed_badge_is_taken_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("badge.jws");
    let (ours, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let first = badge(&ours);
    fs::write(&file, format!("{first}\n")).unwrap();
    let (source, watch) = BadgeFile::open(&file).unwrap();
    assert_eq!(source.current().as_deref(), Some(&*first));
    let story = async {
        replace(&file, "no badge at all");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(source.current(), Some(Arc::from(&*first)), "what is no badge is ignored");
        replace(&file, &badge(&other));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(source.current(), Some(Arc::from(&*first)), "another's badge is ignored");
        fs::remove_file(&file).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(source.current(), Some(Arc::from(&*first)), "a missing file is ignored");
        let renewed = badge(&ours);
        replace(&file, &renewed);
        assert!(becomes(&source, &renewed).await, "the renewed badge was not taken");
        drop(source);
    };
    let ((), ()) = tokio::join!(story, watch);
}

#[test]
fn a_file_without_a_badge_does_not_open() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("badge.jws");
    assert!(BadgeFile::open(&file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    for (content, kind) in [
        ("", std::io::ErrorKind::InvalidData),
        ("a.b.c", std::io::ErrorKind::InvalidData),
        (&*"x".repeat(1024 * 1024), std::io::ErrorKind::FileTooLarge),
    ] {
        fs::write(&file, content).unwrap();
        assert!(BadgeFile::open(&file).is_err_and(|error| error.kind() == kind));
    }
}
