use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::evidence::merkle::{Frontier, HASH_BYTES, Hash, HashReader as _};
use crate::evidence::storage::{FsStorage, Storage};

/// Every entry differs from every other, in length too.
fn entry(index: u64) -> Vec<u8> {
    let mut entry = format!("entry {index} ").into_bytes();
    entry.resize(entry.len() + usize::try_from(index % 23).unwrap(), b'.');
    entry
}

fn storage() -> Arc<dyn Storage> {
    Arc::new(FsStorage)
}

fn open(directory: &Path, size: u64) -> TileWriter {
    TileWriter::open(storage(), directory, size).unwrap()
}

fn push(writer: &mut TileWriter, to: u64) {
    for index in writer.frontier().size()..to {
        let entry = entry(index);
        writer.push(&entry, Hash::of_leaf(&entry)).unwrap();
    }
}

/// A log of `size` entries with its partial tiles.
fn log(size: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = open(directory.path(), 0);
    push(&mut writer, size);
    writer.write_partials().unwrap();
    directory
}

/// Every file below `directory`.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(relative, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(directory, directory, &mut all);
    all
}

fn frontier(size: u64) -> Frontier {
    let mut frontier = Frontier::new();
    (0..size).for_each(|index| frontier.push(Hash::of_leaf(&entry(index))));
    frontier
}

/// The root by tiles: the nodes that a frontier of this size has, read one by one.
fn root(reader: &mut TileReader) -> Result<Hash, TileError> {
    let size = reader.size();
    let (mut peaks, mut start) = (Vec::new(), 0);
    for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
        peaks.push(reader.node(level, start >> level)?);
        start += 1 << level;
    }
    Ok(Frontier::from_peaks(size, peaks).unwrap().root())
}

fn kind_of(error: &TileError) -> &'static str {
    match error {
        TileError::Io { .. } => "io",
        TileError::Missing { .. } => "missing",
        TileError::Pruned { .. } => "pruned",
        TileError::Malformed { .. } => "malformed",
    }
}

fn path_of(error: &TileError) -> &PathBuf {
    match error {
        TileError::Io { path, .. }
        | TileError::Missing { path }
        | TileError::Pruned { path }
        | TileError::Malformed { path } => path,
    }
}

mod paths {
    use super::*;

    #[test]
    fn are_those_of_the_specification() {
        let cases = [
            (TileKind::Hashes(0), 0, 256, "tile/0/000"),
            (TileKind::Hashes(1), 999, 256, "tile/1/999"),
            (TileKind::Hashes(7), 1000, 1, "tile/7/x001/000.p/1"),
            (TileKind::Hashes(3), 1_234_067, 8, "tile/3/x001/x234/067.p/8"),
            (TileKind::Entries, 1_234_067, 256, "tile/entries/x001/x234/067"),
            (TileKind::Redacted, 5, 255, "tile/entries-redacted/005.p/255"),
        ];
        for (kind, index, width, text) in cases {
            let path = TilePath { kind, index, width };
            assert_eq!((path.to_relative().as_str(), TilePath::parse(text)), (text, Some(path)));
        }
    }

    #[test]
    fn have_one_spelling() {
        for text in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/+01",
            "tile/+0/001",
            "tile/00/001",
            "tile/8/001",
            "tile/-1/001",
            "tile/0/x001",
            "tile/0/001/002",
            "tile/0/x000/001",
            "/tile/0/001",
            "tile/0/x001/x002",
            "tile/0/001/",
            "tile/0//001",
            "tile/0/001.p",
            "tile/0/001.p/",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/08",
            "tile/0/001.p/+8",
            "tile/0/001.p/8/",
            "tile/0/001.p/8.p/8",
            "tile/0/001.tmp",
            "tile/entry/001",
            "tile/entries/x01/001",
            "tile/0/xx001/001",
            "tile/0/١٢٣",
            "TILE/0/001",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TilePath::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agree_with_tlog_tiles(level in 0..=MAX_LEVEL, index in 0..1_u64 << 48, width in 1..=256_u16) {
            let path = TilePath { kind: TileKind::Hashes(level), index, width };
            let theirs = tlog_tiles::Tile::new(TILE_HEIGHT, level, index, width.into(), false).path();
            let ours = theirs.strip_prefix("tile/8/").map(|rest| format!("tile/{rest}"));
            prop_assert_eq!(Some(path.to_relative()), ours);
            let theirs = tlog_tiles::Tile::new(TILE_HEIGHT, 0, index, width.into(), true).path();
            let path = TilePath { kind: TileKind::Entries, ..path };
            prop_assert_eq!(path.to_relative(), theirs.replace("tile/8/data/", "tile/entries/"));
            prop_assert_eq!(TilePath::parse(&path.to_relative()), Some(path));
        }

        #[test]
        fn are_never_read_two_ways(text in "tile/(entries(-redacted)?|[0-9]{1,2})/(x?[0-9]{3,4}/){0,7}[0-9]{2,4}(\\.p/[0-9]{1,3})?") {
            if let Some(path) = TilePath::parse(&text) {
                prop_assert_eq!(path.to_relative(), text);
            }
        }
    }

    #[test]
    fn of_a_tree_are_those_of_tlog_tiles() {
        for size in [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000, (1 << 24) + 3] {
            let theirs = tlog_tiles::Tile::new_tiles(TILE_HEIGHT, 0, size);
            for tile in &theirs {
                let kind = TileKind::Hashes(tile.level());
                let ours = TilePath::in_tree(kind, tile.level_index(), size).unwrap();
                assert_eq!(u32::from(ours.width), tile.width(), "{tile:?}");
            }
            let ours: u64 = (0..=MAX_LEVEL).map(|level| TileKind::Hashes(level).count(size).div_ceil(256)).sum();
            assert_eq!(u64::try_from(theirs.len()).unwrap(), ours, "{size}");
        }
        assert_eq!(TilePath::in_tree(TileKind::Hashes(1), 0, 255), None);
        let last = TilePath::in_tree(TileKind::Hashes(MAX_LEVEL), 0, u64::MAX).unwrap();
        assert_eq!(last.width, 255);
        assert_eq!(TilePath::in_tree(TileKind::Entries, u64::MAX, u64::MAX), None);
    }
}

mod bundles {
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
}

mod writing {
    use super::*;

    #[test]
    fn gives_the_tiles_of_tlog_tiles() {
        struct Hashes(Vec<tlog_tiles::Hash>);
        impl tlog_tiles::HashReader for Hashes {
            fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
                Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
            }
        }
        let size = 66_000;
        let mut hashes = Hashes(Vec::new());
        for index in 0..size {
            let more = tlog_tiles::stored_hashes(index, &entry(index), &hashes).unwrap();
            hashes.0.extend(more);
        }
        let directory = log(size);
        let theirs = tlog_tiles::Tile::new_tiles(TILE_HEIGHT, 0, size);
        for tile in &theirs {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            assert_eq!(
                std::fs::read(directory.path().join(&path)).unwrap(),
                tile.read_data(&hashes).unwrap(),
                "{path}"
            );
        }
        // the level above was filled without a partial file
        let ours = files(directory.path());
        assert_eq!(ours.keys().filter(|path| !path.contains("entries")).count(), theirs.len());
        let mut reader = TileReader::new(storage(), directory.path(), size);
        assert_eq!(root(&mut reader).unwrap().as_bytes(), &tlog_tiles::tree_hash(size, &hashes).unwrap().0);
        assert_eq!(open(directory.path(), size).frontier(), &frontier(size));
    }

    #[test]
    fn can_go_on_at_any_size() {
        let whole = files(log(600).path());
        let directory = log(600);
        for size in (0..=600).step_by(7).chain([255, 256, 257, 511, 512, 513]) {
            let mut writer = open(directory.path(), size);
            assert_eq!(writer.frontier(), &frontier(size), "{size}");
            assert_eq!(writer.bytes(), (0..size).map(|index| entry(index).len() as u64).sum::<u64>(), "{size}");
            push(&mut writer, 600);
            writer.write_partials().unwrap();
            assert_eq!(files(directory.path()), whole, "{size}");
        }
    }

    #[test]
    fn refuses_a_file_that_differs() {
        for path in ["tile/0/000", "tile/0/001", "tile/entries/001", "tile/1/000.p/2", "tile/entries/002.p/8"] {
            let directory = log(520);
            let file = directory.path().join(path);
            let mut bytes = std::fs::read(&file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            let mut writer = open(directory.path(), 0);
            let result = (0..520).try_for_each(|index| writer.push(&entry(index), Hash::of_leaf(&entry(index))));
            let error = result.and_then(|()| writer.write_partials()).unwrap_err();
            assert_eq!((kind_of(&error), path_of(&error)), ("malformed", &file));
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
            // and does nothing from then on
            assert_eq!(kind_of(&writer.sync().unwrap_err()), "io");
            assert_eq!(kind_of(&writer.push(b"x", Hash::of_leaf(b"x")).unwrap_err()), "io");
        }
    }

    #[test]
    fn replaces_a_file_that_a_power_cut_tore() {
        let directory = log(520);
        let whole = files(directory.path());
        for (path, bytes) in &whole {
            let cut = bytes.len() / 2;
            let mut holed = bytes.clone();
            holed.iter_mut().take(512).for_each(|byte| *byte = 0);
            for torn in [Vec::new(), bytes[..cut].to_vec(), vec![0; bytes.len()], vec![0; cut], holed] {
                std::fs::write(directory.path().join(path), torn).unwrap();
                let mut writer = open(directory.path(), 0);
                push(&mut writer, 520);
                writer.write_partials().unwrap();
                assert_eq!(files(directory.path()), whole, "{path}");
            }
        }
    }

    #[test]
    fn a_torn_file_is_not_gone_on_from() {
        let directory = log(300);
        let mut writer = open(directory.path(), 300);
        push(&mut writer, 310);
        writer.write_partials().unwrap();
        // the narrower one was lost, the wider one torn, and a third is whole
        push(&mut writer, 320);
        writer.sync().unwrap();
        for path in ["tile/0/001.p/44", "tile/entries/001.p/44"] {
            std::fs::remove_file(directory.path().join(path)).unwrap();
        }
        std::fs::write(directory.path().join("tile/0/001.p/54"), [0; 54 * HASH_BYTES]).unwrap();
        std::fs::write(directory.path().join("tile/entries/001.p/54"), [0; 700]).unwrap();
        assert_eq!(open(directory.path(), 300).frontier(), &frontier(300));
        for path in ["tile/0/001.p/64", "tile/entries/001.p/64"] {
            let directory = tempfile::tempdir().unwrap();
            let mut writer = open(directory.path(), 0);
            push(&mut writer, 320);
            writer.sync().unwrap();
            std::fs::write(directory.path().join(path), b"torn").unwrap();
            let error = TileWriter::open(storage(), directory.path(), 300).unwrap_err();
            assert_eq!((kind_of(&error), path_of(&error)), ("malformed", &directory.path().join(path)));
            std::fs::remove_file(directory.path().join(path)).unwrap();
            let error = TileWriter::open(storage(), directory.path(), 300).unwrap_err();
            assert_eq!(kind_of(&error), "missing");
        }
    }

    #[test]
    fn a_temporary_file_that_a_crash_left_is_replaced() {
        let directory = log(5);
        std::fs::write(directory.path().join("tile/0/000.tmp"), b"half").unwrap();
        let mut writer = open(directory.path(), 5);
        push(&mut writer, 256);
        writer.sync().unwrap();
        writer.drop_partials(256).unwrap();
        writer.drop_partials(256).unwrap();
        assert_eq!(files(directory.path()), files(log(256).path()));
    }

    #[test]
    fn partial_tiles_stay_until_two_checkpoints_later() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = open(directory.path(), 0);
        let widths = |index| {
            let files = files(directory.path());
            let prefix = format!("tile/0/{index:03}.p/");
            let mut widths: Vec<u16> =
                files.keys().filter_map(|path| path.strip_prefix(&prefix)?.parse().ok()).collect();
            widths.sort_unstable();
            widths
        };
        for size in [10, 20] {
            push(&mut writer, size);
            writer.write_partials().unwrap();
            writer.drop_partials(size).unwrap();
        }
        // nothing was synced yet
        assert_eq!(widths(0), [10, 20]);
        push(&mut writer, 30);
        writer.sync().unwrap();
        writer.drop_partials(20).unwrap();
        assert_eq!(widths(0), [20, 30]);
        writer.drop_partials(30).unwrap();
        assert_eq!(widths(0), [20, 30]);
        writer.drop_partials(30).unwrap();
        assert_eq!(widths(0), [30]);
        push(&mut writer, 300);
        writer.write_partials().unwrap();
        writer.drop_partials(300).unwrap();
        writer.drop_partials(300).unwrap();
        // the full tile is not durable yet
        assert_eq!((widths(0), widths(1)), (vec![30], vec![44]));
        writer.sync().unwrap();
        writer.drop_partials(300).unwrap();
        assert_eq!((widths(0), widths(1)), (vec![], vec![44]));
        assert_eq!(files(directory.path()), files(log(300).path()));
        assert!(!directory.path().join("tile/0/000.p").exists());
    }

    #[test]
    fn partial_tiles_that_a_crash_left_are_dropped_later() {
        let directory = log(300);
        let mut writer = open(directory.path(), 300);
        push(&mut writer, 310);
        writer.sync().unwrap();
        let mut writer = open(directory.path(), 310);
        push(&mut writer, 600);
        writer.sync().unwrap();
        writer.drop_partials(600).unwrap();
        writer.drop_partials(600).unwrap();
        assert_eq!(files(directory.path()), files(log(600).path()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Partials,
        Sync,
        Drop,
        /// Opened again at a size that a sync has covered, as many entries before the last as this.
        Reopen(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..200_u64).prop_map(Step::Push),
            2 => Just(Step::Partials),
            1 => Just(Step::Sync),
            1 => Just(Step::Drop),
            1 => (0..300_u64).prop_map(Step::Reopen),
        ];
        proptest::collection::vec(step, 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn never_depends_on_how_it_came_about(steps in steps()) {
            let directory = tempfile::tempdir().unwrap();
            let mut writer = open(directory.path(), 0);
            let (mut synced, mut released) = (0, 0);
            for step in steps {
                let size = writer.frontier().size();
                match step {
                    Step::Push(count) => push(&mut writer, size + count),
                    Step::Partials => writer.write_partials().unwrap(),
                    Step::Sync => {
                        writer.sync().unwrap();
                        synced = size;
                    }
                    Step::Drop => writer.drop_partials(size).unwrap(),
                    Step::Reopen(back) => {
                        // a log is never opened below what was released
                        released = released.max(synced.saturating_sub(back));
                        writer = open(directory.path(), released);
                        push(&mut writer, size);
                    }
                }
                prop_assert_eq!(writer.frontier(), &frontier(writer.frontier().size()));
            }
            let size = writer.frontier().size();
            writer.sync().unwrap();
            let whole = files(log(size).path());
            for (path, bytes) in files(directory.path()) {
                match whole.get(&path) {
                    Some(want) => prop_assert_eq!(want, &bytes, "{}", path),
                    // a partial tile of a smaller size: the beginning of what took its place
                    None => {
                        let tile = TilePath::parse(&path).unwrap();
                        let now = TilePath::in_tree(tile.kind, tile.index, size).unwrap();
                        prop_assert!(whole[&now.to_relative()].starts_with(&bytes), "{}", path);
                    }
                }
            }
            writer.drop_partials(size).unwrap();
            writer.drop_partials(size).unwrap();
            prop_assert_eq!(files(directory.path()), whole);
        }
    }
}

mod reading {
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
                assert!(
                    errors.iter().all(|error| kind_of(error) == "malformed" && path_of(error) == &file),
                    "{errors:?}"
                );
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
}

mod redacting {
    use super::*;

    fn entries(directory: &Path, size: u64) -> Vec<u64> {
        let mut reader = TileReader::new(storage(), directory, size);
        assert_eq!(root(&mut reader).unwrap(), frontier(size).root());
        (0..size)
            .filter(|index| match reader.entry(*index).unwrap() {
                Some(found) => {
                    assert_eq!(found, entry(*index));
                    false
                }
                None => true,
            })
            .collect()
    }

    fn contains(directory: &Path, index: u64) -> bool {
        let needle = entry(index);
        files(directory).values().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    }

    #[test]
    fn takes_the_entry_and_leaves_the_tree() {
        let directory = log(600);
        let path = directory.path();
        assert_eq!(redact(&storage(), path, &[3, 300, 7, 3], 600).unwrap(), 3);
        assert_eq!(entries(path, 600), [3, 7, 300]);
        assert!([3, 7, 300].iter().all(|index| !contains(path, *index)));
        assert!(!path.join("tile/entries/000").exists() && !path.join("tile/entries/001").exists());
        assert_eq!(TileReader::new(storage(), path, 600).bundle(0).unwrap().2, true);
        assert_eq!(TileReader::new(storage(), path, 600).bundle(2).unwrap().2, false);
        // again, and one more
        assert_eq!(redact(&storage(), path, &[3, 300, 4], 600).unwrap(), 1);
        assert_eq!(entries(path, 600), [3, 4, 7, 300]);
        assert!(!contains(path, 4));
    }

    #[test]
    fn takes_an_entry_of_the_bundle_that_still_fills() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut writer = open(path, 0);
        for size in [290, 300, 310] {
            push(&mut writer, size);
            writer.sync().unwrap();
        }
        assert_eq!(redact(&storage(), path, &[280, 299], 300).unwrap(), 2);
        assert!(!contains(path, 280) && !contains(path, 299));
        // the widest file is kept: the write-ahead log may have let go of its entries
        assert_eq!(entries(path, 310), [280, 299]);
        assert_eq!(redact(&storage(), path, &[281], 310).unwrap(), 1);
        // the writer that still knows the entries does not bring them back
        push(&mut writer, 320);
        writer.sync().unwrap();
        assert_eq!(entries(path, 320), [280, 281, 299]);
        for index in [280, 281, 299] {
            assert!(!contains(path, index));
        }
        // nor does one that goes on, nor one that writes everything anew
        for from in [290, 320, 256] {
            let mut writer = open(path, from);
            push(&mut writer, 330);
            writer.sync().unwrap();
            assert_eq!(entries(path, 330), [280, 281, 299], "{from}");
            assert!(!contains(path, 280));
        }
        let mut writer = open(path, 330);
        push(&mut writer, 520);
        writer.sync().unwrap();
        writer.drop_partials(520).unwrap();
        writer.drop_partials(520).unwrap();
        assert_eq!(entries(path, 520), [280, 281, 299]);
        let names: Vec<_> = files(path).into_keys().filter(|path| path.contains("entries")).collect();
        assert_eq!(names, ["tile/entries-redacted/001", "tile/entries/000", "tile/entries/002.p/8"]);
    }

    #[test]
    fn goes_on_where_a_crash_stopped_it() {
        let directory = log(300);
        let before = std::fs::read(directory.path().join("tile/entries/000")).unwrap();
        redact(&storage(), directory.path(), &[5], 300).unwrap();
        let after = files(directory.path());
        // the new file is there, the old one not yet gone, or overwritten by half
        for left in [before.clone(), vec![0; before.len()]] {
            std::fs::write(directory.path().join("tile/entries/000"), left).unwrap();
            assert_eq!(entries(directory.path(), 300), [5]);
            assert_eq!(redact(&storage(), directory.path(), &[5], 300).unwrap(), 0);
            assert_eq!(files(directory.path()), after);
        }
    }

    #[test]
    fn refuses_what_is_not_there_or_was_altered() {
        let directory = log(600);
        let path = directory.path();
        for index in [600, 767, 768, u64::MAX] {
            assert_eq!(kind_of(&redact(&storage(), path, &[index], 600).unwrap_err()), "missing", "{index}");
        }
        let file = path.join("tile/entries/001");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let before = files(path);
        assert_eq!(kind_of(&redact(&storage(), path, &[400], 600).unwrap_err()), "malformed");
        assert_eq!(files(path), before);
        prune(&storage(), path, 256).unwrap();
        assert_eq!(kind_of(&redact(&storage(), path, &[3], 600).unwrap_err()), "pruned");
    }
}

mod pruning {
    use super::*;

    #[test]
    fn drops_whole_bundles_and_keeps_later_proofs() {
        let directory = log(1_000);
        let path = directory.path();
        redact(&storage(), path, &[5], 1_000).unwrap();
        assert_eq!(prune(&storage(), path, 600).unwrap(), 512);
        let names: Vec<_> = files(path).into_keys().collect();
        let want = [
            "pruned",
            "tile/0/002",
            "tile/0/003.p/232",
            "tile/1/000.p/3",
            "tile/entries/002",
            "tile/entries/003.p/232",
        ];
        assert_eq!(names, want);
        let mut reader = TileReader::new(storage(), path, 1_000);
        assert_eq!(reader.minimum_index().unwrap(), 512);
        assert_eq!(kind_of(&reader.entry(511).unwrap_err()), "pruned");
        assert_eq!(kind_of(&reader.leaf(0).unwrap_err()), "pruned");
        assert_eq!(reader.entry(512).unwrap(), Some(entry(512)));
        assert_eq!(root(&mut reader).unwrap(), frontier(1_000).root());
        // less changes nothing, and a missing tile above stays missing
        assert_eq!(prune(&storage(), path, 300).unwrap(), 512);
        std::fs::remove_file(path.join("tile/entries/002")).unwrap();
        assert_eq!(kind_of(&TileReader::new(storage(), path, 1_000).entry(512).unwrap_err()), "missing");
        // the writer goes on
        let mut writer = open(path, 1_000);
        push(&mut writer, 1_030);
        writer.sync().unwrap();
        assert_eq!(writer.frontier(), &frontier(1_030));
    }

    #[test]
    fn can_be_finished_after_a_crash() {
        let directory = log(1_000);
        let other = log(1_000);
        for path in [directory.path(), other.path()] {
            prune(&storage(), path, 768).unwrap();
        }
        let left = log(1_000);
        for name in ["tile/0/001", "tile/entries/000"] {
            std::fs::copy(left.path().join(name), directory.path().join(name)).unwrap();
        }
        std::fs::create_dir(directory.path().join("tile/0/000.p")).unwrap();
        std::fs::write(directory.path().join("tile/0/000.p/7"), b"x").unwrap();
        std::fs::write(directory.path().join("tile/entries/002.tmp"), b"x").unwrap();
        prune(&storage(), directory.path(), 768).unwrap();
        assert_eq!(files(directory.path()), files(other.path()));
    }

    #[test]
    fn the_minimum_is_read_strictly() {
        let directory = log(300);
        for text in ["", "256", "0256\n", "255\n", "+256\n", "256\n\n", "-256\n", "x\n", "99999999999999999999\n"] {
            std::fs::write(directory.path().join(PRUNED_FILE), text).unwrap();
            let error = TileReader::new(storage(), directory.path(), 300).minimum_index().unwrap_err();
            assert_eq!(kind_of(&error), "malformed", "{text:?}");
        }
    }

    #[test]
    fn goes_through_deep_directories() {
        let directory = tempfile::tempdir().unwrap();
        for index in [0, 999, 1_000, 1_001, 999_999, 1_000_000, 1_000_001] {
            let path = TilePath::full(TileKind::Entries, index).to_path(directory.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        prune(&storage(), directory.path(), 1_000_001 * 256).unwrap();
        let names: Vec<_> = files(directory.path()).into_keys().collect();
        assert_eq!(names, ["pruned", "tile/entries/x001/x000/001"]);
        assert!(!directory.path().join("tile/entries/x999").exists());
    }
}

mod copying {
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
                assert_eq!(
                    (copy.entry(index).unwrap(), copy.leaf(index).unwrap()),
                    (want, Hash::of_leaf(&entry(index)))
                );
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
}
