//! The JSON of a revocation list, in a file or as a page of a registry's answer.

use std::time::Duration;

use serde_json::Value;

use crate::clock::UnixSeconds;
use crate::encoding::parse_unique_json;

/// `{"revocations":[{"jti":".."}],"syncedAt":"..","nextCursor":".."?}`.
#[derive(Debug)]
pub(in crate::identity) struct RevocationPage {
    value: Value,
    /// The `syncedAt`, by the clock of whoever wrote the list.
    pub(in crate::identity) synced_at: UnixSeconds,
}

impl RevocationPage {
    /// `None` unless the whole is one: an entry without a `jti` means that a revocation may be missing. The caller
    /// bounds the number of bytes.
    pub(in crate::identity) fn parse(bytes: &[u8]) -> Option<Self> {
        let value = parse_unique_json(bytes).ok()?;
        let synced_at = parse_rfc3339(value.get("syncedAt")?.as_str()?)?;
        // An empty Go slice is written as `null`; a member that is not there may be one that is misspelt.
        let entries = value.get("revocations")?;
        let whole =
            entries.is_null() || entries.as_array()?.iter().all(|entry| entry.get("jti").is_some_and(Value::is_string));
        let cursor = value.get("nextCursor").is_none_or(|cursor| cursor.is_null() || cursor.is_string());
        (whole && cursor).then_some(Self { value, synced_at })
    }

    /// The ids of the revoked badges.
    pub(in crate::identity) fn ids(&self) -> impl Iterator<Item = &str> {
        let entries = self.value.get("revocations").and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(|entry| entry.get("jti")?.as_str())
    }

    /// What asks for the next page; `None` on the last one.
    pub(in crate::identity) fn next_cursor(&self) -> Option<&str> {
        self.value.get("nextCursor")?.as_str().filter(|cursor| !cursor.is_empty())
    }
}

/// RFC 3339 with any offset, as Go writes local times. `humantime` reads UTC only.
fn parse_rfc3339(text: &str) -> Option<UnixSeconds> {
    let utc = |text: &str| humantime::parse_rfc3339(text).ok().map(UnixSeconds::from);
    if text.ends_with('Z') {
        return utc(text);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let two_digits = |part: &str, below: u64| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|number| digits && *number < below)
    };
    let seconds = two_digits(hours, 24)?.checked_mul(60)?.checked_add(two_digits(minutes, 60)?)?.checked_mul(60)?;
    let (local, offset_by) = (utc(&format!("{local}Z"))?, Duration::from_secs(seconds));
    match offset.as_bytes().first()? {
        b'+' => Some(local.saturating_sub(offset_by)),
        b'-' => Some(local.saturating_add(offset_by)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_offset_are_read() {
        let cases = [
            ("2025-10-09T08:53:20Z", Some(1_760_000_000)),
            ("2025-10-09T08:53:20.123456789Z", Some(1_760_000_000)),
            ("2025-10-09T10:53:20.5+02:00", Some(1_760_000_000)),
            ("2025-10-09T01:23:20-07:30", Some(1_760_000_000)),
            ("2025-10-09T08:53:20+00:00", Some(1_760_000_000)),
            ("2025-10-09T08:53:20", None),
            ("2025-10-09T08:53:20+2:00", None),
            ("2025-10-09T08:53:20+24:00", None),
            ("2025-10-09T08:53:20+02:60", None),
            ("2025-10-09T08:53:20*02:00", None),
            ("2025-10-09T08:53:20++1:00", None),
            ("\u{fc}\u{fc}\u{fc}\u{fc}", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_rfc3339(text).map(UnixSeconds::as_i64), want, "{text}");
        }
    }
}
