//! A guarded MCP filesystem server: the example of `rmcp-guard`.
//!
//! [`FilesystemServer`] is an ordinary rmcp server with eight tools over the files below one directory. It knows nothing
//! about callers; who may use which tool is the guard's business. [`GuardedServer`] puts the two together and serves
//! them over standard input and output or HTTP, disclosing the server's identity on both; [`BadgeFile`] keeps that
//! identity's badge current.
//!
//! In scope: nothing outside the directory is read, written or named, whatever path, link or race a caller tries; every
//! read, write, listing and search is bounded; special files are never opened; writes are whole or not at all.
//!
//! Out of scope: quotas, and hard links or mounts that the directory's owner placed inside it.

mod badge_file;
mod error;
mod guarded;
mod path;
mod root;
mod search;
mod tools;

pub use badge_file::BadgeFile;
pub use guarded::{GuardedServer, HttpOptions, SHUTDOWN_GRACE};
pub use path::MAX_PATH_BYTES;
pub use root::{MAX_DEPTH, MAX_DIRECTORY_ENTRIES, MAX_LIST_ENTRIES, MAX_READ_BYTES, MAX_WRITE_BYTES};
pub use search::{MAX_PATTERN_BYTES, MAX_SEARCH_ENTRIES, MAX_SEARCH_FILE_BYTES, MAX_SEARCH_RESULTS, MAX_SEARCH_TIME};
pub use tools::{FilesystemServer, MAX_CONCURRENT_OPERATIONS, MAX_CONCURRENT_SEARCHES};
