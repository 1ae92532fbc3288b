//! Which badge an account may have: deny by default, and what `policy.toml` sets.

use std::path::Path;
use std::time::Duration;

use rmcp_guard::identity::badge::{DEFAULT_BADGE_LIFETIME, MAX_BADGE_LIFETIME, MIN_BADGE_LIFETIME};
use rmcp_guard::identity::trust_level::TrustLevel;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::ca::accounts::{checked_domain, granted_level, only_domain};
use crate::ca::error::CaError;
use crate::ca::subjects::{Kind, Subject};
use crate::files;

/// The file that `ca init` writes, with every setting at its default.
pub(crate) const DEFAULT_POLICY: &str = include_str!("policy.toml");

/// The settings of `policy.toml`; a member that is missing has the default's value.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) server_subject: ServerSubject,
    pub(crate) max_lifetime: u64,
    pub(crate) max_subjects: u32,
    pub(crate) max_events: u32,
    pub(crate) limits: RateLimits,
}

/// Which DID a server has that did not name one of ours.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerSubject {
    Servers,
    Agents,
}

impl ServerSubject {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Servers => Kind::Server,
            Self::Agents => Kind::Agent,
        }
    }
}

/// Calls per minute.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimits {
    pub(crate) requests_per_ip: u32,
    pub(crate) unauthorized_per_ip: u32,
    pub(crate) calls_per_key: u32,
    pub(crate) challenges_per_did: u32,
    pub(crate) challenges_per_account: u32,
    pub(crate) challenges_per_ip: u32,
    pub(crate) badges_per_did: u32,
    pub(crate) badges_per_account: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            server_subject: ServerSubject::Servers,
            max_lifetime: MAX_BADGE_LIFETIME.as_secs(),
            max_subjects: 10_000,
            max_events: 20_000,
            limits: RateLimits::default(),
        }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            requests_per_ip: 6000,
            unauthorized_per_ip: 30,
            calls_per_key: 1000,
            challenges_per_did: 10,
            challenges_per_account: 100,
            challenges_per_ip: 50,
            badges_per_did: 10,
            badges_per_account: 50,
        }
    }
}

impl Policy {
    pub(crate) fn load(path: &Path) -> Result<Self, CaError> {
        let unusable = |why: &dyn std::fmt::Display| CaError::State(format!("{}: {why}", path.display()));
        let text = files::read_text(path).map_err(|_| unusable(&"cannot be read"))?;
        let policy: Self = toml::from_str(&text).map_err(|error| unusable(&error.message()))?;
        let lifetimes = MIN_BADGE_LIFETIME.as_secs()..=MAX_BADGE_LIFETIME.as_secs();
        if !lifetimes.contains(&policy.max_lifetime) {
            return Err(unusable(&"`max_lifetime` is not 60 to 3600"));
        }
        Ok(policy)
    }

    pub(crate) fn lifetime(&self, ask: &Ask) -> Result<Duration, CaError> {
        let longest = Duration::from_secs(self.max_lifetime);
        let lifetime = ask.lifetime.map_or(DEFAULT_BADGE_LIFETIME.min(longest), Duration::from_secs);
        if lifetime < MIN_BADGE_LIFETIME || lifetime > longest {
            let message = format!("the lifetime is not 60 to {} seconds", self.max_lifetime);
            return Err(CaError::invalid("invalid_ttl", message));
        }
        Ok(lifetime)
    }
}

/// The level and domain of a badge that an API key asks for.
pub(crate) fn decide(
    connection: &Connection,
    subject: &Subject,
    ask: &Ask,
) -> Result<(TrustLevel, Option<String>), CaError> {
    let (domain, granted) = match &ask.domain {
        Some(domain) => {
            let domain = checked_domain(domain)?;
            let granted = granted_level(connection, &subject.account, &subject.id, &domain)?;
            (Some(domain), granted)
        }
        // RFC-003 has no member for it.
        None => match only_domain(connection, &subject.id)? {
            Some((domain, level)) => (Some(domain), Some(level)),
            None => (None, None),
        },
    };
    match ask.level {
        Some(TrustLevel::SelfSigned) => Err(CaError::invalid("invalid_level", "level 0 is self-signed by its holder")),
        Some(TrustLevel::Registered) => Ok((TrustLevel::Registered, None)),
        Some(level) if domain.is_none() => {
            Err(CaError::refused(409, "domain_required", format!("a badge of level {} names a domain", level.as_u8())))
        }
        Some(level) if granted.is_some_and(|granted| granted >= level) => Ok((level, domain)),
        Some(level) => Err(CaError::refused(
            403,
            "level_not_granted",
            format!("the operator has not granted level {} for this domain", level.as_u8()),
        )),
        // A domain that nobody checked has no place in a badge.
        None => Ok(granted.map_or((TrustLevel::Registered, None), |level| (level, domain))),
    }
}

/// What a caller wants its badge to say; kept with the challenge for badges of IAL-1.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ask {
    #[serde(with = "level_text")]
    pub(crate) level: Option<TrustLevel>,
    pub(crate) domain: Option<String>,
    pub(crate) audience: Vec<String>,
    /// In seconds.
    pub(crate) lifetime: Option<u64>,
}

mod level_text {
    use rmcp_guard::identity::trust_level::TrustLevel;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(level: &Option<TrustLevel>, serializer: S) -> Result<S::Ok, S::Error> {
        level.map(TrustLevel::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TrustLevel>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_init_writes_says_the_defaults() {
        let written: Policy = toml::from_str(DEFAULT_POLICY).unwrap();
        assert_eq!(format!("{written:?}"), format!("{:?}", Policy::default()));
        assert!(toml::from_str::<Policy>("max_lifetmie = 60").is_err(), "a misspelt setting must not be passed over");
    }
}
