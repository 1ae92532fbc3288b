//! Bundles of entries: each a 16-bit length, big endian, and the bytes.

/// An entry as a bundle has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BundleEntry<'a> {
    /// Its bytes.
    Present(&'a [u8]),
    /// Taken out (length 0, in a bundle below `tile/entries-redacted` only); its leaf hash is still in the tile.
    Redacted,
}

/// Splits a bundle; `None` when it does not hold exactly `count` entries, or has an empty one and is not `redacted`.
pub(crate) fn parse_bundle(bytes: &[u8], count: u16, redacted: bool) -> Option<Vec<BundleEntry<'_>>> {
    let _ = (bytes, count, redacted);
    todo!()
}
