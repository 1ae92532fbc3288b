//! Byte-exact encodings that signatures and hashes depend on.
//!
//! In scope: base64url without padding (RFC 4648 §5), JSON parsing that refuses duplicate member names
//! (RFC 8259 §4 leaves them undefined; two parsers must never disagree about a signed token), canonical JSON
//! (RFC 8785). Out of scope: meaning.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The text is not strict base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding")]
#[non_exhaustive]
pub struct Base64UrlError;

/// Encodes `bytes` as base64url without padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url strictly: no padding, no white space, no other alphabet, spare bits zero.
///
/// # Errors
/// [`Base64UrlError`] for anything else.
pub fn base64url_decode(text: &str) -> Result<Vec<u8>, Base64UrlError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Base64UrlError)
}

/// The bytes are not one JSON value with unique member names.
#[derive(Debug, thiserror::Error)]
#[error("not JSON with unique member names")]
#[non_exhaustive]
pub struct UniqueJsonError(#[source] serde_json::Error);

/// Parses exactly one JSON value and refuses duplicate member names at every depth.
///
/// Nesting is bounded by `serde_json`'s own limit of 128; the caller bounds the number of bytes.
///
/// # Errors
/// [`UniqueJsonError`] when the bytes are not JSON, repeat a name, or carry anything after the value.
pub fn parse_unique_json(bytes: &[u8]) -> Result<Value, UniqueJsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = UniqueValue.deserialize(&mut deserializer).map_err(UniqueJsonError)?;
    deserializer.end().map_err(UniqueJsonError)?;
    Ok(value)
}

struct UniqueValue;

impl<'de> DeserializeSeed<'de> for UniqueValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value with unique member names")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(UniqueValue)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(UniqueValue)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member name"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// The value has no RFC 8785 form (a number that is not a finite double).
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form")]
#[non_exhaustive]
pub struct CanonicalJsonError(#[source] serde_json::Error);

/// The RFC 8785 (JCS) form of `value`.
///
/// # Errors
/// [`CanonicalJsonError`] when a number is not a finite IEEE 754 double.
pub fn canonical_json(value: &Value) -> Result<Vec<u8>, CanonicalJsonError> {
    canonical(value, is_plain(value))
}

/// The RFC 8785 (JCS) form of an object.
///
/// # Errors
/// As [`canonical_json`].
pub fn canonical_json_object(members: &Map<String, Value>) -> Result<Vec<u8>, CanonicalJsonError> {
    canonical(members, is_plain_object(members))
}

/// The canonicalizer costs about 10 us a kilobyte, and for nearly every real value it gives what `serde_json` gives.
fn canonical(value: &impl serde::Serialize, plain: bool) -> Result<Vec<u8>, CanonicalJsonError> {
    if plain { serde_json::to_vec(value) } else { serde_json_canonicalizer::to_vec(value) }.map_err(CanonicalJsonError)
}

/// Whether `serde_json` writes `value` in its RFC 8785 form: names are ASCII and in order (which an application can
/// change by `serde_json/preserve_order`), and numbers are integers that a double holds exactly.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => is_exact_integer(number),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => is_plain_object(members),
    }
}

fn is_plain_object(members: &Map<String, Value>) -> bool {
    members.keys().is_sorted() && members.iter().all(|(name, value)| name.is_ascii() && is_plain(value))
}

/// The largest integer that no other integer shares its double with: 2^53 - 1 (RFC 8785 §3.2.2.3).
pub(crate) const MAX_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// A count that RFC 8785, which writes numbers as doubles, does not round.
pub(crate) fn exact_count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&count| count <= MAX_EXACT_INTEGER)
}

fn is_exact_integer(number: &Number) -> bool {
    number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= MAX_EXACT_INTEGER)
}

/// Whether `value` holds a number that may have been an integer beyond 2^53 - 1, at any depth.
///
/// RFC 8785 writes numbers as doubles, so two such integers can have the same canonical form. `serde_json` reads an
/// integer of more than 64 bits as a floating-point number; every number of that size therefore counts.
#[must_use]
pub fn has_inexact_numbers(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => false,
        Value::Number(number) => {
            // 2^53 as a double; exact by construction
            let limit = 9_007_199_254_740_992.0;
            !is_exact_integer(number) && number.as_f64().is_none_or(|float| float.abs() >= limit)
        }
        Value::Array(items) => items.iter().any(has_inexact_numbers),
        Value::Object(members) => members.values().any(has_inexact_numbers),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(base64url(b""), "");
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(base64url_decode("-_8"), Ok(vec![0xfb, 0xff]));
        for bad in ["-_8=", "+/8", "-_9", "-_8 ", "\n", "A", "-_8\0", "é"] {
            assert_eq!(base64url_decode(bad), Err(Base64UrlError), "{bad:?}");
        }
    }

    #[test]
    fn unique_json_is_one_value_without_repeated_names() {
        let good =
            [(r#"{"a":1,"b":{"a":2}}"#, json!({"a": 1, "b": {"a": 2}})), (" [] ", json!([])), ("1.5", json!(1.5))];
        for (text, expected) in good {
            assert_eq!(parse_unique_json(text.as_bytes()).unwrap(), expected, "{text}");
        }
        let deep = "[".repeat(200);
        let bad = [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"a":2}}]"#,
            r#"{"a":1,"\u0061":2}"#,
            "{} {}",
            "",
            "1e400",
            r#""\ud800""#,
            &deep,
        ];
        for text in bad {
            let shown = parse_unique_json(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(shown, "not JSON with unique member names", "{text}");
        }
        assert!(matches!(parse_unique_json(b"\"\xff\""), Err(UniqueJsonError(_))));
    }

    #[test]
    fn the_fast_way_is_taken_for_ascii_names_and_exact_integers_only() {
        let most = i64::MAX >> 10;
        let cases = [
            (json!({"a": [1, -1, {"b": "é\u{7f}\n"}, null, true]}), true),
            (json!(most), true),
            (json!(-most), true),
            (json!(most.saturating_add(1)), false),
            (json!((-most).saturating_sub(1)), false),
            (json!(u64::MAX), false),
            (json!(1.0), false),
            (json!({"é": 1}), false),
            (json!([{"a": {"é": 1}}]), false),
        ];
        for (value, plain) in cases {
            assert_eq!(is_plain(&value), plain, "{value}");
        }
    }

    #[test]
    fn integers_that_share_a_double_are_flagged() {
        let cases = [
            ("9007199254740991", false),
            ("9007199254740992", true),
            ("-9007199254740993", true),
            ("18446744073709551615", true),
            ("123456789012345678901234567890", true),
            ("9007199254740991.0", false),
            ("1e16", true),
            ("0.1", false),
            ("-0", false),
            (r#"{"a":[{"b":9007199254740993}]}"#, true),
            (r#"{"9007199254740993":"9007199254740993"}"#, false),
        ];
        for (text, flagged) in cases {
            let value = parse_unique_json(text.as_bytes()).unwrap();
            assert_eq!(has_inexact_numbers(&value), flagged, "{text}");
        }
        let (one, other) = (json!(1_u64 << 53), json!((1_u64 << 53) | 1));
        assert_eq!(canonical_json(&one).unwrap(), canonical_json(&other).unwrap());
    }
}
