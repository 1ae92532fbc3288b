//! JSON and JSON-RPC that two parsers read differently. Nobody presents a credential: `level4` is closed to the sender.

use crate::case::{
    Case, accepted, attack, denied, http, http_error, http_newest, newest, params, raw, refused, rpc_error, silence,
    stdio,
};

/// The guard sees an ordinary call of `level4` by nobody.
fn is_a_call(case: Case) -> Case {
    case.want(denied("badge_missing"))
}

/// rmcp hands it on as a custom request called `tools/call`, which no handler gets to see.
fn is_malformed(case: Case) -> Case {
    case.want(refused(-32602, "request_malformed"))
}

/// The same, where rmcp compares the message with a header that follows the other member.
fn last_is_routed(case: Case) -> Case {
    is_malformed(case).on(http_newest, rpc_error(-32020))
}

/// The same, but for the revision that wants `_meta` in every request.
fn without_params(case: Case) -> Case {
    is_malformed(case).on(newest, rpc_error(-32602))
}

/// JSON that is no JSON-RPC message: an error without an id, or an HTTP status.
fn is_no_message(case: Case) -> Case {
    case.on(stdio, rpc_error(-32600)).on(http, http_error(415))
}

/// No JSON: dropped on stdio.
fn is_no_json(case: Case) -> Case {
    case.on(stdio, silence()).on(http, http_error(415))
}

fn line(text: &str) -> crate::case::Step {
    raw(text)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(duplicates());
    cases.extend(encodings());
    cases.extend(shapes());
    cases.extend(envelopes());
    cases
}

fn duplicates() -> Vec<Case> {
    vec![
        is_malformed(
            attack("message/name-twice-last", "A router reads the first `name`, the handler the last.")
                .sends(params(r#"{"name":"open","name":"level4","_meta":$meta}"#)),
        ),
        last_is_routed(
            attack("message/name-twice-first", "A router reads the last `name`, the handler the first.")
                .sends(params(r#"{"name":"level4","name":"open","_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/arguments-twice", "The arguments that are judged are not those that run.")
                .sends(params(r#"{"name":"level4","arguments":{},"arguments":{"x":1},"_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/name-escaped-twin", "The second `name` is spelt with an escape, so that a text search misses it.")
                .sends(params(r#"{"name":"open","n\u0061me":"level4","_meta":$meta}"#)),
        ),
        is_no_message(
            attack("message/method-twice-last", "A proxy lets `ping` pass, the server runs the second method.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_no_message(
            attack("message/method-twice-first", "A proxy lets the last method pass, the server runs the first.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","method":"ping","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_no_message(
            attack("message/params-twice", "The first `params` name an open tool, the second the closed one.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"open","_meta":$meta},"params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_no_message(
            attack("message/id-twice", "A message with two ids is answered under one and logged under the other.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_no_message(
            attack("message/jsonrpc-twice", "The version is there twice, once wrong.").sends(
                line(r#"{"jsonrpc":"1.0","jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let with = |before: &[u8], after: &[u8]| {
        let message = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#;
        raw([before, message, after].concat())
    };
    vec![
        is_a_call(
            attack("message/method-escaped-slash", "The method is spelt with an escaped slash, past a filter on text.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools\/call","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_a_call(
            attack("message/method-escaped-letter", "The method is spelt with an escaped letter, past a filter on text.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/c\u0061ll","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_a_call(
            attack("message/name-escaped-letter", "The tool's name is spelt with an escaped letter, past a filter on text.")
                .sends(params(r#"{"name":"level\u0034","_meta":$meta}"#)),
        ),
        is_a_call(
            attack("message/key-escaped-letter", "The member `name` is spelt with an escaped letter.")
                .sends(params(r#"{"n\u0061me":"level4","_meta":$meta}"#)),
        ),
        attack("message/byte-order-mark", "A byte order mark before the message makes one parser skip it and another not.")
            .sends(with(b"\xef\xbb\xbf", b""))
            .on(stdio, denied("badge_missing"))
            .on(http, http_error(415)),
        is_no_json(
            attack("message/utf16", "The message is UTF-16, which some parsers guess.").sends(raw(utf16(
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4"}}"#,
            ))),
        ),
        is_no_json(
            attack("message/nul-before", "A NUL before the message hides it from code that thinks in C strings.")
                .sends(with(b"\0", b"")),
        ),
        is_no_json(
            attack("message/nul-after", "A NUL after the message hides what would follow.").sends(with(b"", b"\0")),
        ),
        is_no_json(
            attack("message/surrogate-in-name", "A lone surrogate in the name becomes a question mark, or nothing, somewhere.")
                .sends(params(r#"{"name":"level4\ud800","_meta":$meta}"#)),
        ),
        is_no_json(
            attack("message/surrogate-in-method", "A lone surrogate in the method is dropped by a lenient decoder.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call\udc00","params":{"name":"level4","_meta":$meta}}"#),
            ),
        ),
        is_no_json(
            attack("message/overlong-slash", "The slash of the method is an overlong UTF-8 sequence.").sends(raw(
                [
                    &br#"{"jsonrpc":"2.0","id":7,"method":"tools"#[..],
                    b"\xc0\xaf",
                    br#"call","params":{"name":"level4","_meta":$meta}}"#,
                ]
                .concat(),
            )),
        ),
        is_no_json(
            attack("message/invalid-utf8-in-name", "An invalid byte in the name is replaced by one decoder and refused by another.")
                .sends(raw(
                    [
                        &br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4"#[..],
                        b"\xff",
                        br#"","_meta":$meta}}"#,
                    ]
                    .concat(),
                )),
        ),
        is_no_json(
            attack("message/latin1-name", "The name is Latin-1, not UTF-8.").sends(raw(
                [
                    &br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"l"#[..],
                    b"\xe9",
                    br#"vel4","_meta":$meta}}"#,
                ]
                .concat(),
            )),
        ),
        is_a_call(
            attack("message/white-space-around", "White space around the message shifts a filter that looks at the first byte.")
                .sends(with(b" \t\r ", b" \t ")),
        ),
        is_no_json(
            attack("message/comment", "A comment hides the call from one parser and not from another.")
                .sends(with(b"/* ping */ ", b"")),
        ),
        is_no_json(
            attack("message/trailing-comma", "A trailing comma, which lenient parsers take.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta},}"#),
            ),
        ),
        is_no_json(
            attack("message/single-quotes", "Single quotes, which lenient parsers take.")
                .sends(line("{'jsonrpc':'2.0','id':7,'method':'tools/call','params':{'name':'level4'}}")),
        ),
        is_no_json(
            attack("message/not-a-number", "`NaN` among the arguments, which lenient parsers take.")
                .sends(params(r#"{"name":"level4","arguments":{"x":NaN},"_meta":$meta}"#)),
        ),
        is_no_json(
            attack("message/unterminated", "The message ends in the middle; a lenient parser closes it.").sends(
                line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4""#),
            ),
        ),
        is_no_json(
            attack("message/two-on-a-line", "A second message follows on the same line, past a filter that reads the first.")
                .sends(line(
                    r#"{"jsonrpc":"2.0","id":6,"method":"ping"}{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#,
                )),
        ),
    ]
}

fn shapes() -> Vec<Case> {
    let deep =
        format!(r#"{{"name":"level4","arguments":{{"x":{}1{}}},"_meta":$meta}}"#, "[".repeat(200), "]".repeat(200));
    vec![
        is_malformed(
            attack("message/name-missing", "A call without a name is handed on as something else.")
                .sends(params(r#"{"arguments":{},"_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/name-number", "The name is a number.").sends(params(r#"{"name":4,"_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/name-array", "The name is an array, which some code joins to a text.")
                .sends(params(r#"{"name":["level4"],"_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/name-object", "The name is an object that some code turns into a text.")
                .sends(params(r#"{"name":{"toString":"level4"},"_meta":$meta}"#)),
        ),
        is_malformed(attack("message/name-null", "The name is null.").sends(params(r#"{"name":null,"_meta":$meta}"#))),
        is_malformed(
            attack("message/name-capital", "The member is `Name`, which parsers that ignore case take.")
                .sends(params(r#"{"Name":"level4","_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/name-spaced", "The member is `name `, which code that trims takes.")
                .sends(params(r#"{"name ":"level4","_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/arguments-array", "Arguments by position.")
                .sends(params(r#"{"name":"level4","arguments":[],"_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/arguments-text", "Arguments as a text that a handler might parse.")
                .sends(params(r#"{"name":"level4","arguments":"{}","_meta":$meta}"#)),
        ),
        is_malformed(
            attack("message/arguments-number", "Arguments as a number.")
                .sends(params(r#"{"name":"level4","arguments":1,"_meta":$meta}"#)),
        ),
        is_a_call(
            attack("message/arguments-null", "Arguments as null, which one side takes for none.")
                .sends(params(r#"{"name":"level4","arguments":null,"_meta":$meta}"#)),
        ),
        is_a_call(
            attack("message/more-members", "Members that MCP does not know: `tool`, `method`, `allow`.")
                .sends(params(r#"{"name":"level4","tool":"open","method":"ping","allow":true,"_meta":$meta}"#)),
        ),
        is_no_message(
            attack("message/params-array", "The params are an array with the call in it.")
                .sends(params(r#"[{"name":"level4","_meta":$meta}]"#)),
        ),
        is_no_message(
            attack("message/params-text", "The params are a text with the call in it.")
                .sends(params(r#""{\"name\":\"level4\"}""#)),
        ),
        without_params(
            attack("message/params-missing", "A call without params.")
                .sends(line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#)),
        ),
        without_params(attack("message/params-null", "A call whose params are null.").sends(params("null"))),
        is_no_json(attack("message/deep", "Arguments nested deeper than a parser's stack.").sends(params(&deep))),
    ]
}

fn envelopes() -> Vec<Case> {
    let plain = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#;
    vec![
        is_no_message(attack("message/version-1", "JSON-RPC 1.0, which has other rules.").sends(line(r#"{"jsonrpc":"1.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/version-missing", "No `jsonrpc` member.").sends(line(r#"{"id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/version-number", "`jsonrpc` is the number 2.0.").sends(line(r#"{"jsonrpc":2.0,"id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/method-capital", "The member is `Method`, which parsers that ignore case take.").sends(line(r#"{"jsonrpc":"2.0","id":7,"Method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/method-null", "The method is null.").sends(line(r#"{"jsonrpc":"2.0","id":7,"method":null,"params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/method-array", "The method is an array.").sends(line(r#"{"jsonrpc":"2.0","id":7,"method":["tools/call"],"params":{"name":"level4","_meta":$meta}}"#))),
        is_no_message(attack("message/with-a-result", "A message that is a call and an answer at once.").sends(line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta},"result":{}}"#))),
        is_no_message(attack("message/with-an-error", "A message that is a call and an error at once.").sends(line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"level4","_meta":$meta},"error":{"code":1,"message":"x"}}"#))),
        is_no_message(attack("message/batch", "A batch, which 2025-03-26 allows and rmcp does not read.").sends(line(&format!("[{plain}]")))),
        is_no_message(attack("message/batch-behind-ping", "A batch whose first entry is harmless.").sends(line(&format!(r#"[{{"jsonrpc":"2.0","id":6,"method":"ping"}},{plain}]"#)))),
        is_no_message(attack("message/batch-empty", "An empty batch.").sends(line("[]"))),
        is_no_message(attack("message/batch-nested", "A batch in a batch.").sends(line(&format!("[[{plain}]]")))),
        attack("message/notification", "A call without an id, whose answer nobody waits for: a handler might run it.")
            .sends(line(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))
            .on(stdio, silence().because("request_malformed"))
            .on(http, accepted())
            .on(crate::case::session, accepted().because("request_malformed")),
        attack("message/notification-id-null", "A call with the id null, which some take for a notification.")
            .sends(line(r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"level4","_meta":$meta}}"#))
            .on(stdio, rpc_error(-32600))
            .on(http, http_error(415)),
        is_no_json(attack("message/scalar", "A text in place of a message.").sends(line(r#""tools/call level4""#)))
            .on(stdio, rpc_error(-32600)),
        attack("message/split-by-newline", "A line break within a name ends the line on stdio: what follows is a message of its own.")
            .sends(raw("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"ping\",\"params\":{\"x\":\"\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"level4\",\"_meta\":$meta}}"))
            .on(stdio, denied("badge_missing"))
            .on(http, http_error(415)),
    ]
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
