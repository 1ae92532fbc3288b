//! The identity of a record.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Timestamp, Uuid};

use super::store::lock;

/// The end of what RFC 9562's 48 bits of milliseconds can hold, in the year 10889.
const LAST_MILLISECOND: Duration = Duration::from_millis((1 << 48) - 1);

static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// The id of an evidence record: a UUID version 7 (RFC 9562 §5.7), so that ids sort by time.
///
/// Ids made in one process are strictly increasing, also within a millisecond and when the clock steps back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvidenceId(Uuid);

impl EvidenceId {
    /// A new id for something that happens at `now`.
    #[must_use]
    pub fn generate(now: SystemTime) -> Self {
        let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST_MILLISECOND);
        let context = lock(&CONTEXT);
        Self(Uuid::new_v7(Timestamp::from_unix(&*context, elapsed.as_secs(), elapsed.subsec_nanos())))
    }
}

impl fmt::Display for EvidenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The text is not an evidence id: a UUID in its hyphenated form of 36 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an evidence id")]
#[non_exhaustive]
pub struct EvidenceIdParseError;

impl FromStr for EvidenceId {
    type Err = EvidenceIdParseError;

    fn from_str(text: &str) -> Result<Self, EvidenceIdParseError> {
        // of the forms that the uuid crate reads, only the hyphenated one is 36 bytes long
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(EvidenceIdParseError);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| EvidenceIdParseError)
    }
}

impl Serialize for EvidenceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EvidenceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn ids_increase_within_a_millisecond_and_when_the_clock_steps_back() {
        let mut last = EvidenceId::generate(at(1_760_000_000));
        for seconds in [1_760_000_000, 1_760_000_001, 1_759_000_000, 0].into_iter().cycle().take(4_000) {
            let next = EvidenceId::generate(at(seconds));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }

    #[test]
    fn a_time_before_1970_is_no_obstacle() {
        for time in [UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap(), at(1)] {
            assert_eq!(EvidenceId::generate(time).0.get_version_num(), 7);
        }
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let id = EvidenceId::generate(at(1_760_000_000));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::from_str::<EvidenceId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        let simple = text.replace('-', "");
        for bad in ["", "x", &simple, &format!("{{{text}}}"), &format!("urn:uuid:{text}"), &format!(" {text}")] {
            assert_eq!(bad.parse::<EvidenceId>(), Err(EvidenceIdParseError), "{bad}");
        }
    }
}
