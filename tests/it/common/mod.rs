//! What the stories share: callers with badges, a demo server behind a guard, and connections over every transport.

// Each story uses its part.
#![expect(dead_code, reason = "stories of one feature set do not use what those of another do")]

pub mod connect;
pub mod demo;

use std::sync::Arc;
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::enforce::{GuardConfig, GuardConfigBuilder};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, self_sign};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::policy::ToolRequirement;
use serde_json::Value;

pub use connect::*;
pub use demo::Demo;

pub const AUDIENCE: &str = "https://files.example.com";
pub const REGISTRY: &str = "https://registry.example.com";
pub const API_KEY: &str = "key";
const API_KEY_SHA256: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";

pub const LEVELS: [TrustLevel; 5] = [
    TrustLevel::SelfSigned,
    TrustLevel::Registered,
    TrustLevel::DomainValidated,
    TrustLevel::OrganizationValidated,
    TrustLevel::ExtendedValidated,
];

pub fn now() -> UnixSeconds {
    SystemClock.now_unix()
}

pub fn registry() -> BadgeIssuer {
    registry_with_key(REGISTRY, 1)
}

/// An issuer of any name with any key: other keys than seed 1 are not the registry's.
pub fn registry_with_key(origin: &str, seed: u8) -> BadgeIssuer {
    BadgeIssuer::new(origin, "key-1", Arc::new(SigningKey::from_seed(&[seed; 32]))).unwrap()
}

/// What a registry is asked to say about the agent of `seed`.
pub fn badge_request(seed: u8, level: TrustLevel) -> BadgeRequest {
    let key = SigningKey::from_seed(&[seed; 32]);
    BadgeRequest::new(key.did(), key.public_key(), level).domain("agents.example.com")
}

/// A badge that is good here, for the agent of `seed` (use 10 and above).
pub fn badge(seed: u8, level: TrustLevel) -> String {
    if level == TrustLevel::SelfSigned {
        let key = SigningKey::from_seed(&[seed; 32]);
        return self_sign(&key, &[AUDIENCE.to_owned()], Duration::from_secs(300), now()).unwrap();
    }
    registry().issue(&badge_request(seed, level).audience(AUDIENCE), now()).unwrap()
}

/// A configuration that trusts the registry, knows one API key, and has a rule for every tool of [`Demo`] but
/// `unlisted`.
pub fn config(evidence: &EvidenceLog) -> GuardConfigBuilder {
    let mut config = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::jwks(REGISTRY, &registry().jwks_json()).unwrap())
        .insecure_no_revocation()
        .api_key(API_KEY_SHA256, "tester")
        .evidence(evidence.clone());
    for tool in demo::OPEN_TOOLS {
        config = config.tool(*tool, ToolRequirement::anonymous());
    }
    for (tool, level) in demo::LEVEL_TOOLS.iter().zip(LEVELS) {
        config = config.tool(*tool, ToolRequirement::min_trust(level));
    }
    config.tool("member", ToolRequirement::authenticated()).tool("vip_job", ToolRequirement::min_trust(LEVELS[2]))
}

/// A demo server, its guard and its evidence.
pub struct Fixture {
    pub demo: Demo,
    pub guard: GuardLayer,
    pub evidence: EvidenceLog,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    pub fn with(change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder) -> Self {
        let evidence = EvidenceLog::in_memory();
        let guard = GuardLayer::new(change(config(&evidence)).build().unwrap());
        Self { demo: Demo::default(), guard, evidence }
    }

    /// The guarded demo server on a transport.
    pub async fn serve(&self, transport: Transport) -> Server {
        use tower::Layer as _;
        Server::start(transport, self.guard.layer(self.demo.clone()), &self.guard).await
    }

    /// Evidence of one kind: `decision`, `outcome`, `notice`, `policy_loaded`.
    pub fn records(&self, kind: &str) -> Vec<Value> {
        let records = self.evidence.records().unwrap();
        records.into_iter().map(event).filter(|event| event["rmcp_guard.kind"] == kind).collect()
    }

    /// The reasons of all denials, in order.
    pub fn denials(&self) -> Vec<String> {
        let denied = |event: &Value| event["capiscio.decision"] == "DENY";
        let reason = |event: Value| event["rmcp_guard.deny_reason"].as_str().unwrap().to_owned();
        self.records("decision").into_iter().filter(denied).map(reason).collect()
    }
}

fn event(mut record: Value) -> Value {
    match record.get_mut("event") {
        Some(event) => event.take(),
        None => record,
    }
}
