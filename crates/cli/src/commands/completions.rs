//! `completions`: what a shell needs to complete this command.

use std::io::{self, Write as _};

use clap::Args;
use clap_complete::Shell;

use crate::exit::{Exit, Failure};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard completions bash > ~/.local/share/bash-completion/completions/rmcp-guard"
)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, command: &mut clap::Command) -> Result<(), Failure> {
        // The generator panics where it cannot write, which it always can into memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "rmcp-guard", &mut script);
        io::stdout()
            .write_all(&script)
            .map_err(|error| Failure::new(format!("standard output: {error}")).with_exit(Exit::Input))
    }
}
