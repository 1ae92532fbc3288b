//! One matrix of callers and tools, the same on every transport and in every protocol revision.
//!
//! Only contradictory credentials need two places to stand in, so that row exists over HTTP alone.

use std::time::Duration;

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::enforce::GuardConfigBuilder;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::common::{
    API_KEY, AUDIENCE, Client, Credential, LEVELS, Transport, badge, badge_request, now, registry, registry_with_key,
};

/// A tool of each class: for anybody, for anybody known, for each level, and without a rule.
pub const TOOLS: [&str; 8] = ["open", "member", "level0", "level1", "level2", "level3", "level4", "unlisted"];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Anonymous,
    ApiKey,
    UnknownApiKey,
    Level(TrustLevel),
    Unbound,
    Expired,
    NotYetValid,
    WrongIssuer,
    WrongKey,
    WrongAudience,
    BadSignature,
    Garbage,
    WrongType,
    Contradictory,
}

impl Case {
    pub fn all(transport: Transport) -> Vec<Self> {
        let mut cases = vec![Self::Anonymous, Self::ApiKey, Self::UnknownApiKey, Self::Unbound, Self::Expired];
        cases.extend([Self::NotYetValid, Self::WrongIssuer, Self::WrongKey, Self::WrongAudience, Self::BadSignature]);
        cases.extend([Self::Garbage, Self::WrongType]);
        cases.extend(LEVELS.map(Self::Level));
        if transport != Transport::Duplex {
            cases.push(Self::Contradictory);
        }
        cases
    }

    /// A credential that will fail goes into `_meta`: in a header, the session layer would answer it before MCP does.
    fn credential(self, transport: Transport, accepts_level_zero: bool) -> Credential {
        let level2 = || badge_request(20, TrustLevel::DomainValidated).audience(AUDIENCE);
        let issued = |at: UnixSeconds| registry().issue(&level2(), at).unwrap();
        match self {
            Self::Anonymous => Credential::none(),
            Self::ApiKey if transport == Transport::Duplex => {
                Credential::none().with_meta("capiscio_caller_api_key", json!(API_KEY))
            }
            Self::ApiKey => Credential::none().with_header("x-capiscio-registry-key", API_KEY),
            Self::UnknownApiKey => Credential::none().with_meta("capiscio_caller_api_key", json!("unknown")),
            Self::Level(TrustLevel::SelfSigned) if !accepts_level_zero => {
                Credential::meta(&badge(20, TrustLevel::SelfSigned))
            }
            Self::Level(level) => Credential::badge(transport, &badge(20, level)),
            Self::Unbound => {
                let request = badge_request(20, TrustLevel::DomainValidated);
                Credential::badge(transport, &registry().issue(&request, now()).unwrap())
            }
            Self::Expired => Credential::meta(&issued(now().saturating_sub(Duration::from_secs(1000)))),
            Self::NotYetValid => Credential::meta(&issued(now().saturating_add(Duration::from_secs(1000)))),
            Self::WrongIssuer => {
                let stranger = registry_with_key("https://stranger.example.com", 1);
                Credential::meta(&stranger.issue(&level2(), now()).unwrap())
            }
            Self::WrongKey => {
                let forger = registry_with_key(crate::common::REGISTRY, 9);
                Credential::meta(&forger.issue(&level2(), now()).unwrap())
            }
            Self::WrongAudience => {
                let request = badge_request(20, TrustLevel::DomainValidated).audience("https://other.example.com");
                Credential::meta(&registry().issue(&request, now()).unwrap())
            }
            Self::BadSignature => {
                let badge = issued(now());
                let (signed, signature) = badge.rsplit_once('.').unwrap();
                let flipped = if signature.starts_with('A') { "B" } else { "A" };
                let (_, rest) = signature.split_at(1);
                Credential::meta(&format!("{signed}.{flipped}{rest}"))
            }
            Self::Garbage => Credential::meta("not.a.badge"),
            Self::WrongType => Credential::none().with_meta("capiscio_caller_badge", json!([1])),
            Self::Contradictory => {
                Credential::header(&issued(now())).with_meta("capiscio_caller_badge", json!(badge(21, LEVELS[4])))
            }
        }
    }

    /// `None` = the tool runs; otherwise the reason in evidence.
    fn expected(self, tool: &str, accepts_level_zero: bool) -> Option<&'static str> {
        let required = LEVELS.into_iter().find(|level| tool == format!("level{level}"));
        match (self, tool) {
            (Self::UnknownApiKey, _) => Some("api_key_unknown"),
            (Self::Expired, _) => Some("badge_expired"),
            (Self::NotYetValid, _) => Some("badge_not_yet_valid"),
            (Self::WrongIssuer, _) => Some("issuer_untrusted"),
            (Self::WrongKey | Self::BadSignature, _) => Some("badge_signature_invalid"),
            (Self::WrongAudience, _) => Some("audience_mismatch"),
            (Self::Garbage | Self::WrongType, _) => Some("badge_invalid"),
            (Self::Contradictory, _) => Some("credential_conflict"),
            (Self::Level(TrustLevel::SelfSigned), _) if !accepts_level_zero => Some("issuer_untrusted"),
            (_, "unlisted") => Some("tool_not_allowed"),
            (Self::Anonymous, "open") | (Self::ApiKey, "open" | "member") => None,
            (Self::Anonymous, _) => Some("badge_missing"),
            (Self::ApiKey, _) => Some("trust_insufficient"),
            (Self::Level(level), _) => {
                required.is_some_and(|required| level < required).then_some("trust_insufficient")
            }
            (Self::Unbound, _) if required.is_some_and(|required| TrustLevel::DomainValidated < required) => {
                Some("trust_insufficient")
            }
            (Self::Unbound, _) => Some("badge_unbound"),
        }
    }

    /// What the caller itself reads: a stranger learns the class of the reason only.
    fn public(self, reason: &'static str, accepts_level_zero: bool) -> &'static str {
        match self {
            Self::Anonymous => "badge_missing",
            Self::Level(TrustLevel::SelfSigned) if !accepts_level_zero => "issuer_untrusted",
            Self::ApiKey | Self::Unbound | Self::Level(_) => reason,
            Self::Expired => "badge_expired",
            Self::WrongIssuer => "issuer_untrusted",
            _ => "badge_invalid",
        }
    }
}

/// The rules of the matrix beside those of the fixture.
pub fn rules(config: GuardConfigBuilder, accepts_level_zero: bool) -> GuardConfigBuilder {
    config.accept_level_zero(accepts_level_zero)
}

/// Plays the whole matrix; returns how many calls ran and the reasons of those that did not, in order.
pub async fn play<F: Future<Output = Client>>(
    name: &str,
    transport: Transport,
    accepts_level_zero: bool,
    connect: impl Fn(Credential) -> F,
) -> (usize, Vec<String>) {
    let mut ran = 0;
    let mut reasons = Vec::new();
    for case in Case::all(transport) {
        let client = connect(case.credential(transport, accepts_level_zero)).await;
        for tool in TOOLS {
            let code = client.call(tool, json!({})).await.code();
            match case.expected(tool, accepts_level_zero) {
                None => {
                    assert_eq!(code, "ran", "{name}: {case:?} calls {tool}");
                    ran += 1;
                }
                Some(reason) => {
                    assert_eq!(code, case.public(reason, accepts_level_zero), "{name}: {case:?} calls {tool}");
                    reasons.push(reason.to_owned());
                }
            }
        }
        client.service.cancel().await.unwrap();
    }
    (ran, reasons)
}

/// What evidence must hold after the matrix: one decision per call with its reason, one outcome per allowed call.
pub fn check_evidence(name: &str, records: &[Value], (ran, reasons): (usize, Vec<String>)) {
    let kind = |kind: &str| records.iter().filter(|record| record["rmcp_guard.kind"] == kind).collect::<Vec<_>>();
    let decisions = kind("decision");
    let denied: Vec<&str> = decisions.iter().filter_map(|record| record["rmcp_guard.deny_reason"].as_str()).collect();
    assert_eq!(denied, reasons, "{name}: the reasons in evidence");
    assert_eq!(decisions.len(), ran + reasons.len(), "{name}: one decision for each call");
    assert_eq!(kind("outcome").len(), ran, "{name}: one outcome for each allowed call");
}
