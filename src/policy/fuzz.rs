//! What fuzzing does with patterns and with requirements beside tools: see [`internal`](crate::internal).

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how fuzzing reports a broken law")]

use serde_json::Value;

use super::{Caller, Decision, MAX_TOOL_NAME_BYTES, Policy, ToolPattern, ToolRequirement};

/// A pattern, and behind a line break a name: a rule opens what its pattern matches and nothing else.
pub fn fuzz_tool_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let Ok(parsed) = ToolPattern::parse(pattern) else {
        assert!(Policy::builder().tool(pattern, ToolRequirement::anonymous()).build().is_err());
        return;
    };
    assert_eq!(parsed.as_str(), pattern);
    let matches = parsed.matches(name);
    if let Some(exact) = parsed.exact_name() {
        assert_eq!(matches, exact == name);
        assert!(parsed.matches(&exact));
    }
    let allows = |requirement| {
        let policy = Policy::builder().tool(pattern, requirement).build().ok()?;
        Some(policy.evaluate(name, Caller::Anonymous, None).decision == Decision::Allow)
    };
    let open = allows(ToolRequirement::anonymous());
    assert!(open.is_none_or(|open| open == (matches && name.len() <= MAX_TOOL_NAME_BYTES)));
    assert!(open.is_none() || allows(ToolRequirement::authenticated()) == Some(false));
}

/// A requirement beside a tool is read as it is written, and tightens whatever rule there is.
pub fn fuzz_tool_meta(data: &[u8]) {
    let Ok(Value::Object(meta)) = serde_json::from_slice(data) else { return };
    let Ok(Some(beside)) = ToolRequirement::from_meta(&meta) else { return };
    assert_eq!(ToolRequirement::from_meta(&beside.to_meta()), Ok(Some(beside.clone())));
    for rule in
        [ToolRequirement::anonymous(), ToolRequirement::authenticated(), ToolRequirement::anonymous().require_badge()]
    {
        assert_eq!(rule.tighten(&beside).tighten(&beside), rule.tighten(&beside));
        let policy = Policy::builder().tool("tool", rule).build().unwrap();
        for caller in [Caller::Anonymous, Caller::ApiKey("key")] {
            let alone = policy.evaluate("tool", caller, None).decision;
            let tightened = policy.evaluate("tool", caller, Some(&beside)).decision;
            assert!(alone == Decision::Allow || tightened == Decision::Deny);
        }
        assert_eq!(policy.evaluate("other", Caller::Anonymous, Some(&beside)).decision, Decision::Deny);
    }
}
