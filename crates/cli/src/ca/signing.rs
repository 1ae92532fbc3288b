//! The CA's own keys: which one signs, which ones are published, and how one follows another.
//!
//! A new key is published before it signs, so that verifiers know it when they meet it. An old one stays published until
//! the last badge that it signed has expired. Servers ask the database each time, so a rotation needs no restart.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::badge::BadgeIssuer;
use rmcp_guard::identity::key::{PublicKey, SigningKey};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use crate::ca::dir::CaDir;
use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::files;

/// How long an expired badge may still meet a verifier: the tolerance for clocks (RFC-002), and as much for ours.
const PUBLISHED_AFTER_EXPIRY: i64 = 120;

/// A key as `ca list signing-keys` shows it.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) kid: String,
    pub(crate) public_key: PublicKey,
    pub(crate) created_at: i64,
    pub(crate) signs_from: i64,
    pub(crate) withdrawn_at: Option<i64>,
    /// The last expiry of a badge that it signed.
    pub(crate) last_expiry: Option<i64>,
}

impl KeyRow {
    pub(crate) fn is_published(&self, current: &str, now: UnixSeconds) -> bool {
        let now = now.as_i64();
        let outlived = self.last_expiry.is_some_and(|expiry| expiry.saturating_add(PUBLISHED_AFTER_EXPIRY) >= now);
        self.withdrawn_at.is_none() && (self.kid == current || self.signs_from > now || outlived)
    }
}

/// Adds a key that signs from `signs_from` on. Its file is there before the row is.
pub(crate) fn add(dir: &CaDir, connection: &Connection, now: UnixSeconds, signs_from: i64) -> Result<String, CaError> {
    let key = SigningKey::generate().map_err(|_| CaError::Random)?;
    let kid = key.public_key().thumbprint();
    let pem = key.to_pkcs8_pem().map_err(|error| CaError::State(error.to_string()))?;
    let file = dir.signing_key(&kid);
    files::write_secret(&file, &pem).map_err(|_| CaError::State(format!("{}: cannot be written", file.display())))?;
    connection.execute(
        "INSERT INTO signing_keys (kid, public_key, created_at, signs_from) VALUES (?1, ?2, ?3, ?4)",
        params![kid, key.public_key().as_bytes(), now.as_i64(), signs_from],
    )?;
    Ok(kid)
}

/// A new key that follows the current one after `overlap`. A compromised predecessor is withdrawn at once, with every
/// badge that it signed.
pub(crate) fn rotate(
    dir: &CaDir,
    connection: &Connection,
    now: UnixSeconds,
    overlap: Duration,
    compromised: bool,
) -> Result<String, CaError> {
    let pending = rows(connection)?.iter().any(|key| key.withdrawn_at.is_none() && key.signs_from > now.as_i64());
    if compromised {
        connection.execute("UPDATE signing_keys SET withdrawn_at = ?1 WHERE withdrawn_at IS NULL", [now.as_i64()])?;
    } else if pending {
        return Err(CaError::refused(409, "rotation_under_way", "the key of the last rotation does not sign yet"));
    }
    let signs_from = if compromised { now } else { now.saturating_add(overlap) };
    let kid = add(dir, connection, now, signs_from.as_i64())?;
    forget_retired(dir, connection, now)?;
    Ok(kid)
}

/// The id of the key that signs at `now`.
pub(crate) fn current(connection: &Connection, now: UnixSeconds) -> Result<String, CaError> {
    let sql = "SELECT kid FROM signing_keys WHERE withdrawn_at IS NULL AND signs_from <= ?1 \
               ORDER BY signs_from DESC, rowid DESC LIMIT 1";
    let kid = connection.query_row(sql, [now.as_i64()], |row| row.get(0)).optional()?;
    kid.ok_or_else(|| CaError::State("no signing key is usable now; `ca rotate` makes one".to_owned()))
}

pub(crate) fn rows(connection: &Connection) -> Result<Vec<KeyRow>, CaError> {
    let sql = "SELECT kid, public_key, created_at, signs_from, withdrawn_at, \
               (SELECT MAX(expires_at) FROM badges WHERE badges.kid = signing_keys.kid) \
               FROM signing_keys ORDER BY signs_from, rowid";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([], |row| {
        let key: Vec<u8> = row.get(1)?;
        Ok((key, row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    let mut rows = Vec::new();
    for row in found {
        let (key, kid, created_at, signs_from, withdrawn_at, last_expiry) = row?;
        let public_key = PublicKey::from_bytes(&key).map_err(|error| CaError::State(error.to_string()))?;
        rows.push(KeyRow { kid, public_key, created_at, signs_from, withdrawn_at, last_expiry });
    }
    Ok(rows)
}

/// The JWK set of now.
pub(crate) fn jwks(connection: &Connection, now: UnixSeconds) -> Result<Value, CaError> {
    // After a compromised key was withdrawn there may be none that signs; the set is empty then, and nobody is let in.
    let current = current(connection, now).unwrap_or_default();
    let mut keys = Vec::new();
    for key in rows(connection)?.iter().filter(|key| key.is_published(&current, now)) {
        let mut jwk = key.public_key.to_jwk();
        if let Value::Object(members) = &mut jwk {
            members.insert("alg".to_owned(), "EdDSA".into());
            members.insert("kid".to_owned(), key.kid.as_str().into());
            members.insert("use".to_owned(), "sig".into());
        }
        keys.push(jwk);
    }
    Ok(json!({ "keys": keys }))
}

/// Removes the private halves of keys that will not sign again.
pub(crate) fn forget_retired(dir: &CaDir, connection: &Connection, now: UnixSeconds) -> Result<(), CaError> {
    // A server that began to issue a moment ago may still read the file.
    let settled = current(connection, now.saturating_sub(Duration::from_secs(60))).unwrap_or_default();
    let rows = rows(connection)?;
    let Some(settled) = rows.iter().find(|key| key.kid == settled) else { return Ok(()) };
    for key in rows.iter().filter(|key| key.withdrawn_at.is_some() || key.signs_from < settled.signs_from) {
        match fs::remove_file(dir.signing_key(&key.kid)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CaError::io(&dir.signing_key(&key.kid), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The private halves in use, each read once.
#[derive(Debug)]
pub(crate) struct KeyRing {
    dir: CaDir,
    origin: String,
    issuers: Mutex<HashMap<String, BadgeIssuer>>,
}

impl KeyRing {
    pub(crate) fn new(dir: CaDir, origin: &Origin) -> Self {
        Self { dir, origin: origin.as_str().to_owned(), issuers: Mutex::default() }
    }

    /// The issuer with the key that signs at `now`, and the key's id.
    pub(crate) fn issuer(&self, connection: &Connection, now: UnixSeconds) -> Result<(String, BadgeIssuer), CaError> {
        let kid = current(connection, now)?;
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issuer) = issuers.get(&kid) {
            return Ok((kid, issuer.clone()));
        }
        let file = self.dir.signing_key(&kid);
        let unusable = || CaError::State(format!("{}: not the signing key", file.display()));
        let key = files::private_key(&file).map_err(|_| unusable())?;
        if key.public_key().thumbprint() != kid {
            return Err(unusable());
        }
        let issuer = BadgeIssuer::new(&self.origin, &kid, Arc::new(key)).map_err(|_| unusable())?;
        // One key signs at a time; the last one is wiped here.
        issuers.clear();
        issuers.insert(kid.clone(), issuer.clone());
        Ok((kid, issuer))
    }
}
