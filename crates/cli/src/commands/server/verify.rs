//! `server verify`: a handshake as a verified client makes it, and what came of each check.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rmcp_guard::VerifiedClient;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::remote::DidWebDocuments;
use rmcp_guard::identity::server::{HttpOrigin, ServerErrorCode, ServerVerifyError, VerifiedServer};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::layer::client::{ConnectError, VerifiedClientBuilder};
use serde_json::json;

use super::checks::{Asked, Outcomes};
use crate::exit::{Exit, Failure};
use crate::network::{self, NetworkArgs, Revocation, TrustArgs};
use crate::output::{Output, Text, time};

/// Connect to a server, verify who it is, and say how each check came out. No tool is called and no credential leaves.
///
/// Over stdio the server's DID has to be named with --expect-did, since nothing else ties an identity to a pipe. The
/// command gets a small environment: what a program needs to find files, a locale and a home.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard server verify https://files.example.com/mcp \\\n    \
    --issuer https://registry.example.com --online --min-level 2\n  \
    rmcp-guard server verify --issuer https://registry.example.com --jwks registry.jwks.json \\\n    \
    --insecure-no-revocation --expect-did did:web:files.example.com -- filesystem-server stdio")]
pub(crate) struct Verify {
    /// The server's endpoint.
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    url: Option<String>,
    /// The command that starts the server, and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
    /// The https origin of the issuer that is trusted.
    #[arg(long, value_name = "ORIGIN", required_unless_present = "accept_level_zero")]
    issuer: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Accept a badge that the server signed itself; take it together with --expect-did.
    #[arg(long)]
    accept_level_zero: bool,
    /// The server's DID; may be repeated.
    #[arg(long, value_name = "DID")]
    expect_did: Vec<Did>,
    /// The trust level that the server's badge must have at least.
    #[arg(long, value_name = "LEVEL")]
    min_level: Option<TrustLevel>,
    /// Seconds that the handshake may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Verify {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let revocation = self.trust.revocation(&self.network)?;
        let asked = Asked {
            expected_did: !self.expect_did.is_empty(),
            level: self.min_level.is_some(),
            revocation: matches!(revocation, Revocation::Ask(_)),
        };
        let builder = self.builder(revocation)?;
        let verified = network::wait("verifying the server", async {
            let connected = match &self.url {
                Some(url) => builder.http_client(self.http_client()?).connect_http(url).await,
                None => builder.connect_command(self.child()).await,
            };
            match connected {
                Ok(client) => {
                    let server = client.server();
                    // The answer is in; how the connection ends changes nothing about it.
                    let _ = client.cancel().await;
                    Ok(Ok(server))
                }
                Err(ConnectError::Identity(error)) => Ok(Err(error)),
                Err(error) => Err(self.not_connected(error)),
            }
        })?;
        match verified {
            Ok(server) => report_verified(output, &server, &Outcomes::of(None, asked)),
            Err(error) => self.report_failed(output, &error, &Outcomes::of(Some(&error), asked)),
        }
    }

    fn builder(&self, revocation: Revocation) -> Result<VerifiedClientBuilder, Failure> {
        let mut builder = VerifiedClient::builder()
            .accept_level_zero(self.accept_level_zero)
            .handshake_timeout(Duration::from_secs(self.timeout))
            .did_documents(Arc::new(DidWebDocuments::new(self.network.fetcher()?)));
        if let Some(origin) = &self.issuer {
            builder = builder.trusted_issuer(self.trust.issuer(origin, &self.network)?);
        }
        builder = match revocation {
            Revocation::Ask(revocations) => builder.revocations(revocations),
            Revocation::Waived => builder.insecure_no_revocation(),
            Revocation::Unknown => builder,
        };
        for did in &self.expect_did {
            builder = builder.expect_did(did.as_str());
        }
        if let Some(level) = self.min_level {
            builder = builder.min_trust_level(level);
        }
        Ok(if self.network.allows_loopback() { builder.dangerous_loopback_http() } else { builder })
    }

    fn http_client(&self) -> Result<reqwest::ClientBuilder, Failure> {
        let mut roots = Vec::new();
        for pem in self.network.roots()? {
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            roots.extend(certificates.map_err(|_| {
                Failure::new("--root-cert: the root certificate is not a PEM certificate").with_exit(Exit::Input)
            })?);
        }
        Ok(reqwest::Client::builder().tls_certs_merge(roots).connect_timeout(Duration::from_secs(self.timeout)))
    }

    fn child(&self) -> tokio::process::Command {
        let mut words = self.command.iter();
        let mut command = tokio::process::Command::new(words.next().cloned().unwrap_or_default());
        command.args(words);
        command
    }

    fn not_connected(&self, error: ConnectError) -> Failure {
        let exit = if matches!(error, ConnectError::Config(_)) { Exit::Usage } else { Exit::Network };
        let server = self.url.clone().or_else(|| Some(self.command.first()?.to_string_lossy().into_owned()));
        Failure::from(error).about(server.unwrap_or_default()).with_exit(exit)
    }

    fn report_failed(&self, output: Output, error: &ServerVerifyError, outcomes: &Outcomes) -> Result<(), Failure> {
        let facts = error.result();
        let json = json!({
            "verified": false,
            "state": facts.state.as_str(),
            "code": error.code().code(),
            "detail": error.detail(),
            "did": facts.server_did.as_ref().map(Did::as_str),
            "trust_level": facts.trust_level.map(TrustLevel::as_u8),
            "badge_jti": facts.badge_jti,
            "expires_at": null,
            "origin": null,
            "origin_bound": facts.origin_bound,
            "pop_verified": facts.pop_verified,
            "checks": outcomes.to_json(),
        });
        let text = Text::default()
            .field("verified", "no")
            .field("state", facts.state)
            .field("code", error.code())
            .field("detail", error.detail())
            .maybe("did", facts.server_did.as_ref())
            .maybe("level", facts.trust_level)
            .maybe("badge", facts.badge_jti.as_deref());
        output.result(&json, &outcomes.add_to(text.line("checks")))?;
        // What could not be asked is worth another attempt.
        let code = error.code();
        let unasked = code == ServerErrorCode::KeyFetchFailed
            || (code == ServerErrorCode::RevocationCheckFailed && self.trust.is_online());
        let exit = if unasked { Exit::Network } else { Exit::Failed };
        Err(Failure::answered().with_exit(exit))
    }
}

fn report_verified(output: Output, server: &VerifiedServer, outcomes: &Outcomes) -> Result<(), Failure> {
    let origin = server.origin().map(HttpOrigin::as_str);
    let json = json!({
        "verified": true,
        "state": server.state().as_str(),
        "code": null,
        "detail": null,
        "did": server.did().as_str(),
        "trust_level": server.trust_level().as_u8(),
        "badge_jti": server.badge_jti(),
        "expires_at": server.expires_at().as_i64(),
        "origin": origin,
        "origin_bound": server.origin_bound(),
        "pop_verified": server.pop_verified(),
        "checks": outcomes.to_json(),
    });
    let text = Text::default()
        .field("verified", "yes")
        .field("state", server.state())
        .field("did", server.did())
        .field("level", server.trust_level())
        .field("badge", server.badge_jti())
        .field("expires", time(server.expires_at()))
        .maybe("origin", origin)
        .line("checks");
    output.result(&json, &outcomes.add_to(text))
}
