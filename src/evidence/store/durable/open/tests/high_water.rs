//! What the high-water mark keeps from happening unseen.

use super::*;

#[test]
fn s30_a_log_that_was_deleted_is_not_begun_anew() {
    for name in ["log", "log/main", "log/main/00000001", "log/main/00000001/log.json"] {
        let world = World::published(3);
        let path = world.temporary.path().join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        for creation in [Creation::Create, Creation::Open, Creation::CreateOrOpen] {
            let kind = world.open_as(creation).unwrap_err().kind();
            let wanted = if name.ends_with("json") { OpenErrorKind::NoManifest } else { OpenErrorKind::Missing };
            assert_eq!(kind, wanted, "{name} {creation:?}");
        }
        if name == "log" {
            assert!(!path.exists(), "something was made");
        }
    }
    // even one that never had an entry
    let world = World::new();
    drop(world.open());
    std::fs::remove_dir_all(world.epoch()).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::Missing);
    // its name alone does not do
    std::fs::create_dir(world.epoch()).unwrap();
    std::fs::set_permissions(world.epoch(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::Missing);
}

#[test]
fn s30_without_a_log_and_a_mark_the_three_ways_differ() {
    let world = World::new();
    let error = world.open_as(Creation::Open).unwrap_err();
    assert_eq!((error.kind(), error.path()), (OpenErrorKind::Missing, Some(world.options.directory.as_path())));
    assert!(!world.options.directory.exists() && !world.options.private.exists(), "something was made");
    drop(world.open_as(Creation::CreateOrOpen).unwrap());
    assert_eq!(world.open_as(Creation::Create).unwrap_err().kind(), OpenErrorKind::Exists);
    drop(world.open_as(Creation::Open).unwrap());
    drop(World::new().open_as(Creation::Create).unwrap());
}

#[test]
fn s30_an_older_copy_is_refused() {
    let world = World::new();
    let mut log = world.open();
    log.append(4);
    log.publish();
    let old = world.copy_log("old");
    let old_mark = std::fs::read(world.mark()).unwrap();
    log.append(3);
    log.publish();
    drop(log);
    world.restore_log(&old);
    assert_eq!(world.refusal(), OpenErrorKind::RolledBack { size: 4, signed: 7 });
    let error = world.open_as(Creation::Open).unwrap_err();
    assert_eq!(error.path(), Some(world.mark().as_path()));
    // with a mark just as old nobody can tell here: that is what another volume, or a witness, is for
    std::fs::write(world.mark(), old_mark).unwrap();
    assert_eq!(world.open().epoch.frontier.size(), 4);
}

#[test]
fn s30_a_log_whose_end_was_cut_off_is_refused() {
    let world = World::new();
    let mut log = world.open();
    log.append(3);
    let at = log.epoch.wal.write().unwrap();
    log.append(2);
    log.publish();
    drop(log);
    let segment = world.segments().pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[usize::try_from(at.offset).unwrap()..].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::RolledBack { size: 3, signed: 5 });
    // the published checkpoint alone tells it too
    std::fs::remove_file(world.mark()).unwrap();
    let error = world.open_as(Creation::Open).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::RolledBack { size: 3, signed: 5 });
    assert_eq!(error.path(), Some(world.epoch().join("checkpoint").as_path()));
}

#[test]
fn s30_another_log_in_its_place_is_refused() {
    // one with another origin
    let world = World::published(3);
    let mut other = World::new();
    other.options.origin = Some("other.example".to_owned());
    drop(other.open());
    world.restore_log(&other.options.directory);
    assert_eq!(world.refusal(), OpenErrorKind::OtherLog);

    // one with the same origin, under another key
    let other = World::published(5);
    world.restore_log(&other.options.directory);
    assert_eq!(world.refusal(), OpenErrorKind::Key);

    // a fork, under the same key
    let world = World::new();
    let mut log = world.open();
    log.append(3);
    drop(log);
    let fork = world.copy_log("fork");
    let mut log = world.open();
    log.push(&notice("one", ""));
    log.commit();
    log.publish();
    drop(log);
    let mark = std::fs::read(world.mark()).unwrap();
    world.restore_log(&fork);
    std::fs::remove_file(world.mark()).unwrap();
    let mut log = world.open();
    log.push(&notice("other", ""));
    log.append(3);
    drop(log);
    make_file(&world.mark());
    std::fs::write(world.mark(), mark).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::Forked);
    assert_eq!(world.open_as(Creation::Open).unwrap_err().path(), Some(world.mark().as_path()));
}

/// The mark is far behind what the write-ahead log still has: the proof comes from tiles.
#[test]
fn s30_a_mark_that_only_tiles_reach_is_compared_too() {
    let world = World::new();
    let mut log = world.open();
    log.append(300);
    let mark = log.checkpoint();
    log.append(400);
    log.publish();
    log.epoch.wal.keeper().release(700).unwrap();
    drop(log);
    std::fs::write(world.mark(), &mark).unwrap();
    let log = world.open();
    assert!(log.epoch.unsealed.start().size() > 300);
    let mut tree = Frontier::new();
    (0..300_u16).for_each(|index| tree.push(Hash::of_leaf(&index.to_be_bytes())));
    let forged = sign_tree(&log.epoch.origin, &tree, &log.epoch.signers).unwrap();
    drop(log);
    std::fs::write(world.mark(), &forged).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::Forked);
}

#[test]
fn s30_without_its_mark_the_log_says_so() {
    let world = World::published(3);
    std::fs::remove_file(world.mark()).unwrap();
    let mut log = world.open();
    assert_eq!(log.told(), ["high_water_missing"]);
    assert_eq!(log.member("high_water_missing", "rollback_detectable"), Some("no"));
    log.append(1);
    log.publish();
    drop(log);
    assert_eq!(world.open().told(), Vec::<&str>::new());

    // log and mark gone, key still there: what the key signed before cannot be known
    std::fs::remove_dir_all(&world.options.directory).unwrap();
    std::fs::remove_file(world.mark()).unwrap();
    let log = world.open();
    assert_eq!(log.member("log_opened", "rollback_detectable"), Some("no"));
}

#[test]
fn s30_a_mark_of_another_log_is_refused() {
    let world = World::published(3);
    let mark = std::fs::read(world.mark()).unwrap();
    let other = World::published(2);
    // another key
    std::fs::copy(other.mark(), world.mark()).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::Mark);
    // no note at all, or an endless one
    for bytes in [b"".as_slice(), b"x", &vec![b'a'; 1 << 17], &mark[..mark.len() - 1]] {
        std::fs::write(world.mark(), bytes).unwrap();
        assert_eq!(world.refusal(), OpenErrorKind::Mark);
    }
    // the same key for another log
    let log = PrivateDir::find(&world.storage, &world.options.private, "main").unwrap();
    let signer: Arc<dyn NoteSigner> = Arc::new(log.signer("log.example/other/1").unwrap().unwrap());
    let note = sign_tree("log.example/other/1", &Frontier::new(), &[signer]).unwrap();
    std::fs::write(world.mark(), note).unwrap();
    assert_eq!(world.refusal(), OpenErrorKind::OtherLog);
    std::fs::write(world.mark(), mark).unwrap();
    drop(world.open());
}

#[test]
fn s30_the_newest_log_is_missing() {
    let world = World::new();
    let mut log = world.open();
    log.append(2);
    log.roll();
    drop(log);
    let mut log = world.open();
    log.append(2);
    log.publish();
    drop(log);
    std::fs::remove_dir_all(world.instance().join("00000002")).unwrap();
    let error = world.open_as(Creation::CreateOrOpen).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::Missing);
    assert_eq!(error.path(), Some(world.instance().join("00000002").as_path()));
}
