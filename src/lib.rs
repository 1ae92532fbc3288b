//! Authentication, authorization and evidence for MCP tool calls.

pub mod clock;
pub mod encoding;
pub mod enforce;
pub mod evidence;
pub mod identity;
pub mod policy;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
