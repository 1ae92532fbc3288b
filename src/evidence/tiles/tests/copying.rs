use super::*;

#[test]
fn a_range_can_be_checked_against_the_root() {
    let size = 1_000;
    let directory = log(size);
    redact(&storage(), directory.path(), &[600], size).unwrap();
    for (range, files_expected) in [(0..1_000, 9), (512..600, 5), (600..601, 5), (900..1_000, 4), (5..5, 2)] {
        let to = tempfile::tempdir().unwrap();
        let mut reader = TileReader::new(storage(), directory.path(), size);
        let count = copy_tiles(&FsStorage, &mut reader, range.clone(), to.path()).unwrap();
        assert_eq!(count, files_expected, "{range:?}");
        assert_eq!(files(to.path()).len() as u64, count);
        let mut copy = TileReader::new(storage(), to.path(), size);
        assert_eq!(root(&mut copy).unwrap(), frontier(size).root(), "{range:?}");
        for index in range.clone() {
            let want = (index != 600).then(|| entry(index));
            assert_eq!((copy.entry(index).unwrap(), copy.leaf(index).unwrap()), (want, Hash::of_leaf(&entry(index))));
        }
        if range.start >= 256 {
            assert_eq!(kind_of(&copy.entry(0).unwrap_err()), "pruned");
        }
        // every file is byte for byte that of the log
        for (path, bytes) in files(to.path()).iter().filter(|(path, _)| *path != PRUNED_FILE) {
            assert_eq!(&std::fs::read(directory.path().join(path)).unwrap(), bytes, "{path}");
        }
    }
}
