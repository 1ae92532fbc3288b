//! Agents: found, registered, given an identity, disabled.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ca::accounts::Caller;
use crate::ca::api::input::{Object, Reason};
use crate::ca::api::{Answer, App, json_answer, ok};
use crate::ca::badges::checked_reason;
use crate::ca::error::CaError;
use crate::ca::subjects::{self, Claim, Kind, Subject};
use crate::ca::time::{now, rfc3339};

/// Most entries of a list.
const MAX_LIST: u32 = 1000;

/// A subject as its owner sees it, under the DID that was asked for or else the one that was registered.
pub(super) fn shown(subject: &Subject, asked: Option<&str>) -> Value {
    let mut shown = json!({
        "id": subject.id,
        "orgId": subject.account,
        "name": subject.name,
        "did": asked.unwrap_or(subject.named().as_str()),
        "hostedDid": subject.did.as_str(),
        "status": status_word(subject),
        "createdAt": rfc3339(subject.created_at),
    });
    if let (Value::Object(shown), Some(pem)) = (&mut shown, subject.key.as_ref().and_then(|key| key.to_spki_pem().ok()))
    {
        shown.insert("publicKey".to_owned(), pem.into());
    }
    shown
}

pub(super) const fn status_word(subject: &Subject) -> &'static str {
    if subject.disabled.is_some() { "disabled" } else { "active" }
}

/// What an owner says about a subject. The peer's clients write `publicKey`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimBody {
    name: Option<String>,
    did: Option<String>,
    #[serde(rename = "publicKey", alias = "public_key")]
    public_key: Option<String>,
}

impl From<ClaimBody> for Claim {
    fn from(body: ClaimBody) -> Self {
        // Clients send empty text for what they do not have.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self { name: given(body.name), did: given(body.did), public_key: given(body.public_key) }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    pub(super) did: Option<String>,
}

pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller, Query(filter): Query<Filter>) -> Answer {
    list_of(app, caller, Kind::Agent, filter.did).await
}

pub(super) async fn list_of(app: Arc<App>, caller: Caller, kind: Kind, did: Option<String>) -> Answer {
    let filter = did.clone();
    let found = app.blocking(move |app| {
        app.store.read(|connection| {
            let Some(did) = filter else { return subjects::list(connection, Some(&caller.account), kind, MAX_LIST) };
            match subjects::find(connection, &did, kind) {
                Ok(subject) if subject.account == caller.account && subject.kind == kind => Ok(vec![subject]),
                // Of other accounts' agents nothing is said, not even that they exist.
                Ok(_) => Ok(Vec::new()),
                Err(CaError::Refused(refusal)) if refusal.status == 404 => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        })
    });
    let found: Vec<Value> = found.await?.iter().map(|subject| shown(subject, did.as_deref())).collect();
    Ok(ok(&json!({ "success": true, "data": found })))
}

pub(super) async fn show(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer {
    show_one(app, caller, Kind::Agent, id).await
}

pub(super) async fn show_one(app: Arc<App>, caller: Caller, kind: Kind, id: String) -> Answer {
    let subject = app.blocking(move |app| app.store.read(|connection| owned(connection, &id, kind, &caller))).await?;
    Ok(ok(&json!({ "success": true, "data": shown(&subject, None) })))
}

/// The subject `id`, if it is the caller's.
pub(super) fn owned(
    connection: &rusqlite::Connection,
    id: &str,
    kind: Kind,
    caller: &Caller,
) -> Result<Subject, CaError> {
    let subject = subjects::find(connection, id, kind)?;
    subject.check_owner(&caller.account)?;
    Ok(subject)
}

pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: Object) -> Answer {
    create_one(app, caller, Kind::Agent, body).await
}

pub(super) async fn create_one(app: Arc<App>, caller: Caller, kind: Kind, body: Object) -> Answer {
    let claim: Claim = body.parse::<ClaimBody>()?.into();
    let work = move |app: &App| {
        app.store.write(|connection| {
            subjects::create(connection, &app.origin, &app.policy, &caller.account, kind, &claim, now())
        })
    };
    let (subject, new) = app.blocking(work).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_answer(status, &json!({ "success": true, "data": shown(&subject, None) })))
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    update_one(app, caller, Kind::Agent, id, body).await
}

pub(super) async fn update_one(app: Arc<App>, caller: Caller, kind: Kind, id: String, body: Object) -> Answer {
    let claim: Claim = body.parse::<ClaimBody>()?.into();
    let work = move |app: &App| {
        app.store.write(|connection| {
            let subject = subjects::find(connection, &id, kind)?;
            if subject.kind != kind {
                return Err(CaError::refused(404, kind.not_found(), format!("no such {}", kind.as_str())));
            }
            subject.check_owner(&caller.account)?;
            subjects::update(connection, &app.origin, &app.policy, &subject, &claim)
        })
    };
    let subject = app.blocking(work).await?;
    Ok(ok(&json!({ "success": true, "data": shown(&subject, None) })))
}

pub(super) async fn disable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    switch(app, caller, Kind::Agent, id, body, false).await
}

pub(super) async fn enable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    switch(app, caller, Kind::Agent, id, body, true).await
}

/// Disables or enables, in the owner's name.
pub(super) async fn switch(
    app: Arc<App>,
    caller: Caller,
    kind: Kind,
    id: String,
    body: Object,
    enabled: bool,
) -> Answer {
    let Reason { reason } = body.parse()?;
    let work = move |app: &App| {
        app.store.write(|connection| {
            let subject = owned(connection, &id, kind, &caller)?;
            if enabled {
                subjects::enable(connection, &subject, false)?;
            } else {
                subjects::disable(connection, &subject, false, checked_reason(reason.as_deref())?, now())?;
            }
            subjects::find(connection, &subject.id, kind)
        })
    };
    let subject = app.blocking(work).await?;
    Ok(ok(&status_of(&subject, &subject.id)))
}

/// The answer of the status calls. It names the subject as it was asked for: guards do not take another name's answer.
pub(super) fn status_of(subject: &Subject, asked: &str) -> Value {
    let (id, did) = if asked.starts_with("did:") { (asked, asked) } else { (&*subject.id, subject.did.as_str()) };
    let mut status = Map::new();
    status.insert("id".to_owned(), id.into());
    status.insert("did".to_owned(), did.into());
    status.insert("status".to_owned(), status_word(subject).into());
    if let Some(disabled) = &subject.disabled {
        status.insert("disabledAt".to_owned(), rfc3339(disabled.at).into());
        if let Some(reason) = &disabled.reason {
            status.insert("reason".to_owned(), reason.as_str().into());
        }
    }
    Value::Object(status)
}
