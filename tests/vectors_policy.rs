//! Tool patterns against vectors recorded from Go's `path.Match`, one test per vector.

#![expect(clippy::unwrap_used, reason = "vectors are as they are, or the test fails")]

use rmcp_guard::policy::{PatternError, ToolPattern};
use serde_json::Value;

fn check(id: &str) {
    let cases: Value = serde_json::from_str(include_str!("vectors/tool_glob.json")).unwrap();
    let case = cases.as_array().unwrap().iter().find(|case| case["id"] == id).unwrap();
    let (pattern, tool) = (case["pattern"].as_str().unwrap(), case["tool"].as_str().unwrap());
    let matches = ToolPattern::parse(pattern).map(|pattern| pattern.matches(tool));
    if case["malformed_pattern"] == true {
        assert!(matches.is_err(), "{pattern}");
    } else {
        assert_eq!(matches, Ok(case["expected"].as_bool().unwrap()), "{pattern} against {tool}");
    }
}

macro_rules! vectors {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check(&stringify!($name).replace('_', "-"));
            }
        )*
    };
}

vectors! {
    glob_01,
    glob_03,
    glob_04,
    glob_05,
    glob_06,
    glob_08,
    glob_09,
    glob_10,
    glob_12,
    glob_13,
    glob_14,
    glob_15,
    glob_17,
    glob_18,
}

#[test]
fn every_vector_has_a_test() {
    let cases: Value = serde_json::from_str(include_str!("vectors/tool_glob.json")).unwrap();
    let ids: Vec<String> =
        cases.as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap().replace('-', "_")).collect();
    assert_eq!(ids, NAMES);
}

/// The peer accepts a malformed pattern, which then never matches; here it does not even parse.
#[test]
fn malformed_patterns_say_why() {
    for (pattern, want) in [
        ("[", PatternError::Class),
        ("[]", PatternError::Class),
        ("[]a]", PatternError::Class),
        ("[^]", PatternError::Class),
        ("[^]a]", PatternError::Class),
        ("[a", PatternError::Class),
        ("[a-", PatternError::Class),
        ("[a-]", PatternError::Class),
        ("[-a]", PatternError::Class),
        ("[a-b-c]", PatternError::Class),
        ("[\\", PatternError::Class),
        ("[a\\", PatternError::Class),
        ("[bad", PatternError::Class),
        ("a*[", PatternError::Class),
        ("\\", PatternError::Escape),
        ("read\\", PatternError::Escape),
        ("[z-a]", PatternError::NeverMatches),
        ("l\u{e9}*", PatternError::NotAscii),
        ("[\u{e9}]", PatternError::NeverMatches),
    ] {
        assert_eq!(ToolPattern::parse(pattern), Err(want), "{pattern}");
    }
    assert_eq!(ToolPattern::parse(&"a".repeat(257)), Err(PatternError::TooLong));
    assert_eq!(ToolPattern::parse(&"*".repeat(513)), Err(PatternError::TooLong));
}
