//! What a request brings: who asks, and a bounded JSON object.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use rmcp_guard::encoding::parse_unique_json;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ca::accounts::{self, Caller};
use crate::ca::api::{App, Peer};
use crate::ca::error::CaError;
use crate::ca::limits::network;
use crate::ca::policy::Ask;

/// The header with the API key; never `Authorization`, which carries badges.
pub(super) const KEY_HEADER: &str = "x-capiscio-registry-key";
/// The longest body: a proof of 24 KiB, or an event.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// To send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most entries of an audience, and the longest one.
const MAX_AUDIENCES: usize = 16;
const MAX_AUDIENCE_BYTES: usize = 512;

/// The value of a header that may come once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, CaError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(CaError::invalid("invalid_request", "a credential came twice"));
    }
    let text = value.to_str().map_err(|_| CaError::invalid("invalid_request", "a credential is not text"))?;
    Ok(Some(text))
}

pub(super) async fn caller(app: &Arc<App>, headers: &HeaderMap, address: IpAddr) -> Result<Option<Caller>, CaError> {
    let Some(key) = single(headers, KEY_HEADER)? else { return Ok(None) };
    let key = zeroize::Zeroizing::new(key.to_owned());
    let caller = app.blocking(move |app| app.store.read(|connection| accounts::authenticate(connection, &key))).await;
    match caller {
        Ok(caller) => {
            app.limits.calls.take(caller.key_id.clone(), Instant::now())?;
            Ok(Some(caller))
        }
        Err(error) => {
            app.limits.unauthorized.take(network(address), Instant::now())?;
            Err(error)
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = CaError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, CaError> {
        let Peer(address) = Peer::from_request_parts(parts, app).await?;
        let caller = caller(app, &parts.headers, address).await?;
        caller.ok_or_else(|| CaError::refused(401, "unauthorized", "an API key is needed"))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = CaError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, CaError> {
        parts.extensions.get::<Self>().copied().ok_or(CaError::Worker)
    }
}

/// The JSON object of a request; no body is an empty one.
#[derive(Debug)]
pub(super) struct Object(pub(super) Map<String, Value>);

impl<S: Sync> FromRequest<S> for Object {
    type Rejection = CaError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, CaError> {
        let invalid = |message: &str| CaError::invalid("invalid_request", message);
        let media = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let media = media.map(|media| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(Map::new()));
        }
        if media.as_deref() != Some("application/json") {
            return Err(CaError::refused(415, "unsupported_media_type", "the body is not application/json"));
        }
        match parse_unique_json(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(invalid("the body is not a JSON object")),
            Err(_) => Err(invalid("the body is not JSON with unique member names")),
        }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, CaError> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => Err(CaError::refused(413, "body_too_large", "the body is longer than 64 KiB, or broke off")),
        Err(_) => Err(CaError::refused(408, "timeout", "the body did not arrive in time")),
    }
}

impl Object {
    /// The members that `T` knows; others are passed over.
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, CaError> {
        let parsed = serde_json::from_value(Value::Object(self.0));
        parsed.map_err(|_| CaError::invalid("invalid_request", "a member has the wrong type"))
    }
}

/// A reason for what is done; one spelling for all calls.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reason {
    pub(super) reason: Option<String>,
}

/// What a badge is asked to say, in every spelling that is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BadgeBody {
    pub(super) mode: Option<String>,
    domain: Option<String>,
    #[serde(alias = "trustLevel")]
    trust_level: Option<String>,
    badge_ttl: Option<u64>,
    ttl: Option<u64>,
    duration: Option<String>,
    badge_aud: Option<Audience>,
    #[serde(alias = "aud")]
    audience: Option<Audience>,
    pub(super) challenge_ttl: Option<u64>,
    pub(super) challenge_id: Option<String>,
    pub(super) proof_jws: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn entries(self) -> Vec<String> {
        match self {
            Self::One(entry) => vec![entry],
            Self::Many(entries) => entries,
        }
    }
}

impl BadgeBody {
    /// What all of it amounts to; spellings that contradict each other are refused.
    pub(super) fn ask(self) -> Result<Ask, CaError> {
        let level = self.trust_level.filter(|level| !level.is_empty()).map(|level| level.parse::<TrustLevel>());
        let level = level.transpose().map_err(|error| CaError::invalid("invalid_level", error.to_string()))?;
        let invalid = || CaError::invalid("invalid_ttl", "the duration is not one such as `5m0s`");
        let duration = self.duration.filter(|duration| !duration.is_empty());
        let duration = duration.map(|duration| humantime::parse_duration(&duration)).transpose();
        let duration = duration.map_err(|_| invalid())?.map(|duration| duration.as_secs());
        let mut lifetimes = [self.badge_ttl, self.ttl, duration].into_iter().flatten();
        let lifetime = lifetimes.next();
        if lifetimes.any(|other| Some(other) != lifetime) {
            return Err(CaError::invalid("invalid_ttl", "two members say different lifetimes"));
        }
        let audience = match (self.badge_aud, self.audience) {
            (Some(one), Some(other)) if one != other => {
                return Err(CaError::invalid("invalid_audience", "two members say different audiences"));
            }
            (one, other) => one.or(other).map(Audience::entries).unwrap_or_default(),
        };
        let fits = |entry: &String| {
            !entry.is_empty() && entry.len() <= MAX_AUDIENCE_BYTES && entry.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if audience.len() > MAX_AUDIENCES || !audience.iter().all(fits) {
            let message = "an audience is at most 16 names of at most 512 visible ASCII characters";
            return Err(CaError::invalid("invalid_audience", message));
        }
        let domain = self.domain.filter(|domain| !domain.is_empty());
        Ok(Ask { level, domain, audience, lifetime })
    }
}
