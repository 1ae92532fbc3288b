//! What is measured: one tool, the guard around it in every form, and badges for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::enforce::{GuardConfig, GuardConfigBuilder};
use rmcp_guard::evidence::{EvidenceLog, EvidenceMode};
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, Revocations};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::resolve::StatusList;
use rmcp_guard::identity::server::{ServerIdentity, StaticBadge};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::guard::{Guard, GuardLayer};
use rmcp_guard::layer::identity::{Identity, IdentityLayer};
use rmcp_guard::policy::ToolRequirement;
use tower::Layer as _;

use crate::files::{Files, TOOL};
use crate::nothing::NoStore;
use crate::peers::Peer;

pub const AUDIENCE: &str = "https://files.example.com";
const REGISTRY: &str = "https://registry.example.com";

/// What stands around the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Bare rmcp.
    Nothing,
    /// The guard; over stateful HTTP its session layer too, which sessions need.
    Guard,
    /// The guard, its session layer, and the identity layer in both its positions.
    Everything,
    /// Another framework's server and check, in a process of its own.
    Peer(Peer),
}

/// What the caller presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    /// One badge, whose signature is remembered after the first call.
    Badge,
    /// A badge on each call whose signature was never seen.
    ColdBadge,
}

/// Where records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Into a store of this tool that forgets them: evidence cannot be switched off.
    Nowhere,
    BestEffort,
    Bounded,
    Strict,
}

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    pub around: Around,
    pub caller: Caller,
    pub evidence: Evidence,
    pub outcomes: bool,
    /// Whether answers carry a receipt.
    pub receipts: bool,
}

impl Variant {
    pub const BARE: Self = Self {
        around: Around::Nothing,
        caller: Caller::Anonymous,
        evidence: Evidence::Nowhere,
        outcomes: false,
        receipts: false,
    };
    pub const BARE_BADGE: Self = Self { caller: Caller::Badge, ..Self::BARE };
    pub const CACHED: Self = Self {
        around: Around::Guard,
        caller: Caller::Badge,
        evidence: Evidence::Bounded,
        outcomes: true,
        receipts: true,
    };

    /// Somebody else's server with its own check, or none.
    pub const fn peer(peer: Peer) -> Self {
        Self { around: Around::Peer(peer), ..Self::BARE }
    }

    pub fn is_bare(&self) -> bool {
        self.around == Around::Nothing
    }

    /// Whether a log on disk is written.
    pub fn has_log(&self) -> bool {
        matches!(self.around, Around::Guard | Around::Everything) && self.evidence != Evidence::Nowhere
    }

    pub fn name(&self) -> String {
        let caller = match self.caller {
            Caller::Anonymous => "anonymous",
            Caller::Badge if self.is_bare() => "badge sent, not looked at",
            Caller::Badge => "cached badge",
            Caller::ColdBadge => "cold badge",
        };
        match self.around {
            Around::Nothing if self.caller == Caller::Anonymous => "bare rmcp".to_owned(),
            Around::Nothing => format!("bare rmcp, {caller}"),
            Around::Guard if !self.receipts => format!("guard, {caller}, no receipts"),
            Around::Guard => format!("guard, {caller}"),
            Around::Everything => format!("guard, {caller}, identity, sessions"),
            Around::Peer(peer) => peer.name().to_owned(),
        }
    }

    pub fn evidence_name(&self) -> &'static str {
        match (self.evidence, self.outcomes) {
            _ if !matches!(self.around, Around::Guard | Around::Everything) => "",
            (Evidence::Nowhere, false) => "forgotten, decisions",
            (Evidence::Nowhere, true) => "forgotten, + outcomes",
            (Evidence::BestEffort, false) => "best effort, decisions",
            (Evidence::BestEffort, true) => "best effort, + outcomes",
            (Evidence::Bounded, false) => "bounded, decisions",
            (Evidence::Bounded, true) => "bounded, + outcomes",
            (Evidence::Strict, false) => "strict, decisions",
            (Evidence::Strict, true) => "strict, + outcomes",
        }
    }

    /// For a child process: all members as one word.
    pub fn to_word(&self) -> String {
        format!("{:?}-{:?}-{:?}-{}-{}", self.around, self.caller, self.evidence, self.outcomes, self.receipts)
    }

    pub fn from_word(word: &str) -> Option<Self> {
        let arounds = [Around::Nothing, Around::Guard, Around::Everything];
        let callers = [Caller::Anonymous, Caller::Badge, Caller::ColdBadge];
        let stores = [Evidence::Nowhere, Evidence::BestEffort, Evidence::Bounded, Evidence::Strict];
        let all = arounds.into_iter().flat_map(|around| {
            callers.into_iter().flat_map(move |caller| {
                stores.into_iter().flat_map(move |evidence| {
                    [(false, false), (false, true), (true, false), (true, true)].map(|(outcomes, receipts)| Self {
                        around,
                        caller,
                        evidence,
                        outcomes,
                        receipts,
                    })
                })
            })
        });
        all.into_iter().find(|variant| variant.to_word() == word)
    }
}

pub fn now() -> UnixSeconds {
    SystemClock.now_unix()
}

/// The issuer that the servers trust. Its key is in this source: it stands for one and is none.
pub fn registry() -> BadgeIssuer {
    BadgeIssuer::new(REGISTRY, "key-1", badge_key()).unwrap()
}

pub(crate) fn badge_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[1; 32]))
}

/// A badge that no other one equals: its id is random.
pub fn badge(issuer: &BadgeIssuer) -> String {
    let key = SigningKey::from_seed(&[10; 32]);
    let request = BadgeRequest::new(key.did(), key.public_key(), TrustLevel::DomainValidated)
        .domain("agents.example.com")
        .audience(AUDIENCE)
        .lifetime(Duration::from_secs(3600));
    issuer.issue(&request, now()).unwrap()
}

pub fn open_log(evidence: Evidence, directory: &Path) -> EvidenceLog {
    let mode = match evidence {
        Evidence::Nowhere => return EvidenceLog::with_store(Arc::new(NoStore::new()), EvidenceMode::Bounded).unwrap(),
        Evidence::BestEffort => EvidenceMode::BestEffort,
        Evidence::Bounded => EvidenceMode::Bounded,
        Evidence::Strict => EvidenceMode::Strict,
    };
    EvidenceLog::options()
        .mode(mode)
        // strangers are as fast as the machine here
        .anonymous_bytes(u64::MAX, u64::MAX)
        // a busy machine is no failing log
        .wait_limit(Duration::from_secs(10))
        .create_or_open(directory)
        .unwrap()
}

/// A configuration as a server has it, with a revocation list that is asked on every call.
pub fn config(log: &EvidenceLog, caller: Caller, outcomes: bool) -> GuardConfigBuilder {
    let list = Arc::new(StatusList::new(now()));
    let kept_fresh = Arc::downgrade(&list);
    std::thread::spawn(move || {
        while let Some(list) = kept_fresh.upgrade() {
            list.mark_synced(now());
            drop(list);
            std::thread::sleep(Duration::from_secs(60));
        }
    });
    let requirement = match caller {
        Caller::Anonymous => ToolRequirement::anonymous(),
        Caller::Badge | Caller::ColdBadge => ToolRequirement::min_trust(TrustLevel::DomainValidated),
    };
    let config = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::jwks(REGISTRY, &registry().jwks_json()).unwrap())
        .revocations(Revocations::offline(list))
        .tool("list_*", ToolRequirement::authenticated())
        .tool(TOOL, requirement)
        .evidence(log.clone())
        .outcomes(outcomes);
    if log.mode() == EvidenceMode::BestEffort { config.dangerous_dev_profile() } else { config }
}

/// The server of a variant, and its log.
#[derive(Debug)]
pub struct Stack {
    pub log: Option<EvidenceLog>,
    pub guard: Option<GuardLayer>,
    pub identity: Option<IdentityLayer>,
    pub server: Layered,
}

/// A server with what stands around it; each form is its own type, as in an application.
#[derive(Clone, Debug)]
pub enum Layered {
    Bare(Files),
    Guarded(Guard<Files>),
    Identified(Identity<Guard<Files>>),
}

impl Stack {
    /// Makes the server; its log goes into `directory`, which is the log's own.
    pub fn new(variant: Variant, directory: &Path) -> Self {
        let files = Files::new();
        if !matches!(variant.around, Around::Guard | Around::Everything) {
            return Self { log: None, guard: None, identity: None, server: Layered::Bare(files) };
        }
        let log = open_log(variant.evidence, directory);
        let guard =
            GuardLayer::new(config(&log, variant.caller, variant.outcomes).receipts(variant.receipts).build().unwrap());
        if variant.around == Around::Guard {
            let server = Layered::Guarded(guard.layer(files));
            return Self { log: Some(log), guard: Some(guard), identity: None, server };
        }
        let identity = IdentityLayer::new(identity());
        let server = Layered::Identified(identity.layer(guard.layer(files)));
        Self { log: Some(log), guard: Some(guard), identity: Some(identity), server }
    }
}

fn identity() -> ServerIdentity {
    let key = Arc::new(SigningKey::from_seed(&[2; 32]));
    let request = BadgeRequest::new(key.did(), key.public_key(), TrustLevel::DomainValidated)
        .domain("files.example.com")
        .lifetime(Duration::from_secs(3600));
    let badge = registry().issue(&request, now()).unwrap();
    ServerIdentity::builder(key.did(), key).badge(StaticBadge::new(&badge).unwrap()).origin(AUDIENCE).build().unwrap()
}
