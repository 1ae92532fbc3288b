//! Opening: the directory, the lock, the database, and whether it is one of ours.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Index, IndexError};
use crate::evidence_index::{INDEX_DIRECTORY, INDEX_FILE, Set};

/// The schema's version; a database of another one is made anew.
const SCHEMA_VERSION: i64 = 2;
const SCHEMA: &str = include_str!("../schema.sql");
/// How long a command waits for another that fills the index, before it reads the logs instead.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_FILE: &str = "LOCK";

/// Held while the index is filled or made anew.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "unlocks when it is closed")] File);

impl Index {
    /// The index of `set`, filled up to the end of its logs; made anew where it is not the index of these logs.
    /// `progress` is told how many entries were added so far; what was found wrong is in `notes`.
    pub(crate) fn fill(set: &Set, progress: &mut dyn FnMut(u64), notes: &mut Vec<String>) -> Result<Self, IndexError> {
        if set.is_single() {
            return Err(IndexError::Single);
        }
        let directory = directory_of(set)?;
        make_directory(&directory)?;
        let lock = lock(&directory)?;
        let filled = open(&directory, notes).and_then(|mut index| {
            index.follow(set, progress, notes)?;
            Ok(index)
        });
        let filled = match filled {
            Err(error) if error.is_damage() => {
                notes.push(format!("the index was damaged ({error}) and is made anew"));
                remove_files(&directory)?;
                open(&directory, notes).and_then(|mut index| {
                    index.follow(set, progress, notes)?;
                    Ok(index)
                })
            }
            filled => filled,
        };
        drop(lock);
        filled
    }

    /// The index as it is, if there is one; nothing is filled or repaired.
    pub(crate) fn look(set: &Set) -> Result<Option<Self>, IndexError> {
        if set.is_single() {
            return Err(IndexError::Single);
        }
        let directory = directory_of(set)?;
        if !is_there(&directory)? || !is_there(&directory.join(INDEX_FILE))? {
            return Ok(None);
        }
        check_place(&directory)?;
        let connection = connect(&directory)?;
        if !is_ours(&connection)? {
            return Err(IndexError::Foreign { path: directory.join(INDEX_FILE), what: "of another version" });
        }
        Ok(Some(Self { connection, directory }))
    }

    /// Removes the index of `set`; `false` when there is none.
    pub(crate) fn remove(set: &Set) -> Result<bool, IndexError> {
        let directory = directory_of(set)?;
        if !is_there(&directory)? {
            return Ok(false);
        }
        check_place(&directory)?;
        let lock = lock(&directory)?;
        remove_files(&directory)?;
        std::fs::remove_file(directory.join(LOCK_FILE))?;
        drop(lock);
        // something of somebody else's may be in it
        match std::fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(true),
            removed => removed.map(|()| true).map_err(IndexError::Io),
        }
    }
}

/// Without symbolic links in it, since `SQLite` is told to follow none.
fn directory_of(set: &Set) -> Result<PathBuf, IndexError> {
    Ok(set.directory().canonicalize()?.join(INDEX_DIRECTORY))
}

fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_directory(directory: &Path) -> Result<(), IndexError> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    match builder.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    check_place(directory)
}

/// Refuses what is not a private directory with regular files: the index is written and removed by name.
fn check_place(directory: &Path) -> Result<(), IndexError> {
    let foreign = |path: &Path, what| Err(IndexError::Foreign { path: path.to_owned(), what });
    let metadata = directory.symlink_metadata()?;
    if !metadata.is_dir() {
        return foreign(directory, "not a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            return foreign(directory, "open to other users (`chmod 700` it)");
        }
    }
    for file in files(directory) {
        match file.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return foreign(&file, "not a regular file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The database and what `SQLite` has beside it, and the lock.
fn files(directory: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    let database = ["", "-wal", "-shm", "-journal"].map(|suffix| format!("{INDEX_FILE}{suffix}"));
    database.into_iter().chain([LOCK_FILE.to_owned()]).map(|name| directory.join(name))
}

fn remove_files(directory: &Path) -> io::Result<()> {
    for file in files(directory).filter(|file| !file.ends_with(LOCK_FILE)) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<Lock, IndexError> {
    let file =
        private_file(OpenOptions::new().read(true).write(true).create(true).truncate(false), directory, LOCK_FILE)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(IndexError::Busy),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

fn private_file(options: &mut OpenOptions, directory: &Path, name: &str) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(directory.join(name))
}

fn open(directory: &Path, notes: &mut Vec<String>) -> Result<Index, IndexError> {
    // made before SQLite sees it, readable by its owner only; SQLite's other files take after it
    private_file(OpenOptions::new().write(true).create(true).truncate(false), directory, INDEX_FILE)?;
    let mut connection = connect(directory)?;
    if !is_ours(&connection)? {
        let is_empty: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if is_empty != 0 {
            notes.push("the index was of another version and is made anew".to_owned());
            drop(connection);
            remove_files(directory)?;
            private_file(OpenOptions::new().write(true).create_new(true), directory, INDEX_FILE)?;
            connection = connect(directory)?;
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(Index { connection, directory: directory.to_owned() })
}

fn connect(directory: &Path) -> Result<Connection, IndexError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(directory.join(INDEX_FILE), flags)?;
    connection.busy_timeout(LOCK_TIMEOUT)?;
    // whoever may have written the file gets no code run by it
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // a power cut costs rows that can be had again, not the database
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // what was redacted must not stay in free pages
    connection.pragma_update(None, "secure_delete", "ON")?;
    Ok(connection)
}

/// Whether the database has our schema, and nothing besides.
fn is_ours(connection: &Connection) -> Result<bool, IndexError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != SCHEMA_VERSION {
        return Ok(false);
    }
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    Ok(schema(connection)? == schema(&fresh)?)
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // a schema of ours is eight rows
    rows.take(64).collect()
}
