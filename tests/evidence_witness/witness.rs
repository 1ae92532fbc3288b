//! A witness of a few lines (c2sp.org/tlog-witness), over HTTP on this machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use rmcp_guard::evidence::checkpoint::VerifiedCheckpoint;
use rmcp_guard::evidence::merkle::{Hash, verify_consistency};
use rmcp_guard::evidence::note::{SignatureType, VerifierKey};
use rmcp_guard::evidence::witness::Witness;
use tokio::net::TcpListener;

/// How the witness misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    Honest,
    /// Answers 200 with something that is no signature.
    Garbage,
    /// Answers 200 with a signature of its own key over another text.
    SignsSomethingElse,
    /// Always says that it has this size.
    Claims(u64),
    Fails(u16),
}

#[derive(Clone)]
struct Desk {
    name: &'static str,
    key: SigningKey,
    log_keys: Arc<[VerifierKey]>,
    seen: Arc<Mutex<HashMap<String, (u64, Hash)>>>,
    temper: Temper,
}

/// Starts a witness that knows logs by `log_keys`.
pub(crate) async fn start(name: &'static str, log_keys: &[VerifierKey], temper: Temper) -> Witness {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let key = SigningKey::from_bytes(&seed);
    let public = VerifierKey::new(name, SignatureType::CosignatureV1, &key.verifying_key().to_bytes()).unwrap();
    let desk = Desk { name, key, log_keys: log_keys.into(), seen: Arc::default(), temper };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let app = Router::new().route("/prefix/add-checkpoint", post(add_checkpoint)).with_state(desk);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Witness::new(public, url).unwrap()
}

async fn add_checkpoint(State(desk): State<Desk>, body: String) -> Response {
    match desk.temper {
        Temper::Honest => {}
        Temper::Garbage => return "\u{2014} w.example AAAA\n".into_response(),
        Temper::SignsSomethingElse => return desk.cosignature("another\n1\nAAAA\n").into_response(),
        Temper::Claims(size) => return (StatusCode::CONFLICT, format!("{size}\n")).into_response(),
        Temper::Fails(status) => return StatusCode::from_u16(status).unwrap().into_response(),
    }
    let (head, note) = body.split_once("\n\n").unwrap();
    let mut head = head.lines();
    let old: u64 = head.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Hash> = head.map(|line| line.parse().unwrap()).collect();
    let Ok(verified) = VerifiedCheckpoint::verify(note.as_bytes(), &desk.log_keys) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let checkpoint = verified.checkpoint();
    let mut seen = desk.seen.lock().unwrap();
    let (size, root) = *seen.entry(checkpoint.origin.clone()).or_insert((0, Hash::of_empty_tree()));
    if old != size || checkpoint.size == size && checkpoint.root != root {
        return (StatusCode::CONFLICT, [("content-type", "text/x.tlog.size")], format!("{size}\n")).into_response();
    }
    if verify_consistency((old, &root), (checkpoint.size, &checkpoint.root), &proof).is_err() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    seen.insert(checkpoint.origin.clone(), (checkpoint.size, checkpoint.root));
    desk.cosignature(&checkpoint.to_text()).into_response()
}

impl Desk {
    /// `timestamp || signature` under the id of the key (c2sp.org/tlog-cosignature).
    fn cosignature(&self, text: &str) -> String {
        let time = 1_800_000_000_u64;
        let signature = self.key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let public =
            VerifierKey::new(self.name, SignatureType::CosignatureV1, &self.key.verifying_key().to_bytes()).unwrap();
        let bytes = [&public.key_id().to_be_bytes()[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(bytes))
    }
}
