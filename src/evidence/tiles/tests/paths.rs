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
