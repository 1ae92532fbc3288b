//! The few things the log does with a disk, behind a trait, so that a disk which loses power can be simulated.

mod fs;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, expect(dead_code, reason = "the tests use more of it"))]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use fs::FsStorage;

/// A file system. Errors are the operating system's; `NotFound` means what it says.
///
/// INVARIANT: nothing is durable before the sync that covers it: bytes of a file by [`StorageFile::sync_data`] or
/// `sync_all`, names of a directory by [`sync_dir`](Self::sync_dir).
pub(crate) trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory with mode 0700; its parent exists. An existing directory is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a new file with mode 0600, open for reading and writing; `AlreadyExists` where there is one.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a regular file for reading and writing; symbolic links are not followed.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a regular file for reading only.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Renames a file, replacing one that has the name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// What stands at `path` and whether only its owner can get at it, `None` for nothing. A symbolic link is
    /// [`PathKind::Other`], whatever it leads to; `path/.` is what it leads to.
    fn inspect(&self, path: &Path) -> io::Result<Option<(PathKind, bool)>>;
    /// The names in a directory, sorted; more than [`MAX_DIRECTORY_NAMES`] are `InvalidData`.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks the file `path` (made where it is missing) for as long as the lock lives; `WouldBlock` while another holder,
    /// here or in another process, has it. A lock that a dead process left is none.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>>;
    /// Free bytes for us on the file system of `path`, where it can be told (feature `disk-space`, on Unix).
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    Directory,
    /// A regular file.
    File,
    Other,
}

/// Held by the one writer of an instance; dropping it unlocks.
pub(crate) trait StorageLock: fmt::Debug + Send + Sync + 'static {}

/// An open file. It can be written to while it is being synced.
pub(crate) trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads into `buffer` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// fdatasync(2), of what was written before it began.
    fn sync_data(&self) -> io::Result<()>;
    /// fsync(2).
    fn sync_all(&self) -> io::Result<()>;
    /// Whether `path` still names this file: it was not removed, renamed away or replaced.
    fn is_still_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.length_at(path)?.is_some())
    }
    /// The length in bytes of this file, if `path` [still](Self::is_still_at) names it.
    fn length_at(&self, path: &Path) -> io::Result<Option<u64>>;
}

/// Most names that [`Storage::list`] takes from one directory. A directory of tiles has some 2,000; whoever fills one with
/// millions must not fill our memory too.
pub(crate) const MAX_DIRECTORY_NAMES: usize = 1 << 16;

/// All bytes of the file `path`, at most `limit`; a longer file is `InvalidData`.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the file is longer than it may be");
    let file = storage.open_read(path)?;
    let length = usize::try_from(file.len()?).ok().filter(|length| *length <= limit).ok_or_else(too_long)?;
    // one byte more, to see a file that grows meanwhile
    let mut bytes = vec![0; length.saturating_add(1)];
    let read = file.read_at(0, &mut bytes)?;
    if read > length {
        return Err(too_long());
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes `bytes` under a temporary name beside `path`, syncs if `durable`, renames, syncs the directory if `durable`:
/// whoever reads `path` sees the old bytes or the new ones, whole.
///
/// The temporary name is always the same, so one caller at a time may replace `path`.
pub(crate) fn replace_file(storage: &dyn Storage, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = path.with_file_name(name);
    let file = match storage.create_new(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove_file(&temporary)?;
            storage.create_new(&temporary)?
        }
        other => other?,
    };
    let filled = file.write_at(0, bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
    drop(file);
    if let Err(error) = filled.and_then(|()| storage.rename(&temporary, path)) {
        // what remains is removed by the next opening
        let _ = storage.remove_file(&temporary);
        return Err(error);
    }
    if durable { storage.sync_dir(parent_of(path)) } else { Ok(()) }
}

/// What every temporary name of [`replace_file`] ends with; such files are removed when a log is opened.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The directory that holds `path`; that of a bare name is the working directory.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` with `name` appended.
pub(crate) fn child(path: &Path, name: &str) -> PathBuf {
    path.join(name)
}
