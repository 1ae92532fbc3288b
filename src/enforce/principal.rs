//! Who was let in, as tools and ownership checks see it.

use crate::evidence::EvidenceId;
use crate::identity::did::Did;
use crate::identity::trust_level::TrustLevel;
use crate::policy::{AuthLevel, Caller};

/// What a tool may see of its caller; it stands in the request's extensions of every allowed call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The kind of credential that was verified.
    pub auth_level: AuthLevel,
    /// The DID of the badge's subject; `None` without a badge.
    pub did: Option<Did>,
    /// The issuer that vouches for the DID; `None` without a badge.
    pub issuer: Option<String>,
    /// The badge's trust level; `None` without a badge, which is not the same as level 0.
    pub trust_level: Option<TrustLevel>,
    /// The badge's `jti`.
    pub badge_jti: Option<String>,
    /// The name that the configuration gives to the API key.
    pub api_key_name: Option<String>,
    /// The evidence record of the decision that let this call in.
    pub evidence_id: Option<EvidenceId>,
}

impl Principal {
    pub(crate) fn new(caller: Caller<'_>) -> Self {
        let badge = match caller {
            Caller::Badge(badge) => Some(badge),
            Caller::Anonymous | Caller::ApiKey(_) => None,
        };
        let api_key_name = match caller {
            Caller::ApiKey(name) => Some(name.to_owned()),
            Caller::Anonymous | Caller::Badge(_) => None,
        };
        Self {
            auth_level: caller.auth_level(),
            did: badge.map(|badge| badge.subject().clone()),
            issuer: badge.map(|badge| badge.issuer().to_owned()),
            trust_level: badge.map(crate::identity::badge::VerifiedBadge::level),
            badge_jti: badge.map(|badge| badge.jti().to_owned()),
            api_key_name,
            evidence_id: None,
        }
    }

    /// The caller by itself, for a denial; `None` for an anonymous one.
    pub(crate) fn authenticated(&self) -> Option<Box<Self>> {
        (self.auth_level != AuthLevel::Anonymous).then(|| Box::new(self.clone()))
    }

    /// Who owns what this caller creates; `None` for an anonymous caller, who owns nothing by name.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        if let (Some(did), Some(issuer)) = (&self.did, &self.issuer) {
            return Some(Owner::Badge { issuer: issuer.clone(), subject: did.as_str().to_owned() });
        }
        self.api_key_name.clone().map(|name| Owner::ApiKey { name })
    }
}

/// The owner of a session or task.
///
/// Never the `jti`, the key or the level: a renewed badge of the same agent keeps its tasks, and two issuers that
/// vouch for one DID are two owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// The subject of a verified badge, at its issuer.
    Badge {
        /// The badge's `iss`.
        issuer: String,
        /// The badge's `sub`.
        subject: String,
    },
    /// A listed API key.
    ApiKey {
        /// The name in the configuration.
        name: String,
    },
}
