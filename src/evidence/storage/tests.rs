use std::io::ErrorKind;
use std::sync::Arc;

use super::sim::{DiskError, Fault, Operation, SimDisk};
use super::*;

/// What both file systems must do alike.
fn behaves_like_a_file_system(storage: &dyn Storage, root: &Path) {
    let directory = child(root, "a");
    storage.create_dir(&directory).unwrap();
    storage.create_dir(&directory).unwrap();
    let path = child(&directory, "one");
    let file = storage.create_new(&path).unwrap();
    assert_eq!(storage.create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    file.write_at(3, b"defg").unwrap();
    assert_eq!(file.len().unwrap(), 7);
    let mut buffer = [9; 10];
    assert_eq!(file.read_at(2, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..6], b"\0defg\x09");
    assert_eq!(file.read_at(7, &mut buffer).unwrap(), 0);
    file.sync_data().unwrap();
    assert_eq!(read_file(storage, &path, 7).unwrap(), b"\0\0\0defg");
    assert_eq!(read_file(storage, &path, 6).unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(storage.open_read(&path).unwrap().write_at(0, b"x").is_err());

    assert!(file.is_still_at(&path).unwrap());
    let other = child(&directory, "two");
    replace_file(storage, &other, b"old", true).unwrap();
    storage.rename(&path, &other).unwrap();
    assert!(!file.is_still_at(&path).unwrap() && file.is_still_at(&other).unwrap());
    assert_eq!(read_file(storage, &other, 9).unwrap(), b"\0\0\0defg");
    storage.sync_dir(&directory).unwrap();

    // what a crash left of an earlier attempt is no obstacle
    storage.create_new(&child(&directory, "two.tmp")).unwrap().write_at(0, b"longer than the new one").unwrap();
    replace_file(storage, &other, b"new", false).unwrap();
    assert_eq!(read_file(storage, &other, 9).unwrap(), b"new");
    assert_eq!(storage.list(&directory).unwrap(), ["two"]);

    assert_eq!(storage.inspect(&directory).unwrap(), Some((PathKind::Directory, true)));
    assert_eq!(storage.inspect(&other).unwrap(), Some((PathKind::File, true)));
    assert_eq!(storage.inspect(&path).unwrap(), None);
    for error in [
        storage.open(&path).unwrap_err(),
        storage.rename(&path, &other).unwrap_err(),
        storage.remove_file(&path).unwrap_err(),
        storage.list(&path).unwrap_err(),
        read_file(storage, &path, 9).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    let lock = storage.lock(&child(&directory, "LOCK")).unwrap();
    assert_eq!(storage.lock(&child(&directory, "LOCK")).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(lock);
    drop(storage.lock(&child(&directory, "LOCK")).unwrap());

    assert!(storage.remove_dir(&directory).is_err());
    storage.remove_file(&other).unwrap();
    storage.remove_file(&child(&directory, "LOCK")).unwrap();
    storage.remove_dir(&directory).unwrap();
    assert_eq!(storage.inspect(&directory).unwrap(), None);
}

#[test]
fn both_file_systems_behave_alike() {
    let directory = tempfile::tempdir().unwrap();
    behaves_like_a_file_system(&FsStorage, directory.path());
    behaves_like_a_file_system(&SimDisk::new(1), Path::new("/"));
}

#[cfg(unix)]
#[test]
fn symbolic_links_and_devices_are_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::write(root.join("target"), "x").unwrap();
    std::os::unix::fs::symlink(root.join("target"), root.join("link")).unwrap();
    std::os::unix::fs::symlink(root, root.join("dir")).unwrap();
    for name in ["link", "dir"] {
        let path = root.join(name);
        assert_eq!(FsStorage.open(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(FsStorage.open_read(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(FsStorage.lock(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(FsStorage.create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(FsStorage.inspect(&path).unwrap().map(|(kind, _)| kind), Some(PathKind::Other));
    }
    assert_eq!(FsStorage.open_read(Path::new("/dev/null")).unwrap_err().kind(), ErrorKind::InvalidInput);
    let file = FsStorage.open_read(&root.join("target")).unwrap();
    assert!(!file.is_still_at(&root.join("link")).unwrap());
}

#[cfg(unix)]
#[test]
fn what_is_made_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (inner, file) = (directory.path().join("inner"), directory.path().join("inner/file"));
    FsStorage.create_dir(&inner).unwrap();
    FsStorage.create_new(&file).unwrap();
    FsStorage.lock(&inner.join("LOCK")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inner), mode(&file), mode(&inner.join("LOCK"))), (0o700, 0o600, 0o600));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(FsStorage.inspect(&file).unwrap(), Some((PathKind::File, false)));
}

/// A file of two synced sectors `a`, overwritten with three of `b`, in a directory that is synced.
fn half_written(seed: u64) -> (SimDisk, Box<dyn StorageFile>) {
    let disk = SimDisk::new(seed);
    let file = disk.create_new(Path::new("/file")).unwrap();
    file.write_at(0, &[b'a'; 1024]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(0, &[b'b'; 1536]).unwrap();
    (disk, file)
}

#[test]
fn a_crash_keeps_any_part_of_what_no_sync_has_covered() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let (disk, file) = half_written(1);
        let after = disk.crash(seed);
        assert!(file.write_at(0, b"x").is_err() && file.sync_data().is_err());
        let bytes = after.bytes("/file");
        assert_eq!(bytes, disk.crash(seed).bytes("/file"), "the same seed gives the same disk");
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "no sector is torn");
        seen.insert(bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
    }
    // each of two sectors old or new; the third missing, a hole, or new
    assert_eq!(seen.len(), 12);
}

#[test]
fn a_name_is_durable_with_its_directory_only() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        replace_file(&disk, Path::new("/kept"), b"1", true).unwrap();
        let file = disk.create_new(Path::new("/file")).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync_all().unwrap();
        let after = disk.crash(seed);
        assert_eq!(after.bytes("/kept"), b"1");
        if after.files().len() == 1 {
            without += 1;
        } else {
            with += 1;
            assert_eq!(after.bytes("/file"), b"x");
        }
    }
    assert!(with > 5 && without > 5);
}

#[test]
fn changes_of_names_may_survive_out_of_order() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        for name in ["/1", "/2"] {
            replace_file(&disk, Path::new(name), b"", true).unwrap();
        }
        disk.rename(Path::new("/1"), Path::new("/1.gone")).unwrap();
        disk.rename(Path::new("/2"), Path::new("/2.gone")).unwrap();
        seen.insert(disk.crash(seed).files());
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_failed_sync_loses_pages_and_calls_them_clean() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, file) = half_written(seed);
        disk.inject(Fault::nth(Operation::Sync, 1, DiskError::Io).on("/file"));
        assert!(file.sync_data().is_err());
        // what is read back, and what the next sync says, is no proof of anything
        assert_eq!(disk.bytes("/file"), [b'b'; 1536]);
        file.sync_data().unwrap();
        lost += u32::from(disk.crash(seed).bytes("/file") != [b'b'; 1536]);
    }
    assert!(lost > 30);
}

#[test]
fn a_killed_process_leaves_what_it_wrote() {
    let (disk, file) = half_written(1);
    let _lock = disk.lock(Path::new("/LOCK")).unwrap();
    let after = disk.restart(1);
    assert!(file.write_at(0, b"x").is_err());
    assert_eq!(after.bytes("/file"), [b'b'; 1536]);
    after.lock(Path::new("/LOCK")).unwrap();
    assert!((0..50).any(|seed| after.crash(seed).bytes("/file") != [b'b'; 1536]), "it is still not synced");
}

#[test]
fn power_is_cut_at_a_chosen_change() {
    for change in 1..=5 {
        let disk = SimDisk::new(change);
        disk.cut_power_at(change);
        let result = replace_file(&disk, Path::new("/file"), b"bytes", true);
        assert!(result.is_err());
        let after = disk.crash(change);
        for file in after.files() {
            assert!(file == Path::new("/file.tmp") || after.bytes(&file) == b"bytes");
        }
    }
    let disk = SimDisk::new(0);
    disk.cut_power_at(6);
    replace_file(&disk, Path::new("/file"), b"bytes", true).unwrap();
    assert_eq!(disk.changes(), 5);
}

#[test]
fn a_full_disk_still_takes_what_needs_no_room() {
    let disk = SimDisk::new(1);
    let file = disk.create_new(Path::new("/file")).unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    disk.set_capacity(Some(5000));
    assert_eq!(disk.free_bytes(Path::new("/")), Some(904));
    file.write_at(1000, &[2; 3096]).unwrap();
    assert_eq!(file.write_at(4096, &[3; 905]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove_file(Path::new("/file")).unwrap();
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn faults_hit_what_they_name() {
    let disk = SimDisk::new(1);
    disk.inject(Fault::nth(Operation::CreateFile, 2, DiskError::ReadOnly).on(".seg"));
    for (name, kind) in
        [("/a.seg", None), ("/b", None), ("/c.seg", Some(ErrorKind::ReadOnlyFilesystem)), ("/d.seg", None)]
    {
        assert_eq!(disk.create_new(Path::new(name)).err().map(|error| error.kind()), kind, "{name}");
    }
    disk.inject(Fault::every(Operation::Rename, DiskError::Full));
    for _ in 0..3 {
        assert_eq!(disk.rename(Path::new("/b"), Path::new("/e")).unwrap_err().kind(), ErrorKind::StorageFull);
    }
    disk.heal();
    disk.rename(Path::new("/b"), Path::new("/e")).unwrap();
    assert_eq!(disk.count(Operation::Rename), 4);
}

#[test]
fn syncs_can_be_held() {
    let (disk, file) = half_written(1);
    disk.hold(Operation::Sync, "");
    let syncing = std::thread::spawn(move || file.sync_data());
    // the disk is not locked meanwhile
    assert_eq!(disk.bytes("/file").len(), 1536);
    disk.release();
    syncing.join().unwrap().unwrap();
    let _: Arc<dyn Storage> = Arc::new(disk);
}

#[test]
fn free_room_is_told_where_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let free = FsStorage.free_bytes(directory.path());
    assert_eq!(free.is_some(), cfg!(all(unix, feature = "disk-space")));
    assert_ne!(free, Some(0));
    assert_eq!(FsStorage.free_bytes(&directory.path().join("missing")), None);
}
