use super::*;
use crate::identity::key::SigningKey;

const WEB: &str = "https://registry.example.com";

fn jwks() -> String {
    serde_json::json!({"keys": [SigningKey::from_seed(&[1; 32]).public_key().to_jwk()]}).to_string()
}

fn did(text: &str) -> Did {
    Did::parse(text).unwrap()
}

#[test]
fn an_issuer_is_an_https_origin() {
    for origin in [WEB, "https://registry.example.com/", "https://registry.example.com:8443", "http://localhost:8080"] {
        assert_eq!(Issuer::jwks(origin, &jwks()).unwrap().origin(), origin, "the name is kept word for word");
    }
    let refused = [
        "",
        "registry.example.com",
        "http://registry.example.com",
        "https://",
        "https://registry.example.com/path",
        "https://registry.example.com?q",
        "https://registry.example.com#f",
        "https://u@registry.example.com",
        "did:web:registry.example.com",
        "ftp://registry.example.com",
    ];
    for origin in refused {
        assert!(matches!(Issuer::jwks(origin, &jwks()), Err(IssuerError::Origin)), "{origin}");
    }
}

#[test]
fn an_issuer_needs_a_usable_key() {
    assert!(matches!(Issuer::jwks(WEB, "{}"), Err(IssuerError::Keys(_))));
    assert!(matches!(Issuer::jwks(WEB, r#"{"keys":[{"kty":"RSA"}]}"#), Err(IssuerError::NoKey)));
}

#[test]
fn keys_are_read_from_a_file_of_bounded_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    assert!(matches!(Issuer::jwks_file(WEB, &path), Err(IssuerError::File(_))));
    std::fs::write(&path, jwks()).unwrap();
    assert!(Issuer::jwks_file(WEB, &path).is_ok());
    std::fs::write(&path, " ".repeat(MAX_JWKS_BYTES + 1)).unwrap();
    assert!(matches!(Issuer::jwks_file(WEB, &path), Err(IssuerError::File(_))));
}

/// Attack: one of several trusted registries, a test registry say, names an agent of somebody else's production host.
#[test]
fn s04_an_issuer_vouches_for_its_own_host_and_did_keys_only() {
    let key = SigningKey::from_seed(&[1; 32]).did();
    let cases = [
        (WEB, "did:web:registry.example.com", true),
        (WEB, "did:web:Registry.Example.com:agents:a", true),
        (WEB, key.as_str(), true),
        (WEB, "did:web:example.com:agents:a", false),
        (WEB, "did:web:evil.registry.example.com:agents:a", false),
        (WEB, "did:web:registry.example.com%3A8443:agents:a", false),
        ("https://registry.example.com:8443", "did:web:registry.example.com%3A8443:agents:a", true),
        ("https://registry.example.com:8443", "did:web:registry.example.com:agents:a", false),
        ("https://registry.example.com:443/", "did:web:registry.example.com:agents:a", true),
        ("https://192.0.2.1", key.as_str(), true),
        ("https://192.0.2.1", "did:web:registry.example.com", false),
    ];
    for (origin, subject, want) in cases {
        let issuer = Issuer::jwks(origin, &jwks()).unwrap();
        assert_eq!(issuer.may_vouch_for(&did(subject), TrustLevel::ExtendedValidated), want, "{origin} {subject}");
    }
}

#[test]
fn subject_patterns_replace_the_default() {
    let key = SigningKey::from_seed(&[1; 32]).did();
    let cases = [
        ("did:key", key.as_str(), true),
        ("did:key", "did:web:registry.example.com", false),
        (key.as_str(), key.as_str(), true),
        ("did:web:*", "did:web:any.example", true),
        ("did:web:*", key.as_str(), false),
        ("did:web:a.example", "did:web:A.example", true),
        ("did:web:a.example", "did:web:a.example:x", false),
        ("did:web:a.example:*", "did:web:a.example", false),
        ("did:web:a.example:*", "did:web:a.example:x:y", true),
        ("did:web:a.example:*", "did:web:b.example:x", false),
        ("did:web:a.example:agents:*", "did:web:a.example:agents:1", true),
        ("did:web:a.example:agents:*", "did:web:a.example:agents2:1", false),
        ("did:web:a.example:agents:*", "did:web:a.example:servers:1", false),
        ("did:web:a.example%3A1:*", "did:web:a.example:x", false),
    ];
    for (pattern, subject, want) in cases {
        let issuer = Issuer::jwks(WEB, &jwks()).unwrap().subjects([pattern]).unwrap();
        assert_eq!(issuer.may_vouch_for(&did(subject), TrustLevel::Registered), want, "{pattern} {subject}");
    }
    let nobody = Issuer::jwks(WEB, &jwks()).unwrap().subjects::<_, String>([]).unwrap();
    assert!(!nobody.may_vouch_for(&key, TrustLevel::Registered));
}

#[test]
fn other_subject_patterns_are_refused() {
    for pattern in
        ["", "*", "did:*", "did:key:*", "did:web:", "did:web:*.example.com", "did:web:a.example:*:x", "did:x:a"]
    {
        let error = Issuer::jwks(WEB, &jwks()).unwrap().subjects([pattern]).unwrap_err();
        assert!(matches!(error, IssuerError::Subject(text) if text == pattern), "{pattern}");
    }
}

#[test]
fn the_highest_level_is_a_limit() {
    let issuer = Issuer::jwks(WEB, &jwks()).unwrap().max_level(TrustLevel::DomainValidated);
    let subject = did("did:web:registry.example.com:agents:a");
    for level in TrustLevel::ALL {
        assert_eq!(issuer.may_vouch_for(&subject, level), level <= TrustLevel::DomainValidated, "{level}");
    }
}
