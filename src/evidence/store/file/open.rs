//! Opening, checking and reading a log's directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::encoding::parse_unique_json;
use crate::evidence::keyed::KEY_BYTES;
use crate::evidence::{MAX_RECORD_BYTES, OpenError, OpenErrorKind};

/// The records, one JSON object a line.
const RECORDS_FILE: &str = "records.jsonl";
/// Locked by the process that writes.
const LOCK_FILE: &str = "LOCK";
/// The key of the keyed hashes; beside the records, not among them.
const KEY_FILE: &str = "params.key";

/// A log's directory, checked and locked, ready to be written.
#[derive(Debug)]
pub(in crate::evidence) struct Opened {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) lock_file: Option<File>,
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(in crate::evidence) key: Zeroizing<[u8; KEY_BYTES]>,
    /// What has to be recorded about this opening.
    pub(in crate::evidence) repairs: Vec<Repair>,
}

/// Something found while opening that the log itself must tell.
#[derive(Debug)]
pub(in crate::evidence) enum Repair {
    /// The last line had no end; it was moved to `file`.
    TornTail { file: String, bytes: u64 },
    /// There were records but no key: hashes from here on do not compare with those before.
    KeyCreated,
}

/// Opens the log in `directory`, making it where it does not exist.
pub(in crate::evidence) fn open_directory(directory: &Path, now: SystemTime) -> Result<Opened, OpenError> {
    create_private_directory(directory)?;
    let lock_file = lock_directory(directory)?;
    let path = directory.join(RECORDS_FILE);
    let existed = check_private_file(&path)?;
    let mut file = private_file().append(true).read(true).create(true).open(&path).map_err(io_error(&path))?;
    let scan = scan(&file, &path)?;
    let mut repairs = Vec::new();
    if scan.torn > 0 {
        let name = set_torn_tail_aside(&mut file, directory, &scan, now)?;
        repairs.push(Repair::TornTail { file: name, bytes: scan.torn });
    }
    let (key, key_created) = load_or_create_key(directory)?;
    if key_created && scan.records > 0 {
        repairs.push(Repair::KeyCreated);
    }
    if !existed {
        sync_directory(directory)?;
    }
    Ok(Opened { path, file, lock_file: Some(lock_file), bytes: scan.whole, records: scan.records, key, repairs })
}

/// Reads the records of the log in `directory` without opening it for writing; a writer may be at work meanwhile.
///
/// A last line without its end is left out: it is being written, or was torn by a crash and confirmed to nobody.
///
/// # Errors
/// [`OpenErrorKind::Io`] when there is no readable log, [`OpenErrorKind::Damaged`] with the line that is not a record.
pub fn read_records(directory: impl AsRef<Path>) -> Result<Vec<Value>, OpenError> {
    read_lines(&directory.as_ref().join(RECORDS_FILE), None)
}

/// The records in the first `length` bytes of `path`, or in all of it.
pub(super) fn read_lines(path: &Path, length: Option<u64>) -> Result<Vec<Value>, OpenError> {
    let file = File::open(path).map_err(io_error(path))?;
    let mut records = Vec::new();
    for_each_line(file.take(length.unwrap_or(u64::MAX)), path, |record, _| records.push(record))?;
    Ok(records)
}

struct Scan {
    /// Bytes up to and including the last line break.
    whole: u64,
    /// Bytes after it.
    torn: u64,
    records: u64,
}

fn scan(file: &File, path: &Path) -> Result<Scan, OpenError> {
    let mut scan = Scan { whole: 0, torn: 0, records: 0 };
    scan.torn = for_each_line(file, path, |_, length| {
        scan.whole = scan.whole.saturating_add(length);
        scan.records = scan.records.saturating_add(1);
    })?;
    Ok(scan)
}

/// Hands each record and its length with the line break to `each`; returns the length of an unfinished last line.
fn for_each_line(source: impl io::Read, path: &Path, mut each: impl FnMut(Value, u64)) -> Result<u64, OpenError> {
    // one byte more than the longest line with its break, so that a longer one is seen to be too long
    let limit = u64::try_from(MAX_RECORD_BYTES).unwrap_or(u64::MAX).saturating_add(2);
    let mut reader = BufReader::with_capacity(1 << 16, source);
    let mut line = Vec::new();
    let mut number = 0_usize;
    loop {
        line.clear();
        number = number.saturating_add(1);
        let damaged = || OpenError::new(OpenErrorKind::Damaged { line: number }).at(path);
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).map_err(io_error(path))?;
        let length = u64::try_from(read).unwrap_or(u64::MAX);
        if length == limit {
            return Err(damaged());
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            return Ok(length);
        };
        let record = parse_unique_json(text).map_err(|error| damaged().caused_by(error))?;
        // a file of somebody else's JSON lines is not ours to append to
        if record.get("id").and_then(Value::as_str).is_none() || record.get("event.name").is_none() {
            return Err(damaged());
        }
        each(record, length);
    }
}

/// Moves the bytes after the last line break to a file of their own, then cuts them off.
fn set_torn_tail_aside(file: &mut File, directory: &Path, scan: &Scan, now: SystemTime) -> Result<String, OpenError> {
    let nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = format!("{RECORDS_FILE}.torn-{nanoseconds}");
    let path = directory.join(&name);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(scan.whole))
        .and_then(|_| file.take(scan.torn).read_to_end(&mut tail))
        .map_err(io_error(&directory.join(RECORDS_FILE)))?;
    let mut aside = private_file().write(true).create_new(true).open(&path).map_err(io_error(&path))?;
    aside.write_all(&tail).and_then(|()| aside.sync_all()).map_err(io_error(&path))?;
    sync_directory(directory)?;
    file.set_len(scan.whole).and_then(|()| file.sync_all()).map_err(io_error(&directory.join(RECORDS_FILE)))?;
    Ok(name)
}

fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_FILE);
    check_private_file(&path)?;
    let file = private_file().write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(OpenErrorKind::Locked).at(directory)),
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

fn load_or_create_key(directory: &Path) -> Result<(Zeroizing<[u8; KEY_BYTES]>, bool), OpenError> {
    let path = directory.join(KEY_FILE);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if check_private_file(&path)? {
        // one byte more than a key, to see that there is none
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES.saturating_add(1)));
        let limit = u64::try_from(KEY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(io_error(&path))?;
        *key = bytes.as_slice().try_into().map_err(|_| OpenError::new(OpenErrorKind::Key).at(&path))?;
        return Ok((key, false));
    }
    getrandom::fill(key.as_mut_slice()).map_err(|_| OpenError::new(OpenErrorKind::Randomness))?;
    // complete before it has its name: a crash leaves no half key behind
    let draft = directory.join(format!("{KEY_FILE}.draft"));
    check_private_file(&draft)?;
    let mut file = private_file().write(true).create(true).truncate(true).open(&draft).map_err(io_error(&draft))?;
    file.write_all(key.as_slice()).and_then(|()| file.sync_all()).map_err(io_error(&draft))?;
    std::fs::rename(&draft, &path).map_err(io_error(&path))?;
    sync_directory(directory)?;
    Ok((key, true))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |error| OpenError::new(OpenErrorKind::Io).at(&path).caused_by(error)
}

/// Makes `directory` with mode 0700, or checks that the one there is a directory that only its owner can enter.
fn create_private_directory(directory: &Path) -> Result<(), OpenError> {
    if directory.exists() {
        let metadata = std::fs::metadata(directory).map_err(io_error(directory))?;
        if !metadata.is_dir() {
            return Err(OpenError::new(OpenErrorKind::Foreign).at(directory));
        }
        return check_private(&metadata, directory);
    }
    let created: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(io_error(directory))?;
    created.iter().filter_map(|path| path.parent()).try_for_each(sync_directory)
}

/// Whether `path` exists, and if so that it is a regular file (no symbolic link) that only its owner can read.
fn check_private_file(path: &Path) -> Result<bool, OpenError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => check_private(&metadata, path).map(|()| true),
        Ok(_) => Err(OpenError::new(OpenErrorKind::Foreign).at(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path)(error)),
    }
}

#[cfg(unix)]
fn check_private(metadata: &std::fs::Metadata, path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt as _;
    const GROUP_AND_OTHERS: u32 = 0o077;
    if metadata.permissions().mode() & GROUP_AND_OTHERS == 0 {
        Ok(())
    } else {
        Err(OpenError::new(OpenErrorKind::NotPrivate).at(path))
    }
}

/// File modes do not exist here; the directory's access control list decides.
#[cfg(not(unix))]
fn check_private(_metadata: &std::fs::Metadata, _path: &Path) -> Result<(), OpenError> {
    Ok(())
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes new names in `directory` durable.
fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    // the parent of a relative name is the empty path
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // elsewhere than on Unix a directory cannot be opened for this
    if cfg!(unix) {
        File::open(directory).and_then(|file| file.sync_all()).map_err(io_error(directory))?;
    }
    Ok(())
}
