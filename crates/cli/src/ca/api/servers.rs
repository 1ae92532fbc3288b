//! MCP servers, as capiscio-mcp registers them: agents under other paths.

use std::sync::Arc;

use axum::extract::{Path, Query, State};

use crate::ca::accounts::Caller;
use crate::ca::api::agents::{self, Filter};
use crate::ca::api::input::Object;
use crate::ca::api::{Answer, App, badges};
use crate::ca::subjects::Kind;

pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller, Query(filter): Query<Filter>) -> Answer {
    agents::list_of(app, caller, Kind::Server, filter.did).await
}

pub(super) async fn show(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer {
    agents::show_one(app, caller, Kind::Server, id).await
}

pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: Object) -> Answer {
    agents::create_one(app, caller, Kind::Server, body).await
}

/// An unknown id is 404, and nothing is made in its place.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    agents::update_one(app, caller, Kind::Server, id, body).await
}

pub(super) async fn badge(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>, body: Object) -> Answer {
    badges::issue_on_record(app, caller, Kind::Server, id, body.parse()?).await
}

pub(super) async fn disable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    agents::switch(app, caller, Kind::Server, id, body, false).await
}

pub(super) async fn enable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Object,
) -> Answer {
    agents::switch(app, caller, Kind::Server, id, body, true).await
}
