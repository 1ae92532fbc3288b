//! An HTTP server as the tool in crates/bench has it: on loopback, its address on standard output, until standard input ends.

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::io::{AsyncReadExt as _, stdin};
use tokio::net::TcpListener;

pub async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub fn tell(listener: &TcpListener) {
    println!("http://{}/mcp", listener.local_addr().unwrap());
}

/// Until the caller is gone.
pub async fn until_left() {
    stdin().read_to_end(&mut Vec::new()).await.unwrap();
}

pub async fn serve(app: Router) {
    let listener = bind().await;
    tell(&listener);
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    until_left().await;
}
