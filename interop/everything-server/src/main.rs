//! `everything-server`: what the official conformance suite asks of a server, bare or behind a guard.
//!
//! The two differ in the guard and in nothing else, so that whatever the suite finds different is the guard's doing.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks on these two")]
#![expect(deprecated, reason = "revisions before 2026-07-28 have sampling, logging and subscriptions of their own")]

mod fixtures;
mod rounds;
mod server;
mod tasks;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::serve::ListenerExt as _;
use clap::{ArgGroup, Parser};
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::layer::headers;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, ServiceBuilder};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::server::Everything;

/// Everything that the conformance suite asks of a server, over streamable HTTP at /mcp.
///
/// Prints its URL when it is ready, and when it is told to stop, how often each tool ran.
#[derive(Debug, Parser)]
#[command(group(ArgGroup::new("mode").required(true).args(["bare", "guarded"])))]
struct Arguments {
    /// Without a guard.
    #[arg(long)]
    bare: bool,
    /// Behind a guard that decides by this configuration.
    #[arg(long, value_name = "FILE")]
    guarded: Option<PathBuf>,
    /// Adds an API key to every request, as a gateway would that stands before the server.
    #[arg(long, value_name = "KEY", requires = "guarded")]
    gateway_key: Option<HeaderValue>,
    /// Logs all that the guard says to standard error, a line for each record included.
    #[arg(long, requires = "guarded")]
    log: bool,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
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
    let stop = stop_signal()?;
    if arguments.log {
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let guard = Targets::new().with_target("rmcp_guard", LevelFilter::TRACE);
        tracing_subscriber::registry().with(guard).with(lines).init();
    }
    let server = Everything::new().context("fixtures.json")?;
    let (app, evidence) = match arguments.guarded {
        None => (Router::new().nest_service("/mcp", endpoint(server.clone())), None),
        Some(file) => {
            let config = GuardConfig::builder().file(&file).build().with_context(|| file.display().to_string())?;
            let evidence = config.evidence().clone();
            let guard = GuardLayer::new(config);
            let key = arguments.gateway_key;
            let guarded = ServiceBuilder::new()
                .map_request(move |mut request: Request<Body>| {
                    if let Some(key) = &key {
                        request.headers_mut().insert(headers::API_KEY, key.clone());
                    }
                    request
                })
                .layer(guard.session_layer())
                .service(endpoint(guard.layer(server.clone())));
            (Router::new().nest_service("/mcp", guarded), Some(evidence))
        }
    };
    let listener = TcpListener::bind(arguments.listen).await?;
    say(&format!("http://{}/mcp", listener.local_addr()?))?;
    tokio::select! {
        ended = axum::serve(listener.tap_io(|stream| send_at_once(stream)), app).into_future() => ended?,
        () = stop => {}
    }
    if let Some(evidence) = evidence {
        evidence.close();
    }
    say(&json!({"runs": server.runs()}).to_string())
}

fn endpoint<S: rmcp::ServerHandler + Clone>(server: S) -> StreamableHttpService<S, LocalSessionManager> {
    let sessions = Arc::new(LocalSessionManager::default());
    StreamableHttpService::new(move || Ok(server.clone()), sessions, StreamableHttpServerConfig::default())
}

/// Sets `TCP_NODELAY`. Without it an event can wait 40 ms for the acknowledgement of the headers before it.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("TCP_NODELAY: {error}");
    }
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

/// Completes on SIGTERM or Ctrl-C (on Windows on Ctrl-C). The handlers are in place when this returns.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
