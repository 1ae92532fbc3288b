//! All that a disk holds, and what is to happen to it.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use super::node::{DirNode, FileNode, Id, NameChange, Node, Random};
use super::{DiskError, Fault, Operation};

pub(super) struct World {
    pub(super) nodes: BTreeMap<Id, Node>,
    pub(super) next_id: Id,
    pub(super) locked: BTreeSet<Id>,
    pub(super) random: Random,
    pub(super) powered: bool,
    pub(super) changes: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) counts: BTreeMap<Operation, u64>,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity: Option<u64>,
    pub(super) used: u64,
    /// Syncs of files whose path contains this wait.
    pub(super) held: Option<(Operation, String)>,
    /// Operations that are being held.
    pub(super) waiting: usize,
}

pub(super) const ROOT: Id = 0;

/// How an operation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    Fail(DiskError),
    /// The power goes meanwhile.
    LastOne,
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl World {
    pub(super) fn outcome(&mut self, operation: Operation, path: &Path) -> io::Result<Outcome> {
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

    pub(super) fn add(&mut self, node: Node) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.used += node.bytes();
        self.nodes.insert(id, node);
        id
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Id> {
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

    pub(super) fn find_parent(&self, path: &Path) -> io::Result<(Id, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        self.dir(parent)?;
        Ok((parent, name.to_owned()))
    }

    pub(super) fn dir(&self, id: Id) -> io::Result<&DirNode> {
        match self.nodes.get(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, id: Id) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, id: Id) -> io::Result<&FileNode> {
        match self.nodes.get(&id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn file_mut(&mut self, id: Id) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn change_name(&mut self, dir: Id, remove: Option<String>, add: Option<(String, Id)>) -> io::Result<()> {
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
    pub(super) fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let used = self.used + u64::try_from(bytes).unwrap();
        if self.capacity.is_some_and(|capacity| used > capacity) {
            return Err(DiskError::Full.into());
        }
        self.used = used;
        Ok(())
    }
}
