//! The CA's directory: the database, the key files, the certificate for clients, the policy. Only its owner may enter.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::ca::store::{self, Store};

/// Where everything of a CA stands.
#[derive(Clone, Debug)]
pub(crate) struct CaDir(PathBuf);

impl CaDir {
    /// Paths beneath `root`, which is not looked at.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory of a CA that exists, which nobody else may enter: its files are the CA.
    pub(crate) fn open(root: &Path) -> Result<Self, CaError> {
        let metadata = fs::metadata(root).map_err(|error| CaError::io(root, error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(CaError::State(format!("{}: others may enter; chmod 700 it", root.display())));
            }
        }
        let dir = Self::at(root);
        if !metadata.is_dir() || !dir.database().is_file() {
            return Err(CaError::State(format!("{}: holds no CA; `rmcp-guard ca init` makes one", root.display())));
        }
        Ok(dir)
    }

    /// The open database and the CA's name in it.
    pub(crate) fn load(&self) -> Result<(Store, Origin), CaError> {
        let store = Store::open(&self.database())?;
        let origin = store.read(|connection| Origin::parse(&store::meta(connection, "origin")?))?;
        Ok((store, origin))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("ca.sqlite")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The private half of the signing key `kid`, which is base64url.
    pub(crate) fn signing_key(&self, kid: &str) -> PathBuf {
        self.keys().join(format!("{kid}.pem"))
    }

    /// The private key of the root that vouches for the server's certificate.
    pub(crate) fn tls_root_key(&self) -> PathBuf {
        self.keys().join("tls-root.pem")
    }

    /// The certificate that clients trust.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.0.join("root.pem")
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.0.join("policy.toml")
    }
}
