//! What fuzzing does with identities: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use serde_json::Value;

use crate::clock::UnixSeconds;
use crate::encoding::{base64url, parse_unique_json};
use crate::identity::badge::{
    BadgeContext, BadgeVerifier, CLOCK_SKEW, ClaimedIdentity, Profile, UnverifiedBadge, VerifiedBadge,
};
use crate::identity::did::{Did, DidDocument, MAX_DID_BYTES, MAX_VERIFICATION_METHODS};
use crate::identity::jwks::{JwkSet, MAX_JWKS_KEYS};
use crate::identity::jws::{self, CompactJws};
use crate::identity::key::{PublicKey, SigningKey};
use crate::identity::pop::issuance::{Challenge, ChallengeId, PROOF_TYP};
use crate::identity::pop::{
    self, BOUND_POP_TYP, MAX_NONCE_CHARS, MAX_POP_SKEW, MIN_NONCE_CHARS, POP_TYP, PopBinding, PopChallenge, PopError,
    sign_response,
};
#[cfg(feature = "registry")]
pub use crate::identity::registry::fuzz_registry_answer;
#[cfg(feature = "registry")]
pub use crate::identity::remote::fuzz_status_answer;
use crate::identity::resolve::{RevocationPage, StaticDidDocuments, poll_once};
use crate::identity::server::{Channel, HttpOrigin, OriginBinding, check_origin_binding};
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;

/// The time of all vectors.
pub(in crate::identity) const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
pub(in crate::identity) const REGISTRY: &str = "https://registry.example.test";
pub(in crate::identity) const AGENT: &str = "did:web:registry.example.test:agents:agent-001";
const AUDIENCE: &str = "https://mcp.example.test";
const CA_KEY_ID: &str = "ca-key-2025-01";
const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The keys of `tests/vectors/fixtures.json` by the byte that their seeds repeat.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

static CA: LazyLock<SigningKey> = LazyLock::new(|| key(0x11));
static HOLDER: LazyLock<SigningKey> = LazyLock::new(|| key(0x31));
static AGENT_KEY: LazyLock<SigningKey> = LazyLock::new(|| key(0x21));
static SERVER: LazyLock<SigningKey> = LazyLock::new(|| key(0x41));
/// Nothing is signed with it.
static STRANGER: LazyLock<PublicKey> = LazyLock::new(|| key(0xee).public_key());

static FIXTURES: LazyLock<Value> =
    LazyLock::new(|| parse_unique_json(include_bytes!("../../tests/vectors/fixtures.json")).unwrap());

static DOCUMENT: LazyLock<DidDocument> = LazyLock::new(|| {
    let document = FIXTURES["did_documents"][AGENT].to_string();
    DidDocument::parse(&Did::parse(AGENT).unwrap(), document.as_bytes()).unwrap()
});

/// Of the vectors' world, strict and tolerant.
static VERIFIERS: LazyLock<[BadgeVerifier; 2]> = LazyLock::new(|| {
    [Profile::Strict, Profile::Interop].map(|profile| {
        BadgeVerifier::builder()
            .profile(profile)
            .issuer(Issuer::jwks(REGISTRY, &FIXTURES["jwks"][REGISTRY].to_string()).unwrap())
            .audience(AUDIENCE)
            .accept_level_zero(true)
            .insecure_no_revocation()
            .insecure_no_max_lifetime()
            .did_documents(Arc::new(StaticDidDocuments::new().add_document(DOCUMENT.clone())))
            // nothing of one input may be remembered in the next
            .signature_cache(0)
            .signature_checks_per_second(u32::MAX)
            .build()
    })
});

/// The first line, and what stands behind it.
fn split_line(data: &[u8]) -> Option<(&str, &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = data.split_at_checked(end)?;
    Some((std::str::from_utf8(line).ok()?, rest.get(1..)?))
}

/// A DID that is read keeps its text. A `did:key` has one spelling; a `did:web` names the place where its document is.
pub fn fuzz_did(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(did) = Did::parse(text) else { return };
    assert!(did.as_str() == text && text.len() <= MAX_DID_BYTES && did.is_named_by(text));
    match (did.public_key(), did.web()) {
        (Some(key), None) => {
            assert_eq!(Did::from_public_key(key).as_str(), text);
            let document = DidDocument::of_did_key(&did).unwrap();
            assert_eq!(document.authentication_method(&did.key_id().unwrap()), Some(key));
        }
        (None, Some(web)) => {
            let url = web.document_url();
            let origin = Channel::http(&url).unwrap().origin().unwrap().clone();
            assert_eq!(origin.is_tls(), !web.is_localhost());
            let port = web.port().map(|port| format!(":{port}")).unwrap_or_default();
            let place = format!("https://{}{port}/{}", web.host(), web.segments().join("/"));
            assert_eq!(check_origin_binding(&did, &place, None), Ok(OriginBinding::Bound), "{place}");
        }
        _ => panic!("a DID is of one method"),
    }
}

/// Lines: a DID, an origin or URL, and perhaps a path. An origin has one normal form, and only https and the host that the
/// DID names bind.
pub fn fuzz_origin(data: &[u8]) {
    let Some((did, rest)) = split_line(data) else { return };
    let (url, path) = split_line(rest)
        .map_or((std::str::from_utf8(rest).ok(), None), |(url, path)| (Some(url), std::str::from_utf8(path).ok()));
    let Some(url) = url else { return };
    let channel = Channel::http(url);
    if let Ok(origin) = HttpOrigin::parse(url) {
        assert_eq!(HttpOrigin::parse(origin.as_str()).as_ref(), Ok(&origin));
        assert_eq!(channel.as_ref().unwrap().origin(), Some(&origin));
    }
    let Ok(did) = Did::parse(did) else { return };
    let bound = check_origin_binding(&did, url, path);
    if let (Ok(OriginBinding::Bound | OriginBinding::HostOnly), Some(web)) = (bound, did.web()) {
        let origin = channel.unwrap().origin().unwrap().clone();
        let named = format!("https://{}:{}", web.host(), web.port().unwrap_or(443));
        assert_eq!(HttpOrigin::parse(&named), Ok(origin));
    } else if let Ok(bound) = bound {
        assert_eq!((bound, did.web()), (OriginBinding::NotApplicable, None));
    }
}

/// The DID, then its document: the methods that are listed are those that are found.
pub fn fuzz_did_document(data: &[u8]) {
    let Some((did, document)) = split_line(data) else { return };
    let Ok(did) = Did::parse(did) else { return };
    let Ok(document) = DidDocument::parse(&did, document) else { return };
    assert_eq!(*document.did(), did);
    let methods: Vec<_> = document.methods().collect();
    assert!(methods.len() <= MAX_VERIFICATION_METHODS);
    for (id, key, authentication) in methods {
        assert_eq!(document.method(&id), Some(key));
        assert_eq!(document.authentication_method(&id), authentication.then_some(key));
    }
}

/// What is decoded has no other spelling, verifies under no key that did not sign it, and is read the same when it is
/// signed again.
pub fn fuzz_jws(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(jws) = CompactJws::parse(text, 64 * 1024) else { return };
    let segments: Vec<_> = text.split('.').collect();
    assert!(matches!(segments.as_slice(), [_, payload, _] if *payload == base64url(jws.payload())));
    assert!(jws.verify(&STRANGER).is_err());

    let again = jws::sign(&CA, jws.typ(), jws.kid(), jws.payload());
    let read = CompactJws::parse(&again, usize::MAX).unwrap();
    assert_eq!((read.typ(), read.kid(), read.payload()), (jws.typ(), jws.kid(), jws.payload()));
    assert!(read.verify(&CA.public_key()).is_ok() && read.verify(&STRANGER).is_err());
}

/// Verifies `token` with both profiles: what the strict one accepts the tolerant one accepts too, and what is verified
/// is what the token says.
fn verify_badge(token: &str) -> Option<VerifiedBadge> {
    let context = BadgeContext::at(NOW);
    let [strict, interop] = VERIFIERS.each_ref().map(|verifier| poll_once(verifier.verify(token, &context)).unwrap());
    if let Ok(strict) = &strict {
        assert!(interop.is_ok() && strict.warnings().is_empty());
    }
    let badge = interop.ok()?;
    let said = UnverifiedBadge::parse(token).unwrap();
    let identity = said.identity();
    assert_eq!(identity.jti.as_deref(), Some(badge.jti()));
    assert_eq!(identity.issuer.as_deref(), Some(badge.issuer()));
    assert_eq!(identity.subject.as_deref(), Some(badge.subject().as_str()));
    assert_eq!(said.claimed_level(), Some(badge.level()));
    assert_eq!(said.claimed_expires_at(), Some(badge.expires_at()));
    assert_eq!(said.claimed_issued_at(), Some(badge.issued_at()));
    assert!(badge.expires_at() > NOW.saturating_sub(CLOCK_SKEW) && badge.issued_at() <= NOW.saturating_add(CLOCK_SKEW));
    assert_eq!(badge.is_self_signed(), badge.level() == TrustLevel::SelfSigned);
    assert_eq!(badge.issuer() == REGISTRY, !badge.is_self_signed());
    assert!(badge.domain().is_some() || badge.level() < TrustLevel::DomainValidated);
    assert_eq!(badge.bound_audience().is_some(), said.claims().contains_key("aud"));
    assert!(
        badge.bound_audience().is_none_or(|bound| bound == AUDIENCE && said.claimed_audience().any(|one| one == bound))
    );
    assert!(
        !badge.is_ial1()
            || DOCUMENT.methods().any(|(_, key, _)| badge.key() == Some(key))
            || badge.subject().public_key().is_some()
    );
    Some(badge)
}

/// A token as a caller sends it.
pub fn fuzz_badge(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    let peeked = ClaimedIdentity::peek(token);
    if let Ok(badge) = UnverifiedBadge::parse(token) {
        assert_eq!(peeked, badge.identity());
    }
    verify_badge(token);
}

/// The claims of a badge, signed by the authority and by a holder: nobody becomes what the signer may not say.
pub fn fuzz_badge_claims(data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let holder = HOLDER.did();
    for (key, kid) in [(&*CA, CA_KEY_ID), (&*HOLDER, &holder.key_id().unwrap())] {
        let token = jws::sign(key, Some("JWT"), Some(kid), data);
        let Some(badge) = verify_badge(&token) else { continue };
        if kid == CA_KEY_ID {
            assert!(badge.issuer() == REGISTRY || *badge.subject() == CA.did());
        } else {
            assert!(badge.is_self_signed() && badge.subject().as_str() == holder.as_str());
        }
        // the same claims with another's signature
        assert!(verify_badge(&jws::sign(&AGENT_KEY, Some("JWT"), Some(kid), data)).is_none());
    }
}

/// Every key of a set is a candidate for its own id, and reads back from what is published of it.
pub fn fuzz_jwks(data: &[u8]) {
    let Ok(set) = JwkSet::parse(data) else { return };
    assert!(set.keys().count() <= MAX_JWKS_KEYS && set.is_empty() == (set.keys().count() == 0));
    for (kid, key) in set.keys() {
        assert!(set.candidates(kid).any(|candidate| candidate == key));
        assert_eq!(PublicKey::from_jwk(&key.to_jwk()).as_ref(), Ok(key));
        assert_eq!(Did::from_public_key(key).public_key(), Some(key));
    }
    assert_eq!(set.candidates(None).count(), set.keys().count());
}

fn challenge(nonce: &str) -> (PopChallenge, Instant) {
    let now = Instant::now();
    (PopChallenge::of_nonce(nonce, now), now)
}

/// A proof, its payload and a nonce: nothing but the nonce itself answers a challenge, and what is signed for a nonce is
/// nothing else.
pub fn fuzz_pop(data: &[u8]) {
    let (did, public) = (SERVER.did(), SERVER.public_key());
    let kid = did.key_id().unwrap();
    let respond = |nonce: &str, proof: &str| {
        let (challenge, now) = challenge(nonce);
        challenge.verify_response(proof, &did, &public, now)
    };
    let bound = |proof: &str| {
        let (challenge, now) = challenge(NONCE);
        let binding = PopBinding { did: &did, badge: None, origin: AUDIENCE };
        challenge.verify_bound(proof, &binding, &public, now, NOW)
    };
    if let Ok(text) = std::str::from_utf8(data) {
        if respond(NONCE, text).is_ok() {
            assert!(bound(text).is_err() && pop::key_id(text, &did).is_ok());
        }
        let signed = sign_response(&SERVER, &kid, text);
        assert!(signed.is_err() || (MIN_NONCE_CHARS..=MAX_NONCE_CHARS).contains(&text.len()));
        if let Ok(proof) = signed {
            assert_eq!(respond(text, &proof), Ok(()));
            assert!(UnverifiedBadge::parse(&proof).is_err());
        }
    }
    if data.is_empty() {
        return;
    }
    let bare = respond(NONCE, &jws::sign(&SERVER, Some(POP_TYP), Some(&kid), data));
    assert_eq!(bare.is_ok(), data == NONCE.as_bytes());
    let proof = jws::sign(&SERVER, Some(BOUND_POP_TYP), Some(&kid), data);
    if bound(&proof).is_ok() {
        let claims: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(
            (&claims["nonce"], &claims["origin"], &claims["badge"]),
            (&NONCE.into(), &AUDIENCE.into(), &Value::Null)
        );
        assert!(did.is_named_by(claims["did"].as_str().unwrap()));
        assert!(claims["iat"].as_i64().unwrap().abs_diff(NOW.as_i64()) <= MAX_POP_SKEW.as_secs());
        assert_eq!(respond(NONCE, &proof), Err(PopError::WrongType));
    }
}

/// A proof of possession at issuance, and the claims of one: what is verified answers this challenge and no other.
pub fn fuzz_issuance_proof(data: &[u8]) {
    let did = Did::parse(AGENT).unwrap();
    let challenge = Challenge {
        id: ChallengeId::parse("ch-550e8400-e29b-41d4-a716-446655440000").unwrap(),
        did: did.clone(),
        nonce: NONCE.to_owned(),
        proof_aud: REGISTRY.to_owned(),
        htu: format!("{REGISTRY}/v1/agents/{}/badge", AGENT.replace(':', "%3A")),
        created_at: NOW,
        expires_at: UnixSeconds::new(1_760_000_300),
        used: false,
    };
    let verify = |proof: &str| {
        let checked = challenge.check(&did, proof, NOW).ok()?;
        checked.verify(&DOCUMENT).ok()
    };
    if let Ok(text) = std::str::from_utf8(data) {
        let id = ChallengeId::parse(text);
        assert!(id.is_err() || id.is_ok_and(|id| id.to_string() == text));
        verify(text);
    }
    if data.is_empty() {
        return;
    }
    let kid = DOCUMENT.methods().next().unwrap().0;
    let proof = jws::sign(&AGENT_KEY, Some(PROOF_TYP), Some(&kid), data);
    if let Some(verified) = verify(&proof) {
        assert_eq!((verified.did(), verified.key_id(), verified.key()), (&did, &*kid, &AGENT_KEY.public_key()));
        let claims: Value = serde_json::from_slice(data).unwrap();
        for (name, want) in [
            ("cid", challenge.id.to_string()),
            ("nonce", challenge.nonce.clone()),
            ("aud", challenge.proof_aud.clone()),
            ("htu", challenge.htu.clone()),
            ("htm", "POST".to_owned()),
        ] {
            assert_eq!(claims[name], want);
        }
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!(exp > NOW.as_i64() && exp <= challenge.expires_at.as_i64() && exp.checked_sub(iat).unwrap() <= 60);
        assert!(verify(&jws::sign(&CA, Some(PROOF_TYP), Some(&kid), data)).is_none());
    }
}

/// No revocation of a list is lost on the way.
pub fn fuzz_revocations(data: &[u8]) {
    let Some(page) = RevocationPage::parse(data) else { return };
    let value: Value = serde_json::from_slice(data).unwrap();
    let listed = value["revocations"].as_array().map_or(0, Vec::len);
    assert_eq!(page.ids().count(), listed);
    assert!(page.next_cursor().is_none_or(|cursor| value["nextCursor"] == cursor && !cursor.is_empty()));
}
