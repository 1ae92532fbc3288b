//! Reading what is for others: lists of tools, prompts, resources and the other methods that hand out data.

use serde_json::json;

use crate::case::{
    Answer, Case, Named, attack, call, denied, harmless, http, legacy, newest, not_there, refused, request, rpc_error,
    session_header, session_refused, stdio,
};
use crate::common::LEVELS;
use crate::tokens;
use crate::world::Setup;

const READS: &str = "A method that nobody wrote a requirement for hands out data.";
const CHANGES: &str = "A method that nobody wrote a requirement for changes what the server sends.";

/// Methods beside `tools/call`, their params, and what they name.
const CLOSED: &[(&str, &str, &str, Option<&str>)] = &[
    ("reading/prompts-list", "prompts/list", "", None),
    ("reading/prompts-get", "prompts/get", r#""name":"p""#, Some("p")),
    ("reading/resources-list", "resources/list", "", None),
    ("reading/resources-templates", "resources/templates/list", "", None),
    ("reading/resources-read", "resources/read", r#""uri":"file:///etc/passwd""#, Some("file:///etc/passwd")),
    ("reading/resources-directory", "resources/directory/read", r#""uri":"file:///etc""#, None),
    (
        "reading/completion",
        "completion/complete",
        r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"}"#,
        None,
    ),
    ("reading/skills-list", "skills/list", "", None),
    ("reading/skills-get", "skills/get", r#""uri":"skill://s/SKILL.md""#, None),
    ("reading/logging", "logging/setLevel", r#""level":"debug""#, None),
];

/// Methods that 2026-07-28 has no more.
const CLOSED_BEFORE: &[(&str, &str, &str, Option<&str>)] = &[
    ("reading/subscribe", "resources/subscribe", r#""uri":"file:///etc/passwd""#, Some("file:///etc/passwd")),
    ("reading/unsubscribe", "resources/unsubscribe", r#""uri":"file:///etc/passwd""#, Some("file:///etc/passwd")),
];

pub fn cases() -> Vec<Case> {
    let mut cases = lists();
    let closed = |why, (id, method, members, name): &(&'static str, &str, &str, Option<&str>)| {
        let step = request(method, members);
        let step = if let Some(name) = name { step.named(name) } else { step };
        attack(id, why).sends(step).want(refused(46401, "badge_missing").because("method_not_allowed"))
    };
    cases.extend(CLOSED.iter().map(|row| closed(READS, row)));
    cases.extend(CLOSED_BEFORE.iter().map(|row| closed(CHANGES, row).on(newest, rpc_error(-32601))));
    let listen = closed(CHANGES, &("reading/listen", "subscriptions/listen", r#""notifications":{}"#, None));
    cases.push(listen.on(legacy, rpc_error(-32601)));
    cases.extend(levels());
    cases
}

fn tools(names: &str) -> Answer {
    Answer::Tools(names.to_owned())
}

fn lists() -> Vec<Case> {
    let first = || request("tools/list", "");
    let second = || request("tools/list", r#""cursor":"2""#);
    let in_meta = |badge: String| json!(badge).to_string();
    vec![
        attack("reading/tools-by-nobody", "Nobody lists the tools and learns which are closed.")
            .sends(second())
            .want(harmless(tools("job"))),
        attack(
            "reading/tools-after-another",
            "Nobody lists the tools after a known caller: a cache would show the other's.",
        )
        .sends(second().meta("capiscio_caller_badge", in_meta(tokens::good())))
        .sends(second())
        .want(harmless(tools("job"))),
        attack("reading/tools-by-a-forger", "A forged badge lists the tools: a credential that fails sees none.")
            .sends(first().meta("capiscio_caller_badge", in_meta(tokens::signed_by(9))))
            .want(harmless(tools(""))),
        attack("reading/tools-by-level-1", "A badge of level 1 lists the tools and learns which are above it.")
            .sends(second().presents(tokens::low()))
            .want(harmless(tools("job, level0, level1, member"))),
        attack("reading/tools-cursor-of-another", "A cursor that the handler did not give out.")
            .sends(request("tools/list", r#""cursor":"../1""#))
            .want(rpc_error(-32602)),
        attack("reading/tools-cursor-number", "The cursor is a number, so that rmcp reads a list without params.")
            .sends(request("tools/list", r#""cursor":2"#))
            .want(harmless(tools("open, look, slow, fail, protocol_error, panic, ask"))),
        attack("reading/tools-list-as-call", "The list is asked for as if it were a tool.")
            .sends(call("tools/list"))
            .want(denied("badge_missing").because("tool_not_allowed")),
        attack("reading/tools-in-a-session", "The list is asked for in an invented session.")
            .sends(first().in_session(Named::Text("x")))
            .on(stdio, not_there("stdio has no sessions"))
            .on(http, session_refused(404, "session_unbound", "session session_unbound")),
        attack("reading/tools-first-page", "The first page shows what the second hides.")
            .sends(first())
            .want(harmless(tools("open, look, slow, fail, protocol_error, panic, ask"))),
    ]
}

fn levels() -> Vec<Case> {
    let prompts = || request("prompts/list", "");
    let at_level_3 = |id, why| attack(id, why).setup(Setup::MethodsAtLevel3);
    vec![
        at_level_3("reading/prompts-by-nobody", "Nobody lists prompts that are for level 3.")
            .sends(prompts())
            .want(refused(46401, "badge_missing")),
        at_level_3("reading/prompts-by-level-2", "A badge of level 2 lists prompts that are for level 3.")
            .sends(prompts().presents(tokens::badge(10, LEVELS[2])))
            .want(refused(46401, "trust_insufficient")),
        at_level_3("reading/prompts-by-a-key", "An API key lists prompts that are for level 3.")
            .sends(prompts().presents_key("key"))
            .want(refused(46401, "trust_insufficient")),
        at_level_3("reading/prompts-by-a-forger", "A forged badge lists prompts that are for level 3.")
            .sends(prompts().badge(tokens::signed_by(9)))
            .want(refused(46401, "badge_invalid").because("badge_signature_invalid"))
            .on(session_header, session_refused(401, "badge_invalid", "session badge_signature_invalid")),
        at_level_3("reading/resource-traversal", "A resource is named by a path with dot segments.")
            .sends(request("resources/read", r#""uri":"file:///pub/../etc/passwd""#).named("file:///pub/../etc/passwd"))
            .want(refused(46401, "badge_missing")),
        at_level_3("reading/prompts-after-another", "Nobody lists prompts after a known caller did.")
            .sends(prompts().presents(tokens::good()))
            .sends(prompts().by("nobody"))
            .want(refused(46401, "badge_missing"))
            .runs("prompts/list", 1),
    ]
}
