//! Who may vouch for whom: trusted issuers, their keys, and the limits of their word.
//!
//! An issuer is an https origin that somebody named in a configuration; nothing else makes one. Its word counts for
//! the subjects and up to the level that it was given, so that a registry for tests cannot name production agents.
//! Self-signed callers are no issuers: they are named by
//! [`trusted_self_signed`](crate::identity::badge::BadgeVerifierBuilder::trusted_self_signed).
//!
//! ```
//! use rmcp_guard::identity::{trust_level::TrustLevel, trust_store::{Issuer, IssuerError}};
//!
//! let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let issuer = Issuer::jwks("https://registry.example.com", jwks)?
//!     .max_level(TrustLevel::DomainValidated)
//!     .subjects(["did:web:registry.example.com:agents:*"])?;
//! assert!(matches!(Issuer::jwks("http://registry.example.com", jwks), Err(IssuerError::Origin)));
//! # Ok::<(), IssuerError>(())
//! ```

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::identity::did::Did;
use crate::identity::files::read_bounded;
use crate::identity::health::SourceHealth;
use crate::identity::jwks::{JwkSet, JwksError, MAX_JWKS_BYTES};
use crate::identity::resolve::{KeySource, MaybeReady, ResolveError};
use crate::identity::server::HttpOrigin;
use crate::identity::trust_level::TrustLevel;

/// An issuer cannot be configured as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// The name is no https origin (http only on loopback, and then only the dev profile accepts its badges).
    #[error("the issuer is not an https origin such as `https://registry.example.com`")]
    Origin,
    /// The keys are no JWK set.
    #[error(transparent)]
    Keys(#[from] JwksError),
    /// The JWK set has no Ed25519 key for signatures.
    #[error("the JWK set has no usable Ed25519 key")]
    NoKey,
    /// The file with the keys cannot be read, or is too large.
    #[error("the file with the issuer's keys cannot be read")]
    File(#[source] io::Error),
    /// A subject pattern has none of the known forms.
    #[error("`{0}` is not a subject pattern such as `did:key`, `did:web:example.com` or `did:web:example.com:*`")]
    Subject(String),
}

/// A trusted issuer: an https origin, its keys, the highest level and the subjects that it may vouch for.
#[derive(Clone, Debug)]
pub struct Issuer {
    origin: String,
    keys: Arc<dyn KeySource>,
    max_level: TrustLevel,
    subjects: Vec<SubjectPattern>,
}

impl Issuer {
    /// An issuer with a fixed set of keys, given as the text of a JWK set.
    ///
    /// # Errors
    /// [`IssuerError::Origin`], [`IssuerError::Keys`] or [`IssuerError::NoKey`].
    pub fn jwks(origin: &str, jwks_json: &str) -> Result<Self, IssuerError> {
        let keys = JwkSet::parse(jwks_json.as_bytes())?;
        if keys.is_empty() {
            return Err(IssuerError::NoKey);
        }
        Self::with_keys(origin, Arc::new(FixedKeys(Arc::new(keys))))
    }

    /// An issuer whose keys stand in a JWK set file, read once.
    ///
    /// # Errors
    /// [`IssuerError::File`], or as in [`Self::jwks`].
    pub fn jwks_file(origin: &str, path: impl AsRef<Path>) -> Result<Self, IssuerError> {
        let bytes = read_bounded(path.as_ref(), MAX_JWKS_BYTES).map_err(IssuerError::File)?;
        let text = String::from_utf8(bytes).map_err(|error| IssuerError::File(io::Error::other(error.utf8_error())))?;
        Self::jwks(origin, &text)
    }

    /// An issuer whose keys come from `keys`.
    ///
    /// # Errors
    /// [`IssuerError::Origin`].
    pub fn with_keys(origin: &str, keys: Arc<dyn KeySource>) -> Result<Self, IssuerError> {
        let parsed = HttpOrigin::parse(origin).map_err(|_| IssuerError::Origin)?;
        if !parsed.is_tls() && !parsed.is_loopback() {
            return Err(IssuerError::Origin);
        }
        Ok(Self {
            origin: origin.to_owned(),
            keys,
            max_level: TrustLevel::ExtendedValidated,
            subjects: own_subjects(&parsed),
        })
    }

    /// An issuer whose keys are fetched from `{origin}/.well-known/jwks.json` and kept fresh. Nothing is fetched before
    /// one of its badges arrives; [`RemoteKeys`](crate::identity::remote::RemoteKeys) has the settings.
    ///
    /// # Errors
    /// [`IssuerError::Origin`].
    #[cfg(feature = "registry")]
    pub fn discover(origin: &str, fetcher: crate::identity::fetch::Fetcher) -> Result<Self, IssuerError> {
        Self::with_keys(origin, Arc::new(crate::identity::remote::RemoteKeys::new(origin, fetcher)))
    }

    /// The highest level that this issuer may vouch for; level 4 by default.
    #[must_use]
    pub const fn max_level(mut self, level: TrustLevel) -> Self {
        self.max_level = level;
        self
    }

    /// Replaces the subjects that this issuer may vouch for. By default these are every did:key, and every did:web of
    /// the issuer's own host.
    ///
    /// `did:key` stands for every did:key, `did:web:*` for every did:web, a DID for itself, and a did:web followed by
    /// `:*` for every DID with more segments than that.
    ///
    /// # Errors
    /// [`IssuerError::Subject`] for a pattern of another form.
    pub fn subjects<I: IntoIterator<Item = S>, S: Into<String>>(mut self, patterns: I) -> Result<Self, IssuerError> {
        let parse = |pattern: S| {
            let pattern = pattern.into();
            pattern.parse().map_err(|()| IssuerError::Subject(pattern))
        };
        self.subjects = patterns.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The issuer's name, word for word as `iss` has to be.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How the source of the keys is doing; `None` where they never change.
    #[must_use]
    pub fn health(&self) -> Option<SourceHealth> {
        self.keys.health()
    }

    pub(crate) fn keys<'a>(&'a self, kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.keys.keys(kid)
    }

    pub(crate) fn newer_keys<'a>(&'a self, seen: &'a Arc<JwkSet>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.keys.newer_keys(seen)
    }

    /// Who this issuer is, what it may say, and its keys where they never change: for a configuration's digest.
    pub(crate) fn describe(&self) -> serde_json::Value {
        // a digest that followed the issuer's rollovers would name no configuration
        let fixed = if self.keys.health().is_none()
            && let MaybeReady::Ready(Some(Ok(keys))) = self.keys.keys(None)
        {
            Some(keys)
        } else {
            None
        };
        let thumbprints = fixed.map(|keys| {
            let mut thumbprints: Vec<_> = keys.keys().map(|(_, key)| key.thumbprint()).collect();
            thumbprints.sort_unstable();
            thumbprints
        });
        let mut subjects: Vec<_> = self.subjects.iter().map(ToString::to_string).collect();
        subjects.sort_unstable();
        serde_json::json!({
            "origin": self.origin,
            "max_level": self.max_level.as_u8(),
            "subjects": subjects,
            "thumbprints": thumbprints,
        })
    }

    pub(crate) fn may_vouch_for(&self, subject: &Did, level: TrustLevel) -> bool {
        level <= self.max_level && self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}

/// Keys that never change.
#[derive(Debug)]
struct FixedKeys(Arc<JwkSet>);

impl KeySource for FixedKeys {
    fn keys<'a>(&'a self, _kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        MaybeReady::ready(Ok(Arc::clone(&self.0)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SubjectPattern {
    AnyKey,
    AnyWeb,
    Exactly(Did),
    Below(Did),
}

impl FromStr for SubjectPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let did = |text| Did::parse(text).map_err(|_| ());
        match text {
            "did:key" => Ok(Self::AnyKey),
            "did:web:*" => Ok(Self::AnyWeb),
            _ => match text.strip_suffix(":*") {
                Some(parent) => did(parent).ok().filter(|parent| parent.web().is_some()).map(Self::Below).ok_or(()),
                None => did(text).map(Self::Exactly),
            },
        }
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyKey => f.write_str("did:key"),
            Self::AnyWeb => f.write_str("did:web:*"),
            Self::Exactly(did) => did.fmt(f),
            Self::Below(did) => write!(f, "{did}:*"),
        }
    }
}

impl SubjectPattern {
    fn matches(&self, subject: &Did) -> bool {
        match (self, subject.web()) {
            (Self::AnyKey, web) => web.is_none(),
            (Self::AnyWeb, web) => web.is_some(),
            (Self::Exactly(did), _) => did == subject,
            (Self::Below(_), None) => false,
            (Self::Below(parent), Some(web)) => parent.web().is_some_and(|parent| {
                (parent.host(), parent.port()) == (web.host(), web.port())
                    && web.segments().len() > parent.segments().len()
                    && web.segments().starts_with(parent.segments())
            }),
        }
    }
}

/// Every did:key, and the did:web of the origin's own host and port. An IP address has no did:web.
fn own_subjects(origin: &HttpOrigin) -> Vec<SubjectPattern> {
    let authority = origin.as_str().rsplit('/').next().unwrap_or_default();
    let mut subjects = vec![SubjectPattern::AnyKey];
    if let Ok(own) = Did::parse(&format!("did:web:{}", authority.replace(':', "%3A"))) {
        subjects.extend([SubjectPattern::Exactly(own.clone()), SubjectPattern::Below(own)]);
    }
    subjects
}

#[cfg(test)]
mod tests;
