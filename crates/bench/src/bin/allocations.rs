//! Allocations of a call, in a program of its own: counting them costs time. Prints one JSON object.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement that fails tells so"
)]

use std::path::Path;

use allocation_counter::measure;
use rmcp_guard::enforce::CallerCredential;
use rmcp_guard_bench::alone::{Desk, Signed};
use rmcp_guard_bench::connect::Transport;
use rmcp_guard_bench::load::World;
use rmcp_guard_bench::world::{Evidence, Variant, open_log};
use serde_json::{Map, Value, json};

const CALLS: u64 = 500;

/// Allocations and bytes of what `work` does once.
fn count(mut work: impl FnMut()) -> Value {
    work(); // what is made once
    let info = measure(|| (0..CALLS).for_each(|_| work()));
    json!({ "allocations": info.count_total as f64 / CALLS as f64, "bytes": info.bytes_total as f64 / CALLS as f64 })
}

fn main() {
    let mut found = Map::new();
    let signed = Signed::new();
    let desk = Desk::new(&open_log(Evidence::Nowhere, Path::new("")), true, |config| config);
    let verified = desk.verify(&signed.token);
    let credential = Ok(CallerCredential::badge(signed.token.clone()));
    found.insert("decision".to_owned(), count(|| desk.decide(&verified)));
    found.insert("badge, signature remembered".to_owned(), count(|| drop(desk.verify(&signed.token))));
    found.insert("guarded call without a transport".to_owned(), count(|| desk.call(&credential)));

    // client, server and guard on this thread, so that they are counted; the log's threads are not
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let decisions = Variant { outcomes: false, ..Variant::CACHED };
    let without = Variant { receipts: false, ..Variant::CACHED };
    let logs = tempfile::tempdir().unwrap();
    for variant in [Variant::BARE, Variant::BARE_BADGE, decisions, Variant::CACHED, without] {
        let world = runtime.block_on(World::start(Transport::Memory, variant, false, 100, logs.path()));
        let name = format!("in memory, {} {}", variant.name(), variant.evidence_name());
        found.insert(name.trim_end().to_owned(), count(|| runtime.block_on(world.calls(1))));
    }
    println!("{}", Value::Object(found));
}
