use super::*;

#[test]
fn drops_whole_bundles_and_keeps_later_proofs() {
    let directory = log(1_000);
    let path = directory.path();
    redact(&storage(), path, &[5], 1_000).unwrap();
    assert_eq!(prune(&storage(), path, 600).unwrap(), 512);
    let names: Vec<_> = files(path).into_keys().collect();
    let want =
        ["pruned", "tile/0/002", "tile/0/003.p/232", "tile/1/000.p/3", "tile/entries/002", "tile/entries/003.p/232"];
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
