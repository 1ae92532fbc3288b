//! Reading back the records of an instance that is being written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::directory::{epoch_name, instance_epochs};
use super::recovery::{Place, tile_error};
use crate::encoding::parse_unique_json;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::note::{MAX_NOTE_BYTES, UnverifiedNote};
use crate::evidence::storage::{FsStorage, Storage, read_file};
use crate::evidence::tiles::{CHECKPOINT_FILE, TileError, TileReader};
use crate::evidence::wal::{FrameKind, WalError, WalReader};
use crate::evidence::{Entry, OpenError, OpenErrorKind};

/// Segments and partial tiles come and go while a writer is at work; so often the reader looks again.
const ATTEMPTS: usize = 5;

/// Every record of the logs in the instance's directory, in order; redacted and pruned ones are left out.
pub(super) fn read_instance(storage: &Arc<dyn Storage>, instance: &Path) -> Result<Vec<Value>, OpenError> {
    let mut records = Vec::new();
    for number in instance_epochs(&**storage, instance)? {
        let directory = instance.join(epoch_name(number));
        // only to find the log's own segments: nothing is verified here
        let origin = super::manifest::Manifest::read(&**storage, &directory)?.map(|manifest| manifest.origin);
        let Some(origin) = origin else { continue };
        let place = Place { storage: Arc::clone(storage), directory, origin };
        let mut attempt = 1;
        let entries = loop {
            match read_log(&place) {
                Err(_) if attempt < ATTEMPTS => attempt = attempt.saturating_add(1),
                other => break other?,
            }
        };
        for (index, entry) in entries {
            let line = usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
            let damaged = || OpenError::new(OpenErrorKind::Damaged { line }).at(&place.directory);
            let event = Entry::parse(&entry).ok_or_else(damaged)?.event;
            records.push(parse_unique_json(event).map_err(|error| damaged().caused_by(error))?);
        }
    }
    Ok(records)
}

/// Every record of every instance in the set `directory`.
pub(crate) fn read_set(directory: &Path) -> Result<Vec<Value>, OpenError> {
    let storage: Arc<dyn Storage> = Arc::new(FsStorage);
    let mut records = Vec::new();
    for instance in storage.list(directory).map_err(OpenError::io(directory))? {
        records.extend(read_instance(&storage, &directory.join(instance))?);
    }
    Ok(records)
}

/// The entries of one log, those in tiles and those in its write-ahead log.
fn read_log(place: &Place) -> Result<Vec<(u64, Vec<u8>)>, OpenError> {
    let mut entries = Vec::new();
    let opened = WalReader::open(Arc::clone(&place.storage), &place.wal_directory(), &place.origin);
    let mut wal = match opened {
        Ok(reader) => Some(reader),
        // a finished log has none
        Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(place.wal_error(error)),
    };
    let tiled = wal.as_ref().map_or_else(|| published_size(place), |wal| wal.start().size());
    let mut tiles = TileReader::new(Arc::clone(&place.storage), &place.directory, tiled);
    for index in 0..tiled {
        match tiles.entry(index) {
            Ok(Some(entry)) => entries.push((index, entry)),
            Ok(None) | Err(TileError::Pruned { .. }) => {}
            Err(error) => return Err(tile_error(error)),
        }
    }
    let mut index = tiled;
    if let Some(wal) = &mut wal {
        while let Some(frame) = wal.next(None).map_err(|error| place.wal_error(error))? {
            if frame.kind == FrameKind::Entry {
                entries.push((index, frame.body));
                index = index.saturating_add(1);
            }
        }
    }
    Ok(entries)
}

fn published_size(place: &Place) -> u64 {
    let read = || {
        let note = read_file(&*place.storage, &place.directory.join(CHECKPOINT_FILE), MAX_NOTE_BYTES).ok()?;
        Some(Checkpoint::parse(UnverifiedNote::parse(&note).ok()?.text()).ok()?.size)
    };
    read().unwrap_or(0)
}
