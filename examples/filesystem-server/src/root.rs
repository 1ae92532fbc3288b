//! The files below one directory, reached through a capability: no path, link or race leads out of it.
//!
//! Every operation is synchronous and bounded, and starts from one open directory handle. `cap-std` resolves each path
//! beneath that handle (`openat2` with `RESOLVE_BENEATH` where the kernel has it), so `..`, absolute links and links
//! swapped between check and use end in an error. Links that stay inside are followed by reads and ignored by walks.
//!
//! Out of scope: hard links and mounts that whoever owns the root placed inside it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use cap_fs_ext::{DirExt as _, OpenOptionsSyncExt as _};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileType, Metadata, OpenOptions};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::FsError;
use crate::path::RelPath;

/// Most bytes that one read returns: with text and structured copy, each escaped sixfold, the answer stays below the
/// 16 MiB line that rmcp's transports accept.
pub const MAX_READ_BYTES: u64 = 1024 * 1024;
/// Bytes that a read returns when it names no limit: about what a model can use at once.
pub(crate) const DEFAULT_READ_BYTES: u64 = 64 * 1024;
/// Most bytes that one write stores: as base64 they fit the 4 MiB request that rmcp's HTTP server accepts.
pub const MAX_WRITE_BYTES: usize = 1024 * 1024;
/// Most entries that one listing returns.
pub const MAX_LIST_ENTRIES: usize = 1000;
/// Most entries of one directory that are read and sorted at all; a larger directory is listed in part and says so.
pub const MAX_DIRECTORY_ENTRIES: usize = 20_000;
/// Deepest tree that is searched or deleted: each level of a deletion holds an open directory.
pub const MAX_DEPTH: usize = 32;

/// What a directory entry is; a symbolic link is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntryType {
    File,
    Directory,
    Symlink,
    /// A fifo, socket or device: never opened.
    Special,
}

impl From<FileType> for EntryType {
    fn from(file_type: FileType) -> Self {
        if file_type.is_file() {
            Self::File
        } else if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_symlink() {
            Self::Symlink
        } else {
            Self::Special
        }
    }
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: EntryType,
    /// Size in bytes, of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// True if the name on disk is not UTF-8: it is shown with replacement characters and cannot be addressed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) name_not_utf8: bool,
}

/// A directory's entries, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_offset: Option<usize>,
    /// True if the directory holds more entries than this server reads; the rest is in no page.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) incomplete: bool,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    /// Size of the whole file in bytes.
    pub(crate) size: u64,
}

/// Facts about one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Stat {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: EntryType,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Last change of the content, in seconds since 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<u64>,
    /// Creation, in seconds since 1970-01-01T00:00:00Z, where the file system knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<u64>,
    pub(crate) read_only: bool,
    /// Unix permission bits, such as `0644`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
}

/// One directory and everything below it.
#[derive(Debug)]
pub(crate) struct Root(Dir);

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, ambient_authority()).map(Self)
    }

    /// A page of at most `limit` entries from `offset` on.
    pub(crate) fn list(&self, path: &RelPath, offset: usize, limit: usize) -> Result<Listing, FsError> {
        let dir = self.0.open_dir(path.as_path())?;
        let (names, incomplete) = sorted_names(&dir)?;
        let end = offset.saturating_add(limit.min(MAX_LIST_ENTRIES));
        let entries = names.iter().skip(offset).take(end.saturating_sub(offset));
        // An entry that vanished since the directory was read is left out.
        let entries = entries.filter_map(|(name, entry_type)| entry(&dir, name, *entry_type)).collect();
        Ok(Listing { entries, next_offset: (end < names.len()).then_some(end), incomplete })
    }

    /// At most `limit` bytes from `offset` on; never more than [`MAX_READ_BYTES`].
    pub(crate) fn read(&self, path: &RelPath, offset: u64, limit: u64) -> Result<Piece, FsError> {
        let (mut file, metadata) = self.open_regular(path.as_path())?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(limit.min(MAX_READ_BYTES)).read_to_end(&mut bytes)?;
        Ok(Piece { bytes, size: metadata.len() })
    }

    /// Opens a regular file for reading and nothing else.
    ///
    /// The type is looked at before the open, since opening a device or fifo can itself have effects, and again on the
    /// handle, since the entry may have been swapped between the two; `O_NONBLOCK` keeps that second case from hanging.
    pub(crate) fn open_regular(&self, path: &Path) -> Result<(File, Metadata), FsError> {
        refuse_irregular(&self.0.metadata(path)?)?;
        let file = self.0.open_with(path, OpenOptions::new().read(true).nonblock(true))?;
        let metadata = file.metadata()?;
        refuse_irregular(&metadata)?;
        Ok((file, metadata))
    }

    /// Opens a directory below the root.
    pub(crate) fn open_dir(&self, path: &Path) -> io::Result<Dir> {
        self.0.open_dir(path)
    }

    /// Stores a whole file: written beside the target, synced, then renamed over it, so that a reader or a crash sees
    /// the old content or the new, never a part. Returns true if the file is new.
    pub(crate) fn write(&self, path: &RelPath, content: &[u8], overwrite: bool) -> Result<bool, FsError> {
        if content.len() > MAX_WRITE_BYTES {
            return Err(FsError::too_large("the content is larger than 1 MiB"));
        }
        let (parent, name) = path.split()?;
        let parent = self.0.open_dir(parent)?;
        let present = match parent.symlink_metadata(name) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(metadata) = &present {
            refuse_irregular(metadata)?;
            if !overwrite {
                return Err(FsError::io(io::ErrorKind::AlreadyExists));
            }
        }
        let (mut file, temporary) = Temporary::create(&parent)?;
        file.write_all(content)?;
        if let Some(metadata) = &present {
            file.set_permissions(plain_permissions(metadata))?;
        }
        file.sync_all()?;
        temporary.rename_to(name, overwrite)?;
        sync_dir(&parent)?;
        Ok(present.is_none())
    }

    /// Creates a directory; its parents too if asked to.
    pub(crate) fn create_directory(&self, path: &RelPath, parents: bool) -> Result<(), FsError> {
        path.split()?;
        let done = if parents { self.0.create_dir_all(path.as_path()) } else { self.0.create_dir(path.as_path()) };
        Ok(done?)
    }

    pub(crate) fn stat(&self, path: &RelPath) -> Result<Stat, FsError> {
        let metadata = self.0.symlink_metadata(path.as_path())?;
        let seconds = |time: io::Result<cap_std::time::SystemTime>| {
            time.ok()?.into_std().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
        };
        Ok(Stat {
            path: path.to_string(),
            kind: metadata.file_type().into(),
            size: metadata.len(),
            modified: seconds(metadata.modified()),
            created: seconds(metadata.created()),
            read_only: metadata.permissions().readonly(),
            mode: mode(&metadata),
        })
    }

    /// Renames an entry. Without `overwrite` the kernel refuses an existing target in the same step.
    pub(crate) fn rename(&self, from: &RelPath, to: &RelPath, overwrite: bool) -> Result<(), FsError> {
        let (from_parent, from_name) = from.split()?;
        let (to_parent, to_name) = to.split()?;
        let from_parent = self.0.open_dir(from_parent).map_err(|error| FsError::from(error).about(from))?;
        let to_parent = self.0.open_dir(to_parent).map_err(|error| FsError::from(error).about(to))?;
        let done = if overwrite {
            from_parent.rename(from_name, &to_parent, to_name)
        } else {
            rename_noreplace(&from_parent, from_name, &to_parent, to_name)
        };
        done.map_err(|error| {
            let about_target = error.kind() == io::ErrorKind::AlreadyExists;
            FsError::from(error).about(if about_target { to } else { from })
        })?;
        sync_dir(&to_parent)?;
        sync_dir(&from_parent)?;
        Ok(())
    }

    /// Deletes a file, link or empty directory; a whole tree only with `recursive`. Links are removed, not followed.
    pub(crate) fn delete(&self, path: &RelPath, recursive: bool) -> Result<(), FsError> {
        let (parent, name) = path.split()?;
        let parent = self.0.open_dir(parent)?;
        if !parent.symlink_metadata(name)?.is_dir() {
            parent.remove_file_or_symlink(name)?;
        } else if recursive {
            remove_tree(&parent, name, MAX_DEPTH)?;
        } else {
            parent.remove_dir(name)?;
        }
        sync_dir(&parent)?;
        Ok(())
    }
}

fn refuse_irregular(metadata: &Metadata) -> Result<(), FsError> {
    match EntryType::from(metadata.file_type()) {
        EntryType::File => Ok(()),
        EntryType::Directory => Err(FsError::io(io::ErrorKind::IsADirectory)),
        EntryType::Symlink | EntryType::Special => Err(FsError::special()),
    }
}

/// The permissions that new content inherits from the old: all but set-user-id, set-group-id and sticky.
fn plain_permissions(metadata: &Metadata) -> cap_std::fs::Permissions {
    let permissions = metadata.permissions();
    #[cfg(unix)]
    let permissions = {
        use cap_std::fs::PermissionsExt as _;
        cap_std::fs::Permissions::from_mode(permissions.mode() & 0o777)
    };
    permissions
}

/// Names and types of a directory's entries in name order, and whether there were more than are read.
pub(crate) fn sorted_names(dir: &Dir) -> io::Result<(Vec<(OsString, EntryType)>, bool)> {
    let mut names = Vec::new();
    for entry in dir.entries()? {
        if names.len() == MAX_DIRECTORY_ENTRIES {
            return Ok((names, true));
        }
        let entry = entry?;
        if let Ok(file_type) = entry.file_type() {
            names.push((entry.file_name(), file_type.into()));
        }
    }
    names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok((names, false))
}

fn entry(dir: &Dir, name: &OsStr, entry_type: EntryType) -> Option<Entry> {
    let size = if entry_type == EntryType::File { Some(dir.symlink_metadata(name).ok()?.len()) } else { None };
    Some(Entry {
        name: name.to_string_lossy().into_owned(),
        kind: entry_type,
        size,
        name_not_utf8: name.to_str().is_none(),
    })
}

/// Removes a directory and what is below it, at most `levels` deep, never through a link.
fn remove_tree(parent: &Dir, name: &OsStr, levels: usize) -> Result<(), FsError> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(FsError::too_large("the tree is deeper than 32 directories; delete its inner parts first"));
    };
    let dir = parent.open_dir_nofollow(name)?;
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            remove_tree(&dir, &name, levels)?;
        } else {
            dir.remove_file_or_symlink(&name)?;
        }
    }
    drop(dir);
    Ok(parent.remove_dir(name)?)
}

/// A file that disappears again unless it is renamed to its place.
struct Temporary<'a> {
    dir: &'a Dir,
    name: Option<OsString>,
}

impl<'a> Temporary<'a> {
    fn create(dir: &'a Dir) -> io::Result<(File, Self)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".filesystem-server.{}.{number}.tmp", process::id()));
            // `create_new` neither follows nor reuses what another process may have put there.
            match dir.open_with(&name, OpenOptions::new().write(true).create_new(true)) {
                Ok(file) => return Ok((file, Self { dir, name: Some(name) })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename_to(mut self, target: &OsStr, overwrite: bool) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        if overwrite {
            self.dir.rename(name, self.dir, target)?;
        } else {
            rename_noreplace(self.dir, name, self.dir, target)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing to be done if this fails: the write itself already reports its error.
            let _ = self.dir.remove_file(name);
        }
    }
}

/// Renames unless the target exists, in one step of the kernel; both names are single components.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_noreplace(from_dir: &Dir, from: &OsStr, to_dir: &Dir, to: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from_dir, from, to_dir, to, rustix::fs::RenameFlags::NOREPLACE)?)
}

/// Renames unless the target exists; on this platform another process can still slip in between check and rename.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn rename_noreplace(from_dir: &Dir, from: &OsStr, to_dir: &Dir, to: &OsStr) -> io::Result<()> {
    if to_dir.symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    from_dir.rename(from, to_dir, to)
}

/// Makes a rename or removal durable.
#[cfg(unix)]
fn sync_dir(dir: &Dir) -> io::Result<()> {
    // Opened anew, since the handle that resolves paths need not be one that can be synced.
    dir.open(".")?.sync_all()
}

/// Directories cannot be synced on this platform.
#[cfg(not(unix))]
fn sync_dir(_dir: &Dir) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other platforms have no permission bits")]
fn mode(metadata: &Metadata) -> Option<String> {
    use cap_std::fs::PermissionsExt as _;
    Some(format!("{:04o}", metadata.permissions().mode() & 0o7777))
}

#[cfg(not(unix))]
fn mode(_metadata: &Metadata) -> Option<String> {
    None
}

#[cfg(test)]
mod tests;
