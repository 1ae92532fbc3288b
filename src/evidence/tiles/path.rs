//! Paths of tiles: `tile/<L>/x001/x234/067.p/8`.

/// Names one tile or bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TilePath {
    /// The level of tiles, or `None` for entries.
    pub(crate) level: Option<u8>,
    /// The number of the tile in its level.
    pub(crate) index: u64,
    /// How many hashes or entries, 1 to 256; 256 is a full tile.
    pub(crate) width: u16,
}

impl TilePath {
    /// The path below the directory of the log, with `/` between its parts.
    pub(crate) fn to_relative(self) -> String {
        todo!()
    }

    /// Reads what [`to_relative`](Self::to_relative) writes, strictly.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }
}
