//! DID documents from their hosts: which one counts, for how long, and that nobody chooses a URL for us to fetch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{FutureExt as _, poll};
use rmcp_guard::identity::badge::BadgeErrorKind;
use rmcp_guard::identity::did::{Did, MAX_DID_DOCUMENT_BYTES};
use rmcp_guard::identity::fetch::FetchErrorKind;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::PopChallenge;
use rmcp_guard::identity::remote::{
    DID_DOCUMENT_FAILURE_LIFETIME, DID_DOCUMENT_LIFETIME, DidResolveError, DidWebDocuments,
};
use rmcp_guard::identity::resolve::DidDocumentSource as _;
use rmcp_guard::identity::server::{
    Channel, META_SERVER_BADGE, ServerErrorCode, ServerIdentity, ServerVerifier, StaticBadge, VerifyConfig,
    VerifyConfigBuilder, parse_jsonrpc_meta,
};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::test_util::{FixedClock, TEST_NOW};
use serde_json::{Value, json};

use super::world::{Host, Key, claims, clock, fetcher, issuer, key, now, sign, trusting, verify, with_type};

pub(crate) const DOCUMENT: &str = "/.well-known/did.json";
const SECOND: Duration = Duration::from_secs(1);
/// Who vouches here; its keys are fixed, since this is about documents.
const CA: &str = "https://registry.example.com";

pub(crate) fn holder() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[5; 32]))
}

fn vouching() -> (Key, Issuer) {
    let ca = key(1, "ca-1");
    let issuer = Issuer::jwks(CA, &json!({ "keys": [ca.jwk()] }).to_string()).unwrap();
    (ca, issuer.subjects(["did:key", "did:web:*"]).unwrap())
}

/// The document of `did` with `key` as `#key-1`, for authentication.
pub(crate) fn document(did: &str, key: &SigningKey) -> Value {
    let id = format!("{did}#key-1");
    json!({
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "verificationMethod": [
            {"id": id, "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": key.public_key().to_jwk()},
        ],
        "authentication": [id],
    })
}

/// What a host may make of its document, and whether each of the two readers still finds the key in it: the badge's
/// binding (IAL-1) and the proof of possession.
type Case = (&'static str, fn(&str, &mut Value), Result<(), BadgeErrorKind>, Result<(), ServerErrorCode>);

const CASES: [Case; 9] = [
    ("good", |_, _| (), Ok(()), Ok(())),
    ("relative ids", relative_ids, Ok(()), Ok(())),
    (
        "wrong id",
        |_, document| document["id"] = "did:web:example.com".into(),
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::KeyFetchFailed),
    ),
    (
        "document of somebody else",
        |_, document| *document = self::document("did:web:example.com", &holder()),
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::KeyFetchFailed),
    ),
    (
        "not in authentication",
        |_, document| document["authentication"] = json!([]),
        Ok(()),
        Err(ServerErrorCode::PopFailed),
    ),
    (
        "foreign fragment",
        |_, document| document["verificationMethod"][0]["id"] = "did:web:example.com#key-1".into(),
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::PopFailed),
    ),
    (
        "foreign controller",
        |_, document| document["verificationMethod"][0]["controller"] = "did:web:example.com".into(),
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::PopFailed),
    ),
    (
        "another key",
        |did, document| *document = self::document(did, &SigningKey::from_seed(&[6; 32])),
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::PopFailed),
    ),
    (
        "one id twice",
        |_, document| {
            let method = document["verificationMethod"][0].clone();
            document["verificationMethod"].as_array_mut().unwrap().push(method);
        },
        Err(BadgeErrorKind::ClaimsInvalid),
        Err(ServerErrorCode::KeyFetchFailed),
    ),
];

fn relative_ids(_: &str, document: &mut Value) {
    document["verificationMethod"][0]["id"] = "#key-1".into();
    document["authentication"] = json!(["#key-1"]);
}

/// A badge that binds `did` to its document (IAL-1), or does not.
fn badge(ca: &Key, did: &str, bound: bool) -> String {
    let mut claims = claims(CA, did, &holder());
    if bound {
        (claims["ial"], claims["cnf"]) = ("1".into(), json!({"kid": format!("{did}#key-1")}));
    }
    sign(ca, &claims)
}

async fn verify_badge(host: &Host, documents: &DidWebDocuments) -> Result<(), BadgeErrorKind> {
    let (ca, issuer) = vouching();
    let verifier = trusting(issuer).did_documents(Arc::new(documents.clone())).build();
    verify(&verifier, &badge(&ca, &host.did(), true)).await
}

/// What the client demands of the server on `host`.
fn config(documents: &DidWebDocuments, clock: &Arc<FixedClock>, issuer: Issuer) -> VerifyConfigBuilder {
    let config = VerifyConfig::builder().trusted_issuer(issuer).insecure_no_revocation().dangerous_loopback_http();
    config.did_documents(Arc::new(documents.clone())).clock(clock.clone())
}

/// A handshake with the server on `host`, whose key is `key` and which shows `badge`.
pub(crate) async fn handshake(
    host: &Host,
    config: VerifyConfigBuilder,
    key: Arc<SigningKey>,
    badge: &str,
) -> Result<(), ServerErrorCode> {
    handshake_showing(host, config, key, badge, badge).await
}

/// The same, where somebody on the way replaces the badge by `shown`.
async fn handshake_showing(
    host: &Host,
    config: VerifyConfigBuilder,
    key: Arc<SigningKey>,
    badge: &str,
    shown: &str,
) -> Result<(), ServerErrorCode> {
    let did = Did::parse(&host.did()).unwrap();
    let badge = StaticBadge::with_clock(badge, clock()).unwrap();
    let server = ServerIdentity::builder(did, key).badge(badge).origin(host.origin()).build().unwrap();
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let mut answer = server.disclose(Some(&challenge.request_meta(Some(&host.origin()), now())), now()).meta;
    answer.insert(META_SERVER_BADGE.to_owned(), shown.into());
    let channel = Channel::http(&format!("{}/", host.origin())).unwrap();
    let verifier = ServerVerifier::new(config.build().unwrap());
    let disclosed = parse_jsonrpc_meta(&answer).unwrap();
    verifier.verify(&disclosed, &channel, challenge, &answer).await.map(drop).map_err(|error| error.code())
}

async fn verify_server(host: &Host, documents: &DidWebDocuments) -> Result<(), ServerErrorCode> {
    let (ca, issuer) = vouching();
    handshake(host, config(documents, &clock(), issuer), holder(), &badge(&ca, &host.did(), false)).await
}

#[tokio::test]
async fn a_badge_and_a_proof_hold_as_far_as_the_document_says() {
    for (name, change, badge, proof) in CASES {
        let host = Host::start().await;
        let mut served = document(&host.did(), &holder());
        change(&host.did(), &mut served);
        host.put_json(DOCUMENT, &served);
        let documents = DidWebDocuments::new(fetcher()).with_clock(clock());
        assert_eq!(verify_badge(&host, &documents).await, badge, "{name}");
        assert_eq!(verify_server(&host, &documents).await, proof, "{name}");
        assert_eq!(host.hits(DOCUMENT), 1, "{name}: both used one document");
    }
    let host = Host::start().await;
    let documents = DidWebDocuments::new(fetcher()).with_clock(clock());
    assert_eq!(verify_badge(&host, &documents).await, Err(BadgeErrorKind::ClaimsInvalid), "host down");
    assert_eq!(verify_server(&host, &documents).await, Err(ServerErrorCode::KeyFetchFailed), "host down");
}

/// A document from before the rotation fails the proof; a newer one is asked for once, and not for each bad proof.
#[tokio::test]
async fn a_rotated_key_counts_at_the_next_proof() {
    for reader in ["badge", "server"] {
        let (host, clock) = (Host::start().await, clock());
        let check = async |documents: &DidWebDocuments| match reader {
            "badge" => verify_badge(&host, documents).await.is_ok(),
            _ => verify_server(&host, documents).await.is_ok(),
        };
        host.put_json(DOCUMENT, &document(&host.did(), &SigningKey::from_seed(&[6; 32])));
        let documents = DidWebDocuments::new(fetcher()).with_clock(clock.clone());
        for _ in 0..20 {
            assert!(!check(&documents).await, "{reader}");
        }
        assert_eq!(host.hits(DOCUMENT), 1, "{reader}: a young document is not asked for again");

        host.put_json(DOCUMENT, &document(&host.did(), &holder()));
        clock.advance(DID_DOCUMENT_FAILURE_LIFETIME);
        assert!(check(&documents).await, "{reader}");
        assert!(check(&documents).await, "{reader}");
        assert_eq!(host.hits(DOCUMENT), 2, "{reader}");
    }
}

/// The badge of the reference issuer names no key, so only the proof's signature shows that the key was rotated.
#[tokio::test]
async fn a_rotated_key_counts_at_the_next_proof_without_a_key_in_the_badge() {
    let (host, clock) = (Host::start().await, clock());
    let (ca, issuer) = vouching();
    let mut claims = claims(CA, &host.did(), &holder());
    claims.as_object_mut().unwrap().remove("key");
    let badge = sign(&ca, &claims);
    let documents = DidWebDocuments::new(fetcher()).with_clock(clock.clone());
    let server = |seed: u8| {
        let key = Arc::new(SigningKey::from_seed(&[seed; 32]));
        handshake(&host, config(&documents, &clock, issuer.clone()), key, &badge)
    };
    host.put_json(DOCUMENT, &document(&host.did(), &SigningKey::from_seed(&[5; 32])));
    server(5).await.unwrap();
    host.put_json(DOCUMENT, &document(&host.did(), &SigningKey::from_seed(&[6; 32])));
    clock.advance(DID_DOCUMENT_FAILURE_LIFETIME);
    server(6).await.unwrap();
    assert_eq!(server(5).await, Err(ServerErrorCode::PopFailed));
    assert_eq!(host.hits(DOCUMENT), 2);
}

/// Attack: a server names a DID of the attacker's choice, or a caller a subject, so that the verifier fetches a URL that
/// somebody else picked: an internal page, or a host whose log shall show who is asking.
#[tokio::test]
async fn s24_no_document_is_fetched_before_a_trusted_badge_vouches_and_the_binding_holds() {
    let clock = clock();
    let (ca, vouches) = vouching();
    let nobody = || Issuer::jwks("https://other.example.com", &json!({ "keys": [ca.jwk()] }).to_string()).unwrap();
    let elsewhere = || vouches.clone().subjects(["did:web:example.com:*"]).unwrap();
    let low = || vouches.clone().max_level(TrustLevel::Registered);
    let forged = key(7, "ca-1");
    let expired = |did: &str| {
        let mut claims = claims(CA, did, &holder());
        claims["exp"] = (TEST_NOW.as_i64() - 120).into();
        claims["iat"] = (TEST_NOW.as_i64() - 420).into();
        sign(&ca, &claims)
    };
    let host = Host::start().await;
    host.put_json(DOCUMENT, &document(&host.did(), &holder()));
    let did = host.did();
    let good = badge(&ca, &did, false);
    let cases = [
        ("untrusted issuer", nobody(), good.clone(), ServerErrorCode::IssuerUntrusted),
        ("not for this subject", elsewhere(), good.clone(), ServerErrorCode::IssuerUntrusted),
        ("above its level", low(), good.clone(), ServerErrorCode::IssuerUntrusted),
        ("forged badge", vouches.clone(), badge(&forged, &did, false), ServerErrorCode::BadgeInvalid),
        ("badge of another", vouches.clone(), badge(&ca, "did:web:example.com", false), ServerErrorCode::DidMismatch),
        ("expired badge", vouches.clone(), expired(&did), ServerErrorCode::BadgeExpired),
    ];
    let documents = DidWebDocuments::new(fetcher()).with_clock(clock.clone());
    for (name, issuer, badge, want) in cases {
        let config = config(&documents, &clock, issuer);
        let verdict = handshake_showing(&host, config, holder(), &good, &badge).await;
        assert_eq!(verdict, Err(want), "{name}");
        assert_eq!(host.all_hits(), 0, "{name}");
    }
    // Trusted and valid, but for another place than the one dialled.
    let other = Host::start().await;
    other.put_json(DOCUMENT, &document(&other.did(), &holder()));
    let unbound = Channel::http(&format!("{}/", other.origin())).unwrap();
    let server = ServerIdentity::builder(Did::parse(&did).unwrap(), holder());
    let server = server.badge(StaticBadge::with_clock(&good, clock.clone()).unwrap()).origin(other.origin());
    let challenge = PopChallenge::new(Instant::now()).unwrap();
    let request = challenge.request_meta(Some(&other.origin()), now());
    let answer = server.build().unwrap().disclose(Some(&request), now()).meta;
    let verifier = ServerVerifier::new(config(&documents, &clock, vouches.clone()).build().unwrap());
    let verdict = verifier.verify(&parse_jsonrpc_meta(&answer).unwrap(), &unbound, challenge, &answer).await;
    assert_eq!(verdict.unwrap_err().code(), ServerErrorCode::OriginMismatch);
    assert_eq!((host.all_hits(), other.all_hits()), (0, 0));

    // A caller's badge has its document fetched last, after everything that could refuse it.
    let caller = |issuer: Issuer| trusting(issuer).did_documents(Arc::new(documents.clone()));
    let bound = badge(&ca, &did, true);
    let callers = [
        ("untrusted issuer", caller(nobody()), bound.clone(), BadgeErrorKind::IssuerUntrusted),
        ("forged badge", caller(vouches.clone()), badge(&forged, &did, true), BadgeErrorKind::SignatureInvalid),
        ("expired badge", caller(vouches.clone()), expired(&did), BadgeErrorKind::Expired),
        ("keys unavailable", caller(unreachable_issuer()), bound.clone(), BadgeErrorKind::KeysUnavailable),
    ];
    for (name, verifier, badge, want) in callers {
        assert_eq!(verify(&verifier.build(), &badge).await, Err(want), "{name}");
        assert_eq!(host.all_hits(), 0, "{name}");
    }

    handshake(&host, config(&documents, &clock, vouches.clone()), holder(), &good).await.unwrap();
    assert_eq!(host.hits(DOCUMENT), 1, "vouched for and bound");
}

/// [`CA`] with keys that cannot be had: nothing listens on port 1.
fn unreachable_issuer() -> Issuer {
    issuer(CA, rmcp_guard::identity::remote::RemoteKeys::new("http://localhost:1", fetcher()))
}

#[tokio::test]
async fn a_document_counts_for_its_lifetime_and_a_failure_for_a_moment() {
    let (host, clock) = (Host::start().await, clock());
    let did = Did::parse(&host.did()).unwrap();
    let documents = DidWebDocuments::new(fetcher()).with_clock(clock.clone());
    let down = Err(FetchErrorKind::Status(503));
    let resolve = async || match documents.resolve(&did).await {
        Ok(document) => {
            assert_eq!(*document.did(), did);
            Ok(())
        }
        Err(DidResolveError::Fetch(error)) => Err(error.kind()),
        Err(error) => panic!("{error}"),
    };
    for _ in 0..50 {
        assert_eq!(resolve().await, down);
    }
    assert_eq!(host.hits(DOCUMENT), 1);

    host.put_json(DOCUMENT, &document(&host.did(), &holder()));
    clock.advance(DID_DOCUMENT_FAILURE_LIFETIME);
    for _ in 0..50 {
        resolve().await.unwrap();
    }
    assert!(documents.document(&did).now_or_never().expect("it is at hand").is_ok());
    assert_eq!(host.hits(DOCUMENT), 2);

    // A document is not stretched: its host says within minutes that a key is gone, or nobody believes it.
    host.fail();
    clock.advance(DID_DOCUMENT_LIFETIME.saturating_sub(SECOND));
    resolve().await.unwrap();
    clock.advance(SECOND);
    assert_eq!(resolve().await, down);
    assert_eq!(host.hits(DOCUMENT), 3);
}

#[tokio::test]
async fn a_hundred_callers_make_one_request_and_none_takes_it_along() {
    let host = Host::start().await;
    host.put_json(DOCUMENT, &document(&host.did(), &holder()));
    let did = Did::parse(&host.did()).unwrap();
    let documents = DidWebDocuments::new(fetcher());
    let gate = host.hold();
    let mut callers: Vec<_> = (0..100).map(|_| documents.document(&did)).collect();
    for caller in &mut callers {
        assert!(poll!(caller).is_pending());
    }
    host.wait_for_hits(DOCUMENT, 1).await;
    drop(callers.swap_remove(0));
    gate.add_permits(1000);
    assert!(join_all(callers).await.iter().all(Result::is_ok));
    assert_eq!(host.hits(DOCUMENT), 1);
}

#[tokio::test]
async fn the_path_and_the_port_come_from_the_did() {
    let host = Host::start().await;
    let documents = DidWebDocuments::new(fetcher());
    for (suffix, path) in [("", DOCUMENT), (":agents:a1", "/agents/a1/did.json"), (":A_b.c-d", "/A_b.c-d/did.json")] {
        let did = format!("{}{suffix}", host.did());
        for media in ["application/json", "application/did+json", "application/did+ld+json"] {
            let text = document(&did, &holder()).to_string();
            host.put(path, move || with_type(media, text.clone()));
            let fresh = documents.clone().with_lifetime(SECOND);
            assert_eq!(fresh.resolve(&Did::parse(&did).unwrap()).await.unwrap().did().as_str(), did);
        }
        assert_eq!(host.hits(path), 3);
    }
}

#[tokio::test]
async fn a_hostile_document_is_none() {
    type SetUp = fn(&Host);
    let cases: [(&str, SetUp, Option<FetchErrorKind>); 5] = [
        (
            "too large",
            |host| host.put(DOCUMENT, || with_type("application/json", vec![b' '; MAX_DID_DOCUMENT_BYTES + 1])),
            Some(FetchErrorKind::TooLarge),
        ),
        ("a page", |host| host.put(DOCUMENT, || with_type("text/html", "<html>")), Some(FetchErrorKind::ContentType)),
        ("an error in a 200", |host| host.put_json(DOCUMENT, &json!({"error": "internal"})), None),
        ("no JSON", |host| host.put(DOCUMENT, || with_type("application/json", "<html>")), None),
        ("down", |_| (), Some(FetchErrorKind::Status(503))),
    ];
    for (name, set_up, want) in cases {
        let host = Host::start().await;
        set_up(&host);
        let documents = DidWebDocuments::new(fetcher());
        let error = documents.resolve(&Did::parse(&host.did()).unwrap()).await.unwrap_err();
        match (error, want) {
            (DidResolveError::Fetch(error), Some(want)) => assert_eq!(error.kind(), want, "{name}"),
            (DidResolveError::Document(_), None) => {}
            (error, _) => panic!("{name}: {error}"),
        }
    }
    // A DID of this machine is for development.
    let host = Host::start().await;
    let strict = DidWebDocuments::new(rmcp_guard::identity::fetch::Fetcher::new().unwrap());
    let refused = strict.resolve(&Did::parse(&host.did()).unwrap()).await;
    assert!(matches!(refused, Err(DidResolveError::Fetch(_))));
    assert_eq!(host.all_hits(), 0);
}

#[test]
fn outside_of_a_runtime_did_key_is_answered_and_did_web_is_an_error() {
    let documents = DidWebDocuments::new(fetcher());
    let own = holder().did();
    let document = documents.document(&own).now_or_never().expect("it follows from the DID").unwrap();
    assert!(document.authentication_method(&own.key_id().unwrap()).is_some());
    let web = Did::parse("did:web:example.com").unwrap();
    assert!(documents.document(&web).now_or_never().expect("there is nothing to wait for").is_err());
}
