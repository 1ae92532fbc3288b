//! `filesystem-server`: the files below one directory as MCP tools, behind a guard.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks on these two")]

mod demo;
mod files;
mod identity;
mod network;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser};
use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use rmcp_guard::enforce::{GuardConfig, GuardConfigBuilder, LOG_LEVEL_VARIABLE, LogLevel, log_level_from_env};
use tokio::net::TcpListener;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use identity::{IdentityArgs, Watch};
use network::NetworkArgs;

/// How long the process waits at its end for a blocking operation, such as a read of standard input that nobody ends.
const EXIT_GRACE: Duration = Duration::from_millis(200);

/// The files below one directory as MCP tools, behind a guard.
///
/// The log goes to standard error; `CAPISCIO_LOG_LEVEL` (off, error, warn, info, debug, trace) sets its level.
/// `CAPISCIO_SERVER_ORIGIN` is the origin that evidence names as ours.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Serve one client over standard input and output.
    Stdio(ServeArgs),
    /// Serve over streamable HTTP at /mcp; prints `listening on http://ADDR/mcp` to standard error when ready.
    Http(HttpArgs),
    /// Show it all on this machine: keys, badges, a guarded server over stdio and HTTP, a verified client, evidence.
    Demo {
        /// Leave keys, badges, configuration and evidence in this new directory.
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The directory whose files are served; nothing outside it is reachable.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Who may use which tool, as in `filesystem.toml`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(Debug, Args)]
struct HttpArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve every request by itself, without sessions.
    #[arg(long)]
    stateless: bool,
    /// A host that requests may name beside localhost, such as `files.example.com`; may be repeated.
    #[arg(long, value_name = "HOST")]
    allowed_host: Vec<String>,
    /// The origin of a web page that may call; may be repeated.
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Vec<String>,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match start(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<()> {
    let asked = log_level_from_env().context(LOG_LEVEL_VARIABLE)?;
    // The demonstration provokes what the log would warn of, and tells about it itself.
    let quiet = matches!(command, Command::Demo { .. }) && std::env::var_os(LOG_LEVEL_VARIABLE).is_none();
    log_to_stderr(if quiet { LogLevel::Error } else { asked });
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        match command {
            Command::Stdio(arguments) => Box::pin(stdio(arguments)).await,
            Command::Http(arguments) => Box::pin(http(arguments)).await,
            Command::Demo { keep } => Box::pin(demo::run(keep)).await,
        }
    });
    // A pending read of standard input cannot be cancelled; the process does not wait for it.
    runtime.shutdown_timeout(EXIT_GRACE);
    result
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // rmcp logs session ids and its peer's badge from `info` on, and requests with their arguments from `debug` on.
    let targets = Targets::new().with_default(level).with_target("rmcp", level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

async fn stdio(arguments: ServeArgs) -> Result<()> {
    let stop = stop_signal()?;
    let (server, watch) = prepare(arguments, None).await?;
    let (read, write) = rmcp::transport::io::stdio_pipes();
    alongside(watch, server.serve_io(read, write, stop)).await.context("serving")
}

async fn http(arguments: HttpArgs) -> Result<()> {
    let HttpArgs { serve, listen, stateless, allowed_host, allowed_origin } = arguments;
    let stop = stop_signal()?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr()?;
    let local = address.ip().is_loopback();
    ensure!(local || !serve.network.is_for_development(), "--dangerous-loopback: listen on a loopback address only");
    let (server, watch) = prepare(serve, Some(address)).await?;
    let mut options = HttpOptions::default();
    options.stateless = stateless;
    options.allowed_hosts = allowed_host;
    options.allowed_origins = allowed_origin;
    if !local {
        tracing::warn!("plain http on an address that other machines reach: put a proxy that speaks TLS in front");
    }
    eprintln!("listening on http://{address}/mcp");
    alongside(watch, server.serve_http(listener, options, stop)).await.context("serving")
}

/// Reads the configuration and the identity; everything that can be wrong is found before the first request.
async fn prepare(arguments: ServeArgs, listening: Option<SocketAddr>) -> Result<(GuardedServer, Watch)> {
    let ServeArgs { root, config, identity, network } = arguments;
    let fetcher = network.fetcher()?;
    let (identity, badge) = identity.load(listening, fetcher.as_ref()).await?;
    let mut builder = network.apply(GuardConfig::builder().file(&config).environment(), fetcher);
    if let Some(identity) = &identity {
        // Our own public badge is no credential of a caller.
        builder = builder.own_identity(identity);
    }
    let server = FilesystemServer::new(&root).with_context(|| format!("opening {}", root.display()))?;
    let config = build(builder, &config)?;
    let sources = network::watch_sources(config.clone());
    let mut server = GuardedServer::new(server, config);
    if let Some(identity) = identity {
        server = server.with_identity(identity);
    }
    Ok((server, Box::pin(async { _ = tokio::join!(badge, sources) })))
}

fn build(builder: GuardConfigBuilder, file: &Path) -> Result<GuardConfig> {
    let config = builder.build().map_err(|error| {
        let mistakes: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} cannot be used:\n  {}", file.display(), mistakes.join("\n  "))
    })?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    tracing::info!(policy_version = config.policy().version(), digest = config.digest(), "policy");
    Ok(config)
}

/// Runs `watch` for as long as `serving` goes on.
async fn alongside<T>(watch: Watch, serving: impl Future<Output = T>) -> T {
    tokio::select! {
        served = serving => served,
        never = async { watch.await; std::future::pending().await } => never,
    }
}

/// Completes on SIGINT or SIGTERM (on Windows on Ctrl-C). The handlers are in place when this returns.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
