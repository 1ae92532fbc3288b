//! Reading and writing small files, secrets among them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rmcp_guard::enforce::MAX_CONFIG_BYTES;
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Largest file or standard input that is read: keys and badges are far below.
const MAX_BYTES: usize = 64 * 1024;

/// What went wrong with `file`, in one line.
pub(crate) fn about(file: &Path, problem: &dyn fmt::Display) -> Failure {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    Failure::new(format!("{name}: {problem}")).with_exit(Exit::Input)
}

/// Opens `file`, which whoever could write beside it may have put there: a regular file of at most `limit` bytes, and no
/// symbolic link to one.
///
/// The name is looked at first, since opening a FIFO waits for its other end, and what was opened is compared with it.
pub(crate) fn open_regular(file: &Path, limit: u64) -> io::Result<File> {
    let named = file.symlink_metadata()?;
    if !named.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let open = File::open(file)?;
    let opened = open.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
            return Err(io::Error::other("was replaced while it was opened"));
        }
    }
    if opened.len() > limit {
        return Err(io::Error::other(format!("is larger than {limit} bytes")));
    }
    Ok(open)
}

/// The bytes of such a file.
pub(crate) fn read_regular(file: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    // it may have grown meanwhile
    if open_regular(file, limit)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?
        > usize::try_from(limit).unwrap_or(usize::MAX)
    {
        return Err(io::Error::other(format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of `file`, or of standard input for `-`; wiped after use, since it may be a secret.
pub(crate) fn read_text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    // As large as it can become, so that no copy stays behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES.saturating_add(64)));
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match read {
        Err(error) => return Err(about(file, &error)),
        Ok(0) => return Err(about(file, &"is empty")),
        Ok(read) if read > MAX_BYTES => return Err(about(file, &"is larger than 64 KiB")),
        Ok(_) => {}
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| about(file, &"is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The text of a file that says whom a guard trusts, and that nobody but its owner may therefore change (S33).
pub(crate) fn read_trusted(file: &Path) -> Result<String, Failure> {
    let read = || {
        // A pipe would block when it is opened.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a regular file"));
        }
        let open = File::open(file)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if open.metadata()?.permissions().mode() & 0o022 != 0 {
                let advice = "can be written by its group or by everybody; run `chmod go-w` on it";
                return Err(io::Error::other(advice));
            }
        }
        let mut text = String::new();
        open.take(MAX_CONFIG_BYTES.saturating_add(1)).read_to_string(&mut text)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_CONFIG_BYTES {
            return Err(io::Error::other("is longer than 2 MiB"));
        }
        Ok(text)
    };
    read().map_err(|error| about(file, &error))
}

/// The private key in a PKCS#8 PEM file.
pub(crate) fn private_key(file: &Path) -> Result<SigningKey, Failure> {
    let pem = read_text(file)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|error| {
        let hint = if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY") {
            "; it is encrypted, and `openssl pkey` can decrypt it"
        } else if pem.contains("-----BEGIN PUBLIC KEY") {
            "; it is a public key"
        } else {
            ""
        };
        about(file, &format_args!("{error}{hint}"))
    })
}

/// The public key in an SPKI PEM file.
pub(crate) fn public_key(file: &Path) -> Result<PublicKey, Failure> {
    let pem = read_text(file)?;
    PublicKey::from_spki_pem(&pem).map_err(|error| {
        let hint = if pem.contains("PRIVATE KEY-----") { "; it is a private key" } else { "" };
        about(file, &format_args!("{error}{hint}"))
    })
}

/// The public key in an SPKI PEM file, or of the private key in a PKCS#8 PEM file.
pub(crate) fn any_key(file: &Path) -> Result<PublicKey, Failure> {
    let pem = read_text(file)?;
    let key = if pem.contains("-----BEGIN PUBLIC KEY") {
        PublicKey::from_spki_pem(&pem)
    } else {
        SigningKey::from_pkcs8_pem(&pem).map(|key| key.public_key())
    };
    key.map_err(|error| about(file, &error))
}

/// A new file that others may read.
pub(crate) fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    write(file, text, OpenOptions::new().write(true).create_new(true))
}

/// A new file that only its owner can read, from the moment it exists.
pub(crate) fn write_secret(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    write(file, text, &options)
}

/// Replaces `file` by one that only its owner can read, whole or not at all: a reader sees the old text or the new.
pub(crate) fn replace_secret(file: &Path, text: &str) -> Result<(), Failure> {
    replace(file, text, None)
}

/// Replaces `file` whole or not at all, with the permissions that it had.
pub(crate) fn replace_kept(file: &Path, text: &str) -> Result<(), Failure> {
    let permissions = std::fs::metadata(file).map_err(|error| about(file, &error))?.permissions();
    replace(file, text, Some(permissions))
}

fn replace(file: &Path, text: &str, permissions: Option<std::fs::Permissions>) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let replaced = || {
        // It is created with mode 0600. The error's own text names a file that nobody knows.
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(|error| io::Error::from(error.kind()))?;
        new.write_all(text.as_bytes())?;
        if let Some(permissions) = permissions {
            new.as_file().set_permissions(permissions)?;
        }
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        // the new name lasts only once its directory is on disk
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    replaced().map_err(|error: io::Error| about(file, &error))
}

fn write(file: &Path, text: &str, options: &OpenOptions) -> Result<(), Failure> {
    let written = options.open(file).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| about(file, &error))
}
