//! Entries of the log: `{"event":{..},"prev":"<leaf hash of the entry before>","seq":N}`.
//!
//! The event is canonical JSON (RFC 8785) and so is the whole, since `event` < `prev` < `seq`. `prev` chains the entries
//! to each other even where only an export of them is at hand; the first entry's `prev` is 32 zero bytes.

use super::merkle::Hash;

/// Largest entry in bytes (c2sp.org/tlog-tiles: a 16-bit length).
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// `prev` of the first entry.
pub(crate) const NO_PREVIOUS: Hash = Hash::new([0; 32]);

/// Bytes that an entry is longer than its event, at most: the names, a hash and a number below 2^53.
pub(crate) const ENVELOPE_BYTES: usize = 96;

/// Appends the entry number `seq` to `out`.
pub(crate) fn write_entry(out: &mut Vec<u8>, event: &[u8], prev: &Hash, seq: u64) {
    out.extend_from_slice(b"{\"event\":");
    out.extend_from_slice(event);
    out.extend_from_slice(b",\"prev\":\"");
    out.extend_from_slice(crate::encoding::base64url(prev.as_bytes()).as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    out.extend_from_slice(seq.to_string().as_bytes());
    out.push(b'}');
}

/// The parts of an entry, by its fixed frame; the event itself is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The record, one JSON object.
    pub event: &'a [u8],
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// Its index in the log.
    pub seq: u64,
}

impl<'a> Entry<'a> {
    /// Splits `bytes`; `None` when they are not an entry as this log writes it.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let _ = bytes;
        todo!()
    }
}
