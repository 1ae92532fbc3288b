//! Text that somebody else chose: bounded before it is recorded, made harmless before it is shown.

use std::fmt::Write as _;

/// Longest text of a record's member, in bytes. Long enough for every DID, origin and tool name that people use, and
/// short enough that a record full of hostile text stays below [`MAX_RECORD_BYTES`](super::MAX_RECORD_BYTES) although
/// JSON may write a byte as six.
pub const MAX_TEXT_BYTES: usize = 512;

/// The longest beginning of `text` within [`MAX_TEXT_BYTES`] that ends on a character boundary.
pub(super) fn cut(text: &str) -> &str {
    let longest = text.len().min(MAX_TEXT_BYTES);
    (0..=longest).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // writing to a String does not fail
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// `text` with everything escaped that could change how a terminal or log viewer shows what stands around it: control
/// characters (C0, DEL, C1), line and paragraph separators, bidirectional formatting, and characters without a width.
///
/// Escapes look like `\u{202e}`; a backslash is doubled, so different texts never look alike by way of escaping. Use it
/// wherever a record, tool name or claim is printed as text; JSON output needs it as well, since JSON leaves all but C0
/// raw.
///
/// ```
/// use rmcp_guard::evidence::escape_for_display;
///
/// assert_eq!(escape_for_display("read_file"), "read_file");
/// assert_eq!(escape_for_display("a\nDENY \u{202e}b"), r"a\u{a}DENY \u{202e}b");
/// ```
#[must_use]
pub fn escape_for_display(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\\' {
            shown.push_str(r"\\");
        } else if is_hidden(character) {
            // writing to a String does not fail
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character is a control character, or one that moves or hides its neighbours.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control() || is_invisible_format(character)
}

/// Format characters (Unicode general categories Cf, Zl and Zp) that move or hide their neighbours.
const fn is_invisible_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_on_a_character_boundary() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES);
        assert_eq!(cut(&"x".repeat(MAX_TEXT_BYTES + 1)).len(), MAX_TEXT_BYTES);
        assert_eq!(cut(&format!("x{}", "é".repeat(MAX_TEXT_BYTES))).len(), MAX_TEXT_BYTES - 1);
    }

    #[test]
    fn shows_ordinary_text_as_it_is() {
        for text in ["read_file", "naïve – 世界 😀", "", "a b"] {
            assert_eq!(escape_for_display(text), text);
        }
    }

    #[test]
    fn escapes_every_character_that_moves_or_hides_others() {
        let hostile = [
            '\0',
            '\t',
            '\n',
            '\r',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
        ];
        for character in hostile {
            let shown = escape_for_display(&format!("a{character}b"));
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(character)));
        }
        assert_eq!(escape_for_display(r"C:\u{a}"), r"C:\\u{a}");
    }
}
