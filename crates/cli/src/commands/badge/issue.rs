//! `badge issue`, `badge self-sign` and `jwks`: what the holder of a key can make.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::identity::badge::{BadgeIssueError, BadgeIssuer, BadgeRequest, UnverifiedBadge, self_sign};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Output, print_json, with};

/// Print the JWK set of an issuer's key; always JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard jwks --issuer https://ca.example.com --kid ca-1 --key ca.pem > ca.jwks.json"
)]
pub(crate) struct IssuerKey {
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

/// Sign a level 0 badge with the agent's own key.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard badge self-sign --key agent.pem --audience https://files.example.com")]
pub(crate) struct SelfSign {
    /// The private key (PKCS#8 PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Sign a badge of level 1 to 4 with an issuer's key.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  rmcp-guard badge issue --issuer https://ca.example.com --kid ca-1 --key ca.pem \\\n    \
    --subject-key agent.pub --level 2 --domain agent.example.com --audience https://files.example.com"
)]
pub(crate) struct Issue {
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
    #[command(flatten)]
    target: Target,
}

/// Whom a badge is for, and for how long.
#[derive(Debug, Args)]
pub(super) struct Scope {
    /// A server that the badge is for, as its guard's `audiences` names it; may be repeated. Guards refuse a badge of
    /// level 1 and up that is for nobody.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(super) audience: Vec<String>,
    /// Seconds until the badge expires, 60 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lifetime: u64,
}

impl Scope {
    pub(super) const fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime)
    }
}

/// Where a new badge goes.
#[derive(Debug, Args)]
struct Target {
    /// Write the badge to this file (mode 0600) instead of standard output; an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl IssuerKey {
    pub(crate) fn print_jwks(&self) -> Result<(), Failure> {
        print_json(&serde_json::from_str(&self.badge_issuer()?.jwks_json())?)
    }

    fn badge_issuer(&self) -> Result<BadgeIssuer, Failure> {
        let key = Arc::new(files::private_key(&self.key)?);
        BadgeIssuer::new(&self.issuer, &self.kid, key).map_err(refused)
    }
}

impl SelfSign {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let key = files::private_key(&self.key)?;
        let badge = self_sign(&key, &self.scope.audience, self.scope.lifetime(), SystemClock.now_unix());
        self.target.deliver(output, &badge.map_err(refused)?)
    }
}

impl Issue {
    pub(super) fn run(self, output: Output) -> Result<(), Failure> {
        let key = files::public_key(&self.subject_key)?;
        let subject = self.subject.unwrap_or_else(|| Did::from_public_key(&key));
        let mut request = BadgeRequest::new(subject, key, self.level).lifetime(self.scope.lifetime());
        request.domain = self.domain;
        request.audience = self.scope.audience;
        let badge = self.issuer.badge_issuer()?.issue(&request, SystemClock.now_unix());
        self.target.deliver(output, &badge.map_err(refused)?)
    }
}

impl Target {
    fn deliver(&self, output: Output, token: &str) -> Result<(), Failure> {
        let json = summary(token);
        let Some(file) = &self.out else {
            return output.line(&with(json, json!({ "badge": token })), token);
        };
        files::write_secret(file, &format!("{token}\n"))?;
        let json = with(json, json!({ "file": file.to_string_lossy() }));
        output.line(&json, format_args!("{}: written", file.display()))
    }
}

/// What a badge says about itself, for one of our own making.
pub(super) fn summary(token: &str) -> Value {
    let badge = UnverifiedBadge::parse(token).ok();
    let identity = badge.as_ref().map(UnverifiedBadge::identity);
    json!({
        "jti": identity.as_ref().and_then(|identity| identity.jti.clone()),
        "subject": identity.as_ref().and_then(|identity| identity.subject.clone()),
        "expires_at": badge.as_ref().and_then(UnverifiedBadge::claimed_expires_at).map(UnixSeconds::as_i64),
    })
}

/// What an issuer refuses to sign, the arguments asked for.
fn refused(error: BadgeIssueError) -> Failure {
    let exit = if error == BadgeIssueError::Random { Exit::Failed } else { Exit::Usage };
    Failure::from(error).with_exit(exit)
}
