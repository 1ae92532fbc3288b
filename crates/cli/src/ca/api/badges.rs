//! Badges on the word of the account (IAL-0), and their revocation.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use rmcp_guard::identity::badge::BadgeRequest;
use serde_json::{Value, json};

use crate::ca::accounts::Caller;
use crate::ca::api::agents::owned;
use crate::ca::api::input::{self, BadgeBody, Object, Reason};
use crate::ca::api::{Answer, App, Peer, challenge, ok};
use crate::ca::badges::{self, Issued};
use crate::ca::error::CaError;
use crate::ca::policy;
use crate::ca::subjects::{self, Kind};
use crate::ca::time::{now, rfc3339};

/// `POST /v1/agents/{did}/badge`: IAL-0 with an API key, IAL-1 with a proof.
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    Peer(address): Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Object,
) -> Answer {
    let body: BadgeBody = body.parse()?;
    match body.mode.as_deref() {
        Some("ial1") => challenge::redeem(app, id, body).await,
        None | Some("" | "ial0") => {
            let caller = input::caller(&app, &headers, address).await?;
            let caller = caller.ok_or_else(|| CaError::refused(401, "unauthorized", "an API key is needed"))?;
            issue_on_record(app, caller, Kind::Agent, id, body).await
        }
        Some(_) => Err(CaError::invalid("invalid_mode", "the mode is `ial0` or `ial1`")),
    }
}

/// A badge of IAL-0: key and name stand in our records, and nobody proved anything now.
pub(super) async fn issue_on_record(app: Arc<App>, caller: Caller, kind: Kind, id: String, body: BadgeBody) -> Answer {
    let ask = body.ask()?;
    let issued = app
        .blocking(move |app| {
            app.store.write(|connection| {
                let subject = owned(connection, &id, kind, &caller)?;
                subject.check_enabled()?;
                let sub = subject.unproven_subject(&id)?;
                app.limit_badges(sub.as_str(), &caller.account)?;
                let (level, domain) = policy::decide(connection, &subject, &ask)?;
                let key = subject.key.clone().ok_or_else(|| {
                    CaError::refused(409, "no_public_key", "no public key is registered; a proof works without one")
                })?;
                let mut request = BadgeRequest::new(sub, key, level).lifetime(app.policy.lifetime(&ask)?);
                request.domain = domain;
                request.audience = ask.audience;
                badges::issue(connection, &app.ring, &subject, request, now())
            })
        })
        .await?;
    Ok(issued_answer(&issued))
}

impl App {
    /// Counts a badge for a DID and its account.
    pub(super) fn limit_badges(&self, did: &str, account: &str) -> Result<(), CaError> {
        self.limits.badges.take(did.to_owned(), Instant::now())?;
        self.limits.badges_of_account.take(account.to_owned(), Instant::now())
    }
}

/// The token under every name that clients look for it.
pub(super) fn issued_answer(issued: &Issued) -> Response {
    let request = &issued.request;
    let (level, expires) = (request.level.as_str(), rfc3339(issued.expires_at));
    let mut data = json!({
        "badge": issued.token,
        "token": issued.token,
        "jti": issued.jti,
        "subject": request.subject.as_str(),
        "issuer": issued.issuer,
        "trust_level": level,
        "trustLevel": level,
        "issued_at": rfc3339(issued.signed_at),
        "issuedAt": rfc3339(issued.signed_at),
        "expires_at": expires,
        "expiresAt": expires,
        "assurance_level": if request.proven_key_id.is_some() { "IAL-1" } else { "IAL-0" },
    });
    if let (Value::Object(data), Some(kid)) = (&mut data, &request.proven_key_id) {
        data.insert("cnf".to_owned(), json!({ "kid": kid }));
    }
    ok(&json!({
        "success": true,
        "data": data,
        "badge": issued.token,
        "jti": issued.jti,
        "expires_at": expires,
        "message": "badge issued",
    }))
}

/// `POST /v1/badges/{jti}/revoke`, by the owner of its subject.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(jti): Path<String>,
    body: Object,
) -> Answer {
    let Reason { reason } = body.parse()?;
    let (badge, revocation) = app
        .blocking(move |app| {
            app.store.write(|connection| {
                let badge = badges::find(connection, &jti)?;
                subjects::find(connection, &badge.subject, Kind::Agent)?.check_owner(&caller.account)?;
                let revocation = badges::revoke(connection, &badge, reason.as_deref(), now())?;
                Ok((badge, revocation))
            })
        })
        .await?;
    Ok(ok(&json!({
        "success": true,
        "jti": badge.jti,
        "revoked": true,
        "revokedAt": rfc3339(revocation.at),
        "reason": revocation.reason,
    })))
}
