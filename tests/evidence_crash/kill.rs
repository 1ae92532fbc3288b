//! kill -9 at random moments. The page cache survives it, so this shows that nothing acknowledged is still only in the
//! process, and that recovery works; what reaches the disk is shown by `power_cut.sh`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rmcp_guard::evidence::EvidenceMode;

use crate::check::{Said, open, recovered, snapshot};
use crate::job::Job;

/// When a child is killed.
#[derive(Clone, Copy)]
enum Moment {
    /// This long after it was started, as likely as not while it opens the log.
    AfterStart(Duration),
    /// This long after it began to write.
    AfterOpening(Duration),
}

/// Starts the child, kills it, and returns what it had said by then.
fn run_and_kill(job: &Job, moment: Moment) -> Said {
    let mut child = job.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        loop {
            let start = output.len();
            if stdout.read_until(b'\n', &mut output).unwrap() == 0 {
                return output;
            }
            if String::from_utf8_lossy(&output[start..]).contains("opened ") {
                // nobody may be waiting for it
                let _ = opened.send(());
            }
        }
    });
    match moment {
        Moment::AfterStart(life) => std::thread::sleep(life),
        Moment::AfterOpening(life) => {
            is_open.recv_timeout(Duration::from_secs(60)).expect("the child opens its log");
            drop(is_open);
            std::thread::sleep(life);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Said::parse(&reader.join().unwrap())
}

/// `cycles` kills of one log after the other, `callers` threads each.
fn kill_cycles(mode: EvidenceMode, callers: usize, cycles: u32, seed: u64) {
    let mut acked_in_all = 0;
    let mut random = seed;
    for cycle in 0..cycles {
        let directory = tempfile::tempdir().unwrap();
        let mut job = Job::new(directory.path().join("evidence"), mode, callers);
        job.roll_after_bytes = 300_000;
        let mut acked = Vec::new();
        let mut key = None;
        // the second life begins with what the first one left
        for life in 0..2 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pause = Duration::from_micros((random >> 33) % 150_000);
            let moment =
                if (random >> 20).is_multiple_of(4) { Moment::AfterStart(pause) } else { Moment::AfterOpening(pause) };
            job.life = life;
            let said = run_and_kill(&job, moment);
            key = key.or(said.key);
            acked.extend(said.acked);
        }
        let Some(key) = key else { continue };
        let records = recovered(&job, &acked, &key);
        let before = snapshot_of_what_is_public(&job);
        open(&job).unwrap().close();
        assert_eq!(snapshot_of_what_is_public(&job), before, "cycle {cycle}: a second recovery changed the log");
        assert!(records >= acked.len());
        acked_in_all += acked.len();
    }
    println!("{mode:?}, {callers} callers: {cycles} logs killed twice, {acked_in_all} acknowledged records, 0 lost");
    assert!(acked_in_all > 0, "nothing was ever acknowledged, so nothing was shown");
}

fn snapshot_of_what_is_public(job: &Job) -> Vec<(String, Vec<u8>)> {
    let mut files = snapshot(&job.directory);
    files.retain(|(name, _)| !name.contains(".state"));
    files
}

/// Logs that are killed; 50 of them twice each for five settings are 500 kills.
fn cycles() -> u32 {
    if std::env::var_os("RMCP_GUARD_FULL").is_some() { 50 } else { 3 }
}

#[test]
fn strict_with_one_caller() {
    kill_cycles(EvidenceMode::Strict, 1, cycles(), 1);
}

#[test]
fn strict_with_many_callers() {
    kill_cycles(EvidenceMode::Strict, 16, cycles(), 2);
}

#[test]
fn bounded_with_one_caller() {
    kill_cycles(EvidenceMode::Bounded, 1, cycles(), 3);
}

#[test]
fn bounded_with_many_callers() {
    kill_cycles(EvidenceMode::Bounded, 16, cycles(), 4);
}

#[test]
fn best_effort_what_was_written_is_there() {
    kill_cycles(EvidenceMode::BestEffort, 4, cycles(), 5);
}
