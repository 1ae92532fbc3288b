//! Handshakes: none, two, another revision, a credential that was shown once.

use serde_json::json;

use crate::attacker::initialize;
use crate::case::{
    Act, Answer, Case, Named, Round, Step, accepted, attack, call, closed, denied, harmless, http, legacy, newest,
    not_there, raw, refused, request, rpc_error, session, silence, stateless, stdio, step,
};
use crate::tokens;

fn dialled(id: &'static str, why: &'static str) -> Case {
    attack(id, why).sends(step(Act::Dial)).on(http, not_there("over HTTP each request is a connection"))
}

fn badge_in_meta(step: Step) -> Step {
    step.meta("capiscio_caller_badge", json!(tokens::good()).to_string())
}

/// A call with all that 2026-07-28 wants, whatever the connection speaks.
fn newest_call() -> Step {
    call("level4")
        .meta("io.modelcontextprotocol/protocolVersion", r#""2026-07-28""#)
        .meta("io.modelcontextprotocol/clientInfo", r#"{"name":"t","version":"0"}"#)
        .meta("io.modelcontextprotocol/clientCapabilities", "{}")
        .without("MCP-Protocol-Version")
        .without("Mcp-Method")
        .without("Mcp-Name")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", "level4")
}

fn stdio_newest(round: &Round) -> bool {
    stdio(round) && newest(round)
}

pub fn cases() -> Vec<Case> {
    let mut cases = first();
    cases.extend(shown_once());
    cases.extend(again());
    cases
}

fn first() -> Vec<Case> {
    vec![
        dialled("handshake/none", "A call before any handshake.")
            .sends(call("level4"))
            .on(stdio, rpc_error(-32602))
            .on(stdio_newest, denied("badge_missing")),
        dialled("handshake/notification-first", "A notification in the form of a call before any handshake.")
            .sends(raw(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"level4"}}"#))
            .on(stdio, closed()),
        dialled("handshake/answer-first", "An answer before any question.")
            .sends(raw(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#))
            .on(stdio, closed()),
        dialled("handshake/garbage-first", "Bytes that are no message before any handshake.")
            .sends(raw(&b"\xff\xfe\x00"[..]).gets_nothing())
            .sends(newest_call())
            .on(stdio, denied("badge_missing")),
        dialled("handshake/revision-unknown", "A first call in a revision that does not exist.")
            .sends(newest_call().meta("io.modelcontextprotocol/protocolVersion", r#""2099-01-01""#))
            .on(stdio, rpc_error(-32022)),
    ]
}

fn shown_once() -> Vec<Case> {
    vec![
        attack("handshake/badge-in-initialize", "The badge is shown in the handshake, and the calls come without it.")
            .sends(
                badge_in_meta(initialize("2025-06-18").with_meta())
                    .in_session(Named::None)
                    .without("MCP-Protocol-Version"),
            )
            .sends(call("level4"))
            .want(denied("badge_missing"))
            .on(newest, not_there("2026-07-28 has no handshake: handshake/badge-in-discover")),
        attack(
            "handshake/badge-in-discover",
            "The badge is shown with the first question, and the calls come without it.",
        )
        .sends(badge_in_meta(request("server/discover", "")))
        .sends(call("level4"))
        .want(denied("badge_missing"))
        .on(legacy, not_there("the revision has no discovery")),
        attack("handshake/badge-in-a-call", "The badge is shown with one call, and the next comes without it.")
            .sends(badge_in_meta(call("level4")).gets(Answer::Ran("level4 ran".to_owned())))
            .sends(call("level4"))
            .want(denied("badge_missing"))
            .runs("level4", 1)
            .on(session, not_there("in a session that is sessions/call-by-nobody")),
        attack("handshake/badge-in-a-list", "The badge is shown with a list, and the call comes without it.")
            .sends(badge_in_meta(request("tools/list", "")))
            .sends(call("level4"))
            .want(denied("badge_missing")),
        attack("handshake/client-name", "The client calls itself by the name of somebody who may.")
            .sends(call("level4").meta(
                "io.modelcontextprotocol/clientInfo",
                r#"{"name":"did:web:registry.example.com:agents:admin","version":"4"}"#,
            ))
            .want(denied("badge_missing")),
    ]
}

fn again() -> Vec<Case> {
    let initialized = raw(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .of_method("notifications/initialized")
        .unnamed();
    let old_call = raw(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4"}}"#);
    vec![
        attack("handshake/twice", "A second handshake in the middle, of the oldest revision, to fall back to its rules.")
            .sends(initialize("2024-11-05").without("MCP-Protocol-Version"))
            .sends(call("level4"))
            .want(denied("badge_missing")),
        attack("handshake/down-from-discovery", "After a discovery the client shakes hands as in 2024-11-05 and calls as then.")
            .sends(request("server/discover", ""))
            .sends(initialize("2024-11-05").without("MCP-Protocol-Version").in_session(Named::None))
            .sends(old_call.without("MCP-Protocol-Version").without("Mcp-Method").without("Mcp-Name"))
            .want(denied("badge_missing"))
            .on(stdio_newest, rpc_error(-32602)),
        attack("handshake/up-in-the-middle", "A call of the newest revision on a connection of an older one.")
            .sends(newest_call())
            .want(denied("badge_missing")),
        attack("handshake/initialize-as-notification", "A handshake without an id.")
            .sends(
                raw(r#"{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#)
                    .of_method("initialize")
                    .unnamed(),
            )
            .on(stdio, silence().because("request_malformed"))
            .on(session, accepted().because("request_malformed"))
            .on(stateless, accepted()),
        attack("handshake/initialize-malformed", "A handshake without a revision, which rmcp hands on as something else.")
            .sends(request("initialize", r#""capabilities":{}"#))
            .want(refused(-32602, "request_malformed"))
            .on(newest, refused(-32601, "badge_missing").because("method_not_allowed")),
        attack("handshake/initialized-again", "The end of the handshake is told once more before the call.")
            .sends(initialized.gets_nothing())
            .sends(call("level4"))
            .want(denied("badge_missing")),
        attack("handshake/ping-with-a-call", "A ping carries the params of a call.")
            .sends(request("ping", r#""name":"level4","arguments":{}"#))
            .want(harmless(Answer::Result("{}".to_owned())))
            .on(newest, rpc_error(-32601)),
    ]
}
