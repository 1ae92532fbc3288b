//! Paths as callers may write them: relative, downwards, bounded.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::error::FsError;

/// Longest accepted path, in bytes: the kernel's own limit, checked before anything is allocated or opened.
pub const MAX_PATH_BYTES: usize = 4096;

/// A path below the root, checked for form: relative, without `..` and NUL, at most [`MAX_PATH_BYTES`] long.
///
/// The form alone is no protection against symbolic links; that is what the capability-based directory handle is for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RelPath(PathBuf);

impl RelPath {
    /// Reads a caller's path; `.` is the root.
    pub(crate) fn parse(text: &str) -> Result<Self, FsError> {
        if text.is_empty() {
            return Err(FsError::invalid("the path is empty; the root is `.`"));
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(FsError::too_large("the path is longer than 4096 bytes"));
        }
        if text.contains('\0') {
            return Err(FsError::invalid("the path contains a NUL byte"));
        }
        let mut path = PathBuf::new();
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir => return Err(FsError::invalid("`..` is not accepted in a path")),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(FsError::invalid("the path is absolute; paths are relative to the root"));
                }
            }
        }
        if path.as_os_str().is_empty() {
            path.push(".");
        }
        Ok(Self(path))
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that holds the last component, and that component; refused for the root itself.
    pub(crate) fn split(&self) -> Result<(&Path, &OsStr), FsError> {
        let name = self.0.file_name().ok_or(FsError::invalid("the root itself cannot be changed"))?;
        let parent = self.0.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((parent.unwrap_or(Path::new(".")), name))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PATH_BYTES, RelPath};
    use crate::error::FsErrorKind;

    #[test]
    fn paths_are_relative_downwards_and_bounded() {
        let long = "a/".repeat(MAX_PATH_BYTES);
        let table = [
            ("empty", "", Err("the path is empty; the root is `.`")),
            ("parent", "..", Err("`..` is not accepted in a path")),
            ("parent inside", "a/../b", Err("`..` is not accepted in a path")),
            ("parent at the end", "a/..", Err("`..` is not accepted in a path")),
            ("absolute", "/etc/passwd", Err("the path is absolute; paths are relative to the root")),
            ("NUL", "a\0b", Err("the path contains a NUL byte")),
            ("too long", &long, Err("the path is longer than 4096 bytes")),
            ("root", ".", Ok(".")),
            ("root, written long", "././/", Ok(".")),
            ("plain", "a/b.txt", Ok("a/b.txt")),
            ("dots and slashes fall away", "./a//b/./", Ok("a/b")),
            ("three dots are a name", "...", Ok("...")),
        ];
        for (name, input, want) in table {
            let got = RelPath::parse(input);
            match want {
                Ok(path) => assert_eq!(got.unwrap().to_string(), path, "{name}"),
                Err(why) => {
                    let (FsErrorKind::Invalid(text) | FsErrorKind::TooLarge(text)) = got.err().unwrap().kind() else {
                        panic!("{name}: another kind")
                    };
                    assert_eq!(text, why, "{name}");
                }
            }
        }
    }

    #[test]
    fn the_root_itself_has_no_parent() {
        assert_eq!(
            RelPath::parse(".").unwrap().split().unwrap_err().kind(),
            FsErrorKind::Invalid("the root itself cannot be changed")
        );
    }
}
