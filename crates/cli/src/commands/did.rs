//! `did`: identifiers, made from keys and names, taken apart, and resolved.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::PublicKey;
use rmcp_guard::identity::registry::{ServerDidForm, agent_did, server_did};
use rmcp_guard::identity::remote::{DidResolveError, DidWebDocuments};
use rmcp_guard::identity::server::HttpOrigin;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, Text, with};

/// Make, show and resolve DIDs.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "EXAMPLES:\n  rmcp-guard did key agent.pub\n  rmcp-guard did show did:web:files.example.com:servers:s1"
)]
pub(crate) struct DidCommand {
    /// Print the did:key of this private key (PKCS#8 PEM, not encrypted), as `did key` does.
    #[arg(long, value_name = "FILE", required = true)]
    key: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<DidSubcommand>,
}

#[derive(Debug, Subcommand)]
enum DidSubcommand {
    /// Print the did:key of a private or public key.
    #[command(after_help = "EXAMPLES:\n  rmcp-guard did key agent.pem\n  rmcp-guard did key agent.pub --json")]
    Key {
        /// The key (PKCS#8 or SPKI PEM, not encrypted).
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Make the did:web of a host, or of an agent or a server of a registry.
    #[command(after_help = "EXAMPLES:\n  rmcp-guard did web files.example.com\n  \
        rmcp-guard did web https://registry.example.com:8443 --server s1\n  rmcp-guard did web files.example.com mcp files")]
    Web(Web),
    /// Take a DID apart: its method, its document's URL, or its key.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard did show did:web:files.example.com:servers:s1")]
    Show {
        /// The DID.
        did: Did,
    },
    /// Fetch the document of a DID and print its keys.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard did resolve did:web:files.example.com")]
    Resolve {
        /// The DID.
        did: Did,
        #[command(flatten)]
        network: NetworkArgs,
    },
}

#[derive(Debug, Args)]
struct Web {
    /// The host, with a port where it is not 443, or the URL of a registry, whose path does not count.
    #[arg(value_name = "HOST")]
    host: String,
    /// The segments of a path below the host.
    #[arg(value_name = "SEGMENT", conflicts_with_all = ["agent", "server"])]
    segments: Vec<String>,
    /// The id of an agent that the registry hosts.
    #[arg(long, value_name = "ID", conflicts_with = "server")]
    agent: Option<String>,
    /// The id of a server that the registry hosts.
    #[arg(long, value_name = "ID")]
    server: Option<String>,
}

impl DidCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match (self.command, self.key) {
            (Some(DidSubcommand::Key { file }), _) => show_key(output, &files::any_key(&file)?),
            (Some(DidSubcommand::Web(arguments)), _) => {
                let did = arguments.did()?;
                output.line(&described(&did).0, did)
            }
            (Some(DidSubcommand::Show { did }), _) => {
                let (json, text) = described(&did);
                output.result(&json, &text)
            }
            (Some(DidSubcommand::Resolve { did, network }), _) => resolve(output, &did, &network),
            (None, Some(file)) => show_key(output, &files::private_key(&file)?.public_key()),
            // clap does not let this happen
            (None, None) => Err(Failure::new("say --key FILE, or one of the commands").with_exit(Exit::Usage)),
        }
    }
}

impl Web {
    fn did(&self) -> Result<Did, Failure> {
        let usage = |failure: Failure| failure.about(format_args!("`{}`", self.host)).with_exit(Exit::Usage);
        let (scheme, rest) = self.host.split_once("://").unwrap_or(("https", &self.host));
        let authority = rest.split('/').next().unwrap_or_default();
        let origin = HttpOrigin::parse(&format!("{scheme}://{authority}")).map_err(|error| usage(error.into()))?;
        let hosted = match (&self.agent, &self.server) {
            (Some(id), _) => Some(agent_did(&origin, id)),
            (None, Some(id)) => Some(server_did(&origin, id, ServerDidForm::Servers)),
            (None, None) => None,
        };
        if let Some(hosted) = hosted {
            return hosted.map_err(|error| usage(error.into()));
        }
        let (_, authority) = origin.as_str().split_once("://").unwrap_or_default();
        let mut text = format!("did:web:{}", authority.replace(':', "%3A"));
        for segment in &self.segments {
            // A colon would be another segment.
            if segment.contains(':') {
                return Err(usage(Failure::new("a segment holds a colon")));
            }
            text.push(':');
            text.push_str(segment);
        }
        Did::parse(&text).map_err(|error| usage(error.into()))
    }
}

fn show_key(output: Output, key: &PublicKey) -> Result<(), Failure> {
    let did = Did::from_public_key(key);
    let json = json!({ "did": did.as_str(), "key_id": did.key_id(), "thumbprint": key.thumbprint() });
    output.line(&json, did)
}

/// What a DID says by itself, as JSON and for people.
fn described(did: &Did) -> (Value, Text) {
    let mut json = json!({ "did": did.as_str() });
    let mut text = Text::default().field("did", did);
    if let Some(key) = did.public_key() {
        let members = json!({
            "method": "key",
            "key_id": did.key_id(),
            "public_key_jwk": key.to_jwk(),
            "thumbprint": key.thumbprint(),
        });
        json = with(json, members);
        text = text.field("method", "key").maybe("key id", did.key_id()).field("thumbprint", key.thumbprint());
    }
    if let Some(web) = did.web() {
        let members = json!({
            "method": "web",
            "host": web.host(),
            "port": web.port(),
            "segments": web.segments(),
            "agent_id": web.agent_id(),
            "server_id": web.server_id(),
            "document_url": web.document_url(),
        });
        json = with(json, members);
        text = text.field("method", "web").field("host", web.host()).maybe("port", web.port());
        text = text.maybe("agent id", web.agent_id()).maybe("server id", web.server_id());
        text = text.field("document", web.document_url());
    }
    (json, text)
}

fn resolve(output: Output, did: &Did, network: &NetworkArgs) -> Result<(), Failure> {
    let documents = DidWebDocuments::new(network.fetcher()?);
    let document = network::wait("resolving", async {
        documents.resolve(did).await.map_err(|error| {
            let exit =
                if let DidResolveError::Fetch(error) = &error { network::exit_of_fetch(error) } else { Exit::Network };
            Failure::from(error).about(did).with_exit(exit)
        })
    })?;
    let methods: Vec<_> = document
        .methods()
        .map(|(id, key, authentication)| {
            json!({ "id": id, "authentication": authentication, "public_key_jwk": key.to_jwk(), "thumbprint": key.thumbprint() })
        })
        .collect();
    let mut text = Text::default().field("did", did);
    for (id, key, authentication) in document.methods() {
        let purpose = if authentication { "authentication" } else { "not for authentication" };
        text = text.field("method", id).field("  thumbprint", key.thumbprint()).field("  purpose", purpose);
    }
    output.result(&json!({ "did": did.as_str(), "methods": methods }), &text)
}
