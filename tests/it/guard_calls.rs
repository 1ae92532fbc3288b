//! Tool calls and lists behind the guard, with a stock rmcp client.

use rmcp::model::CacheScope;
use rmcp_guard::layer::guard::{DENIAL_CODE, DenialShape};
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Value, json};
use tower::Layer as _;

use crate::common::{
    API_KEY, Answer, Credential, Fixture, LEVELS, Server, Transport, badge, badge_request, demo, now, registry,
};

/// Stops a caller from running a tool whose requirement it does not meet, on whatever transport and revision it comes.
#[tokio::test]
async fn a_call_runs_if_and_only_if_its_requirement_is_met() {
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let name = format!("{transport:?} {version}");

        let anonymous = server.connect(&version, Credential::none()).await;
        assert_eq!(anonymous.call("open", json!({})).await.code(), "ran", "{name}");
        assert_eq!(anonymous.call("member", json!({})).await.code(), "badge_missing", "{name}");

        let agent = Credential::badge(transport, &badge(10, LEVELS[2]));
        let agent = server.connect(&version, agent).await;
        for (tool, want) in [("open", "ran"), ("member", "ran"), ("level1", "ran"), ("level2", "ran")] {
            assert_eq!(agent.call(tool, json!({})).await.code(), want, "{name} {tool}");
        }
        for (tool, want) in [("level3", "trust_insufficient"), ("unlisted", "tool_not_allowed")] {
            assert_eq!(agent.call(tool, json!({})).await.code(), want, "{name} {tool}");
            assert_eq!(fixture.demo.runs(tool), 0, "{name} {tool}");
        }
        assert_eq!(fixture.demo.runs("member"), 1, "{name}");
        assert_eq!(fixture.records("decision").len(), 8, "{name}");
        assert_eq!(fixture.records("outcome").len(), 5, "{name}");
    }
}

#[tokio::test]
async fn a_denial_reads_well_for_models_and_machines() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let Answer::Denied(denial, text) = server.client(Credential::none()).await.call("level2", json!({})).await else {
        panic!("not denied");
    };
    assert_eq!(denial["decision"], "deny");
    let id = denial["evidence_id"].as_str().unwrap();
    assert_eq!(fixture.records("decision")[0]["rmcp_guard.id"].as_str().unwrap_or(id), id);
    assert!(text.starts_with("Error executing tool level2: badge_missing: "), "{text}");
    assert!(text.ends_with(&format!("(evidence_id={id})")), "{text}");

    let guard = fixture.guard.clone().denial_shape(DenialShape::JsonRpcError);
    let server = Server::start(Transport::Duplex, guard.layer(fixture.demo.clone()), &guard).await;
    let client = server.client(Credential::none()).await;
    let request = rmcp::model::CallToolRequest::new(rmcp::model::CallToolRequestParams::new("level2"));
    let error = client.request(rmcp::model::ClientRequest::CallToolRequest(request)).await.unwrap_err();
    assert_eq!(error.code.0, DENIAL_CODE);
    assert_eq!(error.data.unwrap()["reason"], "badge_missing");
}

/// Stops a stranger from mapping the server: tools that exist and tools that do not answer alike, and so do the checks
/// that a forged badge fails.
#[tokio::test]
async fn s36_a_stranger_cannot_tell_hidden_tools_from_unknown_ones() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::HttpStatelessJson).await;
    let stranger = server.client(Credential::none()).await;
    let mut answers = Vec::new();
    for tool in ["level4", "unlisted", "no_such_tool", "beside_level3", "beside_broken"] {
        let Answer::Denied(mut denial, text) = stranger.call(tool, json!({})).await else { panic!("{tool} ran") };
        let id = denial["evidence_id"].take().as_str().unwrap().to_owned();
        answers.push((denial, text.replace(tool, "TOOL").replace(&id, "ID")));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(fixture.demo.all_runs().len(), 0);

    let good = badge(10, LEVELS[1]);
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let (first, signature) = signature.split_at(1);
    let forged = format!("{rest}.{}{signature}", if first == "A" { "B" } else { "A" });
    let elsewhere = badge_request(10, LEVELS[1]).audience("https://elsewhere.example");
    let foreign = registry().issue(&elsewhere, now()).unwrap();
    let mut seen = Vec::new();
    for badge in [forged, foreign] {
        let client = server.client(Credential::meta(&badge)).await;
        let Answer::Denied(mut denial, _) = client.call("level1", json!({})).await else { panic!("ran") };
        denial["evidence_id"].take();
        seen.push(denial);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(fixture.denials()[5..], ["badge_signature_invalid", "audience_mismatch"]);
}

/// Stops a tool that proxies its request, or logs it, from leaking its caller's badge, and a caller from posing as
/// somebody else by an extension that it brought along.
#[tokio::test]
async fn s08_a_tool_sees_the_principal_and_no_credential() {
    let badge = badge(10, LEVELS[2]);
    for transport in Transport::ALL {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let version = transport.versions().last().unwrap();
        // A server that was not told to read badges there must not hand them on either.
        let bearer_badge = transport == Transport::HttpStatelessJson;
        let credential = Credential::badge(transport, &badge)
            .with_meta("capiscio_pop_nonce", json!("bm9uY2U"))
            .with_meta("rmcp-guard/call-proof", json!("proof"))
            .with_meta("example.com/kept", json!(1))
            .with_header("x-capiscio-badge-note", "kept")
            .with_header("x-capiscio-request-sig", "proof")
            .with_header("authorization", &format!("Bearer {}", if bearer_badge { &badge } else { "oauth" }));
        let credential = if transport == Transport::HttpStatelessSse {
            credential.with_header("x-capiscio-badge", &badge).with_header("x-capiscio-registry-key", API_KEY)
        } else {
            credential
        };
        let answer = server.connect(version, credential).await.call("look", json!({})).await;
        let seen: Value = serde_json::from_str(&answer.text()).unwrap();
        assert!(!answer.text().contains(&badge));
        let meta: Vec<&str> = seen["meta"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert!(meta.contains(&"example.com/kept"), "{seen}");
        assert!(!meta.iter().any(|key| key.starts_with("capiscio") || key.starts_with("rmcp-guard/")), "{seen}");
        assert_eq!(seen["params_meta"], Value::Null);
        if transport != Transport::Duplex {
            let headers = seen["headers"].to_string();
            for gone in ["\"x-capiscio-badge\"", "x-capiscio-request-sig", "x-capiscio-registry-key"] {
                assert!(!headers.contains(gone), "{transport:?} {headers}");
            }
            assert!(headers.contains("x-capiscio-badge-note"), "{headers}");
            // OAuth's header is not ours to take.
            assert_eq!(headers.contains("authorization"), !bearer_badge, "{headers}");
        }
        assert_eq!(seen["principal"]["auth_level"], "badge");
        assert_eq!(seen["principal"]["trust_level"], 2);
        assert!(seen["principal"]["evidence_id"].is_string());
    }
}

/// Stops a request from choosing which of two credentials counts, and a proxy from adding a second one.
#[tokio::test]
async fn contradictory_credentials_are_refused_and_never_picked_from() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::HttpStatelessJson).await;
    let (high, low) = (badge(10, LEVELS[3]), badge(11, LEVELS[1]));
    let both = Credential::meta(&high).with_header("x-capiscio-badge", &low);
    let client = server.client(both).await;
    for tool in ["open", "level1"] {
        assert_eq!(client.call(tool, json!({})).await.code(), "badge_invalid");
    }
    assert_eq!(fixture.denials(), ["credential_conflict", "credential_conflict"]);
    assert_eq!(client.tool_names().await, Vec::<String>::new());
    // In `arguments` a badge is an argument.
    let stranger = server.client(Credential::none()).await;
    let arguments = json!({ "_meta": { "capiscio_caller_badge": high }, "capiscio_caller_badge": high });
    assert_eq!(stranger.call("level1", arguments).await.code(), "badge_missing");
    let key = server.client(Credential::none().with_meta("capiscio_caller_api_key", json!(API_KEY))).await;
    assert_eq!(key.call("member", json!({})).await.code(), "ran");
    assert_eq!(key.call("level1", json!({})).await.code(), "trust_insufficient");
}

/// Stops a requirement beside a tool from being ignored, from opening what the rules close, and from being shown.
#[tokio::test]
async fn s12_a_requirement_beside_the_tool_tightens_its_rule() {
    for transport in [Transport::Duplex, Transport::HttpStatelessJson] {
        let fixture = Fixture::with(|config| config.tool("no_rule_for_*", ToolRequirement::anonymous()));
        let server = fixture.serve(transport).await;
        let low = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
        let high = server.client(Credential::meta(&badge(11, LEVELS[3]))).await;

        // The rules say that anybody may call it.
        assert_eq!(low.call("beside_level3", json!({})).await.code(), "trust_insufficient");
        assert_eq!(high.call("beside_level3", json!({})).await.code(), "ran");
        // What cannot be read denies everybody.
        assert_eq!(high.call("beside_broken", json!({})).await.code(), "requirement_unreadable");
        assert_eq!(fixture.demo.runs("beside_broken"), 0);
        assert_eq!(fixture.demo.runs("beside_level3"), 1);

        let names = low.tool_names().await;
        assert!(!names.contains(&"beside_level3".to_owned()) && !names.contains(&"beside_broken".to_owned()));
        let page = high.list(Some("2")).await.unwrap();
        let tool = page.tools.iter().find(|tool| tool.name == "beside_level3").unwrap();
        let meta = tool.meta.as_ref().unwrap();
        assert_eq!(meta.get("example.com/colour"), Some(&json!("blue")));
        assert!(meta.get(ToolRequirement::META_KEY).is_none());
    }
}

/// Stops a list from showing a caller tools that it may not call, and a cache from showing one caller's list to another.
#[tokio::test]
async fn a_list_shows_exactly_what_its_caller_may_call() {
    for (transport, version) in Transport::with_versions() {
        let fixture = Fixture::new();
        let server = fixture.serve(transport).await;
        let name = format!("{transport:?} {version}");
        let callers = [Credential::none(), Credential::badge(transport, &badge(10, LEVELS[2]))];
        for credential in callers {
            let client = server.connect(&version, credential).await;
            let shown = client.tool_names().await;
            for tool in demo::tools() {
                if ["slow", "panic"].contains(&&*tool.name) {
                    continue;
                }
                let answer = client.call(&tool.name, json!({ "id": uuid::Uuid::new_v4().to_string() })).await;
                let denied = matches!(answer, Answer::Denied(..)) && answer.code() != "session_unbound";
                assert_eq!(shown.contains(&tool.name.to_string()), !denied, "{name} {} {answer:?}", tool.name);
            }
            for cursor in [None, Some("2")] {
                let page = client.list(cursor).await.unwrap();
                assert_eq!(page.cache_scope, Some(CacheScope::Private), "{name}");
                assert_eq!(page.ttl_ms, Some(0), "{name}");
                assert_eq!(page.next_cursor.as_deref(), if cursor.is_none() { Some("2") } else { None }, "{name}");
            }
        }
    }
}

/// Lists are not calls: they leave no decision record.
#[tokio::test]
async fn a_list_that_cannot_be_authorized_is_empty_and_no_error() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let client = server.client(Credential::none().with_meta("capiscio_caller_badge", json!(7))).await;
    assert_eq!(client.tool_names().await, Vec::<String>::new());
    assert!(fixture.records("decision").is_empty());
    // The handler's own errors are its own.
    assert_eq!(client.list(Some("nowhere")).await.unwrap_err().code.0, -32602);
}

#[tokio::test]
async fn outcomes_say_how_a_call_ended() {
    let fixture = Fixture::new();
    let server = fixture.serve(Transport::Duplex).await;
    let client = server.client(Credential::none()).await;
    let cases =
        [("open", "ok"), ("fail", "tool_error"), ("protocol_error", "protocol_error"), ("ask", "input_required")];
    for (tool, want) in cases {
        client.call(tool, json!({})).await;
        assert_eq!(fixture.records("outcome").last().unwrap()["rmcp_guard.outcome"], want, "{tool}");
    }
    let agent = server.client(Credential::meta(&badge(10, LEVELS[2]))).await;
    agent.call("vip_job", json!({ "id": "t" })).await;
    assert_eq!(fixture.records("outcome").last().unwrap()["rmcp_guard.outcome"], "accepted");
    let decisions = fixture.records("decision");
    let ids: Vec<&Value> = decisions.iter().map(|it| &it["capiscio.evidence.id"]).collect();
    assert_eq!(decisions.len(), 5, "{ids:?}");
}
