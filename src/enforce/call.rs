//! One request, as the enforcer sees it.

use serde_json::{Map, Value};

use crate::policy::{DenyReason, GuardedMethod, ToolRequirement};

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// `tools/call`.
    Tool {
        /// The tool's exact name.
        name: &'a str,
        /// The arguments object; absent is recorded as `{}`.
        arguments: Option<&'a Map<String, Value>>,
    },
    /// `tasks/get`, `tasks/update` or `tasks/cancel` of a task that a tool created: the tool's decision runs again.
    Task {
        /// The method.
        method: &'static str,
        /// The tool that created the task; empty when no such task exists.
        tool: &'a str,
    },
    /// Another method that returns application data.
    Method {
        /// The class that the configuration opens or closes.
        class: GuardedMethod,
        /// The method, such as `prompts/get`.
        method: &'static str,
        /// What it names, such as a prompt; may be empty.
        target: &'a str,
    },
    /// A request or notification that MCP does not define.
    Custom {
        /// The method as the caller wrote it.
        method: &'a str,
    },
}

impl<'a> Action<'a> {
    pub(crate) const fn method(&self) -> &'static str {
        match self {
            Self::Tool { .. } => "tools/call",
            Self::Task { method, .. } | Self::Method { method, .. } => method,
            Self::Custom { .. } => "custom",
        }
    }

    pub(crate) const fn target(&self) -> &'a str {
        match *self {
            Self::Tool { name, .. } => name,
            Self::Task { tool, .. } => tool,
            Self::Method { target, .. } => target,
            Self::Custom { method } => method,
        }
    }

    pub(super) const fn tool(&self) -> Option<&'a str> {
        match *self {
            Self::Tool { name, .. } => Some(name),
            Self::Task { tool, .. } => Some(tool),
            Self::Method { .. } | Self::Custom { .. } => None,
        }
    }
}

/// One request as the enforcer sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// What is asked for.
    pub action: Action<'a>,
    /// The requirement that stands beside the tool; `Some(Err(()))` when it is there but unreadable, which denies.
    pub beside: Option<Result<&'a ToolRequirement, ()>>,
    /// `stdio` for any transport without HTTP, or `http`; recorded only.
    pub transport: &'static str,
    /// The protocol revision in use; recorded only.
    pub protocol_version: Option<&'a str>,
    /// A reason that the transport found before the decision; the call is authenticated, recorded and denied with it.
    pub refused: Option<(DenyReason, &'static str)>,
}

impl<'a> Call<'a> {
    /// A `tools/call` of `name`.
    #[must_use]
    pub const fn tool(name: &'a str, arguments: Option<&'a Map<String, Value>>) -> Self {
        Self::new(Action::Tool { name, arguments })
    }

    /// Any action.
    #[must_use]
    pub const fn new(action: Action<'a>) -> Self {
        Self { action, beside: None, transport: "stdio", protocol_version: None, refused: None }
    }
}
