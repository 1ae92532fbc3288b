use serde_json::{Value, json};

use super::*;
use crate::identity::key::SigningKey;
use crate::identity::server::Channel;

const WEB: &str = "did:web:example.com:agents:a";

type Change = fn(&mut Value);

fn multibase(seed: u8) -> String {
    SigningKey::from_seed(&[seed; 32]).did().as_str().strip_prefix("did:key:").unwrap().to_owned()
}

fn key(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public_key()
}

#[test]
fn did_web_forms_that_are_read() {
    let cases = [
        ("did:web:example.com", "https://example.com/.well-known/did.json"),
        ("did:web:Example.COM%3A443", "https://example.com:443/.well-known/did.json"),
        ("did:web:xn--bcher-kva.example:A_b.c-d", "https://xn--bcher-kva.example/A_b.c-d/did.json"),
        ("did:web:example.com:a%20b", ""),
        ("did:web:example.com:a%C3%BC", "https://example.com/a%C3%BC/did.json"),
        ("did:web:example.com:...", "https://example.com/.../did.json"),
        ("did:web:localhost:a", "http://localhost/a/did.json"),
    ];
    for (input, want) in cases {
        let url = Did::parse(input).ok().and_then(|did| did.web().map(DidWeb::document_url));
        assert_eq!(url.unwrap_or_default(), want, "{input}");
    }
}

/// A DID that parses and whose document has an address too long to ask for would be a subject that nobody can check.
#[test]
fn the_longest_did_has_a_document_that_can_be_asked_for() {
    for start in ["did:web:example.com:", "did:web:example.com%3A8443:", "did:web:localhost:a:", "did:web:a.b:c:d:"] {
        let of = |bytes: usize| format!("{start}{}", "a".repeat(bytes - start.len()));
        let url = Did::parse(&of(MAX_DID_BYTES)).unwrap().web().unwrap().document_url();
        assert!(Channel::http(&url).is_ok(), "{} bytes", url.len());
        assert_eq!(Did::parse(&of(MAX_DID_BYTES + 1)), Err(DidParseError("too long")));
    }
}

#[test]
fn did_web_forms_that_are_refused() {
    let long_label = format!("did:web:{}.example", "a".repeat(64));
    let long_host = format!("did:web:{}example", "a.".repeat(130));
    let long = format!("did:web:example.com:{}", "a".repeat(MAX_DID_BYTES));
    let cases = [
        long_label.as_str(),
        &long_host,
        &long,
        "",
        "did:",
        "did:web:",
        "did:WEB:example.com",
        " did:web:example.com",
        "did:web:example.com ",
        "did:web:.",
        "did:web:example.com.",
        "did:web:.example.com",
        "did:web:a..b",
        "did:web:-a.example",
        "did:web:a-.example",
        "did:web:a_b.example",
        "did:web:b\u{fc}cher.example",
        "did:web:example.com\u{ff0e}evil",
        "did:web:127.0.0.1",
        "did:web:127.1",
        "did:web:2130706433",
        "did:web:0x7f000001",
        "did:web:a.0X7F",
        "did:web:0x",
        "did:web:1.2.3.4%3A80",
        "did:web:[::1]",
        "did:web:example.com%3A",
        "did:web:example.com%3A080",
        "did:web:example.com%3A65536",
        "did:web:example.com%3A+80",
        "did:web:example.com%3A80%3A81",
        "did:web:user%40example.com",
        "did:web:user@example.com",
        "did:web:example%2Ecom",
        "did:web:example.com%00",
        "did:web:%3A80",
        "did:web:example.com:%2e%2E",
        "did:web:example.com:%2e",
        "did:web:example.com:.",
        "did:web:example.com:a%2Fb",
        "did:web:example.com:a%5cb",
        "did:web:example.com:a%00",
        "did:web:example.com:a%0a",
        "did:web:example.com:a%7f",
        "did:web:example.com:a%3Fb",
        "did:web:example.com:a%23b",
        "did:web:example.com:a%40b",
        "did:web:example.com:a%2",
        "did:web:example.com:a%zz",
        "did:web:example.com:a/b",
        "did:web:example.com/a",
        "did:web:example.com:a#b",
        "did:web:example.com:a\\b",
        "did:web:example.com:a~b",
        "did:web:example.com:\u{fc}",
    ];
    for input in cases {
        assert!(Did::parse(input).is_err(), "{input}");
    }
}

#[test]
fn equality_ignores_the_case_of_the_host_only() {
    let same = |one: &str, two: &str| Did::parse(one).unwrap() == Did::parse(two).unwrap();
    assert!(same("did:web:Example.com:A", "did:web:example.COM:A"));
    assert!(!same("did:web:example.com:A", "did:web:example.com:a"));
    assert!(!same("did:web:example.com", "did:web:example.com%3A443"));
    assert!(!same("did:web:example.com", SigningKey::from_seed(&[1; 32]).did().as_str()));
    assert_eq!(Did::parse("did:web:Example.com").unwrap().as_str(), "did:web:Example.com");
}

#[test]
fn registry_ids_follow_the_first_of_their_segments() {
    let cases = [
        ("did:web:e.com:agents:a1", Some("a1"), None),
        ("did:web:e.com:x:servers:s1", None, Some("s1")),
        ("did:web:e.com:servers:agents:a1", None, Some("agents")),
        ("did:web:e.com:agents", None, None),
        ("did:web:e.com", None, None),
    ];
    for (did, agent, server) in cases {
        let did = Did::parse(did).unwrap();
        let web = did.web().unwrap();
        assert_eq!((web.agent_id(), web.server_id()), (agent, server), "{did}");
    }
}

#[test]
fn a_small_order_key_has_no_did() {
    let did = format!("did:key:z{}", bs58::encode([&[0xed, 0x01][..], &[0; 32]].concat()).into_string());
    assert_eq!(Did::parse(&did), Err(DidParseError("the key is not a usable Ed25519 key")));
}

fn document(change: impl FnOnce(&mut Value)) -> Result<DidDocument, DidDocumentError> {
    let mut document = json!({
        "id": WEB,
        "verificationMethod": [
            {"id": format!("{WEB}#key-1"), "type": "Ed25519VerificationKey2020", "controller": WEB, "publicKeyMultibase": multibase(1)},
            {"id": "#key-2", "type": "JsonWebKey2020", "controller": WEB, "publicKeyJwk": key(2).to_jwk()},
            {"id": "#other", "type": "X25519KeyAgreementKey2020", "controller": WEB, "publicKeyMultibase": "z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"},
        ],
        "authentication": ["#key-1", {"id": "#key-3", "type": "Multikey", "controller": WEB, "publicKeyMultibase": multibase(3)}],
    });
    change(&mut document);
    DidDocument::parse(&Did::parse(WEB).unwrap(), document.to_string().as_bytes())
}

#[test]
fn a_document_gives_its_keys_by_full_url() {
    let document = document(|_| ()).unwrap();
    let url = |fragment: &str| format!("{WEB}#{fragment}");
    assert_eq!(document.method(&url("key-1")), Some(&key(1)));
    assert_eq!(document.method(&url("key-2")), Some(&key(2)));
    assert_eq!(document.method(&url("key-3")), Some(&key(3)));
    assert_eq!(document.method("did:web:EXAMPLE.com:agents:a#key-1"), Some(&key(1)));
    assert_eq!(document.method(&url("other")), None);
    for kid in ["#key-1", "key-1", WEB, "did:web:example.com:agents:b#key-1", &url("")] {
        assert_eq!(document.method(kid), None, "{kid}");
    }
    assert_eq!(document.authentication_method(&url("key-1")), Some(&key(1)));
    assert_eq!(document.authentication_method(&url("key-2")), None, "not listed in `authentication`");
    assert_eq!(document.authentication_method(&url("key-3")), Some(&key(3)));
}

#[test]
fn a_foreign_or_contradictory_method_is_no_key() {
    let kid = format!("{WEB}#key-1");
    let cases: [(&str, Change); 5] = [
        ("controller", |d| d["verificationMethod"][0]["controller"] = "did:web:example.com:agents:b".into()),
        ("no controller", |d| drop(d["verificationMethod"][0].as_object_mut().unwrap().remove("controller"))),
        ("other DID", |d| d["verificationMethod"][0]["id"] = "did:web:example.com:agents:b#key-1".into()),
        ("wrong form", |d| d["verificationMethod"][0]["type"] = "JsonWebKey2020".into()),
        ("two keys", |d| {
            d["verificationMethod"][0]["type"] = "Multikey".into();
            d["verificationMethod"][0]["publicKeyJwk"] = key(2).to_jwk();
        }),
    ];
    for (name, change) in cases {
        assert_eq!(document(change).unwrap().method(&kid), None, "{name}");
    }
}

#[test]
fn a_document_that_breaks_a_rule_is_refused() {
    let cases: [(&str, Change, &str); 7] = [
        (
            "too many methods",
            |d| {
                let methods = (0..=MAX_VERIFICATION_METHODS).map(|number| json!({"id": format!("#{number}")}));
                d["verificationMethod"] = methods.collect();
            },
            "more than 100 verification methods",
        ),
        ("id", |d| d["id"] = "did:web:example.com:agents:b".into(), "its `id` is not the DID"),
        ("no id", |d| drop(d.as_object_mut().unwrap().remove("id")), "its `id` is not the DID"),
        (
            "one id twice",
            |d| d["verificationMethod"][1]["id"] = "#key-1".into(),
            "two verification methods have one `id`",
        ),
        (
            "embedded again",
            |d| d["authentication"][1]["id"] = "#key-1".into(),
            "two verification methods have one `id`",
        ),
        ("method without id", |d| d["verificationMethod"][0]["id"] = 1.into(), "a verification method has no `id`"),
        (
            "no list",
            |d| d["authentication"] = "#key-1".into(),
            "`verificationMethod` or `authentication` is not an array",
        ),
    ];
    for (name, change, want) in cases {
        assert_eq!(document(change).unwrap_err().to_string(), format!("not a usable DID document: {want}"), "{name}");
    }
    let did = Did::parse(WEB).unwrap();
    for bytes in [&b"[]"[..], b"", br#"{"id":"x","id":"x"}"#, &vec![b' '; MAX_DID_DOCUMENT_BYTES + 1]] {
        assert!(DidDocument::parse(&did, bytes).is_err());
    }
}

#[test]
fn the_document_of_a_did_key_follows_from_it() {
    let did = SigningKey::from_seed(&[1; 32]).did();
    let document = DidDocument::of_did_key(&did).unwrap();
    assert_eq!(document.authentication_method(&did.key_id().unwrap()), Some(&key(1)));
    assert!(DidDocument::of_did_key(&Did::parse(WEB).unwrap()).is_none());
}
