//! Renewal of badges by a registry.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::identity::did::Did;
use crate::identity::keeper::{BadgeRenewer, RenewError};
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::registry::client::{BadgeOptions, RegistryClient};
use crate::identity::registry::error::{RegistryError, RegistryErrorKind};

type Renewal<'a> = Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + 'a>>;

fn failed(error: &RegistryError) -> RenewError {
    let kind = error.kind();
    let message = if let RegistryErrorKind::Unreachable(cause) = kind { cause.as_str() } else { kind.as_str() };
    let mut failure = RenewError::new(message);
    if let Some(after) = error.retry_after() {
        failure = failure.with_retry_after(after);
    }
    if error.is_permanent() { failure.permanent() } else { failure }
}

/// Renews a server's badge by the account's API key. A badge of another DID or another key is refused.
#[derive(Debug)]
pub struct ServerBadgeRenewer {
    client: RegistryClient,
    server_id: String,
    domain: Option<String>,
    did: Did,
    key: PublicKey,
    /// What is to be registered first; a start without the registry left it undone.
    unregistered: Option<Did>,
    registered: AtomicBool,
}

impl ServerBadgeRenewer {
    /// Renews the badge of the server `server_id`, which names `did` and `key`.
    #[must_use]
    pub fn new(client: RegistryClient, server_id: impl Into<String>, did: Did, key: PublicKey) -> Self {
        let server_id = server_id.into();
        Self { client, server_id, domain: None, did, key, unregistered: None, registered: AtomicBool::new(true) }
    }

    /// With the domain that the badge is to name.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Registers `did` and the key before the first badge.
    #[must_use]
    pub(super) fn register_first(mut self, did: Did) -> Self {
        self.unregistered = Some(did);
        self.registered = AtomicBool::new(false);
        self
    }

    async fn badge(&self) -> Result<String, RegistryError> {
        if let Some(did) = self.unregistered.as_ref().filter(|_| !self.registered.load(Ordering::Relaxed)) {
            register_or_conflict(&self.client, &self.server_id, did, &self.key).await?;
            self.registered.store(true, Ordering::Relaxed);
        }
        let badge = self.client.server_badge(&self.server_id, self.domain.as_deref()).await?;
        badge.check_is_about(&self.did, &self.key)?;
        Ok(badge.token.to_string())
    }
}

/// Registers a server. A registry may answer 409 when it has this very DID already; whose key it has, the badge tells.
pub(super) async fn register_or_conflict(
    client: &RegistryClient,
    server_id: &str,
    did: &Did,
    key: &PublicKey,
) -> Result<Option<String>, RegistryError> {
    match client.register_server(server_id, did, key).await {
        Ok(server) => Ok(server.org_id),
        Err(error) if error.kind() == RegistryErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

impl BadgeRenewer for ServerBadgeRenewer {
    fn renew(&self) -> Renewal<'_> {
        Box::pin(async { self.badge().await.map_err(|error| failed(&error)) })
    }
}

/// Renews an agent's badge: by the account's API key (IAL-0), or by proof that the agent holds its key (IAL-1).
pub struct AgentBadgeRenewer {
    client: RegistryClient,
    did: Did,
    key: Arc<SigningKey>,
    options: BadgeOptions,
    /// The id of the key, where possession is proved.
    proof: Option<String>,
    clock: Arc<dyn Clock>,
    /// The last badge: it asks for the next one where there is no API key.
    last: Mutex<Option<Arc<str>>>,
    /// The agent whose DID is to be set first; a start without the registry left it undone.
    unregistered: Mutex<Option<String>>,
}

impl fmt::Debug for AgentBadgeRenewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBadgeRenewer").field("did", &self.did).field("proof", &self.proof).finish_non_exhaustive()
    }
}

impl AgentBadgeRenewer {
    /// Badges of IAL-0 for `did`, whose key is `key`.
    #[must_use]
    pub fn by_account(client: RegistryClient, did: Did, key: Arc<SigningKey>, options: BadgeOptions) -> Self {
        Self {
            client,
            did,
            key,
            options,
            proof: None,
            clock: Arc::new(SystemClock),
            last: Mutex::new(None),
            unregistered: Mutex::new(None),
        }
    }

    /// Badges of IAL-1 for `did`: `key`, which its DID document lists as `kid`, signs a challenge for each (RFC-003).
    #[must_use]
    pub fn by_proof(
        client: RegistryClient,
        did: Did,
        key: Arc<SigningKey>,
        kid: impl Into<String>,
        options: BadgeOptions,
    ) -> Self {
        Self { proof: Some(kid.into()), ..Self::by_account(client, did, key, options) }
    }

    /// The clock that dates proofs; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A badge of the same subject, which asks for the first one where there is no API key.
    #[must_use]
    pub fn initial(self, badge: impl Into<Arc<str>>) -> Self {
        self.remember(badge.into());
        self
    }

    /// Sets the DID of the agent `id` before the first badge.
    #[must_use]
    pub(super) fn register_first(self, id: String) -> Self {
        Self { unregistered: Mutex::new(Some(id)), ..self }
    }

    fn remember(&self, badge: Arc<str>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(badge);
    }

    async fn badge(&self) -> Result<String, RegistryError> {
        let unregistered = self.unregistered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(id) = unregistered {
            set_agent_did_or_conflict(&self.client, &id, &self.did).await?;
            *self.unregistered.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let badge = match &self.proof {
            None => self.client.agent_badge(&self.did, &self.options).await?,
            Some(kid) => {
                let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let now = || self.clock.now_unix();
                self.client.agent_badge_by_proof(&self.did, &self.key, kid, &self.options, last.as_deref(), now).await?
            }
        };
        badge.check_is_about(&self.did, &self.key.public_key())?;
        self.remember(Arc::clone(&badge.token));
        Ok(badge.token.to_string())
    }
}

/// Sets an agent's DID. A registry may answer 409 when it has this very DID already; if it has another, it issues no
/// badge for this one.
pub(super) async fn set_agent_did_or_conflict(
    client: &RegistryClient,
    agent_id: &str,
    did: &Did,
) -> Result<(), RegistryError> {
    match client.set_agent_did(agent_id, did).await {
        Err(error) if error.kind() != RegistryErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}

impl BadgeRenewer for AgentBadgeRenewer {
    fn renew(&self) -> Renewal<'_> {
        Box::pin(async { self.badge().await.map_err(|error| failed(&error)) })
    }
}
