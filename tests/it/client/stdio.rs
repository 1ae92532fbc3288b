//! The pipe: duplex streams and child processes.
#![expect(deprecated, reason = "roots and logging are deprecated and still there: servers can ask for them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CustomRequest, CustomResult, ListRootsResult, LoggingMessageNotificationParam,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt as _};
use rmcp_guard::identity::server::{BadgeSource, ServerErrorCode, ServerState};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::layer::client::{ClientConfigErrorKind, ConnectError, Lifecycle, VerifiedClient};
use rmcp_guard::layer::identity::IdentityLayer;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::process::Command;
use tower::Layer as _;

use super::fixtures::{
    LIFECYCLES, Probe, Server, against_raw, caller_badge, eventually, expecting, handshake_answer, meta_of, methods,
    now,
};

/// A real rmcp server with this identity at the other end of a pipe.
pub(crate) fn serve(server: &Server, probe: &Probe) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let service = IdentityLayer::new(server.identity(None)).layer(probe.clone());
    tokio::spawn(async move {
        if let Ok(running) = service.serve(theirs).await {
            let _ = running.waiting().await;
        }
    });
    ours
}

#[tokio::test]
async fn every_lifecycle_verifies_and_then_presents_the_credential() {
    for lifecycle in LIFECYCLES {
        let (server, probe, badge) = (Server::new(1), Probe::default(), caller_badge());
        let (read, write) = tokio::io::split(serve(&server, &probe));
        let client = expecting(&server)
            .lifecycle(lifecycle)
            .badge(badge.as_str())
            .api_key("key-1")
            .connect_io(read, write)
            .await
            .unwrap_or_else(|error| panic!("{lifecycle:?}: {error:?}"));
        assert_eq!(client.server().did(), &server.did);
        assert_eq!(client.server().state(), ServerState::VerifiedPrincipal);
        assert_eq!(client.server().trust_level(), TrustLevel::Registered);

        assert_eq!(client.list_all_tools().await.unwrap().len(), 1);
        let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
        assert_eq!(result.is_error, Some(false), "{lifecycle:?}");
        for seen in probe.seen() {
            assert_eq!(seen.badge.as_deref(), Some(badge.as_str()), "{lifecycle:?} {}", seen.method);
            assert_eq!(seen.api_key.as_deref(), Some("key-1"), "{lifecycle:?} {}", seen.method);
        }
        assert_eq!(probe.seen().len(), 2, "{lifecycle:?}");
        client.cancel().await.unwrap();
    }
}

/// Stops a request that is passed on with its `_meta` from presenting somebody else's badge instead of ours.
#[tokio::test]
async fn a_badge_in_the_requests_own_meta_is_replaced() {
    let (server, probe, badge) = (Server::new(1), Probe::default(), caller_badge());
    let (read, write) = tokio::io::split(serve(&server, &probe));
    let client = expecting(&server).badge(badge.as_str()).connect_io(read, write).await.unwrap();
    let mut params = CallToolRequestParams::new("echo");
    let meta = json!({"capiscio_caller_badge": "theirs"});
    params.meta = serde_json::from_value(meta).unwrap();
    client.call_tool(params).await.unwrap();
    assert_eq!(probe.seen()[0].badge.as_deref(), Some(badge.as_str()));
}

/// Stops a client whose badge has run out from going on as somebody else.
#[tokio::test]
async fn without_a_badge_the_call_does_not_leave() {
    #[derive(Debug)]
    struct Empty;
    impl BadgeSource for Empty {
        fn current(&self) -> Option<Arc<str>> {
            None
        }
    }
    let (server, probe) = (Server::new(1), Probe::default());
    let (read, write) = tokio::io::split(serve(&server, &probe));
    let client = expecting(&server).badge(Empty).api_key("key-1").connect_io(read, write).await.unwrap();
    let error = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    assert!(error.to_string().contains("no badge"), "{error}");
    assert_eq!(probe.seen(), []);
    assert_eq!(client.verification_failure(), None, "the server is not to blame");
}

/// What a client handler was asked for.
#[derive(Clone, Default)]
struct Answering(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl ClientHandler for Answering {
    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(ListRootsResult::default())
    }

    async fn on_custom_request(
        &self,
        _request: CustomRequest,
        _context: RequestContext<RoleClient>,
    ) -> Result<CustomResult, ErrorData> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(CustomResult::new(json!({"secret": true})))
    }

    async fn on_logging_message(
        &self,
        _params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Stops an unverified server from reading the client's roots, using its model, or writing into its log, before it
/// answers the handshake.
#[tokio::test]
async fn s22_an_unverified_server_gets_no_answer_but_to_ping() {
    let server = Server::new(1);
    let identity = server.identity(None);
    let requests = |ids: [i64; 4]| {
        [
            json!({"jsonrpc": "2.0", "id": ids[0], "method": "roots/list"}),
            json!({"jsonrpc": "2.0", "id": ids[1], "method": "sampling/createMessage", "params":
                {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 1}}),
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "x"}}),
            json!({"jsonrpc": "2.0", "id": ids[2], "method": "example/ask"}),
            json!({"jsonrpc": "2.0", "id": ids[3], "method": "ping"}),
        ]
    };
    let handler = Answering::default();
    let asked = handler.clone();
    let (client, read) = against_raw(
        async move |io| {
            let (read, write) = tokio::io::split(io);
            let client = expecting(&Server::new(1)).handler(handler).connect_io(read, write).await.unwrap();
            let counts = || (asked.0.load(Ordering::SeqCst), asked.1.load(Ordering::SeqCst));
            eventually(async || counts().0 > 0 && counts().1 > 0).await;
            let counts = counts();
            client.cancel().await.unwrap();
            counts
        },
        move |message| match message["method"].as_str() {
            Some("initialize") => {
                let mut out = requests([100, 101, 102, 103]).to_vec();
                out.extend(handshake_answer(message, || identity.disclose(meta_of(message), now()).meta));
                out
            }
            // verified now: the same requests get through
            Some("notifications/initialized") => requests([200, 201, 202, 203]).to_vec(),
            _ => Vec::new(),
        },
    )
    .await;
    let answered: Vec<i64> = read.iter().filter_map(|m| m["method"].is_null().then(|| m["id"].as_i64())?).collect();
    let early: Vec<_> = answered.iter().filter(|id| **id < 200).collect();
    assert_eq!(early, [&103], "before verification only the ping is answered");
    assert!(answered.contains(&202), "afterwards requests are: {answered:?}");
    assert_eq!(client, (1, 1), "one request and one log line reached the application, after verification");
}

/// Stops a server that cannot prove itself from being used, and from being told anything but the handshake.
#[tokio::test]
async fn s21_a_server_that_is_not_verified_sees_the_handshake_only() {
    type Disclose = Box<dyn Fn(&Value) -> serde_json::Map<String, Value> + Send + Sync>;
    struct Case {
        name: &'static str,
        disclose: Disclose,
        want: ServerErrorCode,
    }
    let (server, other) = (Server::new(1), Server::new(2));
    let by = |identity: rmcp_guard::identity::server::ServerIdentity| -> Disclose {
        Box::new(move |message| identity.disclose(meta_of(message), now()).meta)
    };
    let without = |identity: rmcp_guard::identity::server::ServerIdentity, member: &'static str| -> Disclose {
        Box::new(move |message| {
            let mut meta = identity.disclose(meta_of(message), now()).meta;
            meta.remove(member);
            meta
        })
    };
    let replayed = {
        let earlier = json!({"params": {"_meta": {"capiscio_pop_nonce": "A".repeat(43)}}});
        let meta = server.identity(None).disclose(meta_of(&earlier), now()).meta;
        Box::new(move |_: &Value| meta.clone()) as Disclose
    };
    let stolen = {
        // the badge and DID of the real server, proved with another key
        let (real, thief) = (server.identity(None), other.identity(None));
        Box::new(move |message: &Value| {
            let mut meta = real.disclose(meta_of(message), now()).meta;
            let proof = thief.disclose(meta_of(message), now()).meta;
            meta.insert("capiscio_pop_signature".to_owned(), proof["capiscio_pop_signature"].clone());
            meta
        }) as Disclose
    };
    let long_ago = now().saturating_sub(Duration::from_secs(3600));
    let expired = server.badge_with(200, TrustLevel::Registered, long_ago);
    let foreign = server.badge_with(201, TrustLevel::Registered, now());
    let others_badge = {
        let (identity, badge) = (server.identity(None), other.badge());
        Box::new(move |message: &Value| {
            let mut meta = identity.disclose(meta_of(message), now()).meta;
            meta.insert("capiscio_server_badge".to_owned(), json!(badge));
            meta
        }) as Disclose
    };
    let cases = [
        Case {
            name: "no identity",
            disclose: Box::new(|_| serde_json::Map::new()),
            want: ServerErrorCode::IdentityMissing,
        },
        Case {
            name: "no badge",
            disclose: without(server.identity(None), "capiscio_server_badge"),
            want: ServerErrorCode::BadgeMissing,
        },
        Case {
            name: "no proof",
            disclose: without(server.identity(None), "capiscio_pop_signature"),
            want: ServerErrorCode::PopMissing,
        },
        Case { name: "another DID", disclose: by(other.identity(None)), want: ServerErrorCode::DidUnexpected },
        Case { name: "another server's badge", disclose: others_badge, want: ServerErrorCode::DidMismatch },
        Case { name: "a proof by another key", disclose: stolen, want: ServerErrorCode::PopFailed },
        Case { name: "a replayed proof", disclose: replayed, want: ServerErrorCode::PopFailed },
        Case {
            name: "an expired badge",
            disclose: by(server.identity_with(expired, None)),
            want: ServerErrorCode::BadgeExpired,
        },
        Case {
            name: "a badge by a forged issuer",
            disclose: by(server.identity_with(foreign, None)),
            want: ServerErrorCode::BadgeInvalid,
        },
    ];
    for case in cases {
        let disclose: Arc<Disclose> = Arc::new(case.disclose);
        for lifecycle in LIFECYCLES {
            let disclose = Arc::clone(&disclose);
            let (error, read) = against_raw(
                async |io| {
                    let (read, write) = tokio::io::split(io);
                    let builder = expecting(&server).lifecycle(lifecycle).badge(caller_badge()).api_key("key-1");
                    builder.connect_io(read, write).await.unwrap_err()
                },
                move |message| handshake_answer(message, || disclose(message)).into_iter().collect(),
            )
            .await;
            match error {
                ConnectError::Identity(error) => assert_eq!(error.code(), case.want, "{} {lifecycle:?}", case.name),
                other => panic!("{} {lifecycle:?}: {other:?}", case.name),
            }
            let handshake = if lifecycle == Lifecycle::Initialize { "initialize" } else { "server/discover" };
            assert_eq!(methods(&read), [handshake], "{}: nothing follows", case.name);
            let sent = read[0].to_string();
            assert!(!sent.contains("capiscio_caller") && !sent.contains("key-1"), "{}: {sent}", case.name);
        }
    }
}

/// Stops a server below the wanted level.
#[tokio::test]
async fn a_level_that_is_too_low_is_refused() {
    let (server, probe) = (Server::new(1), Probe::default());
    let (read, write) = tokio::io::split(serve(&server, &probe));
    let builder = expecting(&server).min_trust_level(TrustLevel::DomainValidated);
    let error = builder.connect_io(read, write).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Identity(e) if e.code() == ServerErrorCode::TrustInsufficient), "{error:?}");
}

/// Stops any trusted server from standing in for the one that was meant: a pipe binds no origin.
#[tokio::test]
async fn s20_without_a_pinned_did_a_pipe_is_not_verified() {
    let (server, probe) = (Server::new(1), Probe::default());
    let (read, write) = tokio::io::split(serve(&server, &probe));
    let issuer =
        rmcp_guard::identity::trust_store::Issuer::jwks(super::fixtures::ISSUER, &super::fixtures::issuer_jwks())
            .unwrap();
    let builder = VerifiedClient::builder().trusted_issuer(issuer).insecure_no_revocation().badge(caller_badge());
    let error = builder.connect_io(read, write).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Identity(e) if e.code() == ServerErrorCode::OriginUnbound), "{error:?}");
}

/// Stops a server from escaping verification by refusing `server/discover` and then answering a bare `initialize`.
#[tokio::test]
async fn falling_back_to_initialize_is_no_way_around_verification() {
    let server = Server::new(1);
    let refuse = |message: &Value| json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "method not found"}});
    let (error, read) = against_raw(
        async |io| {
            let (read, write) = tokio::io::split(io);
            let builder = expecting(&server).lifecycle(Lifecycle::Auto).badge(caller_badge());
            builder.connect_io(read, write).await.unwrap_err()
        },
        move |message| match message["method"].as_str() {
            Some("server/discover") => vec![refuse(message)],
            _ => handshake_answer(message, Default::default).into_iter().collect(),
        },
    )
    .await;
    assert!(matches!(&error, ConnectError::Identity(e) if e.code() == ServerErrorCode::IdentityMissing), "{error:?}");
    assert_eq!(methods(&read), ["server/discover", "initialize"]);

    // and a legacy server that proves itself is reached that way
    let identity = server.identity(None);
    let (connected, read) = against_raw(
        async |io| {
            let (read, write) = tokio::io::split(io);
            let client = expecting(&server).lifecycle(Lifecycle::Auto).connect_io(read, write).await.unwrap();
            client.cancel().await.is_ok()
        },
        move |message| match message["method"].as_str() {
            Some("server/discover") => vec![refuse(message)],
            _ => handshake_answer(message, || identity.disclose(meta_of(message), now()).meta).into_iter().collect(),
        },
    )
    .await;
    assert!(connected);
    let nonce = |message: &Value| message["params"]["_meta"]["capiscio_pop_nonce"].as_str().unwrap().to_owned();
    assert_ne!(nonce(&read[0]), nonce(&read[1]), "each handshake has its own challenge");
}

/// Stops a server from being taken for verified by an answer of another kind, or by one that nobody asked for.
#[tokio::test]
async fn an_answer_of_another_kind_is_no_handshake() {
    type Answer = fn(&Value) -> Value;
    let cases: [(&str, Answer); 3] = [
        ("an empty result", |id| json!({"jsonrpc": "2.0", "id": id, "result": {}})),
        ("a tool list", |id| json!({"jsonrpc": "2.0", "id": id, "result": {"tools": []}})),
        ("another id", |_| {
            handshake_answer(
                &json!({"method": "initialize", "id": 77, "params": {"protocolVersion": "2025-11-25"}}),
                Default::default,
            )
            .unwrap()
        }),
    ];
    for (name, answer) in cases {
        let server = Server::new(1);
        let (error, read) = against_raw(
            async |io| {
                let (read, write) = tokio::io::split(io);
                expecting(&server).connect_io(read, write).await.unwrap_err()
            },
            move |message| vec![answer(&message["id"])],
        )
        .await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{name}: {error:?}");
        assert_eq!(methods(&read), ["initialize"], "{name}");
    }
}

#[tokio::test]
async fn ids_as_text_are_answers_too() {
    let server = Server::new(1);
    let identity = server.identity(None);
    let (connected, _) = against_raw(
        async |io| {
            let (read, write) = tokio::io::split(io);
            let client = expecting(&server).connect_io(read, write).await?;
            client.cancel().await.map_err(|error| ConnectError::Transport(error.into())).map(drop)
        },
        move |message| {
            let answer = handshake_answer(message, || identity.disclose(meta_of(message), now()).meta);
            let as_text = |mut answer: Value| {
                answer["id"] = json!(answer["id"].to_string());
                answer
            };
            answer.map(as_text).into_iter().collect()
        },
    )
    .await;
    connected.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_a_closed_pipe_a_transport_error() {
    let server = Server::new(1);
    let (ours, _theirs) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(ours);
    let builder = expecting(&server).handshake_timeout(Duration::from_millis(50));
    let error = builder.connect_io(read, write).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout(after) if after == Duration::from_millis(50)), "{error:?}");

    let (ours, theirs) = tokio::io::duplex(1 << 16);
    drop(theirs);
    let (read, write) = tokio::io::split(ours);
    let error = expecting(&server).connect_io(read, write).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)), "{error:?}");
}

#[tokio::test]
async fn trusting_nobody_is_a_mistake_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("started");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("touch \"$1\"; cat").arg("sh").arg(&file);
    let error = VerifiedClient::builder().connect_command(command).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(e) if e.kind() == ClientConfigErrorKind::NobodyTrusted), "{error:?}");
    assert!(!file.exists());
}

/// Stops a child server from reading its client's secrets out of the environment.
#[cfg(unix)]
#[tokio::test]
async fn s23_a_child_process_does_not_inherit_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("environment");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("env > \"$1\"; exec cat").arg("sh").arg(&file).env("GIVEN", "yes");
    let server = Server::new(1);
    let builder = expecting(&server).pass_env("CARGO_PKG_NAME").handshake_timeout(Duration::from_secs(2));
    let error = builder.connect_command(command).await.unwrap_err();
    assert!(!matches!(error, ConnectError::Config(_) | ConnectError::Identity(_)), "an echo is no server: {error:?}");

    let environment = std::fs::read_to_string(&file).unwrap();
    let has = |name: &str| environment.lines().any(|line| line.split('=').next() == Some(name));
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"), "cargo sets it for us");
    assert!(!has("CARGO_MANIFEST_DIR"), "{environment}");
    assert!(has("PATH") && has("GIVEN") && has("CARGO_PKG_NAME"), "{environment}");
}

/// Names the test below as a child process, which serves on the descriptor that is given.
#[cfg(unix)]
const CHILD: &str = "RMCP_GUARD_TEST_CHILD";

/// The server of the next test; on its own it has nothing to do.
#[cfg(unix)]
#[tokio::test]
async fn child_server() {
    let Some(path) = std::env::vars_os().find_map(|(name, value)| (name == CHILD).then_some(value)) else { return };
    let output = tokio::fs::OpenOptions::new().write(true).open(path).await.unwrap();
    let service = IdentityLayer::new(Server::new(1).identity(None)).layer(Probe::default());
    service.serve((tokio::io::stdin(), output)).await.unwrap().waiting().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_process_is_served_in_every_lifecycle() {
    for lifecycle in LIFECYCLES {
        // the test harness writes to standard output, so the protocol goes to a copy of it
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec 4>&1 1>&2; exec \"$1\" --exact client::stdio::child_server --nocapture", "sh"])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, "/dev/fd/4");
        let server = Server::new(1);
        let client = expecting(&server).lifecycle(lifecycle).connect_command(command).await.unwrap();
        assert_eq!(client.list_all_tools().await.unwrap().len(), 1, "{lifecycle:?}");
        client.cancel().await.unwrap();
    }
}

/// A second `server/discover` on the same connection is a handshake like the first: challenged, answered, verified.
#[tokio::test]
async fn a_repeated_discover_is_verified_too() {
    let (server, probe) = (Server::new(1), Probe::default());
    let (read, write) = tokio::io::split(serve(&server, &probe));
    let client = expecting(&server).lifecycle(Lifecycle::Discover).connect_io(read, write).await.unwrap();
    let meta = rmcp::model::RequestMetaObject::with_client_context(
        rmcp::model::ProtocolVersion::LATEST,
        rmcp::model::Implementation::from_build_env(),
        rmcp::model::ClientCapabilities::default(),
    );
    let first = client.server();
    client.discover(meta).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &client.server()), "verified by another proof, not by a cached answer");
    assert_eq!(client.verification_failure(), None);
    client.cancel().await.unwrap();
}
