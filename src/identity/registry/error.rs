//! Why a call of the registry failed, and what to do about it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::encoding::parse_unique_json;
use crate::identity::fetch::{FetchError, FetchErrorKind};

/// The most characters that are kept of what a registry says about an error.
pub const MAX_SERVER_MESSAGE_CHARS: usize = 200;

/// The most characters without a space: a longer run may be a key or a token that the registry sends back to us.
const MAX_RUN_CHARS: usize = 40;

/// The kinds of [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// The base URL is none: not https (or http on this machine), user information, a query, dot segments.
    Url,
    /// The API key is empty, too long, or has a character that no header carries.
    ApiKey,
    /// An argument cannot be sent: an empty id, a badge of a server that is none.
    Argument,
    /// 401: the API key is not known.
    Unauthorized,
    /// 403: the API key may not do this.
    Forbidden,
    /// 404: there is no such server, agent or badge.
    NotFound,
    /// 409: it contradicts what the registry has.
    Conflict,
    /// Another 4xx: the registry finds the request wrong.
    Invalid,
    /// 429: too many requests.
    RateLimited,
    /// 5xx: the registry cannot answer now.
    Unavailable,
    /// No answer arrived.
    Unreachable(FetchErrorKind),
    /// The answer is not what the protocol says: no JSON, too long, a member is missing, another status.
    Answer,
    /// The badge that came is not ours: it names another DID or another key.
    ForeignBadge,
    /// The challenge is not one to sign: malformed, expired by this clock, or meant for another authority.
    Challenge,
    /// The operating system gave no random bytes.
    Random,
}

impl RegistryErrorKind {
    /// The kind in fixed words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "the registry's base URL is not usable",
            Self::ApiKey => "the registry's API key is not usable",
            Self::Argument => "an argument cannot be sent to the registry",
            Self::Unauthorized => "the registry does not know the API key",
            Self::Forbidden => "the registry does not allow this to the API key",
            Self::NotFound => "the registry does not have it",
            Self::Conflict => "the registry has something else under this name",
            Self::Invalid => "the registry refuses the request as wrong",
            Self::RateLimited => "the registry gets too many requests",
            Self::Unavailable => "the registry cannot answer now",
            Self::Unreachable(_) => "the registry cannot be reached",
            Self::Answer => "the registry's answer is not what was asked for",
            Self::ForeignBadge => "the registry's badge names somebody else",
            Self::Challenge => "the registry's challenge is not one to sign",
            Self::Random => "the operating system gave no random bytes",
        }
    }

    /// What somebody who runs the server can do, in fixed words.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Url => "write an https URL without user name and query, such as https://registry.capisc.io",
            Self::ApiKey => "copy the key again: one line of visible ASCII, without quotes and spaces",
            Self::Argument => "pass the id as the registry shows it, and a public https domain",
            Self::Unauthorized => "check the API key: it may be mistyped, revoked, or of another registry",
            Self::Forbidden => "use a key of the account that owns the server or agent, or have it enabled again",
            Self::NotFound => {
                "check the id, also the one in `.resolved_server_id` of the key directory: a mistyped one is not created \
                 silently; create the server explicitly if it is new"
            }
            Self::Conflict => {
                "another key or DID stands there: take over the old key file, or remove it at the registry"
            }
            Self::Invalid => "read the registry's message; the DID, domain or id may be malformed",
            Self::RateLimited => "wait as long as the answer says; share one identity between processes of one server",
            Self::Unavailable => "try again later; badges at hand stay good until they expire",
            Self::Unreachable(FetchErrorKind::Redirect) => {
                "the URL leads elsewhere: configure the registry's final URL; the key is not sent along a redirect"
            }
            Self::Unreachable(FetchErrorKind::Address | FetchErrorKind::Port | FetchErrorKind::Url) => {
                "the fetcher does not allow this address; allow the network or the port by name if the registry is yours"
            }
            Self::Unreachable(FetchErrorKind::Tls) => {
                "check the registry's certificate and the clock, or add the root certificate of a registry of your own"
            }
            Self::Unreachable(_) => {
                "check the URL, the network and the proxy; badges at hand stay good until they expire"
            }
            Self::Answer => "check that the URL is a registry's, and not a web page's or a proxy's",
            Self::ForeignBadge => {
                "another process registered other keys for this id (one server, one key), or the registry names it otherwise: \
                 start again while the registry answers, or set the DID or its form"
            }
            Self::Challenge => "check the clock, and that the registry is asked by its public URL",
            Self::Random => "the machine has no entropy source; nothing cryptographic can run on it",
        }
    }
}

/// A call of the registry failed. It holds no secret; what the registry said stands only in
/// [`server_message`](Self::server_message).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct RegistryError {
    kind: RegistryErrorKind,
    status: Option<u16>,
    retry_after: Option<Duration>,
    message: Option<Box<str>>,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match (self.kind, self.status) {
            (RegistryErrorKind::Unreachable(kind), _) => write!(f, ": {}", kind.as_str()),
            (_, Some(status)) => write!(f, " (status {status})"),
            (_, None) => Ok(()),
        }
    }
}

impl fmt::Debug for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryError")
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl RegistryError {
    pub(super) const fn new(kind: RegistryErrorKind) -> Self {
        Self { kind, status: None, retry_after: None, message: None }
    }

    pub(super) fn of_fetch(error: &FetchError) -> Self {
        let kind = error.kind();
        let arrived = matches!(kind, FetchErrorKind::ContentType | FetchErrorKind::TooLarge);
        Self::new(if arrived { RegistryErrorKind::Answer } else { RegistryErrorKind::Unreachable(kind) })
    }

    /// The error of an answer with another status than one of success. `secrets` were in the request.
    pub(super) fn of_answer<'a>(
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        secrets: impl Iterator<Item = &'a str>,
    ) -> Self {
        let kind = match status {
            401 => RegistryErrorKind::Unauthorized,
            403 => RegistryErrorKind::Forbidden,
            404 => RegistryErrorKind::NotFound,
            409 => RegistryErrorKind::Conflict,
            429 => RegistryErrorKind::RateLimited,
            400..=499 => RegistryErrorKind::Invalid,
            500..=599 => RegistryErrorKind::Unavailable,
            _ => RegistryErrorKind::Answer,
        };
        Self { kind, status: Some(status), retry_after, message: server_message(body, secrets) }
    }

    pub(super) const fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> RegistryErrorKind {
        self.kind
    }

    /// The answer's status, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// When the registry wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What somebody who runs the server can do, in fixed words.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        self.kind.advice()
    }

    /// The answer's `error` and `message`, for a person to read: text of the registry's, at most
    /// [`MAX_SERVER_MESSAGE_CHARS`], with control characters escaped and without anything that may be a key.
    #[must_use]
    pub fn server_message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Whether nothing but a person will change the answer.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self.kind {
            RegistryErrorKind::RateLimited
            | RegistryErrorKind::Unavailable
            | RegistryErrorKind::Answer
            | RegistryErrorKind::Challenge
            | RegistryErrorKind::Random => false,
            RegistryErrorKind::Unreachable(kind) => matches!(
                kind,
                FetchErrorKind::Url | FetchErrorKind::Port | FetchErrorKind::Address | FetchErrorKind::Request
            ),
            RegistryErrorKind::Url
            | RegistryErrorKind::ApiKey
            | RegistryErrorKind::Argument
            | RegistryErrorKind::Unauthorized
            | RegistryErrorKind::Forbidden
            | RegistryErrorKind::NotFound
            | RegistryErrorKind::Conflict
            | RegistryErrorKind::Invalid
            | RegistryErrorKind::ForeignBadge => true,
        }
    }
}

/// `error`, `message` or both of a JSON object. A text that holds one of the `secrets` is not kept at all.
fn server_message<'a>(body: &[u8], mut secrets: impl Iterator<Item = &'a str>) -> Option<Box<str>> {
    let Ok(Value::Object(members)) = parse_unique_json(body) else { return None };
    let texts: Vec<&str> = ["error", "message"]
        .into_iter()
        .filter_map(|name| members.get(name)?.as_str())
        .filter(|text| !text.is_empty())
        .collect();
    let text = texts.join(": ");
    if text.is_empty() || secrets.any(|secret| text.contains(secret)) {
        return None;
    }
    let words: Vec<String> = text
        .chars()
        .take(MAX_SERVER_MESSAGE_CHARS)
        .collect::<String>()
        .split(' ')
        .map(|word| if word.chars().count() > MAX_RUN_CHARS { "[..]".to_owned() } else { printable(word) })
        .collect();
    Some(words.join(" ").into())
}

/// `word` with everything that a terminal could act on written as an escape: C0, C1, bidi and other format characters.
fn printable(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for character in word.chars() {
        let harmless = character.is_ascii_graphic() || character.is_alphanumeric();
        if harmless { text.push(character) } else { text.extend(character.escape_unicode()) }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str, secret: &str) -> Option<String> {
        RegistryError::of_answer(400, None, body.as_bytes(), [secret].into_iter()).server_message().map(str::to_owned)
    }

    #[test]
    fn what_the_registry_says_is_cut_escaped_and_free_of_keys() {
        assert_eq!(
            message(r#"{"error":"bad_did","message":"no such DID"}"#, "k").as_deref(),
            Some("bad_did: no such DID")
        );
        assert_eq!(message(r#"{"message":"no"}"#, "k").as_deref(), Some("no"));
        assert_eq!(message(r#"{"error":{"x":1},"message":""}"#, "k"), None);
        assert_eq!(message("<html>", "k"), None);
        assert_eq!(message(r#"{"error":"a","error":"b"}"#, "k"), None);
        assert_eq!(message(r#"{"error":"key sk_live_1 is unknown"}"#, "sk_live_1"), None);
        let token = "eyJ".repeat(20);
        assert_eq!(message(&format!(r#"{{"error":"bad {token} sent"}}"#), "k").as_deref(), Some("bad [..] sent"));
        let escapes = r#"{"error":"a\u001b[2Jb\nc \u202ed"}"#;
        assert_eq!(message(escapes, "k").as_deref(), Some(r"a\u{1b}[2Jb\u{a}c \u{202e}d"));
        let long = message(&format!(r#"{{"error":"{}"}}"#, "word ".repeat(1000)), "k").unwrap();
        assert_eq!(long.chars().count(), MAX_SERVER_MESSAGE_CHARS);
    }

    #[test]
    fn neither_display_nor_debug_repeats_the_registry() {
        let error = RegistryError::of_answer(503, None, br#"{"error":"something"}"#, std::iter::empty());
        assert_eq!(error.to_string(), "the registry cannot answer now (status 503)");
        assert!(!format!("{error:?}").contains("something"));
        let error = RegistryError::of_fetch(&FetchError::new(FetchErrorKind::Tls));
        assert_eq!(error.to_string(), "the registry cannot be reached: the TLS handshake failed");
    }
}
