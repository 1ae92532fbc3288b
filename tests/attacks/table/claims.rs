//! What a badge says: levels, issuers, audiences, subjects, assurance; `times.rs` goes on. The registry itself signs every row, as if
//! it had been talked into it, unless the row says who does.

use serde_json::json;

use super::{fails, in_a_session, times};
use crate::case::{Case, attack, call, denied};
use crate::common::{AUDIENCE, LEVELS, badge_request, registry_with_key};
use crate::tokens::{self, NOW};
use crate::world::Setup;

pub(super) fn row(id: &'static str, why: &'static str, token: impl Into<String>, reason: &'static str) -> Case {
    let public = match reason {
        "issuer_untrusted" | "badge_expired" | "badge_revoked" => reason,
        _ => "badge_invalid",
    };
    fails(attack(id, why).sends(call("level4").badge(token)), public, reason)
}

/// Claims that contradict the protocol or each other.
pub(super) fn invalid(id: &'static str, why: &'static str, patch: &str) -> Case {
    row(id, why, tokens::claims(patch), "badge_invalid")
}

/// The level as JSON.
fn level(id: &'static str, why: &'static str, level: &str) -> Case {
    row(
        id,
        why,
        tokens::claims_text(|it| it.replacen(r#""level":"4""#, &format!(r#""level":{level}"#), 1)),
        "badge_invalid",
    )
}

pub fn cases() -> Vec<Case> {
    let mut cases = levels();
    cases.extend(issuers());
    cases.extend(audiences());
    cases.extend(subjects());
    cases.extend(types());
    cases.extend(times::cases());
    cases
}

fn levels() -> Vec<Case> {
    vec![
        level("claims/level-number", "The level is the number 4.", "4"),
        level("claims/level-fraction", "The level is 4.0.", "4.0"),
        level("claims/level-5", "A level above all.", r#""5""#),
        level("claims/level-negative", "A level below all, which wraps to a high one.", r#""-1""#),
        level("claims/level-large", "A level that wraps in eight bits.", r#""260""#),
        level("claims/level-leading-zero", "The level with a zero before it.", r#""04""#),
        level("claims/level-plus", "The level with a plus before it.", r#""+4""#),
        level("claims/level-spaced", "The level with a space.", r#"" 4""#),
        level("claims/level-name", "The level's name.", r#""EV""#),
        level("claims/level-full-width", "The level as a full-width digit.", "\"\u{ff14}\""),
        level("claims/level-arabic", "The level as an Arabic digit.", "\"\u{664}\""),
        level("claims/level-hexadecimal", "The level in hexadecimal.", r#""0x4""#),
        level("claims/level-true", "The level is `true`.", "true"),
        level("claims/level-null", "The level is null.", "null"),
        level("claims/level-array", "The level is an array.", r#"["4"]"#),
        level("claims/level-empty", "The level is empty.", r#""""#),
        invalid("claims/level-missing", "No level at all.", r#"{"vc":{"credentialSubject":{"level":null}}}"#),
        row(
            "claims/level-twice",
            "The level is there twice, the high one last.",
            tokens::claims_text(|it| it.replacen(r#""level":"4""#, r#""level":"1","level":"4""#, 1)),
            "badge_invalid",
        ),
        invalid(
            "claims/level-outside",
            "The level stands beside `vc` and not in it.",
            r#"{"level":"4","vc":{"credentialSubject":{"level":null}}}"#,
        ),
        invalid(
            "claims/level-0-of-a-registry",
            "Level 0, which nobody but the subject can say.",
            r#"{"vc":{"credentialSubject":{"level":"0"}}}"#,
        ),
        invalid(
            "claims/domain-missing",
            "Level 4 without the domain that was validated.",
            r#"{"vc":{"credentialSubject":{"domain":null}}}"#,
        ),
        invalid("claims/domain-number", "The domain is a number.", r#"{"vc":{"credentialSubject":{"domain":1}}}"#),
        row(
            "claims/self-signed-level-4",
            "A subject signs level 4 for itself.",
            tokens::self_signed(12, "4"),
            "badge_invalid",
        ),
        row(
            "claims/self-signed-level-1",
            "A subject signs level 1 for itself.",
            tokens::self_signed(12, "1"),
            "badge_invalid",
        ),
        row(
            "claims/self-signed-level-4-where-they-count",
            "A subject signs level 4 for itself, where self-signed badges count.",
            tokens::self_signed(12, "4"),
            "badge_invalid",
        )
        .setup(Setup::LevelZero),
    ]
}

fn issuers() -> Vec<Case> {
    let named =
        |id, why, issuer: &str, reason| row(id, why, tokens::claims(&json!({ "iss": issuer }).to_string()), reason);
    let stranger = |origin: &str, seed| {
        registry_with_key(origin, seed).issue(&badge_request(10, LEVELS[4]).audience(AUDIENCE), NOW).unwrap()
    };
    vec![
        row(
            "claims/issuer-unknown",
            "A registry that nobody trusts, with a key of its own.",
            stranger("https://evil.example", 9),
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-userinfo",
            "The trusted name before an `@`.",
            "https://registry.example.com@evil.example",
            "badge_invalid",
        ),
        named(
            "claims/issuer-password",
            "User and password before the trusted name.",
            "https://a:b@registry.example.com",
            "badge_invalid",
        ),
        named(
            "claims/issuer-port",
            "The trusted name at another port.",
            "https://registry.example.com:8443",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-default-port",
            "The trusted name with the port that is its default.",
            "https://registry.example.com:443",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-trailing-dot",
            "The trusted name with the dot of the root.",
            "https://registry.example.com.",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-capital",
            "The trusted name in another case.",
            "https://REGISTRY.example.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-scheme-capital",
            "The scheme in another case.",
            "HTTPS://registry.example.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-trailing-slash",
            "The trusted name with a slash.",
            "https://registry.example.com/",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-path",
            "The trusted name with a path.",
            "https://registry.example.com/tenant",
            "badge_invalid",
        ),
        named(
            "claims/issuer-query",
            "The trusted name with a query.",
            "https://registry.example.com?x",
            "badge_invalid",
        ),
        named(
            "claims/issuer-fragment",
            "The trusted name with a fragment.",
            "https://registry.example.com#x",
            "badge_invalid",
        ),
        named("claims/issuer-http", "The trusted name without TLS.", "http://registry.example.com", "badge_invalid"),
        named("claims/issuer-no-scheme", "The trusted name without a scheme.", "registry.example.com", "badge_invalid"),
        named(
            "claims/issuer-subdomain",
            "A name below the trusted one.",
            "https://x.registry.example.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-suffix",
            "A name that begins like the trusted one.",
            "https://registry.example.com.evil.example",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-prefix",
            "A name that ends like the trusted one.",
            "https://evilregistry.example.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-cyrillic",
            "A Cyrillic letter in the trusted name.",
            "https://r\u{435}gistry.example.com",
            "badge_invalid",
        ),
        named(
            "claims/issuer-punycode",
            "A name in Punycode that is shown like the trusted one.",
            "https://xn--rgistry-2fg.example.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-percent",
            "The trusted name percent-encoded.",
            "https://registry%2eexample.com",
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-backslash",
            "A backslash that some parsers take for a slash.",
            "https://evil.example\\@registry.example.com",
            "badge_invalid",
        ),
        named(
            "claims/issuer-spaced",
            "A space after the trusted name.",
            "https://registry.example.com ",
            "badge_invalid",
        ),
        named(
            "claims/issuer-nul",
            "A NUL after the trusted name.",
            "https://registry.example.com\0.evil.example",
            "badge_invalid",
        ),
        named(
            "claims/issuer-newline",
            "A newline after the trusted name.",
            "https://registry.example.com\n",
            "badge_invalid",
        ),
        named("claims/issuer-did", "The registry's name as a DID.", "did:web:registry.example.com", "badge_invalid"),
        named(
            "claims/issuer-is-the-subject",
            "The subject names itself as the issuer of level 4.",
            tokens::key(10).did().as_str(),
            "badge_invalid",
        ),
        named(
            "claims/issuer-of-the-audience",
            "The server itself is named as the issuer.",
            AUDIENCE,
            "issuer_untrusted",
        ),
        named(
            "claims/issuer-invalid",
            "A name that is reserved for tests.",
            "https://registry.invalid",
            "issuer_untrusted",
        ),
        invalid("claims/issuer-missing", "No issuer.", r#"{"iss":null}"#),
        invalid(
            "claims/issuer-array",
            "The issuer is an array with the trusted name in it.",
            r#"{"iss":["https://registry.example.com"]}"#,
        ),
        invalid("claims/issuer-empty", "An empty issuer.", r#"{"iss":""}"#),
        row(
            "claims/issuer-twice",
            "The issuer is there twice.",
            tokens::claims_text(|it| it.replacen('{', r#"{"iss":"https://evil.example","#, 1)),
            "badge_invalid",
        ),
    ]
}

fn audiences() -> Vec<Case> {
    let named = |id, why, audience: serde_json::Value| {
        row(id, why, tokens::claims(&json!({ "aud": audience }).to_string()), "audience_mismatch")
    };
    let wrong = |id, why, audience: serde_json::Value| {
        row(id, why, tokens::claims(&json!({ "aud": audience }).to_string()), "badge_invalid")
    };
    vec![
        named(
            "claims/audience-other",
            "A badge that is made out to another server.",
            json!(["https://other.example.com"]),
        ),
        named(
            "claims/audience-host",
            "A badge that is made out to what the `Host` header says.",
            json!(["http://127.0.0.1", "https://localhost", "localhost"]),
        ),
        named("claims/audience-empty-list", "An audience of nobody.", json!([])),
        named("claims/audience-star", "An audience of everybody.", json!(["*"])),
        named("claims/audience-empty-text", "An audience without a name.", json!([""])),
        named("claims/audience-trailing-slash", "Our name with a slash.", json!(["https://files.example.com/"])),
        named("claims/audience-capital", "Our name in another case.", json!(["https://FILES.example.com"])),
        named("claims/audience-port", "Our name at another port.", json!(["https://files.example.com:8443"])),
        named("claims/audience-http", "Our name without TLS.", json!(["http://files.example.com"])),
        named(
            "claims/audience-suffix",
            "A name that begins like ours.",
            json!(["https://files.example.com.evil.example"]),
        ),
        named("claims/audience-parent", "The name above ours.", json!(["https://example.com"])),
        named(
            "claims/audience-of-the-issuer",
            "The registry itself, which is us to nobody.",
            json!(["https://registry.example.com"]),
        ),
        named("claims/audience-our-did", "Our DID in place of our name.", json!([tokens::our_did().as_str()])),
        named(
            "claims/audience-joined",
            "Two names in one text.",
            json!(["https://other.example.com https://files.example.com"]),
        ),
        wrong(
            "claims/audience-text",
            "The audience as a text, which RFC 7519 allows and RFC-002 does not.",
            json!("https://files.example.com"),
        ),
        wrong("claims/audience-mixed", "A list with our name and a number.", json!(["https://files.example.com", 1])),
        wrong("claims/audience-nested", "A list in a list.", json!([["https://files.example.com"]])),
        wrong(
            "claims/audience-object",
            "An object with our name as a member.",
            json!({ "https://files.example.com": true }),
        ),
        row(
            "claims/audience-null",
            "The audience is null, which some take for none.",
            tokens::claims_text(|it| it.replacen(r#""aud":["https://files.example.com"]"#, r#""aud":null"#, 1)),
            "badge_invalid",
        ),
        row(
            "claims/audience-twice",
            "The audience is there twice.",
            tokens::claims_text(|it| it.replacen('{', r#"{"aud":["https://other.example.com"],"#, 1)),
            "badge_invalid",
        ),
        attack("claims/audience-none", "A badge that names no audience is a bearer token for every server.")
            .sends(call("level4").badge(tokens::claims(r#"{"aud":null}"#)))
            .want(denied("badge_unbound"))
            .on(in_a_session, denied("session_unbound")),
    ]
}

fn subjects() -> Vec<Case> {
    let named = |id, why, subject: &str, reason| {
        row(id, why, tokens::claims(&json!({ "sub": subject, "key": null }).to_string()), reason)
    };
    let other = tokens::key(12);
    let did = other.did();
    let fragment = format!("{did}#{}", did.as_str().trim_start_matches("did:key:"));
    vec![
        named(
            "claims/subject-of-another-host",
            "The registry vouches for an agent of another host.",
            "did:web:other.example.com:agents:x",
            "issuer_untrusted",
        ),
        named(
            "claims/subject-host-suffix",
            "The registry vouches for a host that begins like its own.",
            "did:web:registry.example.com.evil.example:agents:x",
            "issuer_untrusted",
        ),
        named(
            "claims/subject-host-port",
            "The registry vouches for another port of its host.",
            "did:web:registry.example.com%3A8443:agents:x",
            "issuer_untrusted",
        ),
        named(
            "claims/subject-server",
            "The subject is a server.",
            "did:web:registry.example.com:servers:files",
            "server_badge_presented",
        ),
        named(
            "claims/subject-server-deep",
            "The subject is a server, deeper in the path.",
            "did:web:registry.example.com:tenant:servers:files",
            "server_badge_presented",
        ),
        named(
            "claims/subject-path",
            "Dot segments in the subject's name.",
            "did:web:registry.example.com:..:agents:x",
            "badge_invalid",
        ),
        named(
            "claims/subject-slash",
            "A slash in the subject's name.",
            "did:web:registry.example.com/agents/x",
            "badge_invalid",
        ),
        named(
            "claims/subject-fragment",
            "A fragment in the subject's name.",
            "did:web:registry.example.com:agents:x#key",
            "badge_invalid",
        ),
        named("claims/subject-method", "A DID method that nobody knows.", "did:evil:x", "badge_invalid"),
        named(
            "claims/subject-capital",
            "The scheme of the DID in another case.",
            "DID:web:registry.example.com:agents:x",
            "badge_invalid",
        ),
        named(
            "claims/subject-newline",
            "A newline in the subject's name.",
            "did:web:registry.example.com:agents:x\nALLOW",
            "badge_invalid",
        ),
        named(
            "claims/subject-bidi",
            "A bidirectional override in the subject's name.",
            "did:web:registry.example.com:agents:\u{202e}x",
            "badge_invalid",
        ),
        named(
            "claims/subject-small-order",
            "A did:key whose key is a point of small order, under which anything verifies.",
            &small_order_did(),
            "badge_invalid",
        ),
        invalid("claims/subject-missing", "No subject.", r#"{"sub":null}"#),
        invalid(
            "claims/subject-array",
            "The subject is an array.",
            r#"{"sub":["did:web:registry.example.com:agents:x"]}"#,
        ),
        row(
            "claims/key-of-another",
            "The key is another agent's than the did:key.",
            tokens::claims(&json!({ "key": other.public_key().to_jwk() }).to_string()),
            "badge_invalid",
        ),
        invalid(
            "claims/key-small-order",
            "The key is a point of small order.",
            r#"{"key":{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#,
        ),
        invalid(
            "claims/key-private",
            "The key comes with its private half.",
            r#"{"key":{"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#,
        ),
        invalid(
            "claims/key-short",
            "The key is a byte too short.",
            r#"{"key":{"x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#,
        ),
        invalid("claims/key-curve", "The key is of another curve.", r#"{"key":{"crv":"X25519"}}"#),
        invalid("claims/assurance-without-proof", "`ial` 1 without the key that was proved.", r#"{"ial":"1"}"#),
        invalid("claims/assurance-number", "`ial` is a number.", r#"{"ial":1}"#),
        invalid("claims/assurance-2", "An assurance above all.", r#"{"ial":"2"}"#),
        invalid("claims/confirmation-without-assurance", "`cnf` without `ial` 1.", r#"{"ial":"0","cnf":{"kid":"x"}}"#),
        row(
            "claims/confirmation-of-another",
            "`cnf` names the key of another agent.",
            tokens::claims(&json!({ "ial": "1", "cnf": { "kid": fragment } }).to_string()),
            "badge_invalid",
        ),
    ]
}

fn small_order_did() -> String {
    let mut bytes = vec![0xed, 0x01];
    bytes.extend([1].into_iter().chain([0; 31]));
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

fn types() -> Vec<Case> {
    vec![
        invalid("claims/vc-missing", "No `vc`: any token of the registry would be a badge.", r#"{"vc":null}"#),
        invalid(
            "claims/vc-type-other",
            "Another credential of the registry.",
            r#"{"vc":{"type":["VerifiableCredential","ServerIdentity"]}}"#,
        ),
        invalid(
            "claims/vc-type-alone",
            "The credential lacks its general type.",
            r#"{"vc":{"type":["AgentIdentity"]}}"#,
        ),
        invalid("claims/vc-type-text", "The credential's type is a text.", r#"{"vc":{"type":"AgentIdentity"}}"#),
        invalid(
            "claims/vc-type-case",
            "The credential's type in another case.",
            r#"{"vc":{"type":["verifiablecredential","agentidentity"]}}"#,
        ),
        invalid(
            "claims/vc-subject-array",
            "Two credential subjects.",
            r#"{"vc":{"credentialSubject":[{"level":"4"},{"level":"1"}]}}"#,
        ),
        invalid("claims/jti-missing", "No id: the badge could not be revoked.", r#"{"jti":null}"#),
        invalid("claims/jti-number", "The id is a number.", r#"{"jti":7}"#),
        invalid("claims/jti-empty", "An empty id.", r#"{"jti":""}"#),
        row(
            "claims/names-in-another-case",
            "The claims' names in another case, which parsers that ignore case take.",
            tokens::claims_text(|it| it.replacen(r#""vc""#, r#""VC""#, 1)),
            "badge_invalid",
        ),
        row(
            "claims/type-missing-strict",
            "No `typ`, where the letter of RFC-002 counts.",
            tokens::header(r#"{"typ":null}"#),
            "badge_invalid",
        )
        .setup(Setup::Strict),
        row(
            "claims/assurance-missing-strict",
            "No `ial`, where the letter of RFC-002 counts.",
            tokens::claims(r#"{"ial":null}"#),
            "badge_invalid",
        )
        .setup(Setup::Strict),
        row(
            "claims/key-missing-strict",
            "No `key`, where the letter of RFC-002 counts.",
            tokens::claims(r#"{"key":null}"#),
            "badge_invalid",
        )
        .setup(Setup::Strict),
    ]
}
