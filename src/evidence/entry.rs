//! Entries of the log: `{"event":{..},"prev":"<leaf hash of the entry before>","seq":N}`.
//!
//! The event is canonical JSON (RFC 8785) and so is the whole, since `event` < `prev` < `seq`. `prev` chains the entries
//! to each other even where only an export of them is at hand; the first entry's `prev` is 32 zero bytes.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::checkpoint::parse_decimal;
use super::merkle::{HASH_BYTES, Hash};

/// Largest entry in bytes (c2sp.org/tlog-tiles: a 16-bit length).
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// `prev` of the first entry.
pub(crate) const NO_PREVIOUS: Hash = Hash::new([0; 32]);

/// Bytes that an entry is longer than its event, at most: the names, a hash and a number below 2^53.
pub(crate) const ENVELOPE_BYTES: usize = 96;

const EVENT: &[u8] = b"{\"event\":";
const PREV: &[u8] = b",\"prev\":\"";
const SEQ: &[u8] = b"\",\"seq\":";

/// Length of a hash in base64url.
const PREV_BYTES: usize = 43;

/// The largest number that every JSON reader takes exactly (RFC 8785 §3.2.2.3).
const MAX_SEQ: u64 = (1 << 53) - 1;

/// Appends the entry number `seq` to `out`.
pub(crate) fn write_entry(out: &mut Vec<u8>, event: &[u8], prev: &Hash, seq: u64) {
    let mut text = [0; PREV_BYTES];
    // 32 bytes are 43 characters, so this cannot fail
    let _ = URL_SAFE_NO_PAD.encode_slice(prev.as_bytes(), &mut text);
    out.reserve(event.len().saturating_add(ENVELOPE_BYTES));
    out.extend_from_slice(EVENT);
    out.extend_from_slice(event);
    out.extend_from_slice(PREV);
    out.extend_from_slice(&text);
    out.extend_from_slice(SEQ);
    let _ = write!(out, "{seq}}}");
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
    /// Splits `bytes`; `None` when they are not an entry as this log writes it: longer than [`MAX_ENTRY_BYTES`], another
    /// frame, or another spelling of the hash or the number.
    ///
    /// The frame is taken off from both ends, and what follows the event has one possible length, so nothing in an event
    /// can pass for the frame.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return None;
        }
        let rest = bytes.strip_prefix(EVENT)?.strip_suffix(b"}")?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(digits)?)?;
        let seq = parse_decimal(digits).filter(|seq| *seq <= MAX_SEQ)?;
        let rest = rest.strip_suffix(SEQ)?;
        let (rest, prev) = rest.split_at_checked(rest.len().checked_sub(PREV_BYTES)?)?;
        let event = rest.strip_suffix(PREV)?;
        if event.len() < 2 || !event.starts_with(b"{") || !event.ends_with(b"}") {
            return None;
        }
        // one byte more than a hash: what the decoder wants as room for 43 characters
        let mut hash = [0; HASH_BYTES + 1];
        let length = URL_SAFE_NO_PAD.decode_slice(prev, &mut hash).ok()?;
        let prev = hash.get(..length)?.try_into().ok().map(Hash::new)?;
        Some(Self { event, prev, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let prev = Hash::of_leaf(b"before");
        let mut bytes = Vec::new();
        write_entry(&mut bytes, b"{\"a\":1}", &prev, 12);
        assert_eq!(Entry::parse(&bytes), Some(Entry { event: b"{\"a\":1}", prev, seq: 12 }));
    }
}
