//! A server's own identity and how it discloses it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, SystemClock, UnixSeconds};
use crate::identity::badge::{ClaimedIdentity, UnverifiedBadge};
use crate::identity::did::Did;
use crate::identity::key::SigningKey;
use crate::identity::pop::{
    self, META_BOUND_POP, META_POP_NONCE, META_POP_ORIGIN, META_POP_SIGNATURE, META_POP_SIGNED_AT, PopBinding,
};
use crate::identity::server::{HttpOrigin, META_SERVER_BADGE, META_SERVER_DID};

/// Where a server's current badge comes from.
///
/// Asked once for every answer that discloses the identity, so an implementation neither blocks nor locks. It returns
/// `None` rather than a badge that it knows to have expired: no badge reads as "not vouched for now", an expired one as
/// an attack.
pub trait BadgeSource: fmt::Debug + Send + Sync + 'static {
    /// The badge to disclose now.
    fn current(&self) -> Option<Arc<str>>;
}

/// A source that is shared, such as by a server's identity and its own clients.
impl<S: BadgeSource + ?Sized> BadgeSource for Arc<S> {
    fn current(&self) -> Option<Arc<str>> {
        (**self).current()
    }
}

/// The text is not a badge that could be disclosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a compact JWS with an integer `exp`")]
#[non_exhaustive]
pub struct StaticBadgeError;

/// One badge, disclosed until it expires.
#[derive(Clone)]
pub struct StaticBadge {
    token: Arc<str>,
    expires_at: UnixSeconds,
    clock: Arc<dyn Clock>,
}

impl StaticBadge {
    /// A badge whose expiry is judged by the system clock.
    ///
    /// # Errors
    /// [`StaticBadgeError`] when `token` is no compact JWS or its `exp` is no integer.
    pub fn new(token: &str) -> Result<Self, StaticBadgeError> {
        Self::with_clock(token, Arc::new(SystemClock))
    }

    /// A badge whose expiry is judged by `clock`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(token: &str, clock: Arc<dyn Clock>) -> Result<Self, StaticBadgeError> {
        let badge = UnverifiedBadge::parse(token).map_err(|_| StaticBadgeError)?;
        let expires_at = badge.claimed_expires_at().ok_or(StaticBadgeError)?;
        Ok(Self { token: token.into(), expires_at, clock })
    }

    /// The badge's `exp`.
    #[must_use]
    pub const fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }
}

impl BadgeSource for StaticBadge {
    fn current(&self) -> Option<Arc<str>> {
        (self.clock.now_unix() < self.expires_at).then(|| Arc::clone(&self.token))
    }
}

impl fmt::Debug for StaticBadge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticBadge").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Why a [`ServerIdentity`] cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerIdentityError {
    /// The DID is a `did:key` of another key.
    #[error("the DID belongs to another key")]
    WrongKey,
    /// The key id is not `<did>#<fragment>`.
    #[error("`{0}` is not a key id of the server's DID")]
    KeyId(String),
    /// The badge names another subject.
    #[error("the badge names another subject than the server's DID")]
    BadgeSubject,
    /// An origin is not one.
    #[error("`{0}` is not an http or https origin such as `https://files.example.com`")]
    Origin(String),
}

/// A server's DID, key and badge, and the origins it answers for. Clones share everything.
#[derive(Clone)]
pub struct ServerIdentity(Arc<Inner>);

struct Inner {
    did: Did,
    key: Arc<SigningKey>,
    kid: String,
    badge: Option<Arc<dyn BadgeSource>>,
    origins: Vec<HttpOrigin>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("did", &self.0.did)
            .field("kid", &self.0.kid)
            .field("origins", &self.0.origins)
            .finish_non_exhaustive()
    }
}

/// Collects what makes a [`ServerIdentity`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ServerIdentityBuilder {
    did: Did,
    key: Arc<SigningKey>,
    kid: Option<String>,
    badge: Option<Arc<dyn BadgeSource>>,
    origins: Vec<String>,
}

/// What one answer says about the server.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disclosure {
    /// The members to insert into the result's `_meta`.
    pub meta: Map<String, Value>,
    /// A proof over the client's nonce is among them: the answer is good for this client only and must not be cached.
    pub nonce_bound: bool,
}

impl fmt::Debug for Disclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.meta.keys().collect();
        f.debug_struct("Disclosure").field("meta", &members).field("nonce_bound", &self.nonce_bound).finish()
    }
}

impl ServerIdentity {
    /// An identity of `did`, proved with `key`.
    pub const fn builder(did: Did, key: Arc<SigningKey>) -> ServerIdentityBuilder {
        ServerIdentityBuilder { did, key, kid: None, badge: None, origins: Vec::new() }
    }

    /// The server's DID.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.0.did
    }

    /// The `did:key` of the key that signs proofs, whatever DID the identity has.
    #[must_use]
    pub fn key_did(&self) -> Did {
        self.0.key.did()
    }

    /// The id of the key that signs proofs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.0.kid
    }

    /// The badge to disclose now; `None` while there is none that has not expired.
    #[must_use]
    pub fn current_badge(&self) -> Option<Arc<str>> {
        self.0.badge.as_ref().and_then(BadgeSource::current)
    }

    /// The `_meta` members of an `initialize` or `server/discover` result: DID, badge, and the answers to the client's
    /// challenge, if `request_meta` carries one. The badge is sampled once, so that the bound proof names it.
    ///
    /// A malformed nonce is not signed; an origin that is not ours is answered with the bare proof only.
    #[must_use]
    pub fn disclose(&self, request_meta: Option<&Map<String, Value>>, now: UnixSeconds) -> Disclosure {
        let Inner { did, key, kid, origins, .. } = &*self.0;
        let badge = self.current_badge();
        let mut meta = Map::new();
        meta.insert(META_SERVER_DID.to_owned(), json!(did.as_str()));
        if let Some(badge) = &badge {
            meta.insert(META_SERVER_BADGE.to_owned(), json!(&**badge));
        }

        let asked = |name: &str| request_meta.and_then(|meta| meta.get(name)).and_then(Value::as_str);
        let Some((nonce, bare)) =
            asked(META_POP_NONCE).and_then(|nonce| Some((nonce, pop::sign_response(key, kid, nonce).ok()?)))
        else {
            return Disclosure { meta, nonce_bound: false };
        };
        meta.insert(META_POP_SIGNATURE.to_owned(), json!(bare));
        meta.insert(META_POP_SIGNED_AT.to_owned(), json!(now.as_i64()));
        if let Some(origin) = asked(META_POP_ORIGIN)
            && origins.iter().any(|ours| ours.as_str() == origin)
            && let Ok(bound) =
                pop::sign_bound(key, kid, nonce, &PopBinding { did, badge: badge.as_deref(), origin }, now)
        {
            meta.insert(META_BOUND_POP.to_owned(), json!(bound));
        }
        Disclosure { meta, nonce_bound: true }
    }
}

impl ServerIdentityBuilder {
    /// The key id written into proofs. Default: the DID's own for `did:key`, else `<did>#key-1`.
    pub fn key_id(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Where the badge comes from; without one the server only declares its DID.
    pub fn badge(mut self, source: impl BadgeSource) -> Self {
        self.badge = Some(Arc::new(source));
        self
    }

    /// Adds an origin that clients reach this server by, such as `https://files.example.com`. Bound proofs are signed for
    /// these only: a server that signed whatever origin it is asked for would sign for its impostors.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// [`ServerIdentityError`]: DID of another key, key id of another DID, badge of another subject, malformed origin.
    pub fn build(self) -> Result<ServerIdentity, ServerIdentityError> {
        let Self { did, key, kid, badge, origins } = self;
        if did.public_key().is_some_and(|named| *named != key.public_key()) {
            return Err(ServerIdentityError::WrongKey);
        }
        let kid = kid.or_else(|| did.key_id()).unwrap_or_else(|| format!("{did}#key-1"));
        if !pop::is_key_of(&kid, &did) {
            return Err(ServerIdentityError::KeyId(kid));
        }
        if let Some(token) = badge.as_ref().and_then(BadgeSource::current)
            && !ClaimedIdentity::peek(&token).subject.is_some_and(|subject| did.is_named_by(&subject))
        {
            return Err(ServerIdentityError::BadgeSubject);
        }
        let origins = origins
            .into_iter()
            .map(|origin| HttpOrigin::parse(&origin).map_err(|_| ServerIdentityError::Origin(origin)))
            .collect::<Result<_, _>>()?;
        Ok(ServerIdentity(Arc::new(Inner { did, key, kid, badge, origins })))
    }
}

#[cfg(test)]
mod tests;
