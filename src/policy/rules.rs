//! The compiled rules, and the answers they give.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::policy::evaluate::{Leniency, Standing, shortfall};
use crate::policy::globs::GlobTable;
use crate::policy::matcher::{MAX_TOOL_NAME_BYTES, ToolPattern};
use crate::policy::{Caller, ConfigProblem, Decision, DenyReason, Evaluation, PolicyBuilder, ToolRequirement};

/// The methods besides tools that return application data. Each is denied until it is opened (S10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum GuardedMethod {
    /// `prompts/list`, `prompts/get`.
    Prompts,
    /// `resources/list`, templates, `resources/read`, the directory.
    Resources,
    /// `completion/complete`.
    Completion,
    /// `skills/*`.
    Skills,
    /// `resources/subscribe`, `resources/unsubscribe`, `subscriptions/listen`.
    ///
    /// rmcp 3.11 hands a handler's own `listen` the request as it came, credentials included, and no guard can change
    /// that: open this group only to a handler that neither logs nor forwards its request context.
    Subscriptions,
    /// `logging/setLevel`.
    Logging,
}

impl GuardedMethod {
    /// Every group of methods.
    pub const ALL: [Self; 6] =
        [Self::Prompts, Self::Resources, Self::Completion, Self::Skills, Self::Subscriptions, Self::Logging];

    /// The key in configuration and evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Completion => "completion",
            Self::Skills => "skills",
            Self::Subscriptions => "subscriptions",
            Self::Logging => "logging",
        }
    }
}

/// How a group of methods besides tools is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MethodAccess {
    /// To callers that meet a requirement.
    Require(ToolRequirement),
    /// To everybody whom the inner handler lets in; the guard still refuses credentials that do not hold.
    Inner,
}

/// An immutable set of rules. Cheap to clone.
///
/// One rule decides for a tool: its exact name, else the glob with the longest literal prefix, among those the one with
/// the most literal characters. Without a rule the default requirement decides, without that the tool is denied.
///
/// ```
/// use rmcp_guard::identity::trust_level::TrustLevel;
/// use rmcp_guard::policy::{Caller, Decision, DenyReason, Policy, ToolRequirement};
///
/// let policy = Policy::builder()
///     .tool("list_*", ToolRequirement::anonymous())
///     .tool("list_secrets", ToolRequirement::min_trust(TrustLevel::OrganizationValidated))
///     .build()
///     .map_err(|problems| problems[0].to_string())?;
/// assert_eq!(policy.evaluate("list_files", Caller::Anonymous, None).decision, Decision::Allow);
/// assert_eq!(policy.evaluate("list_secrets", Caller::Anonymous, None).reason, Some(DenyReason::BadgeMissing));
/// assert_eq!(policy.evaluate("remove", Caller::Anonymous, None).reason, Some(DenyReason::ToolNotAllowed));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Arc<Rules>,
}

#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) version: Arc<str>,
    pub(crate) tools: Vec<Rule>,
    pub(crate) names: NameTable,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) methods: BTreeMap<GuardedMethod, MethodRule>,
    pub(crate) custom: BTreeSet<String>,
    pub(crate) custom_text: Arc<str>,
    pub(crate) metadata_text: Arc<str>,
    pub(crate) leniency: Leniency,
    pub(crate) metadata_opens: bool,
}

/// A tool pattern and what it asks for.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) text: Arc<str>,
    pub(crate) requirement: ToolRequirement,
}

/// What decides for tools without a rule.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) text: Arc<str>,
    pub(crate) requirement: ToolRequirement,
    pub(crate) scope: Scope,
}

/// The tools that a [`Fallback`] opens.
#[derive(Debug)]
pub(crate) enum Scope {
    All,
    Named {
        names: NameTable,
        /// the names as configured, sorted
        texts: Vec<String>,
        /// the peer's order: a caller that falls short learns that before it learns that the tool is not listed
        requirement_first: bool,
    },
}

#[derive(Debug)]
pub(crate) struct MethodRule {
    pub(crate) text: Arc<str>,
    pub(crate) access: MethodAccess,
}

/// Patterns compiled for the question which of them is the most specific match.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    exact: HashMap<String, usize>,
    globs: GlobTable,
    /// from the place in `globs` to the place in the list the table was made from
    glob_places: Vec<usize>,
}

impl NameTable {
    pub(crate) fn new(patterns: &[ToolPattern]) -> Self {
        let mut exact = HashMap::new();
        let mut globs = Vec::new();
        for (place, pattern) in patterns.iter().enumerate() {
            match pattern.exact_name() {
                Some(name) => drop(exact.insert(name, place)),
                None => globs.push((place, pattern)),
            }
        }
        globs.sort_by_key(|(_, pattern)| pattern.rank());
        Self {
            exact,
            globs: GlobTable::new(globs.iter().map(|&(_, pattern)| pattern)),
            glob_places: globs.into_iter().map(|(place, _)| place).collect(),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        if name.len() > MAX_TOOL_NAME_BYTES {
            return None;
        }
        self.exact
            .get(name)
            .copied()
            .or_else(|| self.globs.first_match(name).and_then(|place| self.glob_places.get(place).copied()))
    }
}

/// The requirement that decides, and where it comes from.
struct Applicable<'a> {
    text: &'a Arc<str>,
    requirement: Cow<'a, ToolRequirement>,
}

impl Policy {
    /// Starts an empty policy, which denies everything.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    pub(crate) fn from_rules(rules: Rules) -> Self {
        Self { rules: Arc::new(rules) }
    }

    /// The rule that decides for `tool`, as written, and its requirement; `None` when no rule opens it.
    #[must_use]
    pub fn requirement(&self, tool: &str) -> Option<(&str, &ToolRequirement)> {
        self.rule(tool).map(|(text, requirement)| (&**text, requirement))
    }

    fn rule(&self, tool: &str) -> Option<(&Arc<str>, &ToolRequirement)> {
        let rules = &*self.rules;
        if let Some(rule) = rules.names.find(tool).and_then(|place| rules.tools.get(place)) {
            return Some((&rule.text, &rule.requirement));
        }
        let fallback = rules.fallback.as_ref()?;
        let opens = match &fallback.scope {
            Scope::All => tool.len() <= MAX_TOOL_NAME_BYTES,
            Scope::Named { names, .. } => names.find(tool).is_some(),
        };
        opens.then_some((&fallback.text, &fallback.requirement))
    }

    fn applicable<'a>(&'a self, tool: &str, beside: Option<&'a ToolRequirement>) -> Option<Applicable<'a>> {
        match (self.rule(tool), beside) {
            (Some((text, rule)), None) => Some(Applicable { text, requirement: Cow::Borrowed(rule) }),
            (Some((text, rule)), Some(beside)) => {
                Some(Applicable { text, requirement: Cow::Owned(rule.tighten(beside)) })
            }
            (None, Some(beside)) if self.rules.metadata_opens && tool.len() <= MAX_TOOL_NAME_BYTES => {
                Some(Applicable { text: &self.rules.metadata_text, requirement: Cow::Borrowed(beside) })
            }
            (None, _) => None,
        }
    }

    /// Decides whether `caller` may call `tool`.
    ///
    /// `beside` is the requirement from the tool's own metadata: it tightens the rule, and opens a tool without a rule
    /// only where [`metadata_opens_tools`](PolicyBuilder::metadata_opens_tools) says so (S12).
    #[must_use]
    pub fn evaluate(&self, tool: &str, caller: Caller<'_>, beside: Option<&ToolRequirement>) -> Evaluation {
        self.evaluate_standing(tool, caller.into(), beside)
    }

    pub(crate) fn evaluate_standing(
        &self,
        tool: &str,
        standing: Standing,
        beside: Option<&ToolRequirement>,
    ) -> Evaluation {
        if let Some(Applicable { text, requirement }) = self.applicable(tool, beside) {
            return self.answer(Some(text), shortfall(&requirement, standing, self.rules.leniency));
        }
        let not_allowed = (DenyReason::ToolNotAllowed, "no rule allows this tool");
        match &self.rules.fallback {
            Some(Fallback { text, requirement, scope: Scope::Named { requirement_first: true, .. } }) => {
                match shortfall(requirement, standing, self.rules.leniency) {
                    Some(earlier) => self.answer(Some(text), Some(earlier)),
                    None => self.answer(None, Some(not_allowed)),
                }
            }
            _ => self.answer(None, Some(not_allowed)),
        }
    }

    /// The requirement that [`evaluate`](Self::evaluate) applies, the rule tightened by `beside`; `None` = denied.
    ///
    /// Its issuers and its durability are needed before there is a caller to evaluate.
    #[must_use]
    pub fn effective(&self, tool: &str, beside: Option<&ToolRequirement>) -> Option<ToolRequirement> {
        self.applicable(tool, beside).map(|applicable| applicable.requirement.into_owned())
    }

    /// Decides whether `caller` may use the methods of a group other than tools.
    #[must_use]
    pub fn evaluate_method(&self, method: GuardedMethod, caller: Caller<'_>) -> Evaluation {
        let Some(MethodRule { text, access }) = self.rules.methods.get(&method) else {
            return self.answer(None, Some((DenyReason::MethodNotAllowed, "no rule opens this method")));
        };
        let requirement = match access {
            MethodAccess::Require(requirement) => requirement,
            MethodAccess::Inner => const { &ToolRequirement::anonymous() },
        };
        self.answer(Some(text), shortfall(requirement, caller.into(), self.rules.leniency))
    }

    /// The requirement that [`evaluate_method`](Self::evaluate_method) applies; `None` when there is none to meet.
    #[must_use]
    pub fn method_requirement(&self, method: GuardedMethod) -> Option<&ToolRequirement> {
        match self.method(method)? {
            MethodAccess::Require(requirement) => Some(requirement),
            MethodAccess::Inner => None,
        }
    }

    /// Decides whether `caller` may send a custom request or notification: by its exact name, and to everybody whose
    /// credential holds (S11).
    #[must_use]
    pub fn evaluate_custom(&self, method: &str, caller: Caller<'_>) -> Evaluation {
        if !self.allows_custom(method) {
            return self.answer(None, Some((DenyReason::MethodNotAllowed, "no rule opens this method")));
        }
        self.answer(
            Some(&self.rules.custom_text),
            shortfall(&ToolRequirement::anonymous(), caller.into(), self.rules.leniency),
        )
    }

    /// How a group of methods is opened; `None` = denied.
    #[must_use]
    pub fn method(&self, method: GuardedMethod) -> Option<&MethodAccess> {
        self.rules.methods.get(&method).map(|rule| &rule.access)
    }

    /// Whether a custom request or notification is allowlisted, by its exact method name (S11).
    #[must_use]
    pub fn allows_custom(&self, method: &str) -> bool {
        self.rules.custom.contains(method)
    }

    /// The version, shared with every evaluation.
    pub(crate) fn version_shared(&self) -> Arc<str> {
        Arc::clone(&self.rules.version)
    }

    /// The version of the policy, as configured.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.rules.version
    }

    /// The rules that decide for none of `tools`: a name that was misspelt or is gone. Worth a warning at start.
    #[must_use]
    pub fn dead_rules<'a>(&'a self, tools: &[&str]) -> Vec<&'a str> {
        let alive: HashSet<usize> = tools.iter().filter_map(|tool| self.rules.names.find(tool)).collect();
        let dead = self.rules.tools.iter().enumerate().filter(|(place, _)| !alive.contains(place));
        dead.map(|(_, rule)| &*rule.text).collect()
    }

    /// Every requirement with its configuration key.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = (String, &ToolRequirement)> {
        let tools = self.rules.tools.iter().map(|rule| (ConfigProblem::tool_key(&rule.text), &rule.requirement));
        let fallback = self.rules.fallback.iter().map(|fallback| (fallback.text.to_string(), &fallback.requirement));
        let methods = self.rules.methods.values().filter_map(|rule| match &rule.access {
            MethodAccess::Require(requirement) => Some((rule.text.to_string(), requirement)),
            MethodAccess::Inner => None,
        });
        tools.chain(fallback).chain(methods)
    }

    /// Everything that bears on a decision, as JSON for the configuration's digest.
    pub(crate) fn describe(&self) -> Value {
        let object = |requirement: &ToolRequirement| Value::Object(requirement.to_object());
        let Rules { version, tools, names: _, fallback, methods, custom, leniency, metadata_opens, .. } = &*self.rules;
        let tools: Map<_, _> = tools.iter().map(|rule| (rule.text.to_string(), object(&rule.requirement))).collect();
        let methods: Map<_, _> = methods
            .iter()
            .map(|(method, rule)| {
                let access = match &rule.access {
                    MethodAccess::Require(requirement) => object(requirement),
                    MethodAccess::Inner => "inner".into(),
                };
                (method.as_str().to_owned(), access)
            })
            .collect();
        json!({
            "policy_version": &**version,
            "tools": tools,
            "fallback": fallback.as_ref().map(|fallback| match &fallback.scope {
                Scope::All => json!({ "requirement": object(&fallback.requirement) }),
                Scope::Named { names: _, texts, requirement_first } => json!({
                    "requirement": object(&fallback.requirement),
                    "allowed_tools": texts,
                    "requirement_first": requirement_first,
                }),
            }),
            "methods": methods,
            "custom_methods": custom,
            "allow_unbound_bearer": leniency.unbound_bearer,
            "anonymous_is_level_zero": leniency.anonymous_is_level_zero,
            "metadata_opens_tools": metadata_opens,
        })
    }

    fn answer(&self, rule: Option<&Arc<str>>, shortfall: Option<(DenyReason, &'static str)>) -> Evaluation {
        Evaluation {
            decision: if shortfall.is_none() { Decision::Allow } else { Decision::Deny },
            reason: shortfall.map(|(reason, _)| reason),
            detail: shortfall.map_or("allowed", |(_, detail)| detail),
            rule: rule.cloned(),
            policy_version: Arc::clone(&self.rules.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::trust_level::TrustLevel;
    use crate::policy::MAX_RULES;

    fn rule_of(policy: &Policy, tool: &str) -> Option<String> {
        policy.evaluate(tool, Caller::Anonymous, None).rule.map(|text| text.to_string())
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let patterns = ["read_file", "read_*", "re*", "re*_file", "*", "r[ab]*", "\\*", "\u{e9}", "a/*", "list_?*s"];
        for order in [patterns.to_vec(), patterns.into_iter().rev().collect()] {
            let builder = order
                .into_iter()
                .fold(Policy::builder(), |builder, pattern| builder.tool(pattern, ToolRequirement::anonymous()));
            let policy = builder.build().unwrap();
            for (tool, want) in [
                ("read_file", "read_file"),
                ("read_dir", "read_*"),
                ("remove_file", "re*_file"),
                ("remove", "re*"),
                ("ra", "r[ab]*"),
                ("write", "*"),
                ("*", "\\*"),
                ("", "*"),
                ("\u{e9}", "\u{e9}"),
                ("\u{e8}", "*"),
                ("read_\u{e9}", "*"),
                ("a/b", "a/*"),
                ("list_files", "list_?*s"),
            ] {
                assert_eq!(rule_of(&policy, tool).as_deref(), Some(want), "{tool}");
            }
            for tool in ["a/b/c", "b/c", "\u{e9}/a"] {
                assert_eq!(rule_of(&policy, tool), None, "{tool}");
            }
        }
    }

    #[test]
    fn names_that_are_too_long_are_denied() {
        let long = |bytes: usize| "a".repeat(bytes);
        for policy in [
            Policy::builder().tool("*", ToolRequirement::anonymous()),
            Policy::builder().default_requirement(ToolRequirement::anonymous()),
            Policy::builder().default_requirement(ToolRequirement::anonymous()).allowed_tools(["*"]),
            Policy::builder().tool(long(MAX_TOOL_NAME_BYTES), ToolRequirement::anonymous()),
        ] {
            let policy = policy.build().unwrap();
            let decision = |name: &str| policy.evaluate(name, Caller::Anonymous, None).decision;
            assert_eq!(decision(&long(MAX_TOOL_NAME_BYTES)), Decision::Allow);
            assert_eq!(decision(&long(MAX_TOOL_NAME_BYTES + 1)), Decision::Deny);
        }
        let policy = Policy::builder().metadata_opens_tools().build().unwrap();
        let name = long(MAX_TOOL_NAME_BYTES + 1);
        let answer = policy.evaluate(&name, Caller::Anonymous, Some(&ToolRequirement::anonymous()));
        assert_eq!(answer.reason, Some(DenyReason::ToolNotAllowed));
    }

    #[test]
    fn a_full_set_of_rules_finds_each_of_them() {
        // exact, alike but for the end, alike but for the start: all of them are told apart without comparing each with each
        let pattern = |number: usize| match number % 3 {
            0 => format!("tool_{number}"),
            1 => format!("*_{number}"),
            _ => format!("{number}_*"),
        };
        let builder = (0..MAX_RULES)
            .fold(Policy::builder(), |builder, number| builder.tool(pattern(number), ToolRequirement::anonymous()));
        let policy = builder.build().unwrap();
        for number in (0..MAX_RULES).step_by(997) {
            let pattern = pattern(number);
            assert_eq!(rule_of(&policy, &pattern.replace('*', "tool")), Some(pattern));
        }
    }

    /// Ten thousand globs of which each has to be compared with each would keep a server from starting for minutes.
    #[test]
    fn globs_that_cannot_be_told_apart_cheaply_are_refused_soon() {
        let build = |rules: usize| {
            let patterns = (0..rules).map(|number| format!("[ab]{number:04}[ab]"));
            patterns.fold(Policy::builder(), |builder, text| builder.tool(text, ToolRequirement::anonymous())).build()
        };
        assert!(build(300).is_ok());
        assert!(build(1_000).is_err(), "it is the length of the globs that counts, and not only their number");
        let [problem] = <[ConfigProblem; 1]>::try_from(build(MAX_RULES).unwrap_err()).unwrap();
        assert!(problem.advice.starts_with("too many globs begin alike"), "{problem}");
    }

    #[test]
    fn the_default_requirement_serves_what_no_rule_names() {
        let default = ToolRequirement::min_trust(TrustLevel::Registered);
        let policy = Policy::builder()
            .tool("a", ToolRequirement::anonymous())
            .default_requirement(default.clone())
            .allowed_tools(["a", "b*"])
            .build()
            .unwrap();
        assert_eq!(rule_of(&policy, "a").as_deref(), Some("a"));
        assert_eq!(policy.requirement("bc"), Some(("default_requirement", &default)));
        assert_eq!(policy.requirement("c"), None);
    }

    /// Attack: a tool's metadata opens it although no rule does, in a server that relays other people's tools.
    #[test]
    fn s12_metadata_opens_a_tool_by_opt_in_only_and_never_past_a_rule() {
        let open = ToolRequirement::anonymous();
        let closed = ToolRequirement::min_trust(TrustLevel::Registered);
        let builder = || Policy::builder().tool("ruled", closed.clone());
        let (without, with) = (builder().build().unwrap(), builder().metadata_opens_tools().build().unwrap());
        let decision = |policy: &Policy, tool| policy.evaluate(tool, Caller::Anonymous, Some(&open)).decision;
        assert_eq!(decision(&without, "unruled"), Decision::Deny);
        assert_eq!(decision(&with, "unruled"), Decision::Allow);
        assert_eq!(decision(&with, "ruled"), Decision::Deny);
        assert_eq!(with.effective("ruled", Some(&open)), Some(closed));
        assert_eq!(with.effective("unruled", None), None);
    }

    #[test]
    fn dead_rules_decide_for_no_tool() {
        let policy = ["read_file", "read_*", "write_*", "gone", "li*"]
            .into_iter()
            .fold(Policy::builder(), |builder, pattern| builder.tool(pattern, ToolRequirement::anonymous()));
        let policy = policy.build().unwrap();
        assert_eq!(policy.dead_rules(&["read_file", "write_file", "list"]), ["read_*", "gone"]);
        assert_eq!(policy.dead_rules(&[]).len(), 5);
    }

    #[test]
    fn an_answer_names_rule_and_version() {
        let policy = Policy::builder().version("7").tool("a*", ToolRequirement::authenticated()).build().unwrap();
        let answer = policy.evaluate("ab", Caller::Anonymous, None);
        assert_eq!((answer.rule.as_deref(), &*answer.policy_version), (Some("a*"), "7"));
        let answer = policy.evaluate("b", Caller::Anonymous, None);
        assert_eq!((answer.rule.as_deref(), &*answer.policy_version), (None, "7"));
        assert_eq!(policy.version(), "7");
    }
}
