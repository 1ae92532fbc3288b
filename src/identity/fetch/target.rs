//! Which URLs are fetched, decided on the text alone.
//!
//! Two readings have to agree: WHATWG's, which reqwest will use, and RFC 3986's. Whatever one would tidy up for the other
//! (`0x7f.1`, full-width digits, percent-encoded hosts, backslashes, tabs, dot segments) is refused rather than repaired.

use fluent_uri::Uri;
use ipnet::IpNet;
use reqwest::Url;

use super::{FetchError, FetchErrorKind};

/// The longest URL that is fetched; no endpoint needs more.
pub const MAX_FETCH_URL_BYTES: usize = 2048;

/// Names of the clouds' metadata services, which hand out credentials to whoever asks from inside.
const METADATA_NAMES: &[&str] = &["metadata", "metadata.google.internal", "metadata.goog", "instance-data"];

/// Endings of names that only a local network knows (RFC 6762, RFC 8375, ICANN's `internal`).
const LOCAL_ENDINGS: &[&str] = &[".local", ".localdomain", ".internal", ".home.arpa", ".lan", ".intranet"];

/// What the application lets a fetcher reach beyond https to port 443 of public addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub(super) ports: Vec<u16>,
    pub(super) networks: Vec<IpNet>,
    pub(super) loopback: bool,
}

/// The name that RFC 6761 keeps for this machine.
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Reads `text`, and refuses it unless it is a URL within `reach`.
pub(super) fn check(text: &str, reach: &Reach) -> Result<Url, FetchError> {
    let refuse = |kind| Err(FetchError::new(kind));
    if text.len() > MAX_FETCH_URL_BYTES || !text.is_ascii() {
        return refuse(FetchErrorKind::Url);
    }
    let Ok(url) = Url::parse(text) else { return refuse(FetchErrorKind::Url) };
    let host = url.host_str().unwrap_or_default();
    // A literal stays what it is in any spelling: it was read by the rules that reqwest connects by.
    let loopback = match url.domain() {
        Some(name) => is_localhost(name.trim_end_matches('.')),
        None => literal(host).is_some_and(|address| address.is_loopback()),
    };
    if matches!(url.scheme(), "http" | "https") {
        let local = url.domain().is_none_or(|name| is_off_limits(name, reach));
        if local && !(loopback && reach.loopback) {
            return refuse(FetchErrorKind::Address);
        }
    }
    let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && loopback && reach.loopback);
    if !scheme_fits || !reads_the_same(text, &url) || !url.domain().is_none_or(is_host_name) {
        return refuse(FetchErrorKind::Url);
    }
    let port_fits = match url.port_or_known_default() {
        None | Some(0) => false,
        Some(port) => port == 443 || reach.ports.contains(&port) || (loopback && reach.loopback),
    };
    if port_fits { Ok(url) } else { refuse(FetchErrorKind::Port) }
}

fn literal(host: &str) -> Option<std::net::IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether `name` is not one of the public internet, whatever it resolves to.
fn is_off_limits(name: &str, reach: &Reach) -> bool {
    let name = name.trim_end_matches('.');
    if METADATA_NAMES.iter().any(|metadata| name == *metadata || is_below(name, metadata)) || is_localhost(name) {
        return true;
    }
    // A name without a dot is completed by the resolver's search list, so it is local too.
    let local = !name.contains('.') || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending));
    local && reach.networks.is_empty()
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether RFC 3986 finds the same parts in `text` as `url` has; a name in capitals and a default port may be tidied.
fn reads_the_same(text: &str, url: &Url) -> bool {
    let Ok(strict) = Uri::parse(text) else { return false };
    let Some(authority) = strict.authority() else { return false };
    let same_port = match authority.port_to_u16() {
        Ok(None) => authority.port().is_none() && url.port().is_none(),
        Ok(port) => port == url.port_or_known_default(),
        Err(_) => false,
    };
    let path = strict.path().as_str();
    strict.scheme().as_str().eq_ignore_ascii_case(url.scheme())
        && !authority.has_userinfo()
        && Some(authority.host().to_ascii_lowercase().as_str()) == url.host_str()
        && same_port
        && (path == url.path() || (path.is_empty() && url.path() == "/"))
        && strict.query().map(|query| query.as_str()) == url.query()
        && !strict.has_fragment()
}

/// Host names of RFC 1123 §2.1 without a trailing dot; other alphabets only as A-labels, whose Punycode `Url` has read.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}
