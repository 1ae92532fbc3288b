//! `did:web`: the grammar and the address of the document (W3C CCG did:web method).

use crate::identity::did::DidParseError;

/// Longest host name (RFC 1035 §2.3.4) and longest label in it.
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The parts of a `did:web`: `did:web:<host>[%3A<port>][:<segment>]*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DidWeb {
    host: String,
    port: Option<u16>,
    segments: Vec<String>,
}

impl DidWeb {
    /// Parses what follows `did:web:`.
    pub(super) fn parse(text: &str) -> Result<Self, DidParseError> {
        let mut parts = text.split(':');
        let (host, port) = parse_authority(parts.next().unwrap_or_default())?;
        let segments = parts.map(parse_segment).collect::<Result<_, _>>()?;
        Ok(Self { host, port, segments })
    }

    /// The host name, in lower case. Never an IP address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if the DID names one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path segments, as they stand in the DID: percent escapes are kept.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Whether the host is `localhost`, whose document is fetched over plain `http`: for development only.
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        self.host == "localhost"
    }

    /// The segment after the first `agents` or `servers` segment, if that segment is `agents`.
    #[must_use]
    pub fn agent_id(&self) -> Option<&str> {
        self.registry_id("agents")
    }

    /// The segment after the first `agents` or `servers` segment, if that segment is `servers`.
    #[must_use]
    pub fn server_id(&self) -> Option<&str> {
        self.registry_id("servers")
    }

    fn registry_id(&self, kind: &str) -> Option<&str> {
        let mut segments = self.segments.iter();
        let found = segments.find(|segment| matches!(segment.as_str(), "agents" | "servers"))?;
        segments.next().filter(|_| found == kind).map(String::as_str)
    }

    /// The URL of the DID document: `/.well-known/did.json` without segments, else `/<segments>/did.json`.
    ///
    /// The scheme is `https`, save for [`Self::is_localhost`].
    #[must_use]
    pub fn document_url(&self) -> String {
        let scheme = if self.is_localhost() { "http" } else { "https" };
        let mut url = format!("{scheme}://{}", self.host);
        if let Some(port) = self.port {
            url.push(':');
            url.push_str(&port.to_string());
        }
        if self.segments.is_empty() {
            url.push_str("/.well-known");
        }
        for segment in &self.segments {
            url.push('/');
            url.push_str(segment);
        }
        url.push_str("/did.json");
        url
    }
}

/// `host` or `host%3Aport`. No other escape has a place in a host name, so none is decoded.
fn parse_authority(text: &str) -> Result<(String, Option<u16>), DidParseError> {
    let (host, port) = match text.split_once('%') {
        None => (text, None),
        Some((host, escaped)) => {
            let port = escaped
                .strip_prefix("3A")
                .or_else(|| escaped.strip_prefix("3a"))
                .ok_or(DidParseError("the host has an escape other than one `%3A`"))?;
            (host, Some(parse_port(port)?))
        }
    };
    if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.split('.').all(is_ldh_label) {
        return Err(DidParseError("the host is not a DNS name"));
    }
    let host = host.to_ascii_lowercase();
    // URL parsers read a name whose last label is a number as an IPv4 address, in several spellings.
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hex || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DidParseError("the host is an IP address"));
    }
    Ok((host, port))
}

fn is_ldh_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// 1 to 65535 in plain digits: no sign and no leading zero, so that one port has one spelling.
fn parse_port(text: &str) -> Result<u16, DidParseError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(DidParseError("the port is not a number from 1 to 65535"))
}

/// Letters, digits, `.`, `_`, `-` and escapes; nothing that means something else once it stands in a URL.
fn parse_segment(text: &str) -> Result<String, DidParseError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let escaped = hex_digit(bytes.next()).zip(hex_digit(bytes.next()));
                let (high, low) = escaped.ok_or(DidParseError("a segment has a broken percent escape"))?;
                let value = high << 4 | low;
                if value.is_ascii_control() || matches!(value, b' ' | b'/' | b'?' | b'#' | b'@' | b'\\') {
                    return Err(DidParseError("a segment hides a reserved character in an escape"));
                }
                decoded.push(value);
            }
            b'.' | b'_' | b'-' => decoded.push(byte),
            _ if byte.is_ascii_alphanumeric() => decoded.push(byte),
            _ => return Err(DidParseError("a segment has a character that is not allowed")),
        }
    }
    match decoded.as_slice() {
        b"" => Err(DidParseError("a segment is empty")),
        b"." | b".." => Err(DidParseError("a segment is a dot segment")),
        _ => Ok(text.to_owned()),
    }
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
