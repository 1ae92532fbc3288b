//! Why a verified client did not connect, and why a connected one refuses to go on.

use std::time::Duration;

use rmcp::service::ClientInitializeError;

use super::denial::printable;
use crate::identity::server::ServerVerifyError;

/// Why no verified connection was made. Whatever the reason, no tool call and no credential has left the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server disclosed no identity, or one that is not trusted, not proven, or not the expected one.
    #[error(transparent)]
    Identity(ServerVerifyError),
    /// The server could not be started or reached, answered with an HTTP failure, or went away.
    #[error("the connection failed")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server answered the handshake with something that is no handshake, or speaks no common version.
    #[error("the handshake failed")]
    Protocol(#[source] HandshakeError),
    /// The handshake, verification included, took longer than allowed.
    #[error("the handshake did not finish within {0:?}")]
    Timeout(Duration),
    /// The builder was given something unusable; nothing was started.
    #[error(transparent)]
    Config(ClientConfigError),
}

impl From<ClientConfigError> for ConnectError {
    fn from(error: ClientConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<VerificationFailure> for ConnectError {
    fn from(failure: VerificationFailure) -> Self {
        match failure {
            VerificationFailure::Identity(error) => Self::Identity(error),
            VerificationFailure::TimedOut(limit) => Self::Timeout(limit),
            failure @ (VerificationFailure::IdentityChanged | VerificationFailure::UnexpectedHandshake) => {
                Self::Protocol(HandshakeError { detail: failure.to_string() })
            }
        }
    }
}

impl ConnectError {
    pub(super) fn from_rmcp(error: ClientInitializeError) -> Self {
        let last =
            if let ClientInitializeError::LegacyFallbackFailed { fallback, .. } = &error { fallback } else { &error };
        if is_transport(last) { Self::Transport(Box::new(error)) } else { Self::Protocol(HandshakeError::new(last)) }
    }
}

/// What was wrong with a handshake, in rmcp's words.
///
/// They may quote the server, so the text is cut and freed of control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
#[non_exhaustive]
pub struct HandshakeError {
    detail: String,
}

impl HandshakeError {
    fn new(error: &ClientInitializeError) -> Self {
        Self { detail: printable(&error.to_string()) }
    }
}

const fn is_transport(error: &ClientInitializeError) -> bool {
    matches!(error, ClientInitializeError::TransportError { .. } | ClientInitializeError::ConnectionClosed(_))
}

/// Why a client stopped trusting its server. It is final: nothing leaves that client any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationFailure {
    /// The disclosed identity did not verify.
    #[error(transparent)]
    Identity(ServerVerifyError),
    /// A later handshake was answered by another server, or a response named another DID.
    #[error("another server answers than the one that was verified")]
    IdentityChanged,
    /// The verification of a later handshake took longer than a handshake may.
    #[error("the server could not be verified again within {0:?}")]
    TimedOut(Duration),
    /// A handshake was answered with something else, or an unasked handshake answer arrived.
    #[error("a handshake was answered with something that is no answer to it")]
    UnexpectedHandshake,
}

/// What is wrong with a client's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientConfigErrorKind {
    /// No issuer is trusted and no self-signed server is accepted: no server could ever verify.
    NobodyTrusted,
    /// The URL is not an absolute `https` or `http` URL, or carries user information or a fragment.
    InvalidUrl,
    /// The URL is `http` and its host is not loopback.
    PlainHttp,
    /// An HTTP transport was given to [`connect_transport`](super::VerifiedClientBuilder::connect_transport).
    HttpTransport,
    /// The HTTP client could not be built.
    HttpClient,
    /// The credential cannot be a header value or a `_meta` text.
    Credential,
    /// What the server is verified against is contradictory or incomplete.
    Verification,
}

/// The builder was given something unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
#[non_exhaustive]
pub struct ClientConfigError {
    kind: ClientConfigErrorKind,
    detail: String,
}

impl ClientConfigError {
    pub(super) fn new(kind: ClientConfigErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> ClientConfigErrorKind {
        self.kind
    }
}
