//! Reading back what a crash left of a log, and checking it against everything that its key has signed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::PreviousLog;
use super::directory::{FileState, file_state, has_directory, names};
use super::manifest::Manifest;
use crate::encoding::parse_unique_json;
use crate::evidence::checkpoint::{Checkpoint, VerifiedCheckpoint};
use crate::evidence::entry::{Entry, NO_PREVIOUS};
use crate::evidence::merkle::{
    Frontier, Hash, prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion,
};
use crate::evidence::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::evidence::storage::{Storage, TEMPORARY_SUFFIX, read_file};
use crate::evidence::tiles::{CHECKPOINT_FILE, TileError, TileReader};
use crate::evidence::wal::{FrameKind, OwnedFrame, WalError, WalReader};
use crate::evidence::{OpenError, OpenErrorKind};

/// The write-ahead log, below the directory of the log.
pub(in crate::evidence) const WAL_DIRECTORY: &str = ".state/wal";
/// The directory of tiles, below the directory of the log.
const TILE_DIRECTORY: &str = "tile";
/// How deep directories of tiles are: `tile/entries/x001/x234/x567/x890/x123/x456/789.p`.
const MAX_TILE_DEPTH: usize = 10;

/// The notice that is the first entry of a log.
pub(super) const OPENED_NOTICE: &str = "log_opened";
/// The notice that is the last entry of a closed log.
pub(in crate::evidence) const ROLLED_NOTICE: &str = "log_rolled";

/// A log on disk: where it is and which it must be.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) storage: Arc<dyn Storage>,
    /// The directory with `log.json`.
    pub(super) directory: PathBuf,
    pub(super) origin: Arc<str>,
}

/// A checkpoint that the log must continue, and the file it is from.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) checkpoint: VerifiedCheckpoint,
    pub(super) path: PathBuf,
}

impl Signed {
    pub(super) fn size(&self) -> u64 {
        self.checkpoint.checkpoint().size
    }

    pub(super) fn root(&self) -> Hash {
        self.checkpoint.checkpoint().root
    }
}

/// What a log holds, as its tiles and its write-ahead log say.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The tree at the start of the write-ahead log: tiles hold everything before it.
    pub(super) start: Frontier,
    /// The tree with every whole entry.
    pub(super) frontier: Frontier,
    pub(super) last_leaf: Hash,
    /// The last entry; `None` in an empty log, or where it was redacted.
    pub(super) last_entry: Option<Vec<u8>>,
    /// Bytes of the entries in the write-ahead log.
    pub(super) wal_bytes: u64,
    /// The first entry of the log, where the write-ahead log has it.
    first_entry: Option<Vec<u8>>,
    /// The tree before the frames of `tail`.
    pub(super) tail_start: Frontier,
    /// The frames of the last segment of the write-ahead log. A sync that failed can have left them in the page cache
    /// only; everything before was synced before this segment was begun.
    pub(super) tail: Vec<OwnedFrame>,
    /// Whole entries behind the last signature.
    pub(super) unsigned: u64,
    /// Bytes behind the last whole frame.
    pub(super) torn: u64,
    /// Roots of the trees that were asked for, as far as the write-ahead log has them.
    roots: BTreeMap<u64, Hash>,
}

impl Place {
    pub(super) fn wal_directory(&self) -> PathBuf {
        self.directory.join(WAL_DIRECTORY)
    }

    /// The published checkpoint, verified; `None` before the first.
    pub(super) fn published(&self, keys: &[VerifierKey]) -> Result<Option<Signed>, OpenError> {
        let path = self.directory.join(CHECKPOINT_FILE);
        if file_state(&*self.storage, &path)? == FileState::Missing {
            return Ok(None);
        }
        let unknown = || OpenError::new(OpenErrorKind::Checkpoint).at(&path);
        let note = match read_file(&*self.storage, &path, MAX_NOTE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(unknown().caused_by(error)),
            other => other.map_err(OpenError::io(&path))?,
        };
        let checkpoint = VerifiedCheckpoint::verify(&note, keys).map_err(|error| unknown().caused_by(error))?;
        if checkpoint.checkpoint().origin != *self.origin {
            return Err(unknown());
        }
        Ok(Some(Signed { checkpoint, path }))
    }

    /// Reads the write-ahead log to its end and checks it: every entry has its place and names the one before, every
    /// commit has the root of the entries before it, the last commit is signed by one of `keys`, and everything in
    /// `signed` is a prefix. Changes nothing.
    pub(super) fn recover(&self, keys: &[VerifierKey], signed: &[&Signed]) -> Result<Recovered, OpenError> {
        let directory = self.wal_directory();
        if !has_directory(&*self.storage, &directory)? {
            return Err(OpenError::new(OpenErrorKind::DamagedWal { offset: 0 }).at(&directory));
        }
        let mut reader = self.wal_reader()?;
        let start = reader.start().clone();
        let mut tiles = TileReader::new(Arc::clone(&self.storage), &self.directory, start.size());
        let last_leaf = self.last_leaf(&mut tiles, &start)?;
        let mut scan = Scan::new(self, start, last_leaf, signed);
        loop {
            let offset = reader.position().offset;
            let Some(frame) = reader.next(None).map_err(|error| self.wal_error(error))? else { break };
            scan.enter(frame.end.segment);
            scan.take(frame, offset)?;
        }
        scan.enter(reader.position().segment);
        let torn = reader.torn_bytes().map_err(|error| self.wal_error(error))?;
        let mut recovered = scan.finish(keys, signed, torn)?;
        for signed in signed {
            Self::check_prefix(&mut tiles, &recovered, signed)?;
        }
        if recovered.last_entry.is_none()
            && let Some(last) = recovered.frontier.size().checked_sub(1)
        {
            recovered.last_entry = tiles.entry(last).map_err(tile_error)?;
        }
        Ok(recovered)
    }

    /// Checks that the log itself says what `log.json` says of the log before it: the first entry is signed, the file is not.
    /// A first entry that was pruned or redacted says nothing any more.
    pub(super) fn check_opening(&self, log: &Recovered, previous: Option<&PreviousLog>) -> Result<(), OpenError> {
        let Some(entry) = self.first_entry(log)? else { return Ok(()) };
        let Some(record) = Entry::parse(&entry).and_then(|entry| parse_unique_json(entry.event).ok()) else {
            return Ok(());
        };
        let text = |name: &str| record.get(format!("rmcp_guard.notice{name}")).and_then(Value::as_str);
        if text("") != Some(OPENED_NOTICE) {
            return Ok(());
        }
        let said = (text(".previous_origin"), text(".previous_size"), text(".previous_root"));
        let (size, root) = previous.map(|log| (log.size.to_string(), log.root.to_string())).unzip();
        let named = (previous.map(|log| &*log.origin), size.as_deref(), root.as_deref());
        if said == named {
            Ok(())
        } else {
            Err(OpenError::new(OpenErrorKind::OtherLog).at(&Manifest::path(&self.directory)))
        }
    }

    /// The first entry, from the write-ahead log or, proven to be in its tree, from tiles.
    fn first_entry(&self, log: &Recovered) -> Result<Option<Vec<u8>>, OpenError> {
        if log.start.size() == 0 {
            return Ok(log.first_entry.clone());
        }
        let mut tiles = TileReader::new(Arc::clone(&self.storage), &self.directory, log.start.size());
        let entry = match tiles.entry(0) {
            Err(TileError::Pruned { .. }) | Ok(None) => return Ok(None),
            other => other.map_err(tile_error)?.unwrap_or_default(),
        };
        let proof = prove_inclusion(&mut tiles, 0, log.start.size()).map_err(tile_error)?.unwrap_or_default();
        let verified = verify_inclusion(&Hash::of_leaf(&entry), 0, log.start.size(), &proof, &log.start.root());
        let foreign = OpenError::new(OpenErrorKind::DamagedTiles).at(&self.directory.join(TILE_DIRECTORY));
        verified.map(|()| Some(entry)).map_err(|error| foreign.caused_by(error))
    }

    /// Whether there is anything of a write-ahead log.
    pub(super) fn has_segments(&self) -> Result<bool, OpenError> {
        for directory in [self.wal_directory().parent().unwrap_or(&self.directory), &self.wal_directory()] {
            if !has_directory(&*self.storage, directory)? {
                return Ok(false);
            }
        }
        Ok(names(&*self.storage, &self.wal_directory())?.iter().any(|name| name.strip_suffix(".seg").is_some()))
    }

    /// Checks a closed log that has nothing but tiles: they and the published checkpoint are what its successor says.
    pub(super) fn check_end(&self, end: &PreviousLog, published: &Signed) -> Result<(), OpenError> {
        if published.size() < end.size {
            let kind = OpenErrorKind::RolledBack { size: published.size(), signed: end.size };
            return Err(OpenError::new(kind).at(&published.path));
        }
        if (published.size(), published.root()) != (end.size, end.root) {
            return Err(forked(published));
        }
        let mut tiles = TileReader::new(Arc::clone(&self.storage), &self.directory, end.size);
        if root_at(&mut tiles, end.size).map_err(tile_error)? != end.root {
            return Err(OpenError::new(OpenErrorKind::DamagedTiles).at(&self.directory.join(TILE_DIRECTORY)));
        }
        Ok(())
    }

    /// A reader that stands at the start of the write-ahead log.
    pub(super) fn wal_reader(&self) -> Result<WalReader, OpenError> {
        let opened = WalReader::open(Arc::clone(&self.storage), &self.wal_directory(), &self.origin);
        opened.map_err(|error| self.wal_error(error))
    }

    /// The segment that holds `frame`.
    fn segment_path(&self, frame: &OwnedFrame) -> PathBuf {
        self.wal_directory().join(format!("{:020}.seg", frame.end.segment))
    }

    pub(super) fn wal_error(&self, error: WalError) -> OpenError {
        match error {
            // it is made before a log has its `log.json`
            WalError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenError::new(OpenErrorKind::DamagedWal { offset: 0 }).at(&self.wal_directory()).caused_by(error)
            }
            WalError::Io(error) => OpenError::io(&self.wal_directory())(error),
            WalError::Damaged { ref path, offset, .. } => {
                OpenError::new(OpenErrorKind::DamagedWal { offset }).at(&path.clone()).caused_by(error)
            }
        }
    }

    /// The leaf hash before the write-ahead log, proven to be in the tree that it begins with: so tiles and write-ahead
    /// log are of one log.
    fn last_leaf(&self, tiles: &mut TileReader, start: &Frontier) -> Result<Hash, OpenError> {
        let Some(last) = start.size().checked_sub(1) else { return Ok(NO_PREVIOUS) };
        let root = start.root();
        let foreign = || OpenError::new(OpenErrorKind::DamagedTiles).at(&self.directory.join(TILE_DIRECTORY));
        if root_at(tiles, start.size()).map_err(tile_error)? != root {
            return Err(foreign());
        }
        let leaf = tiles.leaf(last).map_err(tile_error)?;
        let proof = prove_inclusion(tiles, last, start.size()).map_err(tile_error)?.unwrap_or_default();
        verify_inclusion(&leaf, last, start.size(), &proof, &root).map_err(|error| foreign().caused_by(error))?;
        Ok(leaf)
    }

    /// Checks that the log continues `signed`.
    fn check_prefix(tiles: &mut TileReader, log: &Recovered, signed: &Signed) -> Result<(), OpenError> {
        if let Some(root) = log.roots.get(&signed.size()) {
            return if *root == signed.root() { Ok(()) } else { Err(forked(signed)) };
        }
        check_consistency(tiles, (log.start.size(), log.start.root()), log.frontier.size(), signed)
    }

    /// Removes what an interrupted replacement left beside the log's files and tiles.
    pub(super) fn remove_temporary_files(&self) -> Result<(), OpenError> {
        super::directory::remove_temporary_files(&*self.storage, &self.directory)?;
        let tiles = self.directory.join(TILE_DIRECTORY);
        if has_directory(&*self.storage, &tiles)? {
            self.remove_temporary_tiles(&tiles, MAX_TILE_DEPTH)
        } else {
            Ok(())
        }
    }

    fn remove_temporary_tiles(&self, directory: &Path, depth: usize) -> Result<(), OpenError> {
        for name in names(&*self.storage, directory)? {
            let path = directory.join(&name);
            if name.ends_with(TEMPORARY_SUFFIX) {
                self.storage.remove_file(&path).map_err(OpenError::io(&path))?;
            } else if is_tile_directory(&name, depth)
                && let Some(depth) = depth.checked_sub(1)
                && has_directory(&*self.storage, &path)?
            {
                self.remove_temporary_tiles(&path, depth)?;
            }
        }
        Ok(())
    }
}

/// Whether a name in a directory of tiles is one of a directory: a level, `x` and three digits, or partial tiles.
fn is_tile_directory(name: &str, depth: usize) -> bool {
    depth == MAX_TILE_DEPTH || name.starts_with('x') || name.strip_suffix(".p").is_some()
}

/// The state of [`Place::recover`] between two frames.
struct Scan<'p> {
    place: &'p Place,
    segment: Option<u64>,
    log: Recovered,
    /// Sizes whose roots are asked for, ascending; those reached are taken out.
    wanted: Vec<u64>,
    last_commit: Option<Commit>,
}

/// The newest commit: its size and note, and where it ends.
struct Commit {
    size: u64,
    note: Vec<u8>,
    at: (PathBuf, u64),
}

impl<'p> Scan<'p> {
    fn new(place: &'p Place, start: Frontier, last_leaf: Hash, signed: &[&Signed]) -> Self {
        // descending, so that the next one is the last
        let mut wanted: Vec<_> =
            signed.iter().map(|signed| signed.size()).filter(|size| *size >= start.size()).collect();
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        let mut scan = Self {
            place,
            segment: None,
            log: Recovered {
                frontier: start.clone(),
                last_leaf,
                last_entry: None,
                wal_bytes: 0,
                first_entry: None,
                tail_start: start.clone(),
                tail: Vec::new(),
                unsigned: 0,
                torn: 0,
                roots: BTreeMap::new(),
                start,
            },
            wanted,
            last_commit: None,
        };
        scan.keep_root();
        scan
    }

    /// What follows stands in this segment.
    fn enter(&mut self, segment: u64) {
        if self.segment == Some(segment) {
            return;
        }
        self.segment = Some(segment);
        self.keep_last_entry();
        self.log.tail.clear();
        self.log.tail_start = self.log.frontier.clone();
    }

    fn keep_last_entry(&mut self) {
        let last = self.log.tail.iter().rev().find(|frame| frame.kind == FrameKind::Entry);
        if let Some(frame) = last {
            self.log.last_entry = Some(frame.body.clone());
        }
    }

    /// Checks the next frame, which begins at byte `offset` of its segment.
    fn take(&mut self, frame: OwnedFrame, offset: u64) -> Result<(), OpenError> {
        let log = &mut self.log;
        match frame.kind {
            FrameKind::Entry => {
                let entry = Entry::parse(&frame.body);
                let follows = |entry: &Entry<'_>| entry.seq == log.frontier.size() && entry.prev == log.last_leaf;
                let (true, Some(leaf)) = (entry.as_ref().is_some_and(follows), frame.leaf) else {
                    return Err(self.damaged(&frame, offset));
                };
                log.frontier.push(leaf);
                log.last_leaf = leaf;
                log.wal_bytes = log.wal_bytes.saturating_add(u64::try_from(frame.body.len()).unwrap_or(u64::MAX));
                log.unsigned = log.unsigned.saturating_add(1);
                if log.frontier.size() == 1 {
                    log.first_entry = Some(frame.body.clone());
                }
                self.keep_root();
            }
            FrameKind::Commit => {
                // the text of the note is made anew and compared, which is all that is to be known about it
                let (size, root) = (log.frontier.size(), log.frontier.root());
                let text = Checkpoint::new(self.place.origin.to_string(), size, root).to_text();
                if !frame.body.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.starts_with(b"\n")) {
                    return Err(self.damaged(&frame, offset));
                }
                log.unsigned = 0;
                let at = (self.place.segment_path(&frame), offset);
                self.last_commit = Some(Commit { size, note: frame.body.clone(), at });
            }
            // the log goes on in the segment that is made now
            FrameKind::Close => return Ok(()),
        }
        self.log.tail.push(frame);
        Ok(())
    }

    fn keep_root(&mut self) {
        let size = self.log.frontier.size();
        while self.wanted.pop_if(|wanted| *wanted == size).is_some() {
            self.log.roots.entry(size).or_insert_with(|| self.log.frontier.root());
        }
    }

    fn finish(mut self, keys: &[VerifierKey], signed: &[&Signed], torn: u64) -> Result<Recovered, OpenError> {
        self.keep_last_entry();
        let log = &mut self.log;
        log.torn = torn;
        let mut signed_size = signed.iter().map(|signed| signed.size()).max().unwrap_or_default();
        if let Some(Commit { size, note, at: (path, offset) }) = self.last_commit {
            let unsigned = || OpenError::new(OpenErrorKind::Unsigned).at(&path);
            let checkpoint = VerifiedCheckpoint::verify(&note, keys).map_err(|error| {
                tracing::error!(path = %path.display(), offset, "the last commit is not signed by the log's key");
                unsigned().caused_by(error)
            })?;
            if checkpoint.checkpoint().origin != *self.place.origin {
                return Err(unsigned());
            }
            signed_size = signed_size.max(size);
        }
        // frames are chained to each other; that the log before them is ours, a signature must say
        if signed_size < log.start.size() {
            return Err(OpenError::new(OpenErrorKind::Unsigned).at(&self.place.wal_directory()));
        }
        Ok(self.log)
    }

    fn damaged(&self, frame: &OwnedFrame, offset: u64) -> OpenError {
        OpenError::new(OpenErrorKind::DamagedWal { offset }).at(&self.place.segment_path(frame))
    }
}

/// `timestamp` of the record in `entry`, and whether it is the notice that closes a log.
pub(super) fn last_record(entry: &[u8]) -> Option<(Option<SystemTime>, bool)> {
    let record = parse_unique_json(Entry::parse(entry)?.event).ok()?;
    let text = |name| record.get(name).and_then(Value::as_str);
    let at = text("timestamp").and_then(|at| humantime::parse_rfc3339(at).ok());
    let rolled = text("event.name") == Some("rmcp_guard.notice") && text("rmcp_guard.notice") == Some(ROLLED_NOTICE);
    Some((at, rolled))
}

/// Checks that the tree of tiles, of which `(size, root)` is known to be right, continues `signed`. The proof is made from
/// tiles, and what it shows depends on none of them.
pub(super) fn check_consistency(
    tiles: &mut TileReader,
    (size, root): (u64, Hash),
    log_size: u64,
    signed: &Signed,
) -> Result<(), OpenError> {
    if signed.size() > log_size {
        let kind = OpenErrorKind::RolledBack { size: log_size, signed: signed.size() };
        return Err(OpenError::new(kind).at(&signed.path));
    }
    let proof = prove_consistency(tiles, signed.size(), size).map_err(tile_error)?.unwrap_or_default();
    let (old, new) = ((signed.size(), &signed.root()), (size, &root));
    verify_consistency(old, new, &proof).map_err(|error| forked(signed).caused_by(error))
}

fn forked(signed: &Signed) -> OpenError {
    OpenError::new(OpenErrorKind::Forked).at(&signed.path)
}

pub(super) fn tile_error(error: TileError) -> OpenError {
    match error {
        TileError::Io { path, source } => OpenError::io(&path)(source),
        TileError::Missing { ref path } | TileError::Pruned { ref path } | TileError::Malformed { ref path } => {
            OpenError::new(OpenErrorKind::DamagedTiles).at(&path.clone()).caused_by(error)
        }
    }
}
