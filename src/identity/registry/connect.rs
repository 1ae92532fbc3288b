//! From an id and an API key to an identity with a badge that renews itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::identity::did::Did;
use crate::identity::keeper::{BadgeKeeper, RenewError};
use crate::identity::key::{KeyGenerationError, SigningKey};
use crate::identity::registry::client::{IssuedBadge, RegisteredServer, RegistryClient};
use crate::identity::registry::env::EnvironmentError;
use crate::identity::registry::error::{RegistryError, RegistryErrorKind};
use crate::identity::registry::key_dir::{KeyDirectory, KeyDirectoryError, KeyDirectoryErrorKind, KeySource};
use crate::identity::registry::names::{ServerDidForm, server_did};
use crate::identity::registry::renew::{ServerBadgeRenewer, register_or_conflict};
use crate::identity::server::{ServerIdentity, ServerIdentityError};

/// Why an identity was not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The registry refuses, or is none.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The key's directory cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyDirectoryError),
    /// No key could be made.
    #[error(transparent)]
    KeyGeneration(#[from] KeyGenerationError),
    /// A variable of the environment is missing or cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The parts of the identity do not fit together.
    #[error(transparent)]
    Identity(#[from] ServerIdentityError),
    /// The keeper cannot start: not within a tokio runtime.
    #[error(transparent)]
    Keeper(#[from] RenewError),
}

impl RegistrationError {
    /// What somebody who runs the server can do, in fixed words.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Registry(error) => error.advice(),
            Self::Keys(error) => error.advice(),
            Self::KeyGeneration(_) => RegistryErrorKind::Random.advice(),
            Self::Environment(_) => "set the variable, or pass the value in code",
            Self::Identity(_) => "check the DID, the key id and the origins that are set in code",
            Self::Keeper(_) => "call this within a tokio runtime with its timer enabled",
        }
    }
}

/// Which server of the account this is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a server is known or not")]
pub enum ServerRef {
    /// The one with this id, a UUID that the registry shows.
    Id(String),
    /// One of its own, created on the first start; its id is kept in the key directory.
    Auto,
}

impl From<String> for ServerRef {
    /// `auto`, in any case, is [`ServerRef::Auto`].
    fn from(text: String) -> Self {
        if text.eq_ignore_ascii_case("auto") { Self::Auto } else { Self::Id(text) }
    }
}

impl From<&str> for ServerRef {
    /// `auto`, in any case, is [`ServerRef::Auto`].
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Collects what [`ServerIdentity::connect`] needs.
#[derive(Debug)]
#[must_use = "nothing happens until it is started"]
pub struct ServerConnector {
    client: RegistryClient,
    server: ServerRef,
    create: bool,
    name: Option<String>,
    domain: Option<String>,
    did: Option<Did>,
    did_form: ServerDidForm,
    key_id: Option<String>,
    key: Option<Arc<SigningKey>>,
    directory: Option<KeyDirectory>,
    origins: Vec<String>,
    clock: Arc<dyn Clock>,
}

/// A server's identity and what keeps it alive.
#[derive(Clone)]
#[non_exhaustive]
pub struct ConnectedServer {
    /// For `IdentityLayer`. It holds a clone of the keeper.
    pub identity: ServerIdentity,
    /// Renews the badge. Its health tells whether there is one, and why not.
    pub keeper: BadgeKeeper,
    /// The server's id at the registry.
    pub server_id: String,
    /// The organization that owns it, if the registry says so.
    pub org_id: Option<String>,
    /// Where the key came from.
    pub key_source: KeySource,
}

impl fmt::Debug for ConnectedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedServer")
            .field("identity", &self.identity)
            .field("server_id", &self.server_id)
            .field("org_id", &self.org_id)
            .field("key_source", &self.key_source)
            .finish_non_exhaustive()
    }
}

/// What the registry said at the start.
struct Standing {
    server_id: String,
    org_id: Option<String>,
    /// Whether the registry has DID and key.
    registered: bool,
    badge: Option<IssuedBadge>,
}

impl ServerIdentity {
    /// Sets up the identity of a server that `client`'s registry knows, or creates with [`ServerRef::Auto`]: loads or makes
    /// its key, registers it, gets a badge and keeps it alive.
    ///
    /// A registry that does not answer at the start does not stop it: the identity stands without a badge, clients see
    /// it as declared, and the keeper goes on trying; its health says so. One that refuses does: an unknown key (401), one
    /// that may not (403), an unknown server (404).
    pub fn connect(client: RegistryClient, server: impl Into<ServerRef>) -> ServerConnector {
        ServerConnector {
            client,
            server: server.into(),
            create: false,
            name: None,
            domain: None,
            did: None,
            did_form: ServerDidForm::default(),
            key_id: None,
            key: None,
            directory: None,
            origins: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl ServerConnector {
    /// Creates the server when the registry does not have its id, under a new id. Without this an unknown id is an error:
    /// a mistyped one would become a new identity.
    pub const fn create_if_missing(mut self) -> Self {
        self.create = true;
        self
    }

    /// The name of a server that is created.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The domain that the badge is to name, `host[:port]`; the registry's own by default.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The server's own DID, such as `did:web:files.example.com`, for a registry that vouches for it. Otherwise the DID is
    /// one of the registry's host, which no client can bind to the server's URL.
    pub fn did(mut self, did: Did) -> Self {
        self.did = Some(did);
        self
    }

    /// The form of the DID as long as no badge has told it: for a registry that names servers as capiscio-mcp does.
    pub const fn did_form(mut self, form: ServerDidForm) -> Self {
        self.did_form = form;
        self
    }

    /// The key id written into proofs; see [`ServerIdentityBuilder::key_id`](crate::identity::server::ServerIdentityBuilder::key_id).
    pub fn key_id(mut self, kid: impl Into<String>) -> Self {
        self.key_id = Some(kid.into());
        self
    }

    /// The server's key, in place of the one in the directory. It is not stored.
    pub fn key(mut self, key: Arc<SigningKey>) -> Self {
        self.key = Some(key);
        self
    }

    /// Where the key and the id are kept; [`KeyDirectory::of_server`] by default.
    pub fn key_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(KeyDirectory::new(path));
        self
    }

    /// Adds an origin that clients reach this server by, such as `https://files.example.com`.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// The clock that judges the badge's expiry; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets everything up. Takes as long as the registry's answers and the client's retries; small files are read and
    /// written on the way.
    ///
    /// # Errors
    /// [`RegistrationError`]; not for a registry that does not answer, except where there is no id yet.
    pub async fn start(mut self) -> Result<ConnectedServer, RegistrationError> {
        let directory = match (&self.directory, &self.server) {
            (Some(directory), _) => Ok(directory.clone()),
            (None, ServerRef::Id(id)) => KeyDirectory::of_server(Some(id)),
            (None, ServerRef::Auto) => KeyDirectory::of_server(None),
        };
        let (key, key_source) = match self.key.take() {
            Some(key) => {
                // The id that stands there says which server gets the key.
                if let Ok(directory) = &directory {
                    directory.refuse_strangers()?;
                }
                (key, KeySource::Given)
            }
            None => match &directory {
                Ok(directory) => directory.load_or_generate().map(|(key, source)| (Arc::new(key), source))?,
                Err(_) => return Err(directory.err().map_or(KeyGenerationError.into(), RegistrationError::Keys)),
            },
        };
        // With the key from elsewhere and the id from code a server can do without a directory.
        let directory = match (directory, &self.server) {
            (Err(error), ServerRef::Auto) => return Err(error.into()),
            (directory, _) => directory.ok(),
        };

        let registered_did = self.did.clone().unwrap_or_else(|| key.did());
        let standing = self.stand(directory.as_ref(), &registered_did, &key).await?;
        let did = self.settle_did(&standing, directory.as_ref(), &key)?;
        if let Some(directory) = &directory {
            remember(directory, &did, standing.org_id.as_deref());
        }

        let mut renewer =
            ServerBadgeRenewer::new(self.client.clone(), &standing.server_id, did.clone(), key.public_key());
        renewer = renewer.domain(self.badge_domain());
        if !standing.registered {
            renewer = renewer.register_first(registered_did);
        }
        let mut keeper = BadgeKeeper::builder(Arc::new(renewer)).subject(did.clone()).clock(Arc::clone(&self.clock));
        if let Some(badge) = &standing.badge {
            keeper = keeper.initial(&*badge.token);
        }
        let keeper = keeper.start()?;
        let mut identity = ServerIdentity::builder(did, key).badge(keeper.clone());
        if let Some(kid) = self.key_id {
            identity = identity.key_id(kid);
        }
        for origin in self.origins {
            identity = identity.origin(origin);
        }
        let identity = identity.build()?;
        let Standing { server_id, org_id, .. } = standing;
        let org_id = org_id.or_else(|| directory?.org_id());
        Ok(ConnectedServer { identity, keeper, server_id, org_id, key_source })
    }

    /// Registers and asks for the first badge.
    async fn stand(
        &self,
        directory: Option<&KeyDirectory>,
        did: &Did,
        key: &SigningKey,
    ) -> Result<Standing, RegistrationError> {
        let mut standing = match self.known_id(directory) {
            Some(server_id) => {
                let public = key.public_key();
                match register_or_conflict(&self.client, &server_id, did, &public).await {
                    Ok(org_id) => Standing { server_id, org_id, registered: true, badge: None },
                    Err(error) if self.create && error.kind() == RegistryErrorKind::NotFound => {
                        self.create(directory, did, key).await?
                    }
                    Err(error) if is_outage(&error) => {
                        outage(&error);
                        return Ok(Standing { server_id, org_id: None, registered: false, badge: None });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            None => self.create(directory, did, key).await?,
        };
        match self.client.server_badge(&standing.server_id, Some(&self.badge_domain())).await {
            Ok(badge) => standing.badge = Some(badge),
            Err(error) if is_outage(&error) => outage(&error),
            Err(error) => return Err(error.into()),
        }
        Ok(standing)
    }

    /// The id at the registry: that of a server that was created here before, else the one that was given.
    fn known_id(&self, directory: Option<&KeyDirectory>) -> Option<String> {
        let given = match &self.server {
            ServerRef::Id(id) => Some(id.clone()),
            ServerRef::Auto => None,
        };
        directory.and_then(KeyDirectory::resolved_server_id).or(given)
    }

    /// Creates the server, once for all processes that share the directory.
    async fn create(
        &self,
        directory: Option<&KeyDirectory>,
        did: &Did,
        key: &SigningKey,
    ) -> Result<Standing, RegistrationError> {
        let directory = directory.ok_or_else(|| KeyDirectoryError::new(KeyDirectoryErrorKind::Path, "a new server"))?;
        let _lock = directory.lock().await?;
        let made = |RegisteredServer { id, org_id }| Standing { server_id: id, org_id, registered: true, badge: None };
        if let Some(id) = directory.resolved_server_id() {
            // Another process was first. If the registry does not know that one either, this is not ours to mend.
            let org_id = register_or_conflict(&self.client, &id, did, &key.public_key()).await?;
            return Ok(made(RegisteredServer { id, org_id }));
        }
        let name = self.name.clone().unwrap_or_else(|| {
            let own = key.did();
            format!("MCP Server {}", own.as_str().get(own.as_str().len().saturating_sub(8)..).unwrap_or_default())
        });
        let server = self.client.create_server(&name, did, &key.public_key()).await?;
        directory.set_resolved_server_id(&server.id)?;
        Ok(made(server))
    }

    fn badge_domain(&self) -> String {
        let of_registry = || {
            let origin = self.client.origin().as_str();
            origin.split_once("://").map_or(origin, |(_, authority)| authority).to_owned()
        };
        self.domain.clone().unwrap_or_else(of_registry)
    }

    /// The DID that clients are told: the one that the badge names, if it is one that this server can have.
    fn settle_did(
        &self,
        standing: &Standing,
        directory: Option<&KeyDirectory>,
        key: &SigningKey,
    ) -> Result<Did, RegistrationError> {
        let other = match self.did_form {
            ServerDidForm::Servers => ServerDidForm::Agents,
            ServerDidForm::Agents => ServerDidForm::Servers,
        };
        let at_registry = |form| server_did(self.client.origin(), &standing.server_id, form).ok();
        let possible: Vec<Did> = match &self.did {
            Some(did) => vec![did.clone()],
            None => [at_registry(self.did_form), at_registry(other), Some(key.did())].into_iter().flatten().collect(),
        };
        if let Some(badge) = &standing.badge {
            let named = badge.subject.as_deref();
            let did = possible.into_iter().find(|did| named.is_some_and(|named| did.is_named_by(named)));
            let did = did.ok_or(RegistryError::new(RegistryErrorKind::ForeignBadge))?;
            badge.check_is_about(&did, &key.public_key())?;
            return Ok(did);
        }
        // What it was called last time. Not a did:key: capiscio-mcp writes that down before it knows better.
        let last = directory.and_then(KeyDirectory::did).filter(|did| did.web().is_some() && possible.contains(did));
        Ok(last.or_else(|| possible.into_iter().next()).unwrap_or_else(|| key.did()))
    }
}

/// Whether the registry may answer otherwise without anybody's doing.
pub(super) const fn is_outage(error: &RegistryError) -> bool {
    let no_answer = matches!(
        error.kind(),
        RegistryErrorKind::RateLimited | RegistryErrorKind::Unavailable | RegistryErrorKind::Unreachable(_)
    );
    no_answer && !error.is_permanent()
}

pub(super) fn outage(error: &RegistryError) {
    tracing::warn!(reason = %error, "the identity stands without a badge for now");
}

/// Notes for the next start. It does without them, so a directory that cannot be written is no failure.
fn remember(directory: &KeyDirectory, did: &Did, org_id: Option<&str>) {
    let noted = directory.set_did(did).and_then(|()| org_id.map_or(Ok(()), |id| directory.set_org_id(id)));
    if noted.is_err() {
        tracing::warn!("the key directory cannot be written");
    }
}
