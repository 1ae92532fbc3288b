use super::*;

#[test]
fn gives_every_entry_and_hash() {
    for size in [1, 2, 255, 256, 257, 600] {
        let directory = log(size);
        let mut reader = TileReader::new(storage(), directory.path(), size);
        for index in 0..size {
            assert_eq!(reader.entry(index).unwrap(), Some(entry(index)));
            assert_eq!(reader.leaf(index).unwrap(), Hash::of_leaf(&entry(index)));
        }
        assert_eq!(root(&mut reader).unwrap(), frontier(size).root());
        assert_eq!(kind_of(&reader.entry(size).unwrap_err()), "missing");
        assert_eq!(kind_of(&reader.leaf(size).unwrap_err()), "missing");
        assert_eq!(kind_of(&reader.node(1, size / 2).unwrap_err()), "missing");
        for level in [8, 63, 64, 255] {
            assert_eq!(kind_of(&reader.node(level, 1 << 20).unwrap_err()), "missing");
            assert_eq!(kind_of(&reader.node(level, u64::MAX).unwrap_err()), "missing");
        }
    }
}

#[test]
fn a_smaller_tree_is_read_from_the_files_of_a_larger_one() {
    let directory = log(600);
    for size in [1, 100, 256, 300, 512, 599] {
        let mut reader = TileReader::new(storage(), directory.path(), size);
        assert_eq!(root(&mut reader).unwrap(), frontier(size).root());
        let last = size.saturating_sub(1);
        assert_eq!(reader.entry(last).unwrap(), Some(entry(last)));
        let (bytes, count, redacted) = reader.bundle(last / 256).unwrap();
        assert_eq!((u64::from(count), redacted), (last % 256 + 1, false));
        assert_eq!(parse_bundle(&bytes, count, redacted).unwrap().len(), usize::from(count));
        assert_eq!(kind_of(&reader.entry(size).unwrap_err()), "missing");
    }
}

#[test]
fn a_file_of_the_wrong_length_is_malformed() {
    for (path, size) in [("tile/0/000", 300), ("tile/0/001.p/44", 300), ("tile/entries/000", 300)] {
        let directory = log(size);
        let file = directory.path().join(path);
        let whole = std::fs::read(&file).unwrap();
        for bytes in [&whole[1..], &[&whole[..], &[0]].concat(), &[]] {
            std::fs::write(&file, bytes).unwrap();
            let mut reader = TileReader::new(storage(), directory.path(), size);
            let hashes = [root(&mut reader), reader.leaf(0), reader.leaf(256)].map(|result| result.map(|_| ()));
            let results = hashes.into_iter().chain([reader.entry(0).map(|_| ())]);
            let errors: Vec<_> = results.filter_map(Result::err).collect();
            assert!(!errors.is_empty(), "{path}");
            assert!(errors.iter().all(|error| kind_of(error) == "malformed" && path_of(error) == &file), "{errors:?}");
        }
        std::fs::remove_file(&file).unwrap();
        let mut reader = TileReader::new(storage(), directory.path(), size);
        let hashes = [root(&mut reader), reader.leaf(0)].map(|result| result.map(|_| ()));
        let error = hashes.into_iter().chain([reader.entry(0).map(|_| ())]).find_map(Result::err).unwrap();
        assert_eq!((kind_of(&error), path_of(&error)), ("missing", &file));
    }
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let directory = log(300);
    for path in ["tile/0/000", "tile/entries/000"] {
        let file = directory.path().join(path);
        // takes no room on the disk
        std::fs::File::options().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
        let mut reader = TileReader::new(storage(), directory.path(), 300);
        let error = reader.leaf(0).map(|_| ()).and_then(|()| reader.entry(0).map(|_| ())).unwrap_err();
        assert_eq!((kind_of(&error), path_of(&error)), ("malformed", &file));
        std::fs::write(&file, b"").unwrap();
        std::fs::copy(log(300).path().join(path), &file).unwrap();
    }
}
