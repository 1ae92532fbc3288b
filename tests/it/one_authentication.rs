//! A request is authenticated once: an online source of revocations is asked once, whatever is decided within it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rmcp::model::{ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, TaskStatus, Tool};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::clock::{Clock, SystemClock, UnixSeconds};
use rmcp_guard::enforce::{GuardConfig, GuardConfigBuilder, MAX_AUTHENTICATION};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::layer::session::SessionLayer;
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Value, json};
use tower::Layer as _;

use super::common::{
    AUDIENCE, Client, Credential, Demo, LEVELS, REGISTRY, Server, Transport, badge_request, registry, registry_with_key,
};

const PARTNER: &str = "https://partner.example.org";

/// Counts what it is asked, and takes its time or all of it.
#[derive(Debug, Default)]
struct Asked {
    badges: AtomicUsize,
    agents: AtomicUsize,
    revoked: AtomicBool,
    waits: AtomicBool,
    hangs: AtomicBool,
}

impl Asked {
    /// The questions since the last time.
    fn take(&self) -> (usize, usize) {
        (self.badges.swap(0, Ordering::SeqCst), self.agents.swap(0, Ordering::SeqCst))
    }

    /// Forgets the questions of a handshake, once no more come: its last requests have no answer that a client waits for.
    async fn settle(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.take() == (0, 0) {
                return;
            }
        }
    }

    fn answer<T: Copy + Send + 'static>(&self, answer: T) -> MaybeReady<'_, T> {
        if self.hangs.load(Ordering::SeqCst) {
            return MaybeReady::Wait(Box::pin(std::future::pending()));
        }
        if self.waits.load(Ordering::SeqCst) {
            return MaybeReady::Wait(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                answer
            }));
        }
        MaybeReady::ready(answer)
    }
}

impl StatusSource for Asked {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        self.badges.fetch_add(1, Ordering::SeqCst);
        let revoked = self.revoked.load(Ordering::SeqCst);
        self.answer(if revoked { RevocationStatus::Revoked } else { RevocationStatus::Good })
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        self.agents.fetch_add(1, Ordering::SeqCst);
        self.answer(AgentStatus::Active)
    }
}

fn config(asked: &Arc<Asked>, evidence: EvidenceLog) -> GuardConfigBuilder {
    let level1 = ToolRequirement::min_trust(TrustLevel::Registered);
    GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::jwks(REGISTRY, &registry().jwks_json()).unwrap())
        .additional_issuer(Issuer::jwks(PARTNER, &registry_with_key(PARTNER, 5).jwks_json()).unwrap())
        .revocations(Revocations::online(Arc::<Asked>::clone(asked)))
        .tool("open", ToolRequirement::anonymous())
        .tool("job", level1.clone())
        .tool("level1", level1.clone().trust_issuer(PARTNER))
        .tool("level2", level1.clone())
        .default_requirement(level1)
        .evidence(evidence)
}

struct Guarded {
    asked: Arc<Asked>,
    guard: GuardLayer,
    demo: Demo,
    evidence: EvidenceLog,
}

impl Guarded {
    fn new() -> Self {
        let (asked, evidence) = (Arc::<Asked>::default(), EvidenceLog::in_memory());
        let guard = GuardLayer::new(config(&asked, evidence.clone()).build().unwrap());
        Self { asked, guard, demo: Demo::default(), evidence }
    }

    async fn serve(&self, transport: Transport) -> Server {
        Server::start(transport, self.guard.layer(self.demo.clone()), &self.guard).await
    }

    /// The client of agent `seed`, connected and quiet.
    async fn client(&self, server: &Server, transport: Transport) -> Client {
        let badge = registry().issue(&badge_request(10, LEVELS[2]).audience(AUDIENCE), super::common::now()).unwrap();
        let client = server.connect(transport.versions().last().unwrap(), Credential::badge(transport, &badge)).await;
        assert_eq!(client.call("level1", json!({})).await.code(), "ran");
        self.asked.settle().await;
        client
    }
}

/// A registry that is asked online is asked once per request, and a call costs the same in a session and without one.
#[tokio::test]
async fn each_request_asks_once() {
    for transport in Transport::ALL {
        for waits in [false, true] {
            let guarded = Guarded::new();
            guarded.asked.waits.store(waits, Ordering::SeqCst);
            let server = guarded.serve(transport).await;
            let client = guarded.client(&server, transport).await;
            let name = format!("{transport:?} {waits}");

            assert_eq!(client.call("level2", json!({})).await.code(), "ran", "{name}");
            assert_eq!(guarded.asked.take(), (1, 1), "a call: {name}");
            assert_eq!(client.call("none", json!({})).await.code(), "error -32602", "{name}");
            assert_eq!(guarded.asked.take(), (1, 1), "a call of what does not exist: {name}");
            assert!(client.list(None).await.unwrap().tools.len() > 1, "{name}");
            assert_eq!(guarded.asked.take(), (1, 1), "a list: {name}");
            assert!(client.custom("example/unknown", json!({})).await.is_err());
            assert_eq!(guarded.asked.take(), (1, 1), "a denied method: {name}");

            let task = client.call("job", json!({})).await.text();
            assert_eq!(guarded.asked.take(), (1, 1), "a task: {name}");
            assert_eq!(client.get_task(&task).await.unwrap(), TaskStatus::Working, "{name}");
            assert_eq!(guarded.asked.take(), (1, 1), "tasks/get: {name}");
            assert!(client.get_task("unknown").await.is_err(), "{name}");
            assert_eq!(guarded.asked.take(), (1, 1), "tasks/get of a stranger's: {name}");
            client.cancel_task(&task).await.unwrap();
            assert_eq!(guarded.asked.take(), (1, 1), "tasks/cancel: {name}");
        }
    }
}

/// Fifty tools.
#[derive(Clone)]
struct Many;

impl ServerHandler for Many {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object" }).as_object().unwrap().clone();
        let tool = |n| Tool::new(format!("tool{n}"), "one of many", schema.clone());
        Ok(ListToolsResult::with_all_items((0..50).map(tool).collect()))
    }
}

#[tokio::test]
async fn a_list_of_fifty_tools_asks_once() {
    for transport in Transport::ALL {
        let guarded = Guarded::new();
        let server = Server::start(transport, guarded.guard.layer(Many), &guarded.guard).await;
        let badge = registry().issue(&badge_request(10, LEVELS[2]).audience(AUDIENCE), super::common::now()).unwrap();
        let client = server.connect(transport.versions().last().unwrap(), Credential::badge(transport, &badge)).await;
        client.list(None).await.unwrap();
        guarded.asked.settle().await;
        assert_eq!(client.tool_names().await.len(), 50, "{transport:?}");
        assert_eq!(guarded.asked.take(), (1, 1), "{transport:?}");
    }
}

/// Stops a badge that is revoked in the middle of a session from going on as what it was at its beginning (S5).
#[tokio::test]
async fn s5_a_badge_revoked_between_two_requests_is_denied_at_the_second() {
    for transport in Transport::ALL {
        let guarded = Guarded::new();
        let server = guarded.serve(transport).await;
        let client = guarded.client(&server, transport).await;
        assert_eq!(client.call("level2", json!({})).await.code(), "ran");
        guarded.asked.revoked.store(true, Ordering::SeqCst);
        if transport == Transport::HttpStateful {
            // the session layer refuses before the guard is reached
            let call = client.service.send_request(rmcp::model::ClientRequest::CallToolRequest(
                rmcp::model::CallToolRequest::new(rmcp::model::CallToolRequestParams::new("level2")),
            ));
            assert!(call.await.is_err());
            let records = guarded.evidence.records().unwrap();
            let refused = |it: &Value| it["rmcp_guard.notice.reason"] == "badge_revoked";
            assert!(records.iter().any(refused), "{records:#?}");
        } else {
            assert_eq!(client.call("level2", json!({})).await.code(), "badge_revoked", "{transport:?}");
            assert_eq!(client.tool_names().await, Vec::<String>::new(), "{transport:?}");
        }
        assert_eq!(guarded.demo.runs("level2"), 1);
    }
}

/// Stops an issuer that one tool trusts from opening the others, although the session was opened with its badge (S4).
#[tokio::test]
async fn s4_an_issuer_of_one_tool_authenticates_its_session_and_opens_that_tool_alone() {
    for transport in Transport::ALL {
        let guarded = Guarded::new();
        let server = guarded.serve(transport).await;
        let request = badge_request(10, LEVELS[1]).audience(AUDIENCE);
        let badge = registry_with_key(PARTNER, 5).issue(&request, super::common::now()).unwrap();
        let client = server.connect(transport.versions().last().unwrap(), Credential::badge(transport, &badge)).await;
        for _ in 0..2 {
            assert_eq!(client.call("level1", json!({})).await.code(), "ran", "{transport:?}");
            assert_eq!(client.call("level2", json!({})).await.code(), "issuer_untrusted", "{transport:?}");
            assert_eq!(client.tool_names().await, ["level1"], "{transport:?}");
        }
        assert_eq!(guarded.demo.runs("level2"), 0);
    }
}

/// A clock that is read seconds apart.
#[derive(Debug)]
struct Slow(Mutex<Duration>);

impl Clock for Slow {
    fn now(&self) -> SystemTime {
        let mut later = self.0.lock().unwrap();
        *later += Duration::from_secs(6);
        <SystemClock as Default>::default().now() + *later
    }
}

/// Stops a client from having a call decided by what was true when it sent the head of its request, minutes before its
/// body; and a second guard from taking over what another configuration found.
#[tokio::test]
async fn s5_what_the_session_layer_found_counts_for_this_moment_and_this_configuration_only() {
    let (asked, evidence) = (Arc::<Asked>::default(), EvidenceLog::in_memory());
    let clock = Arc::new(Slow(Mutex::default()));
    let slow = GuardLayer::new(config(&asked, evidence.clone()).clock(clock).build().unwrap());
    let slow_server = Server::start(Transport::HttpStateful, slow.layer(Demo::default()), &slow).await;
    let inner = GuardLayer::new(config(&asked, evidence).build().unwrap());
    let other = SessionLayer::new(Guarded::new().guard.enforcer().clone());
    let mcp = Server::mcp(inner.layer(Demo::default()), StreamableHttpServerConfig::default());
    let other_server = Server::http(axum::Router::new().nest_service("/mcp", other.layer(mcp))).await;

    for (name, server, questions) in [("slow", slow_server, (2, 2)), ("other", other_server, (1, 1))] {
        let badge = registry().issue(&badge_request(10, LEVELS[2]).audience(AUDIENCE), super::common::now()).unwrap();
        let client =
            server.connect(Transport::HttpStateful.versions().last().unwrap(), Credential::header(&badge)).await;
        asked.settle().await;
        assert_eq!(client.call("level2", json!({})).await.code(), "ran", "{name}");
        assert_eq!(asked.take(), questions, "{name}: the layer's own configuration asks elsewhere");
    }
}

/// Stops a source that hangs from taking the places in the evidence of every call: those that wait for it are denied,
/// recorded, and out of the way.
#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_holds_no_place_for_ever() {
    let evidence = EvidenceLog::options().queue(4).in_memory().unwrap();
    let asked = Arc::<Asked>::default();
    let guard = GuardLayer::new(config(&asked, evidence).build().unwrap());
    let (enforcer, call) = (guard.enforcer(), rmcp_guard::enforce::Call::tool("level2", None));
    let badge = registry().issue(&badge_request(10, LEVELS[2]).audience(AUDIENCE), super::common::now()).unwrap();
    let credential = Ok(rmcp_guard::enforce::CallerCredential::badge(badge));

    asked.hangs.store(true, Ordering::SeqCst);
    let started = tokio::time::Instant::now();
    let (one, two) = tokio::join!(enforcer.authorize(&call, &credential), enforcer.authorize(&call, &credential));
    for denied in [one, two] {
        let denial = denied.unwrap_err();
        assert_eq!(denial.reason(), rmcp_guard::policy::DenyReason::RevocationCheckFailed);
        assert!(denial.evidence_id().is_some());
    }
    assert!(started.elapsed() >= MAX_AUTHENTICATION);
    asked.hangs.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        assert!(enforcer.authorize(&call, &credential).await.is_ok(), "all places are free again");
    }
}
