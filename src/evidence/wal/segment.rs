//! Segments: their names, their header block, and opening one.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::WalError;
use super::frame::{Check, Seed};
use crate::evidence::merkle::{Frontier, HASH_BYTES, Hash};
use crate::evidence::storage::{Storage, StorageFile, child};

/// Length of the header block in bytes; frames begin behind it.
pub(super) const HEADER_BYTES: usize = 4096;
/// The same, as a place in a file.
pub(super) const FIRST_FRAME: u64 = 4096;

const MAGIC: [u8; 8] = *b"rmcpgwal";
const VERSION: u32 = 1;
/// Of the header block, before its hash.
pub(super) const HASHED_BYTES: usize = 4064;
/// Longest origin in bytes: what remains of the block beside 64 peaks, rounded down.
pub(super) const MAX_ORIGIN_BYTES: usize = 1024;

const SEGMENT_SUFFIX: &str = ".seg";
const SPARE_SUFFIX: &str = ".spare";

/// What the header block of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    /// Number of the segment that this run of segments began with. A recovery begins a new run; the run with the highest
    /// number holds the log, and all others are left-overs.
    pub(super) run: u64,
    /// Length of the segment in bytes.
    pub(super) bytes: u64,
    pub(super) seed: Seed,
    /// Where the frames of the segment before end, and the check of the last one: nothing was cut off there.
    pub(super) previous_end: u64,
    pub(super) previous_check: Check,
    pub(super) origin: String,
    /// The tree at the start of the segment.
    pub(super) start: Frontier,
}

impl Header {
    /// The block; `None` when the origin is too long.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let origin_bytes = u16::try_from(self.origin.len()).ok().filter(|_| self.origin.len() <= MAX_ORIGIN_BYTES)?;
        let mut block = Vec::with_capacity(HEADER_BYTES);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        for number in [self.number, self.run, self.bytes, self.previous_end, self.start.size()] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.extend_from_slice(&self.seed);
        block.extend_from_slice(&self.previous_check);
        block.extend_from_slice(&origin_bytes.to_le_bytes());
        block.extend_from_slice(self.origin.as_bytes());
        for peak in self.start.peaks() {
            block.extend_from_slice(peak.as_bytes());
        }
        block.resize(HASHED_BYTES, 0);
        let hash = hash_of(&block);
        block.extend_from_slice(&hash);
        Some(block)
    }

    /// Reads a block, or says what is wrong with it.
    pub(super) fn decode(block: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "a header that is cut";
        let (hashed, hash) = block.split_at_checked(HASHED_BYTES).ok_or(CUT)?;
        let mut rest = hashed;
        if take::<8>(&mut rest).ok_or(CUT)? != MAGIC {
            return Err("no segment of a write-ahead log");
        }
        if take(&mut rest).map(u32::from_le_bytes) != Some(VERSION) {
            return Err("a segment of another version");
        }
        if hash_of(hashed) != hash {
            return Err("a broken header");
        }
        let mut number = || take(&mut rest).map(u64::from_le_bytes).ok_or(CUT);
        let (segment, run, bytes, previous_end, size) = (number()?, number()?, number()?, number()?, number()?);
        let seed = take(&mut rest).ok_or(CUT)?;
        let previous_check = take(&mut rest).ok_or(CUT)?;
        let origin_bytes = take(&mut rest).map(u16::from_le_bytes).ok_or(CUT)?;
        let (origin, mut rest) = rest.split_at_checked(usize::from(origin_bytes)).ok_or(CUT)?;
        let origin = std::str::from_utf8(origin).map_err(|_| "an origin that is no text")?.to_owned();
        let mut peaks = Vec::new();
        for _ in 0..size.count_ones() {
            peaks.push(Hash::new(take::<HASH_BYTES>(&mut rest).ok_or(CUT)?));
        }
        let start = Frontier::from_peaks(size, peaks).ok_or(CUT)?;
        Ok(Self { number: segment, run, bytes, seed, previous_end, previous_check, origin, start })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn hash_of(block: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([3]).chain_update(block).finalize().into()
}

/// A segment that is open, with the header that was found in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn StorageFile>,
    pub(super) header: Header,
}

impl Segment {
    /// Opens the segment `number` of the log `origin` for reading and checks its header.
    ///
    /// A name that ends with `.seg` is given only to a file whose header and length are durable, so anything else in it
    /// is damage.
    pub(super) fn open(storage: &dyn Storage, directory: &Path, number: u64, origin: &str) -> Result<Self, WalError> {
        let path = child(directory, &segment_name(number));
        let file = storage.open_read(&path)?;
        let damaged = |what| WalError::Damaged { path: path.clone(), offset: 0, what };
        let mut block = [0; HEADER_BYTES];
        if file.read_at(0, &mut block)? < HEADER_BYTES {
            return Err(damaged("a header that is cut"));
        }
        let header = Header::decode(&block).map_err(damaged)?;
        if header.number != number || header.run > number {
            return Err(damaged("a segment with another number"));
        }
        if header.origin != origin {
            return Err(damaged("a segment of another log"));
        }
        if file.len()? != header.bytes {
            return Err(damaged("a segment with another length"));
        }
        Ok(Self { path, file, header })
    }
}

/// The name of the segment `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:020}{SEGMENT_SUFFIX}")
}

/// The name of the spare segment `number`; these numbers have nothing to do with those of segments.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:020}{SPARE_SUFFIX}")
}

/// The numbers of the segments among `names`, ascending. Names of another form are not ours and do not count.
pub(super) fn segment_numbers(names: &[String]) -> Vec<u64> {
    numbers(names, SEGMENT_SUFFIX)
}

/// The numbers of the spare segments among `names`, ascending.
pub(super) fn spare_numbers(names: &[String]) -> Vec<u64> {
    numbers(names, SPARE_SUFFIX)
}

fn numbers(names: &[String], suffix: &str) -> Vec<u64> {
    let number = |name: &String| {
        let digits = name.strip_suffix(suffix)?;
        let number = digits.parse().ok()?;
        (format!("{number:020}") == digits).then_some(number)
    };
    let mut numbers: Vec<_> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The names in `directory`; none where there is no such directory.
pub(super) fn list(storage: &dyn Storage, directory: &Path) -> io::Result<Vec<String>> {
    match storage.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
