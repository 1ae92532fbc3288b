//! A disk that loses power, for tests: what no sync has covered may be there afterwards, or not, or in part.
//!
//! ```text
//! let disk = SimDisk::new(seed);                       // empty; paths are absolute, such as /log
//! let storage: Arc<dyn Storage> = Arc::new(disk.clone());
//! disk.cut_power_at(disk.changes() + n);               // optional: the n-th change from here is the last, and fails
//! ..                                                   // the code under test, until it fails or is done
//! let disk = disk.crash(seed);                         // what is on the disk when power is back; threads of before
//!                                                      // get errors only
//! let disk = disk.restart(seed);                       // or: only the process died, and the page cache lives on
//! ```
//!
//! **The model.** A file is kept in sectors of 512 bytes, each written as a whole or not at all. A sync (of either kind)
//! makes bytes and length of one file durable, but not its name; [`Storage::sync_dir`] makes the names of one directory
//! durable. A crash keeps any subset of the unsynced sectors (for some files in pages of 4 KiB, or only the first ones, or
//! none, or all), each as any write since the last sync left it, any of the unsynced lengths, and any subset of the
//! unsynced changes of names. A rename is one change. A file whose name is lost is gone; a directory whose name is lost is
//! gone with all that is in it.
//!
//! A sync that an injected [`Fault`] fails behaves as on Linux: any part of the file reaches the disk, the rest does
//! not, and is taken for clean from then on. It can be read until a crash, or a restart, and a later sync succeeds
//! without writing it.
//!
//! All of it follows from the seeds, as long as one thread uses the disk.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{PathKind, Storage, StorageFile, StorageLock};

const SECTOR: usize = 512;
const PAGE_SECTORS: usize = 8;
/// Versions of an unsynced sector that are kept.
const MAX_VERSIONS: usize = 4;

type Id = u64;
type Sector = [u8; SECTOR];

/// What is done with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    CreateDir,
    CreateFile,
    /// For reading, or for reading and writing.
    Open,
    Rename,
    /// Of a file or a directory.
    Remove,
    Inspect,
    List,
    SyncDir,
    Lock,
    Write,
    Read,
    SetLen,
    /// `sync_data` or `sync_all`.
    Sync,
}

impl Operation {
    /// Whether it can change what is on the disk.
    fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::Inspect | Self::List | Self::Lock | Self::Read)
    }
}

/// What the operating system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// EROFS.
    ReadOnly,
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Io => Self::other("input/output error"),
            DiskError::Full => io::ErrorKind::StorageFull.into(),
            DiskError::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}

/// Operations that fail; see [`SimDisk::inject`].
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    operation: Operation,
    /// Operations that still pass.
    skip: u64,
    /// Operations that still fail.
    times: u64,
    error: DiskError,
    path_part: String,
}

impl Fault {
    /// The `nth` operation of this kind from now on (from 1) fails, and those after it pass.
    pub(crate) fn nth(operation: Operation, nth: u64, error: DiskError) -> Self {
        Self { operation, skip: nth - 1, times: 1, error, path_part: String::new() }
    }

    /// Every operation of this kind fails from now on.
    pub(crate) fn every(operation: Operation, error: DiskError) -> Self {
        Self { times: u64::MAX, ..Self::nth(operation, 1, error) }
    }

    /// Only operations on paths that contain `part` count and fail.
    pub(crate) fn on(self, part: &str) -> Self {
        Self { path_part: part.to_owned(), ..self }
    }
}

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    /// Syncs are held, or no longer.
    held: Condvar,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

struct World {
    nodes: BTreeMap<Id, Node>,
    next_id: Id,
    locked: BTreeSet<Id>,
    random: Random,
    powered: bool,
    changes: u64,
    cut_at: Option<u64>,
    counts: BTreeMap<Operation, u64>,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    used: u64,
    hold_syncs: bool,
    sync_time: Duration,
}

const ROOT: Id = 0;

#[derive(Clone)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A file as the process sees it and as it is on the disk.
#[derive(Clone, Default)]
struct FileNode {
    now: Vec<u8>,
    disk: Vec<u8>,
    /// Unsynced sectors with what was written to them, oldest first.
    dirty: BTreeMap<usize, Vec<Sector>>,
    /// Unsynced lengths.
    lengths: Vec<usize>,
    /// It was cut, so that `dirty` does not tell all that differs.
    cut: bool,
    /// Sectors that a failed sync has lost, and that are taken for clean.
    lost: BTreeSet<usize>,
}

#[derive(Clone, Default)]
struct DirNode {
    now: BTreeMap<String, Id>,
    disk: BTreeMap<String, Id>,
    unsynced: Vec<NameChange>,
}

/// One change of the names of a directory; both at once in a rename.
#[derive(Clone)]
struct NameChange {
    remove: Option<String>,
    add: Option<(String, Id)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        if let Some(name) = &self.remove {
            names.remove(name);
        }
        if let Some((name, id)) = &self.add {
            // a file has one name here; an older one may have come back by dropping what took it away
            names.retain(|_, other| other != id);
            names.insert(name.clone(), *id);
        }
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not zero.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// Which of the unsynced parts of one file or directory survive.
#[derive(Clone, Copy)]
enum Survivors {
    None,
    All,
    /// Those before a place.
    First(usize),
    Any,
    /// As `Any`, but eight sectors that lie in one page share their fate.
    Pages,
}

impl Survivors {
    fn draw(random: &mut Random, parts: usize) -> Self {
        match random.below(6) {
            0 => Self::None,
            1 => Self::All,
            2 => Self::First(random.below(parts + 1)),
            3 => Self::Pages,
            _ => Self::Any,
        }
    }
}

impl SimDisk {
    /// An empty disk. `seed` decides what a failed or interrupted operation does.
    pub(crate) fn new(seed: u64) -> Self {
        Self::from_nodes(BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]), ROOT + 1, seed)
    }

    fn from_nodes(nodes: BTreeMap<Id, Node>, next_id: Id, seed: u64) -> Self {
        let used = nodes.values().map(Node::bytes).sum();
        let world = World {
            nodes,
            next_id,
            locked: BTreeSet::new(),
            random: Random(seed),
            powered: true,
            changes: 0,
            cut_at: None,
            counts: BTreeMap::new(),
            faults: Vec::new(),
            capacity: None,
            used,
            hold_syncs: false,
            sync_time: Duration::ZERO,
        };
        Self { shared: Arc::new(Shared { world: Mutex::new(world), held: Condvar::new() }) }
    }

    /// Cuts the power: this disk gives errors only from now on, and the one that is returned is what it holds when power is
    /// back. The same seed gives the same disk; another one gives another outcome of the same moment.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut world = self.world();
        world.powered = false;
        self.shared.held.notify_all();
        let mut random = Random(seed);
        let mut nodes = BTreeMap::new();
        let mut reached = vec![ROOT];
        while let Some(id) = reached.pop() {
            let node = match &world.nodes[&id] {
                Node::File(file) => Node::File(FileNode::on_disk(file.after_crash(&mut random))),
                Node::Dir(dir) => {
                    let names = dir.after_crash(&mut random);
                    reached.extend(names.values());
                    Node::Dir(DirNode { now: names.clone(), disk: names, unsynced: Vec::new() })
                }
            };
            nodes.insert(id, node);
        }
        Self::from_nodes(nodes, world.next_id, random.next())
    }

    /// Kills the process: this disk gives errors only from now on, and the one that is returned still has in memory what
    /// was not synced. Of what a failed sync has lost, some can be read no longer.
    pub(crate) fn restart(&self, seed: u64) -> Self {
        let mut world = self.world();
        world.powered = false;
        self.shared.held.notify_all();
        let mut random = Random(seed);
        let mut nodes = world.nodes.clone();
        for node in nodes.values_mut() {
            if let Node::File(file) = node {
                file.evict(&mut random);
            }
        }
        Self::from_nodes(nodes, world.next_id, random.next())
    }

    /// The operation that is change number `change` (see [`changes`](Self::changes)) is the last: it may be done, in part
    /// or not at all, and fails; nothing works after it. What remains is for [`crash`](Self::crash) or
    /// [`restart`](Self::restart).
    pub(crate) fn cut_power_at(&self, change: u64) {
        self.world().cut_at = Some(change);
    }

    /// How many operations so far could change the disk.
    pub(crate) fn changes(&self) -> u64 {
        self.world().changes
    }

    /// How many operations of this kind there were so far.
    pub(crate) fn count(&self, operation: Operation) -> u64 {
        self.world().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Makes operations fail. Faults are independent of each other.
    pub(crate) fn inject(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.world().faults.clear();
    }

    /// Room for `bytes` in files; what would need more is `StorageFull`. Overwriting needs none.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Bytes in files.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.world().used
    }

    /// Makes each sync of a file take that long.
    pub(crate) fn set_sync_time(&self, time: Duration) {
        self.world().sync_time = time;
    }

    /// Holds every sync of a file until [`release_syncs`](Self::release_syncs), a crash or a restart.
    pub(crate) fn hold_syncs(&self) {
        self.world().hold_syncs = true;
    }

    /// Lets syncs pass again.
    pub(crate) fn release_syncs(&self) {
        self.world().hold_syncs = false;
        self.shared.held.notify_all();
    }

    /// All files there are, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let world = self.world();
        let mut files = Vec::new();
        let mut reached = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, id)) = reached.pop() {
            match &world.nodes[&id] {
                Node::File(_) => files.push(path),
                Node::Dir(dir) => reached.extend(dir.now.iter().map(|(name, id)| (path.join(name), *id))),
            }
        }
        files.sort();
        files
    }

    /// The bytes of a file, as the process sees them.
    pub(crate) fn bytes(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let world = self.world();
        world.file(world.find(path.as_ref()).unwrap()).unwrap().now.clone()
    }

    /// Changes a file behind the back of the process, durably.
    pub(crate) fn edit(&self, path: impl AsRef<Path>, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.find(path.as_ref()).unwrap();
        let mut bytes = world.file(id).unwrap().now.clone();
        edit(&mut bytes);
        *world.file_mut(id).unwrap() = FileNode::on_disk(bytes);
    }

    /// Makes or replaces a file behind the back of the process, durably.
    pub(crate) fn put(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let mut world = self.world();
        let (parent, name) = world.find_parent(path.as_ref()).unwrap();
        let id = world.add(Node::File(FileNode::on_disk(bytes)));
        let dir = world.dir_mut(parent).unwrap();
        dir.now.insert(name.clone(), id);
        dir.disk.insert(name, id);
    }

    /// Removes a file behind the back of the process, durably.
    pub(crate) fn remove(&self, path: impl AsRef<Path>) {
        let mut world = self.world();
        let (parent, name) = world.find_parent(path.as_ref()).unwrap();
        let dir = world.dir_mut(parent).unwrap();
        dir.now.remove(&name).unwrap();
        dir.disk.remove(&name);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one operation, unless it is to fail.
    fn run<T>(
        &self,
        operation: Operation,
        path: &Path,
        run: impl FnOnce(&mut World, Outcome) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.world();
        if operation == Operation::Sync {
            while world.hold_syncs && world.powered {
                world = self.shared.held.wait(world).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let outcome = world.outcome(operation, path)?;
        let result = run(&mut world, outcome);
        match outcome {
            Outcome::Pass => result,
            Outcome::Fail(error) => Err(error.into()),
            Outcome::LastOne => {
                world.powered = false;
                self.shared.held.notify_all();
                Err(power_is_off())
            }
        }
    }
}

/// How an operation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pass,
    Fail(DiskError),
    /// The power goes meanwhile.
    LastOne,
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl World {
    fn outcome(&mut self, operation: Operation, path: &Path) -> io::Result<Outcome> {
        if !self.powered {
            return Err(power_is_off());
        }
        *self.counts.entry(operation).or_default() += 1;
        if operation.is_change() {
            self.changes += 1;
            if self.cut_at == Some(self.changes) {
                return Ok(Outcome::LastOne);
            }
        }
        let path = path.to_string_lossy();
        let mut outcome = Outcome::Pass;
        for fault in &mut self.faults {
            if fault.operation != operation || !path.contains(&fault.path_part) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                outcome = Outcome::Fail(fault.error);
            }
        }
        Ok(outcome)
    }

    fn add(&mut self, node: Node) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.used += node.bytes();
        self.nodes.insert(id, node);
        id
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
                Component::Normal(name) => {
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    id = *self.dir(id)?.now.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
            }
        }
        Ok(id)
    }

    fn find_parent(&self, path: &Path) -> io::Result<(Id, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        self.dir(parent)?;
        Ok((parent, name.to_owned()))
    }

    fn dir(&self, id: Id) -> io::Result<&DirNode> {
        match self.nodes.get(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, id: Id) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, id: Id) -> io::Result<&FileNode> {
        match self.nodes.get(&id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn file_mut(&mut self, id: Id) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn change_name(&mut self, dir: Id, remove: Option<String>, add: Option<(String, Id)>) -> io::Result<()> {
        let dir = self.dir_mut(dir)?;
        // a rename takes away what had the new name
        let taken = add.as_ref().map(|(name, _)| name).or(remove.as_ref());
        let gone = taken.and_then(|name| dir.now.get(name).copied());
        let change = NameChange { remove, add };
        change.apply(&mut dir.now);
        dir.unsynced.push(change);
        if let Some(gone) = gone {
            self.used -= self.nodes[&gone].bytes();
        }
        Ok(())
    }

    /// Lets a file become `bytes` longer, where there is room.
    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let used = self.used + u64::try_from(bytes).unwrap();
        if self.capacity.is_some_and(|capacity| used > capacity) {
            return Err(DiskError::Full.into());
        }
        self.used = used;
        Ok(())
    }
}

impl Node {
    fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => u64::try_from(file.now.len()).unwrap(),
            Self::Dir(_) => 0,
        }
    }
}

impl FileNode {
    fn on_disk(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), disk: bytes, ..Self::default() }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.lengths.push(end);
        }
        self.now[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == MAX_VERSIONS {
                versions.remove(0);
            }
            versions.push(sector_of(&self.now, sector));
            self.lost.remove(&sector);
        }
    }

    fn set_len(&mut self, length: usize) {
        self.cut |= length < self.now.len();
        self.now.resize(length, 0);
        self.lengths.push(length);
    }

    fn sync(&mut self) {
        if self.cut {
            self.disk.clone_from(&self.now);
            self.lost.clear();
        } else {
            self.disk.resize(self.now.len(), 0);
            for sector in self.dirty.keys() {
                put_sector(&mut self.disk, *sector, &sector_of(&self.now, *sector));
            }
        }
        self.dirty.clear();
        self.lengths.clear();
        self.cut = false;
    }

    /// A part reaches the disk; what does not is taken for clean.
    fn fail_sync(&mut self, random: &mut Random) {
        let disk = self.after_crash(random);
        self.lost
            .extend(self.dirty.keys().filter(|sector| sector_of(&disk, **sector) != sector_of(&self.now, **sector)));
        self.disk = disk;
        self.dirty.clear();
        self.lengths.clear();
        self.cut = false;
    }

    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut disk = self.disk.clone();
        let length = match random.below(self.lengths.len() + 1) {
            0 => disk.len(),
            drawn => self.lengths[drawn - 1],
        };
        disk.resize(length, 0);
        let survivors = Survivors::draw(random, self.dirty.len());
        let mut page = (usize::MAX, false);
        for (index, (sector, versions)) in self.dirty.iter().enumerate() {
            let (survives, version) = match survivors {
                Survivors::None => (false, 0),
                Survivors::All => (true, versions.len() - 1),
                Survivors::First(count) => (index < count, versions.len() - 1),
                Survivors::Any => (random.coin(), random.below(versions.len())),
                Survivors::Pages => {
                    if page.0 != sector / PAGE_SECTORS {
                        page = (sector / PAGE_SECTORS, random.coin());
                    }
                    (page.1, versions.len() - 1)
                }
            };
            if survives {
                put_sector(&mut disk, *sector, &versions[version]);
            }
        }
        disk
    }

    fn evict(&mut self, random: &mut Random) {
        for sector in std::mem::take(&mut self.lost) {
            if random.coin() {
                let on_disk = sector_of(&self.disk, sector);
                put_sector(&mut self.now, sector, &on_disk);
            } else {
                self.lost.insert(sector);
            }
        }
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut copy = [0; SECTOR];
    let part = bytes.get(sector * SECTOR..).unwrap_or_default();
    let length = part.len().min(SECTOR);
    copy[..length].copy_from_slice(&part[..length]);
    copy
}

/// Sets a sector, up to the length of the file.
fn put_sector(bytes: &mut [u8], sector: usize, content: &Sector) {
    let part = bytes.get_mut(sector * SECTOR..).unwrap_or_default();
    let length = part.len().min(SECTOR);
    part[..length].copy_from_slice(&content[..length]);
}

impl DirNode {
    fn sync(&mut self) {
        self.disk.clone_from(&self.now);
        self.unsynced.clear();
    }

    fn after_crash(&self, random: &mut Random) -> BTreeMap<String, Id> {
        let mut names = self.disk.clone();
        let survivors = Survivors::draw(random, self.unsynced.len());
        for (index, change) in self.unsynced.iter().enumerate() {
            let survives = match survivors {
                Survivors::None => false,
                Survivors::All => true,
                Survivors::First(count) => index < count,
                Survivors::Any | Survivors::Pages => random.coin(),
            };
            if survives {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Storage for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::CreateDir, path, |world, outcome| {
            if let Ok(id) = world.find(path) {
                return world.dir(id).map(|_| ());
            }
            let (parent, name) = world.find_parent(path)?;
            if outcome == Outcome::Pass {
                let id = world.add(Node::Dir(DirNode::default()));
                world.change_name(parent, None, Some((name, id)))?;
            }
            Ok(())
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.run(Operation::CreateFile, path, |world, outcome| {
            let (parent, name) = world.find_parent(path)?;
            if world.dir(parent)?.now.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = world.add(Node::File(FileNode::default()));
            if !matches!(outcome, Outcome::Fail(_)) {
                world.change_name(parent, None, Some((name, id)))?;
            }
            Ok(self.handle(id, path, true))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, from, |world, outcome| {
            let (parent, old) = world.find_parent(from)?;
            let (other, new) = world.find_parent(to)?;
            if parent != other {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            let id = *world.dir(parent)?.now.get(&old).ok_or(io::ErrorKind::NotFound)?;
            if matches!(outcome, Outcome::Fail(_)) || old == new {
                return Ok(());
            }
            world.change_name(parent, Some(old), Some((new, id)))
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |world, outcome| {
            world.file(world.find(path)?)?;
            let (parent, name) = world.find_parent(path)?;
            if matches!(outcome, Outcome::Fail(_)) {
                return Ok(());
            }
            world.change_name(parent, Some(name), None)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |world, outcome| {
            if !world.dir(world.find(path)?)?.now.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (parent, name) = world.find_parent(path)?;
            if matches!(outcome, Outcome::Fail(_)) {
                return Ok(());
            }
            world.change_name(parent, Some(name), None)
        })
    }

    fn inspect(&self, path: &Path) -> io::Result<Option<(PathKind, bool)>> {
        self.run(Operation::Inspect, path, |world, _| match world.find(path) {
            Ok(id) => {
                let kind = if world.dir(id).is_ok() { PathKind::Directory } else { PathKind::File };
                Ok(Some((kind, true)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.run(Operation::List, path, |world, _| Ok(world.dir(world.find(path)?)?.now.keys().cloned().collect()))
    }

    /// One that an injected fault fails makes nothing durable, and a later one still can.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::SyncDir, path, |world, outcome| {
            let id = world.find(path)?;
            let dir = world.dir_mut(id)?;
            if outcome == Outcome::Pass {
                dir.sync();
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        self.run(Operation::Lock, path, |world, outcome| {
            let (parent, name) = world.find_parent(path)?;
            let id = match world.dir(parent)?.now.get(&name) {
                Some(id) => *id,
                None => {
                    let id = world.add(Node::File(FileNode::default()));
                    world.change_name(parent, None, Some((name, id)))?;
                    id
                }
            };
            if outcome == Outcome::Pass && !world.locked.insert(id) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimLock { disk: self.clone(), id }) as Box<dyn StorageLock>)
        })
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        let world = self.world();
        world.capacity.map(|capacity| capacity.saturating_sub(world.used))
    }
}

impl SimDisk {
    fn open_as(&self, path: &Path, writable: bool) -> io::Result<Box<dyn StorageFile>> {
        self.run(Operation::Open, path, |world, _| {
            let id = world.find(path)?;
            world.file(id)?;
            Ok(self.handle(id, path, writable))
        })
    }

    fn handle(&self, id: Id, path: &Path, writable: bool) -> Box<dyn StorageFile> {
        Box::new(SimFile { disk: self.clone(), id, path: path.to_owned(), writable })
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    id: Id,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.world().locked.remove(&self.id);
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: Id,
    /// As it was opened.
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl StorageFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        self.disk.run(Operation::Write, &self.path, |world, outcome| {
            // one that fails or is the last may have begun
            let done = if outcome == Outcome::Pass { bytes.len() } else { world.random.below(bytes.len() + 1) };
            let offset = usize::try_from(offset).unwrap();
            let grown = (offset + done).saturating_sub(world.file(self.id)?.now.len());
            world.grow(grown)?;
            world.file_mut(self.id)?.write(offset, &bytes[..done]);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.run(Operation::Read, &self.path, |world, _| {
            let bytes = &world.file(self.id)?.now;
            let part = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            let count = part.len().min(buffer.len());
            buffer[..count].copy_from_slice(&part[..count]);
            Ok(count)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk
            .run(Operation::Inspect, &self.path, |world, _| Ok(u64::try_from(world.file(self.id)?.now.len()).unwrap()))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let time = self.disk.world().sync_time;
        if !time.is_zero() {
            std::thread::sleep(time);
        }
        self.disk.run(Operation::Sync, &self.path, |world, outcome| {
            let mut random = world.random.clone();
            let file = world.file_mut(self.id)?;
            match outcome {
                Outcome::Pass => file.sync(),
                Outcome::Fail(_) => file.fail_sync(&mut random),
                // whatever a crash keeps
                Outcome::LastOne => {}
            }
            world.random = random;
            Ok(())
        })
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        self.disk.run(Operation::SetLen, &self.path, |world, outcome| {
            let length = usize::try_from(bytes).unwrap();
            let now = world.file(self.id)?.now.len();
            if matches!(outcome, Outcome::Fail(_)) {
                return Ok(());
            }
            world.grow(length.saturating_sub(now))?;
            world.used -= u64::try_from(now.saturating_sub(length)).unwrap();
            world.file_mut(self.id)?.set_len(length);
            Ok(())
        })
    }

    fn is_still_at(&self, path: &Path) -> io::Result<bool> {
        self.disk.run(Operation::Inspect, path, |world, _| match world.find(path) {
            Ok(id) => Ok(id == self.id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }
}
