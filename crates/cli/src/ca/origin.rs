//! The CA's name: the origin that its badges say as `iss`, and the DIDs that it hosts.

use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::server::HttpOrigin;

use crate::ca::error::CaError;
use crate::ca::subjects::Kind;

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// An origin whose host is a DNS name, so that did:web can name what it hosts.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    text: String,
    /// `localhost%3A8443`: the host as a did:web writes it.
    did_host: String,
    host: String,
    port: u16,
    tls: bool,
    loopback: bool,
}

impl Origin {
    pub(crate) fn parse(text: &str) -> Result<Self, CaError> {
        let invalid = |why: &str| CaError::invalid("invalid_origin", format!("the origin {why}"));
        let parsed =
            HttpOrigin::parse(text).map_err(|_| invalid("is no https origin such as https://localhost:8443"))?;
        // A trailing slash would make another issuer of it.
        let text = parsed.as_str().to_owned();
        let authority = text.split_once("://").map_or("", |(_, authority)| authority);
        let did_host = authority.replace(':', "%3A");
        let did = Did::parse(&format!("did:web:{did_host}"));
        let web = did.as_ref().ok().and_then(Did::web);
        let web =
            web.ok_or_else(|| invalid("has no DNS name: a did:web cannot hold an address, `localhost` will do"))?;
        if !parsed.is_tls() && !parsed.is_loopback() {
            return Err(invalid("is plain http beyond this machine"));
        }
        Ok(Self {
            host: web.host().to_owned(),
            port: web.port().unwrap_or(if parsed.is_tls() { 443 } else { 80 }),
            tls: parsed.is_tls(),
            loopback: parsed.is_loopback(),
            did_host,
            text,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The DNS name, in lower case.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The DID of which we host the document.
    pub(crate) fn hosted(&self, kind: Kind, id: &str) -> String {
        format!("did:web:{}:{}:{id}", self.did_host, kind.segment())
    }

    /// Whether we are the host of `did`.
    pub(crate) fn hosts(&self, did: &Did) -> bool {
        did.as_str()
            .split(':')
            .nth(2)
            .is_some_and(|host| did.web().is_some() && host.eq_ignore_ascii_case(&self.did_host))
    }

    /// Where a proof for `did` is posted to (RFC-003 `htu`).
    pub(crate) fn badge_url(&self, did: &Did) -> String {
        let mut url = format!("{}/v1/agents/", self.text);
        for byte in did.as_str().bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
                _ => url.extend(['%', hex(byte >> 4), hex(byte & 15)]),
            }
        }
        url.push_str("/badge");
        url
    }
}
