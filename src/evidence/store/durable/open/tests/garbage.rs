//! Directories that hold something else than a log, or can be read by others.

use super::*;

#[test]
fn what_is_no_log_is_refused_and_left_alone() {
    type Spoil = fn(&World);
    let cases: [(&str, Spoil, OpenErrorKind, &str); 14] = [
        ("a file in the set", |w| make_file(&w.options.directory.join("notes")), OpenErrorKind::Foreign, "notes"),
        (
            "a file with a strange name",
            |w| make_file(&w.options.directory.join("a.txt")),
            OpenErrorKind::Foreign,
            "a.txt",
        ),
        (
            "somebody's directory",
            |w| {
                make_dir(&w.options.directory.join("photos"));
                make_dir(&w.options.directory.join("photos/2026"));
            },
            OpenErrorKind::Foreign,
            "photos/2026",
        ),
        (
            "a link to a directory",
            |w| symlink(w.instance(), w.options.directory.join("b")).unwrap(),
            OpenErrorKind::Foreign,
            "b",
        ),
        ("a file in the instance", |w| make_file(&w.instance().join("notes")), OpenErrorKind::Foreign, "main/notes"),
        ("a number that is not one", |w| make_dir(&w.instance().join("2")), OpenErrorKind::Foreign, "main/2"),
        ("a gap", |w| make_dir(&w.instance().join("00000003")), OpenErrorKind::EpochGap { missing: 2 }, "main"),
        (
            "no log.json",
            |w| std::fs::remove_file(w.epoch().join("log.json")).unwrap(),
            OpenErrorKind::NoManifest,
            "main/00000001",
        ),
        (
            "no log.json behind another",
            |w| {
                make_dir(&w.instance().join("00000002"));
                make_file(&w.instance().join("00000002/checkpoint"));
            },
            OpenErrorKind::NoManifest,
            "main/00000002",
        ),
        (
            "an endless log.json",
            |w| std::fs::write(w.epoch().join("log.json"), vec![b' '; 1 << 17]).unwrap(),
            OpenErrorKind::Manifest,
            "main/00000001/log.json",
        ),
        (
            "under another number",
            |w| std::fs::rename(w.epoch(), w.instance().join("00000002")).unwrap(),
            OpenErrorKind::OtherLog,
            "main/00000002/log.json",
        ),
        (
            "a checkpoint that is none",
            |w| edit(&w.epoch().join("checkpoint"), "log.example", "log.example2"),
            OpenErrorKind::Checkpoint,
            "main/00000001/checkpoint",
        ),
        (
            "a checkpoint of another log",
            |w| std::fs::write(w.epoch().join("checkpoint"), vec![b'x'; 100_000]).unwrap(),
            OpenErrorKind::Checkpoint,
            "main/00000001/checkpoint",
        ),
        (
            "a link in place of the checkpoint",
            |w| {
                std::fs::rename(w.epoch().join("checkpoint"), w.temporary.path().join("c")).unwrap();
                symlink(w.temporary.path().join("c"), w.epoch().join("checkpoint")).unwrap();
            },
            OpenErrorKind::Foreign,
            "main/00000001/checkpoint",
        ),
    ];
    for (name, spoil, kind, path) in cases {
        let world = World::published(3);
        spoil(&world);
        let before = contents(&world.options.directory);
        let error = world.open_as(Creation::CreateOrOpen).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
        assert_eq!(error.path(), Some(world.options.directory.join(path).as_path()), "{name}");
        assert!(before == contents(&world.options.directory), "{name}: something was changed");
    }
}

#[test]
fn a_log_json_that_is_not_as_it_is_written_is_refused_and_left_alone() {
    let cases = [
        ("another version", "\"version\":1", "\"version\":2", OpenErrorKind::Version { found: 2 }),
        ("a member more", "\"version\":1", "\"version\":1,\"x\":1", OpenErrorKind::Manifest),
        ("a number that JSON rounds", "\"epoch\":1", "\"epoch\":9007199254740993", OpenErrorKind::Manifest),
        ("no JSON", "{", "", OpenErrorKind::Manifest),
    ];
    for (name, from, to, kind) in cases {
        let world = World::published(3);
        let path = world.epoch().join("log.json");
        edit(&path, from, to);
        let before = contents(&world.options.directory);
        let error = world.open_as(Creation::CreateOrOpen).unwrap_err();
        assert_eq!((error.kind(), error.path()), (kind, Some(path.as_path())), "{name}");
        assert!(before == contents(&world.options.directory), "{name}: something was changed");
    }
}

#[test]
fn what_others_can_read_is_refused() {
    let open_to_others = ["log", "log/main", "log/main/LOCK", "log/main/00000001", "log/main/00000001/log.json"];
    let open_to_others = open_to_others.into_iter().chain(["log/main/00000001/checkpoint", "log.private"]);
    let open_to_others = open_to_others.chain(["log.private/main", "log.private/main/log.key"]);
    for name in open_to_others.chain(["log.private/main/high-water", "log.private/main/params/current"]) {
        let world = World::published(3);
        let path = world.temporary.path().join(name);
        let mode = if path.is_dir() { 0o750 } else { 0o640 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = world.open_as(Creation::Open).unwrap_err();
        assert_eq!((error.kind(), error.path()), (OpenErrorKind::NotPrivate, Some(path.as_path())), "{name}");
    }
}

#[test]
fn other_things_in_the_way_are_refused() {
    for (name, is_file) in
        [("log", true), ("log.private", true), ("log.private/main", true), ("log.private/main/log.key", false)]
    {
        let world = World::new();
        let path = world.temporary.path().join(name);
        for parent in
            path.ancestors().skip(1).take_while(|parent| !parent.exists()).collect::<Vec<_>>().into_iter().rev()
        {
            make_dir(parent);
        }
        if is_file {
            make_file(&path);
        } else {
            make_dir(&path);
        }
        let error = world.open_as(Creation::CreateOrOpen).unwrap_err();
        assert_eq!((error.kind(), error.path()), (OpenErrorKind::Foreign, Some(path.as_path())), "{name}");
    }
    // the directories themselves may be links, to another volume
    let mut world = World::published(2);
    let real = world.options.directory.clone();
    let link = world.temporary.path().join("link");
    symlink(&real, &link).unwrap();
    world.options.directory = link;
    assert_eq!(world.open().epoch.frontier.size(), 2);
}

#[test]
fn a_log_of_the_first_format_is_refused_with_advice() {
    let world = World::new();
    make_dir(&world.options.directory);
    for name in ["records.jsonl", "LOCK", "params.key"] {
        make_file(&world.options.directory.join(name));
    }
    for creation in [Creation::Create, Creation::Open, Creation::CreateOrOpen] {
        let error = world.open_as(creation).unwrap_err();
        assert_eq!((error.kind(), error.path()), (OpenErrorKind::OldFormat, Some(world.options.directory.as_path())));
        assert!(error.to_string().contains("rmcp-guard evidence import"), "{error}");
    }
    assert!(!world.options.private.exists() && !world.instance().exists());
}
