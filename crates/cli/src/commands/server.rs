//! `server`: an MCP server's identity, registered, and checked from outside.

mod checks;
mod register;
mod setup;
mod verify;

use clap::Subcommand;

use crate::exit::Failure;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    Register(Box<register::Register>),
    Setup(Box<setup::Setup>),
    Verify(Box<verify::Verify>),
}

impl ServerCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Register(arguments) => arguments.run(output),
            Self::Setup(arguments) => arguments.run(output),
            Self::Verify(arguments) => arguments.run(output),
        }
    }
}
