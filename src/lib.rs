//! Authentication, authorization and evidence for MCP tool calls.

pub mod clock;
pub mod encoding;
pub mod evidence;
pub mod identity;
pub mod policy;
