//! `conformance-client`: what the official conformance suite asks of a client, by a bare rmcp client or by a verified one.
//!
//! The two do the same. The suite's servers have no identity, which a verified client refuses as it should; so for it
//! they are reached by a [`relay`] that has one.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program talks on these two, the suite talks to it in its environment, and the relay serves beside the client"
)]

mod handler;
mod relay;
mod scenarios;

use std::env;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgGroup, Parser};
use rmcp::model::ProtocolVersion;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::layer::client::{Lifecycle, VerifiedClient};
use serde_json::Value;

use crate::handler::Handler;
use crate::relay::Relay;

/// Plays one scenario against a server of the suite, which says in its environment which.
#[derive(Debug, Parser)]
#[command(group(ArgGroup::new("mode").required(true).args(["bare", "verified"])))]
struct Arguments {
    /// As a bare rmcp client.
    #[arg(long)]
    bare: bool,
    /// As a verified client with a badge, through a relay that gives the server an identity.
    #[arg(long)]
    verified: bool,
    /// The server.
    url: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO").context("MCP_CONFORMANCE_SCENARIO")?;
    let revision = env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").context("MCP_CONFORMANCE_PROTOCOL_VERSION")?;
    let context = match env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(text) => serde_json::from_str(&text).context("MCP_CONFORMANCE_CONTEXT")?,
        Err(_) => Value::Null,
    };
    scenarios::check_is_known(&scenario)?;
    let revision: ProtocolVersion = serde_json::from_value(Value::String(revision))?;
    let discovers = revision == ProtocolVersion::V_2026_07_28;
    let handler = Handler::new(revision.clone());
    if arguments.bare {
        let mode = if discovers {
            ClientLifecycleMode::Discover { preferred_versions: vec![revision] }
        } else {
            ClientLifecycleMode::Initialize
        };
        let transport = StreamableHttpClientTransport::from_uri(arguments.url);
        let client = handler.serve_with_lifecycle(transport, mode).await.context("connecting")?;
        let played = scenarios::play(&scenario, &context, &client).await;
        client.cancel().await?;
        return played;
    }
    let relay = Relay::start(&arguments.url).await.context("the relay")?;
    let client = VerifiedClient::builder()
        .handler(handler)
        .trusted_issuer(relay.issuer()?)
        .min_trust_level(TrustLevel::Registered)
        .expect_did(relay.did())
        .badge(relay.caller_badge())
        .lifecycle(if discovers { Lifecycle::Discover } else { Lifecycle::Initialize })
        .connect_http(relay.url())
        .await
        .context("connecting")?;
    let played = scenarios::play(&scenario, &context, &client).await;
    let server = client.server();
    client.cancel().await?;
    println!("{}", relay.report(server.did())?);
    played
}
