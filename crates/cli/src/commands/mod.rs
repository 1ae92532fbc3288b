//! One module for each command.

pub(crate) mod badge;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod did;
pub(crate) mod evidence;
pub(crate) mod keygen;
pub(crate) mod policy;
pub(crate) mod server;
pub(crate) mod trust;
