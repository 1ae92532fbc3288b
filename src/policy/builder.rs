//! Collects rules and reports every mistake in them at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::policy::evaluate::Leniency;
use crate::policy::matcher::ToolPattern;
use crate::policy::rules::{Fallback, MethodRule, NameTable, Rule, Rules, Scope};
use crate::policy::{GuardedMethod, MethodAccess, Policy, ToolRequirement};

/// The largest number of rules, and of names in `allowed_tools`: far above any server's tools, and still quick to compile.
pub const MAX_RULES: usize = 10_000;

/// The work that comparing globs with each other may take, in pairs of characters: well below a second. Only globs that begin
/// alike, end alike and are equally specific are compared, which are a handful in rules that people write.
const MAX_COMPARISON_WORK: usize = 10_000_000;

/// The longest policy version and custom method name in bytes: both are copied into every record.
pub const MAX_LABEL_BYTES: usize = 256;

/// One mistake in a configuration: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The key, dotted as in the file form, such as `tools."read_*".min_trust_level`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub advice: String,
}

impl ConfigProblem {
    pub(crate) fn new(key: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: key.into(), advice: advice.into() }
    }

    pub(crate) fn tool_key(pattern: &str) -> String {
        format!("tools.{pattern:?}")
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // both may repeat what somebody wrote; it stays on one line and leaves the terminal alone
        for character in self.key.chars().chain(": ".chars()).chain(self.advice.chars()) {
            if character.is_control() { write!(f, "{}", character.escape_default())? } else { f.write_char(character)? }
        }
        Ok(())
    }
}

/// Collects the rules of a [`Policy`].
#[derive(Clone, Debug, Default)]
pub struct PolicyBuilder {
    version: String,
    tools: Vec<(String, ToolRequirement)>,
    default: Option<ToolRequirement>,
    allowed: Option<Vec<String>>,
    methods: Vec<(GuardedMethod, MethodAccess)>,
    custom: Vec<String>,
    leniency: Leniency,
    metadata_opens: bool,
    seed: bool,
}

impl PolicyBuilder {
    /// The version that every decision names, at most [`MAX_LABEL_BYTES`] long; empty by default.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds a rule for the tools that match `pattern`.
    #[must_use]
    pub fn tool(mut self, pattern: impl Into<String>, requirement: ToolRequirement) -> Self {
        self.tools.push((pattern.into(), requirement));
        self
    }

    /// Serves the tools without a rule of their own, instead of denying them.
    #[must_use]
    pub fn default_requirement(mut self, requirement: ToolRequirement) -> Self {
        self.default = Some(requirement);
        self
    }

    /// Narrows the default requirement to the tools that match one of `patterns`; none of them when there is none.
    #[must_use]
    pub fn allowed_tools<I: IntoIterator<Item = S>, S: Into<String>>(mut self, patterns: I) -> Self {
        self.allowed = Some(patterns.into_iter().map(Into::into).collect());
        self
    }

    /// Opens a group of methods besides tools.
    #[must_use]
    pub fn method(mut self, method: GuardedMethod, access: MethodAccess) -> Self {
        self.methods.push((method, access));
        self
    }

    /// Lets one custom request or notification through to the handler, by its exact method name.
    #[must_use]
    pub fn allow_custom_method(mut self, method: impl Into<String>) -> Self {
        self.custom.push(method.into());
        self
    }

    /// Badges that name no audience count everywhere; evidence then says `binding=none`.
    #[must_use]
    pub const fn allow_unbound_bearer(mut self) -> Self {
        self.leniency.unbound_bearer = true;
        self
    }

    /// A requirement beside a tool opens it without a rule here. For handlers whose tool list is code of this process,
    /// never for one that relays somebody else's tools.
    #[must_use]
    pub const fn metadata_opens_tools(mut self) -> Self {
        self.metadata_opens = true;
        self
    }

    /// The peer's reading of its global fields, which is less strict: an empty list allows every tool, a malformed
    /// pattern in it matches nothing, and where level zero is accepted an anonymous caller is "too low", not "missing".
    #[must_use]
    pub const fn seed_semantics(mut self, accept_level_zero: bool) -> Self {
        self.seed = true;
        self.leniency.anonymous_is_level_zero = accept_level_zero;
        self
    }

    /// Compiles the rules.
    ///
    /// # Errors
    /// Every mistake: a malformed pattern, two rules for the same names, two overlapping rules of equal rank, a list of
    /// names without a default requirement, an unusable version or method name, more than [`MAX_RULES`] rules.
    pub fn build(self) -> Result<Policy, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        check_label("policy_version", &self.version, &mut problems);
        let (tools, names) = compile_rules(self.tools, &mut problems);
        let fallback = compile_fallback(self.default, self.allowed, self.seed, &mut problems);
        let methods = compile_methods(self.methods, &mut problems);
        let custom = compile_custom(self.custom, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Policy::from_rules(Rules {
            version: self.version.into(),
            tools,
            names,
            fallback,
            methods,
            custom,
            custom_text: "custom_methods".into(),
            metadata_text: "tool metadata".into(),
            leniency: self.leniency,
            metadata_opens: self.metadata_opens,
        }))
    }
}

fn check_label(key: &str, label: &str, problems: &mut Vec<ConfigProblem>) {
    if label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control) {
        problems
            .push(ConfigProblem::new(key, format!("write at most {MAX_LABEL_BYTES} bytes without control characters")));
    }
}

fn compile_rules(tools: Vec<(String, ToolRequirement)>, problems: &mut Vec<ConfigProblem>) -> (Vec<Rule>, NameTable) {
    let before = problems.len();
    if tools.len() > MAX_RULES {
        problems.push(ConfigProblem::new(
            "tools",
            format!("write at most {MAX_RULES} rules; a glob can stand for many names"),
        ));
        return Default::default();
    }
    let mut patterns = Vec::with_capacity(tools.len());
    let mut rules = Vec::with_capacity(tools.len());
    for (text, requirement) in tools {
        match ToolPattern::parse(&text) {
            Ok(pattern) => {
                patterns.push(pattern);
                rules.push(Rule { text: text.into(), requirement });
            }
            Err(error) => problems.push(ConfigProblem::new(ConfigProblem::tool_key(&text), error.to_string())),
        }
    }
    report_conflicts(&patterns, problems);
    if problems.len() != before {
        return Default::default();
    }
    (rules, NameTable::new(&patterns))
}

/// Reports rules that can never decide and rules that cannot be told apart.
///
/// Equal names and equal rank are all there is to look for. A glob can only be covered by a more specific one if every
/// name it matches begins with the longer prefix, which no wildcard can promise once classes of one character count as
/// literals; and with equal prefixes, filling the wildcards of the covered glob with other characters than the cover's
/// literals leaves the cover no more literals than the covered one has.
fn report_conflicts(patterns: &[ToolPattern], problems: &mut Vec<ConfigProblem>) {
    let mut exact: HashMap<String, &ToolPattern> = HashMap::new();
    let mut groups: BTreeMap<_, Vec<&ToolPattern>> = BTreeMap::new();
    for pattern in patterns {
        let Some(name) = pattern.exact_name() else {
            groups.entry((pattern.literal_prefix(), pattern.rank())).or_default().push(pattern);
            continue;
        };
        if let Some(earlier) = exact.insert(name, pattern) {
            problems.push(shadowed(pattern, earlier));
        }
    }
    let mut work = MAX_COMPARISON_WORK;
    for mut group in groups.into_values() {
        // what overlaps agrees from the end too, as far as both are literal: sorted by that, such patterns stand together
        group.sort_by_cached_key(|pattern| pattern.literal_suffix_reversed());
        for (place, pattern) in group.iter().enumerate() {
            let suffix = pattern.literal_suffix_reversed();
            let neighbours = group.iter().skip(place.saturating_add(1));
            let neighbours = neighbours.take_while(|other| other.literal_suffix_reversed().starts_with(&suffix));
            for other in neighbours {
                let Some(left) = work.checked_sub(pattern.comparison_work(other)) else {
                    problems.push(ConfigProblem::new(
                        ConfigProblem::tool_key(pattern.as_str()),
                        "too many globs begin alike and are equally specific; name tools exactly, or lengthen the literal starts",
                    ));
                    return;
                };
                work = left;
                if pattern.overlaps(other) {
                    let report = if pattern.is_same(other) { shadowed } else { ambiguous };
                    problems.push(report(pattern, other));
                    // one report for each pattern is enough to find the rest
                    break;
                }
            }
        }
    }
}

fn shadowed(pattern: &ToolPattern, other: &ToolPattern) -> ConfigProblem {
    ConfigProblem::new(
        ConfigProblem::tool_key(pattern.as_str()),
        format!("matches the same names as the rule `{}`; keep one of them", other.as_str()),
    )
}

fn ambiguous(pattern: &ToolPattern, other: &ToolPattern) -> ConfigProblem {
    ConfigProblem::new(
        ConfigProblem::tool_key(pattern.as_str()),
        format!(
            "some names match the rule `{}` too, and neither is more specific; lengthen the literal start of one, or name those tools exactly in rules of their own and narrow one of the two",
            other.as_str()
        ),
    )
}

fn compile_fallback(
    default: Option<ToolRequirement>,
    allowed: Option<Vec<String>>,
    seed: bool,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Fallback> {
    let text: Arc<str> = Arc::from("default_requirement");
    let Some(texts) = allowed.filter(|texts| !(seed && texts.is_empty())) else {
        return default.map(|requirement| Fallback { text, requirement, scope: Scope::All });
    };
    if texts.len() > MAX_RULES {
        problems.push(ConfigProblem::new("allowed_tools", format!("write at most {MAX_RULES} patterns")));
        return None;
    }
    let mut patterns: Vec<ToolPattern> = Vec::with_capacity(texts.len());
    for text in &texts {
        match ToolPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(_) if seed => {}
            Err(error) => problems.push(ConfigProblem::new("allowed_tools", format!("`{text}`: {error}"))),
        }
    }
    let Some(requirement) = default else {
        problems
            .push(ConfigProblem::new("allowed_tools", "has no requirement to go with; write `default_requirement`"));
        return None;
    };
    let names = NameTable::new(&patterns);
    let texts = BTreeSet::from_iter(texts).into_iter().collect();
    Some(Fallback { text, requirement, scope: Scope::Named { names, texts, requirement_first: seed } })
}

fn compile_methods(
    methods: Vec<(GuardedMethod, MethodAccess)>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<GuardedMethod, MethodRule> {
    let mut compiled = BTreeMap::new();
    for (method, access) in methods {
        let key = format!("methods.{}", method.as_str());
        if compiled.insert(method, MethodRule { text: key.as_str().into(), access }).is_some() {
            problems.push(ConfigProblem::new(key, "is opened twice; keep one"));
        }
    }
    compiled
}

fn compile_custom(custom: Vec<String>, problems: &mut Vec<ConfigProblem>) -> BTreeSet<String> {
    if custom.len() > MAX_RULES {
        problems.push(ConfigProblem::new("custom_methods", format!("write at most {MAX_RULES} names")));
        return BTreeSet::new();
    }
    for method in &custom {
        if method.is_empty() {
            problems.push(ConfigProblem::new("custom_methods", "an empty name allows nothing; remove it"));
        }
        check_label("custom_methods", method, problems);
    }
    custom.into_iter().collect()
}

#[cfg(test)]
mod tests;
