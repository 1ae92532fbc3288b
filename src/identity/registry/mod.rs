//! The registry's client: registration, badges, events, and the way from an API key to an identity.
//!
//! * [`ServerIdentity::connect`](crate::identity::server::ServerIdentity::connect) and
//!   [`from_env`](crate::identity::server::ServerIdentity::from_env) do all of it for a server, [`AgentIdentity`] for an
//!   agent: key, registration, first badge, renewal.
//! * [`RegistryClient`] has one method per call of the API. [`ServerBadgeRenewer`] and [`AgentBadgeRenewer`] are what a
//!   [`BadgeKeeper`](crate::identity::keeper::BadgeKeeper) renews with.
//! * [`KeyDirectory`] keeps keys in files, in capiscio-mcp's places and forms.
//!
//! What the registry says is never trusted here: a badge that it issues is checked to name this DID and this key, and
//! verified by whoever it is shown to. The API key goes to the registry's origin alone, in the header
//! `X-Capiscio-Registry-Key`, never along a redirect, into a URL, an error or a log.
//!
//! When the registry does not answer:
//!
//! | when | what happens |
//! |---|---|
//! | at the start | the identity stands without a badge, a server's clients see it as declared; the keeper registers and renews later |
//! | at the start, and the server is to be created | an error: there is no id, so no DID, to stand by |
//! | later | the badge at hand is shown until it expires, then none; the keeper's health says why |
//! | it refuses (401, 403, 404 and the like), or what answers is no registry, at the start | an error with [advice](RegistrationError::advice) |
//! | it refuses later | as an outage, and the keeper's last error is permanent |
//!
//! In scope: the calls of capiscio-mcp and RFC-003, retries, files. Out of scope: verifying badges, revocation lists
//! ([`remote`](crate::identity::remote)), and what is reported as an event.
//!
//! Deployment: one directory per server, on a disk of its own machine; processes that share it share one identity.
//!
//! ```no_run
//! use rmcp_guard::identity::fetch::Fetcher;
//! use rmcp_guard::identity::registry::{ApiKey, RegistryClient};
//! use rmcp_guard::identity::server::ServerIdentity;
//!
//! # async fn start(api_key: String) -> Result<(), Box<dyn std::error::Error>> {
//! let registry = RegistryClient::new("https://registry.example.com", Some(ApiKey::new(api_key)), Fetcher::new()?)?;
//! let server = ServerIdentity::connect(registry, "550e8400-e29b-41d4-a716-446655440000")
//!     .origin("https://files.example.com")
//!     .start()
//!     .await?;
//! println!("{} until {:?}", server.identity.did(), server.keeper.health().expires_at);
//! # Ok(())
//! # }
//! ```
//!
//! What cannot be meant is refused before anything is sent:
//!
//! ```
//! # use rmcp_guard::identity::fetch::Fetcher;
//! # use rmcp_guard::identity::registry::{ApiKey, RegistryClient, RegistryErrorKind};
//! let in_the_clear = RegistryClient::new("http://registry.example.com", Some(ApiKey::new("sk_1")), Fetcher::new()?);
//! assert_eq!(in_the_clear.unwrap_err().kind(), RegistryErrorKind::Url);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod connect;
mod env;
mod error;
mod event;
mod key_dir;
mod names;
mod renew;
mod setup;
mod transport;

#[cfg(any(test, fuzzing))]
pub use client::fuzz::fuzz_registry_answer;
pub use client::{BadgeOptions, IssuedBadge, RegisteredAgent, RegisteredServer, RegistryClient};
pub use connect::{ConnectedServer, RegistrationError, ServerConnector, ServerRef};
pub use env::{
    API_KEY_VARIABLE, EnvironmentError, PRIVATE_KEY_VARIABLE, SERVER_DOMAIN_VARIABLE, SERVER_ID_VARIABLE,
    SERVER_URL_VARIABLE,
};
pub use error::{MAX_SERVER_MESSAGE_CHARS, RegistryError, RegistryErrorKind};
pub use event::{EventDecision, EventDetail, MAX_EVENT_TEXT_BYTES, PolicyEvent, UNKNOWN_AGENT};
pub use key_dir::{
    DID_FILE, KeyDirectory, KeyDirectoryError, KeyDirectoryErrorKind, KeySource, ORG_ID_FILE, PRIVATE_KEY_FILE,
    PUBLIC_KEY_FILE, RESOLVED_ID_FILE,
};
pub use names::{ServerDidForm, agent_did, server_did};
pub use renew::{AgentBadgeRenewer, ServerBadgeRenewer};
pub use setup::{
    AgentIdentity, AgentIdentityBuilder, ServerKeypair, ServerSetup, generate_server_keypair, register_server_identity,
    setup_agent_identity, setup_server_identity,
};
pub use transport::{ApiKey, MAX_ANSWER_BYTES, MAX_API_KEY_BYTES, MAX_ID_BYTES, RetryPolicy};

/// The registry that capiscio-mcp asks by default.
pub const DEFAULT_REGISTRY: &str = "https://registry.capisc.io";
