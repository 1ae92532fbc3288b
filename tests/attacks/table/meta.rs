//! Credentials in the wrong place, and `_meta` of the wrong shape. The badge is one that opens `level4`: it is refused for
//! where and how it stands.

use rmcp::model::ProtocolVersion;
use serde_json::json;

use crate::case::{
    Case, attack, call, denied, http, http_error, legacy, newest, params, raw, rpc_error, session, silence, stdio,
};
use crate::tokens;

fn nobody(case: Case) -> Case {
    case.want(denied("badge_missing"))
}

fn unusable(case: Case) -> Case {
    case.want(denied("badge_invalid"))
}

pub fn cases() -> Vec<Case> {
    let good = tokens::good();
    let badge = json!(good).to_string();
    let key = json!("key").to_string();
    let mut cases = misplaced(&badge);
    for (id, why, json) in [
        (
            "meta/badge-in-array",
            "The badge stands in an array, whose first entry some code takes.",
            format!("[{badge}]"),
        ),
        ("meta/badge-in-object", "The badge stands in an object.", format!(r#"{{"badge":{badge}}}"#)),
        ("meta/badge-null", "The badge is null, which some take for none.", "null".to_owned()),
        ("meta/badge-true", "The badge is `true`.", "true".to_owned()),
        ("meta/badge-number", "The badge is a number.", "4".to_owned()),
        ("meta/badge-empty", "The badge is an empty text, which some take for none.", r#""""#.to_owned()),
        ("meta/badge-space", "The badge is a space.", r#"" ""#.to_owned()),
        ("meta/badge-spaced", "A space after the badge, which some code trims.", json!(format!("{good} ")).to_string()),
        (
            "meta/badge-newline",
            "A newline after the badge, which some code trims.",
            json!(format!("{good}\n")).to_string(),
        ),
        (
            "meta/badge-nul",
            "A NUL after the badge ends it for code that thinks in C strings.",
            json!(format!("{good}\0")).to_string(),
        ),
        (
            "meta/badge-bearer",
            "The badge with the scheme of `Authorization` before it.",
            json!(format!("Bearer {good}")).to_string(),
        ),
        ("meta/badge-quoted", "The badge in quotes of its own.", json!(format!("\"{good}\"")).to_string()),
        ("meta/two-badges", "Two badges in one text.", json!(format!("{good},{good}")).to_string()),
        (
            "meta/badge-overlong",
            "A badge of 100 kilobytes costs the guard its time.",
            json!("a".repeat(100_000)).to_string(),
        ),
        ("meta/badge-half", "The first half of a badge.", json!(good[..good.len() / 2]).to_string()),
    ] {
        cases.push(unusable(attack(id, why).sends(call("level4").meta("capiscio_caller_badge", json))));
    }
    cases.push(unusable(
        attack(
            "meta/badge-false-beside-key",
            "A badge that is no text, and an API key that is good: the key is not picked.",
        )
        .sends(call("level4").meta("capiscio_caller_badge", "false").meta("capiscio_caller_api_key", key)),
    ));
    cases.extend(shapes(&badge));
    cases
}

fn misplaced(badge: &str) -> Vec<Case> {
    let member = |name: &str| params(&format!(r#"{{"name":"level4","{name}":{badge},"_meta":$meta}}"#));
    let in_meta = |name: &str, json: String| call("level4").meta(name, json);
    vec![
        nobody(attack("meta/in-arguments", "The badge stands in `_meta` of the arguments.").sends(params(&format!(
            r#"{{"name":"level4","arguments":{{"_meta":{{"capiscio_caller_badge":{badge}}}}},"_meta":$meta}}"#
        )))),
        nobody(attack("meta/as-argument", "The badge is an argument.").sends(params(&format!(
            r#"{{"name":"level4","arguments":{{"capiscio_caller_badge":{badge}}},"_meta":$meta}}"#
        )))),
        nobody(attack("meta/as-param", "The badge stands beside `_meta`.").sends(member("capiscio_caller_badge"))),
        nobody(attack("meta/beside-params", "The badge stands in a `_meta` beside the params.").sends(raw(format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","_meta":{{"capiscio_caller_badge":{badge}}},"params":{{"name":"level4","_meta":$meta}}}}"#
        )))),
        nobody(attack("meta/beside-method", "The badge is a member of the message.").sends(raw(format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","capiscio_caller_badge":{badge},"params":{{"name":"level4","_meta":$meta}}}}"#
        )))),
        nobody(attack("meta/capital", "The member is `_META`.").sends(params(&format!(
            r#"{{"name":"level4","_META":{{"capiscio_caller_badge":{badge}}},"_meta":$meta}}"#
        )))),
        nobody(attack("meta/no-underscore", "The member is `meta`.").sends(params(&format!(
            r#"{{"name":"level4","meta":{{"capiscio_caller_badge":{badge}}},"_meta":$meta}}"#
        )))),
        nobody(
            attack("meta/nested", "The badge stands in `_meta` of `_meta`.")
                .sends(in_meta("_meta", format!(r#"{{"capiscio_caller_badge":{badge}}}"#))),
        ),
        nobody(
            attack("meta/key-capital", "The key is in another case.")
                .sends(in_meta("Capiscio_Caller_Badge", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-spaced", "The key has a space after it.")
                .sends(in_meta("capiscio_caller_badge ", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-full-width", "The key has a full-width letter.")
                .sends(in_meta("capiscio_caller_b\u{ff41}dge", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-hyphens", "The key is spelt like a header.")
                .sends(in_meta("capiscio-caller-badge", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-of-the-header", "The key is the header's name.")
                .sends(in_meta("x-capiscio-badge", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-of-the-server", "The key is the one under which servers disclose their badge.")
                .sends(in_meta("capiscio_server_badge", badge.to_owned())),
        ),
        nobody(
            attack("meta/key-nested", "The key's parts are objects.")
                .sends(in_meta("capiscio", format!(r#"{{"caller":{{"badge":{badge}}}}}"#))),
        ),
        nobody(
            attack("meta/principal", "The caller says who it is and what it may.").sends(in_meta(
                "rmcp-guard/principal",
                r#"{"did":"did:web:registry.example.com:agents:admin","trust_level":4}"#.to_owned(),
            )),
        ),
        nobody(
            attack("meta/permit", "The caller brings an evidence id and a decision of its own.").sends(in_meta(
                "rmcp-guard/denial",
                r#"{"decision":"allow","evidence_id":"00000000-0000-0000-0000-000000000000"}"#.to_owned(),
            )),
        ),
        nobody(
            attack("meta/requirement", "The caller says what the tool requires.").sends(in_meta(
                "rmcp-guard/requirement",
                r#"{"anonymous":true}"#.to_owned(),
            )),
        ),
        nobody(
            attack("meta/related-task", "The call says that it belongs to a task of somebody else.").sends(in_meta(
                "io.modelcontextprotocol/related-task",
                r#"{"taskId":"t"}"#.to_owned(),
            )),
        ),
    ]
}

fn shapes(badge: &str) -> Vec<Case> {
    let shaped = |id, why, meta: &str| {
        attack(id, why).sends(params(&format!(r#"{{"name":"level4","arguments":{{}},"_meta":{meta}}}"#)))
    };
    vec![
        shaped("meta/twice", "`_meta` is there twice, the badge in the first.", &format!(
            r#"{{"capiscio_caller_badge":{badge}}},"_meta":$meta"#
        ))
        .on(stdio, rpc_error(-32600))
        .on(http, http_error(415)),
        unusable(
            attack("meta/key-twice", "The badge's key is there twice: a router reads the good one first, what counts is the last.")
                .sends(call("level4").meta("capiscio_caller_badge", badge).meta("capiscio_caller_badge", r#""x""#)),
        ),
        unusable(
            attack("meta/key-twice-escaped", "The badge's key is there twice, once spelt with an escape.").sends(
                call("level4").meta("capiscio_caller_badge", format!(r#"{badge},"capiscio_caller_b\u0061dge":"x""#)),
            ),
        ),
        attack("meta/key-twice-low-last", "The badge's key is there twice, the low one last: the high one does not count.")
            .sends(call("level4").meta("capiscio_caller_badge", badge).meta("capiscio_caller_badge", json!(tokens::low()).to_string()))
            .want(denied("trust_insufficient"))
            .on(session, denied("session_unbound")),
        shaped("meta/text", "`_meta` is the badge itself.", badge).on(stdio, rpc_error(-32600)).on(http, http_error(415)),
        shaped("meta/array", "`_meta` is an array with an object in it.", &format!(r#"[{{"capiscio_caller_badge":{badge}}}]"#))
            .on(stdio, rpc_error(-32600))
            .on(http, http_error(415)),
        shaped("meta/null", "`_meta` is null.", "null")
            .on(legacy, denied("badge_missing"))
            .on(newest, rpc_error(-32602)),
        attack("meta/version-other", "`_meta` names another revision than the connection speaks.")
            .sends(call("level4").meta("io.modelcontextprotocol/protocolVersion", r#""2024-11-05""#))
            .want(denied("badge_missing"))
            .on(|round| http(round) && round.version != ProtocolVersion::V_2024_11_05, rpc_error(-32020)),
        attack("meta/version-unknown", "`_meta` names a revision that does not exist, to skip what the known ones check.")
            .sends(call("level4").meta("io.modelcontextprotocol/protocolVersion", r#""2099-01-01""#))
            .on(stdio, rpc_error(-32022))
            .on(http, rpc_error(-32020)),
        attack("meta/client-of-everything", "The client declares capabilities that some server might take for permits.")
            .sends(params(
                r#"{"name":"level4","_meta":$meta,"capabilities":{"admin":true},"clientInfo":{"name":"rmcp-guard","version":"9"}}"#,
            ))
            .want(denied("badge_missing")),
        shaped("meta/deep", "`_meta` is nested deeper than a parser's stack.", &format!(
            r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200)
        ))
        .on(stdio, silence())
        .on(http, http_error(415)),
    ]
}
