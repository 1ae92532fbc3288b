//! `did`: identifiers, made from keys and names, taken apart, and resolved.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::PublicKey;
use serde_json::json;

use crate::exit::Failure;
use crate::files;
use crate::output::{Output, Text};

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
    /// Take a DID apart: its method, its document's URL, or its key.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard did show did:web:files.example.com:servers:s1")]
    Show {
        /// The DID.
        did: Did,
    },
}

impl DidCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match (self.command, self.key) {
            (Some(DidSubcommand::Key { file }), _) => show_key(output, &files::any_key(&file)?),
            (Some(DidSubcommand::Show { did }), _) => show(output, &did),
            (None, Some(file)) => show_key(output, &files::private_key(&file)?.public_key()),
            (None, None) => Err(Failure::new("say --key FILE, or one of the commands")),
        }
    }
}

fn show_key(output: Output, key: &PublicKey) -> Result<(), Failure> {
    let did = Did::from_public_key(key);
    let json = json!({ "did": did.as_str(), "key_id": did.key_id(), "thumbprint": key.thumbprint() });
    output.line(&json, did)
}

fn show(output: Output, did: &Did) -> Result<(), Failure> {
    let text = Text::default().field("did", did);
    match (did.public_key(), did.web()) {
        (Some(key), _) => {
            let json = json!({
                "did": did.as_str(),
                "method": "key",
                "key_id": did.key_id(),
                "public_key_jwk": key.to_jwk(),
                "thumbprint": key.thumbprint(),
            });
            let text = text.field("method", "key").maybe("key id", did.key_id());
            output.result(&json, &text.field("thumbprint", key.thumbprint()))
        }
        (None, Some(web)) => {
            let json = json!({
                "did": did.as_str(),
                "method": "web",
                "host": web.host(),
                "port": web.port(),
                "segments": web.segments(),
                "agent_id": web.agent_id(),
                "server_id": web.server_id(),
                "document_url": web.document_url(),
            });
            let text = text
                .field("method", "web")
                .field("host", web.host())
                .maybe("port", web.port())
                .maybe("agent id", web.agent_id())
                .maybe("server id", web.server_id());
            output.result(&json, &text.field("document", web.document_url()))
        }
        (None, None) => Err(Failure::new("the DID has neither a key nor a host")),
    }
}
