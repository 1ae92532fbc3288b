//! What a question about a badge costs with none to ten million revocations, and what they take in memory.
//!
//! The lists come over HTTP from a registry on loopback, page by page, as in production, and the questions go through
//! the public `badge_status`: lookup of the issuer, keyed hash, date of the list, and the set itself.

#![expect(missing_docs, reason = "criterion's macros write functions without")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement says what it found, and stops where it fails"
)]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
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

/// Different badges that are asked about in turn, so that the processor's caches do not answer for the set.
const ASKED: u64 = 1 << 17;

/// The id of badge `number`, in the form of a UUID.
fn id(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4000-8000-{number:012x}", mixed >> 32, mixed & 0xffff)
}

/// A registry that has revoked the first `size` badges.
async fn registry(size: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let page = move |Query(query): Query<Vec<(String, String)>>| async move {
        let cursor = query.iter().find(|(name, _)| name == "cursor");
        let news = query.iter().any(|(name, value)| name == "since" && !value.starts_with("1970"));
        let size = if news { 0 } else { size };
        let from = cursor.map_or(0, |(_, cursor)| cursor.parse::<u64>().unwrap());
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
    let mut group = criterion.benchmark_group("badge_status");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    // Spread over the whole list: neighbours in it are none in memory, but the first thousand pages might be.
    let step = (size / ASKED).max(1);
    let hits: Vec<_> = (0..ASKED.min(size)).map(|number| id(number * step)).collect();
    let misses: Vec<_> = (0..ASKED).map(|number| id(size + 1 + number)).collect();
    for (name, ids, want) in [("hit", hits, RevocationStatus::Revoked), ("miss", misses, RevocationStatus::Good)] {
        let mut turn = ids.iter().cycle();
        if ids.is_empty() {
            continue;
        }
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter(|| {
                let status = list.badge_status(origin, black_box(turn.next().unwrap()), now).now_or_never();
                assert_eq!(status, Some(want));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
