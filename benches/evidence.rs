//! What recording costs: callers, throughput, latency, and processor time for each record, of the whole process.
//!
//! `cargo bench --no-default-features --bench evidence [-- DIRECTORY [seconds]]`; without a directory a temporary one is
//! taken, which may be on a file system in memory. Processor time is read from Linux; elsewhere it is left out. The first
//! lines say what the disk alone can do in the same run.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a measurement that fails tells so")]
#![expect(clippy::cast_precision_loss, clippy::arithmetic_side_effects, reason = "figures for people")]
#![expect(clippy::indexing_slicing, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "quantiles")]

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rmcp_guard::evidence::{AppendError, DecisionRecord, EvidenceLog, EvidenceMode, Record};

/// Length of the probe's file: that of a segment.
const PROBE_BYTES: usize = 64 << 20;

fn record(log: &EvidenceLog, number: u64) -> Record {
    let mut record = DecisionRecord::default();
    record.method = "tools/call";
    "read_file".clone_into(&mut record.target);
    record.allow = true;
    record.auth_level = "BADGE";
    record.agent_did = Some("did:web:agents.example.com:reader".to_owned());
    record.badge_jti = Some("0191d9a4-6f3e-7c1b-8a53-0d9be2b0a6f1".to_owned());
    record.badge_issuer = Some("https://registry.example.com".to_owned());
    record.trust_level = Some(2);
    record.params_hash = Some(log.keyed_hash("params", format!("{{\"path\":\"/srv/files/{number}\"}}").as_bytes()));
    "2026-01".clone_into(&mut record.policy_version);
    "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU".clone_into(&mut record.policy_digest);
    record.profile = "interop";
    record.rule = Some("read_*".to_owned());
    record.transport = "http";
    Record::Decision(record)
}

/// Processor time of every thread that lives, by its name.
fn cpu() -> Vec<(String, Duration)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((name, Duration::from_nanos(stat.split(' ').next()?.parse().ok()?)))
    };
    tasks.filter_map(|task| of(task.ok()?)).collect()
}

struct Run {
    records: u64,
    time: Duration,
    caller_cpu: Duration,
    process_cpu: Vec<(String, Duration)>,
    latencies: Vec<Duration>,
}

impl Run {
    fn print(mut self, name: &str, log: &EvidenceLog) {
        let per_record = |time: Duration| time.as_secs_f64() * 1e6 / self.records as f64;
        let by_name = |part: &str| {
            let of = self.process_cpu.iter().filter(|(name, _)| name.starts_with(part));
            per_record(of.map(|(_, time)| *time).sum())
        };
        let total = per_record(self.process_cpu.iter().map(|(_, time)| *time).sum::<Duration>() + self.caller_cpu);
        print!(
            "{name:<28} {:>9.0}/s  cpu us/record: caller {:.2} writer {:.2} tiler {:.2} all {total:.2}",
            self.records as f64 / self.time.as_secs_f64(),
            per_record(self.caller_cpu),
            by_name("rmcp-guard-evid"),
            by_name("rmcp-guard-tile"),
        );
        if !self.latencies.is_empty() {
            self.latencies.sort_unstable();
            let at = |share: f64| self.latencies[((self.latencies.len() - 1) as f64 * share) as usize];
            print!("  latency p50 {:?} p99 {:?}", at(0.5), at(0.99));
        }
        let health = log.health();
        println!("  {:?}", health.log.map(|log| (health.records, log.published, log.sealed, log.behind)));
    }
}

/// `callers` tasks that each wait for their record, in turn.
fn waiting(log: &EvidenceLog, callers: usize, time: Duration) -> Run {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let before = cpu();
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let log = log.clone();
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < time {
                    let record = record(&log, latencies.len() as u64);
                    let begun = Instant::now();
                    let mut place = log.reserve_wait(1).await.unwrap();
                    log.append(&mut place, &record).unwrap().durable().await.unwrap();
                    latencies.push(begun.elapsed());
                }
                latencies
            })
        })
        .collect();
    let latencies: Vec<_> = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    let time = start.elapsed();
    let process_cpu = since(&before);
    Run { records: latencies.len() as u64, time, caller_cpu: Duration::ZERO, process_cpu, latencies }
}

fn since(before: &[(String, Duration)]) -> Vec<(String, Duration)> {
    let sum = |of: &[(String, Duration)], name: &str| -> Duration {
        of.iter().filter(|(other, _)| other == name).map(|(_, time)| *time).sum()
    };
    let now = cpu();
    let mut names: Vec<_> = now.iter().map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (name.clone(), sum(&now, &name).saturating_sub(sum(before, &name)))).collect()
}

fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}

/// One thread that appends `rate` records a second, or as many as there is room for, and waits for nothing else.
fn producing(log: &EvidenceLog, rate: Option<u64>, time: Duration) -> Run {
    let before = cpu();
    let start = Instant::now();
    let log_of_thread = log.clone();
    let (records, mut caller_cpu, latencies, full) = std::thread::spawn(move || {
        let log = log_of_thread;
        let mut number = 0_u64;
        let (mut latencies, mut full) = (Vec::new(), 0_u64);
        while start.elapsed() < time {
            if let Some(rate) = rate {
                let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
                if number >= due {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
            }
            let record = record(&log, number);
            // the clock is looked at now and then only, or it would be a part of the cost
            let begun = number.is_multiple_of(16).then(Instant::now);
            let mut place = match log.reserve(1) {
                Ok(place) => place,
                Err(AppendError::Full) => {
                    full += 1;
                    log.reserve_blocking(1).unwrap()
                }
                Err(error) => panic!("{error}"),
            };
            drop(log.append(&mut place, &record).unwrap());
            latencies.extend(begun.map(|begun| begun.elapsed()));
            number += 1;
        }
        (number, thread_cpu(), latencies, full)
    })
    .join()
    .unwrap();
    let own = Duration::from_nanos(records * cost_of_making(log));
    caller_cpu = caller_cpu.saturating_sub(own);
    println!("{full} of {records} records met a full queue");
    let run = Run { records, time: start.elapsed(), caller_cpu, process_cpu: since(&before), latencies };
    log.publish(Duration::from_secs(60)).unwrap();
    run
}

/// Nanoseconds that the record itself takes, with its hash: no cost of the log.
fn cost_of_making(log: &EvidenceLog) -> u64 {
    let before = thread_cpu();
    for number in 0..20_000 {
        std::hint::black_box(record(log, number));
    }
    thread_cpu().saturating_sub(before).as_nanos() as u64 / 20_000
}

/// What the disk gives: batches of 600-byte records written to a file of zeros, each followed by a sync.
fn disk_alone(directory: &Path, time: Duration) {
    let path = directory.join("probe");
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    file.write_all(&vec![0; PROBE_BYTES]).unwrap();
    file.sync_all().unwrap();
    for batch in [1, 64] {
        let bytes = vec![b'x'; 600 * batch];
        let mut latencies = Vec::new();
        let start = Instant::now();
        while start.elapsed() < time {
            let place = latencies.len() * bytes.len() % (PROBE_BYTES - bytes.len());
            file.seek(SeekFrom::Start(place as u64)).unwrap();
            let begun = Instant::now();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            latencies.push(begun.elapsed());
        }
        let rate = (latencies.len() * batch) as f64 / start.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
        println!("the disk alone, batches of {batch:<2} {rate:>9.0}/s  write and sync p50 {p50:?} p99 {p99:?}");
    }
    std::fs::remove_file(path).unwrap();
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let temporary = tempfile::tempdir().unwrap();
    let directory = arguments.first().map_or(temporary.path(), |path| Path::new(path));
    let time = Duration::from_secs(arguments.get(1).map_or(3, |seconds| seconds.parse().unwrap()));
    let open = |name: &str, mode| {
        EvidenceLog::options()
            .mode(mode)
            .wait_limit(Duration::from_secs(10))
            .create_or_open(directory.join(name))
            .unwrap()
    };

    disk_alone(directory, time.min(Duration::from_secs(2)));
    let start = Instant::now();
    let log = open("strict", EvidenceMode::Strict);
    println!("opened in {:?}; a record takes {} ns to make (left out below)", start.elapsed(), cost_of_making(&log));
    for callers in [1, 16, 128, 1024] {
        waiting(&log, callers, time).print(&format!("strict, {callers} callers"), &log);
    }
    drop(log);
    for (name, rate) in [("100k/s", Some(100_000)), ("200k/s", Some(200_000)), ("unpaced", None)] {
        let log = open(name, EvidenceMode::Bounded);
        producing(&log, rate, time).print(&format!("bounded, {name}"), &log);
        let start = Instant::now();
        drop(log);
        println!("closed in {:?}", start.elapsed());
    }
}
