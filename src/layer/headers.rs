//! The names that identity and credentials have in HTTP: one list for the guard, the session layer and disclosure.

use http::HeaderName;

/// A caller's badge: a compact JWS.
pub const BADGE: HeaderName = HeaderName::from_static("x-capiscio-badge");

/// A caller's API key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-capiscio-registry-key");

/// A call-bound proof; never forwarded to a tool.
pub const REQUEST_SIGNATURE: HeaderName = HeaderName::from_static("x-capiscio-request-sig");

/// A server's DID, in responses.
pub const SERVER_DID: HeaderName = HeaderName::from_static("capiscio-server-did");

/// A server's badge, in responses.
pub const SERVER_BADGE: HeaderName = HeaderName::from_static("capiscio-server-badge");

/// The session id of MCP's streamable HTTP transport before 2026-07-28.
pub const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
