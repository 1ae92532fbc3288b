//! How the cost of a guarded call grows with what there is: rules, badges, revocations, bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::Response;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::enforce::CallerCredential;
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::remote::RevocationSync;
use rmcp_guard::policy::ToolRequirement;
use tokio::net::TcpListener;

use crate::alone::{Desk, Nanos};
use crate::world::{Evidence, badge, open_log, registry};

/// Microseconds of a guarded call, without a transport and with records that are forgotten, at each size.
#[derive(Clone, Debug)]
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(u64, f64)>,
}

impl Curve {
    pub const fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new() }
    }

    /// The dearest point beside the cheapest.
    pub fn steepness(&self) -> f64 {
        let costs = || self.points.iter().map(|(_, cost)| *cost);
        costs().fold(0.0, f64::max) / costs().fold(f64::INFINITY, f64::min)
    }
}

const IN_TURN: usize = 1_024;

fn nowhere() -> rmcp_guard::evidence::EvidenceLog {
    open_log(Evidence::Nowhere, Path::new(""))
}

/// `sizes` rules, half of them globs; the one that decides is among them.
pub fn rules(sizes: &[u64], time: Duration) -> Curve {
    let credential = Ok(CallerCredential::badge(badge(&registry())));
    let at = |&size: &u64| {
        let desk = Desk::new(&nowhere(), true, |config| {
            // two stand in the configuration already
            (2..size).fold(config, |config, number| {
                let pattern = if number % 2 == 0 { format!("tool_{number}") } else { format!("*_{number}") };
                config.tool(pattern, ToolRequirement::authenticated())
            })
        });
        (size, Nanos::of(time, || desk.call(&credential)).least / 1e3)
    };
    Curve { name: "rules", points: sizes.iter().map(at).collect() }
}

/// `sizes` badges whose signatures are remembered. A thousand and twenty-four of them call in turn, from all of the memory.
pub fn badges(sizes: &[u64], time: Duration) -> Curve {
    let issuer = registry();
    let at = |&size: &u64| {
        let desk =
            Desk::new(&nowhere(), true, |config| config.signature_cache(usize::try_from(size * 2).unwrap().max(64)));
        let step = (size / IN_TURN as u64).max(1);
        let mut callers = Vec::new();
        for number in 0..size {
            let token = badge(&issuer);
            desk.verify(&token);
            if number % step == 0 && callers.len() < IN_TURN {
                callers.push(Ok(CallerCredential::badge(token)));
            }
        }
        let mut turn = callers.iter().cycle();
        (size, Nanos::of(time, || desk.call(turn.next().unwrap())).least / 1e3)
    };
    Curve { name: "remembered badges", points: sizes.iter().map(at).collect() }
}

/// `sizes` revocations, read from a registry on loopback as in production, asked about on every call.
pub fn revocations(sizes: &[u64], time: Duration) -> Curve {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let credential = Ok(CallerCredential::badge(badge(&registry())));
    let at = |&size: &u64| {
        let (origin, list) = runtime.block_on(async {
            let origin = lists(size).await;
            let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
            let list = RevocationSync::builder(fetcher).issuer(&origin).build().unwrap();
            list.sync_now().await.unwrap();
            (origin, list)
        });
        assert_eq!(list.revoked_badges(&origin), usize::try_from(size).ok());
        let desk = Desk::new(&nowhere(), true, |config| config.revocations(Revocations::offline(Arc::new(list))));
        (size, Nanos::of(time, || desk.call(&credential)).least / 1e3)
    };
    Curve { name: "revocations", points: sizes.iter().map(at).collect() }
}

/// A registry on loopback that has revoked `size` badges, a thousand on a page.
async fn lists(size: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let page = move |RawQuery(query): RawQuery| async move {
        let query = query.unwrap();
        let size = if query.contains("since=1970") { size } else { 0 };
        let from = query.split_once("&cursor=").map_or(0, |(_, cursor)| cursor.parse::<u64>().unwrap());
        let to = (from + 1000).min(size);
        let entries: Vec<_> = (from..to)
            .map(|number| {
                format!(r#"{{"jti":"{number:08x}-0000-4000-8000-{number:012x}","revokedAt":"2026-01-01T00:00:00Z"}}"#)
            })
            .collect();
        let next = if to < size { format!(r#","nextCursor":"{to}""#) } else { String::new() };
        let now = humantime::format_rfc3339_seconds(SystemClock.now());
        let body = format!(r#"{{"revocations":[{}],"syncedAt":"{now}"{next}}}"#, entries.join(","));
        Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
    };
    let router = Router::new().route("/v1/revocations", axum::routing::get(page));
    tokio::spawn(async { axum::serve(listener, router).await });
    origin
}
