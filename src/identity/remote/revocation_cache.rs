//! One issuer's revocations in a file, so that a restart without the issuer knows what was known.
//!
//! A header, then frames, of which each sync appends one; integers are little endian:
//!
//! ```text
//! header: magic, SHA-256 of the issuer, key of the set
//! frame:  u32 n, the mark as 4 x i64, n x u64 (hashes of ids), SHA-256 of everything in the file before it
//! ```
//!
//! A sync of a list of millions then writes what is new, and not the millions. Whatever a crash cuts off the end, what
//! is left is a state that was true at its own mark. A frame whose digest is wrong condemns the file. The first save
//! of a process, and one after [`MAX_FRAMES`], writes the file anew beside the old one and renames it. Ids are stored
//! as the hashes that the set holds: the file names no badge, and nobody who cannot read it can aim at a collision.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::clock::UnixSeconds;
use crate::identity::remote::revoked_set::{RevokedSet, SetKey};

const MAGIC: &[u8; 24] = b"rmcp-guard revocations 1";

/// Of one frame: half a megabyte is hashed and written at a time.
const MAX_FRAME_ENTRIES: usize = 65_536;

/// Frames that are appended before the file is written anew: about three days of one a minute.
const MAX_FRAMES: u32 = 4096;

/// How far a list has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// When, by our clock, the list was complete.
    pub(super) synced_at: UnixSeconds,
    /// The latest `syncedAt` that the issuer ever gave, by its clock: only a later one is news.
    pub(super) newest: UnixSeconds,
    /// The `syncedAt` of the last complete read, by the issuer's clock: the next one begins a little before.
    pub(super) read_until: UnixSeconds,
    /// When, by our clock, the list was last read from its beginning.
    pub(super) full_at: UnixSeconds,
}

impl Mark {
    /// The mark of a frame that others must follow before the list is whole.
    const UNFINISHED: [i64; 4] = [i64::MIN; 4];

    fn to_words(self) -> [i64; 4] {
        [self.synced_at, self.newest, self.read_until, self.full_at].map(UnixSeconds::as_i64)
    }

    fn from_words(words: [i64; 4]) -> Option<Self> {
        let [synced_at, newest, read_until, full_at] = words.map(UnixSeconds::new);
        (words != Self::UNFINISHED).then_some(Self { synced_at, newest, read_until, full_at })
    }
}

/// The file of one issuer.
#[derive(Debug)]
pub(super) struct CacheFile {
    path: PathBuf,
    issuer: [u8; 32],
    /// What this process wrote, and may append to.
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    hasher: Sha256,
    frames: u32,
}

/// What a file held.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) set: RevokedSet,
    pub(super) mark: Option<Mark>,
}

impl CacheFile {
    /// The file of `issuer` in `directory`, which need not exist yet.
    pub(super) fn new(directory: &Path, issuer: &str) -> Self {
        use std::fmt::Write as _;
        let issuer: [u8; 32] = Sha256::digest(issuer).into();
        let mut name = String::new();
        for byte in issuer.iter().take(16) {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        Self { path: directory.join(format!("{name}.revocations")), issuer, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` when there is none. At most `max_entries` are read, a frame at a time.
    ///
    /// # Errors
    /// The file cannot be read, is not one of ours, is damaged, or can be written by others.
    pub(super) fn load(&self, max_entries: usize) -> io::Result<Option<Loaded>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        check_private(&file.metadata()?)?;
        let mut reader = Hashing { inner: BufReader::new(file), hasher: Sha256::new() };
        let (mut magic, mut issuer, mut key) = ([0; MAGIC.len()], [0; 32], SetKey::default());
        reader.read_exact(&mut magic)?;
        reader.read_exact(&mut issuer)?;
        reader.read_exact(key.as_mut_slice())?;
        if magic != *MAGIC || issuer != self.issuer {
            return Err(damaged("the file is not the cache of this issuer"));
        }
        let mut loaded = Loaded { set: RevokedSet::new(key), mark: None };
        let mut entries = 0_usize;
        while let Some((hashes, words)) = reader.frame()? {
            entries = entries.saturating_add(hashes.len());
            if entries > max_entries {
                return Err(damaged("the file has more entries than allowed"));
            }
            for hash in hashes {
                loaded.set.insert(hash);
            }
            loaded.mark = Mark::from_words(words).or(loaded.mark);
        }
        Ok(Some(loaded))
    }

    /// Stores that `set` is complete as of `mark`; `new` is what it did not hold at the last save.
    pub(super) fn save(&mut self, set: &RevokedSet, new: &[u64], mark: Mark) -> io::Result<()> {
        // Taken, so that a failed append is never appended to.
        let open = self.open.take().filter(|open| open.frames < MAX_FRAMES && is_at(&open.file, &self.path));
        let mut open = match open {
            Some(mut open) => {
                let mut bytes = Vec::new();
                write_list(&mut bytes, &mut open.hasher, std::iter::once(new.to_vec()), mark)?;
                open.file.write_all(&bytes)?;
                open.file.sync_data()?;
                open
            }
            None => self.write_anew(set, mark)?,
        };
        open.frames = open.frames.saturating_add(1);
        self.open = Some(open);
        Ok(())
    }

    fn write_anew(&self, set: &RevokedSet, mark: Mark) -> io::Result<OpenFile> {
        let unfinished = self.path.with_extension("tmp");
        // Left by a process that died while it wrote.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = private_file(&unfinished)?;
        let mut hasher = Sha256::new();
        let mut writer = BufWriter::new(&file);
        for part in [MAGIC.as_slice(), &self.issuer, set.key()] {
            hasher.update(part);
            writer.write_all(part)?;
        }
        write_list(&mut writer, &mut hasher, set.chunks(), mark)?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        if let Some(directory) = self.path.parent() {
            sync_directory(directory)?;
        }
        Ok(OpenFile { file, hasher, frames: 0 })
    }
}

/// Frames of `chunks`, of which only the last carries `mark`.
fn write_list(
    out: &mut impl Write,
    hasher: &mut Sha256,
    chunks: impl Iterator<Item = Vec<u64>>,
    mark: Mark,
) -> io::Result<()> {
    for chunk in chunks {
        for part in chunk.chunks(MAX_FRAME_ENTRIES) {
            write_frame(out, hasher, part, Mark::UNFINISHED)?;
        }
    }
    write_frame(out, hasher, &[], mark.to_words())
}

fn write_frame(out: &mut impl Write, hasher: &mut Sha256, entries: &[u64], words: [i64; 4]) -> io::Result<()> {
    let count = u32::try_from(entries.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(entries.len().saturating_mul(8).saturating_add(68));
    frame.extend(count.to_le_bytes());
    frame.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    frame.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    hasher.update(&frame);
    let digest = hasher.clone().finalize();
    hasher.update(digest);
    out.write_all(&frame)?;
    out.write_all(&digest)
}

/// Reads, and hashes what it has read.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl<R: Read> Hashing<R> {
    /// The next frame; `None` at the end of the file, and where it breaks off.
    fn frame(&mut self) -> io::Result<Option<(Vec<u64>, [i64; 4])>> {
        match self.whole_frame() {
            Ok(frame) => Ok(Some(frame)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn whole_frame(&mut self) -> io::Result<(Vec<u64>, [i64; 4])> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        if count > MAX_FRAME_ENTRIES {
            return Err(damaged("a frame is larger than allowed"));
        }
        let mut words = [0; 4];
        for word in &mut words {
            *word = i64::from_le_bytes(self.array()?);
        }
        let mut bytes = vec![0; count.saturating_mul(8)];
        self.read_exact(&mut bytes)?;
        let expected = self.hasher.clone().finalize();
        if self.array::<32>()? != *expected {
            return Err(damaged("a digest is wrong"));
        }
        let (hashes, _) = bytes.as_chunks::<8>();
        Ok((hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect(), words))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Makes `directory`, if it is not there, for ourselves alone, and checks that nobody else may write in it.
///
/// # Errors
/// It cannot be made or written, belongs to somebody else, or others can write in it.
pub(super) fn prepare_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    let metadata = fs::metadata(directory)?;
    check_private(&metadata)?;
    // A file of our own says who we are, and that we can write here.
    let probe = directory.join(format!(".probe-{}", uuid::Uuid::new_v4()));
    let ours = private_file(&probe).and_then(|file| file.metadata());
    fs::remove_file(&probe).or_else(|error| if ours.is_err() { Ok(()) } else { Err(error) })?;
    check_owner(&metadata, &ours?)
}

#[cfg(unix)]
fn check_private(metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write to the cache"));
    }
    Ok(())
}

#[cfg(unix)]
fn check_owner(directory: &fs::Metadata, ours: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    if directory.uid() != ours.uid() && directory.uid() != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the cache belongs to somebody else"));
    }
    Ok(())
}

/// Whether `file` still stands at `path`: another process may have renamed its own over it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().and_then(|ours| Ok(identity(ours) == identity(fs::symlink_metadata(path)?))).unwrap_or(false)
}

#[cfg(not(unix))]
fn check_private(_metadata: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_directory: &fs::Metadata, _ours: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Without a way to tell, the file is written anew each time.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    false
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A rename lasts only when its directory was synced; Windows has no such thing.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
