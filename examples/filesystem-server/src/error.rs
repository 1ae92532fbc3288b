//! Why a file operation was refused, in words that name nothing outside the root.

use std::fmt;
use std::io;

/// A refused or failed file operation, as the caller reads it.
///
/// The text names only what the caller sent: never the root's own place, an absolute path, or an operating system's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FsError {
    kind: FsErrorKind,
    subject: Option<String>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FsErrorKind {
    /// The argument is no usable path, range, glob or text; the sentence says why.
    Invalid(&'static str),
    /// A limit of this server; the sentence names it.
    TooLarge(&'static str),
    /// Not a regular file: a fifo, socket or device, or a link where a file was asked for.
    Special,
    /// A symbolic link or a `..` led out of the root.
    Outside,
    /// The operating system said no.
    Io(io::ErrorKind),
}

/// The operating system's answers that a caller can act on; every other one is an "input/output error".
const IO_TEXTS: [(io::ErrorKind, &str); 15] = [
    (io::ErrorKind::NotFound, "no such file or directory"),
    (io::ErrorKind::PermissionDenied, "permission denied"),
    (io::ErrorKind::AlreadyExists, "it exists already"),
    (io::ErrorKind::NotADirectory, "not a directory"),
    (io::ErrorKind::IsADirectory, "it is a directory"),
    (io::ErrorKind::DirectoryNotEmpty, "the directory is not empty"),
    (io::ErrorKind::InvalidFilename, "a name is too long or not valid here"),
    (io::ErrorKind::InvalidInput, "the operation is not possible on this path"),
    (io::ErrorKind::CrossesDevices, "the target is on another file system"),
    (io::ErrorKind::ReadOnlyFilesystem, "the file system is read-only"),
    (io::ErrorKind::StorageFull, "the storage is full"),
    (io::ErrorKind::QuotaExceeded, "the quota is used up"),
    (io::ErrorKind::ResourceBusy, "the file is busy"),
    (io::ErrorKind::Unsupported, "the file system does not support this"),
    (io::ErrorKind::TimedOut, "timed out"),
];

impl FsError {
    pub(crate) const fn invalid(why: &'static str) -> Self {
        Self { kind: FsErrorKind::Invalid(why), subject: None }
    }

    pub(crate) const fn too_large(why: &'static str) -> Self {
        Self { kind: FsErrorKind::TooLarge(why), subject: None }
    }

    pub(crate) const fn special() -> Self {
        Self { kind: FsErrorKind::Special, subject: None }
    }

    pub(crate) const fn io(kind: io::ErrorKind) -> Self {
        Self { kind: FsErrorKind::Io(kind), subject: None }
    }

    /// Names the path, as the caller wrote it, that the error is about.
    pub(crate) fn about(mut self, subject: &impl fmt::Display) -> Self {
        self.subject.get_or_insert_with(|| subject.to_string());
        self
    }

    #[cfg(test)]
    pub(crate) const fn kind(&self) -> FsErrorKind {
        self.kind
    }
}

impl From<io::Error> for FsError {
    fn from(error: io::Error) -> Self {
        // cap-std reports an escape as a `PermissionDenied` of its own making, without an error number.
        let escape = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        let kind = if escape { FsErrorKind::Outside } else { FsErrorKind::Io(error.kind()) };
        Self { kind, subject: None }
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.subject {
            // Control and bidirectional characters in a name must not rewrite the reader's screen.
            write!(f, "`{}`: ", subject.escape_debug())?;
        }
        f.write_str(match self.kind {
            FsErrorKind::Invalid(why) | FsErrorKind::TooLarge(why) => why,
            FsErrorKind::Special => "not a regular file",
            FsErrorKind::Outside => "the path leads outside the root",
            FsErrorKind::Io(kind) => {
                IO_TEXTS.iter().find(|(known, _)| *known == kind).map_or("input/output error", |(_, text)| text)
            }
        })
    }
}

impl std::error::Error for FsError {}
