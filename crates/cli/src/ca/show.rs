//! `ca list`.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::Failure;
use crate::ca::dir::CaDir;
use crate::ca::error::CaError;
use crate::ca::subjects::{self, Kind};
use crate::ca::time::{now, rfc3339};
use crate::ca::{Listed, badges, signing};
use crate::output::{Output, Text};

/// Most entries that are listed.
const MAX_LIST: u32 = 10_000;

pub(super) fn list(dir: &Path, what: Listed, all: bool, output: Output) -> Result<(), Failure> {
    let (store, _) = CaDir::open(dir).and_then(|dir| dir.load()).map_err(CaError::into_failure)?;
    let entries = store.read(|connection| match what {
        Listed::Agents => subjects_of(connection, Kind::Agent),
        Listed::Servers => subjects_of(connection, Kind::Server),
        Listed::Badges => badges_of(connection, all),
        Listed::SigningKeys => signing_keys(connection),
        Listed::Accounts => rows(connection, "SELECT id, name, created_at FROM accounts ORDER BY rowid", |row| {
            Ok(json!({ "id": text(row, 0)?, "name": text(row, 1)?, "created_at": time(row, 2)? }))
        }),
        Listed::Keys => rows(
            connection,
            "SELECT api_keys.id, accounts.name, api_keys.created_at, revoked_at FROM api_keys \
             JOIN accounts ON accounts.id = account ORDER BY api_keys.rowid",
            |row| {
                Ok(json!({
                    "id": text(row, 0)?, "account": text(row, 1)?, "created_at": time(row, 2)?,
                    "revoked_at": row.get::<_, Option<i64>>(3)?.map(rfc3339),
                }))
            },
        ),
        Listed::Domains => {
            rows(connection, "SELECT domain, level, holder FROM grants ORDER BY domain, holder", |row| {
                Ok(json!({ "domain": text(row, 0)?, "level": row.get::<_, i64>(1)?, "holder": text(row, 2)? }))
            })
        }
        Listed::Events => events(connection),
    });
    let entries = entries.map_err(CaError::into_failure)?;
    let lines = entries.iter().fold(Text::default(), |lines, entry| lines.line(line(entry)));
    output.result(&Value::Array(entries), &lines)
}

/// The values of an entry, one after the other; `-` for what it does not have.
fn line(entry: &Value) -> String {
    let values = entry.as_object().into_iter().flatten().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        Value::Null => format!("{name}=-"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("{name}={value}"),
    });
    values.collect::<Vec<_>>().join("  ")
}

fn text(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<String> {
    row.get(index)
}

fn time(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(rfc3339(row.get(index)?))
}

fn rows(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<Value>,
) -> Result<Vec<Value>, CaError> {
    let mut statement = connection.prepare(sql)?;
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// The newest events first, as they came.
fn events(connection: &Connection) -> Result<Vec<Value>, CaError> {
    let sql = format!(
        "SELECT events.id, accounts.name, received_at, body FROM events \
         JOIN accounts ON accounts.id = account ORDER BY seq DESC LIMIT {MAX_LIST}"
    );
    rows(connection, &sql, |row| {
        let event: Value = serde_json::from_str(&text(row, 3)?).unwrap_or_default();
        Ok(json!({ "id": text(row, 0)?, "account": text(row, 1)?, "received_at": time(row, 2)?, "event": event }))
    })
}

fn subjects_of(connection: &Connection, kind: Kind) -> Result<Vec<Value>, CaError> {
    let subjects = subjects::list(connection, None, kind, MAX_LIST)?;
    let shown = subjects.iter().map(|subject| {
        json!({
            "id": subject.id,
            "name": subject.name,
            "did": subject.named().as_str(),
            "hosted_did": subject.did.as_str(),
            "account": subject.account,
            "status": if subject.disabled.is_some() { "disabled" } else { "active" },
        })
    });
    Ok(shown.collect())
}

fn badges_of(connection: &Connection, all: bool) -> Result<Vec<Value>, CaError> {
    let badges = badges::list(connection, all, now(), MAX_LIST)?;
    let shown = badges.iter().map(|badge| {
        json!({
            "jti": badge.jti,
            "sub": badge.sub,
            "level": badge.level,
            "issued_at": rfc3339(badge.issued_at),
            "expires_at": rfc3339(badge.expires_at),
            "revoked_at": badge.revoked.as_ref().map(|revocation| rfc3339(revocation.at)),
        })
    });
    Ok(shown.collect())
}

fn signing_keys(connection: &Connection) -> Result<Vec<Value>, CaError> {
    let now = now();
    let current = signing::current(connection, now).unwrap_or_default();
    let rows = signing::rows(connection)?;
    let shown = rows.iter().map(|key| {
        let state = match (key.withdrawn_at, key.kid == current, key.is_published(&current, now)) {
            (Some(_), ..) => "withdrawn",
            (None, true, _) => "signing",
            (None, false, true) if key.signs_from > now.as_i64() => "announced",
            (None, false, true) => "published",
            (None, false, false) => "retired",
        };
        json!({ "kid": key.kid, "state": state, "created_at": rfc3339(key.created_at) })
    });
    Ok(shown.collect())
}
