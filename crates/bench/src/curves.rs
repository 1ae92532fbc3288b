//! How the cost of a guarded call grows with what there is: rules, badges, revocations, bytes.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::Response;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::enforce::{CallerCredential, PresentedCredential};
use rmcp_guard::identity::badge::{BadgeIssuer, Revocations};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::remote::RevocationSync;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::alone::{Desk, in_turn};
use crate::grid::{Cell, Spread};
use crate::world::{Evidence, badge, badge_key, open_log, registry};

/// The cost of a guarded call at each size.
#[derive(Clone, Debug)]
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub size: u64,
    /// Microseconds of processor time.
    pub us: f64,
    /// Beside the first point, run by run.
    pub ratio: Spread,
}

impl Curve {
    /// The dearest point beside the first.
    pub fn steepness(&self) -> f64 {
        self.points.iter().map(|point| point.ratio.median).fold(0.0, f64::max)
    }

    pub fn json(&self) -> Value {
        let point = |point: &Point| json!({ "size": point.size, "us": point.us, "ratio": point.ratio.json() });
        json!({ "of": self.name, "points": self.points.iter().map(point).collect::<Value>() })
    }
}

/// How many callers have their turn at each size. Where there are fewer badges some come again, as bytes of their own: what
/// reading the badges of so many callers costs is no matter of how many are remembered.
const IN_TURN: u64 = 1_024;

/// A guarded call at each of `desks`, by its own callers in turn; without a transport, its records forgotten.
fn measure(name: &'static str, desks: &[(u64, Desk, Vec<PresentedCredential>)], time: Duration) -> Curve {
    let mut works: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for (_, desk, callers) in desks {
        // nobody is new
        for caller in callers {
            desk.call(caller);
        }
        let mut turn = callers.iter().cycle();
        works.push(Box::new(move || desk.call(turn.next().unwrap())));
    }
    let mut works: Vec<&mut dyn FnMut()> = works.iter_mut().map(|work| &mut **work as &mut dyn FnMut()).collect();
    let found = in_turn(time, &mut works);
    let point = |((size, ..), nanos): (&(u64, Desk, Vec<PresentedCredential>), &crate::alone::Nanos)| Point {
        size: *size,
        us: nanos.spread().median / 1e3,
        ratio: nanos.ratio(&found[0]),
    };
    Curve { name, points: desks.iter().zip(&found).map(point).collect() }
}

fn nowhere() -> rmcp_guard::evidence::EvidenceLog {
    open_log(Evidence::Nowhere, Path::new(""))
}

fn callers(issuer: &BadgeIssuer, many: u64) -> Vec<PresentedCredential> {
    (0..many).map(|_| Ok(CallerCredential::badge(badge(issuer)))).collect()
}

/// `sizes` rules, half of them globs; the one that decides is among them.
pub fn rules(sizes: &[u64], time: Duration) -> Curve {
    let at = |&size: &u64| {
        let desk = Desk::new(&nowhere(), true, |config| {
            // of the two that stand in the configuration already one matches
            (2..size).fold(config, |config, number| {
                let pattern = if number % 2 == 0 { format!("tool_{number}") } else { format!("*_{number}") };
                config.tool(pattern, ToolRequirement::authenticated())
            })
        });
        (size, desk, callers(&registry(), 1))
    };
    measure("rules", &sizes.iter().map(at).collect::<Vec<_>>(), time)
}

/// `sizes` badges whose signatures are remembered. A thousand and twenty-four calls come in turn, from all of the memory.
pub fn badges(sizes: &[u64], time: Duration) -> Curve {
    let at = |&size: &u64| {
        // twice the room, since its parts do not fill evenly
        let room = usize::try_from(size * 2).unwrap().max(64);
        (size, Desk::new(&nowhere(), true, |config| config.signature_cache(room)), Mutex::new(Vec::new()))
    };
    let desks: Vec<_> = sizes.iter().map(at).collect();
    let most = sizes.iter().copied().max().unwrap_or(0);
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
    std::thread::scope(|scope| {
        for worker in 0..processors {
            let desks = &desks;
            scope.spawn(move || {
                let (issuer, runtime) = (registry(), tokio::runtime::Builder::new_current_thread().build().unwrap());
                for number in (worker..most).step_by(processors as usize) {
                    let token = badge(&issuer);
                    for (size, desk, tokens) in desks.iter().filter(|(size, ..)| number < *size) {
                        desk.verify_on(&runtime, &token);
                        let mut tokens = tokens.lock().unwrap();
                        if number % (size / IN_TURN).max(1) == 0 && (tokens.len() as u64) < IN_TURN {
                            tokens.push(token.clone());
                        }
                    }
                }
            });
        }
    });
    let again = |tokens: Mutex<Vec<String>>| {
        let tokens = tokens.into_inner().unwrap();
        let callers = tokens.iter().map(|token| Ok(CallerCredential::badge(token.as_str())));
        callers.cycle().take(IN_TURN as usize).collect::<Vec<_>>()
    };
    let desks: Vec<_> = desks.into_iter().map(|(size, desk, tokens)| (size, desk, again(tokens))).collect();
    measure("remembered badges", &desks, time)
}

/// `sizes` revocations, read from a registry on loopback as in production, asked about on every call by a thousand and
/// twenty-four callers in turn.
pub fn revocations(sizes: &[u64], time: Duration) -> Curve {
    let runtime = Runtime::new().unwrap();
    let mut desks = Vec::new();
    let mut lists = Vec::new();
    for &size in sizes {
        let origin = runtime.block_on(lists_of(size));
        let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
        let list = RevocationSync::builder(fetcher).issuer(&origin).build().unwrap();
        runtime.block_on(list.sync_now()).unwrap();
        assert_eq!(list.revoked_badges(&origin), usize::try_from(size).ok());
        let issuer = BadgeIssuer::new(&origin, "key-1", badge_key()).unwrap();
        let desk = Desk::new(&nowhere(), true, |config| {
            config
                .trusted_issuer(Issuer::jwks(&origin, &issuer.jwks_json()).unwrap())
                .revocations(Revocations::offline(Arc::new(list.clone())))
                // an issuer on loopback
                .dangerous_dev_profile()
        });
        desks.push((size, desk, callers(&issuer, IN_TURN)));
        lists.push(list);
    }
    // reading millions takes a good part of the time for which a list counts
    for list in &lists {
        runtime.block_on(list.sync_now()).unwrap();
    }
    measure("revocations", &desks, time)
}

/// Bare and guarded calls in memory with more and more to carry: `cells` has both, for each size.
pub fn payload(cells: &[Vec<Cell>]) -> [Curve; 2] {
    let curve = |name, place: usize| {
        let costs = |cells: &Vec<Cell>| cells[place].spread(|round| round.cpu);
        let first = cells.first().map_or(1.0, |cells| costs(cells).median);
        let point = |cells: &Vec<Cell>| {
            let cost = costs(cells);
            let ratio =
                Spread { median: cost.median / first, least: cost.least / first, greatest: cost.greatest / first };
            Point { size: cells[place].group.content as u64, us: cost.median, ratio }
        };
        Curve { name, points: cells.iter().map(point).collect() }
    };
    [curve("bytes, bare call", 0), curve("bytes, guarded call", 1)]
}

/// A registry on loopback that has revoked `size` badges, a thousand on a page.
async fn lists_of(size: u64) -> String {
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
