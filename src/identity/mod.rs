//! Who is speaking: DIDs, keys, badges, proofs of possession, server verification.
//!
//! | module | what it holds |
//! |---|---|
//! | [`did`] | `did:key` and `did:web`, DID documents |
//! | [`key`], [`jws`], [`jwks`] | Ed25519 keys, compact JWS with `EdDSA`, JWK sets |
//! | [`trust_level`], [`trust_store`] | how much was checked, and who may say so for whom |
//! | [`badge`] | trust badges: read, verify, issue |
//! | [`pop`], [`server`] | proof of possession, and the identity that a server discloses |
//! | [`resolve`] | the sources of what cannot be computed: keys, documents, revocation |
//!
//! In scope: everything that turns bytes from a stranger into a fact about who sent them. Unverified and verified are
//! different types, time is an argument, and every input is bounded before it is decoded. Out of scope: what a caller
//! may do ([`policy`](crate::policy)), and fetching; a source behind a [`resolve`] trait does that.
//!
//! Deployment: nobody is trusted until a configuration names them. Levels 2 to 4 need a revocation source, and a badge
//! without an audience is good at every service that trusts its issuer. [`badge`] shows both outcomes.

#[cfg(feature = "registry")]
pub(crate) mod background;
pub mod badge;
pub mod did;
#[cfg(feature = "registry")]
pub mod fetch;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod health;
pub mod jwks;
pub mod jws;
#[cfg(feature = "registry")]
pub mod keeper;
pub mod key;
pub mod pop;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "registry")]
pub mod remote;
pub mod resolve;
pub mod server;
pub mod trust_level;
pub mod trust_store;
