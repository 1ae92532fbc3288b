//! The client's side of streamable HTTP, one level below rmcp's worker.
//!
//! It has to sit there: the worker repeats `initialize` by itself when a session expires, and nothing above it
//! would notice that another server answers. Here each handshake gets its own challenge and is verified anew,
//! response headers can be read, no redirect is followed (S23), and credentials are headers of single requests.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, SseError, StreamableHttpClient, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use sse_stream::{Sse, SseStream};

use super::gate::{Gate, Refusal, Release, Verdict, take_disclosure, without_guard_members};
use super::sse::EventLimit;
use super::transport::is_answer_to;
use crate::layer::headers;

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

type BoxedSse = BoxStream<'static, Result<Sse, SseError>>;
type HttpResult<T> = Result<T, StreamableHttpError<HttpError>>;

/// Why an HTTP exchange failed below the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the HTTP exchange failed: {0}")]
    Exchange(String),
}

/// As text with its causes, since rmcp's wrapper hides the source. Without the URL: a query may hold secrets.
fn exchange(error: reqwest::Error) -> StreamableHttpError<HttpError> {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    StreamableHttpError::Client(HttpError::Exchange(texts.join(": ")))
}

fn refused(refusal: Refusal) -> StreamableHttpError<HttpError> {
    StreamableHttpError::Client(HttpError::Refused(refusal))
}

/// The HTTP backend that rmcp's worker drives; clones share one gate.
#[derive(Clone, Debug)]
pub(super) struct VerifyingHttp {
    http: reqwest::Client,
    gate: Arc<Gate>,
}

/// One answered POST: what rmcp gets, and the headers it came with.
struct Answer {
    response: StreamableHttpPostResponse,
    headers: HeaderMap,
}

impl VerifyingHttp {
    /// `http` must follow no redirects.
    pub(super) const fn new(http: reqwest::Client, gate: Arc<Gate>) -> Self {
        Self { http, gate }
    }

    async fn handshake(
        &self,
        uri: &str,
        mut message: ClientJsonRpcMessage,
        session: Option<&str>,
        custom: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> HttpResult<StreamableHttpPostResponse> {
        let JsonRpcMessage::Request(request) = &mut message else {
            return Err(refused(Refusal::NotVerified));
        };
        let challenge = self.gate.challenge(&mut request.request).map_err(refused)?;
        let id = request.id.clone();
        let answer = self.exchange_post(uri, message, session, custom, None, limits).await?;
        let (mut message, session) = answer.response.expect_initialized::<HttpError>().await?;
        let JsonRpcMessage::Response(response) = &mut message else {
            // rmcp decides what a refused handshake means; the server stays unverified
            return Ok(StreamableHttpPostResponse::Json(message, session));
        };
        let Some(meta) = take_disclosure(&mut response.result).filter(|_| is_answer_to(&id, &response.id)) else {
            return Err(refused(self.gate.fail_unexpected_handshake()));
        };
        match Arc::clone(&self.gate).verify(challenge, meta, Some(answer.headers)).await {
            Verdict::Verified => Ok(StreamableHttpPostResponse::Json(message, session)),
            Verdict::Failed => Err(refused(self.gate.refusal())),
        }
    }

    async fn exchange_post(
        &self,
        uri: &str,
        message: ClientJsonRpcMessage,
        session: Option<&str>,
        custom: HashMap<HeaderName, HeaderValue>,
        credential: Option<HeaderMap>,
        limits: StreamableHttpResponseLimits,
    ) -> HttpResult<Answer> {
        let request = self.http.post(uri).header(ACCEPT, format!("{EVENT_STREAM}, {JSON}"));
        let request = with_headers(request, session, custom, credential).json(&message);
        let response = request.send().await.map_err(exchange)?;
        let headers = response.headers().clone();
        let response = read_answer(response, &Asked::about(&message, session.is_some()), limits).await?;
        Ok(Answer { response, headers })
    }
}

impl StreamableHttpClient for VerifyingHttp {
    type Error = HttpError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> HttpResult<StreamableHttpPostResponse> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session, auth, custom, limits).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> HttpResult<StreamableHttpPostResponse> {
        let mut limits = StreamableHttpResponseLimits::default();
        limits.max_sse_event_size = max_sse_event_size;
        self.post_message_with_response_limits(uri, message, session, auth, custom, limits).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> HttpResult<StreamableHttpPostResponse> {
        let release = match self.gate.admit(&message) {
            Ok(release) => release,
            // rmcp answers this by a new handshake, which is verified like the first
            Err(Refusal::NotVerified) if session.is_some() => return Err(StreamableHttpError::SessionExpired),
            Err(refusal) => return Err(refused(refusal)),
        };
        let message = without_guard_members(message).map_err(refused)?;
        let credential = match release {
            Release::Handshake => return self.handshake(&uri, message, session.as_deref(), custom, limits).await,
            Release::Ping => None,
            Release::Verified => Some(self.gate.credential_headers().map_err(refused)?),
        };
        let answer = match self.exchange_post(&uri, message, session.as_deref(), custom, credential, limits).await {
            Err(StreamableHttpError::SessionExpired) => {
                // whoever answers here does not know the session: a stranger until it is verified
                self.gate.forget();
                return Err(StreamableHttpError::SessionExpired);
            }
            answer => answer?,
        };
        self.gate.check_headers(&answer.headers).map_err(refused)?;
        Ok(answer.response)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> HttpResult<()> {
        let credential = self.gate.credential_headers().map_err(refused)?;
        let request = with_headers(self.http.delete(uri.as_ref()), Some(&session), custom, Some(credential));
        let status = request.send().await.map_err(exchange)?.status();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            return Err(StreamableHttpError::ServerDoesNotSupportDeleteSession);
        }
        if status.is_success() { Ok(()) } else { Err(unexpected(status)) }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> HttpResult<BoxedSse> {
        let max = StreamableHttpResponseLimits::default().max_sse_event_size;
        self.get_stream_with_max_sse_event_size(uri, session, last_event_id, auth, custom, max).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> HttpResult<BoxedSse> {
        let credential = self.gate.credential_headers().map_err(refused)?;
        let mut request = self.http.get(uri.as_ref()).header(ACCEPT, EVENT_STREAM);
        if let Some(id) = last_event_id {
            request = request.header(LAST_EVENT_ID, id);
        }
        let response =
            with_headers(request, session.as_deref(), custom, Some(credential)).send().await.map_err(exchange)?;
        self.gate.check_headers(response.headers()).map_err(refused)?;
        let status = response.status();
        // 404: the session is gone. Its streams end; the next POST finds out and starts a new session.
        if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        if let Some(error) = challenge_of(status, response.headers()) {
            return Err(error);
        }
        if !status.is_success() {
            return Err(status_error(status, response.headers()));
        }
        if !has_media_type(response.headers(), EVENT_STREAM) {
            return Err(StreamableHttpError::UnexpectedContentType(None));
        }
        Ok(events(response, max_sse_event_size))
    }
}

fn with_headers(
    mut request: RequestBuilder,
    session: Option<&str>,
    custom: HashMap<HeaderName, HeaderValue>,
    credential: Option<HeaderMap>,
) -> RequestBuilder {
    if let Some(session) = session {
        request = request.header(headers::MCP_SESSION_ID, session);
    }
    for (name, value) in custom {
        request = request.header(name, value);
    }
    match credential {
        // replaces: a custom header cannot present a second credential
        Some(credential) => request.headers(credential),
        None => request,
    }
}

/// What about the request decides how its answer is read.
struct Asked {
    discover: Option<RequestId>,
    awaits_answer: bool,
    in_session: bool,
}

impl Asked {
    fn about(message: &ClientJsonRpcMessage, in_session: bool) -> Self {
        let JsonRpcMessage::Request(request) = message else {
            return Self { discover: None, awaits_answer: false, in_session };
        };
        let discover = matches!(request.request, ClientRequest::DiscoverRequest(_)).then(|| request.id.clone());
        Self { discover, awaits_answer: true, in_session }
    }
}

async fn read_answer(
    response: Response,
    asked: &Asked,
    limits: StreamableHttpResponseLimits,
) -> HttpResult<StreamableHttpPostResponse> {
    let status = response.status();
    if let Some(error) = challenge_of(status, response.headers()) {
        return Err(error);
    }
    if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    if status == StatusCode::NOT_FOUND && asked.in_session {
        return Err(StreamableHttpError::SessionExpired);
    }
    let json = has_media_type(response.headers(), JSON);
    if !status.is_success() {
        return read_failure(response, json, asked, limits).await;
    }
    let session = response.headers().get(headers::MCP_SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    if has_media_type(response.headers(), EVENT_STREAM) {
        return Ok(StreamableHttpPostResponse::Sse(events(response, limits.max_sse_event_size), session));
    }
    if !asked.awaits_answer {
        // nothing in the body of an answer to a notification means anything
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    if !json {
        return Err(StreamableHttpError::UnexpectedContentType(None));
    }
    let body = read_body(response, limits.max_json_response_size).await?;
    Ok(StreamableHttpPostResponse::Json(serde_json::from_slice(&body)?, session))
}

/// A failure may still carry a JSON-RPC error that says more than its status.
async fn read_failure(
    response: Response,
    json: bool,
    asked: &Asked,
    limits: StreamableHttpResponseLimits,
) -> HttpResult<StreamableHttpPostResponse> {
    let status = response.status();
    let by_status = status_error(status, response.headers());
    let keeps_status =
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
    let error = if json && !keeps_status {
        let body = read_body(response, limits.max_json_response_size).await?;
        match serde_json::from_slice::<ServerJsonRpcMessage>(&body) {
            Ok(JsonRpcMessage::Error(error)) => Some(error),
            _ => None,
        }
    } else {
        None
    };
    // A server before 2026-07-28 refuses `server/discover` in ways that cannot echo its id. Without one rmcp could
    // not tell that the server is a legacy one.
    if let Some(id) = asked.discover.clone().filter(|_| status.is_client_error() && !keeps_status && !asked.in_session)
    {
        let data = error.map_or_else(
            || ErrorData::invalid_request(format!("server/discover was refused with HTTP {status}"), None),
            |error| error.error,
        );
        return Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::error(data, Some(id)), None));
    }
    match error {
        Some(error) => Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Error(error), None)),
        None => Err(by_status),
    }
}

async fn read_body(mut response: Response, max_size: usize) -> HttpResult<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(exchange)? {
        if body.len().saturating_add(chunk.len()) > max_size {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn events(response: Response, max_bytes: usize) -> BoxedSse {
    let mut limit = EventLimit::new(max_bytes);
    let bytes = response.bytes_stream().map(move |chunk| {
        let chunk = chunk.map_err(|error| std::io::Error::other(error.without_url()))?;
        limit.observe(&chunk).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(chunk)
    });
    SseStream::from_bytes_stream(bytes).boxed()
}

fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

fn challenge_of(status: StatusCode, headers: &HeaderMap) -> Option<StreamableHttpError<HttpError>> {
    let challenge = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?.to_owned();
    match status {
        StatusCode::UNAUTHORIZED => Some(StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge))),
        StatusCode::FORBIDDEN => {
            Some(StreamableHttpError::InsufficientScope(InsufficientScopeError::new(challenge, None)))
        }
        _ => None,
    }
}

fn status_error(status: StatusCode, headers: &HeaderMap) -> StreamableHttpError<HttpError> {
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        return HttpStatusError::new(status.as_u16(), retry_after).into();
    }
    unexpected(status)
}

/// Redirects end here too: none is followed, whatever its target.
fn unexpected(status: StatusCode) -> StreamableHttpError<HttpError> {
    StreamableHttpError::UnexpectedServerResponse(Cow::from(format!("HTTP {status}")))
}
