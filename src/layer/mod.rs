//! The layers around an rmcp server, and the verified client: the only room that knows tower, http and rmcp.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "layer")]
mod forward;
#[cfg(all(feature = "layer", any(test, fuzzing)))]
pub(crate) mod fuzz;
#[cfg(feature = "layer")]
pub mod guard;
pub mod headers;
#[cfg(feature = "layer")]
pub mod identity;
#[cfg(feature = "layer")]
mod lapse;
#[cfg(feature = "layer")]
pub mod raw;
#[cfg(feature = "layer")]
pub mod session;
#[cfg(feature = "layer")]
pub mod tower;
