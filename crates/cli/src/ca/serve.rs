//! `ca serve`: connections, their limits, and an orderly end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::ca::api::Peer;

/// Connections at one time; further ones wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 512;
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// To send the head of a request, and to stay silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest head: an API key, a badge, and a path with a DID of 2 KiB.
const MAX_HEAD_BYTES: usize = 48 * 1024;
/// After this long a connection is asked to end, so that nobody keeps one by reading slowly.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// What a connection that was asked to end still gets.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What the connections of a listener get.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) app: Router,
    /// Where TLS is spoken: what those who begin without it get, if anything.
    pub(crate) plain: Option<Router>,
}

/// Serves `routes` on `listener` until `stop` completes.
pub(crate) async fn serve(listener: TcpListener, routes: Routes, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, routes.clone(), stopped.clone()));
                }
                // The caller is gone, or we are out of file descriptors; the second passes when connections end.
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    drop(stopping);
    while connections.join_next().await.is_some() {}
}

/// The first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

async fn connection(stream: TcpStream, peer: SocketAddr, routes: Routes, stopped: watch::Receiver<()>) {
    let Routes { tls, app, plain } = routes;
    // Answers are small and written at once; waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return requests(stream, peer.ip(), app, stopped).await };
    if let Some(plain) = plain {
        let mut first = [0];
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first != [TLS_HANDSHAKE] => return requests(stream, peer.ip(), plain, stopped).await,
            Ok(Ok(1)) => {}
            _ => return,
        }
    }
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, peer.ip(), app, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn requests<S>(stream: S, peer: IpAddr, app: Router, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(app.layer(Extension(Peer(peer))));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = connection.as_mut() => return ended(result),
        _ = stopped.changed() => {}
        () = tokio::time::sleep(CONNECTION_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = tokio::time::timeout(LAST_WORDS, connection).await {
        ended(result);
    } else {
        tracing::debug!("a connection was cut off");
    }
}

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Completes on SIGINT or SIGTERM. The handlers are in place when this returns.
#[cfg(unix)]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
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
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
