//! The keyed hash of a result, with a bound on what is hashed.

use std::io;

use serde::Serialize;

use crate::encoding::{canonical_json, has_inexact_numbers};
use crate::evidence::EvidenceLog;

/// Bytes of a result's JSON up to which it is hashed; a larger one is recorded as `result_too_large` instead. A mebibyte
/// is more than a model reads, and hashing it takes some ten milliseconds of the thread that answers.
pub const MAX_HASHED_RESULT_BYTES: usize = 1024 * 1024;

/// What an outcome record says about a result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ResultHash {
    pub(crate) hash: Option<String>,
    pub(crate) notes: Vec<&'static str>,
}

impl ResultHash {
    /// The hash of the RFC 8785 form of `result`, under its own label, or why there is none.
    pub(crate) fn of(result: &impl Serialize, log: &EvidenceLog) -> Self {
        let without = |note| Self { hash: None, notes: vec![note] };
        match measure(result) {
            Measure::TooLarge => return without("result_too_large"),
            Measure::Unwritable => return without("result_not_json"),
            Measure::Fits => {}
        }
        let Ok(value) = serde_json::to_value(result) else { return without("result_not_json") };
        let Ok(canonical) = canonical_json(&value) else { return without("result_not_json") };
        Self {
            hash: Some(log.keyed_hash("result", &canonical)),
            notes: has_inexact_numbers(&value).then_some("inexact_numbers").into_iter().collect(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Measure {
    Fits,
    TooLarge,
    Unwritable,
}

/// Writes the JSON of `result` to nowhere, and gives up behind the bound.
fn measure(result: &impl Serialize) -> Measure {
    let mut counter = Counter { left: MAX_HASHED_RESULT_BYTES };
    match serde_json::to_writer(&mut counter, result) {
        Ok(()) => Measure::Fits,
        Err(error) if error.is_io() => Measure::TooLarge,
        Err(_) => Measure::Unwritable,
    }
}

struct Counter {
    left: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Attack: a tool that returns a gigabyte makes the guard hold it three times more, or busy with hashing it.
    #[test]
    fn s32_a_result_is_hashed_up_to_the_cap_and_under_its_own_label() {
        let log = EvidenceLog::in_memory();
        let quotes = 2;
        for (length, hashed) in
            [(0, true), (MAX_HASHED_RESULT_BYTES - quotes, true), (MAX_HASHED_RESULT_BYTES - 1, false)]
        {
            let result = json!("x".repeat(length));
            let found = ResultHash::of(&result, &log);
            if hashed {
                let canonical = result.to_string();
                assert_eq!(found.hash, Some(log.keyed_hash("result", canonical.as_bytes())), "{length}");
                assert_ne!(found.hash, Some(log.keyed_hash("params", canonical.as_bytes())), "its own label");
                assert!(found.notes.is_empty());
            } else {
                assert_eq!(found, ResultHash { hash: None, notes: vec!["result_too_large"] }, "{length}");
            }
        }
    }

    #[test]
    fn s32_a_result_beyond_the_cap_is_not_walked_to_its_end() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(std::iter::repeat("x"))
            }
        }
        assert_eq!(measure(&Endless), Measure::TooLarge);
    }

    #[test]
    fn what_has_no_exact_hash_says_so() {
        let log = EvidenceLog::in_memory();
        let inexact = ResultHash::of(&json!({"n": 9_007_199_254_740_993_u64}), &log);
        assert!(inexact.hash.is_some());
        assert_eq!(inexact.notes, ["inexact_numbers"]);
        let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(ResultHash::of(&unwritable, &log), ResultHash { hash: None, notes: vec!["result_not_json"] });
    }
}
