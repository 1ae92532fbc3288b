//! The real file system.
//!
//! On Windows the directory's access control list takes the place of the modes, and names cannot be synced.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use super::{MAX_DIRECTORY_NAMES, PathKind, Storage, StorageFile, StorageLock};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FsStorage;

impl Storage for FsStorage {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_dir = std::fs::metadata(path)?.is_dir();
                if is_dir { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
            }
            other => other,
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        // `create_new` (O_EXCL) follows no symbolic link
        let file = private_file().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(FsFile::new(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = open_regular(path, OpenOptions::new().read(true).write(true))?;
        Ok(Box::new(FsFile::new(file)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = open_regular(path, OpenOptions::new().read(true))?;
        Ok(Box::new(FsFile::new(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn inspect(&self, path: &Path) -> io::Result<Option<(PathKind, bool)>> {
        let metadata = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => PathKind::Directory,
            kind if kind.is_file() => PathKind::File,
            _ => PathKind::Other,
        };
        Ok(Some((kind, is_private(&metadata))))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if names.len() == MAX_DIRECTORY_NAMES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many names in the directory"));
            }
            // a name that is no text is none of ours, and what takes its place is none either
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // elsewhere than on Unix a directory cannot be opened for this
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        let file = match open_regular(path, OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match private_file().read(true).write(true).create_new(true).open(path) {
                    // another process was quicker
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        open_regular(path, OpenOptions::new().read(true).write(true))?
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // a file that was removed meanwhile is no lock: the next process would make and lock another one
        if !is_same_file(&std::fs::symlink_metadata(path)?, &file.metadata()?) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FsLock { _file: file }))
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        free_bytes(path)
    }
}

/// Opens `path` when it is a regular file and no symbolic link.
///
/// The standard library has no name for `O_NOFOLLOW`, so the name is looked at first, which also keeps us from waiting in
/// a FIFO, and what was opened is compared with it: a name that changed in between is refused.
fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let named = std::fs::symlink_metadata(path)?;
    if !named.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = options.open(path)?;
    if !is_same_file(&named, &file.metadata()?) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file was replaced while it was opened"));
    }
    Ok(file)
}

/// What a process without privileges may still use.
#[cfg(all(unix, feature = "disk-space"))]
fn free_bytes(path: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(path).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}

#[cfg(not(all(unix, feature = "disk-space")))]
fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere the standard library names no identity of a file; a file that is open can hardly be replaced there.
#[cfg(not(unix))]
fn is_same_file(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn is_private(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const GROUP_AND_OTHERS: u32 = 0o077;
    metadata.permissions().mode() & GROUP_AND_OTHERS == 0
}

#[cfg(not(unix))]
fn is_private(_metadata: &Metadata) -> bool {
    true
}

/// Unlocks when the file is closed.
#[derive(Debug)]
struct FsLock {
    _file: File,
}

impl StorageLock for FsLock {}

#[derive(Debug)]
struct FsFile {
    file: File,
    /// Tells the file from others, which cannot change while it is open.
    identity: OnceLock<Metadata>,
}

impl FsFile {
    const fn new(file: File) -> Self {
        Self { file, identity: OnceLock::new() }
    }

    fn identity(&self) -> io::Result<&Metadata> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let identity = self.file.metadata()?;
        Ok(self.identity.get_or_init(|| identity))
    }
}

impl StorageFile for FsFile {
    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match seek_write(&self.file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let from = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match read_some(&self.file, rest, from) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn length_at(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::symlink_metadata(path) {
            Ok(named) => Ok(is_same_file(&named, self.identity()?).then_some(named.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(unix)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn seek_write(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}
