//! Algorithms, keys, headers and bytes of a JWS. Every row starts from a badge that opens `level4`.

use serde_json::json;

use super::fails;
use crate::case::{Case, attack, call};
use crate::tokens::{self, b64};

fn row(id: &'static str, why: &'static str, token: impl Into<String>, reason: &'static str) -> Case {
    let public = if reason == "issuer_untrusted" { reason } else { "badge_invalid" };
    fails(attack(id, why).sends(call("level4").badge(token)), public, reason)
}

pub fn cases() -> Vec<Case> {
    let mut cases = headers();
    cases.extend(forms());
    cases.extend(bytes());
    cases.extend(kinds());
    cases
}

fn headers() -> Vec<Case> {
    let invalid = |id, why, patch| row(id, why, tokens::header(patch), "badge_invalid");
    let public = tokens::registry_key().public_key();
    let jwk = tokens::key(9).public_key().to_jwk();
    let forged = |header: serde_json::Value| {
        tokens::sign(&header.to_string(), tokens::parts().1.to_string().as_bytes(), &tokens::key(9))
    };
    vec![
        row(
            "signature/none",
            "The algorithm `none`, and no signature.",
            unsigned(&json!({ "alg": "none", "typ": "JWT" })),
            "badge_invalid",
        ),
        row(
            "signature/none-capital",
            "The algorithm `None`, past a list of what is refused.",
            unsigned(&json!({ "alg": "None", "typ": "JWT" })),
            "badge_invalid",
        ),
        row(
            "signature/none-with-signature",
            "The algorithm `none`, with a good signature behind it.",
            tokens::header(r#"{"alg":"none"}"#),
            "badge_invalid",
        ),
        row(
            "signature/hs256-public-key",
            "HS256 with the public key as the secret.",
            hmac(public.as_bytes()),
            "badge_invalid",
        ),
        row("signature/hs256-empty", "HS256 with an empty secret.", hmac(b""), "badge_invalid"),
        invalid("signature/es256", "ES256 in the header of an Ed25519 signature.", r#"{"alg":"ES256"}"#),
        invalid("signature/rs256", "RS256 in the header of an Ed25519 signature.", r#"{"alg":"RS256"}"#),
        invalid("signature/ed448", "Ed448 in the header of an Ed25519 signature.", r#"{"alg":"Ed448"}"#),
        invalid(
            "signature/ed25519-name",
            "The name of RFC 9864, which this profile does not know.",
            r#"{"alg":"Ed25519"}"#,
        ),
        invalid("signature/alg-lower", "The algorithm in another case.", r#"{"alg":"eddsa"}"#),
        invalid("signature/alg-missing", "No algorithm.", r#"{"alg":null}"#),
        invalid("signature/alg-array", "The algorithm is an array.", r#"{"alg":["EdDSA"]}"#),
        invalid("signature/crit", "A critical extension that nobody knows.", r#"{"crit":["exp"],"exp":0}"#),
        invalid("signature/crit-empty", "An empty list of critical extensions.", r#"{"crit":[]}"#),
        invalid("signature/b64-false", "A payload that is not encoded (RFC 7797).", r#"{"b64":false,"crit":["b64"]}"#),
        invalid("signature/b64-alone", "`b64` without `crit`, which some ignore and some obey.", r#"{"b64":false}"#),
        row(
            "signature/jwk-in-header",
            "The key to verify with comes in the header.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT", "jwk": jwk })),
            "badge_signature_invalid",
        ),
        row(
            "signature/jku-in-header",
            "The place of the keys comes in the header.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT", "jku": "https://evil.example/jwks" })),
            "badge_signature_invalid",
        ),
        row(
            "signature/x5c-in-header",
            "A certificate comes in the header.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT", "x5c": ["AA=="] })),
            "badge_signature_invalid",
        ),
        row(
            "signature/x5u-in-header",
            "The place of a certificate comes in the header.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT", "x5u": "https://evil.example/x" })),
            "badge_signature_invalid",
        ),
        row(
            "signature/kid-foreign",
            "A key id that the issuer does not have.",
            tokens::header(r#"{"kid":"key-2"}"#),
            "badge_signature_invalid",
        ),
        row(
            "signature/kid-path",
            "A key id that is a path.",
            tokens::header(r#"{"kid":"../../key-1"}"#),
            "badge_signature_invalid",
        ),
        row(
            "signature/kid-sql",
            "A key id that is a piece of SQL.",
            tokens::header(r#"{"kid":"key-1' or '1'='1"}"#),
            "badge_signature_invalid",
        ),
        row(
            "signature/kid-url",
            "A key id that is a URL.",
            tokens::header(r#"{"kid":"https://evil.example/key"}"#),
            "badge_signature_invalid",
        ),
        row(
            "signature/kid-capital",
            "The key id in another case.",
            tokens::header(r#"{"kid":"KEY-1"}"#),
            "badge_signature_invalid",
        ),
        row("signature/kid-empty", "An empty key id.", tokens::header(r#"{"kid":""}"#), "badge_signature_invalid"),
        row(
            "signature/kid-of-the-attacker",
            "The attacker's key under the issuer's key id.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT", "kid": "key-1" })),
            "badge_signature_invalid",
        ),
        row(
            "signature/no-kid-forged",
            "No key id, so that every key of the issuer is tried.",
            forged(json!({ "alg": "EdDSA", "typ": "JWT" })),
            "badge_signature_invalid",
        ),
        invalid("signature/kid-array", "The key id is an array.", r#"{"kid":["key-1"]}"#),
        invalid("signature/kid-number", "The key id is a number.", r#"{"kid":1}"#),
        invalid("signature/typ-pop", "The type of a proof of possession.", r#"{"typ":"pop+jws"}"#),
        invalid("signature/typ-access-token", "The type of an OAuth access token.", r#"{"typ":"at+jwt"}"#),
        invalid("signature/typ-array", "The type is an array.", r#"{"typ":["JWT"]}"#),
        invalid("signature/typ-spaced", "The type with a space.", r#"{"typ":"JWT "}"#),
        row(
            "signature/alg-twice",
            "The algorithm is there twice, the good one last.",
            tokens::header_text(|it| it.replacen('{', r#"{"alg":"none","#, 1)),
            "badge_invalid",
        ),
        row(
            "signature/kid-twice",
            "The key id is there twice.",
            tokens::header_text(|it| it.replacen('{', r#"{"kid":"x","#, 1)),
            "badge_invalid",
        ),
        row(
            "signature/alg-escaped-twin",
            "The algorithm is there twice, once spelt with an escape.",
            tokens::header_text(|it| it.replacen('{', r#"{"\u0061lg":"none","#, 1)),
            "badge_invalid",
        ),
        row(
            "signature/header-array",
            "The header is an array.",
            tokens::header_text(|it| format!("[{it}]")),
            "badge_invalid",
        ),
        row(
            "signature/header-trailing",
            "Something follows the header's object.",
            tokens::header_text(|it| format!("{it}x")),
            "badge_invalid",
        ),
    ]
}

fn forms() -> Vec<Case> {
    let good = tokens::good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let invalid = |id, why, token: String| row(id, why, token, "badge_invalid");
    vec![
        invalid("signature/two-segments", "The signature is missing.", signed.to_owned()),
        invalid("signature/empty-signature", "The signature is empty.", format!("{signed}.")),
        invalid("signature/empty-payload", "The payload is detached.", format!("{header}..{signature}")),
        invalid("signature/empty-header", "The header is empty.", format!(".{payload}.{signature}")),
        invalid("signature/four-segments", "A fourth segment.", format!("{good}.x")),
        invalid("signature/five-segments", "The form of an encrypted token.", format!("{good}.x.x")),
        invalid(
            "signature/padding",
            "Padding after a segment: the same bytes, another token.",
            format!("{signed}.{signature}=="),
        ),
        invalid(
            "signature/standard-alphabet",
            "The alphabet of standard base64.",
            format!("{signed}.+/{}", &signature[2..]),
        ),
        invalid(
            "signature/spare-bits",
            "Spare bits of the last character: the same bytes, another token.",
            format!("{signed}.{}", spare_bits(signature)),
        ),
        invalid(
            "signature/json-flattened",
            "The flattened JSON form.",
            json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
        ),
        invalid(
            "signature/json-general",
            "The general JSON form with two signatures.",
            json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }, {}] })
                .to_string(),
        ),
        invalid("signature/dots", "Nothing but dots.", "..".to_owned()),
        invalid("signature/payload-array", "The payload is an array.", tokens::claims_text(|it| format!("[{it}]"))),
        invalid(
            "signature/payload-trailing",
            "A second object follows the payload's.",
            tokens::claims_text(|it| format!("{it}{{}}")),
        ),
        invalid(
            "signature/payload-deep",
            "A payload nested deeper than a parser's stack.",
            tokens::claims_text(|it| {
                it.replacen('{', &format!(r#"{{"x":{}1{},"#, "[".repeat(200), "]".repeat(200)), 1)
            }),
        ),
        invalid(
            "signature/payload-not-utf8",
            "A payload that is not UTF-8.",
            tokens::sign(&tokens::parts().0.to_string(), b"{\"a\":\"\xff\"}", &tokens::registry_key()),
        ),
        invalid(
            "signature/payload-compressed",
            "A payload that says `zip`, and is what a decompressor would expand.",
            tokens::sign(r#"{"alg":"EdDSA","zip":"DEF"}"#, &[0x78, 0x9c, 0xed], &tokens::registry_key()),
        ),
    ]
}

fn bytes() -> Vec<Case> {
    let forged = |id, why, token: String| row(id, why, token, "badge_signature_invalid");
    let good = tokens::good();
    let (header, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let raised = {
        let mut claims = tokens::parts().1;
        claims["jti"] = json!("raised");
        claims
    };
    vec![
        forged(
            "signature/bit-of-r",
            "One bit of the signature's point is flipped.",
            tokens::signature(|bytes| bytes[0] ^= 1),
        ),
        forged(
            "signature/bit-of-s",
            "One bit of the signature's scalar is flipped.",
            tokens::signature(|bytes| bytes[32] ^= 1),
        ),
        forged(
            "signature/malleable",
            "The group order is added to the scalar: the same equation, another signature.",
            tokens::signature(|bytes| add_order(bytes)),
        ),
        forged(
            "signature/high-bits-of-s",
            "The high bits of the scalar are set.",
            tokens::signature(|bytes| bytes[63] |= 0xe0),
        ),
        forged("signature/zeros", "A signature of zeros.", tokens::signature(|bytes| bytes.fill(0))),
        forged(
            "signature/identity-point",
            "The identity as the signature's point, zero as its scalar.",
            tokens::signature(|bytes| {
                bytes.fill(0);
                bytes[0] = 1;
            }),
        ),
        forged("signature/short", "One byte less.", tokens::signature(|bytes| bytes.truncate(63))),
        forged("signature/long", "One byte more.", tokens::signature(|bytes| bytes.push(0))),
        forged(
            "signature/der",
            "A signature in the form of ECDSA.",
            tokens::signature(|bytes| bytes.splice(0..0, [0x30, 0x44, 0x02, 0x20]).for_each(drop)),
        ),
        forged(
            "signature/swapped-halves",
            "Point and scalar change places.",
            tokens::signature(|bytes| bytes.rotate_left(32)),
        ),
        forged("signature/of-another-badge", "The signature of another badge of the same issuer.", {
            let other = tokens::low();
            format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
        }),
        forged(
            "signature/claims-changed",
            "One claim is changed and the signature kept.",
            format!("{header}.{}.{signature}", b64(raised.to_string())),
        ),
        forged("signature/claims-respelt", "The same claims with a space between them.", {
            let text = tokens::parts().1.to_string().replacen(':', ": ", 1);
            format!("{header}.{}.{signature}", b64(text))
        }),
        forged("signature/by-the-subject", "The subject signs what only the issuer may say.", tokens::signed_by(10)),
        forged("signature/by-a-stranger", "A stranger signs in the issuer's name.", tokens::signed_by(9)),
        forged("signature/by-the-server", "The server's own key signs in the issuer's name.", tokens::signed_by(77)),
    ]
}

/// Tokens of another kind that a key of the right owner signed.
fn kinds() -> Vec<Case> {
    let nonce = "n".repeat(43);
    let (registry, did) = (tokens::registry_key(), tokens::key(10).did());
    let claims = tokens::parts().1;
    let badge = tokens::good();
    let binding =
        rmcp_guard::identity::pop::PopBinding { did: &did, badge: Some(&badge), origin: "https://files.example.com" };
    let typed = |typ: &str| {
        tokens::sign(
            &json!({ "alg": "EdDSA", "typ": typ, "kid": "key-1" }).to_string(),
            claims.to_string().as_bytes(),
            &registry,
        )
    };
    let invalid = |id, why, token: String| row(id, why, token, "badge_invalid");
    let envelope = json!({ "iss": "https://registry.example.com", "sub": did.as_str(), "aud": ["https://files.example.com"], "jti": "e",
        "iat": tokens::NOW.as_i64(), "exp": tokens::NOW.as_i64() + 300, "capability": "tools.*", "constraints": {} });
    let access = json!({ "iss": "https://registry.example.com", "sub": did.as_str(), "aud": "https://files.example.com", "jti": "a",
        "iat": tokens::NOW.as_i64(), "exp": tokens::NOW.as_i64() + 300, "scope": "tools:*", "client_id": "c" });
    let of = |payload: &serde_json::Value, typ: &str| {
        tokens::sign(
            &json!({ "alg": "EdDSA", "typ": typ, "kid": "key-1" }).to_string(),
            payload.to_string().as_bytes(),
            &registry,
        )
    };
    vec![
        invalid(
            "signature/pop-as-badge",
            "A bare proof of possession is presented as a badge.",
            rmcp_guard::identity::pop::sign_response(&registry, "key-1", &nonce).unwrap(),
        ),
        invalid(
            "signature/bound-pop-as-badge",
            "A bound proof of possession is presented as a badge.",
            rmcp_guard::identity::pop::sign_bound(&registry, "key-1", &nonce, &binding, tokens::NOW).unwrap(),
        ),
        invalid(
            "signature/badge-typed-pop",
            "The claims of a badge under the type of a bound proof.",
            typed("bound-pop+jws"),
        ),
        invalid(
            "signature/badge-typed-issuance",
            "The claims of a badge under the type of a proof for issuance.",
            typed("pop+jwt"),
        ),
        invalid(
            "signature/badge-typed-call-proof",
            "The claims of a badge under the type of a call proof.",
            typed("call-proof+jwt"),
        ),
        invalid(
            "signature/envelope-as-badge",
            "A capability envelope of the same issuer is presented as a badge.",
            of(&envelope, "JWT"),
        ),
        invalid(
            "signature/envelope-typed",
            "A capability envelope under its own type.",
            of(&envelope, "capiscio-envelope+jwt"),
        ),
        invalid(
            "signature/access-token-as-badge",
            "An OAuth access token of the same issuer is presented as a badge.",
            of(&access, "at+jwt"),
        ),
        invalid(
            "signature/id-token-as-badge",
            "An OpenID token of the same issuer is presented as a badge.",
            of(&access, "JWT"),
        ),
        row(
            "signature/server-badge",
            "A server's public badge, which it shows to everybody, is presented by a caller.",
            tokens::badge_for("did:web:registry.example.com:servers:files", 12),
            "server_badge_presented",
        ),
        row(
            "signature/our-own-badge",
            "Our own badge, which we show to everybody, is presented to us.",
            tokens::badge(77, crate::common::LEVELS[4]),
            "server_badge_presented",
        ),
        row(
            "signature/our-own-key",
            "Our own key under another name is presented to us.",
            tokens::badge_for("did:web:registry.example.com:agents:us", 77),
            "server_badge_presented",
        ),
    ]
}

fn unsigned(header: &serde_json::Value) -> String {
    format!("{}.{}.", b64(header.to_string()), b64(tokens::parts().1.to_string()))
}

fn hmac(secret: &[u8]) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let signed =
        format!("{}.{}", b64(r#"{"alg":"HS256","kid":"key-1","typ":"JWT"}"#), b64(tokens::parts().1.to_string()));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", b64(mac.finalize().into_bytes()))
}

/// The last character with bits set that stand for nothing.
fn spare_bits(signature: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = signature.split_at(signature.len() - 1);
    let at = ALPHABET.iter().position(|byte| *byte == last.as_bytes()[0]).unwrap();
    format!("{start}{}", char::from(ALPHABET[at | 1]))
}

/// Adds the order of Ed25519's group to the scalar.
fn add_order(bytes: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0_u16;
    for (byte, more) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}
