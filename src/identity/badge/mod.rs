//! Trust badges: who a caller or server is, as an issuer signed it (CapiscIO RFC-002 v1.4).
//!
//! In scope: reading, verifying and issuing badges. A token becomes an [`UnverifiedBadge`], whose claims are anybody's
//! words, and only [`BadgeVerifier::verify`] makes a [`VerifiedBadge`] of it. Out of scope: what a caller may do
//! ([`policy`](crate::policy)), and how a badge travels.
//!
//! A badge is a bearer token until it expires. Give the verifier an audience, so that a badge which was shown to
//! another service is of no use here, and revocations, without which levels 2 to 4 are refused.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use rmcp_guard::clock::{Clock as _, SystemClock};
//! use rmcp_guard::identity::badge::{BadgeContext, BadgeErrorKind, BadgeIssuer, BadgeRequest, BadgeVerifier};
//! use rmcp_guard::identity::{key::SigningKey, trust_level::TrustLevel, trust_store::Issuer};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let now = SystemClock.now_unix();
//! let ca = BadgeIssuer::new("https://registry.example.com", "ca-1", Arc::new(SigningKey::generate()?))?;
//! let agent = SigningKey::generate()?;
//! let request = BadgeRequest::new(agent.did(), agent.public_key(), TrustLevel::Registered)
//!     .audience("https://files.example.com")
//!     .lifetime(Duration::from_secs(300));
//! let token = ca.issue(&request, now)?;
//!
//! let verifier = BadgeVerifier::builder()
//!     .issuer(Issuer::jwks("https://registry.example.com", &ca.jwks_json())?)
//!     .audience("https://files.example.com")
//!     .build();
//! let badge = verifier.verify(&token, &BadgeContext::at(now)).await?;
//! assert_eq!((badge.subject(), badge.level()), (&agent.did(), TrustLevel::Registered));
//!
//! // A verifier that was told to trust nobody trusts nobody.
//! let refused = BadgeVerifier::builder().build().verify(&token, &BadgeContext::at(now)).await.unwrap_err();
//! assert_eq!(refused.kind(), BadgeErrorKind::IssuerUntrusted);
//! # Ok(())
//! # }
//! # futures_util::FutureExt::now_or_never(example()).unwrap().unwrap();
//! ```

mod builder;
mod claims;
mod error;
mod issue;
mod revocation;
mod signature_budget;
mod signature_cache;
mod unverified;
mod verified;
mod verify;

pub use builder::BadgeVerifierBuilder;
pub use error::{BadgeErrorKind, BadgeVerifyError};
pub use issue::{
    BadgeIssueError, BadgeIssuer, BadgeRequest, DEFAULT_BADGE_LIFETIME, MAX_BADGE_LIFETIME, MIN_BADGE_LIFETIME,
    self_sign,
};
pub use revocation::{RevocationMode, Revocations};
pub use signature_budget::DEFAULT_SIGNATURE_CHECKS_PER_SECOND;
pub use unverified::{ClaimedIdentity, MAX_BADGE_BYTES, UnverifiedBadge};
pub use verified::VerifiedBadge;
pub use verify::{BadgeContext, BadgeVerifier, CLOCK_SKEW, MAX_KEYS_TRIED, Profile};
