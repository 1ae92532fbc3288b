//! `server register`: a server's DID and key at a registry.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::identity::did::Did;
use serde_json::json;

use crate::exit::Failure;
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, Text};
use crate::registry::{self, ApiKeyArgs};

/// Tell a registry the DID and the public key of a server, which replaces what it had.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard server register --registry https://registry.example.com --server-id s1 \\\n    \
    --key server.pem --api-key-file api.key\n  \
    rmcp-guard server register --registry https://registry.example.com --create files \\\n    \
    --did did:web:files.example.com --key server.pub --api-key-file api.key"
)]
pub(crate) struct Register {
    /// The registry.
    #[arg(long, value_name = "URL")]
    registry: String,
    /// The server's id there.
    #[arg(long, value_name = "ID", required_unless_present = "create", conflicts_with = "create")]
    server_id: Option<String>,
    /// Create a server with this name; the registry chooses its id.
    #[arg(long, value_name = "NAME")]
    create: Option<String>,
    /// The server's DID; the did:key of its key unless given.
    #[arg(long, value_name = "DID")]
    did: Option<Did>,
    /// The server's key, private or public (PEM); only the public key is sent.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    api_key: ApiKeyArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Register {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let key = files::any_key(&self.key)?;
        let client = self.api_key.client_with_key(&self.registry, &self.network)?;
        let did = self.did.clone().unwrap_or_else(|| Did::from_public_key(&key));
        let server = network::wait("registering", async {
            let server = match (&self.create, &self.server_id) {
                (Some(name), _) => client.create_server(name, &did, &key).await,
                (None, id) => client.register_server(id.as_deref().unwrap_or_default(), &did, &key).await,
            };
            server.map_err(|error| registry::failure(&error))
        })?;
        let json = json!({
            "server_id": server.id,
            "did": did.as_str(),
            "org_id": server.org_id,
            "thumbprint": key.thumbprint(),
        });
        let text = Text::default().field("server id", &server.id).field("did", &did);
        output.result(&json, &text.maybe("org id", server.org_id.as_deref()).field("key", key.thumbprint()))
    }
}
