use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::*;
use crate::identity::badge::{BadgeIssuer, BadgeRequest, ClaimedIdentity, MAX_BADGE_BYTES, self_sign};
use crate::identity::jwks::JwkSet;
use crate::identity::jws;
use crate::identity::key::SigningKey;
use crate::identity::resolve::{
    AgentStatus, KeySource, MaybeReady, ResolveError, RevocationStatus, StaticDidDocuments, StatusList, StatusSource,
};
use crate::identity::trust_level::TrustLevel;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const CA: &str = "https://registry.example.com";
const EXTRA: &str = "https://extra.example.com";
const AUDIENCE: &str = "https://files.example.com";
const AGENT: &str = "did:web:registry.example.com:agents:a";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn ca(origin: &str, seed: u8) -> BadgeIssuer {
    BadgeIssuer::new(origin, "ca-1", Arc::new(key(seed))).unwrap()
}

fn issuer(origin: &str, seed: u8) -> Issuer {
    Issuer::jwks(origin, &ca(origin, seed).jwks_json()).unwrap()
}

fn request(level: TrustLevel) -> BadgeRequest {
    let request = BadgeRequest::new(Did::parse(AGENT).unwrap(), key(9).public_key(), level);
    request.domain("a.example").audience(AUDIENCE)
}

fn trusting() -> BadgeVerifierBuilder {
    BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE).insecure_no_revocation()
}

fn verify_at(
    verifier: &BadgeVerifier,
    token: &str,
    context: &BadgeContext<'_>,
) -> Result<VerifiedBadge, BadgeErrorKind> {
    verifier.verify(token, context).now_or_never().unwrap().map_err(|error| error.kind())
}

fn verify(verifier: &BadgeVerifier, token: &str) -> Result<VerifiedBadge, BadgeErrorKind> {
    verify_at(verifier, token, &BadgeContext::at(NOW))
}

/// This many seconds from now, as a claim.
fn at(seconds: i64) -> Value {
    NOW.as_i64().saturating_add(seconds).into()
}

/// A level 2 badge of [`CA`] with changed claims.
fn badge(change: impl FnOnce(&mut Value)) -> String {
    signed(Some("JWT"), Some("ca-1"), change)
}

fn signed(typ: Option<&str>, kid: Option<&str>, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "jti": "j", "iss": CA, "sub": AGENT, "aud": [AUDIENCE], "iat": at(0), "exp": at(300), "ial": "0",
        "key": key(9).public_key().to_jwk(),
        "vc": {"type": ["VerifiableCredential", "AgentIdentity"], "credentialSubject": {"domain": "a.example", "level": "2"}},
    });
    change(&mut claims);
    jws::sign(&key(1), typ, kid, claims.to_string().as_bytes())
}

#[test]
fn what_an_issuer_issues_verifies() {
    for level in TrustLevel::ALL.into_iter().skip(1) {
        let token = ca(CA, 1).issue(&request(level).lifetime(Duration::from_secs(60)), NOW).unwrap();
        for profile in [Profile::Interop, Profile::Strict, Profile::Dev] {
            let badge = verify(&trusting().profile(profile).build(), &token).unwrap();
            assert_eq!((badge.issuer(), badge.subject().as_str(), badge.level()), (CA, AGENT, level));
            assert_eq!((badge.bound_audience(), badge.domain()), (Some(AUDIENCE), Some("a.example")));
            assert_eq!((badge.issued_at(), badge.expires_at()), (NOW, NOW.saturating_add(Duration::from_secs(60))));
            assert_eq!(
                (badge.key(), badge.is_ial1(), badge.is_self_signed()),
                (Some(&key(9).public_key()), false, false)
            );
            assert_eq!(badge.token_sha256(), &<[u8; 32]>::from(Sha256::digest(&token)));
            assert_eq!(badge.warnings(), [""; 0]);
            assert!(uuid::Uuid::parse_str(badge.jti()).is_ok_and(|id| id.get_version_num() == 4), "{}", badge.jti());
        }
    }
}

#[test]
fn what_a_holder_signs_for_itself_verifies_at_level_0() {
    let token = self_sign(&key(2), &[AUDIENCE.to_owned()], Duration::from_secs(300), NOW).unwrap();
    let verifier = BadgeVerifier::builder().accept_level_zero(true).audience(AUDIENCE).profile(Profile::Strict).build();
    let badge = verify(&verifier, &token).unwrap();
    assert_eq!((badge.level(), badge.is_self_signed()), (TrustLevel::SelfSigned, true));
    assert_eq!((badge.subject(), badge.issuer()), (&key(2).did(), key(2).did().as_str()));
    assert_eq!(badge.key(), Some(&key(2).public_key()));
}

/// Attack: a caller without a badge, or with one that failed, is taken for "level 0" and passes a minimum of 0; and
/// trust in an issuer is mistaken for trust in everybody who signs for himself.
#[test]
fn s03_only_a_verified_badge_has_a_level() {
    // `VerifiedBadge::level` is the only source of a level, and only `verify` makes a `VerifiedBadge`.
    let own = |seed| self_sign(&key(seed), &[], Duration::from_secs(300), NOW).unwrap();
    let untrusted = Err(BadgeErrorKind::IssuerUntrusted);
    assert_eq!(verify(&BadgeVerifier::builder().build(), &own(2)), untrusted);
    assert_eq!(verify(&trusting().build(), &own(2)), untrusted, "an issuer is no self-signed subject");
    let one = BadgeVerifier::builder().trusted_self_signed(key(2).did()).build();
    assert_eq!(verify(&one, &own(2)).unwrap().level(), TrustLevel::SelfSigned);
    assert_eq!(verify(&one, &own(3)), untrusted, "one did:key is not every did:key");
    let everybody = BadgeVerifier::builder().accept_level_zero(true).build();
    let named = |verifier: &BadgeVerifier, seed| verifier.names_self_signed(&key(seed).did());
    assert_eq!(
        (named(&one, 2), named(&one, 3), named(&everybody, 2)),
        (true, false, false),
        "to take all names nobody"
    );
    let issued = ca(CA, 1).issue(&request(TrustLevel::Registered), NOW).unwrap();
    assert_eq!(verify(&one, &issued), untrusted, "a self-signed subject is no issuer");
    let web = BadgeVerifier::builder().trusted_self_signed(Did::parse("did:web:registry.example.com").unwrap()).build();
    assert_eq!(verify(&web, &issued), untrusted);
    assert!(Issuer::jwks(key(2).did().as_str(), &ca(CA, 1).jwks_json()).is_err(), "a did:key is no issuer");
}

/// Attack: a registry that is trusted for a little (low levels, its own host, one tool) vouches for more.
#[test]
fn s04_an_issuer_counts_within_its_limits_only() {
    let token = |level| ca(CA, 1).issue(&request(level), NOW).unwrap();
    let limited = |issuer| BadgeVerifier::builder().issuer(issuer).audience(AUDIENCE).insecure_no_revocation().build();
    let low = limited(issuer(CA, 1).max_level(TrustLevel::DomainValidated));
    assert_eq!(verify(&low, &token(TrustLevel::DomainValidated)).unwrap().level(), TrustLevel::DomainValidated);
    assert_eq!(verify(&low, &token(TrustLevel::OrganizationValidated)), Err(BadgeErrorKind::IssuerUntrusted));
    let elsewhere = limited(issuer(CA, 1).subjects(["did:web:other.example:*"]).unwrap());
    assert_eq!(verify(&elsewhere, &token(TrustLevel::Registered)), Err(BadgeErrorKind::IssuerUntrusted));

    let foreign = BadgeRequest::new(key(9).did(), key(9).public_key(), TrustLevel::Registered).audience(AUDIENCE);
    let foreign = ca(EXTRA, 5).issue(&foreign, NOW).unwrap();
    let verifier = trusting().additional_issuer(issuer(EXTRA, 5)).build();
    assert_eq!(verify(&verifier, &foreign), Err(BadgeErrorKind::IssuerUntrusted), "known, but not named by this call");
    let named = [EXTRA.to_owned()];
    let context = BadgeContext { now: NOW, additional_issuers: &named };
    assert_eq!(verify_at(&verifier, &foreign, &context).unwrap().issuer(), EXTRA);
    let unknown = trusting().build();
    assert_eq!(verify_at(&unknown, &foreign, &context), Err(BadgeErrorKind::IssuerUntrusted), "a name is no key");
    assert!(verify_at(&verifier, &token(TrustLevel::Registered), &context).is_ok(), "the others still count");
}

#[test]
fn an_issuer_is_compared_word_for_word() {
    for iss in ["https://registry.example.com/", "https://Registry.example.com", "https://registry.example.com:443"] {
        let token = badge(|claims| claims["iss"] = iss.into());
        assert_eq!(verify(&trusting().build(), &token), Err(BadgeErrorKind::IssuerUntrusted), "{iss}");
    }
}

/// Keys that can be replaced, or be out of reach, and that count how often they are asked for.
#[derive(Debug, Default)]
struct LiveKeys {
    asked: AtomicUsize,
    keys: std::sync::Mutex<Option<Arc<JwkSet>>>,
}

fn jwk_set(seeds: &[u8]) -> Arc<JwkSet> {
    let jwk = |seed: &u8| key(*seed).public_key().to_jwk();
    let set = json!({"keys": seeds.iter().map(jwk).collect::<Vec<_>>()}).to_string();
    Arc::new(JwkSet::parse(set.as_bytes()).unwrap())
}

impl LiveKeys {
    fn set(&self, seeds: &[u8]) {
        *self.keys.lock().unwrap() = Some(jwk_set(seeds));
    }
}

impl KeySource for LiveKeys {
    fn keys<'a>(&'a self, _kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        MaybeReady::ready(self.keys.lock().unwrap().clone().ok_or(ResolveError::new("the keys")))
    }
}

fn with_live_keys(seeds: &[u8]) -> (Arc<LiveKeys>, BadgeVerifierBuilder) {
    let keys = Arc::new(LiveKeys::default());
    keys.set(seeds);
    let issuer = Issuer::with_keys(CA, Arc::clone(&keys) as Arc<dyn KeySource>).unwrap();
    (keys, BadgeVerifier::builder().issuer(issuer).audience(AUDIENCE))
}

/// Attack: a badge that was good once is remembered as good after its key was withdrawn, it was revoked, it expired, or
/// the audience changed.
#[test]
fn s05_a_remembered_signature_decides_nothing_else() {
    let status = Arc::new(StatusList::new(NOW));
    let (keys, builder) = with_live_keys(&[1]);
    let verifier = builder.revocations(Revocations::online(Arc::clone(&status) as Arc<_>)).build();
    let token = signed(Some("JWT"), None, |_| ());
    for _ in 0..2 {
        assert!(verify(&verifier, &token).is_ok());
    }
    assert_eq!(verifier.0.signatures.len(Partition::Issued), 1);
    assert_eq!(keys.asked.load(Ordering::Relaxed), 2, "the key is chosen on each call");

    let late = BadgeContext::at(NOW.saturating_add(Duration::from_secs(360)));
    assert_eq!(verify_at(&verifier, &token, &late), Err(BadgeErrorKind::Expired));
    status.disable(Did::parse(AGENT).unwrap());
    assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::AgentDisabled));
    status.revoke("j");
    assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::Revoked));
    keys.set(&[2]);
    assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::SignatureInvalid), "the key was withdrawn");
    *keys.keys.lock().unwrap() = None;
    assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::KeysUnavailable));
}

/// Attack: a token that differs in one character rides on the remembered signature of the good one.
#[test]
fn s05_the_exact_bytes_are_remembered() {
    let verifier = trusting().build();
    let token = badge(|_| ());
    assert!(verify(&verifier, &token).is_ok());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{other}{}", signature.get(1..).unwrap());
    assert_eq!(verify(&verifier, &forged), Err(BadgeErrorKind::SignatureInvalid));
    assert_eq!(verifier.0.signatures.len(Partition::Issued), 1, "failures are not remembered");
}

/// Attack: a trusted issuer's badge with thousands of audiences, which take more room parsed than written, fills memory.
#[test]
fn s05_what_a_long_badge_says_is_not_kept() {
    let verifier = trusting().build();
    let facts = |token: &str| verifier.0.signatures.get(&Sha256::digest(token).into()).unwrap();
    let short = badge(|_| ());
    let many = badge(|claims| claims["aud"] = (0..16).map(|_| "a").chain([AUDIENCE]).collect());
    let long = badge(|claims| claims["aud"] = json!([AUDIENCE, "a".repeat(4096)]));
    for (token, kept) in [(short, true), (many, false), (long, false)] {
        for _ in 0..2 {
            assert_eq!(verify(&verifier, &token).unwrap().bound_audience(), Some(AUDIENCE));
            assert_eq!(facts(&token).claims.is_some(), kept);
            assert_eq!(facts(&token).key, *key(1).public_key().as_bytes());
        }
    }
}

#[test]
fn s05_what_a_badge_of_four_kilobytes_says_is_kept_and_of_no_longer_one() {
    let verifier = trusting_without_kid();
    let padded = |bytes: usize| signed(Some("JWT"), None, |claims| claims["extra"] = "x".repeat(bytes).into());
    let padding = (0..4096).rfind(|bytes| padded(*bytes).len() <= 4096).unwrap();
    assert_eq!(padded(padding).len(), 4096);
    for (token, kept) in [(padded(padding), true), (padded(padding + 1), false)] {
        assert!(verify(&verifier, &token).is_ok());
        let fact = verifier.0.signatures.get(&Sha256::digest(&token).into()).unwrap();
        assert_eq!(fact.claims.is_some(), kept, "{} bytes", token.len());
    }
}

/// A badge that comes back is the one that was verified: nothing of it gets lost in between.
#[test]
fn what_is_remembered_is_what_was_read() {
    let verifier = trusting().build();
    for token in [badge(|_| ()), signed(None, None, |claims| *claims.pointer_mut("/ial").unwrap() = "".into())] {
        let (first, second) = (verify(&verifier, &token).unwrap(), verify(&verifier, &token).unwrap());
        assert_eq!(first, second);
        assert!(Arc::ptr_eq(&first.claims, &second.claims), "read once");
    }
}

/// Attack: anybody makes self-signed badges without end, to push the badges of issuers out of the cache or fill memory.
#[test]
fn s05_self_signed_badges_have_a_bounded_partition() {
    let verifier = trusting().accept_level_zero(true).signature_cache(64).build();
    assert!(verify(&verifier, &badge(|_| ())).is_ok());
    for _ in 0..100 {
        let token = self_sign(&key(2), &[], Duration::from_secs(300), NOW).unwrap();
        assert!(verify(&verifier, &token).is_ok());
    }
    assert_eq!(verifier.0.signatures.len(Partition::Issued), 1);
    assert!(verifier.0.signatures.len(Partition::SelfSigned) <= 8);
    let off = trusting().signature_cache(0).build();
    assert!(verify(&off, &badge(|_| ())).is_ok());
    assert_eq!(off.0.signatures.len(Partition::Issued), 0);
}

/// Attack: an issuer's slip, or a stolen signing key, yields a badge that is good for years and outlives every list of
/// revocations.
#[test]
fn s06_a_badge_lives_an_hour_at_most() {
    let lives = |seconds: i64| badge(|claims| claims["exp"] = at(seconds));
    assert!(verify(&trusting().build(), &lives(3600)).is_ok());
    assert_eq!(verify(&trusting().build(), &lives(3601)), Err(BadgeErrorKind::ClaimsInvalid));
    assert_eq!(verify(&trusting().build(), &lives(i64::MAX)), Err(BadgeErrorKind::ClaimsInvalid));
    assert!(verify(&trusting().max_lifetime(Duration::from_secs(4000)).build(), &lives(4000)).is_ok());
    assert!(verify(&trusting().insecure_no_max_lifetime().build(), &lives(1_000_000_000)).is_ok());
    let extreme = badge(|claims| (claims["iat"], claims["exp"]) = (i64::MIN.into(), i64::MAX.into()));
    assert_eq!(verify(&trusting().build(), &extreme), Err(BadgeErrorKind::ClaimsInvalid));
}

#[test]
fn nothing_is_fetched_for_an_issuer_subject_or_level_that_is_not_trusted() {
    let (keys, builder) = with_live_keys(&[1]);
    let verifier = builder.build();
    let foreign = badge(|claims| claims["iss"] = EXTRA.into());
    let foreign_subject = badge(|claims| claims["sub"] = "did:web:other.example".into());
    for token in [foreign, foreign_subject] {
        assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::IssuerUntrusted));
    }
    assert_eq!(keys.asked.load(Ordering::Relaxed), 0);
}

/// Attack: forged badges without end keep a processor busy with signatures; and with self-signed badges, which anybody can make,
/// the checks of those that an issuer made are used up.
#[test]
fn s29_signatures_that_fail_have_a_budget() {
    let builder = || trusting().accept_level_zero(true).signature_cache(0).signature_checks_per_second(1);
    let after = |seconds| BadgeContext::at(NOW.saturating_add(Duration::from_secs(seconds)));
    let good = badge(|_| ());
    let (head, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let own = || self_sign(&key(2), &[], Duration::from_secs(300), NOW).unwrap();

    let verifier = builder().build();
    for _ in 0..20 {
        assert!(verify(&verifier, &good).is_ok(), "what counts costs nothing");
    }
    for _ in 0..10 {
        assert_eq!(verify(&verifier, &forged), Err(BadgeErrorKind::SignatureInvalid));
    }
    assert_eq!(verify(&verifier, &forged), Err(BadgeErrorKind::RateLimited));
    assert_eq!(verify(&verifier, &good), Err(BadgeErrorKind::RateLimited));
    assert!(verify(&verifier, &own()).is_ok(), "another budget");
    for _ in 0..2 {
        assert!(verify_at(&verifier, &good, &after(1)).is_ok(), "one more each second, and given back");
    }

    let verifier = builder().build();
    for _ in 0..10 {
        assert!(verify(&verifier, &own()).is_ok());
    }
    assert_eq!(verify(&verifier, &own()), Err(BadgeErrorKind::RateLimited));
    assert!(verify(&verifier, &good).is_ok());
}

#[test]
fn keys_out_of_reach_are_a_kind_of_their_own_with_the_rfc_code() {
    let (keys, builder) = with_live_keys(&[]);
    let verifier = builder.build();
    *keys.keys.lock().unwrap() = None;
    let kind = verify(&verifier, &badge(|_| ())).unwrap_err();
    assert_eq!((kind, kind.code()), (BadgeErrorKind::KeysUnavailable, "BADGE_ISSUER_UNTRUSTED"));
}

#[test]
fn at_most_five_keys_are_tried_and_a_named_one_alone() {
    let nameless = signed(Some("JWT"), None, |_| ());
    let with = |seeds: &[u8]| with_live_keys(seeds).1.insecure_no_revocation().build();
    assert!(verify(&with(&[2, 3, 4, 5, 1]), &nameless).is_ok());
    assert_eq!(verify(&with(&[2, 3, 4, 5, 6, 1]), &nameless), Err(BadgeErrorKind::SignatureInvalid));
    assert_eq!(verify(&with(&[1]), &badge(|_| ())), Err(BadgeErrorKind::SignatureInvalid), "no key has that `kid`");
}

/// A source whose copy is older than what its issuer signs with.
#[derive(Debug)]
struct BeforeRollover {
    old: Arc<JwkSet>,
    new: Arc<JwkSet>,
    asked: AtomicUsize,
}

impl KeySource for BeforeRollover {
    fn keys<'a>(&'a self, _kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        MaybeReady::ready(Ok(Arc::clone(&self.old)))
    }

    fn newer_keys<'a>(&'a self, _seen: &'a Arc<JwkSet>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        MaybeReady::ready(Ok(Arc::clone(&self.new)))
    }
}

/// Attack: whoever sends badges that are not looked at any more, or that name a key of their own, makes us ask the issuer.
#[test]
fn newer_keys_are_asked_for_when_a_signature_fails_that_names_no_key() {
    let keys = Arc::new(BeforeRollover { old: jwk_set(&[2]), new: jwk_set(&[1]), asked: AtomicUsize::new(0) });
    let issuer = Issuer::with_keys(CA, Arc::clone(&keys) as Arc<dyn KeySource>).unwrap();
    let builder = BadgeVerifier::builder().issuer(issuer).audience(AUDIENCE).insecure_no_revocation();
    let verifier = builder.signature_checks_per_second(1).build();
    let asked = || keys.asked.load(Ordering::Relaxed);
    let nameless = signed(Some("JWT"), None, |_| ());
    assert!(verify(&verifier, &nameless).is_ok());
    assert_eq!(asked(), 1);
    assert_eq!(verify(&verifier, &badge(|_| ())), Err(BadgeErrorKind::SignatureInvalid));
    assert_eq!(asked(), 1, "no other set has the key that it names");
    let (head, _) = nameless.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    for attempt in 2..=6 {
        assert_eq!(verify(&verifier, &forged), Err(BadgeErrorKind::SignatureInvalid));
        assert_eq!(asked(), attempt);
    }
    assert_eq!(verify(&verifier, &forged), Err(BadgeErrorKind::RateLimited));
    assert_eq!(asked(), 6, "nothing was checked, so nothing failed");
}

#[test]
fn a_badge_of_the_longest_length_verifies_and_no_longer_one() {
    let padded = |bytes: usize| signed(Some("JWT"), None, |claims| claims["extra"] = "x".repeat(bytes).into());
    let padding = (0..MAX_BADGE_BYTES * 3 / 4).rfind(|bytes| padded(*bytes).len() <= MAX_BADGE_BYTES).unwrap();
    assert_eq!(padded(padding).len(), MAX_BADGE_BYTES);
    assert_eq!(verify(&trusting_without_kid(), &padded(padding)).unwrap().jti(), "j");
    assert_eq!(verify(&trusting_without_kid(), &padded(padding + 1)), Err(BadgeErrorKind::Malformed));
}

#[test]
fn a_long_token_is_not_decoded() {
    let token = badge(|claims| claims["extra"] = "x".repeat(MAX_BADGE_BYTES).into());
    assert_eq!(verify(&trusting().build(), &token), Err(BadgeErrorKind::Malformed));
    assert_eq!(ClaimedIdentity::peek(&token), ClaimedIdentity::default());
}

#[test]
fn claims_that_contradict_each_other_are_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 26] = [
        ("jti empty", |c| c["jti"] = "".into()),
        ("jti number", |c| c["jti"] = 1.into()),
        ("iss null", |c| c["iss"] = Value::Null),
        ("sub fragment", |c| c["sub"] = format!("{AGENT}#key-1").into()),
        ("iat too large", |c| c["iat"] = u64::MAX.into()),
        ("iat fraction of zero", |c| c["iat"] = json!(1.0)),
        ("nbf text", |c| c["nbf"] = "0".into()),
        ("aud null", |c| c["aud"] = Value::Null),
        ("aud of numbers", |c| c["aud"] = json!([AUDIENCE, 1])),
        ("vc list", |c| c["vc"] = json!([])),
        ("vc.type of numbers", |c| c["vc"]["type"] = json!(["VerifiableCredential", "AgentIdentity", 1])),
        ("vc.type of a credential of another kind", |c| {
            c["vc"]["type"] = json!(["VerifiableCredential", "Membership"]);
        }),
        ("vc.type of no credential", |c| c["vc"]["type"] = json!(["AgentIdentity", "Membership"])),
        ("subject text", |c| c["vc"]["credentialSubject"] = "2".into()),
        ("level null", |c| c["vc"]["credentialSubject"]["level"] = Value::Null),
        ("domain empty", |c| c["vc"]["credentialSubject"]["domain"] = "".into()),
        ("domain number", |c| c["vc"]["credentialSubject"]["domain"] = 1.into()),
        ("key null", |c| c["key"] = Value::Null),
        ("key weak", |c| c["key"]["x"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()),
        ("key of another did:key", |c| c["sub"] = key(8).did().as_str().into()),
        ("ial number", |c| c["ial"] = 0.into()),
        ("cnf null", |c| c["cnf"] = Value::Null),
        ("ial 1, cnf without kid", |c| {
            (c["ial"], c["cnf"]) = ("1".into(), json!({"jwk": key(9).public_key().to_jwk()}));
        }),
        ("ial 1, cnf.jwk of another", |c| {
            (c["ial"], c["cnf"]) = ("1".into(), json!({"kid": "x", "jwk": key(8).public_key().to_jwk()}));
        }),
        ("iss with a path", |c| c["iss"] = format!("{CA}/x").into()),
        ("iss with a user", |c| c["iss"] = "https://u@registry.example.com".into()),
    ];
    for (name, change) in cases {
        for profile in [Profile::Interop, Profile::Strict, Profile::Dev] {
            let verifier = trusting().profile(profile).build();
            assert_eq!(verify(&verifier, &badge(change)), Err(BadgeErrorKind::ClaimsInvalid), "{name} {profile:?}");
        }
    }
}

#[test]
fn the_interop_profile_says_what_it_tolerated() {
    let token = signed(Some("jwt"), None, |c| {
        c["ial"] = "".into();
        c.as_object_mut().unwrap().remove("key");
    });
    let badge = verify(&trusting_without_kid(), &token).unwrap();
    assert_eq!(
        badge.warnings(),
        ["`typ` is not in upper case", "`ial` is absent or empty and was read as \"0\"", "`key` is absent"]
    );
    assert!(!badge.is_ial1());
    assert_eq!(badge.key(), None);
}

fn trusting_without_kid() -> BadgeVerifier {
    with_live_keys(&[1]).1.insecure_no_revocation().build()
}

#[test]
fn a_foreign_type_is_no_badge() {
    for typ in ["pop+jwt", "bound-pop+jws", "at+jwt", "JWT ", ""] {
        let token = signed(Some(typ), Some("ca-1"), |_| ());
        assert_eq!(verify(&trusting().build(), &token), Err(BadgeErrorKind::Malformed), "{typ}");
    }
}

#[test]
fn times_allow_a_minute_of_skew() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, Option<BadgeErrorKind>); 6] = [
        ("exp 59 s ago", |c| c["exp"] = at(-59), None),
        ("exp 60 s ago", |c| c["exp"] = at(-60), Some(BadgeErrorKind::Expired)),
        ("iat in 60 s", |c| c["iat"] = at(60), None),
        ("iat in 61 s", |c| c["iat"] = at(61), Some(BadgeErrorKind::NotYetValid)),
        ("nbf in 60 s", |c| c["nbf"] = at(60), None),
        ("nbf in 61 s", |c| c["nbf"] = at(61), Some(BadgeErrorKind::NotYetValid)),
    ];
    for (name, change, want) in cases {
        assert_eq!(verify(&trusting().build(), &badge(change)).err(), want, "{name}");
    }
}

#[test]
fn one_of_our_audiences_has_to_be_named() {
    let verifier = trusting().audience("urn:capiscio:trust-domain:x").build();
    let bound = |audience: Value| {
        verify(&verifier, &badge(|c| c["aud"] = audience)).map(|badge| badge.bound_audience().map(str::to_owned))
    };
    assert_eq!(bound(json!(["x", AUDIENCE])), Ok(Some(AUDIENCE.to_owned())));
    assert_eq!(bound(json!(["urn:capiscio:trust-domain:x"])), Ok(Some("urn:capiscio:trust-domain:x".to_owned())));
    for other in [json!([]), json!(["https://files.example.com/"]), json!(["HTTPS://files.example.com"]), json!([""])] {
        assert_eq!(bound(other.clone()), Err(BadgeErrorKind::AudienceMismatch), "{other}");
    }
    let nobody = with_live_keys(&[1]).1.insecure_no_revocation().build();
    let without = signed(Some("JWT"), None, |c| drop(c.as_object_mut().unwrap().remove("aud")));
    assert_eq!(verify(&nobody, &without).unwrap().bound_audience(), None);
}

#[test]
fn a_test_only_host_or_loopback_issuer_needs_the_dev_profile() {
    for origin in ["https://ca.invalid", "https://ca.INVALID.", "https://invalid:8443"] {
        let token = badge(|c| (c["iss"], c["sub"]) = (origin.into(), key(9).did().as_str().into()));
        let verifier = |profile| {
            let issuer = Issuer::jwks(origin, &ca(CA, 1).jwks_json()).unwrap();
            BadgeVerifier::builder().issuer(issuer).audience(AUDIENCE).insecure_no_revocation().profile(profile).build()
        };
        for profile in [Profile::Interop, Profile::Strict] {
            assert_eq!(verify(&verifier(profile), &token), Err(BadgeErrorKind::IssuerUntrusted), "{origin}");
        }
        assert!(verify(&verifier(Profile::Dev), &token).is_ok(), "{origin}");
    }
    let origin = "http://127.0.0.1:8080";
    let token = badge(|c| (c["iss"], c["sub"]) = (origin.into(), key(9).did().as_str().into()));
    let verifier = |profile| {
        let issuer = Issuer::jwks(origin, &ca(CA, 1).jwks_json()).unwrap();
        BadgeVerifier::builder().issuer(issuer).audience(AUDIENCE).insecure_no_revocation().profile(profile).build()
    };
    assert_eq!(verify(&verifier(Profile::Interop), &token), Err(BadgeErrorKind::ClaimsInvalid));
    assert!(verify(&verifier(Profile::Dev), &token).is_ok());
}

#[test]
fn without_revocations_levels_from_2_up_are_refused() {
    let verifier = BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE).build();
    assert!(!verifier.has_revocations());
    for level in TrustLevel::ALL.into_iter().skip(1) {
        let token = ca(CA, 1).issue(&request(level), NOW).unwrap();
        let outcome = verify(&verifier, &token);
        if level == TrustLevel::Registered {
            assert_eq!(outcome.unwrap().warnings(), ["revocation could not be checked"]);
        } else {
            assert_eq!(outcome, Err(BadgeErrorKind::RevocationCheckFailed), "{level}");
        }
    }
}

#[test]
fn hybrid_asks_the_list_only_when_the_live_source_is_silent() {
    let (live, list) = (Arc::new(StatusList::new(NOW)), Arc::new(StatusList::new(NOW)));
    let sources = Revocations::hybrid(Arc::clone(&live) as Arc<_>, Arc::clone(&list) as Arc<_>);
    let verifier = BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE).revocations(sources).build();
    list.revoke("j");
    assert!(verify(&verifier, &badge(|_| ())).is_ok(), "the live source knows better");
    live.mark_synced(UnixSeconds::new(0));
    assert_eq!(verify(&verifier, &badge(|_| ())), Err(BadgeErrorKind::Revoked));
    let other = badge(|c| c["jti"] = "other".into());
    assert!(verify(&verifier, &other).is_ok());
    list.disable(Did::parse(AGENT).unwrap());
    assert_eq!(verify(&verifier, &other), Err(BadgeErrorKind::AgentDisabled));
}

/// Says the same of every badge, and of every agent.
#[derive(Debug)]
struct Always(RevocationStatus, AgentStatus);

impl StatusSource for Always {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(self.0)
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(self.1)
    }
}

#[test]
fn an_online_source_that_knows_no_agents_denies() {
    let badges_only = || -> Arc<dyn StatusSource> { Arc::new(Always(RevocationStatus::Good, AgentStatus::Unknown)) };
    let builder = || BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE);
    let online = builder().revocations(Revocations::online(badges_only())).build();
    assert_eq!(verify(&online, &badge(|_| ())), Err(BadgeErrorKind::RevocationCheckFailed));
    let offline = builder().revocations(Revocations::offline(badges_only())).build();
    assert_eq!(verify(&offline, &badge(|_| ())).unwrap().warnings(), ["the status of the subject is unknown"]);
}

/// Attack: the registry is kept from answering, so that a revoked badge of a low level counts.
#[test]
fn the_silence_of_a_live_source_denies_at_every_level() {
    let silent = || -> Arc<dyn StatusSource> { Arc::new(StatusList::new(UnixSeconds::new(0))) };
    for (sources, mode, passes) in [
        (Revocations::online(silent()), "online", false),
        (Revocations::offline(silent()), "offline", true),
        (Revocations::hybrid(silent(), silent()), "hybrid", true),
        (Revocations::synced(silent(), silent()), "synced", true),
    ] {
        assert_eq!(sources.mode().as_str(), mode);
        let verifier = BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE).revocations(sources).build();
        let low = verify(&verifier, &ca(CA, 1).issue(&request(TrustLevel::Registered), NOW).unwrap());
        if passes {
            let warnings = ["revocation could not be checked", "the status of the subject is unknown"];
            assert_eq!(low.unwrap().warnings(), warnings, "{mode}");
        } else {
            assert_eq!(low, Err(BadgeErrorKind::RevocationCheckFailed), "{mode}");
        }
        assert_eq!(verify(&verifier, &badge(|_| ())), Err(BadgeErrorKind::RevocationCheckFailed), "{mode}");
    }
}

/// Attack: the question about the badge alone is kept from the registry; that the agent is active says nothing about it.
#[test]
fn an_online_source_that_knows_no_badges_denies() {
    let agents_only = || -> Arc<dyn StatusSource> { Arc::new(Always(RevocationStatus::Unknown, AgentStatus::Active)) };
    let builder = || BadgeVerifier::builder().issuer(issuer(CA, 1)).audience(AUDIENCE);
    let low = ca(CA, 1).issue(&request(TrustLevel::Registered), NOW).unwrap();
    let online = builder().revocations(Revocations::online(agents_only())).build();
    assert_eq!(verify(&online, &low), Err(BadgeErrorKind::RevocationCheckFailed));
    let offline = builder().revocations(Revocations::offline(agents_only())).build();
    assert_eq!(verify(&offline, &low).unwrap().warnings(), ["revocation could not be checked"]);
}

/// A document that lists one key as `#key-1`.
fn document(did: &str, seed: u8) -> DidDocument {
    let jwk = key(seed).public_key().to_jwk();
    let method =
        json!({"id": format!("{did}#key-1"), "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": jwk});
    let text = json!({"id": did, "verificationMethod": [method]}).to_string();
    DidDocument::parse(&Did::parse(did).unwrap(), text.as_bytes()).unwrap()
}

#[test]
fn a_key_binding_needs_the_document_of_the_subject() {
    let kid = format!("{AGENT}#key-1");
    let token = badge(|c| (c["ial"], c["cnf"]) = ("1".into(), json!({"kid": kid})));
    let with = |documents: StaticDidDocuments| verify(&trusting().did_documents(Arc::new(documents)).build(), &token);
    assert!(with(StaticDidDocuments::new().add_document(document(AGENT, 9))).unwrap().is_ial1());
    let rotated = StaticDidDocuments::new().add_document(document(AGENT, 8));
    assert_eq!(with(rotated), Err(BadgeErrorKind::ClaimsInvalid));
    assert_eq!(with(StaticDidDocuments::new()), Err(BadgeErrorKind::ClaimsInvalid));
    assert_eq!(verify(&trusting().build(), &token), Err(BadgeErrorKind::ClaimsInvalid), "no source of documents");
}

/// A source that answers every question with the document of somebody else.
#[derive(Debug)]
struct OneForAll(Arc<DidDocument>);

impl DidDocumentSource for OneForAll {
    fn document<'a>(&'a self, _: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        MaybeReady::ready(Ok(Arc::clone(&self.0)))
    }
}

#[test]
fn a_key_binding_to_the_document_of_another_is_refused() {
    let other = "did:web:evil.example";
    let token = badge(|c| (c["ial"], c["cnf"]) = ("1".into(), json!({"kid": format!("{other}#key-1")})));
    let verifier = trusting().did_documents(Arc::new(OneForAll(Arc::new(document(other, 9))))).build();
    assert_eq!(verify(&verifier, &token), Err(BadgeErrorKind::ClaimsInvalid));
}

#[test]
fn a_verification_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    let verifier = trusting().build();
    is_shared(&verifier);
    is_send(&verifier.verify("", &BadgeContext::at(NOW)));
}

#[test]
fn it_is_known_whether_anybody_is_trusted() {
    assert!(!BadgeVerifier::builder().build().has_issuers());
    assert!(trusting().build().has_issuers() && trusting().build().has_revocations());
    assert!(BadgeVerifier::builder().accept_level_zero(true).build().has_issuers());
    assert!(BadgeVerifier::builder().trusted_self_signed(key(1).did()).build().has_issuers());
}

#[test]
fn peek_reads_what_can_be_read() {
    let token = badge(|_| ());
    let claimed = ClaimedIdentity::peek(&token);
    assert_eq!(
        (claimed.issuer.as_deref(), claimed.subject.as_deref(), claimed.jti.as_deref()),
        (Some(CA), Some(AGENT), Some("j"))
    );
    let payload = token.split('.').nth(1).unwrap();
    assert_eq!(ClaimedIdentity::peek(&format!("?.{payload}")).jti.as_deref(), Some("j"), "whatever the header");
    let long = |bytes: usize| format!(".{payload}.{}", "a".repeat(bytes - payload.len() - 2));
    assert_eq!(ClaimedIdentity::peek(&long(MAX_BADGE_BYTES)).jti.as_deref(), Some("j"));
    assert_eq!(ClaimedIdentity::peek(&long(MAX_BADGE_BYTES + 1)), ClaimedIdentity::default());
    for text in ["", ".", "..", "a.b.c", "x.W10.y", "\u{0}.\u{ffff}."] {
        assert_eq!(ClaimedIdentity::peek(text), ClaimedIdentity::default(), "{text:?}");
    }
}

#[test]
fn an_unverified_badge_shows_its_claims() {
    let token = badge(|_| ());
    let shown = UnverifiedBadge::parse(&token).unwrap();
    assert_eq!((shown.typ(), shown.kid()), (Some("JWT"), Some("ca-1")));
    assert_eq!(shown.claimed_level(), Some(TrustLevel::DomainValidated));
    assert_eq!(shown.claimed_audience().collect::<Vec<_>>(), [AUDIENCE]);
    assert_eq!(shown.claimed_issued_at(), Some(NOW));
    assert_eq!(shown.claimed_expires_at(), Some(NOW.saturating_add(Duration::from_secs(300))));
    assert_eq!(shown.identity(), ClaimedIdentity::peek(&token));
    assert_eq!(shown.claims()["ial"], "0");
    assert_eq!(UnverifiedBadge::parse("a.b").unwrap_err().kind(), BadgeErrorKind::Malformed);
}

#[test]
fn an_error_holds_nothing_of_the_badge() {
    let token = badge(|c| c["jti"] = "".into());
    let error = trusting().build().verify(&token, &BadgeContext::at(NOW)).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.detail(), "`jti` is not a non-empty string");
    assert_eq!(error.to_string(), error.detail());
}
