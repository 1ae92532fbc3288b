//! The guard's configuration: collected by a builder, a file and the environment, checked once, immutable after.

mod builder;
mod check;
mod env;
mod evidence;
mod file;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod health;
#[cfg(feature = "registry")]
mod network;
#[cfg(not(feature = "registry"))]
#[path = "network_off.rs"]
mod network;

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "layer")]
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::clock::Clock;
#[cfg(feature = "layer")]
use crate::enforce::RequestStates;
use crate::evidence::EvidenceLog;
use crate::identity::badge::{BadgeVerifier, Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::trust_store::Issuer;
pub use crate::policy::ConfigProblem;
use crate::policy::Policy;

#[cfg(feature = "layer")]
pub use builder::MAX_REAUTHORIZATION_INTERVAL;
pub use builder::{GuardConfigBuilder, MAX_API_KEYS};
pub use env::{LOG_LEVEL_VARIABLE, LogLevel, LogLevelError, SERVER_ORIGIN_VARIABLE, log_level_from_env};
pub use file::MAX_CONFIG_BYTES;
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz_policy_config;
pub use health::{GuardHealth, MissingSource, SourceKind, SourceReport, WarmUpError};

/// Every mistake in a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// The mistakes, in the order in which they were found; never empty.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guard cannot start with this configuration")?;
        for (number, problem) in self.problems.iter().enumerate() {
            write!(f, "{} {problem}", if number == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// What a guard enforces: rules, trust, audiences, evidence. Immutable, and cheap to clone.
///
/// ```
/// use rmcp_guard::enforce::GuardConfig;
/// use rmcp_guard::evidence::EvidenceLog;
/// use rmcp_guard::identity::trust_level::TrustLevel;
/// use rmcp_guard::policy::{Caller, Decision, DenyReason, ToolRequirement};
///
/// let config = GuardConfig::builder()
///     .tool("list_*", ToolRequirement::anonymous())
///     .evidence(EvidenceLog::in_memory())
///     .build()?;
/// assert_eq!(config.policy().evaluate("list_files", Caller::Anonymous, None).decision, Decision::Allow);
/// assert_eq!(
///     config.policy().evaluate("delete_file", Caller::Anonymous, None).reason,
///     Some(DenyReason::ToolNotAllowed)
/// );
///
/// // what cannot work, or would open more than it says, does not start
/// let error = GuardConfig::builder()
///     .tool("read_file", ToolRequirement::min_trust(TrustLevel::DomainValidated))
///     .build()
///     .unwrap_err();
/// let keys: Vec<_> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
/// assert_eq!(keys, ["trusted_issuers", "audiences", "revocations", "evidence"]);
/// # Ok::<(), rmcp_guard::enforce::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GuardConfig {
    inner: Arc<Inner>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
struct Inner {
    policy: Policy,
    verifier: BadgeVerifier,
    issuers: Vec<Issuer>,
    revocations: Option<Revocations>,
    evidence: EvidenceLog,
    clock: Arc<dyn Clock>,
    audiences: Vec<String>,
    own_dids: Vec<Did>,
    additional_issuers: Vec<String>,
    api_keys: ApiKeys,
    bearer_as_badge: bool,
    outcomes: bool,
    result_hashes: bool,
    receipts: bool,
    #[cfg(feature = "layer")]
    request_states: RequestStates,
    #[cfg(feature = "layer")]
    reauthorization_interval: Duration,
    #[cfg(feature = "layer")]
    calls_outlive_credentials: bool,
    server_origin: Option<String>,
    profile: Profile,
    metadata_opens_tools: bool,
    digest: String,
    warnings: Vec<String>,
}

impl GuardConfig {
    /// Starts an empty configuration: nobody is trusted, no tool is open, and there is no evidence log yet.
    #[must_use]
    pub fn builder() -> GuardConfigBuilder {
        GuardConfigBuilder::default()
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Verifies callers' badges.
    #[must_use]
    pub fn verifier(&self) -> &BadgeVerifier {
        &self.inner.verifier
    }

    /// Where decisions are recorded.
    #[must_use]
    pub fn evidence(&self) -> &EvidenceLog {
        &self.inner.evidence
    }

    /// The time that badges are checked against.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The names under which callers address us; a badge must carry one of them (S1).
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.inner.audiences
    }

    /// Our own DIDs, which never count as a caller's (S2).
    #[must_use]
    pub fn own_dids(&self) -> &[Did] {
        &self.inner.own_dids
    }

    /// Whether `other` is this very configuration, and not one that says the same.
    #[cfg(feature = "layer")]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The origins of the issuers that only the rules which name them trust.
    pub(crate) fn additional_issuers(&self) -> &[String] {
        &self.inner.additional_issuers
    }

    /// The name of the principal who holds `key`, or `None` for a key that is not listed.
    ///
    /// The time it takes depends on the number of listed keys only.
    #[must_use]
    pub fn api_key_name(&self, key: &str) -> Option<&str> {
        self.inner.api_keys.name(key)
    }

    /// Whether a Bearer value is looked at as a badge.
    #[must_use]
    pub fn bearer_as_badge(&self) -> bool {
        self.inner.bearer_as_badge
    }

    /// Whether the end of each allowed call is recorded.
    #[must_use]
    pub fn records_outcomes(&self) -> bool {
        self.inner.outcomes
    }

    /// Whether that record carries a keyed hash of the result.
    #[must_use]
    pub fn records_result_hashes(&self) -> bool {
        self.inner.result_hashes
    }

    /// Whether authenticated callers are told where the record of their call stands in the log.
    #[must_use]
    pub fn receipts(&self) -> bool {
        self.inner.receipts
    }

    /// Seals the state that servers hand out between the rounds of a request.
    #[cfg(feature = "layer")]
    pub(crate) fn request_states(&self) -> &RequestStates {
        &self.inner.request_states
    }

    /// How often what goes on is authorized again (S18).
    #[cfg(feature = "layer")]
    #[must_use]
    pub fn reauthorization_interval(&self) -> Duration {
        self.inner.reauthorization_interval
    }

    /// Whether a call runs on when its caller would not be let in any more.
    #[cfg(feature = "layer")]
    #[must_use]
    pub fn calls_outlive_credentials(&self) -> bool {
        self.inner.calls_outlive_credentials
    }

    /// The origin that evidence names as ours.
    #[must_use]
    pub fn server_origin(&self) -> Option<&str> {
        self.inner.server_origin.as_deref()
    }

    /// How strictly badges are read.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.inner.profile
    }

    /// `sha256:` and the base64url digest of everything here that bears on a decision (S33): rules, trust, audiences,
    /// profile, the names of API keys, and of what is asked over the network where and how (not the keys and lists that
    /// come from there, which change while the configuration does not). Each record of evidence carries it. How evidence itself is kept (its mode,
    /// outcomes, result hashes, receipts) is not part of it: that decides what is recorded, not who is let in.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Whether a requirement beside a tool opens it without a rule (S12).
    #[must_use]
    pub fn metadata_opens_tools(&self) -> bool {
        self.inner.metadata_opens_tools
    }

    /// What was ignored while the configuration was read, for the log at start.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }
}

/// API keys by their SHA-256, with the names of their principals.
#[derive(Debug, Default)]
struct ApiKeys(Vec<ApiKey>);

struct ApiKey {
    sha256: [u8; 32],
    name: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the digest of a weak key is as good as the key
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ApiKeys {
    fn name(&self, key: &str) -> Option<&str> {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (number, entry) in (0_u64..).zip(&self.0) {
            let equal = entry.sha256.ct_eq(&digest);
            place.conditional_assign(&number, equal);
            found |= equal;
        }
        let entry = usize::try_from(place).ok().and_then(|place| self.0.get(place))?;
        bool::from(found).then_some(entry.name.as_str())
    }
}

#[cfg(test)]
mod tests;
