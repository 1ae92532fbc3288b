//! Writing tiles behind the write-ahead log: a pure function of its entries, so that writing again changes nothing.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::append_entry;
use super::reader::{frontier_of, partials, read_tile};
use super::{BundleEntry, MAX_LEVEL, TILE_HEIGHT, TILE_WIDTH, TileError, TileKind, TilePath, parse_bundle};
use crate::evidence::merkle::{Frontier, HASH_BYTES, Hash};
use crate::evidence::storage::{Storage, StorageFile, TEMPORARY_SUFFIX, read_file};

/// Files that are kept open between their writing and their sync. At this number their contents are synced at once, so
/// that a burst does not run the process out of file descriptors.
const MAX_OPEN_FILES: usize = 256;
/// Bundles whose length is asked for when a log is opened; of more, every n-th stands for its neighbours.
const MAX_SAMPLES: u64 = 1024;
/// What a disk writes as a whole, at least.
const SECTOR_BYTES: usize = 512;

/// Builds the tiles of one log. Entries go in one by one; full tiles and bundles are written as they fill, partial ones
/// when asked for.
///
/// INVARIANT: only entries that are durable in the write-ahead log are pushed. Then a tile can never hold what the log
/// loses in a power cut, and a tile that differs was altered.
///
/// **Recovery.** The write-ahead log begins at a size that [`sync`](Self::sync) has covered: `open` with that size, then
/// push what the write-ahead log has. How far tiles reach beyond is of no interest, and finding it out would mean
/// reading them all: those that are there are compared and written again in place, since the page cache may hold what
/// a failed sync never brought to the disk, and writing makes it dirty again. A file that was never synced can be torn
/// by a power cut; it is told from an altered one by its form (cut short, or whole sectors of zeros) and replaced.
///
/// **After an error** the writer refuses everything. The way on is to open another at the start of the write-ahead
/// log: it writes everything anew that no successful sync has covered. Calling sync(2) again would prove nothing, since
/// the kernel reports a failed write once and then takes the pages for clean. For the same reason each file stays open
/// from its writing to its sync: an error is certain to reach a descriptor that was open when it happened, but one that
/// is opened later misses it when the inode has left memory.
#[derive(Debug)]
pub(crate) struct TileWriter {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    frontier: Frontier,
    /// The hashes of each level that do not fill a tile yet.
    edge: [Vec<u8>; MAX_LEVEL as usize + 1],
    /// The entries that do not fill a bundle yet.
    bundle: Vec<u8>,
    /// Whether some of them were redacted.
    redacted: bool,
    bytes: u64,
    /// Size at the last [`write_partials`](Self::write_partials) of this writer.
    partials_size: Option<u64>,
    /// Everything below is durable.
    synced_size: u64,
    /// What was published before the last [`drop_partials`](Self::drop_partials).
    published: Option<u64>,
    unsynced: Vec<(PathBuf, Box<dyn StorageFile>)>,
    unsynced_dirs: BTreeSet<PathBuf>,
    /// Directories whose own names are durable.
    durable_dirs: HashSet<PathBuf>,
    /// Tiles of which there may be partial files.
    with_partials: BTreeSet<(TileKind, u64)>,
    failed: bool,
}

impl TileWriter {
    /// Goes on behind the first `size` entries, which are on disk (as full or partial tiles), or begins at 0. The
    /// caller compares [`frontier`](Self::frontier) with what the write-ahead log says.
    pub(crate) fn open(storage: Arc<dyn Storage>, directory: &Path, size: u64) -> Result<Self, TileError> {
        let mut writer = Self {
            storage,
            directory: directory.to_owned(),
            frontier: Frontier::new(),
            edge: Default::default(),
            bundle: Vec::new(),
            redacted: false,
            bytes: 0,
            partials_size: None,
            synced_size: size,
            published: None,
            unsynced: Vec::new(),
            unsynced_dirs: BTreeSet::new(),
            durable_dirs: HashSet::new(),
            with_partials: BTreeSet::new(),
            failed: false,
        };
        let mut peaks = Vec::new();
        for level in (0..=MAX_LEVEL).rev() {
            let hashes = writer.read_edge_tile(level, size)?;
            peaks.extend_from_slice(frontier_of(&hashes).peaks());
            if let Some(edge) = writer.edge.get_mut(usize::from(level)) {
                *edge = hashes;
            }
        }
        writer.read_edge_bundle(size)?;
        writer.frontier =
            Frontier::from_peaks(size, peaks).ok_or_else(|| TileError::Malformed { path: writer.directory.clone() })?;
        writer.bytes = writer.estimate_bytes(size)?;
        writer.clear_up(size)?;
        Ok(writer)
    }

    /// Adds the next entry. A full tile or bundle is written without a sync; where a file of that name is there
    /// already, it must have the same bytes ([`TileError::Malformed`] otherwise).
    pub(crate) fn push(&mut self, entry: &[u8], leaf: Hash) -> Result<(), TileError> {
        self.fail_on_error(|writer| writer.try_push(entry, leaf))
    }

    /// The tree with everything pushed so far.
    pub(crate) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Writes what is not full yet as partial tiles, so that a checkpoint of this size can be published. Partial tiles
    /// of earlier sizes stay until [`drop_partials`](Self::drop_partials).
    pub(crate) fn write_partials(&mut self) -> Result<(), TileError> {
        self.fail_on_error(Self::try_write_partials)
    }

    /// Syncs every file and directory that was written since the last call (and existing ones that were met), after
    /// which the write-ahead log may let go of these entries. Calls [`write_partials`](Self::write_partials) first.
    pub(crate) fn sync(&mut self) -> Result<(), TileError> {
        self.fail_on_error(|writer| {
            writer.try_write_partials()?;
            writer.sync_files()?;
            while let Some(directory) = writer.unsynced_dirs.pop_first() {
                match writer.storage.sync_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && writer.was_redacted(&directory)? => {}
                    other => {
                        other.map_err(|error| TileError::io(&directory, error))?;
                        writer.durable_dirs.insert(directory);
                    }
                }
            }
            writer.synced_size = writer.frontier.size();
            Ok(())
        })
    }

    /// Removes partial tiles that neither the checkpoint of size `published` nor the one published before it needs,
    /// where the full or a larger partial file is durable.
    ///
    /// A stock reader that has just read the checkpoint before finds its partial tiles until the next call.
    pub(crate) fn drop_partials(&mut self, published: u64) -> Result<(), TileError> {
        self.fail_on_error(|writer| {
            // partial tiles of an earlier process may be torn by a crash, so none of them is kept for readers
            let before = writer.published.replace(published).unwrap_or(published);
            let keep_from = before.min(writer.synced_size).min(published);
            for (kind, index) in writer.with_partials.clone() {
                writer.drop_partials_of(TilePath::full(kind, index), kind.count(keep_from))?;
            }
            Ok(())
        })
    }

    /// Bytes of entries pushed to this log. Of those before it was opened an estimate, exact up to 262,144 entries.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn fail_on_error<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, TileError>) -> Result<T, TileError> {
        if self.failed {
            let source = io::Error::other("an earlier write failed");
            return Err(TileError::Io { path: self.directory.clone(), source });
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn try_push(&mut self, entry: &[u8], leaf: Hash) -> Result<(), TileError> {
        let size = self.frontier.size();
        let bundle = TilePath::full(TileKind::Entries, size / TILE_WIDTH);
        append_entry(&mut self.bundle, BundleEntry::Present(entry))
            .ok_or_else(|| TileError::Malformed { path: bundle.to_path(&self.directory) })?;
        self.bytes = self.bytes.saturating_add(u64::try_from(entry.len()).unwrap_or(u64::MAX));

        let new_size = size.saturating_add(1);
        let mut node = leaf;
        let mut peaks = self.frontier.peaks().iter().rev();
        let mut full = Vec::new();
        for (level, edge) in (0..).zip(&mut self.edge) {
            edge.extend_from_slice(node.as_bytes());
            let count = TileKind::Hashes(level).count(new_size);
            if !count.is_multiple_of(TILE_WIDTH) {
                break;
            }
            // the peaks of this tile are the last eight: with the new hash they give the one of the level above
            for peak in peaks.by_ref().take(TILE_HEIGHT.into()) {
                node = Hash::of_node(peak, &node);
            }
            full.push((
                TilePath::full(TileKind::Hashes(level), (count / TILE_WIDTH).saturating_sub(1)),
                std::mem::take(edge),
            ));
        }
        self.frontier.push(leaf);
        if !full.is_empty() {
            self.write_bundle(bundle)?;
            self.bundle.clear();
            self.redacted = false;
        }
        for (tile, mut hashes) in full {
            self.write_tile(tile, &hashes)?;
            hashes.clear();
            if let TileKind::Hashes(level) = tile.kind
                && let Some(edge) = self.edge.get_mut(usize::from(level))
            {
                *edge = hashes; // its memory
            }
        }
        Ok(())
    }

    fn try_write_partials(&mut self) -> Result<(), TileError> {
        let size = self.frontier.size();
        for level in 0..=MAX_LEVEL {
            let kind = TileKind::Hashes(level);
            let count = kind.count(size);
            if self.partials_size.is_some_and(|size| kind.count(size) == count) {
                continue;
            }
            let Some(tile) = TilePath::in_tree(kind, count / TILE_WIDTH, size) else { continue };
            let hashes = self.edge.get_mut(usize::from(level)).map(std::mem::take).unwrap_or_default();
            if level == 0 {
                self.write_bundle(TilePath { kind: TileKind::Entries, ..tile })?;
            }
            self.write_tile(tile, &hashes)?;
            if let Some(edge) = self.edge.get_mut(usize::from(level)) {
                *edge = hashes;
            }
        }
        self.partials_size = Some(size);
        Ok(())
    }

    /// Writes the bundle, below `tile/entries-redacted` and without what was redacted where there is such a file.
    fn write_bundle(&mut self, bundle: TilePath) -> Result<(), TileError> {
        self.redact_as_on_disk(bundle)?;
        let kind = if self.redacted { TileKind::Redacted } else { TileKind::Entries };
        let bytes = std::mem::take(&mut self.bundle);
        self.write_tile(TilePath { kind, ..bundle }, &bytes)?;
        self.bundle = bytes;
        Ok(())
    }

    /// Empties the entries of the bundle that were redacted on disk, while this bundle grew or before it was rebuilt:
    /// the write-ahead log still has them, but they must not come back.
    fn redact_as_on_disk(&mut self, bundle: TilePath) -> Result<(), TileError> {
        let width = bundle.width;
        let full = TilePath::full(TileKind::Redacted, bundle.index);
        let mut files = partials(&*self.storage, &self.directory, full)?;
        files.push(full);
        for file in files.into_iter().rev() {
            let Some(bytes) = read_tile(&*self.storage, &self.directory, file)? else { continue };
            let malformed = |file: TilePath| TileError::Malformed { path: file.to_path(&self.directory) };
            let model = parse_bundle(&bytes, file.width, true).ok_or_else(|| malformed(file))?;
            let entries = parse_bundle(&self.bundle, width, true).ok_or_else(|| malformed(bundle))?;
            let mut redacted = Vec::with_capacity(self.bundle.len());
            for (place, entry) in entries.into_iter().enumerate() {
                let gone = model.get(place) == Some(&BundleEntry::Redacted);
                let entry = if gone { BundleEntry::Redacted } else { entry };
                append_entry(&mut redacted, entry).ok_or_else(|| malformed(bundle))?;
            }
            self.bundle = redacted;
            self.redacted = true;
            break;
        }
        Ok(())
    }

    /// Whether `directory` had the partial files of a bundle that a redaction has replaced.
    fn was_redacted(&self, directory: &Path) -> Result<bool, TileError> {
        for (kind, index) in &self.with_partials {
            let bundle = TilePath::full(TileKind::Redacted, *index);
            let entries = TilePath { kind: TileKind::Entries, ..bundle };
            if *kind == TileKind::Entries && entries.partial_dir(&self.directory) == directory {
                let path = bundle.to_path(&self.directory);
                let full = self.storage.inspect(&path).map_err(|error| TileError::io(&path, error))?;
                return Ok(full.is_some() || !partials(&*self.storage, &self.directory, bundle)?.is_empty());
            }
        }
        Ok(false)
    }

    /// Writes the file of a tile, so that whoever reads it sees nothing or all of it.
    fn write_tile(&mut self, tile: TilePath, bytes: &[u8]) -> Result<(), TileError> {
        self.with_partials.insert((tile.kind, tile.index));
        let path = tile.to_path(&self.directory);
        let file = match read_file(&*self.storage, &path, bytes.len()) {
            Ok(found) if found == bytes => self.write_again(&path, bytes),
            Ok(found) if !is_torn(&found, bytes) => return Err(TileError::Malformed { path }),
            Ok(_) => self.write_new(&path, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write_new(&path, bytes),
            Err(error) => Err(error),
        };
        let file = file.map_err(|error| TileError::io(&path, error))?;
        for parent in path.ancestors().skip(1) {
            // a directory that was only now made, or whose name may not be durable, needs its parent synced too
            self.unsynced_dirs.insert(parent.to_owned());
            if parent == self.directory || self.durable_dirs.contains(parent) {
                break;
            }
        }
        self.unsynced.push((path, file));
        if self.unsynced.len() >= MAX_OPEN_FILES {
            self.sync_files()?;
        }
        Ok(())
    }

    fn write_again(&self, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn StorageFile>> {
        let file = self.storage.open(path)?;
        file.write_at(0, bytes)?;
        Ok(file)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn StorageFile>> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let file = match self.storage.create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_parents(path)?;
                self.storage.create_new(&temporary)?
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // a crash left it
                self.storage.remove_file(&temporary)?;
                self.storage.create_new(&temporary)?
            }
            other => other?,
        };
        file.write_at(0, bytes)?;
        self.storage.rename(&temporary, path)?;
        Ok(file)
    }

    fn create_parents(&self, path: &Path) -> io::Result<()> {
        let parents: Vec<_> = path.ancestors().skip(1).take_while(|parent| *parent != self.directory).collect();
        parents.into_iter().rev().try_for_each(|parent| self.storage.create_dir(parent))
    }

    fn sync_files(&mut self) -> Result<(), TileError> {
        for (path, file) in self.unsynced.drain(..) {
            file.sync_data().map_err(|error| TileError::io(&path, error))?;
        }
        Ok(())
    }

    /// Removes the partial files of a tile that end before hash (or entry) number `keep_from`.
    fn drop_partials_of(&mut self, full: TilePath, keep_from: u64) -> Result<(), TileError> {
        let directory = full.partial_dir(&self.directory);
        let io_error = |path: &Path, error| TileError::io(path, error);
        for partial in partials(&*self.storage, &self.directory, full)? {
            if partial.end() < keep_from {
                let path = partial.to_path(&self.directory);
                self.storage.remove_file(&path).map_err(|error| io_error(&path, error))?;
            }
        }
        if full.end() > keep_from {
            return Ok(());
        }
        if self.remove_temporaries(&directory)? {
            self.storage.remove_dir(&directory).map_err(|error| io_error(&directory, error))?;
            self.durable_dirs.remove(&directory);
        }
        self.with_partials.remove(&(full.kind, full.index));
        Ok(())
    }

    /// The hashes of a level that the first `size` entries have beyond its full tiles.
    fn read_edge_tile(&self, level: u8, size: u64) -> Result<Vec<u8>, TileError> {
        let kind = TileKind::Hashes(level);
        let Some(want) = TilePath::in_tree(kind, kind.count(size) / TILE_WIDTH, size) else { return Ok(Vec::new()) };
        self.first_good(want, |found, mut bytes| {
            let length = usize::from(found.width).checked_mul(HASH_BYTES)?;
            let hashes = bytes.as_chunks::<HASH_BYTES>().0.get(..usize::from(want.width))?;
            // no hash is zero, but what a power cut leaves of a file can be
            let whole = bytes.len() == length && !hashes.contains(&[0; HASH_BYTES]);
            bytes.truncate(usize::from(want.width).checked_mul(HASH_BYTES)?);
            whole.then_some(bytes)
        })
    }

    fn read_edge_bundle(&mut self, size: u64) -> Result<(), TileError> {
        let Some(want) = TilePath::in_tree(TileKind::Entries, size / TILE_WIDTH, size) else { return Ok(()) };
        let leaves = self.edge.first().map(|leaves| leaves.as_chunks::<HASH_BYTES>().0).unwrap_or_default();
        let good = |found: TilePath, bytes: Vec<u8>| {
            let entries = parse_bundle(&bytes, found.width, found.kind == TileKind::Redacted)?;
            let mut bundle = Vec::with_capacity(bytes.len());
            for (entry, leaf) in entries.into_iter().zip(leaves) {
                if let BundleEntry::Present(entry) = entry
                    && Hash::of_leaf(entry).as_bytes() != leaf
                {
                    return None;
                }
                append_entry(&mut bundle, entry)?;
            }
            Some(bundle)
        };
        let redacted = match self.first_good(TilePath { kind: TileKind::Redacted, ..want }, good) {
            Err(TileError::Missing { .. }) => None,
            other => Some(other?),
        };
        self.redacted = redacted.is_some();
        self.bundle = match redacted {
            Some(bundle) => bundle,
            None => self.first_good(want, good)?,
        };
        Ok(())
    }

    /// The narrowest file of at least that width that `good` accepts: the wider ones may have been torn by a power cut
    /// before a sync reached them, and a file that was made for a smaller size may never have been synced.
    fn first_good<T>(&self, want: TilePath, good: impl Fn(TilePath, Vec<u8>) -> Option<T>) -> Result<T, TileError> {
        let mut files = partials(&*self.storage, &self.directory, want)?;
        files.retain(|file| file.width >= want.width);
        files.push(TilePath { width: super::path::FULL_WIDTH, ..want });
        let mut error = TileError::Missing { path: want.to_path(&self.directory) };
        for file in files {
            let Some(bytes) = read_tile(&*self.storage, &self.directory, file)? else { continue };
            match good(file, bytes) {
                Some(found) => return Ok(found),
                None => error = TileError::Malformed { path: file.to_path(&self.directory) },
            }
        }
        Err(error)
    }

    fn estimate_bytes(&self, size: u64) -> Result<u64, TileError> {
        let bundles = size / TILE_WIDTH;
        let step = bundles.div_ceil(MAX_SAMPLES).max(1);
        let (mut sum, mut count) = (0_u64, 0_u64);
        let mut index = 0;
        while index < bundles {
            for kind in [TileKind::Entries, TileKind::Redacted] {
                let path = TilePath::full(kind, index).to_path(&self.directory);
                match self.storage.open_read(&path).and_then(|file| file.len()) {
                    Ok(length) => {
                        sum = sum.saturating_add(length.saturating_sub(2 * TILE_WIDTH));
                        count = count.saturating_add(1);
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(TileError::io(&path, error)),
                }
            }
            index = index.saturating_add(step);
        }
        let full = u128::from(sum).saturating_mul(bundles.into()).checked_div(count.into()).unwrap_or(0);
        let lengths = (size % TILE_WIDTH).saturating_mul(2);
        let edge = u64::try_from(self.bundle.len()).unwrap_or(u64::MAX).saturating_sub(lengths);
        Ok(u64::try_from(full).unwrap_or(u64::MAX).saturating_add(edge))
    }

    /// Clears up near the right edge what a crash left: temporary files, and partial tiles that were not dropped, which
    /// are remembered for later.
    fn clear_up(&mut self, size: u64) -> Result<(), TileError> {
        let kinds = (0..=MAX_LEVEL).map(TileKind::Hashes).chain([TileKind::Entries, TileKind::Redacted]);
        for kind in kinds {
            let edge = TilePath::full(kind, kind.count(size) / TILE_WIDTH);
            let path = edge.to_path(&self.directory);
            let Some(parent) = path.parent() else { continue };
            if !self.remove_temporaries(parent)? {
                continue;
            }
            let names = self.storage.list(parent).map_err(|error| TileError::io(parent, error))?;
            let first = edge.index.saturating_sub(edge.index % 1000);
            let left = names.iter().filter_map(|name| name.strip_suffix(".p")?.parse::<u64>().ok());
            for index in left.filter(|group| *group < 1000).map(|group| first.saturating_add(group)) {
                self.remove_temporaries(&TilePath::full(kind, index).partial_dir(&self.directory))?;
                self.with_partials.insert((kind, index));
            }
        }
        Ok(())
    }

    /// Removes the temporary files in a directory; whether there is one.
    fn remove_temporaries(&self, directory: &Path) -> Result<bool, TileError> {
        let names = match self.storage.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(|error| TileError::io(directory, error))?,
        };
        for name in names.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            let path = directory.join(name);
            self.storage.remove_file(&path).map_err(|error| TileError::io(&path, error))?;
        }
        Ok(true)
    }
}

/// Whether `found` is what a power cut can leave of `wanted` before any sync: cut short, or with sectors of zeros.
fn is_torn(found: &[u8], wanted: &[u8]) -> bool {
    let sectors = found.chunks(SECTOR_BYTES).zip(wanted.chunks(SECTOR_BYTES));
    found.len() <= wanted.len() && { sectors }
        .all(|(found, wanted)| wanted.starts_with(found) || found.iter().all(|byte| *byte == 0))
}
