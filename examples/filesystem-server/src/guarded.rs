//! The filesystem server behind its guard, on either transport.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use rmcp::service::ServerInitializeError;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt as _};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::identity::server::ServerIdentity;
use rmcp_guard::layer::guard::{Guard, GuardLayer};
use rmcp_guard::layer::identity::IdentityLayer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, ServiceBuilder};

use crate::tools::FilesystemServer;

/// How long calls in flight may take to end once the server is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A [`FilesystemServer`] behind a guard, and what it says about itself.
///
/// The guard is built once; every transport, session and request runs in a clone of it, so that caches, the table of
/// sessions and the evidence log are shared.
#[derive(Clone, Debug)]
pub struct GuardedServer {
    service: Guard<FilesystemServer>,
    guard: GuardLayer,
    identity: Option<IdentityLayer>,
}

/// What an HTTP endpoint accepts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Serve every request by itself, without sessions.
    pub stateless: bool,
    /// Hosts (`files.example.com`, `files.example.com:8443`) that a request may name beside this machine's own names.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call; without one, every request that a browser sends for a page is refused.
    pub allowed_origins: Vec<String>,
}

impl GuardedServer {
    /// Puts a guard that decides by `config` around `server`.
    #[must_use]
    pub fn new(server: FilesystemServer, config: GuardConfig) -> Self {
        let guard = GuardLayer::new(config);
        Self { service: guard.layer(server), guard, identity: None }
    }

    /// Discloses and proves `identity` to clients that ask.
    #[must_use]
    pub fn with_identity(mut self, identity: ServerIdentity) -> Self {
        self.identity = Some(IdentityLayer::new(identity));
        self
    }

    /// Serves one client until it closes its end or `shutdown` completes; then calls in flight have
    /// [`SHUTDOWN_GRACE`] to end.
    ///
    /// Cancel safety: a dropped future ends the connection.
    ///
    /// # Errors
    /// The client's handshake failed, or the connection broke.
    pub async fn serve_io<R, W>(&self, read: R, write: W, shutdown: impl Future<Output = ()>) -> io::Result<()>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        // Boxed: rmcp's futures are large, and this one lives as long as the process.
        match &self.identity {
            Some(identity) => Box::pin(serve(identity.layer(self.service.clone()), read, write, shutdown)).await,
            None => Box::pin(serve(self.service.clone(), read, write, shutdown)).await,
        }
    }

    /// Serves `http://<listener>/mcp` until `shutdown` completes; then calls in flight have [`SHUTDOWN_GRACE`] to end.
    ///
    /// Cancel safety: a dropped future stops listening.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve_http(
        &self,
        listener: TcpListener,
        options: HttpOptions,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let config = http_config(options);
        let sessions_end = config.cancellation_token.clone();
        let app = match &self.identity {
            Some(identity) => self.router(identity.layer(self.service.clone()), config),
            None => self.router(self.service.clone(), config),
        };
        let listener = listener.tap_io(|stream| send_at_once(stream));
        let stopped = sessions_end.clone();
        let serving = axum::serve(listener, app).with_graceful_shutdown(async move { stopped.cancelled().await });
        let mut serving = pin!(serving.into_future());
        tokio::select! {
            ended = &mut serving => return ended,
            () = shutdown => sessions_end.cancel(),
        }
        tokio::time::timeout(SHUTDOWN_GRACE, serving).await.unwrap_or(Ok(()))
    }

    fn router<S: ServerHandler + Clone>(&self, service: S, config: StreamableHttpServerConfig) -> Router {
        let sessions = Arc::new(LocalSessionManager::default());
        let mcp = StreamableHttpService::new(move || Ok(service.clone()), sessions, config);
        let endpoint =
            ServiceBuilder::new().option_layer(self.identity.clone()).layer(self.guard.session_layer()).service(mcp);
        Router::new().nest_service("/mcp", endpoint)
    }
}

/// Host and Origin are checked, since a web page can make its visitor's browser send requests to this machine.
fn http_config(options: HttpOptions) -> StreamableHttpServerConfig {
    let HttpOptions { stateless, allowed_hosts, allowed_origins } = options;
    let config = StreamableHttpServerConfig::default();
    let hosts = [config.allowed_hosts.clone(), allowed_hosts].concat();
    config
        .with_allowed_hosts(hosts)
        .with_allowed_origins(allowed_origins)
        .enforce_origin_validation()
        .with_legacy_session_mode(!stateless)
}

/// Sets `TCP_NODELAY`. Without it an event can wait 40 ms for the acknowledgement of the headers before it.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

async fn serve<S, R, W>(service: S, read: R, write: W, shutdown: impl Future<Output = ()>) -> io::Result<()>
where
    S: ServerHandler,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let mut shutdown = pin!(shutdown);
    let started = tokio::select! {
        started = service.serve((read, write)) => started,
        () = &mut shutdown => return Ok(()),
    };
    let running = match started {
        Ok(running) => running,
        // A client that leaves before its handshake is no failure of ours.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let stop = running.cancellation_token();
    let mut ended = pin!(running.waiting());
    let ended = tokio::select! {
        ended = &mut ended => ended,
        () = shutdown => {
            stop.cancel();
            match tokio::time::timeout(SHUTDOWN_GRACE, ended).await {
                Ok(ended) => ended,
                Err(_) => return Ok(()),
            }
        }
    };
    ended.map(|_| ()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guard that costs 40 ms a call is one that people take off.
    #[tokio::test]
    async fn s37_answers_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap());
        send_at_once(&stream);
        assert!(stream.nodelay().unwrap());
    }
}
