//! A process that dies between any two operations on the disk, while it opens.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::evidence::storage::{PathKind, StorageFile};

/// The real file system, until the given number of changes was made; then everything fails, as for a process that died.
#[derive(Clone, Debug)]
struct Dying {
    left: Arc<AtomicU64>,
}

/// The real file system without its syncs, which only a power cut would need.
pub(super) fn never_dying() -> Arc<dyn Storage> {
    Dying::after(u64::MAX)
}

impl Dying {
    fn after(changes: u64) -> Arc<dyn Storage> {
        Arc::new(Self { left: Arc::new(AtomicU64::new(changes)) })
    }

    fn change(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("dead"))
    }

    fn file(&self, file: io::Result<Box<dyn StorageFile>>) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DyingFile { file: file?, storage: self.clone() }))
    }
}

impl Storage for Dying {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        FsStorage.create_dir(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.change()?;
        self.file(FsStorage.create_new(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.file(FsStorage.open(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.file(FsStorage.open_read(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        FsStorage.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        FsStorage.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        FsStorage.remove_dir(path)
    }
    fn inspect(&self, path: &Path) -> io::Result<Option<(PathKind, bool)>> {
        FsStorage.inspect(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        FsStorage.list(path)
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.change()
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        self.change()?;
        FsStorage.lock(path)
    }
    fn free_bytes(&self, path: &Path) -> Option<u64> {
        FsStorage.free_bytes(path)
    }
}

#[derive(Debug)]
struct DyingFile {
    file: Box<dyn StorageFile>,
    storage: Dying,
}

impl StorageFile for DyingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.storage.change() {
            // what the dead process was just writing is there in part
            self.file.write_at(offset, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.storage.change()
    }
    fn sync_all(&mut self) -> io::Result<()> {
        self.storage.change()
    }
    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.storage.change()?;
        self.file.set_len(bytes)
    }
    fn is_still_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_still_at(path)
    }
}

/// Opens what `prepare` makes with a process that dies after 0, 1, 2, .. changes, until one lives long enough; each time
/// the next process must open it and find what `check` wants. Returns how many died.
fn die_everywhere(prepare: impl Fn() -> World, check: impl Fn(&mut OpenedInstance)) -> u64 {
    let prepared = prepare();
    for changes in 0.. {
        let mut world = World::new();
        copy_tree_if_there(&prepared.options.directory, &world.options.directory);
        copy_tree_if_there(&prepared.options.private, &world.options.private);
        world.storage = Dying::after(changes);
        let died = match world.open_as(Creation::CreateOrOpen) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), OpenErrorKind::Io, "{changes}: {error}");
                true
            }
        };
        world.storage = never_dying();
        // twice, since the first process must have left it as it should be
        for _ in 0..2 {
            check(&mut world.open());
        }
        if !died {
            return changes;
        }
        assert!(changes < 1_000, "no process lives");
    }
    0
}

fn copy_tree_if_there(from: &Path, to: &Path) {
    if from.exists() {
        copy_tree(from, to);
    }
}

#[test]
fn a_process_that_dies_while_it_makes_a_log_is_no_obstacle() {
    let died = die_everywhere(World::new, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (1, 0));
        assert_eq!(log.told(), ["log_opened"]);
    });
    assert!(died > 30, "{died}");
}

#[test]
fn a_process_that_dies_while_it_recovers_changes_nothing() {
    let prepare = || {
        let world = World::released(300);
        let mut log = world.open();
        log.append(5);
        log.push(&notice("test", "whole"));
        log.push(&notice("test", "torn"));
        let end = log.epoch.wal.write().unwrap();
        let segment = world.segments().pop().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 20], end.offset - 20).unwrap();
        make_file(&world.epoch().join("checkpoint.tmp"));
        world
    };
    let died = die_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (1, 306));
        assert!(log.told().contains(&"unsigned_tail"));
        log.seal();
    });
    assert!(died > 10, "{died}");
}

#[test]
fn a_process_that_dies_while_it_begins_the_next_log_is_no_obstacle() {
    let prepare = || {
        let world = World::published(20);
        let mut log = world.open();
        log.roll();
        world
    };
    let died = die_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (2, 0));
        assert_eq!(log.epoch.previous.as_ref().unwrap().size, 21);
        assert_eq!(log.told(), ["log_opened"]);
    });
    assert!(died > 30, "{died}");
}

#[test]
fn a_process_that_dies_while_it_finishes_a_closed_log_is_no_obstacle() {
    let prepare = || {
        let world = World::published(20);
        let mut log = world.open();
        log.append(250);
        log.roll();
        let end = log.epoch.as_previous();
        begin_epoch(&log.storage, &log.options, &log.private, 2, Some(end), SystemTime::UNIX_EPOCH).unwrap();
        world
    };
    let died = die_everywhere(prepare, |log| {
        assert_eq!((log.epoch.number, log.epoch.frontier.size()), (2, 0));
        assert_eq!(log.epoch.previous.as_ref().unwrap().size, 271);
        let closed = log.directory.join("00000001");
        let mut tiles = TileReader::new(Arc::clone(&log.storage), &closed, 271);
        let root = crate::evidence::merkle::root_at(&mut tiles, 271).unwrap();
        assert_eq!(root, log.epoch.previous.as_ref().unwrap().root);
    });
    assert!(died > 30, "{died}");
}
