//! `badge` and `jwks`: trust badges, signed, shown and verified.

mod issue;
mod keep;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::badge::UnverifiedBadge;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::files;
use crate::output::{Output, note, print_json};

pub(crate) use issue::IssuerKey;

#[derive(Debug, Subcommand)]
pub(crate) enum BadgeCommand {
    SelfSign(issue::SelfSign),
    Issue(Box<issue::Issue>),
    Verify(Box<verify::Verify>),
    Keep(Box<keep::Keep>),
    /// Show what a badge claims, without verifying anything; always JSON.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard badge inspect agent.badge")]
    Inspect {
        /// The file with the badge.
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

impl BadgeCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::SelfSign(arguments) => arguments.run(output),
            Self::Issue(arguments) => arguments.run(output),
            Self::Verify(arguments) => arguments.run(output),
            Self::Keep(arguments) => arguments.run(output),
            Self::Inspect { file } => inspect(output, &file),
        }
    }
}

fn inspect(output: Output, file: &Path) -> Result<(), Failure> {
    let text = files::read_text(file)?;
    let badge = UnverifiedBadge::parse(text.trim()).map_err(|error| files::about(file, &error))?;
    if !output.is_json() {
        note("not verified: anybody can write these claims");
    }
    print_json(&claims(&badge))
}

fn claims(badge: &UnverifiedBadge<'_>) -> Value {
    let identity = badge.identity();
    json!({
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
