//! Bounded reading of small files that somebody may have replaced with large ones.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The whole file, or an error when it is longer than `max` bytes.
pub(super) fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    read_all(&File::open(path)?, max)
}

/// What is left of `file`, or an error when that is longer than `max` bytes.
pub(super) fn read_all(file: &File, max: usize) -> io::Result<Vec<u8>> {
    // As long as the file at once: a buffer that grows leaves copies behind, and the file may be a key.
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(max).min(max).saturating_add(1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than allowed"));
    }
    Ok(bytes)
}
