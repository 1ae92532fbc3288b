//! The registry's client: registration, badges, events.

mod client;

pub use client::{ApiKey, IssuedBadge, RegistryClient, RegistryError, RegistryErrorKind};
