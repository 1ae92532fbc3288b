//! What a client demands of a server.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::identity::badge::{BadgeVerifier, BadgeVerifierBuilder, Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::resolve::DidDocumentSource;
use crate::identity::server::HttpOrigin;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;

/// A mistake in a [`VerifyConfigBuilder`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyConfigError {
    /// An expected or mapped DID is not one.
    #[error("`{0}` is not a did:web or did:key")]
    Did(String),
    /// A gateway's origin is not one.
    #[error("`{0}` is not an http or https origin such as `https://gateway.example.com`")]
    Origin(String),
}

/// What a client demands of a server before it trusts it. Nobody is trusted until named. Cheap to clone.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each named after what it does")]
pub struct VerifyConfig {
    pub(super) badges: BadgeVerifier,
    pub(super) min_trust_level: Option<TrustLevel>,
    pub(super) offline: bool,
    pub(super) skip_origin_binding: bool,
    pub(super) loopback_http: bool,
    pub(super) badge_without_pop: bool,
    pub(super) expected: Arc<[Did]>,
    pub(super) gateways: Arc<HashMap<HttpOrigin, Vec<Did>>>,
    pub(super) documents: Option<Arc<dyn DidDocumentSource>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl VerifyConfig {
    /// Starts from the strictest: no issuer, badge and proof of possession required, origin binding on.
    pub fn builder() -> VerifyConfigBuilder {
        VerifyConfigBuilder::default()
    }

    pub(super) fn expects(&self, did: &Did) -> bool {
        self.expected.contains(did)
    }
}

/// Collects what makes a [`VerifyConfig`].
#[must_use = "a builder does nothing until it is built"]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each named after what it does")]
pub struct VerifyConfigBuilder {
    badges: BadgeVerifierBuilder,
    min_trust_level: Option<TrustLevel>,
    offline: bool,
    skip_origin_binding: bool,
    loopback_http: bool,
    badge_without_pop: bool,
    expected: Vec<String>,
    gateways: Vec<(String, Vec<String>)>,
    documents: Option<Arc<dyn DidDocumentSource>>,
    clock: Arc<dyn Clock>,
}

impl Default for VerifyConfigBuilder {
    fn default() -> Self {
        Self {
            badges: BadgeVerifier::builder(),
            min_trust_level: None,
            offline: false,
            skip_origin_binding: false,
            loopback_http: false,
            badge_without_pop: false,
            expected: Vec::new(),
            gateways: Vec::new(),
            documents: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for VerifyConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyConfigBuilder").finish_non_exhaustive()
    }
}

impl VerifyConfigBuilder {
    /// Trusts badges of `issuer` (capiscio-mcp's `trusted_issuers`).
    pub fn trusted_issuer(mut self, issuer: Issuer) -> Self {
        self.badges = self.badges.issuer(issuer);
        self
    }

    /// A name that a server's badge may be addressed to; a badge with an `aud` that names none of these is refused.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.badges = self.badges.audience(audience);
        self
    }

    /// The lowest trust level that a server's badge must carry.
    pub const fn min_trust_level(mut self, level: TrustLevel) -> Self {
        self.min_trust_level = Some(level);
        self
    }

    /// Accepts every self-signed badge, level 0. Off by default; [`trusted_self_signed`](Self::trusted_self_signed)
    /// accepts one.
    pub fn accept_level_zero(mut self, accept: bool) -> Self {
        self.badges = self.badges.accept_level_zero(accept);
        self
    }

    /// Accepts self-signed badges of this `did:key`.
    pub fn trusted_self_signed(mut self, did: Did) -> Self {
        self.badges = self.badges.trusted_self_signed(did);
        self
    }

    /// Never waits for a source: what is not at hand counts as not obtainable, and fails closed. Off by default.
    ///
    /// Deliberately not capiscio-mcp's meaning, which also skipped the revocation check: that is
    /// [`insecure_no_revocation`](Self::insecure_no_revocation).
    pub const fn offline_mode(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Does not compare a `did:web` with the origin that was dialled (capiscio-mcp's name; weaker than the default).
    ///
    /// Nothing then ties the DID to the connection, so exact DIDs must be pinned with [`expect_did`](Self::expect_did),
    /// and over HTTP only the bound proof counts.
    pub const fn skip_origin_binding(mut self, skip: bool) -> Self {
        self.skip_origin_binding = skip;
        self
    }

    /// Adds a DID that the server may have. Once one is named, every other is refused. Required wherever the DID names no
    /// origin: stdio, `did:key`.
    pub fn expect_did(mut self, did: impl Into<String>) -> Self {
        self.expected.push(did.into());
        self
    }

    /// Lets exactly these DIDs be presented at the origin of a gateway whose name they do not carry.
    pub fn gateway<D: Into<String>>(mut self, origin: impl Into<String>, dids: impl IntoIterator<Item = D>) -> Self {
        self.gateways.push((origin.into(), dids.into_iter().map(Into::into).collect()));
        self
    }

    /// Lets a `did:web` bind to plain http where the host is this machine; development only. Only the bound proof counts
    /// there.
    pub const fn dangerous_loopback_http(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Reads servers' badges with the tolerances of development: loopback and `.invalid` issuers, and every self-signed
    /// badge. Never in production.
    pub fn dangerous_dev_profile(mut self) -> Self {
        self.badges = self.badges.profile(Profile::Dev);
        self
    }

    /// Calls a server verified by its badge alone, as RFC-007 does: whoever copies a server's public badge passes where
    /// nothing else tells the two apart.
    pub const fn insecure_accept_badge_without_pop(mut self) -> Self {
        self.badge_without_pop = true;
        self
    }

    /// Where revocation and status of badges are asked.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.badges = self.badges.revocations(revocations);
        self
    }

    /// Accepts badges of every level without asking for their revocation.
    pub fn insecure_no_revocation(mut self) -> Self {
        self.badges = self.badges.insecure_no_revocation();
        self
    }

    /// Where DID documents come from. Without a source, the key in a server's badge, for which the issuer vouches, is the
    /// key of its `did:web`.
    pub fn did_documents(mut self, documents: Arc<dyn DidDocumentSource>) -> Self {
        self.badges = self.badges.did_documents(Arc::clone(&documents));
        self.documents = Some(documents);
        self
    }

    /// The clock that badges and proofs are judged by; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks every DID and origin.
    ///
    /// # Errors
    /// [`VerifyConfigError`] for the first that cannot be parsed.
    pub fn build(self) -> Result<VerifyConfig, VerifyConfigError> {
        let mut gateways = HashMap::<HttpOrigin, Vec<Did>>::new();
        for (origin, dids) in self.gateways {
            let origin = HttpOrigin::parse(&origin).map_err(|_| VerifyConfigError::Origin(origin))?;
            gateways.entry(origin).or_default().extend(parse_dids(dids)?);
        }
        Ok(VerifyConfig {
            badges: self.badges.build(),
            min_trust_level: self.min_trust_level,
            offline: self.offline,
            skip_origin_binding: self.skip_origin_binding,
            loopback_http: self.loopback_http,
            badge_without_pop: self.badge_without_pop,
            expected: parse_dids(self.expected)?.into(),
            gateways: Arc::new(gateways),
            documents: self.documents,
            clock: self.clock,
        })
    }
}

fn parse_dids(dids: Vec<String>) -> Result<Vec<Did>, VerifyConfigError> {
    dids.into_iter().map(|did| Did::parse(&did).map_err(|_| VerifyConfigError::Did(did))).collect()
}
