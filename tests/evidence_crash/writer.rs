//! The program that is killed: it appends records from many threads and says which of them it was told are safe.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rmcp_guard::evidence::{AppendError, EvidenceId, EvidenceLog, EvidenceMode, EvidenceOptions, NoticeRecord, Record};

use crate::job::Job;

/// Longer than any sync takes on a machine that is busy with tests: what is not acknowledged says nothing.
const WAIT: Duration = Duration::from_secs(60);

/// Runs `job` in this process; ends by itself only when the job says after how many records.
pub(crate) fn run(job: &Job) -> Result<(), String> {
    let log = options(job).create_or_open(&job.directory).map_err(|error| format!("open: {error:?}"))?;
    say(&format!("opened {}", log.verifier_key().map_or_else(String::new, |key| key.to_string())));
    let next = AtomicU64::new(0);
    let failed = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..job.callers)
            .map(|caller| {
                scope.spawn({
                    let (log, next) = (&log, &next);
                    move || call(log, job, caller, next)
                })
            })
            .collect();
        callers.into_iter().find_map(|caller| caller.join().ok().and_then(Result::err))
    });
    if let Some(error) = failed {
        // nothing may be acknowledged after a failure, so try again: each of these must fail too
        if append(&log, job, 0, u64::MAX).is_ok() {
            say("ack-after-failure");
        }
        return Err(format!("append: {error:?}"));
    }
    log.close();
    say("closed");
    Ok(())
}

pub(crate) fn options(job: &Job) -> EvidenceOptions {
    // what is published is synced first, so the control that must lose publishes nothing
    let publishes = !(job.power_cut && job.mode == EvidenceMode::BestEffort);
    let interval = if publishes { Duration::from_millis(20) } else { Duration::from_secs(3600) };
    EvidenceLog::options()
        .mode(job.mode)
        .wait_limit(WAIT)
        .origin("crash.example")
        .checkpoint_interval(interval)
        .roll_after_bytes(job.roll_after_bytes)
}

fn call(log: &EvidenceLog, job: &Job, caller: usize, next: &AtomicU64) -> Result<(), AppendError> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if job.records.is_some_and(|records| number >= records) {
            return Ok(());
        }
        let id = append(log, job, caller, number)?;
        say(&format!("ack {id}"));
    }
}

/// Returns once the record is as safe as the job wants to see it.
fn append(log: &EvidenceLog, job: &Job, caller: usize, number: u64) -> Result<EvidenceId, AppendError> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let id = EvidenceId::generate(now);
    let members = vec![
        ("life", job.life.to_string()),
        ("caller", caller.to_string()),
        ("number", number.to_string()),
        ("filler", "x".repeat(300)),
    ];
    let mut place = log.reserve_blocking(1)?;
    let mut ticket = log.append(&mut place, &Record::Notice(NoticeRecord::new(id, now, "crash_test", members)))?;
    match job.mode {
        EvidenceMode::Strict => ticket.wait_durable(WAIT)?,
        EvidenceMode::Bounded if job.power_cut => ticket.wait_durable(WAIT)?,
        EvidenceMode::Bounded | EvidenceMode::BestEffort => ticket.wait_written(WAIT)?,
    }
    Ok(id)
}

/// One line in one write(2): whoever reads the pipe sees it whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // the reader of the pipe may be gone, as this process soon will be
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}
