//! Tool patterns: the peer's glob rules (Go `path.Match`), and which of several rules is the most specific.
//!
//! A pattern is parsed here, strictly, and handed to globset in a form in which globset can see no syntax of its own.
//! The parsed form also says what globset cannot: how specific a pattern is, and whether two can match one name.

use std::cmp::Reverse;
use std::fmt::Write as _;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
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
}

/// A set of ASCII characters, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AsciiSet(u128);

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
        self.tokens
            .iter()
            .map(|token| match *token {
                Token::Literal(character) => Some(character),
                Token::OneOf(_) | Token::Star => None,
            })
            .collect()
    }

    /// Whether `name` matches. A policy compiles its patterns once; this form is for a single look.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if let Some(exact) = self.exact_name() {
            return exact == name;
        }
        GlobTable::new(std::iter::once(self)).is_some_and(|table| table.first_match(name).is_some())
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
        let literal = |token: &Token| match *token {
            Token::Literal(character) => Some(character),
            Token::OneOf(_) | Token::Star => None,
        };
        self.tokens.iter().rev().map_while(literal).collect()
    }

    fn prefix(&self) -> impl Iterator<Item = char> {
        self.tokens.iter().map_while(|token| match *token {
            Token::Literal(character) => Some(character),
            Token::OneOf(_) | Token::Star => None,
        })
    }

    fn literals(&self) -> impl Iterator<Item = char> {
        self.tokens.iter().filter_map(|token| match *token {
            Token::Literal(character) => Some(character),
            Token::OneOf(_) | Token::Star => None,
        })
    }

    /// Whether this is `*`, the one glob that also takes names outside ASCII.
    fn is_plain_star(&self) -> bool {
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

    /// The pattern in globset's syntax, in which every character stands for itself inside a class.
    fn to_globset(&self) -> String {
        let mut glob = String::new();
        for token in &self.tokens {
            match *token {
                Token::Literal(character) if character.is_ascii_alphanumeric() || character == '_' => {
                    glob.push(character);
                }
                // `[!` and `[^` would negate
                Token::Literal(character @ ('!' | '^')) => {
                    let _ = write!(glob, "\\{character}");
                }
                Token::Literal(character) => {
                    let _ = write!(glob, "[{character}]");
                }
                Token::OneOf(AsciiSet::NO_SLASH) => glob.push('?'),
                Token::OneOf(set) => write_class(&mut glob, set),
                Token::Star => glob.push('*'),
            }
        }
        glob
    }
}

/// Writes a class by its members: `]` is literal when it is first, `-` when first or last, `!` and `^` when not first.
fn write_class(glob: &mut String, set: AsciiSet) {
    if set == AsciiSet::NONE.with('!', '!').with('^', '^') {
        glob.push_str("{\\!,\\^}");
        return;
    }
    // the sort is stable: the rest keeps its order between the two ends
    let mut members: Vec<char> = set.iter().collect();
    members.sort_by_key(|character| match character {
        ']' => 0,
        '!' | '^' => 2,
        '-' => 3,
        _ => 1,
    });
    if matches!(members.first(), Some('!' | '^')) {
        members.rotate_right(1);
    }
    glob.push('[');
    glob.extend(members);
    glob.push(']');
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

/// Globs compiled together, in the order of their specificity.
#[derive(Clone, Debug, Default)]
pub(crate) struct GlobTable {
    sets: Vec<GlobSet>,
    plain_star: Option<usize>,
}

impl GlobTable {
    /// globset's automaton for one set is bounded in size; this many of the longest patterns fit.
    const GLOBS_PER_SET: usize = 1_000;

    /// Compiles `globs`; `None` when they are too large for globset.
    pub(crate) fn new<'a>(globs: impl Iterator<Item = &'a ToolPattern>) -> Option<Self> {
        let globs: Vec<_> = globs.collect();
        let compile = |chunk: &[&ToolPattern]| {
            let mut set = GlobSetBuilder::new();
            for pattern in chunk {
                set.add(
                    GlobBuilder::new(&pattern.to_globset())
                        .literal_separator(true)
                        .backslash_escape(true)
                        .case_insensitive(false)
                        .build()
                        .ok()?,
                );
            }
            set.build().ok()
        };
        Some(Self {
            sets: globs.chunks(Self::GLOBS_PER_SET).map(compile).collect::<Option<_>>()?,
            plain_star: globs.iter().position(|pattern| pattern.is_plain_star()),
        })
    }

    /// The place of the first glob that matches `name`.
    pub(crate) fn first_match(&self, name: &str) -> Option<usize> {
        // globset sees a path, in which Windows takes a backslash for a separator
        if !name.is_ascii() || (cfg!(not(unix)) && name.contains('\\')) {
            return self.plain_star.filter(|_| !name.contains('/'));
        }
        let candidate = Candidate::new(name);
        let mut matches = Vec::new();
        for (number, set) in self.sets.iter().enumerate() {
            set.matches_candidate_into(&candidate, &mut matches);
            if let Some(&first) = matches.iter().min() {
                return Some(first.saturating_add(number.saturating_mul(Self::GLOBS_PER_SET)));
            }
        }
        None
    }
}
