//! `server`: an MCP server's identity, checked from outside.

mod checks;
mod verify;

use clap::Subcommand;

use crate::exit::Failure;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    Verify(Box<verify::Verify>),
}

impl ServerCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Verify(arguments) => arguments.run(output),
        }
    }
}
