//! What a search finds, and where it ends.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::{Found, Limit, MAX_PATTERN_BYTES, MAX_SEARCH_FILE_BYTES, Query, search};
use crate::error::FsErrorKind;
use crate::path::RelPath;
use crate::root::{MAX_DEPTH, Root};

/// Name, start, glob, text and the paths wanted.
type Case = (&'static str, &'static str, Option<&'static str>, Option<&'static str>, &'static [&'static str]);

fn tree() -> (TempDir, Root) {
    let top = TempDir::new().unwrap();
    fs::create_dir_all(top.path().join("src/inner")).unwrap();
    fs::write(top.path().join("readme.md"), "needle here\nnothing\n").unwrap();
    fs::write(top.path().join("src/a.rs"), "fn a() {}\n// needle\n").unwrap();
    fs::write(top.path().join("src/inner/b.rs"), "needle needle\n").unwrap();
    fs::write(top.path().join("src/binary"), b"\0needle\n").unwrap();
    symlink("..", top.path().join("src/loop")).unwrap();
    symlink("/etc", top.path().join("src/etc")).unwrap();
    let root = Root::open(top.path()).unwrap();
    (top, root)
}

fn run(root: &Root, start: &str, glob: Option<&str>, text: Option<&str>, max: usize) -> Found {
    let query = Query::new(glob, text.map(str::to_owned), max).unwrap();
    search(root, &RelPath::parse(start).unwrap(), &query, &AtomicBool::new(false)).unwrap()
}

fn paths(found: &Found) -> Vec<&str> {
    found.matches.iter().map(|found| found.path.as_str()).collect()
}

#[test]
fn names_and_texts_are_found_and_links_are_not_followed() {
    let (_top, root) = tree();
    let table: [Case; 8] = [
        ("a name", ".", Some("*.rs"), None, &["src/a.rs", "src/inner/b.rs"]),
        ("a path", ".", Some("src/*.rs"), None, &["src/a.rs"]),
        ("a deep path", ".", Some("src/**/*.rs"), None, &["src/a.rs", "src/inner/b.rs"]),
        ("a path below the start", "src", Some("inner/*"), None, &["src/inner/b.rs"]),
        ("a directory", ".", Some("inner"), None, &["src/inner"]),
        ("a text, not in binary files", ".", None, Some("needle"), &["readme.md", "src/a.rs", "src/inner/b.rs"]),
        ("both", "src", Some("*.rs"), Some("fn "), &["src/a.rs"]),
        ("nothing below a link", ".", Some("passwd"), None, &[]),
    ];
    for (name, start, glob, text, want) in table {
        let found = run(&root, start, glob, text, 100);
        assert_eq!((paths(&found).as_slice(), found.stopped_by), (want, None), "{name}");
    }
    let found = run(&root, ".", None, Some("// needle"), 100);
    assert_eq!((found.matches[0].line, found.matches[0].text.as_deref()), (Some(2), Some("// needle")));
}

#[test]
fn every_limit_ends_the_search_and_is_named() {
    let (top, root) = tree();
    let found = run(&root, ".", None, Some("needle"), 2);
    assert_eq!((found.matches.len(), found.stopped_by), (2, Some(Limit::Results)));

    let query = Query::new(Some("*"), None, 100).unwrap();
    let stopped = search(&root, &RelPath::parse(".").unwrap(), &query, &AtomicBool::new(true)).unwrap();
    assert_eq!((stopped.matches.len(), stopped.stopped_by), (0, Some(Limit::Cancelled)));

    let deep = vec!["d"; MAX_DEPTH + 3].join("/");
    fs::create_dir_all(top.path().join(&deep)).unwrap();
    let found = run(&root, "d", Some("d"), None, 1000);
    assert_eq!((found.matches.len(), found.skipped), (MAX_DEPTH, 1));

    fs::File::create(top.path().join("large")).unwrap().set_len(MAX_SEARCH_FILE_BYTES + 1).unwrap();
    assert_eq!(run(&root, ".", Some("large"), Some("x"), 10).skipped, 1 + 1);
}

#[test]
fn a_long_line_is_cut() {
    let (top, root) = tree();
    fs::write(top.path().join("long"), "ä".repeat(10_000)).unwrap();
    let found = run(&root, ".", Some("long"), Some("ää"), 10);
    assert_eq!(found.matches[0].text.as_ref().unwrap().chars().count(), 200);
}

#[test]
fn queries_are_checked_first() {
    let long = "x".repeat(MAX_PATTERN_BYTES + 1);
    let table = [
        ("nothing", None, None, FsErrorKind::Invalid("a search needs a `glob`, a `text` or both")),
        ("empty text", None, Some(""), FsErrorKind::Invalid("`text` is empty")),
        ("bad glob", Some("[a"), None, FsErrorKind::Invalid("`glob` is not a valid glob")),
        ("long glob", Some(&*long), None, FsErrorKind::TooLarge("`glob` and `text` are at most 512 bytes long")),
        ("long text", None, Some(&*long), FsErrorKind::TooLarge("`glob` and `text` are at most 512 bytes long")),
    ];
    for (name, glob, text, want) in table {
        assert_eq!(Query::new(glob, text.map(str::to_owned), 10).unwrap_err().kind(), want, "{name}");
    }
}
