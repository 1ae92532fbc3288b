use serde_json::json;

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const REGISTRY: &str = "https://registry.example.test";
const SUBJECT: &str = "did:web:registry.example.test:agents:agent-001";
const KID: &str = "did:web:registry.example.test:agents:agent-001#key-1";

fn key() -> SigningKey {
    SigningKey::from_seed(&[0x21; 32])
}

fn subject() -> Did {
    Did::parse(SUBJECT).unwrap()
}

/// The challenge that the published vector answers.
fn challenge() -> Challenge {
    let claims = &vector()["claims"];
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    Challenge {
        id: ChallengeId::parse(&text("cid")).unwrap(),
        did: subject(),
        nonce: text("nonce"),
        proof_aud: text("aud"),
        htu: text("htu"),
        created_at: NOW,
        expires_at: NOW.saturating_add(DEFAULT_CHALLENGE_LIFETIME),
        used: false,
    }
}

fn vector() -> Value {
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/rfc003_proof.json")).unwrap();
    assert_eq!(vectors.as_array().unwrap().len(), 1);
    vectors[0].clone()
}

fn document(authentication: &Value) -> DidDocument {
    let document = json!({
        "id": SUBJECT,
        "verificationMethod": [{
            "id": KID, "type": "JsonWebKey2020", "controller": SUBJECT, "publicKeyJwk": key().public_key().to_jwk(),
        }],
        "authentication": authentication,
    });
    DidDocument::parse(&subject(), document.to_string().as_bytes()).unwrap()
}

/// The vector's claims with changes, signed as the vector is; `null` removes a claim.
fn proof_with(changes: &Value) -> String {
    let mut claims = vector()["claims"].as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    jws::sign(&key(), Some(PROOF_TYP), Some(KID), &serde_json::to_vec(&claims).unwrap())
}

#[test]
fn the_published_vector_is_reproduced_and_verified() {
    let vector = vector();
    let claims = &vector["claims"];
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    let claims = ProofClaims {
        cid: text("cid"),
        nonce: text("nonce"),
        sub: text("sub"),
        aud: text("aud"),
        htu: text("htu"),
        htm: text("htm"),
        iat: claims["iat"].as_i64().unwrap(),
        exp: claims["exp"].as_i64().unwrap(),
        jti: text("jti"),
    };
    let proof = claims.sign(&key(), vector["header"]["kid"].as_str().unwrap());
    assert_eq!(proof, vector["jws"].as_str().unwrap());

    let verified = challenge().check(&subject(), &proof, NOW).unwrap().verify(&document(&json!([KID]))).unwrap();
    assert_eq!((verified.key_id(), verified.key()), (KID, &key().public_key()));
    assert_eq!(verified.did(), &subject());
}

#[test]
fn each_check_has_its_code_and_the_first_one_decides() {
    let end = NOW.as_i64() + 300;
    // in the order of RFC-003's table; each case also breaks a later check where that is possible
    let cases = [
        (json!({"cid": null}), NOW, "missing_cid", 400),
        (json!({"exp": null}), NOW, "missing_exp", 400),
        (json!({"jti": null}), NOW, "invalid_proof", 400),
        (json!({"jti": ""}), NOW, "invalid_proof", 400),
        (json!({"cid": 1}), NOW, "invalid_proof", 400),
        (json!({"cid": "ch-00000000-0000-0000-0000-000000000000", "nonce": "x"}), NOW, "cid_mismatch", 403),
        (json!({"nonce": "AAEC", "aud": "x"}), NOW, "invalid_proof", 400),
        (json!({"aud": "https://registry.example.net", "htu": "x"}), NOW, "audience_mismatch", 403),
        (json!({"aud": [REGISTRY]}), NOW, "invalid_proof", 400),
        (json!({"htu": "https://registry.example.test/v1/agents/x/badge", "htm": "PUT"}), NOW, "htu_mismatch", 403),
        // another spelling of the same URL
        (json!({"htu": vector()["claims"]["htu"].as_str().unwrap().replace("%3A", "%3a")}), NOW, "htu_mismatch", 403),
        (json!({"htm": "post"}), NOW, "invalid_proof", 400),
        (json!({"iat": NOW.as_i64() + 61, "exp": NOW.as_i64() + 122}), NOW, "iat_invalid", 403),
        (json!({"iat": NOW.as_i64() - 61}), NOW, "iat_invalid", 403),
        (json!({"iat": end + 1, "exp": end + 1}), UnixSeconds::new(end - 10), "iat_invalid", 403),
        (json!({"iat": "1760000000"}), NOW, "invalid_proof", 400),
        (json!({"iat": i64::MIN, "exp": i64::MAX}), NOW, "iat_invalid", 403),
        (json!({"exp": NOW.as_i64() + 61}), NOW, "exp_too_long", 403),
        (json!({"exp": i64::MAX}), NOW, "exp_too_long", 403),
        (json!({"exp": NOW.as_i64(), "sub": "x"}), NOW, "proof_expired", 403),
        (
            json!({"iat": end - 10, "exp": end + 1, "sub": "x"}),
            UnixSeconds::new(end - 10),
            "exp_outside_challenge_window",
            403,
        ),
        (json!({"sub": "did:web:registry.example.test:agents:agent-002"}), NOW, "subject_mismatch", 403),
    ];
    for (changes, now, code, status) in cases {
        let error = challenge().check(&subject(), &proof_with(&changes), now).unwrap_err();
        assert_eq!((error.code(), error.http_status()), (code, status), "{changes}");
    }
    // the edges that are still inside
    for changes in [
        json!({"iat": NOW.as_i64() + 60, "exp": NOW.as_i64() + 120}),
        json!({"iat": NOW.as_i64() - 60 + 1, "exp": NOW.as_i64() + 1}),
        json!({"sub": "did:web:REGISTRY.example.test:agents:agent-001"}),
    ] {
        assert!(challenge().check(&subject(), &proof_with(&changes), NOW).is_ok(), "{changes}");
    }
}

#[test]
fn the_challenge_is_checked_before_the_proof() {
    let other = Did::parse("did:web:registry.example.test:agents:agent-002").unwrap();
    let used = Challenge { used: true, ..challenge() };
    let end = challenge().expires_at;
    let refuse = |challenge: &Challenge, did: &Did, now| challenge.check(did, "not a proof", now).unwrap_err();
    assert_eq!(refuse(&used, &other, end), ProofError::SubjectMismatch);
    assert_eq!(refuse(&used, &subject(), end), ProofError::ChallengeUsed);
    assert_eq!(refuse(&challenge(), &subject(), end), ProofError::ChallengeExpired);
    assert_eq!(refuse(&challenge(), &subject(), NOW), ProofError::InvalidProof);
}

#[test]
fn a_token_of_another_kind_is_no_proof() {
    let payload = vector()["claims"].to_string();
    for (typ, kid) in
        [(Some("pop+jws"), Some(KID)), (Some("JWT"), Some(KID)), (None, Some(KID)), (Some(PROOF_TYP), None)]
    {
        let proof = jws::sign(&key(), typ, kid, payload.as_bytes());
        let error = challenge().check(&subject(), &proof, NOW).unwrap_err();
        assert_eq!(error, ProofError::InvalidProof, "{typ:?} {kid:?}");
    }
    let repeated = payload.replacen('{', r#"{"sub":"x","#, 1);
    for payload in [repeated.as_str(), "[]", "1", "text"] {
        let proof = jws::sign(&key(), Some(PROOF_TYP), Some(KID), payload.as_bytes());
        let error = challenge().check(&subject(), &proof, NOW).unwrap_err();
        assert_eq!(error, ProofError::InvalidProof, "{payload}");
    }
    let long = "a".repeat(MAX_PROOF_BYTES + 1);
    assert_eq!(challenge().check(&subject(), &long, NOW).unwrap_err(), ProofError::InvalidProof);
}

#[test]
fn the_key_is_one_that_the_did_authenticates_with() {
    let proof = proof_with(&json!({}));
    let verify = |proof: &str, document: &DidDocument| {
        challenge().check(&subject(), proof, NOW).unwrap().verify(document).map(|_| ()).unwrap_err()
    };
    assert_eq!(verify(&proof, &document(&json!([]))), ProofError::KeyNotInAuthentication);
    let named = |kid: &str| jws::sign(&key(), Some(PROOF_TYP), Some(kid), vector()["claims"].to_string().as_bytes());
    for kid in
        ["#key-1", "key-1", SUBJECT, "did:web:registry.example.test:agents:agent-001#key-2", "did:web:x.test#key-1"]
    {
        assert_eq!(verify(&named(kid), &document(&json!([KID]))), ProofError::KeyNotFound, "{kid}");
    }
    let forger = SigningKey::from_seed(&[0x22; 32]);
    let proof_of_other = jws::sign(&forger, Some(PROOF_TYP), Some(KID), vector()["claims"].to_string().as_bytes());
    assert_eq!(verify(&proof_of_other, &document(&json!([KID]))), ProofError::SignatureInvalid);
    let foreign = DidDocument::of_did_key(&forger.did()).unwrap();
    assert_eq!(verify(&proof, &foreign), ProofError::DidDocumentInvalid);
}

#[test]
fn an_id_has_one_spelling() {
    let id = "ch-550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(ChallengeId::parse(id).unwrap().to_string(), id);
    for bad in [
        "550e8400-e29b-41d4-a716-446655440000",
        "ch-550E8400-e29b-41d4-a716-446655440000",
        "ch-550e8400e29b41d4a716446655440000",
        "ch-{550e8400-e29b-41d4-a716-446655440000}",
        "ch-",
        "",
    ] {
        assert_eq!(ChallengeId::parse(bad), Err(ProofError::InvalidChallengeId), "{bad}");
    }
}

#[test]
fn a_made_challenge_is_answered_and_bounded() {
    let made = || Challenge::new(subject(), REGISTRY, &challenge().htu, NOW, Duration::from_secs(10_000)).unwrap();
    let (one, other) = (made(), made());
    assert_ne!((one.id, &one.nonce), (other.id, &other.nonce));
    assert_eq!(one.expires_at, NOW.saturating_add(MAX_CHALLENGE_LIFETIME));
    assert_eq!(one.nonce.len(), 43);
    let proof = one.offer().answer(&subject(), &key(), KID, REGISTRY, NOW).unwrap();
    assert!(one.check(&subject(), &proof, NOW).unwrap().verify(&document(&json!([KID]))).is_ok());
    assert_eq!(other.check(&subject(), &proof, NOW).unwrap_err(), ProofError::ChallengeIdMismatch);
    // near its end the proof ends with the challenge
    let late = one.expires_at.saturating_sub(Duration::from_secs(5));
    let proof = one.offer().answer(&subject(), &key(), KID, REGISTRY, late).unwrap();
    assert!(one.check(&subject(), &proof, late).is_ok());
}

/// An authority passes on a challenge of the next one, or asks for a signature over text of its choice.
#[test]
fn a_holder_signs_only_what_is_a_challenge_of_the_authority_it_asked() {
    let offer = challenge().offer();
    let with = |change: &dyn Fn(&mut OfferedChallenge)| {
        let mut offer = offer.clone();
        change(&mut offer);
        offer.answer(&subject(), &key(), KID, REGISTRY, NOW)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(with(&|offer| offer.proof_aud.push('/')).is_ok());
    let elsewhere = [
        "https://registry.example.net/v1/agents/x/badge",
        "https://registry.example.test:8443/badge",
        "http://registry.example.test/badge",
        "https://evil.test#https://registry.example.test/",
    ];
    for url in elsewhere {
        assert_eq!(with(&|offer| offer.htu = url.to_owned()), Err(OfferError::OtherAuthority), "{url}");
    }
    for aud in ["https://registry.example.net", "", "x"] {
        assert_eq!(with(&|offer| offer.proof_aud = aud.to_owned()), Err(OfferError::OtherAuthority), "{aud}");
    }
    let malformed: [&dyn Fn(&mut OfferedChallenge); 8] = [
        &|offer| offer.htu = "https://registry.example.test@evil.test/badge".to_owned(),
        &|offer| offer.htu = "https://registry.example.test\\@evil.test/badge".to_owned(),
        &|offer| offer.challenge_id = "x".to_owned(),
        &|offer| offer.nonce = r#"{"sub":"did:key:z"}"#.to_owned(),
        &|offer| offer.nonce = "a".repeat(129),
        &|offer| offer.htm = "GET".to_owned(),
        &|offer| offer.htu = "registry.example.test".to_owned(),
        &|offer| offer.htu = format!("{REGISTRY}/{}", "a".repeat(2048)),
    ];
    for change in malformed {
        assert_eq!(with(change), Err(OfferError::Malformed));
    }
    assert_eq!(with(&|offer| offer.expires_at = NOW), Err(OfferError::Expired));
}
