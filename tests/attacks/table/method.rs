//! Methods that a handler might take for `tools/call`. The demo server's handler for custom requests is the worst case: it
//! runs whatever reaches it. Nobody presents a credential.

use serde_json::json;

use crate::case::{
    Case, Step, attack, http, http_error, http_newest, raw, refused, rpc_error, session, silence, stdio,
};
use crate::case::{accepted, stateless};

/// A custom request with the params of a call.
fn custom(method: &str) -> Step {
    let params = r#"{"name":"level4","arguments":{},"_meta":$meta}"#;
    raw(format!(r#"{{"jsonrpc":"2.0","id":7,"method":{},"params":{params}}}"#, json!(method)))
        .of_method(method)
        .unnamed()
}

/// A custom notification with the params of a call.
fn notification(method: &str) -> Step {
    let params = r#"{"name":"level4","arguments":{},"_meta":$meta}"#;
    raw(format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, json!(method))).of_method(method).unnamed()
}

/// Spellings that some handler's clean-up turns into `tools/call`.
const DISGUISED: &[(&str, &str, &str)] = &[
    ("method/capitals", "TOOLS/CALL", "The method in capitals reaches a handler that ignores case."),
    ("method/title-case", "Tools/Call", "The method in title case reaches a handler that ignores case."),
    ("method/space-after", "tools/call ", "A space after the method is trimmed by the handler."),
    ("method/space-before", " tools/call", "A space before the method is trimmed by the handler."),
    ("method/tab-after", "tools/call\t", "A tab after the method is trimmed by the handler."),
    ("method/newline-after", "tools/call\n", "A newline after the method is trimmed by the handler."),
    ("method/no-break-space", "\u{a0}tools/call", "A no-break space is trimmed as white space."),
    ("method/slash-before", "/tools/call", "A slash before the method is dropped by a router of paths."),
    ("method/slashes-before", "//tools/call", "Two slashes before the method are dropped by a router of paths."),
    ("method/slash-after", "tools/call/", "A slash after the method is dropped by a router of paths."),
    ("method/nul-after", "tools/call\0", "A NUL ends the method for code that thinks in C strings."),
    ("method/byte-order-mark", "\u{feff}tools/call", "A byte order mark before the method is stripped."),
    ("method/zero-width-space", "tools\u{200b}/call", "A zero-width space is shown as nothing, and stripped."),
    ("method/soft-hyphen", "tools/ca\u{ad}ll", "A soft hyphen is shown as nothing, and stripped."),
    ("method/right-to-left", "\u{202e}tools/call\u{202c}", "Bidirectional marks are shown as nothing, and stripped."),
    ("method/tag-characters", "tools/call\u{e0061}", "Tag characters are shown as nothing, and stripped."),
    ("method/variation-selector", "tools/call\u{fe0f}", "A variation selector is shown as nothing, and stripped."),
    ("method/full-width", "ｔｏｏｌｓ／ｃａｌｌ", "Full-width letters become ASCII under NFKC."),
    ("method/mathematical-bold", "𝐭𝐨𝐨𝐥𝐬/𝐜𝐚𝐥𝐥", "Mathematical letters become ASCII under NFKC."),
    ("method/long-s", "tool\u{17f}/call", "The long s becomes an s when case is folded."),
    (
        "method/as-notification-name",
        "notifications/tools/call",
        "The prefix of notifications is stripped by a dispatcher.",
    ),
    ("method/other-standard", "Initialize", "Another standard method in title case starts a handshake in the middle."),
];

/// Standard methods that no revision lets a client ask for.
const ABSENT: &[(&str, &str, &str)] = &[
    (
        "method/retired",
        "tasks/result",
        "A method of a draft revision that the guard does not decide on reads another's result.",
    ),
    ("method/retired-list", "tasks/list", "A method of a draft revision lists the tasks of everybody."),
    ("method/of-the-server", "sampling/createMessage", "A method that only servers send is sent to the server."),
];

/// Methods that are neither standard nor allowed, however close they look.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("method/percent-encoded", "tools%2Fcall", "The slash is percent-encoded."),
    ("method/backslash", "tools\\call", "A backslash stands for the slash."),
    ("method/dot", "tools.call", "A dot stands for the slash, as in other JSON-RPC protocols."),
    ("method/double-slash", "tools//call", "The slash is doubled, which a router of paths joins."),
    ("method/dot-segment", "x/../tools/call", "A dot segment, which a router of paths resolves."),
    ("method/query", "tools/call?name=open", "A query follows the method."),
    ("method/fragment", "tools/call#open", "A fragment follows the method."),
    ("method/cyrillic", "t\u{43e}\u{43e}ls/call", "Cyrillic letters look like the Latin ones."),
    ("method/combining", "tools/call\u{301}", "A combining accent is dropped by a transliteration."),
    ("method/namespace", "rpc.tools/call", "A namespace that a dispatcher strips."),
    ("method/empty", "", "The method is empty, which some take for the default."),
    ("method/allowed-capital", "com.example/Status", "Another case of a custom method that is allowed."),
    ("method/allowed-prefix", "com.example/status/x", "A custom method that begins like one that is allowed."),
    ("method/allowed-cut", "com.example/statu", "A custom method that one that is allowed begins with."),
    ("method/allowed-space", "com.example/status ", "A custom method that is allowed, and a space."),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, method, why) in DISGUISED {
        let case = attack(id, why).sends(custom(method)).want(refused(-32602, "request_malformed"));
        cases.push(in_a_header(case, method));
    }
    for (id, method, why) in FOREIGN.iter().chain(ABSENT) {
        let case =
            attack(id, why).sends(custom(method)).want(refused(-32601, "badge_missing").because("method_not_allowed"));
        cases.push(in_a_header(case, method));
    }
    cases.push(
        attack("method/overlong", "A method of 2000 bytes is cut by a handler, or costs the guard its time.")
            .sends(custom(&format!("tools/call{}", "/".repeat(2000))))
            .want(refused(-32602, "request_malformed")),
    );
    for (id, method, why, reason) in [
        (
            "method/notification-capitals",
            "Tools/Call",
            "A notification in title case reaches a handler that ignores case.",
            "request_malformed",
        ),
        (
            "method/notification-not-allowed",
            "com.example/run",
            "A custom notification that nobody allowed runs a command.",
            "method_not_allowed",
        ),
        (
            "method/notification-task",
            "notifications/tasks/status",
            "A client tells the server how a task stands.",
            "request_malformed",
        ),
    ] {
        cases.push(
            attack(id, why)
                .sends(notification(method))
                .on(stdio, silence().because(reason))
                .on(session, accepted().because(reason))
                .on(stateless, accepted()),
        );
    }
    cases.push(
        attack("method/initialized-with-a-call", "The notification that ends the handshake carries a call.")
            .sends(notification("notifications/initialized"))
            .on(stdio, silence())
            .on(http, accepted()),
    );
    cases
}

/// The revision that repeats the method in a header cannot carry every method there, and rmcp compares.
fn in_a_header(case: Case, method: &str) -> Case {
    let fits = method.trim() == method && method.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let breaks = method.bytes().any(|byte| byte < 0x20 && byte != b'\t');
    match (fits, breaks) {
        (true, _) => case,
        // a header that ends early: hyper refuses the request, or the body begins with the rest of the head
        (false, true) if method.contains('\n') => case.on(http_newest, http_error(415)),
        (false, true) => case.on(http_newest, http_error(400)),
        (false, false) => case.on(http_newest, rpc_error(-32020)),
    }
}
