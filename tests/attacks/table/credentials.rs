//! Two credentials at once, API keys, and callers below what the tool asks for.

use sha2::{Digest as _, Sha256};

use super::{fails, in_a_session};
use crate::case::{API_KEY, Case, Step, attack, call, denied, http, not_there, session, session_refused, stdio};
use crate::common::LEVELS;
use crate::tokens;
use crate::world::Setup;

const ONE_PLACE: &str = "stdio has `_meta` alone, so two places cannot disagree";

/// A caller who is known, and not enough.
fn known(case: Case, reason: &'static str) -> Case {
    case.want(denied(reason)).on(in_a_session, denied("session_unbound"))
}

/// An API key that nobody has.
fn wrong_key(id: &'static str, why: &'static str, key: &str) -> Case {
    fails(attack(id, why).sends(call("member").api_key(key)), "badge_invalid", "api_key_unknown")
}

fn in_meta(step: Step, (key, _): (&'static str, &'static str), value: &str) -> Step {
    step.meta(key, serde_json::json!(value).to_string())
}

fn in_header(step: Step, (_, name): (&'static str, &'static str), value: &str) -> Step {
    step.header(name, value)
}

pub fn cases() -> Vec<Case> {
    let mut cases = pairs();
    cases.extend(keys());
    cases.extend(levels());
    cases
}

fn pairs() -> Vec<Case> {
    use crate::case::BADGE;
    let (good, low) = (tokens::good(), tokens::low());
    let bad = tokens::signed_by(9);
    let conflict = |id, why, step: Step| {
        attack(id, why)
            .sends(step)
            .on(stdio, not_there(ONE_PLACE))
            .on(http, denied("badge_invalid").because("credential_conflict"))
    };
    let both = |badge: &str, key: &str| in_meta(in_meta(call("member"), BADGE, badge), API_KEY, key);
    vec![
        conflict(
            "credentials/badges-disagree-low-header",
            "A low badge in the header, a high one in `_meta`.",
            in_meta(in_header(call("level4"), BADGE, &low), BADGE, &good),
        ),
        conflict(
            "credentials/badges-disagree-high-header",
            "A high badge in the header, a low one in `_meta`.",
            in_meta(in_header(call("level4"), BADGE, &good), BADGE, &low),
        ),
        conflict(
            "credentials/badge-renewed",
            "Two badges of one agent that differ in their id alone.",
            in_meta(in_header(call("level4"), BADGE, &good), BADGE, &tokens::good()),
        ),
        conflict(
            "credentials/keys-disagree",
            "One API key in the header, another in `_meta`.",
            in_meta(in_header(call("member"), API_KEY, "key"), API_KEY, "other"),
        ),
        conflict(
            "credentials/bearer-disagrees",
            "A badge as a bearer token, another in the badge's header.",
            in_header(call("level4"), BADGE, &low).header("Authorization", format!("Bearer {good}")),
        )
        .setup(Setup::Bearer)
        .on(session, session_refused(401, "badge_invalid", "session credential_conflict")),
        attack("credentials/bearer-twice", "Two bearer tokens, where badges may be bearer tokens.")
            .sends(call("level4").header("Authorization", format!("Bearer {good}")).header("Authorization", "Bearer x"))
            .setup(Setup::Bearer)
            .on(stdio, not_there(ONE_PLACE))
            .on(http, denied("badge_invalid").because("credential_malformed"))
            .on(session, session_refused(401, "badge_invalid", "session credential_malformed")),
        attack(
            "credentials/bad-badge-good-key",
            "A forged badge beside a good API key: the key is not a second chance.",
        )
        .sends(both(&bad, "key"))
        .want(denied("badge_invalid").because("badge_signature_invalid")),
        attack("credentials/expired-badge-good-key", "An expired badge beside a good API key.")
            .sends(both(&tokens::claims(r#"{"iat":"$now-900","exp":"$now-600"}"#), "key"))
            .want(denied("badge_expired")),
        attack("credentials/garbage-badge-good-key", "No badge at all where a badge should be, beside a good API key.")
            .sends(both("x", "key"))
            .want(denied("badge_invalid")),
        attack(
            "credentials/bad-badge-open-tool",
            "A forged badge at an open tool: a credential that fails is no nobody.",
        )
        .sends(in_meta(call("open"), BADGE, &bad))
        .want(denied("badge_invalid").because("badge_signature_invalid")),
        attack("credentials/unknown-key-open-tool", "An unknown API key at an open tool.")
            .sends(in_meta(call("open"), API_KEY, "other"))
            .want(denied("badge_invalid").because("api_key_unknown")),
        attack("credentials/low-badge-good-key", "A low badge and an API key do not add up to a higher level.")
            .sends(in_meta(call("level4").badge(&low), API_KEY, "key"))
            .want(denied("trust_insufficient"))
            .on(in_a_session, denied("session_unbound")),
    ]
}

fn keys() -> Vec<Case> {
    let hash = Sha256::digest("key").iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let mut cases = vec![
        wrong_key("credentials/key-prefix", "The beginning of a key that is good.", "ke"),
        wrong_key("credentials/key-longer", "A key that is good, and more.", "keys"),
        wrong_key("credentials/key-capital", "A key that is good, in another case.", "KEY"),
        wrong_key("credentials/key-hash", "The hash that the configuration lists is presented as the key.", &hash),
        wrong_key("credentials/key-name", "The name of a key is presented as the key.", "tester"),
        wrong_key("credentials/key-base64", "The key in base64.", "a2V5"),
        wrong_key("credentials/key-percent", "The key percent-encoded.", "%6bey"),
        wrong_key("credentials/key-glob", "A pattern in place of a key.", "*"),
        wrong_key(
            "credentials/key-is-a-badge",
            "A badge that is good is presented as an API key.",
            &tokens::good()[..500],
        ),
    ];
    for (id, why, json, reason) in [
        ("credentials/key-empty", "An empty API key.", r#""""#, "credential_malformed"),
        ("credentials/key-spaced", "A key that is good, and a space.", r#""key ""#, "api_key_unknown"),
        ("credentials/key-newline", "A key that is good, and a newline.", r#""key\n""#, "api_key_unknown"),
        ("credentials/key-nul", "A key that is good, and a NUL.", r#""key\u0000""#, "api_key_unknown"),
        ("credentials/key-full-width", "A key that is good, in full-width letters.", r#""ｋｅｙ""#, "api_key_unknown"),
        ("credentials/key-array", "A key in an array.", r#"["key"]"#, "credential_malformed"),
        ("credentials/key-null", "The key is null.", "null", "credential_malformed"),
        ("credentials/key-number", "The key is a number.", "0", "credential_malformed"),
    ] {
        let step = call("member").meta(API_KEY.0, json);
        cases.push(attack(id, why).sends(step).want(denied("badge_invalid").because(reason)));
    }
    let long = format!("\"{}\"", "k".repeat(600));
    cases.push(
        attack("credentials/key-overlong", "A key of 600 bytes, more than is hashed.")
            .sends(call("member").meta(API_KEY.0, long))
            .want(denied("badge_invalid").because("credential_malformed")),
    );
    cases.push(fails(
        attack("credentials/key-as-badge", "An API key that is good is presented as a badge.")
            .sends(call("member").badge("key")),
        "badge_invalid",
        "badge_invalid",
    ));
    cases
}

fn levels() -> Vec<Case> {
    let by_key = |tool: &str| call(tool).api_key("key");
    let level0 = || tokens::badge_of_nobody();
    vec![
        attack("credentials/nobody-at-level-0", "Nobody calls a tool of level 0: no level is not level 0.")
            .sends(call("level0"))
            .want(denied("badge_missing")),
        attack("credentials/nobody-at-level-1", "Nobody calls a tool of level 1.")
            .sends(call("level1"))
            .want(denied("badge_missing")),
        attack("credentials/nobody-at-member", "Nobody calls a tool for anybody known.")
            .sends(call("member"))
            .want(denied("badge_missing")),
        attack(
            "credentials/nobody-at-unlisted",
            "Nobody calls a tool without a rule: the answer is that of a tool with one.",
        )
        .sends(call("unlisted"))
        .want(denied("badge_missing").because("tool_not_allowed")),
        attack(
            "credentials/nobody-at-nothing",
            "Nobody calls a tool that does not exist: the answer is that of a tool that does.",
        )
        .sends(call("no such tool"))
        .want(denied("badge_missing").because("tool_not_allowed")),
        attack("credentials/nobody-at-level-0-open", "Nobody calls a tool of level 0 where self-signed badges count.")
            .setup(Setup::LevelZero)
            .sends(call("level0"))
            .want(denied("badge_missing")),
        known(
            attack("credentials/key-at-level-0", "An API key has no level, not even 0.").sends(by_key("level0")),
            "trust_insufficient",
        ),
        known(
            attack("credentials/key-at-level-4", "An API key at a tool of level 4.").sends(by_key("level4")),
            "trust_insufficient",
        ),
        known(
            attack("credentials/level-1-at-level-4", "A badge of level 1 at a tool of level 4.")
                .sends(call("level4").badge(tokens::low())),
            "trust_insufficient",
        ),
        known(
            attack("credentials/level-3-at-level-4", "A badge one level too low.")
                .sends(call("level4").badge(tokens::badge(10, LEVELS[3]))),
            "trust_insufficient",
        ),
        known(
            attack(
                "credentials/level-2-beside-level-3",
                "A badge below the requirement that stands beside the tool, at a tool that a rule opens.",
            )
            .sends(call("beside_level3").badge(tokens::badge(10, LEVELS[2]))),
            "trust_insufficient",
        ),
        known(
            attack(
                "credentials/level-4-beside-broken",
                "The requirement beside a tool cannot be read, so that it might count as none.",
            )
            .sends(call("beside_broken").badge(tokens::good())),
            "requirement_unreadable",
        ),
        fails(
            attack(
                "credentials/self-signed",
                "A badge that its subject signed, at a tool of level 0, where those do not count.",
            )
            .sends(call("level0").badge(level0())),
            "issuer_untrusted",
            "issuer_untrusted",
        ),
        fails(
            attack(
                "credentials/self-signed-open-tool",
                "A badge that its subject signed, at an open tool, where those do not count.",
            )
            .sends(call("open").badge(level0())),
            "issuer_untrusted",
            "issuer_untrusted",
        ),
        known(
            attack(
                "credentials/self-signed-at-level-1",
                "A badge that its subject signed, at a tool of level 1, where those count as level 0.",
            )
            .setup(Setup::LevelZero)
            .sends(call("level1").badge(level0())),
            "trust_insufficient",
        ),
    ]
}
