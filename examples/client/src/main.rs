//! `verified-client`: calls the tools of an MCP server, once the server has proved who it is.
//!
//! Exit codes: 0 done, 1 other failure, 2 usage, 3 server not verified, 4 denied, 5 tool error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks on these two")]

mod badge;
mod failure;
mod network;
mod output;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use rmcp::model::{CallToolRequestParams, JsonObject};
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::remote::{DidWebDocuments, OnlineStatus};
use rmcp_guard::identity::server::{Channel, HttpOrigin};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::{Issuer, IssuerError};
use rmcp_guard::layer::client::{VerifiedClient, VerifiedClientBuilder, denial_of};
use tokio::process::Command;

use failure::Failure;
use output::Output;

/// Calls the tools of an MCP server, once the server has proved who it is.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "EXIT CODES:\n  0 done, 1 other failure, 2 usage, 3 server not verified, 4 denied, 5 tool error"
)]
struct Cli {
    #[command(subcommand)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Connection {
    /// Start a server and talk to it over its standard input and output.
    Stdio {
        #[command(flatten)]
        options: Options,
        /// An environment variable that the server may see, beside PATH, HOME, locale and the like; may be repeated.
        #[arg(long, value_name = "NAME")]
        pass_env: Vec<OsString>,
        /// The server's command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Talk to a streamable HTTP endpoint: https, or http on this machine.
    Http {
        #[command(flatten)]
        options: Options,
        /// The endpoint, such as `https://files.example.com/mcp`.
        url: String,
    },
}

#[derive(Debug, Args)]
struct Options {
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    badge: badge::BadgeArgs,
    /// Call this tool; without it, the tools are listed.
    #[arg(long, value_name = "TOOL")]
    call: Option<String>,
    /// The arguments of the call, as a JSON object.
    #[arg(long, value_name = "JSON", requires = "call", value_parser = json_object)]
    args: Option<JsonObject>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What the server must be.
#[derive(Debug, Args)]
struct Trust {
    /// The https origin of an issuer whose badges are trusted. Its keys are fetched from there unless `--jwks` is given.
    #[arg(long, value_name = "ORIGIN")]
    issuer: Option<String>,
    /// The issuer's JWK set, in place of the one that it publishes.
    #[arg(long, value_name = "FILE", requires = "issuer")]
    jwks: Option<PathBuf>,
    /// What the issuer may vouch for, such as `did:web:files.example.com`, in place of every did:key and the did:web of its
    /// own host; may be repeated.
    #[arg(long, value_name = "PATTERN", requires = "issuer")]
    subject: Vec<String>,
    /// A did:key whose self-signed badges are trusted, level 0.
    #[arg(long = "trust-self-signed", value_name = "DID")]
    self_signed: Option<Did>,
    /// A DID that the server may have; required over stdio and for did:key. May be repeated.
    #[arg(long, value_name = "DID")]
    expect_did: Vec<String>,
    /// The lowest trust level that the server's badge must carry, 0 to 4.
    #[arg(long, value_name = "N")]
    min_level: Option<TrustLevel>,
    /// The list of revoked badges. Levels 2 to 4 need one, unless the issuer is asked, as it is without `--jwks`.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_no_revocation")]
    revocations: Option<PathBuf>,
    /// Accept badges of every level without asking for their revocation.
    #[arg(long)]
    insecure_no_revocation: bool,
    /// Fetch the server's DID document from its host, instead of taking the issuer's word for its key.
    #[arg(long)]
    resolve_did: bool,
    #[command(flatten)]
    network: network::NetworkArgs,
}

fn main() -> ExitCode {
    let Cli { connection } = Cli::parse();
    let (Connection::Stdio { options, .. } | Connection::Http { options, .. }) = &connection;
    let output = Output::new(options.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failed(&Failure::Other(error.to_string())),
    };
    match runtime.block_on(Box::pin(run(connection, &output))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failed(&failure),
    }
}

async fn run(connection: Connection, output: &Output) -> Result<(), Failure> {
    let (client, options) = match connection {
        Connection::Stdio { options, pass_env, command } => {
            let mut words = command.into_iter();
            let program = words.next().ok_or_else(|| Failure::Usage("the server's command is missing".to_owned()))?;
            let mut command = Command::new(program);
            command.args(words);
            let builder = pass_env.into_iter().fold(builder(&options, None).await?, VerifiedClientBuilder::pass_env);
            (builder.connect_command(command).await, options)
        }
        Connection::Http { options, url } => (builder(&options, Some(&url)).await?.connect_http(&url).await, options),
    };
    let client = client?;
    let done = ask(&client, options, output).await;
    // However the call ended: the connection ends in order, and a child process is waited for.
    let _ = client.cancel().await;
    done
}

async fn builder(options: &Options, url: Option<&str>) -> Result<VerifiedClientBuilder, Failure> {
    let Trust {
        issuer,
        jwks,
        subject,
        self_signed,
        expect_did,
        min_level,
        revocations,
        insecure_no_revocation,
        resolve_did,
        network,
    } = &options.trust;
    let mut builder = VerifiedClient::builder();
    let limited = |issuer: Result<Issuer, IssuerError>| match issuer {
        Ok(issuer) if subject.is_empty() => Ok(issuer),
        Ok(issuer) => issuer.subjects(subject).map_err(Failure::usage("--subject")),
        Err(error) => Err(Failure::usage("--issuer, --jwks")(error)),
    };
    match (issuer, jwks) {
        (None, _) => {}
        (Some(origin), Some(file)) => builder = builder.trusted_issuer(limited(Issuer::jwks_file(origin, file))?),
        (Some(origin), None) => {
            let fetcher = network.fetcher()?;
            builder = builder.trusted_issuer(limited(Issuer::discover(origin, fetcher.clone()))?);
            if revocations.is_none() && !insecure_no_revocation {
                // This program asks about one badge, once: no list is worth its copy.
                builder = builder.revocations(Revocations::online(Arc::new(OnlineStatus::new(fetcher))));
            }
        }
    }
    if *resolve_did {
        builder = builder.did_documents(Arc::new(DidWebDocuments::new(network.fetcher()?)));
    }
    builder = network.apply(builder)?;
    if let Some(did) = self_signed {
        builder = builder.trusted_self_signed(did.clone());
    }
    for did in expect_did {
        builder = builder.expect_did(did);
    }
    if let Some(level) = min_level {
        builder = builder.min_trust_level(*level);
    }
    if let Some(file) = revocations {
        builder = builder.revocations(Revocations::file(file));
    }
    if *insecure_no_revocation {
        builder = builder.insecure_no_revocation();
    }
    let channel = url.and_then(|url| Channel::http(url).ok());
    let origin = channel.as_ref().and_then(Channel::origin).map(HttpOrigin::as_str);
    if let Some(badge) = options.badge.load(origin, || network.fetcher()).await? {
        builder = builder.badge(badge);
    }
    Ok(builder)
}

async fn ask(client: &VerifiedClient, options: Options, output: &Output) -> Result<(), Failure> {
    let server = client.server();
    let Some(tool) = options.call else {
        let tools = client.list_all_tools().await.map_err(|error| Failure::of_call(client, "tools/list", &error))?;
        output.tools(&server, &tools);
        return Ok(());
    };
    let call = CallToolRequestParams::new(tool.clone()).with_arguments(options.args.unwrap_or_default());
    let result = client.call_tool(call).await.map_err(|error| Failure::of_call(client, &tool, &error))?;
    if let Some(denial) = denial_of(&result) {
        return Err(Failure::Denied { tool, denial });
    }
    output.result(&server, &tool, &result);
    if result.is_error == Some(true) { Err(Failure::Tool(None)) } else { Ok(()) }
}

fn json_object(text: &str) -> Result<JsonObject, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
