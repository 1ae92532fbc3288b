use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::SessionBody;
use crate::enforce::class_of;
use crate::policy::{AuthLevel, DenyReason};

/// Why the layer answers in place of the inner service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The session id is repeated, too long or not visible ASCII.
    Malformed,
    /// The credential fails; with the kind of credential it was.
    Credential(DenyReason, AuthLevel),
    /// No such session, or not the caller's: one answer for both.
    NotFound,
    /// No room for the session or the stream.
    Full,
    /// The inner service made a session that cannot be bound.
    Unbindable,
}

impl Refusal {
    /// The stable code, for the record.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Malformed => DenyReason::RequestMalformed.code(),
            Self::Credential(reason, _) => reason.code(),
            Self::NotFound => DenyReason::SessionUnbound.code(),
            Self::Full => "session_limit",
            Self::Unbindable => DenyReason::InternalError.code(),
        }
    }

    /// The kind of credential that was presented, where one was looked at.
    pub(super) const fn credential(self) -> Option<AuthLevel> {
        match self {
            Self::Credential(_, kind) => Some(kind),
            Self::Malformed | Self::NotFound | Self::Full | Self::Unbindable => None,
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            // Nothing is wrong with a credential that could not be checked: a 401 would send the client to fetch another.
            Self::Credential(
                DenyReason::KeysUnavailable
                | DenyReason::RevocationCheckFailed
                | DenyReason::RateLimited
                | DenyReason::EvidenceUnavailable
                | DenyReason::InternalError,
                _,
            )
            | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Credential(..) => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unbindable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn response<RB>(self, challenge: &HeaderValue) -> Response<SessionBody<RB>> {
        // Whoever is refused here is not authenticated, and reads no more than the class of the reason (S36).
        let body = match self {
            Self::Credential(reason, kind) => {
                json!({ "reason": class_of(reason, kind).code(), "credential": kind.as_str() })
            }
            Self::Malformed | Self::NotFound | Self::Full | Self::Unbindable => json!({ "reason": self.code() }),
        };
        let mut response = Response::new(SessionBody::text(format!("{body}\n")));
        let status = self.status();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}
