//! `evidence`: logs of evidence, for those who run them and for those who check them.
//!
//! In scope: reading, searching, verifying, proving, exporting, and what an owner does to a log that no server has open.
//! Out of scope: writing records, which is the guard's.
//!
//! What stands in a log's directory is somebody else's text: it is bounded by what reads it, escaped before it is shown,
//! and never trusted for its own verification. Keys come from the command line.

mod args;
mod change;
mod export;
mod fsck;
mod import;

mod index;
mod key;
mod prove;
mod query;
mod record;
mod report;
mod show;
mod stats;
mod tail;
mod verify;
mod witness;

use clap::Subcommand;

use crate::exit::Failure;
use crate::output::Output;

const AFTER_HELP: &str =
    "DIR is the directory that a guard was given for its evidence. Most commands also take one log in it,
DIR/<instance>/<number>.

An auditor needs DIR, or a copy of it, and the key of its first log from the operator, by another way than DIR:
  operator   rmcp-guard evidence key DIR
  auditor    rmcp-guard evidence verify DIR --key <VKEY>

EXIT CODES of these commands:
  0  done; intact
  1  tampered: altered, not signed by a trusted key, or rolled back; a proof does not hold
  2  incomplete: nothing was found altered, but something is missing
  3  usage: arguments that cannot be, or contradict each other
  4  a file cannot be used (missing, not readable, locked by a server, not private), or the work failed
  5  there is no such entry, log or key
  6  another machine could not be reached, or gave no usable answer";

/// Read, verify, prove, export and prune evidence logs.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum EvidenceCommand {
    Tail(tail::Tail),
    Query(query::Query),
    Stats(stats::Stats),
    Show(show::Show),
    Verify(verify::Verify),
    Prove(prove::Prove),
    VerifyProof(prove::VerifyProof),
    Consistency(verify::Consistency),
    Export(export::Export),
    Fsck(fsck::Fsck),
    /// Look at the signatures of witnesses.
    #[command(subcommand)]
    Witness(witness::WitnessCommand),
    Redact(change::Redact),
    Prune(change::Prune),
    Shred(change::Shred),
    Keygen(key::Keygen),
    Key(key::Key),
    Import(import::Import),
    Index(index::IndexArgs),
}

impl EvidenceCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Tail(arguments) => arguments.run(output),
            Self::Query(arguments) => arguments.run(output),
            Self::Stats(arguments) => arguments.run(output),
            Self::Show(arguments) => arguments.run(output),
            Self::Verify(arguments) => arguments.run(output),
            Self::Prove(arguments) => arguments.run(output),
            Self::VerifyProof(arguments) => arguments.run(output),
            Self::Consistency(arguments) => arguments.run(output),
            Self::Export(arguments) => arguments.run(output),
            Self::Fsck(arguments) => arguments.run(output),
            Self::Witness(command) => command.run(output),
            Self::Redact(arguments) => arguments.run(output),
            Self::Prune(arguments) => arguments.run(output),
            Self::Shred(arguments) => arguments.run(output),
            Self::Keygen(arguments) => arguments.run(output),
            Self::Key(arguments) => arguments.run(output),
            Self::Import(arguments) => arguments.run(output),
            Self::Index(arguments) => arguments.run(output),
        }
    }
}
