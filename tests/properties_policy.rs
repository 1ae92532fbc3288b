//! Properties of patterns, rule choice and decisions.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::badge::{BadgeContext, BadgeIssuer, BadgeRequest, BadgeVerifier, VerifiedBadge, self_sign};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::policy::{Caller, Decision, DenyReason, Policy, ToolPattern, ToolRequirement};

/// Go's `path.Match`, read off its documentation: naive, recursive, on bytes. `None` for a malformed pattern.
fn path_match(pattern: &[u8], name: &[u8]) -> Option<bool> {
    Some(match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => {
            let run = name.iter().take_while(|&&byte| byte != b'/').count();
            let mut any = false;
            for taken in 0..=run {
                any |= path_match(rest, &name[taken..])?;
            }
            any
        }
        [b'?', rest @ ..] => {
            let matches = name.first().is_some_and(|&byte| byte != b'/');
            path_match(rest, name.get(1..).unwrap_or_default())? && matches
        }
        [b'[', rest @ ..] => {
            let (negated, mut rest) = match rest {
                [b'^', rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let (mut hit, mut first) = (false, true);
            loop {
                if let ([b']', after @ ..], false) = (rest, first) {
                    let matches = !name.is_empty() && hit != negated;
                    return Some(path_match(after, name.get(1..).unwrap_or_default())? && matches);
                }
                let (low, after) = class_character(rest)?;
                let (high, after) = match after {
                    [b'-', after @ ..] => class_character(after)?,
                    after => (low, after),
                };
                hit |= name.first().is_some_and(|byte| (low..=high).contains(byte));
                (rest, first) = (after, false);
            }
        }
        [b'\\'] => return None,
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            path_match(rest, name.get(1..).unwrap_or_default())? && name.first() == Some(literal)
        }
    })
}

fn class_character(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [] | [b'-' | b']', ..] | [b'\\'] => None,
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => Some((*literal, rest)),
    }
}

/// Patterns and names from few characters, so that they often meet; all the signs of all glob dialects among them.
const PATTERN: &str = r"[ab/.\-\[\]\\*?!^{},]{0,8}";
const NAME: &str = r"[ab/.\-\[\]\\*?!^{},]{0,6}";

fn requirement() -> impl Strategy<Value = ToolRequirement> {
    let base = prop_oneof![
        Just(ToolRequirement::anonymous()),
        Just(ToolRequirement::authenticated()),
        (0_u8..=4).prop_map(|level| ToolRequirement::min_trust(TrustLevel::try_from(level).unwrap())),
    ];
    (base, any::<[bool; 5]>()).prop_map(|(mut requirement, [badge, durable, unbound, one, two])| {
        if badge {
            requirement = requirement.require_badge();
        }
        if durable {
            requirement = requirement.durable_evidence();
        }
        if unbound {
            requirement = requirement.allow_unbound_bearer();
        }
        if one {
            requirement = requirement.trust_issuer("https://one.example");
        }
        if two {
            requirement = requirement.trust_issuer("https://two.example");
        }
        requirement
    })
}

fn policy(rules: &[(&str, ToolRequirement)]) -> Policy {
    let builder = Policy::builder();
    rules.iter().fold(builder, |builder, (pattern, it)| builder.tool(*pattern, it.clone())).build().unwrap()
}

const REGISTRY: &str = "https://registry.example.com";
const AUDIENCE: &str = "https://files.example.com";
const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);

/// A badge of each level, made out to us and made out to nobody.
static BADGES: LazyLock<Vec<VerifiedBadge>> = LazyLock::new(|| {
    let ca = BadgeIssuer::new(REGISTRY, "ca-1", Arc::new(SigningKey::from_seed(&[1; 32]))).unwrap();
    let agent = SigningKey::from_seed(&[2; 32]);
    let verifier = BadgeVerifier::builder()
        .issuer(Issuer::jwks(REGISTRY, &ca.jwks_json()).unwrap())
        .audience(AUDIENCE)
        .accept_level_zero(true)
        .insecure_no_revocation()
        .build();
    let mut tokens = Vec::new();
    for audience in [None, Some(AUDIENCE.to_owned())] {
        tokens.push(self_sign(&agent, audience.as_slice(), Duration::from_secs(300), NOW).unwrap());
        for level in TrustLevel::ALL.into_iter().filter(|level| *level != TrustLevel::SelfSigned) {
            let request = BadgeRequest::new(agent.did(), agent.public_key(), level).domain("agent.example.com");
            let request = audience.iter().fold(request, BadgeRequest::audience);
            tokens.push(ca.issue(&request, NOW).unwrap());
        }
    }
    let verify = |token: &String| verifier.verify(token, &BadgeContext::at(NOW)).now_or_never().unwrap().unwrap();
    tokens.iter().map(verify).collect()
});

fn callers() -> impl Iterator<Item = Caller<'static>> {
    [Caller::Anonymous, Caller::ApiKey("build-bot")].into_iter().chain(BADGES.iter().map(Caller::Badge))
}

fn allows(requirement: &ToolRequirement, caller: Caller<'_>) -> bool {
    policy(&[("tool", requirement.clone())]).evaluate("tool", caller, None).decision == Decision::Allow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn patterns_agree_with_path_match_on_ascii(pattern in PATTERN, name in NAME) {
        // a class without members never matches; it is malformed here only
        match (ToolPattern::parse(&pattern), path_match(pattern.as_bytes(), name.as_bytes())) {
            (Ok(ours), Some(theirs)) => prop_assert_eq!(ours.matches(&name), theirs),
            (Err(_), theirs) => prop_assert_ne!(theirs, Some(true)),
            (Ok(_), None) => prop_assert!(false, "accepted a malformed pattern"),
        }
    }

    #[test]
    fn a_pattern_of_escapes_matches_itself(name in "[ -~]{0,40}") {
        let escaped: String = name.chars().flat_map(|character| ['\\', character]).collect();
        let pattern = ToolPattern::parse(&escaped).unwrap();
        prop_assert_eq!(pattern.exact_name(), Some(name.clone()));
        prop_assert!(pattern.matches(&name));
    }

    #[test]
    fn any_text_is_parsed_and_matched_without_panic(pattern in ".{0,80}", name in ".{0,80}") {
        let _ = ToolPattern::parse(&pattern).map(|pattern| pattern.matches(&name));
        let policy = Policy::builder().tool(pattern, ToolRequirement::anonymous()).build();
        let _ = policy.map(|policy| policy.evaluate(&name, Caller::Anonymous, None));
    }

    #[test]
    fn names_outside_ascii_match_only_themselves_and_the_plain_star(
        pattern in PATTERN,
        name in "[ab]{0,2}[\u{e9}\u{430}\u{202e}][ab]{0,2}",
    ) {
        if let Ok(parsed) = ToolPattern::parse(&pattern) {
            let plain_star = !pattern.is_empty() && pattern.chars().all(|character| character == '*');
            prop_assert_eq!(parsed.matches(&name), plain_star);
        }
        prop_assert!(ToolPattern::parse(&name).unwrap().matches(&name));
    }

    /// Rules that share a name and cannot be told apart never reach a decision.
    #[test]
    fn overlapping_rules_of_equal_rank_do_not_build(
        one in r"[ab*?]{1,5}", two in r"[ab*?]{1,5}", name in "[ab]{0,6}",
    ) {
        let built = Policy::builder()
            .tool(one.clone(), ToolRequirement::anonymous())
            .tool(two.clone(), ToolRequirement::authenticated())
            .build();
        let both = [&one, &two].map(|text| ToolPattern::parse(text).unwrap());
        match built {
            Err(problems) => prop_assert_eq!(problems.len(), 1),
            Ok(policy) if both.iter().all(|pattern| pattern.matches(&name)) => {
                let rank = |text: &str| {
                    let exact = !text.contains(['*', '?']);
                    let prefix = text.chars().take_while(|character| !"*?".contains(*character)).count();
                    (exact, prefix, text.chars().filter(|character| !"*?".contains(*character)).count())
                };
                prop_assert_ne!(rank(&one), rank(&two));
                let best = if rank(&one) > rank(&two) { &one } else { &two };
                prop_assert_eq!(policy.requirement(&name).map(|(rule, _)| rule.to_owned()), Some(best.clone()));
            }
            Ok(policy) => {
                let rule = policy.requirement(&name).map(|(rule, _)| rule.to_owned());
                let want = [one, two].into_iter().zip(both).find(|(_, pattern)| pattern.matches(&name));
                prop_assert_eq!(rule, want.map(|(text, _)| text));
            }
        }
    }

    #[test]
    fn exact_beats_glob(name in "[a-z_]{1,12}", glob in r"[a-z_]{0,3}\*", exact in requirement(), other in requirement()) {
        let policy = policy(&[(&glob, other), (&name, exact.clone())]);
        prop_assert_eq!(policy.requirement(&name), Some((name.as_str(), &exact)));
    }

    /// Attack: metadata beside a tool, which its author or an upstream server writes, opens what the rule denies.
    #[test]
    fn s12_tightening_never_turns_deny_into_allow(rule in requirement(), beside in requirement()) {
        let guarded = policy(&[("tool", rule.clone())]);
        let alone = policy(&[("tool", beside.clone())]);
        for caller in callers() {
            let both = guarded.evaluate("tool", caller, Some(&beside));
            prop_assert_eq!(
                both.decision == Decision::Allow,
                guarded.evaluate("tool", caller, None).decision == Decision::Allow
                    && alone.evaluate("tool", caller, None).decision == Decision::Allow
            );
        }
        let effective = guarded.effective("tool", Some(&beside)).unwrap();
        prop_assert!(effective.is_durable_evidence() == (rule.is_durable_evidence() || beside.is_durable_evidence()));
        for origin in effective.additional_issuers() {
            prop_assert!(rule.additional_issuers().contains(origin) && beside.additional_issuers().contains(origin));
        }
    }

    /// Whatever is demanded in addition, nobody is let in who was not before.
    #[test]
    fn a_further_demand_never_turns_deny_into_allow(rule in requirement(), level in 0_u8..=4) {
        let at_least = ToolRequirement::min_trust(TrustLevel::try_from(level).unwrap());
        let at_least = if rule.is_unbound_bearer_allowed() { at_least.allow_unbound_bearer() } else { at_least };
        let demands =
            [rule.clone().require_badge(), rule.clone().durable_evidence(), rule.tighten(&at_least), at_least.tighten(&rule)];
        for caller in callers() {
            let before = allows(&rule, caller);
            for stricter in &demands {
                prop_assert!(before || !allows(stricter, caller), "{:?}, then {:?}: {:?}", rule, stricter, caller);
            }
            prop_assert_eq!(allows(&demands[2], caller), allows(&demands[3], caller));
            prop_assert_eq!(allows(&demands[2], caller), before && allows(&at_least, caller));
        }
    }

    /// Attack: a tool without a rule brings its own permission along.
    #[test]
    fn s12_metadata_opens_no_tool_without_opt_in(beside in requirement()) {
        for caller in callers() {
            let answer = policy(&[]).evaluate("tool", caller, Some(&beside));
            prop_assert_eq!(answer.reason, Some(DenyReason::ToolNotAllowed));
        }
        prop_assert_eq!(policy(&[]).effective("tool", Some(&beside)), None);
    }

    /// Attack: a rule for one tool changes who may call another.
    #[test]
    fn a_rule_for_another_tool_changes_nothing(rule in requirement(), other in requirement()) {
        let before = policy(&[("tool", rule.clone())]);
        let after = policy(&[("tool", rule), ("other", other)]);
        for caller in callers() {
            prop_assert_eq!(before.evaluate("tool", caller, None), after.evaluate("tool", caller, None));
        }
    }

    #[test]
    fn metadata_round_trips(requirement in requirement()) {
        prop_assert_eq!(ToolRequirement::from_meta(&requirement.to_meta()), Ok(Some(requirement)));
    }
}
