//! What a call pays for the issuer's keys while the set is fresh, beside a clone of an `Arc` and a look at the two clocks,
//! which is what it consists of. That it allocates nothing is a test: `a_fresh_set_answers_without_allocating`.

#![expect(clippy::unwrap_used, reason = "a bench whose world cannot be built fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::remote::RemoteKeys;
use rmcp_guard::identity::resolve::KeySource as _;
use tokio::net::TcpListener;

/// An issuer in the middle of a rollover: the key that is looked up is the last of three.
const KIDS: [&str; 3] = ["ca-key-2025-01", "ca-key-2025-02", "ca-key-2025-03"];

async fn fetched_keys() -> RemoteKeys {
    let jwk = |(seed, kid): (u8, &str)| {
        let mut jwk = SigningKey::from_seed(&[seed; 32]).public_key().to_jwk();
        jwk.as_object_mut().unwrap().insert("kid".to_owned(), kid.into());
        jwk
    };
    let set = serde_json::json!({ "keys": (1..).zip(KIDS).map(jwk).collect::<Vec<_>>() }).to_string();
    let answer = move || std::future::ready(([(CONTENT_TYPE, "application/json")], set.clone()));
    let app = Router::new().route("/.well-known/jwks.json", get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let fetcher = Fetcher::builder().dangerous_allow_loopback().build().unwrap();
    let keys = RemoteKeys::new(&origin, fetcher).with_lifetime(Duration::from_secs(3600));
    tokio::select! {
        _ = async { axum::serve(listener, app).await } => {}
        refreshed = keys.refresh() => refreshed.unwrap(),
    }
    keys
}

fn lookup(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keys = runtime.block_on(fetched_keys());
    let set = keys.keys(None).now_or_never().unwrap().unwrap();
    let mut group = criterion.benchmark_group("issuer keys");
    group.bench_function("Arc clone", |bencher| bencher.iter(|| Arc::clone(black_box(&set))));
    group.bench_function("both clocks", |bencher| bencher.iter(|| (SystemClock.now(), Instant::now())));
    group.bench_function("fresh set, by kid", |bencher| {
        bencher.iter(|| keys.keys(black_box(Some(KIDS[2]))).now_or_never().unwrap().unwrap());
    });
    group.bench_function("fresh set, without kid", |bencher| {
        bencher.iter(|| keys.keys(black_box(None)).now_or_never().unwrap().unwrap());
    });
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
