//! `rmcp-guard`: keys, badges, trust, servers, policies and evidence on the command line, and a CA of your own.
//!
//! Secrets are read from files, standard input or the environment, and written to files that only their owner can
//! read; none is ever an argument.

mod ca;
mod commands;
mod evidence_index;
mod exit;
mod files;
mod network;
mod output;
mod registry;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use exit::Failure;
use exit::{Codes, Exit};
use output::Output;

const AFTER_HELP: &str = "EXAMPLES:
  rmcp-guard keygen --out agent.pem --public agent.pub
  rmcp-guard badge self-sign --key agent.pem --audience https://files.example.com
  rmcp-guard config check guard.toml

EXIT CODES:
  0  done; valid; verified; allowed
  1  no: not valid, not verified, denied; or failed otherwise
  2  usage: arguments that cannot be, or contradict each other
  3  another machine could not be reached, or gave no usable answer
  4  a file or a configuration cannot be used
  5  the other side refused: unknown key, not allowed, not found
`evidence` has its own, which its help explains.";

/// Keys, badges, trust, server verification and policy checks for MCP servers that rmcp-guard protects.
///
/// Results go to standard output, everything else to standard error. A FILE to read may be `-`, standard input.
#[derive(Debug, Parser)]
#[command(
    name = "rmcp-guard",
    version,
    after_help = AFTER_HELP
)]
struct Cli {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Keygen(commands::keygen::Keygen),
    Did(commands::did::DidCommand),
    Jwks(commands::badge::IssuerKey),
    /// Issue, verify or look at trust badges.
    #[command(subcommand)]
    Badge(commands::badge::BadgeCommand),
    /// Edit whom a guard trusts, in its configuration file.
    #[command(subcommand)]
    Trust(commands::trust::TrustCommand),
    /// Ask a policy for its decision, or for its weak spots.
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    /// Register an MCP server's identity, or verify it.
    #[command(subcommand)]
    Server(commands::server::ServerCommand),
    /// Check configuration files.
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Read, verify, prove, export and prune evidence logs.
    #[command(subcommand)]
    Evidence(commands::evidence::EvidenceCommand),
    /// A CA and registry of your own.
    #[command(subcommand)]
    Ca(ca::CaCommand),
    Completions(commands::completions::Completions),
}

fn main() -> ExitCode {
    let Cli { json, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let codes = if matches!(command, Command::Evidence(_)) { Codes::Evidence } else { Codes::General };
    match run(command, Output::new(json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(codes),
    }
}

/// Shows help, the version, or what is wrong with the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    // Without an output there is nobody left to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    // The command is the first argument that is no option: none of the options before it takes a value.
    let command = std::env::args_os().skip(1).find(|argument| !argument.to_string_lossy().starts_with('-'));
    let codes = if command.is_some_and(|command| command == "evidence") { Codes::Evidence } else { Codes::General };
    ExitCode::from(codes.number(Exit::Usage))
}

fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => arguments.run(output),
        Command::Did(arguments) => arguments.run(output),
        Command::Jwks(issuer) => issuer.print_jwks(),
        Command::Badge(command) => command.run(output),
        Command::Trust(command) => command.run(output),
        Command::Policy(command) => command.run(output),
        Command::Server(command) => command.run(output),
        Command::Config(command) => command.run(output),
        Command::Evidence(command) => command.run(output),
        Command::Ca(command) => ca::run(command, output),
        Command::Completions(arguments) => arguments.run(&mut Cli::command()),
    }
}
