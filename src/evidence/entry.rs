//! Entries of the log: `{"event":{..},"prev":"<leaf hash of the entry before>","seq":N}`.
//!
//! The event is canonical JSON (RFC 8785) and so is the whole, since `event` < `prev` < `seq`. `prev` chains the entries
//! to each other even where only an export of them is at hand; the first entry's `prev` is 32 zero bytes.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::checkpoint::parse_decimal;
use super::merkle::{HASH_BYTES, Hash};
use crate::encoding::MAX_EXACT_INTEGER;

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
        let seq = parse_decimal(digits).filter(|seq| *seq <= MAX_EXACT_INTEGER)?;
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
    use proptest::prelude::*;

    use super::*;

    fn entry(event: &[u8], prev: &Hash, seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_entry(&mut bytes, event, prev, seq);
        bytes
    }

    #[test]
    fn an_entry_is_canonical_json() {
        let bytes = entry(b"{\"a\":1}", &NO_PREVIOUS, 0);
        let text = r#"{"event":{"a":1},"prev":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","seq":0}"#;
        assert_eq!(std::str::from_utf8(&bytes), Ok(text));
        let json = crate::encoding::parse_unique_json(&bytes).unwrap();
        assert_eq!(crate::encoding::canonical_json(&json).unwrap(), bytes);
    }

    #[test]
    fn the_envelope_has_the_room_that_is_set_aside() {
        let longest = entry(b"", &NO_PREVIOUS, u64::MAX).len();
        assert!(longest <= ENVELOPE_BYTES, "{longest}");
    }

    /// Events that imitate the frame, closed or cut in every way: the frame is the last one.
    #[test]
    fn an_event_cannot_pass_for_the_frame() {
        let prev = Hash::of_leaf(b"before");
        let whole = entry(b"{\"a\":1}", &Hash::of_leaf(b"forged"), 7);
        let tail = &whole[EVENT.len()..];
        let forged = [
            [b"{\"a\":\"", tail, b"\"}"].concat(),
            [b"{\"a\":", whole.as_slice(), b"}"].concat(),
            [tail, b"}"].concat(),
            whole.clone(),
            [b"{", tail].concat(),
            b"{\"prev\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"seq\":1}".to_vec(),
            b"{},\"prev\":\"}".to_vec(),
            b"{\",\"seq\":1}".to_vec(),
        ];
        for event in &forged {
            let bytes = entry(event, &prev, 9);
            let parsed = Entry::parse(&bytes).unwrap();
            assert_eq!(parsed, Entry { event, prev, seq: 9 }, "{}", String::from_utf8_lossy(event));
        }
    }

    #[test]
    fn another_frame_is_no_entry() {
        let good = r#"{"event":{"a":1},"prev":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","seq":10}"#;
        assert!(Entry::parse(good.as_bytes()).is_some());
        let changed = |from: &str, to: &str| {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            changed
        };
        let event = format!("{{{}}}", "x".repeat(MAX_ENTRY_BYTES));
        for (what, bytes) in [
            ("empty", String::new()),
            ("space in front", format!(" {good}")),
            ("line break behind", format!("{good}\n")),
            ("space between", changed(",\"prev", ", \"prev")),
            ("another name", changed("event", "evenT")),
            ("members in another order", r#"{"prev":"","seq":1,"event":{}}"#.to_owned()),
            ("event that is an array", changed("{\"a\":1}", "[\"a\",1]")),
            ("event that is a number", changed("{\"a\":1}", "1")),
            ("event of one brace", changed("{\"a\":1}", "{")),
            ("no event", changed("{\"a\":1}", "")),
            ("no number", changed("10}", "}")),
            ("leading zero", changed("10}", "010}")),
            ("sign", changed("10}", "-10}")),
            ("exponent", changed("10}", "1e1}")),
            ("fraction", changed("10}", "10.0}")),
            ("number as text", changed("10}", "\"10\"}")),
            ("number of 2^53", changed("10}", "9007199254740992}")),
            ("number beyond 64 bits", changed("10}", "18446744073709551626}")),
            ("short hash", changed("\"AAA", "\"AA")),
            ("long hash", changed("\"AAA", "\"AAAA")),
            ("base64 for base64url", changed("\"AAA", "\"+AA")),
            ("padding", changed("AA\",\"seq", "A=\",\"seq")),
            ("spare bits", changed("AA\",\"seq", "AB\",\"seq")),
            ("a member more", changed("10}", "10,\"z\":1}")),
            ("too long", changed("{\"a\":1}", &event)),
        ] {
            assert_eq!(Entry::parse(bytes.as_bytes()), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(
            inner in any::<Vec<u8>>(),
            prev in any::<[u8; 32]>(),
            seq in prop_oneof![0..=MAX_EXACT_INTEGER, 0_u64..200],
        ) {
            let event = [b"{", inner.as_slice(), b"}"].concat();
            let bytes = entry(&event, &Hash::new(prev), seq);
            prop_assert_eq!(Entry::parse(&bytes), Some(Entry { event: &event, prev: Hash::new(prev), seq }));
        }

        #[test]
        fn what_is_read_has_no_other_spelling(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            prop_assert_eq!(Entry::parse(&bytes), None);
            let mut changed = entry(b"{\"a\":\"b\"}", &NO_PREVIOUS, 1_234);
            let at = at.index(changed.len());
            changed[at] = byte;
            if let Some(Entry { event, prev, seq }) = Entry::parse(&changed) {
                prop_assert_eq!(entry(event, &prev, seq), changed);
            }
        }
    }
}
