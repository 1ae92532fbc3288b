//! The peer's hash of a call's arguments: `sha256:` over what Python's
//! `json.dumps(value, sort_keys=True, separators=(",", ":"))` writes.
//!
//! It differs from RFC 8785: everything outside printable ASCII is escaped, names are sorted by code point, integers
//! are exact at any size, and floating-point numbers look as Python prints them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::encoding::base64url;

/// Longest text that [`compute_params_hash_json`] reads: no MCP message that anybody sends is larger, and sorting keeps
/// a few copies of it.
pub const MAX_PARAMS_JSON_BYTES: usize = 8 << 20;

/// Deepest nesting that [`compute_params_hash_json`] reads, as `serde_json` has it for values.
const MAX_PARAMS_DEPTH: usize = 128;

/// The peer's hash of `arguments`: `sha256:` and 43 characters of base64url.
///
/// Anybody can find small arguments again by hashing guesses; the log's own keyed form
/// ([`EvidenceLog::params_hash`](super::EvidenceLog::params_hash)) does not have that weakness. A value that
/// `serde_json` parsed has lost the digits of integers beyond 64 bits and the difference between `-0` and `-0.0`; where
/// that matters hash the text with [`compute_params_hash_json`].
///
/// ```
/// use rmcp_guard::evidence::compute_params_hash;
///
/// let arguments = serde_json::json!({"ratio": 1});
/// assert_eq!(compute_params_hash(&arguments), "sha256:KBeqj3oTvXt6SYIbfLyENb_KwxilB962ef9VCI2UuBs");
/// ```
#[must_use]
pub fn compute_params_hash(arguments: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, arguments);
    digest(&out)
}

/// [`compute_params_hash`] of a map of arguments.
pub(super) fn plain_params_hash(arguments: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_map(&mut out, arguments);
    digest(&out)
}

/// The peer's hash of arguments given as JSON text, every digit and escape kept. Of members with the same name the last
/// one counts, as the peer has it.
///
/// # Errors
/// [`ParamsJsonError`] when the text is not one JSON value, is longer than [`MAX_PARAMS_JSON_BYTES`] or nested deeper
/// than 128.
pub fn compute_params_hash_json(text: &str) -> Result<String, ParamsJsonError> {
    peer_canonical_json(text).map(|canonical| digest(&canonical))
}

/// The text is not JSON, too long, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments are not JSON, too long or nested too deeply")]
#[non_exhaustive]
pub struct ParamsJsonError;

fn digest(canonical: &str) -> String {
    format!("sha256:{}", base64url(&Sha256::digest(canonical)))
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, &number.to_string()),
        Value::String(text) => write_string(out, text.chars().map(u32::from)),
        Value::Array(items) => write_list(out, '[', ']', items, write_value),
        Value::Object(members) => write_map(out, members),
    }
}

fn write_map(out: &mut String, members: &Map<String, Value>) {
    // UTF-8 sorts as code points do
    let sorted: BTreeMap<_, _> = members.iter().collect();
    write_list(out, '{', '}', sorted, |out, (name, value)| {
        write_string(out, name.chars().map(u32::from));
        out.push(':');
        write_value(out, value);
    });
}

fn write_list<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    mut write_item: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_item(out, item);
    }
    out.push(close);
}

/// Code points rather than characters, since the peer keeps half a surrogate pair as it is.
fn write_string(out: &mut String, code_points: impl IntoIterator<Item = u32>) {
    out.push('"');
    for code_point in code_points {
        match char::from_u32(code_point) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{9}') => out.push_str("\\t"),
            Some('\u{a}') => out.push_str("\\n"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\u{d}') => out.push_str("\\r"),
            Some(printable @ ' '..='~') => out.push(printable),
            Some(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write_escape(out, u32::from(*unit));
                }
            }
            None => write_escape(out, code_point),
        }
    }
    out.push('"');
}

fn write_escape(out: &mut String, unit: u32) {
    // writing to a String does not fail
    let _ = write!(out, "\\u{unit:04x}");
}

/// A JSON number: an integer keeps its digits, anything else becomes a double as Python prints it.
fn write_number(out: &mut String, text: &str) {
    if text.contains(['.', 'e', 'E']) {
        // every JSON number is one of Rust's
        write_float(out, text.parse().unwrap_or(f64::NAN));
    } else {
        out.push_str(if text == "-0" { "0" } else { text });
    }
}

/// Python's `repr`: the shortest digits that round-trip, positional while -4 <= exponent < 16.
fn write_float(out: &mut String, float: f64) {
    if float.is_nan() {
        return out.push_str("NaN");
    }
    if float.is_sign_negative() {
        out.push('-');
    }
    if float.is_infinite() {
        return out.push_str("Infinity");
    }
    let (digits, point) = shortest_digits(float.abs());
    let exponent = point.saturating_sub(1);
    // writing to a String does not fail
    let _ = if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
        let dot = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{first}{dot}{rest}e{sign}{:02}", exponent.unsigned_abs())
    } else if let Ok(whole) = usize::try_from(point)
        && whole > 0
    {
        let (whole, fraction) = digits.split_at_checked(whole).map_or_else(
            || (format!("{digits:0<whole$}"), "0"),
            |(whole, fraction)| (whole.to_owned(), if fraction.is_empty() { "0" } else { fraction }),
        );
        write!(out, "{whole}.{fraction}")
    } else {
        let zeros = usize::try_from(point.unsigned_abs()).unwrap_or_default();
        write!(out, "0.{:0<zeros$}{digits}", "")
    };
}

/// The shortest digits that round-trip, and where the point is in them; `0.0` is `("0", 1)`.
///
/// Where two are equally short and near, Python takes the even one, and so does RFC 8785 by way of ECMAScript
/// (`Number::toString`, note 2). Rust's own formatting takes the greater one.
fn shortest_digits(float: f64) -> (String, i32) {
    let text = crate::encoding::canonical_json(&Value::from(float)).unwrap_or_default();
    let text = String::from_utf8(text).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let zeros = i32::try_from(all.len().saturating_sub(digits.len())).unwrap_or_default();
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return ("0".to_owned(), 1);
    }
    let point = i32::try_from(whole.len()).unwrap_or_default();
    let point = point.saturating_add(exponent.parse().unwrap_or_default()).saturating_sub(zeros);
    (digits.to_owned(), point)
}

/// The peer's canonical text of JSON `text`.
fn peer_canonical_json(text: &str) -> Result<String, ParamsJsonError> {
    // the grammar is serde_json's to check; the reader below only has to find its way in valid JSON
    if text.len() > MAX_PARAMS_JSON_BYTES || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err(ParamsJsonError);
    }
    let mut out = String::with_capacity(text.len());
    Reader { rest: text }.value(&mut out, MAX_PARAMS_DEPTH)?;
    Ok(out)
}

/// Reads valid JSON without turning its numbers and escapes into something else.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Skips white space, then takes `token` if it is next.
    fn take(&mut self, token: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Result<char, ParamsJsonError> {
        let mut characters = self.rest.chars();
        let character = characters.next().ok_or(ParamsJsonError)?;
        self.rest = characters.as_str();
        Ok(character)
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<(), ParamsJsonError> {
        let inner = depth.checked_sub(1).ok_or(ParamsJsonError)?;
        if self.take('{') {
            let mut members = BTreeMap::new();
            while !self.take('}') {
                self.take(',');
                self.take('"');
                let name = self.string()?;
                self.take(':');
                let mut value = String::new();
                self.value(&mut value, inner)?;
                members.insert(name, value);
            }
            write_list(out, '{', '}', members, |out, (name, value)| {
                write_string(out, name);
                out.push(':');
                out.push_str(&value);
            });
        } else if self.take('[') {
            out.push('[');
            while !self.take(']') {
                if self.take(',') {
                    out.push(',');
                }
                self.value(out, inner)?;
            }
            out.push(']');
        } else if self.take('"') {
            write_string(out, self.string()?);
        } else {
            let (scalar, rest) = self.scalar();
            self.rest = rest;
            if scalar.starts_with(['t', 'f', 'n']) { out.push_str(scalar) } else { write_number(out, scalar) }
        }
        Ok(())
    }

    /// A number or a literal, up to the next structural character or white space.
    fn scalar(&self) -> (&'a str, &'a str) {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len());
        self.rest.split_at_checked(end).unwrap_or((self.rest, ""))
    }

    /// The code points of a string whose opening quote is taken.
    fn string(&mut self) -> Result<Vec<u32>, ParamsJsonError> {
        let mut code_points = Vec::new();
        loop {
            let code_point = match self.next()? {
                '"' => return Ok(code_points),
                '\\' => match self.next()? {
                    'b' => 0x8,
                    't' => 0x9,
                    'n' => 0xa,
                    'f' => 0xc,
                    'r' => 0xd,
                    'u' => self.unicode_escape()?,
                    other => u32::from(other),
                },
                other => u32::from(other),
            };
            code_points.push(code_point);
        }
    }

    /// The code point of `\uXXXX` behind its `u`, joined with a low surrogate that follows a high one.
    fn unicode_escape(&mut self) -> Result<u32, ParamsJsonError> {
        let high = self.hex()?;
        if let 0xd800..0xdc00 = high
            && let Some(rest) = self.rest.strip_prefix("\\u")
        {
            let mut ahead = Reader { rest };
            let low = ahead.hex()?;
            if let Some(Ok(joined)) = char::decode_utf16([high, low]).next() {
                self.rest = ahead.rest;
                return Ok(u32::from(joined));
            }
        }
        Ok(u32::from(high))
    }

    fn hex(&mut self) -> Result<u16, ParamsJsonError> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or(ParamsJsonError)?;
        self.rest = rest;
        u16::from_str_radix(digits, 16).map_err(|_| ParamsJsonError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3 prints for the number on the left.
    #[test]
    fn numbers_look_as_python_prints_them() {
        let cases = [
            ("0", "0"),
            ("-0", "0"),
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            ("1E2", "100.0"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1e+5", "100000.0"),
            ("-1.5e300", "-1.5e+300"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("1e-400", "0.0"),
            ("5e-324", "5e-324"),
            ("0.0001", "0.0001"),
            ("0.00012", "0.00012"),
            ("0.00001", "1e-05"),
            ("0.125", "0.125"),
            ("1.5", "1.5"),
            ("1e22", "1e+22"),
            ("123456789012345680000.5", "1.2345678901234568e+20"),
            // two shortest forms are equally near: the even one
            ("1.21965687604730315e15", "1219656876047303.2"),
        ];
        for (text, expected) in cases {
            assert_eq!(peer_canonical_json(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn strings_and_names_keep_what_a_parser_would_mend() {
        let cases = [
            (r#""\ud800""#, r#""\ud800""#),
            (r#""\uD83D\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ud83d\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ude00\ud83d""#),
            (r#""\ud83d\n""#, r#""\ud83d\n""#),
            (r#""\/\u002f\u007f""#, r#""//\u007f""#),
            (r#" { "b" : 1 , "a" : [ ] , "b" : { } } "#, r#"{"a":[],"b":{}}"#),
            (r#"{"\ud83d\ude00":1,"\uffff":2,"\ud800":3}"#, r#"{"\ud800":3,"\uffff":2,"\ud83d\ude00":1}"#),
            ("[true,false,null]", "[true,false,null]"),
        ];
        for (text, expected) in cases {
            assert_eq!(peer_canonical_json(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_or_too_much_is_refused() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let long = format!("\"{}\"", "x".repeat(MAX_PARAMS_JSON_BYTES));
        let texts = ["", "{", "[1,]", "{\"a\"}", "01", "1.", "NaN", "\"\n\"", "1 2", &deep(129), &deep(100_000), &long];
        for text in texts {
            assert_eq!(peer_canonical_json(text), Err(ParamsJsonError), "{}", text.get(..20).unwrap_or(text));
        }
        assert_eq!(peer_canonical_json(&deep(128)), Ok(deep(128)));
    }
}
