use super::*;

/// RFC 8410 §10.1 and §10.3 (`openssl genpkey` and `openssl pkey -pubout` write these bytes).
const RFC8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";
const RFC8410_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const RFC8037_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const RFC8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn rfc8037_key() -> SigningKey {
    let seed: [u8; 32] = base64url_decode(RFC8037_SEED).unwrap().try_into().unwrap();
    SigningKey::from_seed(&seed)
}

#[test]
fn pem_is_byte_compatible_with_rfc_8410() {
    let key = SigningKey::from_pkcs8_pem(RFC8410_PRIVATE).unwrap();
    assert_eq!(key.to_pkcs8_pem().unwrap().as_str(), RFC8410_PRIVATE);
    assert_eq!(key.public_key().to_spki_pem().unwrap(), RFC8410_PUBLIC);
    assert_eq!(PublicKey::from_spki_pem(RFC8410_PUBLIC).unwrap(), key.public_key());
}

#[test]
fn pem_of_version_2_is_read_and_its_public_half_must_match() {
    let key = rfc8037_key();
    let version_2 = key.inner.to_pkcs8_pem(LineEnding::LF).unwrap();
    assert_eq!(SigningKey::from_pkcs8_pem(&version_2).unwrap().public_key(), key.public_key());
    let mixed = KeypairBytes {
        secret_key: [7; 32],
        public_key: Some(ed25519_dalek::pkcs8::PublicKeyBytes(*key.public_key().as_bytes())),
    };
    let mixed = mixed.to_pkcs8_pem(LineEnding::LF).unwrap();
    assert!(SigningKey::from_pkcs8_pem(&mixed).is_err(), "a foreign public half must be refused");
}

#[test]
fn other_pem_is_refused() {
    let long = format!("{RFC8410_PRIVATE}{}", " ".repeat(MAX_PEM_BYTES));
    for (name, pem) in [("public", RFC8410_PUBLIC), ("empty", ""), ("long", long.as_str()), ("text", "not a key")] {
        assert!(SigningKey::from_pkcs8_pem(pem).is_err(), "{name}");
    }
    for (name, pem) in [("private", RFC8410_PRIVATE), ("empty", ""), ("long", long.as_str())] {
        assert!(PublicKey::from_spki_pem(pem).is_err(), "{name}");
    }
}

#[test]
fn jwk_and_thumbprint_are_those_of_rfc_8037() {
    let key = rfc8037_key().public_key();
    let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": RFC8037_X});
    assert_eq!(key.to_jwk(), jwk);
    assert_eq!(PublicKey::from_jwk(&jwk).unwrap(), key);
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn jwks_of_another_form_are_refused() {
    for (name, jwk) in [
        ("other type", serde_json::json!({"kty": "EC", "crv": "Ed25519", "x": RFC8037_X})),
        ("other curve", serde_json::json!({"kty": "OKP", "crv": "X25519", "x": RFC8037_X})),
        ("no x", serde_json::json!({"kty": "OKP", "crv": "Ed25519"})),
        ("padded x", serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": format!("{RFC8037_X}=")})),
        ("short x", serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        ("spare bits", serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": RFC8037_X.replace("URo", "URp")})),
        ("number", serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": 1})),
        ("no object", serde_json::json!([])),
        ("private", serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": RFC8037_X, "d": RFC8037_X})),
    ] {
        assert!(PublicKey::from_jwk(&jwk).is_err(), "{name}");
    }
}

#[test]
fn small_order_keys_are_refused() {
    // The eight small-order points; under them a fixed signature fits almost any message.
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    for point in points {
        assert_eq!(PublicKey::from_bytes(&hex(point)).unwrap_err(), KeyError("the point is of small order"), "{point}");
    }
}

#[test]
fn a_key_has_one_encoding() {
    // y = p + 3 and y = p + 4 stand for the points with y = 3 and y = 4, which are ordinary points.
    let mut accepted = 0;
    for y in 0..19_u8 {
        let mut small = [0; 32];
        small[0] = y;
        let mut large = [0xff; 32];
        large[0] = 0xed + y;
        large[31] = 0x7f;
        accepted += usize::from(PublicKey::from_bytes(&small).is_ok());
        for sign in [0, 0x80] {
            large[31] = 0x7f | sign;
            let error = PublicKey::from_bytes(&large).unwrap_err();
            assert_eq!(error, KeyError("the point is not canonically encoded"), "{y}");
        }
    }
    assert!(accepted > 0, "some of these y have an ordinary point, or the test proves nothing");
}

#[test]
fn signatures_are_checked_strictly() {
    let key = rfc8037_key();
    let signature = key.sign(b"message");
    assert_eq!(key.public_key().verify(b"message", &signature), Ok(()));
    assert_eq!(key.public_key().verify(b"other", &signature), Err(SignatureError));
    assert_eq!(key.public_key().verify(b"message", &signature[..63]), Err(SignatureError));
    assert_eq!(key.public_key().verify(b"message", &[0; 64]), Err(SignatureError));
    // s + L verifies the same equation; a lax verifier would accept this second signature.
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let (mut malleable, mut carry) = (signature, 0_u16);
    for (byte, add) in malleable[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(key.public_key().verify(b"message", &malleable), Err(SignatureError));
}

#[test]
fn generated_keys_differ_and_debug_hides_the_secret() {
    let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_ne!(one.public_key(), two.public_key());
    let shown = format!("{one:?}");
    assert!(shown.contains("did:key:z6Mk"), "{shown}");
    assert!(!shown.contains(&base64url(one.inner.as_bytes())), "{shown}");
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
