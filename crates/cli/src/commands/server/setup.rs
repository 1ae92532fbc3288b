//! `server setup`: everything a server needs to have an identity, in one step.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::registry::{KeyDirectory, KeySource};
use rmcp_guard::identity::server::ServerIdentity;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::network::{self, NetworkArgs};
use crate::output::{Output, Text, time};
use crate::registry::{self, ApiKeyArgs};

/// Make a server's key or take the one that is there, register it at a registry, and see that a badge comes.
///
/// The directory (mode 0700) then holds what the server needs to start: its key, its DID, its id.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard server setup --registry https://registry.example.com --server-id s1 --dir identity \\\n    \
    --api-key-file api.key\n  \
    rmcp-guard server setup --registry https://registry.example.com --server-id auto --name files --dir identity \\\n    \
    --did did:web:files.example.com --domain files.example.com --api-key-file api.key"
)]
pub(crate) struct Setup {
    /// The registry.
    #[arg(long, value_name = "URL")]
    registry: String,
    /// The server's id there; `auto` creates a server, once for the directory.
    #[arg(long, value_name = "ID")]
    server_id: String,
    /// The name of a server that is created.
    #[arg(long)]
    name: Option<String>,
    /// The directory for the key; `~/.capiscio/mcp-servers/<ID>` unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The server's own DID, for a registry that vouches for it.
    #[arg(long, value_name = "DID")]
    did: Option<Did>,
    /// The domain that the badge names.
    #[arg(long)]
    domain: Option<String>,
    #[command(flatten)]
    api_key: ApiKeyArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Setup {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let client = self.api_key.client_with_key(&self.registry, &self.network)?;
        let mut connector = ServerIdentity::connect(client, self.server_id.as_str());
        if let Some(name) = &self.name {
            connector = connector.name(name);
        }
        if let Some(did) = &self.did {
            connector = connector.did(did.clone());
        }
        if let Some(domain) = &self.domain {
            connector = connector.domain(domain);
        }
        if let Some(directory) = &self.dir {
            connector = connector.key_directory(directory);
        }
        let (server, expires_at) = network::wait("setting up", async {
            let server = connector.start().await.map_err(registry::setup_failure)?;
            server.keeper.ready().await.map_err(|error| {
                let advice = "the key is registered, and no badge came; the server will go on trying";
                Failure::from(error).and(advice).with_exit(Exit::Network)
            })?;
            let expires_at = server.keeper.health().expires_at;
            server.keeper.stop().await;
            Ok((server, expires_at))
        })?;
        let directory = self.dir.clone().or_else(|| {
            let id = (!self.server_id.eq_ignore_ascii_case("auto")).then_some(self.server_id.as_str());
            KeyDirectory::of_server(id).ok().map(|directory| directory.path().to_owned())
        });
        let directory = directory.map(|directory| directory.to_string_lossy().into_owned());
        let key = match server.key_source {
            KeySource::Generated => "generated",
            KeySource::File | KeySource::Given => "as it was",
        };
        let json = json!({
            "server_id": server.server_id,
            "did": server.identity.did().as_str(),
            "key_did": server.identity.key_did().as_str(),
            "org_id": server.org_id,
            "directory": directory,
            "generated": server.key_source == KeySource::Generated,
            "badge_expires_at": expires_at.map(UnixSeconds::as_i64),
        });
        let text = Text::default()
            .field("server id", &server.server_id)
            .field("did", server.identity.did())
            .maybe("org id", server.org_id.as_deref())
            .maybe("directory", directory)
            .field("key", key);
        output.result(&json, &text.maybe("badge until", expires_at.map(time)))
    }
}
