//! A server's identity, disclosed and proved: one layer for two positions.
//!
//! [`IdentityLayer`] around an rmcp handler fills the `_meta` of `initialize` and `server/discover` results: the
//! server's DID, its badge as it is now, and, if the client sent a nonce, the proof that the server holds the key
//! (CapiscIO RFC-007 §4). An answer that is bound to a nonce is marked as not to be cached, else the next client would
//! be served this one's proof.
//!
//! Around an HTTP service the same layer adds `Capiscio-Server-DID` and `Capiscio-Server-Badge` to every response,
//! whatever its status. Headers carry no proof, since they answer no nonce: a client that wants one reads `_meta`.
//!
//! Each position asks for the badge once per request, when the request arrives. A renewal may fall between the two, so
//! a client compares their DIDs and verifies both badges.
//!
//! In scope: disclosing. Out of scope: judging the peer, which is the guard's work on a server and the verified
//! client's on the other side. What an inner handler puts into the same members is replaced, so a handler that proxies
//! another server does not speak in its name.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use http::{Request, Response, StatusCode};
//! use rmcp_guard::identity::key::SigningKey;
//! use rmcp_guard::identity::server::ServerIdentity;
//! use rmcp_guard::layer::identity::IdentityLayer;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Arc::new(SigningKey::generate()?);
//! let did = key.did();
//! let layer = IdentityLayer::new(ServerIdentity::builder(did.clone(), key.clone()).build()?);
//!
//! // Around an rmcp handler: proof on request.
//! # #[derive(Clone)] struct Files;
//! # impl rmcp::ServerHandler for Files {}
//! let handler = layer.layer(Files);
//!
//! // Around the HTTP service: headers on every answer, refusals too.
//! let refuses = tower::service_fn(async |_: Request<()>| Response::builder().status(StatusCode::FORBIDDEN).body(()));
//! let response = layer.layer(refuses).oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::FORBIDDEN);
//! assert_eq!(response.headers()["capiscio-server-did"], did.as_str());
//!
//! // A key that is not the DID's proves nothing, so no identity is made of it.
//! let other = Arc::new(SigningKey::generate()?);
//! assert!(ServerIdentity::builder(did, other).build().is_err());
//! # Ok(())
//! # }
//! ```
mod handler;
mod http_service;

pub use http_service::IdentityFuture;

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use tower_layer::Layer;

use crate::clock::{Clock, SystemClock};
use crate::identity::server::ServerIdentity;

/// Discloses a [`ServerIdentity`]; see the [module](self) for what that means in each of its two positions.
#[derive(Clone)]
pub struct IdentityLayer {
    identity: ServerIdentity,
    /// `None` for a DID that is no header value, which the DID grammar excludes.
    did: Option<HeaderValue>,
    clock: Arc<dyn Clock>,
}

impl IdentityLayer {
    /// A layer that discloses `identity`, with the system's clock for the time in its proofs.
    #[must_use]
    pub fn new(identity: ServerIdentity) -> Self {
        let did = HeaderValue::from_str(identity.did().as_str()).ok();
        Self { identity, did, clock: Arc::new(SystemClock) }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl fmt::Debug for IdentityLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityLayer").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = Identity<S>;

    fn layer(&self, inner: S) -> Identity<S> {
        Identity { inner, layer: self.clone() }
    }
}

/// A handler or an HTTP service that says who it is; made by [`IdentityLayer`].
#[derive(Clone, Debug)]
pub struct Identity<S> {
    inner: S,
    layer: IdentityLayer,
}

impl<S> Identity<S> {
    /// What is inside.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// Gives what is inside back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}
