//! Trust levels of RFC-002: how much an issuer checked before it signed.

use std::fmt;
use std::str::FromStr;

/// What an issuer verified about a badge's subject, in ascending order (CapiscIO RFC-002 §5).
///
/// "No badge" is not a level: a caller without a verified badge satisfies no minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC-002 defines exactly these five; callers must break if it grows")]
pub enum TrustLevel {
    /// Level 0 (SS): the holder asserts itself; nothing was checked.
    SelfSigned,
    /// Level 1 (REG): an account at the registry owns the agent.
    Registered,
    /// Level 2 (DV): control of a domain was shown.
    DomainValidated,
    /// Level 3 (OV): a legal entity was verified.
    OrganizationValidated,
    /// Level 4 (EV): manual review and a legal agreement.
    ExtendedValidated,
}

impl TrustLevel {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [
        Self::SelfSigned,
        Self::Registered,
        Self::DomainValidated,
        Self::OrganizationValidated,
        Self::ExtendedValidated,
    ];

    /// The level as its number, 0 to 4.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::SelfSigned => 0,
            Self::Registered => 1,
            Self::DomainValidated => 2,
            Self::OrganizationValidated => 3,
            Self::ExtendedValidated => 4,
        }
    }

    /// The level as the one-character string that badges carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfSigned => "0",
            Self::Registered => "1",
            Self::DomainValidated => "2",
            Self::OrganizationValidated => "3",
            Self::ExtendedValidated => "4",
        }
    }
}

/// The text or number is not one of the five trust levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trust level is one of 0, 1, 2, 3, 4")]
#[non_exhaustive]
pub struct TrustLevelError;

impl TryFrom<u8> for TrustLevel {
    type Error = TrustLevelError;

    fn try_from(number: u8) -> Result<Self, TrustLevelError> {
        Self::ALL.into_iter().find(|level| level.as_u8() == number).ok_or(TrustLevelError)
    }
}

impl FromStr for TrustLevel {
    type Err = TrustLevelError;

    fn from_str(text: &str) -> Result<Self, TrustLevelError> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(TrustLevelError)
    }
}

impl fmt::Display for TrustLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_name_the_levels_in_order() {
        for (number, level) in (0_u8..).zip(TrustLevel::ALL) {
            assert_eq!(level.as_u8(), number);
            assert_eq!(level.as_str(), number.to_string());
            assert_eq!(TrustLevel::try_from(number), Ok(level));
            assert_eq!(number.to_string().parse(), Ok(level));
        }
        assert!(TrustLevel::ALL.is_sorted());
    }

    #[test]
    fn nothing_else_is_a_level() {
        for text in ["", "5", "-1", "00", "02", " 1", "1 ", "+1", "1.0", "one", "\u{661}"] {
            assert_eq!(text.parse::<TrustLevel>(), Err(TrustLevelError), "{text:?}");
        }
        assert_eq!(TrustLevel::try_from(5), Err(TrustLevelError));
    }
}
