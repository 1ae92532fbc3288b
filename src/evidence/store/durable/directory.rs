//! Which names a log's directories may hold, and that only their owner can enter them.

use std::io;
use std::path::Path;

use crate::evidence::storage::{PathKind, Storage, TEMPORARY_SUFFIX, parent_of};
use crate::evidence::{OpenError, OpenErrorKind};

/// The file of the first format of the log.
pub(in crate::evidence) const FIRST_FORMAT_FILE: &str = "records.jsonl";
/// Locked by the process that writes an instance.
pub(in crate::evidence) const LOCK_FILE: &str = "LOCK";
/// The index of a set, which tools make beside the logs and which is nothing but a copy of them.
const INDEX_DIRECTORY: &str = ".index";
/// Digits of the name of a log's directory.
const EPOCH_DIGITS: usize = 8;
/// Most bytes of the name of an instance.
const MAX_INSTANCE_BYTES: usize = 64;
/// Most bytes of the first part of an origin.
const MAX_ORIGIN_BYTES: usize = 200;

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    Missing,
    Private,
}

/// Whether `name` can name an instance.
pub(super) fn is_instance_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= MAX_INSTANCE_BYTES && name.bytes().all(allowed)
}

/// Whether `base` can be the first part of an origin: a schema-less URL, which is also the first part of a key's name.
pub(super) fn is_origin_base(base: &str) -> bool {
    base.len() <= MAX_ORIGIN_BYTES
        && base.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
        && base.split('/').all(|part| !part.is_empty())
}

/// The name of the directory of log number `number`.
pub(super) fn epoch_name(number: u64) -> String {
    format!("{number:0EPOCH_DIGITS$}")
}

/// The number of the log whose directory has the name `name`.
pub(super) fn epoch_number(name: &str) -> Option<u64> {
    let number = name.parse().ok()?;
    (number > 0 && epoch_name(number) == name).then_some(number)
}

/// Whether the directory `path` is there: no symbolic link, and only its owner can enter it.
pub(super) fn has_directory(storage: &dyn Storage, path: &Path) -> Result<bool, OpenError> {
    has_directory_at(storage, path, path)
}

/// Whether the directory `path`, or what a symbolic link of that name leads to, is there and private.
pub(super) fn has_base_directory(storage: &dyn Storage, path: &Path) -> Result<bool, OpenError> {
    has_directory_at(storage, &path.join("."), path)
}

fn has_directory_at(storage: &dyn Storage, inspected: &Path, path: &Path) -> Result<bool, OpenError> {
    let found = match storage.inspect(inspected) {
        // what `path/.` is said to be when `path` is a file
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Some((PathKind::Other, true)),
        other => other.map_err(OpenError::io(path))?,
    };
    match found {
        None => Ok(false),
        Some((PathKind::Directory, true)) => Ok(true),
        Some((PathKind::Directory, false)) => Err(OpenError::new(OpenErrorKind::NotPrivate).at(path)),
        Some((PathKind::File | PathKind::Other, _)) => Err(OpenError::new(OpenErrorKind::Foreign).at(path)),
    }
}

/// Whether the file `path` is there: a regular file, no symbolic link, that only its owner can read.
pub(super) fn file_state(storage: &dyn Storage, path: &Path) -> Result<FileState, OpenError> {
    match storage.inspect(path).map_err(OpenError::io(path))? {
        None => Ok(FileState::Missing),
        Some((PathKind::File, true)) => Ok(FileState::Private),
        Some((PathKind::File, false)) => Err(OpenError::new(OpenErrorKind::NotPrivate).at(path)),
        Some((PathKind::Directory | PathKind::Other, _)) => Err(OpenError::new(OpenErrorKind::Foreign).at(path)),
    }
}

/// Makes the directory `path` with mode 0700, and those above it that are missing, durably.
pub(super) fn create_directory(storage: &dyn Storage, path: &Path) -> Result<(), OpenError> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        match storage.inspect(&ancestor.join(".")) {
            Ok(None) => missing.push(ancestor),
            Ok(Some(_)) => break,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(OpenError::new(OpenErrorKind::Foreign).at(ancestor));
            }
            Err(error) => return Err(OpenError::io(ancestor)(error)),
        }
    }
    for directory in missing.iter().rev() {
        let created = storage.create_dir(directory).and_then(|()| storage.sync_dir(parent_of(directory)));
        created.map_err(OpenError::io(directory))?;
    }
    // what is there may have been made by a process that died before the name was durable
    match storage.sync_dir(parent_of(path)) {
        // who cannot even look into the directory has not made a name in it
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && missing.is_empty() => Ok(()),
        other => other.map_err(OpenError::io(path)),
    }
}

/// The names in `path`, sorted.
pub(super) fn names(storage: &dyn Storage, path: &Path) -> Result<Vec<String>, OpenError> {
    storage.list(path).map_err(OpenError::io(path))
}

/// Removes the files in `directory` that an interrupted replacement left.
pub(super) fn remove_temporary_files(storage: &dyn Storage, directory: &Path) -> Result<(), OpenError> {
    for name in names(storage, directory)? {
        if name.ends_with(TEMPORARY_SUFFIX) {
            let path = directory.join(name);
            storage.remove_file(&path).map_err(OpenError::io(&path))?;
        }
    }
    Ok(())
}

/// Checks a set of logs: nothing but instances and their index in it, and no log of the first format. Returns the names
/// of the instances.
pub(super) fn check_set(storage: &dyn Storage, directory: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = names(storage, directory)?;
    if names.iter().any(|name| name == FIRST_FORMAT_FILE) {
        return Err(OpenError::new(OpenErrorKind::OldFormat).at(directory));
    }
    if names.iter().any(|name| name == INDEX_DIRECTORY) {
        has_directory(storage, &directory.join(INDEX_DIRECTORY))?;
        names.retain(|name| name != INDEX_DIRECTORY);
    }
    for name in &names {
        let path = directory.join(name);
        if !is_instance_name(name) {
            return Err(OpenError::new(OpenErrorKind::Foreign).at(&path));
        }
        has_directory(storage, &path)?;
        instance_epochs(storage, &path)?;
    }
    Ok(names)
}

/// The numbers of the logs in an instance's directory, in order; nothing but them and the lock may be there.
pub(super) fn instance_epochs(storage: &dyn Storage, directory: &Path) -> Result<Vec<u64>, OpenError> {
    let mut numbers = Vec::new();
    for name in names(storage, directory)? {
        let path = directory.join(&name);
        if name == LOCK_FILE {
            file_state(storage, &path)?;
            continue;
        }
        let number = epoch_number(&name).ok_or_else(|| OpenError::new(OpenErrorKind::Foreign).at(&path))?;
        has_directory(storage, &path)?;
        numbers.push(number);
    }
    // names of more digits than eight sort wrongly
    numbers.sort_unstable();
    let expected = numbers
        .first()
        .map_or(0..0, |first| *first..first.saturating_add(numbers.len().try_into().unwrap_or(u64::MAX)));
    match expected.zip(&numbers).find(|(expected, number)| expected != *number) {
        Some((missing, _)) => Err(OpenError::new(OpenErrorKind::EpochGap { missing }).at(directory)),
        None => Ok(numbers),
    }
}
