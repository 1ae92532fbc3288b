//! The guard without a transport: a credential in, a permit or a denial out, evidence written either way.
//!
//! In scope: picking the credential out of a request's parts, verifying it, deciding by the
//! [policy](crate::policy), recording, and the configuration that ties these together.
//! Out of scope: HTTP and MCP (the `layer` module translates them), and running anything: whoever holds a
//! [`Permit`] does that.

mod call;
mod config;
mod credential;
mod decide;
mod denial;
mod enforcer;
mod evaluate;
mod permit;
mod principal;
mod record;
mod recorder;
#[cfg(feature = "layer")]
mod request_state;
mod result_hash;
mod share;
#[cfg(test)]
mod tests;
#[cfg(feature = "registry")]
mod witness;

pub use call::{Action, Call};
#[cfg(feature = "layer")]
pub use config::MAX_REAUTHORIZATION_INTERVAL;
#[cfg(any(test, fuzzing))]
pub use config::fuzz_policy_config;
pub use config::{
    ConfigError, ConfigProblem, GuardConfig, GuardConfigBuilder, GuardHealth, LOG_LEVEL_VARIABLE, LogLevel,
    LogLevelError, MAX_API_KEYS, MAX_CONFIG_BYTES, MissingSource, SERVER_ORIGIN_VARIABLE, SourceKind, SourceReport,
    WarmUpError, log_level_from_env,
};
#[cfg(feature = "layer")]
pub(crate) use credential::is_bearer_badge;
pub(crate) use credential::offered_auth_level;
pub use credential::{
    CallerCredential, CredentialError, CredentialSources, MAX_API_KEY_BYTES, META_CALLER_API_KEY, META_CALLER_BADGE,
    PresentedCredential, is_guard_meta_key,
};
#[cfg(feature = "layer")]
pub(crate) use decide::Authenticated;
pub use decide::MAX_AUTHENTICATION;
#[cfg(feature = "layer")]
pub(crate) use denial::class_of;
pub use denial::{Denial, GuardError, META_DENIAL};
pub use enforcer::Enforcer;
pub use evaluate::{GuardResult, WouldWait, evaluate_tool_access, evaluate_tool_access_sync};
#[cfg(feature = "layer")]
pub(crate) use permit::Unrecorded;
pub use permit::{Outcome, Permit};
pub use principal::{Owner, Principal};
#[cfg(feature = "layer")]
pub(crate) use record::{Recording, Undecided};
#[cfg(all(feature = "layer", any(test, fuzzing)))]
pub use request_state::fuzz::fuzz_request_state;
#[cfg(feature = "layer")]
pub use request_state::{
    DEFAULT_REQUEST_STATE_LIFETIME, MAX_REQUEST_STATE_BYTES, MAX_REQUEST_STATE_KEYS, MAX_REQUEST_STATE_LIFETIME,
    RequestStateKey,
};
#[cfg(feature = "layer")]
pub(crate) use request_state::{Holder, RequestDigest, RequestStates};
pub use result_hash::MAX_HASHED_RESULT_BYTES;
#[cfg(feature = "layer")]
pub(crate) use result_hash::ResultHash;
#[cfg(feature = "registry")]
pub use witness::{MIN_WITNESS_INTERVAL, WITNESS_TIMEOUT, WitnessClient, WitnessState, WitnessTask};
