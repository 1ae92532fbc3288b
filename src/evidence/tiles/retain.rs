//! Taking entries out of a log without touching its tree: redaction of one, pruning of the oldest.
//!
//! Both must run where nothing else writes the log: in the thread that has the [`TileWriter`](super::TileWriter), or with
//! the log closed. Both can be run again after a crash, with the same arguments, and then finish.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::bundle::append_entry;
use super::reader::{partials, read_minimum, read_tile};
use super::{BundleEntry, PRUNED_FILE, TILE_WIDTH, TileError, TileKind, TilePath, TileReader, parse_bundle};
use crate::evidence::merkle::Hash;
use crate::evidence::storage::{PathKind, Storage, TEMPORARY_SUFFIX, replace_file};

/// Zeros written at once over what is about to be removed.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Takes the entries `indexes` out of the log in `directory`, of which `size` entries are in tiles; returns how many
/// were there until now.
///
/// Each bundle concerned is replaced by one below `tile/entries-redacted`, where these entries have the length 0; only
/// when that is durable are all other files of the bundle overwritten with zeros and removed. Overwriting is a courtesy: a
/// disk may keep old blocks elsewhere. The leaf hashes stay, and with them the chain and every proof.
///
/// The bundle that is still filling can be redacted too: a writer goes on with it as it finds it, below
/// `tile/entries-redacted`. But the write-ahead log still has the entry. Whoever redacts must first see to it that no
/// segment of that is left (sync the tiles, release and wipe the segments), or the entry can still be read there.
///
/// # Errors
/// [`TileError::Missing`] or [`TileError::Pruned`] when there is no such entry, and [`TileError::Malformed`] when the
/// bundle does not have the entries of the tree: what was altered is left for the verifier to see. Bundles before it may
/// have been done.
pub(crate) fn redact(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    indexes: &[u64],
    size: u64,
) -> Result<u64, TileError> {
    let mut bundles: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for index in indexes {
        bundles.entry(index / TILE_WIDTH).or_default().insert(index % TILE_WIDTH);
    }
    let mut redacted = 0_u64;
    for (bundle, places) in bundles {
        redacted = redacted.saturating_add(redact_bundle(storage, directory, bundle, &places, size)?);
    }
    Ok(redacted)
}

fn redact_bundle(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    bundle: u64,
    places: &BTreeSet<u64>,
    size: u64,
) -> Result<u64, TileError> {
    let full = TilePath::full(TileKind::Entries, bundle);
    let malformed = |file: TilePath| TileError::Malformed { path: file.to_path(directory) };
    let in_tree = TilePath::in_tree(TileKind::Entries, bundle, size).unwrap_or(full);
    if places.last().is_some_and(|place| *place >= in_tree.width.into()) || in_tree.end() > size {
        return Err(TileError::Missing { path: in_tree.to_path(directory) });
    }
    // the widest file has all that the others have
    let files = files_of_bundle(&**storage, directory, bundle)?;
    let Some(widest) = files.iter().copied().max_by_key(|file| (file.width, file.kind)) else {
        let mut reader = TileReader::new(Arc::clone(storage), directory, size);
        return Err(reader.bundle(bundle).err().unwrap_or_else(|| malformed(full)));
    };
    let bytes = read_tile(&**storage, directory, widest)?.ok_or_else(|| malformed(widest))?;
    let entries = parse_bundle(&bytes, widest.width, widest.kind == TileKind::Redacted);
    let entries = entries.ok_or_else(|| malformed(widest))?;

    let mut gone = places.clone();
    for file in files.iter().filter(|file| file.kind == TileKind::Redacted) {
        let bytes = read_tile(&**storage, directory, *file)?.unwrap_or_default();
        let entries = parse_bundle(&bytes, file.width, true).ok_or_else(|| malformed(*file))?;
        let places = (0..).zip(entries).filter(|(_, entry)| *entry == BundleEntry::Redacted);
        gone.extend(places.map(|(place, _)| place));
    }
    let mut tree = TileReader::new(Arc::clone(storage), directory, widest.end());
    let first = bundle.saturating_mul(TILE_WIDTH);
    let mut redacted = 0_u64;
    let mut rewritten = Vec::with_capacity(bytes.len());
    for (place, entry) in (0..).zip(entries) {
        let mut kept = entry;
        if let BundleEntry::Present(entry) = entry {
            if Hash::of_leaf(entry) != tree.leaf(first.saturating_add(place))? {
                return Err(malformed(widest));
            }
            if gone.contains(&place) {
                redacted = redacted.saturating_add(u64::from(places.contains(&place)));
                kept = BundleEntry::Redacted;
            }
        }
        append_entry(&mut rewritten, kept).ok_or_else(|| malformed(widest))?;
    }

    let target = TilePath { kind: TileKind::Redacted, ..widest };
    if !(widest == target && rewritten == bytes) {
        write_durable(&**storage, directory, target, &rewritten)?;
    }
    for file in files.into_iter().filter(|file| *file != target) {
        wipe(&**storage, &file.to_path(directory))?;
    }
    for kind in [TileKind::Entries, TileKind::Redacted] {
        let full = TilePath { kind, ..full };
        let partial_dir = full.partial_dir(directory);
        for directory in [Some(partial_dir.as_path()), partial_dir.parent()].into_iter().flatten() {
            match storage.sync_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|error| TileError::io(directory, error))?,
            }
        }
        remove_if_empty(&**storage, &partial_dir)?;
    }
    Ok(redacted)
}

/// Drops the entries and leaf hashes of the log in `directory` that are wholly below `below`, and returns the least index
/// that is still there, a multiple of 256. `below` must be covered by durable tiles.
///
/// Tiles of level 1 and up stay (32 bytes for 256 entries), and with them the root, consistency proofs, and inclusion
/// proofs of all later entries. What was dropped is written to the file `pruned` first, so that a reader knows pruned
/// tiles from missing ones; it is not signed, so the log itself must have a record of it.
pub(crate) fn prune(storage: &Arc<dyn Storage>, directory: &Path, below: u64) -> Result<u64, TileError> {
    let before = read_minimum(&**storage, directory)?;
    let minimum = before.max(below.saturating_sub(below % TILE_WIDTH));
    if minimum > before {
        let path = directory.join(PRUNED_FILE);
        let text = format!("{minimum}\n");
        replace_file(&**storage, &path, text.as_bytes(), true).map_err(|error| TileError::io(&path, error))?;
    }
    for tiles in ["tile/0/", "tile/entries/", "tile/entries-redacted/"] {
        prune_below(&**storage, directory, tiles, minimum)?;
    }
    Ok(minimum)
}

/// Removes what is pruned of one directory of tiles, whose path below the log's is `relative`.
fn prune_below(storage: &dyn Storage, directory: &Path, relative: &str, minimum: u64) -> Result<(), TileError> {
    let here =
        relative.split('/').filter(|part| !part.is_empty()).fold(directory.to_owned(), |path, part| path.join(part));
    let mut changed = false;
    for name in list(storage, &here)? {
        let path = here.join(&name);
        let number = name.strip_suffix(".p").or_else(|| name.strip_suffix(TEMPORARY_SUFFIX)).unwrap_or(&name);
        let Some(tile) = TilePath::parse(&format!("{relative}{number}")) else {
            let inner = format!("{relative}{name}/");
            // `x001`, of which the first tile has the least number
            let concerned = TilePath::parse(&format!("{inner}000")).is_some_and(|first| first.end() <= minimum);
            // nothing is removed through a symbolic link
            let kind = storage.inspect(&path).map_err(|error| TileError::io(&path, error))?;
            if concerned && kind.is_some_and(|(kind, _)| kind == PathKind::Directory) {
                prune_below(storage, directory, &inner, minimum)?;
                changed |= remove_if_empty(storage, &path)?;
            }
            continue;
        };
        if tile.end() > minimum {
            continue;
        }
        if name.strip_suffix(".p").is_some() {
            for width in list(storage, &path)? {
                let path = path.join(width);
                storage.remove_file(&path).map_err(|error| TileError::io(&path, error))?;
            }
            changed |= remove_if_empty(storage, &path)?;
        } else {
            storage.remove_file(&path).map_err(|error| TileError::io(&path, error))?;
            changed = true;
        }
    }
    if changed {
        storage.sync_dir(&here).map_err(|error| TileError::io(&here, error))?;
    }
    Ok(())
}

/// Every file there is of a bundle.
fn files_of_bundle(storage: &dyn Storage, directory: &Path, bundle: u64) -> Result<Vec<TilePath>, TileError> {
    let mut files = Vec::new();
    for kind in [TileKind::Entries, TileKind::Redacted] {
        let full = TilePath::full(kind, bundle);
        files.extend(partials(storage, directory, full)?);
        let path = full.to_path(directory);
        if storage.inspect(&path).map_err(|error| TileError::io(&path, error))?.is_some() {
            files.push(full);
        }
    }
    Ok(files)
}

/// Writes a file and makes it and every name on the way to it durable.
fn write_durable(storage: &dyn Storage, directory: &Path, tile: TilePath, bytes: &[u8]) -> Result<(), TileError> {
    let path = tile.to_path(directory);
    let parents: Vec<_> = path.ancestors().skip(1).take_while(|parent| *parent != directory).collect();
    for parent in parents.iter().rev() {
        storage.create_dir(parent).map_err(|error| TileError::io(parent, error))?;
    }
    replace_file(storage, &path, bytes, true).map_err(|error| TileError::io(&path, error))?;
    for parent in parents.into_iter().chain([directory]) {
        storage.sync_dir(parent).map_err(|error| TileError::io(parent, error))?;
    }
    Ok(())
}

/// Overwrites a file with zeros, as far as the disk takes that literally, and removes it.
fn wipe(storage: &dyn Storage, path: &Path) -> Result<(), TileError> {
    let overwrite = || {
        let file = storage.open(path)?;
        let length = file.len()?;
        let mut offset = 0_u64;
        while offset < length {
            let rest = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_at(offset, ZEROS.get(..rest).unwrap_or_default())?;
            offset = offset.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX));
        }
        file.sync_data()?;
        storage.remove_file(path)
    };
    overwrite().map_err(|error| TileError::io(path, error))
}

fn list(storage: &dyn Storage, path: &Path) -> Result<Vec<String>, TileError> {
    match storage.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| TileError::io(path, error)),
    }
}

fn remove_if_empty(storage: &dyn Storage, path: &Path) -> Result<bool, TileError> {
    match storage.list(path) {
        Ok(names) if names.is_empty() => {
            storage.remove_dir(path).map_err(|error| TileError::io(path, error))?;
            Ok(true)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TileError::io(path, error)),
        _ => Ok(false),
    }
}
