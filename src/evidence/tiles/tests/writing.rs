use super::*;

#[test]
fn gives_the_tiles_of_tlog_tiles() {
    struct Hashes(Vec<tlog_tiles::Hash>);
    impl tlog_tiles::HashReader for Hashes {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
        }
    }
    let size = if full() { 66_000 } else { 1_500 };
    let mut hashes = Hashes(Vec::new());
    for index in 0..size {
        let more = tlog_tiles::stored_hashes(index, &entry(index), &hashes).unwrap();
        hashes.0.extend(more);
    }
    let directory = log(size);
    let theirs = tlog_tiles::Tile::new_tiles(TILE_HEIGHT, 0, size);
    for tile in &theirs {
        let path = tile.path().replacen("tile/8/", "tile/", 1);
        assert_eq!(std::fs::read(directory.path().join(&path)).unwrap(), tile.read_data(&hashes).unwrap(), "{path}");
    }
    // the level above was filled without a partial file
    let ours = files(directory.path());
    assert_eq!(ours.keys().filter(|path| !path.contains("entries")).count(), theirs.len());
    let mut reader = TileReader::new(storage(), directory.path(), size);
    assert_eq!(root(&mut reader).unwrap().as_bytes(), &tlog_tiles::tree_hash(size, &hashes).unwrap().0);
    assert_eq!(open(directory.path(), size).frontier(), &frontier(size));
}

#[test]
fn fills_tiles_of_the_second_level() {
    let directory = log(65_800);
    let names = files(directory.path());
    for (path, bytes) in
        [("tile/1/000", 8_192), ("tile/1/001.p/1", 32), ("tile/2/000.p/1", 32), ("tile/0/257.p/8", 256)]
    {
        assert_eq!(names[path].len(), bytes, "{path}");
    }
    assert!(!names.keys().any(|path| path.starts_with("tile/1/000.p") || path.starts_with("tile/3")));
    let mut reader = TileReader::new(storage(), directory.path(), 65_800);
    assert_eq!(root(&mut reader).unwrap(), frontier(65_800).root());
    for size in [65_535, 65_536, 65_537, 65_800] {
        assert_eq!(open(directory.path(), size).frontier(), &frontier(size));
    }
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
        let mut widths: Vec<u16> = files.keys().filter_map(|path| path.strip_prefix(&prefix)?.parse().ok()).collect();
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
fn partial_tiles_that_a_crash_left_are_dropped_at_once() {
    let directory = log(300);
    let mut writer = open(directory.path(), 300);
    push(&mut writer, 310);
    writer.sync().unwrap();
    let mut writer = open(directory.path(), 310);
    push(&mut writer, 600);
    writer.sync().unwrap();
    // one of them may be torn, and no reader of this process's checkpoints needs any
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
        let disk = SimDisk::new(0);
        let open = |size| TileWriter::open(Arc::new(disk.clone()), Path::new("/"), size).unwrap();
        let mut writer = open(0);
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
                    writer = open(released);
                    push(&mut writer, size);
                }
            }
            prop_assert_eq!(writer.frontier(), &frontier(writer.frontier().size()));
        }
        let size = writer.frontier().size();
        writer.sync().unwrap();
        let whole = files(log(size).path());
        for (path, bytes) in tiles_on(&disk) {
            if let Some(want) = whole.get(&path) {
                prop_assert_eq!(want, &bytes, "{}", path);
            } else {
                // a partial tile of a smaller size: the beginning of what took its place
                let tile = TilePath::parse(&path).unwrap();
                let now = TilePath::in_tree(tile.kind, tile.index, size).unwrap();
                prop_assert!(whole[&now.to_relative()].starts_with(&bytes), "{}", path);
            }
        }
        writer.drop_partials(size).unwrap();
        writer.drop_partials(size).unwrap();
        prop_assert_eq!(tiles_on(&disk), whole);
    }
}
