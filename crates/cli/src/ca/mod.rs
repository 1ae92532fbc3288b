//! `rmcp-guard ca`: a small CA and registry, for development and for teams that run their own.
//!
//! In scope: keys and their rollover, badges of levels 1 to 4 under a policy (`policy.toml` says what each level means),
//! RFC-003 proofs, status and revocation, agents and servers with their did:web documents, events in. Out of scope:
//! validating domains and organizations (the operator grants them), policy bundles, several machines on one database.
//!
//! Everything stands in one directory that only its owner may enter. Commands work on it while the server runs.

mod accounts;
mod api;
mod badges;
mod challenges;
mod commands;
mod dir;
mod error;
mod limits;
mod origin;
mod policy;
mod serve;
mod show;
mod signing;
mod store;
mod subjects;
mod time;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::trust_level::TrustLevel;

use crate::Failure;
use crate::output::Output;

const LEVELS: &str = "LEVELS:
  1     an API key yields it for the agents and servers of its account
  2     an API key yields it for a domain that `ca agent allow-domain` granted
  3, 4  the same, for a domain granted with --level 3 or --level 4
  1-4   `ca issue`, on this machine
  0     is self-signed by its holder; a CA never issues it";

/// Run a CA and registry of your own.
#[derive(Debug, Subcommand)]
#[command(after_help = LEVELS)]
pub(crate) enum CaCommand {
    /// Make a new CA in a directory: signing key, certificate, policy, and a first account with an API key.
    #[command(
        after_help = "EXAMPLE:\n  rmcp-guard ca init --dir ca --origin https://localhost:8443 --api-key-file key\n  \
        rmcp-guard ca serve --dir ca"
    )]
    Init(Init),
    /// Serve the registry's HTTP API until SIGTERM or Ctrl-C.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard ca serve --dir ca --listen 127.0.0.1:8443")]
    Serve(Serve),
    /// Issue a badge as the operator, for a registered agent or server or for a key.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard ca issue --dir ca --subject-key agent.pub --level 2 \\\n    \
        --domain agent.example.com --audience https://files.example.com")]
    Issue(Box<Issue>),
    /// Revoke a badge by its id (`jti`).
    #[command(
        after_help = "EXAMPLE:\n  rmcp-guard ca revoke --dir ca 3f0c8f3e-6d6f-4c5e-9a53-0d1f8a4a2b11 --reason stolen"
    )]
    Revoke(Revoke),
    /// Disable an agent or server: it gets no badge any more, and guards refuse the ones it has.
    Disable(Disable),
    /// Enable an agent or server again.
    Enable(Enable),
    /// List what the CA knows.
    List(List),
    /// Make a new signing key, which follows the present one after an overlap.
    #[command(after_help = "EXAMPLES:\n  rmcp-guard ca rotate --dir ca\n  rmcp-guard ca rotate --dir ca --compromised")]
    Rotate(Rotate),
    /// Create and revoke API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Add accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Say which domains badges may name.
    #[command(subcommand)]
    Agent(AgentCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Dir {
    /// The CA's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    at: Dir,
    /// The name of the CA, which its badges say as `iss`, and where clients reach it.
    #[arg(long, value_name = "ORIGIN")]
    origin: String,
    /// Make no certificate: the server speaks plain http on loopback, alone or behind a proxy. An http origin needs it.
    #[arg(long)]
    no_tls: bool,
    /// The first account.
    #[arg(long, value_name = "NAME", default_value = "default")]
    account: String,
    /// Write the account's API key to this file (mode 0600) instead of standard output.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    at: Dir,
    /// Where to listen; by default the origin's port on 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    #[command(flatten)]
    at: Dir,
    /// The agent or server: its id, or the DID that the badge is to name.
    #[arg(long, value_name = "ID|DID", required_unless_present = "subject_key")]
    subject: Option<String>,
    /// The public key (SPKI PEM) of a subject that is not registered; its did:key is registered with the first account.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    subject_key: Option<PathBuf>,
    /// The trust level, 1 to 4.
    #[arg(long, value_name = "LEVEL")]
    level: TrustLevel,
    /// The validated domain; required from level 2.
    #[arg(long)]
    domain: Option<String>,
    /// A server that the badge is for, as its guard's `audiences` names it; may be repeated.
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// Seconds until the badge expires, 60 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lifetime: u64,
    /// Write the badge to this file (mode 0600) instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    at: Dir,
    /// The badge's id.
    jti: String,
    /// Why; guards and their users may see it.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    at: Dir,
    /// The id or DID.
    #[arg(value_name = "ID|DID")]
    subject: String,
    /// Why; everybody may see it.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Enable {
    #[command(flatten)]
    at: Dir,
    /// The id or DID.
    #[arg(value_name = "ID|DID")]
    subject: String,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    at: Dir,
    #[arg(value_enum, default_value_t = Listed::Agents)]
    what: Listed,
    /// Expired badges too.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listed {
    Agents,
    Servers,
    Badges,
    SigningKeys,
    Accounts,
    Keys,
    Domains,
    Events,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    at: Dir,
    /// Seconds that the new key is published before it signs, so that verifiers know it.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    overlap: u64,
    /// Withdraw all keys so far, at once: no badge that they signed counts any more.
    #[arg(long, conflicts_with = "overlap")]
    compromised: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an API key for an account. It is shown once.
    Create {
        #[command(flatten)]
        at: Dir,
        /// The account's name or id.
        #[arg(long, value_name = "NAME", default_value = "default")]
        account: String,
        /// Write the key to this file (mode 0600) instead of standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Revoke an API key by its id.
    Revoke {
        #[command(flatten)]
        at: Dir,
        /// The key's id, as `ca list keys` shows it.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Add an account.
    Add {
        #[command(flatten)]
        at: Dir,
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Let badges name a domain: the operator has checked that the account controls it.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard ca agent allow-domain --dir ca --account default files.example.com")]
    AllowDomain {
        #[command(flatten)]
        at: Dir,
        #[command(flatten)]
        holder: Holder,
        /// The domain, such as files.example.com or localhost:8080.
        domain: String,
        /// The highest level that badges with this domain may have, 2 to 4.
        #[arg(long, default_value = "2")]
        level: TrustLevel,
    },
    /// Take a domain back. Badges that name it already stay good until they expire or are revoked.
    DenyDomain {
        #[command(flatten)]
        at: Dir,
        #[command(flatten)]
        holder: Holder,
        /// The domain.
        domain: String,
    },
}

/// Whose badges a grant is for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Holder {
    /// One agent or server.
    #[arg(long, value_name = "ID|DID")]
    agent: Option<String>,
    /// All agents and servers of an account.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
}

pub(crate) fn run(command: CaCommand, output: Output) -> Result<(), Failure> {
    match command {
        CaCommand::Init(arguments) => commands::init(&arguments, output),
        CaCommand::Serve(arguments) => commands::serve(&arguments, output),
        CaCommand::Issue(arguments) => commands::issue(&arguments, output),
        CaCommand::Revoke(Revoke { at, jti, reason }) => commands::revoke(&at.dir, &jti, reason.as_deref(), output),
        CaCommand::Disable(Disable { at, subject, reason }) => {
            commands::disable(&at.dir, &subject, reason.as_deref(), output)
        }
        CaCommand::Enable(Enable { at, subject }) => commands::enable(&at.dir, &subject, output),
        CaCommand::List(List { at, what, all }) => show::list(&at.dir, what, all, output),
        CaCommand::Rotate(Rotate { at, overlap, compromised }) => {
            commands::rotate(&at.dir, Duration::from_secs(overlap), compromised, output)
        }
        CaCommand::Key(KeyCommand::Create { at, account, out }) => {
            commands::create_key(&at.dir, &account, out.as_deref(), output)
        }
        CaCommand::Key(KeyCommand::Revoke { at, id }) => commands::revoke_key(&at.dir, &id, output),
        CaCommand::Account(AccountCommand::Add { at, name }) => commands::add_account(&at.dir, &name, output),
        CaCommand::Agent(AgentCommand::AllowDomain { at, holder, domain, level }) => {
            commands::allow_domain(&at.dir, &holder, &domain, level, output)
        }
        CaCommand::Agent(AgentCommand::DenyDomain { at, holder, domain }) => {
            commands::deny_domain(&at.dir, &holder, &domain, output)
        }
    }
}

/// The DID that an operator wrote, where it is one.
fn as_did(text: &str) -> Option<Did> {
    Did::parse(text).ok()
}
