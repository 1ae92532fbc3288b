//! Reading hashes and entries back; trusts nothing it reads, but does not check it against a root either.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::{MAX_BUNDLE_BYTES, prefix_length};
use super::path::FULL_WIDTH;
use super::{BundleEntry, MAX_LEVEL, PRUNED_FILE, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, parse_bundle};
use crate::evidence::merkle::{Frontier, HASH_BYTES, Hash, HashReader};
use crate::evidence::storage::{Storage, read_file};

/// How often a tile is looked for anew when its file goes away between being listed and being opened, as partial files
/// of a log that grows do.
const ATTEMPTS: usize = 4;

/// A tile could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TileError {
    /// The operating system refused.
    #[error("`{}` cannot be accessed", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such file, full or partial.
    #[error("`{}` is missing", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// There is no such file, and the log says that it was pruned.
    #[error("`{}` was pruned", path.display())]
    Pruned {
        /// Which file.
        path: PathBuf,
    },
    /// The file has the wrong length or form, or not the content that it must have.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
}

impl TileError {
    /// What [`Storage`] said of `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else if source.kind() == io::ErrorKind::InvalidData {
            Self::Malformed { path }
        } else {
            Self::Io { path, source }
        }
    }
}

/// Reads a log of `size` leaves; keeps the tiles it read last.
#[derive(Debug)]
pub(crate) struct TileReader {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    pub(super) size: u64,
    /// Of each level the tile that was read last: its number and its hashes, as many as the tree has.
    tiles: [Option<(u64, Vec<u8>)>; MAX_LEVEL as usize + 1],
    bundle: Option<CachedBundle>,
    minimum: Option<u64>,
}

#[derive(Debug)]
struct CachedBundle {
    index: u64,
    bytes: Vec<u8>,
    /// Start and end of each entry in `bytes`; equal where it was redacted.
    entries: Vec<(usize, usize)>,
}

impl TileReader {
    /// The log in `directory`, as far as the tree of `size` leaves.
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, size: u64) -> Self {
        let directory = directory.to_owned();
        Self { storage, directory, size, tiles: Default::default(), bundle: None, minimum: None }
    }

    /// The leaf hash number `index`.
    pub(crate) fn leaf(&mut self, index: u64) -> Result<Hash, TileError> {
        self.node(0, index)
    }

    /// The hashes of tile `index` of `level`, 32 bytes each, as many as the tree has.
    pub(crate) fn tile(&mut self, level: u8, index: u64) -> Result<&[u8], TileError> {
        let kind = TileKind::Hashes(level);
        let cached = self.tiles.get(usize::from(level)).and_then(Option::as_ref);
        if cached.is_none_or(|(number, _)| *number != index) {
            let (want, found, mut bytes) = self.find(kind, index)?;
            if bytes.len() != usize::from(found.width).saturating_mul(HASH_BYTES) {
                return Err(TileError::Malformed { path: found.to_path(&self.directory) });
            }
            bytes.truncate(usize::from(want.width).saturating_mul(HASH_BYTES));
            if let Some(slot) = self.tiles.get_mut(usize::from(level)) {
                *slot = Some((index, bytes));
            }
        }
        let cached = self.tiles.get(usize::from(level)).and_then(Option::as_ref);
        cached.map(|(_, bytes)| bytes.as_slice()).ok_or_else(|| self.missing(kind, index))
    }

    /// The bytes of bundle number `bundle`, how many entries it has, and whether some may have been redacted
    /// (length 0). Of a file with more entries than the tree has, those of the tree only.
    pub(crate) fn bundle(&mut self, bundle: u64) -> Result<(Vec<u8>, u16, bool), TileError> {
        let (want, found, mut bytes) = self.find_bundle(bundle)?;
        let redacted = found.kind == TileKind::Redacted;
        let length = parse_bundle(&bytes, found.width, redacted).and_then(|_| prefix_length(&bytes, want.width));
        let length = length.ok_or_else(|| TileError::Malformed { path: found.to_path(&self.directory) })?;
        bytes.truncate(length);
        Ok((bytes, want.width, redacted))
    }

    /// The entry `index`; `None` when it was redacted. Neighbours are read from memory.
    pub(crate) fn entry(&mut self, index: u64) -> Result<Option<Vec<u8>>, TileError> {
        let number = index / TILE_WIDTH;
        if self.bundle.as_ref().is_none_or(|bundle| bundle.index != number) {
            self.bundle = None;
            let (bytes, count, redacted) = self.bundle(number)?;
            let entries = parse_bundle(&bytes, count, redacted).unwrap_or_default();
            let mut end = 0_usize;
            let entries = entries.iter().map(|entry| {
                let length = if let BundleEntry::Present(bytes) = entry { bytes.len() } else { 0 };
                let start = end.saturating_add(2);
                end = start.saturating_add(length);
                (start, end)
            });
            let entries = entries.collect();
            self.bundle = Some(CachedBundle { index: number, bytes, entries });
        }
        let place = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        let bytes = self.bundle.as_ref().and_then(|bundle| {
            let (start, end) = bundle.entries.get(place)?;
            bundle.bytes.get(*start..*end)
        });
        match bytes {
            None => Err(self.missing(TileKind::Entries, number)),
            Some([]) => Ok(None),
            Some(bytes) => Ok(Some(bytes.to_owned())),
        }
    }

    /// The least index that the log says was not pruned, a multiple of 256; 0 where nothing was. Not signed: a record
    /// of the log must say the same.
    pub(crate) fn minimum_index(&mut self) -> Result<u64, TileError> {
        if let Some(minimum) = self.minimum {
            return Ok(minimum);
        }
        let minimum = read_minimum(&*self.storage, &self.directory)?;
        self.minimum = Some(minimum);
        Ok(minimum)
    }

    /// The file of a bundle: one with redactions is preferred, so that a redaction holds as soon as its file is there.
    fn find_bundle(&mut self, bundle: u64) -> Result<(TilePath, TilePath, Vec<u8>), TileError> {
        match self.find(TileKind::Redacted, bundle) {
            Err(TileError::Missing { .. } | TileError::Pruned { .. }) => self.find(TileKind::Entries, bundle),
            other => other,
        }
    }

    /// What the tree has of a tile, the file that was found for it, and its bytes.
    fn find(&mut self, kind: TileKind, index: u64) -> Result<(TilePath, TilePath, Vec<u8>), TileError> {
        let Some(want) = TilePath::in_tree(kind, index, self.size) else { return Err(self.missing(kind, index)) };
        for _ in 0..ATTEMPTS {
            let full = TilePath::full(kind, index);
            if let Some(bytes) = self.read(full)? {
                return Ok((want, full, bytes));
            }
            if want.is_full() {
                break;
            }
            if let Some(bytes) = self.read(want)? {
                return Ok((want, want, bytes));
            }
            // the writer drops a partial tile when a larger one stands for it
            let wider = partials(&*self.storage, &self.directory, want)?;
            let wider: Vec<_> = wider.into_iter().filter(|path| path.width > want.width).collect();
            for path in &wider {
                if let Some(bytes) = self.read(*path)? {
                    return Ok((want, *path, bytes));
                }
            }
        }
        let prunable = matches!(kind, TileKind::Hashes(0) | TileKind::Entries | TileKind::Redacted);
        if prunable && want.is_full() && want.end() <= self.minimum_index()? {
            return Err(TileError::Pruned { path: want.to_path(&self.directory) });
        }
        Err(self.missing(kind, index))
    }

    fn read(&self, path: TilePath) -> Result<Option<Vec<u8>>, TileError> {
        read_tile(&*self.storage, &self.directory, path)
    }

    fn missing(&self, kind: TileKind, index: u64) -> TileError {
        let path = TilePath::in_tree(kind, index, self.size).unwrap_or_else(|| TilePath::full(kind, index));
        TileError::Missing { path: path.to_path(&self.directory) }
    }
}

impl HashReader for TileReader {
    type Error = TileError;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, TileError> {
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let kind = TileKind::Hashes(tile_level.min(MAX_LEVEL));
        // a tile of 256 hashes has 256 >> height nodes of that height, which never reach over its end
        let nodes = TILE_WIDTH.checked_shr(height.into()).filter(|_| tile_level <= MAX_LEVEL).unwrap_or(1);
        let tile = index.checked_div(nodes).unwrap_or(0);
        let place = index.checked_rem(nodes).and_then(|place| usize::try_from(place).ok());
        let bytes = HASH_BYTES.checked_shl(height.into());
        let missing = self.missing(kind, tile);
        if tile_level > MAX_LEVEL {
            return Err(missing);
        }
        let hashes = self.tile(tile_level, tile)?;
        let range = place.zip(bytes).and_then(|(place, bytes)| {
            let start = place.checked_mul(bytes)?;
            hashes.get(start..start.checked_add(bytes)?)
        });
        Ok(frontier_of(range.ok_or(missing)?).root())
    }
}

/// The tree over these hashes, 32 bytes each.
pub(super) fn frontier_of(hashes: &[u8]) -> Frontier {
    let mut frontier = Frontier::new();
    for hash in hashes.as_chunks::<HASH_BYTES>().0 {
        frontier.push(Hash::new(*hash));
    }
    frontier
}

/// The file of a tile; `None` when there is none.
pub(super) fn read_tile(storage: &dyn Storage, directory: &Path, tile: TilePath) -> Result<Option<Vec<u8>>, TileError> {
    let path = tile.to_path(directory);
    let limit = match tile.kind {
        TileKind::Hashes(_) => usize::from(tile.width).saturating_mul(HASH_BYTES),
        TileKind::Entries | TileKind::Redacted => MAX_BUNDLE_BYTES,
    };
    match read_file(storage, &path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TileError::io(&path, error)),
    }
}

/// The partial tiles there are of the index of `tile`, narrowest first.
pub(super) fn partials(storage: &dyn Storage, directory: &Path, tile: TilePath) -> Result<Vec<TilePath>, TileError> {
    let path = tile.partial_dir(directory);
    let names = match storage.list(&path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(TileError::io(&path, error)),
    };
    // `8`, but neither `08` nor `8.tmp`
    let widths = names.iter().filter_map(|name| name.parse().ok().filter(|width: &u16| width.to_string() == *name));
    let widths = widths.filter(|width| (1..FULL_WIDTH).contains(width));
    let mut partials: Vec<_> = widths.map(|width| TilePath { width, ..tile }).collect();
    partials.sort_unstable();
    Ok(partials)
}

/// The least index that was not pruned.
pub(super) fn read_minimum(storage: &dyn Storage, directory: &Path) -> Result<u64, TileError> {
    let path = directory.join(PRUNED_FILE);
    let bytes = match read_file(storage, &path, 32) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(TileError::io(&path, error)),
    };
    let minimum = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let minimum = text.strip_suffix('\n')?.parse::<u64>().ok()?;
        (minimum % TILE_WIDTH == 0 && format!("{minimum}\n") == text).then_some(minimum)
    });
    minimum.ok_or(TileError::Malformed { path })
}
