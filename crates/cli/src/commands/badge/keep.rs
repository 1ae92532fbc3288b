//! `badge keep`: a badge in a file that is always fresh, for programs that cannot renew one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::keeper::{BadgeKeeper, BadgeRenewer, RenewError, SelfSignedRenewer};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::{AgentBadgeRenewer, BadgeOptions, ServerBadgeRenewer, ServerDidForm, server_did};
use serde_json::json;

use super::issue::{Scope, summary};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, note, print_json_line, time, with};
use crate::registry::{self, ApiKeyArgs};

/// How often the keeper is asked how it is doing, for the notes on standard error.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// Keep a live badge in a file (mode 0600), replaced whole and before it expires, until the program is ended.
///
/// Without an API key the badge that is in the file asks for the next one by proof; for that it has to be made out to the
/// registry too, by another --audience.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard badge keep --out agent.badge --key agent.pem --registry https://registry.example.com \\\n    \
    --did did:web:registry.example.com:agents:a1 --api-key-file api.key --audience https://files.example.com\n  \
    rmcp-guard badge keep --out server.badge --key server.pem --registry https://registry.example.com \\\n    \
    --server-id s1 --api-key-file api.key\n  \
    rmcp-guard badge keep --out agent.badge --key agent.pem --method self-signed --once"
)]
pub(crate) struct Keep {
    /// The file that holds the live badge.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The private key that the badges are for (PKCS#8 PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// How a badge is obtained. A server's are always by API key.
    #[arg(long, value_enum, default_value_t = Method::Proof)]
    method: Method,
    /// The registry that issues the badges.
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// The subject's DID; the did:key of the key unless given, for a server the one that the registry gives it.
    #[arg(long, value_name = "DID")]
    did: Option<Did>,
    /// The id of a server at the registry, for a server's badge.
    #[arg(long, value_name = "ID", conflicts_with_all = ["kid", "audience", "method"])]
    server_id: Option<String>,
    /// The name of the key in the DID document; `<did>#key-1` unless given, of a did:key the one it has.
    #[arg(long, value_name = "KID")]
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

/// Where badges come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// From the registry, by proof that the agent holds its key (RFC-003, IAL-1).
    Proof,
    /// From the registry, by the account's API key (IAL-0).
    ApiKey,
    /// From the key itself, at level 0.
    SelfSigned,
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

    fn start(&self, (renewer, subject): (Arc<dyn BadgeRenewer>, Did)) -> Result<BadgeKeeper, Failure> {
        BadgeKeeper::builder(renewer).subject(subject).start().map_err(|error| self.failure(&error))
    }

    /// Where badges come from, and whose they must be.
    fn renewer(&self) -> Result<(Arc<dyn BadgeRenewer>, Did), Failure> {
        let key = Arc::new(files::private_key(&self.key)?);
        let registry = match (self.method, &self.registry) {
            (Method::SelfSigned, None) => {
                let subject = key.did();
                let renewer = SelfSignedRenewer::new(key).lifetime(self.scope.lifetime());
                let renewer = self.scope.audience.iter().fold(renewer, SelfSignedRenewer::audience);
                return Ok((Arc::new(renewer), subject));
            }
            (Method::SelfSigned, Some(_)) => {
                return Err(Failure::new("a badge of the key itself needs no --registry").with_exit(Exit::Usage));
            }
            // Never a badge of another kind than was asked for.
            (Method::Proof | Method::ApiKey, None) => {
                let advice = "name the --registry, or say --method self-signed for a badge of level 0";
                return Err(Failure::new(advice).with_exit(Exit::Usage));
            }
            (Method::Proof | Method::ApiKey, Some(registry)) => registry,
        };
        match &self.server_id {
            Some(id) => self.server_renewer(registry, id, &key),
            None => self.agent_renewer(registry, key),
        }
    }

    fn server_renewer(&self, url: &str, id: &str, key: &SigningKey) -> Result<(Arc<dyn BadgeRenewer>, Did), Failure> {
        let client = self.api_key.client_with_key(url, &self.network)?;
        let did = match &self.did {
            Some(did) => did.clone(),
            None => {
                server_did(client.origin(), id, ServerDidForm::Servers).map_err(|error| registry::failure(&error))?
            }
        };
        let mut renewer = ServerBadgeRenewer::new(client, id, did.clone(), key.public_key());
        if let Some(domain) = &self.domain {
            renewer = renewer.domain(domain);
        }
        Ok((Arc::new(renewer), did))
    }

    fn agent_renewer(&self, url: &str, key: Arc<SigningKey>) -> Result<(Arc<dyn BadgeRenewer>, Did), Failure> {
        let did = self.did.clone().unwrap_or_else(|| key.did());
        let mut options = BadgeOptions::new().lifetime(self.scope.lifetime());
        options.domain.clone_from(&self.domain);
        options.audience.clone_from(&self.scope.audience);
        if self.method == Method::ApiKey {
            let client = self.api_key.client_with_key(url, &self.network)?;
            return Ok((Arc::new(AgentBadgeRenewer::by_account(client, did.clone(), key, options)), did));
        }
        let client = self.api_key.client(url, &self.network)?;
        let kid = self.kid.clone().or_else(|| did.key_id()).unwrap_or_else(|| format!("{did}#key-1"));
        let has_key = client.has_key();
        let mut renewer = AgentBadgeRenewer::by_proof(client, did.clone(), key, kid, options);
        // The last badge speaks where there is no API key.
        if !has_key && self.out.exists() {
            renewer = renewer.initial(files::read_text(&self.out)?.trim());
        }
        Ok((Arc::new(renewer), did))
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
        let json = with(summary(token), json!({ "file": self.out.to_string_lossy() }));
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
        let exit = match (self.method, error.is_permanent()) {
            (Method::SelfSigned, true) => Exit::Usage,
            (Method::SelfSigned, false) => Exit::Failed,
            (_, true) => Exit::Refused,
            (_, false) => Exit::Network,
        };
        Failure::new(error.to_string()).with_exit(exit)
    }
}

/// Waits for the signal that ends the program.
async fn ended() -> Result<(), Failure> {
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
