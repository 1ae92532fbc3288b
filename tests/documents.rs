//! What the documents say about the repository, checked against it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every file that the README and the pages beside it point to is there.
#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/ARCHITECTURE.md",
        "docs/DESIGN.md",
        "docs/EVIDENCE.md",
        "docs/INTEROP.md",
        "docs/MIGRATING.md",
        "examples/client/README.md",
        "examples/filesystem-server/README.md",
    ];
    for page in pages {
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
