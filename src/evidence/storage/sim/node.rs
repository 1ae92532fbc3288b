//! Files and directories: what the process sees, what is on the disk, and what a crash makes of the two.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::collections::{BTreeMap, BTreeSet};

const SECTOR: usize = 512;
const PAGE_SECTORS: usize = 8;
/// Versions of an unsynced sector that are kept.
const MAX_VERSIONS: usize = 4;

pub(super) type Id = u64;
type Sector = [u8; SECTOR];

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A file as the process sees it and as it is on the disk.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) now: Vec<u8>,
    pub(super) disk: Vec<u8>,
    /// Unsynced sectors with what was written to them and by which write, oldest first.
    pub(super) dirty: BTreeMap<usize, Vec<(u64, Sector)>>,
    /// Unsynced lengths, and by which write.
    pub(super) lengths: Vec<(u64, usize)>,
    /// Writes so far.
    pub(super) writes: u64,
    /// Sectors that a failed sync has lost, and that are taken for clean.
    pub(super) lost: BTreeSet<usize>,
}

/// What a file held when a sync of it began.
#[derive(Debug)]
pub(super) struct Begun {
    writes: u64,
    length: usize,
    dirty: Vec<(usize, Sector)>,
}

#[derive(Clone, Default)]
pub(super) struct DirNode {
    pub(super) now: BTreeMap<String, Id>,
    pub(super) disk: BTreeMap<String, Id>,
    pub(super) unsynced: Vec<NameChange>,
}

/// One change of the names of a directory; both at once in a rename.
#[derive(Clone)]
pub(super) struct NameChange {
    pub(super) remove: Option<String>,
    pub(super) add: Option<(String, Id)>,
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Id>) {
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

/// A generator of chance (`SplitMix64`): the same from the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// Which of the unsynced parts of one file or directory survive.
#[derive(Clone, Copy)]
pub(super) enum Survivors {
    None,
    All,
    /// Those before a place.
    First(usize),
    Any,
    /// As `Any`, but eight sectors that lie in one page share their fate.
    Pages,
}

impl Survivors {
    pub(super) fn draw(random: &mut Random, parts: usize) -> Self {
        match random.below(6) {
            0 => Self::None,
            1 => Self::All,
            2 => Self::First(random.below(parts + 1)),
            3 => Self::Pages,
            _ => Self::Any,
        }
    }
}

impl Node {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => u64::try_from(file.now.len()).unwrap(),
            Self::Dir(_) => 0,
        }
    }
}

impl FileNode {
    pub(super) fn on_disk(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), disk: bytes, ..Self::default() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        self.writes += 1;
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.lengths.push((self.writes, end));
        }
        self.now[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == MAX_VERSIONS {
                versions.remove(0);
            }
            versions.push((self.writes, sector_of(&self.now, sector)));
            self.lost.remove(&sector);
        }
    }

    pub(super) fn begin_sync(&self) -> Begun {
        let dirty = self.dirty.keys().map(|sector| (*sector, sector_of(&self.now, *sector))).collect();
        Begun { writes: self.writes, length: self.now.len(), dirty }
    }

    /// Ends a sync; what was written since it began is not durable by it.
    pub(super) fn sync(&mut self, begun: &Begun) {
        self.disk.resize(begun.length, 0);
        for (sector, bytes) in &begun.dirty {
            put_sector(&mut self.disk, *sector, bytes);
        }
        self.dirty.retain(|_, versions| {
            versions.retain(|(write, _)| *write > begun.writes);
            !versions.is_empty()
        });
        self.lengths.retain(|(write, _)| *write > begun.writes);
    }

    /// A part reaches the disk; what does not is taken for clean.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let disk = self.after_crash(random);
        self.lost
            .extend(self.dirty.keys().filter(|sector| sector_of(&disk, **sector) != sector_of(&self.now, **sector)));
        self.disk = disk;
        self.dirty.clear();
        self.lengths.clear();
    }

    pub(super) fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut disk = self.disk.clone();
        let length = match random.below(self.lengths.len() + 1) {
            0 => disk.len(),
            drawn => self.lengths[drawn - 1].1,
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
                put_sector(&mut disk, *sector, &versions[version].1);
            }
        }
        disk
    }

    pub(super) fn evict(&mut self, random: &mut Random) {
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

pub(super) fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut copy = [0; SECTOR];
    let part = bytes.get(sector * SECTOR..).unwrap_or_default();
    let length = part.len().min(SECTOR);
    copy[..length].copy_from_slice(&part[..length]);
    copy
}

/// Sets a sector, up to the length of the file.
pub(super) fn put_sector(bytes: &mut [u8], sector: usize, content: &Sector) {
    let part = bytes.get_mut(sector * SECTOR..).unwrap_or_default();
    let length = part.len().min(SECTOR);
    part[..length].copy_from_slice(&content[..length]);
}

impl DirNode {
    pub(super) fn sync(&mut self) {
        self.disk.clone_from(&self.now);
        self.unsynced.clear();
    }

    pub(super) fn after_crash(&self, random: &mut Random) -> BTreeMap<String, Id> {
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
