//! Opening: lock, keys, recovery, and the high-water mark.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::begin::{begin_epoch, finish, is_unfinished, origin_base, remove_wal, sign_tree};
use super::directory::{
    LOCK_FILE, check_set, create_directory, epoch_name, has_base_directory, has_directory, instance_epochs,
    is_instance_name, is_origin_base,
};
use super::keys::{known_keys, signers};
use super::manifest::Manifest;
use super::recovery::{Place, Recovered, Signed, check_consistency, last_record, tile_error};
use super::{DurableOptions, Epoch, PreviousLog, PrivateDir};
use crate::clock::Clock;
use crate::evidence::checkpoint::{Checkpoint, VerifiedCheckpoint};
use crate::evidence::keyed::KeyedHash;
use crate::evidence::note::{UnverifiedNote, VerifierKey};
use crate::evidence::storage::{Storage, StorageLock};
use crate::evidence::tiles::{TileReader, TileWriter};
use crate::evidence::wal::WalWriter;
use crate::evidence::{OpenError, OpenErrorKind};

/// What to do where there is no log, or one. A high-water mark overrides all three: then there must be its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    Create,
    Open,
    CreateOrOpen,
}

/// Something found while opening that the log itself must tell, as a notice record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpeningNotice {
    pub(crate) name: &'static str,
    pub(crate) members: Vec<(&'static str, String)>,
}

/// An instance that is locked, recovered and ready to be written.
#[derive(Debug)]
pub(crate) struct OpenedInstance {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: DurableOptions,
    /// `DIR/<instance>`.
    pub(crate) directory: PathBuf,
    pub(crate) private: PrivateDir,
    /// Held for life.
    pub(crate) lock: Box<dyn StorageLock>,
    pub(crate) epoch: Epoch,
    /// To be appended before anything else, in this order: `log_opened` comes first where the log has no entry yet.
    pub(crate) notices: Vec<OpeningNotice>,
}

/// Opens the instance, recovering what a crash left.
///
/// Until everything is checked nothing is written but directories, the lock and keys that never existed. A crash at
/// any point leaves what the next call opens in the same way.
pub(crate) fn open_instance(
    storage: Arc<dyn Storage>,
    mut options: DurableOptions,
    creation: Creation,
    clock: &dyn Clock,
) -> Result<OpenedInstance, OpenError> {
    check_options(&mut options)?;
    let directory = options.directory.join(&options.instance);
    let private = PrivateDir::find(&storage, &options.private, &options.instance)?;
    check_presence(&*storage, &options, &directory, &private, creation)?;
    create_directory(&*storage, &options.directory)?;
    create_directory(&*storage, &directory)?;
    let lock_path = directory.join(LOCK_FILE);
    let lock = match storage.lock(&lock_path) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(OpenError::new(OpenErrorKind::Locked).at(&directory));
        }
        other => other.map_err(OpenError::io(&lock_path))?,
    };
    let mut opening = Opening { storage, options, directory, private, now: clock.now(), notices: Vec::new() };
    let mark = opening.mark()?;
    let logs = opening.logs()?;
    let epoch = match logs.last() {
        None if mark.is_some() || creation == Creation::Open => {
            return Err(OpenError::new(OpenErrorKind::Missing).at(&opening.directory));
        }
        None => opening.create()?,
        Some(_) if creation == Creation::Create => {
            return Err(OpenError::new(OpenErrorKind::Exists).at(&opening.directory));
        }
        Some(newest) => opening.open(&logs, newest, mark.as_ref())?,
    };
    let Opening { storage, options, directory, private, notices, .. } = opening;
    Ok(OpenedInstance { storage, options, directory, private, lock, epoch, notices })
}

fn check_options(options: &mut DurableOptions) -> Result<(), OpenError> {
    let origin = options.origin.as_deref();
    if !is_instance_name(&options.instance) || origin.is_some_and(|origin| !is_origin_base(origin)) {
        return Err(OpenError::new(OpenErrorKind::Name));
    }
    // names are looked up again later, when the process may have another working directory
    for path in [&mut options.directory, &mut options.private] {
        *path = std::path::absolute(&*path).map_err(OpenError::io(path))?;
    }
    let (directory, private) = (&options.directory, &options.private);
    if directory.starts_with(private) || private.starts_with(directory) {
        return Err(OpenError::new(OpenErrorKind::Nested).at(private));
    }
    Ok(())
}

/// What can be refused before anything is made: a log that must be there is not, or something else is in its place.
fn check_presence(
    storage: &dyn Storage,
    options: &DurableOptions,
    directory: &Path,
    private: &PrivateDir,
    creation: Creation,
) -> Result<(), OpenError> {
    let must_exist = creation == Creation::Open || private.high_water()?.is_some();
    let missing = |path| Err(OpenError::new(OpenErrorKind::Missing).at(path));
    if !has_base_directory(storage, &options.directory)? {
        return if must_exist { missing(&options.directory) } else { Ok(()) };
    }
    check_set(storage, &options.directory)?;
    if must_exist && !has_directory(storage, directory)? { missing(directory) } else { Ok(()) }
}

/// An instance that is locked, while it is being opened.
struct Opening {
    storage: Arc<dyn Storage>,
    options: DurableOptions,
    directory: PathBuf,
    private: PrivateDir,
    now: SystemTime,
    notices: Vec<OpeningNotice>,
}

/// A log with its place, and what its `log.json` says.
#[derive(Clone, Debug)]
struct Log {
    place: Place,
    manifest: Manifest,
}

impl Opening {
    /// The high-water mark, signed by the key of the log that it names.
    fn mark(&self) -> Result<Option<Signed>, OpenError> {
        let Some(note) = self.private.high_water()? else { return Ok(None) };
        let path = self.private.high_water_path();
        let unknown = || OpenError::new(OpenErrorKind::Mark).at(&path);
        // the key has the name of the log, which only the mark itself tells: verified below
        let unverified = UnverifiedNote::parse(&note).map_err(|error| unknown().caused_by(error))?;
        let named = Checkpoint::parse(unverified.text()).map_err(|error| unknown().caused_by(error))?;
        let keys = known_keys(&self.options, &self.private, &named.origin)?;
        if keys.is_empty() && self.options.signer.is_none() {
            return Err(OpenError::new(OpenErrorKind::Key).at(&self.private.signing_key_path()));
        }
        let checkpoint = VerifiedCheckpoint::verify(&note, &keys).map_err(|error| unknown().caused_by(error))?;
        Ok(Some(Signed { checkpoint, path }))
    }

    /// The logs of the instance, in order, as their manifests say. The last one is left out where its making was
    /// interrupted.
    fn logs(&self) -> Result<Vec<Log>, OpenError> {
        let numbers = instance_epochs(&*self.storage, &self.directory)?;
        let mut logs: Vec<Log> = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let directory = self.directory.join(epoch_name(*number));
            let Some(manifest) = Manifest::read(&*self.storage, &directory)? else {
                if Some(number) == numbers.last() && is_unfinished(&*self.storage, &directory)? {
                    break;
                }
                return Err(OpenError::new(OpenErrorKind::NoManifest).at(&directory));
            };
            let previous = logs.last().map(|log| &log.manifest);
            self.check_manifest(&manifest, *number, previous).map_err(|error| error.at(&Manifest::path(&directory)))?;
            let origin = Arc::clone(&manifest.origin);
            logs.push(Log { place: Place { storage: Arc::clone(&self.storage), directory, origin }, manifest });
        }
        Ok(logs)
    }

    /// Checks that a manifest is of this instance, stands in its place and follows the one before.
    fn check_manifest(&self, found: &Manifest, number: u64, previous: Option<&Manifest>) -> Result<(), OpenError> {
        let other = || OpenError::new(OpenErrorKind::OtherLog);
        if found.number != number || found.instance != self.options.instance {
            return Err(other());
        }
        if let Some(previous) = previous {
            let named = found.previous.as_ref().ok_or_else(other)?;
            if named.origin != previous.origin || named.vkey != previous.vkey {
                return Err(other());
            }
        }
        // a signer of the options names its log; all other origins are made here
        let base = origin_base(&found.origin, &found.instance, number);
        match (&self.options.signer, &self.options.origin, base) {
            (None, Some(asked), Some(base)) if *asked != base => Err(other()),
            (None, _, None) => Err(other()),
            _ => Ok(()),
        }
    }

    /// Makes the first log of the instance.
    fn create(&mut self) -> Result<Epoch, OpenError> {
        self.private.create()?;
        let has_key = self.options.signer.is_some() || self.private.signer(UNCHECKED_NAME)?.is_some();
        if !has_key {
            self.private.make_signing_key()?;
        }
        self.private.hash_key()?;
        let epoch = begin_epoch(&self.storage, &self.options, &self.private, 1, None, self.now)?;
        let note = sign_tree(&epoch.origin, &epoch.frontier, &epoch.signers)?;
        self.private.set_high_water(&note)?;
        // a key that was there may have signed a log that is gone
        if has_key {
            warn_undetectable(&self.directory);
        }
        self.notices.push(epoch.opened_notice(!has_key));
        Ok(epoch)
    }

    /// Opens the newest log, or begins the next one where it is closed.
    fn open(&mut self, logs: &[Log], newest: &Log, mark: Option<&Signed>) -> Result<Epoch, OpenError> {
        let Log { place, manifest } = newest;
        let has_mark = mark.is_some();
        let current_mark = self.check_mark_is_of(logs, mark)?;
        let keys = known_keys(&self.options, &self.private, &manifest.origin)?;
        let published = self.published(newest, &keys)?;
        let signed: Vec<_> = published.iter().chain(mark.filter(|_| current_mark)).collect();
        let recovered = place.recover(&keys, &signed)?;
        place.check_opening(&recovered, manifest.previous.as_ref())?;
        // a process that died may have made names that no sync has covered, and what follows relies on them
        for directory in [&place.directory, &self.directory] {
            self.storage.sync_dir(directory).map_err(OpenError::io(directory))?;
        }
        self.check_previous(logs, newest, mark.filter(|_| !current_mark))?;
        let (last_record_at, rolled) = recovered.last_entry.as_deref().and_then(last_record).unwrap_or((None, false));

        // everything is checked; from here on something is written
        place.remove_temporary_files()?;
        self.private.create()?;
        let (key, key_made) = self.private.hash_key()?;
        let key_made = key_made.then(|| KeyedHash::new(&key).key_id().to_owned());
        let mut epoch = if rolled {
            let mut closed = self.resume(newest, &recovered)?;
            finish(place, &mut closed.tiles, &recovered, &closed.signers)?;
            let previous = PreviousLog { vkey: manifest.vkey.clone(), ..closed.as_previous() };
            let number = manifest.number.saturating_add(1);
            // each log has a hash key of its own
            self.private.rotate_hash_key()?;
            begin_epoch(&self.storage, &self.options, &self.private, number, Some(previous), self.now)?
        } else {
            self.resume(newest, &recovered)?
        };
        epoch.last_record_at = epoch.last_record_at.or(last_record_at);
        self.tell(&epoch, &recovered, has_mark, key_made);
        Ok(epoch)
    }

    /// Whether the mark is of the newest log; an error when it is of none.
    fn check_mark_is_of(&self, logs: &[Log], mark: Option<&Signed>) -> Result<bool, OpenError> {
        let Some(mark) = mark else { return Ok(false) };
        let origin = mark.checkpoint.checkpoint().origin.as_str();
        if let Some(place) = logs.iter().rposition(|log| *log.manifest.origin == *origin) {
            return Ok(place.saturating_add(1) == logs.len());
        }
        // the newest log is gone, or this is a log of another set
        let newest = logs.last().map(|log| &log.manifest);
        let known = newest.and_then(|newest| origin_base(&newest.origin, &newest.instance, newest.number));
        let marked = origin.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
        let marked =
            marked.filter(|number| known.is_some() && origin_base(origin, &self.options.instance, *number) == known);
        match marked {
            Some(number) => Err(OpenError::new(OpenErrorKind::Missing).at(&self.directory.join(epoch_name(number)))),
            None => Err(OpenError::new(OpenErrorKind::OtherLog).at(&mark.path)),
        }
    }

    /// The published checkpoint of `log`, after it is clear that its key is ours.
    fn published(&self, log: &Log, keys: &[VerifierKey]) -> Result<Option<Signed>, OpenError> {
        let published = log.place.published(keys);
        let ours = keys.iter().any(|key| key.to_string() == log.manifest.vkey);
        // a key that has replaced the one that `log.json` names has signed beside it
        if ours || matches!(published, Ok(Some(_))) {
            return published;
        }
        Err(OpenError::new(OpenErrorKind::Key).at(&self.private.signing_key_path()))
    }

    /// Checks the log before `newest` and, where a crash left it so, finishes it; and the mark, where it is of an older
    /// log.
    fn check_previous(&self, logs: &[Log], newest: &Log, mark: Option<&Signed>) -> Result<(), OpenError> {
        let mut next = newest;
        for (distance, log) in logs.iter().rev().skip(1).enumerate() {
            let marked = mark.filter(|mark| mark.checkpoint.checkpoint().origin == *log.manifest.origin);
            if distance > 0 && marked.is_none() {
                next = log;
                continue;
            }
            let Some(end) = &next.manifest.previous else { break };
            self.check_closed(log, end, marked)?;
            next = log;
        }
        Ok(())
    }

    /// Checks that the closed log `log` ends as its successor says, and continues the mark. What is not in its tiles yet
    /// is written there.
    fn check_closed(&self, log: &Log, end: &PreviousLog, mark: Option<&Signed>) -> Result<(), OpenError> {
        let keys = known_keys(&self.options, &self.private, &log.manifest.origin)?;
        let published = self.published(log, &keys)?;
        // the write-ahead log goes when all tiles are durable, and only then: a published checkpoint says less
        let has_segments = log.place.has_segments()?;
        if let Some(signed) = published.as_ref().filter(|_| !has_segments) {
            log.place.check_end(end, signed)?;
        } else {
            let signed: Vec<_> = published.iter().chain(mark).collect();
            let recovered = log.place.recover(&keys, &signed)?;
            let size = recovered.frontier.size();
            if size < end.size {
                let kind = OpenErrorKind::RolledBack { size, signed: end.size };
                return Err(OpenError::new(kind).at(&log.place.directory));
            }
            if size > end.size || recovered.frontier.root() != end.root {
                return Err(OpenError::new(OpenErrorKind::Forked).at(&log.place.directory));
            }
            log.place.remove_temporary_files()?;
            let tiles = TileWriter::open(Arc::clone(&self.storage), &log.place.directory, recovered.start.size());
            let signers = signers(&self.options, &self.private, &log.manifest.origin)?;
            finish(&log.place, &mut tiles.map_err(tile_error)?, &recovered, &signers)?;
        }
        if let Some(mark) = mark {
            let mut tiles = TileReader::new(Arc::clone(&self.storage), &log.place.directory, end.size);
            check_consistency(&mut tiles, (end.size, end.root), end.size, mark)?;
        }
        remove_wal(&log.place)
    }

    /// Goes on with `log`, which is not closed.
    fn resume(&self, log: &Log, recovered: &Recovered) -> Result<Epoch, OpenError> {
        let Log { place, manifest } = log;
        let signers = signers(&self.options, &self.private, &manifest.origin)?;
        let tiles = TileWriter::open(Arc::clone(&self.storage), &place.directory, recovered.start.size());
        let tiles = tiles.map_err(tile_error)?;
        let wal = WalWriter::resume(
            Arc::clone(&self.storage),
            &place.wal_directory(),
            &place.origin,
            &recovered.tail_start,
            &recovered.tail,
            self.options.wal,
        );
        let wal = wal.map_err(|error| place.wal_error(error))?;
        let unsealed = place.wal_reader()?;
        if unsealed.start() != tiles.frontier() {
            return Err(OpenError::new(OpenErrorKind::DamagedTiles).at(&place.directory));
        }
        Ok(Epoch {
            number: manifest.number,
            directory: place.directory.clone(),
            origin: Arc::clone(&place.origin),
            signers,
            created: manifest.created,
            previous: manifest.previous.clone(),
            frontier: recovered.frontier.clone(),
            last_leaf: recovered.last_leaf,
            wal,
            unsealed,
            bytes: tiles.bytes().saturating_add(recovered.wal_bytes),
            tiles,
            last_record_at: None,
        })
    }

    /// Collects what the log has to tell about this opening.
    fn tell(&mut self, epoch: &Epoch, recovered: &Recovered, has_mark: bool, key_made: Option<String>) {
        if epoch.frontier.size() == 0 {
            self.notices.push(epoch.opened_notice(has_mark));
        } else if !has_mark {
            let members = vec![("rollback_detectable", "no".to_owned())];
            self.notices.push(OpeningNotice { name: "high_water_missing", members });
        }
        if !has_mark {
            warn_undetectable(&self.directory);
        }
        if recovered.torn > 0 {
            tracing::warn!(bytes = recovered.torn, "the evidence log had an unfinished end, which was cut off");
            let members = vec![("bytes", recovered.torn.to_string())];
            self.notices.push(OpeningNotice { name: "torn_tail", members });
        }
        if recovered.unsigned > 0 {
            let (size, count) = (recovered.frontier.size(), recovered.unsigned);
            tracing::warn!(count, "the evidence log had entries that were not signed yet, which were kept");
            let members = vec![("first", size.saturating_sub(count).to_string()), ("count", count.to_string())];
            self.notices.push(OpeningNotice { name: "unsigned_tail", members });
        }
        if let Some(key_id) = key_made {
            tracing::warn!(%key_id, "the evidence log had no hash key; a new one was made");
            self.notices.push(OpeningNotice { name: "params_key_created", members: vec![("key_id", key_id)] });
        }
    }
}

/// A name for reading a key to see that there is one.
const UNCHECKED_NAME: &str = "rmcp-guard.invalid";

fn warn_undetectable(directory: &Path) {
    tracing::warn!(
        directory = %directory.display(),
        "the evidence log has no high-water mark: whether it was rolled back before cannot be told"
    );
}

#[cfg(test)]
mod tests;
