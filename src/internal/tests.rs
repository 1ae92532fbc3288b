//! The seeds of `fuzz/`, among them whatever fuzzing has ever broken, through the functions that fuzzing calls.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

#[test]
fn every_seed_obeys_the_law_of_its_target() {
    for (name, target) in TARGETS {
        let mut seeds: Vec<_> =
            fs::read_dir(folder("seeds").join(name)).unwrap().map(|seed| seed.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() > 2, "{name} has seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            // every prefix is an input too, and most break off where a parser does not expect it
            let step = bytes.len().div_ceil(64).max(1);
            for length in (0..bytes.len()).step_by(step) {
                target(&bytes[..length]);
            }
            target(&bytes);
        }
    }
}

/// With all features each program of `fuzz/` has a function here and seeds, and the other way round.
#[cfg(all(feature = "layer", feature = "client", feature = "registry"))]
#[test]
fn programs_seeds_and_functions_are_the_same() {
    use std::collections::BTreeSet;

    let names = |folder: PathBuf| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
    };
    let functions: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(functions.len(), TARGETS.len());
    assert_eq!(names(folder("fuzz_targets")), functions);
    assert_eq!(names(folder("seeds")), functions);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in functions {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is in fuzz/Cargo.toml");
    }
}
