//! What a question about a badge costs with none to ten million revocations, and what they take in memory.
//!
//! The lists come over HTTP from a registry on loopback, page by page, as in production, and the questions go through
//! the public `badge_status`: lookup of the issuer, keyed hash, date of the list, and the set itself.
//!
//! `live` asks about a thousand badges over and over, as a server does whose callers come back until their badges
//! expire. `cold` asks about another badge each time, of so many that the processor's caches hold none of their entries:
//! there a large set costs what main memory costs, one or two cache lines a question, and no more than that.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement says what it found, and stops where it fails"
)]
#![expect(clippy::arithmetic_side_effects, reason = "sizes and positions are small")]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::Response;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use rmcp_guard::clock::{Clock as _, SystemClock, UnixSeconds};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::remote::RevocationSync;
use rmcp_guard::identity::resolve::{RevocationStatus, StatusSource as _};
use rmcp_guard::test_util::FixedClock;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const SIZES: [u64; 5] = [0, 1_000, 100_000, 1_000_000, 10_000_000];

/// How many badges are asked about in turn.
const ASKED: [(&str, u64); 2] = [("live", 1 << 10), ("cold", 1 << 17)];

const ID_BYTES: usize = 36;

/// The id of badge `number`, in the form of a UUID.
fn id(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4000-8000-{number:012x}", mixed >> 32, mixed & 0xffff)
}

/// A registry that has revoked the first `size` badges.
async fn registry(size: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let page = move |RawQuery(query): RawQuery| async move {
        let query = query.unwrap();
        let size = if query.contains("since=1970") { size } else { 0 };
        let from = query.split_once("&cursor=").map_or(0, |(_, cursor)| cursor.parse::<u64>().unwrap());
        let to = from.saturating_add(1000).min(size);
        let entries: Vec<_> = (from..to)
            .map(|number| format!(r#"{{"jti":"{}","revokedAt":"2026-01-01T00:00:00Z"}}"#, id(number)))
            .collect();
        let next = if to < size { format!(r#","nextCursor":"{to}""#) } else { String::new() };
        let now = humantime::format_rfc3339_seconds(SystemClock.now());
        let body = format!(r#"{{"revocations":[{}],"syncedAt":"{now}"{next}}}"#, entries.join(","));
        Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
    };
    let router = Router::new().route("/v1/revocations", axum::routing::get(page));
    tokio::runtime::Handle::current().spawn(async { axum::serve(listener, router).await });
    origin
}

/// Resident memory of this process in bytes; `None` where the system does not say.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

fn lookup(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let clock = Arc::new(FixedClock::new(SystemClock.now_unix()));
    let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
    for size in SIZES {
        let origin = runtime.block_on(registry(size));
        let list = RevocationSync::builder(fetcher.clone()).issuer(&origin).clock(clock.clone()).build().unwrap();
        let (before, started) = (resident(), Instant::now());
        runtime.block_on(list.sync_now()).unwrap();
        let took = started.elapsed();
        // Reading millions takes a good part of the time that a list counts.
        runtime.block_on(list.sync_now()).unwrap();
        assert_eq!(list.revoked_badges(&origin), usize::try_from(size).ok());
        if size >= 1_000_000
            && let (Some(before), Some(after)) = (before, resident())
        {
            let grown = after.saturating_sub(before);
            let (whole, tenth) = (grown / size, grown * 10 / size % 10);
            println!("{size} revocations: {} MiB, {whole}.{tenth} bytes each; read in {took:.1?}", grown >> 20);
        }
        measure(criterion, &list, &origin, size, clock.now_unix());
    }
}

fn measure(criterion: &mut Criterion, list: &RevocationSync, origin: &str, size: u64, now: UnixSeconds) {
    for (kind, asked) in ASKED {
        let mut group = criterion.benchmark_group(kind);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_millis(1500));
        // From the whole list, not from its first pages.
        let step = (size / asked).max(1);
        let hits: Vec<_> = (0..asked.min(size)).map(|number| number * step).collect();
        let misses: Vec<_> = (size + 1..=size + asked).collect();
        for (name, numbers, want) in
            [("hit", hits, RevocationStatus::Revoked), ("miss", misses, RevocationStatus::Good)]
        {
            if numbers.is_empty() {
                continue;
            }
            // In one piece and in order, so that reading them costs next to nothing beside the question.
            let ids: String = numbers.into_iter().map(id).collect();
            let mut turn = (0..ids.len()).step_by(ID_BYTES).cycle();
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    let start = turn.next().unwrap();
                    let id = ids.get(start..start + ID_BYTES).unwrap();
                    let status = list.badge_status(origin, black_box(id), now).now_or_never();
                    assert_eq!(status, Some(want));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
