//! What must not lie beside the log: the signing key, the keys of hashes, and the high-water mark.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::directory::{
    FileState, create_directory, file_state, has_base_directory, has_directory, remove_temporary_files,
};
use crate::evidence::keyed::{KEY_BYTES, KeyedHash};
use crate::evidence::note::{Ed25519NoteSigner, MAX_KEY_PEM_BYTES, MAX_NOTE_BYTES};
use crate::evidence::storage::{Storage, parent_of, read_file, replace_file};
use crate::evidence::{OpenError, OpenErrorKind};

/// The signing key, PKCS#8 in PEM.
const SIGNING_KEY_FILE: &str = "log.key";
/// The directory of the keys of hashes, a file `<kid>.key` of 32 bytes for each.
const HASH_KEY_DIRECTORY: &str = "params";
/// In it, the name of the newest key.
const CURRENT_FILE: &str = "current";
/// The signed checkpoint below which the log must never be seen again.
const HIGH_WATER_FILE: &str = "high-water";
/// A key's name: base64url of 8 bytes.
const KEY_ID_LENGTH: usize = 11;

/// A name for a key while its log has none yet; signatures never carry it.
const UNNAMED: &str = "rmcp-guard.invalid";

/// The private directory of one instance.
#[derive(Clone, Debug)]
pub(crate) struct PrivateDir {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl PrivateDir {
    /// The private directory of `instance` below `base`, which need not be there.
    ///
    /// # Errors
    /// [`OpenErrorKind::NotPrivate`] or [`Foreign`](OpenErrorKind::Foreign) for what is there.
    pub(super) fn find(storage: &Arc<dyn Storage>, base: &Path, instance: &str) -> Result<Self, OpenError> {
        let path = base.join(instance);
        if has_base_directory(&**storage, base)? {
            has_directory(&**storage, &path)?;
            has_directory(&**storage, &path.join(HASH_KEY_DIRECTORY))?;
        }
        Ok(Self { storage: Arc::clone(storage), path })
    }

    /// Makes the directories, and removes what an interrupted replacement left in them.
    pub(super) fn create(&self) -> Result<(), OpenError> {
        let params = self.path.join(HASH_KEY_DIRECTORY);
        for directory in [parent_of(&self.path), &self.path, &params] {
            create_directory(&*self.storage, directory)?;
        }
        for directory in [&self.path, &params] {
            remove_temporary_files(&*self.storage, directory)?;
            // a process that died may have left a key whose name no sync has covered
            self.storage.sync_dir(directory).map_err(OpenError::io(directory))?;
        }
        Ok(())
    }

    /// Where the signing key is.
    pub(super) fn signing_key_path(&self) -> PathBuf {
        self.path.join(SIGNING_KEY_FILE)
    }

    /// Where the mark is.
    pub(super) fn high_water_path(&self) -> PathBuf {
        self.path.join(HIGH_WATER_FILE)
    }

    /// The signing key under the name `origin`; `None` when none was ever made.
    pub(crate) fn signer(&self, origin: &str) -> Result<Option<Ed25519NoteSigner>, OpenError> {
        let path = self.signing_key_path();
        let Some(pem) = self.read(&path, MAX_KEY_PEM_BYTES)? else { return Ok(None) };
        let key_error = || OpenError::new(OpenErrorKind::Key).at(&path);
        let pem = std::str::from_utf8(&pem).map_err(|error| key_error().caused_by(error))?;
        let signer = Ed25519NoteSigner::from_pkcs8_pem(origin, pem).map_err(|error| key_error().caused_by(error))?;
        Ok(Some(signer))
    }

    /// Makes a signing key, durably. There is none yet.
    pub(super) fn make_signing_key(&self) -> Result<(), OpenError> {
        let path = self.signing_key_path();
        let pem = Ed25519NoteSigner::generate(UNNAMED).and_then(|key| key.to_pkcs8_pem());
        let pem = pem.map_err(|error| OpenError::new(OpenErrorKind::Randomness).caused_by(error))?;
        self.replace(&path, pem.as_bytes())
    }

    /// The newest key of keyed hashes, made where there is none; and whether it was made just now.
    ///
    /// # Errors
    /// [`OpenErrorKind::Key`] when the key that was the newest is gone or is not a key.
    pub(crate) fn hash_key(&self) -> Result<(Zeroizing<[u8; KEY_BYTES]>, bool), OpenError> {
        let Some(kid) = self.current_hash_key()? else {
            return Ok((self.rotate_hash_key()?, true));
        };
        let path = self.hash_key_path(&kid);
        let key_error = || OpenError::new(OpenErrorKind::Key).at(&path);
        let bytes = self.read(&path, KEY_BYTES.saturating_add(1))?.ok_or_else(key_error)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        *key = bytes.as_slice().try_into().map_err(|_| key_error())?;
        // another key under this name would make hashes that look comparable and are not
        if KeyedHash::new(&key).key_id() == kid { Ok((key, false)) } else { Err(key_error()) }
    }

    /// Makes a new key of keyed hashes, which is the newest from now on.
    pub(crate) fn rotate_hash_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| OpenError::new(OpenErrorKind::Randomness))?;
        let hash = KeyedHash::new(&key);
        // the key before its name: a name without its key would stop the next start
        self.replace(&self.hash_key_path(hash.key_id()), key.as_slice())?;
        self.replace(&self.path.join(HASH_KEY_DIRECTORY).join(CURRENT_FILE), hash.key_id().as_bytes())?;
        Ok(key)
    }

    /// Destroys the key named `kid`: hashes under it can no longer be recomputed by anybody. `false` when there is none.
    ///
    /// The bytes are overwritten first, which helps on disks and file systems that write in place; elsewhere only an
    /// encrypted disk forgets for certain.
    ///
    /// # Errors
    /// [`OpenErrorKind::KeyInUse`] for the newest key.
    pub(crate) fn shred_hash_key(&self, kid: &str) -> Result<bool, OpenError> {
        // a name that is no key's could lead anywhere
        if !is_key_id(kid) {
            return Ok(false);
        }
        let path = self.hash_key_path(kid);
        if self.current_hash_key()?.as_deref() == Some(kid) {
            return Err(OpenError::new(OpenErrorKind::KeyInUse).at(&path));
        }
        if file_state(&*self.storage, &path)? == FileState::Missing {
            return Ok(false);
        }
        let overwritten = self.storage.open(&path).and_then(|file| {
            let length = usize::try_from(file.len()?).unwrap_or(usize::MAX).clamp(KEY_BYTES, 1 << 16);
            file.write_at(0, &vec![0; length])?;
            file.sync_all()
        });
        overwritten
            .and_then(|()| self.storage.remove_file(&path))
            .and_then(|()| self.storage.sync_dir(&self.path.join(HASH_KEY_DIRECTORY)))
            .map_err(OpenError::io(&path))?;
        Ok(true)
    }

    /// The signed checkpoint below which the log must never be seen again.
    pub(crate) fn high_water(&self) -> Result<Option<Vec<u8>>, OpenError> {
        let note = self.read(&self.high_water_path(), MAX_NOTE_BYTES)?;
        Ok(note.map(|note| note.to_vec()))
    }

    /// Moves the mark, durably. Only a note that is durable in the log may be given.
    pub(crate) fn set_high_water(&self, note: &[u8]) -> Result<(), OpenError> {
        self.replace(&self.high_water_path(), note)
    }

    /// The name of the newest key.
    fn current_hash_key(&self) -> Result<Option<String>, OpenError> {
        let path = self.path.join(HASH_KEY_DIRECTORY).join(CURRENT_FILE);
        let Some(bytes) = self.read(&path, KEY_ID_LENGTH.saturating_add(1))? else { return Ok(None) };
        let kid = std::str::from_utf8(&bytes).ok().filter(|kid| is_key_id(kid));
        kid.map(|kid| Some(kid.to_owned())).ok_or_else(|| OpenError::new(OpenErrorKind::Key).at(&path))
    }

    fn hash_key_path(&self, kid: &str) -> PathBuf {
        self.path.join(HASH_KEY_DIRECTORY).join(format!("{kid}.key"))
    }

    /// A private file of at most `limit` bytes; a longer one is no key and no mark.
    fn read(&self, path: &Path, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        if file_state(&*self.storage, path)? == FileState::Missing {
            return Ok(None);
        }
        match read_file(&*self.storage, path, limit) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let mark = path.file_name().is_some_and(|name| name == HIGH_WATER_FILE);
                let kind = if mark { OpenErrorKind::Mark } else { OpenErrorKind::Key };
                Err(OpenError::new(kind).at(path).caused_by(error))
            }
            Err(error) => Err(OpenError::io(path)(error)),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), OpenError> {
        replace_file(&*self.storage, path, bytes, true).map_err(OpenError::io(path))
    }
}

fn is_key_id(text: &str) -> bool {
    text.len() == KEY_ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::storage::FsStorage;

    fn private() -> (tempfile::TempDir, PrivateDir) {
        let temporary = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(FsStorage);
        let private = PrivateDir::find(&storage, &temporary.path().join("private"), "main").unwrap();
        private.create().unwrap();
        (temporary, private)
    }

    fn kid(key: &[u8; KEY_BYTES]) -> String {
        KeyedHash::new(key).key_id().to_owned()
    }

    #[test]
    fn the_hash_key_stays_until_it_is_replaced() {
        let (_temporary, private) = private();
        let (key, made) = private.hash_key().unwrap();
        assert!(made);
        assert_eq!(private.hash_key().unwrap(), (key.clone(), false));
        let next = private.rotate_hash_key().unwrap();
        assert_ne!(key, next);
        assert_eq!(private.hash_key().unwrap(), (next.clone(), false));
        // the old one is still there for those who have to compare
        assert_eq!(std::fs::read(private.hash_key_path(&kid(&key))).unwrap(), key.as_slice());
    }

    #[test]
    fn a_key_is_destroyed_and_never_the_one_in_use() {
        let (_temporary, private) = private();
        let (old, _) = private.hash_key().unwrap();
        let old_kid = kid(&old);
        assert_eq!(private.shred_hash_key(&old_kid).unwrap_err().kind(), OpenErrorKind::KeyInUse);
        let new = private.rotate_hash_key().unwrap();
        // whoever still holds the file sees zeros
        let mut held = std::fs::File::open(private.hash_key_path(&old_kid)).unwrap();
        assert!(private.shred_hash_key(&old_kid).unwrap());
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut held, &mut bytes).unwrap();
        assert_eq!(bytes, [0; KEY_BYTES]);
        assert!(!private.hash_key_path(&old_kid).exists());
        assert!(!private.shred_hash_key(&old_kid).unwrap());
        assert_eq!(private.hash_key().unwrap(), (new, false));
    }

    #[test]
    fn a_name_that_is_no_keys_leads_nowhere() {
        let (temporary, private) = private();
        private.hash_key().unwrap();
        std::fs::write(temporary.path().join("private/main/aaaaaaaa.key"), "x").unwrap();
        for name in ["", "../aaaaaaaa", "/etc/passwd", "current", "AAAAAAAAAA.", "AAAAAAAAAAé"] {
            assert!(!private.shred_hash_key(name).unwrap(), "{name}");
        }
        assert!(temporary.path().join("private/main/aaaaaaaa.key").exists());
    }

    #[test]
    fn a_key_that_is_none_or_another_is_refused() {
        let (_temporary, private) = private();
        let (key, _) = private.hash_key().unwrap();
        let path = private.hash_key_path(&kid(&key));
        for bytes in [&[7; KEY_BYTES][..], &[7; 31], &[7; 33], &[7; 100], &[]] {
            std::fs::write(&path, bytes).unwrap();
            let error = private.hash_key().unwrap_err();
            assert_eq!((error.kind(), error.path()), (OpenErrorKind::Key, Some(path.as_path())));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(private.hash_key().unwrap_err().kind(), OpenErrorKind::Key);
        let current = private.path.join("params/current");
        for text in ["", "../../../etc", "AAAAAAAAAAAA"] {
            std::fs::write(&current, text).unwrap();
            let error = private.hash_key().unwrap_err();
            assert_eq!((error.kind(), error.path()), (OpenErrorKind::Key, Some(current.as_path())), "{text}");
        }
        // where there never was one it is made
        std::fs::remove_file(&current).unwrap();
        assert!(private.hash_key().unwrap().1);
    }

    #[test]
    fn the_signing_key_is_one_for_all_names() {
        let (_temporary, private) = private();
        assert!(private.signer("log.example/main/1").unwrap().is_none());
        private.make_signing_key().unwrap();
        let key = |name: &str| {
            use crate::evidence::note::NoteSigner as _;
            let signer = private.signer(name).unwrap().unwrap();
            assert_eq!(signer.verifier_key().name(), name);
            signer.to_pkcs8_pem().unwrap()
        };
        assert_eq!(key("log.example/main/1"), key("log.example/main/2"));
        assert!(!format!("{private:?}").contains(key("a").lines().nth(1).unwrap()));
    }
}
