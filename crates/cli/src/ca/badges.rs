//! Badges: issued, revoked, and asked for.

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::badge::{BadgeRequest, ClaimedIdentity};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Map, Value, json};

use crate::ca::error::CaError;
use crate::ca::signing::KeyRing;
use crate::ca::subjects::Subject;
use crate::ca::time::rfc3339;

/// The longest reason for a revocation: it travels in the list of all of them.
const MAX_REASON_CHARS: usize = 200;
/// Most revocations on a page: about 300 KiB, under the 1 MiB that clients read.
pub(crate) const MAX_PAGE: u32 = 1000;
/// How far before `since` a page begins. The times have whole seconds, and a revocation that was being written while a
/// client read the list before carries an earlier one.
const SINCE_OVERLAP: i64 = 60;
/// How long expired badges, revocations and challenges are kept for those who still ask.
const KEPT_AFTER_EXPIRY: i64 = 24 * 3600;

/// A badge that is in the database and may be handed out.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) jti: String,
    pub(crate) issuer: String,
    pub(crate) request: BadgeRequest,
    pub(crate) signed_at: i64,
    pub(crate) expires_at: i64,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("jti", &self.jti).finish_non_exhaustive()
    }
}

/// Signs a badge for an enabled subject and remembers it. Whether it may have it was decided before.
pub(crate) fn issue(
    connection: &Connection,
    ring: &KeyRing,
    subject: &Subject,
    request: BadgeRequest,
    now: UnixSeconds,
) -> Result<Issued, CaError> {
    subject.check_enabled()?;
    let (kid, issuer) = ring.issuer(connection, now)?;
    let token = issuer.issue(&request, now)?;
    let broken = || CaError::State("the new badge cannot be read".to_owned());
    let ClaimedIdentity { jti, issuer, .. } = ClaimedIdentity::peek(&token);
    let (jti, issuer) = jti.zip(issuer).ok_or_else(broken)?;
    let (signed_at, expires_at) = (now.as_i64(), now.saturating_add(request.lifetime).as_i64());
    connection.execute(
        "INSERT INTO badges (jti, kid, subject, sub, level, issued_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![jti, kid, subject.id, request.subject.as_str(), request.level.as_u8(), signed_at, expires_at],
    )?;
    tracing::info!(jti, sub = request.subject.as_str(), level = request.level.as_u8(), "badge issued");
    Ok(Issued { token, jti, issuer, request, signed_at, expires_at })
}

/// A badge that was issued here.
#[derive(Debug)]
pub(crate) struct BadgeRow {
    pub(crate) jti: String,
    pub(crate) subject: String,
    pub(crate) sub: String,
    pub(crate) level: u8,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) revoked: Option<Revocation>,
}

#[derive(Debug)]
pub(crate) struct Revocation {
    pub(crate) at: i64,
    pub(crate) reason: Option<String>,
}

const COLUMNS: &str = "badges.jti, subject, sub, level, issued_at, badges.expires_at, revoked_at, reason";
const TABLES: &str = "badges LEFT JOIN revocations ON revocations.jti = badges.jti";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<BadgeRow> {
    let (at, reason): (Option<i64>, _) = (row.get(6)?, row.get(7)?);
    Ok(BadgeRow {
        jti: row.get(0)?,
        subject: row.get(1)?,
        sub: row.get(2)?,
        level: row.get(3)?,
        issued_at: row.get(4)?,
        expires_at: row.get(5)?,
        revoked: at.map(|at| Revocation { at, reason }),
    })
}

pub(crate) fn find(connection: &Connection, jti: &str) -> Result<BadgeRow, CaError> {
    // The one spelling in which we write them.
    let jti = uuid::Uuid::try_parse(jti).map(|jti| jti.to_string());
    let jti = jti.map_err(|_| CaError::invalid("invalid_jti", "the id of a badge is a UUID"))?;
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE badges.jti = ?1");
    let found = connection.query_row(&sql, [jti], read).optional()?;
    found.ok_or_else(|| CaError::refused(404, "badge_not_found", "no badge of this CA has this id"))
}

/// The newest badges first, without those that have expired unless `all`.
pub(crate) fn list(connection: &Connection, all: bool, now: UnixSeconds, limit: u32) -> Result<Vec<BadgeRow>, CaError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE ?1 OR badges.expires_at > ?2 ORDER BY issued_at DESC, badges.rowid DESC \
         LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![all, now.as_i64(), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn checked_reason(reason: Option<&str>) -> Result<Option<&str>, CaError> {
    let Some(reason) = reason.map(str::trim).filter(|reason| !reason.is_empty()) else { return Ok(None) };
    if reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        return Err(CaError::invalid("invalid_reason", "a reason is one line of at most 200 characters"));
    }
    Ok(Some(reason))
}

/// Revokes a badge, or finds it revoked; a second reason changes nothing.
pub(crate) fn revoke(
    connection: &Connection,
    badge: &BadgeRow,
    reason: Option<&str>,
    now: UnixSeconds,
) -> Result<Revocation, CaError> {
    if let Some(Revocation { at, reason }) = &badge.revoked {
        return Ok(Revocation { at: *at, reason: reason.clone() });
    }
    let reason = checked_reason(reason)?;
    // Never before an earlier one: readers that come back ask for what was revoked since.
    let last: Option<i64> = connection.query_row("SELECT MAX(revoked_at) FROM revocations", [], |row| row.get(0))?;
    let at = last.unwrap_or(i64::MIN).max(now.as_i64());
    connection.execute(
        "INSERT INTO revocations (jti, revoked_at, expires_at, reason) VALUES (?1, ?2, ?3, ?4)",
        params![badge.jti, at, badge.expires_at, reason],
    )?;
    tracing::info!(jti = badge.jti, "badge revoked");
    Ok(Revocation { at, reason: reason.map(str::to_owned) })
}

/// A page of the revocations since a time, in the order in which they were made.
pub(crate) fn revocations(
    connection: &Connection,
    since: Option<i64>,
    after: i64,
    limit: u32,
    now: UnixSeconds,
) -> Result<Value, CaError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let since = since.map_or(i64::MIN, |since| since.saturating_sub(SINCE_OVERLAP));
    let sql = "SELECT seq, jti, revoked_at, reason FROM revocations WHERE seq > ?1 AND revoked_at >= ?2 \
               ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    // One more than asked for tells whether there is another page.
    let rows = statement.query_map(params![after, since, limit.saturating_add(1)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<String>>(3)?))
    })?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(seq, ..)| format!("r{seq}"));
    let entries = rows.into_iter().map(|(_, jti, at, reason)| {
        let mut entry = Map::from_iter([("jti".to_owned(), jti.into()), ("revokedAt".to_owned(), rfc3339(at).into())]);
        if let Some(reason) = reason {
            entry.insert("reason".to_owned(), reason.into());
        }
        Value::Object(entry)
    });
    let mut page = json!({ "revocations": entries.collect::<Vec<_>>(), "syncedAt": rfc3339(now.as_i64()) });
    if let (Value::Object(page), Some(next)) = (&mut page, next) {
        page.insert("nextCursor".to_owned(), next.into());
    }
    Ok(page)
}

/// The position that a `nextCursor` of ours means.
pub(crate) fn parse_cursor(text: &str) -> Result<i64, CaError> {
    let seq = text.strip_prefix('r').and_then(|seq| seq.parse().ok()).filter(|seq| *seq >= 0);
    seq.ok_or_else(|| CaError::invalid("invalid_cursor", "the cursor is not one of this CA"))
}

/// Forgets what nobody can use any more.
pub(crate) fn prune(connection: &Connection, now: UnixSeconds) -> Result<(), CaError> {
    let before = now.as_i64().saturating_sub(KEPT_AFTER_EXPIRY);
    for table in ["challenges", "revocations", "badges"] {
        connection.execute(&format!("DELETE FROM {table} WHERE expires_at < ?1"), [before])?;
    }
    Ok(())
}
