//! The client's side of any transport but HTTP: a wrapper that lets nothing through before the server is verified.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::Either;
use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, RequestId, ServerJsonRpcMessage, ServerRequest,
};
use rmcp::transport::Transport;

use super::gate::{Gate, Refusal, Release, Verdict, take_disclosure, without_guard_members};
use crate::identity::pop::PopChallenge;

/// Handshakes that may wait for their answer at once; rmcp sends one, an application that repeats
/// `server/discover` some more. Above it the oldest is forgotten, and its answer then ends the connection.
const MAX_OUTSTANDING_HANDSHAKES: usize = 8;

/// A transport whose server is unverified until it has answered a handshake with a proof.
pub(super) struct Verified<T> {
    inner: T,
    gate: Arc<Gate>,
    outstanding: Vec<(RequestId, PopChallenge)>,
    // `receive` is dropped inside `select!` at any await: a verification that is under way must survive that.
    checking: Option<Checking>,
}

struct Checking {
    answer: ServerJsonRpcMessage,
    verdict: Pin<Box<dyn Future<Output = Verdict> + Send>>,
}

impl<T> Verified<T> {
    pub(super) const fn new(inner: T, gate: Arc<Gate>) -> Self {
        Self { inner, gate, outstanding: Vec::new(), checking: None }
    }
}

impl<T> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// Why a message did not leave.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Transport(E),
    #[error(transparent)]
    Refused(Refusal),
}

/// What becomes of a message from the server.
enum Incoming {
    Deliver(ServerJsonRpcMessage),
    Drop,
    Check(Checking),
    Disconnect,
}

impl<T: Transport<RoleClient>> Verified<T> {
    fn prepare(&mut self, message: ClientJsonRpcMessage) -> Result<ClientJsonRpcMessage, Refusal> {
        let release = self.gate.admit(&message)?;
        let mut message = without_guard_members(message)?;
        let JsonRpcMessage::Request(request) = &mut message else { return Ok(message) };
        match release {
            Release::Handshake => {
                let challenge = self.gate.challenge(&mut request.request)?;
                if self.outstanding.len() >= MAX_OUTSTANDING_HANDSHAKES {
                    self.outstanding.remove(0);
                }
                self.outstanding.push((request.id.clone(), challenge));
            }
            Release::Verified if !matches!(request.request, ClientRequest::PingRequest(_)) => {
                self.gate.attach_credential(&mut request.request)?;
            }
            Release::Verified | Release::Ping => {}
        }
        Ok(message)
    }

    fn sort(&mut self, mut message: ServerJsonRpcMessage) -> Incoming {
        match &mut message {
            JsonRpcMessage::Response(response) => {
                let position = self.outstanding.iter().position(|(id, _)| is_answer_to(id, &response.id));
                match (position, take_disclosure(&mut response.result)) {
                    (Some(position), Some(meta)) => {
                        let (_, challenge) = self.outstanding.remove(position);
                        let verdict = Box::pin(Arc::clone(&self.gate).verify(challenge, meta, None));
                        Incoming::Check(Checking { answer: message, verdict })
                    }
                    (None, None) => Incoming::Deliver(message),
                    // a handshake answered with something else, or an answer that no handshake asked for
                    (Some(_), None) | (None, Some(_)) => {
                        self.gate.fail_unexpected_handshake();
                        Incoming::Disconnect
                    }
                }
            }
            JsonRpcMessage::Error(error) => {
                self.outstanding.retain(|(id, _)| error.id.as_ref().is_some_and(|answer| !is_answer_to(id, answer)));
                Incoming::Deliver(message)
            }
            JsonRpcMessage::Request(request) => {
                let ping = matches!(request.request, ServerRequest::PingRequest(_));
                if ping || self.gate.is_verified() { Incoming::Deliver(message) } else { Incoming::Drop }
            }
            // a log line of an unverified server must not reach the application either
            JsonRpcMessage::Notification(_) => {
                if self.gate.is_verified() {
                    Incoming::Deliver(message)
                } else {
                    Incoming::Drop
                }
            }
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Verified<T> {
    type Error = SendError<T::Error>;

    fn name() -> Cow<'static, str> {
        format!("Verified<{}>", T::name()).into()
    }

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let message = match self.prepare(message) {
            Ok(message) => message,
            Err(refusal) => return Either::Left(std::future::ready(Err(SendError::Refused(refusal)))),
        };
        let sent = self.inner.send(message);
        Either::Right(async move { sent.await.map_err(SendError::Transport) })
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(checking) = &mut self.checking {
                let verdict = checking.verdict.as_mut().await;
                let checking = self.checking.take()?;
                return (verdict == Verdict::Verified).then_some(checking.answer);
            }
            if self.gate.has_failed() {
                return None;
            }
            let message = self.inner.receive().await?;
            match self.sort(message) {
                Incoming::Deliver(message) => return Some(message),
                Incoming::Check(checking) => self.checking = Some(checking),
                Incoming::Drop => tracing::debug!("dropped a message of a server that is not verified yet"),
                // `None` ends the connection. A JSON-RPC error would make `Auto` fall back to `initialize`.
                Incoming::Disconnect => return None,
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await.map_err(SendError::Transport)
    }
}

/// rmcp takes the id `"0"` for an answer to request 0; so must we, or an answer would pass unverified.
pub(super) fn is_answer_to(request: &RequestId, answer: &RequestId) -> bool {
    request == answer || request.to_string() == answer.to_string()
}
