//! The decision: may this caller use this tool, and if not, why?
//!
//! In scope: what a tool asks for ([`ToolRequirement`]), which rule is meant ([`ToolPattern`]), and the answer with its
//! reason ([`Policy::evaluate`]). Every function here is pure and total: the same rules and the same caller give the
//! same answer, at any time, for any input, and nothing is read, written or logged.
//!
//! Out of scope: who the caller is ([`identity`](crate::identity)), and what follows from the answer
//! ([`enforce`](crate::enforce)).
//!
//! Deployment caveat: rules are about names. Two tools that do the same under different names need the same rule.

mod builder;
mod decision;
mod evaluate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod globs;
mod matcher;
mod reason;
mod requirement;
mod rules;

pub use builder::{ConfigProblem, MAX_LABEL_BYTES, MAX_RULES, PolicyBuilder};
pub use decision::{AuthLevel, Caller, Decision, Evaluation};
pub use matcher::{MAX_PATTERN_BYTES, MAX_TOOL_NAME_BYTES, PatternError, ToolPattern};
pub use reason::DenyReason;
pub use requirement::{MAX_ADDITIONAL_ISSUERS, RequirementError, ToolRequirement};
pub use rules::{GuardedMethod, MethodAccess, Policy};
