//! Copies of finished records as structured `tracing` events, for whatever an application's subscriber does with them: a
//! log file, an OTLP exporter, a SIEM.
//!
//! A copy is never the record. It is made after the record is in the log, on a thread of its own; a subscriber that is
//! slow loses copies, which are counted, and one that panics loses that copy. Each names its place in the log (origin,
//! index, leaf hash), so that a row anywhere can be proven by the log and a missing one shows as a gap in the indices.
//! After a crash the last copies may come again: join on origin and index.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use serde_json::{Map, Value};
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

use super::entry::Entry;
use super::merkle::Hash;
use super::text::{escape_for_display, is_hidden};

/// Target of the events. They have the level `DEBUG`, so that a subscriber which shows `INFO` is not flooded: ask for
/// `rmcp_guard::evidence::record=debug`.
pub const RECORD_TARGET: &str = "rmcp_guard::evidence::record";

/// Copies that wait for the subscriber at most; at a kilobyte each this is 4 MiB.
const QUEUE: usize = 4096;

/// Hands copies of records to the subscriber of the thread that made it, or to the global one. Dropping it lets go of
/// the thread, which ends after what is queued.
#[derive(Debug)]
pub(crate) struct RecordSink {
    origin: Arc<str>,
    scope: Scope,
    sender: Option<SyncSender<Offered>>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Offered {
    index: u64,
    leaf: Hash,
    entry: Vec<u8>,
}

impl RecordSink {
    /// Copies of the records of the log `origin`; `dropped` counts those that the subscriber was too slow for.
    pub(crate) fn new(origin: Arc<str>, dropped: Arc<AtomicU64>) -> Self {
        Self { origin, scope: Scope::of_this_thread(), sender: None, dropped }
    }

    /// The same for another log of the instance.
    pub(crate) fn for_log(&self, origin: Arc<str>) -> Self {
        Self { origin, scope: self.scope.clone(), sender: None, dropped: Arc::clone(&self.dropped) }
    }

    /// Whether a subscriber wants the events at all; most do not, and then a record costs nothing here.
    pub(crate) fn is_wanted(&self) -> bool {
        // Each in a place of its own in the program: `tracing` remembers for a place whether it is of interest to anybody,
        // and while there is one subscriber only, asks just that of the thread that comes there first. A log outside the
        // scope of a subscriber would thus take the copies away from one within.
        match &self.scope.0 {
            Some(dispatch) => tracing::dispatcher::with_default(
                dispatch,
                || tracing::enabled!(target: RECORD_TARGET, tracing::Level::DEBUG),
            ),
            None => tracing::enabled!(target: RECORD_TARGET, tracing::Level::DEBUG),
        }
    }

    /// Queues a copy of entry `index`, without waiting. It is lost where the subscriber is too slow, or no thread can
    /// be had.
    pub(crate) fn offer(&mut self, index: u64, leaf: Hash, entry: Vec<u8>) {
        if self.sender.is_none() {
            self.sender = self.start();
        }
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Offered { index, leaf, entry }));
        if !matches!(sent, Some(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(Err(TrySendError::Disconnected(_))) = sent {
            self.sender = None;
        }
    }

    fn start(&self) -> Option<SyncSender<Offered>> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (origin, scope, dropped) = (Arc::clone(&self.origin), self.scope.clone(), Arc::clone(&self.dropped));
        std::thread::Builder::new()
            .name("rmcp-guard-records".to_owned())
            .spawn(move || scope.run(|| emit_all(&receiver, &origin, &dropped)))
            .ok()
            .map(|_| sender)
    }
}

fn emit_all(receiver: &Receiver<Offered>, origin: &str, dropped: &AtomicU64) {
    for copy in receiver {
        // a subscriber's panic is its own: the log must not notice
        if catch_unwind(AssertUnwindSafe(|| emit(origin, &copy))).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn emit(origin: &str, copy: &Offered) {
    let event = Entry::parse(&copy.entry).map_or(copy.entry.as_slice(), |entry| entry.event);
    let members: Map<String, Value> = serde_json::from_slice(event).unwrap_or_default();
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(escape_for_display);
    let number = |name: &str| members.get(name).and_then(Value::as_u64);
    tracing::event!(
        target: RECORD_TARGET,
        tracing::Level::DEBUG,
        evidence.origin = origin,
        evidence.index = copy.index,
        evidence.leaf_hash = %copy.leaf,
        evidence.id = text("id"),
        evidence.kind = text("rmcp_guard.kind"),
        evidence.timestamp = text("timestamp"),
        event_name = text("event.name"),
        decision = text("capiscio.decision"),
        reason = text("rmcp_guard.deny_reason"),
        tool = text("capiscio.target"),
        agent = text("capiscio.agent.did"),
        auth_level = text("capiscio.auth.level"),
        trust_level = number("trust_level"),
        outcome = text("rmcp_guard.outcome"),
        duration_us = number("rmcp_guard.duration_us"),
        record = %visible_json(event),
    );
}

/// JSON text in which every character that could change how its surroundings look is escaped as JSON has it; the value
/// stays the same, since such characters stand in strings only.
fn visible_json(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // writing to a String does not fail
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A subscriber that was set for a scope, or whichever is the global one at the time of an event.
#[derive(Clone, Debug)]
struct Scope(Option<Dispatch>);

impl Scope {
    fn of_this_thread() -> Self {
        let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
        Self((!dispatch.is::<NoSubscriber>()).then_some(dispatch))
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(dispatch) => tracing::dispatcher::with_default(dispatch, work),
            None => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use tracing::field::{Field, Visit};
    use tracing::span;

    use super::*;
    use crate::evidence::entry::{NO_PREVIOUS, write_entry};

    type Fields = BTreeMap<&'static str, String>;

    /// Keeps events, and does something of its own before.
    struct Collector<F> {
        events: Arc<Mutex<Vec<Fields>>>,
        before: F,
    }

    struct Reader<'a>(&'a mut Fields);

    impl Visit for Reader<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }

    impl<F: Fn() + 'static> tracing::Subscriber for Collector<F>
    where
        F: Send + Sync,
    {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == RECORD_TARGET
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            (self.before)();
            let mut fields = Fields::new();
            event.record(&mut Reader(&mut fields));
            self.events.lock().unwrap().push(fields);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    fn entry(event: &str, seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_entry(&mut bytes, event.as_bytes(), &NO_PREVIOUS, seq);
        bytes
    }

    /// Offers `count` copies of `event` to a subscriber that does `before` first; returns what it got, and how many
    /// copies were lost.
    fn offered(
        event: &str,
        count: u64,
        expected: u64,
        before: impl Fn() + Send + Sync + 'static,
    ) -> (Vec<Fields>, u64) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let dispatch = Dispatch::new(Collector { events: Arc::clone(&events), before });
        let dropped = Arc::new(AtomicU64::new(0));
        tracing::dispatcher::with_default(&dispatch, || {
            let mut sink = RecordSink::new("example.com/log".into(), Arc::clone(&dropped));
            assert!(sink.is_wanted());
            for index in 0..count {
                let bytes = entry(event, index);
                sink.offer(index, Hash::of_leaf(&bytes), bytes);
            }
        });
        let start = Instant::now();
        let settled = || {
            u64::try_from(events.lock().unwrap().len()).unwrap().saturating_add(dropped.load(Ordering::Relaxed))
                >= expected
        };
        while !settled() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let events = events.lock().unwrap().clone();
        (events, dropped.load(Ordering::Relaxed))
    }

    #[test]
    fn a_record_arrives_with_its_place_in_the_log() {
        let event = r#"{"capiscio.decision":"DENY","capiscio.target":"read_file","id":"x","trust_level":2}"#;
        let (events, dropped) = offered(event, 2, 2, || {});
        assert_eq!(dropped, 0);
        let fields = &events[1];
        assert_eq!(fields["evidence.origin"], "example.com/log");
        assert_eq!(fields["evidence.index"], "1");
        assert_eq!(fields["evidence.leaf_hash"], Hash::of_leaf(&entry(event, 1)).to_string());
        assert_eq!((fields["decision"].as_str(), fields["tool"].as_str()), ("DENY", "read_file"));
        assert_eq!(fields["trust_level"], "2");
        assert_eq!(fields["record"], event);
    }

    #[test]
    fn s09_hostile_text_is_escaped_and_still_the_same_json() {
        let value = Value::from("a\u{9b}\u{202e}\u{e0041}b");
        let event = format!(r#"{{"capiscio.target":{value}}}"#);
        let (events, _) = offered(&event, 1, 1, || {});
        assert_eq!(events[0]["tool"], r"a\u{9b}\u{202e}\u{e0041}b");
        assert!(events[0]["record"].chars().all(|character| character.is_ascii_graphic()));
        assert_eq!(serde_json::from_str::<Value>(&events[0]["record"]).unwrap()["capiscio.target"], value);
    }

    #[test]
    fn a_subscriber_that_panics_loses_the_copy_and_nothing_else() {
        let calls = AtomicU64::new(0);
        let panic_once = move || assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 0, "the subscriber's own trouble");
        let (events, dropped) = offered("{}", 3, 3, panic_once);
        assert_eq!((events.len(), dropped), (2, 1));
    }

    #[test]
    fn a_subscriber_that_is_slow_loses_copies_that_are_counted() {
        let count = u64::try_from(QUEUE).unwrap() + 100;
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let waits = {
            let gate = Arc::clone(&gate);
            move || drop(gate.lock())
        };
        let (_, dropped) = offered("{}", count, 99, waits);
        drop(held);
        // one may be on its way to the subscriber
        assert!((99..=100).contains(&dropped), "{dropped}");
    }

    #[test]
    fn without_a_subscriber_nothing_is_wanted() {
        let none = Dispatch::none();
        tracing::dispatcher::with_default(&none, || {
            assert!(!RecordSink::new("o".into(), Arc::default()).is_wanted());
        });
    }
}
