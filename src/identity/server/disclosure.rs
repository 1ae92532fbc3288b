//! What a server says about itself on the wire (CapiscIO RFC-007 §4): two response headers, two `_meta` members.

use std::fmt;

use serde_json::{Map, Value};

use crate::identity::badge::MAX_BADGE_BYTES;
use crate::identity::did::Did;

/// Response header with the server's DID, in lower case; header names compare without case.
pub const HEADER_SERVER_DID: &str = "capiscio-server-did";
/// Response header with the server's badge, in lower case; header names compare without case.
pub const HEADER_SERVER_BADGE: &str = "capiscio-server-badge";
/// `_meta` member of `initialize` and `server/discover` results with the server's DID.
pub const META_SERVER_DID: &str = "capiscio_server_did";
/// `_meta` member of `initialize` and `server/discover` results with the server's badge.
pub const META_SERVER_BADGE: &str = "capiscio_server_badge";

/// The longest value that is kept from a peer: the limit of a badge, the larger of the two.
pub const MAX_DISCLOSED_BYTES: usize = MAX_BADGE_BYTES;

/// A disclosure that cannot be read as one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DisclosureError {
    /// A header comes twice: a proxy and the server, or an attacker and the server, disagree about who speaks.
    #[error("an identity header comes more than once")]
    Repeated,
    /// A value is not text.
    #[error("a disclosed identity is not text")]
    NotText,
    /// A value is longer than [`MAX_DISCLOSED_BYTES`].
    #[error("a disclosed identity is too long")]
    TooLong,
    /// Headers and `_meta` name different DIDs.
    #[error("headers and `_meta` name different servers")]
    Conflict,
}

/// What a server disclosed, unverified: its DID, and its badge from each place that carried one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DisclosedIdentity {
    did: Option<String>,
    // At most one from the headers and one from `_meta`, in this order, without a repeated text.
    badges: Vec<String>,
}

// The derived form would print badges in full.
impl fmt::Debug for DisclosedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisclosedIdentity").field("did", &self.did).field("badges", &self.badges.len()).finish()
    }
}

impl DisclosedIdentity {
    /// A disclosure from text at hand.
    #[must_use]
    pub fn new(server_did: Option<&str>, server_badge: Option<&str>) -> Self {
        Self { did: server_did.map(str::to_owned), badges: server_badge.map(str::to_owned).into_iter().collect() }
    }

    /// One disclosure from the two places of one answer. The badges may differ, since a renewal can fall between them;
    /// both are verified then.
    ///
    /// # Errors
    /// [`DisclosureError::Conflict`] when both name a DID and the DIDs differ.
    pub fn merge(headers: Self, meta: Self) -> Result<Self, DisclosureError> {
        if let (Some(header), Some(meta)) = (&headers.did, &meta.did)
            && header != meta
            && !Did::parse(header).is_ok_and(|header| header.is_named_by(meta))
        {
            return Err(DisclosureError::Conflict);
        }
        let mut badges = headers.badges;
        for badge in meta.badges {
            if !badges.contains(&badge) {
                badges.push(badge);
            }
        }
        Ok(Self { did: headers.did.or(meta.did), badges })
    }

    /// The DID, unverified.
    #[must_use]
    pub fn server_did(&self) -> Option<&str> {
        self.did.as_deref()
    }

    /// The badges, unverified: none, one, or two that differ.
    pub fn server_badges(&self) -> impl Iterator<Item = &str> {
        self.badges.iter().map(String::as_str)
    }

    /// Whether nothing was disclosed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.did.is_none() && self.badges.is_empty()
    }
}

/// Reads the identity from a response's headers; other headers are ignored, names compare without case.
///
/// # Errors
/// [`DisclosureError`] when a header is repeated, is not visible ASCII, or is too long.
pub fn parse_http_headers<N: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> Result<DisclosedIdentity, DisclosureError> {
    let (mut did, mut badge) = (None, None);
    for (name, value) in headers {
        let slot = if name.as_ref().eq_ignore_ascii_case(HEADER_SERVER_DID) {
            &mut did
        } else if name.as_ref().eq_ignore_ascii_case(HEADER_SERVER_BADGE) {
            &mut badge
        } else {
            continue;
        };
        let value = value.as_ref();
        if value.len() > MAX_DISCLOSED_BYTES {
            return Err(DisclosureError::TooLong);
        }
        let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        if slot.replace(text.ok_or(DisclosureError::NotText)?.to_owned()).is_some() {
            return Err(DisclosureError::Repeated);
        }
    }
    Ok(DisclosedIdentity { did, badges: badge.into_iter().collect() })
}

/// Reads the identity from the `_meta` of an `initialize` or `server/discover` result.
///
/// # Errors
/// [`DisclosureError`] when a member is not a string or is too long.
pub fn parse_jsonrpc_meta(meta: &Map<String, Value>) -> Result<DisclosedIdentity, DisclosureError> {
    let member = |name: &str| match meta.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_DISCLOSED_BYTES => Err(DisclosureError::TooLong),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(DisclosureError::NotText),
    };
    Ok(DisclosedIdentity { did: member(META_SERVER_DID)?, badges: member(META_SERVER_BADGE)?.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_compare_without_case_and_come_once() {
        let long = "a".repeat(MAX_DISCLOSED_BYTES + 1);
        let did = |text: &str| Ok(DisclosedIdentity::new(Some(text), None));
        let cases: [(&str, &[(&str, &str)], _); 8] = [
            ("none", &[("content-type", "application/json")], Ok(DisclosedIdentity::default())),
            ("spelling", &[("CAPISCIO-SERVER-did", "did:key:z")], did("did:key:z")),
            (
                "both",
                &[("Capiscio-Server-DID", "d"), ("Capiscio-Server-Badge", "b")],
                Ok(DisclosedIdentity::new(Some("d"), Some("b"))),
            ),
            ("twice", &[("capiscio-server-did", "d"), ("Capiscio-Server-DID", "d")], Err(DisclosureError::Repeated)),
            (
                "badge twice",
                &[("capiscio-server-badge", "b"), ("Capiscio-Server-Badge", "c")],
                Err(DisclosureError::Repeated),
            ),
            ("list", &[("capiscio-server-did", "d, e")], Err(DisclosureError::NotText)),
            ("non-ASCII", &[("capiscio-server-did", "did:web:é")], Err(DisclosureError::NotText)),
            ("too long", &[("capiscio-server-badge", &long)], Err(DisclosureError::TooLong)),
        ];
        for (name, headers, want) in cases {
            assert_eq!(parse_http_headers(headers.iter().copied()), want, "{name}");
        }
        assert_eq!(parse_http_headers([("capiscio-server-did", [0xff])]), Err(DisclosureError::NotText));
    }

    #[test]
    fn meta_members_are_strings() {
        let cases = [
            (json!({}), Ok(DisclosedIdentity::default())),
            (
                json!({"capiscio_server_did": "d", "capiscio_server_badge": "b", "other": 1}),
                Ok(DisclosedIdentity::new(Some("d"), Some("b"))),
            ),
            (json!({"serverDid": "d"}), Ok(DisclosedIdentity::default())),
            (json!({"capiscio_server_did": 1}), Err(DisclosureError::NotText)),
            (json!({"capiscio_server_did": null}), Err(DisclosureError::NotText)),
            (json!({"capiscio_server_badge": ["b"]}), Err(DisclosureError::NotText)),
            (json!({"capiscio_server_badge": "b".repeat(MAX_DISCLOSED_BYTES + 1)}), Err(DisclosureError::TooLong)),
        ];
        for (meta, want) in cases {
            assert_eq!(parse_jsonrpc_meta(meta.as_object().unwrap()), want);
        }
    }

    #[test]
    fn merging_keeps_both_badges_and_one_did() {
        let identity = DisclosedIdentity::new;
        let merged = |headers, meta| DisclosedIdentity::merge(headers, meta);
        let badges = |identity: &DisclosedIdentity| identity.server_badges().map(str::to_owned).collect::<Vec<_>>();

        let both = merged(identity(Some("d"), Some("a")), identity(Some("d"), Some("b"))).unwrap();
        assert_eq!((both.server_did(), badges(&both)), (Some("d"), vec!["a".to_owned(), "b".to_owned()]));
        let same = merged(identity(Some("d"), Some("a")), identity(None, Some("a"))).unwrap();
        assert_eq!((same.server_did(), badges(&same)), (Some("d"), vec!["a".to_owned()]));
        assert!(merged(identity(None, None), identity(None, None)).unwrap().is_empty());
        assert_eq!(merged(identity(Some("d"), None), identity(Some("e"), None)), Err(DisclosureError::Conflict));
        let (upper, lower) = (Some("did:web:Files.example.com"), Some("did:web:files.example.com"));
        assert_eq!(merged(identity(upper, None), identity(lower, None)).unwrap().server_did(), upper);
    }
}
