//! What lies in a log's directory besides what the pass has read.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::entries::Opened;
use super::files::{BundleBuffer, FileError, LogFiles, Tile};
use super::report::{FindingKind, Report};
use crate::encoding::parse_unique_json;
use crate::evidence::merkle::Hash;
use crate::evidence::note::VerifierKey;
use crate::evidence::storage::TEMPORARY_SUFFIX;
use crate::evidence::tiles::{CHECKPOINT_FILE, PRUNED_FILE, TileKind, TilePath, WITNESSED_FILE};

/// What tells about a log; never trusted.
pub(super) const LOG_INFO_FILE: &str = "log.json";
const MAX_LOG_INFO_BYTES: usize = 64 * 1024;

/// Names that a log's directory may have. `.index` is derived from it, `LOCK` of a log without a set.
const NAMES: [&str; 8] =
    [CHECKPOINT_FILE, WITNESSED_FILE, PRUNED_FILE, LOG_INFO_FILE, "tile", ".state", ".index", "LOCK"];

/// Deepest folder below `tile`: a level, six groups of three digits, and one of partial tiles.
const MAX_DEPTH: u8 = 8;

/// Looks at every name of the log, and compares tiles and bundles that the pass had no need of with those it has read.
pub(super) fn check_files(files: &LogFiles, size: u64, report: &mut Report) {
    for entry in names(files.directory()) {
        let name = entry.file_name();
        let known = name.to_str().is_some_and(|name| NAMES.contains(&name) || name.ends_with(TEMPORARY_SUFFIX));
        if !known {
            report.find(FindingKind::UnexpectedFile, None, Some(Path::new(&name)));
        }
    }
    Scan { files, size, report, buffer: BundleBuffer::new(), is_ahead: false }.folder("tile", 0);
}

struct Scan<'a> {
    files: &'a LogFiles,
    size: u64,
    report: &'a mut Report,
    buffer: BundleBuffer,
    is_ahead: bool,
}

fn names(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

impl Scan<'_> {
    fn folder(&mut self, relative: &str, depth: u8) {
        for entry in names(&self.files.directory().join(relative)) {
            let name = entry.file_name();
            let path = name.to_str().map(|name| format!("{relative}/{name}"));
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match path {
                Some(path) if is_folder && depth < MAX_DEPTH => self.folder(&path, depth.saturating_add(1)),
                Some(path) if !is_folder => self.file(&path),
                _ => self.report.find(FindingKind::UnexpectedFile, None, Some(&Path::new(relative).join(name))),
            }
        }
    }

    fn file(&mut self, path: &str) {
        if path.strip_suffix(TEMPORARY_SUFFIX).and_then(TilePath::parse).is_some() {
            // a writer is at work or was interrupted; nobody reads it
            return;
        }
        let Some(tile) = TilePath::parse(path) else {
            self.report.find(FindingKind::UnexpectedFile, None, Some(Path::new(path)));
            return;
        };
        let Some(needed) = TilePath::in_tree(tile.kind, tile.index, self.size) else {
            if !self.is_ahead {
                self.is_ahead = true;
                self.report.find(FindingKind::Ahead, None, Some(Path::new(path)));
            }
            return;
        };
        match tile.kind {
            TileKind::Entries => {
                let redacted = TilePath { kind: TileKind::Redacted, ..needed };
                if self.files.open(Path::new(&redacted.to_relative())).is_ok() {
                    // what was taken out is still here
                    let index = Some(tile.index.saturating_mul(256));
                    self.report.find(FindingKind::UnexpectedFile, index, Some(Path::new(path)));
                } else if tile.width != needed.width {
                    self.compare_entries(tile, needed);
                }
            }
            TileKind::Hashes(level) if tile.width != needed.width => self.compare_hashes(level, tile, needed),
            TileKind::Redacted if tile.width != needed.width => {
                let plain = TilePath { kind: TileKind::Entries, ..needed };
                let is_there = |path: TilePath| self.files.open(Path::new(&path.to_relative())).is_ok();
                if is_there(plain) && !is_there(needed) {
                    // what it says was taken out is in the bundle that the pass has read
                    let index = Some(tile.index.saturating_mul(256));
                    self.report.find(FindingKind::UnexpectedFile, index, Some(Path::new(path)));
                } else {
                    self.compare_entries(tile, needed);
                }
            }
            // the pass has read it
            TileKind::Hashes(_) | TileKind::Redacted => {}
        }
    }

    fn compare_hashes(&mut self, level: u8, extra: TilePath, needed: TilePath) {
        let path = PathBuf::from(extra.to_relative());
        let first = Some(super::tree::first_leaf(level, extra.index, 0));
        let found = match self.files.tile_file(extra) {
            Ok(tile) => tile,
            Err(unusable) => return self.report.find(unusable.error.kind(), first, Some(&path)),
        };
        let Some(right) = self.right(level, needed, first, &path) else { return };
        for (slot, (found, right)) in found.hashes.iter().zip(&right.hashes).enumerate() {
            if found != right {
                let index = super::tree::first_leaf(level, extra.index, slot);
                self.report.find(FindingKind::HashAltered, index, Some(&path));
            }
        }
    }

    /// The tile that `extra` is compared with. Where there is none any more, nobody vouches for what lies in its place.
    fn right(&mut self, level: u8, needed: TilePath, first: Option<u64>, extra: &Path) -> Option<Tile> {
        match self.files.tile(level, needed.index, needed.width) {
            Ok(tile) => Some(tile),
            Err(unusable) => {
                // what else is wrong with the tile was found before
                if unusable.error == FileError::Missing {
                    self.report.find(FindingKind::UnexpectedFile, first, Some(extra));
                }
                None
            }
        }
    }

    fn compare_entries(&mut self, extra: TilePath, needed: TilePath) {
        let start = extra.index.saturating_mul(256);
        let mut bundle = match self.files.bundle_file(extra) {
            Ok(bundle) => bundle,
            Err(unusable) => return self.report.find(unusable.error.kind(), start, Some(&unusable.path)),
        };
        let Some(right) = self.right(0, needed, Some(start), &bundle.path) else { return };
        let mut found: Vec<Option<Hash>> = Vec::new();
        let is_redacted = bundle.redacted;
        let count = extra.width.min(needed.width);
        let result = self.buffer.read(&mut bundle, count, |_, bytes| {
            found.push((!is_redacted || !bytes.is_empty()).then(|| Hash::of_leaf(bytes)));
        });
        let mut altered = (start..).zip(found.iter().zip(&right.hashes));
        let mut altered = altered.by_ref().filter(|(_, (found, right))| found.is_some_and(|found| found != **right));
        if let Err(error) = result {
            let read = start.saturating_add(u64::try_from(found.len()).unwrap_or(u64::MAX));
            let index = altered.next().map_or(read, |(index, _)| index);
            let kind = if error == FileError::Unreadable { FindingKind::Unreadable } else { FindingKind::Malformed };
            return self.report.find(kind, index, Some(&bundle.path));
        }
        for (index, _) in altered {
            self.report.find(FindingKind::EntryAltered, index, Some(&bundle.path));
        }
    }
}

/// Compares `log.json` with what is signed; a log without it is none the worse.
pub(super) fn check_info(
    files: &LogFiles,
    origin: &str,
    keys: &[VerifierKey],
    opened: Option<&Opened>,
    report: &mut Report,
) {
    let path = Path::new(LOG_INFO_FILE);
    let bytes = match files.read(path, MAX_LOG_INFO_BYTES) {
        Err(FileError::Missing) => return,
        Err(error) => return report.find(error.kind(), None, Some(path)),
        Ok(bytes) => bytes,
    };
    if !parse_unique_json(&bytes).is_ok_and(|info| info_is_right(&info, files.directory(), origin, keys, opened)) {
        report.find(FindingKind::LogInfoWrong, None, Some(path));
    }
}

fn info_is_right(info: &Value, directory: &Path, origin: &str, keys: &[VerifierKey], opened: Option<&Opened>) -> bool {
    let text = |name: &str| info.get(name).and_then(Value::as_str);
    let is_signer = |vkey: &str| keys.iter().any(|key| key.name() == origin && key.to_string() == vkey);
    let is_time = |time: &str| humantime::parse_rfc3339(time).is_ok();
    let place = info.get("epoch").and_then(Value::as_u64).zip(text("instance"));
    // the origin says the place too, unless it is the name of a signer that the application brought
    let is_place = place.is_some_and(|(epoch, instance)| {
        origin.ends_with(&format!("/{instance}/{epoch}"))
            || directory.ends_with(Path::new(instance).join(format!("{epoch:08}")))
    });
    let Some(members) = info.as_object() else { return false };
    let is_previous = match (members.get("previous"), opened.map(|opened| &opened.previous)) {
        // what the log's first entry says is not known
        (_, None) | (None, Some(None)) => true,
        (Some(previous), Some(Some(signed))) => {
            let text = |name: &str| previous.get(name).and_then(Value::as_str);
            text("origin") == Some(&signed.origin)
                && text("root") == Some(&signed.root)
                && previous.get("size").and_then(Value::as_u64).map(|size| size.to_string()).as_ref()
                    == Some(&signed.size)
        }
        (Some(_), Some(None)) | (None, Some(Some(_))) => false,
    };
    let known = ["created", "epoch", "instance", "origin", "previous", "version", "vkey"];
    members.keys().all(|name| known.contains(&name.as_str()))
        && info.get("version").and_then(Value::as_u64) == Some(1)
        && text("origin") == Some(origin)
        && text("vkey").is_some_and(is_signer)
        && text("created").is_some_and(is_time)
        && is_place
        && is_previous
}
