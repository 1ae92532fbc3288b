//! Agents and servers: who owns them, which DID and which key they have.

use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::identity::did::{Did, DidDocument};
use rmcp_guard::identity::key::PublicKey;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use crate::ca::accounts::{checked_name, random_id};
use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::ca::policy::Policy;
use crate::ca::store::is_duplicate;

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Server,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
        }
    }

    /// The segment before the id, in DIDs and paths.
    pub(crate) const fn segment(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Server => "servers",
        }
    }

    pub(crate) const fn not_found(self) -> &'static str {
        match self {
            Self::Agent => "agent_not_found",
            Self::Server => "server_not_found",
        }
    }
}

/// A registered agent or server.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) account: String,
    pub(crate) name: String,
    /// The DID that we host.
    pub(crate) did: Did,
    /// The DID that the owner registered, if that is another: a did:key, or a did:web of another host.
    pub(crate) alias: Option<Did>,
    pub(crate) key: Option<PublicKey>,
    /// Whether somebody proved to hold the key of the alias.
    pub(crate) proven: bool,
    pub(crate) created_at: i64,
    pub(crate) disabled: Option<Disabled>,
}

/// Since when, by whom and why a subject is disabled.
#[derive(Clone, Debug)]
pub(crate) struct Disabled {
    pub(crate) at: i64,
    pub(crate) by_operator: bool,
    pub(crate) reason: Option<String>,
}

/// What an owner says that a subject is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    pub(crate) name: Option<String>,
    pub(crate) did: Option<String>,
    /// SPKI PEM.
    pub(crate) public_key: Option<String>,
}

const COLUMNS: &str = "id, kind, account, name, did, alias, public_key, proven_at, created_at, disabled_at, \
                       disabled_by, disabled_reason";

impl Subject {
    fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, CaError>> {
        let kind: String = row.get(1)?;
        let (did, alias): (String, Option<String>) = (row.get(4)?, row.get(5)?);
        let key: Option<Vec<u8>> = row.get(6)?;
        let (disabled_at, by): (Option<i64>, Option<String>) = (row.get(9)?, row.get(10)?);
        let reason = row.get(11)?;
        let proven = row.get::<_, Option<i64>>(7)?.is_some();
        let (id, account, name, created_at) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(8)?);
        let broken = || CaError::State("a subject in the database is broken".to_owned());
        let parsed = || {
            Ok(Self {
                id,
                kind: if kind == "server" { Kind::Server } else { Kind::Agent },
                account,
                name,
                did: Did::parse(&did).map_err(|_| broken())?,
                alias: alias.map(|alias| Did::parse(&alias)).transpose().map_err(|_| broken())?,
                key: key.map(|key| PublicKey::from_bytes(&key)).transpose().map_err(|_| broken())?,
                proven,
                created_at,
                disabled: disabled_at.map(|at| Disabled { at, by_operator: by.as_deref() != Some("owner"), reason }),
            })
        };
        Ok(parsed())
    }

    /// The DID that the owner knows it by.
    pub(crate) fn named(&self) -> &Did {
        self.alias.as_ref().unwrap_or(&self.did)
    }

    /// The id of its key in the document that we host. It stays when the key is replaced: clients expect this one.
    pub(crate) fn key_id(&self) -> String {
        format!("{}#key-1", self.did)
    }

    /// The DID that a badge names when nobody proved anything, for who asked by `text`. A did:key that somebody else
    /// holds could be registered by anyone who has seen it, so it is named only once it was proven.
    pub(crate) fn unproven_subject(&self, text: &str) -> Result<Did, CaError> {
        let asked = Did::parse(text).ok().filter(|asked| *asked != self.did);
        match asked {
            None => Ok(self.did.clone()),
            Some(asked) if self.proven && asked.public_key().is_some() => Ok(asked),
            Some(_) => Err(CaError::refused(
                403,
                "proof_required",
                "a DID of another host, or a did:key that was never proven, needs a proof (mode `ial1`)",
            )),
        }
    }

    /// The document that we host, as JSON; none without a key.
    pub(crate) fn document(&self) -> Option<Value> {
        let key = self.key.as_ref()?;
        let (did, key_id) = (self.did.as_str(), self.key_id());
        Some(json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"],
            "id": did,
            "verificationMethod": [
                { "id": key_id, "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": key.to_jwk() },
            ],
            "authentication": [key_id],
            "assertionMethod": [key_id],
        }))
    }

    /// The document of `did` if it needs no network: one that we host, or a did:key's.
    pub(crate) fn local_document(&self, did: &Did) -> Option<DidDocument> {
        if *did == self.did {
            return DidDocument::parse(did, self.document()?.to_string().as_bytes()).ok();
        }
        DidDocument::of_did_key(did)
    }

    pub(crate) fn check_owner(&self, account: &str) -> Result<(), CaError> {
        if self.account == account {
            return Ok(());
        }
        Err(CaError::refused(403, "agent_not_owned", format!("the {} is another account's", self.kind.as_str())))
    }

    pub(crate) fn check_enabled(&self) -> Result<(), CaError> {
        if self.disabled.is_none() {
            return Ok(());
        }
        Err(CaError::refused(403, "agent_disabled", format!("the {} is disabled", self.kind.as_str())))
    }
}

/// One spelling for each DID, so that a unique column means a unique subject.
fn canonical(did: &Did) -> String {
    let text = did.as_str();
    match text.splitn(4, ':').collect::<Vec<_>>().as_slice() {
        ["did", "web", host, rest @ ..] => {
            let host = host.to_ascii_lowercase().replace("%3a", "%3A");
            rest.first().map_or_else(|| format!("did:web:{host}"), |rest| format!("did:web:{host}:{rest}"))
        }
        _ => text.to_owned(),
    }
}

/// The subject with this id or DID.
pub(crate) fn find(connection: &Connection, text: &str, kind: Kind) -> Result<Subject, CaError> {
    let not_found = || CaError::refused(404, kind.not_found(), format!("no such {}", kind.as_str()));
    let (sql, value) = if let Ok(id) = uuid::Uuid::try_parse(text) {
        ("id = ?1", id.to_string())
    } else {
        let did = Did::parse(text);
        let did = did.map_err(|_| CaError::invalid("invalid_did", "neither an id nor a did:key or did:web"))?;
        ("did = ?1 OR alias = ?1", canonical(&did))
    };
    let found = connection
        .query_row(&format!("SELECT {COLUMNS} FROM subjects WHERE {sql}"), [value], Subject::read)
        .optional()?;
    found.ok_or_else(not_found)?
}

/// The subjects of an account, oldest first; of all accounts without one.
pub(crate) fn list(
    connection: &Connection,
    account: Option<&str>,
    kind: Kind,
    limit: u32,
) -> Result<Vec<Subject>, CaError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subjects WHERE kind = ?1 AND (?2 IS NULL OR account = ?2) \
         ORDER BY created_at, rowid LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![kind.as_str(), account, limit], Subject::read)?;
    rows.map(|row| row?).collect()
}

/// The identity that a claim amounts to for the subject `id`.
struct Identity {
    did: String,
    alias: Option<String>,
    key: Option<PublicKey>,
}

fn identity(origin: &Origin, policy: &Policy, kind: Kind, id: &str, claim: &Claim) -> Result<Identity, CaError> {
    let key = claim.public_key.as_deref().map(PublicKey::from_spki_pem).transpose();
    let key = key.map_err(|error| CaError::invalid("invalid_public_key", error.to_string()))?;
    let hosted_as = if kind == Kind::Server { policy.server_subject.kind() } else { kind };
    let hosted = origin.hosted(hosted_as, id);
    let Some(did) = &claim.did else { return Ok(Identity { did: hosted, alias: None, key }) };
    let did = Did::parse(did).map_err(|error| CaError::invalid("invalid_did", error.to_string()))?;
    if let Some(own) = did.public_key() {
        if key.as_ref().is_some_and(|key| key != own) {
            return Err(CaError::invalid("key_mismatch", "the public key is not the one in the did:key"));
        }
        return Ok(Identity { did: hosted, alias: Some(canonical(&did)), key: Some(own.clone()) });
    }
    if !origin.hosts(&did) {
        return Ok(Identity { did: hosted, alias: Some(canonical(&did)), key });
    }
    // capiscio-mcp names servers like agents.
    let own = canonical(&did);
    let named_as_agent = kind == Kind::Server && own == origin.hosted(Kind::Agent, id);
    if own != origin.hosted(kind, id) && !named_as_agent {
        return Err(CaError::invalid("did_mismatch", "the DID is one that this CA hosts for somebody else"));
    }
    Ok(Identity { did: own, alias: None, key })
}

/// Registers a new subject, or finds the one that an earlier attempt of the same account registered; then `false`.
pub(crate) fn create(
    connection: &Connection,
    origin: &Origin,
    policy: &Policy,
    account: &str,
    kind: Kind,
    claim: &Claim,
    now: UnixSeconds,
) -> Result<(Subject, bool), CaError> {
    let id = random_id()?;
    let identity = identity(origin, policy, kind, &id, claim)?;
    if let Some(alias) = &identity.alias
        && let Ok(known) = find(connection, alias, kind)
    {
        let same =
            known.account == account && known.kind == kind && (identity.key.is_none() || known.key == identity.key);
        return if same { Ok((known, false)) } else { Err(taken()) };
    }
    let count: u32 =
        connection.query_row("SELECT count(*) FROM subjects WHERE account = ?1", [account], |row| row.get(0))?;
    if count >= policy.max_subjects {
        return Err(CaError::refused(403, "too_many_agents", "the account has as many agents and servers as it may"));
    }
    let fallback = format!("{} {}", kind.as_str(), id.get(..8).unwrap_or_default());
    let name = checked_name(claim.name.as_deref().unwrap_or(&fallback))?;
    connection.execute(
        "INSERT INTO subjects (id, kind, account, name, did, alias, public_key, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            kind.as_str(),
            account,
            name,
            identity.did,
            identity.alias,
            identity.key.as_ref().map(PublicKey::as_bytes),
            now.as_i64()
        ],
    )?;
    Ok((find(connection, &id, kind)?, true))
}

fn taken() -> CaError {
    CaError::refused(409, "did_registered", "the DID is registered already")
}

/// Gives a subject another DID, another key or another name. What the claim leaves out stays.
pub(crate) fn update(
    connection: &Connection,
    origin: &Origin,
    policy: &Policy,
    subject: &Subject,
    claim: &Claim,
) -> Result<Subject, CaError> {
    let mut identity = identity(origin, policy, subject.kind, &subject.id, claim)?;
    if claim.did.is_none() {
        subject.did.as_str().clone_into(&mut identity.did);
        identity.alias = subject.alias.as_ref().map(canonical);
        let named = subject.alias.as_ref().and_then(Did::public_key);
        if named.is_some() && identity.key.is_some() && identity.key.as_ref() != named {
            return Err(CaError::invalid("key_mismatch", "the public key is not the one in the did:key"));
        }
    }
    let key = identity.key.or_else(|| subject.key.clone());
    let name = claim.name.as_deref().map(checked_name).transpose()?.unwrap_or(&subject.name);
    let updated = connection.execute(
        "UPDATE subjects SET name = ?2, did = ?3, public_key = ?5, alias = ?4, \
         proven_at = CASE WHEN alias IS ?4 THEN proven_at END WHERE id = ?1",
        params![subject.id, name, identity.did, identity.alias, key.as_ref().map(PublicKey::as_bytes)],
    );
    match updated {
        Err(error) if is_duplicate(&error) => Err(taken()),
        Err(error) => Err(error.into()),
        Ok(_) => find(connection, &subject.id, subject.kind),
    }
}

/// Remembers that somebody proved to hold the key of the subject's alias.
pub(crate) fn mark_proven(connection: &Connection, subject: &Subject, now: UnixSeconds) -> Result<(), CaError> {
    connection.execute(
        "UPDATE subjects SET proven_at = coalesce(proven_at, ?2) WHERE id = ?1",
        params![subject.id, now.as_i64()],
    )?;
    Ok(())
}

/// Disables a subject: guards that ask for its status refuse it, and it gets no badge any more.
pub(crate) fn disable(
    connection: &Connection,
    subject: &Subject,
    by_operator: bool,
    reason: Option<&str>,
    now: UnixSeconds,
) -> Result<(), CaError> {
    // The operator's word stays when the owner repeats it.
    if subject.disabled.as_ref().is_some_and(|disabled| disabled.by_operator || !by_operator) {
        return Ok(());
    }
    let by = if by_operator { "operator" } else { "owner" };
    connection.execute(
        "UPDATE subjects SET disabled_at = ?2, disabled_by = ?3, disabled_reason = ?4 WHERE id = ?1",
        params![subject.id, now.as_i64(), by, reason],
    )?;
    Ok(())
}

/// Enables a subject; its owner cannot undo what the operator did.
pub(crate) fn enable(connection: &Connection, subject: &Subject, by_operator: bool) -> Result<(), CaError> {
    if !by_operator && subject.disabled.as_ref().is_some_and(|disabled| disabled.by_operator) {
        return Err(CaError::refused(403, "disabled_by_operator", "the operator disabled it"));
    }
    connection.execute(
        "UPDATE subjects SET disabled_at = NULL, disabled_by = NULL, disabled_reason = NULL WHERE id = ?1",
        [&subject.id],
    )?;
    Ok(())
}
