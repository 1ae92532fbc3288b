//! `rmcp-guard ca`: a small CA and registry, for development and for teams that run their own.

use clap::Subcommand;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a new CA in a directory.
    Init,
}

pub(crate) fn run(command: CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Init => Err(Failure::new("not built yet")),
    }
}
