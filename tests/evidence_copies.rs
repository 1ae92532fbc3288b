//! Copies of records for a subscriber that was set for a scope, while another log has none.
//!
//! Alone in its program: what `tracing` remembers is shared by all threads.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rmcp_guard::evidence::{EvidenceId, EvidenceLog, NoticeRecord, RECORD_TARGET, Record};
use tracing::span;

const PATIENCE: Duration = Duration::from_secs(120);

/// Counts the copies.
struct Counter(Arc<AtomicUsize>);

impl tracing::Subscriber for Counter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == RECORD_TARGET
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn write_one(log: &EvidenceLog) {
    let now = SystemTime::UNIX_EPOCH;
    let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, "test", Vec::new()));
    let mut place = log.reserve_blocking(1).unwrap();
    log.append(&mut place, &record).unwrap().wait_durable(PATIENCE).unwrap();
    log.publish(PATIENCE).unwrap();
}

#[test]
fn a_log_without_a_subscriber_takes_no_copies_from_one_that_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let open =
        |name: &str| EvidenceLog::options().wait_limit(PATIENCE).create_or_open(directory.path().join(name)).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let dispatch = tracing::Dispatch::new(Counter(Arc::clone(&count)));
    let without = open("without");
    write_one(&without);
    let with = tracing::dispatcher::with_default(&dispatch, || open("with"));
    write_one(&with);
    for _ in 0..60_000 {
        // its opening, and the one
        if count.load(Ordering::SeqCst) == 2 {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("{} copies came", count.load(Ordering::SeqCst));
}
