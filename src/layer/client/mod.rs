//! A client that knows its server before the first tool call.
//!
//! [`VerifiedClient`] is an rmcp client whose handshake carries a challenge. The server answers with its identity and a
//! proof that it holds the identity's key; until that verifies to the configured degree, nothing but the handshake and
//! pings leaves, nothing but pings is answered, and no credential exists on the wire.
//!
//! **In scope:** verification of the server on every handshake, also of those that rmcp repeats by itself over HTTP;
//! credentials per request, to the verified server only; the environment of child processes; redirects (none).
//! **Out of scope:** what a verified server's tools do, and obtaining badges: a [`BadgeSource`] brings them.
//!
//! **Deployment caveat.** A proof binds the handshake. Over stdio the rest of the connection is the same pipe; over HTTP
//! it is TLS that makes later requests reach the same server, so plain `http` is refused except to loopback. The
//! server's badge is checked during handshakes, not during a connection: a client that lives for days reconnects to see
//! a revocation.
//!
//! **`_meta`.** The prefixes `capiscio_` and `rmcp-guard/` are this crate's. What an application puts there is removed
//! from its requests, so that a program that passes requests on does not pass on its callers' credentials. What a server
//! discloses there is removed from the answer to the handshake, which rmcp logs; [`VerifiedClient::server`] has it.
//!
//! **Receipts.** An answer may say where its call stands in the server's evidence: [`receipt_of`] reads that, and a
//! [`ReceiptBook`] keeps it. The key that checks a log comes from this client's configuration, as an auditor's does. A
//! server is never asked for it: its key would vouch for any log that it makes up.
//!
//! ```no_run
//! use rmcp::model::CallToolRequestParams;
//! use rmcp_guard::identity::trust_level::TrustLevel;
//! use rmcp_guard::identity::trust_store::Issuer;
//! use rmcp_guard::layer::client::{ConnectError, VerifiedClient, denial_of};
//! use tokio::process::Command;
//!
//! # async fn example(badge: String) -> Result<(), Box<dyn std::error::Error>> {
//! let mut command = Command::new("filesystem-server");
//! command.arg("stdio");
//! let connected = VerifiedClient::builder()
//!     .trusted_issuer(
//!         Issuer::jwks_file("https://registry.example.com", "jwks.json")?.subjects(["did:web:files.example.com"])?,
//!     )
//!     .min_trust_level(TrustLevel::Registered)
//!     .expect_did("did:web:files.example.com")
//!     .insecure_no_revocation() // or `.revocations(..)`
//!     .badge(badge)
//!     .connect_command(command)
//!     .await;
//! let client = match connected {
//!     Ok(client) => client,
//!     // refused: no tool call and no badge has left
//!     Err(ConnectError::Identity(error)) => return Err(format!("not our server: {}", error.code()).into()),
//!     Err(error) => return Err(error.into()),
//! };
//!
//! let result = client.call_tool(CallToolRequestParams::new("read_file")).await?;
//! match denial_of(&result) {
//!     None => println!("{result:?}"),
//!     Some(denial) => println!("denied: {denial}"),
//! }
//! # Ok(()) }
//! ```

mod builder;
mod command;
mod denial;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gate;
mod http;
mod receipt;
mod sse;
mod transport;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmcp::service::{QuitReason, RunningService};
use rmcp::{ClientHandler, RoleClient};
use tokio::task::JoinError;

pub use builder::{CallerBadge, DEFAULT_HANDSHAKE_TIMEOUT, Lifecycle, VerifiedClientBuilder};
pub use command::PASSED_ENVIRONMENT;
pub use denial::{MAX_DENIAL_CHARS, ReportedDenial, denial_of, denial_of_error};
pub use error::{ClientConfigError, ClientConfigErrorKind, ConnectError, HandshakeError, VerificationFailure};
pub use receipt::{ReceiptBook, receipt_of, receipt_of_error};

#[cfg(doc)]
use crate::identity::server::BadgeSource;
use crate::identity::server::VerifiedServer;
use gate::Gate;

/// A connection to a verified server. Derefs to rmcp's [`RunningService`], so that `call_tool`, `list_all_tools`,
/// `peer` and the rest of rmcp's client API work as usual.
///
/// Dropping it closes the connection in the background; [`cancel`](Self::cancel) and [`close`](Self::close) wait.
pub struct VerifiedClient<H: ClientHandler = ()> {
    service: RunningService<RoleClient, H>,
    gate: Arc<Gate>,
    server: Arc<VerifiedServer>,
}

impl VerifiedClient {
    /// Starts with nobody trusted, nothing presented, and everything required.
    pub fn builder() -> VerifiedClientBuilder {
        VerifiedClientBuilder::new()
    }
}

impl<H: ClientHandler> VerifiedClient<H> {
    /// The server that answers, as the last handshake verified it.
    #[must_use]
    pub fn server(&self) -> Arc<VerifiedServer> {
        self.gate.server().unwrap_or_else(|| Arc::clone(&self.server))
    }

    /// Why this client stopped trusting its server; from then on every call fails.
    ///
    /// Over HTTP rmcp repeats the handshake when a session expires. If somebody else answers then, calls fail with a
    /// transport error, and this says why.
    #[must_use]
    pub fn verification_failure(&self) -> Option<VerificationFailure> {
        self.gate.failure()
    }

    /// Closes the connection and waits for the end of its task; a child process is given time to exit.
    ///
    /// Cancel safety: a dropped future leaves the connection closing in the background.
    ///
    /// # Errors
    /// [`JoinError`] when the connection's task panicked.
    pub async fn close(&mut self) -> Result<QuitReason, JoinError> {
        self.service.close().await
    }

    /// [`close`](Self::close) by value.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn cancel(self) -> Result<QuitReason, JoinError> {
        self.service.cancel().await
    }

    /// Waits until the connection ends by itself or by its cancellation token.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn waiting(self) -> Result<QuitReason, JoinError> {
        self.service.waiting().await
    }
}

impl<H: ClientHandler> Deref for VerifiedClient<H> {
    type Target = RunningService<RoleClient, H>;

    fn deref(&self) -> &Self::Target {
        &self.service
    }
}

impl<H: ClientHandler> fmt::Debug for VerifiedClient<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedClient").field("server", &self.server()).finish_non_exhaustive()
    }
}
