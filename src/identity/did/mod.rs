//! Decentralized identifiers: `did:key` (Ed25519) and `did:web`, and the documents behind them.
//!
//! In scope: the grammar, the key in a `did:key`, the URL of a `did:web` document, and reading a document that
//! somebody else fetched. Out of scope: fetching, other DID methods, DID URLs (which occur only as key ids).
//!
//! ```
//! use rmcp_guard::identity::did::Did;
//!
//! let agent: Did = "did:web:registry.example.com:agents:a1".parse()?;
//! assert_eq!(agent.web().map(|web| web.document_url()).as_deref(),
//!            Some("https://registry.example.com/agents/a1/did.json"));
//! assert!(Did::parse("did:web:192.168.0.1").is_err());
//! # Ok::<(), rmcp_guard::identity::did::DidParseError>(())
//! ```

mod document;
mod key;
mod web;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

pub use document::{DidDocument, DidDocumentError, MAX_DID_DOCUMENT_BYTES, MAX_VERIFICATION_METHODS};
pub use web::DidWeb;

use crate::identity::key::PublicKey;
use crate::identity::server::MAX_URL_BYTES;

/// Longest DID that is read. DID Core sets no limit; the URL of a `did:web`'s document is nine bytes longer (`/did.json`) and
/// has to fit into [`MAX_URL_BYTES`], or nobody could fetch it.
pub const MAX_DID_BYTES: usize = MAX_URL_BYTES - "/did.json".len();

/// A `did:key` with an Ed25519 key, or a `did:web`.
///
/// Two values are equal when they name the same subject: the host of a `did:web` compares in lower case, everything
/// else byte for byte. [`Self::as_str`] keeps the text as it was given.
#[derive(Clone)]
pub struct Did {
    text: String,
    method: Method,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Method {
    Key(PublicKey),
    Web(DidWeb),
}

/// The text is not a DID that we read. The message names the rule that it breaks, not the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable DID: {0}")]
#[non_exhaustive]
pub struct DidParseError(&'static str);

impl Did {
    /// Parses a `did:key` (Ed25519 only) or a `did:web` of at most [`MAX_DID_BYTES`].
    ///
    /// # Errors
    /// [`DidParseError`] for everything else, DID URLs with path, query or fragment included.
    pub fn parse(text: &str) -> Result<Self, DidParseError> {
        if text.len() > MAX_DID_BYTES {
            return Err(DidParseError("too long"));
        }
        let method = if let Some(multibase) = text.strip_prefix("did:key:") {
            Method::Key(key::parse_multibase(multibase)?)
        } else if let Some(rest) = text.strip_prefix("did:web:") {
            Method::Web(DidWeb::parse(rest)?)
        } else {
            return Err(DidParseError("the method is neither `did:key` nor `did:web`"));
        };
        Ok(Self { text: text.to_owned(), method })
    }

    /// The DID as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `text` is a DID of the same subject, by the rule of equality and not of spelling.
    pub(crate) fn is_named_by(&self, text: &str) -> bool {
        text == self.text || Self::parse(text).is_ok_and(|other| other == *self)
    }

    /// The `did:key` of `key`.
    #[must_use]
    pub fn from_public_key(key: &PublicKey) -> Self {
        Self { text: format!("did:key:{}", key::to_multibase(key)), method: Method::Key(key.clone()) }
    }

    /// The key that a `did:key` names; `None` for `did:web`.
    #[must_use]
    pub const fn public_key(&self) -> Option<&PublicKey> {
        match &self.method {
            Method::Key(key) => Some(key),
            Method::Web(_) => None,
        }
    }

    /// The parts of a `did:web`; `None` for `did:key`.
    #[must_use]
    pub const fn web(&self) -> Option<&DidWeb> {
        match &self.method {
            Method::Key(_) => None,
            Method::Web(web) => Some(web),
        }
    }

    /// The key id of a `did:key`, `did:key:z…#z…`; `None` for `did:web`, whose key ids stand in its document.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        match &self.method {
            Method::Key(_) => self.text.strip_prefix("did:key:").map(|multibase| format!("{}#{multibase}", self.text)),
            Method::Web(_) => None,
        }
    }
}

impl PartialEq for Did {
    fn eq(&self, other: &Self) -> bool {
        self.method == other.method
    }
}

impl Eq for Did {}

impl Hash for Did {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.method.hash(state);
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Did").field(&self.text).finish()
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Did {
    type Err = DidParseError;

    fn from_str(text: &str) -> Result<Self, DidParseError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
