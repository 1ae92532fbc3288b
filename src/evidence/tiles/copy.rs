//! A part of a log as a log of its own.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::{MAX_LEVEL, PRUNED_FILE, TILE_WIDTH, TileError, TileKind, TilePath, TileReader};
use crate::evidence::storage::{Storage, replace_file};

/// Copies to the existing directory `to` what is needed to check the entries of `range` against the root that `reader`
/// reads: their bundles and leaf hashes (whole bundles, so up to 255 neighbours on each side too), the right edge of the
/// tree, and every tile of level 1 and up. With the checkpoint beside them, this is a log pruned up to the range, which
/// lacks the entries behind it.
///
/// Redacted and pruned bundles stay so. Returns how many files there are. Nothing is synced.
///
/// # Errors
/// Those of `reader`, and those of writing.
pub(crate) fn copy_tiles(
    storage: &dyn Storage,
    reader: &mut TileReader,
    range: Range<u64>,
    to: &Path,
) -> Result<u64, TileError> {
    let size = reader.size();
    let end = range.end.min(size);
    let first = range.start.min(end) / TILE_WIDTH;
    let bundles = first..if range.start < end { end.div_ceil(TILE_WIDTH) } else { first };
    let mut files = 0_u64;
    for index in bundles.clone() {
        let (bytes, width, redacted) = match reader.bundle(index) {
            Err(TileError::Pruned { .. }) => continue,
            other => other?,
        };
        let kind = if redacted { TileKind::Redacted } else { TileKind::Entries };
        write(storage, to, &TilePath { kind, index, width }.to_relative(), &bytes)?;
        files = files.saturating_add(1);
    }
    for level in 0..=MAX_LEVEL {
        let count = TileKind::Hashes(level).count(size);
        let all = 0..count.div_ceil(TILE_WIDTH);
        for index in if level == 0 { bundles.clone() } else { all.clone() } {
            files = files.saturating_add(copy_hashes(storage, reader, level, index, to)?);
        }
        // the partial leaf tile at the end is part of the root
        let edge = count / TILE_WIDTH;
        if level == 0 && all.contains(&edge) && !bundles.contains(&edge) {
            files = files.saturating_add(copy_hashes(storage, reader, level, edge, to)?);
        }
    }
    let minimum = reader.minimum_index()?.max(bundles.start.saturating_mul(TILE_WIDTH));
    if minimum > 0 {
        write(storage, to, PRUNED_FILE, format!("{minimum}\n").as_bytes())?;
        files = files.saturating_add(1);
    }
    Ok(files)
}

fn copy_hashes(
    storage: &dyn Storage,
    reader: &mut TileReader,
    level: u8,
    index: u64,
    to: &Path,
) -> Result<u64, TileError> {
    let Some(tile) = TilePath::in_tree(TileKind::Hashes(level), index, reader.size()) else { return Ok(0) };
    match reader.tile(level, index) {
        Err(TileError::Pruned { .. }) => return Ok(0),
        other => write(storage, to, &tile.to_relative(), other?)?,
    }
    Ok(1)
}

fn write(storage: &dyn Storage, to: &Path, relative: &str, bytes: &[u8]) -> Result<(), TileError> {
    let path = relative.split('/').fold(to.to_owned(), |path, part| path.join(part));
    match replace_file(storage, &path, bytes, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parents: Vec<_> = path.ancestors().skip(1).take_while(|parent| *parent != to).collect();
            for parent in parents.into_iter().rev() {
                storage.create_dir(parent).map_err(|error| TileError::io(parent, error))?;
            }
            replace_file(storage, &path, bytes, false)
        }
        other => other,
    }
    .map_err(|error| TileError::io(&path, error))
}
