//! What fuzzing does with headers and `_meta`: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::encoding::parse_unique_json;
use crate::enforce::{CallerCredential, CredentialSources, MAX_API_KEY_BYTES, META_CALLER_API_KEY, META_CALLER_BADGE};
use crate::identity::badge::MAX_BADGE_BYTES;
use crate::identity::server::{DisclosedIdentity, MAX_DISCLOSED_BYTES, parse_http_headers, parse_jsonrpc_meta};
use crate::layer::headers;

/// Lines `name: value` up to an empty one, which are headers, and then a `_meta` object.
fn request(data: &[u8]) -> (HeaderMap, Option<Map<String, Value>>) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let meta =
        parse_unique_json(rest).ok().and_then(|value| if let Value::Object(meta) = value { Some(meta) } else { None });
    (headers, meta)
}

/// One credential or none: what is taken is what every place says that says anything, and nothing is taken where there
/// is nothing. The same of what a server discloses.
pub fn fuzz_meta_headers(data: &[u8]) {
    let (headers, meta) = request(data);
    let values = |name: HeaderName| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let sources = CredentialSources {
        badge_headers: values(headers::BADGE),
        api_key_headers: values(headers::API_KEY),
        authorization_headers: values(header::AUTHORIZATION),
        meta: meta.as_ref(),
    };
    let meta_text =
        |name: &str| meta.as_ref().and_then(|meta| meta.get(name)).map(|value| value.as_str().unwrap_or_default());
    for bearer in [false, true] {
        let taken = CallerCredential::from_sources(&sources, bearer);
        let (text, headers, meta, limit) = match &taken {
            Ok(CallerCredential::Badge(text)) => {
                (text, &sources.badge_headers, meta_text(META_CALLER_BADGE), MAX_BADGE_BYTES)
            }
            Ok(CallerCredential::ApiKey(text)) => {
                assert!(sources.badge_headers.is_empty() && meta_text(META_CALLER_BADGE).is_none());
                (text, &sources.api_key_headers, meta_text(META_CALLER_API_KEY), MAX_API_KEY_BYTES)
            }
            Ok(CallerCredential::Anonymous) => {
                assert!(sources.badge_headers.is_empty() && sources.api_key_headers.is_empty());
                assert!(meta_text(META_CALLER_BADGE).is_none() && meta_text(META_CALLER_API_KEY).is_none());
                continue;
            }
            Err(_) => continue,
        };
        assert!(!text.is_empty() && text.len() <= limit);
        assert!(headers.len() <= 1 && headers.iter().all(|header| *header == text.as_bytes()));
        assert!(meta.is_none_or(|meta| meta == text.as_str()));
        assert!(bearer || !headers.is_empty() || meta.is_some());
        assert!(text.len() < 64 || !format!("{taken:?} {sources:?}").contains(text.as_str()));
    }

    let told = parse_http_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let said = meta.as_ref().map_or_else(|| Ok(DisclosedIdentity::default()), parse_jsonrpc_meta);
    let (Ok(told), Ok(said)) = (told, said) else { return };
    let Ok(merged) = DisclosedIdentity::merge(told.clone(), said.clone()) else {
        assert!(told.server_did().is_some() && said.server_did().is_some() && told.server_did() != said.server_did());
        return;
    };
    assert_eq!(merged.server_did(), told.server_did().or(said.server_did()));
    let badges: Vec<_> = merged.server_badges().collect();
    assert!(badges.len() <= 2 && badges.iter().all(|badge| badge.len() <= MAX_DISCLOSED_BYTES));
    assert!(told.server_badges().chain(said.server_badges()).all(|badge| badges.contains(&badge)));
    assert_eq!(merged.is_empty(), told.is_empty() && said.is_empty());
    assert_eq!(DisclosedIdentity::merge(merged.clone(), said).as_ref().unwrap().server_did(), merged.server_did());
}
