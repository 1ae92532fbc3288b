//! The rounds of one request (multi round-trip requests): what a server hands to its client as `requestState` comes back
//! as the server made it, from the same caller with the same request, or the request is denied.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{RequestContext, ServiceExt as _};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rmcp_guard::enforce::{GuardConfigBuilder, MAX_REQUEST_STATE_BYTES, RequestStateKey};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::guard::{DENIAL_CODE, GuardLayer, META_DENIAL};
use rmcp_guard::layer::tower::ToolCall;
use rmcp_guard::policy::{GuardedMethod, MethodAccess, ToolRequirement};
use serde_json::{Value, json};
use tower::Layer as _;

use crate::common::{
    API_KEY, AUDIENCE, Client, Credential, LEVELS, Server, Transport, badge, badge_request, config, now, registry,
    registry_with_key,
};
use crate::streams::SetClock;
use crate::tower_stack::Dispatcher;

type Context = RequestContext<RoleServer>;

/// The transports that have 2026-07-28, in which alone a server may ask in its answer.
const TRANSPORTS: [Transport; 3] = [Transport::Duplex, Transport::HttpStatelessSse, Transport::HttpStatelessJson];

/// Asks twice before it answers, and keeps what it knows in the state alone. It writes down each state it is brought.
#[derive(Clone, Default)]
struct Asker {
    brought: Arc<Mutex<Vec<Option<String>>>>,
}

enum Round {
    Ask(InputRequiredResult),
    Done(String),
}

impl Asker {
    fn round(&self, target: &str, state: Option<&str>) -> Round {
        self.brought.lock().unwrap().push(state.map(str::to_owned));
        let ask = |state: String| Round::Ask(InputRequiredResult::from_request_state(state));
        match state {
            None if target == "open" => ask("x".repeat(MAX_REQUEST_STATE_BYTES + 1)),
            None => ask(format!("{target}: asked once, é\n\"")),
            Some(state) if state.contains("once") => ask(format!("{target}: asked twice")),
            Some(state) => Round::Done(state.to_owned()),
        }
    }

    fn brought(&self) -> Vec<Option<String>> {
        self.brought.lock().unwrap().clone()
    }

    fn runs(&self) -> usize {
        self.brought.lock().unwrap().len()
    }

    fn tool(&self, request: &CallToolRequestParams) -> CallToolResponse {
        match self.round(&request.name, request.request_state.as_deref()) {
            Round::Ask(ask) => ask.into(),
            Round::Done(_) if request.name == "job" => {
                let time = "2026-01-01T00:00:00Z";
                CreateTaskResult::new(Task::new("t", TaskStatus::Working, time, time)).into()
            }
            Round::Done(text) => CallToolResult::success(vec![ContentBlock::text(text)]).into(),
        }
    }
}

impl ServerHandler for Asker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().enable_tasks().build(),
        )
    }

    async fn call_tool(&self, request: CallToolRequestParams, _: Context) -> Result<CallToolResponse, ErrorData> {
        Ok(self.tool(&request))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        Ok(match self.round(&request.name, request.request_state.as_deref()) {
            Round::Ask(ask) => ask.into(),
            Round::Done(_) => GetPromptResult::new(Vec::new()).into(),
        })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Ok(match self.round(&request.uri, request.request_state.as_deref()) {
            Round::Ask(ask) => ask.into(),
            Round::Done(_) => ReadResourceResult::new(Vec::new()).into(),
        })
    }

    async fn get_task(&self, request: GetTaskParams, _: Context) -> Result<GetTaskResult, ErrorData> {
        let time = "2026-01-01T00:00:00Z";
        let task = Task::new(request.task_id, TaskStatus::Working, time, time);
        Ok(GetTaskResult::new(DetailedTask::new(task, TaskPayload::Working)))
    }
}

struct Story {
    asker: Asker,
    guard: GuardLayer,
    evidence: EvidenceLog,
}

impl Story {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder) -> Self {
        let evidence = EvidenceLog::in_memory();
        let config = config(&evidence)
            .method(GuardedMethod::Prompts, MethodAccess::Require(ToolRequirement::authenticated()))
            .method(GuardedMethod::Resources, MethodAccess::Require(ToolRequirement::authenticated()));
        let guard = GuardLayer::new(change(config).build().unwrap());
        Self { asker: Asker::default(), guard, evidence }
    }

    async fn serve(&self, transport: Transport) -> Server {
        Server::start(transport, self.guard.layer(self.asker.clone()), &self.guard).await
    }

    fn events(&self, kind: &str, member: &str) -> Vec<Value> {
        let events = self.evidence.records().unwrap().into_iter();
        events.filter(|event| event["rmcp_guard.kind"] == kind).map(|event| event[member].clone()).collect()
    }

    fn reasons(&self) -> Vec<Value> {
        self.events("decision", "rmcp_guard.deny_reason")
    }
}

fn call(tool: &str, arguments: &Value, state: Option<&str>) -> ClientRequest {
    let mut params = CallToolRequestParams::new(tool.to_owned());
    params.arguments = arguments.as_object().cloned();
    params.request_state = state.map(str::to_owned);
    // What a client adds to its retry, and what is not bound.
    params.input_responses = state.map(|state| InputResponses::from([("q".to_owned(), json!(state.len()))]));
    CallToolRequest::new(params).into()
}

/// What one round comes to: the state that it hands out, or `ran` or the reason of a denial.
async fn round(client: &Client, request: ClientRequest) -> Result<String, String> {
    match client.request(request).await {
        Ok(ServerResult::InputRequiredResult(ask)) => Ok(ask.request_state.unwrap()),
        Ok(ServerResult::CallToolResult(result)) => {
            Err(match result.meta.as_ref().and_then(|it| it.get(META_DENIAL)) {
                // "Servers MUST reject": to a client a result is an answer, and it would count the round as done.
                Some(denial) if denial["reason"].as_str().unwrap().starts_with("request_state_") => {
                    format!("answered: {denial}")
                }
                Some(denial) => denial["reason"].as_str().unwrap().to_owned(),
                None => format!("ran: {}", result.content[0].as_text().unwrap().text),
            })
        }
        Ok(ServerResult::CreateTaskResult(_)) => Err("task".to_owned()),
        Ok(_) => Err("ran".to_owned()),
        Err(error) => {
            let reason = error.data.as_ref().and_then(|data| data["reason"].as_str()).unwrap_or_default().to_owned();
            let state = reason.starts_with("request_state_");
            let code = if state { ErrorCode::INVALID_PARAMS.0 } else { DENIAL_CODE };
            Err(if error.code.0 == code { reason } else { error.code.0.to_string() })
        }
    }
}

async fn call_round(client: &Client, tool: &str, arguments: &Value, state: Option<&str>) -> Result<String, String> {
    round(client, call(tool, arguments, state)).await
}

fn callers() -> Vec<(&'static str, Credential)> {
    vec![
        ("a badge", Credential::meta(&badge(10, LEVELS[2]))),
        ("an API key", Credential::none().with_meta("capiscio_caller_api_key", json!(API_KEY))),
        ("nobody", Credential::none()),
    ]
}

/// A server gets back exactly what it made, whoever its caller is; the client holds something else.
#[tokio::test]
async fn s13_a_retry_brings_back_what_the_server_made() {
    for transport in TRANSPORTS {
        for (name, credential) in callers() {
            let story = Story::new();
            let server = story.serve(transport).await;
            let client = server.client(credential).await;
            let arguments = json!({"to": "b", "amount": 5});
            let first = call_round(&client, "ask", &arguments, None).await.unwrap();
            assert!(first.starts_with("rg1.") && !first.contains("ask"), "{first}");
            let second = call_round(&client, "ask", &arguments, Some(&first)).await.unwrap();
            let done = call_round(&client, "ask", &arguments, Some(&second)).await;
            assert_eq!(done, Err("ran: ask: asked twice".to_owned()), "{transport:?} {name}");
            let brought = [None, Some("ask: asked once, é\n\"".to_owned()), Some("ask: asked twice".to_owned())];
            assert_eq!(story.asker.brought(), brought, "{transport:?} {name}");
            assert_eq!(story.events("decision", "capiscio.decision"), ["ALLOW"; 3]);
            assert_eq!(
                story.events("outcome", "rmcp_guard.outcome"),
                ["input_required", "input_required", "ok"],
                "{transport:?} {name}"
            );
        }
    }
}

/// Attack: somebody brings the state of another caller's call, and goes on in its place.
#[tokio::test]
async fn s13_a_state_of_another_caller_is_refused() {
    for transport in TRANSPORTS {
        let elsewhere = registry_with_key("https://elsewhere.example.com", 9);
        let foreign = elsewhere.issue(&badge_request(10, LEVELS[2]).audience(AUDIENCE), now()).unwrap();
        let story = Story::with(|config| {
            let issuer = Issuer::jwks("https://elsewhere.example.com", &elsewhere.jwks_json()).unwrap();
            config.trusted_issuer(issuer)
        });
        let server = story.serve(transport).await;
        let mut all = callers();
        all.push(("another subject", Credential::meta(&badge(11, LEVELS[4]))));
        all.push(("the same subject at another issuer", Credential::meta(&foreign)));
        let mut clients = Vec::new();
        for (name, credential) in all {
            clients.push((name, server.client(credential).await));
        }
        for (name, client) in &clients {
            let state = call_round(client, "ask", &json!({}), None).await.unwrap();
            for (thief, other) in clients.iter().filter(|(other, _)| other != name) {
                let before = story.asker.runs();
                let answer = call_round(other, "ask", &json!({}), Some(&state)).await;
                assert_eq!(answer, Err("request_state_invalid".to_owned()), "{transport:?} {name} {thief}");
                assert_eq!(story.reasons().last().unwrap(), "request_state_invalid", "{transport:?} {name} {thief}");
                assert_eq!(story.asker.runs(), before, "{transport:?} {name} {thief}: the tool ran");
            }
            assert!(call_round(client, "ask", &json!({}), Some(&state)).await.is_ok(), "{transport:?} {name}");
        }

        // The owner is not the badge: a renewed one goes on (S14).
        let state = call_round(&clients[0].1, "ask", &json!({}), None).await.unwrap();
        let renewed = registry().issue(&badge_request(10, LEVELS[3]).audience(AUDIENCE), now()).unwrap();
        let renewed = server.client(Credential::meta(&renewed)).await;
        assert!(call_round(&renewed, "ask", &json!({}), Some(&state)).await.is_ok(), "{transport:?}");
    }
}

/// Attack: a client was asked about one call, and brings the consent with another one; or it writes the state itself.
#[tokio::test]
async fn s13_a_state_opens_for_its_own_request_only() {
    let arguments = json!({"to": "b", "amount": 5, "deep": {"x": [1, 2], "y": null}});
    for transport in TRANSPORTS {
        let story = Story::new();
        let server = story.serve(transport).await;
        let client = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
        let state = call_round(&client, "ask", &arguments, None).await.unwrap();
        let changed = |member: &str, value: Value| {
            let mut changed = arguments.clone();
            changed[member] = value;
            changed
        };
        let (head, tail) = state.split_at(state.len() - 6);
        let swapped: String = tail.chars().map(|it| if it == 'A' { 'B' } else { 'A' }).collect();
        let altered = format!("{head}{swapped}");
        let (cut, _) = state.split_at(state.len() - 4);
        let of_prompt = GetPromptRequestParams::new("ask").with_arguments(arguments.as_object().unwrap().clone());
        let of_prompt = round(&client, GetPromptRequest::new(of_prompt).into()).await.unwrap();
        let attacks = [
            ("another tool", call("member", &arguments, Some(&state))),
            ("another amount", call("ask", &changed("amount", json!(6)), Some(&state))),
            ("the amount as text", call("ask", &changed("amount", json!("5")), Some(&state))),
            ("another inside", call("ask", &changed("deep", json!({"x": [2, 1], "y": null})), Some(&state))),
            ("one argument more", call("ask", &changed("more", json!(null)), Some(&state))),
            ("no arguments", call("ask", &json!({}), Some(&state))),
            ("absent arguments", call("ask", &Value::Null, Some(&state))),
            ("the state of a prompt", call("ask", &arguments, Some(&of_prompt))),
            ("altered", call("ask", &arguments, Some(&altered))),
            ("cut", call("ask", &arguments, Some(cut))),
            ("with an appendix", call("ask", &arguments, Some(&format!("{state}AAAA")))),
            ("not sealed", call("ask", &arguments, Some("ask: asked twice"))),
            ("empty", call("ask", &arguments, Some(""))),
            ("made up", call("ask", &arguments, Some(&format!("rg1.{}", "A".repeat(80))))),
            ("long", call("ask", &arguments, Some(&format!("rg1.{}", "A".repeat(200_000))))),
        ];
        let before = story.asker.runs();
        for (name, attack) in attacks {
            let answer = round(&client, attack).await;
            assert_eq!(answer, Err("request_state_invalid".to_owned()), "{transport:?} {name}");
            assert_eq!(story.reasons().last().unwrap(), "request_state_invalid", "{transport:?} {name}");
            assert_eq!(story.asker.runs(), before, "{transport:?} {name}: the tool ran");
        }

        // Its own request, with the members in another order, and twice: the first answer may have been lost.
        let reordered = serde_json::from_str(r#"{"deep":{"y":null,"x":[1,2]},"amount":5,"to":"b"}"#).unwrap();
        for _ in 0..2 {
            assert!(call_round(&client, "ask", &reordered, Some(&state)).await.is_ok(), "{transport:?}");
        }
        assert_eq!(story.asker.runs(), before + 2);
    }
}

/// Attack: in a revision that knows no rounds, a client sends a state to a tool that will read it.
#[tokio::test]
async fn s13_a_state_has_to_open_in_every_revision() {
    for (transport, version) in Transport::with_versions() {
        let story = Story::new();
        let server = story.serve(transport).await;
        let client = server.connect(&version, Credential::badge(transport, &badge(10, LEVELS[2]))).await;
        let answer = call_round(&client, "ask", &json!({}), Some("ask: asked twice")).await;
        assert_eq!(answer, Err("request_state_invalid".to_owned()), "{transport:?} {version}");
        assert_eq!((story.asker.runs(), story.reasons().len()), (0, 1), "{transport:?} {version}");
    }
}

/// Attack: a credential that fails, or a right that is missing, hides behind a good state.
#[tokio::test]
async fn s13_a_state_does_not_stand_for_a_credential() {
    let story = Story::new();
    let server = story.serve(Transport::Duplex).await;
    let client = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    let state = call_round(&client, "level2", &json!({}), None).await.unwrap();
    for (credential, reason) in [
        (badge(10, LEVELS[1]), "trust_insufficient"),
        (
            registry_with_key("https://registry.example.com", 2).issue(&badge_request(10, LEVELS[2]), now()).unwrap(),
            "badge_invalid",
        ),
    ] {
        let client = server.client(Credential::meta(&credential)).await;
        assert_eq!(call_round(&client, "level2", &json!({}), Some(&state)).await, Err(reason.to_owned()));
    }
    assert_eq!(story.asker.runs(), 1);
}

/// Attack: a state that was copied from a client's disk is used long after.
#[tokio::test]
async fn s13_a_state_expires() {
    let clock = Arc::new(SetClock(AtomicI64::new(now().as_i64())));
    let story = Story::with(|config| {
        config.clock(Arc::<SetClock>::clone(&clock)).request_state_lifetime(Duration::from_secs(30))
    });
    let server = story.serve(Transport::HttpStatelessJson).await;
    let client = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    let state = call_round(&client, "ask", &json!({}), None).await.unwrap();
    clock.advance(29);
    assert!(call_round(&client, "ask", &json!({}), Some(&state)).await.is_ok());
    clock.advance(1);
    let late = call_round(&client, "ask", &json!({}), Some(&state)).await;
    assert_eq!(late, Err("request_state_expired".to_owned()));
    assert_eq!(story.reasons().last().unwrap(), "request_state_expired");
    assert_eq!(story.asker.runs(), 2);
}

/// Attack: a state of another process, whose guard believed somebody else. Replicas share a key to go on with each other's.
#[tokio::test]
async fn s13_another_process_opens_a_state_with_the_same_key_only() {
    let key = || RequestStateKey::from_bytes(&[7; 32]);
    let credential = || Credential::meta(&badge(10, LEVELS[2]));
    let one = Story::with(|config| config.request_state_key(key()));
    let server = one.serve(Transport::HttpStatelessSse).await;
    let state = call_round(&server.client(credential()).await, "ask", &json!({}), None).await.unwrap();
    for (story, opens) in [
        (Story::with(|config| config.request_state_key(key())), true),
        (
            Story::with(|config| {
                config.request_state_key(RequestStateKey::generate().unwrap()).request_state_key(key())
            }),
            true,
        ),
        (Story::with(|config| config.request_state_key(RequestStateKey::from_bytes(&[8; 32]))), false),
        (Story::new(), false),
    ] {
        let server = story.serve(Transport::HttpStatelessSse).await;
        let answer = call_round(&server.client(credential()).await, "ask", &json!({}), Some(&state)).await;
        assert_eq!(answer.is_ok(), opens, "{answer:?}");
        if !opens {
            assert_eq!(story.reasons(), ["request_state_invalid"]);
            assert_eq!(story.asker.runs(), 0);
        }
    }
}

/// Prompts and resources ask for input too.
#[tokio::test]
async fn s13_prompts_and_resources_have_rounds_too() {
    for raw in [false, true] {
        let story = Story::new();
        let (guard, asker) = (story.guard.clone(), story.asker.clone());
        let server = if raw {
            Server::duplex_from(move || guard.raw(asker.clone().into_dyn(), |_| None))
        } else {
            story.serve(Transport::Duplex).await
        };
        let owner = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
        let other = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
        let prompt = |name: &str, arguments: &Value, state: Option<&str>| {
            let mut params = GetPromptRequestParams::new(name);
            params.arguments = arguments.as_object().cloned();
            params.request_state = state.map(str::to_owned);
            ClientRequest::from(GetPromptRequest::new(params))
        };
        let resource = |uri: &str, state: Option<&str>| {
            let mut params = ReadResourceRequestParams::new(uri);
            params.request_state = state.map(str::to_owned);
            ClientRequest::from(ReadResourceRequest::new(params))
        };
        let refused = Err("request_state_invalid".to_owned());

        let state = round(&owner, prompt("p", &json!({"a": "b"}), None)).await.unwrap();
        assert_eq!(round(&other, prompt("p", &json!({"a": "b"}), Some(&state))).await, refused, "{raw}");
        assert_eq!(round(&owner, prompt("p", &json!({"a": "c"}), Some(&state))).await, refused, "{raw}");
        assert_eq!(round(&owner, prompt("q", &json!({"a": "b"}), Some(&state))).await, refused, "{raw}");
        assert_eq!(round(&owner, prompt("p", &json!({"a": "b"}), Some("p: asked twice"))).await, refused, "{raw}");
        assert_eq!(story.asker.runs(), 1, "{raw}");
        let state = round(&owner, prompt("p", &json!({"a": "b"}), Some(&state))).await.unwrap();
        assert_eq!(round(&owner, prompt("p", &json!({"a": "b"}), Some(&state))).await, Err("ran".to_owned()), "{raw}");

        let state = round(&owner, resource("file:///a", None)).await.unwrap();
        assert_eq!(round(&other, resource("file:///a", Some(&state))).await, refused, "{raw}");
        assert_eq!(round(&owner, resource("file:///b", Some(&state))).await, refused, "{raw}");
        assert_eq!(story.asker.runs(), 4, "{raw}");
        assert!(round(&owner, resource("file:///a", Some(&state))).await.is_ok(), "{raw}");
        assert_eq!(story.asker.brought().last().unwrap().as_deref(), Some("file:///a: asked once, é\n\""), "{raw}");

        // And tools, in a raw service.
        let state = call_round(&owner, "ask", &json!({}), None).await.unwrap();
        assert_eq!(call_round(&other, "ask", &json!({}), Some(&state)).await, refused, "{raw}");
        assert!(call_round(&owner, "ask", &json!({}), Some(&state)).await.is_ok(), "{raw}");

        // One that is too long to bring back does not leave.
        assert_eq!(round(&owner, prompt("open", &json!({}), None)).await, Err("internal_error".to_owned()), "{raw}");
    }
}

/// Attack: the guard stands in a tower stack, where answers pass another way.
#[tokio::test]
async fn s13_a_tower_service_of_tool_calls_has_rounds_too() {
    let story = Story::new();
    let asker = story.asker.clone();
    let tools =
        tower::service_fn(move |call: ToolCall| std::future::ready(Ok::<_, ErrorData>(asker.tool(&call.params))));
    let server = Server::duplex(Dispatcher(story.guard.layer(tools)));
    let owner = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    let other = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
    let state = call_round(&owner, "ask", &json!({}), None).await.unwrap();
    let refused = Err("request_state_invalid".to_owned());
    assert_eq!(call_round(&other, "ask", &json!({}), Some(&state)).await, refused);
    assert_eq!(story.asker.runs(), 1);
    assert!(call_round(&owner, "ask", &json!({}), Some(&state)).await.is_ok());
    assert_eq!(story.asker.brought()[1].as_deref(), Some("ask: asked once, é\n\""));
}

/// Attack: a server whose state grows without bound makes each client carry it, and each retry cost more.
#[tokio::test]
async fn s13_a_state_that_is_too_long_does_not_leave() {
    for transport in TRANSPORTS {
        let story = Story::new();
        let server = story.serve(transport).await;
        let client = server.client(Credential::none()).await;
        assert_eq!(call_round(&client, "open", &json!({}), None).await, Err("internal_error".to_owned()));
        assert_eq!(story.events("outcome", "rmcp_guard.outcome"), ["protocol_error"]);
    }
}

/// A retry that becomes a task: the task answers to whoever the rounds belong to.
#[tokio::test]
async fn s13_a_retry_may_become_a_task() {
    let story = Story::new();
    let server = story.serve(Transport::HttpStatelessJson).await;
    let owner = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    let other = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
    let first = call_round(&owner, "job", &json!({}), None).await.unwrap();
    let second = call_round(&owner, "job", &json!({}), Some(&first)).await.unwrap();
    assert_eq!(call_round(&other, "job", &json!({}), Some(&second)).await, Err("request_state_invalid".to_owned()));
    assert_eq!(call_round(&owner, "job", &json!({}), Some(&second)).await, Err("task".to_owned()));
    assert!(other.get_task("t").await.is_err());
    assert!(owner.get_task("t").await.is_ok());
}
