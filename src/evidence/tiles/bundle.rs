//! Bundles of entries: each a 16-bit length, big endian, and the bytes.

/// Greatest length of a bundle in bytes.
pub(crate) const MAX_BUNDLE_BYTES: usize = 256 * (2 + 65_535);

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
    let mut entries = Vec::with_capacity(usize::from(count));
    let mut rest = bytes;
    for _ in 0..count {
        let (entry, behind) = split_entry(rest)?;
        entries.push(match (entry.is_empty(), redacted) {
            (false, _) => BundleEntry::Present(entry),
            (true, true) => BundleEntry::Redacted,
            (true, false) => return None,
        });
        rest = behind;
    }
    rest.is_empty().then_some(entries)
}

/// How many bytes the first `count` entries of a bundle take.
pub(crate) fn prefix_length(bytes: &[u8], count: u16) -> Option<usize> {
    let mut rest = bytes;
    for _ in 0..count {
        rest = split_entry(rest)?.1;
    }
    bytes.len().checked_sub(rest.len())
}

/// Adds an entry, of length 0 where it is [`BundleEntry::Redacted`]; `None` when it is empty or longer than 65,535 bytes.
pub(crate) fn append_entry(bundle: &mut Vec<u8>, entry: BundleEntry<'_>) -> Option<()> {
    let bytes = match entry {
        BundleEntry::Present([]) => return None,
        BundleEntry::Present(bytes) => bytes,
        BundleEntry::Redacted => &[],
    };
    bundle.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
    bundle.extend_from_slice(bytes);
    Some(())
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// A bundle that is read is written as it was, and so is every beginning of it.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_bundle(bytes: &[u8], count: u16, redacted: bool) {
    let Some(entries) = parse_bundle(bytes, count, redacted) else { return };
    let mut again = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        assert!(append_entry(&mut again, entry).is_some());
        assert_eq!(prefix_length(bytes, number), Some(again.len()));
    }
    assert_eq!(again, bytes);
    // what may hold redacted entries is read otherwise in nothing else
    assert!(redacted || parse_bundle(bytes, count, true) == parse_bundle(bytes, count, false));
}
