//! Requests to one registry: where they go, what they carry, when they are repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fluent_uri::Uri;
use fluent_uri::pct_enc::EString;
use fluent_uri::pct_enc::encoder::{Data, Path};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::encoding::parse_unique_json;
use crate::identity::fetch::{FetchErrorKind, FetchMethod, FetchRequest, Fetcher};
use crate::identity::registry::error::{RegistryError, RegistryErrorKind};
use crate::identity::server::{Channel, HttpOrigin, MAX_URL_BYTES};

/// The largest answer that is read; they are a few kilobytes, a list of agents may be more.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The longest API key; the longest known are under 100 bytes, and servers stop at 8 KiB of headers.
pub const MAX_API_KEY_BYTES: usize = 4 * 1024;
/// The longest id in a path: that of a DID.
pub const MAX_ID_BYTES: usize = crate::identity::did::MAX_DID_BYTES;
/// How long one attempt may take (wire protocol: 30 s for registration).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

const JSON: &[&str] = &["application/json"];
const KEY_HEADER: &str = "x-capiscio-registry-key";
const BADGE_HEADER: &str = "x-capiscio-badge";

/// A registry's API key. It is wiped when dropped and never shown.
#[derive(Clone)]
pub struct ApiKey(Arc<Zeroizing<String>>);

impl ApiKey {
    /// Wraps a key.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(key.into())))
    }

    pub(super) fn is_usable(&self) -> bool {
        (1..=MAX_API_KEY_BYTES).contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// When a call that failed is made again: exponential backoff with full jitter. Only failures that may pass by
/// themselves, and only calls that do no harm twice, are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain settings, all of them")]
pub struct RetryPolicy {
    /// How often a call is made at most; 0 counts as 1.
    pub max_attempts: u32,
    /// The longest wait before the second attempt; it doubles from then on.
    pub base_delay: Duration,
    /// The longest wait, unless the registry asks for more.
    pub max_delay: Duration,
    /// From the first attempt on, no attempt begins later than this.
    pub max_elapsed: Duration,
}

impl Default for RetryPolicy {
    /// 4 attempts within 30 s, waits of at most 250 ms, 500 ms and 1 s.
    fn default() -> Self {
        Self {
            max_attempts: 4,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(5),
            max_elapsed: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Every call is made once.
    #[must_use]
    pub const fn never() -> Self {
        Self { max_attempts: 1, base_delay: Duration::ZERO, max_delay: Duration::ZERO, max_elapsed: Duration::ZERO }
    }

    /// The wait after the `failed`th attempt (from 1 on) that ended `elapsed` after the first began; `None` to give up.
    fn wait(&self, failed: u32, elapsed: Duration, asked: Option<Duration>, random: u64) -> Option<Duration> {
        if failed >= self.max_attempts {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(20);
        let ceiling = self.base_delay.saturating_mul(1_u32 << doublings).min(self.max_delay);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        let jittered = Duration::from_nanos(random.checked_rem(nanos.saturating_add(1)).unwrap_or(0));
        // Nobody is served by asking earlier than the registry wants, nor all clients at once when it is up again.
        let wait = asked.unwrap_or_default().saturating_add(jittered);
        (elapsed.saturating_add(wait) <= self.max_elapsed).then_some(wait)
    }
}

/// Whether a call may be made again after an attempt that may have reached the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is doing it once.
    Always,
    /// Only when the registry cannot have acted on the attempt.
    Unsent,
}

/// Who speaks.
#[derive(Clone, Copy)]
pub(super) enum Speaker<'a> {
    /// The holder of the API key.
    Key,
    /// The subject of this badge.
    Badge(&'a str),
    /// Nobody: the body says it all.
    Nobody,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: FetchMethod,
    pub(super) url: String,
    pub(super) speaker: Speaker<'a>,
    pub(super) body: Option<Value>,
    pub(super) repeat: Repeat,
}

/// Sends calls to one registry.
#[derive(Clone)]
pub(super) struct Transport {
    fetcher: Fetcher,
    /// Origin and path prefix, without a trailing slash.
    base: Arc<str>,
    origin: HttpOrigin,
    key: Option<ApiKey>,
    retry: RetryPolicy,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).field("retry", &self.retry).finish_non_exhaustive()
    }
}

impl Transport {
    pub(super) fn new(base_url: &str, key: Option<ApiKey>, fetcher: Fetcher) -> Result<Self, RegistryError> {
        let (origin, base) = parse_base(base_url).ok_or(RegistryError::new(RegistryErrorKind::Url))?;
        if key.as_ref().is_some_and(|key| !key.is_usable()) {
            return Err(RegistryError::new(RegistryErrorKind::ApiKey));
        }
        Ok(Self { fetcher, base: base.into(), origin, key, retry: RetryPolicy::default() })
    }

    pub(super) const fn set_retry(&mut self, retry: RetryPolicy) {
        self.retry = retry;
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) const fn origin(&self) -> &HttpOrigin {
        &self.origin
    }

    /// Whether the path of `url` lies below that of the base; its origin is not looked at.
    pub(super) fn holds_path_of(&self, url: &str) -> bool {
        let base = self.base.strip_prefix(self.origin.as_str()).unwrap_or_default();
        Uri::parse(url).is_ok_and(|url| {
            let url = url.normalize();
            url.path().as_str().strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
        })
    }

    pub(super) const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The URL of `segments` below the base; each is one path segment, whatever it holds.
    pub(super) fn url(&self, segments: &[&str]) -> Result<String, RegistryError> {
        let mut path = EString::<Path>::new();
        for segment in segments {
            // The two names that would climb or stay, and what no id is.
            if matches!(*segment, "" | "." | "..") || segment.len() > MAX_ID_BYTES {
                return Err(RegistryError::new(RegistryErrorKind::Argument));
            }
            path.push('/');
            path.encode_str::<Data>(segment);
        }
        Ok(format!("{}{}", self.base, path.as_str()))
    }

    /// `text` as a value in a query.
    pub(super) fn encode(text: &str) -> String {
        let mut encoded = EString::<Path>::new();
        encoded.encode_str::<Data>(text);
        encoded.into_string()
    }

    /// Makes the call, again where that is right, and returns the JSON object of a 2xx; an empty one for an empty body.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Map<String, Value>, RegistryError> {
        let began = Instant::now();
        let mut failed = 0_u32;
        loop {
            let error = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed = failed.saturating_add(1);
            let wait = may_repeat(&error, call.repeat)
                .then(|| self.retry.wait(failed, began.elapsed(), error.retry_after(), random()))
                .flatten();
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(
                reason = %error,
                failed,
                wait_ms = wait.as_millis(),
                "registry call repeated"
            );
            sleep(wait).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Map<String, Value>, RegistryError> {
        let mut request = FetchRequest::new(call.method, &call.url).accept(JSON).max_bytes(MAX_ANSWER_BYTES);
        request.timeout = Some(ATTEMPT_TIMEOUT);
        let key = self.key.as_ref().map(|key| key.0.as_str());
        match (call.speaker, key) {
            (Speaker::Key, Some(key)) => request.headers.push((KEY_HEADER, Zeroizing::new(key.to_owned()))),
            (Speaker::Badge(badge), _) => request.headers.push((BADGE_HEADER, Zeroizing::new(badge.to_owned()))),
            (Speaker::Key, None) => return Err(RegistryError::new(RegistryErrorKind::ApiKey)),
            (Speaker::Nobody, _) => {}
        }
        if let Some(body) = &call.body {
            let json = serde_json::to_vec(body).map_err(|_| RegistryError::new(RegistryErrorKind::Argument))?;
            request.json = Some(Zeroizing::new(json));
        }
        let response = self.fetcher.send(request).await.map_err(|error| RegistryError::of_fetch(&error))?;
        let body = Zeroizing::new(response.body);
        if !(200..300).contains(&response.status) {
            let error = RegistryError::of_answer(response.status, response.retry_after, &body, key.into_iter());
            return Err(error);
        }
        if body.is_empty() {
            return Ok(Map::new());
        }
        match parse_unique_json(&body) {
            Ok(Value::Object(members)) if !is_failure(&members) => Ok(members),
            _ => Err(RegistryError::new(RegistryErrorKind::Answer).with_status(response.status)),
        }
    }
}

/// Whether an answer of a good status reports a failure all the same.
fn is_failure(members: &Map<String, Value>) -> bool {
    let error = members.get("error").is_some_and(|error| !error.is_null() && error.as_str() != Some(""));
    error || members.get("success") == Some(&Value::Bool(false))
}

/// Whether another attempt may succeed and can do no harm.
fn may_repeat(error: &RegistryError, repeat: Repeat) -> bool {
    use RegistryErrorKind::{RateLimited, Unavailable, Unreachable};

    let kind = error.kind();
    let unsent =
        matches!(kind, RateLimited | Unreachable(FetchErrorKind::Dns | FetchErrorKind::Connect | FetchErrorKind::Busy));
    let unsure = matches!(kind, Unavailable | Unreachable(FetchErrorKind::Timeout | FetchErrorKind::Body));
    unsent || (unsure && repeat == Repeat::Always)
}

/// Origin and normal form of a base URL: https, or http for this machine, with plain path segments and nothing else.
fn parse_base(text: &str) -> Option<(HttpOrigin, String)> {
    if text.len() > MAX_URL_BYTES || text.contains(['?', '#', '%', '\\']) {
        return None;
    }
    let origin = Channel::http(text).ok()?.origin()?.clone();
    if !origin.is_tls() && !origin.is_loopback() {
        return None;
    }
    let (_, rest) = text.split_once("://")?;
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    let mut base = origin.as_str().to_owned();
    for segment in path.split('/').filter(|_| !path.is_empty()) {
        if matches!(segment, "" | "." | "..") {
            return None;
        }
        base.push('/');
        base.push_str(segment);
    }
    Some((origin, base))
}

/// A random number; without randomness the largest, which waits longest.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_an_origin_and_a_plain_path() {
        let cases = [
            ("https://registry.capisc.io", Some("https://registry.capisc.io")),
            ("https://registry.capisc.io/", Some("https://registry.capisc.io")),
            ("https://Registry.capisc.io:443/base/v2/", Some("https://registry.capisc.io/base/v2")),
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("http://127.0.0.1:8080/x", Some("http://127.0.0.1:8080/x")),
            ("http://registry.capisc.io", None),
            ("ftp://registry.capisc.io", None),
            ("registry.capisc.io", None),
            ("https://user@registry.capisc.io", None),
            ("https://registry.capisc.io?x=1", None),
            ("https://registry.capisc.io#x", None),
            ("https://registry.capisc.io/a/../b", None),
            ("https://registry.capisc.io/a//b", None),
            ("https://registry.capisc.io/%2e%2e/b", None),
            ("https://registry.capisc.io\\@evil.test", None),
            ("", None),
        ];
        for (text, base) in cases {
            assert_eq!(parse_base(text).map(|(_, base)| base).as_deref(), base, "{text}");
        }
    }

    #[test]
    fn waits_grow_are_jittered_and_end() {
        let policy = RetryPolicy::default();
        let most = |failed, asked| policy.wait(failed, Duration::ZERO, asked, 250_000_000);
        assert_eq!(most(1, None), Some(Duration::from_millis(250)));
        assert_eq!(policy.wait(1, Duration::ZERO, None, 250_000_001), Some(Duration::ZERO));
        assert_eq!(policy.wait(3, Duration::ZERO, None, 1_000_000_000), Some(Duration::from_secs(1)));
        assert_eq!(most(4, None), None);
        assert_eq!(most(1, Some(Duration::from_secs(7))), Some(Duration::from_millis(7_250)));
        assert_eq!(most(1, Some(Duration::from_secs(31))), None);
        assert_eq!(policy.wait(1, Duration::from_secs(30), None, 250_000_000), None);
        let endless = RetryPolicy { max_attempts: u32::MAX, max_elapsed: Duration::MAX, ..policy };
        assert!(endless.wait(u32::MAX - 1, Duration::ZERO, None, u64::MAX).unwrap() <= policy.max_delay);
        assert_eq!(RetryPolicy::never().wait(1, Duration::ZERO, None, 0), None);
    }

    #[test]
    fn a_key_is_one_line_of_visible_ascii() {
        assert!(ApiKey::new("sk_live_1").is_usable());
        for bad in ["", "a b", "a\n", "a\r\nx: y", "é", "\"\u{7f}", &"a".repeat(MAX_API_KEY_BYTES + 1)] {
            assert!(!ApiKey::new(bad).is_usable(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", ApiKey::new("secret")), "ApiKey(..)");
    }
}
