use super::*;
use crate::encoding::base64url;

/// RFC 8037 A.4.
const RFC8037_JWS: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn key() -> SigningKey {
    let seed = base64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    SigningKey::from_seed(&seed.try_into().unwrap())
}

#[test]
fn rfc_8037_a4_signs_and_verifies() {
    let key = key();
    assert_eq!(sign(&key, None, None, b"Example of Ed25519 signing"), RFC8037_JWS);
    let jws = CompactJws::parse(RFC8037_JWS, 1024).unwrap();
    assert_eq!(jws.payload(), b"Example of Ed25519 signing");
    assert_eq!((jws.typ(), jws.kid()), (None, None));
    assert_eq!(jws.verify(&key.public_key()), Ok(()));
    assert_eq!(jws.verify(&SigningKey::from_seed(&[1; 32]).public_key()), Err(SignatureError));
}

#[test]
fn the_header_is_written_in_one_way() {
    let token = sign(&key(), Some("JWT"), Some("k\"1"), b"{}");
    let header = base64url_decode(token.split('.').next().unwrap()).unwrap();
    assert_eq!(header, br#"{"alg":"EdDSA","kid":"k\"1","typ":"JWT"}"#);
    let jws = CompactJws::parse(&token, 1024).unwrap();
    assert_eq!((jws.typ(), jws.kid()), (Some("JWT"), Some("k\"1")));
    assert_eq!(jws.verify(&key().public_key()), Ok(()));
}

#[test]
fn what_is_not_compact_eddsa_is_refused() {
    let with_header = |header: &str| format!("{}.e30.AAAA", base64url(header.as_bytes()));
    let cases = [
        ("empty", String::new(), "not three segments"),
        ("one segment", "e30".into(), "not three segments"),
        ("two segments", "e30.e30".into(), "not three segments"),
        ("four segments", format!("{RFC8037_JWS}.AAAA"), "a segment is not base64url"),
        ("empty header", ".e30.AAAA".into(), "a segment is empty"),
        ("empty payload", "eyJhbGciOiJFZERTQSJ9..AAAA".into(), "a segment is empty"),
        ("empty signature", "eyJhbGciOiJFZERTQSJ9.e30.".into(), "a segment is empty"),
        ("padding", format!("{RFC8037_JWS}=="), "a segment is not base64url"),
        ("white space", format!("{RFC8037_JWS}\n"), "a segment is not base64url"),
        ("spare bits", RFC8037_JWS.replace("KAg", "KAh"), "a segment is not base64url"),
        ("other alphabet", RFC8037_JWS.replace("il_M", "il/M"), "a segment is not base64url"),
        ("JSON serialization", r#"{"payload":"e30","signature":"AAAA"}"#.into(), "not three segments"),
        ("too long", "a".repeat(1025), "too long"),
        ("not JSON", with_header("alg"), "the header is not JSON with unique member names"),
        ("twice", with_header(r#"{"alg":"EdDSA","alg":"EdDSA"}"#), "the header is not JSON with unique member names"),
        ("array", with_header(r#"["EdDSA"]"#), "the header is not a JSON object"),
        ("no alg", with_header("{}"), "the algorithm is not EdDSA"),
        ("none", with_header(r#"{"alg":"none"}"#), "the algorithm is not EdDSA"),
        ("HS256", with_header(r#"{"alg":"HS256"}"#), "the algorithm is not EdDSA"),
        ("case", with_header(r#"{"alg":"eddsa"}"#), "the algorithm is not EdDSA"),
        ("member case", with_header(r#"{"Alg":"EdDSA"}"#), "the algorithm is not EdDSA"),
        ("crit", with_header(r#"{"alg":"EdDSA","crit":["exp"]}"#), "the header asks for an extension"),
        ("crit null", with_header(r#"{"alg":"EdDSA","crit":null}"#), "the header asks for an extension"),
        ("b64", with_header(r#"{"alg":"EdDSA","b64":true}"#), "the header asks for an extension"),
        ("kid number", with_header(r#"{"alg":"EdDSA","kid":1}"#), "`typ` or `kid` is not a string"),
        ("typ null", with_header(r#"{"alg":"EdDSA","typ":null}"#), "`typ` or `kid` is not a string"),
    ];
    for (name, input, want) in cases {
        let error = CompactJws::parse(&input, 1024).map(|_| ()).unwrap_err();
        assert_eq!(error.detail(), want, "{name}");
    }
}

#[test]
fn a_signature_of_another_length_is_a_signature_error() {
    let short = RFC8037_JWS.strip_suffix("Ag").unwrap();
    assert_eq!(CompactJws::parse(short, 1024).unwrap().verify(&key().public_key()), Err(SignatureError));
}

#[test]
fn debug_does_not_show_the_token() {
    let shown = format!("{:?}", CompactJws::parse(RFC8037_JWS, 1024).unwrap());
    assert_eq!(shown, "CompactJws { typ: None, kid: None, .. }");
}

#[test]
fn the_limit_is_the_last_length_that_is_read() {
    let read = |max_bytes| CompactJws::parse(RFC8037_JWS, max_bytes).map(|_| ()).map_err(|error| error.detail());
    assert_eq!(read(RFC8037_JWS.len()), Ok(()));
    assert_eq!(read(RFC8037_JWS.len().saturating_sub(1)), Err("too long"));
}
