//! https servers on this machine: one that may be reached, and others on the same port that stand for what must not be.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// RFC 8037 appendix A.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","alg":"EdDSA","use":"sig"}]}"#;

/// The names that the allowed server has a certificate for.
const NAMES: &[&str] =
    &["*.example.com", "registry.internal", "registry", "localhost", "127.0.0.1", "xn--bcher-kva.example"];

pub struct Places {
    pub port: u16,
    pub root_pem: String,
    /// Connections, by the address that was reached.
    hits: Arc<Mutex<HashMap<SocketAddr, usize>>>,
    /// Where a request whose `Host` begins with `moved` is sent.
    location: Arc<Mutex<String>>,
}

impl Places {
    pub async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();

        let allowed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = allowed.local_addr().unwrap().port();
        let root = base64::engine::general_purpose::STANDARD.encode(authority.der());
        let lines: Vec<&str> = root.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let root_pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        let places = Self { port, root_pem, hits: Arc::default(), location: Arc::default() };
        places.serve(allowed, TlsAcceptor::from(Arc::new(config.clone())));
        // Not every machine has all of these; what is not there cannot be reached either.
        for forbidden in ["127.0.0.2", "[::1]"] {
            if let Ok(listener) = TcpListener::bind(format!("{forbidden}:{port}")).await {
                places.serve(listener, TlsAcceptor::from(Arc::new(config.clone())));
            }
        }
        places
    }

    fn serve(&self, listener: TcpListener, tls: TlsAcceptor) {
        let (hits, location) = (Arc::clone(&self.hits), Arc::clone(&self.location));
        Handle::current().spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                *hits.lock().unwrap().entry(tcp.local_addr().unwrap()).or_default() += 1;
                Handle::current().spawn(answer(tcp, tls.clone(), Arc::clone(&location)));
            }
        });
    }

    pub fn move_to(&self, location: &str) {
        location.clone_into(&mut self.location.lock().unwrap());
    }

    /// Connections to the allowed server and to all others, since the last call.
    pub fn take_hits(&self) -> (usize, usize) {
        let allowed = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut hits = std::mem::take(&mut *self.hits.lock().unwrap());
        (hits.remove(&allowed).unwrap_or(0), hits.values().sum())
    }
}

/// Answers one request with keys, or with a redirect for a host that moved.
async fn answer(tcp: TcpStream, tls: TlsAcceptor, location: Arc<Mutex<String>>) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    let mut stream = BufReader::new(stream);
    let mut moved = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        moved |= line.to_ascii_lowercase().starts_with("host: moved");
        if line == "\r\n" {
            break;
        }
    }
    let text = if moved {
        let location = location.lock().unwrap().clone();
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    } else {
        let length = JWKS.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{JWKS}"
        )
    };
    // a client that went away is no failure of the test
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
