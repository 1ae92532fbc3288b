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

#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "small numbers of a test, which fails where a step does"
)]

mod files;
mod node;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use node::{DirNode, FileNode, Id, Node, Random};
use world::{Outcome, ROOT, World, power_is_off};

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
            held: None,
            waiting: 0,
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

    /// Holds every `operation` on a file whose path contains `part` until [`release`](Self::release), a crash or a restart.
    pub(crate) fn hold(&self, operation: Operation, part: &str) {
        self.world().held = Some((operation, part.to_owned()));
    }

    /// Lets everything pass again.
    pub(crate) fn release(&self) {
        self.world().held = None;
        self.shared.held.notify_all();
    }

    /// How many operations are being held.
    pub(crate) fn waiting(&self) -> usize {
        self.world().waiting
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
        let is_held = |held: &Option<(Operation, String)>| {
            held.as_ref().is_some_and(|(what, part)| *what == operation && path.to_string_lossy().contains(part))
        };
        while is_held(&world.held) && world.powered {
            world.waiting += 1;
            world = self.shared.held.wait(world).unwrap_or_else(PoisonError::into_inner);
            world.waiting -= 1;
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
