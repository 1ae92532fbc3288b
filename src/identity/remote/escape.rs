//! Text of strangers as a part of a URL.

use fluent_uri::pct_enc::EString;
use fluent_uri::pct_enc::encoder::Data;

/// The longest id that is asked about: several times a UUID or a DID. It came in a badge, so its holder's issuer chose it.
pub const MAX_ID_BYTES: usize = 512;

/// `text` with everything escaped that is not unreserved (RFC 3986 §2.3).
pub(super) fn data(text: &str) -> String {
    let mut escaped = EString::<Data>::new();
    escaped.encode_str::<Data>(text);
    escaped.into_string()
}

/// `id` as one path segment; `None` for one that is empty or too long, and for dot segments, which URL parsers resolve
/// in every spelling: `/v1/badges/../status` would ask another question.
pub(super) fn segment(id: &str) -> Option<String> {
    let usable = !matches!(id, "" | "." | "..") && id.len() <= MAX_ID_BYTES;
    usable.then(|| data(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        let cases = [
            ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
            ("a/../../admin", "a%2F..%2F..%2Fadmin"),
            ("x?revoked=false#", "x%3Frevoked%3Dfalse%23"),
            ("%2e%2e", "%252e%252e"),
            ("...", "..."),
            ("a\\b\r\nHost: x", "a%5Cb%0D%0AHost%3A%20x"),
            ("did:web:a.example:agents:1", "did%3Aweb%3Aa.example%3Aagents%3A1"),
            ("\u{e9}", "%C3%A9"),
        ];
        for (id, want) in cases {
            assert_eq!(segment(id).as_deref(), Some(want), "{id}");
        }
        for id in ["", ".", "..", &"x".repeat(MAX_ID_BYTES + 1)] {
            assert_eq!(segment(id), None, "{id}");
        }
    }
}
