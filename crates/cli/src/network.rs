//! What the commands that ask other machines have in common: the fetcher, the sources behind it, and the waiting.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rmcp_guard::identity::badge::{BadgeErrorKind, Revocations};
use rmcp_guard::identity::fetch::{FetchError, FetchErrorKind, Fetcher, FetcherBuildError};
use rmcp_guard::identity::remote::OnlineStatus;
use rmcp_guard::identity::server::HttpOrigin;
use rmcp_guard::identity::trust_store::Issuer;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::is_watched;

/// How the network may be used.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Trust the root certificates in this file (PEM) besides the platform's; may be repeated.
    #[arg(long, value_name = "FILE")]
    root_cert: Vec<PathBuf>,
    /// Connect to this port too, besides 443; may be repeated.
    #[arg(long, value_name = "PORT")]
    allow_port: Vec<u16>,
    /// Connect to addresses of this network too, such as 10.1.0.0/16; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    insecure_allow_network: Vec<String>,
    /// Connect to this machine too, on every port, also by plain http. For development only.
    #[arg(long)]
    dangerous_loopback: bool,
}

impl NetworkArgs {
    /// Whether this machine counts as a peer.
    pub(crate) const fn allows_loopback(&self) -> bool {
        self.dangerous_loopback
    }

    /// The texts of the root certificates.
    pub(crate) fn roots(&self) -> Result<Vec<String>, Failure> {
        self.root_cert.iter().map(|file| files::read_text(file).map(|text| text.to_string())).collect()
    }

    /// The one way out, as these arguments open it.
    pub(crate) fn fetcher(&self) -> Result<Fetcher, Failure> {
        let mut builder = Fetcher::builder();
        for root in self.roots()? {
            builder = builder.add_root_certificate_pem(root.as_bytes());
        }
        for port in &self.allow_port {
            builder = builder.allow_port(*port);
        }
        for network in &self.insecure_allow_network {
            builder = builder.insecure_allow_network(network);
        }
        if self.dangerous_loopback {
            builder = builder.dangerous_allow_loopback();
        }
        builder.build().map_err(|error| {
            let exit = if matches!(error, FetcherBuildError::RootCertificate) { Exit::Input } else { Exit::Usage };
            Failure::from(error).with_exit(exit)
        })
    }
}

/// What an issuer is trusted by: its keys, and how it revokes.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The issuer's JWK set; without it the set is fetched from the issuer.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    revocation: RevocationArgs,
}

/// Where revocation is asked.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct RevocationArgs {
    /// The list of revoked badges; levels 2 to 4 need it, or --online.
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    /// Ask the issuer whether the badge is revoked and its subject active.
    #[arg(long)]
    online: bool,
    /// Accept badges of every level without asking for their revocation.
    #[arg(long)]
    insecure_no_revocation: bool,
}

/// How a verifier learns of revoked badges.
pub(crate) enum Revocation {
    Ask(Revocations),
    Waived,
    Unknown,
}

impl TrustArgs {
    /// The issuer named `origin`, with its keys from the file or from itself.
    pub(crate) fn issuer(&self, origin: &str, network: &NetworkArgs) -> Result<Issuer, Failure> {
        if let Some(file) = &self.jwks {
            return Issuer::jwks_file(origin, file)
                .map_err(|error| Failure::from(error).about("--issuer, --jwks").with_exit(Exit::Input));
        }
        check_origin(origin, network)?;
        Issuer::discover(origin, network.fetcher()?)
            .map_err(|error| Failure::from(error).about("--issuer").with_exit(Exit::Usage))
    }

    pub(crate) fn revocation(&self, network: &NetworkArgs) -> Result<Revocation, Failure> {
        let RevocationArgs { revocations, online, insecure_no_revocation } = &self.revocation;
        Ok(match revocations {
            Some(file) => Revocation::Ask(Revocations::file(file)),
            None if *online => Revocation::Ask(Revocations::online(Arc::new(OnlineStatus::new(network.fetcher()?)))),
            None if *insecure_no_revocation => Revocation::Waived,
            None => Revocation::Unknown,
        })
    }

    /// Whether the issuer itself is asked about revocation.
    pub(crate) const fn is_online(&self) -> bool {
        self.revocation.online
    }

    /// How a badge ends the command that was refused for `kind`: what could not be asked is worth another attempt.
    pub(crate) const fn exit_of(&self, kind: BadgeErrorKind) -> Exit {
        let unasked = matches!(kind, BadgeErrorKind::KeysUnavailable)
            || (matches!(kind, BadgeErrorKind::RevocationCheckFailed) && self.revocation.online);
        if unasked { Exit::Network } else { Exit::Failed }
    }
}

/// Refuses early, and in words, what the fetcher would refuse later by a code.
pub(crate) fn check_origin(origin: &str, network: &NetworkArgs) -> Result<(), Failure> {
    let parsed = HttpOrigin::parse(origin)
        .map_err(|error| Failure::from(error).about(format_args!("`{origin}`")).with_exit(Exit::Usage))?;
    if parsed.is_loopback() && !network.dangerous_loopback {
        let advice = "it is on this machine, which takes --dangerous-loopback";
        return Err(Failure::new(format!("`{origin}`: {advice}")).with_exit(Exit::Usage));
    }
    Ok(())
}

/// How a request ends the command that brought no answer: a status of the four hundreds is a refusal.
pub(crate) const fn exit_of_fetch(error: &FetchError) -> Exit {
    if matches!(error.kind(), FetchErrorKind::Status(400..=499)) { Exit::Refused } else { Exit::Network }
}

/// Runs what waits for others, with a spinner that says `what` where somebody watches.
pub(crate) fn wait<T>(what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let spinner = spinner(what);
    let outcome = block_on(work);
    spinner.finish_and_clear();
    outcome
}

/// Runs what waits for others.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A lookup that hangs is not waited for.
    runtime.shutdown_background();
    outcome
}

fn spinner(what: &str) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(rmcp_guard::evidence::escape_for_display(what));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
