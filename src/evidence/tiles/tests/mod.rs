#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

mod bundles;
mod crashes;
mod paths;
mod pruning;
mod reading;
mod redacting;
mod speed;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::evidence::merkle::{Frontier, HASH_BYTES, Hash, HashReader as _};
use crate::evidence::storage::sim::SimDisk;
use crate::evidence::storage::{FsStorage, Storage};

/// Every entry differs from every other, in length too.
fn entry(index: u64) -> Vec<u8> {
    let mut entry = format!("entry {index} ").into_bytes();
    entry.resize(entry.len() + usize::try_from(index % 23).unwrap(), b'.');
    entry
}

fn storage() -> Arc<dyn Storage> {
    Arc::new(FsStorage)
}

fn open(directory: &Path, size: u64) -> TileWriter {
    TileWriter::open(storage(), directory, size).unwrap()
}

fn push(writer: &mut TileWriter, to: u64) {
    for index in writer.frontier().size()..to {
        let entry = entry(index);
        writer.push(&entry, Hash::of_leaf(&entry)).unwrap();
    }
}

/// A log of `size` entries with its partial tiles.
fn log(size: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = open(directory.path(), 0);
    push(&mut writer, size);
    writer.write_partials().unwrap();
    directory
}

/// Every file below `directory`.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(relative, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(directory, directory, &mut all);
    all
}

fn frontier(size: u64) -> Frontier {
    let mut frontier = Frontier::new();
    (0..size).for_each(|index| frontier.push(Hash::of_leaf(&entry(index))));
    frontier
}

/// The root by tiles: the nodes that a frontier of this size has, read one by one.
fn root(reader: &mut TileReader) -> Result<Hash, TileError> {
    let size = reader.size;
    let (mut peaks, mut start) = (Vec::new(), 0);
    for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
        peaks.push(reader.node(level, start >> level)?);
        start += 1 << level;
    }
    Ok(Frontier::from_peaks(size, peaks).unwrap().root())
}

fn kind_of(error: &TileError) -> &'static str {
    match error {
        TileError::Io { .. } => "io",
        TileError::Missing { .. } => "missing",
        TileError::Pruned { .. } => "pruned",
        TileError::Malformed { .. } => "malformed",
    }
}

fn path_of(error: &TileError) -> &PathBuf {
    match error {
        TileError::Io { path, .. }
        | TileError::Missing { path }
        | TileError::Pruned { path }
        | TileError::Malformed { path } => path,
    }
}

/// Every file on a simulated disk.
fn tiles_on(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    disk.files().into_iter().map(|path| (name(&path), disk.bytes(&path))).collect()
}

/// Whether the long variants are to run.
fn full() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the switch of the long tests")]
    std::env::var("RMCP_GUARD_FULL").is_ok()
}
