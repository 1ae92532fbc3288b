//! Plays an attack in one round and says what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::case::{Act, Answer, Case, Mode, Named, Place, Round, Step, Want, call, raw, request, step};
use crate::wire::{Heard, Line, PATIENCE, Reply, answer_of, exchange};
use crate::world::{Traces, World};

/// How an attacker reaches the server, by who it is.
enum Link {
    Stdio(Line),
    /// With the session, where there are sessions.
    Http(Option<String>),
}

struct Attacker<'a> {
    world: &'a World,
    links: BTreeMap<&'static str, Link>,
    /// What the last answer that asked for input said to bring back.
    state: String,
    /// The answers that nobody waits for.
    background: Vec<tokio::task::JoinHandle<()>>,
}

/// Plays an attack, and says what of it did not come to what it should; an empty text where all did.
pub async fn play(case: &Case, world: &World) -> Result<Played, String> {
    let round = &world.round;
    let Some(want) = case.want_in(round) else { return Err("the table says nothing about this round".to_owned()) };
    let (want, record) = match want {
        Want::Held { answer, record } => (answer, record),
        Want::NotThere(_) => return Ok(Played::NotThere),
    };
    let before = world.traces();
    let mut attacker = Attacker { world, links: BTreeMap::new(), state: String::new(), background: Vec::new() };
    let mut problems = Vec::new();
    let (last, first) = case.steps.split_last().unwrap();
    for (number, step) in first.iter().enumerate() {
        let got = attacker.play(step, step.gets.as_ref()).await;
        if let Some(want) = step.gets.as_ref().filter(|want| **want != got) {
            problems.push(format!("step {number}: want {want}, got {got}"));
        }
    }
    let got = attacker.play(last, Some(want)).await;
    if got != *want {
        problems.push(format!("answer: want {want}, got {got}"));
    }
    let mut runs = BTreeMap::new();
    for (what, times) in &case.runs {
        *runs.entry((*what).to_owned()).or_default() += times;
    }
    // The guard itself stops a task that it gives to nobody, and a tool says when it is done: these are no calls.
    let calls = runs.iter().filter(|(what, _)| !matches!(what.as_str(), "tasks/cancel" | "slow finished"));
    let mut traces = Traces { allowed: calls.map(|(_, times)| times).sum(), runs, ..Traces::default() };
    for reason in record {
        match reason.strip_prefix("session ") {
            Some(reason) => traces.sessions.push(reason.to_owned()),
            None => traces.denials.push((*reason).to_owned()),
        }
    }
    // What a message without an answer sets off comes later, and so does the end of what runs in the background.
    let patience = tokio::time::Instant::now() + PATIENCE;
    while world.traces().since(&before) != traces && problems.is_empty() && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let over = got == Answer::Closed || case.steps.iter().any(|step| matches!(step.act, Act::Dial));
    problems.extend(attacker.aftermath(over).await);
    // The call that came after.
    traces.allowed += 1;
    *traces.runs.entry("open".to_owned()).or_default() += 1;
    let got = world.traces().since(&before);
    if got != traces {
        problems.push(format!("want {traces}, got {got}"));
    }
    problems.extend(leaks(case, world));
    if problems.is_empty() { Ok(Played::Held) } else { Err(problems.join("; ")) }
}

/// Whether an attack comes to something on a server without a guard: something runs that nobody was permitted, or the
/// attacker gets an answer in place of a refusal.
pub async fn works(case: &Case, world: &World) -> bool {
    let Some(Want::Held { answer: want, .. }) = case.want_in(&world.round) else { return false };
    let mut attacker = Attacker { world, links: BTreeMap::new(), state: String::new(), background: Vec::new() };
    let mut got = Answer::Silence;
    for step in &case.steps {
        let answer = if std::ptr::eq(step, case.steps.last().unwrap()) { Some(want) } else { step.gets.as_ref() };
        got = attacker.play(step, answer).await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    attacker.background.iter().for_each(tokio::task::JoinHandle::abort);
    let permitted =
        |what: &str| case.runs.iter().filter(|(name, _)| *name == what).map(|(_, times)| times).sum::<usize>();
    let runs = world.fixture.demo.all_runs();
    let given = matches!(
        got,
        Answer::Ran(_) | Answer::Task | Answer::InputRequired | Answer::Tools(_) | Answer::Result(_) | Answer::Accepted
    );
    runs.iter().any(|(what, times)| what != "tools/list" && *times > permitted(what)) || (given && got != *want)
}

/// What of a credential stands in the log: the last part of a token, or what a header or `_meta` brought as a key.
fn leaks(case: &Case, world: &World) -> Vec<String> {
    let log = world.log();
    let presented = case.steps.iter().flat_map(|step| step.anywhere.iter().chain(&step.best));
    let secret = presented.filter_map(|(_, _, value)| value.rsplit('.').next()).filter(|secret| secret.len() > 40);
    secret.filter(|secret| log.contains(secret)).map(|secret| format!("the log has `{secret}`")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    Held,
    NotThere,
}

impl Attacker<'_> {
    /// Plays a step. `want` says only whether there is an answer to wait for.
    async fn play(&mut self, step: &Step, want: Option<&Answer>) -> Answer {
        match step.act {
            Act::Wait(time) => self.world.wait(time),
            Act::Revoke => self.world.revoke(),
            Act::Connect => self.connect(step.by, step).await,
            Act::Dial => self.dial(step.by),
            Act::Send | Act::Http(_) => {
                if !self.links.contains_key(step.by) {
                    self.connect(step.by, &crate::case::step(Act::Connect)).await;
                }
                return match self.world.round.mode {
                    Mode::Stdio => self.line(step, want).await,
                    _ => self.request(step).await,
                };
            }
        }
        Answer::Silence
    }

    async fn line(&mut self, step: &Step, want: Option<&Answer>) -> Answer {
        let message = self.body(step);
        let Some(Link::Stdio(line)) = self.links.get_mut(step.by) else { panic!("a line on stdio") };
        line.send(&message).await;
        if step.background || step.silent || want == Some(&Answer::Silence) {
            return Answer::Silence;
        }
        let heard = line.next().await;
        if let Heard::Message(message) = &heard {
            self.remember(message);
        }
        heard.answer()
    }

    fn remember(&mut self, message: &Value) {
        if let Some(state) = message["result"]["requestState"].as_str() {
            state.clone_into(&mut self.state);
        }
    }

    async fn request(&mut self, step: &Step) -> Answer {
        let session = match &step.session {
            Named::None => None,
            Named::Text(text) => Some((*text).to_owned()),
            Named::Own => self.session(step.by),
            Named::Of(whom) => self.session(whom),
        };
        let request = self.head_and_body(step, session.as_deref());
        let address = self.address();
        if step.background {
            let exchanging = async move { drop(exchange(&address, &request, PATIENCE).await) };
            self.background.push(tokio::spawn(exchanging));
            return Answer::Silence;
        }
        let reply = exchange(&address, &request, self.world.patience).await;
        reply.iter().flat_map(Reply::messages).for_each(|message| self.remember(&message));
        reply.map_or(Answer::Closed, |reply| reply.answer())
    }

    /// A connection, and a session where there are any. The newest revision has no handshake: the client asks what the
    /// server is, and on stdio its first other request settles the revision.
    async fn connect(&mut self, who: &'static str, step: &Step) {
        let round = &self.world.round;
        let in_headers = |body: Step| Step {
            anywhere: step.anywhere.clone(),
            best: step.best.clone(),
            headers: step.headers.clone(),
            ..body
        };
        let hello = if round.is_newest() { request("server/discover", "") } else { initialize(round.version.as_str()) };
        let then = if round.is_newest() { request("tools/list", "") } else { raw(INITIALIZED) };
        match round.mode {
            Mode::Stdio => {
                let mut line = Line::new(self.world.server.stream(), PATIENCE);
                line.send(&self.body(&hello)).await;
                let answer = line.next().await;
                assert!(matches!(&answer, Heard::Message(it) if it.get("result").is_some()), "{answer:?}");
                line.send(&self.body(&then)).await;
                if round.is_newest() {
                    let answer = line.next().await;
                    assert!(matches!(answer, Heard::Message(_)), "{answer:?}");
                }
                line.patience = self.world.patience;
                self.links.insert(who, Link::Stdio(line));
            }
            Mode::HttpStateful => {
                let reply = self.exchange(&in_headers(hello), None).await;
                let session = reply.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {reply:?}"));
                let session = session.to_owned();
                let reply = self.exchange(&in_headers(then), Some(&session)).await;
                assert_eq!(reply.status, 202, "{reply:?}");
                self.links.insert(who, Link::Http(Some(session)));
            }
            Mode::HttpStatelessSse | Mode::HttpStatelessJson => {
                self.links.insert(who, Link::Http(None));
            }
        }
    }

    /// A connection that has not said anything yet.
    fn dial(&mut self, who: &'static str) {
        let link = match self.world.round.mode {
            Mode::Stdio => Link::Stdio(Line::new(self.world.server.stream(), self.world.patience)),
            _ => Link::Http(None),
        };
        self.links.insert(who, link);
    }

    async fn exchange(&self, step: &Step, session: Option<&str>) -> Reply {
        let request = self.head_and_body(step, session);
        exchange(&self.address(), &request, PATIENCE).await.expect("a response")
    }

    fn address(&self) -> String {
        let url = self.world.server.url();
        url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned()
    }

    fn session(&self, who: &str) -> Option<String> {
        match self.links.get(who) {
            Some(Link::Http(session)) => session.clone(),
            Some(Link::Stdio(_)) | None => None,
        }
    }

    /// The body with the `_meta` that the round wants.
    fn body(&self, step: &Step) -> Vec<u8> {
        let round = &self.world.round;
        let mut members = Vec::new();
        if round.is_newest() {
            members.push(format!(r#""io.modelcontextprotocol/protocolVersion":"{}""#, round.version));
            members.push(r#""io.modelcontextprotocol/clientInfo":{"name":"t","version":"0"}"#.to_owned());
            members.push(
                r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
                    .to_owned(),
            );
        }
        for (key, _, value) in credentials(step, round, Place::Meta) {
            members.push(format!("{}:{}", json!(key), json!(value)));
        }
        members.extend(step.meta.iter().map(|(key, json)| format!("{}:{json}", json!(key))));
        let body = replace(&step.body, b"$state", self.state.as_bytes());
        replace(&body, b"$meta", format!("{{{}}}", members.join(",")).as_bytes())
    }

    fn head_and_body(&self, step: &Step, session: Option<&str>) -> Vec<u8> {
        let round = &self.world.round;
        let verb = if let Act::Http(verb) = step.act { verb } else { "POST" };
        let body = self.body(step);
        let mut headers: Vec<(&str, Vec<u8>)> = vec![
            ("Host", self.address().into_bytes()),
            ("Connection", b"close".to_vec()),
            ("Accept", b"application/json, text/event-stream".to_vec()),
            ("Content-Type", b"application/json".to_vec()),
            ("MCP-Protocol-Version", round.version.as_str().as_bytes().to_vec()),
            ("Content-Length", body.len().to_string().into_bytes()),
        ];
        headers.extend(session.map(|id| ("Mcp-Session-Id", id.as_bytes().to_vec())));
        if round.is_newest() {
            headers.push(("Mcp-Method", step.method.as_bytes().to_vec()));
            headers.extend(step.name.as_ref().map(|name| ("Mcp-Name", header_value(name).into_bytes())));
        }
        headers.retain(|(name, _)| !step.without.iter().any(|left_out| left_out.eq_ignore_ascii_case(name)));
        for (_, name, value) in credentials(step, round, Place::Header) {
            headers.push((name, value.clone().into_bytes()));
        }
        headers.extend(step.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut request = format!("{verb} {} HTTP/1.1\r\n", step.path).into_bytes();
        for (name, value) in headers {
            request.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        [&request[..], b"\r\n", &body].concat()
    }

    /// Whoever comes after the attack is served: what came before has been read, and did not break the server. `over` says
    /// that the attacker's connection cannot serve.
    async fn aftermath(&mut self, over: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let open = call("open").with_id("afterwards");
        if !self.links.contains_key("attacker") || over || self.world.round.mode == Mode::HttpStateful {
            self.connect("afterwards", &step(Act::Connect)).await;
        }
        let message = self.body(&open);
        let who = if self.links.contains_key("afterwards") { "afterwards" } else { "attacker" };
        if let Some(Link::Stdio(line)) = self.links.get_mut(who) {
            line.send(&message).await;
            loop {
                match line.next().await {
                    Heard::Message(answer) if answer["id"] == "afterwards" => {
                        if answer_of(&answer) != Some(Answer::Ran("open ran".to_owned())) {
                            problems.push(format!("nobody is served any more: {answer}"));
                        }
                        break;
                    }
                    Heard::Message(answer) => problems.push(format!("one more answer: {answer}")),
                    none => {
                        problems.push(format!("the connection is dead: {none:?}"));
                        break;
                    }
                }
            }
        } else {
            let reply = self.exchange(&open, self.session(who).as_deref()).await;
            if reply.answer() != Answer::Ran("open ran".to_owned()) {
                problems.push(format!("nobody is served any more: {reply:?}"));
            }
        }
        // Requests run concurrently: let the one in question finish, too.
        tokio::time::sleep(Duration::from_millis(2)).await;
        if let Some(Link::Stdio(line)) = self.links.get_mut("attacker").filter(|_| !over) {
            while let Some(answer) = line.leftover().await {
                problems.push(format!("a late answer: {answer}"));
            }
        }
        self.background.iter().for_each(tokio::task::JoinHandle::abort);
        problems
    }
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The handshake of the revisions before 2026-07-28.
pub fn initialize(version: &str) -> Step {
    raw(json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": {
        "protocolVersion": version, "clientInfo": { "name": "t", "version": "0" },
        "capabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } } })
    .to_string())
    .of_method("initialize")
    .unnamed()
}

/// The credentials of a step that stand in `place`: name of the `_meta` member, of the header, and value.
fn credentials<'a>(
    step: &'a Step,
    round: &Round,
    place: Place,
) -> impl Iterator<Item = &'a (&'static str, &'static str, String)> {
    let best = if round.mode == Mode::HttpStateful { Place::Header } else { Place::Meta };
    let chosen = round.place == place;
    step.anywhere.iter().filter(move |_| chosen).chain(step.best.iter().filter(move |_| place == best))
}

/// What a stock client writes for a name that a header cannot carry.
fn header_value(name: &str) -> String {
    let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && name.trim() == name;
    if plain { name.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(name)) }
}

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    result.extend_from_slice(rest);
    result
}
