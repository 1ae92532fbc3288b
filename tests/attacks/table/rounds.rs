//! The `requestState` of another round: another's, another call's, an old one, a made-up one. `ask` hands one out to
//! whoever calls it; `$state` stands for it.

use std::time::Duration;

use crate::case::{Act, Answer, Case, Step, attack, call, denied, legacy, not_there, params, refused, request, step};
use crate::common::LEVELS;
use crate::tokens;
use crate::world::Setup;

const ONE_ROUND: &str = "only 2026-07-28 lets an answer ask for input";

/// A call of `tool` that brings a state.
fn retry(tool: &str, arguments: &str, state: &str) -> Step {
    params(&format!(
        r#"{{"name":"{tool}","arguments":{arguments},"requestState":"{state}","inputResponses":{{}},"_meta":$meta}}"#
    ))
    .named(tool)
}

/// The owner has been asked, and has a state.
fn asked(id: &'static str, why: &'static str) -> Case {
    attack(id, why)
        .sends(retry_of_nothing().presents(tokens::good()).gets(Answer::InputRequired))
        .runs("ask", 1)
        .on(legacy, not_there(ONE_ROUND))
}

fn retry_of_nothing() -> Step {
    params(r#"{"name":"ask","arguments":{"x":1},"_meta":$meta}"#).named("ask")
}

fn invalid(case: Case, step: Step) -> Case {
    let case = case.sends(step).want(refused(-32602, "request_state_invalid"));
    if case.steps.len() > 1 { case.on(legacy, not_there(ONE_ROUND)) } else { case }
}

pub fn cases() -> Vec<Case> {
    let mut cases = others();
    cases.extend(made_up());
    cases.extend(other_methods());
    cases
}

/// The owner brings the state of the round before, and is asked once more.
pub fn with_a_permit() -> Case {
    asked("control/round", "The owner of a state brings it back with the same call.")
        .sends(retry("ask", r#"{"x":1}"#, "$state").presents(tokens::good()))
        .want(crate::case::harmless(Answer::InputRequired))
        .on(legacy, not_there(ONE_ROUND))
        .runs("ask", 1)
}

fn others() -> Vec<Case> {
    let same = || retry("ask", r#"{"x":1}"#, "$state");
    let later = tokens::claims(r#"{"iat":"$now+950","exp":"$now+1200"}"#);
    vec![
        invalid(
            asked("rounds/by-another", "Another agent brings the owner's state."),
            same().presents(tokens::badge(12, LEVELS[4])),
        ),
        invalid(asked("rounds/by-nobody", "Nobody brings the owner's state."), same()),
        invalid(
            asked("rounds/by-a-key", "The holder of an API key brings the owner's state."),
            same().presents_key("key"),
        ),
        invalid(
            asked("rounds/by-the-key-under-another-name", "The owner's key under another name brings the state."),
            same().presents(tokens::badge_for("did:web:registry.example.com:agents:x", 10)),
        ),
        invalid(
            attack("rounds/of-nobody", "An agent brings a state that nobody was given.")
                .sends(retry_of_nothing().gets(Answer::InputRequired))
                .runs("ask", 1),
            same().presents(tokens::good()),
        ),
        asked("rounds/by-a-forger", "A forged badge names the owner of the state.")
            .sends(same().presents(tokens::signed_by(9)))
            .want(denied("badge_invalid").because("badge_signature_invalid"))
            .on(legacy, not_there(ONE_ROUND)),
        invalid(
            asked("rounds/of-another-tool", "The owner brings the state of one tool to another."),
            retry("level4", r#"{"x":1}"#, "$state").presents(tokens::good()),
        ),
        invalid(
            asked("rounds/of-another-tool-by-nobody", "Nobody brings the state of an open tool to a closed one."),
            retry("level4", r#"{"x":1}"#, "$state"),
        ),
        invalid(
            asked("rounds/with-other-arguments", "The owner changes the arguments between two rounds."),
            retry("ask", r#"{"x":2}"#, "$state").presents(tokens::good()),
        ),
        invalid(
            asked("rounds/with-more-arguments", "The owner adds an argument between two rounds."),
            retry("ask", r#"{"x":1,"y":1}"#, "$state").presents(tokens::good()),
        ),
        invalid(
            asked("rounds/without-arguments", "The owner drops the arguments between two rounds."),
            retry("ask", "{}", "$state").presents(tokens::good()),
        ),
        asked("rounds/expired", "The owner comes back with a state of a quarter of an hour ago.")
            .sends(step(Act::Wait(Duration::from_secs(1000))))
            .sends(same().presents(later))
            .want(refused(-32602, "request_state_expired"))
            .on(legacy, not_there(ONE_ROUND)),
    ]
}

fn made_up() -> Vec<Case> {
    let known = |state: &str| retry("ask", r#"{"x":1}"#, state).presents(tokens::good());
    let random = tokens::b64([0x5a; 120]);
    vec![
        invalid(attack("rounds/made-up", "A state as the server makes it, and not sealed."), known("state")),
        invalid(attack("rounds/empty", "An empty state, which some take for none."), known("")),
        invalid(attack("rounds/random", "Bytes that look like a sealed state."), known(&random)),
        invalid(
            attack("rounds/overlong", "A state of 100 kilobytes costs the guard its time."),
            known(&"A".repeat(100_000)),
        ),
        invalid(
            attack(
                "rounds/made-up-for-a-closed-tool",
                "Nobody makes up a state for a closed tool, to come in by the second round.",
            ),
            retry("level4", "{}", "state"),
        ),
        invalid(asked("rounds/prefixed", "A character before a state that is good."), known("A$state")),
        invalid(asked("rounds/longer", "A character after a state that is good."), known("$stateA")),
        invalid(asked("rounds/padded", "Padding after a state that is good."), known("$state=")),
        invalid(asked("rounds/doubled", "A state that is good, twice."), known("$state$state")),
        attack("rounds/number", "A state that is a number, so that rmcp reads no call.")
            .sends(params(r#"{"name":"level4","requestState":7,"_meta":$meta}"#))
            .want(refused(-32602, "request_malformed")),
        attack("rounds/twice", "Two states, one for the guard and one for the tool.")
            .sends(params(r#"{"name":"level4","requestState":"a","requestState":"b","_meta":$meta}"#))
            .want(refused(-32602, "request_malformed")),
        attack("rounds/responses-array", "Responses of the wrong type, so that rmcp reads no call.")
            .sends(params(r#"{"name":"level4","inputResponses":[],"requestState":"s","_meta":$meta}"#))
            .want(refused(-32602, "request_malformed")),
        attack("rounds/responses-without-a-state", "Responses to nothing, to come in by the second round.")
            .sends(params(r#"{"name":"level4","inputResponses":{},"_meta":$meta}"#))
            .want(denied("badge_missing")),
        attack("rounds/state-in-meta", "The state stands in `_meta`.")
            .sends(call("level4").meta("requestState", r#""state""#))
            .want(denied("badge_missing")),
    ]
}

/// The state of a tool, in a method that has rounds too.
fn other_methods() -> Vec<Case> {
    let brought = |method, members: &str, name| {
        request(method, &format!(r#"{members},"requestState":"$state""#)).named(name).presents(tokens::good())
    };
    [
        (
            "rounds/to-a-prompt",
            "The owner brings the state of a tool to a prompt.",
            brought("prompts/get", r#""name":"ask""#, "ask"),
        ),
        (
            "rounds/to-a-resource",
            "The owner brings the state of a tool to a resource.",
            brought("resources/read", r#""uri":"file:///ask""#, "file:///ask"),
        ),
    ]
    .into_iter()
    .map(|(id, why, step)| {
        asked(id, why)
            .setup(Setup::MethodsAtLevel3)
            .sends(step)
            .want(refused(-32602, "request_state_invalid"))
            .on(legacy, not_there(ONE_ROUND))
    })
    .collect()
}
