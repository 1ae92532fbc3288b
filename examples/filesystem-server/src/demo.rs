//! `filesystem-server demo`: everything on one machine, without network, service or prior step.

mod audit;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::{OpenErrorKind, escape_for_display, read_records};
use rmcp_guard::identity::server::{ServerErrorCode, VerifiedServer};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::layer::client::{ConnectError, VerifiedClient, VerifiedClientBuilder, denial_of};
use rmcp_guard::policy::DenyReason;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::files;
use filesystem_server::{FilesystemServer, GuardedServer, HttpOptions};
use world::{Agent, World};

/// How long the log of a server that has ended may stay locked.
const UNLOCK_WAIT: Duration = Duration::from_secs(5);

/// A call of the demonstration, and what must come of it.
struct Step {
    tool: &'static str,
    arguments: Value,
    /// `None`: the call is allowed.
    denied: Option<DenyReason>,
}

/// A call that was made.
struct Made {
    tool: &'static str,
    agent: String,
    /// The reason, and the evidence id that the denial named.
    denied: Option<(DenyReason, String)>,
}

/// Runs the demonstration; an error means that something was not as it should be.
pub(crate) async fn run(keep: Option<PathBuf>) -> Result<()> {
    let temporary = if keep.is_none() { Some(tempfile::tempdir()?) } else { None };
    let directory = match (&keep, &temporary) {
        (Some(directory), _) => {
            files::create_private_dir(directory).with_context(|| format!("making {}", directory.display()))?;
            directory.canonicalize()?
        }
        (None, Some(temporary)) => temporary.path().canonicalize()?,
        (None, None) => bail!("no directory"),
    };
    let world = World::make(&directory)?;
    println!("A development issuer, a server and two agents, made just now in {}", directory.display());
    println!("  issuer   {}", world::ISSUER);
    println!("  server   {}  level {}", world.server.did, world.server.level);
    for agent in &world.agents {
        println!("  {:<8} {}  level {}", agent.name, agent.did, agent.level);
    }

    let mut made = over_stdio(&world).await.context("over stdio")?;
    let (over_http, log_key) = over_http(&world).await.context("over HTTP")?;
    made.extend(over_http);
    read_evidence_back(&world, &made).await.context("reading the evidence back")?;
    let denied = made.iter().find_map(|call| call.denied.as_ref()).context("no call was denied")?;
    audit::audit(&world.evidence, &log_key, &denied.1).context("auditing the evidence")?;

    if keep.is_some() {
        println!("\nKeys, badges, configuration and evidence are in {}", directory.display());
    }
    Ok(())
}

/// The server as a child process of each client.
async fn over_stdio(world: &World) -> Result<Vec<Made>> {
    println!("\nOver stdio");
    let mut made = Vec::new();
    for agent in &world.agents {
        let client = client_of(world, agent)?.connect_command(server_command(world)?).await.context("connecting")?;
        made.extend(call_all(&client, agent).await?);
        client.cancel().await?;
        wait_until_unlocked(world).await?;
    }
    refuse_another_server(world).await?;
    Ok(made)
}

fn server_command(world: &World) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("stdio").arg("--root").arg(&world.root).arg("--config").arg(&world.config);
    command.arg("--identity-key").arg(&world.server.key_file);
    command.arg("--identity-badge").arg(&world.server.badge_file);
    command.env("CAPISCIO_LOG_LEVEL", "warn");
    Ok(command)
}

/// A client that expects somebody else must not get as far as a call.
async fn refuse_another_server(world: &World) -> Result<()> {
    let agent = world.agents.first().context("no agent")?;
    let other = VerifiedClient::builder().trusted_issuer(world.issuer()?).revocations(world.revocations());
    let connected =
        other.expect_did(agent.did.as_str()).badge(agent.badge()?).connect_command(server_command(world)?).await;
    match connected {
        Err(ConnectError::Identity(error)) if error.code() == ServerErrorCode::DidUnexpected => {
            println!("  a client that expects another server refuses this one before any call: {}", error.code());
        }
        Err(error) => return Err(error).context("refused for another reason"),
        Ok(_) => bail!("a server was accepted in another's place"),
    }
    wait_until_unlocked(world).await
}

/// The server in this process, on a port of the loopback interface; also the key of its log, which an operator hands to
/// whoever shall check it.
async fn over_http(world: &World) -> Result<(Vec<Made>, VerifierKey)> {
    println!("\nOver HTTP");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let identity = world.server_identity(&format!("http://{address}"))?;
    let config = GuardConfig::builder().file(&world.config).own_identity(&identity).build()?;
    let evidence = config.evidence().clone();
    let server = GuardedServer::new(FilesystemServer::new(&world.root)?, config).with_identity(identity);
    let (stop, stopped) = oneshot::channel::<()>();
    let calls = async {
        let mut made = Vec::new();
        for agent in &world.agents {
            let url = format!("http://{address}/mcp");
            let client = client_of(world, agent)?.connect_http(&url).await.context("connecting")?;
            made.extend(call_all(&client, agent).await?);
            client.cancel().await?;
        }
        drop(stop);
        anyhow::Ok(made)
    };
    let shutdown = async {
        // either word ends the server: the calls are done, or they failed
        let _ = stopped.await;
    };
    let serving = async { server.serve_http(listener, HttpOptions::default(), shutdown).await.context("serving") };
    let (made, ()) = tokio::try_join!(calls, serving)?;
    drop(server);
    let key = evidence.verifier_key().context("the log has no key")?;
    evidence.close();
    Ok((made, key))
}

/// A client that accepts this server only, proved, at level 2 or more.
fn client_of(world: &World, agent: &Agent) -> Result<VerifiedClientBuilder> {
    Ok(VerifiedClient::builder()
        .trusted_issuer(world.issuer()?)
        .revocations(world.revocations())
        .min_trust_level(TrustLevel::DomainValidated)
        .expect_did(world.server.did.as_str())
        .badge(agent.badge()?))
}

fn steps(agent: &Agent) -> Vec<Step> {
    let allowed = |tool, arguments| Step { tool, arguments, denied: None };
    if agent.level < TrustLevel::OrganizationValidated {
        let delete = Step {
            tool: "delete_path",
            arguments: json!({"path": "hello.txt"}),
            denied: Some(DenyReason::TrustInsufficient),
        };
        vec![allowed("read_file", json!({"path": "hello.txt"})), delete]
    } else {
        vec![
            allowed("write_file", json!({"path": "draft.txt", "content": "to be deleted\n"})),
            allowed("delete_path", json!({"path": "draft.txt"})),
        ]
    }
}

async fn call_all(client: &VerifiedClient, agent: &Agent) -> Result<Vec<Made>> {
    println!("  {}", describe(&client.server()));
    let mut made = Vec::new();
    for Step { tool, arguments, denied } in steps(agent) {
        let Value::Object(arguments) = arguments else { bail!("arguments are an object") };
        let result = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await?;
        let caller = format!("{} (level {})", agent.name, agent.level);
        let denial = denial_of(&result);
        let outcome = match (&denial, denied) {
            (Some(denial), Some(expected)) => {
                ensure!(denial.known_reason() == Some(expected), "{tool}: denied for another reason: {denial}");
                println!("    {caller:<18} {tool:<12} DENIED   {denial}");
                let id = denial.evidence_id().context("the denial names no evidence")?;
                Some((expected, id.to_owned()))
            }
            (None, None) => {
                ensure!(result.is_error != Some(true), "{tool}: {}", first_text(&result));
                println!("    {caller:<18} {tool:<12} allowed  {}", escape_for_display(first_text(&result).trim_end()));
                None
            }
            (Some(denial), None) => bail!("{tool}: denied, and should not be: {denial}"),
            (None, Some(_)) => bail!("{tool}: allowed, and should not be"),
        };
        made.push(Made { tool, agent: agent.did.to_string(), denied: outcome });
    }
    Ok(made)
}

fn describe(server: &VerifiedServer) -> String {
    let proof = if server.pop_verified() { "key proved" } else { "key not proved" };
    format!("server {}, level {}, {proof}", server.state().rfc_text(), server.trust_level())
}

fn first_text(result: &CallToolResult) -> &str {
    result.content.first().and_then(|content| content.as_text()).map_or("", |text| text.text.as_str())
}

/// A child that was told to end still holds its log until it is gone.
async fn wait_until_unlocked(world: &World) -> Result<()> {
    let waited = tokio::time::timeout(UNLOCK_WAIT, async {
        loop {
            match rmcp_guard::evidence::EvidenceLog::create_or_open(&world.evidence) {
                Ok(log) => return log.close(),
                Err(error) if error.kind() == OpenErrorKind::Locked => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(_) => return,
            }
        }
    });
    waited.await.context("the server did not end")
}

/// Every call that was made must be on record exactly once, as it was answered, in order.
async fn read_evidence_back(world: &World, made: &[Made]) -> Result<()> {
    wait_until_unlocked(world).await?;
    let records = read_records(&world.evidence)?;
    let decisions: Vec<&Map<String, Value>> = records
        .iter()
        .filter_map(Value::as_object)
        .filter(|record| {
            text(record, "rmcp_guard.kind") == "decision" && text(record, "rmcp_guard.method") == "tools/call"
        })
        .collect();
    println!("\nEvidence, as {} records in {}", records.len(), shown(&world.evidence));
    println!("  {:<8} {:<12} {:<17} {:<20} evidence id", "decision", "tool", "agent", "reason");
    for record in &decisions {
        println!(
            "  {:<8} {:<12} {:<17} {:<20} {}",
            text(record, "capiscio.decision"),
            text(record, "capiscio.target"),
            shortened(&text(record, "capiscio.agent.did")),
            text(record, "rmcp_guard.deny_reason"),
            text(record, "id"),
        );
    }
    ensure!(decisions.len() == made.len(), "{} calls, {} decisions on record", made.len(), decisions.len());
    for (call, record) in made.iter().zip(&decisions) {
        let tool = call.tool;
        ensure!(text(record, "capiscio.target") == tool, "{tool}: another tool is on record");
        ensure!(text(record, "capiscio.agent.did") == call.agent, "{tool}: another agent is on record");
        match &call.denied {
            None => ensure!(text(record, "capiscio.decision") == "ALLOW", "{tool}: not on record as allowed"),
            Some((reason, id)) => {
                ensure!(text(record, "capiscio.decision") == "DENY", "{tool}: not on record as denied");
                ensure!(text(record, "rmcp_guard.deny_reason") == reason.code(), "{tool}: another reason is on record");
                ensure!(text(record, "id") == *id, "{tool}: the denial named other evidence");
            }
        }
    }
    println!("  {} calls, {} decisions: every call is on record as it was answered", made.len(), decisions.len());
    Ok(())
}

fn text(record: &Map<String, Value>, member: &str) -> String {
    escape_for_display(record.get(member).and_then(Value::as_str).unwrap_or_default())
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The end of a DID, which tells the demonstration's keys apart; all of them begin alike.
fn shortened(did: &str) -> String {
    let skip = did.chars().count().saturating_sub(8);
    let end: String = did.chars().skip(skip).collect();
    if skip == 0 { end } else { format!("did:key:\u{2026}{end}") }
}
