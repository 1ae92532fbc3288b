use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const ORIGIN: &str = "https://files.example.com";

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn challenge(nonce: &str, made_at: Instant) -> PopChallenge {
    PopChallenge::of_nonce(nonce, made_at)
}

/// One test per published vector, and one that fails when a vector of the file has no test.
macro_rules! vectors {
    ($($name:ident: $id:literal,)+) => {
        mod vectors {
            $(#[test]
            fn $name() {
                super::verifies_as_expected($id);
            })+

            #[test]
            fn every_vector_has_a_test() {
                let ids: Vec<_> = super::all().iter().map(|vector| vector["id"].as_str().unwrap().to_owned()).collect();
                assert_eq!(ids, [$($id),+]);
            }
        }
    };
}

fn all() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../tests/vectors/pop.json")).unwrap()
}

fn verifies_as_expected(id: &str) {
    let all = all();
    let vector = all.iter().find(|vector| vector["id"] == id).unwrap();
    let text = |name: &str| vector[name].as_str().unwrap();
    let bytes = |hex: &str| -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let did = Did::parse(text("server_did")).unwrap();
    let key = PublicKey::from_bytes(&bytes(text("public_key_hex"))).unwrap();
    let nonce = text("expected_nonce");
    let now = Instant::now();
    let got = challenge(nonce, now).verify_response(text("jws"), &did, &key, now);
    assert_eq!(got.is_ok(), text("expected") == "VALID", "{}: {got:?}", vector["description"]);

    // Where the vector carries the seed, signing must reproduce the bytes that both peers write.
    if let Some(seed) = vector["seed_hex"].as_str() {
        let key = SigningKey::from_seed(&bytes(seed).try_into().unwrap());
        let kid = key_id(text("jws"), &did).unwrap();
        assert_eq!(sign_response(&key, &kid, nonce).unwrap(), text("jws"));
    }
}

vectors! {
    pop_01_valid: "pop-01-valid",
    pop_02_valid: "pop-02-valid",
    pop_10_other_nonce: "pop-10-other-nonce",
    pop_11_payload_swapped: "pop-11-payload-swapped",
    pop_12_sig_bitflip: "pop-12-sig-bitflip",
    pop_13_other_key: "pop-13-other-key",
    pop_14_typ_jwt: "pop-14-typ-jwt",
    pop_15_typ_absent: "pop-15-typ-absent",
    pop_16_kid_other_did: "pop-16-kid-other-did",
    pop_18_decoded_nonce: "pop-18-decoded-nonce",
    pop_19_alg_none: "pop-19-alg-none",
    pop_20_junk_in_signature: "pop-20-junk-in-signature",
}

#[test]
fn a_challenge_is_43_fresh_base64url_characters() {
    let (one, two) = (PopChallenge::new(Instant::now()).unwrap(), PopChallenge::new(Instant::now()).unwrap());
    assert_eq!(one.nonce().len(), 43);
    assert_eq!(check_nonce_form(one.nonce()), Ok(()));
    assert_ne!(one.nonce(), two.nonce());
    assert!(!format!("{one:?}").contains(one.nonce()));
}

#[test]
fn a_challenge_carries_its_origin_and_time() {
    let challenge = challenge("n", Instant::now());
    let meta = challenge.request_meta(Some(ORIGIN), NOW);
    assert_eq!(
        Value::Object(meta),
        json!({
            "capiscio_pop_nonce": "n",
            "capiscio_pop_created_at": 1_760_000_000,
            "rmcp-guard/pop-origin": "https://files.example.com",
        })
    );
    assert!(!challenge.request_meta(None, NOW).contains_key(META_POP_ORIGIN));
}

/// A proof that was recorded and played back later must not count, whatever the wall clocks say.
#[test]
fn a_challenge_expires_on_the_monotonic_clock() {
    let (key, made_at) = (key(), Instant::now());
    let did = key.did();
    let kid = did.key_id().unwrap();
    let nonce = "A".repeat(43);
    let bare = sign_response(&key, &kid, &nonce).unwrap();
    let binding = PopBinding { did: &did, badge: None, origin: ORIGIN };
    let bound = sign_bound(&key, &kid, &nonce, &binding, NOW).unwrap();
    for (age, want) in [(30_000, Ok(())), (30_001, Err(PopError::Expired))] {
        let received = made_at + Duration::from_millis(age);
        let public = key.public_key();
        assert_eq!(challenge(&nonce, made_at).verify_response(&bare, &did, &public, received), want);
        assert_eq!(challenge(&nonce, made_at).verify_bound(&bound, &binding, &public, received, NOW), want);
    }
}

#[test]
fn a_nonce_is_signed_within_its_bounds_only() {
    let key = key();
    let kid = key.did().key_id().unwrap();
    for (length, signed) in [(21, false), (22, true), (128, true), (129, false)] {
        assert_eq!(sign_response(&key, &kid, &"-".repeat(length)).is_ok(), signed, "{length} characters");
    }
    for nonce in ["A".repeat(21) + ".", "A".repeat(21) + "+", "A".repeat(21) + "é", "A".repeat(21) + "\n"] {
        assert_eq!(sign_response(&key, &kid, &nonce), Err(NonceError), "{nonce:?}");
        let binding = PopBinding { did: &key.did(), badge: None, origin: ORIGIN };
        assert_eq!(sign_bound(&key, &kid, &nonce, &binding, NOW), Err(NonceError), "{nonce:?}");
    }
}

/// Each claim of the bound proof stops another relay: other server, other badge, other place, other time.
#[test]
fn s19_a_bound_proof_holds_for_its_own_claims_only() {
    let key = key();
    let did = key.did();
    let kid = did.key_id().unwrap();
    let other_did = SigningKey::from_seed(&[8; 32]).did();
    let nonce = "A".repeat(43);
    let signed = PopBinding { did: &did, badge: Some("a.b.c"), origin: ORIGIN };
    let proof = sign_bound(&key, &kid, &nonce, &signed, NOW).unwrap();
    let at = |seconds: i64| UnixSeconds::new(NOW.as_i64() + seconds);
    let other_nonce = "B".repeat(43);

    let cases = [
        ("same", nonce.as_str(), signed, NOW, Ok(())),
        ("slow clock", &nonce, signed, at(-60), Ok(())),
        ("fast clock", &nonce, signed, at(60), Ok(())),
        ("too slow", &nonce, signed, at(-61), Err(PopError::ClockSkew)),
        ("too fast", &nonce, signed, at(61), Err(PopError::ClockSkew)),
        ("nonce", &other_nonce, signed, NOW, Err(PopError::WrongNonce)),
        ("did", &nonce, PopBinding { did: &other_did, ..signed }, NOW, Err(PopError::WrongKeyId)),
        ("badge", &nonce, PopBinding { badge: Some("a.b.d"), ..signed }, NOW, Err(PopError::WrongBadge)),
        ("no badge", &nonce, PopBinding { badge: None, ..signed }, NOW, Err(PopError::WrongBadge)),
        ("origin", &nonce, PopBinding { origin: "https://evil.example", ..signed }, NOW, Err(PopError::WrongOrigin)),
        (
            "port",
            &nonce,
            PopBinding { origin: "https://files.example.com:8443", ..signed },
            NOW,
            Err(PopError::WrongOrigin),
        ),
    ];
    for (name, nonce, binding, now, want) in cases {
        let received = Instant::now();
        let got = challenge(nonce, received).verify_bound(&proof, &binding, &key.public_key(), received, now);
        assert_eq!(got, want, "{name}");
    }
}

/// The two proofs have their own types, so that neither can be passed off as the other.
#[test]
fn s19_bare_and_bound_proofs_are_not_interchangeable() {
    let key = key();
    let did = key.did();
    let kid = did.key_id().unwrap();
    let nonce = "A".repeat(43);
    let binding = PopBinding { did: &did, badge: None, origin: ORIGIN };
    let bare = sign_response(&key, &kid, &nonce).unwrap();
    let bound = sign_bound(&key, &kid, &nonce, &binding, NOW).unwrap();
    let now = Instant::now();
    let public = key.public_key();
    assert_eq!(challenge(&nonce, now).verify_response(&bound, &did, &public, now), Err(PopError::WrongType));
    assert_eq!(challenge(&nonce, now).verify_bound(&bare, &binding, &public, now, NOW), Err(PopError::WrongType));
}

#[test]
fn a_bound_proof_with_malformed_claims_is_refused() {
    let key = key();
    let did = key.did();
    let kid = did.key_id().unwrap();
    let nonce = "A".repeat(43);
    let binding = PopBinding { did: &did, badge: None, origin: ORIGIN };
    let good = json!({"nonce": nonce, "did": did.as_str(), "badge": null, "origin": ORIGIN, "iat": NOW.as_i64()});
    let verify = |payload: &[u8]| {
        let proof = jws::sign(&key, Some(BOUND_POP_TYP), Some(&kid), payload);
        let now = Instant::now();
        challenge(&nonce, now).verify_bound(&proof, &binding, &key.public_key(), now, NOW)
    };
    assert_eq!(verify(good.to_string().as_bytes()), Ok(()));
    for name in ["nonce", "did", "badge", "origin", "iat"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(verify(claims.to_string().as_bytes()), Err(PopError::Malformed), "without {name}");
    }
    let mut fractional = good.clone();
    fractional["iat"] = json!(1_760_000_000.5);
    let repeated = good.to_string().replace("\"badge\":null", "\"badge\":null,\"badge\":null");
    for payload in [fractional.to_string(), repeated, "[]".to_owned(), "{".to_owned(), nonce.clone()] {
        assert_eq!(verify(payload.as_bytes()), Err(PopError::Malformed), "{payload}");
    }
}

#[test]
fn a_key_id_is_a_did_url_with_a_fragment() {
    let key = key();
    let did = key.did();
    let nonce = "A".repeat(43);
    for (kid, want) in [
        (format!("{did}#any"), Ok(())),
        (format!("{did}#"), Err(PopError::WrongKeyId)),
        (did.to_string(), Err(PopError::WrongKeyId)),
        (format!("{did}/path#any"), Err(PopError::WrongKeyId)),
        ("#any".to_owned(), Err(PopError::WrongKeyId)),
    ] {
        let proof = sign_response(&key, &kid, &nonce).unwrap();
        assert_eq!(key_id(&proof, &did).map(drop), want, "{kid}");
        let now = Instant::now();
        assert_eq!(challenge(&nonce, now).verify_response(&proof, &did, &key.public_key(), now), want, "{kid}");
    }
}

#[test]
fn a_did_web_is_the_same_in_every_case_of_its_host() {
    let key = key();
    let nonce = "A".repeat(43);
    let [upper, lower] =
        ["did:web:Files.example.com:a", "did:web:files.example.com:a"].map(|did| Did::parse(did).unwrap());
    let other = Did::parse("did:web:files.example.com:A").unwrap();
    let kid = format!("{upper}#key-1");
    let bare = sign_response(&key, &kid, &nonce).unwrap();
    let signed = PopBinding { did: &upper, badge: None, origin: ORIGIN };
    let bound = sign_bound(&key, &kid, &nonce, &signed, NOW).unwrap();
    for (did, want) in [(&upper, Ok(())), (&lower, Ok(())), (&other, Err(PopError::WrongKeyId))] {
        let (now, public) = (Instant::now(), key.public_key());
        let binding = PopBinding { did, ..signed };
        assert_eq!(key_id(&bare, did).map(drop), want, "{did}");
        assert_eq!(challenge(&nonce, now).verify_response(&bare, did, &public, now), want, "{did}");
        assert_eq!(challenge(&nonce, now).verify_bound(&bound, &binding, &public, now, NOW), want, "{did}");
    }
}

#[test]
fn hostile_text_is_malformed() {
    let key = key();
    let did = key.did();
    let long = "A".repeat(MAX_POP_BYTES + 1);
    for proof in ["", "..", "a.b", "a.b.c.d", "\u{202e}", long.as_str()] {
        let now = Instant::now();
        let got = challenge("n", now).verify_response(proof, &did, &key.public_key(), now);
        assert_eq!(got, Err(PopError::Malformed), "{proof:.10}");
        assert_eq!(key_id(proof, &did), Err(PopError::Malformed), "{proof:.10}");
    }
}

proptest::proptest! {
    /// Whatever character of a proof is changed, to whatever other, it proves nothing.
    #[test]
    fn a_changed_proof_is_refused(bound: bool, at: proptest::sample::Index, with in "[A-Za-z0-9_.=~-]") {
        let key = key();
        let did = key.did();
        let kid = did.key_id().unwrap();
        let nonce = "A".repeat(43);
        let binding = PopBinding { did: &did, badge: Some("a.b.c"), origin: ORIGIN };
        let mut proof = if bound {
            sign_bound(&key, &kid, &nonce, &binding, NOW).unwrap()
        } else {
            sign_response(&key, &kid, &nonce).unwrap()
        };
        let at = at.index(proof.len());
        proptest::prop_assume!(proof.get(at..=at) != Some(with.as_str()));
        proof.replace_range(at..=at, &with);
        let (now, public) = (Instant::now(), key.public_key());
        let got = if bound {
            challenge(&nonce, now).verify_bound(&proof, &binding, &public, now, NOW)
        } else {
            challenge(&nonce, now).verify_response(&proof, &did, &public, now)
        };
        proptest::prop_assert!(got.is_err());
    }
}
