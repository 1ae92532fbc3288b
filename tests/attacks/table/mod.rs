//! The families of the corpus.

mod claims;
mod credentials;
mod evidence;
mod handshake;
mod headers;
mod message;
mod meta;
mod method;
mod name;
mod reading;
mod request_id;
mod rounds;
mod sessions;
mod signature;
mod tasks;
mod times;

use crate::case::{
    Answer, Case, Place, Round, Want, attack, call, denied, harmless, not_there, session, session_header,
    session_refused,
};
use crate::tokens;

/// Attacks of one kind.
pub struct Family {
    pub name: &'static str,
    pub about: &'static str,
    pub cases: fn() -> Vec<Case>,
}

pub const MESSAGE: Family =
    Family { name: "message", about: "JSON and JSON-RPC that two parsers read differently", cases: message::cases };
pub const METHOD: Family =
    Family { name: "method", about: "methods that a handler might take for `tools/call`", cases: method::cases };
pub const NAME: Family = Family { name: "name", about: "tool names that are almost another's", cases: name::cases };
pub const META: Family =
    Family { name: "meta", about: "credentials in the wrong place in `_meta`", cases: meta::cases };
pub const HEADERS: Family =
    Family { name: "headers", about: "HTTP that says something else than the message", cases: headers::cases };
pub const CREDENTIALS: Family = Family {
    name: "credentials",
    about: "two credentials, API keys, callers below a level",
    cases: credentials::cases,
};
pub const SIGNATURE: Family =
    Family { name: "signature", about: "algorithms, keys, headers and bytes of a JWS", cases: signature::cases };
pub const CLAIMS: Family =
    Family { name: "claims", about: "levels, issuers, audiences, subjects and times of a badge", cases: claims::cases };

pub const REQUEST_ID: Family = Family {
    name: "request-id",
    about: "JSON-RPC ids that are no ids, twice in flight, or another's",
    cases: request_id::cases,
};
pub const TASKS: Family = Family { name: "tasks", about: "tasks of another, and their ids", cases: tasks::cases };
pub const SESSIONS: Family = Family { name: "sessions", about: "HTTP sessions of another", cases: sessions::cases };
pub const HANDSHAKE: Family = Family {
    name: "handshake",
    about: "no handshake, two, another revision, a credential shown once",
    cases: handshake::cases,
};
pub const READING: Family =
    Family { name: "reading", about: "lists, prompts, resources and other data for others", cases: reading::cases };
pub const ROUNDS: Family =
    Family { name: "rounds", about: "the `requestState` of another, and of another call", cases: rounds::cases };
pub const EVIDENCE: Family =
    Family { name: "evidence", about: "text that would forge or disfigure a log", cases: evidence::cases };

pub const FAMILIES: &[Family] = &[
    MESSAGE,
    METHOD,
    NAME,
    META,
    HEADERS,
    REQUEST_ID,
    HANDSHAKE,
    CREDENTIALS,
    SIGNATURE,
    CLAIMS,
    READING,
    TASKS,
    SESSIONS,
    ROUNDS,
    EVIDENCE,
];

/// What an outsider might look for here and does not find.
pub const NOT_COVERED: &[(&str, &str)] = &[
    (
        "servers that attack their client",
        "the corpus attacks a server: an impostor, a changed identity, a relayed or replayed proof and a downgrade are in `tests/it/client`",
    ),
    (
        "the network",
        "issuers' keys, DID documents and revocation over HTTP, and SSRF, are in `tests/remote_sources`, `tests/remote_status` and `tests/ssrf`",
    ),
    (
        "streams that outlive their badge",
        "a stream is authorized again by the clock of the machine; `tests/it/streams.rs` has its end",
    ),
    ("TLS", "it ends before this crate; `tests/it/client/tls.rs` has the client's side"),
    ("HTTP/2 and HTTP/3", "the server under attack speaks HTTP/1.1; framing attacks of the others are hyper's"),
    (
        "floods",
        "one attack is one message or a few: budgets and counts under floods are in `src/enforce/share/tests.rs` and `src/evidence/flood`",
    ),
    (
        "races",
        "two callers at once are in `tests/it/session_layer.rs` and in the loom tests; here steps come one after the other",
    ),
    (
        "a key that is there twice in `_meta`, the good badge last",
        "rmcp keeps the last member and nobody sees the first: what counts is a badge that verifies, as if it had come alone",
    ),
    ("raw rmcp services", "the same decisions around them are in `tests/it/guard_raw.rs`"),
    ("tower layers around tools", "`tests/it/tower_stack.rs`"),
    ("who holds the host", "whoever reads the server's memory, files or keys is outside of what a guard can hold"),
    (
        "a stolen badge before it expires",
        "a badge is a bearer token for its audience until it expires or is revoked; call proofs are not there yet",
    ),
    ("what a permitted tool does", "the guard decides whether a tool runs, not what it does with its arguments"),
    ("evidence files that are changed on disk", "`tests/evidence_verify`"),
    ("timing side channels", "answers are compared by what they say, not by how long they take"),
];

/// A credential that fails: the caller reads `public`, the evidence has `reason`. In a session the header is read before
/// any message, so the session layer refuses there and no call reaches the guard.
pub fn fails(case: Case, public: &'static str, reason: &'static str) -> Case {
    case.want(denied(public).because(reason)).on(session_header, turned_away(public, reason))
}

fn turned_away(public: &'static str, reason: &'static str) -> Want {
    let status = match reason {
        "keys_unavailable" | "revocation_check_failed" | "rate_limited" => 503,
        _ => 401,
    };
    let record: &'static str = Box::leak(format!("session {reason}").into_boxed_str());
    session_refused(status, public, record)
}

/// What is not tried where a session would refuse the credential of the attack's own first steps.
pub const IN_A_HEADER: &str = "in a session a credential that counts stands in a header";

/// A session wants a credential that counts in a header: in `_meta` alone it is `session_unbound`.
pub fn in_a_session(round: &Round) -> bool {
    session(round) && round.place == Place::Meta
}

/// No attacks: what those with a permit do in the same ways.
pub fn with_a_permit() -> Vec<Case> {
    let call = attack("control/call", "A call with a badge that opens the tool.")
        .sends(call("level4").badge(tokens::good()))
        .want(harmless(Answer::Ran("level4 ran".to_owned())))
        .on(in_a_session, not_there(IN_A_HEADER))
        .runs("level4", 1);
    vec![call, rounds::with_a_permit(), tasks::with_a_permit()]
}
