//! What everybody may read: keys, DID documents, health.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use serde_json::json;

use crate::ca::api::{Answer, App, ok};
use crate::ca::error::CaError;
use crate::ca::signing;
use crate::ca::subjects::{self, Kind};
use crate::ca::time::now;

/// How long caches may keep keys and documents: well under the overlap of a rotation.
const FRESH: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(super) async fn health(State(app): State<Arc<App>>) -> Answer {
    // Whether we can sign, which is what we are for.
    app.blocking(|app| app.store.read(|connection| signing::current(connection, now()))).await?;
    Ok(ok(&json!({ "status": "ok", "issuer": app.origin.as_str() })))
}

pub(super) async fn jwks(State(app): State<Arc<App>>) -> Answer {
    let set = app.blocking(|app| app.store.read(|connection| signing::jwks(connection, now()))).await?;
    Ok(([(header::CACHE_CONTROL, FRESH)], ok(&set)).into_response())
}

pub(super) async fn agent_document(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    document(app, Kind::Agent, id).await
}

pub(super) async fn server_document(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    document(app, Kind::Server, id).await
}

/// The document of `did:web:<host>:<segment>:<id>`, whatever kind of subject has that name.
async fn document(app: Arc<App>, segment: Kind, id: String) -> Answer {
    let not_found = || CaError::refused(404, "did_not_found", "this CA hosts no such DID");
    if uuid::Uuid::try_parse(&id).is_err() {
        return Err(not_found());
    }
    let document = app
        .blocking(move |app| {
            let did = app.origin.hosted(segment, &id);
            let subject = app.store.read(|connection| subjects::find(connection, &did, segment))?;
            Ok(subject.document())
        })
        .await;
    match document {
        Ok(Some(document)) => {
            let headers = [
                (header::CACHE_CONTROL, FRESH),
                (header::CONTENT_TYPE, HeaderValue::from_static("application/did+json")),
            ];
            Ok((headers, document.to_string()).into_response())
        }
        Ok(None) | Err(CaError::Refused(_)) => Err(not_found()),
        Err(error) => Err(error),
    }
}
