//! Which records are asked for.

use std::cell::RefCell;
use std::collections::HashMap;

use rmcp_guard::policy::ToolPattern;

use super::Row;

/// Answers of a glob that are remembered; hostile callers can make up any number of names.
const MAX_REMEMBERED: usize = 4096;

/// What a record must have; `None` is no condition.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) tool: Option<ToolFilter>,
    pub(crate) agent: Option<String>,
    /// `ALLOW` or `DENY`.
    pub(crate) decision: Option<&'static str>,
    pub(crate) reason: Option<String>,
    pub(crate) kind: Option<String>,
    /// From this microsecond on.
    pub(crate) since: Option<i64>,
    /// Before this microsecond.
    pub(crate) until: Option<i64>,
    pub(crate) id: Option<String>,
}

/// A tool's name, or a glob as in a policy.
#[derive(Debug)]
pub(crate) struct ToolFilter {
    pattern: ToolPattern,
    exact: Option<String>,
    remembered: RefCell<HashMap<String, bool>>,
}

impl ToolFilter {
    pub(crate) fn new(pattern: ToolPattern) -> Self {
        Self { exact: pattern.exact_name(), pattern, remembered: RefCell::default() }
    }

    /// The only name that matches, where there is only one.
    pub(crate) fn exact(&self) -> Option<&str> {
        self.exact.as_deref()
    }

    fn matches(&self, name: &str) -> bool {
        if let Some(exact) = &self.exact {
            return exact == name;
        }
        let mut remembered = self.remembered.borrow_mut();
        if let Some(answer) = remembered.get(name) {
            return *answer;
        }
        let answer = self.pattern.matches(name);
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(name.to_owned(), answer);
        }
        answer
    }
}

impl Filter {
    /// Whether the record is asked for.
    pub(crate) fn matches(&self, row: &Row) -> bool {
        let is =
            |wanted: Option<&str>, had: &Option<String>| wanted.is_none_or(|wanted| had.as_deref() == Some(wanted));
        is(self.agent.as_deref(), &row.agent)
            && is(self.decision, &row.decision)
            && is(self.reason.as_deref(), &row.reason)
            && is(self.kind.as_deref(), &row.kind)
            && is(self.id.as_deref(), &row.id)
            && self.since.is_none_or(|since| row.at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| row.at.is_some_and(|at| at < until))
            && self.tool.as_ref().is_none_or(|tool| row.tool.as_deref().is_some_and(|name| tool.matches(name)))
    }
}
