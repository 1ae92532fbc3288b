//! `log.json`: which log a directory holds. It makes a directory readable by itself and is trusted by nobody: here it
//! has to agree with the key, the options and its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::PreviousLog;
use super::directory::{FileState, file_state};
use crate::encoding::{canonical_json, exact_count, parse_unique_json};
use crate::evidence::record::rfc3339;
use crate::evidence::storage::{Storage, read_file, replace_file};
use crate::evidence::{OpenError, OpenErrorKind};

/// The file.
pub(in crate::evidence) const MANIFEST_FILE: &str = "log.json";
/// The version of the format that this program writes.
const VERSION: u64 = 1;
/// Most bytes of the file: it holds two origins and two keys, of a few hundred bytes each.
const MAX_MANIFEST_BYTES: usize = 16 * 1024;

/// What `log.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) created: SystemTime,
    pub(super) number: u64,
    pub(super) instance: String,
    pub(super) origin: Arc<str>,
    pub(super) previous: Option<PreviousLog>,
    pub(super) vkey: String,
}

impl Manifest {
    /// Where the manifest of the log in `directory` is.
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join(MANIFEST_FILE)
    }

    /// The manifest in `directory`; `None` when there is no such file.
    pub(super) fn read(storage: &dyn Storage, directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = Self::path(directory);
        if file_state(storage, &path)? == FileState::Missing {
            return Ok(None);
        }
        let malformed = || OpenError::new(OpenErrorKind::Manifest).at(&path);
        let bytes = match read_file(storage, &path, MAX_MANIFEST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed().caused_by(error)),
            other => other.map_err(OpenError::io(&path))?,
        };
        let value = parse_unique_json(&bytes).map_err(|error| malformed().caused_by(error))?;
        match value.get("version").and_then(Value::as_u64).ok_or_else(malformed)? {
            VERSION => Self::from_value(&value).map(Some).ok_or_else(malformed),
            found => Err(OpenError::new(OpenErrorKind::Version { found }).at(&path)),
        }
    }

    /// Writes the manifest, durably: from then on `directory` holds a log.
    pub(super) fn write(&self, storage: &dyn Storage, directory: &Path) -> Result<(), OpenError> {
        let path = Self::path(directory);
        let malformed = |_| OpenError::new(OpenErrorKind::Manifest).at(&path);
        let bytes = canonical_json(&self.to_value()).map_err(malformed)?;
        replace_file(storage, &path, &bytes, true).map_err(OpenError::io(&path))
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "created": rfc3339(self.created),
            "epoch": self.number,
            "instance": self.instance,
            "origin": *self.origin,
            "version": VERSION,
            "vkey": self.vkey,
        });
        if let (Some(previous), Some(members)) = (&self.previous, value.as_object_mut()) {
            let previous = json!({
                "origin": *previous.origin,
                "root": previous.root.to_string(),
                "size": previous.size,
                "vkey": previous.vkey,
            });
            members.insert("previous".to_owned(), previous);
        }
        value
    }

    fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let manifest = Self {
            created: humantime::parse_rfc3339(text(members, "created")?).ok()?,
            number: exact_count(members.get("epoch")?)?,
            instance: text(members, "instance")?.to_owned(),
            origin: text(members, "origin")?.into(),
            previous: match members.get("previous") {
                Some(previous) => Some(previous_from_value(previous)?),
                None => None,
            },
            vkey: text(members, "vkey")?.to_owned(),
        };
        // a member more, or a value in another form, was not written by this program
        (manifest.to_value() == *value).then_some(manifest)
    }
}

fn previous_from_value(value: &Value) -> Option<PreviousLog> {
    let members = value.as_object()?;
    Some(PreviousLog {
        origin: text(members, "origin")?.into(),
        size: exact_count(members.get("size")?)?,
        root: text(members, "root")?.parse().ok()?,
        vkey: text(members, "vkey")?.to_owned(),
    })
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    members.get(name)?.as_str()
}

/// A manifest that is read is the one that would be written.
#[cfg(any(test, fuzzing))]
#[expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how fuzzing reports a broken law")]
pub fn fuzz_manifest(data: &[u8]) {
    let Ok(value) = parse_unique_json(data) else { return };
    let Some(manifest) = Manifest::from_value(&value) else { return };
    assert_eq!(manifest.to_value(), value);
    let written = canonical_json(&value).unwrap();
    assert_eq!(Manifest::from_value(&parse_unique_json(&written).unwrap()), Some(manifest));
}
