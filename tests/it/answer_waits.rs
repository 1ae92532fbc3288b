//! No answer leaves before its decision is on record, as the evidence mode demands: shown with a store that holds
//! its writes back until the test lets them go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    self, ClientRequest, SubscriptionFilter, SubscriptionsListenRequest, SubscriptionsListenRequestParams,
};
use rmcp_guard::evidence::{
    AppendError, EvidenceLog, EvidenceMode, EvidenceStore, OpenError, Progress, Reservation, Room, RoomFreed,
    StoreHealth, Ticket,
};
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::policy::{GuardedMethod, MethodAccess, ToolRequirement};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::Layer as _;

use crate::common::{Answer, Client, Credential, Demo, Server, Transport, config};

/// Far beyond what a loaded machine needs; no test passes by waiting for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store of an application's own.
#[derive(Debug)]
struct Held {
    room: Arc<Room>,
    progress: Arc<Progress>,
    events: Mutex<Vec<Vec<u8>>>,
}

impl Held {
    fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { room: Room::new(places), progress: Progress::new(), events: Mutex::default() })
    }

    fn appended(&self) -> u64 {
        self.events.lock().unwrap().len() as u64
    }

    fn write_all(&self) {
        self.progress.set_written(self.appended());
    }

    fn sync_all(&self) {
        self.progress.set_durable(self.appended());
    }

    fn fail(&self) {
        self.room.end(AppendError::Failed);
        self.progress.end(AppendError::Failed);
    }
}

impl EvidenceStore for Held {
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        self.room.reserve(records)
    }

    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        let mut events = self.events.lock().unwrap();
        reservation.take(&self.room)?;
        events.push(event);
        Ok(self.progress.ticket(events.len() as u64))
    }

    fn room_freed(&self) -> RoomFreed {
        self.room.freed()
    }

    fn records(&self) -> Result<Vec<Value>, OpenError> {
        let events = self.events.lock().unwrap();
        Ok(events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect())
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::new(self.appended(), 0, self.room.ended())
    }

    fn close(&self) {
        self.room.end(AppendError::Closed);
        self.progress.end(AppendError::Closed);
    }
}

/// A guarded demo server whose evidence is held back, and a client of it.
struct Story {
    store: Arc<Held>,
    demo: Demo,
    client: Arc<Client>,
    log: EvidenceLog,
    server: Server,
    transport: Transport,
}

impl Story {
    async fn new(transport: Transport, mode: EvidenceMode, wait_limit: Duration) -> Self {
        let store = Held::new(64);
        let log = EvidenceLog::options().mode(mode).wait_limit(wait_limit).store(store.clone()).unwrap();
        let rules = config(&log)
            .tool("durable", ToolRequirement::anonymous().durable_evidence())
            .method(GuardedMethod::Subscriptions, MethodAccess::Inner)
            .method(GuardedMethod::Logging, MethodAccess::Inner);
        let guard = GuardLayer::new(rules.build().unwrap());
        let demo = Demo::default();
        let server = Server::start(transport, guard.layer(demo.clone()), &guard).await;
        let client = Arc::new(server.connect(transport.versions().last().unwrap(), Credential::none()).await);
        Self { store, demo, client, log, server, transport }
    }

    /// Begins a call and returns once `records` of it are in the store, past the record of the policy.
    async fn begin(&self, tool: &'static str, records: u64) -> JoinHandle<Answer> {
        let client = Arc::clone(&self.client);
        let answer = tokio::spawn(async move { client.call(tool, json!({})).await });
        self.reaches(1 + records).await;
        answer
    }

    async fn reaches(&self, records: u64) {
        let polling = async {
            while self.store.appended() < records {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, polling).await.is_ok(), "the store never got {records} records");
    }

    /// Gives whatever could go on the chance to: another client connects to the same server and gets an answer.
    async fn meanwhile(&self) {
        let other = self.server.connect(self.transport.versions().last().unwrap(), Credential::none()).await;
        other.list(None).await.unwrap();
    }

    /// The kinds of all records, with how often they occur.
    fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for record in self.log.records().unwrap() {
            *kinds.entry(record["rmcp_guard.kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        kinds
    }
}

const TRANSPORTS: [Transport; 2] = [Transport::Duplex, Transport::HttpStatelessJson];

/// Stops a crash from hiding a call whose answer is out already: the tool may start, its answer waits for write(2).
#[tokio::test]
async fn in_bounded_mode_an_answer_waits_until_its_decision_is_written() {
    for transport in TRANSPORTS {
        let story = Story::new(transport, EvidenceMode::Bounded, PATIENCE).await;
        let answer = story.begin("open", 2).await;
        assert_eq!(story.demo.runs("open"), 1, "the tool may start at once");
        story.meanwhile().await;
        assert!(!answer.is_finished(), "{transport:?}: the answer left before its decision was written");
        story.store.write_all();
        assert_eq!(answer.await.unwrap().code(), "ran", "{transport:?}");
    }
}

/// Stops a caller from getting the result of a call that left no trace.
#[tokio::test]
async fn in_bounded_mode_a_failing_store_turns_an_answer_into_a_denial() {
    for transport in TRANSPORTS {
        let story = Story::new(transport, EvidenceMode::Bounded, PATIENCE).await;
        let answer = story.begin("look", 2).await;
        story.store.fail();
        let Answer::Denied(denial, text) = answer.await.unwrap() else { panic!("{transport:?}: not denied") };
        assert_eq!(denial["reason"], "evidence_unavailable", "{transport:?}");
        assert!(denial.get("evidence_id").is_none(), "{transport:?}: {denial} names a record that may not exist");
        assert!(!text.contains("principal"), "{transport:?}: {text} holds the tool's answer");
        assert_eq!(story.demo.runs("look"), 1, "{transport:?}");
        // From here on nothing can be recorded, so nothing runs.
        assert_eq!(story.client.call("open", json!({})).await.code(), "evidence_unavailable", "{transport:?}");
        assert_eq!(story.demo.runs("open"), 0, "{transport:?}");
    }
}

/// Stops a prober from learning of its denial before the record of its attempt is written; denied it stays in any case.
#[tokio::test]
async fn a_denial_waits_for_its_record_too() {
    for (fails, named) in [(false, true), (true, false)] {
        let story = Story::new(Transport::Duplex, EvidenceMode::Bounded, PATIENCE).await;
        let answer = story.begin("level2", 1).await;
        story.meanwhile().await;
        assert!(!answer.is_finished(), "the denial left before it was written");
        if fails {
            story.store.fail();
        } else {
            story.store.write_all();
        }
        let Answer::Denied(denial, _) = answer.await.unwrap() else { panic!("not denied") };
        assert_eq!(denial["reason"], "badge_missing");
        assert_eq!(denial.get("evidence_id").is_some(), named, "{denial}");
        assert_eq!(story.kinds()["decision"], 1);
    }
}

/// Stops a subscription from carrying data, and a log level from turning it on, without a trace: what they send leaves
/// while no answer is there to hold back.
#[tokio::test]
async fn what_sends_without_an_answer_starts_once_its_decision_is_written() {
    #[expect(deprecated, reason = "legacy methods are guarded too")]
    let set_level = || model::SetLevelRequest::new(model::SetLevelRequestParams::new(model::LoggingLevel::Info)).into();
    let listen =
        || SubscriptionsListenRequest::new(SubscriptionsListenRequestParams::new(SubscriptionFilter::default())).into();
    let requests: [(&str, ClientRequest); 2] = [("subscriptions/listen", listen()), ("logging/setLevel", set_level())];
    for (method, request) in requests {
        for fails in [false, true] {
            let story = Story::new(Transport::Duplex, EvidenceMode::Bounded, PATIENCE).await;
            let (client, request) = (Arc::clone(&story.client), request.clone());
            let answer = tokio::spawn(async move { client.request(request).await });
            story.reaches(2).await;
            story.meanwhile().await;
            assert_eq!(story.demo.runs(method), 0, "{method} began before its decision was written");
            if fails {
                story.store.fail();
            } else {
                story.store.write_all();
            }
            assert_eq!(answer.await.unwrap().is_err(), fails, "{method}");
            assert_eq!(story.demo.runs(method), usize::from(!fails), "{method}");
        }
    }
}

/// Stops a power cut from hiding a call: the tool starts once its decision is on stable storage. The same holds in
/// bounded mode for a tool that asks for it.
#[tokio::test]
async fn in_strict_mode_a_tool_waits_until_its_decision_is_durable() {
    for (mode, tool) in [(EvidenceMode::Strict, "open"), (EvidenceMode::Bounded, "durable")] {
        let story = Story::new(Transport::Duplex, mode, PATIENCE).await;
        let answer = story.begin(tool, 1).await;
        story.store.write_all();
        story.meanwhile().await;
        assert_eq!(story.demo.runs(tool), 0, "{mode:?}: written is not durable");
        story.store.sync_all();
        let code = answer.await.unwrap().code();
        // The demo server has no tool of the second name; its handler says so.
        assert!(["ran", "error -32602"].contains(&&*code), "{mode:?}: {code}");
        assert_eq!(story.demo.runs(tool), 1, "{mode:?}");
    }
}

/// Stops a failing disk from letting tools run unrecorded.
#[tokio::test]
async fn in_strict_mode_a_failing_store_keeps_the_tool_from_running() {
    let story = Story::new(Transport::Duplex, EvidenceMode::Strict, PATIENCE).await;
    let answer = story.begin("open", 1).await;
    story.store.fail();
    assert_eq!(answer.await.unwrap().code(), "evidence_unavailable");
    assert_eq!(story.demo.runs("open"), 0);
}

/// Stops a disk that hangs from holding callers for ever, and a call that was allowed but not run from having no end.
#[tokio::test]
async fn a_store_that_never_writes_denies_when_the_limit_is_reached() {
    let cases = [(EvidenceMode::Bounded, "ok", 1), (EvidenceMode::Strict, "not_run", 0)];
    for (mode, outcome, runs) in cases {
        let story = Story::new(Transport::Duplex, mode, Duration::from_millis(1)).await;
        assert_eq!(story.client.call("open", json!({})).await.code(), "evidence_unavailable", "{mode:?}");
        assert_eq!(story.demo.runs("open"), runs, "{mode:?}");
        assert_eq!(
            story.kinds(),
            BTreeMap::from(["policy_loaded", "decision", "outcome"].map(|it| (it.to_owned(), 1)))
        );
        assert_eq!(story.log.records().unwrap()[2]["rmcp_guard.outcome"], outcome, "{mode:?}");
    }
}
