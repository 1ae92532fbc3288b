//! The public face of a log on disk: a directory as c2sp.org/tlog-tiles has it, which stock tools read.
//!
//! `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. In scope: paths, bundles, writing them behind the
//! write-ahead log, reading hashes and entries back, redaction and pruning. Out of scope: signatures, what entries say.

mod bundle;
mod path;
mod reader;
mod retain;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(any(test, fuzzing))]
pub(crate) use bundle::fuzz_bundle;
pub(crate) use bundle::{BundleEntry, parse_bundle};
pub(crate) use path::{TileKind, TilePath};
pub(crate) use reader::{TileError, TileReader};
pub(crate) use retain::{prune, redact};
pub(crate) use writer::TileWriter;

/// Hashes of a full tile, and entries of a full bundle.
pub(crate) const TILE_WIDTH: u64 = 256;
/// Levels of the tree that one tile covers.
pub(crate) const TILE_HEIGHT: u8 = 8;
/// The highest level of tiles that a tree of less than 2^64 leaves has.
pub(crate) const MAX_LEVEL: u8 = 7;
/// The published checkpoint.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The newest checkpoint with signatures of witnesses.
pub(crate) const WITNESSED_FILE: &str = "checkpoint.witnessed";
/// The least index of an entry that was not pruned, in decimal; missing where nothing was.
pub(crate) const PRUNED_FILE: &str = "pruned";
