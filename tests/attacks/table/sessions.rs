//! HTTP sessions of another: reading, speaking, ending, fixing. The owner opened the session with a badge.

use std::time::Duration;

use serde_json::json;

use crate::attacker::initialize;
use crate::case::{
    Act, Answer, Case, Named, Step, attack, call, denied, harmless, not_there, raw, request, session, session_refused,
    stateless, stdio, step,
};
use crate::common::LEVELS;
use crate::tokens;

/// A connection of the owner's.
fn opened(id: &'static str, why: &'static str) -> Case {
    sessions_alone(attack(id, why).sends(step(Act::Connect).by("owner").presents(tokens::good())))
}

fn sessions_alone(case: Case) -> Case {
    case.on(stdio, not_there("a connection on stdio is nobody else's"))
        .on(stateless, not_there("there are no sessions"))
}

/// In the owner's session.
fn stolen(step: Step) -> Step {
    step.in_session(Named::Of("owner"))
}

fn unbound(case: Case) -> Case {
    case.on(session, session_refused(404, "session_unbound", "session session_unbound"))
}

fn listen() -> Step {
    step(Act::Http("GET"))
}

fn resume(event: &str) -> Step {
    listen().header("Last-Event-ID", event)
}

fn delete() -> Step {
    step(Act::Http("DELETE"))
}

fn another() -> String {
    tokens::badge(12, LEVELS[4])
}

pub fn cases() -> Vec<Case> {
    let mut cases = thieves();
    cases.extend(owners());
    cases.extend(latching());
    cases.extend(ended());
    cases
}

fn thieves() -> Vec<Case> {
    let steal = |id, why, step: Step| unbound(opened(id, why).sends(stolen(step)));
    let good = json!(tokens::good()).to_string();
    let newest = call("open")
        .without("MCP-Protocol-Version")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", "open")
        .meta("io.modelcontextprotocol/protocolVersion", r#""2026-07-28""#)
        .meta("io.modelcontextprotocol/clientInfo", r#"{"name":"t","version":"0"}"#)
        .meta("io.modelcontextprotocol/clientCapabilities", "{}");
    let cancel = raw(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    let accept = raw(r#"{"jsonrpc":"2.0","id":0,"result":{"action":"accept"}}"#);
    let renamed = tokens::badge_for("did:web:registry.example.com:agents:x", 10);
    vec![
        steal("sessions/call-by-nobody", "Nobody calls an open tool in the session of another.", call("open")),
        steal(
            "sessions/call-by-another",
            "Another agent of the highest level calls in the session.",
            call("level4").presents(another()),
        ),
        steal(
            "sessions/call-by-a-key",
            "The holder of an API key calls in the session.",
            call("open").presents_key("key"),
        ),
        steal(
            "sessions/call-with-a-badge-in-meta",
            "The owner's badge in `_meta`, and nothing in the header.",
            call("level4").meta("capiscio_caller_badge", good),
        ),
        steal("sessions/same-key-other-name", "The owner's key under another name.", call("level4").presents(renamed)),
        steal("sessions/listen", "Nobody listens to what the server says in the session.", listen()),
        steal(
            "sessions/listen-by-another",
            "Another agent listens to what the server says in the session.",
            listen().presents(another()),
        ),
        steal("sessions/resume", "Nobody resumes the owner's stream by a guessed event id.", resume("0")),
        steal(
            "sessions/resume-of-a-request",
            "Nobody resumes the stream of the owner's request by a guessed event id.",
            resume("0/0"),
        ),
        steal(
            "sessions/resume-by-another",
            "Another agent resumes the owner's stream.",
            resume("0").presents(another()),
        ),
        steal("sessions/delete", "Nobody ends the session.", delete()),
        steal("sessions/delete-by-another", "Another agent ends the session.", delete().presents(another())),
        steal("sessions/notify", "Nobody cancels what runs in the session.", cancel),
        steal("sessions/answer", "Nobody answers what the server asked the owner.", accept),
        steal(
            "sessions/initialize-again",
            "Nobody shakes hands in the session once more.",
            initialize("2025-06-18").without("MCP-Protocol-Version").header("MCP-Protocol-Version", "2025-06-18"),
        ),
        steal("sessions/list", "Nobody lists the tools of the owner.", request("tools/list", "")),
        steal(
            "sessions/newest-revision",
            "A request of the newest revision, which knows no sessions, names the session.",
            newest,
        ),
        opened("sessions/forged-owner", "A forged badge names the owner.")
            .sends(stolen(call("level4").header("X-Capiscio-Badge", tokens::signed_by(9))))
            .on(session, session_refused(401, "badge_invalid", "session badge_signature_invalid")),
    ]
}

fn owners() -> Vec<Case> {
    vec![
        opened("sessions/owner-expired", "The owner's badge of before is used after it expired.")
            .sends(step(Act::Wait(Duration::from_secs(400))))
            .sends(stolen(call("level4").presents(tokens::good())))
            .on(session, session_refused(401, "badge_expired", "session badge_expired")),
        opened("sessions/owner-revoked", "The owner's badge is used in the session after it was revoked.")
            .sends(step(Act::Revoke))
            .sends(stolen(call("level4").presents(tokens::good())))
            .on(session, session_refused(401, "badge_revoked", "session badge_revoked")),
        opened("sessions/owner-lowered", "The owner goes on in the session with a badge of a lower level.")
            .sends(stolen(call("level4").presents(tokens::badge(10, LEVELS[1]))))
            .on(session, denied("trust_insufficient")),
    ]
}

/// The attacker opens a session, as nobody, and lets somebody else use it.
fn latching() -> Vec<Case> {
    let fixed = |id, why, then: Step| {
        let ran = |tool: &str| Answer::Ran(format!("{tool} ran"));
        let victim = call("level4").by("owner").in_session(Named::Of("attacker")).presents(tokens::good());
        let case = attack(id, why)
            .sends(step(Act::Connect))
            .sends(call("open").gets(ran("open")))
            .sends(victim.gets(ran("level4")))
            .sends(then);
        unbound(sessions_alone(case.runs("open", 1).runs("level4", 1)))
    };
    let latch = |id, why| sessions_alone(attack(id, why).sends(step(Act::Connect)));
    vec![
        fixed(
            "sessions/fixation-call",
            "The attacker opens a session, another uses it, and the attacker calls in it.",
            call("open"),
        ),
        fixed(
            "sessions/fixation-listen",
            "The attacker opens a session, another uses it, and the attacker listens.",
            listen(),
        ),
        fixed(
            "sessions/fixation-resume",
            "The attacker opens a session, another uses it, and the attacker resumes the other's stream.",
            resume("0/1"),
        ),
        fixed(
            "sessions/fixation-delete",
            "The attacker opens a session, another uses it, and the attacker ends it.",
            delete(),
        ),
        latch(
            "sessions/latch-by-meta",
            "A badge in `_meta` alone would take a session that its headers leave to everybody.",
        )
        .sends(call("level4").meta("capiscio_caller_badge", json!(tokens::good()).to_string()))
        .on(session, denied("session_unbound")),
        latch("sessions/latch-by-a-denied-call", "A badge that opens nothing would take the session of another.")
            .sends(call("level4").by("owner").in_session(Named::Of("attacker")).presents(tokens::low()))
            .sends(call("unlisted"))
            .on(session, denied("badge_missing").recorded(["trust_insufficient", "tool_not_allowed"])),
    ]
}

fn ended() -> Vec<Case> {
    let deleted = |id, why| opened(id, why).sends(stolen(delete().presents(tokens::good())).gets(Answer::Accepted));
    vec![
        unbound(
            deleted("sessions/after-delete", "The owner has ended the session, and somebody goes on in it.")
                .sends(stolen(call("open"))),
        ),
        unbound(
            deleted("sessions/after-delete-by-the-owner", "The owner goes on in a session that was ended.")
                .sends(stolen(call("level4").presents(tokens::good()))),
        ),
        opened("sessions/delete-own", "Ending the own session ends another's.")
            .sends(step(Act::Connect).presents(another()))
            .sends(delete().presents(another()).gets(Answer::Accepted))
            .sends(stolen(call("level4").by("owner").presents(tokens::good())))
            .on(session, harmless(Answer::Ran("level4 ran".to_owned())))
            .runs("level4", 1),
    ]
}
