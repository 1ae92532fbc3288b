use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::identity::badge::{BadgeIssuer, BadgeRequest, Revocations, self_sign};
use crate::identity::did::DidDocument;
use crate::identity::jwks::JwkSet;
use crate::identity::key::SigningKey;
use crate::identity::resolve::{
    AgentStatus, DidDocumentSource, KeySource, MaybeReady, ResolveError, RevocationStatus, StatusSource,
};
use crate::identity::server::{
    META_SERVER_DID, ServerIdentity, StaticBadge, VerifyConfigBuilder, parse_http_headers, parse_jsonrpc_meta,
};
use crate::identity::trust_store::Issuer;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const REGISTRY: &str = "https://registry.example.com";
const WEB: &str = "did:web:files.example.com";
const URL: &str = "https://files.example.com/mcp";
const ORIGIN: &str = "https://files.example.com";

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(NOW.as_i64().unsigned_abs())).unwrap()
    }
}

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[seed; 32]))
}

fn server_key() -> Arc<SigningKey> {
    key(2)
}

fn web() -> Did {
    Did::parse(WEB).unwrap()
}

fn issuer(seed: u8) -> BadgeIssuer {
    BadgeIssuer::new(REGISTRY, "ca-1", key(seed)).unwrap()
}

fn badge(did: &Did, level: TrustLevel) -> String {
    let request = BadgeRequest::new(did.clone(), server_key().public_key(), level).domain("files.example.com");
    issuer(1).issue(&request, NOW).unwrap()
}

/// Trusts the registry for the subjects used here; revocation is not what these tests are about.
fn config() -> VerifyConfigBuilder {
    let subjects = ["did:key", "did:web:files.example.com", "did:web:files.example.com:*", "did:web:localhost%3A8080"];
    let issuer = Issuer::jwks(REGISTRY, &issuer(1).jwks_json()).unwrap().subjects(subjects).unwrap();
    VerifyConfig::builder().trusted_issuer(issuer).insecure_no_revocation().clock(Arc::new(FixedClock))
}

fn server(did: &Did, origins: &[&str]) -> ServerIdentity {
    let badge = StaticBadge::with_clock(&badge(did, TrustLevel::DomainValidated), Arc::new(FixedClock)).unwrap();
    let identity = ServerIdentity::builder(did.clone(), server_key()).badge(badge);
    origins.iter().fold(identity, |identity, origin| identity.origin(*origin)).build().unwrap()
}

fn channel(url: Option<&str>) -> Channel {
    url.map_or(Channel::stdio(), |url| Channel::http(url).unwrap())
}

fn origin_of(channel: &Channel) -> Option<&str> {
    channel.origin().map(HttpOrigin::as_str)
}

type Verdict = Result<VerifiedServer, ServerVerifyError>;

fn check(
    config: VerifyConfigBuilder,
    url: Option<&str>,
    challenge: PopChallenge,
    answer: &Map<String, Value>,
) -> Verdict {
    let verifier = ServerVerifier::new(config.build().unwrap());
    let disclosed = parse_jsonrpc_meta(answer).unwrap();
    poll_once(verifier.verify(&disclosed, &channel(url), challenge, answer)).expect("all sources are static")
}

/// A handshake with `server` at `url` (stdio without one), after `tamper` had its way with the answer.
fn handshake_with(
    config: VerifyConfigBuilder,
    server: &ServerIdentity,
    url: Option<&str>,
    tamper: impl FnOnce(&mut Map<String, Value>),
) -> Verdict {
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let request = challenge.request_meta(origin_of(&channel(url)), NOW);
    let mut answer = server.disclose(Some(&request), NOW).meta;
    tamper(&mut answer);
    check(config, url, challenge, &answer)
}

fn handshake(config: VerifyConfigBuilder, server: &ServerIdentity, url: Option<&str>) -> Verdict {
    handshake_with(config, server, url, |_| {})
}

#[track_caller]
fn refused(verdict: Verdict, code: ServerErrorCode) -> VerifyResult {
    let error = verdict.expect_err("the server must not be verified");
    assert_eq!(error.code(), code, "{error}");
    assert_eq!(error.result().error_code, Some(code));
    assert_ne!(error.result().state, ServerState::VerifiedPrincipal);
    error.into_result()
}

#[test]
fn a_server_with_badge_proof_and_origin_is_verified() {
    let server = handshake(config(), &server(&web(), &[ORIGIN]), Some(URL)).unwrap();
    assert_eq!(server.did(), &web());
    assert_eq!(server.state(), ServerState::VerifiedPrincipal);
    assert_eq!(server.trust_level(), TrustLevel::DomainValidated);
    assert_eq!(server.origin().map(HttpOrigin::as_str), Some(ORIGIN));
    assert_eq!(server.expires_at(), NOW.saturating_add(Duration::from_secs(300)));
    assert!(server.pop_verified() && server.origin_bound());
}

/// The host of a DID has no case, wherever the DID stands: disclosure, pin, badge, document, key id.
#[test]
fn one_server_may_spell_its_host_in_two_ways() {
    let spelled = Did::parse("did:web:Files.EXAMPLE.com").unwrap();
    let badge = StaticBadge::with_clock(&badge(&web(), TrustLevel::Registered), Arc::new(FixedClock)).unwrap();
    let server = ServerIdentity::builder(spelled, server_key()).badge(badge).key_id(format!("{WEB}#key-1"));
    let server = server.origin(ORIGIN).build().unwrap();
    let documents = || Arc::new(Documents::of(&server_key(), true));
    for config in [config(), config().did_documents(documents())] {
        assert_eq!(handshake(config.expect_did(WEB), &server, Some(URL)).unwrap().did(), &web());
    }
}

/// An impostor that took over a name may relay the challenge to the real server, which answers anybody: over HTTP the
/// bare proof says nothing unless TLS and the DID name the host.
#[test]
fn s19_a_bare_proof_counts_over_http_only_with_did_web_bound_over_tls() {
    let key_did = server_key().did();
    let bare = |did: &Did| server(did, &[]);
    let loopback = Did::parse("did:web:localhost%3A8080").unwrap();
    let local_url = Some("http://localhost:8080/mcp");

    handshake(config(), &bare(&web()), Some(URL)).unwrap();
    handshake(config().expect_did(WEB), &bare(&web()), None).unwrap();

    let pinned = config().expect_did(key_did.as_str());
    refused(handshake(pinned, &bare(&key_did), Some(URL)), ServerErrorCode::PopMissing);
    let unbound = config().expect_did(WEB).skip_origin_binding(true);
    refused(handshake(unbound, &bare(&web()), Some(URL)), ServerErrorCode::PopMissing);
    let gateway = config().gateway("https://gateway.example.com", [WEB]);
    refused(handshake(gateway, &bare(&web()), Some("https://gateway.example.com/files")), ServerErrorCode::PopMissing);
    let local = config().dangerous_loopback_http();
    refused(handshake(local, &bare(&loopback), local_url), ServerErrorCode::PopMissing);

    // The bound proof counts in each of these places.
    let bound = server(&key_did, &[ORIGIN]);
    handshake(config().expect_did(key_did.as_str()), &bound, Some(URL)).unwrap();
    let bound = server(&web(), &["https://gateway.example.com"]);
    let gateway = config().gateway("https://gateway.example.com", [WEB]);
    handshake(gateway, &bound, Some("https://gateway.example.com/files")).unwrap();
    let bound = server(&loopback, &["http://localhost:8080"]);
    handshake(config().dangerous_loopback_http(), &bound, local_url).unwrap();
}

/// The relay in full: the impostor's victim dials the impostor, which asks the real server for a proof.
#[test]
fn s19_a_relayed_proof_is_refused_where_the_origin_differs() {
    let did = server_key().did();
    let real = server(&did, &[ORIGIN]);
    let dialled = Some("https://impostor.example/mcp");
    let config = || config().expect_did(did.as_str());

    // The client's own request passed on: the real server does not sign for a foreign origin.
    refused(handshake(config(), &real, dialled), ServerErrorCode::PopMissing);

    // The origin replaced on the way: the proof then names the real server's.
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let request = challenge.request_meta(Some(ORIGIN), NOW);
    let answer = real.disclose(Some(&request), NOW).meta;
    assert!(answer.contains_key(META_BOUND_POP));
    refused(check(config(), dialled, challenge, &answer), ServerErrorCode::PopFailed);
}

/// Whoever sits on the network path of plain http can replace everything after the handshake.
#[test]
fn s19_plain_http_beyond_this_machine_is_never_verified() {
    let did = server_key().did();
    let config = config().expect_did(did.as_str()).dangerous_loopback_http();
    let url = "http://files.example.com/mcp";
    refused(
        handshake(config, &server(&did, &["http://files.example.com"]), Some(url)),
        ServerErrorCode::OriginMismatch,
    );
}

/// Where the DID names no place, any holder of a badge from a trusted issuer could answer; only an exact pin tells them
/// apart.
#[test]
fn s20_without_origin_binding_only_a_pinned_did_is_verified() {
    let key_did = server_key().did();
    let nested = Did::parse("did:web:files.example.com:servers:one").unwrap();
    let gateway = "https://gateway.example.com";
    let at_gateway = Some("https://gateway.example.com/files");

    let unpinned = refused(handshake(config(), &server(&web(), &[ORIGIN]), None), ServerErrorCode::OriginUnbound);
    assert_eq!(unpinned.state, ServerState::DeclaredPrincipal);
    assert!(!unpinned.badge_verified && !unpinned.origin_bound);
    refused(handshake(config(), &server(&key_did, &[ORIGIN]), Some(URL)), ServerErrorCode::OriginUnbound);
    let skipping = config().skip_origin_binding(true);
    refused(handshake(skipping, &server(&web(), &[ORIGIN]), Some(URL)), ServerErrorCode::OriginUnbound);
    // The root of a shared host is not the server below one of its paths.
    refused(handshake(config(), &server(&nested, &[ORIGIN]), Some(ORIGIN)), ServerErrorCode::OriginUnbound);

    // A mapping lists DIDs: another DID of the same host does not come through it.
    let mapped = || config().gateway(gateway, [nested.as_str()]);
    handshake(mapped(), &server(&nested, &[gateway]), at_gateway).unwrap();
    refused(handshake(mapped(), &server(&web(), &[gateway]), at_gateway), ServerErrorCode::OriginMismatch);
    refused(handshake(mapped(), &server(&key_did, &[gateway]), at_gateway), ServerErrorCode::OriginUnbound);

    let pinned = handshake(config().expect_did(WEB), &server(&web(), &[ORIGIN]), None).unwrap();
    assert!(!pinned.origin_bound());
    assert_eq!(pinned.origin(), None);
}

/// A pin is exact: a server that is trusted as another one is not the one that was asked for.
#[test]
fn s20_another_did_than_the_expected_is_refused_even_when_bound() {
    let config = || config().expect_did("did:web:files.example.com:servers:one");
    for url in [Some(URL), None] {
        refused(handshake(config(), &server(&web(), &[ORIGIN]), url), ServerErrorCode::DidUnexpected);
    }
}

/// A server's badge is public: whoever copies it has everything but the key.
#[test]
fn s21_a_badge_without_a_proof_is_declared() {
    let without_proof = |answer: &mut Map<String, Value>| {
        answer.remove(META_BOUND_POP);
        answer.remove(META_POP_SIGNATURE);
    };
    let real = server(&web(), &[ORIGIN]);
    let facts = refused(handshake_with(config(), &real, Some(URL), without_proof), ServerErrorCode::PopMissing);
    assert_eq!(facts.state, ServerState::DeclaredPrincipal);
    assert!(facts.badge_verified && facts.origin_bound && !facts.pop_verified);
    assert_eq!(facts.trust_level, Some(TrustLevel::DomainValidated));

    let relaxed = || config().insecure_accept_badge_without_pop();
    let server = handshake_with(relaxed(), &real, Some(URL), without_proof).unwrap();
    assert!(!server.pop_verified());

    // Relaxed or not, a proof that is presented has to verify.
    let forged = |answer: &mut Map<String, Value>| {
        let nonce = "A".repeat(43);
        let proof = pop::sign_response(&key(9), &format!("{WEB}#key-1"), &nonce).unwrap();
        answer.remove(META_BOUND_POP);
        answer.insert(META_POP_SIGNATURE.to_owned(), json!(proof));
    };
    refused(handshake_with(relaxed(), &real, Some(URL), forged), ServerErrorCode::PopFailed);
}

/// Without a badge nobody vouches for the DID; holding its key makes no one trustworthy.
#[test]
fn s21_a_proof_without_a_badge_is_declared() {
    let unvouched = ServerIdentity::builder(web(), server_key()).origin(ORIGIN).build().unwrap();
    let relaxed = config().insecure_accept_badge_without_pop();
    let facts = refused(handshake(relaxed, &unvouched, Some(URL)), ServerErrorCode::BadgeMissing);
    assert_eq!(facts.state, ServerState::DeclaredPrincipal);
    assert_eq!(facts.trust_level, None);
}

/// Attack: a server shows the copied badge of another and a proof by a key of its own.
#[test]
fn s21_a_proof_that_fails_is_declared() {
    let real = server(&web(), &[ORIGIN]);
    let corrupt = |name: &'static str| {
        move |answer: &mut Map<String, Value>| {
            answer.insert(name.to_owned(), json!("a.b.c"));
        }
    };
    for (name, url) in [(META_BOUND_POP, Some(URL)), (META_POP_SIGNATURE, None)] {
        let config = config().expect_did(WEB);
        let facts = refused(handshake_with(config, &real, url, corrupt(name)), ServerErrorCode::PopFailed);
        assert_eq!(facts.state, ServerState::DeclaredPrincipal);
    }
    let number = |answer: &mut Map<String, Value>| {
        answer.insert(META_BOUND_POP.to_owned(), json!(1));
    };
    refused(handshake_with(config(), &real, Some(URL), number), ServerErrorCode::PopFailed);

    let late = PopChallenge::new(Instant::now()).unwrap();
    let answer = real.disclose(Some(&late.request_meta(Some(ORIGIN), NOW)), NOW).meta;
    let verifier = ServerVerifier::new(config().build().unwrap());
    let disclosed = parse_jsonrpc_meta(&answer).unwrap();
    let received = Instant::now() + Duration::from_secs(31);
    let dialled = channel(Some(URL));
    let verdict = poll_once(verifier.verify_received(&disclosed, &dialled, late, &answer, received)).unwrap();
    refused(verdict, ServerErrorCode::PopExpired);
}

/// A proxy that adds its own identity, or an attacker who controls one of the two places, must not be taken for the
/// server.
#[test]
fn s25_headers_and_meta_must_name_one_server() {
    let headers = parse_http_headers([("Capiscio-Server-DID", "did:web:proxy.example.com")]).unwrap();
    let meta = DisclosedIdentity::new(Some(WEB), None);
    let error = DisclosedIdentity::merge(headers, meta).unwrap_err();
    assert_eq!(ServerVerifyError::from(error).code(), ServerErrorCode::DidMismatch);
}

/// A renewal may fall between header and `_meta`, so both badges count and the weaker one decides; a bad one beside a
/// good one is refused.
#[test]
fn s25_badges_of_headers_and_meta_are_both_verified() {
    let real = server(&web(), &[ORIGIN]);
    let with_header = |header_badge: &str| {
        let challenge = PopChallenge::new(Instant::now()).unwrap();
        let answer = real.disclose(Some(&challenge.request_meta(Some(ORIGIN), NOW)), NOW).meta;
        let headers =
            parse_http_headers([("capiscio-server-did", WEB), ("CAPISCIO-SERVER-BADGE", header_badge)]).unwrap();
        let disclosed = DisclosedIdentity::merge(headers, parse_jsonrpc_meta(&answer).unwrap()).unwrap();
        assert_eq!(disclosed.server_badges().count(), 2);
        let verifier = ServerVerifier::new(config().build().unwrap());
        poll_once(verifier.verify(&disclosed, &channel(Some(URL)), challenge, &answer)).unwrap()
    };
    let shorter = BadgeRequest::new(web(), server_key().public_key(), TrustLevel::Registered);
    let shorter = shorter.lifetime(Duration::from_secs(60));
    let renewed = with_header(&issuer(1).issue(&shorter, NOW).unwrap()).unwrap();
    assert_eq!(renewed.trust_level(), TrustLevel::Registered);
    assert_eq!(renewed.expires_at(), NOW.saturating_add(Duration::from_secs(60)));

    let other = Did::parse("did:web:files.example.com:servers:one").unwrap();
    refused(with_header(&badge(&other, TrustLevel::Registered)), ServerErrorCode::DidMismatch);
    let forged = BadgeRequest::new(web(), server_key().public_key(), TrustLevel::Registered);
    let forged = issuer(9).issue(&forged, NOW).unwrap();
    refused(with_header(&forged), ServerErrorCode::BadgeInvalid);
}

#[test]
fn each_failure_has_its_code() {
    let later = UnixSeconds::new(NOW.as_i64() - 3600);
    let request = |did: &Did| BadgeRequest::new(did.clone(), server_key().public_key(), TrustLevel::Registered);
    let other = Did::parse("did:web:files.example.com:servers:one").unwrap();
    let stranger = BadgeIssuer::new("https://stranger.example.com", "ca-1", key(1)).unwrap();
    let good = badge(&web(), TrustLevel::Registered);
    let cases = [
        ("no DID", None, Some(good.clone()), ServerErrorCode::IdentityMissing),
        ("no did:web", Some("did:web:"), Some(good.clone()), ServerErrorCode::DidInvalid),
        ("other method", Some("did:example:1"), Some(good.clone()), ServerErrorCode::DidInvalid),
        ("no badge", Some(WEB), None, ServerErrorCode::BadgeMissing),
        ("empty badge", Some(WEB), Some(String::new()), ServerErrorCode::BadgeInvalid),
        (
            "truncated badge",
            Some(WEB),
            good.rsplit_once('.').map(|(signed, _)| signed.to_owned()),
            ServerErrorCode::BadgeInvalid,
        ),
        ("expired", Some(WEB), Some(issuer(1).issue(&request(&web()), later).unwrap()), ServerErrorCode::BadgeExpired),
        ("subject", Some(WEB), Some(issuer(1).issue(&request(&other), NOW).unwrap()), ServerErrorCode::DidMismatch),
        ("issuer", Some(WEB), Some(stranger.issue(&request(&web()), NOW).unwrap()), ServerErrorCode::IssuerUntrusted),
        ("signature", Some(WEB), Some(issuer(9).issue(&request(&web()), NOW).unwrap()), ServerErrorCode::BadgeInvalid),
        ("level", Some(WEB), Some(good.clone()), ServerErrorCode::TrustInsufficient),
    ];
    for (name, did, badge, want) in cases {
        let config = config().min_trust_level(TrustLevel::DomainValidated).insecure_accept_badge_without_pop();
        let got = verify_server_sync(did, badge.as_deref(), Some(URL), None, &config.build().unwrap()).unwrap();
        assert_eq!(got.error_code, Some(want), "{name}");
        let no_did = matches!(want, ServerErrorCode::IdentityMissing | ServerErrorCode::DidInvalid);
        let state = if no_did { ServerState::UnverifiedOrigin } else { ServerState::DeclaredPrincipal };
        assert_eq!(got.state, state, "{name}");
        assert_eq!(got.badge_verified, want == ServerErrorCode::TrustInsufficient, "{name}");
    }
}

#[test]
fn the_required_level_itself_is_enough() {
    let server = server(&web(), &[ORIGIN]);
    let at = |level| handshake(config().min_trust_level(level), &server, Some(URL)).map(drop);
    assert_eq!(at(TrustLevel::DomainValidated), Ok(()));
    let error = at(TrustLevel::OrganizationValidated).unwrap_err();
    assert_eq!(error.code(), ServerErrorCode::TrustInsufficient);
}

#[derive(Debug)]
struct Status(RevocationStatus, AgentStatus);

impl StatusSource for Status {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(self.0)
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(self.1)
    }
}

#[test]
fn a_servers_badge_can_be_revoked() {
    let cases = [
        (RevocationStatus::Good, AgentStatus::Active, Ok(())),
        (RevocationStatus::Revoked, AgentStatus::Active, Err(ServerErrorCode::BadgeRevoked)),
        (RevocationStatus::Good, AgentStatus::Disabled, Err(ServerErrorCode::BadgeRevoked)),
        (RevocationStatus::Unknown, AgentStatus::Active, Err(ServerErrorCode::RevocationCheckFailed)),
    ];
    for (badge, agent, want) in cases {
        let source = Revocations::online(Arc::new(Status(badge, agent)));
        let issuer = Issuer::jwks(REGISTRY, &issuer(1).jwks_json()).unwrap().subjects([WEB]).unwrap();
        let config = VerifyConfig::builder().trusted_issuer(issuer).revocations(source).clock(Arc::new(FixedClock));
        let got = handshake(config, &server(&web(), &[ORIGIN]), Some(URL));
        assert_eq!(got.map(drop).map_err(|error| error.code()), want, "{badge:?}, {agent:?}");
    }
}

/// A self-signed badge says only that somebody made a key.
#[test]
fn s20_a_self_signed_server_needs_trust_in_its_key_and_a_pin() {
    let did = server_key().did();
    let token = self_sign(&server_key(), &[], Duration::from_secs(300), NOW).unwrap();
    let badge = StaticBadge::with_clock(&token, Arc::new(FixedClock)).unwrap();
    let server = ServerIdentity::builder(did.clone(), server_key()).badge(badge).build().unwrap();
    let config = || VerifyConfig::builder().clock(Arc::new(FixedClock));

    refused(handshake(config().expect_did(did.as_str()), &server, None), ServerErrorCode::IssuerUntrusted);
    refused(handshake(config().trusted_self_signed(did.clone()), &server, None), ServerErrorCode::OriginUnbound);
    refused(handshake(config().accept_level_zero(true), &server, None), ServerErrorCode::OriginUnbound);
    let trusting = config().trusted_self_signed(did.clone()).expect_did(did.as_str());
    assert_eq!(handshake(trusting, &server, None).unwrap().trust_level(), TrustLevel::SelfSigned);
}

#[test]
fn verify_server_compares_origin_and_path() {
    let did = "did:web:files.example.com:servers:one";
    let badge = badge(&Did::parse(did).unwrap(), TrustLevel::Registered);
    let config = config().insecure_accept_badge_without_pop().build().unwrap();
    let code = |origin, path| {
        let got = verify_server_sync(Some(did), Some(&badge), Some(origin), path, &config).unwrap();
        assert_eq!(got.state == ServerState::VerifiedPrincipal, got.error_code.is_none());
        got.error_code
    };
    assert_eq!(code("https://files.example.com/servers/one", None), None);
    assert_eq!(code(ORIGIN, Some("/servers/one/mcp")), None);
    assert_eq!(code(ORIGIN, None), Some(ServerErrorCode::OriginUnbound));
    assert_eq!(code(ORIGIN, Some("/servers/two")), Some(ServerErrorCode::PathMismatch));
    assert_eq!(code(ORIGIN, Some("servers/one")), Some(ServerErrorCode::PathMismatch));
    assert_eq!(code("https://files.example.net/servers/one", None), Some(ServerErrorCode::OriginMismatch));
    assert_eq!(code("", None), Some(ServerErrorCode::OriginMismatch));
}

#[test]
fn verify_server_alone_never_says_verified() {
    let badge = badge(&web(), TrustLevel::Registered);
    let config = config().build().unwrap();
    let got = verify_server_sync(Some(WEB), Some(&badge), Some(URL), None, &config).unwrap();
    assert_eq!((got.state, got.error_code), (ServerState::DeclaredPrincipal, Some(ServerErrorCode::PopMissing)));
    assert!(got.badge_verified);
}

/// DID documents by any DID, counted.
#[derive(Debug)]
struct Documents {
    document: Result<Arc<DidDocument>, ResolveError>,
    asked: AtomicUsize,
    waits: bool,
}

impl Documents {
    fn of(key: &SigningKey, authentication: bool) -> Self {
        let id = format!("{WEB}#key-1");
        let method =
            json!({"id": id, "type": "JsonWebKey2020", "controller": WEB, "publicKeyJwk": key.public_key().to_jwk()});
        let mut document = json!({"id": WEB, "verificationMethod": [method], "assertionMethod": [id]});
        if authentication {
            document["authentication"] = json!([id]);
        }
        let document = DidDocument::parse(&web(), document.to_string().as_bytes()).unwrap();
        Self { document: Ok(Arc::new(document)), asked: AtomicUsize::new(0), waits: false }
    }
}

impl DidDocumentSource for Documents {
    fn document<'a>(&'a self, _did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.waits {
            MaybeReady::Wait(Box::pin(std::future::pending()))
        } else {
            MaybeReady::ready(self.document.clone())
        }
    }
}

#[test]
fn the_proofs_key_is_the_documents_authentication_key_and_the_badges() {
    let real = server(&web(), &[ORIGIN]);
    let failing =
        Documents { document: Err(ResolveError::new("the DID document")), ..Documents::of(&server_key(), true) };
    let cases = [
        ("listed", Documents::of(&server_key(), true), Ok(())),
        ("not for authentication", Documents::of(&server_key(), false), Err(ServerErrorCode::PopFailed)),
        ("other key than the badge's", Documents::of(&key(9), true), Err(ServerErrorCode::PopFailed)),
        ("source fails", failing, Err(ServerErrorCode::KeyFetchFailed)),
    ];
    for (name, documents, want) in cases {
        let got = handshake(config().did_documents(Arc::new(documents)), &real, Some(URL));
        assert_eq!(got.map(drop).map_err(|error| error.code()), want, "{name}");
    }

    // Without documents the badge's key stands in; a server that proves another key is refused.
    let badge = StaticBadge::with_clock(&badge(&web(), TrustLevel::Registered), Arc::new(FixedClock)).unwrap();
    let impostor = ServerIdentity::builder(web(), key(9)).badge(badge).origin(ORIGIN).build().unwrap();
    refused(handshake(config(), &impostor, Some(URL)), ServerErrorCode::PopFailed);
    // Nor does a document that lists that key: whoever took over the web site does not hold the badge's key.
    let documents = Arc::new(Documents::of(&key(9), true));
    refused(handshake(config().did_documents(documents), &impostor, Some(URL)), ServerErrorCode::PopFailed);
}

/// A disclosed DID makes us fetch its document: nobody may choose that URL before a trusted badge vouches for it.
#[test]
fn s24_no_document_is_fetched_before_badge_and_binding_hold() {
    let real = server(&web(), &[ORIGIN]);
    let stranger = VerifyConfig::builder().clock(Arc::new(FixedClock));
    let cases = [
        ("bound and vouched for", config(), Some(URL), 1),
        ("untrusted issuer", stranger, Some(URL), 0),
        ("other origin", config(), Some("https://impostor.example/mcp"), 0),
        ("nothing bound", config(), None, 0),
        ("level too low", config().min_trust_level(TrustLevel::ExtendedValidated), Some(URL), 0),
    ];
    for (name, config, url, want) in cases {
        let documents = Arc::new(Documents::of(&server_key(), true));
        let source: Arc<dyn DidDocumentSource> = documents.clone();
        drop(handshake(config.did_documents(source), &real, url));
        assert_eq!(documents.asked.load(Ordering::Relaxed), want, "{name}");
    }
}

#[derive(Debug)]
struct SlowKeys;
impl KeySource for SlowKeys {
    fn keys<'a>(&'a self, _kid: Option<&'a str>) -> MaybeReady<'a, Result<Arc<JwkSet>, ResolveError>> {
        MaybeReady::Wait(Box::pin(std::future::pending()))
    }
}

#[test]
fn what_would_have_to_wait_is_an_error_of_its_own() {
    let waiting = || {
        let documents = Documents { waits: true, ..Documents::of(&server_key(), true) };
        config().did_documents(Arc::new(documents))
    };
    let real = server(&web(), &[ORIGIN]);
    refused(handshake(waiting().offline_mode(true), &real, Some(URL)), ServerErrorCode::WouldWait);

    let issuer = Issuer::with_keys(REGISTRY, Arc::new(SlowKeys)).unwrap().subjects([WEB]).unwrap();
    let slow = VerifyConfig::builder().trusted_issuer(issuer).insecure_no_revocation().clock(Arc::new(FixedClock));
    let slow = slow.build().unwrap();
    let badge = badge(&web(), TrustLevel::Registered);
    assert_eq!(verify_server_sync(Some(WEB), Some(&badge), Some(URL), None, &slow), Err(VerifyWouldWait));
    let other = Some("did:web:files.example.com:servers:one");
    let mismatch = verify_server_sync(other, Some(&badge), Some(URL), None, &slow).unwrap();
    assert_eq!(mismatch.error_code, Some(ServerErrorCode::DidMismatch), "no key is fetched for another server's badge");
    let strict = verify_server_strict_sync(Some(WEB), Some(&badge), Some(URL), None, &slow);
    refused(strict, ServerErrorCode::WouldWait);
}

#[test]
fn nothing_sent_by_the_server_is_in_the_error() {
    let answer = [(META_SERVER_DID.to_owned(), json!("did:web:\u{202e}secret"))].into_iter().collect();
    let verdict = check(config(), Some(URL), PopChallenge::new(Instant::now()).unwrap(), &answer);
    let error = verdict.unwrap_err();
    assert_eq!(
        error.to_string(),
        "server identity is not verified (`did_invalid`): the server's DID is no did:web or did:key"
    );
    assert!(!format!("{error:?}").contains("secret"));
}
