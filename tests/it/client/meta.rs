//! What the client takes out of `_meta`, in both directions.

use rmcp::ClientHandler;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use serde_json::{Value, json};

use super::fixtures::{LIFECYCLES, Probe, Server, against_raw, expecting, handshake_answer, meta_of, now};
use super::web::{Mode, Web, mcp};

/// A `_meta` of a program that passes requests on as it gets them.
fn passed_on() -> Value {
    json!({
        "capiscio_caller_badge": "theirs",
        "capiscio_caller_api_key": "theirs",
        "rmcp-guard/call-proof": "theirs",
        "example.com/trace": "kept",
    })
}

#[derive(Clone)]
struct Passing;

impl ClientHandler for Passing {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.meta = serde_json::from_value(passed_on()).unwrap();
        info
    }
}

fn call() -> CallToolRequestParams {
    let mut params = CallToolRequestParams::new("echo");
    params.meta = serde_json::from_value(passed_on()).unwrap();
    params
}

/// Stops a program between a caller and this server from handing on the caller's credential with the request, before the
/// server is verified as well as after, and from presenting it when it has none of its own.
#[tokio::test]
async fn s23_somebody_elses_credential_stays_here() {
    for lifecycle in LIFECYCLES {
        let (server, web) = (Server::new(1), Web::start().await);
        web.become_(mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::Sessions));
        let builder = expecting(&server).lifecycle(lifecycle).handler(Passing);
        let client = builder.connect_http(&web.url()).await.unwrap();
        client.call_tool(call()).await.unwrap();
        client.cancel().await.unwrap();
        let sent: Vec<Value> = web.log().into_iter().map(|logged| logged.body).collect();
        nothing_of_theirs(&sent, &format!("HTTP {lifecycle:?}"));

        let identity = server.identity(None);
        let ((), sent) = against_raw(
            async |io| {
                let (read, write) = tokio::io::split(io);
                let builder = expecting(&server).lifecycle(lifecycle).handler(Passing);
                let client = builder.connect_io(read, write).await.unwrap();
                client.call_tool(call()).await.unwrap();
                client.cancel().await.unwrap();
            },
            move |message| {
                let handshake = handshake_answer(message, || identity.disclose(meta_of(message), now()).meta);
                let called = || json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [], "resultType": "complete"}});
                handshake.or_else(|| (message["method"] == "tools/call").then(called)).into_iter().collect()
            },
        )
        .await;
        nothing_of_theirs(&sent, &format!("pipe {lifecycle:?}"));
    }
}

fn nothing_of_theirs(sent: &[Value], name: &str) {
    assert!(sent.iter().all(|message| !message.to_string().contains("theirs")), "{name}: {sent:?}");
    let call = sent.iter().find(|message| message["method"] == "tools/call").unwrap();
    assert_eq!(call["params"]["_meta"]["example.com/trace"], "kept", "{name}: the rest arrives");
    assert_eq!(call["params"]["name"], "echo", "{name}");
}

/// Stops the server's badge and proof from reaching logs: rmcp writes down the whole answer to a handshake.
#[tokio::test]
async fn badge_and_proof_do_not_reach_rmcp() {
    for lifecycle in LIFECYCLES {
        let (server, web) = (Server::new(1), Web::start().await);
        web.become_(mcp(&server.identity(Some(&web.origin)), true, &Probe::default(), Mode::StatelessJson));
        let over_http = expecting(&server).lifecycle(lifecycle).connect_http(&web.url()).await.unwrap();
        let (read, write) = tokio::io::split(super::stdio::serve(&server, &Probe::default()));
        let over_pipe = expecting(&server).lifecycle(lifecycle).connect_io(read, write).await.unwrap();
        for (name, client) in [("HTTP", over_http), ("pipe", over_pipe)] {
            let info = format!("{:?}", client.peer_info().unwrap());
            assert!(!info.contains("capiscio") && !info.contains("rmcp-guard/"), "{name} {lifecycle:?}: {info}");
            assert!(client.server().pop_verified(), "{name} {lifecycle:?}");
            client.cancel().await.unwrap();
        }
    }
}
