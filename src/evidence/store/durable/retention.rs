//! Redaction and pruning on a log that is being written.
//!
//! An entry stands in tiles and in the write-ahead log. It is taken out of the second first: its tiles become durable,
//! the writer goes on in another segment, and the ones before are given up and overwritten. Crash in between and only
//! the record of what was to be done is there; it can be done again.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::DurableStore;
use super::follow::Follow;
use super::store::{Command, Committed};
use crate::evidence::tiles::TileError;
use crate::evidence::{AppendError, OpenError, OpenErrorKind};

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The body of one entry.
    Redact(u64),
    /// Everything below an index, as far as it fills bundles.
    Prune(u64),
}

/// Something that only the thread with the tiles may do, after everything asked for before.
#[derive(Debug)]
pub(super) enum Job {
    /// Give up the segments with entries below this size, and overwrite them.
    Release(u64, Sender<Result<(), OpenError>>),
    /// Change the tiles, of which so many entries are durable.
    Remove(Removal, u64, Sender<Result<(), OpenError>>),
}

impl DurableStore {
    /// Entries that `removal` concerns are there: makes sure of it before anything is recorded about it. Returns the origin
    /// of their log.
    pub(crate) fn check_removal(&self, removal: Removal, limit: Duration) -> Result<Arc<str>, OpenError> {
        let Committed { follow, size } = self.commit(limit).map_err(append_error)?;
        let last = match removal {
            Removal::Redact(index) => Some(index),
            Removal::Prune(below) => below.checked_sub(1),
        };
        match last {
            Some(last) if last >= size => Err(OpenError::new(OpenErrorKind::NoSuchEntry)),
            _ => Ok(Arc::clone(&follow.origin)),
        }
    }

    /// Takes entries out of the log `origin`, which is being written.
    ///
    /// # Errors
    /// [`OpenErrorKind::OtherLog`] when another log has followed meanwhile, whose entry of that index is another one.
    pub(crate) fn remove(&self, removal: Removal, origin: &str, limit: Duration) -> Result<(), OpenError> {
        let until = Instant::now().checked_add(limit).unwrap_or_else(Instant::now);
        let (answer, rotated) = channel();
        self.queue.command(Command::Rotate(answer)).map_err(append_error)?;
        let Committed { follow, size } = self.answer(&rotated, until).map_err(append_error)?;
        if *follow.origin != *origin {
            return Err(OpenError::new(OpenErrorKind::OtherLog).at(&follow.directory));
        }
        follow.want(size, true);
        follow.wait(size, true, until).map_err(append_error)?;
        run(&follow, |answer| Job::Release(size, answer), until)?;
        let (answer, wiped) = channel();
        self.queue.command(Command::Wipe(answer)).map_err(append_error)?;
        self.answer(&wiped, until).map_err(append_error)?;
        run(&follow, |answer| Job::Remove(removal, size, answer), until)
    }
}

fn run(
    follow: &Arc<Follow>,
    job: impl FnOnce(Sender<Result<(), OpenError>>) -> Job,
    until: Instant,
) -> Result<(), OpenError> {
    let (answer, done) = channel();
    follow.run(job(answer));
    let left = until.saturating_duration_since(Instant::now());
    done.recv_timeout(left).unwrap_or_else(|error| Err(OpenError::new(OpenErrorKind::Io).caused_by(error)))
}

fn append_error(error: AppendError) -> OpenError {
    OpenError::new(OpenErrorKind::Io).caused_by(error)
}

/// For tiles that are not there: an entry that was pruned is no damage.
pub(super) fn removal_error(error: TileError) -> OpenError {
    match error {
        TileError::Pruned { ref path } => OpenError::new(OpenErrorKind::NoSuchEntry).at(&path.clone()).caused_by(error),
        TileError::Io { .. } | TileError::Missing { .. } | TileError::Malformed { .. } => {
            super::recovery::tile_error(error)
        }
    }
}
