//! The database: opened or made anew, filled, asked, compared.

mod fill;
mod open;
mod read;

use std::io;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::exit::Failure;

/// An index that belongs to the logs it was opened with, as far as their last indexed entries tell.
#[derive(Debug)]
pub(crate) struct Index {
    connection: Connection,
    directory: PathBuf,
}

/// Why there is no index to ask. The logs can always be read instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The database cannot be used.
    #[error("the database cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    /// Its files cannot be used.
    #[error("its files cannot be used")]
    Io(#[from] io::Error),
    /// What stands in its place is not ours to touch.
    #[error("`{}` is {what}", path.display())]
    Foreign {
        /// What stands there.
        path: PathBuf,
        /// Why it is not ours.
        what: &'static str,
    },
    /// Another command fills it.
    #[error("another command is filling it")]
    Busy,
    /// Of one log by itself there is no index.
    #[error("only a set of logs has one")]
    Single,
    /// The logs themselves cannot be read.
    #[error("the log cannot be read")]
    Log(Failure),
}

/// How far the index of one log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogStatus {
    pub(crate) name: String,
    /// Entries below it are indexed.
    pub(crate) next: u64,
    /// How many of these the index really has; what is pruned counts as there.
    pub(crate) indexed: u64,
    /// Published entries that are not indexed.
    pub(crate) lag: u64,
}

impl IndexError {
    /// Whether a new database might do better.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{
            ApiMisuse, CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, PermissionDenied, ReadOnly,
        };
        match self {
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                Some(DatabaseBusy | DatabaseLocked | CannotOpen | ReadOnly | DiskFull | PermissionDenied | ApiMisuse)
            ),
            Self::Io(_) | Self::Foreign { .. } | Self::Busy | Self::Single | Self::Log(_) => false,
        }
    }
}
