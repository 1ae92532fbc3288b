//! Everything that is no tool call: other methods, custom ones, tasks.

use std::sync::Arc;

use rmcp::model::*;
use rmcp::service::{DynService, ServiceExt as _};
use rmcp::{ErrorData, RoleServer};
use rmcp_guard::identity::badge::BadgeRequest;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::layer::guard::{DENIAL_CODE, MAX_TASKS_PER_OWNER};
use rmcp_guard::policy::{GuardedMethod, MethodAccess, ToolRequirement};
use serde_json::{Value, json};
use tower::Layer as _;

use crate::common::{
    API_KEY, AUDIENCE, Answer, Client, Credential, Fixture, LEVELS, Server, Transport, badge, badge_request, now,
    registry,
};

const CLASSES: [GuardedMethod; 6] = [
    GuardedMethod::Prompts,
    GuardedMethod::Resources,
    GuardedMethod::Completion,
    GuardedMethod::Skills,
    GuardedMethod::Subscriptions,
    GuardedMethod::Logging,
];

fn page<T: Default>() -> T {
    T::default()
}

/// Every request that returns application data, with the name under which the demo server counts it.
#[expect(deprecated, reason = "legacy methods are guarded too")]
fn requests(version: &ProtocolVersion) -> Vec<(&'static str, ClientRequest)> {
    let argument = ArgumentInfo::new("a", "b");
    let complete = CompleteRequestParams::new(Reference::for_prompt("p"), argument);
    let mut requests: Vec<(&'static str, ClientRequest)> = vec![
        ("prompts/list", ListPromptsRequest::default().into()),
        ("prompts/get", GetPromptRequest::new(GetPromptRequestParams::new("p")).into()),
        ("resources/list", ListResourcesRequest::default().into()),
        ("resources/templates/list", ListResourceTemplatesRequest::default().into()),
        ("resources/read", ReadResourceRequest::new(ReadResourceRequestParams::new("file:///a")).into()),
        (
            "resources/directory/read",
            ReadResourceDirectoryRequest::new(ReadResourceDirectoryRequestParams::new("file:///")).into(),
        ),
        ("completion/complete", CompleteRequest::new(complete).into()),
        ("skills/list", page::<ListSkillsRequest>().into()),
        ("skills/get", GetSkillRequest::new(GetSkillRequestParams::new("skill://s/SKILL.md")).into()),
        ("logging/setLevel", SetLevelRequest::new(SetLevelRequestParams::new(LoggingLevel::Info)).into()),
    ];
    if *version < ProtocolVersion::V_2026_07_28 {
        let uri = "file:///a";
        requests.push(("resources/subscribe", SubscribeRequest::new(SubscribeRequestParams::new(uri)).into()));
        requests.push(("resources/unsubscribe", UnsubscribeRequest::new(UnsubscribeRequestParams::new(uri)).into()));
    }
    requests
}

fn reason(answer: &Result<ServerResult, ErrorData>) -> String {
    match answer {
        Ok(_) => "ran".to_owned(),
        Err(error) if error.code.0 == DENIAL_CODE => {
            error.data.as_ref().unwrap()["reason"].as_str().unwrap().to_owned()
        }
        Err(error) => format!("error {}", error.code.0),
    }
}

/// Stops callers from reading through prompts, resources, skills or completions what the tools would not give them.
#[tokio::test]
async fn s10_a_method_without_a_requirement_is_denied() {
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let agent = Credential::badge(transport, &badge(10, LEVELS[4]));
        let client = server.connect(&version, agent).await;
        let requests = requests(&version);
        let count = requests.len();
        for (method, request) in requests {
            let answer = client.request(request).await;
            assert_eq!(reason(&answer), "method_not_allowed", "{transport:?} {version} {method}");
            assert_eq!(fixture.demo.runs(method), 0, "{transport:?} {version} {method}");
        }
        let denied = fixture.records("decision");
        assert_eq!(denied.len(), count, "{transport:?} {version}");
        assert!(denied.iter().all(|it| it["event.name"] == "rmcp_guard.method_access"));
    }
}

/// Stops a caller from reading prompts or resources with a credential that only some tool asks for.
#[tokio::test]
async fn s10_a_method_runs_under_its_own_requirement_or_by_explicit_inner() {
    let version = ProtocolVersion::V_2025_11_25;
    for transport in [Transport::Duplex, Transport::HttpStateful] {
        let fixture = Fixture::with(|mut config| {
            for class in CLASSES.into_iter().filter(|it| *it != GuardedMethod::Logging) {
                config = config.method(class, MethodAccess::Require(ToolRequirement::min_trust(LEVELS[2])));
            }
            config.method(GuardedMethod::Logging, MethodAccess::Inner)
        });
        let server = fixture.serve(transport).await;
        let low = server.connect(&version, Credential::badge(transport, &badge(10, LEVELS[1]))).await;
        let high = server.connect(&version, Credential::badge(transport, &badge(11, LEVELS[2]))).await;
        for (method, request) in requests(&version) {
            let inner = method == "logging/setLevel";
            let answer = low.request(request.clone()).await;
            assert_eq!(reason(&answer), if inner { "ran" } else { "trust_insufficient" }, "{method}");
            let ran = reason(&high.request(request).await);
            assert_eq!(ran, if method == "skills/get" { "error -32602" } else { "ran" }, "{method}");
            assert_eq!(fixture.demo.runs(method), 1 + usize::from(inner), "{method}");
        }
    }
}

/// Stops a shared cache from giving an answer that depends on its caller to everybody.
#[tokio::test]
async fn an_answer_under_a_requirement_is_private() {
    let ask = async |access: MethodAccess| {
        let fixture = Fixture::with(|config| config.method(GuardedMethod::Prompts, access));
        let server = fixture.serve(Transport::Duplex).await;
        let client = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
        match client.request(ListPromptsRequest::default().into()).await.unwrap() {
            ServerResult::ListPromptsResult(page) => (page.cache_scope.unwrap(), page.ttl_ms.unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let guarded = ask(MethodAccess::Require(ToolRequirement::authenticated())).await;
    assert_eq!(guarded, (CacheScope::Private, 0));
    assert_eq!(ask(MethodAccess::Inner).await, (CacheScope::Public, 60_000));
}

/// Stops a subscription from carrying what its caller may not read.
#[tokio::test]
async fn s10_a_denied_subscription_carries_nothing() {
    for (requirement, want) in [(None, 0), (Some(LEVELS[3]), 0), (Some(LEVELS[1]), 1)] {
        let fixture = Fixture::with(|config| match requirement {
            None => config,
            Some(level) => {
                config.method(GuardedMethod::Subscriptions, MethodAccess::Require(ToolRequirement::min_trust(level)))
            }
        });
        let server = fixture.serve(Transport::Duplex).await;
        let client = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
        let params = SubscriptionsListenRequestParams::new(SubscriptionFilter::default());
        let answer = client.request(SubscriptionsListenRequest::new(params).into()).await;
        assert_eq!(answer.is_ok(), want == 1, "{requirement:?} {answer:?}");
        assert_eq!(fixture.demo.runs("subscriptions/listen"), want, "{requirement:?}");
        assert_eq!(fixture.records("decision").len(), 1);
    }
}

/// Stops a malformed or misspelt standard request, which rmcp hands on as a custom one, from reaching a handler that
/// would run it anyway.
#[tokio::test]
async fn s11_a_custom_request_that_looks_standard_never_reaches_the_handler() {
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::with(|config| config.allow_custom_method("com.example/status"));
        let server = fixture.serve(transport).await;
        let agent = Credential::badge(transport, &badge(10, LEVELS[4]));
        let client = server.connect(&version, agent).await;
        let name = format!("{transport:?} {version}");
        let methods = [
            "tools/call",
            "Tools/Call",
            "tools/call ",
            "/tools/call",
            "to\u{200b}ols/call",
            "ｔｏｏｌｓ／ｃａｌｌ",
            "notifications/initialized",
        ];
        let mut refused = Vec::new();
        for method in methods {
            // No name: what rmcp cannot parse as a call.
            let error = client.custom(method, json!({ "arguments": {} })).await.unwrap_err();
            // A header cannot carry such a method, so rmcp's HTTP service refuses it before anybody else sees it.
            if error.code != ErrorCode::HEADER_MISMATCH {
                assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{name} {method} {error:?}");
                refused.push("request_malformed");
            }
        }
        assert_eq!(fixture.denials(), refused, "{name}");

        for method in ["com.example/other", "com.example/Status", "com.example/status/x"] {
            let error = client.custom(method, json!({})).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::METHOD_NOT_FOUND, "{name} {method}");
        }
        assert_eq!(fixture.demo.runs("custom request"), 0, "{name}");

        client.custom("com.example/status", json!({})).await.unwrap();
        assert_eq!(fixture.demo.runs("custom request"), 1, "{name}");
        let seen = fixture.demo.seen.lock().unwrap().to_string();
        assert!(!seen.contains("capiscio_caller_badge"), "{seen}");
    }
}

/// Stops a method that the client's revision does not have from reaching a handler that would run it anyway. A client that
/// probes for it learns so by the standard code, as it does from a server without a guard.
#[tokio::test]
async fn s11_a_method_that_the_revision_does_not_have_is_refused_as_unknown() {
    let gone = ["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::with(|config| {
            let config = gone.iter().fold(config, |config, method| config.allow_custom_method(*method));
            CLASSES.into_iter().fold(config, |config, class| config.method(class, MethodAccess::Inner))
        });
        let server = fixture.serve(transport).await;
        let client = server.connect(&version, Credential::badge(transport, &badge(10, LEVELS[4]))).await;
        let has_gone = version >= ProtocolVersion::V_2026_07_28;
        let mut refused = Vec::new();
        for method in ["tasks/list", "tasks/result"].into_iter().chain(gone) {
            // Nothing that they need, so that rmcp does not take the others for what they were.
            let error = client.custom(method, json!({ "arguments": {} })).await.unwrap_err();
            let name = format!("{transport:?} {version} {method} {error:?}");
            if has_gone || method.starts_with("tasks/") {
                assert_eq!(error.code, ErrorCode::METHOD_NOT_FOUND, "{name}");
                refused.push("method_not_allowed");
            } else {
                assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{name}");
                refused.push("request_malformed");
            }
        }
        assert_eq!(fixture.denials(), refused, "{transport:?} {version}");
        assert!(fixture.demo.all_runs().is_empty(), "{transport:?} {version}");
    }
}

/// Stops a call in the form of a notification, which has no answer to withhold, from running anything.
#[tokio::test]
async fn s11_a_custom_notification_is_dropped_unless_it_is_allowed() {
    for transport in [Transport::Duplex, Transport::HttpStateful] {
        let fixture = Fixture::with(|config| config.allow_custom_method("com.example/event"));
        let server = fixture.serve(transport).await;
        let version = ProtocolVersion::V_2025_11_25;
        let client = server.connect(&version, Credential::badge(transport, &badge(10, LEVELS[4]))).await;
        for method in ["tools/call", "Tools/Call", "com.example/other", "com.example/event"] {
            let notification = CustomNotification::new(method, Some(json!({ "name": "open" })));
            client.service.send_notification(notification.into()).await.unwrap();
        }
        // What was sent before it has been handled once this is answered and the records are there.
        for _ in 0..200 {
            if fixture.records("decision").len() == 4 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut denials = fixture.denials();
        denials.sort();
        assert_eq!(denials, ["method_not_allowed", "request_malformed", "request_malformed"], "{transport:?}");
        for _ in 0..200 {
            if fixture.demo.runs("custom notification") == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(fixture.demo.runs("custom notification"), 1, "{transport:?}");
        assert_eq!(fixture.demo.runs("open"), 0, "{transport:?}");
    }
}

type Serve = fn(&Fixture) -> Box<dyn DynService<RoleServer>>;

/// Stops a handler from seeing, and handing on, the badge of a notification, and a sender whose badge does not hold from
/// passing for somebody without one. rmcp leaves a notification's `_meta` where it is easily overlooked.
#[tokio::test]
async fn s08_a_notification_is_authenticated_and_loses_its_credential() {
    let good = badge(10, LEVELS[1]);
    let servers: [Serve; 2] = [
        |fixture| fixture.guard.layer(fixture.demo.clone()).into_dyn(),
        |fixture| fixture.guard.raw(fixture.demo.clone(), |_| None).into_dyn(),
    ];
    for serve in servers {
        let fixture = Arc::new(Fixture::with(|config| config.allow_custom_method("com.example/event")));
        let of_server = Arc::clone(&fixture);
        let server = Server::duplex_from(move || serve(&of_server));
        let client = server.connect(&ProtocolVersion::V_2025_11_25, Credential::none()).await;
        let notify = async |badge: &str, records: usize| {
            let meta = json!({ "capiscio_caller_badge": badge, "example.com/kept": 1 }).as_object().unwrap().clone();
            let mut notification = CustomNotification::new("com.example/event", Some(json!({})));
            notification.extensions.insert(NotificationMetaObject(MetaObject(meta)));
            client.service.send_notification(notification.into()).await.unwrap();
            eventually(|| fixture.records("decision").len() == records).await;
        };
        notify("not.a.badge", 1).await;
        assert_eq!(fixture.denials(), ["badge_invalid"]);
        assert_eq!(fixture.demo.runs("custom notification"), 0);

        notify(&good, 2).await;
        eventually(|| fixture.demo.runs("custom notification") == 1).await;
        let seen = fixture.demo.seen.lock().unwrap().clone();
        assert_eq!(seen["principal"]["auth_level"], "badge", "{seen}");
        assert_eq!(seen["meta"], json!(["example.com/kept"]), "{seen}");
        assert!(!seen.to_string().contains("capiscio"), "{seen}");
    }
}

async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}

fn code(result: Result<TaskStatus, ErrorData>) -> String {
    match result {
        Ok(status) => format!("{status:?}"),
        Err(error) => {
            let reason = error.data.as_ref().and_then(|it| it["reason"].as_str()).unwrap_or("none").to_owned();
            format!("{} {reason}", error.code.0)
        }
    }
}

/// Before 2026-07-28 a stateless server does not know that its client has the tasks extension.
fn has_tasks((transport, version): &(Transport, ProtocolVersion)) -> bool {
    matches!(transport, Transport::Duplex | Transport::HttpStateful) || *version >= ProtocolVersion::V_2026_07_28
}

async fn start(client: &Client, tool: &str, id: &str) -> Answer {
    client.call(tool, json!({ "id": id })).await
}

/// Stops a caller who learns a task's id from reading its result, resuming it or cancelling it.
#[tokio::test]
async fn s17_a_task_answers_to_its_owner_only() {
    for (transport, version) in Transport::with_versions().filter(has_tasks) {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let name = format!("{transport:?} {version}");
        let connect = async |badge: String| server.connect(&version, Credential::badge(transport, &badge)).await;
        let owner = connect(badge(10, LEVELS[2])).await;
        let other = connect(badge(11, LEVELS[4])).await;
        let stranger = server.connect(&version, Credential::none()).await;

        assert_eq!(start(&owner, "vip_job", "t1").await.code(), "task", "{name}");
        for client in [&other, &stranger] {
            assert_eq!(code(client.get_task("t1").await), "-32602 task_not_found", "{name}");
            assert_eq!(code(client.get_task("t2").await), "-32602 task_not_found", "{name}");
            assert!(client.update_task("t1").await.is_err(), "{name}");
            assert!(client.cancel_task("t1").await.is_err(), "{name}");
        }
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            assert_eq!(fixture.demo.runs(method), 0, "{name} {method}");
        }
        assert_eq!(fixture.denials(), ["task_not_found"; 8], "{name}");

        assert_eq!(code(owner.get_task("t1").await), "Working", "{name}");
        owner.update_task("t1").await.unwrap();
        for _ in 0..2 {
            assert_eq!(code(owner.get_task("t1").await), "Completed", "{name}");
        }
        let ended: Vec<Value> = fixture.records("notice");
        assert_eq!(ended.len(), 1, "{name} {ended:?}");
        assert_eq!(start(&owner, "vip_job", "t2").await.code(), "task", "{name}");
        owner.cancel_task("t2").await.unwrap();
        assert_eq!(fixture.records("notice").len(), 2, "{name}");
    }
}

/// Stops a caller whose badge has been lowered or taken away since from collecting what it may no longer have.
#[tokio::test]
async fn s17_each_access_to_a_task_decides_anew() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::HttpStatelessJson).await;
    let owner = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    assert_eq!(start(&owner, "vip_job", "t").await.code(), "task");
    let lowered = server.client(Credential::meta(&badge(10, LEVELS[1]))).await;
    let denied = lowered.get_task("t").await.unwrap_err();
    assert_eq!(denied.data.unwrap()["reason"], "trust_insufficient");
    assert_eq!(fixture.demo.runs("tasks/get"), 0);
    assert_eq!(code(owner.get_task("t").await), "Working");
}

/// Stops the loss of a task, and its theft, when a badge is renewed or an agent's key is rotated: the owner is who the
/// issuer says it is, not the token.
#[tokio::test]
async fn s14_the_owner_is_issuer_and_subject_or_the_name_of_the_key() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let issue = |lifetime| {
        let request = badge_request(10, LEVELS[3]).lifetime(std::time::Duration::from_secs(lifetime));
        registry().issue(&request.audience("https://files.example.com"), now()).unwrap()
    };
    let (first, renewed) = (issue(300), issue(600));
    assert_ne!(first, renewed);
    let client = server.client(Credential::meta(&first)).await;
    assert_eq!(start(&client, "vip_job", "t").await.code(), "task");
    let later = server.client(Credential::meta(&renewed)).await;
    assert_eq!(code(later.get_task("t").await), "Working");

    // A did:web names no key, so its agent can have a new one; a did:key that has is another subject.
    let rotated = |seed| {
        let subject = Did::parse("did:web:registry.example.com:agents:rotating").unwrap();
        let key = SigningKey::from_seed(&[seed; 32]).public_key();
        let request = BadgeRequest::new(subject, key, LEVELS[2]).domain("agents.example.com").audience(AUDIENCE);
        Credential::meta(&registry().issue(&request, now()).unwrap())
    };
    let before = server.client(rotated(10)).await;
    assert_eq!(start(&before, "vip_job", "rotated").await.code(), "task");
    assert_eq!(code(server.client(rotated(30)).await.get_task("rotated").await), "Working");
    // The same key under another name is another owner.
    assert_eq!(code(later.get_task("rotated").await), "-32602 task_not_found");

    let key = || Credential::none().with_meta("capiscio_caller_api_key", json!(API_KEY));
    let by_key = server.client(key()).await;
    assert_eq!(start(&by_key, "job", "k").await.code(), "task");
    assert_eq!(code(server.client(key()).await.get_task("k").await), "Working");
    assert_eq!(code(later.get_task("k").await), "-32602 task_not_found");
}

/// Stops one handler's repeated id from giving a caller another caller's task.
#[tokio::test]
async fn s17_an_id_that_is_handed_out_twice_is_refused_and_recorded() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let first = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    let second = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
    assert_eq!(start(&first, "vip_job", "same").await.code(), "task");
    assert_eq!(start(&second, "vip_job", "same").await.code(), "internal_error");
    assert_eq!(fixture.records("notice").len(), 1);
    assert_eq!(code(second.get_task("same").await), "-32602 task_not_found");
    assert_eq!(code(first.get_task("same").await), "Working");
    // Cancelling would have hit the first caller's task.
    assert_eq!(fixture.demo.runs("tasks/cancel"), 0);
}

/// Stops one caller from filling the table, and the server with tasks that nobody can reach.
#[tokio::test]
async fn s17_tasks_are_bounded_per_owner() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let greedy = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    for n in 0..MAX_TASKS_PER_OWNER {
        assert_eq!(start(&greedy, "vip_job", &format!("t{n}")).await.code(), "task");
    }
    assert_eq!(start(&greedy, "vip_job", "more").await.code(), "task_limit");
    assert!(matches!(fixture.demo.task("more"), Some(TaskPayload::Cancelled)));
    let other = server.client(Credential::meta(&badge(11, LEVELS[2]))).await;
    assert_eq!(start(&other, "vip_job", "other").await.code(), "task");
    greedy.cancel_task("t0").await.unwrap();
    assert_eq!(start(&greedy, "vip_job", "again").await.code(), "task");
}

/// Stops everybody without a credential from being one and the same owner.
#[tokio::test]
async fn s16_an_anonymous_caller_owns_tasks_in_its_session_only() {
    for transport in Transport::ALL {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let version = transport.versions().last().unwrap();
        let client = server.connect(version, Credential::none()).await;
        let other = server.connect(version, Credential::none()).await;
        let answer = start(&client, "job", "t").await;
        if transport == Transport::HttpStateful {
            assert_eq!(answer.code(), "task");
            assert_eq!(code(client.get_task("t").await), "Working");
            assert_eq!(code(other.get_task("t").await), "-32602 task_not_found");
        } else {
            assert_eq!(answer.code(), "session_unbound", "{transport:?}");
            assert_eq!(code(client.get_task("t").await), "-32602 task_not_found", "{transport:?}");
            assert!(matches!(fixture.demo.task("t"), Some(TaskPayload::Cancelled)), "{transport:?}");
        }
    }
}
