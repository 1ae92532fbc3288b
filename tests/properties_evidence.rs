//! Laws of the encodings and of the record, over inputs that nobody chose by hand.

use proptest::prelude::*;
use rmcp_guard::encoding::{base64url, base64url_decode, canonical_json, has_inexact_numbers, parse_unique_json};
use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::verify::{TlogProof, Verifier};
use rmcp_guard::evidence::{
    DecisionRecord, EvidenceLog, MAX_RECORD_BYTES, Record, compute_params_hash, compute_params_hash_json,
    escape_for_display,
};
use serde_json::{Map, Value};

/// JSON values as `serde_json` reads them: what a number is follows from its text.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-9_007_199_254_740_993_i64..9_007_199_254_740_993).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name = prop_oneof!["[a-z]{0,4}", "[\u{e000}-\u{ffff}\u{10000}-\u{10010}]{0,2}", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_json_is_what_the_canonicalizer_gives(value in json()) {
        prop_assert_eq!(canonical_json(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
    }

    #[test]
    fn canonical_json_is_a_fixed_point(value in json()) {
        let once = canonical_json(&value).unwrap();
        let again = canonical_json(&parse_unique_json(&once).unwrap()).unwrap();
        prop_assert_eq!(once, again);
    }

    #[test]
    fn every_integer_beyond_the_exact_range_is_flagged(integer in any::<i64>(), depth in 0..4) {
        let value = (0..depth).fold(Value::from(integer), |inner, _| Value::from(vec![inner]));
        prop_assert_eq!(has_inexact_numbers(&value), integer.unsigned_abs() > (1 << 53) - 1);
    }

    #[test]
    fn params_hash_of_text_and_value_agree(value in json()) {
        let text = value.to_string();
        prop_assert_eq!(compute_params_hash_json(&text), Ok(compute_params_hash(&value)));
        let spaced = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(compute_params_hash_json(&spaced), Ok(compute_params_hash(&value)));
    }

    #[test]
    fn params_hash_takes_exactly_the_texts_that_are_json(text in r#"[\[\]{},:"\\ud801a.eE+\- tfnrul]{0,24}"#) {
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(compute_params_hash_json(&text).is_ok(), valid);
    }

    #[test]
    fn base64url_round_trips_and_has_one_spelling(bytes in any::<Vec<u8>>(), text in "[A-Za-z0-9_=+/ -]{0,12}") {
        prop_assert_eq!(base64url_decode(&base64url(&bytes)), Ok(bytes));
        if let Ok(decoded) = base64url_decode(&text) {
            prop_assert_eq!(base64url(&decoded), text);
        }
    }

    #[test]
    fn unique_json_reads_what_serde_json_reads(value in json()) {
        prop_assert_eq!(parse_unique_json(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn what_is_displayed_holds_no_control_or_bidi_character(text in any::<String>()) {
        let shown = escape_for_display(&text);
        let hostile = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        prop_assert!(!shown.chars().any(hostile));
    }

    #[test]
    fn texts_that_differ_are_displayed_differently(left in any::<String>(), right in any::<String>()) {
        prop_assume!(left != right);
        prop_assert_ne!(escape_for_display(&left), escape_for_display(&right));
    }

    #[test]
    fn a_record_is_one_canonical_line_whatever_the_caller_sends(
        target in any::<String>(),
        claimed in any::<String>(),
        repeat in 1_usize..400,
    ) {
        let log = EvidenceLog::in_memory();
        let mut record = DecisionRecord::default();
        record.target = target.repeat(repeat);
        record.claimed_issuer = Some(claimed.repeat(repeat));
        record.claimed_subject = Some("\u{1}".repeat(repeat.saturating_mul(100)));
        let _ = log.append(&mut log.reserve(1).unwrap(), &Record::Decision(record)).unwrap();
        let stored = log.records().unwrap().remove(0);
        let line = canonical_json(&stored).unwrap();
        prop_assert!(line.len() <= MAX_RECORD_BYTES && !line.contains(&b'\n'));
    }

    #[test]
    fn keyed_hashes_join_equal_arguments_and_nothing_else(left in json(), right in json()) {
        let log = EvidenceLog::in_memory();
        let hash = |value: &Value| {
            let arguments: Map<_, _> = [("a".to_owned(), value.clone())].into_iter().collect();
            log.params_hash(Some(&arguments))
        };
        let same = canonical_json(&left).unwrap() == canonical_json(&right).unwrap();
        prop_assert_eq!(hash(&left) == hash(&right), same);
    }
}

/// Attack: any change to a proof, to the checkpoint and the cosignature in it, or to the leaf that it is of.
#[test]
fn every_flipped_bit_of_a_proof_or_of_its_leaf_is_refused() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/notes.json")).unwrap();
    let key = |name: &str| vectors[name].as_str().unwrap().parse().unwrap();
    let verifier = Verifier::new([key("log_vkey")]).with_witnesses([key("witness_vkey")], 1).unwrap();
    // what an application puts beside a proof is covered by nothing
    let plain = |proof: &&Value| !proof["proof"].as_str().unwrap().contains("extra");
    let vector = vectors["proofs"].as_array().unwrap().iter().filter(plain).max_by_key(|proof| proof["size"].as_u64());
    let (proof, leaf) = (vector.unwrap()["proof"].as_str().unwrap(), vector.unwrap()["leaf"].as_str().unwrap());
    let verify = |proof: &[u8], leaf: &Hash| {
        TlogProof::parse(proof).is_ok_and(|proof| verifier.verify_proof(&proof, leaf).is_ok())
    };
    let leaf: Hash = leaf.parse().unwrap();
    assert!(verify(proof.as_bytes(), &leaf));
    for bit in 0..proof.len() * 8 {
        let mut flipped = proof.as_bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify(&flipped, &leaf), "bit {} of byte {}", bit % 8, bit / 8);
    }
    for bit in 0..256 {
        let mut flipped = *leaf.as_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify(proof.as_bytes(), &Hash::new(flipped)), "bit {bit} of the leaf");
    }
}
