//! What rmcp-guard costs beside bare rmcp, in one run: `cargo run --release -p rmcp-guard-bench`.
//!
//! `--quick` takes less than a minute and shows that everything runs; `--write DIR` puts `performance.md`, `.json` and `.svg`
//! there; `--logs DIR` puts evidence logs on that disk. `--load TRANSPORT VARIANT SECONDS` is for a profiler.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::arithmetic_side_effects,
    reason = "a measurement that fails tells so"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rmcp_guard_bench::connect::{Transport, serve};
use rmcp_guard_bench::grid::{self, Cell, Plan, measure};
use rmcp_guard_bench::load::World;
use rmcp_guard_bench::world::Variant;
use rmcp_guard_bench::{alone, curves, report};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// Of `--name value`, the value.
fn option(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).cloned()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("--serve") => runtime.block_on(serve(&arguments[1..])),
        Some("--load") => load(&runtime, &arguments[1..]),
        _ => everything(&runtime, &arguments),
    }
}

/// One variant under load, to be looked at from outside.
fn load(runtime: &Runtime, arguments: &[String]) {
    let transport = Transport::ALL.into_iter().find(|it| format!("{it:?}") == arguments[0]).unwrap();
    let variant = Variant::from_word(&arguments[1]).unwrap();
    let time = Duration::from_secs(arguments[2].parse().unwrap());
    runtime.block_on(async {
        let world = World::start(transport, variant, false, 100, None).await;
        let slice = world.slice(32, time).await;
        println!("{} calls, {:?} of processor time", slice.calls, slice.cpu);
        for (name, time) in &slice.threads {
            println!("{name} {:.2} us", time.as_secs_f64() * 1e6 / slice.calls as f64);
        }
    });
}

fn everything(runtime: &Runtime, arguments: &[String]) {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = option(arguments, "--only");
    let wanted = |part: &str| only.as_ref().is_none_or(|only| part.contains(only.as_str()));
    let logs = option(arguments, "--logs").map(PathBuf::from);
    let (rounds, milliseconds) = if quick { (1, 100) } else { (5, 500) };
    let plan = Plan { rounds, slice: Duration::from_millis(milliseconds), logs };
    let begun = Instant::now();
    let (mut text, mut cells) = (machine(), Vec::new());
    let add = |part: String, text: &mut String| {
        println!("{part}");
        text.push_str(&part);
    };
    println!("{text}");

    // every wait for a log to come to rest takes up to a second, so the quick form has a part of everything
    let in_flights: &[usize] = if quick { &[32] } else { &[1, 32] };
    if wanted("evidence") {
        add("\n## Where records go\n".to_owned(), &mut text);
        let places = [(Transport::Memory, false), (Transport::HttpJson2026, false), (Transport::HttpJson2026, true)];
        for (transport, own_process) in places.into_iter().skip(if quick { 2 } else { 0 }) {
            let group = grid::evidence(transport, 32, own_process);
            let part = runtime.block_on(measure(&group, &plan));
            add(report::table(&part), &mut text);
            cells.push(part);
        }
    }
    if wanted("thread") {
        add("\n## One thread\n".to_owned(), &mut text);
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        for &in_flight in in_flights {
            let part = one.block_on(measure(&grid::thread(in_flight), &plan));
            add(report::threads(&part), &mut text);
            cells.push(part);
        }
    }
    if wanted("callers") {
        add("\n## Who calls, over which transport\n".to_owned(), &mut text);
        for transport in Transport::ALL {
            for &in_flight in in_flights {
                let part = runtime.block_on(measure(&grid::callers(transport, in_flight), &plan));
                add(report::table(&part), &mut text);
                cells.push(part);
            }
        }
    }
    let time = if quick { Duration::from_millis(100) } else { Duration::from_secs(1) };
    let mut found = json!({});
    if wanted("alone") {
        let alone = alone::measure(time);
        add(report::alone(&alone), &mut text);
        found["alone_ns"] = alone.json();
    }
    if wanted("allocations") {
        let counted = allocations();
        add(report::allocations(&counted), &mut text);
        found["allocations"] = counted;
    }
    let mut lines = Vec::new();
    if wanted("curves") {
        let upto = |most: u64, all: &[u64]| all.iter().copied().filter(|size| *size <= most).collect::<Vec<_>>();
        lines.push(curves::rules(&upto(if quick { 100 } else { 10_000 }, &[1, 10, 100, 1_000, 10_000]), time));
        lines.push(curves::badges(
            &upto(if quick { 100 } else { 1_000_000 }, &[1, 100, 10_000, 100_000, 1_000_000]),
            time,
        ));
        lines.push(curves::revocations(
            &upto(if quick { 1_000 } else { 10_000_000 }, &[0, 1_000, 100_000, 1_000_000, 10_000_000]),
            time,
        ));
        let (bare, guarded) = runtime.block_on(payload(&plan, quick));
        lines.extend([bare, guarded]);
        add(report::curves(&lines), &mut text);
    }
    add(format!("\nTaken in {:.0} s.\n", begun.elapsed().as_secs_f64()), &mut text);

    found["cells"] = cells.iter().flat_map(|part| part.iter().map(|cell: &Cell| cell.json(&part[0]))).collect();
    found["curves_us"] = lines.iter().map(|curve| json!({ "of": curve.name, "points": curve.points })).collect();
    if let Some(directory) = option(arguments, "--write") {
        let directory = PathBuf::from(directory);
        std::fs::write(directory.join("performance.md"), &text).unwrap();
        std::fs::write(directory.join("performance.json"), serde_json::to_string_pretty(&found).unwrap()).unwrap();
        std::fs::write(directory.join("performance.svg"), report::plot(&lines)).unwrap();
    }
}

/// Bare and guarded calls in memory with more and more to carry.
async fn payload(plan: &Plan, quick: bool) -> (curves::Curve, curves::Curve) {
    let mut lines = (curves::Curve::new("bare call, bytes"), curves::Curve::new("guarded call, bytes"));
    let sizes: &[usize] = if quick { &[100, 10_000] } else { &[100, 1_000, 10_000, 100_000, 1_000_000] };
    for &content in sizes {
        let cells = measure(&grid::payload(content), plan).await;
        lines.0.points.push((content as u64, cells[0].spread(|it| it.cpu).median));
        lines.1.points.push((content as u64, cells[1].spread(|it| it.cpu).median));
    }
    lines
}

/// Counted by a program of its own, which cargo makes where it is not there yet.
fn allocations() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--locked", "-p", "rmcp-guard-bench", "--bin", "allocations"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{processors} x {}, {} {}, load average at the start {}\n",
        model.trim_start_matches([' ', '\t', ':']),
        std::env::consts::OS,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}
