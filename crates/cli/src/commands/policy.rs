//! `policy`: the decision for a tool and a caller, and the weak spots of a configuration.

mod lint;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rmcp_guard::enforce::{CallerCredential, Enforcer, GuardResult, evaluate_tool_access};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::policy::{Decision, DenyReason, ToolRequirement};
use serde_json::{Value, json};

use crate::commands::config;
use crate::exit::Failure;
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, Text};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Check(Box<Check>),
    Lint(lint::Lint),
}

impl PolicyCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Check(arguments) => arguments.run(output),
            Self::Lint(arguments) => arguments.run(output),
        }
    }
}

/// Ask what a guard with this configuration would decide, now. Nothing is recorded as evidence.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard policy check --config guard.toml --tool read_file --badge agent.badge\n  \
    rmcp-guard policy check --config guard.toml --tool list_files --anonymous --json"
)]
pub(crate) struct Check {
    /// The guard's TOML file.
    #[arg(long, value_name = "FILE", default_value = "guard.toml")]
    config: PathBuf,
    /// The tool that is called, by its exact name.
    #[arg(long, value_name = "NAME")]
    tool: String,
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Who calls.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Caller {
    /// Somebody with the badge in this file.
    #[arg(long, value_name = "FILE")]
    badge: Option<PathBuf>,
    /// Somebody with the API key in this file.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Somebody without a credential.
    #[arg(long)]
    anonymous: bool,
}

impl Caller {
    fn credential(&self) -> Result<CallerCredential, Failure> {
        let text = |file: &Path| files::read_text(file).map(|text| text.trim().to_owned());
        match (&self.badge, &self.api_key_file) {
            (Some(file), _) => text(file).map(CallerCredential::badge),
            (None, Some(file)) => text(file).map(CallerCredential::api_key),
            (None, None) => Ok(CallerCredential::Anonymous),
        }
    }
}

impl Check {
    fn run(&self, output: Output) -> Result<(), Failure> {
        let credential = self.caller.credential()?;
        // The evidence log starts a thread, and sources that ask the network their tasks, so all of it is made in there.
        let (config, result) = network::wait("asking the sources of the configuration", async {
            let config = config::load(&self.config, &self.network)?;
            let enforcer = Enforcer::new(config.clone());
            let result = evaluate_tool_access(&enforcer, &self.tool, None, &credential).await;
            Ok((config, result))
        })?;
        let rule = config.policy().requirement(&self.tool);
        let json = as_json(&self.tool, &result, rule, config.policy().version(), config.digest());
        output.result(&json, &as_text(&self.tool, &result, rule))?;
        match result.decision {
            Decision::Allow => Ok(()),
            Decision::Deny => Err(Failure::answered()),
        }
    }
}

fn as_json(
    tool: &str,
    result: &GuardResult,
    rule: Option<(&str, &ToolRequirement)>,
    version: &str,
    digest: &str,
) -> Value {
    json!({
        "decision": word(result.decision),
        "tool": tool,
        "reason": result.deny_reason.map(DenyReason::code),
        "detail": result.deny_detail,
        "rule": rule.map(|(rule, _)| rule),
        "requirement": rule.map(|(_, requirement)| described(requirement)),
        "caller": {
            "auth_level": result.auth_level.as_str(),
            "did": result.agent_did.as_ref().map(Did::as_str),
            "badge_jti": result.badge_jti,
            "trust_level": result.trust_level.map(TrustLevel::as_u8),
        },
        "policy_version": version,
        "digest": digest,
    })
}

fn as_text(tool: &str, result: &GuardResult, rule: Option<(&str, &ToolRequirement)>) -> Text {
    Text::default()
        .field("decision", word(result.decision))
        .field("tool", tool)
        .maybe("reason", result.deny_reason.map(DenyReason::code))
        .maybe("detail", result.deny_detail)
        .field("rule", rule.map_or("none", |(rule, _)| rule))
        .maybe("requirement", rule.map(|(_, requirement)| sentence(requirement)))
        .field("caller", result.auth_level.as_str())
        .maybe("did", result.agent_did.as_ref())
        .maybe("level", result.trust_level)
}

const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}

/// The members that a configuration file has for a requirement, all of them.
fn described(requirement: &ToolRequirement) -> Value {
    json!({
        "anonymous": requirement.is_anonymous(),
        "min_trust_level": requirement.min_level().map(TrustLevel::as_u8),
        "require_badge": requirement.is_badge_required(),
        "durable_evidence": requirement.is_durable_evidence(),
        "allow_unbound_bearer": requirement.is_unbound_bearer_allowed(),
        "issuers": requirement.additional_issuers(),
    })
}

fn sentence(requirement: &ToolRequirement) -> String {
    let mut parts = vec![match requirement.min_level() {
        Some(level) => format!("a badge of level {level} or higher"),
        None if requirement.is_anonymous() => "nothing: also without a credential".to_owned(),
        None if requirement.is_badge_required() => "a badge".to_owned(),
        None => "any known caller".to_owned(),
    }];
    if requirement.is_unbound_bearer_allowed() {
        parts.push("also a badge for nobody in particular".to_owned());
    }
    if requirement.is_durable_evidence() {
        parts.push("evidence on disk before the tool runs".to_owned());
    }
    if !requirement.additional_issuers().is_empty() {
        parts.push(format!("also issued by {}", requirement.additional_issuers().join(", ")));
    }
    parts.join("; ")
}
