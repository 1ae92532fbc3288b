//! `badge keep`: a badge in a file that is always fresh, for programs that cannot renew one.

mod renewer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::keeper::{BadgeKeeper, BadgeRenewer, RenewError, SelfSignedRenewer};
use rmcp_guard::identity::registry::BadgeOptions;

use super::issue::{Scope, summary};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, note, print_json_line, time};
use crate::registry::ApiKeyArgs;
use renewer::{Order, RegistryRenewer};

/// How often the keeper is asked how it is doing, for the notes on standard error.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// Keep a live badge in a file (mode 0600), replaced whole and before it expires, until the program is ended.
///
/// The badge comes from a registry by API key, from a registry by proof of the key (RFC-003, --key), or from the key
/// itself (--self-signed).
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard badge keep --out agent.badge --registry https://registry.example.com \\\n    \
    --did did:web:registry.example.com:agents:a1 --api-key-file api.key --audience https://files.example.com\n  \
    rmcp-guard badge keep --out agent.badge --registry https://registry.example.com \\\n    \
    --did did:web:registry.example.com:agents:a1 --key agent.pem --api-key-file api.key\n  \
    rmcp-guard badge keep --out server.badge --registry https://registry.example.com --server-id s1\n  \
    rmcp-guard badge keep --out agent.badge --self-signed --key agent.pem --once"
)]
pub(crate) struct Keep {
    /// The file that holds the live badge.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The registry that issues the badges.
    #[arg(long, value_name = "URL", required_unless_present = "self_signed")]
    registry: Option<String>,
    /// Sign badges of level 0 with the key itself.
    #[arg(long, conflicts_with_all = ["registry", "did", "server_id", "api_key_file"], requires = "key")]
    self_signed: bool,
    /// The agent's DID.
    #[arg(long, value_name = "DID", required_unless_present_any = ["self_signed", "server_id"])]
    did: Option<Did>,
    /// The server's id at the registry, for the badge of a server.
    #[arg(long, value_name = "ID", conflicts_with_all = ["did", "key", "audience", "lifetime"])]
    server_id: Option<String>,
    /// The agent's private key (PKCS#8 PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The name of the key in the agent's DID document; of a did:key, the one it has.
    #[arg(long, value_name = "KID", requires = "key")]
    kid: Option<String>,
    /// The domain that the badge names.
    #[arg(long)]
    domain: Option<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    api_key: ApiKeyArgs,
    /// Get one badge, write it, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Keep {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let renewer = self.renewer()?;
        if self.once {
            return network::wait("asking for a badge", async {
                let keeper = self.start(renewer)?;
                let token = keeper.ready().await.map_err(|error| self.failure(&error))?;
                keeper.stop().await;
                self.deliver(output, &token)
            });
        }
        network::block_on(async {
            let keeper = self.start(renewer)?;
            self.keep(output, &keeper).await
        })
    }

    fn start(&self, renewer: Arc<dyn BadgeRenewer>) -> Result<BadgeKeeper, Failure> {
        let mut builder = BadgeKeeper::builder(renewer);
        if let Some(did) = &self.did {
            builder = builder.subject(did.clone());
        }
        builder.start().map_err(|error| self.failure(&error))
    }

    fn renewer(&self) -> Result<Arc<dyn BadgeRenewer>, Failure> {
        let key = self.key.as_deref().map(files::private_key).transpose()?.map(Arc::new);
        let Some(registry) = &self.registry else {
            let key = key.ok_or_else(|| Failure::new("a badge of its own takes --key").with_exit(Exit::Usage))?;
            let renewer = SelfSignedRenewer::new(key).lifetime(self.scope.lifetime());
            let renewer = self.scope.audience.iter().fold(renewer, SelfSignedRenewer::audience);
            return Ok(Arc::new(renewer));
        };
        let mut options = BadgeOptions::new().lifetime(self.scope.lifetime());
        options.domain.clone_from(&self.domain);
        options.audience.clone_from(&self.scope.audience);
        let order = match (&self.server_id, &self.did, key) {
            (Some(id), _, _) => Order::Server { id: id.clone(), domain: self.domain.clone() },
            (None, Some(did), None) => Order::Agent { did: did.clone(), options },
            (None, Some(did), Some(key)) => {
                let kid = self.kid.clone().or_else(|| did.key_id()).ok_or_else(|| {
                    let advice = "name the key in the DID document with --kid";
                    Failure::new(advice).with_exit(Exit::Usage)
                })?;
                Order::Proof { did: did.clone(), key, kid, options, at_hand: self.out.clone() }
            }
            (None, None, _) => return Err(Failure::new("name --did or --server-id").with_exit(Exit::Usage)),
        };
        let client = match order {
            // The badge at hand speaks where there is no API key.
            Order::Proof { .. } => self.api_key.client(registry, &self.network)?,
            Order::Server { .. } | Order::Agent { .. } => self.api_key.client_with_key(registry, &self.network)?,
        };
        Ok(Arc::new(RegistryRenewer::new(client, order)))
    }

    /// Writes each new badge, until a signal comes or the file cannot be written.
    async fn keep(&self, output: Output, keeper: &BadgeKeeper) -> Result<(), Failure> {
        let mut changes = keeper.changes();
        let mut ended = std::pin::pin!(ended());
        let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
        let mut noted = 0;
        loop {
            tokio::select! {
                token = changes.next() => {
                    let Some(token) = token else { return Err(Failure::new("the keeper has stopped")) };
                    noted = 0;
                    self.deliver(output, &token)?;
                }
                _ = ticks.tick() => {
                    let health = keeper.health();
                    if health.failures > noted && let Some(error) = &health.last_error {
                        // The first answer is the one that somebody waits for; later ones may have passed tomorrow.
                        if noted == 0 && error.is_permanent() && !self.out.exists() {
                            return Err(self.failure(error));
                        }
                        let next = health.next_renewal.map_or_else(String::new, |at| format!("; next attempt {}", time(at)));
                        note(format_args!("not renewed: {error}{next}"));
                    }
                    noted = health.failures;
                }
                signal = &mut ended => {
                    signal?;
                    keeper.stop().await;
                    note("ended; the badge stays until it expires");
                    return Ok(());
                }
            }
        }
    }

    fn deliver(&self, output: Output, token: &str) -> Result<(), Failure> {
        files::replace_secret(&self.out, &format!("{token}\n"))?;
        let mut json = summary(token);
        json["file"] = self.out.to_string_lossy().into();
        if output.is_json() {
            return print_json_line(&json);
        }
        let expires = rmcp_guard::identity::badge::UnverifiedBadge::parse(token).ok();
        let expires = expires.and_then(|badge| badge.claimed_expires_at()).map_or_else(|| "?".to_owned(), time);
        let now = time(SystemClock.now_unix());
        note(format_args!("{now} {}: a badge that expires {expires}", self.out.display()));
        Ok(())
    }

    fn failure(&self, error: &RenewError) -> Failure {
        let exit = match (&self.registry, error.is_permanent()) {
            (None, true) => Exit::Usage,
            (None, false) => Exit::Failed,
            (Some(_), true) => Exit::Refused,
            (Some(_), false) => Exit::Network,
        };
        Failure::new(error.to_string()).with_exit(exit)
    }
}

/// Whether the badge at hand can speak for its subject where there is no API key.
fn badge_at_hand(file: &Path) -> Option<String> {
    files::read_text(file).ok().map(|text| text.trim().to_owned())
}

/// Waits for the signal that ends the program.
fn ended() -> impl Future<Output = Result<(), Failure>> {
    async {
        #[cfg(unix)]
        {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                signal = tokio::signal::ctrl_c() => Ok(signal?),
                _ = terminate.recv() => Ok(()),
            }
        }
        #[cfg(not(unix))]
        Ok(tokio::signal::ctrl_c().await?)
    }
}
