//! `evidence witness`: what others have signed about a log.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rmcp_guard::enforce::WitnessClient;
use rmcp_guard::evidence::checkpoint::Checkpoint;
use rmcp_guard::evidence::note::{KeyError, MAX_NOTE_BYTES, UnverifiedNote, VerifierKey};
use rmcp_guard::evidence::verify::Verdict;
use rmcp_guard::evidence::witness::Witness;
use serde_json::{Value, json};

use super::report::{self, seconds};
use crate::evidence_index::{Log, Set};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{NetworkArgs, wait};
use crate::output::{Output, Text};

/// The newest checkpoint with signatures of witnesses, beside the checkpoint of a log.
const WITNESSED_FILE: &str = "checkpoint.witnessed";

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    Show(Show),
    Push(Push),
}

impl WitnessCommand {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Show(arguments) => arguments.run(output),
            Self::Push(arguments) => arguments.run(output),
        }
    }
}

/// Show who has cosigned the newest witnessed checkpoint of each log.
///
/// A signature counts only with --witness.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence witness show evidence --witness 'w.example+5e6c1e8c+B..'")]
pub(crate) struct Show {
    /// The directory of the logs.
    dir: PathBuf,
    /// Check the cosignature of this witness; may be repeated.
    #[arg(long, value_name = "VKEY")]
    witness: Vec<VerifierKey>,
}

impl Show {
    fn run(&self, output: Output) -> Result<(), Failure> {
        let set = Set::open(&self.dir)?;
        let mut text = Text::default();
        let mut logs = Vec::new();
        for log in set.logs() {
            let (json, shown) = self.show(log, text)?;
            logs.push(json);
            text = shown;
        }
        output.result(&json!({ "logs": logs }), &text)
    }

    fn show(&self, log: &Log, text: Text) -> Result<(Value, Text), Failure> {
        let text = text.field("log", log.name());
        let Some(bytes) = witnessed(log.directory())? else {
            return Ok((json!({ "log": log.name(), "witnessed": null }), text.line("  no witness has signed")));
        };
        let file = log.directory().join(WITNESSED_FILE);
        let malformed = |error| files::about(&file, &error).with_exit(Exit::Tampered);
        let note = UnverifiedNote::parse(&bytes).map_err(malformed)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(malformed)?;
        let behind = log.published()?.saturating_sub(checkpoint.size);
        let mut text = text
            .field("origin", &checkpoint.origin)
            .field("size", format_args!("{} ({behind} entries behind the published one)", checkpoint.size))
            .field("root", checkpoint.root);
        let mut signatures = Vec::new();
        for signature in note.signatures().iter().filter(|signature| signature.name() != checkpoint.origin) {
            let id = format!("{:08x}", signature.key_id());
            let key =
                self.witness.iter().find(|key| key.name() == signature.name() && key.key_id() == signature.key_id());
            let signed_at = key.and_then(|key| note.cosigned_at(key));
            let state = match (key, signed_at) {
                (None, _) => "not checked".to_owned(),
                (Some(_), Some(at)) => format!("valid, signed {}", seconds(at)),
                (Some(_), None) => "does not verify".to_owned(),
            };
            text = text.line(format_args!("  {}+{id}  {state}", signature.name()));
            signatures.push(json!({
                "name": signature.name(),
                "key_id": id,
                "valid": key.map(|_| signed_at.is_some()),
                "signed_at": signed_at.map(seconds),
            }));
        }
        if signatures.is_empty() {
            text = text.line("  no witness has signed");
        }
        let json = json!({
            "log": log.name(),
            "witnessed": {
                "origin": checkpoint.origin,
                "size": checkpoint.size,
                "root": checkpoint.root.to_string(),
                "behind": behind,
                "signatures": signatures,
            },
        });
        Ok((json, text))
    }
}

/// Send the published checkpoint of each log to witnesses, and keep what they sign beside it.
///
/// A server may be writing meanwhile. Exits with 1 when a witness has seen another history, with 2 when one did not sign for another reason.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence witness push evidence --witness 'w.example+5e6c1e8c+B..' https://w.example/"
)]
pub(crate) struct Push {
    /// The directory of the logs.
    dir: PathBuf,
    /// The key of a witness's cosignatures, and the URL below which it is asked; may be repeated.
    #[arg(long, num_args = 2, value_names = ["VKEY", "URL"], required = true, action = clap::ArgAction::Append)]
    witness: Vec<String>,
    /// How many of the witnesses an audit will ask for; all of them unless given. What so many have signed is replaced by
    /// nothing that fewer have.
    #[arg(long, value_name = "N")]
    quorum: Option<usize>,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Push {
    fn run(&self, output: Output) -> Result<(), Failure> {
        let witnesses = self.witnesses()?;
        let quorum = self.quorum.unwrap_or(witnesses.len());
        if quorum > witnesses.len() {
            return Err(Failure::new("--quorum asks for more witnesses than there are").with_exit(Exit::Usage));
        }
        let client = WitnessClient::new(self.network.fetcher()?, witnesses).quorum(quorum);
        let set = Set::open(&self.dir)?;
        let mut text = Text::default();
        let mut logs = Vec::new();
        let mut worst = Verdict::Intact;
        for log in set.logs() {
            let asked = async { client.push(log.directory()).await.map_err(Failure::from) };
            let results = wait("asking witnesses", asked).map_err(|failure| failure.with_exit(Exit::Input))?;
            text = text.field("log", log.name());
            let mut answers = Vec::new();
            for (name, signed) in results {
                let state = match signed {
                    Ok(size) => format!("signed {size} entries"),
                    Err(error) => error.to_string(),
                };
                text = text.line(format_args!("  {name}  {state}"));
                answers
                    .push(json!({ "name": name, "signed": signed.ok(), "error": signed.err().map(|e| e.to_string()) }));
                if let Err(error) = signed {
                    worst = worst.max(if error.is_alarm() { Verdict::Tampered } else { Verdict::Incomplete });
                }
            }
            logs.push(json!({ "log": log.name(), "witnesses": answers }));
        }
        output.result(&json!({ "logs": logs }), &text)?;
        report::end(worst)
    }

    fn witnesses(&self) -> Result<Vec<Witness>, Failure> {
        let mut witnesses = Vec::new();
        for pair in self.witness.chunks_exact(2) {
            let [key, url] = pair else { continue };
            let usage = |failure: Failure| failure.about(key).with_exit(Exit::Usage);
            let key: VerifierKey = key.parse().map_err(|error: KeyError| usage(error.into()))?;
            witnesses.push(Witness::new(key, url).map_err(|error| usage(error.into()))?);
        }
        Ok(witnesses)
    }
}

fn witnessed(directory: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let file = directory.join(WITNESSED_FILE);
    match files::read_regular(&file, MAX_NOTE_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::about(&file, &error)),
    }
}
