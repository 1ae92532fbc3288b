//! Where one log begins and another ends.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::directory::{
    create_directory, epoch_name, file_state, has_directory, is_origin_base, names, remove_temporary_files,
};
use super::keys::signers;
use super::manifest::{MANIFEST_FILE, Manifest};
use super::recovery::{Place, Recovered, WAL_DIRECTORY, tile_error};
use super::{DurableOptions, Epoch, PreviousLog, PrivateDir};
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::entry::NO_PREVIOUS;
use crate::evidence::merkle::Frontier;
use crate::evidence::note::{NoteSigner, VerifierKey, sign_note};
use crate::evidence::storage::{Storage, TEMPORARY_SUFFIX, replace_file};
use crate::evidence::text::hex;
use crate::evidence::tiles::{CHECKPOINT_FILE, TileWriter};
use crate::evidence::wal::WalWriter;
use crate::evidence::{OpenError, OpenErrorKind};

/// Bytes of the random part of an origin.
const RANDOM_ORIGIN_BYTES: usize = 16;
/// Holds the write-ahead log.
const STATE_DIRECTORY: &str = ".state";
/// Where frames begin in a segment of it.
const FIRST_FRAME: u64 = 4096;

/// The first part of `origin`, when that is one of log number `number` of `instance`.
pub(super) fn origin_base<'o>(origin: &'o str, instance: &str, number: u64) -> Option<&'o str> {
    let base = origin.strip_suffix(&format!("/{instance}/{number}"))?;
    is_origin_base(base).then_some(base)
}

/// The origin of log number `number` of the instance, after `previous`.
fn origin_of(options: &DurableOptions, number: u64, previous: Option<&str>) -> Result<Arc<str>, OpenError> {
    if let Some(signer) = &options.signer {
        return Ok(signer.verifier_key().name().into());
    }
    let base = match (previous, &options.origin) {
        (Some(previous), _) => {
            let base = origin_base(previous, &options.instance, number.saturating_sub(1));
            base.ok_or_else(|| OpenError::new(OpenErrorKind::OtherLog))?.to_owned()
        }
        (None, Some(base)) => base.clone(),
        (None, None) => {
            let mut random = [0; RANDOM_ORIGIN_BYTES];
            getrandom::fill(&mut random).map_err(|_| OpenError::new(OpenErrorKind::Randomness))?;
            format!("rmcp-guard.invalid/{}", hex(&random))
        }
    };
    Ok(format!("{base}/{}/{number}", options.instance).into())
}

/// The checkpoint of the tree, signed.
pub(super) fn sign_tree(origin: &str, tree: &Frontier, by: &[Arc<dyn NoteSigner>]) -> Result<Vec<u8>, OpenError> {
    let text = Checkpoint::new(origin.to_owned(), tree.size(), tree.root()).to_text();
    let signers: Vec<&dyn NoteSigner> = by.iter().map(|signer| &**signer).collect();
    sign_note(&text, &signers).map_err(|error| OpenError::new(OpenErrorKind::Key).caused_by(error))
}

/// Origin and key of the log that will follow `epoch`, which its last entry `log_rolled` names.
pub(crate) fn successor(
    options: &DurableOptions,
    private: &PrivateDir,
    epoch: &Epoch,
) -> Result<VerifierKey, OpenError> {
    let origin = origin_of(options, epoch.number.saturating_add(1), Some(&epoch.origin))?;
    let signers = signers(options, private, &origin)?;
    let first = signers.first().map(|signer| signer.verifier_key().clone());
    first.ok_or_else(|| OpenError::new(OpenErrorKind::Key))
}

/// Begins the log with the number `number`, empty, in its own directory with its own origin, behind the closed log
/// `previous`. What an earlier, interrupted call left there is replaced.
///
/// `log.json` comes last: without it, a directory that holds nothing else but an empty write-ahead log is no log.
pub(crate) fn begin_epoch(
    storage: &Arc<dyn Storage>,
    options: &DurableOptions,
    private: &PrivateDir,
    number: u64,
    previous: Option<PreviousLog>,
    now: SystemTime,
) -> Result<Epoch, OpenError> {
    let instance = options.directory.join(&options.instance);
    let directory = instance.join(epoch_name(number));
    // a signer of the options has one name, and so one log
    if options.signer.is_some() && previous.is_some() {
        return Err(OpenError::new(OpenErrorKind::OtherLog).at(&instance));
    }
    let origin = origin_of(options, number, previous.as_ref().map(|previous| &*previous.origin))?;
    let signers = signers(options, private, &origin)?;
    let vkey = signers.first().map(|signer| signer.verifier_key().to_string()).unwrap_or_default();

    let place = Place { storage: Arc::clone(storage), directory: directory.clone(), origin: Arc::clone(&origin) };
    if has_directory(&**storage, &directory)? {
        if !is_unfinished(&**storage, &directory)? {
            return Err(OpenError::new(OpenErrorKind::Exists).at(&directory));
        }
        remove_temporary_files(&**storage, &directory)?;
        remove_wal(&place)?;
    }
    let state = directory.join(STATE_DIRECTORY);
    let wal_directory = place.wal_directory();
    for path in [&directory, &state, &wal_directory] {
        create_directory(&**storage, path)?;
    }
    let start = Frontier::new();
    let wal = WalWriter::create(Arc::clone(storage), &wal_directory, &origin, &start, options.wal);
    let wal = wal.map_err(|error| place.wal_error(error))?;
    let manifest = Manifest {
        created: now,
        number,
        instance: options.instance.clone(),
        origin: Arc::clone(&origin),
        previous: previous.clone(),
        vkey,
    };
    manifest.write(&**storage, &directory)?;
    let unsealed = place.wal_reader()?;
    let tiles = TileWriter::open(Arc::clone(storage), &directory, 0).map_err(tile_error)?;
    Ok(Epoch {
        number,
        directory,
        origin,
        signers,
        created: now,
        previous,
        frontier: start,
        last_leaf: NO_PREVIOUS,
        wal,
        unsealed,
        tiles,
        bytes: 0,
        last_record_at: None,
    })
}

/// Whether `directory`, which has no `log.json`, is what an interrupted [`begin_epoch`] leaves: nothing in it but a
/// write-ahead log without an entry.
pub(super) fn is_unfinished(storage: &dyn Storage, directory: &Path) -> Result<bool, OpenError> {
    let draft = format!("{MANIFEST_FILE}{TEMPORARY_SUFFIX}");
    if names(storage, directory)?.iter().any(|name| *name != draft && name != STATE_DIRECTORY) {
        return Ok(false);
    }
    let wal = directory.join(WAL_DIRECTORY);
    if !has_directory(storage, &directory.join(STATE_DIRECTORY))? || !has_directory(storage, &wal)? {
        return Ok(true);
    }
    for name in names(storage, &wal)? {
        let path = wal.join(name);
        file_state(storage, &path)?;
        let mut first = [0; 64];
        let read = storage.open_read(&path).and_then(|file| file.read_at(FIRST_FRAME, &mut first));
        read.map_err(OpenError::io(&path))?;
        if first.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a write-ahead log that is no longer needed, as far as it is there.
pub(super) fn remove_wal(place: &Place) -> Result<(), OpenError> {
    let storage = &*place.storage;
    let (state, wal) = (place.directory.join(STATE_DIRECTORY), place.wal_directory());
    if !has_directory(storage, &state)? {
        return Ok(());
    }
    if has_directory(storage, &wal)? {
        // the oldest first, and each durably: what a loss of power leaves is the end of the log, which tiles continue into
        for name in names(storage, &wal)? {
            let path = wal.join(name);
            let removed = storage.remove_file(&path).and_then(|()| storage.sync_dir(&wal));
            removed.map_err(OpenError::io(&path))?;
        }
        storage.remove_dir(&wal).map_err(OpenError::io(&wal))?;
    }
    let removed = storage.remove_dir(&state).and_then(|()| storage.sync_dir(&place.directory));
    removed.map_err(OpenError::io(&state))
}

/// Writes what a closed log has in its write-ahead log only to its tiles, and publishes its last checkpoint. The
/// write-ahead log is durable.
pub(super) fn finish(
    place: &Place,
    tiles: &mut TileWriter,
    recovered: &Recovered,
    by: &[Arc<dyn NoteSigner>],
) -> Result<(), OpenError> {
    let mut reader = place.wal_reader()?;
    while let Some(frame) = reader.next(None).map_err(|error| place.wal_error(error))? {
        if let Some(leaf) = frame.leaf {
            tiles.push(&frame.body, leaf).map_err(tile_error)?;
        }
    }
    tiles.sync().map_err(tile_error)?;
    if *tiles.frontier() != recovered.frontier {
        return Err(OpenError::new(OpenErrorKind::DamagedTiles).at(&place.directory));
    }
    let note = sign_tree(&place.origin, &recovered.frontier, by)?;
    let path = place.directory.join(CHECKPOINT_FILE);
    replace_file(&*place.storage, &path, &note, true).map_err(OpenError::io(&path))?;
    // those of the process that died may be torn, and this log has no other occasion
    tiles.drop_partials(recovered.frontier.size()).map_err(tile_error)
}
