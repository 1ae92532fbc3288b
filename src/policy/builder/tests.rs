use super::*;
use crate::policy::{Caller, Decision, DenyReason};

fn anonymous() -> ToolRequirement {
    ToolRequirement::anonymous()
}

/// The keys of what is wrong; none for a policy that builds.
fn keys(builder: PolicyBuilder) -> Vec<String> {
    builder.build().err().unwrap_or_default().into_iter().map(|problem| problem.key).collect()
}

/// Attack: a rule's name that somebody else wrote clears the operator's terminal, or adds a line to the log.
#[test]
fn a_problem_is_shown_on_one_line_without_control_characters() {
    let problem = ConfigProblem::new("tools.\"a\nb\"", "write \u{1b}[2J `c`");
    assert_eq!(problem.to_string(), "tools.\"a\\nb\": write \\u{1b}[2J `c`");
}

#[test]
fn a_problem_of_a_tool_names_its_pattern_in_quotes() {
    assert_eq!(keys(Policy::builder().tool("[\"", anonymous())), ["tools.\"[\\\"\""]);
}

#[test]
fn labels_end_at_their_limit_and_hold_no_control_characters() {
    for (label, good) in [
        ("a".repeat(MAX_LABEL_BYTES), true),
        ("a".repeat(MAX_LABEL_BYTES + 1), false),
        ("a\u{7f}".to_owned(), false),
        ("a\n".repeat(MAX_LABEL_BYTES), false),
    ] {
        let want = |key| if good { vec![] } else { vec![key] };
        assert_eq!(keys(Policy::builder().version(label.as_str())), want("policy_version"), "{label:?}");
        assert_eq!(keys(Policy::builder().allow_custom_method(label.as_str())), want("custom_methods"), "{label:?}");
    }
    assert_eq!(keys(Policy::builder().allow_custom_method("")), ["custom_methods"]);
}

#[test]
fn every_list_ends_at_its_limit() {
    let names = |count: usize| (0..count).map(|number| format!("t{number}"));
    for (count, good) in [(MAX_RULES, true), (MAX_RULES + 1, false), (MAX_RULES + 2, false)] {
        let want = |key| if good { vec![] } else { vec![key] };
        let tools = names(count).fold(Policy::builder(), |builder, name| builder.tool(name, anonymous()));
        assert_eq!(keys(tools), want("tools"), "{count}");
        let allowed = Policy::builder().default_requirement(anonymous()).allowed_tools(names(count));
        assert_eq!(keys(allowed), want("allowed_tools"), "{count}");
        let custom = names(count).fold(Policy::builder(), PolicyBuilder::allow_custom_method);
        assert_eq!(keys(custom), want("custom_methods"), "{count}");
    }
}

#[test]
fn each_problem_is_reported_and_none_hides_another() {
    let builder = Policy::builder()
        .version("\n")
        .tool("[", anonymous())
        .tool("a", anonymous())
        .tool("a", anonymous())
        .allowed_tools(["["])
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .allow_custom_method("");
    let want = [
        "policy_version",
        "tools.\"[\"",
        "tools.\"a\"",
        "allowed_tools",
        "allowed_tools",
        "methods.prompts",
        "custom_methods",
    ];
    assert_eq!(keys(builder), want);
}

#[test]
fn rules_that_say_the_same_and_rules_that_only_overlap_are_told_apart() {
    for (one, two, want) in [
        ("a**", "[a]*", "matches the same names as the rule `[a]*`"),
        ("a*", "\\a", ""),
        ("a*b", "a?b", "some names match the rule `a?b` too"),
        ("a*b", "a?c", ""),
        ("a[bc]", "a[de]", ""),
        ("a?", "a??", ""),
        ("a*b*", "a*/*", ""),
        ("r[e]ad", "read", "matches the same names as the rule `r[e]ad`"),
    ] {
        let built = Policy::builder().tool(one, anonymous()).tool(two, anonymous()).build();
        let advice = built.err().unwrap_or_default().into_iter().map(|problem| problem.advice).collect::<String>();
        assert_eq!(advice.is_empty(), want.is_empty(), "{one} and {two}: {advice}");
        assert!(advice.starts_with(want), "{one} and {two}: {advice}");
    }
}

#[test]
fn methods_are_opened_one_by_one() {
    let policy = Policy::builder()
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .method(GuardedMethod::Logging, MethodAccess::Require(ToolRequirement::authenticated()))
        .allow_custom_method("x/y")
        .build()
        .unwrap();
    for (method, want) in [
        (GuardedMethod::Prompts, None),
        (GuardedMethod::Logging, Some(DenyReason::BadgeMissing)),
        (GuardedMethod::Resources, Some(DenyReason::MethodNotAllowed)),
    ] {
        let answer = policy.evaluate_method(method, Caller::Anonymous);
        assert_eq!(answer.reason, want, "{method:?}");
        assert_eq!(answer.decision == Decision::Allow, want.is_none(), "{method:?}");
    }
    assert_eq!(policy.method_requirement(GuardedMethod::Logging), Some(&ToolRequirement::authenticated()));
    assert_eq!(policy.method_requirement(GuardedMethod::Prompts), None);
    assert_eq!(policy.method_requirement(GuardedMethod::Resources), None);
    let custom = |name| policy.evaluate_custom(name, Caller::Anonymous);
    assert_eq!((custom("x/y").reason, custom("x/y").rule.as_deref()), (None, Some("custom_methods")));
    assert_eq!(custom("x/z").reason, Some(DenyReason::MethodNotAllowed));
}

/// The peer lets an empty list allow every tool and a malformed pattern match nothing; here that has to be asked for.
#[test]
fn the_peers_reading_of_a_list_is_by_opt_in() {
    let with = |names: &[&str]| {
        let names = names.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        Policy::builder().default_requirement(anonymous()).allowed_tools(names)
    };
    let reason = |builder: PolicyBuilder| builder.build().unwrap().evaluate("a", Caller::Anonymous, None).reason;
    assert_eq!(reason(with(&[])), Some(DenyReason::ToolNotAllowed));
    assert_eq!(reason(with(&[]).seed_semantics(false)), None);
    assert_eq!(keys(with(&["["])), ["allowed_tools"]);
    assert_eq!(reason(with(&["[", "a"]).seed_semantics(false)), None);
    assert_eq!(reason(with(&["["]).seed_semantics(false)), Some(DenyReason::ToolNotAllowed));
    let level = ToolRequirement::min_trust(crate::identity::trust_level::TrustLevel::Registered);
    let low = |accept| reason(Policy::builder().default_requirement(level.clone()).seed_semantics(accept));
    assert_eq!((low(false), low(true)), (Some(DenyReason::BadgeMissing), Some(DenyReason::TrustInsufficient)));
}
