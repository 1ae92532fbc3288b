//! `rmcp-guard`: keys, badges and configuration checks on the command line.
//!
//! Secrets are read from files and written to files that only their owner can read; none is ever an argument.
#![expect(clippy::print_stderr, reason = "a command line program tells its failures there")]

mod ca;
mod files;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::enforce::{ConfigError, ConfigProblem, GuardConfig};
use rmcp_guard::evidence::{EvidenceLog, escape_for_display};
use rmcp_guard::identity::badge::{
    BadgeContext, BadgeIssuer, BadgeRequest, BadgeVerifier, Revocations, UnverifiedBadge, self_sign,
};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;

/// Why a command failed, in lines for standard error.
#[derive(Debug)]
struct Failure(Vec<String>);

impl Failure {
    fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// A line for each mistake of a configuration.
    fn of_config(file: &Path, error: &ConfigError) -> Self {
        let file = file.display().to_string();
        let line = |problem: &ConfigProblem| {
            // A mistake of the file as a whole names it already.
            if problem.key == file { problem.to_string() } else { format!("{file}: {problem}") }
        };
        Self(error.problems().iter().map(line).collect())
    }
}

/// An error with its causes.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(line)
    }
}

/// Keys, badges and configuration checks for MCP servers that rmcp-guard protects.
///
/// Results go to standard output, everything else to standard error. A FILE to read may be `-`, standard input.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "EXIT CODES:\n  0 done, 1 failed or not valid, 2 usage\n\n\
    EXAMPLES:\n  rmcp-guard keygen --out agent.pem --public agent.pub\n  \
    rmcp-guard badge self-sign --key agent.pem --audience https://files.example.com\n  \
    rmcp-guard config check guard.toml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an Ed25519 key pair and print its did:key.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard keygen --out agent.pem --public agent.pub")]
    Keygen(Keygen),
    /// Print the did:key of a private key.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard did --key agent.pem")]
    Did(KeyFile),
    /// Print the JWK set of an issuer's key.
    #[command(
        after_help = "EXAMPLE:\n  rmcp-guard jwks --issuer https://ca.example.com --kid ca-1 --key ca.pem > ca.jwks.json"
    )]
    Jwks(IssuerKey),
    /// Issue, verify or look at trust badges.
    #[command(subcommand)]
    Badge(BadgeCommand),
    /// Check configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// A CA and registry of your own.
    #[command(subcommand)]
    Ca(ca::CaCommand),
}

#[derive(Debug, Args)]
struct Keygen {
    /// Where the private key goes (PKCS#8 PEM, mode 0600); an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the public key goes (SPKI PEM); an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct KeyFile {
    /// The private key (PKCS#8 PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
struct IssuerKey {
    /// The issuer's https origin.
    #[arg(long, value_name = "ORIGIN")]
    issuer: String,
    /// The key's id in the issuer's JWK set.
    #[arg(long, value_name = "KID", value_parser = NonEmptyStringValueParser::new())]
    kid: String,
    /// The issuer's private key (PKCS#8 PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Subcommand)]
enum BadgeCommand {
    /// Sign a level 0 badge with the agent's own key.
    #[command(
        after_help = "EXAMPLE:\n  rmcp-guard badge self-sign --key agent.pem --audience https://files.example.com"
    )]
    SelfSign {
        #[command(flatten)]
        key: KeyFile,
        #[command(flatten)]
        scope: Scope,
    },
    /// Sign a badge of level 1 to 4 with an issuer's key.
    #[command(
        after_help = "EXAMPLE:\n  rmcp-guard badge issue --issuer https://ca.example.com --kid ca-1 --key ca.pem \\\n    \
        --subject-key agent.pub --level 2 --domain agent.example.com --audience https://files.example.com"
    )]
    Issue(Box<Issue>),
    /// Verify a badge as a guard does, now.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard badge verify agent.badge --issuer https://ca.example.com \\\n    \
        --jwks ca.jwks.json --audience https://files.example.com --revocations revocations.json")]
    Verify(Verify),
    /// Show what a badge claims, without verifying anything.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard badge inspect agent.badge")]
    Inspect {
        /// The file with the badge.
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Issue {
    #[command(flatten)]
    issuer: IssuerKey,
    /// The subject's DID; the did:key of its public key unless given.
    #[arg(long, value_name = "DID")]
    subject: Option<Did>,
    /// The subject's public key (SPKI PEM).
    #[arg(long, value_name = "FILE")]
    subject_key: PathBuf,
    /// The trust level, 1 to 4.
    #[arg(long, value_name = "LEVEL")]
    level: TrustLevel,
    /// The validated domain; required from level 2.
    #[arg(long)]
    domain: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
struct Verify {
    /// The file with the badge.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The https origin of the issuer that is trusted.
    #[arg(long, value_name = "ORIGIN")]
    issuer: String,
    /// The issuer's JWK set.
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// The server that the badge has to be for, as its guard's `audiences` names it.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    audience: String,
    /// The list of revoked badges; levels 2 to 4 need one.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_no_revocation")]
    revocations: Option<PathBuf>,
    /// Accept badges of every level without asking for their revocation.
    #[arg(long)]
    insecure_no_revocation: bool,
}

#[derive(Debug, Args)]
struct Scope {
    /// A server that the badge is for, as its guard's `audiences` names it; may be repeated. Guards refuse a badge of
    /// level 1 and up that is for nobody.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    audience: Vec<String>,
    /// Seconds until the badge expires, 60 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lifetime: u64,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Load a configuration file and report every mistake in it.
    ///
    /// The files that it names are read, and the evidence directory stays untouched.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard config check guard.toml")]
    Check {
        /// The TOML file; not standard input, since paths in it start at its directory.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(lines)) => {
            for line in lines {
                eprintln!("rmcp-guard: {}", escape_for_display(&line));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen(&arguments),
        Command::Did(KeyFile { key }) => print(&files::private_key(&key)?.did()),
        Command::Jwks(issuer) => print(&badge_issuer(&issuer)?.jwks_json()),
        Command::Badge(BadgeCommand::SelfSign { key, scope }) => {
            let key = files::private_key(&key.key)?;
            let lifetime = Duration::from_secs(scope.lifetime);
            print(&self_sign(&key, &scope.audience, lifetime, SystemClock.now_unix())?)
        }
        Command::Badge(BadgeCommand::Issue(arguments)) => {
            let Issue { issuer, subject, subject_key, level, domain, scope } = *arguments;
            let key = files::public_key(&subject_key)?;
            let subject = subject.unwrap_or_else(|| Did::from_public_key(&key));
            let mut request = BadgeRequest::new(subject, key, level).lifetime(Duration::from_secs(scope.lifetime));
            request.domain = domain;
            request.audience = scope.audience;
            print(&badge_issuer(&issuer)?.issue(&request, SystemClock.now_unix())?)
        }
        Command::Badge(BadgeCommand::Verify(arguments)) => verify(&arguments),
        Command::Badge(BadgeCommand::Inspect { file }) => {
            let text = files::read_text(&file)?;
            let badge = UnverifiedBadge::parse(text.trim()).map_err(|error| files::about(&file, &error))?;
            eprintln!("not verified: anybody can write these claims");
            // JSON leaves all but the C0 controls as they are.
            let shown = serde_json::to_string_pretty(&claims(&badge))?;
            shown.lines().try_for_each(|line| print(&escape_json(line)))
        }
        Command::Ca(command) => ca::run(command),
        Command::Config(ConfigCommand::Check { file }) => {
            // The evidence of the real server stays untouched by a check.
            let config = GuardConfig::builder().file(&file).evidence(EvidenceLog::in_memory()).build();
            let config = config.map_err(|error| Failure::of_config(&file, &error))?;
            for warning in config.warnings() {
                eprintln!("warning: {}", escape_for_display(warning));
            }
            let version = match config.policy().version() {
                "" => "(none)".to_owned(),
                version => escape_for_display(version),
            };
            print(&format_args!("ok: policy version {version}, digest {}", config.digest()))
        }
    }
}

/// A line on standard output; a reader that has gone away is a failure like any other.
fn print(line: &dyn std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("standard output: {error}")))
}

fn verify(arguments: &Verify) -> Result<(), Failure> {
    let issuer = Issuer::jwks_file(&arguments.issuer, &arguments.jwks)
        .map_err(|error| Failure::new(format!("--issuer, --jwks: {}", Failure::from(error).0.concat())))?;
    let mut builder = BadgeVerifier::builder().issuer(issuer).audience(&arguments.audience);
    if let Some(file) = &arguments.revocations {
        builder = builder.revocations(Revocations::file(file));
    }
    if arguments.insecure_no_revocation {
        builder = builder.insecure_no_revocation();
    }
    let verifier = builder.build();
    let text = files::read_text(&arguments.file)?;
    let context = BadgeContext::at(SystemClock.now_unix());
    // Files answer at once, so there is nothing to wait for.
    let Poll::Ready(answer) =
        pin!(verifier.verify(text.trim(), &context)).poll(&mut TaskContext::from_waker(Waker::noop()))
    else {
        return Err(Failure::new("the badge's issuer could not be asked"));
    };
    let badge =
        answer.map_err(|error| files::about(&arguments.file, &format_args!("{}: {error}", error.kind().code())))?;
    if badge.bound_audience().is_none() {
        return Err(files::about(&arguments.file, &"the badge is for nobody in particular, and guards refuse it"));
    }
    print(&format_args!("valid: level {}, subject {}", badge.level(), escape_for_display(badge.subject().as_str())))
}

fn claims(badge: &UnverifiedBadge<'_>) -> serde_json::Value {
    let identity = badge.identity();
    serde_json::json!({
        "typ": badge.typ(),
        "kid": badge.kid(),
        "iss": identity.issuer,
        "sub": identity.subject,
        "jti": identity.jti,
        "level": badge.claimed_level().map(TrustLevel::as_u8),
        "aud": badge.claimed_audience().collect::<Vec<_>>(),
        "iat": badge.claimed_issued_at().map(UnixSeconds::as_i64),
        "exp": badge.claimed_expires_at().map(UnixSeconds::as_i64),
    })
}

/// The rest of what can confuse a terminal stands only inside strings, where `\uXXXX` means the same.
fn escape_json(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        let mut bytes = [0; 4];
        let text = character.encode_utf8(&mut bytes);
        if character == '\\' || *escape_for_display(text) == *text {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            escaped.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

fn keygen(arguments: &Keygen) -> Result<(), Failure> {
    let key = SigningKey::generate()?;
    files::write_secret(&arguments.out, &key.to_pkcs8_pem()?)?;
    if let Some(public) = &arguments.public
        && let Err(error) = files::write_new(public, &key.public_key().to_spki_pem()?)
    {
        // Half a key pair would be in the way of the next attempt. Nobody has seen this key yet.
        let _ = std::fs::remove_file(&arguments.out);
        return Err(error);
    }
    print(&key.did())
}

fn badge_issuer(issuer: &IssuerKey) -> Result<BadgeIssuer, Failure> {
    Ok(BadgeIssuer::new(&issuer.issuer, &issuer.kid, Arc::new(files::private_key(&issuer.key)?))?)
}
