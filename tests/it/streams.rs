//! What goes on for long ends with the credential that opened it: subscriptions, streams of sessions, calls that run.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp::model::*;
use rmcp::service::{RequestContext, ServiceExt as _, SubscriptionContext, SubscriptionSink};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::clock::{Clock, UnixSeconds};
use rmcp_guard::enforce::GuardConfigBuilder;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::{DEFAULT_BADGE_LIFETIME, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};
use rmcp_guard::layer::guard::{DENIAL_CODE, GuardLayer};
use rmcp_guard::layer::tower::ToolCall;
use rmcp_guard::policy::{GuardedMethod, MethodAccess, ToolRequirement};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::common::{
    API_KEY, AUDIENCE, Client, Credential, LEVELS, Server, Transport, badge_request, config, registry,
};
use crate::tower_stack::Dispatcher;

type Context = RequestContext<RoleServer>;

/// How often the tests have credentials looked at again.
const OFTEN: Duration = Duration::from_millis(10);

/// Far beyond what a loaded machine needs; no test passes by waiting for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A time that moves when it is told to.
#[derive(Debug)]
pub struct SetClock(pub AtomicI64);

impl SetClock {
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(i64::try_from(seconds).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst).try_into().unwrap())
    }
}

/// Counts itself while it exists.
struct Present(Arc<AtomicUsize>);

impl Present {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Never ends anything by itself.
#[derive(Clone, Default)]
struct Endless {
    /// Calls and subscriptions under way.
    running: Arc<AtomicUsize>,
    sinks: Arc<Mutex<Vec<SubscriptionSink>>>,
    tokens: Arc<Mutex<Vec<CancellationToken>>>,
    release: Arc<tokio::sync::Notify>,
}

impl Endless {
    async fn tool(&self, token: CancellationToken) -> CallToolResponse {
        let _present = Present::new(&self.running);
        self.tokens.lock().unwrap().push(token);
        self.release.notified().await;
        CallToolResult::success(vec![ContentBlock::text("done")]).into()
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl ServerHandler for Endless {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_prompts();
        ServerConfig::new(capabilities.build())
    }

    async fn call_tool(&self, _: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        Ok(self.tool(context.ct).await)
    }

    async fn get_prompt(&self, _: GetPromptRequestParams, context: Context) -> Result<GetPromptResponse, ErrorData> {
        self.tool(context.ct).await;
        Ok(GetPromptResult::new(Vec::new()).into())
    }

    async fn on_custom_request(&self, _: CustomRequest, context: Context) -> Result<CustomResult, ErrorData> {
        self.tool(context.ct).await;
        Ok(CustomResult(json!({})))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.sinks.lock().unwrap().push(context.sink().clone());
        self.tool(context.request_context().ct.clone()).await;
        Ok(())
    }
}

/// A registry that can be told to revoke, to disable, and to be silent.
#[derive(Debug, Default)]
struct Status {
    revoked: AtomicBool,
    disabled: AtomicBool,
    unreachable: AtomicBool,
}

impl StatusSource for Status {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(if self.unreachable.load(Ordering::SeqCst) {
            RevocationStatus::Unknown
        } else if self.revoked.load(Ordering::SeqCst) {
            RevocationStatus::Revoked
        } else {
            RevocationStatus::Good
        })
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        let disabled = self.disabled.load(Ordering::SeqCst);
        MaybeReady::ready(if disabled { AgentStatus::Disabled } else { AgentStatus::Active })
    }
}

struct Story {
    server: Endless,
    guard: GuardLayer,
    evidence: EvidenceLog,
    clock: Arc<SetClock>,
    status: Arc<Status>,
}

impl Story {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder) -> Self {
        let evidence = EvidenceLog::in_memory();
        let clock = Arc::new(SetClock(AtomicI64::new(1_760_000_000)));
        let status = Arc::new(Status::default());
        let known = || MethodAccess::Require(ToolRequirement::authenticated());
        let config = config(&evidence)
            .clock(Arc::<SetClock>::clone(&clock))
            .revocations(Revocations::online(Arc::<Status>::clone(&status)))
            .method(GuardedMethod::Subscriptions, known())
            .method(GuardedMethod::Prompts, known())
            .reauthorization_interval(OFTEN);
        let guard = GuardLayer::new(change(config).build().unwrap());
        Self { server: Endless::default(), guard, evidence, clock, status }
    }

    async fn serve(&self, transport: Transport) -> Server {
        Server::start(transport, self.guard.layer(self.server.clone()), &self.guard).await
    }

    /// A badge of this moment; it lives for five minutes.
    fn badge(&self, seed: u8) -> String {
        registry().issue(&badge_request(seed, LEVELS[2]).audience(AUDIENCE), self.clock.now_unix()).unwrap()
    }

    /// Waits for calls and subscriptions to be under way.
    async fn until_running(&self, count: usize) {
        while self.server.running() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.evidence.records().unwrap().into_iter();
        events.filter(|event| event["rmcp_guard.kind"] == kind).collect()
    }

    /// What the log says about streams that were ended.
    fn ends(&self) -> Vec<Value> {
        let ended = |event: &Value| event["rmcp_guard.notice"] == "stream_ended";
        self.events("notice").into_iter().filter(ended).collect()
    }

    fn outcomes(&self) -> Vec<Value> {
        self.events("outcome").iter().map(|event| event["rmcp_guard.outcome"].clone()).collect()
    }
}

/// What does not end fails its test.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("an end")
}

fn listen() -> ClientRequest {
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    SubscriptionsListenRequest::new(SubscriptionsListenRequestParams::new(filter)).into()
}

/// How a request ended: `ran`, or the reason of its denial.
async fn reason(client: &Client, request: ClientRequest) -> String {
    match client.request(request).await {
        Ok(_) => "ran".to_owned(),
        Err(error) if error.code.0 == DENIAL_CODE => error.data.unwrap()["reason"].as_str().unwrap().to_owned(),
        Err(error) => error.message.to_string(),
    }
}

/// Attack: an agent subscribes with its last good badge and listens for days.
#[tokio::test]
async fn s18_a_subscription_ends_with_its_badge() {
    for transport in [Transport::Duplex, Transport::HttpStatelessSse] {
        for raw in [false, true] {
            if raw && transport != Transport::Duplex {
                continue;
            }
            let story = Story::new();
            let (guard, handler) = (story.guard.clone(), story.server.clone());
            let server = if raw {
                Server::duplex_from(move || guard.raw(handler.clone().into_dyn(), |_| None))
            } else {
                story.serve(transport).await
            };
            let client = server.client(Credential::meta(&story.badge(10))).await;
            let expiry = async {
                story.until_running(1).await;
                let sink = story.server.sinks.lock().unwrap()[0].clone();
                sink.notify_tool_list_changed().await.unwrap();
                // The badge's last second, and then its end: no tolerance is added to what is open.
                story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs() - 1);
                tokio::time::sleep(OFTEN * 5).await;
                assert_eq!(story.server.running(), 1, "{transport:?}");
                story.clock.advance(1);
                sink
            };
            let (ended, sink) = in_time(async { tokio::join!(reason(&client, listen()), expiry) }).await;
            assert_eq!(ended, "badge_expired", "{transport:?} {raw}");
            assert_eq!(story.server.running(), 0, "the handler was stopped");
            assert!(sink.notify_tool_list_changed().await.is_err(), "nothing can be sent any more");
            assert!(story.server.tokens.lock().unwrap()[0].is_cancelled());

            let ends = story.ends();
            assert_eq!(ends.len(), 1, "{transport:?} {raw}");
            assert_eq!(ends[0]["rmcp_guard.notice.reason"], "badge_expired");
            assert_eq!(ends[0]["rmcp_guard.notice.method"], "subscriptions/listen");
            let decisions = story.events("decision");
            assert_eq!(decisions.len(), 1, "looking again is no call");
            assert_eq!(ends[0]["rmcp_guard.notice.decision_id"], decisions[0]["id"]);
        }
    }
}

/// Attack: the badge behind a stream is revoked, its agent disabled, or its registry kept from answering, and the stream
/// lives on the decision of its first second.
#[tokio::test]
async fn s18_what_is_open_is_decided_anew() {
    type Switch = fn(&Status) -> &AtomicBool;
    let cases: [(&str, Switch); 3] = [
        ("badge_revoked", |status| &status.revoked),
        ("agent_disabled", |status| &status.disabled),
        ("revocation_check_failed", |status| &status.unreachable),
    ];
    for transport in [Transport::Duplex, Transport::HttpStatelessSse, Transport::HttpStatelessJson] {
        for (want, switch) in cases {
            let story = Story::new();
            let server = story.serve(transport).await;
            let client = server.client(Credential::meta(&story.badge(10))).await;
            let change = async {
                story.until_running(1).await;
                switch(&story.status).store(true, Ordering::SeqCst);
            };
            let ended = async {
                if transport == Transport::HttpStatelessJson {
                    client.call("level2", json!({})).await.code()
                } else {
                    reason(&client, listen()).await
                }
            };
            let (ended, ()) = in_time(Box::pin(async { tokio::join!(ended, change) })).await;
            assert_eq!(ended, want, "{transport:?}");
            assert_eq!(story.server.running(), 0, "{transport:?} {want}");
            assert_eq!(story.ends()[0]["rmcp_guard.notice.reason"], want, "{transport:?}");
        }
    }
}

/// Attack: a call is made to run until long after its badge, and its progress and its result are read.
#[tokio::test]
async fn s18_a_call_that_runs_ends_with_its_badge() {
    for transport in Transport::ALL {
        let story = Story::new();
        let server = story.serve(transport).await;
        let version = transport.versions().last().unwrap();
        let client = server.connect(version, Credential::badge(transport, &story.badge(10))).await;
        let expiry = async {
            story.until_running(1).await;
            story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs());
        };
        let (answer, ()) = in_time(async { tokio::join!(client.call("level2", json!({})), expiry) }).await;
        assert_eq!(answer.code(), "badge_expired", "{transport:?} {answer:?}");
        assert_eq!(story.server.running(), 0, "{transport:?}: the tool was stopped");
        assert!(story.server.tokens.lock().unwrap()[0].is_cancelled(), "{transport:?}: and what it started, told");
        assert_eq!(story.outcomes(), ["cancelled"], "{transport:?}");
        let (mut ends, decisions) = (story.ends(), story.events("decision"));
        // In a session rmcp's client keeps a stream open beside its calls, which ends too.
        ends.retain(|end| end["rmcp_guard.notice.method"] != "GET");
        assert_eq!((ends.len(), decisions.len()), (1, 1), "{transport:?}");
        assert_eq!(ends[0]["rmcp_guard.notice.reason"], "badge_expired", "{transport:?}");
        assert_eq!(ends[0]["rmcp_guard.notice.method"], "tools/call", "{transport:?}");
        assert_eq!(ends[0]["rmcp_guard.notice.decision_id"], decisions[0]["id"], "{transport:?}");
    }
}

/// Other methods that take their time, raw services and tower services end in the same way.
#[tokio::test]
async fn s18_every_form_of_the_guard_ends_what_it_runs() {
    for form in ["handler", "raw", "tower", "prompt", "custom"] {
        let story = Story::with(|config| config.allow_custom_method("com.example/wait"));
        let (guard, handler) = (story.guard.clone(), story.server.clone());
        let server = match form {
            "raw" => Server::duplex_from(move || guard.raw(handler.clone().into_dyn(), |_| None)),
            "tower" => {
                let tools = tower::service_fn(move |call: ToolCall| {
                    let handler = handler.clone();
                    async move { Ok::<_, ErrorData>(handler.tool(call.context.ct).await) }
                });
                Server::duplex(Dispatcher(guard.layer(tools)))
            }
            _ => story.serve(Transport::Duplex).await,
        };
        let client = server.client(Credential::meta(&story.badge(10))).await;
        let expiry = async {
            story.until_running(1).await;
            story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs());
        };
        let ended = async {
            match form {
                "prompt" => reason(&client, GetPromptRequest::new(GetPromptRequestParams::new("p")).into()).await,
                "custom" => reason(&client, CustomRequest::new("com.example/wait", None).into()).await,
                _ => client.call("level2", json!({})).await.code(),
            }
        };
        let (ended, ()) = in_time(Box::pin(async { tokio::join!(ended, expiry) })).await;
        assert_eq!(ended, "badge_expired", "{form}");
        assert_eq!(story.server.running(), 0, "{form}");
        assert_eq!(story.ends().len(), 1, "{form}");
    }
}

/// Who keeps its credential keeps its call: time alone ends nothing for API keys and strangers, nor for a badge that was
/// let in by the tolerance for clocks; and whoever says so by its dangerous name has calls run on.
#[tokio::test]
async fn s18_what_has_no_end_goes_on() {
    type Caller<'a> = &'a dyn Fn(&Story) -> Credential;
    let late = |story: &Story| {
        let badge = story.badge(10);
        story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs() + 10);
        Credential::meta(&badge)
    };
    let cases: [(&str, bool, Caller<'_>, u64); 4] = [
        ("member", false, &|_| Credential::none().with_meta("capiscio_caller_api_key", json!(API_KEY)), 86_400),
        ("open", false, &|_| Credential::none(), 86_400),
        ("level2", false, &late, 49),
        ("level2", true, &|story| Credential::meta(&story.badge(10)), 86_400),
    ];
    for (number, (tool, outlive, credential, seconds)) in cases.into_iter().enumerate() {
        let story = Story::with(|config| if outlive { config.dangerous_calls_outlive_credentials() } else { config });
        let server = story.serve(Transport::Duplex).await;
        let client = server.client(credential(&story)).await;
        let time = async {
            story.until_running(1).await;
            story.clock.advance(seconds);
            // Some looks, each of which finds nothing.
            tokio::time::sleep(OFTEN * 5).await;
            story.server.release.notify_one();
        };
        let (answer, ()) = in_time(async { tokio::join!(client.call(tool, json!({})), time) }).await;
        assert_eq!(answer.code(), "ran", "{number}");
        assert_eq!(story.outcomes(), ["ok"], "{number}");
        assert!(story.ends().is_empty(), "{number}");
    }
}

/// What the tolerance let in ends with the tolerance.
#[tokio::test]
async fn s18_the_tolerance_for_clocks_ends_too() {
    let story = Story::new();
    let server = story.serve(Transport::Duplex).await;
    let badge = story.badge(10);
    story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs() + 10);
    let client = server.client(Credential::meta(&badge)).await;
    let time = async {
        story.until_running(1).await;
        story.clock.advance(50);
    };
    let (answer, ()) = in_time(async { tokio::join!(client.call("level2", json!({})), time) }).await;
    assert_eq!(answer.code(), "badge_expired");
}

/// Attack: a client keeps the stream of its session open, on which the server sends whatever it has, when its badge is long
/// gone.
#[cfg(feature = "client")] // for reqwest
#[tokio::test]
async fn s18_the_stream_of_a_session_ends_with_its_badge() {
    for want in ["badge_expired", "badge_revoked"] {
        let story = Story::new();
        let server = story.serve(Transport::HttpStateful).await;
        let badge = story.badge(10);
        let http = reqwest::Client::new();
        let send =
            async |request: reqwest::RequestBuilder| request.header("x-capiscio-badge", &badge).send().await.unwrap();
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } });
        let hello = http
            .post(server.url())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(hello.to_string());
        let hello = send(hello).await;
        let session = hello.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let get = || http.get(server.url()).header("accept", "text/event-stream").header("mcp-session-id", &session);
        let mut stream = send(get()).await;
        assert_eq!(stream.status(), 200, "{want}");
        assert!(story.ends().is_empty());

        let end = async { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
        let change = async {
            if want == "badge_expired" {
                story.clock.advance(DEFAULT_BADGE_LIFETIME.as_secs());
            } else {
                story.status.revoked.store(true, Ordering::SeqCst);
            }
        };
        in_time(async { tokio::join!(end, change) }).await;
        let ends = story.ends();
        assert_eq!(ends.len(), 1, "{want}");
        assert_eq!(ends[0]["rmcp_guard.notice.reason"], want);
        assert_eq!(ends[0]["rmcp_guard.notice.method"], "GET");
        assert_eq!(ends[0]["rmcp_guard.notice.session"].as_str().unwrap().len(), 16);
        story.clock.advance(61);
        assert_eq!(send(get()).await.status(), 401, "and it is not opened again");
    }
}
