//! Challenges of RFC-003: kept until they are answered, and good for one answer.

use std::time::Duration;

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::pop::issuance::{Challenge, ChallengeId, ProofError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::ca::policy::Ask;
use crate::ca::subjects::Subject;

/// A challenge with what its badge is to say.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) challenge: Challenge,
    pub(crate) subject: String,
    pub(crate) ask: Ask,
}

/// A new challenge for `did`, one of the subject's.
pub(crate) fn create(
    connection: &Connection,
    origin: &Origin,
    subject: &Subject,
    did: Did,
    ask: &Ask,
    lifetime: Duration,
    now: UnixSeconds,
) -> Result<Challenge, CaError> {
    let htu = origin.badge_url(&did);
    let challenge = Challenge::new(did, origin.as_str(), &htu, now, lifetime).map_err(|_| CaError::Random)?;
    let ask = serde_json::to_string(ask).map_err(|error| CaError::State(error.to_string()))?;
    connection.execute(
        "INSERT INTO challenges (id, subject, did, nonce, htu, created_at, expires_at, ask) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            challenge.id.to_string(),
            subject.id,
            challenge.did.as_str(),
            challenge.nonce,
            challenge.htu,
            challenge.created_at.as_i64(),
            challenge.expires_at.as_i64(),
            ask
        ],
    )?;
    Ok(challenge)
}

pub(crate) fn find(connection: &Connection, origin: &Origin, id: ChallengeId) -> Result<Pending, CaError> {
    let sql = "SELECT subject, did, nonce, htu, created_at, expires_at, used_at IS NOT NULL, ask FROM challenges \
               WHERE id = ?1";
    let found = connection
        .query_row(sql, [id.to_string()], |row| {
            let (subject, did, ask): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(7)?);
            Ok((subject, did, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, ask))
        })
        .optional()?;
    let found = found.ok_or_else(|| refused(ProofError::ChallengeNotFound))?;
    let (subject, did, nonce, htu, created_at, expires_at, used, ask) = found;
    let broken = || CaError::State("a challenge in the database is broken".to_owned());
    Ok(Pending {
        challenge: Challenge {
            id,
            did: Did::parse(&did).map_err(|_| broken())?,
            nonce,
            proof_aud: origin.as_str().to_owned(),
            htu,
            created_at: UnixSeconds::new(created_at),
            expires_at: UnixSeconds::new(expires_at),
            used,
        },
        subject,
        ask: serde_json::from_str(&ask).map_err(|_| broken())?,
    })
}

/// Check 24: of all who answer a challenge at once, one gets the badge.
pub(crate) fn use_up(connection: &Connection, id: ChallengeId, now: UnixSeconds) -> Result<(), CaError> {
    let changed = connection.execute(
        "UPDATE challenges SET used_at = ?2 WHERE id = ?1 AND used_at IS NULL",
        params![id.to_string(), now.as_i64()],
    )?;
    if changed == 1 { Ok(()) } else { Err(refused(ProofError::ChallengeUsed)) }
}

pub(crate) fn refused(error: ProofError) -> CaError {
    CaError::refused(error.http_status(), error.code(), error.detail())
}
