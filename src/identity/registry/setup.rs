//! Single steps, under the names of capiscio-mcp, and the identity of an agent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::identity::did::Did;
use crate::identity::keeper::BadgeKeeper;
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::registry::client::{BadgeOptions, RegisteredServer, RegistryClient};
use crate::identity::registry::connect::{RegistrationError, is_outage, outage};
use crate::identity::registry::key_dir::{KeyDirectory, KeyDirectoryError, KeyDirectoryErrorKind};
use crate::identity::registry::renew::{AgentBadgeRenewer, set_agent_did_or_conflict};

/// A key pair, its `did:key`, and where its private half is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerKeypair {
    /// The key's own DID.
    pub did: Did,
    /// The key.
    pub key: Arc<SigningKey>,
    /// The file, if the key was stored.
    pub private_key_path: Option<PathBuf>,
}

/// A server that is registered with a key of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerSetup {
    /// The key pair.
    pub keypair: ServerKeypair,
    /// What the registry says.
    pub server: RegisteredServer,
}

/// Generates an Ed25519 key pair and stores it in `directory`, if one is named, as
/// [`PRIVATE_KEY_FILE`](super::PRIVATE_KEY_FILE) with mode 0600.
///
/// # Errors
/// [`RegistrationError::KeyGeneration`] without randomness; [`RegistrationError::Keys`] when it cannot be stored, and
/// with [`KeyDirectoryErrorKind::Exists`] when a key stands there, which is never replaced.
pub fn generate_server_keypair(directory: Option<&Path>) -> Result<ServerKeypair, RegistrationError> {
    let key = SigningKey::generate()?;
    let mut private_key_path = None;
    if let Some(directory) = directory.map(KeyDirectory::new) {
        let path = directory.private_key_path();
        if !directory.store_new(&key)? {
            return Err(KeyDirectoryError::new(KeyDirectoryErrorKind::Exists, path).into());
        }
        private_key_path = Some(path);
    }
    Ok(ServerKeypair { did: key.did(), key: Arc::new(key), private_key_path })
}

/// Registers DID and key of the server `server_id` at `registry`; see [`RegistryClient::register_server`].
///
/// # Errors
/// [`RegistrationError::Registry`].
pub async fn register_server_identity(
    registry: &RegistryClient,
    server_id: &str,
    did: &Did,
    key: &PublicKey,
) -> Result<RegisteredServer, RegistrationError> {
    Ok(registry.register_server(server_id, did, key).await?)
}

/// Registers the server `server_id` with the key in `directory`, which is generated where none stands.
/// [`ServerIdentity::connect`](crate::identity::server::ServerIdentity::connect) does this and gets a badge too.
///
/// # Errors
/// [`RegistrationError::Keys`] and [`RegistrationError::Registry`].
pub async fn setup_server_identity(
    registry: &RegistryClient,
    server_id: &str,
    directory: &Path,
) -> Result<ServerSetup, RegistrationError> {
    let directory = KeyDirectory::new(directory);
    let (key, _) = directory.load_or_generate()?;
    let server = registry.register_server(server_id, &key.did(), &key.public_key()).await?;
    let private_key_path = Some(directory.private_key_path());
    Ok(ServerSetup { keypair: ServerKeypair { did: key.did(), key: Arc::new(key), private_key_path }, server })
}

/// Sets up an agent with the key in `directory`, which is generated where none stands: the registry learns its DID, and
/// a keeper gets it badges of IAL-1. [`AgentIdentity::builder`] has more to choose from.
///
/// # Errors
/// [`RegistrationError`].
pub async fn setup_agent_identity(
    registry: RegistryClient,
    agent_id: &str,
    directory: &Path,
) -> Result<AgentIdentity, RegistrationError> {
    AgentIdentity::builder(registry).agent_id(agent_id).key_directory(directory).start().await
}

/// An agent's DID and key, and its badge that renews itself. Clones share everything.
#[derive(Clone)]
#[non_exhaustive]
pub struct AgentIdentity {
    /// The DID that badges name.
    pub did: Did,
    /// Its key.
    pub key: Arc<SigningKey>,
    /// The badge, for a client to show. It is empty until [`BadgeKeeper::ready`] says otherwise.
    pub keeper: BadgeKeeper,
}

impl fmt::Debug for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentIdentity").field("did", &self.did).finish_non_exhaustive()
    }
}

/// Collects what makes an [`AgentIdentity`].
#[derive(Debug)]
#[must_use = "nothing happens until it is started"]
pub struct AgentIdentityBuilder {
    registry: RegistryClient,
    agent_id: Option<String>,
    did: Option<Did>,
    key: Option<Arc<SigningKey>>,
    key_id: Option<String>,
    directory: Option<KeyDirectory>,
    options: BadgeOptions,
    by_account: bool,
    clock: Arc<dyn Clock>,
}

impl AgentIdentity {
    /// An agent of `registry`'s, by default with the `did:key` of its key.
    pub fn builder(registry: RegistryClient) -> AgentIdentityBuilder {
        AgentIdentityBuilder {
            registry,
            agent_id: None,
            did: None,
            key: None,
            key_id: None,
            directory: None,
            options: BadgeOptions::new(),
            by_account: false,
            clock: Arc::new(SystemClock),
        }
    }
}

impl AgentIdentityBuilder {
    /// The agent's id at the registry, which is told the DID then. Without it the registry knows the DID already.
    pub fn agent_id(mut self, id: impl Into<String>) -> Self {
        self.agent_id = Some(id.into());
        self
    }

    /// The DID, such as a `did:web` whose document lists the key; the key's own `did:key` by default.
    pub fn did(mut self, did: Did) -> Self {
        self.did = Some(did);
        self
    }

    /// The key, in place of one from a directory.
    pub fn key(mut self, key: Arc<SigningKey>) -> Self {
        self.key = Some(key);
        self
    }

    /// Where the key is kept; it is generated where none stands.
    pub fn key_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(KeyDirectory::new(path));
        self
    }

    /// The key's id in the DID document, for proofs. Default: the DID's own for `did:key`, else `<did>#key-1`.
    pub fn key_id(mut self, kid: impl Into<String>) -> Self {
        self.key_id = Some(kid.into());
        self
    }

    /// What the badges are to say.
    pub fn badge_options(mut self, options: BadgeOptions) -> Self {
        self.options = options;
        self
    }

    /// Asks for badges of IAL-0, by the account's word, instead of proving possession of the key for each (IAL-1).
    pub const fn by_account(mut self) -> Self {
        self.by_account = true;
        self
    }

    /// The clock that dates proofs and judges expiry; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Loads or makes the key, tells the registry the DID, and starts the keeper, which gets the first badge. A registry
    /// that does not answer is told by the keeper later.
    ///
    /// # Errors
    /// [`RegistrationError`], not for a registry that does not answer; [`KeyDirectoryErrorKind::Path`] with neither key nor
    /// directory.
    pub async fn start(self) -> Result<AgentIdentity, RegistrationError> {
        let key = match (self.key, &self.directory) {
            (Some(key), _) => key,
            (None, Some(directory)) => Arc::new(directory.load_or_generate()?.0),
            (None, None) => return Err(KeyDirectoryError::new(KeyDirectoryErrorKind::Path, "the agent's key").into()),
        };
        let did = self.did.unwrap_or_else(|| key.did());
        let mut unregistered = None;
        if let Some(id) = self.agent_id {
            match set_agent_did_or_conflict(&self.registry, &id, &did).await {
                Ok(()) => {}
                Err(error) if is_outage(&error) => {
                    outage(&error);
                    unregistered = Some(id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let renewer = if self.by_account {
            AgentBadgeRenewer::by_account(self.registry, did.clone(), Arc::clone(&key), self.options)
        } else {
            let kid = self.key_id.or_else(|| did.key_id()).unwrap_or_else(|| format!("{did}#key-1"));
            AgentBadgeRenewer::by_proof(self.registry, did.clone(), Arc::clone(&key), kid, self.options)
        };
        let mut renewer = renewer.clock(Arc::clone(&self.clock));
        if let Some(id) = unregistered {
            renewer = renewer.register_first(id);
        }
        let keeper = BadgeKeeper::builder(Arc::new(renewer)).subject(did.clone()).clock(self.clock).start()?;
        Ok(AgentIdentity { did, key, keeper })
    }
}
