//! The registry's client: registration, badges, events.

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

pub use client::{BadgeOptions, IssuedBadge, RegisteredAgent, RegisteredServer, RegistryClient};
pub use connect::{ConnectedServer, RegistrationError, ServerConnector, ServerRef};
pub use env::{
    API_KEY_VARIABLE, EnvironmentError, PRIVATE_KEY_VARIABLE, SERVER_DOMAIN_VARIABLE, SERVER_ID_VARIABLE,
    SERVER_URL_VARIABLE,
};
pub use error::{MAX_SERVER_MESSAGE_CHARS, RegistryError, RegistryErrorKind};
pub use event::{EventDecision, EventDetail, PolicyEvent, UNKNOWN_AGENT};
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
