//! What the documents say about the repository, checked against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGES: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/ARCHITECTURE.md",
    "docs/DESIGN.md",
    "docs/EVIDENCE.md",
    "docs/INTEROP.md",
    "docs/MIGRATING.md",
    "docs/PERFORMANCE.md",
    "examples/client/README.md",
    "examples/filesystem-server/README.md",
];

/// Every file that the README and the pages beside it point to is there.
#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in PAGES {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") {
                let link = link.split('#').next().unwrap();
                assert!(path.parent().unwrap().join(link).exists(), "{page}: {link}");
            }
        }
    }
}

/// A package that a page says to run has one program, or says which of them is meant: else cargo runs none.
#[test]
fn what_the_pages_say_to_run_is_one_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut packages = BTreeMap::new();
    for folder in ["crates", "examples", "interop"].into_iter().flat_map(files) {
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        let manifest: toml::Table = manifest.parse().unwrap();
        let programs = usize::from(folder.join("src/main.rs").exists())
            + fs::read_dir(folder.join("src/bin")).map_or(0, Iterator::count);
        let Some(package) = manifest.get("package") else { continue };
        let is_one = programs == 1 || package.get("default-run").is_some();
        packages.insert(package["name"].as_str().unwrap().to_owned(), is_one);
    }
    let mut commands = 0;
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for command in text.split("cargo run ").skip(1).filter_map(|rest| rest.split(['`', '\n']).next()) {
            let words: Vec<_> = command.split(' ').take_while(|word| *word != "--").collect();
            let package =
                words.windows(2).find(|pair| pair[0] == "-p").unwrap_or_else(|| panic!("{page}: {command}"))[1];
            assert!(packages[package] || words.contains(&"--bin"), "{page}: {command}");
            commands += 1;
        }
    }
    assert!(commands > 5, "{commands} commands were found");
}

/// Every direct dependency, of the library and of the programs, is in CONTRIBUTING.md with its reason; none that is gone.
#[test]
fn every_direct_dependency_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contributing = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (_, tables) = contributing.split_once("## Dependencies").unwrap();
    let mut explained = BTreeSet::new();
    for row in tables.lines().filter_map(|line| line.strip_prefix("| ")) {
        let names = row.split(" | ").next().unwrap();
        explained.extend(names.split(", ").map(|name| name.split(' ').next().unwrap().to_owned()));
    }
    for heading in ["crate", "|---|---|---|"] {
        explained.remove(heading);
    }

    let mut used = BTreeSet::new();
    for manifest in [
        "Cargo.toml",
        "crates/bench/Cargo.toml",
        "crates/cli/Cargo.toml",
        "crates/hot-path/Cargo.toml",
        "crates/peers/kit/Cargo.toml",
        "crates/peers/tower/Cargo.toml",
        "examples/client/Cargo.toml",
        "examples/filesystem-server/Cargo.toml",
        "fuzz/Cargo.toml",
        "interop/conformance-client/Cargo.toml",
        "interop/everything-server/Cargo.toml",
    ] {
        let manifest: toml::Table = fs::read_to_string(root.join(manifest)).unwrap().parse().unwrap();
        let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
        let targets = targets.filter_map(|(_, target)| target.as_table());
        for tables in targets.chain([&manifest]) {
            for table in ["dependencies", "dev-dependencies"] {
                used.extend(
                    tables.get(table).and_then(toml::Value::as_table).into_iter().flatten().map(|(n, _)| n.clone()),
                );
            }
        }
    }
    used.remove("rmcp-guard");
    used.remove("filesystem-server");
    assert_eq!(explained, used);
}
