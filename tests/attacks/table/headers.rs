//! HTTP that says something else than the message, and credentials in headers. There are no headers on stdio.

use crate::case::{
    Act, Case, Named, Step, attack, call, denied, http, http_error, http_newest, legacy, not_there, rpc_error,
};
use crate::case::{refused, request, session, session_refused, stateless, stdio, step};
use crate::tokens;

const NO_HEADERS: &str = "stdio has no headers";

/// An attack that exists over HTTP alone.
fn http_only(id: &'static str, why: &'static str, step: Step) -> Case {
    attack(id, why).sends(step).on(stdio, not_there(NO_HEADERS))
}

/// The guard sees a call by nobody.
fn nobody(id: &'static str, why: &'static str, step: Step) -> Case {
    http_only(id, why, step).on(http, denied("badge_missing"))
}

/// The credential header cannot be used; a session refuses it before it reads the message.
fn malformed(id: &'static str, why: &'static str, step: Step) -> Case {
    http_only(id, why, step)
        .on(http, denied("badge_invalid").because("credential_malformed"))
        .on(session, session_refused(401, "badge_invalid", "session credential_malformed"))
}

fn rejected(id: &'static str, why: &'static str, status: u16, step: Step) -> Case {
    http_only(id, why, step).on(http, http_error(status))
}

pub fn cases() -> Vec<Case> {
    let mut cases = routing();
    cases.extend(badges());
    cases.extend(framing());
    cases.extend(sessions());
    cases
}

fn routing() -> Vec<Case> {
    let mismatch = |id, why, step| nobody(id, why, step).on(http_newest, rpc_error(-32020));
    vec![
        mismatch(
            "headers/name-of-an-open-tool",
            "`Mcp-Name` names an open tool, the message the closed one.",
            call("level4").without("Mcp-Name").header("Mcp-Name", "open"),
        ),
        mismatch(
            "headers/name-twice",
            "`Mcp-Name` is there twice, once with the tool of the message.",
            call("level4").header("Mcp-Name", "open"),
        ),
        mismatch(
            "headers/name-capital",
            "`Mcp-Name` names the tool in another case.",
            call("level4").without("Mcp-Name").header("Mcp-Name", "LEVEL4"),
        ),
        mismatch(
            "headers/name-percent",
            "`Mcp-Name` is percent-encoded.",
            call("level4").without("Mcp-Name").header("Mcp-Name", "level%34"),
        ),
        mismatch(
            "headers/name-base64-of-open",
            "`Mcp-Name` hides the name of an open tool in base64.",
            call("level4").without("Mcp-Name").header("Mcp-Name", "=?base64?b3Blbg==?="),
        ),
        mismatch("headers/name-missing", "There is no `Mcp-Name`.", call("level4").unnamed()),
        mismatch(
            "headers/method-of-ping",
            "`Mcp-Method` says `ping`, the message calls a tool.",
            call("level4").without("Mcp-Method").header("Mcp-Method", "ping"),
        ),
        mismatch("headers/method-twice", "`Mcp-Method` is there twice.", call("level4").header("Mcp-Method", "ping")),
        mismatch("headers/method-missing", "There is no `Mcp-Method`.", call("level4").without("Mcp-Method")),
        http_only(
            "headers/call-as-ping",
            "The headers call a tool, the message is a ping: a gateway logs what did not happen.",
            request("ping", "").of_method("tools/call").named("level4"),
        )
        .on(http, crate::case::harmless(crate::case::Answer::Result("{}".to_owned())))
        .on(http_newest, rpc_error(-32020)),
        nobody(
            "headers/version-other",
            "`MCP-Protocol-Version` names another revision than the message.",
            call("level4").without("MCP-Protocol-Version").header("MCP-Protocol-Version", "2025-03-26"),
        )
        .on(http_newest, rpc_error(-32020)),
        nobody(
            "headers/version-missing",
            "There is no `MCP-Protocol-Version`, so that the oldest rules count.",
            call("level4").without("MCP-Protocol-Version"),
        )
        .on(http_newest, rpc_error(-32020)),
        rejected(
            "headers/version-unknown",
            "`MCP-Protocol-Version` names a revision that does not exist.",
            400,
            call("level4").without("MCP-Protocol-Version").header("MCP-Protocol-Version", "2099-01-01"),
        )
        .on(http_newest, rpc_error(-32020)),
        http_only(
            "headers/version-newest",
            "`MCP-Protocol-Version` promises the newest revision, the message keeps none of its rules.",
            call("level4").without("MCP-Protocol-Version").header("MCP-Protocol-Version", "2026-07-28"),
        )
        .on(legacy, rpc_error(-32602))
        .on(|round| stateless(round) && legacy(round), rpc_error(-32020))
        .on(http_newest, denied("badge_missing"))
        .on(stdio, not_there(NO_HEADERS)),
        nobody(
            "headers/version-twice",
            "`MCP-Protocol-Version` is there twice.",
            call("level4").header("MCP-Protocol-Version", "2024-11-05"),
        ),
        nobody(
            "headers/parameter",
            "`Mcp-Param-Name` repeats an argument that is not there.",
            call("level4").header("Mcp-Param-Name", "open"),
        ),
    ]
}

fn badges() -> Vec<Case> {
    let (good, low) = (tokens::good(), tokens::low());
    let badge = |value: &[u8]| call("level4").header("X-Capiscio-Badge", value);
    vec![
        malformed(
            "headers/badges-good-first",
            "Two badges, the good one first.",
            badge(good.as_bytes()).header("X-Capiscio-Badge", &low),
        ),
        malformed(
            "headers/badges-good-last",
            "Two badges, the good one last.",
            badge(low.as_bytes()).header("X-Capiscio-Badge", &good),
        ),
        malformed(
            "headers/badges-equal",
            "The same badge twice, once for each of two parsers.",
            badge(good.as_bytes()).header("X-Capiscio-Badge", &good),
        ),
        malformed(
            "headers/badges-two-spellings",
            "Two badges, under two spellings of the header.",
            badge(low.as_bytes()).header("x-CAPISCIO-badge", &good),
        ),
        malformed("headers/badge-empty", "The badge is empty, which some take for none.", badge(b"")),
        malformed(
            "headers/badge-with-a-space",
            "A space within the badge.",
            badge(format!("{} {}", &good[..20], &good[20..]).as_bytes()),
        ),
        malformed(
            "headers/badge-list",
            "Two badges in one value, as a proxy joins them.",
            badge(format!("{good}, {low}").as_bytes()),
        ),
        malformed(
            "headers/badge-not-ascii",
            "A byte beyond ASCII in the badge.",
            badge(&[good.as_bytes(), b"\xff"].concat()),
        ),
        malformed(
            "headers/badge-scheme",
            "The badge with the scheme of `Authorization` before it.",
            badge(format!("Bearer {good}").as_bytes()),
        ),
        malformed(
            "headers/badge-overlong",
            "A badge of 20 kilobytes, more than is read.",
            badge("a".repeat(20_000).as_bytes()),
        ),
        malformed(
            "headers/keys-twice",
            "The API key twice.",
            call("level4").header("X-Capiscio-Registry-Key", "key").header("X-Capiscio-Registry-Key", "key"),
        ),
        nobody(
            "headers/badge-underscores",
            "The header with underscores, which some servers take for hyphens.",
            with(("X_Capiscio_Badge", good.clone())),
        ),
        nobody("headers/badge-short", "The header without its prefix.", with(("Capiscio-Badge", good.clone()))),
        nobody(
            "headers/badge-of-the-server",
            "The header in which servers disclose their badge.",
            with(("Capiscio-Server-Badge", good.clone())),
        ),
        nobody(
            "headers/badge-in-a-cookie",
            "The badge is a cookie.",
            with(("Cookie", format!("x-capiscio-badge={good}"))),
        ),
        nobody(
            "headers/bearer-not-asked-for",
            "The badge is a bearer token, and this server leaves those to OAuth.",
            with(("Authorization", format!("Bearer {good}"))),
        ),
        nobody(
            "headers/basic",
            "The badge is a password.",
            with(("Authorization", format!("Basic {}", tokens::b64(format!("badge:{good}"))))),
        ),
        nobody(
            "headers/proxy-authorization",
            "The badge is meant for a proxy.",
            with(("Proxy-Authorization", format!("Bearer {good}"))),
        ),
        nobody(
            "headers/forwarded-principal",
            "The headers by which proxies say who calls.",
            with(("X-Forwarded-User", "admin".to_owned()))
                .header("X-Rmcp-Guard-Principal", "admin")
                .header("X-Forwarded-Client-Cert", "By=admin"),
        ),
        nobody(
            "headers/forwarded-for",
            "The request says that it comes from this machine.",
            with(("X-Forwarded-For", "127.0.0.1")).header("Forwarded", "for=127.0.0.1"),
        ),
        http_only(
            "headers/key-as-bearer",
            "The API key is a bearer token.",
            with(("Authorization", "Bearer key".to_owned())),
        )
        .on(http, denied("badge_missing")),
        nobody(
            "headers/badge-in-query",
            "The badge stands in the query.",
            call("level4").with_path("/mcp?x-capiscio-badge=x&capiscio_caller_badge=x"),
        ),
        malformed(
            "headers/badge-and-connection",
            "`Connection` asks a proxy to drop the one badge that is low.",
            badge(low.as_bytes()).header("X-Capiscio-Badge", &good).header("Connection", "x-capiscio-badge"),
        ),
    ]
}

/// A header that carries no credential here.
fn with<V: AsRef<[u8]>>((name, value): (&str, V)) -> Step {
    call("level4").header(name, value)
}

fn framing() -> Vec<Case> {
    let smuggled = "0\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    vec![
        rejected(
            "headers/content-type-text",
            "The message comes as text, which a browser sends to anybody without asking.",
            415,
            call("level4").without("Content-Type").header("Content-Type", "text/plain"),
        ),
        rejected(
            "headers/content-type-form",
            "The message comes as a form, which a browser sends to anybody without asking.",
            415,
            call("level4").without("Content-Type").header("Content-Type", "application/x-www-form-urlencoded"),
        ),
        rejected(
            "headers/content-type-missing",
            "The message comes without a type.",
            415,
            call("level4").without("Content-Type"),
        ),
        rejected("headers/accept-missing", "The request accepts nothing.", 406, call("level4").without("Accept")),
        rejected(
            "headers/origin-foreign",
            "A page in a browser sends the call.",
            403,
            call("level4").header("Origin", "https://evil.example"),
        ),
        rejected(
            "headers/origin-null",
            "A sandboxed page in a browser sends the call.",
            403,
            call("level4").header("Origin", "null"),
        ),
        rejected(
            "headers/host-foreign",
            "A name of the attacker's resolves to this machine (DNS rebinding).",
            403,
            call("level4").without("Host").header("Host", "evil.example"),
        ),
        rejected("headers/host-missing", "The request names no host.", 400, call("level4").without("Host")),
        rejected(
            "headers/host-twice",
            "The request names two hosts, the first of which is ours.",
            403,
            call("level4").without("Host").header("Host", "evil.example").header("Host", "localhost"),
        ),
        rejected(
            "headers/lengths",
            "`Content-Length` is there twice with different values.",
            400,
            call("level4").header("Content-Length", "4"),
        ),
        rejected(
            "headers/length-and-chunked",
            "The message has a length and is chunked; what follows is another request.",
            415,
            crate::case::raw(smuggled).header("Transfer-Encoding", "chunked"),
        ),
        rejected(
            "headers/encoding-twice",
            "`Transfer-Encoding` is obfuscated.",
            400,
            crate::case::raw(smuggled).header("Transfer-Encoding", "xchunked"),
        ),
        rejected(
            "headers/compressed",
            "The message says that it is compressed, and is not.",
            415,
            crate::case::raw(&b"\x1f\x8b\x08\x00"[..]).header("Content-Encoding", "gzip"),
        ),
        nobody(
            "headers/method-override",
            "A header asks for another verb.",
            call("level4").header("X-HTTP-Method-Override", "GET"),
        ),
        rejected("headers/put", "The call comes with PUT.", 405, Step { act: Act::Http("PUT"), ..call("level4") }),
        rejected(
            "headers/get-with-a-body",
            "The call comes with GET.",
            405,
            Step { act: Act::Http("GET"), ..call("level4") },
        )
        .on(session, not_there("in a session a GET listens, and nobody reads its body")),
        nobody(
            "headers/path-below",
            "The call goes to a path below the endpoint, past a rule of a proxy.",
            call("level4").with_path("/mcp/tools/call"),
        ),
        rejected(
            "headers/path-capital",
            "The call goes to the path in another case, past a rule of a proxy.",
            404,
            call("level4").with_path("/MCP"),
        ),
        rejected(
            "headers/path-encoded",
            "The call goes to an encoded path, past a rule of a proxy.",
            404,
            call("level4").with_path("/%6dcp"),
        ),
    ]
}

fn sessions() -> Vec<Case> {
    let named = |id: &'static str| call("level4").in_session(Named::Text(id));
    let unknown = || session_refused(404, "session_unbound", "session session_unbound");
    let invented = |id, why, step| http_only(id, why, step).on(http, unknown());
    let malformed = |id, why, step| {
        http_only(id, why, step).on(http, session_refused(400, "request_malformed", "session request_malformed"))
    };
    let resume = |event: &str| step(Act::Http("GET")).header("Last-Event-ID", event).without("Mcp-Method").unnamed();
    vec![
        invented(
            "headers/session-invented",
            "A session id of the attacker's own.",
            named("0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"),
        ),
        malformed("headers/session-empty", "The session id is empty.", named("")),
        malformed(
            "headers/session-overlong",
            "The session id is longer than any.",
            call("level4").in_session(Named::None).header("Mcp-Session-Id", "a".repeat(200)),
        ),
        malformed("headers/session-spaced", "The session id has a space in it.", named("a b")),
        malformed(
            "headers/session-twice",
            "Two session ids, one for the guard and one for the server.",
            named("a").header("Mcp-Session-Id", "b"),
        ),
        malformed("headers/session-list", "Two session ids in one value, as a proxy joins them.", named("a, b")),
        http_only(
            "headers/session-none",
            "A call without a session, where sessions are the rule.",
            call("level4").in_session(Named::None),
        )
        .on(session, http_error(400))
        .on(stateless, denied("badge_missing")),
        invented(
            "headers/resume-without-session",
            "A stream is resumed by an event id alone.",
            resume("0/0").in_session(Named::None),
        ),
        invented(
            "headers/resume-of-an-invented-session",
            "A stream is resumed in an invented session.",
            resume("0").in_session(Named::Text("x")),
        ),
        invented(
            "headers/delete-of-an-invented-session",
            "A session that nobody knows is deleted.",
            Step { act: Act::Http("DELETE"), ..named("x") },
        ),
        http_only(
            "headers/delete-without-session",
            "A deletion that names no session.",
            Step { act: Act::Http("DELETE"), ..named("x") }.in_session(Named::None),
        )
        .on(session, http_error(400))
        .on(stateless, http_error(405)),
        http_only(
            "headers/custom-method-in-headers",
            "The headers say a custom method that is allowed, the message a tool.",
            call("level4").without("Mcp-Method").header("Mcp-Method", "com.example/status").unnamed(),
        )
        .on(http, denied("badge_missing"))
        .on(http_newest, rpc_error(-32020)),
        http_only(
            "headers/custom-with-name",
            "A custom method that is not allowed, with the name of an open tool in the headers.",
            request("com.example/run", r#""name":"level4""#).named("open"),
        )
        .on(http, refused(-32601, "badge_missing").because("method_not_allowed")),
    ]
}
