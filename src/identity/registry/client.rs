//! One method per call of the registry's HTTP API.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::UnixSeconds;
use crate::identity::badge::{ClaimedIdentity, UnverifiedBadge};
use crate::identity::did::Did;
use crate::identity::fetch::{FetchErrorKind, FetchMethod, Fetcher};
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::pop::issuance::OfferedChallenge;
use crate::identity::registry::error::{RegistryError, RegistryErrorKind};
use crate::identity::registry::event::PolicyEvent;
use crate::identity::registry::transport::{ApiKey, Call, Repeat, RetryPolicy, Speaker, Transport};
use crate::identity::server::HttpOrigin;

/// A badge that a registry issued. Nothing about it is verified.
#[derive(Clone)]
#[non_exhaustive]
pub struct IssuedBadge {
    /// The compact JWS.
    pub token: Arc<str>,
    /// Its `jti`, if it names one.
    pub jti: Option<String>,
    /// Its `sub`, if it names one.
    pub subject: Option<String>,
    /// Its `exp`.
    pub expires_at: UnixSeconds,
}

impl fmt::Debug for IssuedBadge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedBadge")
            .field("jti", &self.jti)
            .field("subject", &self.subject)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl IssuedBadge {
    /// Reads the token at `data.badge`, `data.token`, `badge` or `token`, in this order.
    fn of_answer(answer: &Map<String, Value>) -> Result<Self, RegistryError> {
        let nested = answer.get("data").and_then(Value::as_object);
        let token = [nested, Some(answer)]
            .into_iter()
            .flatten()
            .flat_map(|members| ["badge", "token"].into_iter().filter_map(|name| members.get(name)?.as_str()))
            .find(|token| !token.is_empty());
        token.and_then(Self::read).ok_or(RegistryError::new(RegistryErrorKind::Answer))
    }

    /// A badge whose expiry cannot be read could never be renewed in time.
    fn read(token: &str) -> Option<Self> {
        let badge = UnverifiedBadge::parse(token).ok()?;
        let expires_at = badge.claimed_expires_at()?;
        let ClaimedIdentity { jti, subject, .. } = badge.identity();
        Some(Self { token: token.into(), jti, subject, expires_at })
    }

    /// Refuses a badge that names another DID, or another key than `key`.
    pub(super) fn check_is_about(&self, did: &Did, key: &PublicKey) -> Result<(), RegistryError> {
        let names_did = self.subject.as_deref().is_some_and(|subject| did.is_named_by(subject));
        let badge = UnverifiedBadge::parse(&self.token).ok();
        let jwk = badge.as_ref().and_then(|badge| badge.claims().get("key"));
        let names_key = jwk.is_none_or(|jwk| PublicKey::from_jwk(jwk).is_ok_and(|named| named == *key));
        if names_did && names_key { Ok(()) } else { Err(RegistryError::new(RegistryErrorKind::ForeignBadge)) }
    }
}

/// What a registry says about a server. Its text is the registry's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredServer {
    /// The server's id.
    pub id: String,
    /// The organization that owns it.
    pub org_id: Option<String>,
}

/// What a registry says about an agent. Its text is the registry's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredAgent {
    /// The agent's id.
    pub id: String,
    /// Its DID, if it has one.
    pub did: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
}

/// What a badge shall say. The registry decides what it grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadgeOptions {
    /// The domain to name.
    pub domain: Option<String>,
    /// From issue to expiry; the registry's default otherwise.
    pub lifetime: Option<Duration>,
    /// Who the badge is made out to.
    pub audience: Vec<String>,
}

impl BadgeOptions {
    /// Whatever the registry issues by default.
    #[must_use]
    pub const fn new() -> Self {
        Self { domain: None, lifetime: None, audience: Vec::new() }
    }

    /// With a domain.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// With a lifetime, in whole seconds.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Made out to one more audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        if let Some(lifetime) = self.lifetime {
            members.insert("badge_ttl".to_owned(), lifetime.as_secs().into());
        }
        if !self.audience.is_empty() {
            members.insert("badge_aud".to_owned(), self.audience.clone().into());
        }
        // RFC-003 has no such member for a challenge; a registry that does not know it passes it over.
        if let Some(domain) = &self.domain {
            members.insert("domain".to_owned(), domain.as_str().into());
        }
        members
    }
}

/// Talks to one registry. Clones share connections.
///
/// The API key goes to the origin of the base URL only, in a header of its own, never along a redirect. A call that
/// failed is repeated where it does no harm twice ([`RetryPolicy`]); a 4xx other than 429 never is.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    transport: Transport,
    proof_authority: Option<HttpOrigin>,
}

impl RegistryClient {
    /// A client of the registry at `base_url`: https, or http for this machine; a path may follow the host. Without
    /// `key` only calls that prove themselves are made.
    ///
    /// # Errors
    /// [`RegistryErrorKind::Url`] or [`RegistryErrorKind::ApiKey`].
    pub fn new(base_url: &str, key: Option<ApiKey>, fetcher: Fetcher) -> Result<Self, RegistryError> {
        Ok(Self { transport: Transport::new(base_url, key, fetcher)?, proof_authority: None })
    }

    /// With other rules for repeating calls.
    #[must_use]
    pub const fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.transport.set_retry(retry);
        self
    }

    /// Signs challenges that name `origin`, at any path, instead of the base URL's: for a registry that is asked by an
    /// inner address and calls itself by its public one.
    ///
    /// # Errors
    /// [`RegistryErrorKind::Url`] unless `origin` is one.
    pub fn with_proof_authority(mut self, origin: &str) -> Result<Self, RegistryError> {
        let origin = HttpOrigin::parse(origin).map_err(|_| RegistryError::new(RegistryErrorKind::Url))?;
        self.proof_authority = Some(origin);
        Ok(self)
    }

    /// The base URL in normal form, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.transport.base()
    }

    /// The registry's origin.
    #[must_use]
    pub const fn origin(&self) -> &HttpOrigin {
        self.transport.origin()
    }

    /// Whether the client has an API key.
    #[must_use]
    pub const fn has_key(&self) -> bool {
        self.transport.has_key()
    }

    /// Registers DID and key of the server `id`, or replaces them: `PUT /v1/sdk/servers/{id}`.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryErrorKind::NotFound`] for an id that the registry does not have, which is never
    /// created here ([`create_server`](Self::create_server)).
    pub async fn register_server(
        &self,
        id: &str,
        did: &Did,
        key: &PublicKey,
    ) -> Result<RegisteredServer, RegistryError> {
        let url = self.transport.url(&["v1", "sdk", "servers", id])?;
        let body = json!({ "did": did.as_str(), "publicKey": spki(key)? });
        let answer = self.call(FetchMethod::Put, url, body, Repeat::Always).await?;
        let data = answer.get("data").filter(|data| data.is_object());
        let data = data.ok_or(RegistryError::new(RegistryErrorKind::Answer))?;
        // A registry that calls it by another id has not registered what was asked.
        match text(data, "id") {
            Some(other) if other != id => Err(RegistryError::new(RegistryErrorKind::Answer)),
            _ => Ok(RegisteredServer { id: id.to_owned(), org_id: text(data, "orgId") }),
        }
    }

    /// Creates a server: `POST /v1/sdk/servers`. The id is the registry's choice.
    ///
    /// A server that has the DID already is returned in place of a second one, before the call and after one whose
    /// answer was lost; a registry that has no such look-up is asked once and not again.
    ///
    /// # Errors
    /// [`RegistryError`], also when the look-up failed: nothing is created then.
    pub async fn create_server(
        &self,
        name: &str,
        did: &Did,
        key: &PublicKey,
    ) -> Result<RegisteredServer, RegistryError> {
        match self.find_server(did).await {
            Ok(Some(known)) => return Ok(known),
            // It may have the server and cannot say so now; another would be a second identity.
            Err(error) if !cannot_look_up(&error) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let url = self.transport.url(&["v1", "sdk", "servers"])?;
        let body = json!({ "name": name, "did": did.as_str(), "publicKey": spki(key)? });
        match self.call(FetchMethod::Post, url, body, Repeat::Unsent).await {
            Ok(answer) => {
                let data = answer.get("data").unwrap_or(&Value::Null);
                let id = text(data, "id").ok_or(RegistryError::new(RegistryErrorKind::Answer))?;
                Ok(RegisteredServer { id, org_id: text(data, "orgId") })
            }
            Err(error) if may_have_acted(&error) => self.find_server(did).await.ok().flatten().ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The account's server with `did`: `GET /v1/sdk/servers?did=`. Not every registry has this call.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn find_server(&self, did: &Did) -> Result<Option<RegisteredServer>, RegistryError> {
        let found = self.find("servers", did).await?;
        Ok(found.map(|(id, entry)| RegisteredServer { id, org_id: text(&entry, "orgId") }))
    }

    /// A badge for the server `id`: `POST /v1/sdk/servers/{id}/badge`. Nothing about it is verified.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryErrorKind::Answer`] when what came is not a badge with an expiry.
    pub async fn server_badge(&self, id: &str, domain: Option<&str>) -> Result<IssuedBadge, RegistryError> {
        let url = self.transport.url(&["v1", "sdk", "servers", id, "badge"])?;
        let body = domain.map_or_else(|| json!({}), |domain| json!({ "domain": domain }));
        IssuedBadge::of_answer(&self.call(FetchMethod::Post, url, body, Repeat::Always).await?)
    }

    /// The account's agent with `did`: `GET /v1/sdk/agents?did=`. Never another one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn find_agent(&self, did: &Did) -> Result<Option<RegisteredAgent>, RegistryError> {
        let found = self.find("agents", did).await?;
        Ok(found.map(|(id, entry)| RegisteredAgent { id, did: text(&entry, "did"), name: text(&entry, "name") }))
    }

    /// Sets the DID of the agent `id`: `PATCH /v1/sdk/agents/{id}/identity`.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryErrorKind::Conflict`] when the agent has another DID.
    pub async fn set_agent_did(&self, id: &str, did: &Did) -> Result<(), RegistryError> {
        let url = self.transport.url(&["v1", "sdk", "agents", id, "identity"])?;
        self.call(FetchMethod::Patch, url, json!({ "did": did.as_str() }), Repeat::Always).await?;
        Ok(())
    }

    /// A badge of IAL-0 for the agent `did`, by the account's word: `POST /v1/agents/{did}/badge`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn agent_badge(&self, did: &Did, options: &BadgeOptions) -> Result<IssuedBadge, RegistryError> {
        let url = self.transport.url(&["v1", "agents", did.as_str(), "badge"])?;
        let mut body = options.members();
        body.insert("mode".to_owned(), "ial0".into());
        IssuedBadge::of_answer(&self.call(FetchMethod::Post, url, body.into(), Repeat::Always).await?)
    }

    /// A challenge for a badge of IAL-1: `POST /v1/agents/{did}/badge/challenge` (RFC-003, phase 1). `badge` is a CA
    /// badge of the same subject, which speaks where the client has no API key.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn badge_challenge(
        &self,
        did: &Did,
        options: &BadgeOptions,
        badge: Option<&str>,
    ) -> Result<OfferedChallenge, RegistryError> {
        let speaker = match badge {
            Some(badge) if !self.has_key() => Speaker::Badge(badge),
            _ => Speaker::Key,
        };
        let call = Call {
            method: FetchMethod::Post,
            url: self.transport.url(&["v1", "agents", did.as_str(), "badge", "challenge"])?,
            speaker,
            body: Some(options.members().into()),
            repeat: Repeat::Always,
        };
        let answer = self.transport.send(&call).await?;
        read_challenge(&answer).ok_or(RegistryError::new(RegistryErrorKind::Answer))
    }

    /// Hands in the proof for a challenge: `POST /v1/agents/{did}/badge` (RFC-003, phase 2), and only after a 404
    /// `…/badge/pop`, where other registries take it. The API key stays out of it: the proof says it all.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn submit_proof(&self, did: &Did, challenge_id: &str, proof: &str) -> Result<IssuedBadge, RegistryError> {
        let call = |url| Call {
            method: FetchMethod::Post,
            url,
            speaker: Speaker::Nobody,
            body: Some(json!({ "mode": "ial1", "challenge_id": challenge_id, "proof_jws": proof })),
            repeat: Repeat::Unsent,
        };
        let path = ["v1", "agents", did.as_str(), "badge", "pop"];
        let rfc = self.transport.url(path.get(..4).unwrap_or(&path))?;
        let answer = match self.transport.send(&call(rfc)).await {
            Err(error) if error.kind() == RegistryErrorKind::NotFound => {
                self.transport.send(&call(self.transport.url(&path)?)).await?
            }
            answer => answer?,
        };
        IssuedBadge::of_answer(&answer)
    }

    /// A badge of IAL-1: challenge, proof, badge. `kid` names `key` in the DID document of `did`, and `now` is this
    /// machine's time.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryErrorKind::Challenge`] when the challenge is not one to sign.
    pub async fn agent_badge_by_proof(
        &self,
        did: &Did,
        key: &SigningKey,
        kid: &str,
        options: &BadgeOptions,
        badge: Option<&str>,
        now: impl Fn() -> UnixSeconds + Send,
    ) -> Result<IssuedBadge, RegistryError> {
        let challenge = self.badge_challenge(did, options, badge).await?;
        // Under one origin several registries may live, each at a path of its own.
        if self.proof_authority.is_none() && !self.transport.holds_path_of(&challenge.htu) {
            return Err(RegistryError::new(RegistryErrorKind::Challenge));
        }
        let authority = self.proof_authority.as_ref().unwrap_or_else(|| self.origin()).as_str();
        let proof = challenge
            .answer(did, key, kid, authority, now())
            .map_err(|_| RegistryError::new(RegistryErrorKind::Challenge))?;
        self.submit_proof(did, &challenge.challenge_id, &proof).await
    }

    /// Reports a decision: `POST /v1/events`. The event's id stays the same when the call is repeated.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn post_event(&self, event: &PolicyEvent) -> Result<(), RegistryError> {
        let url = self.transport.url(&["v1", "events"])?;
        self.call(FetchMethod::Post, url, event.to_json(), Repeat::Always).await?;
        Ok(())
    }

    /// Revokes an agent's badge: `POST /v1/badges/{jti}/revoke`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn revoke_badge(&self, jti: &str, reason: Option<&str>) -> Result<(), RegistryError> {
        self.state(&["v1", "badges", jti, "revoke"], reason).await
    }

    /// Revokes a server's badge: `POST /v1/sdk/servers/badges/{jti}/revoke`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn revoke_server_badge(&self, jti: &str, reason: Option<&str>) -> Result<(), RegistryError> {
        self.state(&["v1", "sdk", "servers", "badges", jti, "revoke"], reason).await
    }

    /// Disables an agent: `POST /v1/agents/{did}/disable`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn disable_agent(&self, did: &Did, reason: Option<&str>) -> Result<(), RegistryError> {
        self.state(&["v1", "agents", did.as_str(), "disable"], reason).await
    }

    async fn state(&self, path: &[&str], reason: Option<&str>) -> Result<(), RegistryError> {
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        self.call(FetchMethod::Post, self.transport.url(path)?, body, Repeat::Always).await?;
        Ok(())
    }

    async fn call(
        &self,
        method: FetchMethod,
        url: String,
        body: Value,
        repeat: Repeat,
    ) -> Result<Map<String, Value>, RegistryError> {
        self.transport.send(&Call { method, url, speaker: Speaker::Key, body: Some(body), repeat }).await
    }

    /// The entry of a list whose DID is `did`: a registry that ignores the filter answers with others too.
    async fn find(&self, kind: &str, did: &Did) -> Result<Option<(String, Value)>, RegistryError> {
        let list = self.transport.url(&["v1", "sdk", kind])?;
        let url = format!("{list}?did={}", Transport::encode(did.as_str()));
        let call = Call { method: FetchMethod::Get, url, speaker: Speaker::Key, body: None, repeat: Repeat::Always };
        let mut answer = self.transport.send(&call).await?;
        let Some(Value::Array(entries)) = answer.remove("data") else {
            return Err(RegistryError::new(RegistryErrorKind::Answer));
        };
        let named = |entry: &Value| text(entry, "did").is_some_and(|text| did.is_named_by(&text));
        let entry = entries.into_iter().find(named);
        Ok(entry.and_then(|entry| Some((text(&entry, "id")?, entry))))
    }
}

/// Whether this is how a registry answers that does not have the call.
const fn cannot_look_up(error: &RegistryError) -> bool {
    matches!(error.status(), Some(501))
        || matches!(error.kind(), RegistryErrorKind::NotFound | RegistryErrorKind::Invalid | RegistryErrorKind::Answer)
}

/// Whether the registry may have done what was asked although no good answer came.
const fn may_have_acted(error: &RegistryError) -> bool {
    matches!(
        error.kind(),
        RegistryErrorKind::Unavailable
            | RegistryErrorKind::Answer
            | RegistryErrorKind::Conflict
            | RegistryErrorKind::Unreachable(FetchErrorKind::Timeout | FetchErrorKind::Body)
    )
}

fn spki(key: &PublicKey) -> Result<String, RegistryError> {
    key.to_spki_pem().map_err(|_| RegistryError::new(RegistryErrorKind::Argument))
}

/// A non-empty text member that can be shown and sent back.
fn text(members: &Value, name: &str) -> Option<String> {
    let text = members.get(name)?.as_str()?;
    let plain = !text.is_empty() && text.len() <= super::transport::MAX_ID_BYTES && !text.chars().any(char::is_control);
    plain.then(|| text.to_owned())
}

/// The challenge in an answer: the members as RFC-003 spells them, else as the Go client reads them.
fn read_challenge(answer: &Map<String, Value>) -> Option<OfferedChallenge> {
    let members = answer.get("data").and_then(Value::as_object).unwrap_or(answer);
    let member = |name: &str| members.get(name)?.as_str().map(str::to_owned);
    let expires_at = member("challenge_expires_at").or_else(|| member("expires_at"))?;
    Some(OfferedChallenge {
        challenge_id: member("challenge_id")?,
        nonce: member("nonce")?,
        proof_aud: member("proof_aud").or_else(|| member("aud"))?,
        htu: member("htu")?,
        htm: member("htm")?,
        expires_at: read_time(&expires_at)?,
    })
}

/// An RFC 3339 time in UTC; `+00:00` counts as `Z`.
fn read_time(text: &str) -> Option<UnixSeconds> {
    let utc = text.strip_suffix("+00:00").map(|local| format!("{local}Z"));
    humantime::parse_rfc3339(utc.as_deref().unwrap_or(text)).ok().map(Into::into)
}
