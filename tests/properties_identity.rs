//! Properties of identity: no input panics, what is accepted has one meaning, and a changed bit is a refusal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use fluent_uri::Uri;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::encoding::{base64url, base64url_decode};
use rmcp_guard::identity::badge::{
    BadgeContext, BadgeErrorKind, BadgeIssuer, BadgeRequest, BadgeVerifier, ClaimedIdentity, UnverifiedBadge,
};
use rmcp_guard::identity::did::{Did, DidDocument};
use rmcp_guard::identity::jwks::JwkSet;
use rmcp_guard::identity::jws::{self, CompactJws};
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const CA: &str = "https://registry.example.com";

fn issued() -> (BadgeVerifier, String) {
    let ca = BadgeIssuer::new(CA, "ca-1", Arc::new(SigningKey::from_seed(&[1; 32]))).unwrap();
    let agent = SigningKey::from_seed(&[2; 32]);
    let request = BadgeRequest::new(agent.did(), agent.public_key(), TrustLevel::Registered);
    let token = ca.issue(&request.lifetime(Duration::from_secs(300)), NOW).unwrap();
    (BadgeVerifier::builder().issuer(Issuer::jwks(CA, &ca.jwks_json()).unwrap()).build(), token)
}

fn verify(verifier: &BadgeVerifier, token: &str) -> Result<(), BadgeErrorKind> {
    verifier.verify(token, &BadgeContext::at(NOW)).now_or_never().unwrap().map(drop).map_err(|error| error.kind())
}

/// Text that looks like what the parsers expect, more often than plain noise does.
fn near_did() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9.-]{0,12}",
        "[a-z]{1,5}\\.(com|example|invalid|1)",
        "%[0-9a-fA-F]{2}",
        "%3[aA][0-9]{0,6}",
        "[.@/?#\\\\ _~:%\u{0}\u{fc}]{1,3}",
    ];
    let parts = proptest::collection::vec(part, 0..5).prop_map(|parts| parts.join(":"));
    (prop_oneof!["did:web:", "did:key:", "did:key:z6Mk", "DID:web:", ""], parts).prop_map(|(head, tail)| head + &tail)
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), near in near_did()) {
        for text in [text, near] {
            let _ = Did::parse(&text);
            let _ = CompactJws::parse(&text, 1024);
            let _ = UnverifiedBadge::parse(&text);
            let _ = ClaimedIdentity::peek(&text);
            let _ = JwkSet::parse(text.as_bytes());
            let _ = SigningKey::from_pkcs8_pem(&text);
            let _ = PublicKey::from_spki_pem(&text);
            let _ = Issuer::jwks(&text, "{\"keys\":[]}");
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = JwkSet::parse(&bytes);
        let _ = DidDocument::parse(&Did::parse("did:web:example.com").unwrap(), &bytes);
        let _ = PublicKey::from_bytes(&bytes);
        let token = format!("{}.{}.{}", base64url(br#"{"alg":"EdDSA"}"#), base64url(&bytes), base64url(&bytes));
        let _ = verify(&issued().0, &token);
        let _ = ClaimedIdentity::peek(&token);
    }

    /// A DID that is read keeps its text, and an independent URL parser sees the host, port and path that we see.
    #[test]
    fn a_did_web_has_one_address(text in near_did()) {
        let Ok(did) = Did::parse(&text) else { return Ok(()) };
        prop_assert_eq!(did.as_str(), &text);
        let Some(web) = did.web() else { return Ok(()) };
        let url = web.document_url();
        let url = Uri::parse(url.as_str()).unwrap();
        let authority = url.authority().unwrap();
        prop_assert_eq!(authority.host(), web.host());
        prop_assert_eq!(authority.port_to_u16().unwrap(), web.port());
        prop_assert!(!authority.has_userinfo() && !url.has_query() && !url.has_fragment());
        // No dot segment, in whatever spelling: normalization removes nothing.
        prop_assert_eq!(url.path().as_str().split('/').count(), url.normalize().path().as_str().split('/').count());
        let segments = if web.segments().is_empty() { ".well-known".to_owned() } else { web.segments().join("/") };
        prop_assert_eq!(url.path().as_str(), format!("/{segments}/did.json"));
    }

    #[test]
    fn every_form_of_a_key_leads_back_to_it(seed in any::<[u8; 32]>()) {
        let key = SigningKey::from_seed(&seed);
        let public = key.public_key();
        prop_assert_eq!(&SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap().public_key(), &public);
        prop_assert_eq!(&PublicKey::from_spki_pem(&public.to_spki_pem().unwrap()).unwrap(), &public);
        prop_assert_eq!(&PublicKey::from_jwk(&public.to_jwk()).unwrap(), &public);
        prop_assert_eq!(&PublicKey::from_bytes(public.as_bytes()).unwrap(), &public);
        let did = Did::parse(key.did().as_str()).unwrap();
        prop_assert_eq!(did.public_key(), Some(&public));
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else(payload in proptest::collection::vec(any::<u8>(), 1..64), flip in any::<(usize, u8)>()) {
        let key = SigningKey::from_seed(&[1; 32]);
        let token = jws::sign(&key, Some("JWT"), None, &payload);
        prop_assert!(CompactJws::parse(&token, 1024).unwrap().verify(&key.public_key()).is_ok());
        let mut bytes = token.into_bytes();
        let at = flip.0.checked_rem(bytes.len()).unwrap();
        bytes[at] ^= 1 << (flip.1 % 7);
        let token = String::from_utf8(bytes).unwrap();
        let verified = CompactJws::parse(&token, 1024).is_ok_and(|jws| jws.verify(&key.public_key()).is_ok());
        prop_assert!(!verified);
    }

    #[test]
    fn base64url_has_one_spelling(text in "[A-Za-z0-9_=-]{0,12}") {
        if let Ok(bytes) = base64url_decode(&text) {
            prop_assert_eq!(base64url(&bytes), text);
        }
    }
}

/// Attack: any change to a badge, in any of its bits, before or after the good one was remembered.
#[test]
fn every_flipped_bit_of_a_badge_is_refused() {
    let (verifier, token) = issued();
    assert_eq!(verify(&verifier, &token), Ok(()));
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(verify(&verifier, &flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert_eq!(verify(&verifier, &token), Ok(()));
}
