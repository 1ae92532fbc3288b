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
const METADATA_NAMES: &[&str] =
    &["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];

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
    let is_loopback = match url.domain() {
        Some(name) => is_localhost(name.trim_end_matches('.')),
        None => literal(host).is_some_and(|address| address.is_loopback()),
    };
    let loopback = reach.loopback && is_loopback;
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && !loopback && url.domain().is_none_or(|name| is_off_limits(name, reach)) {
        return refuse(FetchErrorKind::Address);
    }
    let scheme_fits = url.scheme() == "https" || (is_web && loopback);
    if !scheme_fits || !reads_the_same(text, &url) || !url.domain().is_none_or(is_host_name) {
        return refuse(FetchErrorKind::Url);
    }
    let port_fits = match url.port_or_known_default() {
        None | Some(0) => false,
        Some(port) => port == 443 || reach.ports.contains(&port) || loopback,
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
        && strict.query().map(fluent_uri::pct_enc::EStr::as_str) == url.query()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str, reach: &Reach) -> Option<FetchErrorKind> {
        check(text, reach).err().map(|error| error.kind())
    }

    #[test]
    fn only_https_names_in_their_plain_spelling_pass() {
        use FetchErrorKind::{Port, Url};
        let long_name = format!("https://{}example.com/", "a.".repeat(125));
        let long_label = format!("https://{}.example.com/", "a".repeat(64));
        let long_url = format!("https://example.com/{}", "a".repeat(MAX_FETCH_URL_BYTES));
        let cases = [
            // allowed
            ("https://example.com", None),
            ("https://example.com/", None),
            ("https://EXAMPLE.com:443/.well-known/jwks.json", None),
            ("https://a-1.b.example.com/v1/x?since=2026-01-01T00:00:00Z&limit=10", None),
            ("https://xn--bcher-kva.example/", None),
            ("https://example.com/agents/did%3Aweb%3Ax/did.json", None),
            ("https://10.example.com/", None),
            // another scheme, or none
            ("", Some(Url)),
            ("example.com", Some(Url)),
            ("//example.com/", Some(Url)),
            ("http://example.com/", Some(Url)),
            ("ftp://example.com/", Some(Url)),
            ("file:///etc/passwd", Some(Url)),
            ("gopher://example.com/", Some(Url)),
            ("https:example.com", Some(Url)),
            ("https:/example.com", Some(Url)),
            ("https:///example.com", Some(Url)),
            ("view-source:https://example.com", Some(Url)),
            // what one parser repairs
            (" https://example.com/", Some(Url)),
            ("https://example.com/\n", Some(Url)),
            ("https://exa\tmple.com/", Some(Url)),
            ("https:\\\\example.com\\", Some(Url)),
            ("https://example.com\\@10.0.0.1/", Some(Url)),
            ("https://example.com/a/../b", Some(Url)),
            ("https://example.com/a/%2e%2e/b", Some(Url)),
            ("https://example.com/a\\b", Some(Url)),
            ("https://example.com/é", Some(Url)),
            // user information, fragment
            ("https://user@example.com/", Some(Url)),
            ("https://user:password@example.com/", Some(Url)),
            ("https://@example.com/", Some(Url)),
            ("https://:@example.com/", Some(Url)),
            ("https://example.com/#a", Some(Url)),
            ("https://example.com/#", Some(Url)),
            // names
            ("https://example.com./", Some(Url)),
            ("https://example..com/", Some(Url)),
            ("https://.example.com/", Some(Url)),
            ("https://-a.example.com/", Some(Url)),
            ("https://a-.example.com/", Some(Url)),
            ("https://a_b.example.com/", Some(Url)),
            ("https://a*b.example.com/", Some(Url)),
            ("https://ex%61mple.com/", Some(Url)),
            ("https://bücher.example/", Some(Url)),
            ("https://xn--a.example/", Some(Url)),
            ("https://xn--zz.example/", Some(Url)),
            (long_name.as_str(), Some(Url)),
            (long_label.as_str(), Some(Url)),
            (long_url.as_str(), Some(Url)),
            // ports
            ("https://example.com:80/", Some(Port)),
            ("https://example.com:22/", Some(Port)),
            ("https://example.com:0/", Some(Port)),
            ("https://example.com:8443/", Some(Port)),
            ("https://example.com:65536/", Some(Url)),
            ("https://example.com:-1/", Some(Url)),
            ("https://example.com:/", Some(Url)),
            ("https://example.com:0443/", None),
        ];
        for (text, want) in cases {
            assert_eq!(kind(text, &Reach::default()), want, "{text}");
        }
    }

    #[test]
    fn addresses_and_local_names_are_refused_in_every_spelling() {
        use FetchErrorKind::{Address, Url};
        let cases = [
            ("https://127.0.0.1/", Some(Address)),
            ("https://8.8.8.8/", Some(Address)),
            ("https://127.1/", Some(Address)),
            ("https://127.0.1/", Some(Address)),
            ("https://2130706433/", Some(Address)),
            ("https://0x7f000001/", Some(Address)),
            ("https://0x7f.1/", Some(Address)),
            ("https://0x7F.0x0.0x0.0x1/", Some(Address)),
            ("https://017700000001/", Some(Address)),
            ("https://0177.0.0.01/", Some(Address)),
            ("https://0/", Some(Address)),
            ("https://127.0.0.1./", Some(Address)),
            ("https://%31%32%37.0.0.1/", Some(Address)),
            ("https://169.254.169.254/latest/meta-data/", Some(Address)),
            ("https://[::1]/", Some(Address)),
            ("https://[::]/", Some(Address)),
            ("https://[::ffff:127.0.0.1]/", Some(Address)),
            ("https://[::ffff:7f00:1]/", Some(Address)),
            ("https://[0:0:0:0:0:0:0:1]/", Some(Address)),
            ("https://[2606:2800:220:1::1]/", Some(Address)),
            ("https://[fe80::1%25eth0]/", Some(Url)),
            ("https://[v1.a]/", Some(Url)),
            ("https://256.0.0.1/", Some(Url)),
            ("https://1.2.3.4.5/", Some(Url)),
            ("https://１２７.0.0.1/", Some(Url)),
            ("https://①②⑦.0.0.1/", Some(Url)),
            ("https://127。0。0。1/", Some(Url)),
            ("https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/", Some(Address)),
            ("https://user@127.0.0.1/", Some(Address)),
            ("http://127.0.0.1/", Some(Address)),
            // names that are not public
            ("https://localhost/", Some(Address)),
            ("https://LOCALHOST/", Some(Address)),
            ("https://localhost./", Some(Address)),
            ("https://a.localhost/", Some(Address)),
            ("https://localhost:8443/", Some(Address)),
            ("https://loc%61lhost/", Some(Address)),
            ("https://metadata.google.internal/", Some(Address)),
            ("https://metadata.google.internal./", Some(Address)),
            ("https://metadata/", Some(Address)),
            ("https://registry/", Some(Address)),
            ("https://registry.internal/", Some(Address)),
            ("https://printer.local/", Some(Address)),
            ("https://router.home.arpa/", Some(Address)),
        ];
        for (text, want) in cases {
            assert_eq!(kind(text, &Reach::default()), want, "{text}");
        }
    }

    #[test]
    fn what_is_allowed_besides_is_no_more_than_was_said() {
        use FetchErrorKind::{Address, Port, Url};
        let loopback = Reach { loopback: true, ..Reach::default() };
        let company = Reach { ports: vec![8443], networks: vec!["10.1.0.0/16".parse().unwrap()], ..Reach::default() };
        let cases = [
            ("http://localhost:8080/", &loopback, None),
            ("https://localhost:8080/", &loopback, None),
            ("http://ca.localhost:8080/", &loopback, None),
            ("http://127.0.0.1:8080/", &loopback, None),
            ("http://127.9.9.9/", &loopback, None),
            ("http://[::1]:8080/", &loopback, None),
            ("http://0x7f.1/", &loopback, Some(Url)),
            ("http://[0:0:0:0:0:0:0:1]/", &loopback, Some(Url)),
            ("http://localhost./", &loopback, Some(Url)),
            ("http://user@localhost/", &loopback, Some(Url)),
            ("http://example.com/", &loopback, Some(Url)),
            ("https://example.com:8080/", &loopback, Some(Port)),
            ("http://localhost:0/", &loopback, Some(Port)),
            ("http://[::ffff:127.0.0.1]/", &loopback, Some(Address)),
            ("http://0.0.0.0/", &loopback, Some(Address)),
            ("http://[::]/", &loopback, Some(Address)),
            ("https://10.0.0.1/", &loopback, Some(Address)),
            ("https://registry/", &loopback, Some(Address)),
            ("https://registry/", &company, None),
            ("https://registry.internal:8443/", &company, None),
            ("https://registry.internal:9443/", &company, Some(Port)),
            ("http://registry.internal/", &company, Some(Url)),
            ("https://metadata.google.internal/", &company, Some(Address)),
            ("https://metadata/", &company, Some(Address)),
            ("https://localhost/", &company, Some(Address)),
            ("https://10.1.0.1/", &company, Some(Address)),
        ];
        for (text, reach, want) in cases {
            assert_eq!(kind(text, reach), want, "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever passes is read by both parsers as the same host, which is a name; nothing panics.
        #[test]
        fn what_passes_is_a_plain_name(
            text in proptest::prop_oneof![
                "https?://[a-z0-9.%@:\\[\\]\\\\/x#?-]{0,40}",
                "https://[0-9a-fx.]{1,20}/?",
                "\\PC{0,40}",
            ],
        ) {
            if let Ok(url) = check(&text, &Reach::default()) {
                let name = url.domain().unwrap();
                proptest::prop_assert!(name.parse::<std::net::IpAddr>().is_err());
                let strict = Uri::parse(text.as_str()).unwrap();
                proptest::prop_assert_eq!(strict.authority().unwrap().host().to_ascii_lowercase(), name);
            }
        }
    }
}
