//! How this program reaches issuers and its registry, and what its log says about them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::enforce::{GuardConfig, GuardConfigBuilder};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::keeper::{BadgeKeeper, KeeperHealth};

/// How often the sources are looked at; looking asks nobody.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// For issuers and registries that are reached in another way than by https and the platform's root certificates.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Root certificates (PEM) that count beside the platform's, for issuers and the registry.
    #[arg(long, value_name = "FILE")]
    root_cert: Option<PathBuf>,
    /// Development only: issuers and a registry on this machine are asked, also by plain http, and their badges count.
    #[arg(long)]
    dangerous_loopback: bool,
}

impl NetworkArgs {
    /// Whether issuers on this machine count, for which other machines must not reach the server (S35).
    pub(crate) const fn is_for_development(&self) -> bool {
        self.dangerous_loopback
    }

    /// What the arguments describe; `None` when they are silent, so that the configuration file's `[network]` counts.
    pub(crate) fn fetcher(&self) -> Result<Option<Fetcher>> {
        if self.root_cert.is_none() && !self.dangerous_loopback {
            return Ok(None);
        }
        let mut fetcher = Fetcher::builder();
        if let Some(file) = &self.root_cert {
            let pem = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            fetcher = fetcher.add_root_certificate_pem(&pem);
        }
        if self.dangerous_loopback {
            fetcher = fetcher.dangerous_allow_loopback();
        }
        fetcher.build().map(Some).context("--root-cert")
    }

    pub(crate) fn apply(&self, mut builder: GuardConfigBuilder, fetcher: Option<Fetcher>) -> GuardConfigBuilder {
        if let Some(fetcher) = fetcher {
            builder = builder.fetcher(fetcher);
        }
        if self.dangerous_loopback {
            tracing::warn!("development: badges of issuers on this machine count");
            builder = builder.dangerous_dev_profile();
        }
        builder
    }
}

/// Asks the sources before the first call has to, then says in the log when one fails or is back. Does not end.
///
/// The server answers meanwhile: a call whose badge needs a source that has no answer is denied, every other is served.
pub(crate) async fn watch_sources(config: GuardConfig) {
    if let Err(missing) = config.warm_up().await {
        tracing::warn!("{missing}");
    }
    let mut told = None;
    loop {
        let health = config.health();
        let failing = health.sources.iter().any(|source| source.health.failing_since.is_some());
        let now = (health.is_good(), failing);
        if told.replace(now) != Some(now) && !health.sources.is_empty() {
            match now {
                (true, false) => tracing::info!(health = %health.to_json(), "issuers answer"),
                // while there is time to do something about it
                (true, true) => tracing::warn!(health = %health.to_json(), "an issuer fails; what it said counts on"),
                (false, _) => tracing::warn!(health = %health.to_json(), "an issuer does not answer"),
            }
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// Says in the log when the server's badge cannot be renewed, and when it was. Does not end.
pub(crate) async fn watch_keeper(keeper: BadgeKeeper) {
    let mut told = None;
    loop {
        let KeeperHealth { expires_at, last_error, .. } = keeper.health();
        let now = (expires_at, last_error);
        if told.as_ref() != Some(&now) {
            let expires_at = expires_at.map(UnixSeconds::as_i64);
            match &now.1 {
                None => tracing::info!(expires_at, "the server's badge"),
                Some(error) => tracing::warn!(expires_at, %error, "the server's badge is not renewed"),
            }
            told = Some(now);
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
