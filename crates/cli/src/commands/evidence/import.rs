//! `evidence import`: the records of a log of the first format, in a new log.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::evidence::{EvidenceLog, import_records};
use serde_json::json;

use super::args::spinner;
use super::change::explain;
use crate::exit::Failure;
use crate::files;
use crate::output::Output;

/// The file of the first format.
const FIRST_FORMAT_FILE: &str = "records.jsonl";

/// Make a new log with the records of one of the first format (`records.jsonl`).
///
/// They keep their ids and times. Nobody signed them before, so the new log proves only that they have not changed since;
/// it says in itself where they are from. OLD stays as it is; its key of hashes (`params.key`) is not taken over.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard evidence import evidence.old evidence --origin files.example.com/evidence"
)]
pub(crate) struct Import {
    /// The directory with records.jsonl.
    old: PathBuf,
    /// The directory of the new log, which is made.
    new: PathBuf,
    /// The instance of the new log.
    #[arg(long, value_name = "NAME", default_value = "main")]
    instance: String,
    /// The first part of the new log's origin; a random name unless given.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The directory of keys and of the high-water mark; NEW.private unless given.
    #[arg(long, value_name = "PRIVATE")]
    private_dir: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let mut options = EvidenceLog::options().instance(self.instance.as_str());
        if let Some(origin) = &self.origin {
            options = options.origin(origin.as_str());
        }
        if let Some(private) = &self.private_dir {
            options = options.private_dir(private);
        }
        let first = self.old.join(FIRST_FORMAT_FILE);
        if let Err(error) = first.metadata() {
            return Err(files::about(&first, &error));
        }
        let log = options.create(&self.new).map_err(|error| explain(&error, "import"))?;
        let spinner = spinner("importing");
        let imported = import_records(&self.old, &log);
        spinner.finish_and_clear();
        let records = imported.map_err(|error| {
            explain(&error, "import")
                .and(format!("{} is a new log without them; remove it and its private directory", self.new.display()))
        })?;
        let vkey = log.verifier_key().map(|key| key.to_string());
        log.close();
        let json = json!({ "records": records, "directory": self.new.to_string_lossy(), "vkey": vkey });
        output.line(
            &json,
            format_args!("{records} records were imported; their log's key is {}", vkey.unwrap_or_default()),
        )
    }
}
