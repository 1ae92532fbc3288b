//! What the conformance suite expects to find, as data; the names are the suite's.

use std::collections::{BTreeMap, BTreeSet};

use rmcp::model::{
    CallToolResult, ElicitationSchema, GetPromptResult, InputRequest, InputRequests, Prompt, Resource,
    ResourceContents, ResourceTemplate, Tool,
};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Fixtures {
    pub(crate) tools: Vec<Tool>,
    /// Of tools that always answer alike.
    pub(crate) results: BTreeMap<String, CallToolResult>,
    /// What tools and prompts ask for before they answer, round by round (SEP-2322).
    pub(crate) rounds: BTreeMap<String, Vec<InputRequests>>,
    /// Those of them that hand out a request state.
    pub(crate) sealed: BTreeSet<String>,
    /// What tools ask the client's user while they run (before 2026-07-28).
    pub(crate) elicitations: BTreeMap<String, ElicitationSchema>,
    /// What tasks ask for while they run (SEP-2663).
    pub(crate) task_questions: BTreeMap<String, InputRequest>,
    pub(crate) prompts: Vec<Prompt>,
    /// Of prompts that always answer alike.
    pub(crate) prompt_results: BTreeMap<String, GetPromptResult>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) templates: Vec<ResourceTemplate>,
    pub(crate) contents: BTreeMap<String, ResourceContents>,
}

impl Fixtures {
    pub(crate) fn load() -> serde_json::Result<Self> {
        serde_json::from_str(include_str!("fixtures.json"))
    }
}
