//! What rmcp-guard costs beside bare rmcp, in one run: `cargo run --release -p rmcp-guard-bench`.
//!
//! `--quick` takes less than two minutes and shows that everything runs; `--write DIR` puts `performance.md`, `.json` and
//! `.svg` there; `--logs DIR` puts evidence logs (some 10 GB, until the end) on that disk; `--only PART` measures one part.
//! `--load TRANSPORT VARIANT SECONDS` is for a profiler.

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
use rmcp_guard_bench::curves::Curve;
use rmcp_guard_bench::grid::{self, Cell, Group, Plan, measure};
use rmcp_guard_bench::load::World;
use rmcp_guard_bench::plot::plot;
use rmcp_guard_bench::targets::{self, Target, judge};
use rmcp_guard_bench::world::Variant;
use rmcp_guard_bench::{alone, curves, peers, report};
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
        let logs = tempfile::tempdir().unwrap();
        let mut world = World::start(transport, variant, false, 100, logs.path()).await;
        let slice = world.slice(32, time).await;
        println!("{} calls, {:?} of processor time", slice.calls, slice.cpu);
        for (name, time) in &slice.threads {
            println!("{name} {:.2} us", time.as_secs_f64() * 1e6 / slice.calls as f64);
        }
    });
}

/// What is asked for.
struct Wanted {
    only: Option<String>,
    quick: bool,
    logs: PathBuf,
}

impl Wanted {
    /// What the targets are about, and nothing else.
    fn targets(&self) -> bool {
        self.only.as_deref() == Some("targets")
    }

    fn part(&self, part: &str) -> bool {
        let of_targets = ["evidence", "thread", "alone", "allocations", "curves"].contains(&part);
        self.only.as_ref().is_none_or(|only| only == part || (self.targets() && of_targets))
    }

    fn plan(&self, rounds: usize, milliseconds: u64) -> Plan {
        let (rounds, milliseconds) = if self.quick { (1, 60) } else { (rounds, milliseconds) };
        Plan { rounds, slice: Duration::from_millis(milliseconds), logs: self.logs.clone() }
    }

    fn upto(&self, most: u64, quickly: u64, all: &[u64]) -> Vec<u64> {
        let most = if self.quick { quickly } else { most };
        all.iter().copied().filter(|size| *size <= most).collect()
    }
}

/// What was found so far.
#[derive(Default)]
struct Page {
    text: String,
    groups: Vec<Vec<Cell>>,
}

impl Page {
    fn add(&mut self, part: &str) {
        println!("{part}");
        self.text.push_str(part);
    }

    fn measure(&mut self, runtime: &Runtime, group: &Group, plan: &Plan, show: fn(&[Cell]) -> String) {
        let cells = runtime.block_on(measure(group, plan));
        self.add(&show(&cells));
        self.groups.push(cells);
    }
}

fn everything(runtime: &Runtime, arguments: &[String]) {
    let logs = option(arguments, "--logs").map_or_else(std::env::temp_dir, PathBuf::from);
    let logs = tempfile::tempdir_in(logs).unwrap();
    let wanted = Wanted {
        only: option(arguments, "--only"),
        quick: arguments.iter().any(|argument| argument == "--quick"),
        logs: logs.path().to_owned(),
    };
    let (begun, machine, mut page) = (Instant::now(), machine(), Page::default());
    println!("{machine}");

    servers(runtime, &wanted, &mut page);
    let time = Duration::from_millis(if wanted.quick { 50 } else { 1_000 });
    let mut found = json!({});
    let alone = wanted.part("alone").then(|| alone::measure(time));
    if let Some(alone) = &alone {
        page.add(&report::alone(alone));
        found["alone_ns"] = alone.json();
    }
    if wanted.part("allocations") {
        found["allocations"] = allocations();
        page.add(&report::allocations(&found["allocations"]));
    }
    let (by_number, by_bytes) = sizes(runtime, &wanted, time);
    if wanted.part("curves") {
        page.add(&report::curves(&by_number, &by_bytes));
    }
    let judged = judge(&page.groups, alone.as_ref(), &found["allocations"], &by_number);
    if wanted.only.is_none() || wanted.targets() {
        let table = targets::table(&judged);
        println!("{table}");
        page.text.insert_str(0, &table);
    }
    page.add(&format!("\nTaken in {:.0} s.\n", begun.elapsed().as_secs_f64()));

    if let Some(directory) = option(arguments, "--write").map(PathBuf::from) {
        found["machine"] = json!(machine.trim());
        found["targets"] = judged.iter().map(Target::json).collect();
        found["cells"] = page.groups.iter().flat_map(|cells| cells.iter().map(|cell| cell.json(&cells[0]))).collect();
        found["curves_us"] = by_number.iter().chain(&by_bytes).map(Curve::json).collect();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("performance.md"), machine + &page.text).unwrap();
        std::fs::write(directory.join("performance.json"), serde_json::to_string_pretty(&found).unwrap()).unwrap();
        if wanted.part("curves") {
            std::fs::write(directory.join("performance.svg"), plot(&by_number, &by_bytes)).unwrap();
        }
    }
}

/// Servers and their clients, bare and guarded.
fn servers(runtime: &Runtime, wanted: &Wanted, page: &mut Page) {
    if wanted.part("evidence") {
        page.add("\n## Where records go\n");
        let groups = if wanted.targets() {
            vec![grid::bounded(Transport::Memory), grid::bounded(Transport::HttpJson2026)]
        } else {
            let (memory, http) = (Transport::Memory, Transport::HttpJson2026);
            vec![grid::evidence(memory, false), grid::evidence(http, false), grid::evidence(http, true)]
        };
        for group in groups {
            page.measure(runtime, &group, &wanted.plan(if wanted.targets() { 21 } else { 11 }, 500), report::table);
        }
    }
    if wanted.part("thread") {
        page.add("\n## One thread\n");
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        let in_flights: &[usize] = if wanted.targets() { &[32] } else { &[1, 32] };
        for &in_flight in in_flights {
            page.measure(&one, &grid::thread(in_flight), &wanted.plan(11, 300), report::threads);
        }
    }
    if wanted.part("callers") {
        page.add("\n## Who calls, over which transport\n");
        for transport in Transport::ALL {
            for in_flight in [1, 32] {
                page.measure(runtime, &grid::callers(transport, in_flight), &wanted.plan(5, 150), report::table);
            }
        }
    }
    if wanted.part("peers") {
        page.add("\n## Beside other frameworks\n");
        match peers::build() {
            Ok(()) => {
                for transport in [Transport::HttpJson2026, Transport::Stdio] {
                    page.measure(runtime, &grid::peers(transport), &wanted.plan(9, 300), report::peers);
                }
            }
            Err(reason) => page.add(&format!("\nNot measured, since they could not be built: {reason}\n")),
        }
    }
}

/// The guarded call by the number of rules, badges and revocations, and by bytes.
fn sizes(runtime: &Runtime, wanted: &Wanted, time: Duration) -> (Vec<Curve>, Vec<Curve>) {
    if !wanted.part("curves") {
        return (Vec::new(), Vec::new());
    }
    let badges = [1, 100, 1_000, 10_000, 100_000, 1_000_000];
    let revocations = [0, 1_000, 100_000, 1_000_000, 10_000_000];
    let by_number = vec![
        curves::rules(&wanted.upto(10_000, 100, &[1, 10, 100, 1_000, 10_000]), time),
        curves::badges(&wanted.upto(1_000_000, 1_000, &badges), time),
        curves::revocations(&wanted.upto(10_000_000, 1_000, &revocations), time),
    ];
    if wanted.targets() {
        return (by_number, Vec::new());
    }
    let bytes = wanted.upto(1_000_000, 10_000, &[100, 1_000, 10_000, 100_000, 1_000_000]);
    let sizes: Vec<_> = bytes
        .into_iter()
        .map(|content| {
            let group = grid::payload(usize::try_from(content).unwrap());
            runtime.block_on(measure(&group, &wanted.plan(5, 300)))
        })
        .collect();
    (by_number, curves::payload(&sizes).into())
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
