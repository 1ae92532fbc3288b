//! Times on the wire: RFC 3339 in UTC, whole seconds.

use std::time::{Duration, UNIX_EPOCH};

use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};

/// Every decision of the CA reads the clock once.
pub(crate) fn now() -> UnixSeconds {
    SystemClock.now_unix()
}

pub(crate) fn rfc3339(seconds: i64) -> String {
    // The formatter fails from the year 10000 on, where no clock of ours is.
    const LAST: u64 = 253_402_300_799;
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST));
    UNIX_EPOCH.checked_add(seconds).map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default()
}

/// Reads a time in UTC, with `Z` or `+00:00`.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let utc = text.strip_suffix("+00:00").map(|text| format!("{text}Z"));
    let time = humantime::parse_rfc3339(utc.as_deref().unwrap_or(text)).ok()?;
    Some(UnixSeconds::from(time).as_i64())
}
