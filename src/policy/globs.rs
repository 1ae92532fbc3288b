//! Many globs, and which of them that match a name is the most specific.
//!
//! Globs are found by the literals around their wildcards, so that a name is compared with the few that begin and end like
//! it, however many there are.

use std::collections::HashMap;

use crate::policy::matcher::{Token, ToolPattern, matches};

/// Globs in the order of their specificity. It holds a place, an offset in that order, for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct GlobTable {
    by_prefix: Affixes<Affixes<Vec<Glob>>>,
    plain_star: Option<usize>,
}

#[derive(Clone, Debug)]
struct Glob {
    place: usize,
    /// Without the literals before and behind.
    tokens: Box<[Token]>,
}

impl GlobTable {
    /// The more specific of two globs comes first: see [`ToolPattern::rank`].
    pub(crate) fn new<'a>(globs: impl Iterator<Item = &'a ToolPattern>) -> Self {
        let mut table = Self::default();
        for (place, pattern) in globs.enumerate() {
            if pattern.is_plain_star() {
                table.plain_star.get_or_insert(place);
            }
            let by_suffix = table.by_prefix.entry(pattern.literal_prefix());
            let tokens = pattern.wild_tokens().into();
            by_suffix.entry(pattern.literal_suffix()).push(Glob { place, tokens });
        }
        table
    }

    /// The place of the first glob that matches `name`.
    pub(crate) fn first_match(&self, name: &str) -> Option<usize> {
        if !name.is_ascii() {
            return self.plain_star.filter(|_| !name.contains('/'));
        }
        // the longer prefix is the more specific, whatever else
        self.by_prefix.of_start(name).find_map(|(by_suffix, rest)| {
            let first_of = |(globs, middle): (&Vec<Glob>, &str)| {
                globs.iter().find(|glob| matches(&glob.tokens, middle)).map(|glob| glob.place)
            };
            by_suffix.of_end(rest).filter_map(first_of).min()
        })
    }
}

/// Something for each of some texts with which names begin, or end. The texts are ASCII.
#[derive(Clone, Debug)]
struct Affixes<T> {
    of: HashMap<String, T>,
    /// Of the texts, each once, the longest first.
    lengths: Vec<usize>,
}

impl<T> Default for Affixes<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), lengths: Vec::new() }
    }
}

impl<T: Default> Affixes<T> {
    fn entry(&mut self, text: String) -> &mut T {
        if let Err(at) = self.lengths.binary_search_by(|length| text.len().cmp(length)) {
            self.lengths.insert(at, text.len());
        }
        self.of.entry(text).or_default()
    }
}

impl<T> Affixes<T> {
    /// What there is for each start of `name`, with the rest of it.
    fn of_start<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a T, &'a str)> {
        self.lengths.iter().filter_map(|length| {
            let (start, rest) = name.split_at_checked(*length)?;
            Some((self.of.get(start)?, rest))
        })
    }

    /// What there is for each end of `name`, with the rest of it.
    fn of_end<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a T, &'a str)> {
        self.lengths.iter().filter_map(|length| {
            let (rest, end) = name.split_at_checked(name.len().checked_sub(*length)?)?;
            Some((self.of.get(end)?, rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ToolPattern {
        ToolPattern::parse(text).unwrap()
    }

    #[test]
    fn the_longest_prefix_then_the_most_literals_win() {
        let texts = ["read_file_*", "read_*_all", "read_*l", "read_*", "*_all", "*l", "*"];
        let patterns: Vec<_> = texts.map(pattern).into();
        let table = GlobTable::new(patterns.iter());
        for (name, want) in [
            ("read_file_all", Some(0)),
            ("read_it_all", Some(1)),
            ("read_it_al", Some(2)),
            ("read_it", Some(3)),
            ("write_it_all", Some(4)),
            ("al", Some(5)),
            ("a", Some(6)),
            ("", Some(6)),
            ("\u{e9}", Some(6)),
            ("\u{e9}_all", Some(6)),
            ("a/b", None),
            ("\u{e9}/b", None),
        ] {
            assert_eq!(table.first_match(name), want, "{name}");
        }
    }

    /// What stands before and behind the wildcards must not share a character of the name.
    #[test]
    fn prefix_and_suffix_do_not_overlap() {
        let table = GlobTable::new([pattern("aba*aba")].iter());
        assert_eq!(table.first_match("ababa"), None);
        assert_eq!(table.first_match("abaaba"), Some(0));
    }

    proptest! {
        #[test]
        fn the_first_that_matches_is_found(
            texts in prop::collection::vec("([ab/]|\\*|\\?|\\[ab\\]|\\[\\^a\\]){1,6}", 1..12),
            name in "[ab/\u{e9}]{0,8}",
        ) {
            let mut patterns: Vec<_> = texts.iter().map(|text| pattern(text)).collect();
            patterns.retain(|pattern| pattern.exact_name().is_none());
            patterns.sort_by_key(ToolPattern::rank);
            let want = patterns.iter().position(|pattern| pattern.matches(&name));
            prop_assert_eq!(GlobTable::new(patterns.iter()).first_match(&name), want);
        }
    }
}
