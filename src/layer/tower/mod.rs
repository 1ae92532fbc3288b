//! Tool calls as tower services, so that stock tower layers stand around the tools of an rmcp server.
//!
//! [`GuardLayer::tool_stack`] is the form for servers: the guard outside, then any tower layers, then the tools. A call
//! that is denied costs no permit of a concurrency limit and no place in a buffer, and tasks, lists and custom methods
//! pass through the guard as well. A [`ToolStack`] cannot be had without a guard around it.
//!
//! ```
//! use std::time::Duration;
//! use rmcp_guard::layer::guard::GuardLayer;
//! # fn f<H: rmcp::ServerHandler>(guard: &GuardLayer, files: H) -> impl rmcp::ServerHandler + Clone {
//! let limits = tower::ServiceBuilder::new()
//!     .load_shed()
//!     .concurrency_limit(16)
//!     .timeout(Duration::from_secs(30));
//! let server = guard.tool_stack(files, limits);
//! # server }
//! ```
//!
//! Build the stack once and clone it into `StreamableHttpService`'s factory: the factory runs for every session, and
//! for every request where there are none, so limits built inside it would be new each time.
//!
//! Errors of stock layers become JSON-RPC errors: [`TIMEOUT_CODE`] for tower's `Elapsed`, [`OVERLOAD_CODE`] for its
//! `Overloaded`, and an internal error without details for any other.
//!
//! [`Guard`] is itself a [`tower_service::Service`] of [`ToolCall`]s for programs that dispatch tool calls without an rmcp
//! handler. It then guards those calls alone: lists, tasks and custom methods are the business of whoever dispatches.
//!
//! [`GuardLayer::tool_stack`]: crate::layer::guard::GuardLayer::tool_stack
//! [`Guard`]: crate::layer::guard::Guard
//! [`TIMEOUT_CODE`]: crate::layer::guard::TIMEOUT_CODE
//! [`OVERLOAD_CODE`]: crate::layer::guard::OVERLOAD_CODE

mod call;
mod future;
mod service;
mod stack;

pub use call::{ToolCall, ToolFuture, ToolService};
pub use future::GuardFuture;
pub use stack::ToolStack;
