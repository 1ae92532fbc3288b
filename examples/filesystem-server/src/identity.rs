//! Who the server says it is: a key and a badge in files, or an account at a registry.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use filesystem_server::BadgeFile;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::RegistrationError;
use rmcp_guard::identity::server::{ServerIdentity, ServerIdentityBuilder};

use crate::files;
use crate::network::watch_keeper;

/// Work that goes on beside serving.
pub(crate) type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who the server says it is; without a key and a registry it says nothing.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// The server's private key (PKCS#8 PEM), readable by its owner only.
    #[arg(long = "identity-key", value_name = "FILE", group = "from")]
    key: Option<PathBuf>,
    /// Take the identity from a registry: `CAPISCIO_SERVER_ID` (a UUID or `auto`), `CAPISCIO_API_KEY`,
    /// `CAPISCIO_SERVER_URL`. The key is made on the first start, and the badge renews itself.
    #[arg(long = "identity-from-env", group = "from")]
    from_env: bool,
    /// Where the key is kept that the registry knows; `~/.capiscio/mcp-servers/<id>` unless given.
    #[arg(long = "identity-dir", value_name = "DIR", requires = "from_env")]
    directory: Option<PathBuf>,
    /// The server's DID; the did:key of its key, or the one that the registry gives it, unless given.
    #[arg(long = "identity-did", value_name = "DID", requires = "from")]
    did: Option<Did>,
    /// The server's badge; read again when the file changes.
    #[arg(long = "identity-badge", value_name = "FILE", requires = "key")]
    badge: Option<PathBuf>,
    /// An origin that clients reach this server by, such as `https://files.example.com`; may be repeated.
    #[arg(long = "identity-origin", value_name = "ORIGIN", requires = "from")]
    origins: Vec<String>,
}

impl IdentityArgs {
    /// The identity, if there is one, and the work that keeps its badge fresh.
    pub(crate) async fn load(
        self,
        listening: Option<SocketAddr>,
        fetcher: Option<&Fetcher>,
    ) -> Result<(Option<ServerIdentity>, Watch)> {
        let (identity, watch) = match (self.key.clone(), self.from_env) {
            (Some(key), _) => self.load_files(&key, listening)?,
            (None, true) => self.ask_registry(listening, fetcher).await?,
            (None, false) => return Ok((None, Box::pin(pending()))),
        };
        tracing::info!(did = identity.did().as_str(), "server identity");
        Ok((Some(identity), watch))
    }

    fn load_files(self, key: &Path, listening: Option<SocketAddr>) -> Result<(ServerIdentity, Watch)> {
        let key = files::read_private(key)
            .and_then(|pem| SigningKey::from_pkcs8_pem(&pem).with_context(|| format!("reading {}", key.display())))?;
        let did = self.did.unwrap_or_else(|| key.did());
        let mut builder = ServerIdentity::builder(did, Arc::new(key));
        for origin in self.origins.into_iter().chain(listening.and_then(own_origin)) {
            builder = builder.origin(origin);
        }
        let (builder, watch) = match self.badge {
            Some(file) => with_badge(builder, &file)?,
            None => (builder, Box::pin(pending()) as Watch),
        };
        Ok((builder.build().context("the server's identity")?, watch))
    }

    async fn ask_registry(
        self,
        listening: Option<SocketAddr>,
        fetcher: Option<&Fetcher>,
    ) -> Result<(ServerIdentity, Watch)> {
        let fetcher = match fetcher {
            Some(fetcher) => fetcher.clone(),
            None => Fetcher::new()?,
        };
        let advised = |error: RegistrationError| {
            let advice = error.advice();
            anyhow::Error::new(error).context(format!("the server's identity ({advice})"))
        };
        let mut connector = ServerIdentity::from_env(fetcher).map_err(advised)?;
        if let Some(directory) = self.directory {
            connector = connector.key_directory(directory);
        }
        if let Some(did) = self.did {
            connector = connector.did(did);
        }
        for origin in self.origins.into_iter().chain(listening.and_then(own_origin)) {
            connector = connector.origin(origin);
        }
        let server = connector.start().await.map_err(advised)?;
        tracing::info!(server_id = server.server_id, key = ?server.key_source, "registered");
        Ok((server.identity, Box::pin(watch_keeper(server.keeper))))
    }
}

fn with_badge(builder: ServerIdentityBuilder, file: &Path) -> Result<(ServerIdentityBuilder, Watch)> {
    let (badge, watch) = BadgeFile::open(file).with_context(|| format!("reading {}", file.display()))?;
    Ok((builder.badge(badge), Box::pin(watch)))
}

/// The origin of a listener that only this machine reaches: no name or proxy stands between it and its clients.
fn own_origin(listening: SocketAddr) -> Option<String> {
    listening.ip().is_loopback().then(|| format!("http://{listening}"))
}
