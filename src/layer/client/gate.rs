//! The one place that decides what may leave a client: nothing, a handshake, or requests with a credential.
//!
//! Both transports share it. A gate starts unverified, becomes verified by a handshake that verifies, and fails for
//! good by one that does not. A handshake that comes to nothing (a transport error, a JSON-RPC error) changes nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ClientResult, GetMeta as _, JsonObject, JsonRpcMessage, ServerResult,
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::VerificationFailure;
use crate::clock::Clock;
use crate::enforce::{META_CALLER_API_KEY, META_CALLER_BADGE, is_guard_meta_key};
use crate::identity::pop::PopChallenge;
use crate::identity::server::{
    BadgeSource, Channel, DisclosedIdentity, DisclosureError, HttpOrigin, ServerVerifier, VerifiedServer,
    parse_http_headers, parse_jsonrpc_meta,
};
use crate::layer::headers;

/// What a client presents once its server is verified.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) badge: Option<Arc<dyn BadgeSource>>,
    pub(super) api_key: Option<Zeroizing<String>>,
}

/// One sample of the credentials, for one request.
struct Sample<'a> {
    badge: Option<Arc<str>>,
    api_key: Option<&'a str>,
}

impl Credentials {
    fn sample(&self) -> Result<Sample<'_>, Refusal> {
        let badge = match &self.badge {
            // a request without the badge would run as somebody else: as nobody, or as the API key
            Some(source) => Some(source.current().ok_or(Refusal::NoBadge)?),
            None => None,
        };
        Ok(Sample { badge, api_key: self.api_key.as_ref().map(|key| key.as_str()) })
    }
}

/// Why a message stays here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the server is not verified yet")]
    NotVerified,
    #[error("the server is not trusted")]
    Failed(#[source] VerificationFailure),
    #[error("the badge source has no badge that is valid now")]
    NoBadge,
    #[error("no randomness for a challenge")]
    NoRandomness,
    #[error("the credential cannot be sent")]
    Credential,
    #[error("the message is no JSON-RPC message")]
    Malformed,
}

/// How a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// With a challenge, without a credential.
    Handshake,
    /// A ping or the answer to one, before the server is verified: bare.
    Ping,
    /// The server is verified.
    Verified,
}

/// The outcome of one handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Verified,
    Failed,
}

enum Phase {
    Unverified,
    Verified,
    Failed(VerificationFailure),
}

struct State {
    phase: Phase,
    // stays when a session is lost: the next handshake must be answered by the same server
    server: Option<Arc<VerifiedServer>>,
}

pub(super) struct Gate {
    verifier: ServerVerifier,
    channel: Channel,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    handshake_timeout: Duration,
    state: Mutex<State>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(
        verifier: ServerVerifier,
        channel: Channel,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
        handshake_timeout: Duration,
    ) -> Arc<Self> {
        let state = Mutex::new(State { phase: Phase::Unverified, server: None });
        Arc::new(Self { verifier, channel, credentials, clock, handshake_timeout, state })
    }

    /// No code panics while it holds the lock, and a half-written state is not possible.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_verified(&self) -> bool {
        matches!(self.state().phase, Phase::Verified)
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state().phase, Phase::Failed(_))
    }

    pub(super) fn failure(&self) -> Option<VerificationFailure> {
        match &self.state().phase {
            Phase::Failed(failure) => Some(failure.clone()),
            Phase::Unverified | Phase::Verified => None,
        }
    }

    /// The server of the last handshake that verified.
    pub(super) fn server(&self) -> Option<Arc<VerifiedServer>> {
        self.state().server.clone()
    }

    /// Why nothing that needs a verified server leaves now.
    pub(super) fn refusal(&self) -> Refusal {
        self.failure().map_or(Refusal::NotVerified, Refusal::Failed)
    }

    /// Decides about one message.
    pub(super) fn admit(&self, message: &ClientJsonRpcMessage) -> Result<Release, Refusal> {
        match &self.state().phase {
            Phase::Failed(failure) => return Err(Refusal::Failed(failure.clone())),
            Phase::Unverified | Phase::Verified if is_handshake(message) => return Ok(Release::Handshake),
            Phase::Verified => return Ok(Release::Verified),
            Phase::Unverified => {}
        }
        match message {
            JsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::PingRequest(_)) => {
                Ok(Release::Ping)
            }
            // only pings get as far as being answered
            JsonRpcMessage::Response(response) if matches!(response.result, ClientResult::EmptyResult(_)) => {
                Ok(Release::Ping)
            }
            JsonRpcMessage::Request(_)
            | JsonRpcMessage::Response(_)
            | JsonRpcMessage::Notification(_)
            | JsonRpcMessage::Error(_) => Err(Refusal::NotVerified),
        }
    }

    /// A fresh challenge, put into the request that carries it.
    pub(super) fn challenge(&self, request: &mut ClientRequest) -> Result<PopChallenge, Refusal> {
        let challenge = PopChallenge::new(Instant::now()).map_err(|_| Refusal::NoRandomness)?;
        let origin = self.channel.origin().map(HttpOrigin::as_str);
        request.get_meta_mut().0.0.extend(challenge.request_meta(origin, self.clock.now_unix()));
        Ok(challenge)
    }

    /// Verifies the answer to a handshake. `headers` are those of the HTTP response that carried it.
    pub(super) async fn verify(
        self: Arc<Self>,
        challenge: PopChallenge,
        meta: JsonObject,
        headers: Option<HeaderMap>,
    ) -> Verdict {
        // whoever connects bounds the first handshake as a whole
        let limit = if self.server().is_some() { self.handshake_timeout } else { Duration::MAX };
        let outcome = match disclosed(&meta, headers.as_ref()) {
            Ok(disclosed) => {
                let verification = self.verifier.verify(&disclosed, &self.channel, challenge, &meta);
                match tokio::time::timeout(limit, verification).await {
                    Ok(outcome) => outcome.map_err(VerificationFailure::Identity),
                    Err(_) => Err(VerificationFailure::TimedOut(limit)),
                }
            }
            Err(error) => Err(VerificationFailure::Identity(error.into())),
        };
        match outcome {
            Ok(server) => self.accept(server),
            Err(failure) => {
                self.fail(failure);
                Verdict::Failed
            }
        }
    }

    fn accept(&self, server: VerifiedServer) -> Verdict {
        let mut state = self.state();
        if matches!(state.phase, Phase::Failed(_)) {
            return Verdict::Failed;
        }
        if state.server.as_ref().is_some_and(|known| known.did() != server.did()) {
            state.phase = Phase::Failed(VerificationFailure::IdentityChanged);
            return Verdict::Failed;
        }
        tracing::debug!(server = %server.did(), level = %server.trust_level(), "server verified");
        *state = State { phase: Phase::Verified, server: Some(Arc::new(server)) };
        Verdict::Verified
    }

    /// Final; the first failure is the one that is kept.
    fn fail(&self, failure: VerificationFailure) -> Refusal {
        let mut state = self.state();
        if let Phase::Failed(first) = &state.phase {
            return Refusal::Failed(first.clone());
        }
        tracing::warn!(%failure, "server not verified: nothing leaves this client any more");
        state.phase = Phase::Failed(failure.clone());
        Refusal::Failed(failure)
    }

    pub(super) fn fail_unexpected_handshake(&self) -> Refusal {
        self.fail(VerificationFailure::UnexpectedHandshake)
    }

    /// The session is gone: the server is a stranger until the next handshake.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Verified) {
            state.phase = Phase::Unverified;
        }
    }

    /// Any response may name the server again; another name is another server.
    pub(super) fn check_headers(&self, response: &HeaderMap) -> Result<(), Refusal> {
        let Some(server) = self.server() else { return Ok(()) };
        let mut named = response.get_all(headers::SERVER_DID).iter();
        if named.all(|did| did.to_str().is_ok_and(|did| server.did().is_named_by(did))) {
            return Ok(());
        }
        Err(self.fail(VerificationFailure::IdentityChanged))
    }

    /// Puts the credential into the request's `_meta`. What rmcp keeps there wins over `params._meta` on the wire.
    pub(super) fn attach_credential(&self, request: &mut ClientRequest) -> Result<(), Refusal> {
        let sample = self.credentials.sample()?;
        let meta = request.get_meta_mut();
        for (name, value) in [(META_CALLER_BADGE, sample.badge.as_deref()), (META_CALLER_API_KEY, sample.api_key)] {
            if let Some(value) = value {
                meta.insert(name.to_owned(), Value::String(value.to_owned()));
            }
        }
        Ok(())
    }

    /// The credential as headers, or why it may not be sent now.
    pub(super) fn credential_headers(&self) -> Result<HeaderMap, Refusal> {
        if !self.is_verified() {
            return Err(self.refusal());
        }
        let sample = self.credentials.sample()?;
        let mut map = HeaderMap::new();
        for (name, value) in [(headers::BADGE, sample.badge.as_deref()), (headers::API_KEY, sample.api_key)] {
            let Some(value) = value else { continue };
            let mut value = HeaderValue::from_str(value).map_err(|_| Refusal::Credential)?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        Ok(map)
    }
}

fn is_handshake(message: &ClientJsonRpcMessage) -> bool {
    let JsonRpcMessage::Request(request) = message else { return false };
    matches!(request.request, ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_))
}

/// The request without the members of its `_meta` that are ours to set. A program that passes requests on may have got
/// them with somebody else's credential inside.
pub(super) fn without_guard_members(message: ClientJsonRpcMessage) -> Result<ClientJsonRpcMessage, Refusal> {
    // rmcp merges `_meta` out of three places when it writes a message, so what is written is what is looked at
    let mut written = serde_json::to_value(&message).map_err(|_| Refusal::Malformed)?;
    let Some(meta) = written.pointer_mut("/params/_meta").and_then(Value::as_object_mut) else { return Ok(message) };
    if !meta.keys().any(|name| is_guard_meta_key(name)) {
        return Ok(message);
    }
    meta.retain(|name, _| !is_guard_meta_key(name));
    serde_json::from_value(written).map_err(|_| Refusal::Malformed)
}

/// What a handshake's result discloses; `None` if the result is of another kind.
///
/// Nothing of it stays in the result: rmcp logs the answer to a handshake, badge and proof would be in there, and an
/// application has the [`VerifiedServer`].
pub(super) fn take_disclosure(result: &mut ServerResult) -> Option<JsonObject> {
    let meta = if let ServerResult::InitializeResult(result) = result {
        &mut result.meta
    } else if let ServerResult::DiscoverResult(result) = result {
        &mut result.meta
    } else {
        return None;
    };
    let Some(meta) = meta else { return Some(JsonObject::new()) };
    let disclosed = meta.0.clone();
    meta.0.retain(|name, _| !is_guard_meta_key(name));
    Some(disclosed)
}

/// Header and `_meta` identity as one, or why they are two (S25).
fn disclosed(meta: &JsonObject, headers: Option<&HeaderMap>) -> Result<DisclosedIdentity, DisclosureError> {
    let in_meta = parse_jsonrpc_meta(meta)?;
    match headers {
        Some(headers) => DisclosedIdentity::merge(parse_http_headers(headers)?, in_meta),
        None => Ok(in_meta),
    }
}
