//! The DIDs that a registry gives out, from its URL.

use crate::identity::did::Did;
use crate::identity::registry::error::{RegistryError, RegistryErrorKind};
use crate::identity::server::HttpOrigin;

/// The path segment under which a registry publishes the DID documents of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "the two forms that exist")]
pub enum ServerDidForm {
    /// `did:web:<registry>:servers:<id>`, as RFC-007 has it.
    #[default]
    Servers,
    /// `did:web:<registry>:agents:<id>`, as capiscio-mcp names servers.
    Agents,
}

/// The DID of the server `id` at the registry at `origin`.
///
/// # Errors
/// [`RegistryErrorKind::Argument`] when none can be made: an IP address in place of a host name, an id that is no path
/// segment.
pub fn server_did(origin: &HttpOrigin, id: &str, form: ServerDidForm) -> Result<Did, RegistryError> {
    let kind = match form {
        ServerDidForm::Servers => "servers",
        ServerDidForm::Agents => "agents",
    };
    registry_did(origin, kind, id)
}

/// The DID of the agent `id` at the registry at `origin`.
///
/// # Errors
/// As [`server_did`].
pub fn agent_did(origin: &HttpOrigin, id: &str) -> Result<Did, RegistryError> {
    registry_did(origin, "agents", id)
}

fn registry_did(origin: &HttpOrigin, kind: &str, id: &str) -> Result<Did, RegistryError> {
    let (_, authority) = origin.as_str().split_once("://").unwrap_or_default();
    // A normal origin names its port only where that is not the scheme's own.
    let did = format!("did:web:{}:{kind}:{id}", authority.replace(':', "%3A"));
    // An id with a colon would be two segments.
    let parsed = Did::parse(&did).ok().filter(|_| !id.contains(':'));
    parsed.ok_or(RegistryError::new(RegistryErrorKind::Argument))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::server::Channel;

    #[test]
    fn the_published_vectors_hold_in_the_form_of_the_peer() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/did_web_from_registry.json")).unwrap();
        assert_eq!(vectors.as_array().unwrap().len(), 5);
        for vector in vectors.as_array().unwrap() {
            let url = vector["registry_url"].as_str().unwrap();
            let origin = Channel::http(url).unwrap().origin().unwrap().clone();
            let id = vector["server_id"].as_str().unwrap();
            let expected = vector["expected"].as_str().unwrap();
            assert_eq!(server_did(&origin, id, ServerDidForm::Agents).unwrap().as_str(), expected, "{url}");
            assert_eq!(agent_did(&origin, id).unwrap().as_str(), expected, "{url}");
            let ours = expected.replace(":agents:", ":servers:");
            assert_eq!(server_did(&origin, id, ServerDidForm::default()).unwrap().as_str(), ours, "{url}");
        }
    }

    #[test]
    fn what_is_no_did_is_refused() {
        let origin = |text| HttpOrigin::parse(text).unwrap();
        let registry = origin("https://registry.example.com");
        for id in ["", "..", "a:b", "a/b", "a#b", "a b"] {
            let error = server_did(&registry, id, ServerDidForm::Servers).unwrap_err();
            assert_eq!(error.kind(), RegistryErrorKind::Argument, "{id:?}");
        }
        for address in ["http://127.0.0.1:8080", "http://[::1]:8080"] {
            assert!(server_did(&origin(address), "x", ServerDidForm::Servers).is_err(), "{address}");
        }
        // another port of https than its own is another registry, be it 80
        let did = server_did(&origin("https://r.example.com:80"), "x", ServerDidForm::Servers).unwrap();
        assert_eq!(did.as_str(), "did:web:r.example.com%3A80:servers:x");
    }
}
