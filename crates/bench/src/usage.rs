//! Processor time: of this process, of this thread, of another process, and by the names of threads.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap()
}

/// Of the whole process, threads that have ended too.
pub fn process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Of this thread.
pub fn thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Of each thread of a process that lives, summed by name; empty where the system does not tell (it is Linux that does).
pub fn by_thread(process: Option<u32>) -> BTreeMap<String, Duration> {
    let path = process.map_or_else(|| "/proc/self/task".to_owned(), |id| format!("/proc/{id}/task"));
    let mut sums = BTreeMap::<String, Duration>::new();
    for task in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm"));
        let stat = std::fs::read_to_string(task.path().join("schedstat"));
        let (Ok(name), Ok(stat)) = (name, stat) else { continue };
        let nanos = stat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        *sums.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    sums
}
