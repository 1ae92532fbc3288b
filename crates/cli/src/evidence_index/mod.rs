//! The index of a set of logs: one `SQLite` file that answers searches, made from the logs and worth nothing by itself.
//!
//! In scope: filling it, finding places in it, noticing that it does not belong to the logs. Out of scope: what a record
//! says. Whoever prints a record reads it from the log, and compares its hash with the one that the index has.
//!
//! It follows the logs whenever somebody asks, never the writer. Its place is `.index` in the set's directory.

mod filter;
mod row;
mod search;
mod set;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use filter::{Filter, ToolFilter};
pub(crate) use row::{Row, event_of, micros, rfc3339};
pub(crate) use search::{Content, Cursor, Found, Merge, Stream, scan};
pub(crate) use set::{Log, MAX_LOG_JSON_BYTES, Set, failure};
pub(crate) use store::{Index, IndexError};

/// The directory of the index within that of the set.
pub(crate) const INDEX_DIRECTORY: &str = ".index";
/// The database in it.
pub(crate) const INDEX_FILE: &str = "evidence.sqlite";
