//! Accounts, their API keys, and what the operator granted them.

use std::fmt;

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::encoding::base64url;
use rmcp_guard::identity::trust_level::TrustLevel;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::ca::error::CaError;
use crate::ca::store::is_duplicate;

/// What every API key begins with, so that scanners for leaked secrets find it.
const KEY_PREFIX: &str = "rgk_";
/// An API key is 60 characters; longer text is not hashed.
const MAX_KEY_BYTES: usize = 128;
/// The longest name of an account or a subject.
pub(crate) const MAX_NAME_CHARS: usize = 200;

/// An API key that was just made. It is shown once; the database keeps its hash.
pub(crate) struct NewKey {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whoever presented an API key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) key_id: String,
}

/// A random UUID version 4. Not `Uuid::new_v4`, which panics when the operating system has no random bytes.
pub(crate) fn random_id() -> Result<String, CaError> {
    Ok(uuid::Builder::from_random_bytes(random()?).into_uuid().to_string())
}

fn random<const N: usize>() -> Result<[u8; N], CaError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| CaError::Random)?;
    Ok(bytes)
}

/// One line of text that people read.
pub(crate) fn checked_name(name: &str) -> Result<&str, CaError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(CaError::invalid("invalid_name", "a name is one line of 1 to 200 characters"));
    }
    Ok(name)
}

pub(crate) fn add(connection: &Connection, name: &str, now: UnixSeconds) -> Result<String, CaError> {
    let id = random_id()?;
    let added = connection.execute(
        "INSERT INTO accounts (id, name, created_at) VALUES (?1, ?2, ?3)",
        params![id, checked_name(name)?, now.as_i64()],
    );
    match added {
        Err(error) if is_duplicate(&error) => {
            Err(CaError::refused(409, "account_exists", "an account has this name already"))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(id),
    }
}

/// The account with this name or id.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<String, CaError> {
    let id = connection
        .query_row("SELECT id FROM accounts WHERE name = ?1 OR id = ?1", [name], |row| row.get(0))
        .optional()?;
    id.ok_or_else(|| CaError::refused(404, "account_not_found", "no account has this name"))
}

pub(crate) fn add_key(connection: &Connection, account: &str, now: UnixSeconds) -> Result<NewKey, CaError> {
    let id = hex::encode(random::<6>()?);
    let random = Zeroizing::new(random::<32>()?);
    let secret = Zeroizing::new(format!("{KEY_PREFIX}{id}_{}", base64url(random.as_slice())));
    connection.execute(
        "INSERT INTO api_keys (id, account, sha256, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![id, account, Sha256::digest(secret.as_bytes()).as_slice(), now.as_i64()],
    )?;
    Ok(NewKey { id, secret })
}

pub(crate) fn revoke_key(connection: &Connection, id: &str, now: UnixSeconds) -> Result<(), CaError> {
    let changed = connection.execute(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
        params![id, now.as_i64()],
    )?;
    if changed == 0 { Err(CaError::refused(404, "key_not_found", "no API key has this id")) } else { Ok(()) }
}

/// Who presents `secret`. An unknown key and a revoked one are refused alike.
pub(crate) fn authenticate(connection: &Connection, secret: &str) -> Result<Caller, CaError> {
    let refused = || CaError::refused(401, "unauthorized", "the API key is not valid");
    let id = secret.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_')).map(|(id, _)| id);
    let id = id.filter(|_| secret.len() <= MAX_KEY_BYTES).ok_or_else(refused)?;
    let found = connection
        .query_row("SELECT account, sha256 FROM api_keys WHERE id = ?1 AND revoked_at IS NULL", [id], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let (account, hash) = found.ok_or_else(refused)?;
    if !bool::from(Sha256::digest(secret.as_bytes()).as_slice().ct_eq(&hash)) {
        return Err(refused());
    }
    Ok(Caller { account, key_id: id.to_owned() })
}

/// `example.com` or `example.com:8443`, in lower case: what a badge may say as its domain.
pub(crate) fn checked_domain(text: &str) -> Result<String, CaError> {
    let invalid = || CaError::invalid("invalid_domain", "a domain is a DNS name with at most a port");
    let text = text.to_ascii_lowercase();
    // The rules of a did:web's host are those of a DNS name.
    if text.contains('%')
        || rmcp_guard::identity::did::Did::parse(&format!("did:web:{}", text.replace(':', "%3A"))).is_err()
    {
        return Err(invalid());
    }
    Ok(text)
}

/// Lets badges of `holder`, an account or a subject, name `domain` up to `level`.
pub(crate) fn grant(
    connection: &Connection,
    holder: &str,
    domain: &str,
    level: TrustLevel,
    now: UnixSeconds,
) -> Result<(), CaError> {
    if level < TrustLevel::DomainValidated {
        return Err(CaError::invalid("invalid_level", "a domain counts from level 2 up"));
    }
    connection.execute(
        "INSERT INTO grants (holder, domain, level, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (holder, domain) DO UPDATE SET level = excluded.level",
        params![holder, checked_domain(domain)?, level.as_u8(), now.as_i64()],
    )?;
    Ok(())
}

pub(crate) fn withdraw_grant(connection: &Connection, holder: &str, domain: &str) -> Result<(), CaError> {
    let changed = connection
        .execute("DELETE FROM grants WHERE holder = ?1 AND domain = ?2", params![holder, checked_domain(domain)?])?;
    if changed == 0 { Err(CaError::refused(404, "grant_not_found", "nothing of this was granted")) } else { Ok(()) }
}

/// The domain of a subject that has just one, and its level. What its account may name does not count: that is a choice.
pub(crate) fn only_domain(connection: &Connection, subject: &str) -> Result<Option<(String, TrustLevel)>, CaError> {
    let mut statement = connection.prepare_cached("SELECT domain, level FROM grants WHERE holder = ?1 LIMIT 2")?;
    let rows = statement.query_map([subject], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u8>(1)?)))?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    let Some((domain, level)) = rows.pop().filter(|_| rows.is_empty()) else { return Ok(None) };
    Ok(TrustLevel::try_from(level).ok().map(|level| (domain, level)))
}

/// The highest level that the operator lets badges of this subject name `domain` with.
pub(crate) fn granted_level(
    connection: &Connection,
    account: &str,
    subject: &str,
    domain: &str,
) -> Result<Option<TrustLevel>, CaError> {
    let sql = "SELECT MAX(level) FROM grants WHERE holder IN (?1, ?2) AND domain = ?3";
    let level: Option<u8> = connection.query_row(sql, params![account, subject, domain], |row| row.get(0))?;
    Ok(level.and_then(|level| TrustLevel::try_from(level).ok()))
}
