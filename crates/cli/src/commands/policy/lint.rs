//! `policy lint`: what is allowed and yet seldom meant.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::policy::{GuardedMethod, MethodAccess};
use serde_json::{Value, json};
use toml::Table;

use crate::commands::config;
use crate::exit::Failure;
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::{Output, Text};

/// Name the weak spots of a configuration: what is allowed there, and seldom meant.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES:\n  rmcp-guard policy lint --config guard.toml --tools tools.txt\n  \
    rmcp-guard policy lint --config guard.toml --allow level-zero --json")]
pub(crate) struct Lint {
    /// The guard's TOML file.
    #[arg(long, value_name = "FILE", default_value = "guard.toml")]
    config: PathBuf,
    /// The server's tools, to find rules without a tool and tools without a rule: a name on each line, or the JSON of a
    /// `tools/list` answer.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Accept this weak spot; may be repeated.
    #[arg(long, value_name = "LINT")]
    allow: Vec<Kind>,
    #[command(flatten)]
    network: NetworkArgs,
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $what:literal;)+) => {
        /// The kinds of weak spots.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Kind { $($variant,)+ }

        impl Kind {
            const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl ValueEnum for Kind {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant,)+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self { $(Self::$variant => PossibleValue::new($name).help($what),)+ })
            }
        }
    };
}

kinds! {
    Ignored = "ignored", "the configuration has something that is not used";
    DeadRule = "dead-rule", "no tool is decided by this rule";
    MissingRule = "missing-rule", "no rule opens this tool";
    WideGlob = "wide-glob", "a rule opens tools that nobody has thought of";
    AnonymousWrite = "anonymous-write", "everybody can call a tool that looks as if it changes something";
    UnleveledWrite = "unleveled-write", "a tool that looks as if it changes something asks for no trust level";
    UnboundBearer = "unbound-bearer", "badges for nobody in particular count, also those that another server has seen";
    NoRevocation = "no-revocation", "revoked badges count until they expire";
    LevelZero = "level-zero", "everybody can sign a badge of level 0";
    SeedSemantics = "seed-semantics", "rules are read as capiscio-mcp does, which is less strict";
    WideIssuer = "wide-issuer", "an issuer may vouch for every did:web";
    InnerMethod = "inner-method", "methods are left to the handler's own judgement";
    NoOutcomes = "no-outcomes", "evidence does not say how calls ended";
    NoVersion = "no-version", "records of evidence cannot name the policy by a version";
}

/// A weak spot and where it is.
struct Finding {
    kind: Kind,
    key: String,
    advice: String,
}

/// Words in the name of a tool that changes something.
const WRITING: &[&str] = &[
    "add", "append", "apply", "approve", "cancel", "clear", "close", "commit", "copy", "create", "delete", "deploy",
    "destroy", "disable", "drop", "edit", "enable", "exec", "execute", "grant", "insert", "install", "kill", "merge",
    "mkdir", "modify", "move", "mv", "patch", "pay", "post", "publish", "push", "put", "remove", "rename", "replace",
    "reset", "restart", "revoke", "rm", "run", "save", "send", "set", "shell", "start", "stop", "transfer", "update",
    "upload", "write",
];

/// A glob with fewer literal characters in front stands for too much.
const NARROW_PREFIX_CHARS: usize = 3;

impl Lint {
    pub(super) fn run(&self, output: Output) -> Result<(), Failure> {
        let config = network::block_on(async { config::load(&self.config, &self.network) })?;
        let table = read_table(&self.config)?;
        let tools = self.tools.as_deref().map(read_tools).transpose()?;
        let mut findings = Findings(Vec::new());
        findings.of_config(&config, &table);
        findings.of_rules(&table);
        if let Some(tools) = &tools {
            findings.of_tools(&config, tools);
        }
        let Findings(mut findings) = findings;
        findings.retain(|finding| !self.allow.contains(&finding.kind));

        let mut text = Text::default();
        for Finding { kind, key, advice } in &findings {
            text = text.line(format_args!("{}: {key}: {advice} [{}]", self.config.display(), kind.as_str()));
        }
        if findings.is_empty() {
            text = text.line("ok: nothing found");
        }
        let json: Value = findings
            .iter()
            .map(|Finding { kind, key, advice }| json!({ "lint": kind.as_str(), "key": key, "advice": advice }))
            .collect();
        output.result(&json!({ "ok": findings.is_empty(), "findings": json }), &text)?;
        if findings.is_empty() { Ok(()) } else { Err(Failure::answered()) }
    }
}

/// The file as TOML; the guard's own reader has accepted it already.
fn read_table(file: &Path) -> Result<Table, Failure> {
    files::read_trusted(file)?.parse().map_err(|error: toml::de::Error| files::about(file, &error.message()))
}

fn read_tools(file: &Path) -> Result<BTreeSet<String>, Failure> {
    let text = files::read_text(file)?;
    let trimmed = text.trim_start();
    if !trimmed.starts_with(['{', '[']) {
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    let unusable = || files::about(file, &"has no list of tools");
    let value: Value = serde_json::from_str(trimmed).map_err(|_| unusable())?;
    let places = [value.pointer("/result/tools"), value.get("tools"), Some(&value)];
    let tools = places.into_iter().flatten().find_map(Value::as_array).ok_or_else(unusable)?;
    let name = |tool: &Value| tool.as_str().or_else(|| tool.get("name")?.as_str()).map(str::to_owned);
    tools.iter().map(|tool| name(tool).ok_or_else(unusable)).collect()
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, kind: Kind, key: impl fmt::Display, advice: impl Into<String>) {
        self.0.push(Finding { kind, key: key.to_string(), advice: advice.into() });
    }

    fn of_config(&mut self, config: &GuardConfig, table: &Table) {
        for warning in config.warnings() {
            self.add(Kind::Ignored, "configuration", warning.clone());
        }
        let set = |key: &str| table.get(key).and_then(toml::Value::as_bool);
        if set("allow_unbound_bearer") == Some(true) {
            let advice = "a badge without an audience counts for every tool; have issuers name this server in `aud`";
            self.add(Kind::UnboundBearer, "allow_unbound_bearer", advice);
        }
        if set("accept_level_zero") == Some(true) {
            let advice = "everybody can sign such a badge; list the keys under `trusted_self_signed`";
            self.add(Kind::LevelZero, "accept_level_zero", advice);
        }
        if set("seed_semantics") == Some(true) {
            self.add(Kind::SeedSemantics, "seed_semantics", "write `[tools]` rules instead of the global fields");
        }
        if set("outcomes") == Some(false) {
            self.add(Kind::NoOutcomes, "outcomes", "evidence then says what was allowed, and not what came of it");
        }
        if config.policy().version().is_empty() {
            self.add(Kind::NoVersion, "policy_version", "name the version, such as by a date");
        }
        if table.get("revocations").and_then(|section| section.get("insecure_none")?.as_bool()) == Some(true) {
            let advice = "a badge counts until it expires, whatever its issuer says; write a `mode` or a `file`";
            self.add(Kind::NoRevocation, "revocations.insecure_none", advice);
        }
        for (number, issuer) in table.get("issuer").and_then(toml::Value::as_array).into_iter().flatten().enumerate() {
            let subjects = issuer.get("subjects").and_then(toml::Value::as_array).into_iter().flatten();
            if subjects.into_iter().any(|subject| subject.as_str() == Some("did:web:*")) {
                let advice = "`did:web:*` is every host there is; name hosts, such as `did:web:example.com:*`";
                self.add(Kind::WideIssuer, format_args!("issuer[{number}].subjects"), advice);
            }
        }
        for method in GuardedMethod::ALL {
            if matches!(config.policy().method(method), Some(MethodAccess::Inner)) {
                let advice = "every caller reaches the handler, also without a credential; write a requirement";
                self.add(Kind::InnerMethod, format_args!("methods.{}", method.as_str()), advice);
            }
        }
    }

    fn of_rules(&mut self, table: &Table) {
        if let Some(rule) = table.get("default_requirement") {
            let advice = "it opens every tool that has no rule; write rules for the tools there are";
            self.add(Kind::WideGlob, "default_requirement", advice);
            self.of_rule("default_requirement", "*", rule);
        }
        for (pattern, rule) in table.get("tools").and_then(toml::Value::as_table).into_iter().flatten() {
            let key = format!("tools.{pattern:?}");
            if is_wide(pattern) {
                let advice = "it opens whatever tool is added one day; write a longer start, or the tools' names";
                self.add(Kind::WideGlob, &key, advice);
            }
            self.of_rule(&key, pattern, rule);
        }
    }

    fn of_rule(&mut self, key: &str, pattern: &str, rule: &toml::Value) {
        let flag = |name: &str| rule.get(name).and_then(toml::Value::as_bool).unwrap_or(false);
        let level = rule.get("min_trust_level").and_then(toml::Value::as_integer);
        let writes = is_wide(pattern) || words(pattern).any(|word| WRITING.contains(&word.as_str()));
        if flag("anonymous") && writes {
            self.add(Kind::AnonymousWrite, key, "ask for a trust level");
        } else if level.is_none_or(|level| level == 0) && writes {
            let advice = "API keys and badges of level 0 will do; ask for `min_trust_level`";
            self.add(Kind::UnleveledWrite, key, advice);
        }
        if level == Some(0) {
            self.add(Kind::LevelZero, key, "level 0 is self-signed: it says that a caller has a key, and no more");
        }
        if flag("allow_unbound_bearer") {
            let advice = "whoever sees such a badge can use it here; have issuers name this server in `aud`";
            self.add(Kind::UnboundBearer, key, advice);
        }
    }

    fn of_tools(&mut self, config: &GuardConfig, tools: &BTreeSet<String>) {
        let names: Vec<_> = tools.iter().map(String::as_str).collect();
        for rule in config.policy().dead_rules(&names) {
            let advice = "no tool of the server is decided by it; correct its spelling, or remove it";
            self.add(Kind::DeadRule, format_args!("tools.{rule:?}"), advice);
        }
        for tool in names {
            if config.policy().requirement(tool).is_none() {
                self.add(Kind::MissingRule, format_args!("tools.{tool:?}"), "every call of it is denied; write a rule");
            }
        }
    }
}

fn is_wide(pattern: &str) -> bool {
    let literal = pattern.chars().take_while(|character| !matches!(character, '*' | '?' | '[')).count();
    literal < NARROW_PREFIX_CHARS && pattern.contains(['*', '?', '['])
}

/// The words of a name in snake, kebab or camel case.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() || (character.is_ascii_uppercase() && after_lower) {
            words.push(String::new());
        }
        after_lower = character.is_ascii_lowercase();
        if let (true, Some(word)) = (character.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(character.to_ascii_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}
