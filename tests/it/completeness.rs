//! Calls == records: one decision for every call that reaches the guard, one outcome for every call that it allowed,
//! however the call ends.
//!
//! rmcp never drops the future of a handler: a cancelled call, or one whose connection has closed, learns it from
//! `context.ct` alone and runs on. Applications put what does drop it around the guard (a timeout, a `select!` on that
//! token), so both are tested.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rmcp::model::*;
use rmcp::service::{PeerRequestOptions, RequestContext, RequestHandle};
use rmcp::{ErrorData, RoleClient, RoleServer, ServerHandler};
use rmcp_guard::evidence::{EvidenceLog, EvidenceMode, read_records};
use rmcp_guard::layer::guard::{Guard, GuardLayer, META_DENIAL};
use rmcp_guard::layer::tower::ToolCall;
use rmcp_guard::policy::ToolRequirement;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::{Layer as _, Service, ServiceExt as _};

use crate::common::{Client, Credential, Demo, Fixture, LEVELS, Server, Transport, badge, config};

type Context = RequestContext<RoleServer>;

/// Far beyond what a loaded machine needs; no test passes by waiting for it.
const PATIENCE: Duration = Duration::from_secs(120);

async fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let polling = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, polling).await.is_ok(), "never came to pass: {what}");
}

/// Counts of what has begun, and of what is going on.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, (usize, usize)>>>);

struct Running(Tally, String);

impl Tally {
    fn begin(&self, what: &str) -> Running {
        let mut counts = self.0.lock().unwrap();
        let (begun, now) = counts.entry(what.to_owned()).or_default();
        *begun += 1;
        *now += 1;
        Running(self.clone(), what.to_owned())
    }

    fn begun(&self) -> usize {
        self.0.lock().unwrap().values().map(|(begun, _)| begun).sum()
    }

    fn now(&self) -> usize {
        self.0.lock().unwrap().values().map(|(_, now)| now).sum()
    }

    fn now_in(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).map_or(0, |(_, now)| *now)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().get_mut(&self.1).unwrap().1 -= 1;
    }
}

/// Tools that go on until the test lets them end.
#[derive(Clone)]
struct Tools {
    tally: Tally,
    /// Closed to let all of them end.
    hold: Arc<Semaphore>,
}

const TOOLS: [&str; 6] = ["succeed", "fail", "panic", "heed", "hurry", "ignore"];

impl ServerHandler for Tools {
    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let _running = self.tally.begin(&request.name);
        if matches!(&*request.name, "heed" | "hurry") {
            tokio::select! {
                () = context.ct.cancelled() => return Err(ErrorData::internal_error("stopped", None)),
                _ = self.hold.acquire() => {}
            }
        }
        let released = self.hold.acquire().await;
        assert!(released.is_err(), "the semaphore has no permits");
        match &*request.name {
            "fail" => Ok(CallToolResult::error(vec![ContentBlock::text("failed")]).into()),
            "panic" => panic!("a tool that panics"),
            _ => Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into()),
        }
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

/// Stands outside the guard and counts the calls that reach it.
#[derive(Clone)]
struct Front {
    guard: Guard<Tools>,
    calls: Tally,
    on_cancel: OnCancel,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OnCancel {
    /// As rmcp does.
    RunOn,
    /// The guard's future is dropped.
    Drop,
}

impl ServerHandler for Front {
    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let _running = self.calls.begin(&request.name);
        let cancelled = context.ct.clone();
        let call = self.guard.call_tool(request, context);
        match self.on_cancel {
            OnCancel::RunOn => call.await,
            OnCancel::Drop => tokio::select! {
                // What is never polled has not reached the guard.
                biased;
                answer = call => answer,
                () = cancelled.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            },
        }
    }

    fn get_info(&self) -> ServerConfig {
        self.guard.get_info()
    }
}

/// Whoever calls, with as many clients as it takes: a stock one waits for the head of each HTTP response before it sends
/// its next request, and without sessions that comes with the answer.
struct Caller<'a> {
    server: &'a Server,
    transport: Transport,
    credential: Credential,
    clients: Vec<Client>,
}

impl<'a> Caller<'a> {
    fn new(server: &'a Server, transport: Transport, credential: Credential) -> Self {
        Self { server, transport, credential, clients: Vec::new() }
    }

    /// Sends calls and leaves their answers to come.
    async fn start(&mut self, calls: &[(&str, usize)]) -> Vec<RequestHandle<RoleClient>> {
        let mut handles = Vec::new();
        for tool in calls.iter().flat_map(|&(tool, count)| std::iter::repeat_n(tool, count)) {
            if self.clients.is_empty() || self.transport == Transport::HttpStatelessJson {
                let version = self.transport.versions().last().unwrap();
                self.clients.push(self.server.connect(version, self.credential.clone()).await);
            }
            let client = self.clients.last().unwrap();
            let mut request = ClientRequest::from(CallToolRequest::new(CallToolRequestParams::new(tool.to_owned())));
            request.get_meta_mut().extend(RequestMetaObject(MetaObject(client.meta.clone())));
            let options = PeerRequestOptions::no_options();
            handles.push(client.service.send_cancellable_request(request, options).await.unwrap());
        }
        handles
    }

    async fn hang_up(self) {
        join_all(self.clients.into_iter().map(async |client| client.service.cancel().await.unwrap())).await;
    }
}

async fn answer(handle: RequestHandle<RoleClient>) -> CallToolResult {
    match handle.await_response().await.unwrap() {
        ServerResult::CallToolResult(result) => result,
        other => panic!("{other:?}"),
    }
}

fn denied(result: &CallToolResult) -> Option<&str> {
    result.meta.as_ref()?.get(META_DENIAL)?["reason"].as_str()
}

/// 64 calls in flight at once, of every kind, and denied and hurried ones past them.
///
/// Returns the number of calls that reached the guard.
async fn traffic(transport: Transport, on_cancel: OnCancel, guard: &GuardLayer) -> Arrived {
    let tools = Tools { tally: Tally::default(), hold: Arc::new(Semaphore::new(0)) };
    let front = Front { guard: guard.layer(tools.clone()), calls: Tally::default(), on_cancel };
    let server = Server::start(transport, front.clone(), guard).await;
    let mut agent = Caller::new(&server, transport, Credential::badge(transport, &badge(10, LEVELS[2])));
    let mut leaver = Caller::new(&server, transport, Credential::none());

    let staying = agent.start(&[("succeed", 16), ("fail", 8)]).await;
    let cancelled = agent.start(&[("heed", 8), ("ignore", 8)]).await;
    // No answer ever comes for these.
    let panicking = agent.start(&[("panic", 8)]).await;
    let left = leaver.start(&[("heed", 8), ("ignore", 8)]).await;
    eventually("64 calls in flight", || tools.tally.now() == 64).await;

    let refused = agent.start(&[("level3", 12)]).await;
    let strange = leaver.start(&[("level1", 12)]).await;
    for (handles, reason) in [(refused, "trust_insufficient"), (strange, "badge_missing")] {
        for result in join_all(handles.into_iter().map(answer)).await {
            assert_eq!(denied(&result), Some(reason));
        }
    }
    // Cancelled before, while or after they are decided on, as it happens; some never arrive.
    let hurried = agent.start(&[("hurry", 16), ("level3", 8)]).await;
    for handle in hurried.into_iter().chain(cancelled) {
        handle.cancel(None).await.unwrap();
    }
    leaver.hang_up().await;
    drop(left);

    eventually("heedful tools stop", || tools.tally.now_in("heed") == 0).await;
    if on_cancel == OnCancel::Drop {
        eventually("cancelled calls are dropped", || tools.tally.now_in("ignore") == 0).await;
    }
    tools.hold.close();
    let results = join_all(staying.into_iter().map(answer)).await;
    assert_eq!(results.iter().filter(|result| result.is_error == Some(true)).count(), 8);
    eventually("every call has ended", || front.calls.now() == 0).await;
    drop(panicking);
    Arrived { calls: front.calls.begun(), ran: tools.tally.begun() }
}

/// What reached the guard, and what reached the tools.
struct Arrived {
    calls: usize,
    ran: usize,
}

fn check(name: &str, on_cancel: OnCancel, arrived: &Arrived, records: &[Value]) {
    let of_kind = |kind: &str| -> Vec<&Value> {
        let events = records.iter().map(|record| record.get("event").unwrap_or(record));
        events.filter(|event| event["rmcp_guard.kind"] == kind).collect()
    };
    let decisions = of_kind("decision");
    assert_eq!(decisions.len(), arrived.calls, "{name}: one decision for each call");

    let text = |event: &Value, member: &str| event[member].as_str().unwrap().to_owned();
    let ids: BTreeSet<String> = decisions.iter().map(|it| text(it, "id")).collect();
    assert_eq!(ids.len(), decisions.len(), "{name}: ids are unique");
    let allowed = decisions.iter().filter(|it| it["capiscio.decision"] == "ALLOW");
    let allowed: BTreeSet<String> = allowed.map(|it| text(it, "id")).collect();
    assert!(allowed.len() >= arrived.ran, "{name}: what ran was allowed");
    if on_cancel == OnCancel::RunOn {
        assert_eq!(allowed.len(), arrived.ran, "{name}: what was allowed ran");
    }

    let outcomes = of_kind("outcome");
    assert_eq!(outcomes.len(), allowed.len(), "{name}: one outcome for each allowed call");
    let concluded: BTreeSet<String> = outcomes.iter().map(|it| text(it, "rmcp_guard.decision_id")).collect();
    assert_eq!(concluded, allowed, "{name}: each outcome is of an allowed call, and no two of the same");

    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        let end = outcome["rmcp_guard.outcome"].as_str().unwrap();
        if outcome["capiscio.target"] == "hurry" {
            assert!(["ok", "cancelled"].contains(&end), "{name}: {end}");
        } else {
            *ends.entry(end).or_default() += 1;
        }
    }
    let (ok, cancelled) = match on_cancel {
        // Tools that ignore their cancellation do their work to the end.
        OnCancel::RunOn => (16 + 16, 16),
        OnCancel::Drop => (16, 32),
    };
    let want = BTreeMap::from([("ok", ok), ("tool_error", 8), ("panicked", 8), ("cancelled", cancelled)]);
    assert_eq!(ends, want, "{name}");
}

/// Every transport, with rmcp's way of cancelling and the harsh one, each with a log of its own.
async fn calls_equal_records(log: impl Fn(&str) -> EvidenceLog, read: impl Fn(&str, EvidenceLog) -> Vec<Value>) {
    let transports = [Transport::Duplex, Transport::HttpStatelessJson, Transport::HttpStateful];
    let cases = transports.into_iter().flat_map(|it| [(it, OnCancel::RunOn), (it, OnCancel::Drop)]);
    let (log, read) = (&log, &read);
    join_all(cases.map(async |(transport, on_cancel)| {
        let name = format!("{transport:?}-{on_cancel:?}");
        let evidence = log(&name);
        let rules = TOOLS.into_iter().fold(config(&evidence), |config, tool| match tool {
            // a rule of this name is there already
            "fail" | "panic" => config,
            _ => config.tool(tool, ToolRequirement::anonymous()),
        });
        let best_effort = evidence.mode() == EvidenceMode::BestEffort;
        let rules = if best_effort { rules.dangerous_dev_profile() } else { rules };
        let guard = GuardLayer::new(rules.build().unwrap());
        let arrived = traffic(transport, on_cancel, &guard).await;
        drop(guard);
        check(&name, on_cancel, &arrived, &read(&name, evidence));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_equal_records_in_memory() {
    calls_equal_records(|_| EvidenceLog::in_memory(), |_, log| log.records().unwrap()).await;
}

async fn calls_equal_records_in_a_file(mode: EvidenceMode) {
    let directory = tempfile::tempdir().unwrap();
    // How long a loaded machine takes to write is not what is tested here.
    let options = EvidenceLog::options().mode(mode).wait_limit(PATIENCE);
    let log = |name: &str| options.clone().create_or_open(directory.path().join(name)).unwrap();
    let read = |name: &str, log: EvidenceLog| {
        log.close();
        read_records(directory.path().join(name)).unwrap()
    };
    calls_equal_records(log, read).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_equal_records_in_a_file_in_bounded_mode() {
    calls_equal_records_in_a_file(EvidenceMode::Bounded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_equal_records_in_a_file_in_strict_mode() {
    calls_equal_records_in_a_file(EvidenceMode::Strict).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_equal_records_in_a_file_in_best_effort_mode() {
    calls_equal_records_in_a_file(EvidenceMode::BestEffort).await;
}

/// What best-effort mode drops it counts: calls, and outcomes of those that ran, are records, or in the count of a gap or of
/// denials that found no place in the share of callers who are not authenticated.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_best_effort_mode_calls_equal_records_and_counted_drops() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("log");
    // far fewer places than calls in flight, each of which holds two
    let options = EvidenceLog::options().mode(EvidenceMode::BestEffort).queue(16).wait_limit(PATIENCE);
    let log = options.create_or_open(&directory).unwrap();
    let rules = config(&log).dangerous_dev_profile();
    let rules = ["succeed", "heed", "hurry", "ignore"]
        .into_iter()
        .fold(rules, |rules, tool| rules.tool(tool, ToolRequirement::anonymous()));
    let guard = GuardLayer::new(rules.build().unwrap());
    let arrived = traffic(Transport::Duplex, OnCancel::RunOn, &guard).await;
    drop(guard);
    log.close();
    let health = log.health();
    let records = read_records(&directory).unwrap();
    let events: Vec<&Value> = records.iter().map(|record| record.get("event").unwrap_or(record)).collect();
    let of_kind = |kind: &str| events.iter().filter(|event| event["rmcp_guard.kind"] == kind).count();
    let sum = |count: &str| events.iter().filter_map(|event| event[count].as_u64()).sum::<u64>();
    let (gaps, coalesced) = (sum("rmcp_guard.gap.count"), sum("rmcp_guard.coalesced.count"));
    assert!(gaps > 0, "64 calls found room in 16 places");
    assert_eq!((gaps, coalesced), (health.dropped, health.coalesced));
    let told = of_kind("decision") + of_kind("outcome") + usize::try_from(gaps + coalesced).unwrap();
    assert_eq!(told, arrived.calls + arrived.ran);
}

/// A log that has ended denies, whatever the mode: nothing runs that could not even be counted.
#[tokio::test]
async fn a_log_that_has_ended_denies_in_every_mode() {
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded, EvidenceMode::BestEffort] {
        for transport in [Transport::Duplex, Transport::HttpStatelessJson] {
            let directory = tempfile::tempdir().unwrap();
            let options = EvidenceLog::options().mode(mode).wait_limit(PATIENCE);
            let log = options.create_or_open(directory.path().join("log")).unwrap();
            let rules = config(&log).dangerous_dev_profile();
            let guard = GuardLayer::new(rules.build().unwrap());
            let demo = Demo::default();
            let server = Server::start(transport, guard.layer(demo.clone()), &guard).await;
            let client = server.connect(transport.versions().last().unwrap(), Credential::none()).await;
            assert_eq!(client.call("open", Value::Null).await.code(), "ran", "{mode:?} {transport:?}");
            log.close();
            for tool in ["open", "level2"] {
                let code = client.call(tool, Value::Null).await.code();
                let want = if tool == "open" { "evidence_unavailable" } else { "badge_missing" };
                assert_eq!(code, want, "{mode:?} {transport:?}: a denial stays one");
            }
            assert_eq!(demo.runs("open"), 1, "{mode:?} {transport:?}");
        }
    }
}

/// Answers for a tower service whose calls panic, as a layer that catches panics does.
#[derive(Clone)]
struct Catcher<T>(T);

impl<T> ServerHandler for Catcher<T>
where
    T: Service<ToolCall, Response = CallToolResponse, Error = ErrorData, Future: Send> + Clone + Send + Sync + 'static,
{
    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let call = self.0.clone().oneshot(ToolCall::new(request, context, None));
        let caught = AssertUnwindSafe(call).catch_unwind().await;
        caught.unwrap_or_else(|_| Err(ErrorData::internal_error("internal error", None)))
    }
}

/// Stops a tool that panics from passing for one that was cancelled, because somebody caught the panic.
#[tokio::test]
async fn a_panic_that_is_caught_outside_the_guard_is_recorded_as_one() {
    let fixture = Fixture::new();
    let tools = tower::service_fn(async |_: ToolCall| -> Result<CallToolResponse, ErrorData> {
        tokio::task::yield_now().await;
        panic!("a tool that panics")
    });
    let server = Server::duplex(Catcher(fixture.guard.layer(tools)));
    let client = server.client(Credential::none()).await;
    assert_eq!(client.call("open", Value::Null).await.code(), "error -32603");
    let outcomes = fixture.records("outcome");
    assert_eq!(outcomes.iter().map(|it| &it["rmcp_guard.outcome"]).collect::<Vec<_>>(), ["panicked"]);
}
