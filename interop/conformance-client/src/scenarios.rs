//! What each scenario wants the client to do.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequestParams, GetPromptRequestParams, JsonObject, ReadResourceRequestParams, ResourceContents, Skill,
    SkillResources,
};
use rmcp::service::RunningService;
use serde_json::{Value, json};

use crate::handler::Handler;

type Client = RunningService<RoleClient, Handler>;

/// How long the stream of a session takes to open. rmcp opens it by itself and does not say when; a server that has none yet
/// drops what it has to ask, or takes it for one that is resumed.
const SETTLE: Duration = Duration::from_secs(1);

const KNOWN: [&str; 14] = [
    "initialize",
    "tools_call",
    "elicitation-sep1034-client-defaults",
    "sse-retry",
    "request-metadata",
    "sep-2322-client-request-state",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
    "json-schema-ref-no-deref",
    "json-schema-2020-12-preservation",
    "sep-2640-client-no-prefetch",
    "sep-2640-client-verify-digest",
    "sep-2640-client-verify-size",
];

/// Fails for scenarios that this client does not play: those of OAuth, and of what is above an MCP client.
pub(crate) fn check_is_known(scenario: &str) -> Result<()> {
    if KNOWN.contains(&scenario) {
        return Ok(());
    }
    bail!("not covered: {scenario}")
}

pub(crate) async fn play(scenario: &str, context: &Value, client: &Client) -> Result<()> {
    match scenario {
        "initialize" | "request-metadata" | "json-schema-ref-no-deref" => {
            client.list_all_tools().await?;
        }
        "tools_call" => {
            client.list_all_tools().await?;
            call(client, "add_numbers", json!({"a": 5, "b": 3})).await?;
        }
        "elicitation-sep1034-client-defaults" => {
            tokio::time::sleep(SETTLE).await;
            call(client, "test_client_elicitation_defaults", json!({})).await?;
        }
        "sse-retry" => {
            tokio::time::sleep(SETTLE).await;
            call(client, "test_reconnection", json!({})).await?;
        }
        "sep-2322-client-request-state" => {
            client.list_all_tools().await?;
            // between the rounds of one call comes another one
            let (echoed, unrelated) = tokio::join!(
                call(client, "test_mrtr_echo_state", json!({})),
                call(client, "test_mrtr_unrelated", json!({})),
            );
            echoed?;
            unrelated?;
            call(client, "test_mrtr_no_state", json!({})).await?;
            call(client, "test_mrtr_no_result_type", json!({})).await?;
        }
        "http-standard-headers" => {
            for tool in client.list_all_tools().await? {
                call(client, &tool.name, json!({})).await?;
            }
            for resource in client.list_all_resources().await? {
                client.read_resource(ReadResourceRequestParams::new(resource.uri.clone())).await?;
            }
            for prompt in client.list_all_prompts().await? {
                client.get_prompt(GetPromptRequestParams::new(prompt.name)).await?;
            }
        }
        "http-custom-headers" => {
            client.list_all_tools().await?;
            let calls = context.get("toolCalls").and_then(Value::as_array).context("no calls in the context")?;
            for wanted in calls {
                let name = wanted.get("name").and_then(Value::as_str).context("a call without a name")?;
                call(client, name, wanted.get("arguments").cloned().unwrap_or_default()).await?;
            }
        }
        "http-invalid-tool-headers" => {
            for tool in client.list_all_tools().await? {
                let arguments: JsonObject = tool
                    .input_schema
                    .get("required")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|name| Some((name.as_str()?.to_owned(), json!("eu"))))
                    .collect();
                call(client, &tool.name, Value::Object(arguments)).await?;
            }
        }
        "json-schema-2020-12-preservation" => {
            let tools = client.list_all_tools().await?;
            let focal = tools.iter().find(|tool| tool.name == "json_schema_2020_12_tool").context("no such tool")?;
            call(client, "json_schema_echo", json!({"schema": *focal.input_schema})).await?;
        }
        "sep-2640-client-no-prefetch" => {
            client.list_all_skills().await?;
        }
        "sep-2640-client-verify-digest" | "sep-2640-client-verify-size" => {
            for skill in client.list_all_skills().await? {
                load(client, &skill).await?;
            }
        }
        other => bail!("not covered: {other}"),
    }
    Ok(())
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Result<()> {
    let Value::Object(arguments) = arguments else { bail!("the arguments of {tool} are no object") };
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    client.call_tool(request).await.with_context(|| format!("calling {tool}"))?;
    Ok(())
}

/// Reads a skill's files, and stops at the first that is not what the list promised.
async fn load(client: &Client, skill: &Skill) -> Result<()> {
    let SkillResources::Files(files) = &skill.resources else { return Ok(()) };
    for file in files {
        let read = client.read_resource(ReadResourceRequestParams::new(file.uri.clone())).await?;
        for contents in &read.contents {
            if let ResourceContents::TextResourceContents { text, .. } = contents {
                file.verify(text.as_bytes())?;
            }
        }
    }
    Ok(())
}
