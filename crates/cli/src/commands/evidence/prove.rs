//! `evidence prove`, `evidence verify-proof`: that one entry is in a log, without the log.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{MAX_PROOF_BYTES, TlogProof, Verifier};
use rmcp_guard::evidence::{MAX_ENTRY_BYTES, Receipt, ReceiptError};
use serde_json::{Value, json};

use super::args::{KeyArgs, key_file};
use super::report;
use super::show::EntryArgs;
use super::verify::read_bytes;
use crate::evidence_index::{Log, Set};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Output, Text, note};

/// Most bytes of a receipt: one has 256.
const MAX_RECEIPT_BYTES: usize = 4096;

/// Make the proof that an entry is in the log's published tree.
///
/// The proof (c2sp.org/tlog-proof) is to be kept or handed on.
/// Whoever is given it checks it with `verify-proof` and the log's key, and needs the entry (`show --raw`) besides.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard evidence prove evidence 17 -o 17.tlog-proof\n  \
    rmcp-guard evidence show evidence 17 --raw > 17.entry")]
pub(crate) struct Prove {
    /// The directory of the logs.
    dir: PathBuf,
    #[command(flatten)]
    entry: EntryArgs,
    /// Where the proof goes; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Check the log's checkpoint with this key; unless given, with the one that the log itself names.
    #[arg(long, value_name = "VKEY")]
    key: Vec<VerifierKey>,
    /// Check the log's checkpoint with the keys in this file.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Prove {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let set = Set::open(&self.dir)?;
        let (log, index) = self.entry.find(&set)?;
        let proof = match Verifier::new(self.keys(log)?).prove(log.directory(), index) {
            Ok(proof) => proof,
            Err(_) if index >= log.published()? => return Err(not_published(log, index)?),
            Err(found) => {
                output.result(&report::as_json(&found), &report::as_text(Text::default(), &found, None))?;
                return report::end(found.verdict).and(Err(Failure::new("no proof could be made")));
            }
        };
        let bytes = proof.to_bytes();
        let Some(file) = &self.out else {
            let written = std::io::stdout().write_all(&bytes);
            return written.map_err(|error| Failure::from(error).about("standard output").with_exit(Exit::Input));
        };
        files::write_new(file, &String::from_utf8_lossy(&bytes))?;
        let json = json!({
            "file": file.to_string_lossy(),
            "index": index,
            "log": log.name(),
            "origin": log.origin(),
            "bytes": bytes.len(),
        });
        output.line(&json, format_args!("{}: written, {} bytes", file.display(), bytes.len()))
    }

    /// The maker of a proof trusts its own log; whoever checks it must not.
    fn keys(&self, log: &Log) -> Result<Vec<VerifierKey>, Failure> {
        let mut keys = self.key.clone();
        if let Some(file) = &self.key_file {
            keys.extend(key_file(file)?);
        }
        if keys.is_empty() {
            keys.push(log.named_key()?);
        }
        Ok(keys)
    }
}

fn not_published(log: &Log, index: u64) -> Result<Failure, Failure> {
    let name = log.name();
    Ok(match log.entry(index)? {
        Some(_) => Failure::new(format!(
            "{name} {index} is not in a published checkpoint yet; one follows within seconds while the server runs"
        ))
        .with_exit(Exit::Incomplete),
        None => Failure::new(format!("{name} has no entry {index}")).with_exit(Exit::Refused),
    })
}

/// Check the proof that an entry is in a log, without the log.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard evidence verify-proof 17.tlog-proof --entry 17.entry --key-file files.vkey\n  \
    rmcp-guard evidence verify-proof 17.tlog-proof --receipt receipt.json --key-file files.vkey\n\n\
    EXIT CODES: 0 the proof holds, 1 it does not, 3 usage, 4 a file cannot be used"
)]
pub(crate) struct VerifyProof {
    /// The proof.
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    what: What,
}

/// What is proved to be in the log.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// This entry, byte for byte; a line break at the end does not count.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// The entry with this hash, in base64.
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    leaf: Option<Hash>,
    /// The entry that this receipt promises, which a server has sent with a result.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

impl VerifyProof {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let keys = self.keys.keys()?;
        let bytes = read_bytes(&self.file, MAX_PROOF_BYTES)?;
        let proof = TlogProof::parse(&bytes).map_err(|error| refused(&self.file, error))?;
        let (leaf, verified) = match (&self.what.receipt, &self.what.entry) {
            (Some(file), _) => {
                let receipt = receipt(file)?;
                let verified = receipt.verify(&proof, &keys).map_err(|error| {
                    let is_known = error != ReceiptError::UnknownLog;
                    if is_known { refused(&self.file, error) } else { files::about(file, &error) }
                })?;
                (receipt.leaf, verified)
            }
            (None, Some(file)) => {
                let entry = read_bytes(file, MAX_ENTRY_BYTES.saturating_add(1))?;
                let leaf = Hash::of_leaf(entry.strip_suffix(b"\n").unwrap_or(&entry));
                (leaf, self.verify(&proof, &leaf, keys)?)
            }
            (None, None) => {
                // one of the three is required
                let leaf = self.what.leaf.ok_or_else(|| Failure::new("name the entry").with_exit(Exit::Usage))?;
                (leaf, self.verify(&proof, &leaf, keys)?)
            }
        };
        let checkpoint = verified.checkpoint();
        let json = json!({
            "valid": true,
            "index": proof.index,
            "leaf": leaf.to_string(),
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
        });
        let text = Text::default()
            .line("the proof holds")
            .field("origin", &checkpoint.origin)
            .field("index", proof.index)
            .field("leaf", leaf)
            .field("size", checkpoint.size)
            .field("root", checkpoint.root);
        output.result(&json, &text)
    }

    fn verify(&self, proof: &TlogProof, leaf: &Hash, keys: Vec<VerifierKey>) -> Result<VerifiedCheckpoint, Failure> {
        Verifier::new(keys).verify_proof(proof, leaf).map_err(|error| refused(&self.file, error))
    }
}

fn refused(file: &Path, error: impl std::error::Error) -> Failure {
    Failure::from(error).about(file.display()).with_exit(Exit::Tampered)
}

/// A receipt by itself, or the `_meta` or the result that it came in.
fn receipt(file: &Path) -> Result<Receipt, Failure> {
    let value: Value = serde_json::from_slice(&read_bytes(file, MAX_RECEIPT_BYTES)?)
        .map_err(|_| files::about(file, &"is not a receipt"))?;
    let inner = [value.get(Receipt::META_KEY), value.get("_meta").and_then(|meta| meta.get(Receipt::META_KEY))];
    let value = inner.into_iter().flatten().next().unwrap_or(&value);
    let receipt = Receipt::from_json(value).map_err(|error| files::about(file, &error))?;
    if !receipt.durable {
        note("the server had not stored the record yet when it gave this receipt");
    }
    Ok(receipt)
}
