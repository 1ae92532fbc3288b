//! The files of a log, read in bounded memory. Whoever could alter the log could have put anything in their place.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::report::FindingKind;
use crate::evidence::MAX_ENTRY_BYTES;
use crate::evidence::merkle::{HASH_BYTES, Hash};
use crate::evidence::tiles::{TileKind, TilePath};

/// Hashes of a full tile.
pub(in crate::evidence) const FULL: u16 = 256;

/// Why a file does not give what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::evidence) enum FileError {
    Missing,
    Unreadable,
    Malformed,
}

impl FileError {
    pub(in crate::evidence) const fn kind(self) -> FindingKind {
        match self {
            Self::Missing => FindingKind::Missing,
            Self::Unreadable => FindingKind::Unreadable,
            Self::Malformed => FindingKind::Malformed,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        let is_missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if is_missing { Self::Missing } else { Self::Unreadable }
    }
}

/// A tile of hashes, as far as it was asked for.
#[derive(Clone, Debug)]
pub(in crate::evidence) struct Tile {
    pub(in crate::evidence) hashes: Vec<Hash>,
    /// Relative to the directory of the log.
    pub(in crate::evidence) path: PathBuf,
}

/// A file could not be used, and which.
#[derive(Clone, Debug)]
pub(in crate::evidence) struct Unusable {
    pub(in crate::evidence) error: FileError,
    pub(in crate::evidence) path: PathBuf,
}

/// A log's directory.
#[derive(Clone, Debug)]
pub(in crate::evidence) struct LogFiles {
    directory: PathBuf,
}

impl LogFiles {
    pub(in crate::evidence) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(in crate::evidence) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens a regular file. The name is looked at first: opening a FIFO would wait for its other end.
    pub(in crate::evidence) fn open(&self, relative: &Path) -> Result<File, FileError> {
        let path = self.directory.join(relative);
        if !std::fs::symlink_metadata(&path)?.is_file() {
            return Err(FileError::Unreadable);
        }
        let file = File::open(&path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(FileError::Unreadable) }
    }

    /// All of a file; a longer one than `limit` is malformed.
    pub(in crate::evidence) fn read(&self, relative: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        let file = self.open(relative)?;
        let mut bytes = Vec::new();
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(one_more).read_to_end(&mut bytes)?;
        if bytes.len() > limit { Err(FileError::Malformed) } else { Ok(bytes) }
    }

    /// The first `width` hashes of a tile: from the file of that width, or else from a wider one, since a partial tile
    /// may go when the log has grown beyond it.
    pub(in crate::evidence) fn tile(&self, level: u8, index: u64, width: u16) -> Result<Tile, Unusable> {
        let wanted = TilePath { kind: TileKind::Hashes(level), index, width };
        let mut result = self.tile_file(wanted);
        if width < FULL && matches!(&result, Err(unusable) if unusable.error == FileError::Missing) {
            for wider in self.wider(wanted) {
                match self.tile_file(wider) {
                    Err(unusable) if unusable.error == FileError::Missing => {}
                    other => {
                        result = other;
                        break;
                    }
                }
            }
        }
        let mut tile = result?;
        tile.hashes.truncate(usize::from(width));
        Ok(tile)
    }

    /// Every hash of one file.
    pub(in crate::evidence) fn tile_file(&self, tile: TilePath) -> Result<Tile, Unusable> {
        let path = PathBuf::from(tile.to_relative());
        let length = usize::from(tile.width).saturating_mul(HASH_BYTES);
        match self.read(&path, length) {
            Ok(bytes) if bytes.len() == length => {
                let hashes = bytes.as_chunks().0.iter().copied().map(Hash::new).collect();
                Ok(Tile { hashes, path })
            }
            Ok(_) => Err(Unusable { error: FileError::Malformed, path }),
            Err(error) => Err(Unusable { error, path }),
        }
    }

    /// The files that may hold a tile or bundle of more than `narrow.width`: the full one, then partial ones that exist.
    fn wider(&self, narrow: TilePath) -> Vec<TilePath> {
        let mut found = vec![TilePath { width: FULL, ..narrow }];
        if let Ok(names) = std::fs::read_dir(narrow.partial_dir(&self.directory)) {
            // a folder of partial tiles has 255 names; more is garbage
            let widths = names.take(1024).flatten().filter_map(|entry| {
                let name = entry.file_name();
                let width: u16 = name.to_str()?.parse().ok()?;
                let is_wider = width > narrow.width && width < FULL && name.to_str() == Some(&width.to_string());
                is_wider.then_some(width)
            });
            let mut widths: Vec<u16> = widths.collect();
            widths.sort_unstable();
            found.extend(widths.into_iter().map(|width| TilePath { width, ..narrow }));
        }
        found
    }

    /// The bundle that has the first `width` entries of `index`: the exact width before wider ones, and one with
    /// redactions before a plain one.
    pub(in crate::evidence) fn bundle(&self, index: u64, width: u16) -> Result<BundleFile, Unusable> {
        let (plain, redacted) = (TileKind::Entries, TileKind::Redacted);
        let wanted = TilePath { kind: plain, index, width };
        let mut candidates = vec![TilePath { kind: redacted, ..wanted }, wanted];
        let mut widened = width == FULL;
        let mut next = 0_usize;
        loop {
            let Some(&candidate) = candidates.get(next) else {
                if widened {
                    return Err(Unusable { error: FileError::Missing, path: PathBuf::from(wanted.to_relative()) });
                }
                widened = true;
                candidates.extend(self.wider(TilePath { kind: redacted, ..wanted }));
                candidates.extend(self.wider(wanted));
                continue;
            };
            next = next.saturating_add(1);
            match self.bundle_file(candidate) {
                Err(unusable) if unusable.error == FileError::Missing => {}
                other => return other,
            }
        }
    }

    /// The bundle `index` with the most entries that there is.
    pub(in crate::evidence) fn widest_bundle(&self, index: u64) -> Result<BundleFile, Unusable> {
        let narrow = TilePath { kind: TileKind::Redacted, index, width: 1 };
        let plain = TilePath { kind: TileKind::Entries, ..narrow };
        let mut all = self.wider(narrow);
        all.extend(self.wider(plain));
        all.extend([narrow, plain]);
        // of the same width, that with redactions
        all.sort_by_key(|bundle| (bundle.width, bundle.kind == TileKind::Redacted));
        for bundle in all.into_iter().rev() {
            match self.bundle_file(bundle) {
                Err(unusable) if unusable.error == FileError::Missing => {}
                other => return other,
            }
        }
        Err(Unusable { error: FileError::Missing, path: PathBuf::from(plain.to_relative()) })
    }

    /// One file of entries.
    pub(in crate::evidence) fn bundle_file(&self, bundle: TilePath) -> Result<BundleFile, Unusable> {
        let path = PathBuf::from(bundle.to_relative());
        match self.open(&path) {
            Ok(file) => {
                let redacted = bundle.kind == TileKind::Redacted;
                Ok(BundleFile { file, path, index: bundle.index, width: bundle.width, redacted })
            }
            Err(error) => Err(Unusable { error, path }),
        }
    }

    /// The number of the first bundle or level-0 tile that is there, full or partial; `None` when there is none.
    pub(in crate::evidence) fn first_present(&self) -> Option<u64> {
        self.first_of(&["tile/0", "tile/entries", "tile/entries-redacted"])
    }

    /// The number of the first bundle.
    pub(in crate::evidence) fn first_bundle(&self) -> Option<u64> {
        self.first_of(&["tile/entries", "tile/entries-redacted"])
    }

    fn first_of(&self, folders: &[&str]) -> Option<u64> {
        folders.iter().filter_map(|folder| first_below(&self.directory.join(folder), 0, 0)).min()
    }
}

/// The least number of a file below `folder`, whose own digits so far are `number`.
fn first_below(folder: &Path, number: u64, depth: u8) -> Option<u64> {
    // numbers up to 2^56 have six groups of three digits
    if depth > 6 {
        return None;
    }
    let mut folders = Vec::new();
    let mut least: Option<u64> = None;
    // a thousand files, folders of partial tiles, and folders below
    for entry in std::fs::read_dir(folder).ok()?.take(4096).flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let (is_folder, digits) = match name.strip_prefix('x') {
            Some(digits) => (true, digits),
            None => (false, name.strip_suffix(".p").unwrap_or(name)),
        };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Some(found) = digits.parse().ok().and_then(|group: u64| number.checked_mul(1000)?.checked_add(group))
        else {
            continue;
        };
        if is_folder {
            folders.push((found, entry.path()));
        } else {
            least = Some(least.map_or(found, |least| least.min(found)));
        }
    }
    // a number with more groups is greater
    least.or_else(|| {
        folders.iter().filter_map(|(number, path)| first_below(path, *number, depth.saturating_add(1))).min()
    })
}

/// An open file of entries.
#[derive(Debug)]
pub(in crate::evidence) struct BundleFile {
    file: File,
    /// Relative to the directory of the log.
    pub(in crate::evidence) path: PathBuf,
    index: u64,
    /// How many entries it must have, by its name.
    pub(in crate::evidence) width: u16,
    pub(in crate::evidence) redacted: bool,
}

impl BundleFile {
    /// The number behind its last entry.
    pub(in crate::evidence) fn end(&self) -> u64 {
        self.index.saturating_mul(256).saturating_add(self.width.into())
    }
}

/// Longest entry with its length before it.
const LONGEST: usize = MAX_ENTRY_BYTES.saturating_add(2);

/// Entries of bundles, one after the other through one buffer: a bundle may be 16 MiB, which is never held.
#[derive(Debug)]
pub(in crate::evidence) struct BundleBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl BundleBuffer {
    /// Most bundles of real entries fit as a whole.
    const BYTES: usize = 4 * LONGEST;

    pub(in crate::evidence) fn new() -> Self {
        Self { bytes: vec![0; Self::BYTES], start: 0, end: 0 }
    }

    /// Hands the first `count` entries of `bundle` to `each`. Where that is all that the file must have, nothing may
    /// stand behind them.
    pub(in crate::evidence) fn read(
        &mut self,
        bundle: &mut BundleFile,
        count: u16,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), FileError> {
        self.clear();
        for number in 0..count {
            each(number, self.entry(bundle)?);
        }
        let is_all = count == bundle.width;
        if is_all && self.peek(&mut bundle.file, 1).is_ok() { Err(FileError::Malformed) } else { Ok(()) }
    }

    /// Forgets what was read ahead of another file.
    pub(in crate::evidence) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The next entry of `bundle`, which all calls since [`clear`](Self::clear) were about.
    pub(in crate::evidence) fn entry(&mut self, bundle: &mut BundleFile) -> Result<&[u8], FileError> {
        let length = match self.peek(&mut bundle.file, 2)? {
            &[high, low] => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(FileError::Malformed),
        };
        self.start = self.start.saturating_add(2);
        // there may be nothing behind an entry of length 0
        let found = self.peek(&mut bundle.file, length)?.len();
        let start = self.start;
        self.start = start.saturating_add(found);
        self.bytes.get(start..self.start).ok_or(FileError::Malformed)
    }

    /// The next `length` bytes, at most [`LONGEST`].
    fn peek(&mut self, file: &mut File, length: usize) -> Result<&[u8], FileError> {
        while self.end.saturating_sub(self.start) < length {
            if self.bytes.len().saturating_sub(self.start) < LONGEST {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end = self.end.saturating_sub(self.start);
                self.start = 0;
            }
            let free = self.bytes.get_mut(self.end..).unwrap_or_default();
            match file.read(free) {
                Ok(0) => return Err(FileError::Malformed),
                Ok(read) => self.end = self.end.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes.get(self.start..self.start.saturating_add(length)).ok_or(FileError::Malformed)
    }
}
