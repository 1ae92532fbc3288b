//! Whole logs, as other tools verify them.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use rmcp_guard::evidence::note::MAX_NOTE_BYTES;
use rmcp_guard::evidence::{LogEntry, MAX_ENTRY_BYTES};
use serde_json::{Value, json};

use super::{OutFile, file_name, make_directory};
use crate::evidence_index::{Filter, Log, MAX_LOG_JSON_BYTES, Row, Set, event_of};
use crate::exit::Failure;
use crate::files;

/// How often a directory is listed anew when files go away, as partial tiles of a log that grows do.
const ATTEMPTS: usize = 4;
/// Directories below each other, as many as the path of a tile has and a few more.
const MAX_DEPTH: usize = 12;
/// Bytes that are copied at a time.
const CHUNK: usize = 64 * 1024;
/// What a log has beside its tiles, and how long each may be; `log.json` tells its place in the set.
const FILES: [(&str, usize); 3] =
    [("checkpoint.witnessed", MAX_NOTE_BYTES), ("log.json", MAX_LOG_JSON_BYTES), ("pruned", 64)];
/// The longest file below `tile`: a bundle of 256 entries, each behind its length of two bytes.
const MAX_TILE_BYTES: usize = 256 * (2 + MAX_ENTRY_BYTES);

/// Copies every log that has a published record of the period; returns what the manifest says of logs and files.
pub(super) fn copy(set: &Set, filter: &Filter, out: &Path) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let (mut logs, mut files) = (Vec::new(), Vec::new());
    for log in set.logs() {
        let Some((checkpoint, bytes)) = log.checkpoint()? else { continue };
        if !has_record(log, filter, checkpoint.size)? {
            continue;
        }
        let mut parts = log.name().split('/').map(file_name);
        let (instance, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut copy = Copy { out, files: &mut files };
        let name = format!("{instance}/{number}");
        copy.directory(&instance)?;
        copy.directory(&name)?;
        // the checkpoint comes first: every tile that it needs is there, and stays or grows
        let mut file = OutFile::create(out, &format!("{name}/checkpoint"))?;
        file.write(&bytes)?;
        copy.files.push(file.finish()?);
        for (file, limit) in FILES {
            copy.file(&log.directory().join(file), &format!("{name}/{file}"), limit)?;
        }
        copy.tree(&log.directory().join("tile"), &format!("{name}/tile"), 0)?;
        logs.push(json!({
            "log": log.name(),
            "origin": log.origin(),
            "checkpoint": String::from_utf8_lossy(&bytes),
            "first": 0,
            "last": checkpoint.size.saturating_sub(1),
            "entries": checkpoint.size,
        }));
    }
    Ok((logs, files))
}

fn has_record(log: &Log, filter: &Filter, size: u64) -> Result<bool, Failure> {
    if size == 0 || (filter.since.is_none() && filter.until.is_none()) {
        return Ok(size > 0);
    }
    for entry in log.entries(0)? {
        let (index, entry) = entry?;
        if index >= size {
            break;
        }
        if let LogEntry::Present(bytes) = entry
            && filter.matches(&event_of(&bytes).as_ref().map(Row::of).unwrap_or_default())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Copy<'a> {
    out: &'a Path,
    files: &'a mut Vec<Value>,
}

impl Copy<'_> {
    fn directory(&self, name: &str) -> Result<(), Failure> {
        let path = self.out.join(name);
        match make_directory(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|error| files::about(&path, &error)),
        }
    }

    /// Copies the regular files below `from`.
    fn tree(&mut self, from: &Path, name: &str, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(files::about(from, &"is nested deeper than any tile"));
        }
        self.directory(name)?;
        let mut done = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let mut vanished = false;
            let listed = from.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in listed.map_err(|error| files::about(from, &error))? {
                // names of tiles are short and ASCII
                let Ok(part) = entry.file_name().into_string() else { continue };
                if done.contains(&part) {
                    continue;
                }
                let (path, inner) = (entry.path(), format!("{name}/{part}"));
                let Ok(metadata) = path.symlink_metadata() else {
                    vanished = true;
                    continue;
                };
                if metadata.is_dir() {
                    self.tree(&path, &inner, depth.saturating_add(1))?;
                } else if metadata.is_file() && !self.file(&path, &inner, MAX_TILE_BYTES)? {
                    vanished = true;
                    continue;
                }
                done.insert(part);
            }
            if !vanished {
                break;
            }
        }
        Ok(())
    }

    /// Copies a regular file of at most `limit` bytes; `false` when there is none.
    fn file(&mut self, from: &Path, name: &str, limit: usize) -> Result<bool, Failure> {
        let about = |error: io::Error| files::about(from, &error);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let source = match files::open_regular(from, limit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            source => source.map_err(about)?,
        };
        // a file that grows meanwhile is not what was looked at
        let mut source = source.take(limit);
        let mut file = OutFile::create(self.out, name)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = source.read(&mut chunk).map_err(about)?;
            if read == 0 {
                break;
            }
            file.write(chunk.get(..read).unwrap_or_default())?;
        }
        self.files.push(file.finish()?);
        Ok(true)
    }
}
