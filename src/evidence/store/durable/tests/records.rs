//! Reading a log back from a simulated disk, as the reader of the real one does it.

use std::path::Path;
use std::sync::Arc;

use super::super::directory::{epoch_name, instance_epochs};
use super::super::manifest::Manifest;
use super::super::recovery::{Place, tile_error};
use crate::evidence::OpenError;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::note::{MAX_NOTE_BYTES, UnverifiedNote};
use crate::evidence::storage::{Storage, read_file};
use crate::evidence::tiles::{CHECKPOINT_FILE, TileReader};
use crate::evidence::wal::{FrameKind, WalReader};

/// The origin and the entries of a log.
pub(super) type OneLog = (String, Vec<Vec<u8>>);

/// Each log of the instance, in order; a redacted entry is empty.
pub(super) fn read_instance(storage: &Arc<dyn Storage>, instance: &Path) -> Result<Vec<OneLog>, OpenError> {
    let mut logs = Vec::new();
    for number in instance_epochs(&**storage, instance)? {
        let directory = instance.join(epoch_name(number));
        let Some(Manifest { origin, .. }) = Manifest::read(&**storage, &directory)? else { continue };
        let place = Place { storage: Arc::clone(storage), directory, origin: Arc::clone(&origin) };
        logs.push((origin.to_string(), read_log(&place)?));
    }
    Ok(logs)
}

/// The entries of one log, those in tiles and those in its write-ahead log, which a finished log does not have.
fn read_log(place: &Place) -> Result<Vec<Vec<u8>>, OpenError> {
    let mut wal = WalReader::open(Arc::clone(&place.storage), &place.wal_directory(), &place.origin).ok();
    let sealed = wal.as_ref().map_or_else(|| published_size(place), |wal| wal.start().size());
    let mut tiles = TileReader::new(Arc::clone(&place.storage), &place.directory, sealed);
    let mut entries = Vec::new();
    for index in 0..sealed {
        entries.push(tiles.entry(index).map_err(tile_error)?.unwrap_or_default());
    }
    while let Some(wal) = &mut wal
        && let Some(frame) = wal.next(None).map_err(|error| place.wal_error(error))?
    {
        if frame.kind == FrameKind::Entry {
            entries.push(frame.body);
        }
    }
    Ok(entries)
}

fn published_size(place: &Place) -> u64 {
    let path = place.directory.join(CHECKPOINT_FILE);
    let note = read_file(&*place.storage, &path, MAX_NOTE_BYTES).unwrap();
    Checkpoint::parse(UnverifiedNote::parse(&note).unwrap().text()).unwrap().size
}
