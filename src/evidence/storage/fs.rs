//! The real file system.

use std::io;
use std::path::Path;

use super::{Storage, StorageFile, StorageLock};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FsStorage;

impl Storage for FsStorage {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        todo!()
    }
    fn create_new(&self, _path: &Path) -> io::Result<Box<dyn StorageFile>> {
        todo!()
    }
    fn open(&self, _path: &Path) -> io::Result<Box<dyn StorageFile>> {
        todo!()
    }
    fn open_read(&self, _path: &Path) -> io::Result<Box<dyn StorageFile>> {
        todo!()
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove_file(&self, _path: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        todo!()
    }
    fn list(&self, _path: &Path) -> io::Result<Vec<String>> {
        todo!()
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        todo!()
    }
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn StorageLock>> {
        todo!()
    }
    fn free_bytes(&self, _path: &Path) -> Option<u64> { None }
}
