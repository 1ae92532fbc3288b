//! Tasks of another: their results, their steering, their ids.

use serde_json::json;

use crate::case::{
    Act, Answer, Case, Round, Step, attack, call, call_with, denied, http, http_newest, not_there, raw, refused,
};
use crate::case::{request, rpc_error, session, stateless, stdio, step, task};
use crate::common::LEVELS;
use crate::tokens;

const NO_TASKS: &str = "without a session no revision before 2026-07-28 tells the server that its client knows tasks";

fn has_no_tasks(round: &Round) -> bool {
    stateless(round) && !round.is_newest()
}

/// The owner's task `t`, on the owner's connection.
fn with_a_task(id: &'static str, why: &'static str) -> Case {
    attack(id, why)
        .sends(Step { act: Act::Connect, ..call("open") }.by("owner").presents(tokens::badge(10, LEVELS[2])))
        .sends(owned(call_with("vip_job", r#"{"id":"t"}"#)).gets(Answer::Task))
        .runs("vip_job", 1)
}

fn owned(step: Step) -> Step {
    step.by("owner").presents(tokens::badge(10, LEVELS[2]))
}

fn tried(case: Case, step: Step) -> Case {
    case.sends(step).want(refused(-32602, "task_not_found")).on(has_no_tasks, not_there(NO_TASKS))
}

/// The owner goes on with the own task.
pub fn with_a_permit() -> Case {
    with_a_task("control/task", "The owner of a task goes on with it.")
        .sends(owned(task("tasks/update", "t")))
        .want(crate::case::harmless(Answer::Result(r#"{"resultType":"complete"}"#.to_owned())))
        .on(has_no_tasks, not_there(NO_TASKS))
        .runs("tasks/update", 1)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (method, ids) in [
        ("tasks/get", ["tasks/get-by-another", "tasks/get-by-nobody", "tasks/get-by-a-key"]),
        ("tasks/update", ["tasks/update-by-another", "tasks/update-by-nobody", "tasks/update-by-a-key"]),
        ("tasks/cancel", ["tasks/cancel-by-another", "tasks/cancel-by-nobody", "tasks/cancel-by-a-key"]),
    ] {
        let steps = [
            task(method, "t").presents(tokens::badge(12, LEVELS[4])),
            task(method, "t"),
            task(method, "t").presents_key("key"),
        ];
        let whys = [
            "Another agent, of the highest level, names the id of a task.",
            "Nobody names the id of a task.",
            "The holder of an API key names the id of a task.",
        ];
        for ((id, step), why) in ids.into_iter().zip(steps).zip(whys) {
            cases.push(tried(with_a_task(id, why), step));
        }
    }
    cases.extend(owners());
    cases.extend(ids());
    cases.extend(forms());
    cases
}

fn owners() -> Vec<Case> {
    let denied_now = |id, why, badge: String, reason: &'static str| {
        with_a_task(id, why)
            .sends(task("tasks/get", "t").presents(badge))
            .want(refused(46401, reason))
            .on(has_no_tasks, not_there(NO_TASKS))
    };
    vec![
        denied_now(
            "tasks/owner-lowered",
            "The owner comes back with a badge of a lower level.",
            tokens::badge(10, LEVELS[1]),
            "trust_insufficient",
        ),
        tried(
            with_a_task("tasks/owner-under-another-name", "The owner's key comes back under another name."),
            task("tasks/get", "t").presents(tokens::badge_for("did:web:registry.example.com:agents:x", 10)),
        ),
        attack("tasks/of-nobody", "Nobody creates a task, which everybody without a credential would own.")
            .sends(call_with("job", r#"{"id":"t"}"#))
            .want(denied("session_unbound").recorded([]))
            .on(session, not_there("a session is an owner"))
            .on(has_no_tasks, not_there(NO_TASKS))
            .runs("job", 1)
            .runs("tasks/cancel", 1),
        with_a_task("tasks/owner-expired", "The owner's badge expires before the result is read.")
            .sends(step(Act::Wait(std::time::Duration::from_secs(400))))
            .sends(task("tasks/get", "t").badge(tokens::badge(10, LEVELS[2])))
            .want(refused(-32602, "task_not_found"))
            .on(has_no_tasks, not_there(NO_TASKS))
            .on(
                session,
                not_there("the session refuses the badge before the task is asked for: claims/expires-between-calls"),
            ),
        with_a_task(
            "tasks/taken-id",
            "Another handler call gives out the id again: the second caller would own the first one's task.",
        )
        .sends(call_with("vip_job", r#"{"id":"t"}"#).presents(tokens::badge(12, LEVELS[4])))
        .want(denied("internal_error").recorded([]))
        .runs("vip_job", 1)
        .on(has_no_tasks, not_there(NO_TASKS)),
    ]
}

fn ids() -> Vec<Case> {
    let spelt = |id, why, json: &str, name: &str| {
        tried(with_a_task(id, why), owned_by_other(request("tasks/get", &format!(r#""taskId":{json}"#)).named(name)))
    };
    vec![
        spelt(
            "tasks/id-unknown",
            "An id that nobody has: the answer is that of an id that somebody has.",
            r#""u""#,
            "u",
        ),
        spelt("tasks/id-capital", "The id in another case.", r#""T""#, "T"),
        spelt("tasks/id-spaced", "The id and a space.", r#""t ""#, "t "),
        spelt("tasks/id-nul", "The id and a NUL.", r#""t\u0000""#, "t\0"),
        spelt("tasks/id-empty", "An empty id, which some take for the last one.", r#""""#, ""),
        spelt("tasks/id-glob", "A pattern in place of an id.", r#""*""#, "*"),
        spelt(
            "tasks/id-overlong",
            "An id of 10 kilobytes.",
            &json!("t".repeat(10_000)).to_string(),
            &"t".repeat(10_000),
        ),
    ]
}

fn owned_by_other(step: Step) -> Step {
    step.presents(tokens::badge(12, LEVELS[4]))
}

fn forms() -> Vec<Case> {
    let malformed = |id, why, step: Step| {
        with_a_task(id, why)
            .sends(step)
            .want(refused(-32602, "request_malformed"))
            .on(has_no_tasks, not_there(NO_TASKS))
    };
    let unknown = |id, why, step: Step| {
        with_a_task(id, why)
            .sends(step)
            .want(refused(-32601, "badge_missing").because("method_not_allowed"))
            .on(has_no_tasks, not_there(NO_TASKS))
    };
    let get = |members: &str| request("tasks/get", members);
    vec![
        malformed("tasks/id-number", "The id is a number.", get(r#""taskId":1"#)),
        malformed("tasks/id-array", "The id is in an array.", get(r#""taskId":["t"]"#)),
        malformed("tasks/id-missing", "No id, so that the handler picks one.", get("")),
        malformed(
            "tasks/id-twice",
            "The id is there twice, the own one first.",
            get(r#""taskId":"u","taskId":"t""#).named("t"),
        ),
        malformed("tasks/id-other-name", "The member is `id`, which some handlers take.", get(r#""id":"t""#)),
        unknown(
            "tasks/result",
            "The result is asked for with the method of a draft revision.",
            request("tasks/result", r#""taskId":"t""#),
        ),
        unknown(
            "tasks/list",
            "All tasks are asked for with the method of a draft revision.",
            request("tasks/list", ""),
        ),
        malformed("tasks/get-capital", "The method is in another case.", request("Tasks/Get", r#""taskId":"t""#)),
        with_a_task("tasks/get-notification", "The question is a notification, whose answer goes nowhere.")
            .sends(
                raw(r#"{"jsonrpc":"2.0","method":"tasks/cancel","params":{"taskId":"t","_meta":$meta}}"#)
                    .of_method("tasks/cancel")
                    .named("t"),
            )
            .on(stdio, crate::case::silence().because("request_malformed"))
            .on(session, crate::case::accepted().because("request_malformed"))
            .on(stateless, crate::case::accepted())
            .on(has_no_tasks, not_there(NO_TASKS)),
        with_a_task("tasks/name-header", "The header names the own task, the message another's.")
            .sends(task("tasks/get", "t").without("Mcp-Name").header("Mcp-Name", "own"))
            .on(stdio, not_there("stdio has no headers"))
            .on(http, refused(-32602, "task_not_found"))
            .on(http_newest, rpc_error(-32020))
            .on(has_no_tasks, not_there(NO_TASKS)),
        with_a_task("tasks/forged-owner", "A forged badge names the owner.")
            .sends(task("tasks/get", "t").meta("capiscio_caller_badge", json!(tokens::signed_by(9)).to_string()))
            .want(refused(-32602, "task_not_found"))
            .on(has_no_tasks, not_there(NO_TASKS)),
    ]
}
