//! Events of guards: kept as they come, the last ones of all.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use rusqlite::params;
use serde_json::{Value, json};

use crate::ca::accounts::Caller;
use crate::ca::api::input::Object;
use crate::ca::api::{Answer, App, json_answer};
use crate::ca::error::CaError;
use crate::ca::time::now;

/// The longest event, as JSON: with the policy's number of events it bounds the disk they take.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// `POST /v1/events`: one flat object. The same event twice, by its id, is one event.
pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: Object) -> Answer {
    let id = body.0.get("id").and_then(Value::as_str).and_then(|id| uuid::Uuid::try_parse(id).ok());
    let id = id.ok_or_else(|| CaError::invalid("invalid_event", "`id` is not a UUID"))?.to_string();
    if !body.0.get("eventType").is_some_and(Value::is_string) {
        return Err(CaError::invalid("invalid_event", "`eventType` is missing"));
    }
    let answer = json!({ "success": true, "data": { "id": id } });
    let text = Value::Object(body.0).to_string();
    if text.len() > MAX_EVENT_BYTES {
        return Err(CaError::refused(413, "body_too_large", "an event is at most 16 KiB"));
    }
    let work = move |app: &App| {
        app.store.write(|connection| {
            connection.execute(
                "INSERT OR IGNORE INTO events (account, id, received_at, body) VALUES (?1, ?2, ?3, ?4)",
                params![caller.account, id, now().as_i64(), text],
            )?;
            connection.execute(
                "DELETE FROM events WHERE seq <= (SELECT MAX(seq) FROM events) - ?1",
                [app.policy.max_events],
            )?;
            Ok(())
        })
    };
    app.blocking(work).await?;
    Ok(json_answer(StatusCode::ACCEPTED, &answer))
}
