//! `badge verify`: the answer that a guard would give.

use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::{BadgeContext, BadgeVerifier, Revocations, VerifiedBadge};
use rmcp_guard::identity::trust_store::Issuer;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::Output;

/// Verify a badge as a guard does, now.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard badge verify agent.badge --issuer https://ca.example.com \\\n    \
    --jwks ca.jwks.json --audience https://files.example.com --revocations revocations.json")]
pub(crate) struct Verify {
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

impl Verify {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let issuer = Issuer::jwks_file(&self.issuer, &self.jwks)
            .map_err(|error| Failure::from(error).about("--issuer, --jwks").with_exit(Exit::Input))?;
        let mut builder = BadgeVerifier::builder().issuer(issuer).audience(&self.audience);
        if let Some(file) = &self.revocations {
            builder = builder.revocations(Revocations::file(file));
        }
        if self.insecure_no_revocation {
            builder = builder.insecure_no_revocation();
        }
        let verifier = builder.build();
        let text = files::read_text(&self.file)?;
        let context = BadgeContext::at(SystemClock.now_unix());
        // Files answer at once, so there is nothing to wait for.
        let Poll::Ready(answer) =
            pin!(verifier.verify(text.trim(), &context)).poll(&mut Context::from_waker(Waker::noop()))
        else {
            return Err(Failure::new("the badge's issuer could not be asked"));
        };
        match answer {
            Err(error) => self.invalid(output, error.kind().code(), error.detail()),
            Ok(badge) if badge.bound_audience().is_none() => {
                self.invalid(output, "BADGE_UNBOUND", "the badge is for nobody in particular, and guards refuse it")
            }
            Ok(badge) => valid(output, &badge),
        }
    }

    fn invalid(&self, output: Output, code: &str, detail: &str) -> Result<(), Failure> {
        if output.is_json() {
            output.line(&json!({ "valid": false, "code": code, "detail": detail }), "")?;
            return Err(Failure::answered());
        }
        Err(files::about(&self.file, &format_args!("{code}: {detail}")).with_exit(Exit::Failed))
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
    output.line(&json, format_args!("valid: level {}, subject {}", badge.level(), badge.subject()))
}
