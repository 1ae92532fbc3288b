//! The import table of docs/ARCHITECTURE.md, checked against the source: which room may use which.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// What one room may import: other rooms of the crate, and the crates that are watched.
struct Room {
    name: &'static str,
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
    /// Files that may use more, with what and why.
    exceptions: &'static [(&'static str, &'static str)],
}

/// Whether `file` stands under `place`, a file or, with a slash at its end, a folder.
fn stands_under(file: &str, place: &str) -> bool {
    if place.ends_with('/') { file.starts_with(place) } else { file == place }
}

const ROOMS: &[Room] = &[
    Room { name: "budget", rooms: &[], crates: &[], exceptions: &[] },
    Room { name: "clock", rooms: &[], crates: &[], exceptions: &[] },
    Room { name: "encoding", rooms: &[], crates: &[], exceptions: &[] },
    Room {
        name: "identity",
        rooms: &["budget", "clock", "encoding"],
        crates: &["ed25519_dalek", "tracing"],
        // what waits and what speaks to the network, behind the feature `registry`
        exceptions: &[
            ("identity/background.rs", "tokio"),
            ("identity/fetch/", "tokio"),
            ("identity/fetch/", "reqwest"),
            ("identity/keeper/", "tokio"),
            ("identity/registry/", "tokio"),
            ("identity/remote/", "tokio"),
        ],
    },
    Room {
        name: "evidence",
        rooms: &["budget", "clock", "encoding"],
        crates: &["tracing"],
        exceptions: &[("evidence/note/", "ed25519_dalek")], // the log's own signatures
    },
    Room { name: "policy", rooms: &["identity"], crates: &[], exceptions: &[] },
    Room {
        name: "enforce",
        rooms: &["policy", "identity", "evidence", "clock", "encoding"],
        crates: &["tracing", "toml"],
        // waits need a timer, behind the feature `rt`; witnesses are asked from time to time
        exceptions: &[("enforce/recorder.rs", "tokio"), ("enforce/witness.rs", "tokio")],
    },
    Room {
        name: "layer",
        rooms: &["enforce", "identity", "policy", "evidence", "clock", "encoding"],
        crates: &[
            "tokio",
            "http",
            "http_body",
            "tower_layer",
            "tower_service",
            "rmcp",
            "pin_project",
            "reqwest",
            "sse_stream",
            "futures_util",
            "tracing",
        ],
        exceptions: &[("layer/tower/stack.rs", "tower")], // names the errors of stock layers
    },
    // re-exports what fuzzing calls
    Room {
        name: "internal",
        rooms: &["identity", "evidence", "policy", "enforce", "layer"],
        crates: &[],
        exceptions: &[],
    },
    Room {
        name: "test_util",
        rooms: &["enforce", "identity", "policy", "evidence", "clock"],
        crates: &[],
        exceptions: &[],
    },
];

/// Crates that only the rooms that list them may name.
const WATCHED: &[&str] = &[
    "tokio",
    "http",
    "http_body",
    "tower",
    "tower_layer",
    "tower_service",
    "rmcp",
    "pin_project",
    "reqwest",
    "sse_stream",
    "futures_util",
    "ed25519_dalek",
    "toml",
    "tracing",
];

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut offences = Vec::new();
    let mut checked = 0;
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
        let name = relative.split('/').next().unwrap().trim_end_matches(".rs");
        if name == "lib" || relative.ends_with("tests.rs") || relative.contains("/tests/") {
            continue;
        }
        let room = ROOMS.iter().find(|room| room.name == name).unwrap_or_else(|| panic!("{relative}: unknown room"));
        checked += 1;
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("//") {
                continue;
            }
            for used in paths_after(line, "crate::") {
                let is_room = ROOMS.iter().any(|room| room.name == used);
                if is_room && used != room.name && !room.rooms.contains(&used) {
                    offences.push(format!("{relative}:{}: crate::{used}", number + 1));
                }
            }
            for krate in WATCHED {
                let excepted =
                    room.exceptions.iter().any(|(place, used)| used == krate && stands_under(&relative, place));
                if names_crate(line, krate) && !room.crates.contains(krate) && !excepted {
                    offences.push(format!("{relative}:{}: {krate}", number + 1));
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} files were found");
    assert!(offences.is_empty(), "imports outside the table:\n{}", offences.join("\n"));
}

/// The scan itself must be able to fail.
#[test]
fn the_scan_sees_paths() {
    assert!(names_crate("use tokio::sync::Mutex;", "tokio"));
    assert!(names_crate("    let x: http::Uri = y;", "http"));
    assert!(!names_crate("use crate::http::X;", "http"));
    assert!(!names_crate("use my_http::X;", "http"));
    assert_eq!(paths_after("use crate::policy::{A};", "crate::").collect::<Vec<_>>(), ["policy"]);
    assert_eq!(paths_after("use crate::{policy, layer::X};", "crate::").collect::<Vec<_>>(), ["policy", "layer"]);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// First segments behind every `prefix` in the line, also of a brace list.
fn paths_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(prefix).skip(1).flat_map(|rest| {
        let list = rest.strip_prefix('{');
        let items: Vec<&str> = list.map_or_else(|| vec![rest], |list| list.split(',').collect());
        items.into_iter().filter_map(|item| item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next())
    })
}

fn names_crate(line: &str, krate: &str) -> bool {
    let path = format!("{krate}::");
    let mut parts = line.split(path.as_str()).peekable();
    while let Some(before) = parts.next() {
        let part_of_a_path = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if parts.peek().is_some() && !part_of_a_path {
            return true;
        }
    }
    false
}
