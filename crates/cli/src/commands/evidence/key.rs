//! `evidence keygen`, `evidence key`: the key that signs a log.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::evidence::note::{Ed25519NoteSigner, NoteSigner as _};
use serde_json::{Value, json};

use super::args::OwnerArgs;
use crate::evidence_index::Set;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Output, Text};

/// Make a key for a log, and print the public half that auditors need.
///
/// A guard makes the key of its log by itself. This is for a key that is made and kept elsewhere, with which the server's
/// code opens the log (`EvidenceOptions::signer`); its name is then the log's origin.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence keygen --origin files.example.com/evidence -o log.key > log.vkey"
)]
pub(crate) struct Keygen {
    /// The name of the log, such as a URL without its scheme.
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// Where the private key goes (PKCS#8 PEM, mode 0600); an existing file is never overwritten.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Keygen {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let key = Ed25519NoteSigner::generate(&self.origin).map_err(|_| {
            Failure::new(format!("`{}` cannot be the name of a log: no spaces, no `+`", self.origin))
                .with_exit(Exit::Usage)
        })?;
        files::write_secret(&self.out, &key.to_pkcs8_pem()?)?;
        let vkey = key.verifier_key().to_string();
        output.line(&json!({ "origin": self.origin, "private_key": self.out.to_string_lossy(), "vkey": vkey }), &vkey)
    }
}

/// Print the public key (vkey) of each log of an instance.
///
/// It is made from the private key beside the logs.
///
/// Give auditors the first of them by a way that leads around the logs: a signed message, a page of your own, a person.
/// Each log names the key of the next.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence key evidence > files.vkey")]
pub(crate) struct Key {
    #[command(flatten)]
    owner: OwnerArgs,
}

impl Key {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let file = self.owner.private().join(&self.owner.instance).join("log.key");
        let pem = files::read_text(&file).map_err(|failure| {
            failure.and("a log that is opened with a signer of its own has its key there, and not here")
        })?;
        let set = Set::open(&self.owner.dir)?;
        let mut text = Text::default();
        let mut keys: Vec<Value> = Vec::new();
        for log in set.logs().iter().filter(|log| log.instance() == self.owner.instance) {
            let key =
                Ed25519NoteSigner::from_pkcs8_pem(log.origin(), &pem).map_err(|error| files::about(&file, &error))?;
            let vkey = key.verifier_key().to_string();
            text = text.line(&vkey);
            keys.push(json!({ "log": log.name(), "origin": log.origin(), "vkey": vkey }));
        }
        if keys.is_empty() {
            let what = format!("{}: no instance `{}`", self.owner.dir.display(), self.owner.instance);
            return Err(Failure::new(what).with_exit(Exit::Refused));
        }
        output.result(&json!({ "keys": keys }), &text)
    }
}
