//! Whether a DID names the place that was dialled (CapiscIO RFC-007 §6, origin and path binding).
//!
//! URL grammar and normalization (case, default port, percent escapes, dot segments) are `fluent-uri`'s, RFC 3986 §6.

use std::net::IpAddr;

use fluent_uri::Uri;

use crate::identity::did::{Did, DidWeb};
use crate::identity::server::ServerErrorCode;

/// The longest URL that is parsed; no endpoint needs more, and the text may come from a peer.
pub const MAX_URL_BYTES: usize = 2048;

/// The text is not a usable http or https URL or origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable http or https URL or origin")]
#[non_exhaustive]
pub struct OriginError;

/// An http or https origin in normal form: lower case, without the scheme's default port (RFC 6454 §6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpOrigin {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

impl HttpOrigin {
    /// Parses an origin such as `https://files.example.com`; a single trailing `/` is allowed.
    ///
    /// # Errors
    /// [`OriginError`] for another scheme, a user name, a path, a query, a fragment, or more than [`MAX_URL_BYTES`].
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let endpoint = Endpoint::parse(text)?;
        // A query would be dropped silently by `Endpoint`; an origin has none.
        if endpoint.path.is_some() || text.contains(['?', '#']) {
            return Err(OriginError);
        }
        Ok(endpoint.origin)
    }

    /// The origin as text, such as `https://files.example.com` or `http://localhost:8080`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is https.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The port, also where it is the scheme's own.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or `::1`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// How a client reached a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel(Option<Endpoint>);

impl Channel {
    /// Standard input and output of a child process, or any other connection without a URL.
    #[must_use]
    pub const fn stdio() -> Self {
        Self(None)
    }

    /// HTTP to the endpoint `url`, as it was dialled.
    ///
    /// # Errors
    /// [`OriginError`] for another scheme, a user name, or more than [`MAX_URL_BYTES`].
    pub fn http(url: &str) -> Result<Self, OriginError> {
        Endpoint::parse(url).map(|endpoint| Self(Some(endpoint)))
    }

    /// The origin that was dialled, which goes into the challenge
    /// ([`PopChallenge::request_meta`](crate::identity::pop::PopChallenge::request_meta)).
    #[must_use]
    pub fn origin(&self) -> Option<&HttpOrigin> {
        self.0.as_ref().map(|endpoint| &endpoint.origin)
    }

    pub(super) const fn endpoint(&self) -> Option<&Endpoint> {
        self.0.as_ref()
    }

    pub(super) const fn from_endpoint(endpoint: Endpoint) -> Self {
        Self(Some(endpoint))
    }
}

/// An origin and the normalized path below it; `None` for a bare origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) origin: HttpOrigin,
    path: Option<String>,
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, OriginError> {
        if url.len() > MAX_URL_BYTES {
            return Err(OriginError);
        }
        let url = Uri::parse(url).map_err(|_| OriginError)?.normalize();
        let tls = match url.scheme().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(OriginError),
        };
        let authority = url.authority().ok_or(OriginError)?;
        let host = authority.host();
        if authority.has_userinfo() || host.is_empty() {
            return Err(OriginError);
        }
        let default_port = if tls { 443 } else { 80 };
        let port = authority.port_to_u16().map_err(|_| OriginError)?.unwrap_or(default_port);
        let suffix = if port == default_port { String::new() } else { format!(":{port}") };
        let text = format!("{}://{host}{suffix}", url.scheme());
        let path = url.path().as_str();
        let path = (!matches!(path, "" | "/")).then(|| path.to_owned());
        Ok(Self { origin: HttpOrigin { text, host: host.to_owned(), port, tls }, path })
    }

    /// The same origin with `path` as its path.
    pub(super) fn with_path(self, path: &str) -> Result<Self, OriginError> {
        if !path.starts_with('/') {
            return Err(OriginError);
        }
        // The path is given even where it is `/`: unlike a bare origin it then has to match.
        let path = Self::parse(&format!("https://path.invalid{path}"))?.path;
        Ok(Self { path: Some(path.unwrap_or_else(|| "/".to_owned())), ..self })
    }
}

/// What a DID says about the place that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller must decide anew when this grows")]
pub enum OriginBinding {
    /// Host, port and path agree.
    Bound,
    /// Host and port agree; the DID has a path and the caller gave none to compare it with.
    HostOnly,
    /// A `did:key` names no place.
    NotApplicable,
}

/// The DID names another place than the one that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "RFC-007 has these two codes")]
pub enum BindingError {
    /// Scheme, host or port differ, or the origin is no origin.
    #[error("the DID names another origin")]
    Origin,
    /// The path is neither the DID's nor below it.
    #[error("the DID names another path")]
    Path,
}

impl BindingError {
    /// The code of the failure in a verification's result.
    #[must_use]
    pub const fn code(self) -> ServerErrorCode {
        match self {
            Self::Origin => ServerErrorCode::OriginMismatch,
            Self::Path => ServerErrorCode::PathMismatch,
        }
    }
}

/// Compares a DID with the origin that was dialled; `transport_origin` may carry a path, `endpoint_path` replaces it.
///
/// Host names compare without ASCII case and with the default port filled in; paths compare segment by segment after
/// dot segments are resolved. Only https binds.
///
/// # Errors
/// [`BindingError`], for the origin before the path.
pub fn check_origin_binding(
    did: &Did,
    transport_origin: &str,
    endpoint_path: Option<&str>,
) -> Result<OriginBinding, BindingError> {
    let endpoint = parse_endpoint(transport_origin, endpoint_path)?;
    did.web().map_or(Ok(OriginBinding::NotApplicable), |web| bind(web, &endpoint, false))
}

pub(super) fn parse_endpoint(origin: &str, path: Option<&str>) -> Result<Endpoint, BindingError> {
    let endpoint = Endpoint::parse(origin).map_err(|_| BindingError::Origin)?;
    match path {
        Some(path) => endpoint.with_path(path).map_err(|_| BindingError::Path),
        None => Ok(endpoint),
    }
}

/// `loopback_http` lets plain http bind where the host is this machine.
pub(super) fn bind(did: &DidWeb, endpoint: &Endpoint, loopback_http: bool) -> Result<OriginBinding, BindingError> {
    let origin = &endpoint.origin;
    let scheme_binds = origin.tls || (loopback_http && origin.is_loopback());
    if !scheme_binds {
        return Err(BindingError::Origin);
    }
    let default_port = if origin.tls { 443 } else { 80 };
    if !did.host().eq_ignore_ascii_case(&origin.host) || did.port().unwrap_or(default_port) != origin.port {
        return Err(BindingError::Origin);
    }
    if did.segments().is_empty() {
        return Ok(OriginBinding::Bound);
    }
    let Some(path) = &endpoint.path else { return Ok(OriginBinding::HostOnly) };
    // The DID's path goes through the same normalization, so that equal escapes are equal text.
    let named = Endpoint::parse(&format!("https://{}/{}", did.host(), did.segments().join("/")));
    let named = named.ok().and_then(|named| named.path).ok_or(BindingError::Path)?;
    // An escaped separator is one segment to us and perhaps two, or a way out, to the server behind it.
    let escaped_separator = ["%2F", "%5C"].iter().any(|escape| path.contains(escape));
    let below = path.strip_prefix(&named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below && !escaped_separator { Ok(OriginBinding::Bound) } else { Err(BindingError::Path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_normal_form() {
        let cases = [
            ("https://files.example.com", Some("https://files.example.com")),
            ("HTTPS://Files.Example.COM:443/", Some("https://files.example.com")),
            ("https://files.example.com:8443", Some("https://files.example.com:8443")),
            ("http://localhost:80", Some("http://localhost")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("", None),
            ("files.example.com", None),
            ("https:files.example.com", None),
            ("https://", None),
            ("https://files.example.com/mcp", None),
            ("https://files.example.com/?a", None),
            ("https://files.example.com#a", None),
            ("https://user@files.example.com", None),
            ("https://files.example.com:65536", None),
            ("https://files.example.com ", None),
            ("wss://files.example.com", None),
        ];
        for (text, want) in cases {
            assert_eq!(HttpOrigin::parse(text).ok().as_ref().map(HttpOrigin::as_str), want, "{text}");
        }
        assert_eq!(HttpOrigin::parse(&format!("https://{}", "a".repeat(MAX_URL_BYTES))), Err(OriginError));
    }

    #[test]
    fn loopback_is_this_machine_only() {
        let cases = [
            ("http://localhost:1", true),
            ("http://127.0.0.1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://0.0.0.0", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("http://10.0.0.1", false),
        ];
        for (text, want) in cases {
            assert_eq!(HttpOrigin::parse(text).unwrap().is_loopback(), want, "{text}");
        }
    }

    #[test]
    fn paths_compare_by_segment_after_normalization() {
        let did = Did::parse("did:web:files.example.com:servers:one").unwrap();
        let cases = [
            ("/servers/one", Ok(OriginBinding::Bound)),
            ("/servers/one/", Ok(OriginBinding::Bound)),
            ("/servers/./one/mcp", Ok(OriginBinding::Bound)),
            ("/servers/%6Fne/mcp", Ok(OriginBinding::Bound)),
            ("/", Err(BindingError::Path)),
            ("", Err(BindingError::Path)),
            ("servers/one", Err(BindingError::Path)),
            ("/Servers/one", Err(BindingError::Path)),
            ("//servers/one", Err(BindingError::Path)),
            ("/servers/one%2F..%2Ftwo", Err(BindingError::Path)),
            ("/servers/one/..%2ftwo", Err(BindingError::Path)),
            ("/servers/one/..%5ctwo", Err(BindingError::Path)),
            ("/servers/one/..\\two", Err(BindingError::Path)),
            ("/servers/one/%2e%2e/two", Err(BindingError::Path)),
            ("/servers/one-evil", Err(BindingError::Path)),
            ("/x?/servers/one", Err(BindingError::Path)),
        ];
        for (path, want) in cases {
            assert_eq!(check_origin_binding(&did, "https://files.example.com", Some(path)), want, "{path}");
        }
        assert_eq!(check_origin_binding(&did, "https://files.example.com", None), Ok(OriginBinding::HostOnly));
        assert_eq!(check_origin_binding(&did, "https://files.example.com/", None), Ok(OriginBinding::HostOnly));
    }

    #[test]
    fn hosts_compare_with_their_ports() {
        let cases = [
            ("did:web:files.example.com", "https://files.example.com:443", true),
            ("did:web:files.example.com%3A443", "https://files.example.com", true),
            ("did:web:files.example.com%3A8443", "https://FILES.example.com:8443", true),
            ("did:web:files.example.com", "https://files.example.com:8443", false),
            ("did:web:files.example.com%3A8443", "https://files.example.com", false),
            ("did:web:files.example.com", "https://files.example.com.", false),
            ("did:web:files.example.com", "https://a.files.example.com", false),
            ("did:web:files.example.com", "https://example.com", false),
        ];
        for (did, origin, bound) in cases {
            let want = if bound { Ok(OriginBinding::Bound) } else { Err(BindingError::Origin) };
            assert_eq!(check_origin_binding(&Did::parse(did).unwrap(), origin, None), want, "{did} at {origin}");
        }
    }

    #[test]
    fn plain_http_binds_on_loopback_and_by_name_only() {
        let local = Did::parse("did:web:localhost%3A8080").unwrap();
        let endpoint = Endpoint::parse("http://localhost:8080/mcp").unwrap();
        let web = local.web().unwrap();
        assert_eq!(bind(web, &endpoint, false), Err(BindingError::Origin));
        assert_eq!(bind(web, &endpoint, true), Ok(OriginBinding::Bound));
        let far = Did::parse("did:web:files.example.com").unwrap();
        let endpoint = Endpoint::parse("http://files.example.com").unwrap();
        assert_eq!(bind(far.web().unwrap(), &endpoint, true), Err(BindingError::Origin));
    }
}
