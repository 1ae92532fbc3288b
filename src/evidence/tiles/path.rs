//! Paths of tiles: `tile/<L>/x001/x234/067.p/8`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{MAX_LEVEL, TILE_WIDTH};

/// `width` of a full tile.
pub(crate) const FULL_WIDTH: u16 = 256;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TileKind {
    /// Hashes of this level of tiles, 0 (leaves) to [`MAX_LEVEL`].
    Hashes(u8),
    /// Entries.
    Entries,
    /// Entries, of which those of length 0 were redacted. Not of the C2SP format: stock tools see a missing bundle.
    Redacted,
}

impl TileKind {
    /// How many hashes (or entries) of this kind the tree of `size` leaves has.
    pub(crate) const fn count(self, size: u64) -> u64 {
        match self {
            Self::Hashes(level) => match size.checked_shr(8_u32.saturating_mul(level as u32)) {
                Some(count) => count,
                None => 0,
            },
            Self::Entries | Self::Redacted => size,
        }
    }
}

/// Names one tile or bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TilePath {
    /// What it holds.
    pub(crate) kind: TileKind,
    /// The number of the tile among those of its kind.
    pub(crate) index: u64,
    /// How many hashes or entries, 1 to 256; 256 is a full tile.
    pub(crate) width: u16,
}

impl TilePath {
    /// The full tile.
    pub(crate) const fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: FULL_WIDTH }
    }

    /// The tile as wide as the tree of `size` leaves has it; `None` where that tree has nothing of it.
    pub(crate) fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let width = kind.count(size).checked_sub(index.checked_mul(TILE_WIDTH)?)?.min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self { kind, index, width })
    }

    /// How many hashes or entries of its kind there are up to the end of this tile.
    pub(crate) fn end(self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(self.width))
    }

    /// Whether it has its full width.
    pub(crate) const fn is_full(self) -> bool {
        self.width == FULL_WIDTH
    }

    /// The path below the directory of the log, with `/` between its parts.
    pub(crate) fn to_relative(self) -> String {
        let mut text = match self.kind {
            TileKind::Hashes(level) => format!("tile/{level}/"),
            TileKind::Entries => "tile/entries/".to_owned(),
            TileKind::Redacted => "tile/entries-redacted/".to_owned(),
        };
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            let (prefix, end) = if place == 0 { ("", "") } else { ("x", "/") };
            // writing to a string cannot fail
            let _ = write!(text, "{prefix}{group:03}{end}");
        }
        if !self.is_full() {
            let _ = write!(text, ".p/{}", self.width);
        }
        text
    }

    /// The path of the file in the log in `directory`.
    pub(crate) fn to_path(self, directory: &Path) -> PathBuf {
        self.to_relative().split('/').fold(directory.to_owned(), |path, part| path.join(part))
    }

    /// The directory of the partial tiles of this index in the log in `directory`.
    pub(crate) fn partial_dir(self, directory: &Path) -> PathBuf {
        let path = Self { width: FULL_WIDTH, ..self }.to_path(directory);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".p");
        path.with_file_name(name)
    }

    /// Reads what [`to_relative`](Self::to_relative) writes, strictly.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            "entries-redacted" => TileKind::Redacted,
            level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..FULL_WIDTH).contains(width))?),
            None => (rest, FULL_WIDTH),
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let group = digits.parse::<u64>().ok().filter(|group| *group < 1000)?;
            index = index.checked_mul(1000)?.checked_add(group)?;
        }
        let path = Self { kind, index, width };
        // one path a tile: no sign, no missing or superfluous zero or `x` gets through
        (path.to_relative() == text && index.checked_mul(TILE_WIDTH)?.checked_add(u64::from(width)).is_some())
            .then_some(path)
    }
}
