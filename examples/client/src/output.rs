//! What the program prints. Whatever a server sent is escaped: it must not move the cursor or reorder a line.

use std::process::ExitCode;

use rmcp::model::{CallToolResult, Tool};
use rmcp_guard::evidence::escape_for_display;
use rmcp_guard::identity::server::VerifiedServer;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Lines for people, or one line of JSON for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn tools(self, server: &VerifiedServer, tools: &[Tool]) {
        if self.json {
            return print_json(&json!({"server": facts(server), "tools": tools}));
        }
        print_server(server);
        println!("tools   {}", tools.len());
        for tool in tools {
            let description = tool.description.as_deref().unwrap_or_default();
            let first = description.lines().next().unwrap_or_default();
            println!("  {:<18} {}", escape_for_display(&tool.name), escape_for_display(first));
        }
    }

    pub(crate) fn result(self, server: &VerifiedServer, tool: &str, result: &CallToolResult) {
        if self.json {
            return print_json(&json!({"server": facts(server), "tool": tool, "result": result}));
        }
        print_server(server);
        println!(
            "tool    {}: {}",
            escape_for_display(tool),
            if result.is_error == Some(true) { "failed" } else { "ok" }
        );
        for content in &result.content {
            match content.as_text() {
                Some(text) => print_lines(&text.text),
                None => print_lines(&serde_json::to_string(content).unwrap_or_default()),
            }
        }
    }

    /// Says what went wrong and returns the exit code.
    pub(crate) fn failed(self, failure: &Failure) -> ExitCode {
        if self.json {
            if !matches!(failure, Failure::Tool(None)) {
                print_json(&json!({"error": describe(failure)}));
            }
        } else {
            match failure {
                Failure::Tool(None) => {}
                Failure::Tool(Some(text)) => eprintln!("tool error: {}", escape_for_display(text)),
                Failure::Denied { tool, denial } => {
                    eprintln!("DENIED  {}", escape_for_display(tool));
                    eprintln!("reason  {}", denial.reason());
                    if let Some(detail) = denial.detail() {
                        eprintln!("detail  {detail}");
                    }
                    if let Some(id) = denial.evidence_id() {
                        eprintln!("record  {id} (what to quote to the server's operator)");
                    }
                }
                Failure::NotVerified { detail, error } => {
                    let code = error.as_ref().map_or("identity_changed", |error| error.code().code());
                    eprintln!("server not verified ({code}): {}", escape_for_display(detail));
                }
                Failure::Usage(text) => eprintln!("error: {}", escape_for_display(text)),
                Failure::Other(text) => eprintln!("failed: {}", escape_for_display(text)),
            }
        }
        ExitCode::from(failure.exit_code())
    }
}

fn describe(failure: &Failure) -> Value {
    let mut members = Map::new();
    members.insert("kind".to_owned(), failure.kind().into());
    match failure {
        Failure::Other(text) | Failure::Usage(text) => {
            members.insert("detail".to_owned(), text.as_str().into());
        }
        Failure::Tool(text) => {
            members.insert("detail".to_owned(), text.as_deref().into());
        }
        Failure::NotVerified { detail, error } => {
            members.insert("detail".to_owned(), detail.as_str().into());
            if let Some(error) = error {
                members.insert("code".to_owned(), error.code().code().into());
                members.insert("state".to_owned(), error.result().state.rfc_text().into());
            }
        }
        Failure::Denied { tool, denial } => {
            members.insert("tool".to_owned(), tool.as_str().into());
            members.insert("reason".to_owned(), denial.reason().into());
            members.insert("detail".to_owned(), denial.detail().into());
            members.insert("evidence_id".to_owned(), denial.evidence_id().into());
        }
    }
    Value::Object(members)
}

fn facts(server: &VerifiedServer) -> Value {
    json!({
        "did": server.did().as_str(),
        "state": server.state().rfc_text(),
        "trust_level": server.trust_level().as_u8(),
        "badge_jti": server.badge_jti(),
        "key_proved": server.pop_verified(),
        "origin_bound": server.origin_bound(),
    })
}

fn print_server(server: &VerifiedServer) {
    println!("server  {}", escape_for_display(server.did().as_str()));
    let proof = if server.pop_verified() { "key proved" } else { "key not proved" };
    let origin = if server.origin_bound() { "its DID names this origin" } else { "its DID is pinned" };
    println!("state   {}, level {}, {proof}, {origin}", server.state().rfc_text(), server.trust_level());
}

fn print_lines(text: &str) {
    for line in text.lines() {
        println!("  {}", escape_for_display(line));
    }
}

/// JSON leaves all but the C0 controls as they are; the rest of what can confuse a terminal is escaped here. Such
/// characters stand only inside strings, where `\uXXXX` means the same.
fn print_json(value: &Value) {
    let mut line = String::new();
    for character in value.to_string().chars() {
        let mut bytes = [0; 4];
        let text = character.encode_utf8(&mut bytes);
        if character == '\\' || *escape_for_display(text) == *text {
            line.push(character);
        } else {
            let mut units = [0; 2];
            line.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    println!("{line}");
}
