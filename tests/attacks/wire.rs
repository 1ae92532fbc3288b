//! Bytes on the two transports: lines on a byte stream, and HTTP/1.1 over TCP without an HTTP client in between.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf};
use tokio::io::{WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::case::Answer;
use rmcp_guard::layer::guard::META_DENIAL;

/// Far more than an answer takes on a loaded machine; no attack passes by waiting for it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How a message answers: `None` for what is no answer.
pub fn answer_of(message: &Value) -> Option<Answer> {
    if let Some(error) = message.get("error") {
        let reason = error["data"]["reason"].as_str().map(str::to_owned);
        return Some(Answer::Error(error["code"].as_i64().unwrap(), reason));
    }
    let result = message.get("result")?;
    if let Some(tools) = result["tools"].as_array() {
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        // Where there are such hints at all, a cache that others read must not keep what was for one.
        let kept = result.get("cacheScope").is_some_and(|scope| scope != "private" || result["ttlMs"] != 0);
        let cache = if kept { " in a shared cache" } else { "" };
        return Some(Answer::Tools(format!("{}{cache}", names.join(", "))));
    }
    if let Some(denial) = result["_meta"].get(META_DENIAL) {
        assert_eq!(result["isError"], true, "a denial says that it is an error: {message}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(!text.chars().any(disfigures), "a denial is one line of what can be shown: {message}");
        return Some(Answer::Denied(denial["reason"].as_str().unwrap().to_owned()));
    }
    Some(match (&result["content"][0]["text"], &result["resultType"]) {
        (Value::String(text), _) => Answer::Ran(text.clone()),
        (_, Value::String(kind)) if kind == "task" => Answer::Task,
        (_, Value::String(kind)) if kind == "input_required" => Answer::InputRequired,
        _ if result.get("task").is_some() => Answer::Task,
        _ => Answer::Result(result.to_string()),
    })
}

/// Controls and bidirectional marks: they end a line, move a cursor, or turn text around.
fn disfigures(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Heard {
    Message(Value),
    /// Nothing, for as long as anybody would wait.
    Nothing,
    /// The server has hung up.
    End,
}

impl Heard {
    pub fn answer(&self) -> Answer {
        match self {
            Self::Message(message) => answer_of(message).unwrap(),
            Self::Nothing => Answer::Silence,
            Self::End => Answer::Closed,
        }
    }
}

/// A connection on stdio.
pub struct Line {
    /// How long the next answer may take.
    pub patience: Duration,
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
}

impl Line {
    pub fn new(stream: DuplexStream, patience: Duration) -> Self {
        let (read, write) = split(stream);
        Self { patience, read: BufReader::new(read), write }
    }

    pub async fn send(&mut self, message: &[u8]) {
        // A server that has hung up is for the reader to notice.
        let _ = self.write.write_all(&[message, b"\n"].concat()).await;
    }

    /// The next answer, past notifications and requests of the server.
    pub async fn next(&mut self) -> Heard {
        timeout(self.patience, self.read()).await.unwrap_or(Heard::Nothing)
    }

    /// What is there already.
    pub async fn leftover(&mut self) -> Option<Value> {
        match timeout(Duration::from_millis(1), self.read()).await {
            Ok(Heard::Message(message)) => Some(message),
            Ok(Heard::End | Heard::Nothing) | Err(_) => None,
        }
    }

    async fn read(&mut self) -> Heard {
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).await.unwrap_or(0) == 0 {
                return Heard::End;
            }
            let message: Value = serde_json::from_str(&line).unwrap();
            if answer_of(&message).is_some() {
                return Heard::Message(message);
            }
        }
    }
}

/// An HTTP response, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The JSON-RPC messages in it.
    pub fn messages(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        if let Ok(whole) = serde_json::from_str(&text) {
            return vec![whole];
        }
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
    }

    pub fn answer(&self) -> Answer {
        let messages = self.messages();
        if let Some(answer) = messages.iter().find_map(answer_of) {
            return answer;
        }
        if self.status == 202 {
            return Answer::Accepted;
        }
        let reason = messages.first().and_then(|body| body["reason"].as_str()).map(str::to_owned);
        Answer::Http(self.status, reason)
    }
}

/// Sends a request as it is and reads until the server closes; `None` if it says nothing.
pub async fn exchange(address: &str, request: &[u8], patience: Duration) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // The server may refuse and close before it has read all.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    // What has come so far is judged as it is.
    let _ = timeout(patience, stream.read_to_end(&mut bytes)).await;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut reply = Reply { status, head, body: bytes[end + 4..].to_vec() };
    if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        reply.body = unchunked(&reply.body);
    }
    Some(reply)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let Ok(length) = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16) else { break };
        let Some(chunk) = rest.get(end + 2..end + 2 + length).filter(|chunk| !chunk.is_empty()) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    body
}
