use super::*;
use crate::identity::badge::UnverifiedBadge;
use crate::identity::jwks::JwkSet;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const CA: &str = "https://registry.example.com";

fn issuer() -> BadgeIssuer {
    BadgeIssuer::new(CA, "ca-1", Arc::new(SigningKey::from_seed(&[1; 32]))).unwrap()
}

fn request(level: TrustLevel) -> BadgeRequest {
    let key = SigningKey::from_seed(&[2; 32]);
    BadgeRequest::new(key.did(), key.public_key(), level)
}

#[test]
fn a_badge_has_the_documented_form() {
    let key = SigningKey::from_seed(&[2; 32]);
    let request = request(TrustLevel::DomainValidated).domain("a.example").audience("https://files.example.com");
    let token = issuer().issue(&request, NOW).unwrap();
    let badge = UnverifiedBadge::parse(&token).unwrap();
    assert_eq!((badge.typ(), badge.kid()), (Some("JWT"), Some("ca-1")));
    let mut claims = Value::Object(badge.claims().clone());
    let jti = claims["jti"].take();
    assert_eq!(uuid::Uuid::parse_str(jti.as_str().unwrap()).unwrap().get_version_num(), 4);
    let want = json!({
        "jti": null, "iss": CA, "sub": key.did().as_str(), "aud": ["https://files.example.com"],
        "iat": 1_760_000_000, "exp": 1_760_000_300, "ial": "0", "key": key.public_key().to_jwk(),
        "vc": {"type": ["VerifiableCredential", "AgentIdentity"], "credentialSubject": {"domain": "a.example", "level": "2"}},
    });
    assert_eq!(claims, want);
}

#[test]
fn a_proven_key_makes_a_badge_of_ial_1() {
    let kid = "did:web:registry.example.com:agents:a1#key-1";
    let subject: Did = "did:web:registry.example.com:agents:a1".parse().unwrap();
    let key = SigningKey::from_seed(&[2; 32]).public_key();
    let request = BadgeRequest::new(subject, key, TrustLevel::Registered).proven(kid);
    let token = issuer().issue(&request, NOW).unwrap();
    let badge = UnverifiedBadge::parse(&token).unwrap();
    assert_eq!((&badge.claims()["ial"], &badge.claims()["cnf"]), (&json!("1"), &json!({ "kid": kid })));

    for kid in ["did:web:registry.example.com:agents:a2#key-1", "did:web:registry.example.com:agents:a1#", "#key-1"] {
        let request = request.clone().proven(kid);
        assert_eq!(issuer().issue(&request, NOW), Err(BadgeIssueError::ConfirmationKey), "{kid}");
    }
}

#[test]
fn a_self_signed_badge_names_its_key() {
    let key = SigningKey::from_seed(&[2; 32]);
    let token = self_sign(&key, &[], DEFAULT_BADGE_LIFETIME, NOW).unwrap();
    let badge = UnverifiedBadge::parse(&token).unwrap();
    assert_eq!(badge.kid().map(str::to_owned), key.did().key_id());
    assert_eq!(badge.claims()["iss"], badge.claims()["sub"]);
    assert_eq!(badge.claimed_level(), Some(TrustLevel::SelfSigned));
    assert!(!badge.claims().contains_key("aud"));
}

#[test]
fn what_cannot_be_is_not_issued() {
    let seconds = Duration::from_secs;
    let other = SigningKey::from_seed(&[3; 32]).public_key();
    let foreign = BadgeRequest { key: other, ..request(TrustLevel::Registered) };
    let cases = [
        ("level 0", request(TrustLevel::SelfSigned), BadgeIssueError::Level),
        ("no domain", request(TrustLevel::DomainValidated), BadgeIssueError::Domain),
        ("empty domain", request(TrustLevel::ExtendedValidated).domain(""), BadgeIssueError::Domain),
        ("key of another", foreign, BadgeIssueError::Key),
        ("too short", request(TrustLevel::Registered).lifetime(seconds(59)), BadgeIssueError::Lifetime),
        ("too long", request(TrustLevel::Registered).lifetime(seconds(3601)), BadgeIssueError::Lifetime),
    ];
    for (name, request, want) in cases {
        assert_eq!(issuer().issue(&request, NOW), Err(want), "{name}");
    }
    let key = SigningKey::from_seed(&[2; 32]);
    assert_eq!(self_sign(&key, &[], seconds(30), NOW), Err(BadgeIssueError::Lifetime));
}

#[test]
fn an_issuer_is_an_https_origin_with_a_named_key() {
    let new = |origin, kid| BadgeIssuer::new(origin, kid, Arc::new(SigningKey::from_seed(&[1; 32]))).map(|_| ());
    for origin in ["http://registry.example.com", "registry.example.com", "https://a/b", "did:web:registry.example.com"]
    {
        assert_eq!(new(origin, "k"), Err(BadgeIssueError::Origin), "{origin}");
    }
    assert_eq!(new(CA, ""), Err(BadgeIssueError::KeyId));
}

#[test]
fn the_jwk_set_names_the_key() {
    let set = JwkSet::parse(issuer().jwks_json().as_bytes()).unwrap();
    let key = SigningKey::from_seed(&[1; 32]).public_key();
    assert_eq!(set.keys().collect::<Vec<_>>(), [(Some("ca-1"), &key)]);
    assert!(!issuer().jwks_json().contains("\"d\""));
}
