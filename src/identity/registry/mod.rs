//! The registry's client: registration, badges, events.

mod client;
mod error;
mod event;
mod names;
mod transport;

pub use client::{BadgeOptions, IssuedBadge, RegisteredAgent, RegisteredServer, RegistryClient};
pub use error::{MAX_SERVER_MESSAGE_CHARS, RegistryError, RegistryErrorKind};
pub use event::{EventDecision, EventDetail, PolicyEvent, UNKNOWN_AGENT};
pub use names::{ServerDidForm, agent_did, server_did};
pub use transport::{ApiKey, MAX_ANSWER_BYTES, MAX_API_KEY_BYTES, MAX_ID_BYTES, RetryPolicy};
