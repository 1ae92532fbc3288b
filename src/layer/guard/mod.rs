//! The guard around an rmcp server: no tool runs, and no other application data leaves, before the enforcer allowed it
//! and the decision is on record.
//!
//! ```
//! use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock};
//! use rmcp::service::RequestContext;
//! use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
//! use rmcp_guard::enforce::GuardConfig;
//! use rmcp_guard::evidence::EvidenceLog;
//! use rmcp_guard::layer::guard::{GuardLayer, META_DENIAL};
//! use rmcp_guard::policy::ToolRequirement;
//! use tower::Layer as _;
//!
//! #[derive(Clone)]
//! struct Clock;
//!
//! impl ServerHandler for Clock {
//!     async fn call_tool(
//!         &self,
//!         _: CallToolRequestParams,
//!         _: RequestContext<RoleServer>,
//!     ) -> Result<CallToolResponse, ErrorData> {
//!         Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let config = GuardConfig::builder()
//!     .api_key("2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", "operator") // SHA-256 of "key"
//!     .tool("now", ToolRequirement::anonymous())
//!     .tool("set", ToolRequirement::authenticated())
//!     .evidence(EvidenceLog::in_memory())
//!     .build()?;
//! let server = GuardLayer::new(config).layer(Clock);
//!
//! let (near, far) = tokio::io::duplex(4096);
//! let (serving, client) = tokio::join!(server.serve(far), ().serve(near));
//! let (_serving, client) = (serving?, client?); // a client that knows nothing of this crate
//!
//! let allowed = client.call_tool(CallToolRequestParams::new("now")).await?;
//! assert_eq!(allowed.is_error, Some(false));
//!
//! let denied = client.call_tool(CallToolRequestParams::new("set")).await?;
//! assert_eq!(denied.is_error, Some(true));
//! assert_eq!(denied.meta.unwrap().get(META_DENIAL).unwrap()["reason"], "badge_missing");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # In scope
//!
//! * `tools/call`, decided by the rule for the tool's exact name, tightened by a requirement beside the tool.
//! * `tools/list`, reduced to what its caller may call. Pages and cursors stay; caches are told to keep nothing.
//! * Prompts, resources, completion, skills, subscriptions and logging, each class denied until the configuration gives it
//!   a requirement or opens it by [`MethodAccess::Inner`](crate::policy::MethodAccess::Inner).
//! * Custom requests and notifications, denied unless allowed by their exact name; one that resembles a standard method
//!   is refused in any case.
//! * Tasks: the id of a created task answers to its owner only, and each access is decided anew. An anonymous caller owns
//!   tasks within a session of HTTP, while nobody owns that session.
//!
//! * The rounds of `tools/call`, `prompts/get` and `resources/read` (MCP 2026-07-28): the `requestState` that an inner server
//!   hands out leaves sealed, bound to its caller, to method, target and arguments, and to a time
//!   ([`request_state_lifetime`]). The inner server gets back exactly what it made, or the request is denied
//!   (`request_state_invalid`, `request_state_expired`). The state of an anonymous caller is bound to its session; where
//!   there is none, to the request and the time alone.
//!
//! [`request_state_lifetime`]: crate::enforce::GuardConfigBuilder::request_state_lifetime
//!
//! What runs or listens for long is ended when the badge that opened it expires, and authorized again at least once a minute:
//! tool calls, the methods above, custom requests and `subscriptions/listen`. The end is recorded as a notice `stream_ended`.
//! Tasks run on; each access to one is decided.
//!
//! Answers to authenticated callers carry the receipt of their decision (`_meta["rmcp-guard/evidence"]`, a
//! [`Receipt`](crate::evidence::Receipt)), unless [`receipts`](crate::enforce::GuardConfigBuilder::receipts) are off.
//! Nobody but the guard speaks in its name: every key of ours (`rmcp-guard/..`, `capiscio..`) that an inner server puts
//! into the `_meta` of an answer or the `data` of an error is removed, and an error of it that has [`DENIAL_CODE`] or
//! reads as a denial no longer does. So a guard within this one denies by its text alone. Notifications are no answers,
//! and a member of that name in one means nothing. A bare tower service answers with errors of its own type, which are
//! left as they are.
//!
//! Credentials are read from the request's `_meta` and from its HTTP headers, each request for itself, and are removed
//! before the inner server sees the request. A tool finds its caller as [`Principal`](crate::enforce::Principal) in the
//! request's extensions.
//!
//! # Out of scope
//!
//! * Whatever the program calls without rmcp, such as a handler that calls its own tool.
//! * `get_tool`, which has no caller: rmcp's HTTP service asks it before the guard. Names and schemas of tools count as
//!   public on HTTP from 2026-07-28 on; whether one may be *called* never does.
//! * The context of a handler's own `listen`: rmcp 3.11 builds it and gives no way to change it, so that handler sees the
//!   credentials and no `Principal`. Open [`Subscriptions`](crate::policy::GuardedMethod::Subscriptions) only to a handler
//!   that neither logs nor forwards `request_context()`.
//!
//! * What a handler sends on a connection by itself, such as updates to those who subscribed before 2026-07-28: rmcp hands it the
//!   connection. Over HTTP the stream that carries them is the session layer's, and ends with its badge.
//!
//! # Deployment caveats
//!
//! * Nothing that can run a tool belongs outside the guard. [`IdentityLayer`](crate::layer::identity::IdentityLayer) does
//!   belong there: the guard strips what it answers to.
//! * Over HTTP with sessions, put [`GuardLayer::session_layer`] around the MCP service; calls are denied without it.
//! * A `requestState` is authenticated and not encrypted, and opens as often as it is brought before it expires. Replicas that
//!   share callers need one [`request_state_key`](crate::enforce::GuardConfigBuilder::request_state_key).
//! * Build the guarded server once and clone it into the factory of rmcp's HTTP service: owners of tasks are kept per
//!   layer.
//! * A requirement beside a tool counts where `get_tool` shows it, as `#[tool_handler]` does. A handler that lists its
//!   tools by hand must define `get_tool` too: rmcp's default knows no tool, and then the rules decide alone. A list that
//!   shows a requirement which `get_tool` does not is logged as an error.
//! * `#[tool_handler]` without `router = self.tool_router` builds its router anew on every call.

pub(in crate::layer) mod answer;
mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(in crate::layer) mod gate;
mod handler;
mod layer;
mod method_name;
mod opened;
pub(in crate::layer) mod pass;
pub(in crate::layer) mod receipt;
pub(in crate::layer) mod round;
mod tasks;

pub use crate::enforce::META_DENIAL;
pub use answer::{DENIAL_CODE, DenialShape, OVERLOAD_CODE, TIMEOUT_CODE};
pub use handler::Guard;
pub use layer::GuardLayer;
pub use method_name::MAX_METHOD_BYTES;
pub use tasks::{MAX_ANONYMOUS_TASKS, MAX_TASK_ID_BYTES, MAX_TASKS, MAX_TASKS_PER_OWNER};
