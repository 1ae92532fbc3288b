//! `keygen`: a new key pair.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::identity::key::SigningKey;
use serde_json::json;

use crate::exit::Failure;
use crate::files;
use crate::output::Output;

/// Make an Ed25519 key pair and print its did:key.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard keygen --out agent.pem --public agent.pub")]
pub(crate) struct Keygen {
    /// Where the private key goes (PKCS#8 PEM, mode 0600); an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the public key goes (SPKI PEM); an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
}

impl Keygen {
    pub(crate) fn run(&self, output: Output) -> Result<(), Failure> {
        let key = SigningKey::generate()?;
        files::write_secret(&self.out, &key.to_pkcs8_pem()?)?;
        if let Some(public) = &self.public
            && let Err(error) = files::write_new(public, &key.public_key().to_spki_pem()?)
        {
            // Half a key pair would be in the way of the next attempt. Nobody has seen this key yet.
            let _ = std::fs::remove_file(&self.out);
            return Err(error);
        }
        let json = json!({
            "did": key.did().as_str(),
            "private_key": self.out.to_string_lossy(),
            "public_key": self.public.as_ref().map(|file| file.to_string_lossy()),
            "thumbprint": key.public_key().thumbprint(),
        });
        output.line(&json, key.did())
    }
}
