//! JSON-RPC ids: of the wrong type, of a twin, in flight, of another's request. Nobody presents a credential.

use crate::case::{
    Act, Answer, Case, Named, Step, accepted, attack, call, denied, harmless, http, http_error, newest, not_there, raw,
};
use crate::case::{rpc_error, session, session_refused, silence, stateless, stdio};

fn with(id: &str) -> Step {
    raw(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"level4","_meta":$meta}}}}"#))
}

pub fn cases() -> Vec<Case> {
    let mut cases = types();
    cases.extend(in_flight());
    cases
}

fn types() -> Vec<Case> {
    let no_id =
        |id, why, json| attack(id, why).sends(with(json)).on(stdio, rpc_error(-32600)).on(http, http_error(415));
    let an_id = |id, why, json: &str| attack(id, why).sends(with(json)).want(denied("badge_missing"));
    vec![
        no_id("request-id/float", "An id with a fraction, which two parsers round differently.", "7.5"),
        an_id("request-id/exponent", "An id with an exponent.", "7e0"),
        no_id(
            "request-id/beyond-64-bits",
            "An id that no integer holds: two of them become one.",
            "18446744073709551616",
        ),
        no_id("request-id/true", "An id that is `true`.", "true"),
        no_id("request-id/object", "An id that is an object.", r#"{"id":7}"#),
        no_id("request-id/array", "An id that is an array, which a server might repeat.", "[7]"),
        an_id("request-id/negative", "A negative id.", "-7"),
        an_id(
            "request-id/greatest",
            "The greatest integer, which wraps when somebody adds one.",
            "9223372036854775807",
        ),
        an_id("request-id/empty-text", "An empty id, which some take for none.", r#""""#),
        an_id("request-id/overlong", "An id of 10 kilobytes.", &format!("\"{}\"", "7".repeat(10_000))),
        an_id(
            "request-id/newline",
            "An id with a newline and a message in it, which an answer repeats.",
            r#""7\n{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}""#,
        ),
        an_id("request-id/bidi", "An id with a bidirectional override, which a log repeats.", r#""\u202e7""#),
        an_id("request-id/of-the-server", "The id that the server's own first request has.", "0"),
    ]
}

fn in_flight() -> Vec<Case> {
    let slow = |id: &str, ms: u64| {
        raw(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"slow","arguments":{{"ms":{ms}}},"_meta":$meta}}}}"#
        ))
        .named("slow")
        .in_background()
    };
    let cancel = |id: &str| {
        raw(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#))
            .of_method("notifications/cancelled")
            .unnamed()
    };
    let finished = |case: Case| case.runs("slow", 1).runs("slow finished", 1);
    vec![
        attack("request-id/in-flight", "A second request under an id that is in flight takes the first one's answer.")
            .sends(slow("5", 60_000))
            .sends(with("5"))
            .want(denied("badge_missing"))
            // rmcp gives the answer to the stream of the first request, in the same session
            .on(session, harmless(Answer::Http(200, None)).because("badge_missing"))
            .runs("slow", 1),
        attack("request-id/text-twin-in-flight", "A text and a number that look alike are in flight together.")
            .sends(slow("5", 60_000))
            .sends(with(r#""5""#))
            .want(denied("badge_missing"))
            .runs("slow", 1),
        attack("request-id/reused", "An id that was answered is used again for another tool.")
            .sends(call("open").gets(Answer::Ran("open ran".to_owned())))
            .sends(call("level4"))
            .want(denied("badge_missing"))
            .runs("open", 1),
        finished(
            attack("request-id/cancel-of-anothers", "The id of another's request is cancelled.")
                .sends(slow("5", 80).by("owner"))
                .sends(cancel("5"))
                .on(stdio, silence())
                .on(http, accepted()),
        ),
        finished(
            attack(
                "request-id/cancel-in-anothers-session",
                "The id of another's request is cancelled, in the other's session.",
            )
            .sends(Step { act: Act::Connect, ..call("open") }.by("owner").presents(crate::tokens::good()))
            .sends(slow("5", 80).by("owner").presents(crate::tokens::good()))
            .sends(cancel("5").in_session(Named::Of("owner")))
            .on(stdio, not_there("a connection on stdio is nobody else's"))
            .on(stateless, not_there("there are no sessions"))
            .on(session, session_refused(404, "session_unbound", "session session_unbound")),
        ),
        attack("request-id/answer-to-nothing", "The client answers a question that the server did not ask.")
            .sends(
                raw(r#"{"jsonrpc":"2.0","id":0,"result":{"content":[{"type":"text","text":"level4 ran"}]}}"#).unnamed(),
            )
            .on(stdio, silence())
            .on(session, accepted())
            .on(stateless, rpc_error(-32600)),
        attack("request-id/error-to-nothing", "The client answers with an error what the server did not ask.")
            .sends(raw(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"x"}}"#).unnamed())
            .on(stdio, silence())
            .on(session, accepted())
            .on(stateless, rpc_error(-32600)),
        attack("request-id/ping-under-a-call", "A ping under an id that a denied call had.")
            .sends(call("level4").gets(Answer::Denied("badge_missing".to_owned())))
            .sends(crate::case::request("ping", ""))
            .want(harmless(Answer::Result("{}".to_owned())).because("badge_missing"))
            .on(newest, rpc_error(-32601).because("badge_missing")),
    ]
}
