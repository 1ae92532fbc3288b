//! Server identity: what a server discloses about itself, and how a client verifies it (CapiscIO RFC-007).
//!
//! A server says who it is with a DID, shows a badge in which an issuer vouches for that DID, and proves with the
//! client's nonce that it holds the key. [`ServerIdentity`] is the server's side, [`ServerVerifier`] the client's.
//!
//! What the client demands before it calls a server verified:
//!
//! 1. the DID is one of those it expects, if it expects any;
//! 2. a `did:web` names the URL that was dialled; where the DID names no place (stdio, `did:key`, behind a gateway) the
//!    client pins the exact DID, since any holder of a badge could stand there;
//! 3. every disclosed badge verifies under a trusted issuer, names the DID, and reaches the required level;
//! 4. the proof of possession verifies under the badge's key, and over HTTP cannot have been relayed: it names the origin,
//!    or TLS and the DID do.
//!
//! In scope: disclosure, origin binding, the order and codes of verification. Out of scope: transport (the client
//! transport and `IdentityLayer` carry these values), fetching ([`resolve`](crate::identity::resolve)), the badge's own
//! rules ([`badge`](crate::identity::badge)).
//!
//! Deployment caveat: over stdio the proof says that *somebody* who holds the key answered; a program that was started in
//! the server's place could pass the nonce on. Start programs you trust by absolute path.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use rmcp_guard::clock::{Clock, SystemClock};
//! use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest};
//! use rmcp_guard::identity::did::Did;
//! use rmcp_guard::identity::key::SigningKey;
//! use rmcp_guard::identity::pop::PopChallenge;
//! use rmcp_guard::identity::server::{
//!     Channel, ServerErrorCode, ServerIdentity, ServerVerifier, StaticBadge, VerifyConfig, parse_jsonrpc_meta,
//! };
//! use rmcp_guard::identity::trust_level::TrustLevel;
//! use rmcp_guard::identity::trust_store::Issuer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = SystemClock.now_unix();
//! let issuer = BadgeIssuer::new("https://registry.example.com", "ca-1", Arc::new(SigningKey::generate()?))?;
//!
//! // The server.
//! let key = Arc::new(SigningKey::generate()?);
//! let did = Did::parse("did:web:files.example.com")?;
//! let badge = issuer.issue(&BadgeRequest::new(did.clone(), key.public_key(), TrustLevel::Registered), now)?;
//! let identity = ServerIdentity::builder(did, key)
//!     .badge(StaticBadge::new(&badge)?)
//!     .origin("https://files.example.com")
//!     .build()?;
//!
//! // The client.
//! let trusted = Issuer::jwks("https://registry.example.com", &issuer.jwks_json())?
//!     .subjects(["did:web:files.example.com"])?;
//! let verifier = ServerVerifier::new(VerifyConfig::builder().trusted_issuer(trusted).build()?);
//!
//! let channel = Channel::http("https://files.example.com/mcp")?;
//! let challenge = PopChallenge::new(Instant::now())?;
//! let request = challenge.request_meta(channel.origin().map(|origin| origin.as_str()), now);
//! let answer = identity.disclose(Some(&request), now).meta;
//! let server = verifier.verify(&parse_jsonrpc_meta(&answer)?, &channel, challenge, &answer).await?;
//! assert_eq!(server.trust_level(), TrustLevel::Registered);
//!
//! // The same answer from another place is an impostor's.
//! let elsewhere = Channel::http("https://files.example.net/mcp")?;
//! let challenge = PopChallenge::new(Instant::now())?;
//! let refused = verifier.verify(&parse_jsonrpc_meta(&answer)?, &elsewhere, challenge, &answer).await;
//! assert_eq!(refused.map_err(|error| error.code()), Err(ServerErrorCode::OriginMismatch));
//! # Ok(())
//! # }
//! ```

mod binding;
mod config;
mod disclosure;
mod identity;
mod state;
mod verify;

pub use binding::{BindingError, Channel, HttpOrigin, MAX_URL_BYTES, OriginBinding, OriginError, check_origin_binding};
pub use config::{VerifyConfig, VerifyConfigBuilder, VerifyConfigError};
pub use disclosure::{
    DisclosedIdentity, DisclosureError, HEADER_SERVER_BADGE, HEADER_SERVER_DID, MAX_DISCLOSED_BYTES, META_SERVER_BADGE,
    META_SERVER_DID, parse_http_headers, parse_jsonrpc_meta,
};
pub use identity::{
    BadgeSource, Disclosure, ServerIdentity, ServerIdentityBuilder, ServerIdentityError, StaticBadge, StaticBadgeError,
};
pub use state::{ServerErrorCode, ServerState, ServerVerifyError, VerifyResult};
pub use verify::{
    ServerVerifier, VerifiedServer, VerifyWouldWait, verify_server, verify_server_strict, verify_server_strict_sync,
    verify_server_sync,
};
