//! What a caller presents, and the one place that picks it out of a request.
//!
//! Headers arrive as raw values and `_meta` as parsed JSON, so this module knows the rules and no transport.
//! Two sources that disagree are refused, never ranked: a proxy that adds one and an attacker that adds the other
//! must not get to choose which one counts.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::encoding::{base64url_decode, parse_unique_json};
use crate::identity::badge::MAX_BADGE_BYTES;
use crate::policy::{AuthLevel, DenyReason};

/// Longest API key that is looked at, in bytes; keys in the field are below 100.
pub const MAX_API_KEY_BYTES: usize = 512;

/// `_meta` member that carries a caller's badge (wire-compatible with CapiscIO MCP Guard).
pub const META_CALLER_BADGE: &str = "capiscio_caller_badge";

/// `_meta` member that carries a caller's API key (wire-compatible with CapiscIO MCP Guard).
pub const META_CALLER_API_KEY: &str = "capiscio_caller_api_key";

/// What a caller presents with one request. `Debug` shows the kind only.
#[derive(Clone)]
#[expect(clippy::exhaustive_enums, reason = "capiscio-mcp's three kinds; a new kind needs a rule everywhere")]
pub enum CallerCredential {
    /// Nothing.
    Anonymous,
    /// A compact JWS badge, not verified yet.
    Badge(Zeroizing<String>),
    /// An API key, not looked up yet.
    ApiKey(Zeroizing<String>),
}

/// The credential of one request, or why none could be taken from it.
pub type PresentedCredential = Result<CallerCredential, CredentialError>;

/// The kind of credential that was offered, whether or not it can be used.
pub(crate) const fn offered_auth_level(credential: &PresentedCredential) -> AuthLevel {
    match credential {
        Ok(credential) => credential.auth_level(),
        Err(error) => error.auth_level(),
    }
}

impl CallerCredential {
    /// A badge as its compact JWS text.
    #[must_use]
    pub fn badge(token: impl Into<String>) -> Self {
        Self::Badge(Zeroizing::new(token.into()))
    }

    /// An API key as the caller sends it.
    #[must_use]
    pub fn api_key(key: impl Into<String>) -> Self {
        Self::ApiKey(Zeroizing::new(key.into()))
    }

    /// The kind of credential, whether or not it verifies.
    #[must_use]
    pub const fn auth_level(&self) -> AuthLevel {
        match self {
            Self::Anonymous => AuthLevel::Anonymous,
            Self::Badge(_) => AuthLevel::Badge,
            Self::ApiKey(_) => AuthLevel::ApiKey,
        }
    }

    /// The one credential of a request.
    ///
    /// A badge decides over an API key. `Authorization: Bearer` belongs to OAuth on MCP endpoints: it is looked at
    /// only when `bearer_as_badge` is set, and only a token whose payload says `AgentIdentity` counts as a badge.
    ///
    /// # Errors
    /// [`DenyReason::CredentialMalformed`] or [`DenyReason::BadgeInvalid`] when a credential is repeated, empty, too
    /// long or not text; [`DenyReason::CredentialConflict`] when two sources carry different ones.
    pub fn from_sources(sources: &CredentialSources<'_>, bearer_as_badge: bool) -> Result<Self, CredentialError> {
        let badge_problem =
            |detail| CredentialError { reason: DenyReason::BadgeInvalid, auth_level: AuthLevel::Badge, detail };
        let key_problem =
            |detail| CredentialError { reason: DenyReason::CredentialMalformed, auth_level: AuthLevel::ApiKey, detail };

        let header_badge = single_header(&sources.badge_headers, MAX_BADGE_BYTES, AuthLevel::Badge)?;
        let bearer_badge = if bearer_as_badge { bearer_badge(&sources.authorization_headers)? } else { None };
        let meta_badge = meta_text(sources.meta, META_CALLER_BADGE, MAX_BADGE_BYTES).map_err(badge_problem)?;
        let badge = agree([header_badge, meta_badge, bearer_badge], AuthLevel::Badge)?;

        let header_key = single_header(&sources.api_key_headers, MAX_API_KEY_BYTES, AuthLevel::ApiKey)?;
        let meta_key = meta_text(sources.meta, META_CALLER_API_KEY, MAX_API_KEY_BYTES).map_err(key_problem)?;
        let api_key = agree([header_key, meta_key, None], AuthLevel::ApiKey)?;

        Ok(match (badge, api_key) {
            (Some(badge), _) => Self::badge(badge),
            (None, Some(key)) => Self::api_key(key),
            (None, None) => Self::Anonymous,
        })
    }
}

impl fmt::Debug for CallerCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallerCredential").field(&self.auth_level().as_str()).finish()
    }
}

/// Everything in one request that may carry a credential: raw header values in order, and the request's `_meta`.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CredentialSources<'a> {
    /// Every value of `X-Capiscio-Badge`.
    pub badge_headers: Vec<&'a [u8]>,
    /// Every value of `X-Capiscio-Registry-Key`.
    pub api_key_headers: Vec<&'a [u8]>,
    /// Every value of `Authorization`.
    pub authorization_headers: Vec<&'a [u8]>,
    /// The request's `_meta` object.
    pub meta: Option<&'a Map<String, Value>>,
}

impl fmt::Debug for CredentialSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSources")
            .field("badge_headers", &self.badge_headers.len())
            .field("api_key_headers", &self.api_key_headers.len())
            .field("authorization_headers", &self.authorization_headers.len())
            .field("meta", &self.meta.is_some())
            .finish()
    }
}

/// Why no credential could be taken from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CredentialError {
    reason: DenyReason,
    auth_level: AuthLevel,
    detail: &'static str,
}

impl CredentialError {
    /// The reason to deny with.
    #[must_use]
    pub const fn reason(&self) -> DenyReason {
        self.reason
    }

    /// The kind of credential that was offered.
    #[must_use]
    pub const fn auth_level(&self) -> AuthLevel {
        self.auth_level
    }

    /// A fixed sentence for people.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        self.detail
    }
}

/// Whether a `_meta` key belongs to the guard and must not reach a tool.
///
/// These are the peer's keys (`capiscio`, `capiscio_..`) and every key with our prefix `rmcp-guard/`: a tool that
/// proxies `_meta` to another server would otherwise hand its caller's badge on.
#[must_use]
pub fn is_guard_meta_key(key: &str) -> bool {
    key == "capiscio" || key.starts_with("capiscio_") || key.starts_with("rmcp-guard/")
}

fn single_header<'a>(
    values: &[&'a [u8]],
    max_bytes: usize,
    auth_level: AuthLevel,
) -> Result<Option<&'a str>, CredentialError> {
    let malformed = |detail| CredentialError { reason: DenyReason::CredentialMalformed, auth_level, detail };
    match values {
        [] => Ok(None),
        [b""] => Err(malformed("the credential header is empty")),
        [value] if value.len() > max_bytes => Err(malformed("the credential header is too long")),
        [value] if value.iter().all(u8::is_ascii_graphic) => {
            std::str::from_utf8(value).map(Some).map_err(|_| malformed("the credential header is not text"))
        }
        [_] => Err(malformed("the credential header is not visible ASCII")),
        [_, _, ..] => Err(malformed("the credential header is repeated")),
    }
}

fn meta_text<'a>(
    meta: Option<&'a Map<String, Value>>,
    key: &str,
    max_bytes: usize,
) -> Result<Option<&'a str>, &'static str> {
    match meta.and_then(|meta| meta.get(key)) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err("the credential in `_meta` is empty"),
        Some(Value::String(text)) if text.len() > max_bytes => Err("the credential in `_meta` is too long"),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err("the credential in `_meta` is not a string")
        }
    }
}

/// A Bearer value that claims to be a badge; anything else under `Authorization` stays OAuth's.
fn bearer_badge<'a>(values: &[&'a [u8]]) -> Result<Option<&'a str>, CredentialError> {
    let candidates: Vec<&str> = values.iter().filter_map(|value| bearer_token(value)).collect();
    match candidates.as_slice() {
        [] => Ok(None),
        [token] if values.len() == 1 => Ok(claims_agent_identity(token).then_some(*token)),
        _ => Err(CredentialError {
            reason: DenyReason::CredentialMalformed,
            auth_level: AuthLevel::Badge,
            detail: "the authorization header is repeated",
        }),
    }
}

/// Whether an `Authorization` value says that it is a badge, configured as one or not.
#[cfg(feature = "layer")]
pub(crate) fn is_bearer_badge(value: &[u8]) -> bool {
    bearer_token(value).is_some_and(claims_agent_identity)
}

fn bearer_token(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_BADGE_BYTES).then_some(token)
}

fn claims_agent_identity(token: &str) -> bool {
    let mut segments = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    let Some(claims) = base64url_decode(payload).ok().and_then(|bytes| parse_unique_json(&bytes).ok()) else {
        return false;
    };
    let types = claims.get("vc").and_then(|vc| vc.get("type")).and_then(Value::as_array);
    types.is_some_and(|types| types.iter().any(|name| name == "AgentIdentity"))
}

fn agree(found: [Option<&str>; 3], auth_level: AuthLevel) -> Result<Option<&str>, CredentialError> {
    let mut found = found.into_iter().flatten();
    let Some(first) = found.next() else { return Ok(None) };
    if found.all(|other| other == first) {
        return Ok(Some(first));
    }
    Err(CredentialError {
        reason: DenyReason::CredentialConflict,
        auth_level,
        detail: "two sources carry different credentials",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(payload: &Value) -> String {
        let segment = |text: &str| crate::encoding::base64url(text.as_bytes());
        format!("{}.{}.{}", segment("{}"), segment(&payload.to_string()), segment("signature"))
    }

    fn kind_of(result: Result<CallerCredential, CredentialError>) -> String {
        match result {
            Ok(CallerCredential::Anonymous) => "anonymous".to_owned(),
            Ok(CallerCredential::Badge(token)) => format!("badge {}", *token),
            Ok(CallerCredential::ApiKey(key)) => format!("api_key {}", *key),
            Err(error) => error.reason().code().to_owned(),
        }
    }

    struct Case {
        name: &'static str,
        badge: &'static [&'static [u8]],
        key: &'static [&'static [u8]],
        meta: Value,
        want: &'static str,
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn one_credential_or_a_reason() {
        let long: &'static [u8] = vec![b'a'; MAX_BADGE_BYTES + 1].leak();
        let none = || json!({});
        let cases = [
            Case { name: "nothing", badge: &[], key: &[], meta: none(), want: "anonymous" },
            Case { name: "header badge", badge: &[b"a.b.c"], key: &[], meta: none(), want: "badge a.b.c" },
            Case { name: "meta badge", badge: &[], key: &[], meta: json!({META_CALLER_BADGE: "m"}), want: "badge m" },
            Case {
                name: "equal badges",
                badge: &[b"m"],
                key: &[],
                meta: json!({META_CALLER_BADGE: "m"}),
                want: "badge m",
            },
            Case {
                name: "different badges",
                badge: &[b"a"],
                key: &[],
                meta: json!({META_CALLER_BADGE: "m"}),
                want: "credential_conflict",
            },
            Case { name: "badge over key", badge: &[b"a"], key: &[b"k"], meta: none(), want: "badge a" },
            Case { name: "key in header", badge: &[], key: &[b"k"], meta: none(), want: "api_key k" },
            Case {
                name: "key in meta",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_API_KEY: "k"}),
                want: "api_key k",
            },
            Case {
                name: "different keys",
                badge: &[],
                key: &[b"k"],
                meta: json!({META_CALLER_API_KEY: "l"}),
                want: "credential_conflict",
            },
            Case {
                name: "repeated header",
                badge: &[b"a", b"a"],
                key: &[],
                meta: none(),
                want: "credential_malformed",
            },
            Case {
                name: "good then bad header",
                badge: &[b"good", b"bad"],
                key: &[],
                meta: none(),
                want: "credential_malformed",
            },
            Case { name: "empty header", badge: &[b""], key: &[], meta: none(), want: "credential_malformed" },
            Case {
                name: "header with a space",
                badge: &[b"a b"],
                key: &[],
                meta: none(),
                want: "credential_malformed",
            },
            Case { name: "header not UTF-8", badge: &[b"a\xff"], key: &[], meta: none(), want: "credential_malformed" },
            Case {
                name: "header too long",
                badge: std::slice::from_ref(Box::leak(Box::new(long))),
                key: &[],
                meta: none(),
                want: "credential_malformed",
            },
            Case {
                name: "meta number",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_BADGE: 1}),
                want: "badge_invalid",
            },
            Case {
                name: "meta null",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_BADGE: null}),
                want: "badge_invalid",
            },
            Case {
                name: "meta array",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_BADGE: ["m"]}),
                want: "badge_invalid",
            },
            Case {
                name: "meta empty",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_BADGE: ""}),
                want: "badge_invalid",
            },
            Case {
                name: "meta key object",
                badge: &[],
                key: &[],
                meta: json!({META_CALLER_API_KEY: {}}),
                want: "credential_malformed",
            },
            Case {
                name: "other case is no credential",
                badge: &[],
                key: &[],
                meta: json!({"Capiscio_Caller_Badge": "m"}),
                want: "anonymous",
            },
        ];
        for case in cases {
            let sources = CredentialSources {
                badge_headers: case.badge.to_vec(),
                api_key_headers: case.key.to_vec(),
                meta: case.meta.as_object(),
                ..CredentialSources::default()
            };
            assert_eq!(kind_of(CallerCredential::from_sources(&sources, true)), case.want, "{}", case.name);
        }
    }

    /// Attack: an OAuth access token on the same endpoint is mistaken for a badge, or a badge is smuggled past a
    /// server that never agreed to read `Authorization`.
    #[test]
    fn s07_a_bearer_value_is_a_badge_only_if_configured_and_it_says_so() {
        let badge = token(&json!({"vc": {"type": ["VerifiableCredential", "AgentIdentity"]}}));
        let oauth = token(&json!({"scope": "files"}));
        let read = |header: &str, configured| {
            let sources =
                CredentialSources { authorization_headers: vec![header.as_bytes()], ..CredentialSources::default() };
            kind_of(CallerCredential::from_sources(&sources, configured))
        };
        assert_eq!(read(&format!("Bearer {badge}"), true), format!("badge {badge}"));
        assert_eq!(read(&format!("bEARER {badge}"), true), format!("badge {badge}"));
        assert_eq!(read(&format!("Bearer {badge}"), false), "anonymous");
        assert_eq!(read(&format!("Bearer {oauth}"), true), "anonymous");
        assert_eq!(read("Bearer opaque", true), "anonymous");
        assert_eq!(read(&format!("Basic {badge}"), true), "anonymous");

        let sources = CredentialSources {
            badge_headers: vec![b"other"],
            authorization_headers: vec![b"Bearer x"],
            ..CredentialSources::default()
        };
        assert_eq!(kind_of(CallerCredential::from_sources(&sources, true)), "badge other");
        let header = format!("Bearer {badge}");
        let sources = CredentialSources {
            badge_headers: vec![b"other"],
            authorization_headers: vec![header.as_bytes()],
            ..CredentialSources::default()
        };
        assert_eq!(kind_of(CallerCredential::from_sources(&sources, true)), "credential_conflict");
    }

    #[test]
    fn guard_keys_are_ours_and_the_peers() {
        for key in ["capiscio", "capiscio_caller_badge", "capiscio_pop_nonce", "rmcp-guard/pop-origin"] {
            assert!(is_guard_meta_key(key), "{key}");
        }
        for key in ["progressToken", "capiscious", "com.example/capiscio_x", "rmcp-guard"] {
            assert!(!is_guard_meta_key(key), "{key}");
        }
    }

    #[test]
    fn debug_never_shows_a_credential() {
        let shown = format!("{:?} {:?}", CallerCredential::badge("s3cret"), CallerCredential::api_key("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
