//! A throw-away issuer, a clock you set, and badges, for an application's own tests (feature `test-util`).
//!
//! The keys are fixed and published in this source: an issuer made here must never be trusted outside a test.
//!
//! # Examples
//! Three lines mint a badge that the guard under test accepts:
//! ```
//! use rmcp_guard::enforce::{CallerCredential, Enforcer, GuardConfig, evaluate_tool_access_sync};
//! use rmcp_guard::evidence::EvidenceLog;
//! use rmcp_guard::identity::trust_level::TrustLevel;
//! use rmcp_guard::policy::{Decision, DenyReason, ToolRequirement};
//! use rmcp_guard::test_util::TestIssuer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = TestIssuer::new()?;
//! let registered = CallerCredential::badge(issuer.badge(TrustLevel::Registered, "https://files.example.com")?);
//! let validated = CallerCredential::badge(issuer.badge(TrustLevel::DomainValidated, "https://files.example.com")?);
//!
//! let config = GuardConfig::builder()
//!     .audience("https://files.example.com")
//!     .trusted_issuer(issuer.issuer()?)
//!     .insecure_no_revocation()
//!     .tool("read_file", ToolRequirement::min_trust(TrustLevel::DomainValidated))
//!     .evidence(EvidenceLog::in_memory())
//!     .clock(issuer.clock())
//!     .build()?;
//! let enforcer = Enforcer::new(config);
//!
//! let allowed = evaluate_tool_access_sync(&enforcer, "read_file", None, &validated)?;
//! assert_eq!(allowed.decision, Decision::Allow);
//! let denied = evaluate_tool_access_sync(&enforcer, "read_file", None, &registered)?;
//! assert_eq!(denied.deny_reason, Some(DenyReason::TrustInsufficient));
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, UnixSeconds};
use crate::identity::badge::{BadgeIssueError, BadgeIssuer, BadgeRequest, self_sign};
use crate::identity::did::Did;
use crate::identity::key::SigningKey;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::{Issuer, IssuerError};

/// The origin of [`TestIssuer`]; `.test` is reserved (RFC 2606) and never resolves.
pub const TEST_ISSUER: &str = "https://issuer.example.test";

/// The time at which a [`FixedClock`] starts: 2025-10-09T08:53:20Z.
pub const TEST_NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);

const ISSUER_SEED: [u8; 32] = [0x11; 32];
const AGENT_SEED: [u8; 32] = [0x22; 32];

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct FixedClock {
    seconds: AtomicI64,
}

impl FixedClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn new(now: UnixSeconds) -> Self {
        Self { seconds: AtomicI64::new(now.as_i64()) }
    }

    /// Sets the time.
    pub fn set(&self, now: UnixSeconds) {
        self.seconds.store(now.as_i64(), Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now_unix().saturating_add(by));
    }
}

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        let seconds = u64::try_from(self.seconds.load(Ordering::SeqCst)).unwrap_or(0);
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
    }
}

/// An issuer with a published key and a clock of its own, which starts at [`TEST_NOW`].
#[derive(Debug)]
pub struct TestIssuer {
    badges: BadgeIssuer,
    agent: SigningKey,
    clock: Arc<FixedClock>,
}

impl TestIssuer {
    /// The issuer `https://issuer.example.test`.
    ///
    /// # Errors
    /// [`BadgeIssueError`], which the fixed inputs do not cause.
    pub fn new() -> Result<Self, BadgeIssueError> {
        let key = Arc::new(SigningKey::from_seed(&ISSUER_SEED));
        Ok(Self {
            badges: BadgeIssuer::new(TEST_ISSUER, "test-1", key)?,
            agent: SigningKey::from_seed(&AGENT_SEED),
            clock: Arc::new(FixedClock::new(TEST_NOW)),
        })
    }

    /// What a configuration trusts: this issuer, with its key, for `did:key` subjects and its own host.
    ///
    /// # Errors
    /// [`IssuerError`], which the fixed inputs do not cause.
    pub fn issuer(&self) -> Result<Issuer, IssuerError> {
        Issuer::jwks(TEST_ISSUER, &self.badges.jwks_json())
    }

    /// The clock that badges are issued by; give it to the configuration and move it.
    #[must_use]
    pub fn clock(&self) -> Arc<FixedClock> {
        Arc::clone(&self.clock)
    }

    /// The subject of [`badge`](Self::badge).
    #[must_use]
    pub fn agent_did(&self) -> Did {
        self.agent.did()
    }

    /// A badge of the test agent for `audience`, valid for 300 s. Level 0 is signed by the agent itself.
    ///
    /// # Errors
    /// [`BadgeIssueError`], which a valid audience does not cause.
    pub fn badge(&self, level: TrustLevel, audience: &str) -> Result<String, BadgeIssueError> {
        if level == TrustLevel::SelfSigned {
            let audience = [audience.to_owned()];
            return self_sign(&self.agent, &audience, Duration::from_secs(300), self.clock.now_unix());
        }
        let request = BadgeRequest::new(self.agent.did(), self.agent.public_key(), level);
        self.issue(&request.domain("agent.example.test").audience(audience))
    }

    /// Any badge.
    ///
    /// # Errors
    /// [`BadgeIssueError`] when the request is one that no issuer may sign.
    pub fn issue(&self, request: &BadgeRequest) -> Result<String, BadgeIssueError> {
        self.badges.issue(request, self.clock.now_unix())
    }
}
