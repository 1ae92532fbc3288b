//! The disk as the code under test sees it.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::io;
use std::path::{Path, PathBuf};

use super::node::{DirNode, FileNode, Id, Node};
use super::world::Outcome;
use super::{Operation, SimDisk};
use crate::evidence::storage::{PathKind, Storage, StorageFile, StorageLock};

impl Storage for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::CreateDir, path, |world, outcome| {
            if let Ok(id) = world.find(path) {
                return world.dir(id).map(|_| ());
            }
            let (parent, name) = world.find_parent(path)?;
            if outcome == Outcome::Pass {
                let id = world.add(Node::Dir(DirNode::default()));
                world.change_name(parent, None, Some((name, id)))?;
            }
            Ok(())
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.run(Operation::CreateFile, path, |world, outcome| {
            let (parent, name) = world.find_parent(path)?;
            if world.dir(parent)?.now.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = world.add(Node::File(FileNode::default()));
            if !matches!(outcome, Outcome::Fail(_)) {
                world.change_name(parent, None, Some((name, id)))?;
            }
            Ok(self.handle(id, path, true))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, from, |world, outcome| {
            let (parent, old) = world.find_parent(from)?;
            let (other, new) = world.find_parent(to)?;
            if parent != other {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            let id = *world.dir(parent)?.now.get(&old).ok_or(io::ErrorKind::NotFound)?;
            if matches!(outcome, Outcome::Fail(_)) || old == new {
                return Ok(());
            }
            world.change_name(parent, Some(old), Some((new, id)))
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |world, outcome| {
            world.file(world.find(path)?)?;
            let (parent, name) = world.find_parent(path)?;
            if matches!(outcome, Outcome::Fail(_)) {
                return Ok(());
            }
            world.change_name(parent, Some(name), None)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |world, outcome| {
            if !world.dir(world.find(path)?)?.now.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (parent, name) = world.find_parent(path)?;
            if matches!(outcome, Outcome::Fail(_)) {
                return Ok(());
            }
            world.change_name(parent, Some(name), None)
        })
    }

    fn inspect(&self, path: &Path) -> io::Result<Option<(PathKind, bool)>> {
        self.run(Operation::Inspect, path, |world, _| match world.find(path) {
            Ok(id) => {
                let kind = if world.dir(id).is_ok() { PathKind::Directory } else { PathKind::File };
                Ok(Some((kind, true)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.run(Operation::List, path, |world, _| Ok(world.dir(world.find(path)?)?.now.keys().cloned().collect()))
    }

    /// One that an injected fault fails makes nothing durable, and a later one still can.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::SyncDir, path, |world, outcome| {
            let id = world.find(path)?;
            let dir = world.dir_mut(id)?;
            if outcome == Outcome::Pass {
                dir.sync();
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        self.run(Operation::Lock, path, |world, outcome| {
            let (parent, name) = world.find_parent(path)?;
            let there = world.dir(parent)?.now.get(&name).copied();
            let id = there.unwrap_or_else(|| world.add(Node::File(FileNode::default())));
            if there.is_none() {
                world.change_name(parent, None, Some((name, id)))?;
            }
            if outcome == Outcome::Pass && !world.locked.insert(id) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimLock { disk: self.clone(), id }) as Box<dyn StorageLock>)
        })
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        let world = self.world();
        world.capacity.map(|capacity| capacity.saturating_sub(world.used))
    }
}

impl SimDisk {
    fn open_as(&self, path: &Path, writable: bool) -> io::Result<Box<dyn StorageFile>> {
        self.run(Operation::Open, path, |world, _| {
            let id = world.find(path)?;
            world.file(id)?;
            Ok(self.handle(id, path, writable))
        })
    }

    fn handle(&self, id: Id, path: &Path, writable: bool) -> Box<dyn StorageFile> {
        Box::new(SimFile { disk: self.clone(), id, path: path.to_owned(), writable })
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    id: Id,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.world().locked.remove(&self.id);
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: Id,
    /// As it was opened.
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl StorageFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        self.disk.run(Operation::Write, &self.path, |world, outcome| {
            // one that fails or is the last may have begun
            let done = if outcome == Outcome::Pass { bytes.len() } else { world.random.below(bytes.len() + 1) };
            let offset = usize::try_from(offset).unwrap();
            let grown = (offset + done).saturating_sub(world.file(self.id)?.now.len());
            world.grow(grown)?;
            world.file_mut(self.id)?.write(offset, &bytes[..done]);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.run(Operation::Read, &self.path, |world, _| {
            let bytes = &world.file(self.id)?.now;
            let part = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            let count = part.len().min(buffer.len());
            buffer[..count].copy_from_slice(&part[..count]);
            Ok(count)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk
            .run(Operation::Inspect, &self.path, |world, _| Ok(u64::try_from(world.file(self.id)?.now.len()).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = self.disk.world().file(self.id)?.begin_sync();
        self.disk.run(Operation::Sync, &self.path, |world, outcome| {
            let mut random = world.random.clone();
            let file = world.file_mut(self.id)?;
            match outcome {
                Outcome::Pass => file.sync(&begun),
                Outcome::Fail(_) => file.fail_sync(&mut random),
                // whatever a crash keeps
                Outcome::LastOne => {}
            }
            world.random = random;
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length_at(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.run(Operation::Inspect, path, |world, _| match world.find(path) {
            Ok(id) if id == self.id => Ok(Some(u64::try_from(world.file(id)?.now.len()).unwrap())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }
}
