//! What guards ask: is this badge revoked, is this agent active, what was revoked since.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use rmcp_guard::identity::badge::{BadgeContext, BadgeErrorKind, BadgeVerifier, ClaimedIdentity, VerifiedBadge};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::resolve::StaticDidDocuments;
use rmcp_guard::identity::trust_store::Issuer;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ca::api::input::Object;
use crate::ca::api::{Answer, App, agents, ok};
use crate::ca::badges;
use crate::ca::error::CaError;
use crate::ca::signing;
use crate::ca::subjects::{self, Kind};
use crate::ca::time::{now, parse_rfc3339, rfc3339};

pub(super) async fn badge(State(app): State<Arc<App>>, Path(jti): Path<String>) -> Answer {
    let badge = app.blocking(move |app| app.store.read(|connection| badges::find(connection, &jti))).await?;
    let expires = rfc3339(badge.expires_at);
    let mut status = Map::new();
    status.insert("jti".to_owned(), badge.jti.into());
    status.insert("sub".to_owned(), badge.sub.into());
    status.insert("revoked".to_owned(), badge.revoked.is_some().into());
    status.insert("expiresAt".to_owned(), expires.as_str().into());
    status.insert("expires_at".to_owned(), expires.into());
    if let Some(revocation) = badge.revoked {
        status.insert("revokedAt".to_owned(), rfc3339(revocation.at).into());
        if let Some(reason) = revocation.reason {
            status.insert("reason".to_owned(), reason.into());
        }
    }
    Ok(ok(&Value::Object(status)))
}

pub(super) async fn agent(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    subject(app, Kind::Agent, id).await
}

pub(super) async fn server(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    subject(app, Kind::Server, id).await
}

/// Either kind under either path: a server may be named like an agent.
async fn subject(app: Arc<App>, kind: Kind, id: String) -> Answer {
    let asked = id.clone();
    let subject = app.blocking(move |app| app.store.read(|connection| subjects::find(connection, &id, kind))).await?;
    Ok(ok(&agents::status_of(&subject, &asked)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    since: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn revocations(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Answer {
    let since = page.since.as_deref().filter(|since| !since.is_empty()).map(|since| {
        parse_rfc3339(since).ok_or_else(|| CaError::invalid("invalid_since", "`since` is no time of RFC 3339 in UTC"))
    });
    let since = since.transpose()?;
    let after = page.cursor.as_deref().filter(|cursor| !cursor.is_empty()).map(badges::parse_cursor).transpose()?;
    let (after, limit) = (after.unwrap_or(0), page.limit.unwrap_or(badges::MAX_PAGE));
    let page = app
        .blocking(move |app| app.store.read(|connection| badges::revocations(connection, since, after, limit, now())))
        .await?;
    Ok(ok(&page))
}

/// `POST /v1/validate`: a convenience, no substitute for verifying at home.
pub(super) async fn validate(State(app): State<Arc<App>>, mut body: Object) -> Answer {
    let Some(Value::String(token)) = body.0.remove("token").or_else(|| body.0.remove("badge")) else {
        return Err(CaError::invalid("invalid_request", "`token` is missing"));
    };
    let answer = match app.verify(token).await? {
        Ok(badge) => json!({
            "valid": true,
            "jti": badge.jti(),
            "subject": badge.subject().as_str(),
            "issuer": badge.issuer(),
            "trust_level": badge.level().as_str(),
            "trustLevel": badge.level().as_str(),
            "expiresAt": rfc3339(badge.expires_at().as_i64()),
        }),
        Err(code) => json!({ "valid": false, "error": code, "message": "the badge does not count" }),
    };
    Ok(ok(&answer))
}

impl App {
    /// A badge of ours as a guard would take it, for the audience that we are; else RFC-002's code.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: String,
    ) -> Result<Result<VerifiedBadge, &'static str>, CaError> {
        let claimed = ClaimedIdentity::peek(&token);
        let subject = claimed.subject.and_then(|subject| Did::parse(&subject).ok());
        let jti = claimed.jti.unwrap_or_default();
        // Everything that the verifier may ask for is in the database.
        let facts = self.blocking(move |app| {
            app.store.read(|connection| {
                let jwks = signing::jwks(connection, now())?.to_string();
                let badge = found(badges::find(connection, &jti))?;
                let holder = match &badge {
                    Some(badge) => found(subjects::find(connection, &badge.subject, Kind::Agent))?,
                    None => None,
                };
                let document =
                    holder.as_ref().zip(subject.as_ref()).and_then(|(holder, did)| holder.local_document(did));
                Ok((jwks, badge, holder, document))
            })
        });
        let (jwks, badge, holder, document) = facts.await?;
        let documents = document.into_iter().fold(StaticDidDocuments::new(), StaticDidDocuments::add_document);
        let Ok(issuer) =
            Issuer::jwks(self.origin.as_str(), &jwks).and_then(|issuer| issuer.subjects(["did:key", "did:web:*"]))
        else {
            return Ok(Err(BadgeErrorKind::KeysUnavailable.code()));
        };
        let guard = BadgeVerifier::builder()
            .issuer(issuer)
            .audience(self.origin.as_str())
            .did_documents(Arc::new(documents))
            // asked below, of the database itself
            .insecure_no_revocation()
            .build();
        let verified = match guard.verify(&token, &BadgeContext::at(now())).await {
            Ok(verified) => verified,
            Err(error) => return Ok(Err(error.kind().code())),
        };
        Ok(match (badge, holder) {
            (Some(badge), _) if badge.revoked.is_some() => Err(BadgeErrorKind::Revoked.code()),
            (Some(_), Some(holder)) if holder.disabled.is_none() => Ok(verified),
            (Some(_), Some(_)) => Err(BadgeErrorKind::AgentDisabled.code()),
            // It bears our signature, and we do not know it: a database of before, or a key that is no longer ours alone.
            _ => Err(BadgeErrorKind::RevocationCheckFailed.code()),
        })
    }
}

/// `None` for what is not there.
fn found<T>(result: Result<T, CaError>) -> Result<Option<T>, CaError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(CaError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
