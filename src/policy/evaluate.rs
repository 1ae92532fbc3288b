//! The decision itself: a requirement, a caller, an answer.

use crate::identity::trust_level::TrustLevel;
use crate::policy::{Caller, DenyReason, ToolRequirement};

/// What the decision needs to know about a caller, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Anonymous,
    ApiKey,
    /// `bound`: the badge names one of our audiences.
    Badge {
        level: TrustLevel,
        bound: bool,
    },
}

impl From<Caller<'_>> for Standing {
    fn from(caller: Caller<'_>) -> Self {
        match caller {
            Caller::Anonymous => Self::Anonymous,
            Caller::ApiKey(_) => Self::ApiKey,
            Caller::Badge(badge) => Self::Badge { level: badge.level(), bound: badge.bound_audience().is_some() },
        }
    }
}

/// Switches of the whole policy that bear on one requirement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leniency {
    /// badges without an audience count everywhere
    pub(crate) unbound_bearer: bool,
    /// the peer's way with callers without a credential where level zero is accepted: too low rather than missing
    pub(crate) anonymous_is_level_zero: bool,
}

/// Why a caller of this standing does not meet the requirement, with a fixed sentence for people.
pub(crate) fn shortfall(
    requirement: &ToolRequirement,
    standing: Standing,
    leniency: Leniency,
) -> Option<(DenyReason, &'static str)> {
    match standing {
        Standing::Anonymous if requirement.is_anonymous() => None,
        Standing::Anonymous
            if leniency.anonymous_is_level_zero
                && !requirement.is_badge_required()
                && requirement.min_level().is_some() =>
        {
            Some((DenyReason::TrustInsufficient, "a caller without a credential has no trust level"))
        }
        Standing::Anonymous => Some((DenyReason::BadgeMissing, "a credential is required")),
        Standing::ApiKey if requirement.is_badge_required() => {
            Some((DenyReason::BadgeMissing, "a badge is required; an API key is not enough"))
        }
        Standing::ApiKey if requirement.min_level().is_some() => {
            Some((DenyReason::TrustInsufficient, "an API key has no trust level"))
        }
        Standing::ApiKey => None,
        Standing::Badge { level, .. } if requirement.min_level().is_some_and(|min| level < min) => {
            Some((DenyReason::TrustInsufficient, "the badge's trust level is below the required one"))
        }
        // From level 1 up somebody vouches for a name, and that somebody must have meant us (S1), also where the tool
        // asks for less: the tool is told who calls. Level 0 is a key's word about itself.
        Standing::Badge { level, bound }
            if bound
                || level == TrustLevel::SelfSigned
                || requirement.is_unbound_bearer_allowed()
                || leniency.unbound_bearer =>
        {
            None
        }
        Standing::Badge { .. } => {
            Some((DenyReason::BadgeUnbound, "the badge names no audience, so it is not bound to this server"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn badge(level: TrustLevel, bound: bool) -> Standing {
        Standing::Badge { level, bound }
    }

    fn reason(requirement: &ToolRequirement, standing: Standing) -> Option<DenyReason> {
        shortfall(requirement, standing, Leniency::default()).map(|(reason, _)| reason)
    }

    #[test]
    fn every_caller_meets_every_requirement_or_says_why_not() {
        use TrustLevel::{DomainValidated, ExtendedValidated, Registered, SelfSigned};
        let min = ToolRequirement::min_trust;
        for (name, requirement, standing, want) in [
            ("anonymous tool, nobody", ToolRequirement::anonymous(), Standing::Anonymous, None),
            ("anonymous tool, key", ToolRequirement::anonymous(), Standing::ApiKey, None),
            ("anonymous tool, badge", ToolRequirement::anonymous(), badge(Registered, true), None),
            (
                "known caller, nobody",
                ToolRequirement::authenticated(),
                Standing::Anonymous,
                Some(DenyReason::BadgeMissing),
            ),
            ("known caller, key", ToolRequirement::authenticated(), Standing::ApiKey, None),
            ("known caller, level 0", ToolRequirement::authenticated(), badge(SelfSigned, false), None),
            ("level 0, nobody", min(SelfSigned), Standing::Anonymous, Some(DenyReason::BadgeMissing)),
            ("level 0, key", min(SelfSigned), Standing::ApiKey, Some(DenyReason::TrustInsufficient)),
            ("level 0, level 0", min(SelfSigned), badge(SelfSigned, false), None),
            ("level 2, nobody", min(DomainValidated), Standing::Anonymous, Some(DenyReason::BadgeMissing)),
            ("level 2, key", min(DomainValidated), Standing::ApiKey, Some(DenyReason::TrustInsufficient)),
            ("level 2, level 1", min(DomainValidated), badge(Registered, true), Some(DenyReason::TrustInsufficient)),
            ("level 2, level 2", min(DomainValidated), badge(DomainValidated, true), None),
            ("level 2, level 4", min(DomainValidated), badge(ExtendedValidated, true), None),
            (
                "badge, nobody",
                ToolRequirement::authenticated().require_badge(),
                Standing::Anonymous,
                Some(DenyReason::BadgeMissing),
            ),
            ("badge, key", min(Registered).require_badge(), Standing::ApiKey, Some(DenyReason::BadgeMissing)),
            (
                "badge before level",
                min(Registered).require_badge(),
                Standing::Anonymous,
                Some(DenyReason::BadgeMissing),
            ),
            (
                "level before binding",
                min(DomainValidated),
                badge(Registered, false),
                Some(DenyReason::TrustInsufficient),
            ),
        ] {
            assert_eq!(reason(&requirement, standing), want, "{name}");
        }
    }

    /// Attack: a badge that its owner showed to another server is presented here by that server.
    #[test]
    fn s01_a_badge_without_audience_is_refused_from_level_1_up() {
        for level in TrustLevel::ALL {
            let want = (level > TrustLevel::SelfSigned).then_some(DenyReason::BadgeUnbound);
            for requirement in [
                ToolRequirement::anonymous(),
                ToolRequirement::authenticated(),
                ToolRequirement::authenticated().require_badge(),
                ToolRequirement::min_trust(TrustLevel::SelfSigned),
                ToolRequirement::min_trust(level),
            ] {
                assert_eq!(reason(&requirement, badge(level, false)), want, "{requirement:?}");
                assert_eq!(reason(&requirement, badge(level, true)), None, "{requirement:?}");
                assert_eq!(reason(&requirement.clone().allow_unbound_bearer(), badge(level, false)), None);
                let leniency = Leniency { unbound_bearer: true, ..Leniency::default() };
                assert_eq!(shortfall(&requirement, badge(level, false), leniency), None);
            }
        }
    }

    /// Attack: a caller without a badge counts as "level 0" and so meets a minimum of 0, or an API key does.
    #[test]
    fn s03_no_level_satisfies_no_minimum() {
        for level in TrustLevel::ALL {
            let requirement = ToolRequirement::min_trust(level);
            assert_eq!(reason(&requirement, Standing::Anonymous), Some(DenyReason::BadgeMissing));
            assert_eq!(reason(&requirement, Standing::ApiKey), Some(DenyReason::TrustInsufficient));
        }
    }

    /// Attack: some combination of other switches lets a caller without a credential in.
    #[test]
    fn s03_anonymous_comes_only_from_its_own_flag() {
        let closed = [
            ToolRequirement::authenticated().allow_unbound_bearer(),
            ToolRequirement::min_trust(TrustLevel::SelfSigned).allow_unbound_bearer(),
            ToolRequirement::anonymous().require_badge(),
            ToolRequirement::anonymous().tighten(&ToolRequirement::authenticated()),
        ];
        for requirement in closed {
            for anonymous_is_level_zero in [false, true] {
                let leniency = Leniency { unbound_bearer: true, anonymous_is_level_zero };
                assert!(shortfall(&requirement, Standing::Anonymous, leniency).is_some(), "{requirement:?}");
            }
        }
    }
}
