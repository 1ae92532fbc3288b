//! `badge verify`: the answer that a guard would give.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::{BadgeContext, BadgeVerifier, Profile, VerifiedBadge};
use rmcp_guard::identity::remote::DidWebDocuments;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs, Revocation, TrustArgs};
use crate::output::{Output, note};

/// Verify a badge as a guard does, now.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard badge verify agent.badge --issuer https://ca.example.com \\\n    \
    --audience https://files.example.com --online\n  \
    rmcp-guard badge verify agent.badge --issuer https://ca.example.com --jwks ca.jwks.json \\\n    \
    --audience https://files.example.com --revocations revocations.json --json")]
pub(crate) struct Verify {
    /// The file with the badge.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The https origin of the issuer that is trusted.
    #[arg(long, value_name = "ORIGIN")]
    issuer: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// The server that the badge has to be for, as its guard's `audiences` names it.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    audience: String,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Verify {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let mut builder =
            BadgeVerifier::builder().issuer(self.trust.issuer(&self.issuer, &self.network)?).audience(&self.audience);
        builder = match self.trust.revocation(&self.network)? {
            Revocation::Ask(revocations) => builder.revocations(revocations),
            Revocation::Waived => builder.insecure_no_revocation(),
            Revocation::Unknown => builder,
        };
        if self.network.allows_loopback() {
            builder = builder.profile(Profile::Dev);
        }
        let documents = Arc::new(DidWebDocuments::new(self.network.fetcher()?));
        let verifier = builder.did_documents(documents).build();
        let text = files::read_text(&self.file)?;
        let context = BadgeContext::at(SystemClock.now_unix());
        match network::wait("asking the issuer", async { Ok(verifier.verify(text.trim(), &context).await) })? {
            Err(error) => self.invalid(output, error.kind().code(), error.detail(), self.trust.exit_of(error.kind())),
            Ok(badge) if badge.bound_audience().is_none() => {
                let detail = "the badge is for nobody in particular, and guards refuse it";
                self.invalid(output, "BADGE_UNBOUND", detail, Exit::Failed)
            }
            Ok(badge) => valid(output, &badge),
        }
    }

    fn invalid(&self, output: Output, code: &str, detail: &str, exit: Exit) -> Result<(), Failure> {
        if output.is_json() {
            output.line(&json!({ "valid": false, "code": code, "detail": detail }), "")?;
            return Err(Failure::answered().with_exit(exit));
        }
        Err(files::about(&self.file, &format_args!("{code}: {detail}")).with_exit(exit))
    }
}

fn valid(output: Output, badge: &VerifiedBadge) -> Result<(), Failure> {
    let json = json!({
        "valid": true,
        "level": badge.level().as_u8(),
        "subject": badge.subject().as_str(),
        "issuer": badge.issuer(),
        "jti": badge.jti(),
        "audience": badge.bound_audience(),
        "domain": badge.domain(),
        "expires_at": badge.expires_at().as_i64(),
        "ial": u8::from(badge.is_ial1()),
        "warnings": badge.warnings(),
    });
    if !output.is_json() {
        for warning in badge.warnings() {
            note(format_args!("warning: {warning}"));
        }
    }
    output.line(&json, format_args!("valid: level {}, subject {}", badge.level(), badge.subject()))
}
