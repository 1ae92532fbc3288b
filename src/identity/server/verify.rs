//! The verification of a server, in one order for every form.
//!
//! Local checks come first and nothing is fetched before they pass: DID, pins, presence and subject of the badge, origin
//! binding. Then the badge (RFC-002 §8), the required level, and the proof of possession last, whose key may come from a
//! DID document: none is fetched for a DID that no trusted badge vouches for. The first failure is reported. RFC-007 puts
//! origin binding last; it is cheap and keeps us from fetching on behalf of an impostor.

use std::time::Instant;

use serde_json::{Map, Value};

use crate::clock::UnixSeconds;
use crate::identity::badge::{BadgeContext, BadgeErrorKind, ClaimedIdentity, VerifiedBadge};
use crate::identity::did::{Did, DidDocument};
use crate::identity::key::PublicKey;
use crate::identity::pop::{self, META_BOUND_POP, META_POP_SIGNATURE, PopBinding, PopChallenge, PopError};
use crate::identity::resolve::{document_that, poll_once};
use crate::identity::server::binding::{BindingError, bind, parse_endpoint};
use crate::identity::server::state::Failure;
use crate::identity::server::{
    Channel, DisclosedIdentity, HttpOrigin, META_SERVER_BADGE, OriginBinding, ServerErrorCode, ServerState,
    ServerVerifyError, VerifyConfig, VerifyResult,
};
use crate::identity::trust_level::TrustLevel;

/// The sync form would have to wait for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the verification would have to wait for a source")]
#[non_exhaustive]
pub struct VerifyWouldWait;

/// A server whose identity is established to the configured degree. Only verification makes one.
///
/// # Examples
/// It can be read:
/// ```
/// use rmcp_guard::identity::server::VerifiedServer;
///
/// fn did(server: &VerifiedServer) -> &str {
///     server.did().as_str()
/// }
/// ```
/// and not be made:
/// ```compile_fail
/// use rmcp_guard::identity::did::Did;
/// use rmcp_guard::identity::server::VerifiedServer;
///
/// fn forge(did: Did) -> VerifiedServer {
///     VerifiedServer { did, ..unimplemented!() }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedServer {
    did: Did,
    trust_level: TrustLevel,
    badge_jti: String,
    origin: Option<HttpOrigin>,
    expires_at: UnixSeconds,
    pop_verified: bool,
    origin_bound: bool,
}

impl VerifiedServer {
    /// The server's DID.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// Always [`ServerState::VerifiedPrincipal`], by badge and proof unless the configuration relaxed that by name.
    #[must_use]
    pub const fn state(&self) -> ServerState {
        ServerState::VerifiedPrincipal
    }

    /// The trust level of the server's badge.
    #[must_use]
    pub const fn trust_level(&self) -> TrustLevel {
        self.trust_level
    }

    /// The `jti` of the server's badge.
    #[must_use]
    pub fn badge_jti(&self) -> &str {
        &self.badge_jti
    }

    /// The origin that was dialled; `None` over stdio. Credentials go nowhere else.
    #[must_use]
    pub const fn origin(&self) -> Option<&HttpOrigin> {
        self.origin.as_ref()
    }

    /// When the badge expires, of two the earlier; it was accepted for up to
    /// [`CLOCK_SKEW`](crate::identity::badge::CLOCK_SKEW) longer.
    ///
    /// A value of this type says what held at the handshake and does not end by itself: the client looks at expiry at
    /// handshakes only. Compare this time where a connection outlives the badge, and connect anew.
    #[must_use]
    pub const fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// Whether the server proved that it holds its key; false only where the configuration accepts a badge alone.
    #[must_use]
    pub const fn pop_verified(&self) -> bool {
        self.pop_verified
    }

    /// Whether the DID names the origin that was dialled; otherwise the client pinned the exact DID.
    #[must_use]
    pub const fn origin_bound(&self) -> bool {
        self.origin_bound
    }

    fn into_result(self) -> VerifyResult {
        VerifyResult {
            state: self.state(),
            trust_level: Some(self.trust_level),
            server_did: Some(self.did),
            badge_jti: Some(self.badge_jti),
            badge_verified: true,
            pop_verified: self.pop_verified,
            origin_bound: self.origin_bound,
            ..VerifyResult::unverified()
        }
    }
}

/// Verifies servers during a handshake: disclosure, badge, origin and proof of possession. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerVerifier {
    config: VerifyConfig,
}

impl ServerVerifier {
    /// A verifier that demands what `config` says.
    #[must_use]
    pub const fn new(config: VerifyConfig) -> Self {
        Self { config }
    }

    /// What it demands.
    #[must_use]
    pub const fn config(&self) -> &VerifyConfig {
        &self.config
    }

    /// Verifies the server that answered `challenge` over `channel` with `response_meta`, received just now.
    ///
    /// `disclosed` is what the answer disclosed in `response_meta` and, over HTTP, in its headers. Which proof counts:
    /// over HTTP the bound one, or the bare one where a `did:web` is bound to a https origin; else the bare one. The
    /// future may be dropped at any point; the challenge is spent then.
    ///
    /// # Errors
    /// [`ServerVerifyError`] by the first check that fails; its state is at most [`ServerState::DeclaredPrincipal`].
    pub async fn verify(
        &self,
        disclosed: &DisclosedIdentity,
        channel: &Channel,
        challenge: PopChallenge,
        response_meta: &Map<String, Value>,
    ) -> Result<VerifiedServer, ServerVerifyError> {
        self.verify_received(disclosed, channel, challenge, response_meta, Instant::now()).await
    }

    /// [`verify`](Self::verify) for an answer that was received at `received`.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_received(
        &self,
        disclosed: &DisclosedIdentity,
        channel: &Channel,
        challenge: PopChallenge,
        response_meta: &Map<String, Value>,
        received: Instant,
    ) -> Result<VerifiedServer, ServerVerifyError> {
        let answer = Answer { challenge, meta: response_meta, received };
        let mut verification = Verification::new(&self.config);
        let outcome = verification.run_by_mode(disclosed, Ok(channel), Some(answer)).await;
        verification.finish(outcome)
    }
}

/// Verifies a disclosed identity without a proof of possession (capiscio-mcp's `verify_server`), so the state is at most
/// [`ServerState::DeclaredPrincipal`] unless the configuration accepts a badge alone. [`ServerVerifier`] asks for a proof.
///
/// `transport_origin` is the URL or origin that was dialled; `None` where there is none (stdio). `endpoint_path`
/// replaces its path. The future may be dropped at any point.
pub async fn verify_server(
    server_did: Option<&str>,
    server_badge: Option<&str>,
    transport_origin: Option<&str>,
    endpoint_path: Option<&str>,
    config: &VerifyConfig,
) -> VerifyResult {
    match verify_server_strict(server_did, server_badge, transport_origin, endpoint_path, config).await {
        Ok(server) => server.into_result(),
        Err(error) => error.into_result(),
    }
}

/// [`verify_server`], where everything less than verified is an error.
///
/// # Errors
/// [`ServerVerifyError`] by the first check that fails.
pub async fn verify_server_strict(
    server_did: Option<&str>,
    server_badge: Option<&str>,
    transport_origin: Option<&str>,
    endpoint_path: Option<&str>,
    config: &VerifyConfig,
) -> Result<VerifiedServer, ServerVerifyError> {
    let mut verification = Verification::new(config);
    let disclosed = DisclosedIdentity::new(server_did, server_badge);
    let channel = dialled(transport_origin, endpoint_path);
    let outcome = verification.run_by_mode(&disclosed, channel.as_ref().map_err(|error| *error), None).await;
    verification.finish(outcome)
}

/// [`verify_server`] without waiting: every source must have its answer at hand.
///
/// # Errors
/// [`VerifyWouldWait`] when a source would have to fetch.
pub fn verify_server_sync(
    server_did: Option<&str>,
    server_badge: Option<&str>,
    transport_origin: Option<&str>,
    endpoint_path: Option<&str>,
    config: &VerifyConfig,
) -> Result<VerifyResult, VerifyWouldWait> {
    poll_once(verify_server(server_did, server_badge, transport_origin, endpoint_path, config)).ok_or(VerifyWouldWait)
}

/// [`verify_server_strict`] without waiting: every source must have its answer at hand.
///
/// # Errors
/// [`ServerVerifyError`] by the first check that fails, with [`ServerErrorCode::WouldWait`] when a source would have to
/// fetch.
pub fn verify_server_strict_sync(
    server_did: Option<&str>,
    server_badge: Option<&str>,
    transport_origin: Option<&str>,
    endpoint_path: Option<&str>,
    config: &VerifyConfig,
) -> Result<VerifiedServer, ServerVerifyError> {
    poll_once(verify_server_strict(server_did, server_badge, transport_origin, endpoint_path, config))
        .unwrap_or_else(|| Verification::new(config).finish(Err(WOULD_WAIT)))
}

const WOULD_WAIT: Failure = Failure(ServerErrorCode::WouldWait, "a source would have to fetch");

fn dialled(origin: Option<&str>, path: Option<&str>) -> Result<Channel, BindingError> {
    origin.map_or(Ok(Channel::stdio()), |origin| parse_endpoint(origin, path).map(Channel::from_endpoint))
}

/// A server's answer to a challenge.
struct Answer<'a> {
    challenge: PopChallenge,
    meta: &'a Map<String, Value>,
    received: Instant,
}

impl<'a> Answer<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        match self.meta.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Failure(ServerErrorCode::PopFailed, "the proof is not text")),
        }
    }
}

/// What ties the disclosed DID to the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// The DID names the origin that was dialled.
    Origin,
    /// The DID names no such origin; the client names this exact DID.
    Pin,
}

/// One run, with the facts established so far.
struct Verification<'a> {
    config: &'a VerifyConfig,
    facts: VerifyResult,
}

impl<'a> Verification<'a> {
    const fn new(config: &'a VerifyConfig) -> Self {
        Self { config, facts: VerifyResult::unverified() }
    }

    fn finish(self, outcome: Result<VerifiedServer, Failure>) -> Result<VerifiedServer, ServerVerifyError> {
        outcome.map_err(|failure| ServerVerifyError::new(failure, self.facts))
    }

    async fn run_by_mode(
        &mut self,
        disclosed: &DisclosedIdentity,
        channel: Result<&Channel, BindingError>,
        answer: Option<Answer<'_>>,
    ) -> Result<VerifiedServer, Failure> {
        if self.config.offline {
            poll_once(self.run(disclosed, channel, answer)).unwrap_or(Err(WOULD_WAIT))
        } else {
            self.run(disclosed, channel, answer).await
        }
    }

    async fn run(
        &mut self,
        disclosed: &DisclosedIdentity,
        channel: Result<&Channel, BindingError>,
        answer: Option<Answer<'_>>,
    ) -> Result<VerifiedServer, Failure> {
        let now = self.config.clock.now_unix();
        let did =
            disclosed.server_did().ok_or(Failure(ServerErrorCode::IdentityMissing, "the server disclosed no DID"))?;
        let did = Did::parse(did)
            .map_err(|_| Failure(ServerErrorCode::DidInvalid, "the server's DID is no did:web or did:key"))?;
        self.facts.state = ServerState::DeclaredPrincipal;
        self.facts.server_did = Some(did.clone());

        if !self.config.expected.is_empty() && !self.config.expects(&did) {
            return Err(Failure(ServerErrorCode::DidUnexpected, "the server is not one that this client expects"));
        }
        if disclosed.server_badges().next().is_none() {
            return Err(BADGE_MISSING);
        }
        // Unverified, so this only fails early: the keys of an issuer are not fetched for a badge of somebody else.
        let names_another =
            |token| ClaimedIdentity::peek(token).subject.is_some_and(|subject| !did.is_named_by(&subject));
        if disclosed.server_badges().any(names_another) {
            return Err(SUBJECT_MISMATCH);
        }
        let channel = channel.map_err(Failure::from)?;
        let tie = self.tie(&did, channel)?;
        self.facts.origin_bound = tie == Tie::Origin;

        // With one badge in the headers and another in `_meta`, both have to hold, and the weaker one counts.
        let mut badges = Vec::with_capacity(2);
        for token in disclosed.server_badges() {
            badges.push(self.verify_badge(token, &did, now).await?);
        }
        let weakest = badges.iter().min_by_key(|badge| badge.level()).ok_or(BADGE_MISSING)?;
        let expires_at = badges.iter().map(VerifiedBadge::expires_at).min().unwrap_or(weakest.expires_at());
        self.facts.badge_verified = true;
        self.facts.trust_level = Some(weakest.level());
        self.facts.badge_jti = Some(weakest.jti().to_owned());

        if self.config.min_trust_level.is_some_and(|least| weakest.level() < least) {
            return Err(Failure(
                ServerErrorCode::TrustInsufficient,
                "the badge's trust level is below the required one",
            ));
        }
        if let Some(answer) = answer {
            self.verify_pop(answer, &did, channel, tie, &badges, now).await?;
        }
        if !self.facts.pop_verified && !self.config.badge_without_pop {
            return Err(Failure(
                ServerErrorCode::PopMissing,
                "the server sent no proof of possession that counts here",
            ));
        }
        Ok(VerifiedServer {
            did,
            trust_level: weakest.level(),
            badge_jti: weakest.jti().to_owned(),
            origin: channel.origin().cloned(),
            expires_at,
            pop_verified: self.facts.pop_verified,
            origin_bound: self.facts.origin_bound,
        })
    }

    /// Finds what ties `did` to the connection, or why it cannot belong here.
    fn tie(&self, did: &Did, channel: &Channel) -> Result<Tie, Failure> {
        let expected = self.config.expects(did);
        let pin = |pinned| if pinned { Ok(Tie::Pin) } else { Err(ORIGIN_UNBOUND) };
        let Some(endpoint) = channel.endpoint() else { return pin(expected) };
        let origin = &endpoint.origin;
        if !origin.is_tls() && !origin.is_loopback() {
            return Err(Failure(ServerErrorCode::OriginMismatch, "plain http reaches beyond this machine"));
        }
        let mapped = self.config.gateways.get(origin).is_some_and(|dids| dids.contains(did));
        let Some(web) = did.web().filter(|_| !self.config.skip_origin_binding) else { return pin(expected || mapped) };
        match bind(web, endpoint, self.config.loopback_http) {
            Ok(OriginBinding::Bound) => Ok(Tie::Origin),
            // On a shared host the DID of one path is not the DID of the root.
            Ok(OriginBinding::HostOnly | OriginBinding::NotApplicable) => pin(expected || mapped),
            Err(_) if mapped => Ok(Tie::Pin),
            Err(error) => Err(error.into()),
        }
    }

    async fn verify_badge(&self, token: &str, did: &Did, now: UnixSeconds) -> Result<VerifiedBadge, Failure> {
        let badge = self.config.badges.verify(token, &BadgeContext::at(now)).await.map_err(|error| {
            let code = match error.kind() {
                BadgeErrorKind::Malformed
                | BadgeErrorKind::ClaimsInvalid
                | BadgeErrorKind::SignatureInvalid
                | BadgeErrorKind::NotYetValid
                | BadgeErrorKind::AudienceMismatch => ServerErrorCode::BadgeInvalid,
                BadgeErrorKind::IssuerUntrusted => ServerErrorCode::IssuerUntrusted,
                BadgeErrorKind::KeysUnavailable | BadgeErrorKind::RateLimited => ServerErrorCode::KeyFetchFailed,
                BadgeErrorKind::Expired => ServerErrorCode::BadgeExpired,
                BadgeErrorKind::Revoked | BadgeErrorKind::AgentDisabled => ServerErrorCode::BadgeRevoked,
                BadgeErrorKind::RevocationCheckFailed => ServerErrorCode::RevocationCheckFailed,
            };
            Failure(code, error.detail())
        })?;
        if badge.subject() == did { Ok(badge) } else { Err(SUBJECT_MISMATCH) }
    }

    /// Checks the proof that counts on this channel, if the answer has one; a proof that counts and fails is a failure
    /// even where none is required.
    async fn verify_pop(
        &mut self,
        answer: Answer<'_>,
        did: &Did,
        channel: &Channel,
        tie: Tie,
        badges: &[VerifiedBadge],
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let (bound, bare) = (answer.text(META_BOUND_POP)?, answer.text(META_POP_SIGNATURE)?);
        let badge = answer.text(META_SERVER_BADGE)?;
        match (channel.origin(), bound, bare) {
            (Some(origin), Some(proof), _) => {
                let key = self.pop_key(proof, did, badges).await?;
                let binding = PopBinding { did, badge, origin: origin.as_str() };
                answer.challenge.verify_bound(proof, &binding, &key, answer.received, now)?;
            }
            // The bare proof names no origin: over HTTP an impostor could have had it from the real server, unless TLS
            // already shows that this is the host the DID names.
            (origin, _, Some(proof)) if origin.is_none_or(|origin| origin.is_tls() && tie == Tie::Origin) => {
                let key = self.pop_key(proof, did, badges).await?;
                answer.challenge.verify_response(proof, did, &key, answer.received)?;
            }
            _ => return Ok(()),
        }
        self.facts.pop_verified = true;
        Ok(())
    }

    /// The key that proofs of `did` are checked with: the DID's own, the authentication method of its document that the
    /// proof names, or without a source of documents the one in the badge. It must be the badge's in any case.
    async fn pop_key(&self, proof: &str, did: &Did, badges: &[VerifiedBadge]) -> Result<PublicKey, Failure> {
        let kid = pop::key_id(proof, did)?;
        let vouched = || badges.iter().filter_map(VerifiedBadge::key);
        let key = if let Some(key) = did.public_key() {
            key.clone()
        } else if let Some(documents) = &self.config.documents {
            let proves = |document: &DidDocument| {
                let key = document.authentication_method(&kid);
                key.is_some_and(|key| pop::is_signed_by(proof, key) && vouched().all(|vouched| vouched == key))
            };
            let document = document_that(&**documents, did, proves).await.map_err(|_| {
                Failure(ServerErrorCode::KeyFetchFailed, "the server's DID document could not be obtained")
            })?;
            document
                .authentication_method(&kid)
                .ok_or(Failure(ServerErrorCode::PopFailed, "the DID document lists no such key for authentication"))?
                .clone()
        } else {
            vouched()
                .next()
                .ok_or(Failure(
                    ServerErrorCode::KeyFetchFailed,
                    "the badge has no key and there is no DID document source",
                ))?
                .clone()
        };
        if vouched().any(|vouched| *vouched != key) {
            return Err(Failure(ServerErrorCode::PopFailed, "the proof's key is not the badge's"));
        }
        Ok(key)
    }
}

const BADGE_MISSING: Failure = Failure(ServerErrorCode::BadgeMissing, "the server disclosed no badge");
// Anybody with a badge of a trusted issuer could stand here.
const ORIGIN_UNBOUND: Failure =
    Failure(ServerErrorCode::OriginUnbound, "the DID does not name this connection's endpoint and is not pinned");
const SUBJECT_MISMATCH: Failure = Failure(ServerErrorCode::DidMismatch, "the badge names another server");

impl From<BindingError> for Failure {
    fn from(error: BindingError) -> Self {
        let detail = match error {
            BindingError::Origin => "the DID names another origin than the one dialled",
            BindingError::Path => "the DID names another path than the one dialled",
        };
        Self(error.code(), detail)
    }
}

impl From<PopError> for Failure {
    fn from(error: PopError) -> Self {
        let code = match error {
            PopError::Expired => ServerErrorCode::PopExpired,
            PopError::Malformed
            | PopError::WrongType
            | PopError::WrongKeyId
            | PopError::WrongNonce
            | PopError::SignatureInvalid
            | PopError::WrongDid
            | PopError::WrongBadge
            | PopError::WrongOrigin
            | PopError::ClockSkew => ServerErrorCode::PopFailed,
        };
        Self(code, error.detail())
    }
}

#[cfg(test)]
mod tests;
