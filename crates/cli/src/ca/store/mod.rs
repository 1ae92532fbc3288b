//! The CA's state: one `SQLite` file, which commands may change while the server runs.
//!
//! Every change is one `IMMEDIATE` transaction and is on disk when it returns. Calls block; the server makes them on
//! blocking threads.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::ca::error::CaError;

/// The only schema so far; a database of a later one is not touched.
const SCHEMA_VERSION: i64 = 1;
/// How long one writer waits for the other, such as a command for the server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Clones of the connection would not share a transaction, so each of the two stands behind a lock: readers never wait
/// for a writer's disk.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Store {
    /// Makes the tables in the empty file `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, CaError> {
        let mut connection = connect(path)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        drop(connection);
        Self::open(path)
    }

    pub(crate) fn open(path: &Path) -> Result<Self, CaError> {
        let writer = connect(path)?;
        let version: i64 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != SCHEMA_VERSION {
            return Err(CaError::State(format!(
                "{}: schema {version} is not the one of this program, {SCHEMA_VERSION}",
                path.display()
            )));
        }
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(connect(path)?) })
    }

    /// All of `work` or nothing of it.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, CaError>) -> Result<T, CaError> {
        let mut connection = lock(&self.writer);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// `work` on one snapshot.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, CaError>) -> Result<T, CaError> {
        let mut connection = lock(&self.reader);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        work(&transaction)
    }
}

/// A panic while the lock was held has rolled its transaction back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection, CaError> {
    // Without CREATE: the file was made before, readable by its owner only, and SQLite's other files take after it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An answer says that the revocation counts: it must survive a power cut too.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

pub(crate) fn set_meta(connection: &Connection, name: &str, value: &str) -> Result<(), CaError> {
    connection.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

pub(crate) fn meta(connection: &Connection, name: &str) -> Result<String, CaError> {
    let value = connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    value.ok_or_else(|| CaError::State(format!("the database has no `{name}`")))
}

/// Whether a row could not be added since another holds its unique name.
pub(crate) fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY))
}
