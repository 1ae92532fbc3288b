//! Badges from a registry, one after the other.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::keeper::{BadgeRenewer, RenewError};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::{BadgeOptions, IssuedBadge, RegistryClient, RegistryError};

use super::badge_at_hand;

/// What is asked for each time.
#[derive(Debug)]
pub(super) enum Order {
    /// A badge of IAL-0 for an agent, by API key.
    Agent { did: Did, options: BadgeOptions },
    /// A badge for a server, by API key.
    Server { id: String, domain: Option<String> },
    /// A badge of IAL-1 for an agent, by proof of its key; `at_hand` is the file with the last one.
    Proof { did: Did, key: Arc<SigningKey>, kid: String, options: BadgeOptions, at_hand: PathBuf },
}

#[derive(Debug)]
pub(super) struct RegistryRenewer {
    client: RegistryClient,
    order: Order,
}

impl RegistryRenewer {
    pub(super) const fn new(client: RegistryClient, order: Order) -> Self {
        Self { client, order }
    }

    async fn ask(&self) -> Result<IssuedBadge, RegistryError> {
        match &self.order {
            Order::Agent { did, options } => self.client.agent_badge(did, options).await,
            Order::Server { id, domain } => self.client.server_badge(id, domain.as_deref()).await,
            Order::Proof { did, key, kid, options, at_hand } => {
                let speaker = if self.client.has_key() { None } else { badge_at_hand(at_hand) };
                let now = || SystemClock.now_unix();
                self.client.agent_badge_by_proof(did, key, kid, options, speaker.as_deref(), now).await
            }
        }
    }
}

impl BadgeRenewer for RegistryRenewer {
    fn renew(&self) -> Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + '_>> {
        Box::pin(async {
            let badge = self.ask().await.map_err(|error| {
                let mut renewal = RenewError::new(error.kind().as_str());
                if error.is_permanent() {
                    renewal = renewal.permanent();
                }
                match error.retry_after() {
                    Some(pause) => renewal.with_retry_after(pause),
                    None => renewal,
                }
            })?;
            Ok(badge.token.to_string())
        })
    }
}
