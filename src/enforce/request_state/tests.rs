use serde_json::json;

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);
const INVALID: DenyReason = DenyReason::RequestStateInvalid;

fn states(seeds: &[u8]) -> RequestStates {
    let keys = seeds.iter().map(|seed| RequestStateKey::from_bytes(&[*seed; 32])).collect();
    RequestStates::new(keys, Duration::from_secs(60)).unwrap()
}

fn alice() -> Owner {
    Owner::Badge { issuer: "https://registry.example.com".into(), subject: "did:web:a.example".into() }
}

fn digest(method: &str, target: &str, arguments: &Value) -> RequestDigest {
    RequestDigest::of(method, target, arguments.as_object())
}

fn request() -> RequestDigest {
    digest("tools/call", "pay", &json!({"to": "b", "amount": 5}))
}

fn reason(opened: Result<String, (DenyReason, &'static str)>) -> Result<String, DenyReason> {
    opened.map_err(|(reason, _)| reason)
}

/// Attack: a client edits what the server will read as its own state.
#[test]
fn s13_no_bit_of_an_envelope_can_be_changed() {
    let (states, alice) = (states(&[1]), alice());
    let holder = Holder::Owner(&alice);
    let sealed = states.seal("paid=no", holder, &request(), NOW).unwrap();
    assert_eq!(states.open(&sealed, holder, &request(), NOW).as_deref(), Ok("paid=no"));

    let envelope = base64url_decode(sealed.strip_prefix(PREFIX).unwrap()).unwrap();
    for bit in 0..envelope.len() * 8 {
        let mut altered = envelope.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let altered = format!("{PREFIX}{}", base64url(&altered));
        assert_eq!(reason(states.open(&altered, holder, &request(), NOW)), Err(INVALID), "bit {bit}");
    }
    for length in 0..sealed.len() {
        let (cut, _) = sealed.split_at(length);
        assert_eq!(reason(states.open(cut, holder, &request(), NOW)), Err(INVALID), "{length} bytes");
    }
    for other in [format!("{sealed}A"), format!("{sealed}="), format!(" {sealed}"), sealed.replace("rg1", "rg2")] {
        assert_eq!(reason(states.open(&other, holder, &request(), NOW)), Err(INVALID), "{other}");
    }
}

/// Attack: a state is brought back by somebody else, or by a caller whose names run together to the same text.
#[test]
fn s13_every_holder_has_its_own_envelopes() {
    let badge = |issuer: &str, subject: &str| Owner::Badge { issuer: issuer.into(), subject: subject.into() };
    let key = |name: &str| Owner::ApiKey { name: name.into() };
    let owners = [badge("ab", "c"), badge("a", "bc"), badge("", "abc"), key("abc"), key("")];
    let (one, two) = ([1; 32], [2; 32]);
    let mut holders: Vec<Holder<'_>> = owners.iter().map(Holder::Owner).collect();
    holders.extend([Holder::Session(&one), Holder::Session(&two), Holder::Anybody]);
    let states = states(&[1]);
    for (number, holder) in holders.iter().enumerate() {
        let sealed = states.seal("s", *holder, &request(), NOW).unwrap();
        for (other, presenter) in holders.iter().enumerate() {
            let opened = reason(states.open(&sealed, *presenter, &request(), NOW));
            assert_eq!(opened.is_ok(), number == other, "{holder:?} {presenter:?}");
        }
    }
}

/// Attack: the state of one request is brought back with another, which differs only for whoever reads it closely.
#[test]
fn s13_every_request_has_its_own_envelopes() {
    let none = RequestDigest::of("tools/call", "pay", None);
    let variants = [
        request(),
        none,
        digest("prompts/get", "pay", &json!({"to": "b", "amount": 5})),
        digest("tools/call", "pa", &json!({"to": "b", "amount": 5})),
        digest("tools/call", "pay", &json!({})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": 6})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": 5.0})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": "5"})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": null})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": true})),
        digest("tools/call", "pay", &json!({"to": "b", "amount": false})),
        // The same double, and not the same number (RFC 8785 writes both alike).
        digest("tools/call", "pay", &json!({"amount": 9_007_199_254_740_992_u64})),
        digest("tools/call", "pay", &json!({"amount": 9_007_199_254_740_993_u64})),
        digest("tools/call", "pay", &json!({"amount": u64::MAX})),
        digest("tools/call", "pay", &json!({"amount": -1})),
        // The same texts, divided otherwise.
        digest("tools/call", "pay", &json!({"a": ["b", "c"]})),
        digest("tools/call", "pay", &json!({"a": ["bc"]})),
        digest("tools/call", "pay", &json!({"a": [["b"], "c"]})),
        digest("tools/call", "pay", &json!({"a": [["b", "c"]]})),
        digest("tools/call", "pay", &json!({"a": {"b": "c"}})),
        digest("tools/call", "pay", &json!({"a": {}, "b": "c"})),
        digest("tools/call", "pay", &json!({"a": {"b": {}}, "c": {}})),
        digest("tools/call", "pay", &json!({"a": {"b": {}, "c": {}}})),
        digest("tools/cal", "lpay", &json!({"to": "b", "amount": 5})),
    ];
    let states = states(&[1]);
    for (number, request) in variants.iter().enumerate() {
        let sealed = states.seal("s", Holder::Anybody, request, NOW).unwrap();
        for (other, retry) in variants.iter().enumerate() {
            let opened = reason(states.open(&sealed, Holder::Anybody, retry, NOW));
            assert_eq!(opened.is_ok(), number == other, "{number} {other}");
        }
    }
}

#[test]
fn the_order_of_members_does_not_count() {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let one = digest("tools/call", "t", &parsed(r#"{"a":1,"b":{"c":[1,2],"d":"e"}}"#));
    let same = digest("tools/call", "t", &parsed(r#"{ "b": {"d":"\u0065","c":[1,2]}, "a": 1 }"#));
    let list = digest("tools/call", "t", &parsed(r#"{"a":1,"b":{"c":[2,1],"d":"e"}}"#));
    assert_eq!(one.0, same.0);
    assert_ne!(one.0, list.0);
}

/// Attack: a state that leaked is used days later.
#[test]
fn s13_an_envelope_expires() {
    let states = states(&[1]);
    let sealed = states.seal("s", Holder::Anybody, &request(), NOW).unwrap();
    let at = |seconds| {
        let now = NOW.saturating_add(Duration::from_secs(seconds));
        reason(states.open(&sealed, Holder::Anybody, &request(), now))
    };
    assert_eq!(at(59).as_deref(), Ok("s"));
    assert_eq!(at(59).as_deref(), Ok("s"), "as often as it is brought");
    assert_eq!(at(60), Err(DenyReason::RequestStateExpired));

    // Who has no right to it does not learn that it was one.
    let late = NOW.saturating_add(Duration::from_secs(60));
    let other = RequestDigest::of("tools/call", "other", None);
    assert_eq!(reason(states.open(&sealed, Holder::Anybody, &other, late)), Err(INVALID));
}

#[test]
fn s13_a_key_is_replaced_while_rounds_are_under_way() {
    let (old, both, new, stranger) = (states(&[1]), states(&[2, 1]), states(&[2]), states(&[3]));
    let of_old = old.seal("s", Holder::Anybody, &request(), NOW).unwrap();
    let of_both = both.seal("s", Holder::Anybody, &request(), NOW).unwrap();
    let opens = |states: &RequestStates, sealed: &str| states.open(sealed, Holder::Anybody, &request(), NOW).is_ok();
    assert!(opens(&both, &of_old) && opens(&both, &of_both) && opens(&new, &of_both));
    assert!(!opens(&new, &of_old) && !opens(&old, &of_both) && !opens(&stranger, &of_old));
    assert!(RequestStates::new(Vec::new(), Duration::from_secs(60)).is_none());
}

/// Attack: megabytes are sent as a state, to be decoded and hashed.
#[test]
fn s13_the_size_of_a_state_is_bounded_both_ways() {
    let states = states(&[1]);
    let longest = "x".repeat(MAX_REQUEST_STATE_BYTES);
    let sealed = states.seal(&longest, Holder::Anybody, &request(), NOW).unwrap();
    assert!(sealed.len() <= MAX_SEALED_BYTES);
    assert_eq!(states.open(&sealed, Holder::Anybody, &request(), NOW), Ok(longest.clone()));
    assert_eq!(states.seal(&format!("{longest}x"), Holder::Anybody, &request(), NOW), None);

    let long = format!("{PREFIX}{}", "A".repeat(MAX_SEALED_BYTES));
    let request = request();
    let opened = allocation_counter::measure(|| {
        assert_eq!(reason(states.open(&long, Holder::Anybody, &request, NOW)), Err(INVALID));
    });
    assert_eq!(opened.count_total, 0, "refused before it is decoded");
}

/// Computed with Python: `hmac.new(bytes([7] * 32), label + b"k" + (6).to_bytes(8, "big") + b"tester" + bytes([9] * 32) +
/// expiry + b"state", "sha256")`.
#[test]
fn the_tag_is_hmac_sha256() {
    let digest = RequestDigest([9; 32]);
    let owner = Owner::ApiKey { name: "tester".into() };
    let sealed = states(&[7]).seal("state", Holder::Owner(&owner), &digest, NOW).unwrap();
    assert_eq!(sealed, "rg1.AAAAAGjneDyxj4EzRlzbADNX2XfHb-kpGAwAzmBe6e72ltpGk0Wn83N0YXRl");
}

#[test]
fn a_call_that_ends_in_one_round_allocates_nothing_for_it() {
    let arguments = json!({"path": "/a", "lines": [1, 2.5, null, true], "more": {"z": "y"}});
    let arguments = arguments.as_object();
    let measured = allocation_counter::measure(|| {
        std::hint::black_box(RequestDigest::of("tools/call", "read_file", arguments));
    });
    assert_eq!(measured.count_total, 0);
}

#[test]
fn a_key_is_not_shown() {
    let key = RequestStateKey::from_bytes(&[0xab; 32]);
    let states = RequestStates::new(vec![key.clone()], Duration::from_secs(60)).unwrap();
    for shown in [format!("{key:?}"), format!("{states:?}")] {
        assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
    }
    assert_ne!(RequestStateKey::generate().unwrap().0, RequestStateKey::generate().unwrap().0);
}
