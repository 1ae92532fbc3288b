//! What a row of the corpus says: who sends what, and what must come of it.

use std::fmt;
use std::time::Duration;

use rmcp::model::ProtocolVersion;

use crate::world::Setup;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Stdio,
    HttpStateful,
    HttpStatelessSse,
    HttpStatelessJson,
}

/// Where a caller puts the credential of a row that does not say where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Meta,
    Header,
}

/// One of the settings in which every attack is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub mode: Mode,
    pub version: ProtocolVersion,
    pub place: Place,
}

impl Round {
    /// Every transport mode with every revision that exists on it.
    pub fn all() -> Vec<Self> {
        let mut rounds = Vec::new();
        for mode in [Mode::Stdio, Mode::HttpStateful, Mode::HttpStatelessSse, Mode::HttpStatelessJson] {
            for version in ProtocolVersion::KNOWN_VERSIONS {
                if mode != Mode::HttpStateful || *version < ProtocolVersion::V_2026_07_28 {
                    rounds.push(Self { mode, version: version.clone(), place: Place::Meta });
                }
            }
        }
        rounds
    }

    /// The same, with both places for a credential.
    pub fn everywhere() -> Vec<Self> {
        let mut rounds = Self::all();
        let in_headers = rounds.iter().filter(|round| http(round)).cloned();
        let in_headers: Vec<_> = in_headers.map(|round| Self { place: Place::Header, ..round }).collect();
        rounds.extend(in_headers);
        rounds
    }

    pub fn is_newest(&self) -> bool {
        self.version >= ProtocolVersion::V_2026_07_28
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.mode, self.version, self.place)
    }
}

/// Where an expectation holds.
pub type On = fn(&Round) -> bool;

pub fn everywhere(_: &Round) -> bool {
    true
}

pub fn stdio(round: &Round) -> bool {
    round.mode == Mode::Stdio
}

pub fn http(round: &Round) -> bool {
    round.mode != Mode::Stdio
}

/// HTTP with a session.
pub fn session(round: &Round) -> bool {
    round.mode == Mode::HttpStateful
}

pub fn stateless(round: &Round) -> bool {
    http(round) && !session(round)
}

/// In a session, where the session layer reads the headers before any message is.
pub fn session_header(round: &Round) -> bool {
    session(round) && round.place == Place::Header
}

pub fn newest(round: &Round) -> bool {
    round.is_newest()
}

pub fn legacy(round: &Round) -> bool {
    !round.is_newest()
}

/// HTTP in the revision whose routing headers rmcp compares with the body.
pub fn http_newest(round: &Round) -> bool {
    http(round) && round.is_newest()
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A tool result that says `isError`, with this reason under `_meta["rmcp-guard/denial"]`.
    Denied(String),
    /// A JSON-RPC error with this code; the guard's have a reason in `data`, rmcp's own have none.
    Error(i64, Option<String>),
    /// HTTP without JSON-RPC; the session layer's refusals have a reason.
    Http(u16, Option<String>),
    /// HTTP 202: a message that has no answer.
    Accepted,
    /// Nothing comes, and the connection goes on.
    Silence,
    /// The server closes the connection without a word.
    Closed,
    /// A tool ran and said this.
    Ran(String),
    /// A task was created.
    Task,
    /// A tool wants another round.
    InputRequired,
    /// A list of tools, by their names.
    Tools(String),
    /// Another result, in JSON.
    Result(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |reason: &Option<String>| reason.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
        match self {
            Self::Denied(code) => write!(f, "denied {code}"),
            Self::Error(code, data) => write!(f, "error {code}{}", reason(data)),
            Self::Http(status, body) => write!(f, "HTTP {status}{}", reason(body)),
            Self::Accepted => f.write_str("HTTP 202"),
            Self::Silence => f.write_str("silence"),
            Self::Closed => f.write_str("closed"),
            Self::Ran(text) => write!(f, "ran: {text}"),
            Self::Task => f.write_str("task"),
            Self::InputRequired => f.write_str("input required"),
            Self::Tools(names) => write!(f, "tools {names}"),
            Self::Result(json) => write!(f, "result {json}"),
        }
    }
}

/// What must come of an attack.
#[derive(Clone, Debug)]
pub enum Want {
    /// What the attacker is told, and everything that the log says of denials: the reasons of denied calls, and
    /// `session: reason` for requests that the session layer turned away. Empty: no call reached the guard.
    Held { answer: Answer, record: Vec<&'static str> },
    /// The attack has no such thing here, for this reason.
    NotThere(&'static str),
}

impl Want {
    /// The evidence, where it says more than what the attacker is told.
    pub fn because(self, reason: &'static str) -> Self {
        self.recorded([reason])
    }

    /// All denials of the log.
    pub fn recorded(self, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        match self {
            Self::Held { answer, .. } => Self::Held { answer, record: reasons.into_iter().collect() },
            Self::NotThere(_) => self,
        }
    }
}

fn held(answer: Answer, record: impl IntoIterator<Item = &'static str>) -> Want {
    Want::Held { answer, record: record.into_iter().collect() }
}

/// A denied tool call with this reason, in the answer and in evidence.
pub fn denied(code: &'static str) -> Want {
    held(Answer::Denied(code.to_owned()), [code])
}

/// A refusal by the guard as a JSON-RPC error, with the same reason in `data` and in evidence.
pub fn refused(code: i64, reason: &'static str) -> Want {
    held(Answer::Error(code, Some(reason.to_owned())), [reason])
}

/// rmcp refuses the message with this JSON-RPC error before there is a call.
pub fn rpc_error(code: i64) -> Want {
    held(Answer::Error(code, None), [])
}

/// rmcp refuses the request with this status before there is a message.
pub fn http_error(status: u16) -> Want {
    held(Answer::Http(status, None), [])
}

/// The session layer refuses the request.
pub fn session_refused(status: u16, reason: &'static str, record: &'static str) -> Want {
    held(Answer::Http(status, Some(reason.to_owned())), [record])
}

/// The message has no answer, and rmcp drops it before there is a call.
pub fn silence() -> Want {
    held(Answer::Silence, [])
}

pub fn closed() -> Want {
    held(Answer::Closed, [])
}

/// 202, and rmcp drops the message before there is a call.
pub fn accepted() -> Want {
    held(Answer::Accepted, [])
}

/// A harmless answer: the attacker gets what is the attacker's own.
pub fn harmless(answer: Answer) -> Want {
    held(answer, [])
}

pub fn not_there(reason: &'static str) -> Want {
    Want::NotThere(reason)
}

/// An attack.
pub struct Case {
    pub id: &'static str,
    /// In one sentence.
    pub attack: &'static str,
    pub setup: Setup,
    pub steps: Vec<Step>,
    /// The last that holds in a round counts. It is about the last step.
    pub wants: Vec<(On, Want)>,
    /// What runs in the course of the attack without being its fruit: the calls of those who have a permit.
    pub runs: Vec<(&'static str, usize)>,
}

pub fn attack(id: &'static str, attack: &'static str) -> Case {
    Case { id, attack, setup: Setup::Usual, steps: Vec::new(), wants: Vec::new(), runs: Vec::new() }
}

impl Case {
    pub fn sends(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// What must come of the attack.
    pub fn want(self, want: Want) -> Self {
        self.on(everywhere, want)
    }

    /// What must come of it where `on` holds.
    pub fn on(mut self, on: On, want: Want) -> Self {
        self.wants.push((on, want));
        self
    }

    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// What those with a permit run in the course of the attack.
    pub fn runs(mut self, what: &'static str, times: usize) -> Self {
        self.runs.push((what, times));
        self
    }

    pub fn want_in(&self, round: &Round) -> Option<&Want> {
        self.wants.iter().rev().find(|(on, _)| on(round)).map(|(_, want)| want)
    }

    /// Whether the row is about a round: the place of a credential matters where one is presented.
    pub fn is_tried_in(&self, round: &Round) -> bool {
        round.place == Place::Meta || self.steps.iter().any(|step| step.anywhere.is_some())
    }

    pub fn rounds(&self) -> impl Iterator<Item = Round> {
        Round::everywhere().into_iter().filter(|round| self.is_tried_in(round))
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// An HTTP POST, or a line on stdio.
    Send,
    /// Another HTTP verb; nothing on stdio.
    Http(&'static str),
    /// A new connection with a handshake; over HTTP the credential is that of its headers.
    Connect,
    /// A new connection on stdio without a handshake; a caller without a session over HTTP.
    Dial,
    /// Time passes on the server.
    Wait(Duration),
    /// The registry revokes every badge.
    Revoke,
}

/// Which session a request names.
#[derive(Clone, Debug)]
pub enum Named {
    Own,
    /// That of another, who does not know it.
    Of(&'static str),
    Text(&'static str),
    None,
}

/// One step of an attack.
#[derive(Clone, Debug)]
pub struct Step {
    pub act: Act,
    /// Whose connection or session it is.
    pub by: &'static str,
    pub session: Named,
    /// The bytes of the message; `$meta` stands for the `_meta` that the revision wants, with the credential, and `$state`
    /// for the `requestState` of the last answer that had one.
    pub body: Vec<u8>,
    /// What the routing headers of 2026-07-28 say.
    pub method: String,
    pub name: Option<String>,
    /// Members of `_meta`, as JSON texts.
    pub meta: Vec<(String, String)>,
    /// Headers beside the usual ones.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Usual headers that are left out.
    pub without: Vec<&'static str>,
    /// A badge or an API key, wherever the round says: name of the `_meta` member, of the header, and value.
    pub anywhere: Option<(&'static str, &'static str, String)>,
    /// A badge or an API key where this transport carries one that counts: in a session the header, else `_meta`.
    pub best: Option<(&'static str, &'static str, String)>,
    /// What must come of a step before the last; anything where it says nothing.
    pub gets: Option<Answer>,
    /// Nobody waits for the answer.
    pub background: bool,
    /// A step before the last that has no answer on stdio.
    pub silent: bool,
    pub path: &'static str,
}

pub const BADGE: (&str, &str) = ("capiscio_caller_badge", "x-capiscio-badge");
pub const API_KEY: (&str, &str) = ("capiscio_caller_api_key", "x-capiscio-registry-key");

pub fn step(act: Act) -> Step {
    Step {
        act,
        by: "attacker",
        session: Named::Own,
        body: Vec::new(),
        method: "tools/call".to_owned(),
        name: Some("level4".to_owned()),
        meta: Vec::new(),
        headers: Vec::new(),
        without: Vec::new(),
        anywhere: None,
        best: None,
        gets: None,
        background: false,
        silent: false,
        path: "/mcp",
    }
}

/// Bytes as they are, but for `$meta` and `$state`; they name `level4` in a `tools/call` unless the step says otherwise.
pub fn raw(body: impl Into<Vec<u8>>) -> Step {
    Step { body: body.into(), ..step(Act::Send) }
}

/// A call of `level4` with these `params`.
pub fn params(params: &str) -> Step {
    raw(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#))
}

/// An ordinary call.
pub fn call(tool: &str) -> Step {
    let name = serde_json::Value::from(tool);
    params(&format!(r#"{{"name":{name},"arguments":{{}},"_meta":$meta}}"#)).named(tool)
}

/// An ordinary call with arguments.
pub fn call_with(tool: &str, arguments: &str) -> Step {
    params(&format!(r#"{{"name":"{tool}","arguments":{arguments},"_meta":$meta}}"#)).named(tool)
}

/// Any request; `members` are those of its params, but for `_meta`.
pub fn request(method: &str, members: &str) -> Step {
    let comma = if members.is_empty() { "" } else { "," };
    raw(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{members}{comma}"_meta":$meta}}}}"#))
        .of_method(method)
        .unnamed()
}

/// `tasks/get`, `tasks/update` or `tasks/cancel`.
pub fn task(method: &str, id: &str) -> Step {
    let more = if method == "tasks/update" { r#","inputResponses":{}"# } else { "" };
    request(method, &format!(r#""taskId":"{id}"{more}"#)).named(id)
}

impl Step {
    pub fn by(mut self, who: &'static str) -> Self {
        self.by = who;
        self
    }

    pub fn in_session(mut self, session: Named) -> Self {
        self.session = session;
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn unnamed(mut self) -> Self {
        self.name = None;
        self
    }

    pub fn of_method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// A member of `_meta`, as JSON text.
    pub fn meta(mut self, key: &str, json: impl Into<String>) -> Self {
        self.meta.push((key.to_owned(), json.into()));
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn without(mut self, header: &'static str) -> Self {
        self.without.push(header);
        self
    }

    pub fn badge(mut self, badge: impl Into<String>) -> Self {
        self.anywhere = Some((BADGE.0, BADGE.1, badge.into()));
        self
    }

    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.anywhere = Some((API_KEY.0, API_KEY.1, key.into()));
        self
    }

    /// A badge that counts, where this transport carries it.
    pub fn presents(mut self, badge: impl Into<String>) -> Self {
        self.best = Some((BADGE.0, BADGE.1, badge.into()));
        self
    }

    /// An API key that counts, where this transport carries it.
    pub fn presents_key(mut self, key: impl Into<String>) -> Self {
        self.best = Some((API_KEY.0, API_KEY.1, key.into()));
        self
    }

    /// With a place for `_meta`, in a message that has none.
    pub fn with_meta(mut self) -> Self {
        let text = String::from_utf8(self.body).unwrap();
        self.body = text.replacen(r#""params":{"#, r#""params":{"_meta":$meta,"#, 1).into_bytes();
        self
    }

    /// Another JSON-RPC id than 7.
    pub fn with_id(mut self, id: &str) -> Self {
        let text = String::from_utf8(self.body).unwrap();
        self.body = text.replacen(r#""id":7"#, &format!(r#""id":"{id}""#), 1).into_bytes();
        self
    }

    pub fn gets(mut self, answer: Answer) -> Self {
        self.gets = Some(answer);
        self
    }

    /// The message has no answer.
    pub fn gets_nothing(mut self) -> Self {
        self.silent = true;
        self
    }

    pub fn in_background(mut self) -> Self {
        self.background = true;
        self
    }

    pub fn with_path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }
}
