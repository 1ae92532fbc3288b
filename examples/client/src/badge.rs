//! The caller's badge: handed over, or kept alive by a registry.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::registry::{API_KEY_VARIABLE, AgentIdentity, ApiKey, BadgeOptions, RegistryClient};
use rmcp_guard::layer::client::CallerBadge;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The variable that holds the caller's badge. A badge is never an argument: every user of a machine sees arguments.
const BADGE_VARIABLE: &str = "VERIFIED_CLIENT_BADGE";
/// Largest badge or API key that is read: twice what any guard accepts.
const MAX_SECRET_BYTES: u64 = 32 * 1024;

/// Where the caller's badge comes from; without any of these the caller is anonymous.
#[derive(Debug, Args)]
pub(crate) struct BadgeArgs {
    /// The caller's badge; `-` reads standard input. Else the badge is taken from `VERIFIED_CLIENT_BADGE`, if that is set.
    #[arg(long = "badge-file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Get the caller's badge from the registry at this URL, and renew it for as long as the program runs. The API key comes
    /// from `CAPISCIO_API_KEY` or `--api-key-file`.
    #[arg(long = "badge-from", value_name = "URL", conflicts_with = "file", requires = "key")]
    registry: Option<String>,
    /// The directory with the key that the registry knows; it is made where none stands.
    #[arg(long = "agent-dir", value_name = "DIR", id = "key", requires = "registry")]
    directory: Option<PathBuf>,
    /// The agent's id at the registry, which is told the key's DID then.
    #[arg(long, value_name = "ID", requires = "registry")]
    agent_id: Option<String>,
    /// The agent's DID; the did:key of its key unless given.
    #[arg(long, value_name = "DID", requires = "registry")]
    agent_did: Option<Did>,
    /// Whom the badge is for; the origin of an HTTP server unless given. May be repeated.
    #[arg(long = "badge-audience", value_name = "AUDIENCE", requires = "registry")]
    audiences: Vec<String>,
    /// A file with the registry's API key; `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "registry")]
    api_key_file: Option<PathBuf>,
}

impl BadgeArgs {
    /// The badge, or what hands out the live one. `origin` is that of the server, if it has one.
    pub(crate) async fn load(
        &self,
        origin: Option<&str>,
        fetcher: impl FnOnce() -> Result<Fetcher, Failure>,
    ) -> Result<Option<CallerBadge>, Failure> {
        let Some(url) = &self.registry else {
            let badge = secret(self.file.as_deref(), "--badge-file", BADGE_VARIABLE)?;
            return Ok(badge.map(|badge| badge.trim().into()));
        };
        let key = secret(self.api_key_file.as_deref(), "--api-key-file", API_KEY_VARIABLE)?;
        let key = key.map(|key| ApiKey::new(key.trim()));
        let registry = RegistryClient::new(url, key, fetcher()?).map_err(Failure::usage("--badge-from"))?;

        let none = self.audiences.is_empty();
        let audiences = self.audiences.iter().map(String::as_str).chain(origin.filter(|_| none));
        let options = audiences.fold(BadgeOptions::new(), BadgeOptions::audience);
        let mut agent = AgentIdentity::builder(registry).badge_options(options);
        if let Some(directory) = &self.directory {
            agent = agent.key_directory(directory);
        }
        if let Some(id) = &self.agent_id {
            agent = agent.agent_id(id);
        }
        if let Some(did) = &self.agent_did {
            agent = agent.did(did.clone());
        }
        let agent = agent.start().await.map_err(|error| Failure::Other(format!("{error}: {}", error.advice())))?;
        agent.keeper.ready().await.map_err(|error| Failure::Other(format!("no badge: {error}")))?;
        Ok(Some(agent.keeper.into()))
    }
}

/// A secret from a file, standard input or the environment.
fn secret(file: Option<&Path>, flag: &str, variable: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(file) = file else {
        let Some(secret) = std::env::var_os(variable).filter(|secret| !secret.is_empty()) else { return Ok(None) };
        let secret = secret.into_string().map_err(|_| Failure::Usage(format!("{variable} is not text")))?;
        return Ok(Some(Zeroizing::new(secret)));
    };
    let mut secret = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MAX_SECRET_BYTES).read_to_string(&mut secret)
    } else {
        File::open(file).and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut secret))
    };
    read.map_err(Failure::usage(flag))?;
    Ok(Some(secret))
}
