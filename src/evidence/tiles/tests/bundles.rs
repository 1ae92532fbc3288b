use super::*;

#[test]
fn are_read_strictly() {
    let bytes = [0, 1, b'a', 0, 2, b'b', b'c'];
    let want = vec![BundleEntry::Present(b"a"), BundleEntry::Present(b"bc")];
    assert_eq!(parse_bundle(&bytes, 2, false), Some(want));
    assert_eq!(parse_bundle(&bytes, 1, false), None);
    assert_eq!(parse_bundle(&bytes, 3, false), None);
    assert_eq!(parse_bundle(&[], 0, false), Some(vec![]));
    for length in 0..bytes.len() {
        assert_eq!(parse_bundle(&bytes[..length], 2, false), None, "{length}");
    }
    let redacted = [0, 0, 0, 1, b'a'];
    assert_eq!(parse_bundle(&redacted, 2, false), None);
    let want = vec![BundleEntry::Redacted, BundleEntry::Present(b"a")];
    assert_eq!(parse_bundle(&redacted, 2, true), Some(want));
}

#[test]
fn have_entries_of_65_535_bytes_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = open(directory.path(), 0);
    let longest = vec![7; 65_535];
    writer.push(&longest, Hash::of_leaf(&longest)).unwrap();
    writer.write_partials().unwrap();
    assert_eq!(TileReader::new(storage(), directory.path(), 1).entry(0).unwrap(), Some(longest.clone()));
    let longer = vec![7; 65_536];
    assert_eq!(kind_of(&writer.push(&longer, Hash::of_leaf(&longer)).unwrap_err()), "malformed");
    let mut writer = open(directory.path(), 1);
    assert_eq!(kind_of(&writer.push(b"", Hash::of_leaf(b"")).unwrap_err()), "malformed");
}
