//! One request and its answer, each within bounds.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Method, Response, Url};
use zeroize::Zeroizing;

use super::{FetchError, FetchErrorKind};
use crate::clock::UnixSeconds;

/// The longest `Retry-After` that is believed: a registry may ask for patience, not switch us off.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The most bytes of an error's body that are read; they are a short message or not worth having.
pub const MAX_ERROR_BODY_BYTES: usize = 16 * 1024;

/// One request of this crate's own making.
pub(crate) struct FetchRequest<'a> {
    pub(crate) method: FetchMethod,
    pub(crate) url: &'a str,
    /// Header name, in lower case, and value; values are marked sensitive and never logged.
    pub(crate) headers: Vec<(&'static str, Zeroizing<String>)>,
    /// A JSON body.
    pub(crate) json: Option<Zeroizing<Vec<u8>>>,
    /// A plain text body, where there is none of JSON.
    pub(crate) text: Option<Vec<u8>>,
    /// Content types that count, without parameters; empty for any, also none.
    pub(crate) media: &'static [&'static str],
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchMethod {
    Get,
    Post,
    Put,
    Patch,
}

impl<'a> FetchRequest<'a> {
    pub(crate) const fn new(method: FetchMethod, url: &'a str) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            json: None,
            text: None,
            media: &[],
            max_bytes: 64 * 1024,
            timeout: None,
        }
    }

    pub(crate) const fn get(url: &'a str) -> Self {
        Self::new(FetchMethod::Get, url)
    }

    pub(crate) const fn accept(mut self, media: &'static [&'static str]) -> Self {
        self.media = media;
        self
    }

    pub(crate) fn text(mut self, text: Vec<u8>) -> Self {
        self.text = Some(text);
        self
    }

    pub(crate) const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

/// An answer whose body was read whole, within the limits. Redirects are errors and never get here.
pub(crate) struct FetchResponse {
    pub(crate) status: u16,
    /// `Retry-After`, at most [`MAX_RETRY_AFTER`]; a date there is measured from the answer's own `Date`.
    pub(crate) retry_after: Option<Duration>,
    /// The server's `Date`, to tell a wrong clock.
    pub(crate) date: Option<UnixSeconds>,
    /// Empty for a status other than 2xx whose body is of another type, too long or broken.
    pub(crate) body: Vec<u8>,
}

/// An answer may hold a badge, so its body is not shown.
impl std::fmt::Debug for FetchResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchResponse")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("date", &self.date)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Sends `request` to `url`, which is the request's own after the check.
pub(super) async fn exchange(
    client: &Client,
    url: Url,
    request: &FetchRequest<'_>,
) -> Result<FetchResponse, FetchError> {
    let response = to_reqwest(client, url, request)?.send().await.map_err(|error| classify(&error))?;
    let status = response.status();
    if status.is_redirection() && status.as_u16() != 304 {
        return Err(FetchError::new(FetchErrorKind::Redirect));
    }
    let date = http_date(response.headers(), &DATE);
    let retry_after = retry_after(response.headers(), date);
    let body = if status.is_success() {
        read(response, request.media, request.max_bytes).await?
    } else {
        // The status is the news; a page of HTML beside it must not hide it.
        read(response, request.media, request.max_bytes.min(MAX_ERROR_BODY_BYTES)).await.unwrap_or_default()
    };
    Ok(FetchResponse { status: status.as_u16(), retry_after, date, body })
}

fn to_reqwest(client: &Client, url: Url, request: &FetchRequest<'_>) -> Result<reqwest::RequestBuilder, FetchError> {
    let method = match request.method {
        FetchMethod::Get => Method::GET,
        FetchMethod::Post => Method::POST,
        FetchMethod::Put => Method::PUT,
        FetchMethod::Patch => Method::PATCH,
    };
    let unusable = || FetchError::new(FetchErrorKind::Request);
    let mut headers = HeaderMap::new();
    // A compressed answer could be a thousand times what the limit lets in.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !request.media.is_empty() {
        headers.insert(ACCEPT, HeaderValue::from_str(&request.media.join(", ")).map_err(|_| unusable())?);
    }
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut builder = client.request(method, url);
    if let Some(json) = &request.json {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        builder = builder.body(json.to_vec());
    } else if let Some(text) = &request.text {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        builder = builder.body(text.clone());
    }
    Ok(builder.headers(headers))
}

/// The body, of one of the `media` and of at most `max_bytes`. Neither another type nor a longer one is read.
async fn read(mut response: Response, media: &[&str], max_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let refuse = |kind| Err(FetchError::new(kind));
    let empty_by_status = matches!(response.status().as_u16(), 204 | 205);
    if !empty_by_status && !media.is_empty() && !is_media(response.headers(), media) {
        return refuse(FetchErrorKind::ContentType);
    }
    if response.headers().get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return refuse(FetchErrorKind::Body);
    }
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    if response.content_length().is_some_and(|length| length > limit) {
        return refuse(FetchErrorKind::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if chunk.len() > max_bytes.saturating_sub(body.len()) {
            return refuse(FetchErrorKind::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether there is one `Content-Type` (RFC 9110 §8.3) and its type, without parameters, is among `media`.
fn is_media(headers: &HeaderMap, media: &[&str]) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    media.iter().any(|media| media.eq_ignore_ascii_case(essence))
}

fn http_date(headers: &HeaderMap, name: &HeaderName) -> Option<UnixSeconds> {
    let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    (date >= UNIX_EPOCH).then(|| date.into())
}

/// `Retry-After` (RFC 9110 §10.2.3) in seconds or as a date, which only the server's clock can measure.
fn retry_after(headers: &HeaderMap, date: Option<UnixSeconds>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // more digits than a number holds are still a very long time
        text.parse().unwrap_or(u64::MAX)
    } else {
        let until = http_date(headers, &RETRY_AFTER)?;
        u64::try_from(until.as_i64().saturating_sub(date?.as_i64())).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// What kind of failure lies at the bottom of reqwest's error. Nothing else of it is kept: it names the URL.
fn classify(error: &reqwest::Error) -> FetchError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    let mut io = None;
    while let Some(cause) = source {
        if let Some(own) = cause.downcast_ref::<FetchError>() {
            return own.clone();
        }
        source = match cause.downcast_ref::<std::io::Error>() {
            Some(error) => {
                io = Some(error.kind());
                // `source` of an error made of another one is that one's source, which would skip a link
                error.get_ref().map(|inner| inner as &(dyn Error + 'static))
            }
            None => cause.source(),
        };
    }
    let kind = if error.is_timeout() {
        FetchErrorKind::Timeout
    } else if error.is_dns() {
        FetchErrorKind::Dns
    } else if error.is_connect() {
        // rustls reports by `InvalidData` what it will not accept, and an end in the middle of the handshake as such
        match io {
            Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) => FetchErrorKind::Tls,
            _ => FetchErrorKind::Connect,
        }
    } else if error.is_builder() {
        FetchErrorKind::Request
    } else {
        FetchErrorKind::Body
    };
    FetchError::new(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: Pairs) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn media_types_compare_without_case_and_parameters_and_come_once() {
        let json: &[&str] = &["application/json", "application/did+json"];
        let cases: [(Pairs, bool); 8] = [
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=utf-8")], true),
            (&[("content-type", "application/did+json ;x=y")], true),
            (&[("content-type", "application/jsonp")], false),
            (&[("content-type", "text/html")], false),
            (&[("content-type", "")], false),
            (&[], false),
            (&[("content-type", "application/json"), ("content-type", "text/html")], false),
        ];
        for (pairs, want) in cases {
            assert_eq!(is_media(&headers(pairs), json), want, "{pairs:?}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        const DATED: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases: [(Pairs, Option<u64>); 10] = [
            (&[("retry-after", "120")], Some(120)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "99999999999999999999999999")], Some(3600)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "Sun, 06 Nov 1994 08:51:37 GMT"), DATED], Some(120)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), DATED], Some(0)),
            (&[("retry-after", "Mon, 06 Nov 2034 08:49:37 GMT"), DATED], Some(3600)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:51:37 GMT")], None),
        ];
        for (pairs, want) in cases {
            let headers = headers(pairs);
            let date = http_date(&headers, &DATE);
            assert_eq!(retry_after(&headers, date), want.map(Duration::from_secs), "{pairs:?}");
        }
    }

    #[test]
    fn what_a_caller_puts_into_headers_is_sensitive() {
        let mut request = FetchRequest::get("https://example.com/");
        request.headers.push(("x-capiscio-registry-key", Zeroizing::new("secret".to_owned())));
        let url = Url::parse(request.url).unwrap();
        let request = to_reqwest(&Client::new(), url, &request).unwrap().build().unwrap();
        assert!(request.headers()["x-capiscio-registry-key"].is_sensitive());
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }
}
