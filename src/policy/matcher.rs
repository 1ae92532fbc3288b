//! Tool patterns: the peer's glob rules (Go `path.Match`), and which of several rules is the most specific.
//!
//! A pattern is parsed here, strictly, into one token for each step through a name. The tokens say whether a name matches,
//! how specific a pattern is, and whether two can match one name.

use std::cmp::Reverse;

/// The longest tool pattern in bytes: room for the longest tool name with every character escaped.
pub const MAX_PATTERN_BYTES: usize = 512;

/// The longest tool name in bytes that any rule can allow. MCP advises 128 characters; longer names are denied.
pub const MAX_TOOL_NAME_BYTES: usize = 256;

/// A tool pattern: an exact name, or a glob by the rules of Go's `path.Match`.
///
/// `*` stands for any run of characters without `/`, `?` for one character other than `/`, `[a-z]` and `[^a-z]` for one
/// character in or out of a class, and `\` takes the next character literally. Everything else is literal: `!` in a
/// class, `{`, `}`, and there is no `**`. The whole name must match, and case counts.
///
/// Globs are about ASCII: a name with any other character is matched by its exact name and by the plain `*` only, so
/// that no look-alike slips through a class or a `?`.
///
/// ```
/// use rmcp_guard::policy::ToolPattern;
///
/// let pattern = ToolPattern::parse("read_*")?;
/// assert!(pattern.matches("read_file"));
/// assert!(!pattern.matches("read_/etc/passwd"));
/// assert!(ToolPattern::parse("[bad").is_err());
/// # Ok::<(), rmcp_guard::policy::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolPattern {
    text: String,
    tokens: Vec<Token>,
}

/// Why a text is not a tool pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is longer than [`MAX_PATTERN_BYTES`], or an exact name longer than [`MAX_TOOL_NAME_BYTES`].
    #[error("the pattern is longer than any tool name can be")]
    TooLong,
    /// A class is empty, unclosed, or has half a range.
    #[error("a `[` opens a class that is empty, unclosed, or has half a range; write `\\[` for the character itself")]
    Class,
    /// The text ends in a lone `\`.
    #[error("a `\\` at the end escapes nothing; write `\\\\` for the character itself")]
    Escape,
    /// A glob holds a character outside ASCII and so could never match.
    #[error("a glob is ASCII only; write the exact name of a tool with other characters")]
    NotAscii,
    /// A class holds no ASCII character, so the pattern could never match.
    #[error("a class holds no character, so nothing can match")]
    NeverMatches,
}

/// One step through a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Literal(char),
    /// one ASCII character of this set: `?`, or a class of at least two
    OneOf(AsciiSet),
    /// any run of characters other than `/`
    Star,
}

impl Token {
    /// The characters of which one step through this token takes one.
    fn characters(self) -> AsciiSet {
        match self {
            Self::Literal(character) => AsciiSet::NONE.with(character, character),
            Self::OneOf(set) => set,
            Self::Star => AsciiSet::NO_SLASH,
        }
    }

    /// The one character that it stands for, where it is no wildcard.
    const fn literal(&self) -> Option<char> {
        match *self {
            Self::Literal(character) => Some(character),
            Self::OneOf(_) | Self::Star => None,
        }
    }

    /// Whether a step through this token can take `character`.
    fn takes(self, character: char) -> bool {
        match self {
            Self::Literal(literal) => literal == character,
            Self::OneOf(set) => set.has(character),
            Self::Star => character != '/',
        }
    }
}

/// A set of ASCII characters, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AsciiSet(u128);

impl AsciiSet {
    const NONE: Self = Self(0);
    const NO_SLASH: Self = Self(!(1 << b'/'));

    fn with(self, low: char, high: char) -> Self {
        (0..128_u8)
            .filter(|&byte| (low..=high).contains(&char::from(byte)))
            .fold(self, |set, byte| Self(set.0 | (1 << byte)))
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn has(self, character: char) -> bool {
        character.is_ascii() && self.0 & (1 << u32::from(character)) != 0
    }

    fn iter(self) -> impl Iterator<Item = char> {
        (0..128_u8).filter(move |&byte| self.0 & (1 << byte) != 0).map(char::from)
    }
}

impl ToolPattern {
    /// Parses a pattern, at most [`MAX_PATTERN_BYTES`] long.
    ///
    /// # Errors
    /// [`PatternError`] when Go's `path.Match` would call it malformed, and when it could never match.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                // two stars say no more than one
                '*' if tokens.last() == Some(&Token::Star) => continue,
                '*' => Token::Star,
                '?' => Token::OneOf(AsciiSet::NO_SLASH),
                '[' => parse_class(&mut rest)?,
                '\\' => Token::Literal(rest.next().ok_or(PatternError::Escape)?),
                other => Token::Literal(other),
            });
        }
        let pattern = Self { text: text.to_owned(), tokens };
        match pattern.exact_name() {
            Some(name) if name.len() > MAX_TOOL_NAME_BYTES => Err(PatternError::TooLong),
            Some(_) => Ok(pattern),
            None if pattern.literals().all(|character| character.is_ascii()) => Ok(pattern),
            None => Err(PatternError::NotAscii),
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The only name this pattern matches, when it has no wildcard.
    #[must_use]
    pub fn exact_name(&self) -> Option<String> {
        self.tokens.iter().map(Token::literal).collect()
    }

    /// Whether `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // no look-alike gets through a class or a `?`
        let is_comparable = name.is_ascii() || self.is_plain_star() || self.exact_name().is_some();
        is_comparable && matches(&self.tokens, name)
    }

    /// What stands between [`literal_prefix`](Self::literal_prefix) and [`literal_suffix`](Self::literal_suffix); of a glob.
    pub(super) fn wild_tokens(&self) -> &[Token] {
        let is_wild = |token: &Token| token.literal().is_none();
        let (first, last) = (self.tokens.iter().position(is_wild), self.tokens.iter().rposition(is_wild));
        first.zip(last).and_then(|(first, last)| self.tokens.get(first..=last)).unwrap_or_default()
    }

    /// The more specific of two globs has the smaller rank: longest literal prefix, then most literal characters.
    pub(crate) fn rank(&self) -> Reverse<(usize, usize)> {
        Reverse((self.prefix().count(), self.literals().count()))
    }

    /// The literal characters before the first wildcard. Globs of equal rank overlap only where these are equal.
    pub(crate) fn literal_prefix(&self) -> String {
        self.prefix().collect()
    }

    /// The literal characters after the last wildcard, last one first.
    pub(crate) fn literal_suffix_reversed(&self) -> String {
        self.tokens.iter().rev().map_while(Token::literal).collect()
    }

    /// The literal characters after the last wildcard.
    pub(super) fn literal_suffix(&self) -> String {
        self.literal_suffix_reversed().chars().rev().collect()
    }

    fn prefix(&self) -> impl Iterator<Item = char> {
        self.tokens.iter().map_while(Token::literal)
    }

    fn literals(&self) -> impl Iterator<Item = char> {
        self.tokens.iter().filter_map(Token::literal)
    }

    /// Whether this is `*`, the one glob that also takes names outside ASCII.
    pub(super) fn is_plain_star(&self) -> bool {
        self.tokens == [Token::Star]
    }

    /// Whether both match the same names because they say the same in other words (`a**`, `[a]*`, `a*`).
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.tokens == other.tokens
    }

    /// The most steps that [`overlaps`](Self::overlaps) takes.
    pub(crate) fn comparison_work(&self, other: &Self) -> usize {
        let (one, two) = (self.tokens.len(), other.tokens.len());
        one.saturating_add(1).saturating_mul(two.saturating_add(1))
    }

    /// Whether some name matches both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.tokens, &other.tokens);
        // a[i], b[j] after some common text; a star steps over itself, or takes a character and stays
        let width = two.len().saturating_add(1);
        let mut seen = vec![false; width.saturating_mul(one.len().saturating_add(1))];
        let mut open = vec![(0_usize, 0_usize)];
        while let Some((i, j)) = open.pop() {
            let Some(mark) = seen.get_mut(i.saturating_mul(width).saturating_add(j)) else { continue };
            if std::mem::replace(mark, true) {
                continue;
            }
            let (a, b) = (one.get(i).copied(), two.get(j).copied());
            if a.is_none() && b.is_none() {
                return true;
            }
            let (next_i, next_j) = (i.saturating_add(1), j.saturating_add(1));
            if a == Some(Token::Star) {
                open.push((next_i, j));
            }
            if b == Some(Token::Star) {
                open.push((i, next_j));
            }
            if let (Some(a), Some(b)) = (a, b)
                && a.characters().overlaps(b.characters())
            {
                open.push((if a == Token::Star { i } else { next_i }, if b == Token::Star { j } else { next_j }));
            }
        }
        false
    }
}

fn parse_class(rest: &mut std::str::Chars<'_>) -> Result<Token, PatternError> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut set = AsciiSet::NONE;
    let mut ranges = 0_usize;
    loop {
        if ranges > 0 && rest.as_str().starts_with(']') {
            rest.next();
            break;
        }
        let low = parse_class_character(rest)?;
        let high = if rest.as_str().starts_with('-') {
            rest.next();
            parse_class_character(rest)?
        } else {
            low
        };
        set = set.with(low, high);
        ranges = ranges.saturating_add(1);
    }
    let set = if negated { AsciiSet(u128::MAX).without(set) } else { set };
    let mut members = set.iter();
    match (members.next(), members.next()) {
        (None, _) => Err(PatternError::NeverMatches),
        // so that `r[e]ad` is the exact name `read`, and no two spellings of one rule hide from each other
        (Some(only), None) => Ok(Token::Literal(only)),
        (Some(_), Some(_)) => Ok(Token::OneOf(set)),
    }
}

fn parse_class_character(rest: &mut std::str::Chars<'_>) -> Result<char, PatternError> {
    match rest.next() {
        None | Some('-' | ']') => Err(PatternError::Class),
        Some('\\') => rest.next().ok_or(PatternError::Class),
        Some(character) => Ok(character),
    }
}

/// Whether `tokens` take the whole of `name`: all ways through them at once, in time of the product of the lengths at most.
pub(super) fn matches(tokens: &[Token], name: &str) -> bool {
    let mut here = Places::default();
    here.enter(tokens, 0);
    for character in name.chars() {
        let mut next = Places::default();
        for place in here.up_to(tokens.len()) {
            match tokens.get(place) {
                Some(token) if !token.takes(character) => {}
                Some(Token::Star) => next.enter(tokens, place),
                Some(_) => next.enter(tokens, place.saturating_add(1)),
                None => {}
            }
        }
        if next == Places::default() {
            return false;
        }
        here = next;
    }
    here.has(tokens.len())
}

/// Before which tokens a walk can be, one bit each. It needs no memory but the stack's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places([u64; MAX_PATTERN_BYTES / 64 + 1]);

impl Places {
    fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|bits| bits & (1 << (place % 64)) != 0)
    }

    /// Comes before the token at `place`, and behind it too where that can take nothing.
    fn enter(&mut self, tokens: &[Token], mut place: usize) {
        loop {
            if let Some(bits) = self.0.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
            if tokens.get(place) != Some(&Token::Star) {
                return;
            }
            place = place.saturating_add(1);
        }
    }

    fn up_to(&self, last: usize) -> impl Iterator<Item = usize> {
        let words = self.0.iter().take((last / 64).saturating_add(1)).enumerate();
        words.flat_map(|(number, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = usize::try_from(left.trailing_zeros()).ok().filter(|_| left != 0)?;
                left &= left.wrapping_sub(1);
                Some(number.saturating_mul(64).saturating_add(bit))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A star that stops early may be wrong, and so may one that goes on: both are tried.
    #[test]
    fn every_way_through_a_pattern_is_tried() {
        for (pattern, name, want) in [
            ("*[a/]*b", "a/b", true),
            ("*[a/]*b", "a/c", false),
            ("*ab*ab", "abcab", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "aab", false),
            ("a*?b", "ab", false),
            ("a*?b", "acb", true),
        ] {
            assert_eq!(ToolPattern::parse(pattern).unwrap().matches(name), want, "{pattern} {name}");
        }
    }

    /// The places of the longest pattern are more than one word has bits.
    #[test]
    fn the_longest_patterns_match() {
        let stars = "*a".repeat(MAX_PATTERN_BYTES / 2);
        let pattern = ToolPattern::parse(&stars).unwrap();
        assert!(pattern.matches(&"a".repeat(MAX_PATTERN_BYTES / 2)));
        assert!(!pattern.matches(&"a".repeat(MAX_PATTERN_BYTES / 2 - 1)));
        let any = ToolPattern::parse(&"?".repeat(MAX_PATTERN_BYTES)).unwrap();
        assert!(any.matches(&"b".repeat(MAX_PATTERN_BYTES)));
        assert!(!any.matches(&"b".repeat(MAX_PATTERN_BYTES + 1)));
    }

    #[test]
    fn a_pattern_has_room_for_the_longest_name_with_every_character_escaped() {
        let escaped = "\\a".repeat(MAX_TOOL_NAME_BYTES);
        assert_eq!(escaped.len(), MAX_PATTERN_BYTES);
        let pattern = ToolPattern::parse(&escaped).unwrap();
        assert!(pattern.matches(&"a".repeat(MAX_TOOL_NAME_BYTES)));
        assert_eq!(ToolPattern::parse(&"?".repeat(MAX_PATTERN_BYTES + 1)), Err(PatternError::TooLong));
    }

    /// Attack: a class that is written oddly lets in what the operator thought to be left out.
    #[test]
    fn a_class_is_the_set_of_its_members() {
        for (pattern, members) in [
            ("[aba]", "ab"),
            ("[a-cb]", "abc"),
            ("[c-a]", ""),
            ("[c-ab]", "b"),
            ("[!a]", "!a"),
            ("[!A^]", "!A^"),
            ("[^^a]", "A!+bc-"),
            ("[^a-c]", "A!+-^"),
            ("[a\\-c]", "ac-"),
            ("[+\\-c]", "+c-"),
        ] {
            let parsed = ToolPattern::parse(pattern);
            if members.is_empty() {
                assert_eq!(parsed, Err(PatternError::NeverMatches), "{pattern}");
                continue;
            }
            let parsed = parsed.unwrap();
            for name in "Aabc!+-^".chars() {
                assert_eq!(parsed.matches(&name.to_string()), members.contains(name), "{pattern} {name}");
            }
        }
    }
}
