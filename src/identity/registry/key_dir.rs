//! The directory that holds a server's key and what the registry calls it. Names and forms are capiscio-mcp's, so that
//! either can take over the other's.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::identity::did::{Did, MAX_DID_BYTES};
use crate::identity::files::{read_all, read_bounded};
use crate::identity::key::{KeyGenerationError, MAX_PEM_BYTES, SigningKey};

/// The private key, PKCS#8 PEM.
pub const PRIVATE_KEY_FILE: &str = "private_key.pem";
/// The public key, SPKI PEM.
pub const PUBLIC_KEY_FILE: &str = "public_key.pem";
/// The DID that badges name.
pub const DID_FILE: &str = "did.txt";
/// The organization's id.
pub const ORG_ID_FILE: &str = "org_id.txt";
/// The id of a server that was created here.
pub const RESOLVED_ID_FILE: &str = ".resolved_server_id";
/// Held while a server is being created.
const LOCK_FILE: &str = ".lock";

/// How long to wait for another process that is creating the server.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Why a key directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} `{}`", .kind.as_str(), .path.display())]
pub struct KeyDirectoryError {
    kind: KeyDirectoryErrorKind,
    path: PathBuf,
    #[source]
    source: Option<io::Error>,
}

/// The kinds of [`KeyDirectoryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyDirectoryErrorKind {
    /// Others than the owner may read the key, or may put another file in its place.
    Permissions,
    /// The file is not an Ed25519 key in PKCS#8 PEM, of at most [`MAX_PEM_BYTES`].
    NotAKey,
    /// The file cannot be read or written.
    Io,
    /// A key stands there already.
    Exists,
    /// Another process is creating the server and does not come to an end.
    Locked,
    /// The operating system gave no random bytes for a key.
    Random,
    /// The id cannot name a directory, or there is no home directory.
    Path,
}

impl KeyDirectoryErrorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Permissions => "others than the owner have access to",
            Self::NotAKey => "no usable Ed25519 key stands in",
            Self::Io => "cannot read or write",
            Self::Exists => "a key stands already in",
            Self::Locked => "another process holds",
            Self::Random => "no random bytes for the key in",
            Self::Path => "no directory for",
        }
    }

    /// What somebody who runs the server can do, in fixed words.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Permissions => {
                "run `chmod 700` on the directory and `chmod 600` on the key; if others may have read it, replace the key"
            }
            Self::NotAKey => "restore the file from a backup, or move it away to get a new key and a new identity",
            Self::Io => "check that the directory exists, is writable, and is not full",
            Self::Exists => "use the key that stands there, or name another directory",
            Self::Locked => "wait for the other process, or end it",
            Self::Random => "the machine has no entropy source; nothing cryptographic can run on it",
            Self::Path => "name the directory explicitly",
        }
    }
}

impl KeyDirectoryError {
    pub(super) fn new(kind: KeyDirectoryErrorKind, path: impl Into<PathBuf>) -> Self {
        Self { kind, path: path.into(), source: None }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self { kind: KeyDirectoryErrorKind::Io, path, source: Some(error) }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> KeyDirectoryErrorKind {
        self.kind
    }

    /// What somebody who runs the server can do, in fixed words.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        self.kind.advice()
    }
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the sources that there are, in their order")]
pub enum KeySource {
    /// It was given: by code or by the environment.
    Given,
    /// It stood in the directory.
    File,
    /// It was generated now.
    Generated,
}

/// A directory with one server's (or agent's) key.
///
/// On Unix files are made with mode 0600 in a directory of mode 0700, before anything is written into them; on Windows
/// they have the access rights of the directory that they are made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDirectory(PathBuf);

impl fmt::Display for KeyDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl KeyDirectory {
    /// The directory at `path`. Nothing is read or made yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `~/.capiscio/mcp-servers/<server id>`, capiscio-mcp's place; `_auto` for a server that is created on first start.
    ///
    /// # Errors
    /// [`KeyDirectoryErrorKind::Path`] when `server_id` is no file name, or there is no home directory.
    pub fn of_server(server_id: Option<&str>) -> Result<Self, KeyDirectoryError> {
        let name = server_id.unwrap_or("_auto");
        // A dot in front could climb, a separator lead elsewhere; ids are UUIDs.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = !name.is_empty() && name.len() <= 128 && name.bytes().all(plain);
        let home = std::env::home_dir().filter(|home| is_name && home.is_absolute());
        let home = home.ok_or_else(|| KeyDirectoryError::new(KeyDirectoryErrorKind::Path, name))?;
        Ok(Self(home.join(".capiscio").join("mcp-servers").join(name)))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of the private key.
    #[must_use]
    pub fn private_key_path(&self) -> PathBuf {
        self.0.join(PRIVATE_KEY_FILE)
    }

    /// The key that stands there, or else a new one that is stored first. Of several processes that start at once one
    /// makes the key, and all return it.
    ///
    /// # Errors
    /// [`KeyDirectoryError`]; a key that others may read or replace is refused.
    pub fn load_or_generate(&self) -> Result<(SigningKey, KeySource), KeyDirectoryError> {
        self.make()?;
        if let Some(key) = self.load()? {
            return Ok((key, KeySource::File));
        }
        let path = self.private_key_path();
        let key = SigningKey::generate()
            .map_err(|KeyGenerationError| KeyDirectoryError::new(KeyDirectoryErrorKind::Random, &path))?;
        if self.store_new(&key)? {
            return Ok((key, KeySource::Generated));
        }
        let winner = self.load()?.ok_or_else(|| KeyDirectoryError::new(KeyDirectoryErrorKind::NotAKey, &path))?;
        Ok((winner, KeySource::File))
    }

    /// The key that stands there, if one does.
    ///
    /// # Errors
    /// [`KeyDirectoryError`]; a key that others may read or replace is refused.
    pub fn load(&self) -> Result<Option<SigningKey>, KeyDirectoryError> {
        let path = self.private_key_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(KeyDirectoryError::io(&path)(error)),
        };
        // Of the open file, so that what is judged is what is read.
        refuse_others(&path, &file.metadata().map_err(KeyDirectoryError::io(&path))?, 0o077)?;
        self.refuse_writers()?;
        let pem = match read_all(&file, MAX_PEM_BYTES) {
            Ok(pem) => Zeroizing::new(pem),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(KeyDirectoryError::new(KeyDirectoryErrorKind::NotAKey, &path));
            }
            Err(error) => return Err(KeyDirectoryError::io(&path)(error)),
        };
        let key = std::str::from_utf8(&pem).ok().and_then(|pem| SigningKey::from_pkcs8_pem(pem).ok());
        key.map(Some).ok_or_else(|| KeyDirectoryError::new(KeyDirectoryErrorKind::NotAKey, &path))
    }

    /// Stores `key`, unless a key stands there already: then `false`, and that one stays.
    ///
    /// # Errors
    /// [`KeyDirectoryErrorKind::Io`].
    pub fn store_new(&self, key: &SigningKey) -> Result<bool, KeyDirectoryError> {
        self.make()?;
        self.refuse_writers()?;
        let path = self.private_key_path();
        let not_a_key = |_| KeyDirectoryError::new(KeyDirectoryErrorKind::NotAKey, &path);
        let pem = key.to_pkcs8_pem().map_err(not_a_key)?;
        let public = key.public_key().to_spki_pem().map_err(not_a_key)?;
        let stored = match self.write(pem.as_bytes())?.persist_noclobber(&path) {
            Ok(_) => true,
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(KeyDirectoryError::io(&path)(error.error)),
        };
        if stored {
            self.replace(PUBLIC_KEY_FILE, &public)?;
        }
        Ok(stored)
    }

    /// The DID in the directory, if one stands there.
    #[must_use]
    pub fn did(&self) -> Option<Did> {
        Did::parse(&self.note(DID_FILE)?).ok()
    }

    /// The id of a server that was created here.
    #[must_use]
    pub fn resolved_server_id(&self) -> Option<String> {
        self.note(RESOLVED_ID_FILE)
    }

    /// The organization's id.
    #[must_use]
    pub fn org_id(&self) -> Option<String> {
        self.note(ORG_ID_FILE)
    }

    /// Writes down the DID that badges name.
    ///
    /// # Errors
    /// [`KeyDirectoryErrorKind::Io`].
    pub fn set_did(&self, did: &Did) -> Result<(), KeyDirectoryError> {
        self.set_note(DID_FILE, did.as_str())
    }

    /// Writes down the id of a server that was created here.
    ///
    /// # Errors
    /// [`KeyDirectoryErrorKind::Io`].
    pub fn set_resolved_server_id(&self, id: &str) -> Result<(), KeyDirectoryError> {
        self.set_note(RESOLVED_ID_FILE, id)
    }

    /// Writes down the organization's id.
    ///
    /// # Errors
    /// [`KeyDirectoryErrorKind::Io`].
    pub fn set_org_id(&self, id: &str) -> Result<(), KeyDirectoryError> {
        self.set_note(ORG_ID_FILE, id)
    }

    /// Keeps other processes from creating the server too, until the value is dropped.
    pub(super) async fn lock(&self) -> Result<File, KeyDirectoryError> {
        self.make()?;
        let path = self.0.join(LOCK_FILE);
        let file = private_options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(KeyDirectoryError::io(&path))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => sleep(LOCK_POLL).await,
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(KeyDirectoryError::new(KeyDirectoryErrorKind::Locked, path));
                }
                Err(fs::TryLockError::Error(error)) => return Err(KeyDirectoryError::io(&path)(error)),
            }
        }
    }

    fn make(&self) -> Result<(), KeyDirectoryError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(KeyDirectoryError::io(&self.0))
    }

    /// Refuses a directory that others may write, if there is one.
    pub(super) fn refuse_strangers(&self) -> Result<(), KeyDirectoryError> {
        match self.refuse_writers() {
            Err(error) if error.source.as_ref().is_some_and(|source| source.kind() == io::ErrorKind::NotFound) => {
                Ok(())
            }
            result => result,
        }
    }

    /// Whoever may write the directory may put another key in the place of this one.
    fn refuse_writers(&self) -> Result<(), KeyDirectoryError> {
        let metadata = fs::metadata(&self.0).map_err(KeyDirectoryError::io(&self.0))?;
        refuse_others(&self.0, &metadata, 0o022)
    }

    /// A short line of text; what is none counts as missing.
    fn note(&self, name: &str) -> Option<String> {
        let bytes = read_bounded(&self.0.join(name), MAX_DID_BYTES).ok()?;
        let text = String::from_utf8(bytes).ok()?.trim().to_owned();
        let is_line = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_line.then_some(text)
    }

    fn set_note(&self, name: &str, text: &str) -> Result<(), KeyDirectoryError> {
        if self.note(name).as_deref() == Some(text) {
            return Ok(());
        }
        self.make()?;
        self.replace(name, text)
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), KeyDirectoryError> {
        let path = self.0.join(name);
        match self.write(text.as_bytes())?.persist(&path) {
            Ok(_) => self.sync(),
            Err(error) => Err(KeyDirectoryError::io(&path)(error.error)),
        }
    }

    /// A file of mode 0600 beside its place, written and on the disk. It is gone when dropped.
    fn write(&self, bytes: &[u8]) -> Result<NamedTempFile, KeyDirectoryError> {
        let write = || {
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.0)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(KeyDirectoryError::io(&self.0))
    }

    /// Puts the names on the disk too.
    fn sync(&self) -> Result<(), KeyDirectoryError> {
        if cfg!(unix) {
            File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(KeyDirectoryError::io(&self.0))?;
        }
        Ok(())
    }
}

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true);
    options
}

/// Refuses what group or world have one of the `forbidden` rights to.
#[cfg(unix)]
fn refuse_others(path: &Path, metadata: &fs::Metadata, forbidden: u32) -> Result<(), KeyDirectoryError> {
    use std::os::unix::fs::PermissionsExt as _;

    let refused = metadata.permissions().mode() & forbidden != 0;
    if refused { Err(KeyDirectoryError::new(KeyDirectoryErrorKind::Permissions, path)) } else { Ok(()) }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the form of the Unix version")]
fn refuse_others(_: &Path, _: &fs::Metadata, _: u32) -> Result<(), KeyDirectoryError> {
    Ok(())
}

#[cfg(test)]
mod tests;
