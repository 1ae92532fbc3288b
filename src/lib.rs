#![doc = include_str!("../README.md")]
//!
//! ## Where to look
//!
//! | you want to | read |
//! |---|---|
//! | guard a server | [`GuardLayer`], [`enforce::GuardConfig`], [`policy::ToolRequirement`] |
//! | disclose a server's identity | [`IdentityLayer`], [`identity::server::ServerIdentity`] |
//! | connect to a verified server | [`VerifiedClient`], [`identity::server::VerifyConfig`] |
//! | decide without rmcp | [`enforce::Enforcer`], [`enforce::evaluate_tool_access`] |
//! | read what happened | [`evidence::EvidenceLog`] |
//! | issue and verify badges | [`identity::badge`] |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
pub mod clock;
pub mod encoding;
pub mod enforce;
pub mod evidence;
pub mod identity;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod internal;
#[cfg(any(feature = "layer", feature = "client"))]
pub mod layer;
pub mod policy;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;

#[cfg(feature = "client")]
pub use layer::client::VerifiedClient;
#[cfg(feature = "layer")]
pub use layer::guard::GuardLayer;
#[cfg(feature = "layer")]
pub use layer::identity::IdentityLayer;
#[cfg(feature = "layer")]
pub use layer::session::SessionLayer;
