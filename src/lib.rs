//! Authentication, authorization and evidence for MCP tool calls.

pub mod clock;
pub mod encoding;
pub mod enforce;
pub mod evidence;
pub mod identity;
#[cfg(any(feature = "layer", feature = "client"))]
pub mod layer;
pub mod policy;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;

#[cfg(feature = "client")]
pub use layer::client::VerifiedClient;
#[cfg(feature = "layer")]
pub use layer::guard::GuardLayer;
#[cfg(feature = "layer")]
pub use layer::identity::IdentityLayer;
#[cfg(feature = "layer")]
pub use layer::session::SessionLayer;
