use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::identity::jws;
use crate::identity::pop::PopChallenge;
use crate::identity::server::parse_jsonrpc_meta;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const ORIGIN: &str = "https://files.example.com";

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[2; 32]))
}

fn web() -> Did {
    Did::parse("did:web:files.example.com").unwrap()
}

fn token(subject: &str, exp: &Value) -> String {
    let claims = json!({"jti": "j", "iss": "https://registry.example.com", "sub": subject, "exp": exp});
    jws::sign(&key(), None, None, claims.to_string().as_bytes())
}

fn identity() -> ServerIdentity {
    ServerIdentity::builder(web(), key()).origin("https://FILES.example.com:443/").build().unwrap()
}

fn request(nonce: &Value, origin: &Value) -> Map<String, Value> {
    [(META_POP_NONCE.to_owned(), nonce.clone()), (META_POP_ORIGIN.to_owned(), origin.clone())].into_iter().collect()
}

#[derive(Clone, Debug)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.0.load(Ordering::Relaxed))).unwrap()
    }
}

/// The key signs nothing that is not a nonce, and binds nothing to an origin that is not its server's: otherwise a
/// stranger could have tokens signed, or proofs for an impostor's address.
#[test]
fn s19_a_server_signs_only_nonces_and_only_for_its_own_origins() {
    let nonce = json!("A".repeat(43));
    let cases = [
        ("own origin", request(&nonce, &json!(ORIGIN)), true, true),
        ("foreign origin", request(&nonce, &json!("https://impostor.example")), true, false),
        ("other port", request(&nonce, &json!("https://files.example.com:8443")), true, false),
        ("not in normal form", request(&nonce, &json!("https://FILES.example.com")), true, false),
        ("origin of another type", request(&nonce, &json!([ORIGIN])), true, false),
        ("short nonce", request(&json!("A".repeat(21)), &json!(ORIGIN)), false, false),
        ("claims as nonce", request(&json!("{\"sub\":\"did:web:files.example.com\"}"), &json!(ORIGIN)), false, false),
        ("nonce of another type", request(&json!(1), &json!(ORIGIN)), false, false),
        ("no nonce", Map::new(), false, false),
    ];
    for (name, request, bare, bound) in cases {
        let disclosure = identity().disclose(Some(&request), NOW);
        assert_eq!(disclosure.meta.contains_key(META_POP_SIGNATURE), bare, "{name}");
        assert_eq!(disclosure.meta.contains_key(META_POP_SIGNED_AT), bare, "{name}");
        assert_eq!(disclosure.meta.contains_key(META_BOUND_POP), bound, "{name}");
        assert_eq!(disclosure.nonce_bound, bare, "{name}");
        assert_eq!(disclosure.meta[META_SERVER_DID], json!("did:web:files.example.com"), "{name}");
    }
    assert!(!identity().disclose(None, NOW).nonce_bound);
}

/// The badge is sampled once for an answer: what the proof names is what stands beside it, whatever the keeper does.
#[test]
fn s25_one_answer_has_one_badge() {
    #[derive(Debug)]
    struct Renewing(AtomicU64);
    impl BadgeSource for Renewing {
        fn current(&self) -> Option<Arc<str>> {
            let exp = self.0.fetch_add(1, Ordering::Relaxed);
            Some(token("did:web:files.example.com", &json!(exp)).into())
        }
    }
    let server = ServerIdentity::builder(web(), key())
        .badge(Renewing(AtomicU64::new(1_760_000_300)))
        .origin(ORIGIN)
        .build()
        .unwrap();
    let received = Instant::now();
    let challenge = PopChallenge::new(received).unwrap();
    let meta = server.disclose(Some(&challenge.request_meta(Some(ORIGIN), NOW)), NOW).meta;
    let binding = PopBinding { did: &web(), badge: meta[META_SERVER_BADGE].as_str(), origin: ORIGIN };
    let proof = meta[META_BOUND_POP].as_str().unwrap();
    assert_eq!(challenge.verify_bound(proof, &binding, &key().public_key(), received, NOW), Ok(()));
}

#[test]
fn an_expired_badge_is_not_disclosed() {
    let clock = HandClock(Arc::new(AtomicU64::new(1_760_000_000)));
    let token = token("did:web:files.example.com", &json!(1_760_000_010));
    let badge = StaticBadge::with_clock(&token, Arc::new(clock.clone())).unwrap();
    assert_eq!(badge.expires_at(), UnixSeconds::new(1_760_000_010));
    let server = ServerIdentity::builder(web(), key()).badge(badge).build().unwrap();
    assert_eq!(server.disclose(None, NOW).meta[META_SERVER_BADGE], json!(token));
    clock.0.store(1_760_000_010, Ordering::Relaxed);
    assert_eq!(server.current_badge(), None);
    assert!(!server.disclose(None, NOW).meta.contains_key(META_SERVER_BADGE));
}

#[test]
fn a_badge_without_readable_expiry_is_refused() {
    let subject = "did:web:files.example.com";
    let fractional = token(subject, &json!(1.5));
    let text = token(subject, &json!("1760000300"));
    for token in ["", "a.b.c", &fractional, &text] {
        assert_eq!(StaticBadge::new(token).map(drop), Err(StaticBadgeError), "{token:.8}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let other = Arc::new(SigningKey::from_seed(&[3; 32]));
    let build = |builder: ServerIdentityBuilder| builder.build().map(drop);
    let stray = token("did:web:files.example.com:servers:one", &json!(4_102_444_800_i64));
    let stray = StaticBadge::new(&stray).unwrap();
    let cases = [
        (ServerIdentity::builder(key().did(), other), ServerIdentityError::WrongKey),
        (
            ServerIdentity::builder(web(), key()).key_id("did:web:files.example.net#key-1"),
            ServerIdentityError::KeyId("did:web:files.example.net#key-1".to_owned()),
        ),
        (ServerIdentity::builder(web(), key()).key_id("key-1"), ServerIdentityError::KeyId("key-1".to_owned())),
        (ServerIdentity::builder(web(), key()).badge(stray), ServerIdentityError::BadgeSubject),
        (
            ServerIdentity::builder(web(), key()).origin("files.example.com"),
            ServerIdentityError::Origin("files.example.com".to_owned()),
        ),
    ];
    for (builder, want) in cases {
        assert_eq!(build(builder), Err(want));
    }
}

#[test]
fn key_ids_follow_the_did_method() {
    assert_eq!(identity().key_id(), "did:web:files.example.com#key-1");
    let did = key().did();
    let server = ServerIdentity::builder(did.clone(), key()).build().unwrap();
    assert_eq!(Some(server.key_id().to_owned()), did.key_id());
}

#[test]
fn debug_shows_neither_key_nor_badge_nor_proof() {
    let token = token("did:web:files.example.com", &json!(4_102_444_800_i64));
    let badge = StaticBadge::new(&token).unwrap();
    let server = ServerIdentity::builder(web(), key()).badge(badge.clone()).origin(ORIGIN).build().unwrap();
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let disclosure = server.disclose(Some(&challenge.request_meta(Some(ORIGIN), NOW)), NOW);
    let disclosed = parse_jsonrpc_meta(&disclosure.meta).unwrap();
    assert_eq!(disclosed.server_badges().count(), 1);
    for shown in [format!("{badge:?}"), format!("{server:?}"), format!("{disclosure:?}"), format!("{disclosed:?}")] {
        assert!(!shown.contains("eyJ"), "{shown}");
        assert!(!shown.contains(challenge.nonce()), "{shown}");
    }
}
