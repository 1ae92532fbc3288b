//! No answer leaves before its decision is on record, as the evidence mode demands: shown with a store that holds
//! its writes back until the test lets them go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The number of records up to which none is held back.
    free: AtomicU64,
}

impl Held {
    fn new(places: usize) -> Arc<Self> {
        let (room, progress) = (Room::new(places), Progress::new());
        Arc::new(Self { room, progress, events: Mutex::default(), free: AtomicU64::new(0) })
    }

    fn appended(&self) -> u64 {
        self.events.lock().unwrap().len() as u64
    }

    /// Syncs at once what comes, up to `records` in all.
    fn keeps(&self, records: u64) {
        self.free.store(records, Ordering::SeqCst);
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
        let number = events.len() as u64;
        if number <= self.free.load(Ordering::SeqCst) {
            self.progress.set_durable(number);
        }
        Ok(self.progress.ticket(number))
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
        Self::over(Held::new(64), transport, mode, wait_limit).await
    }

    async fn over(store: Arc<Held>, transport: Transport, mode: EvidenceMode, wait_limit: Duration) -> Self {
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
        story.reaches(3).await;
        story.store.write_all();
        story.meanwhile().await;
        assert!(!answer.is_finished(), "{mode:?}: the outcome is not durable");
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

/// What ends the wait for an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Fails,
    Stalls,
}

/// Attack: a tool does its work, the disk fails before that is on record, and the caller goes off with the result.
#[tokio::test]
async fn s31_in_strict_mode_a_result_is_withheld_if_its_outcome_cannot_be_stored() {
    let tools = [(EvidenceMode::Strict, "look"), (EvidenceMode::Bounded, "durable")];
    let troubles = [Trouble::Fails, Trouble::Stalls];
    for ((mode, tool), trouble) in tools.into_iter().flat_map(|it| troubles.map(|trouble| (it, trouble))) {
        let name = format!("{mode:?} {trouble:?}");
        let held = Held::new(64);
        held.keeps(2); // the policy and the decision
        let limit = if trouble == Trouble::Fails { PATIENCE } else { Duration::from_millis(20) };
        let story = Story::over(held, Transport::Duplex, mode, limit).await;
        let answer = story.begin(tool, 2).await;
        if trouble == Trouble::Fails {
            story.store.fail();
        }
        let Answer::Denied(denial, text) = answer.await.unwrap() else { panic!("{name}: not denied") };
        assert_eq!(denial["reason"], "evidence_unavailable", "{name}");
        assert!(!text.contains("principal"), "{name}: {text} holds the tool's answer");
        assert_eq!(story.demo.runs(tool), 1, "{name}: it had run");
        let records = story.log.records().unwrap();
        assert_eq!(
            denial["evidence_id"], records[1]["id"],
            "{name}: the decision is on disk, and says that it was let in"
        );
        assert_eq!(records[1]["capiscio.decision"], "ALLOW", "{name}");
        assert_eq!(records[2]["rmcp_guard.decision_id"], records[1]["id"], "{name}");
    }
}

/// Ends the log that its guard writes to, and then answers.
#[derive(Clone)]
struct Closer(EvidenceLog);

impl rmcp::ServerHandler for Closer {
    async fn call_tool(
        &self,
        _: model::CallToolRequestParams,
        _: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<model::CallToolResponse, rmcp::ErrorData> {
        self.0.close();
        Ok(model::CallToolResult::success(vec![model::ContentBlock::text("the answer")]).into())
    }

    fn get_info(&self) -> model::ServerConfig {
        model::ServerConfig::new(model::ServerCapabilities::builder().enable_tools().build())
    }
}

/// The same with a log in a directory, which ends while the tool runs. In bounded mode the decision is what counts.
#[tokio::test]
async fn s31_a_log_that_ends_while_a_tool_runs_withholds_its_result_in_strict_mode() {
    for (mode, code) in [(EvidenceMode::Strict, "evidence_unavailable"), (EvidenceMode::Bounded, "ran")] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("log");
        let options = EvidenceLog::options().mode(mode).wait_limit(PATIENCE);
        let log = options.create_or_open(&directory).unwrap();
        let guard = GuardLayer::new(config(&log).build().unwrap());
        let server = Server::duplex(guard.layer(Closer(log.clone())));
        let client = server.client(Credential::none()).await;
        let answer = client.call("open", json!({})).await;
        assert_eq!(answer.code(), code, "{mode:?}");
        assert_eq!(answer.text().contains("the answer"), mode == EvidenceMode::Bounded, "{}", answer.text());
        let records = log.records().unwrap();
        let event = |record: &Value| record.get("event").unwrap_or(record).clone();
        let kinds: Vec<_> = records.iter().map(|record| event(record)["rmcp_guard.kind"].clone()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "decision").count(), 1, "{mode:?}: {kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| **kind == "outcome").count(), 0, "{mode:?}: {kinds:?}");
    }
}

/// The end of a task is the outcome of the call that created it.
#[tokio::test]
async fn s31_in_strict_mode_the_result_of_a_task_is_withheld_if_its_end_cannot_be_stored() {
    let held = Held::new(64);
    held.keeps(u64::MAX);
    let story = Story::over(held, Transport::Duplex, EvidenceMode::Strict, Duration::from_millis(20)).await;
    let key = Credential::none().with_meta("capiscio_caller_api_key", json!(crate::common::API_KEY));
    let owner = story.server.client(key).await;
    assert_eq!(owner.call("job", json!({"id": "t"})).await.code(), "task");
    owner.update_task("t").await.unwrap();

    story.store.keeps(story.store.appended() + 1); // the decision on `tasks/get`
    let withheld = owner.get_task("t").await.unwrap_err();
    assert_eq!(withheld.data.unwrap()["reason"], "evidence_unavailable");
    story.store.keeps(u64::MAX);
    assert_eq!(owner.get_task("t").await.unwrap(), model::TaskStatus::Completed);
    let ends = story.log.records().unwrap();
    let ends = ends.iter().filter(|record| record["rmcp_guard.notice"] == "task_ended").count();
    assert_eq!(ends, 2, "told again, since nobody knows whether the first record got there");
    owner.get_task("t").await.unwrap();
    assert_eq!(story.kinds()["notice"], 2, "and then no more");
}
