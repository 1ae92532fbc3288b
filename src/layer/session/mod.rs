//! Sessions of MCP's streamable HTTP transport, bound to their owner.
//!
//! Before 2026-07-28 an MCP session is an id in the `Mcp-Session-Id` header, and rmcp gives the session to whoever
//! knows it: a `GET` with `Last-Event-ID` resumes the stream and reads the answers in it, a `DELETE` ends it, a `POST`
//! can answer a question that the server asked somebody else. `GET` and `DELETE` never reach the MCP level, so no guard
//! around a handler can see them, and event ids can be guessed. [`SessionLayer`] is a plain HTTP layer that stands
//! before all of it:
//!
//! * Every request that names a session is authenticated by its headers, whatever its verb.
//! * A session belongs to the principal that opened it: issuer and subject of the badge, or name of the API key. A
//!   badge may be renewed, its key and level may change; the owner stays.
//! * A session that was opened without a credential belongs to nobody until a call in it is authorized for a caller
//!   with one. It then latches, once: responses that others opened in it end.
//! * Everybody else gets 404, and so does a session of which nothing is known, such as one from before a restart.
//! * What cannot be bound is refused: a repeated or malformed session id (400), a credential that fails (401), a
//!   session beyond [`MAX_SESSIONS`] (503; open sessions are never dropped for new ones).
//! * The stream that a `GET` opens ends when its badge expires, and is authorized again at least once a minute; the end is
//!   recorded as a notice `stream_ended`. The response to a `POST` ends with the call that it answers, which the guard ends.
//!
//! Requests without a session id pass: they are `initialize`, or stateless, and the guard decides on each of their
//! calls.
//!
//! # Deployment caveats
//!
//! Where sessions are not needed, `StreamableHttpServerConfig::with_legacy_session_mode(false)` is the simpler answer;
//! the revision 2026-07-28 is stateless in any case.
//!
//! A client must send its credential in a header on every request of a session, `GET` and `DELETE` too. A call with its
//! badge in `_meta` alone is denied within a session (`session_unbound`), since the layer could not tell that client's
//! next request from a thief's.
//!
//! An rmcp `EventStore` replays by event id alone, whatever session the request names: its ids must be unguessable
//! (128 random bits), or owners can read each other's streams. A resumption that names no session is refused here.
//!
//! rmcp has made a session before this layer sees whom it is for. One that is refused here (401, 503) is out of reach,
//! since its id is not told, and lives on within rmcp until its `keep_alive` ends it: where strangers can connect, limit
//! the rate of requests in front of the endpoint.
//!
//! The layer does not look at `Host` and `Origin`, rmcp does; see [`SessionLayer`] for the configuration to use.
//!
//! # Example
//!
//! ```
//! use axum::body::Body;
//! use http::{Request, Response, StatusCode};
//! use rmcp_guard::enforce::{Enforcer, GuardConfig};
//! use rmcp_guard::evidence::EvidenceLog;
//! use rmcp_guard::layer::session::SessionLayer;
//! use rmcp_guard::policy::ToolRequirement;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = GuardConfig::builder()
//!     .api_key("72ee9d4355ccb9d3a4c9dbf37382e38e75c1b1a225b5bd1f729ee91bbda30c20", "alice")
//!     .api_key("a2c6db64998e297b1413b0033e66c5ac0e0a810cac887f9c6b4636f6df389ad9", "mallory")
//!     .default_requirement(ToolRequirement::authenticated())
//!     .evidence(EvidenceLog::in_memory())
//!     .build()?;
//! // Stands for rmcp's StreamableHttpService.
//! let mcp = tower::service_fn(async |_: Request<Body>| {
//!     Response::builder().header("mcp-session-id", "0c8e5a3e").body(Body::from("the answer"))
//! });
//! let mcp = SessionLayer::new(Enforcer::new(config)).layer(mcp);
//!
//! let initialize = Request::post("/mcp").header("x-capiscio-registry-key", "alice-key");
//! let response = mcp.clone().oneshot(initialize.body(Body::empty())?).await?;
//! assert_eq!(response.headers()["mcp-session-id"], "0c8e5a3e");
//!
//! // Who knows the session id and not Alice's key does not get her answers.
//! for (key, status) in [("alice-key", StatusCode::OK), ("mallory-key", StatusCode::NOT_FOUND)] {
//!     let resume = Request::get("/mcp").header("x-capiscio-registry-key", key);
//!     let resume = resume.header("mcp-session-id", "0c8e5a3e").header("last-event-id", "0/1");
//!     assert_eq!(mcp.clone().oneshot(resume.body(Body::empty())?).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! ```

mod body;
mod future;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod refusal;
mod service;
mod table;
#[cfg(test)]
mod tests;

pub use body::SessionBody;
pub use future::SessionFuture;
pub use service::{Session, SessionLayer};
pub use table::{MAX_SESSIONS, MAX_STREAMS_PER_SESSION, SESSION_IDLE};
pub(crate) use table::{SessionHandle, SessionKey};

/// Bytes of a session id, in visible ASCII (MCP 2025-11-25, session management). rmcp's are 36; 128 leaves room for
/// signed ones of other servers.
pub const MAX_SESSION_ID_BYTES: usize = 128;
